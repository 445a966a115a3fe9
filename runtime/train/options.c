/* The library's options: one table for this interface, the command line and the manual. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/train/train.h"

static const og_option_info table[] = {
    {"loss", OG_OPTION_LIST, NULL, "[OUTPUT=]NAME[,KEY=VALUE...]",
     "cross_entropy, nll, mse, l1, smooth_l1, huber, bce_with_logits, kl_div, output (the model's "
     "output is the loss), PATH.onnx (a loss model), or none; keys: weight=1, target=NAME (else "
     "the "
     "output's), name=NAME (in logs), beta=1 (smooth_l1), delta=1 (huber), log_target=off and "
     "reduction=mean or batchmean (kl_div), label_smoothing, ignore_index, class_weights=W:W:...; "
     "several losses add up, weighted, and with accumulation those with ignored labels or class "
     "weights are then averaged over micro-batches"},
    {"label_smoothing", OG_OPTION_FLOAT, "0", "E",
     "cross_entropy: move this share of each label to all classes"},
    {"ignore_index", OG_OPTION_INT, "-100", "N",
     "cross_entropy, nll: labels of this value do not count"},
    {"class_weights", OG_OPTION_TEXT, NULL, "W,W,...",
     "cross_entropy, nll: a weight for each class"},
    {"optimizer", OG_OPTION_TEXT, "adamw", "NAME",
     "adamw, adam, sgd, rmsprop, adagrad, lamb or lion"},
    {"lr", OG_OPTION_FLOAT, "1e-3", "X", "learning rate"},
    {"weight_decay", OG_OPTION_FLOAT, NULL, "X", "weight decay; 0.01 for adamw and lamb, else 0"},
    {"momentum", OG_OPTION_FLOAT, "0", "X", "sgd, rmsprop: momentum"},
    {"nesterov", OG_OPTION_FLAG, "off", NULL, "sgd: Nesterov's form of momentum"},
    {"betas", OG_OPTION_TEXT, NULL, "B1,B2",
     "adam, adamw, lamb, lion: decay of the moments; 0.9,0.999, for lion 0.9,0.99"},
    {"eps", OG_OPTION_FLOAT, NULL, "X",
     "added to the denominator; adam, adamw, rmsprop 1e-8, adagrad 1e-10, lamb 1e-6"},
    {"alpha", OG_OPTION_FLOAT, NULL, "X", "rmsprop: decay of the mean of squares; 0.99"},
    {"centered", OG_OPTION_FLAG, "off", NULL,
     "rmsprop: divide by the gradient's variance, not its mean square"},
    {"lr_decay", OG_OPTION_FLOAT, "0", "X",
     "adagrad: the learning rate falls as 1 / (1 + X x steps)"},
    {"initial_accumulator_value", OG_OPTION_FLOAT, "0", "X",
     "adagrad: what the sums of squares begin with"},
    {"max_norm", OG_OPTION_FLOAT, "1.0", "X",
     "clip the norm of all gradients together; 0 turns it off"},
    {"ema", OG_OPTION_FLOAT, NULL, "DECAY",
     "keep an exponential moving average of the trained tensors, e = DECAY e + (1 - DECAY) w after "
     "each optimizer step, such as 0.999: it is what is validated and saved; running statistics "
     "are those of the last step"},
    {"ema_warmup", OG_OPTION_FLAG, "off", NULL,
     "ema: after step t the decay is at most (1 + t) / (10 + t)"},
    {"gradient_accumulation_steps", OG_OPTION_INT, "1", "N",
     "micro-batches summed for one optimizer step"},
    {"seed", OG_OPTION_INT, "0", "N", "of random ops, such as Dropout, and of new weights"},
    {"freeze", OG_OPTION_LIST, NULL, "GLOB", "do not train tensors of this name"},
    {"trainable", OG_OPTION_LIST, NULL, "GLOB", "train only tensors of this name"},
    {"freeze_bn", OG_OPTION_LIST, NULL, "GLOB",
     "BatchNormalization of this name, or with a tensor of this name, or all: running statistics "
     "are used in training, too, and stay as they are"},
    {"lr_scale", OG_OPTION_LIST, NULL, "GLOB=X",
     "tensors of this name learn at X times the learning rate"},
    {"no_decay", OG_OPTION_LIST, NULL, "GLOB", "no weight decay for tensors of this name"},
    {"init_from", OG_OPTION_TEXT, NULL, "FILE",
     "begin with the weights of this .onnx or .safetensors file, where name and shape are the "
     "same"},
    {"reinit", OG_OPTION_LIST, NULL, "GLOB", "draw tensors of this name anew, as PyTorch begins"},
    {"lora", OG_OPTION_LIST, NULL, "rank=N[,alpha=X][,target=GLOB:...][,keep]",
     "train low-rank adapters beside the weights of MatMul, Gemm and Conv of this name (all), and "
     "nothing else but a new head; alpha is the rank unless told; saved merged into the weights, "
     "or "
     "with keep as branches"},
    {"use_scheduler", OG_OPTION_FLAG, "off", NULL,
     "cosine learning-rate schedule with 5 % warm-up"},
    {"scheduler", OG_OPTION_TEXT, NULL, "NAME",
     "constant, linear, cosine, cosine_with_restarts, cosine_with_min_lr, polynomial, "
     "inverse_sqrt, warmup_stable_decay, step, multistep, exponential, onecycle, or "
     "reduce_lr_on_plateau; their options count optimizer steps after warm-up"},
    {"warmup_steps", OG_OPTION_INT, "0", "N",
     "optimizer steps during which the learning rate rises from 0; onecycle: to its top"},
    {"warmup_ratio", OG_OPTION_FLOAT, "0", "X", "the same, as a share of all steps"},
    {"num_cycles", OG_OPTION_FLOAT, NULL, "X",
     "cosine_with_restarts: cosines, 1; cosine, cosine_with_min_lr, warmup_stable_decay: waves, "
     "0.5"},
    {"min_lr", OG_OPTION_FLOAT, "0", "X",
     "cosine_with_min_lr, warmup_stable_decay: what the learning rate ends at; "
     "reduce_lr_on_plateau: its least"},
    {"min_lr_rate", OG_OPTION_FLOAT, "0", "X", "the same, as a share of lr"},
    {"lr_end", OG_OPTION_FLOAT, "1e-7", "X", "polynomial: the last learning rate"},
    {"power", OG_OPTION_FLOAT, "1", "X", "polynomial: its exponent"},
    {"timescale", OG_OPTION_INT, NULL, "N", "inverse_sqrt: steps; warmup_steps, or 10000"},
    {"decay_steps", OG_OPTION_INT, NULL, "N",
     "warmup_stable_decay: the last steps, a tenth of all"},
    {"decay_type", OG_OPTION_TEXT, "cosine", "NAME",
     "warmup_stable_decay: cosine, linear or 1-sqrt"},
    {"step_size", OG_OPTION_INT, NULL, "N", "step: times gamma every N steps"},
    {"milestones", OG_OPTION_TEXT, NULL, "N,N,...", "multistep: times gamma at these steps"},
    {"gamma", OG_OPTION_FLOAT, "0.1", "X",
     "step, multistep, exponential (every step): what the learning rate is multiplied by"},
    {"pct_start", OG_OPTION_FLOAT, "0.3", "X", "onecycle: share of steps that rise"},
    {"div_factor", OG_OPTION_FLOAT, "25", "X", "onecycle: it begins at lr / X"},
    {"final_div_factor", OG_OPTION_FLOAT, "1e4", "X",
     "onecycle: it ends at the first learning rate / X"},
    {"anneal_strategy", OG_OPTION_TEXT, "cos", "NAME", "onecycle: cos or linear"},
    {"plateau_factor", OG_OPTION_FLOAT, "0.1", "X",
     "reduce_lr_on_plateau: what the learning rate is multiplied by"},
    {"plateau_patience", OG_OPTION_INT, "10", "N",
     "reduce_lr_on_plateau: validations (epochs without any) in a row that may be no better"},
    {"plateau_threshold", OG_OPTION_FLOAT, "1e-4", "X",
     "reduce_lr_on_plateau: relative change that counts as better"},
    {"plateau_cooldown", OG_OPTION_INT, "0", "N",
     "reduce_lr_on_plateau: validations after a reduction that do not count"},
    {"amp", OG_OPTION_TEXT, "off", "MODE",
     "mixed precision of training: fp16, bf16, off, or auto: the one the device computes faster "
     "in, "
     "on a CPU bf16 if it has AVX512-BF16 or AMX-BF16, else off. Saved weights are float32 in any "
     "case, "
     "and evaluation and prediction compute in it"},
    {"loss_scale", OG_OPTION_TEXT, "auto", "N",
     "factor of the loss that keeps small gradients from vanishing in fp16: a number (20 updates "
     "in "
     "a row that are not finite end the run), dynamic, off, or auto, which is dynamic for fp16, "
     "else off"},
    {"loss_scale_start", OG_OPTION_FLOAT, "65536", "X", "what a dynamic loss scale begins with"},
    {"loss_scale_growth", OG_OPTION_FLOAT, "2", "X",
     "what a dynamic loss scale is multiplied by after loss_scale_interval clean updates"},
    {"loss_scale_backoff", OG_OPTION_FLOAT, "0.5", "X",
     "what a dynamic loss scale is multiplied by when gradients are not finite; such an update is "
     "skipped"},
    {"loss_scale_interval", OG_OPTION_INT, "2000", "N",
     "clean updates in a row before a dynamic loss scale grows"},
    {"allow_tf32", OG_OPTION_FLAG, "on", NULL, "TF32 products on a GPU; no effect on a CPU"},
    {"deterministic", OG_OPTION_FLAG, "off", NULL,
     "on a GPU, only kernels that give the same bits every time; a CPU has no others"},
    {"tune", OG_OPTION_FLAG, "on", NULL,
     "on a GPU, time the ways to compute each product while planning, once on a machine: the "
     "fastest are kept in the user's cache. Not with --deterministic"},
    {"memory_fraction", OG_OPTION_FLOAT, "0.9", "X",
     "share of the device's memory that may be used"},
    {"memory_budget", OG_OPTION_TEXT, NULL, "BYTES", "cap on the memory used, such as 6GiB"},
    {"device_memory", OG_OPTION_TEXT, NULL, "BYTES",
     "plan for a device with so much memory, such as 24GB, which need not be here, or auto: for "
     "this one; nothing is allocated"},
    {"recompute", OG_OPTION_TEXT, "auto", "MODE",
     "activations computed again in the backward pass instead of kept: off; auto, what is "
     "predicted to add no more than a hundredth to the step, and as much more as the memory budget "
     "asks for; max, all but what passes between blocks"},
    {"split_batch", OG_OPTION_TEXT, "auto", "MODE",
     "when even so a batch does not fit, run it as micro-batches whose gradients are summed: auto, "
     "where that gives the same update; on, always; off"},
    {"check_memory", OG_OPTION_FLAG, "off", NULL,
     "fill unused memory with NaN and check every kernel's writes; slow"},
    {"profile", OG_OPTION_FLAG, "off", NULL,
     "time every kernel call of the training steps, for og_session_profile"},
    /* of built-in models, whose rows (models/) hold the defaults */
    {"model_type", OG_OPTION_TEXT, "transformer", "TYPE",
     "the built-in model where no file is given"},
    {"streams", OG_OPTION_TEXT, NULL, "NAME,...",
     "inputs: any of features_224, video, face; all but what is predicted"},
    {"regress", OG_OPTION_TEXT, NULL, "NAME",
     "predict this stream, features_224, instead of classes"},
    {"num_classes", OG_OPTION_INT, NULL, "N",
     "classes that the output scores; a model from a file gets a new last layer for them"},
    {"num_outputs", OG_OPTION_INT, NULL, "N", "predict N numbers instead of classes"},
    {"num_layers", OG_OPTION_INT, NULL, "N", "blocks, or layers of an LSTM"},
    {"d_model", OG_OPTION_INT, NULL, "N", "width of a transformer"},
    {"num_heads", OG_OPTION_INT, NULL, "N",
     "attention heads, which divide d_model; default d_model / 64, or 1 where 64 does not divide "
     "it"},
    {"dim_feedforward", OG_OPTION_INT, NULL, "N",
     "width between a block's linear layers; default 4 x d_model"},
    {"dropout", OG_OPTION_FLOAT, NULL, "P", "share of activations that training leaves out"},
    {"feature_size", OG_OPTION_INT, NULL, "N", "numbers in a vector of features_224"},
    {"feature_steps", OG_OPTION_INT, NULL, "N", "vectors of features_224 in a sample"},
    {"frames", OG_OPTION_INT, NULL, "N", "images in a sample of video"},
    {"video_size", OG_OPTION_INT, NULL, "N", "height and width of video in pixels"},
    {"face_size", OG_OPTION_INT, NULL, "N", "height and width of face in pixels"},
    {"image_size", OG_OPTION_INT, NULL, "N", "height and width of the image in pixels"},
    {"channels", OG_OPTION_INT, NULL, "N", "channels of the image"},
    {"patch_size", OG_OPTION_INT, NULL, "N",
     "height and width of a patch, which divides the image"},
    {"depth", OG_OPTION_INT, NULL, "N", "layers of a resnet: 18, 34, 50, 101 or 152"},
    {"stem", OG_OPTION_TEXT, NULL, "KIND",
     "first layers of a resnet: imagenet, small (which keep the image's size), or auto: small up "
     "to "
     "64 pixels"},
    {"conv_channels", OG_OPTION_TEXT, NULL, "N,N,...", "channels of each convolution"},
    {"input_size", OG_OPTION_INT, NULL, "N", "numbers in an input vector"},
    {"hidden_sizes", OG_OPTION_TEXT, NULL, "N,N,...", "widths of hidden layers"},
    {"hidden_size", OG_OPTION_INT, NULL, "N", "width of a hidden layer, or of an LSTM's state"},
    {"bidirectional", OG_OPTION_FLAG, NULL, NULL, "an LSTM that reads in both directions"},
    {"sequence_length", OG_OPTION_INT, NULL, "N", "steps, or tokens, of a sample"},
    {"vocab_size", OG_OPTION_INT, NULL, "N", "different tokens"},
    {"tie_head", OG_OPTION_FLAG, NULL, NULL, "score tokens with the weights that embed them"},
    {NULL, OG_OPTION_TEXT, NULL, NULL, NULL},
};

