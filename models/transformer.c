/* transformer, lightweight_transformer: one encoder over the tokens of up to three paired streams
 *
 *     features_224 [batch, feature_steps, feature_size]        a vector a step
 *     video        [batch, frames, 3, video_size, video_size]  images of one clip
 *     face         [batch, 3, face_size, face_size]            one image
 *
 * A step of features is a token by a linear layer; a frame is one by a stem of four convolutions
 * with stride 2, a mean over what is left of the image and a linear layer; of the face, each patch
 * of 16 × 16 pixels is one. To each token the learned vectors of its stream and of its place are
 * added. Behind the blocks (norms first) and a norm, the mean over all tokens goes to the head:
 *
 *     logits       [batch, num_classes]                  by default
 *     prediction   [batch, num_outputs]                  with num_outputs
 *     features_224 [batch, feature_steps, feature_size]  with --regress features_224, which then is
 *                                                        no input unless streams names it */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "models/layers.h"

#define SHARED                                                                                     \
    {"streams", NULL}, {"regress", NULL}, {"num_classes", "10"}, {"num_outputs", NULL},            \
        {"num_heads", NULL}, {"dim_feedforward", NULL}, {"dropout", "0.1"},                        \
        {"feature_size", "224"}, {"feature_steps", "16"}, {"frames", "16"}, {"video_size", "112"}, \
        {"face_size", "112"}, {NULL, NULL},
static const og_model_option options[] = {{"num_layers", "6"}, {"d_model", "1024"}, SHARED};
static const og_model_option light_options[] = {{"num_layers", "2"}, {"d_model", "768"}, SHARED};
#undef SHARED

enum { FEATURES, VIDEO, FACE, STREAMS };
enum { STEM_CONVS = 4, STEM_WIDTH = 32, FACE_PATCH = 16, COLORS = 3 };
static const char *const names[STREAMS] = {"features_224", "video", "face"};

/* ---- options */

/* Is names[stream] in the list "a,b"? */
static bool lists(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || !at[n]))
            return true;
    }
    return false;
}

/* How many entries does the list have? */
static int count_entries(const char *list)
{
    int n = 1;
    for (; *list; list++)
        n += *list == ',';
    return n;
}

/* Which streams are read: those of option streams, each once; else all but the one predicted. */
static void choose_streams(og__building *b, bool predicts_features, bool chosen[STREAMS])
{
    const char *list = og__model_text(b, "streams");
    int n = 0;
    for (int i = 0; i < STREAMS; i++)
        n += chosen[i] = list ? lists(list, names[i]) : i != FEATURES || !predicts_features;
    if (list && n != count_entries(list))
        og__model_fail(b,
                       "%s: streams is \"%s\", expected names of %s, %s and %s, each at most once",
                       b->type->name, list, names[FEATURES], names[VIDEO], names[FACE]);
    if (chosen[FEATURES] && predicts_features)
        og__model_fail(b, "%s: features_224 cannot be both a stream and what is predicted",
                       b->type->name);
}

/* Option regress */
static bool predicts_features(og__building *b)
{
    const char *name = og__model_text(b, "regress");
    if (name && strcmp(name, names[FEATURES]) != 0)
        og__model_fail(b, "%s: regress is \"%s\", expected %s", b->type->name, name,
                       names[FEATURES]);
    if (name && b->options &&
        (og_options_is_set(b->options, "num_classes") ||
         og_options_is_set(b->options, "num_outputs")))
        og__model_fail(b, "%s: regress excludes num_classes and num_outputs", b->type->name);
    return name != NULL;
}

/* ---- streams to tokens [batch, tokens, d] */

static og_val features_tokens(og__building *b, int64_t d)
{
    const int64_t dims[2] = {og__model_int(b, "feature_steps", 1, OG__MOST_SIZE),
                             og__model_int(b, "feature_size", 1, OG__MOST_SIZE)};
    og_val x = og__model_input(b, names[FEATURES], OG_FLOAT, 3, dims);
    return og__linear(b, "projection", x, d);
}

