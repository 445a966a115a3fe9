/* gpt: a causal transformer over tokens [batch, sequence_length], int64 (Radford et al., Language
 * models are unsupervised multitask learners, 2019): logits [batch, sequence_length, vocab_size] of
 * the token that follows each. By default GPT-2 with 124 million parameters; initial weights are
 * that paper's: normal with deviation 0.02, those that end residual branches over √(2 layers). */
#include <math.h>

#include "models/layers.h"

static const og_model_option options[] = {
    {"vocab_size", "50257"}, {"sequence_length", "1024"}, {"num_layers", "12"},
    {"d_model", "768"},      {"num_heads", NULL},         {"dim_feedforward", NULL},
    {"dropout", "0.1"},      {"tie_head", "on"},          {NULL, NULL},
};

enum { MOST_TOKENS = 1 << 16 }; /* of a sequence */

/* [S, S]: column ≤ row */
static og_val causal(og_graph *g, int64_t s)
{
    int64_t *places = og_arena_array(g->arena, (size_t)s, sizeof(*places));
    if (!places) {
        og_fail_memory(&g->error, (size_t)s * sizeof(*places), "positions");
        return OG_NONE;
    }
    for (int64_t i = 0; i < s; i++)
        places[i] = i;
    og_val columns = og_const_ints(g, (int)s, places);
    return LessOrEqual(columns, Reshape(columns, 2, ((int64_t[]){s, 1})));
}

static og__block decoder_block(int64_t layers, int64_t heads, int64_t hidden, double dropout)
{
    const og__init normal = og__normal(0.02), zero = og__constant(0),
                   residual = og__normal(0.02 / sqrt(2 * (double)layers));
    return (og__block){.heads = heads,
                       .feed_forward = hidden,
                       .dropout = dropout,
                       .epsilon = 1e-5,
                       .attention_dropout = true,
                       .tanh_gelu = true,
                       .norm1 = "ln_1",
                       .attention = "attn",
                       .norm2 = "ln_2",
                       .linear1 = "mlp.c_fc",
                       .linear2 = "mlp.c_proj",
                       .in_weight = normal,
                       .in_bias = zero,
                       .out_weight = residual,
                       .out_bias = zero,
                       .linear1_weight = normal,
                       .linear1_bias = zero,
                       .linear2_weight = residual,
                       .linear2_bias = zero};
}

static void build(og__building *b)
{
    int64_t words = og__model_int(b, "vocab_size", 1, OG__MOST_SIZE),
            s = og__model_int(b, "sequence_length", 1, MOST_TOKENS),
            layers = og__model_int(b, "num_layers", 1, OG__MOST_LAYERS),
            d = og__model_int(b, "d_model", 1, OG__MOST_SIZE), heads = og__heads_of(b, d),
            hidden = og__feed_forward_of(b, d);
    double dropout = og__model_float(b, "dropout", 0, 1);
    bool tied = og__model_flag(b, "tie_head");
    if (og__model_failed(b))
        return;
    og_val tokens = og__model_input(b, "tokens", OG_INT64, 2, &s);
    og_val wte = og__model_weight(b, "wte.weight", 2, (int64_t[]){words, d}, og__normal(0.02));
    og_val wpe = og__model_weight(b, "wpe.weight", 2, (int64_t[]){s, d}, og__normal(0.02));
    og_val x = og__dropout(b, Add(Op("Gather", In(wte, tokens)), wpe), dropout);
    og__block block = decoder_block(layers, heads, hidden, dropout);
    block.allowed = causal(b->g, s);
    for (int i = 0; i < layers; i++) {
        og__scope scope = og__enter(b, "h.%d", i);
        x = og__transformer_block(b, &block, x);
        og__leave(b, scope);
    }
    x = og__layer_norm(b, "ln_f", x, block.epsilon);
    if (!tied)
        wte = og__model_weight(b, "lm_head.weight", 2, (int64_t[]){words, d}, og__normal(0.02));
    og__model_output(b, "logits", MatMul(x, Transpose(wte, ((int[]){1, 0}))));
}

const og_builtin og_models_gpt[] = {
    {{"gpt", "causal transformer that predicts the next token", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
