/* Blocks of transformers (layers.h), with attention written out in ops that every ONNX engine has:
 * softmax(q kᵀ / √d) v (Vaswani et al., Attention is all you need, 2017, equation 1). */
#include <inttypes.h>
#include <math.h>

#include "models/layers.h"

/* ---- options */

int64_t og__heads_of(og__building *b, int64_t d)
{
    int64_t heads = d % 64 == 0 ? d / 64 : 1;
    if (og__model_text(b, "num_heads"))
        heads = og__model_int(b, "num_heads", 1, OG__MOST_SIZE);
    if (d % heads != 0)
        og__model_fail(b,
                       "%s: d_model is %" PRId64 ", which num_heads, %" PRId64 ", does not divide",
                       b->type->name, d, heads);
    return heads;
}

int64_t og__feed_forward_of(og__building *b, int64_t d)
{
    return og__model_text(b, "dim_feedforward")
               ? og__model_int(b, "dim_feedforward", 1, OG__MOST_SIZE)
               : 4 * d;
}

/* ---- blocks */

/* nn.MultiheadAttention: xavier_uniform_ of the three projections as one matrix, [D, 3 D], which is
 * ±√(6 / (D + 3 D)) (Glorot and Bengio, Understanding the difficulty of training deep feedforward
 * neural networks, 2010, equation 16); nn.Linear's weight for the projection of the result; biases
 * 0. nn.Linear for the rest. */
og__block og__encoder_block(int64_t d, int64_t heads, int64_t feed_forward, double dropout)
{
    og__init to_hidden = og__uniform(1 / sqrt((double)d)),
             from_hidden = og__uniform(1 / sqrt((double)feed_forward));
    return (og__block){.heads = heads,
                       .feed_forward = feed_forward,
                       .dropout = dropout,
                       .epsilon = 1e-5,
                       .attention_dropout = true,
                       .inner_dropout = true,
                       .norm1 = "norm1",
                       .attention = "self_attn",
                       .norm2 = "norm2",
                       .linear1 = "linear1",
                       .linear2 = "linear2",
                       .in_weight = og__uniform(sqrt(6 / (4 * (double)d))),
                       .in_bias = og__constant(0),
                       .out_weight = og__uniform(1 / sqrt((double)d)),
                       .out_bias = og__constant(0),
                       .linear1_weight = to_hidden,
                       .linear1_bias = to_hidden,
                       .linear2_weight = from_hidden,
                       .linear2_bias = from_hidden};
}

/* [batch, S, D] → [batch, heads, S, D / heads], or with the last two axes swapped */
static og_val split_heads(og_val x, int64_t heads, bool swapped)
{
    int64_t size = Dim(x, -1) / heads;
    og_val y = Reshape(x, 4, ((int64_t[]){-1, Dim(x, 1), heads, size}));
    return swapped ? Transpose(y, ((int[]){0, 2, 3, 1})) : Transpose(y, ((int[]){0, 2, 1, 3}));
}

static og_val attention(og__building *b, const og__block *block, og_val x)
{
    og__scope scope = og__enter(b, "%s", block->attention);
    int64_t d = Dim(x, -1), s = Dim(x, 1);
    og_val qkv = og__linear_from(b, "in_proj", x, 3 * d, block->in_weight, block->in_bias);
    og_outs part = Ops("Split", 3, In(qkv), I("axis", -1), I("num_outputs", 3));
    og_val q = split_heads(part.y[0], block->heads, false),
           kt = split_heads(part.y[1], block->heads, true),
           v = split_heads(part.y[2], block->heads, false);
    og_val scores = Mul(MatMul(q, kt), Scalar(q, 1 / sqrt((double)d / (double)block->heads)));
    if (Has(block->allowed))
        scores = Where(block->allowed, scores, Scalar(scores, -INFINITY));
    og_val p = Op("Softmax", In(scores), I("axis", -1));
    if (block->attention_dropout)
        p = og__dropout(b, p, block->dropout);
    og_val y = Transpose(MatMul(p, v), ((int[]){0, 2, 1, 3}));
    y = Reshape(y, 3, ((int64_t[]){-1, s, d}));
    y = og__linear_from(b, "out_proj", y, d, block->out_weight, block->out_bias);
    og__leave(b, scope);
    return y;
}

static og_val feed_forward(og__building *b, const og__block *block, og_val x)
{
    og_val h = og__linear_from(b, block->linear1, x, block->feed_forward, block->linear1_weight,
                               block->linear1_bias);
    h = block->tanh_gelu ? Op("Gelu", In(h), S("approximate", "tanh")) : Op("Gelu", In(h));
    if (block->inner_dropout)
        h = og__dropout(b, h, block->dropout);
    return og__linear_from(b, block->linear2, h, Dim(x, -1), block->linear2_weight,
                           block->linear2_bias);
}

og_val og__transformer_block(og__building *b, const og__block *block, og_val x)
{
    if (block->norms_last) {
        x = Add(x, og__dropout(b, attention(b, block, x), block->dropout));
        x = og__layer_norm(b, block->norm1, x, block->epsilon);
        x = Add(x, og__dropout(b, feed_forward(b, block, x), block->dropout));
        return og__layer_norm(b, block->norm2, x, block->epsilon);
    }
    og_val y = attention(b, block, og__layer_norm(b, block->norm1, x, block->epsilon));
    x = Add(x, og__dropout(b, y, block->dropout));
    y = feed_forward(b, block, og__layer_norm(b, block->norm2, x, block->epsilon));
    return Add(x, og__dropout(b, y, block->dropout));
}
