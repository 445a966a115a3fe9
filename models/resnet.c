/* resnet: residual networks over image [batch, channels, image_size, image_size] (He et al., Deep
 * residual learning for image recognition, 2015, table 1; with 50 layers and more the 3 × 3
 * convolution has the stride, as torchvision has it). For small images the first layers keep the
 * size: a 3 × 3 convolution with stride 1 and no pooling (section 4.2 there). */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "models/layers.h"

static const og_model_option options[] = {
    {"depth", "18"},         {"stem", "auto"},      {"channels", "3"}, {"image_size", "224"},
    {"num_classes", "1000"}, {"num_outputs", NULL}, {NULL, NULL},
};

enum { SMALL_IMAGE = 64 };

static const struct variant {
    int depth, blocks[4];
    bool bottleneck;
} variants[] = {
    {18, {2, 2, 2, 2}, false},  {34, {3, 4, 6, 3}, false},  {50, {3, 4, 6, 3}, true},
    {101, {3, 4, 23, 3}, true}, {152, {3, 8, 36, 3}, true},
};

static const struct variant *variant_of(og__building *b)
{
    int64_t depth = og__model_int(b, "depth", 1, OG__MOST_LAYERS);
    for (size_t i = 0; i < sizeof(variants) / sizeof(*variants); i++)
        if (variants[i].depth == depth)
            return &variants[i];
    og__model_fail(b, "resnet: depth is %" PRId64 ", expected 18, 34, 50, 101 or 152", depth);
    return NULL;
}

/* Option stem: is the image small? */
static bool has_small_stem(og__building *b, int64_t image_size)
{
    const char *stem = og__model_text(b, "stem");
    bool small = strcmp(stem, "small") == 0, automatic = strcmp(stem, "auto") == 0;
    if (!small && !automatic && strcmp(stem, "imagenet") != 0)
        og__model_fail(b, "resnet: stem is \"%s\", expected auto, imagenet or small", stem);
    return small || (automatic && image_size <= SMALL_IMAGE);
}

/* Without a bias; weights normal with deviation √(2 / (out kernel²)): kaiming_normal_ of fan_out
 * (He et al., Delving deep into rectifiers, 2015, equation 14). */
static og_val conv(og__building *b, const char *name, og_val x, int64_t out, int64_t kernel,
                   int64_t stride)
{
    og__init init = og__normal(sqrt(2 / (double)(out * kernel * kernel)));
    return og__conv_from(b, name, x, out, kernel, stride, kernel / 2, init, NULL);
}

static og_val block(og__building *b, og_val x, bool bottleneck, int64_t width, int64_t stride)
{
    int64_t out = bottleneck ? 4 * width : width;
    og_val y;
    if (bottleneck) {
        y = Relu(og__batch_norm(b, "bn1", conv(b, "conv1", x, width, 1, 1)));
        y = Relu(og__batch_norm(b, "bn2", conv(b, "conv2", y, width, 3, stride)));
        y = og__batch_norm(b, "bn3", conv(b, "conv3", y, out, 1, 1));
    } else {
        y = Relu(og__batch_norm(b, "bn1", conv(b, "conv1", x, width, 3, stride)));
        y = og__batch_norm(b, "bn2", conv(b, "conv2", y, width, 3, 1));
    }
    if (stride != 1 || Dim(x, 1) != out)
        x = og__batch_norm(b, "downsample.1", conv(b, "downsample.0", x, out, 1, stride));
    return Relu(Add(y, x));
}

static void build(og__building *b)
{
    const struct variant *v = variant_of(b);
    int64_t channels = og__model_int(b, "channels", 1, OG__MOST_SIZE),
            size = og__model_int(b, "image_size", 1, OG__MOST_SIZE);
    bool small = has_small_stem(b, size);
    if (og__model_failed(b))
        return;
    og_val x = og__model_input(b, "image", OG_FLOAT, 4, (int64_t[]){channels, size, size});
    x = conv(b, "conv1", x, 64, small ? 3 : 7, small ? 1 : 2);
    x = Relu(og__batch_norm(b, "bn1", x));
    if (!small)
        x = og__max_pool(x, 3, 2, 1);
    for (int stage = 0; stage < 4; stage++)
        for (int i = 0; i < v->blocks[stage]; i++) {
            og__scope scope = og__enter(b, "layer%d.%d", stage + 1, i);
            x = block(b, x, v->bottleneck, 64 << stage, stage > 0 && i == 0 ? 2 : 1);
            og__leave(b, scope);
        }
    og__head(b, "fc", og__global_mean(x, Dim(x, 1)));
}

const og_builtin og_models_resnet[] = {
    {{"resnet", "residual network of 18, 34, 50, 101 or 152 layers", options}, build},
    {{NULL, NULL, NULL}, NULL},
};