const og_option_info *og_option_table(void)
{
    return table;
}

static bool same_name(const char *a, const char *b)
{
    while (*a && *b && (*a == *b || (*a == '-' && *b == '_') || (*a == '_' && *b == '-'))) {
        a++;
        b++;
    }
    return *a == *b;
}

static int find_row(const char *name)
{
    for (int i = 0; table[i].name; i++)
        if (same_name(name, table[i].name))
            return i;
    return -1;
}

static int count_rows(void)
{
    return (int)(sizeof(table) / sizeof(table[0])) - 1;
}

og_options *og_options_new(og_context *context)
{
    og_options *o = calloc(1, sizeof(*o));
    size_t n = (size_t)count_rows();
    if (o) {
        o->context = context;
        o->values = calloc(n, sizeof(*o->values));
        o->counts = calloc(n, sizeof(*o->counts));
        if (o->values && o->counts)
            return o;
    }
    og_options_free(o);
    og_fail_memory(&context->error, sizeof(*o), "options");
    return NULL;
}

void og_options_free(og_options *o)
{
    if (!o)
        return;
    for (int i = 0; o->values && o->counts && i < count_rows(); i++) {
        for (int k = 0; k < o->counts[i]; k++)
            free(o->values[i][k]);
        free(o->values[i]);
    }
    free(o->values);
    free(o->counts);
    free(o);
}

