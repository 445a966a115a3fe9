/* Layers of built-in models. Names of weights are PyTorch's below `name`; weights of products are
 * [in, out], as MatMul and Gemm read them (PyTorch's are [out, in]). Initial content is that of
 * PyTorch's modules (torch.nn, reset_parameters) unless a function takes its own. */
#ifndef OG_MODELS_LAYERS_H
#define OG_MODELS_LAYERS_H

#include "models/model.h"

/* nn.Linear: y = x W + b over the last axis; W and b uniform in ±1/√in. */
og_val og__linear(og__building *b, const char *name, og_val x, int64_t out);
og_val og__linear_from(og__building *b, const char *name, og_val x, int64_t out, og__init weight,
                       og__init bias);

/* nn.Conv2d: x [N, C, H, W], a square kernel; weight and bias uniform in ±1/√(C kernel²). */
og_val og__conv(og__building *b, const char *name, og_val x, int64_t out, int64_t kernel,
                int64_t stride, int64_t pad);
/* bias NULL: none */
og_val og__conv_from(og__building *b, const char *name, og_val x, int64_t out, int64_t kernel,
                     int64_t stride, int64_t pad, og__init weight, const og__init *bias);
/* nn.MaxPool2d */
og_val og__max_pool(og_val x, int64_t kernel, int64_t stride, int64_t pad);
/* nn.BatchNorm2d: scale 1, shift 0, momentum 0.1 in PyTorch's way of counting. */
og_val og__batch_norm(og__building *b, const char *name, og_val x);
/* [N, C, H, W] → [N, C]: the mean over the image. */
og_val og__global_mean(og_val x, int64_t channels);

/* Patches of an image as tokens: [batch, C, H, W] → [batch, (H / patch) (W / patch), d] */
og_val og__tokens_of_image(og__building *b, const char *name, og_val image, int64_t d,
                           int64_t patch, og__init weight, og__init bias);

/* nn.LayerNorm over the last axis: scale 1, shift 0. */
og_val og__layer_norm(og__building *b, const char *name, og_val x, double epsilon);
/* nn.Dropout in training mode; nothing with ratio 0. */
og_val og__dropout(og__building *b, og_val x, double ratio);

/* A block of a transformer over x [batch, S, D]:
 *     x = x + dropout(attention(norm(x))),  x = x + dropout(linear(gelu(linear(norm(x)))))
 * or, norms last:
 *     x = norm(x + dropout(attention(x))),  x = norm(x + dropout(linear(gelu(linear(x))))) */
typedef struct og__block {
    int64_t heads, feed_forward;
    double dropout, epsilon;
    bool attention_dropout, inner_dropout; /* of probabilities; behind gelu */
    bool tanh_gelu, norms_last;
    og_val allowed; /* [S, S] bool, true where row may see column; none: all */
    const char *norm1, *attention, *norm2, *linear1, *linear2; /* names */
    og__init in_weight, in_bias, out_weight, out_bias;         /* attention's projections */
    og__init linear1_weight, linear1_bias, linear2_weight, linear2_bias;
} og__block;

/* nn.TransformerEncoderLayer(d, heads, feed_forward, dropout, activation="gelu", norm_first=True)
 */
og__block og__encoder_block(int64_t d, int64_t heads, int64_t feed_forward, double dropout);
og_val og__transformer_block(og__building *b, const og__block *block, og_val x);

/* Option num_heads, by default d / 64 where 64 divides d, else 1; an error where it does not divide
 * d. */
int64_t og__heads_of(og__building *b, int64_t d);
/* Option dim_feedforward, by default 4 d. */
int64_t og__feed_forward_of(og__building *b, int64_t d);

/* The model's last layer and its output: with option num_outputs "prediction" [batch, num_outputs],
 * else "logits" [batch, num_classes]. x: [batch, D] */
void og__head(og__building *b, const char *name, og_val x);
/* The size and the name of that output, for models that make it themselves. */
int64_t og__head_size(og__building *b, const char **output);

#endif
