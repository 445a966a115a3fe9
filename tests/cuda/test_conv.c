/* Convolutions of the card and their gradients against the processor's: dense and channels-last,
 * strides, dilations, uneven pads, groups, 1 to 3 axes. */
#include "tests/cuda/call.h"

typedef struct conv {
    const char *what;
    int spatial;
    int64_t n, c, m, group, in[3], kernel[3], stride, dilation, begin, end;
} conv;

static const conv cases[] = {
    {"3 x 3", 2, 3, 8, 12, 1, {7, 9}, {3, 3}, 1, 1, 1, 1},
    {"3 x 3, few channels", 2, 2, 3, 16, 1, {8, 8}, {3, 3}, 2, 1, 1, 1},
    {"1 x 1", 2, 2, 16, 24, 1, {5, 6}, {1, 1}, 1, 1, 0, 0},
    {"1 x 1, strides", 2, 2, 8, 4, 1, {6, 6}, {1, 1}, 2, 1, 0, 0},
    {"wide enough for sums", 2, 2, 16, 8, 1, {6, 7}, {3, 3}, 1, 1, 1, 1},
    {"dilated, uneven pads", 2, 1, 4, 5, 1, {9, 8}, {3, 2}, 1, 2, 2, 1},
    {"groups", 2, 2, 8, 12, 4, {6, 5}, {3, 3}, 1, 1, 1, 1},
    {"depthwise", 2, 2, 8, 8, 8, {6, 6}, {3, 3}, 2, 1, 1, 0},
    {"depthwise, pieces of a few", 2, 2, 12, 12, 12, {5, 4}, {3, 3}, 1, 1, 1, 1},
    {"depthwise, many channels", 2, 2, 144, 144, 144, {5, 6}, {3, 2}, 1, 2, 2, 1},
    {"one axis", 1, 3, 6, 4, 1, {20}, {5}, 2, 1, 2, 2},
    {"three axes", 3, 1, 4, 6, 1, {4, 5, 3}, {2, 3, 2}, 1, 1, 1, 0},
};

/* Sums of at most 200 products below 1; half types round the result, windows and sums of those. */
static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT     ? (closeness){2e-5, 2e-5}
           : dtype == OG_FLOAT16 ? (closeness){4e-3, 1e-2}
                                 : (closeness){3e-2, 8e-2};
}

typedef struct shapes {
    int64_t x[5], w[5], y[5];
    int64_t strides[3], dilations[3], pads[6];
} shapes;

static shapes shapes_of(const conv *v)
{
    shapes s = {{v->n, v->c}, {v->m, v->c / v->group}, {v->n, v->m}, {0}, {0}, {0}};
    for (int a = 0; a < v->spatial; a++) {
        s.x[a + 2] = v->in[a];
        s.w[a + 2] = v->kernel[a];
        s.y[a + 2] =
            (v->in[a] + v->begin + v->end - (v->kernel[a] - 1) * v->dilation - 1) / v->stride + 1;
        s.strides[a] = v->stride;
        s.dilations[a] = v->dilation;
        s.pads[a] = v->begin;
        s.pads[a + v->spatial] = v->end;
    }
    return s;
}

static int attributes(const conv *v, const shapes *s, og_attr *attrs)
{
    attrs[0] = (og_attr){.name = "group", .kind = OG_ATTR_INT, .i = v->group};
    attrs[1] =
        (og_attr){.name = "strides", .kind = OG_ATTR_INTS, .n = v->spatial, .ints = s->strides};
    attrs[2] =
        (og_attr){.name = "dilations", .kind = OG_ATTR_INTS, .n = v->spatial, .ints = s->dilations};
    attrs[3] =
        (og_attr){.name = "pads", .kind = OG_ATTR_INTS, .n = 2 * v->spatial, .ints = s->pads};
    return 4;
}

/* The kernel that is to run it: cuDNN's of images that lie channels-last at addresses that it
 * takes; it has none for a gradient of weights in float32 of channels that are not 16 bytes wide.
 */
static const char *kernel_for(const conv *v, const kernel_call *c, bool last, int shift)
{
    bool widens = strstr(c->op, "Wide") != NULL;
    return v->group == v->c ? "depthwise"
           : !last || shift ||
                   (widens && (v->c / v->group % 8 != 0 || v->m % 8 != 0 || v->spatial == 3))
               ? "windows"
               : "cuDNN";
}

