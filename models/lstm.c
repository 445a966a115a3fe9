/* lstm: layers of LSTM over x [batch, sequence_length, input_size], and a linear layer on the last
 * output of each direction (Hochreiter and Schmidhuber, Long short-term memory, 1997; gates and
 * biases as ONNX and PyTorch have them). */
#include <math.h>

#include "models/layers.h"

static const og_model_option options[] = {
    {"input_size", "64"},  {"sequence_length", "64"}, {"hidden_size", "256"},
    {"num_layers", "1"},   {"bidirectional", "off"},  {"dropout", "0"},
    {"num_classes", "10"}, {"num_outputs", NULL},     {NULL, NULL},
};

/* x [S, batch, I] → y [S, batch, directions × H], and each direction's last output [directions,
 * batch, H]. nn.LSTM: all weights uniform in ±1/√H. */
static og_val layer(og__building *b, og_val x, int64_t hidden, int64_t directions, og_val *last)
{
    const og__init init = og__uniform(1 / sqrt((double)hidden));
    int64_t s = Dim(x, 0), input = Dim(x, 2), gates = 4 * hidden;
    og_val w = og__model_weight(b, "weight_ih", 3, (int64_t[]){directions, gates, input}, init);
    og_val r = og__model_weight(b, "weight_hh", 3, (int64_t[]){directions, gates, hidden}, init);
    og_val c = og__model_weight(b, "bias", 2, (int64_t[]){directions, 2 * gates}, init);
    og_outs y = Ops("LSTM", 2, In(x, w, r, c), I("hidden_size", hidden),
                    S("direction", directions == 2 ? "bidirectional" : "forward"));
    *last = y.y[1];
    og_val all = Transpose(y.y[0], ((int[]){0, 2, 1, 3}));
    return Reshape(all, 3, ((int64_t[]){s, -1, directions * hidden}));
}

static void build(og__building *b)
{
    int64_t input = og__model_int(b, "input_size", 1, OG__MOST_SIZE),
            s = og__model_int(b, "sequence_length", 1, OG__MOST_SIZE),
            hidden = og__model_int(b, "hidden_size", 1, OG__MOST_SIZE),
            layers = og__model_int(b, "num_layers", 1, OG__MOST_LAYERS),
            directions = og__model_flag(b, "bidirectional") ? 2 : 1;
    double dropout = og__model_float(b, "dropout", 0, 1);
    if (og__model_failed(b))
        return;
    og_val x = og__model_input(b, "x", OG_FLOAT, 3, (int64_t[]){s, input}), last = OG_NONE;
    x = Transpose(x, ((int[]){1, 0, 2}));
    for (int i = 0; i < layers; i++) {
        og__scope scope = og__enter(b, "layers.%d", i);
        x = layer(b, i ? og__dropout(b, x, dropout) : x, hidden, directions, &last);
        og__leave(b, scope);
    }
    last = Transpose(last, ((int[]){1, 0, 2}));
    og__head(b, "head", Reshape(last, 2, ((int64_t[]){-1, directions * hidden})));
}

const og_builtin og_models_lstm[] = {
    {{"lstm", "LSTM layers over a sequence of vectors", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
