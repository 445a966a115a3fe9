/* Layers on images and vectors (layers.h). */
#include <math.h>

#include "models/layers.h"

/* ---- products */

/* nn.Linear.reset_parameters: kaiming_uniform_(a = √5) of fan_in, which is ±1/√fan_in (He et al.,
 * Delving deep into rectifiers, 2015), and the same bound for the bias. */
static og__init default_init(int64_t fan_in)
{
    return og__uniform(fan_in > 0 ? 1 / sqrt((double)fan_in) : 0);
}

og_val og__linear(og__building *b, const char *name, og_val x, int64_t out)
{
    og__init init = default_init(Dim(x, -1));
    return og__linear_from(b, name, x, out, init, init);
}

og_val og__linear_from(og__building *b, const char *name, og_val x, int64_t out, og__init weight,
                       og__init bias)
{
    og__scope scope = og__enter(b, "%s", name);
    og_val w = og__model_weight(b, "weight", 2, (int64_t[]){Dim(x, -1), out}, weight);
    og_val c = og__model_weight(b, "bias", 1, &out, bias);
    og_val y = Rank(x) == 2 ? Op("Gemm", In(x, w, c)) : Add(MatMul(x, w), c);
    og__leave(b, scope);
    return y;
}

/* ---- images */

og_val og__conv(og__building *b, const char *name, og_val x, int64_t out, int64_t kernel,
                int64_t stride, int64_t pad)
{
    og__init init = default_init(Dim(x, 1) * kernel * kernel);
    return og__conv_from(b, name, x, out, kernel, stride, pad, init, &init);
}

og_val og__conv_from(og__building *b, const char *name, og_val x, int64_t out, int64_t kernel,
                     int64_t stride, int64_t pad, og__init weight, const og__init *bias)
{
    og__scope scope = og__enter(b, "%s", name);
    const int64_t dims[4] = {out, Dim(x, 1), kernel, kernel};
    og_val w = og__model_weight(b, "weight", 4, dims, weight);
    og_val c = bias ? og__model_weight(b, "bias", 1, &out, *bias) : OG_NONE;
    og_val y = OG_NONE;
    if (Has(x) && Has(w))
        y = og_ops(OG_HERE, "Conv", 1, bias ? In(x, w, c) : In(x, w),
                   (og_attr[]){Is("kernel_shape", 2, ((int64_t[]){kernel, kernel})),
                               Is("strides", 2, ((int64_t[]){stride, stride})),
                               Is("pads", 4, ((int64_t[]){pad, pad, pad, pad})),
                               {0}})
                .y[0];
    og__leave(b, scope);
    return y;
}

og_val og__max_pool(og_val x, int64_t kernel, int64_t stride, int64_t pad)
{
    return Op("MaxPool", In(x), Is("kernel_shape", 2, ((int64_t[]){kernel, kernel})),
              Is("strides", 2, ((int64_t[]){stride, stride})),
              Is("pads", 4, ((int64_t[]){pad, pad, pad, pad})));
}

og_val og__batch_norm(og__building *b, const char *name, og_val x)
{
    og__scope scope = og__enter(b, "%s", name);
    int64_t channels = Dim(x, 1);
    og_val scale = og__model_weight(b, "weight", 1, &channels, og__constant(1));
    og_val shift = og__model_weight(b, "bias", 1, &channels, og__constant(0));
    og_val mean = og__model_weight(b, "running_mean", 1, &channels, og__constant(0));
    og_val var = og__model_weight(b, "running_var", 1, &channels, og__constant(1));
    og_val y = Op("BatchNormalization", In(x, scale, shift, mean, var));
    og__leave(b, scope);
    return y;
}

og_val og__global_mean(og_val x, int64_t channels)
{
    return Reshape(Op("GlobalAveragePool", In(x)), 2, ((int64_t[]){-1, channels}));
}

og_val og__tokens_of_image(og__building *b, const char *name, og_val image, int64_t d,
                           int64_t patch, og__init weight, og__init bias)
{
    og_val y = og__conv_from(b, name, image, d, patch, patch, 0, weight, &bias);
    y = Reshape(y, 3, ((int64_t[]){-1, d, Dim(y, 2) * Dim(y, 3)}));
    return Transpose(y, ((int[]){0, 2, 1}));
}

/* ---- norms, dropout */

og_val og__layer_norm(og__building *b, const char *name, og_val x, double epsilon)
{
    og__scope scope = og__enter(b, "%s", name);
    int64_t d = Dim(x, -1);
    og_val scale = og__model_weight(b, "weight", 1, &d, og__constant(1));
    og_val shift = og__model_weight(b, "bias", 1, &d, og__constant(0));
    og_val y = Op("LayerNormalization", In(x, scale, shift), I("axis", -1), F("epsilon", epsilon));
    og__leave(b, scope);
    return y;
}

og_val og__dropout(og__building *b, og_val x, double ratio)
{
    if (ratio == 0 || !Has(x))
        return x;
    if (!Has(b->training)) {
        b->training = og_const_double(b->g, OG_BOOL, 1);
        b->ratio = og_const_double(b->g, OG_FLOAT, ratio);
    }
    return Op("Dropout", In(x, b->ratio, b->training));
}

/* ---- the last layer */

int64_t og__head_size(og__building *b, const char **output)
{
    bool regression = og__model_text(b, "num_outputs") != NULL;
    if (regression && b->options && og_options_is_set(b->options, "num_classes"))
        og__model_fail(b, "%s: num_classes and num_outputs exclude each other", b->type->name);
    *output = regression ? "prediction" : "logits";
    return og__model_int(b, regression ? "num_outputs" : "num_classes", 1, OG__MOST_SIZE);
}

void og__head(og__building *b, const char *name, og_val x)
{
    const char *output;
    int64_t size = og__head_size(b, &output);
    og__model_output(b, output, og__linear(b, name, x, size));
}