static bool parse_float(const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && !*end && isfinite(*out);
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && !*end && errno == 0;
}

static bool parse_flag(const char *text, bool *out)
{
    static const char *const on[] = {"on", "true", "1", "yes"}, *const off[] = {"off", "false", "0",
                                                                                "no"};
    for (int i = 0; i < 4; i++) {
        *out = strcmp(text, on[i]) == 0;
        if (*out || strcmp(text, off[i]) == 0)
            return true;
    }
    return false;
}

bool og_parse_bytes(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},      {"b", 1},      {"kb", 1e3},      {"mb", 1e6},           {"gb", 1e9},
                 {"tb", 1e12}, {"kib", 1024}, {"mib", 1048576}, {"gib", 1073741824.0}, {"k", 1e3},
                 {"m", 1e6},   {"g", 1e9}};
    char *end, unit[8] = {0};
    double value = strtod(text, &end);
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof(unit) - 1 && end[i]; i++)
        unit[i] = (char)tolower((unsigned char)end[i]);
    for (size_t i = 0; end != text && i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].unit) == 0 && value > 0 && value * units[i].factor < 1.8e19) {
            *bytes = (uint64_t)(value * units[i].factor);
            return true;
        }
    return false;
}

static bool parses(og_option_kind kind, const char *value)
{
    double d;
    int64_t i;
    bool b;
    switch (kind) {
    case OG_OPTION_FLAG:
        return parse_flag(value, &b);
    case OG_OPTION_INT:
        return parse_int(value, &i);
    case OG_OPTION_FLOAT:
        return parse_float(value, &d);
    default:
        return true;
    }
}