static og_val video_tokens(og__building *b, int64_t d)
{
    int64_t frames = og__model_int(b, "frames", 1, OG__MOST_SIZE),
            size = og__model_int(b, "video_size", 1, OG__MOST_SIZE);
    og_val x =
        og__model_input(b, names[VIDEO], OG_FLOAT, 5, (int64_t[]){frames, COLORS, size, size});
    x = Reshape(x, 4, ((int64_t[]){-1, COLORS, size, size}));
    for (int i = 0; i < STEM_CONVS; i++) {
        og__scope scope = og__enter(b, "stem.%d", i);
        x = Relu(og__conv(b, "conv", x, STEM_WIDTH << i, 3, 2, 1));
        og__leave(b, scope);
    }
    x = Reshape(Op("GlobalAveragePool", In(x)), 3, ((int64_t[]){-1, frames, Dim(x, 1)}));
    return og__linear(b, "projection", x, d);
}

static og_val face_tokens(og__building *b, int64_t d)
{
    int64_t size = og__model_int(b, "face_size", FACE_PATCH, OG__MOST_SIZE), fan_in;
    og_val x = og__model_input(b, names[FACE], OG_FLOAT, 4, (int64_t[]){COLORS, size, size});
    fan_in = (int64_t)COLORS * FACE_PATCH * FACE_PATCH;
    og__init init = og__uniform(1 / sqrt((double)fan_in)); /* nn.Conv2d */
    return og__tokens_of_image(b, "patches", x, d, FACE_PATCH, init, init);
}

static og_val stream_tokens(og__building *b, int stream, int64_t d)
{
    static og_val (*const tokens[STREAMS])(og__building *, int64_t) = {
        [FEATURES] = features_tokens, [VIDEO] = video_tokens, [FACE] = face_tokens};
    og__scope scope = og__enter(b, "%s", names[stream]);
    og_val x = tokens[stream](b, d);
    x = Add(x, og__model_weight(b, "embedding", 1, &d, og__normal(0.02)));
    og__leave(b, scope);
    return x;
}

static og_val all_tokens(og__building *b, const bool chosen[STREAMS], int64_t d)
{
    og_val list[STREAMS] = {OG_NONE}, x;
    int n = 0;
    for (int i = 0; i < STREAMS; i++)
        if (chosen[i])
            list[n++] = stream_tokens(b, i, d);
    x = n == 1 ? list[0] : Ops("Concat", 1, ((og_vals){n, list}), I("axis", 1)).y[0];
    og_val place =
        og__model_weight(b, "position_embedding", 2, (int64_t[]){Dim(x, 1), d}, og__normal(0.02));
    return Add(x, place);
}

/* ---- the model */

static void add_head(og__building *b, og_val x, bool features)
{
    if (!features) {
        og__head(b, "head", x);
        return;
    }
    int64_t steps = og__model_int(b, "feature_steps", 1, OG__MOST_SIZE),
            size = og__model_int(b, "feature_size", 1, OG__MOST_SIZE);
    og_val y = og__linear(b, "head", x, steps * size);
    og__model_output(b, names[FEATURES], Reshape(y, 3, ((int64_t[]){-1, steps, size})));
}

static void build(og__building *b)
{
    bool chosen[STREAMS], features = predicts_features(b);
    choose_streams(b, features, chosen);
    int64_t layers = og__model_int(b, "num_layers", 1, OG__MOST_LAYERS),
            d = og__model_int(b, "d_model", 1, OG__MOST_SIZE), heads = og__heads_of(b, d),
            hidden = og__feed_forward_of(b, d);
    double dropout = og__model_float(b, "dropout", 0, 1);
    if (og__model_failed(b))
        return;
    og_val x = og__dropout(b, all_tokens(b, chosen, d), dropout);
    og__block block = og__encoder_block(d, heads, hidden, dropout);
    for (int i = 0; i < layers; i++) {
        og__scope scope = og__enter(b, "layers.%d", i);
        x = og__transformer_block(b, &block, x);
        og__leave(b, scope);
    }
    x = og__layer_norm(b, "norm", x, block.epsilon);
    x = Reduce("ReduceMean", x, 1, ((int[]){1}), false);
    add_head(b, x, features);
}

const og_builtin og_models_transformer[] = {
    {{"transformer", "transformer over paired features, video and face: 6 layers of width 1024",
      options},
     build},
    {{"lightweight_transformer", "the same with 2 layers of width 768", light_options}, build},
    {{NULL, NULL, NULL}, NULL},
};
