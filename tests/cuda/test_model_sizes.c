/* The kernels of models at their real sizes, asked for by types alone: nothing is computed, but the
 * fusions are met, and left for cudnn_fusions. MobileNetV2's dense convolutions (Sandler et al.
 * 2018, table 2) and ResNet-18's with what normalizes and pools between them (He et al. 2016, table
 * 1), attention of BERT-base and of GPT-2. */
#include "tests/cuda/call.h"

typedef struct layer {
    int64_t c, m, side, kernel, stride; /* side: of the input */
} layer;

static const layer mobilenet[] = {
    {3, 32, 224, 3, 2},  {32, 16, 112, 1, 1}, {16, 96, 112, 1, 1}, {96, 24, 56, 1, 1},
    {24, 144, 56, 1, 1}, {144, 24, 56, 1, 1}, {144, 32, 28, 1, 1}, {32, 192, 28, 1, 1},
    {192, 32, 28, 1, 1}, {192, 64, 14, 1, 1}, {64, 384, 14, 1, 1}, {384, 64, 14, 1, 1},
    {384, 96, 14, 1, 1}, {96, 576, 14, 1, 1}, {576, 96, 14, 1, 1}, {576, 160, 7, 1, 1},
    {160, 960, 7, 1, 1}, {960, 160, 7, 1, 1}, {960, 320, 7, 1, 1}, {320, 1280, 7, 1, 1},
};

static const layer resnet[] = {
    {3, 64, 224, 7, 2},   {64, 64, 56, 3, 1},   {64, 128, 56, 3, 2},  {64, 128, 56, 1, 2},
    {128, 128, 28, 3, 1}, {128, 256, 28, 3, 2}, {128, 256, 28, 1, 2}, {256, 256, 14, 3, 1},
    {256, 512, 14, 3, 2}, {256, 512, 14, 1, 2}, {512, 512, 7, 3, 1},
};

static og_tensor tensor(og_dtype dtype, int rank, const int64_t *dims, bool last)
{
    og_type type = og_type_make(dtype, rank, dims);
    og_tensor t = og_tensor_dense(&type, NULL);
    if (last)
        og_strides_channels_last(&type, t.strides);
    return t;
}

static og_attr ints(const char *name, int n, const int64_t *values)
{
    return (og_attr){.name = name, .kind = OG_ATTR_INTS, .n = n, .ints = values};
}

static void asks(og_device *d, kernel_call *c, const char *name)
{
    kernel_node n;
    test_node(&n, c);
    const og_call call = {
        .node = &n.node, .device = d, .nx = c->nx, .ny = c->ny, .x = c->x, .y = c->y};
    const og_kernel *kernel = og_device_kernel(d, &call, false);
    CHECK_STR(kernel ? kernel->name : "none", name);
}

/* ---- images */

static void convolves(og_device *d, const layer *l, int64_t n, og_dtype dtype)
{
    int64_t small = (l->side - 1) / l->stride + 1, pad = l->kernel / 2;
    const int64_t x[] = {n, l->c, l->side, l->side}, y[] = {n, l->m, small, small},
                  w[] = {l->m, l->c, l->kernel, l->kernel}, strides[] = {l->stride, l->stride},
                  pads[] = {pad, pad, pad, pad};
    bool half = dtype != OG_FLOAT;
    kernel_call c = {.op = "Conv", .nx = 2, .ny = 1, .n_attrs = 2};
    c.attrs[0] = ints("strides", 2, strides);
    c.attrs[1] = ints("pads", 4, pads);
    c.x[0] = tensor(dtype, 4, x, true);
    c.x[1] = tensor(dtype, 4, w, false);
    c.y[0] = tensor(dtype, 4, y, true);
    asks(d, &c, "cuDNN");
    c.n_attrs = 3;
    c.op = "ai.ongrad::ConvGradData";
    c.attrs[2] = ints("x_dims", 4, x);
    c.x[0] = tensor(dtype, 4, y, true);
    c.y[0] = tensor(dtype, 4, x, true);
    if (l->c > 3)
        asks(d, &c, "cuDNN");
    c.op = half ? "ai.ongrad::WideConvGradWeights" : "ai.ongrad::ConvGradWeights";
    c.attrs[2] = ints("w_dims", 4, w);
    c.x[0] = tensor(dtype, 4, x, true);
    c.x[1] = tensor(dtype, 4, y, true);
    c.y[0] = tensor(OG_FLOAT, 4, w, false);
    asks(d, &c, half && l->c == 3 ? "windows" : "cuDNN");
}

static void normalizes(og_device *d, const layer *l, int64_t n, og_dtype dtype)
{
    int64_t small = (l->side - 1) / l->stride + 1;
    const int64_t y[] = {n, l->m, small, small};
    for (int back = 0; back < 2; back++) {
        kernel_call c = {.op = back ? "ai.ongrad::BatchNormalizationGrad"
                                    : "ai.ongrad::BatchNormalizationTraining",
                         .nx = back ? 5 : 3,
                         .ny = back ? 3 : 4};
        for (int i = 0; i < c.nx; i++)
            c.x[i] = i <= back ? tensor(dtype, 4, y, true) : tensor(OG_FLOAT, 1, &l->m, false);
        for (int k = 0; k < c.ny; k++)
            c.y[k] = k == 0 ? tensor(dtype, 4, y, true) : tensor(OG_FLOAT, 1, &l->m, false);
        asks(d, &c, "cuDNN");
    }
}

