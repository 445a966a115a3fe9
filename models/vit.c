/* vit: a transformer over patches of image [batch, channels, image_size, image_size] and a class
 * token (Dosovitskiy et al., An image is worth 16x16 words, 2020); names and initial weights as
 * torchvision has them. By default ViT-B/16. */
#include <inttypes.h>
#include <math.h>

#include "models/layers.h"

static const og_model_option options[] = {
    {"image_size", "224"},   {"patch_size", "16"},  {"channels", "3"}, {"num_layers", "12"},
    {"d_model", "768"},      {"num_heads", NULL},   {"dropout", "0"},  {"dim_feedforward", NULL},
    {"num_classes", "1000"}, {"num_outputs", NULL}, {NULL, NULL},
};

/* x [batch, S, D] → [batch, S + 1, D] with the class token in front, and positions added. The token
 * is placed by padding: so nothing has to be repeated over the batch. */
static og_val add_token_and_positions(og__building *b, og_val x)
{
    int64_t s = Dim(x, 1), d = Dim(x, 2);
    og_val token = og__model_weight(b, "class_token", 3, (int64_t[]){1, 1, d}, og__constant(0));
    og_val position =
        og__model_weight(b, "encoder.pos_embedding", 3, (int64_t[]){1, s + 1, d}, og__normal(0.02));
    if (!Has(position))
        return OG_NONE;
    og_val before = og_const_ints(b->g, 6, (int64_t[]){0, 1, 0, 0, 0, 0}),
           after = og_const_ints(b->g, 6, (int64_t[]){0, 0, 0, 0, s, 0});
    position = Add(position, Op("Pad", In(token, after)));
    return Add(Op("Pad", In(x, before)), position);
}

/* MLPBlock there: xavier_uniform_ weights, normal biases with deviation 1e-6. */
static og__block encoder_block(int64_t d, int64_t heads, int64_t hidden, double dropout)
{
    og__block block = og__encoder_block(d, heads, hidden, dropout);
    block.epsilon = 1e-6;
    block.attention_dropout = false;
    block.norm1 = "ln_1";
    block.attention = "self_attention";
    block.norm2 = "ln_2";
    block.linear1 = "mlp.0";
    block.linear2 = "mlp.3";
    block.linear1_weight = block.linear2_weight = og__uniform(sqrt(6 / (double)(d + hidden)));
    block.linear1_bias = block.linear2_bias = og__normal(1e-6);
    return block;
}

static void build(og__building *b)
{
    int64_t size = og__model_int(b, "image_size", 1, OG__MOST_SIZE),
            patch = og__model_int(b, "patch_size", 1, OG__MOST_SIZE),
            channels = og__model_int(b, "channels", 1, OG__MOST_SIZE),
            layers = og__model_int(b, "num_layers", 1, OG__MOST_LAYERS),
            d = og__model_int(b, "d_model", 1, OG__MOST_SIZE), heads = og__heads_of(b, d),
            hidden = og__feed_forward_of(b, d);
    double dropout = og__model_float(b, "dropout", 0, 1);
    const char *output;
    int64_t outputs = og__head_size(b, &output);
    if (size % patch != 0)
        og__model_fail(
            b, "vit: image_size is %" PRId64 ", which patch_size, %" PRId64 ", does not divide",
            size, patch);
    if (og__model_failed(b))
        return;
    og_val x = og__model_input(b, "image", OG_FLOAT, 4, (int64_t[]){channels, size, size});
    og__init patches = og__normal(1 / sqrt((double)(channels * patch * patch)));
    x = og__tokens_of_image(b, "conv_proj", x, d, patch, patches, og__constant(0));
    x = og__dropout(b, add_token_and_positions(b, x), dropout);
    og__block block = encoder_block(d, heads, hidden, dropout);
    for (int i = 0; i < layers; i++) {
        og__scope scope = og__enter(b, "encoder.layers.encoder_layer_%d", i);
        x = og__transformer_block(b, &block, x);
        og__leave(b, scope);
    }
    x = og__layer_norm(b, "encoder.ln", x, block.epsilon);
    x = Reshape(Slice(x, 1, 0, 1), 2, ((int64_t[]){-1, d}));
    og__init zero = og__constant(0);
    og__model_output(b, output, og__linear_from(b, "heads.head", x, outputs, zero, zero));
}

const og_builtin og_models_vit[] = {
    {{"vit", "vision transformer over patches of an image", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
