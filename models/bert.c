/* bert: a transformer over tokens [batch, sequence_length], int64, each of which sees all (Devlin
 * et al., BERT: Pre-training of deep bidirectional transformers for language understanding, 2019):
 * logits [batch, sequence_length, vocab_size] of the token that belongs in each place. Norms come
 * behind the residual sums. All tokens are of one segment. By default BERT-base, 109 million
 * parameters; initial weights are that paper's: normal with deviation 0.02. */
#include "models/layers.h"

static const og_model_option options[] = {
    {"vocab_size", "30522"}, {"sequence_length", "512"}, {"num_layers", "12"}, {"d_model", "768"},
    {"num_heads", NULL},     {"dim_feedforward", NULL},  {"dropout", "0.1"},   {NULL, NULL},
};

enum { MOST_TOKENS = 1 << 16 }; /* of a sequence */

static og__block block_of(int64_t heads, int64_t hidden, double dropout)
{
    const og__init normal = og__normal(0.02), zero = og__constant(0);
    return (og__block){.heads = heads,
                       .feed_forward = hidden,
                       .dropout = dropout,
                       .epsilon = 1e-12,
                       .attention_dropout = true,
                       .norms_last = true,
                       .norm1 = "attention.norm",
                       .attention = "attention",
                       .norm2 = "output.norm",
                       .linear1 = "intermediate",
                       .linear2 = "output.dense",
                       .in_weight = normal,
                       .in_bias = zero,
                       .out_weight = normal,
                       .out_bias = zero,
                       .linear1_weight = normal,
                       .linear1_bias = zero,
                       .linear2_weight = normal,
                       .linear2_bias = zero};
}

static og_val embed(og__building *b, og_val words, og_val tokens, int64_t s, int64_t d,
                    double epsilon)
{
    const og__init normal = og__normal(0.02);
    og_val places = og__model_weight(b, "position_embedding.weight", 2, (int64_t[]){s, d}, normal);
    og_val segment = og__model_weight(b, "segment_embedding", 1, &d, normal);
    og_val x = Add(Op("Gather", In(words, tokens)), Add(places, segment));
    return og__layer_norm(b, "norm", x, epsilon);
}

/* Words are scored with the weights that embed them. */
static og_val score(og__building *b, og_val x, og_val words, int64_t d, double epsilon)
{
    og__scope scope = og__enter(b, "head");
    int64_t n = Dim(words, 0);
    x = og__linear_from(b, "dense", x, d, og__normal(0.02), og__constant(0));
    x = og__layer_norm(b, "norm", Op("Gelu", In(x)), epsilon);
    og_val y = Add(MatMul(x, Transpose(words, ((int[]){1, 0}))),
                   og__model_weight(b, "bias", 1, &n, og__constant(0)));
    og__leave(b, scope);
    return y;
}

static void build(og__building *b)
{
    int64_t n = og__model_int(b, "vocab_size", 1, OG__MOST_SIZE),
            s = og__model_int(b, "sequence_length", 1, MOST_TOKENS),
            layers = og__model_int(b, "num_layers", 1, OG__MOST_LAYERS),
            d = og__model_int(b, "d_model", 1, OG__MOST_SIZE), heads = og__heads_of(b, d),
            hidden = og__feed_forward_of(b, d);
    double dropout = og__model_float(b, "dropout", 0, 1);
    if (og__model_failed(b))
        return;
    og__block block = block_of(heads, hidden, dropout);
    og_val tokens = og__model_input(b, "tokens", OG_INT64, 2, &s);
    og__scope scope = og__enter(b, "embeddings");
    og_val words =
        og__model_weight(b, "word_embedding.weight", 2, (int64_t[]){n, d}, og__normal(0.02));
    og_val x = og__dropout(b, embed(b, words, tokens, s, d, block.epsilon), dropout);
    og__leave(b, scope);
    for (int i = 0; i < layers; i++) {
        scope = og__enter(b, "layers.%d", i);
        x = og__transformer_block(b, &block, x);
        og__leave(b, scope);
    }
    og__model_output(b, "logits", score(b, x, words, d, block.epsilon));
}

const og_builtin og_models_bert[] = {
    {{"bert", "transformer over tokens that scores what belongs in each place", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