static void pools(og_device *d, int64_t n, og_dtype dtype)
{
    static const int64_t window[] = {3, 3}, strides[] = {2, 2}, pads[] = {1, 1, 1, 1};
    const int64_t x[] = {n, 64, 112, 112}, y[] = {n, 64, 56, 56};
    kernel_call c = {.op = "ai.ongrad::MaxPoolTraining", .nx = 1, .ny = 2, .n_attrs = 3};
    c.attrs[0] = ints("kernel_shape", 2, window);
    c.attrs[1] = ints("strides", 2, strides);
    c.attrs[2] = ints("pads", 4, pads);
    c.x[0] = tensor(dtype, 4, x, true);
    c.y[0] = tensor(dtype, 4, y, true);
    c.y[1] = tensor(OG_UINT8, 4, y, true);
    asks(d, &c, "cuDNN");
    c.op = "ai.ongrad::MaxPoolGrad";
    c.nx = 2, c.ny = 1, c.n_attrs = 4;
    c.attrs[3] = ints("x_dims", 4, x);
    c.x[0] = c.y[0];
    c.x[1] = c.y[1];
    c.y[0] = tensor(dtype, 4, x, true);
    asks(d, &c, "cuDNN");
}

TEST(images)
{
    static const og_dtype types[] = {OG_FLOAT16, OG_FLOAT};
    og_device *d = open_device(1);
    for (int t = 0; t < 2; t++) {
        char text[64];
        for (size_t i = 0; i < sizeof mobilenet / sizeof *mobilenet; i++) {
            snprintf(text, sizeof text, "MobileNetV2, layer %d, %s", (int)i,
                     og_dtype_name(types[t]));
            TEST_CASE(text);
            convolves(d, &mobilenet[i], 32, types[t]);
            normalizes(d, &mobilenet[i], 32, types[t]);
        }
        for (size_t i = 0; i < sizeof resnet / sizeof *resnet; i++) {
            snprintf(text, sizeof text, "ResNet-18, layer %d, %s", (int)i, og_dtype_name(types[t]));
            TEST_CASE(text);
            convolves(d, &resnet[i], 64, types[t]);
            normalizes(d, &resnet[i], 64, types[t]);
        }
        TEST_CASE("ResNet-18, pooling");
        pools(d, 64, types[t]);
    }
    close_device(d);
}

/* ---- attention of 12 heads of 64 */

/* mask: [S, S] of a causal one, [B, 1, 1, S] that is added, or none. */
static void attends(og_device *d, int64_t n, int64_t s, int mask_rank, const float *mask)
{
    const int64_t heads[] = {n, s, 12, 64}, rows[] = {n, 12, s}, square[] = {s, s},
                  keys[] = {n, 1, 1, s};
    const og_attr attrs[] = {{.name = "scale", .kind = OG_ATTR_FLOAT, .f = 0.125},
                             {.name = "zero_nan", .kind = OG_ATTR_INT},
                             {.name = "keep_scale", .kind = OG_ATTR_FLOAT, .f = 1}};
    og_tensor m = mask_rank == 2   ? tensor(OG_FLOAT, 2, square, false)
                  : mask_rank == 4 ? tensor(OG_FLOAT, 4, keys, false)
                                   : (og_tensor){.type = {.dtype = OG_UNDEFINED}};
    m.data = (void *)(uintptr_t)mask;
    kernel_call c = {.op = "ai.ongrad::WideAttentionHeads", .nx = 4, .ny = 3, .n_attrs = 3};
    memcpy(c.attrs, attrs, sizeof attrs);
    for (int i = 0; i < 3; i++)
        c.x[i] = tensor(OG_FLOAT16, 4, heads, false);
    c.x[3] = m;
    c.y[0] = tensor(OG_FLOAT16, 4, heads, false);
    c.y[1] = c.y[2] = tensor(OG_FLOAT, 3, rows, false);
    asks(d, &c, "cuDNN");
    c.op = "ai.ongrad::WideAttentionHeadsGrad";
    c.nx = 8;
    for (int i = 0; i < 5; i++)
        c.x[i] = tensor(OG_FLOAT16, 4, heads, false);
    c.x[5] = c.x[6] = c.y[1];
    c.x[7] = m;
    for (int k = 0; k < 3; k++)
        c.y[k] = tensor(OG_FLOAT16, 4, heads, false);
    asks(d, &c, "cuDNN");
}

TEST(attention)
{
    enum { TOKENS = 1024 };
    og_device *d = open_device(1);
    float *causal = malloc(TOKENS * TOKENS * sizeof *causal);
    for (int64_t e = 0; e < TOKENS * TOKENS; e++)
        causal[e] = e % TOKENS > e / TOKENS ? -INFINITY : 0;
    TEST_CASE("BERT-base, 128 tokens");
    attends(d, 32, 128, 0, NULL);
    attends(d, 32, 128, 4, NULL);
    TEST_CASE("BERT-base, 512 tokens");
    attends(d, 8, 512, 4, NULL);
    TEST_CASE("GPT-2, 1024 tokens");
    attends(d, 4, TOKENS, 2, causal);
    free(causal);
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(images), TEST_ROW(attention)};
TEST_MAIN(tests)