og_status og_options_set(og_options *o, const char *name, const char *value)
{
    static const char *const wanted[] = {"on or off", "a whole number", "a number", "text", "text"};
    og_context *c = o->context;
    og__context_begin(c);
    int row = find_row(name);
    if (row < 0) {
        const char *nearest = NULL;
        int best = 4;
        for (int i = 0; table[i].name; i++) {
            int d = og_edit_distance(table[i].name, name);
            if (d < best) {
                best = d;
                nearest = table[i].name;
            }
        }
        return og_fail(&c->error, OG_INVALID_ARGUMENT, "unknown option \"%s\"%s%s%s", name,
                       nearest ? "; did you mean " : "", nearest ? nearest : "",
                       nearest ? "?" : "");
    }
    og_option_kind kind = table[row].kind;
    if (!parses(kind, value))
        return og_fail(&c->error, OG_INVALID_ARGUMENT, "option %s is \"%s\", expected %s",
                       table[row].name, value, wanted[kind]);
    char *copy = strdup(value);
    int n = kind == OG_OPTION_LIST ? o->counts[row] : 0;
    char **list = copy ? realloc(o->values[row], sizeof(char *) * (size_t)(n + 1)) : NULL;
    if (!list) {
        free(copy);
        return og_fail_memory(&c->error, strlen(value), "an option");
    }
    if (n == 0 && o->counts[row])
        free(list[0]);
    list[n] = copy;
    o->values[row] = list;
    o->counts[row] = n + 1;
    return OG_OK;
}

