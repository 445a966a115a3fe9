/* Pooling of the card and its gradients against the processor's: dense and channels-last, windows
 * that overlap, that reach into padding or beyond it, 1 to 3 axes. */
#include "tests/cuda/call.h"

typedef struct pool {
    const char *what;
    int spatial;
    int64_t in[3], kernel[3], stride, dilation, begin, end;
    bool ceil, include;
} pool;

static const pool cases[] = {
    {"2 x 2", 2, {6, 8}, {2, 2}, 2, 1, 0, 0, false, false},
    {"overlapping, padded", 2, {7, 6}, {3, 3}, 2, 1, 1, 1, false, false},
    {"padding counts", 2, {7, 6}, {3, 2}, 2, 1, 1, 1, true, true},
    {"dilated", 2, {9, 9}, {2, 3}, 1, 2, 0, 1, false, false},
    {"one axis", 1, {11}, {3}, 3, 1, 1, 0, true, false},
    {"three axes", 3, {4, 5, 6}, {2, 2, 3}, 2, 1, 0, 0, false, false},
};

static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT     ? (closeness){1e-6, 1e-6}
           : dtype == OG_FLOAT16 ? (closeness){2e-3, 2e-3}
                                 : (closeness){2e-2, 2e-2};
}

static int attributes(const pool *p, bool max, const int64_t *lists, og_attr *attrs)
{
    static const char *const names[] = {"kernel_shape", "strides", "dilations", "pads"};
    for (int i = 0; i < 4; i++)
        attrs[i] = (og_attr){.name = names[i],
                             .kind = OG_ATTR_INTS,
                             .n = i == 3 ? 2 * p->spatial : p->spatial,
                             .ints = lists + i * 3};
    attrs[4] = (og_attr){.name = "ceil_mode", .kind = OG_ATTR_INT, .i = p->ceil};
    attrs[5] = (og_attr){.name = "count_include_pad", .kind = OG_ATTR_INT, .i = p->include};
    return max ? 5 : 6;
}

/* What stands for a tensor on the card. */
static void lay_out(og_tensor *t, bool last)
{
    og_tensor other = last ? test_channels_last(t) : test_convert(t, t->type.dtype);
    free(t->data);
    *t = other;
}

/* The processor computes in float32; `from` are images, too. */
static void check(og_device *d, kernel_call *c, og_dtype dtype, bool last, kernel_call *wide)
{
    *wide = *c;
    for (int i = 0; i < c->nx; i++)
        wide->x[i] = test_convert(&c->x[i], i == 0 ? OG_FLOAT : c->x[i].type.dtype);
    for (int i = 0; i < c->ny; i++) {
        og_dtype type = i == 0 ? OG_FLOAT : c->y[i].type.dtype;
        wide->y[i] = test_tensor(type, c->y[i].type.rank, c->y[i].type.dims);
    }
    test_run(wide);
    for (int i = 0; i < c->ny; i++) {
        free(c->y[i].data);
        c->y[i] = test_convert(&wide->y[i], c->y[i].type.dtype);
        lay_out(&c->y[i], last);
    }
    for (int i = 0; i < c->nx; i++)
        lay_out(&c->x[i], last);
    card_gives(d, c, "elements", 0, 0, close_of(dtype));
    test_free_tensors(c);
}

static void check_pool(og_device *d, const pool *p, og_dtype dtype, bool last, og_dtype places)
{
    uint64_t seed = 6;
    int rank = p->spatial + 2;
    int64_t x[5] = {2, 3}, y[5] = {2, 3}, lists[15] = {0};
    char text[96];
    snprintf(text, sizeof text, "%s, %s, %s, %s", p->what, og_dtype_name(dtype),
             last ? "channels-last" : "dense", og_dtype_name(places));
    TEST_CASE(text);
    for (int a = 0; a < p->spatial; a++) {
        int64_t room = p->in[a] + p->begin + p->end - (p->kernel[a] - 1) * p->dilation - 1;
        x[a + 2] = p->in[a];
        y[a + 2] = (room + (p->ceil ? p->stride - 1 : 0)) / p->stride + 1;
        if (p->ceil && (y[a + 2] - 1) * p->stride >= p->in[a] + p->begin)
            y[a + 2]--;
        lists[a] = p->kernel[a];
        lists[3 + a] = p->stride;
        lists[6 + a] = p->dilation;
        lists[9 + a] = p->begin;
        lists[9 + p->spatial + a] = p->end;
    }
    kernel_call wide;
    bool training = places != OG_INT64;
    kernel_call c = {.op = training ? "ai.ongrad::MaxPoolTraining" : "MaxPool", .nx = 1, .ny = 2};
    c.n_attrs = attributes(p, true, lists, c.attrs);
    c.x[0] = test_filled(dtype, rank, x, &seed);
    c.y[0] = test_tensor(dtype, rank, y);
    c.y[1] = test_tensor(places, rank, y);
    check(d, &c, dtype, last, &wide);
    if (training) {
        kernel_call g = {.op = "ai.ongrad::MaxPoolGrad", .nx = 2, .ny = 1}, ignored;
        g.n_attrs = attributes(p, true, lists, g.attrs);
        g.attrs[g.n_attrs++] =
            (og_attr){.name = "x_dims", .kind = OG_ATTR_INTS, .n = rank, .ints = x};
        g.x[0] = test_filled(dtype, rank, y, &seed);
        g.x[1] = test_convert(&wide.y[1], places);
        g.y[0] = test_tensor(dtype, rank, x);
        check(d, &g, dtype, last, &ignored);
        test_free_tensors(&ignored);
    }
    test_free_tensors(&wide);
    if (training && places == OG_UINT8) {
        for (int grad = 0; grad < 2; grad++) {
            kernel_call a = {
                .op = grad ? "ai.ongrad::AveragePoolGrad" : "AveragePool", .nx = 1, .ny = 1};
            a.n_attrs = attributes(p, false, lists, a.attrs);
            if (grad)
                a.attrs[a.n_attrs++] =
                    (og_attr){.name = "x_dims", .kind = OG_ATTR_INTS, .n = rank, .ints = x};
            a.x[0] = test_filled(dtype, rank, grad ? y : x, &seed);
            a.y[0] = test_tensor(dtype, rank, grad ? x : y);
            check(d, &a, dtype, last, &wide);
            test_free_tensors(&wide);
        }
    }
}

TEST(pools_and_their_gradients)
{
    static const og_dtype found[] = {OG_INT32, OG_UINT8, OG_INT64},
                          halves[] = {OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int last = 0; last < 2; last++) {
            for (int f = i == 0 ? 1 : 0; f < 3; f++) /* places of 2 x 2 are bytes */
                check_pool(d, &cases[i], OG_FLOAT, last, found[f]);
            check_pool(d, &cases[i], halves[(i + (size_t)last) % 2], last, OG_UINT8);
        }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(pools_and_their_gradients)};
TEST_MAIN(tests)
