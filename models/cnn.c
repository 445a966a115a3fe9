/* cnn: blocks of convolution, batch norm, ReLU and pooling that halve the image each, then two
 * linear layers, over image [batch, channels, image_size, image_size]. */
#include <inttypes.h>

#include "models/layers.h"

static const og_model_option options[] = {
    {"channels", "1"}, {"image_size", "28"},  {"conv_channels", "32,64"}, {"hidden_size", "128"},
    {"dropout", "0"},  {"num_classes", "10"}, {"num_outputs", NULL},      {NULL, NULL},
};

static void build(og__building *b)
{
    int64_t widths[OG__MOST_SIZES], channels = og__model_int(b, "channels", 1, OG__MOST_SIZE),
                                    size = og__model_int(b, "image_size", 1, OG__MOST_SIZE),
                                    hidden = og__model_int(b, "hidden_size", 1, OG__MOST_SIZE);
    int n = og__model_sizes(b, "conv_channels", widths);
    double dropout = og__model_float(b, "dropout", 0, 1);
    if (size >> n < 1)
        og__model_fail(b, "cnn: image_size is %" PRId64 ", which %d blocks cannot halve", size, n);
    if (og__model_failed(b))
        return;
    og_val x = og__model_input(b, "image", OG_FLOAT, 4, (int64_t[]){channels, size, size});
    for (int i = 0; i < n; i++) {
        og__scope scope = og__enter(b, "blocks.%d", i);
        x = og__conv(b, "conv", x, widths[i], 3, 1, 1);
        x = Relu(og__batch_norm(b, "norm", x));
        x = og__max_pool(x, 2, 2, 0);
        og__leave(b, scope);
    }
    x = Reshape(x, 2, ((int64_t[]){-1, Dim(x, 1) * Dim(x, 2) * Dim(x, 3)}));
    x = og__dropout(b, Relu(og__linear(b, "hidden", x, hidden)), dropout);
    og__head(b, "head", x);
}

const og_builtin og_models_cnn[] = {
    {{"cnn", "convolutions with batch norm, each followed by pooling", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
