/* mlp: linear layers with ReLU between them, over x [batch, input_size]. */
#include "models/layers.h"

static const og_model_option options[] = {
    {"input_size", "784"}, {"hidden_sizes", "512,512"}, {"dropout", "0"},
    {"num_classes", "10"}, {"num_outputs", NULL},       {NULL, NULL},
};

static void build(og__building *b)
{
    int64_t sizes[OG__MOST_SIZES], input = og__model_int(b, "input_size", 1, OG__MOST_SIZE);
    int n = og__model_sizes(b, "hidden_sizes", sizes);
    double dropout = og__model_float(b, "dropout", 0, 1);
    og_val x = og__model_input(b, "x", OG_FLOAT, 2, &input);
    for (int i = 0; i < n; i++) {
        og__scope scope = og__enter(b, "layers.%d", i);
        x = Relu(og__linear(b, "linear", x, sizes[i]));
        x = og__dropout(b, x, dropout);
        og__leave(b, scope);
    }
    og__head(b, "head", x);
}

const og_builtin og_models_mlp[] = {
    {{"mlp", "linear layers with ReLU between them", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