/* images: bit k: input k is one; output: the result is. The processor computes in float32. */
static void check(og_device *d, const conv *v, kernel_call *c, unsigned images, bool output,
                  bool last)
{
    kernel_call wide = *c;
    og_dtype dtype = c->x[0].type.dtype;
    for (int i = 0; i < c->nx; i++)
        wide.x[i] = test_convert(&c->x[i], OG_FLOAT);
    wide.y[0] = test_tensor(OG_FLOAT, c->y[0].type.rank, c->y[0].type.dims);
    if (strstr(c->op, "Wide"))
        wide.op = "ai.ongrad::ConvGradWeights";
    test_run(&wide);
    og_tensor y = test_convert(&wide.y[0], c->y[0].type.dtype);
    free(c->y[0].data);
    c->y[0] = output && last ? test_channels_last(&y) : y;
    if (output && last)
        free(y.data);
    for (int i = 0; i < c->nx; i++)
        if (last && images >> i & 1) {
            og_tensor x = test_channels_last(&c->x[i]);
            free(c->x[i].data);
            c->x[i] = x;
        }
    for (int shift = 0; shift < 2; shift++)
        card_gives(d, c, kernel_for(v, c, last, shift), shift, 0, close_of(dtype));
    test_free_tensors(c);
    test_free_tensors(&wide);
}

static void check_conv(og_device *d, const conv *v, og_dtype dtype, bool last)
{
    uint64_t seed = 2;
    int rank = v->spatial + 2;
    shapes s = shapes_of(v);
    char text[96];
    snprintf(text, sizeof text, "%s, %s, %s", v->what, og_dtype_name(dtype),
             last ? "channels-last" : "dense");
    TEST_CASE(text);
    kernel_call c = {.op = "Conv", .nx = 2 + (v->group != 4), .ny = 1};
    c.n_attrs = attributes(v, &s, c.attrs);
    c.x[0] = test_filled(dtype, rank, s.x, &seed);
    c.x[1] = test_filled(dtype, rank, s.w, &seed);
    c.x[2] = v->group != 4 ? test_filled(dtype, 1, &v->m, &seed) : (og_tensor){0};
    c.y[0] = test_tensor(dtype, rank, s.y);
    check(d, v, &c, 1, true, last);

    c = (kernel_call){.op = "ai.ongrad::ConvGradData", .nx = 2, .ny = 1};
    c.n_attrs = attributes(v, &s, c.attrs);
    c.attrs[c.n_attrs++] =
        (og_attr){.name = "x_dims", .kind = OG_ATTR_INTS, .n = rank, .ints = s.x};
    c.x[0] = test_filled(dtype, rank, s.y, &seed);
    c.x[1] = test_filled(dtype, rank, s.w, &seed);
    c.y[0] = test_tensor(dtype, rank, s.x);
    check(d, v, &c, 1, true, last);

    bool half = dtype != OG_FLOAT;
    c = (kernel_call){.op = half ? "ai.ongrad::WideConvGradWeights" : "ai.ongrad::ConvGradWeights",
                      .nx = 2,
                      .ny = 1};
    c.n_attrs = attributes(v, &s, c.attrs);
    c.attrs[c.n_attrs++] =
        (og_attr){.name = "w_dims", .kind = OG_ATTR_INTS, .n = rank, .ints = s.w};
    c.x[0] = test_filled(dtype, rank, s.x, &seed);
    c.x[1] = test_filled(dtype, rank, s.y, &seed);
    c.y[0] = test_tensor(OG_FLOAT, rank, s.w);
    check(d, v, &c, 3, false, last);
}

TEST(convolutions_and_their_gradients)
{
    static const og_dtype halves[] = {OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(1);
    d->options.allow_tf32 = false;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int last = 0; last < 2; last++) {
            check_conv(d, &cases[i], OG_FLOAT, last);
            check_conv(d, &cases[i], halves[(i + (size_t)last) % 2], last);
        }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(convolutions_and_their_gradients)};
TEST_MAIN(tests)