const char *og_options_get(const og_options *o, const char *name)
{
    int row = find_row(name);
    if (row < 0)
        return NULL;
    return o && o->counts[row] ? o->values[row][0] : table[row].fallback;
}

bool og_options_is_set(const og_options *o, const char *name)
{
    int row = find_row(name);
    return row >= 0 && o && o->counts[row] > 0;
}

int64_t og__option_int(const og_options *o, const char *name)
{
    const char *text = og_options_get(o, name);
    int64_t value = 0;
    if (text)
        parse_int(text, &value);
    return value;
}

double og__option_float(const og_options *o, const char *name)
{
    const char *text = og_options_get(o, name);
    double value = 0;
    if (text)
        parse_float(text, &value);
    return value;
}

bool og__option_flag(const og_options *o, const char *name)
{
    const char *text = og_options_get(o, name);
    bool value = false;
    if (text)
        parse_flag(text, &value);
    return value;
}

const char *const *og__option_list(const og_options *o, const char *name, int *n)
{
    int row = find_row(name);
    *n = row >= 0 && o ? o->counts[row] : 0;
    return *n ? (const char *const *)o->values[row] : NULL;
}

og_options *og__options_copy(const og_options *from)
{
    og_options *to = og_options_new(from->context);
    for (int i = 0; to && i < count_rows(); i++)
        for (int k = 0; k < from->counts[i]; k++)
            if (og_options_set(to, table[i].name, from->values[i][k]) != OG_OK) {
                og_options_free(to);
                return NULL;
            }
    return to;
}
