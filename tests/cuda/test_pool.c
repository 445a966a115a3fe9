/* Pooling of the card and its gradients against the processor's: dense and channels-last, by cuDNN
 * where it is to be asked, windows that overlap, that reach into padding or beyond it, 1 to 3 axes.
 */
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
    {"one more by ceil_mode", 2, {7, 8}, {3, 3}, 2, 1, 0, 0, true, false},
    {"one more, padding counts", 2, {7, 8}, {3, 3}, 2, 1, 1, 0, true, true},
    {"132 places", 2, {14, 13}, {12, 11}, 2, 1, 0, 0, false, false},
};

/* The kernel that is to take it: cuDNN's where it lies channels-last, 16 bytes wide, and the places
 * fit an int8. */
static const char *kernel_of(const pool *p, const og_tensor *x, bool max, og_dtype places)
{
    bool wide = x->type.dims[1] * (int64_t)og__size(x->type.dtype) % 16 == 0;
    bool counts = max ? places == OG_UINT8 && p->kernel[0] < 12
                      : strcmp(p->what, "one more, padding counts") != 0;
    return !og_tensor_is_dense(x) && wide && counts && p->dilation == 1 ? "cuDNN" : "elements";
}

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
static void check(og_device *d, const pool *p, kernel_call *c, bool last, kernel_call *wide)
{
    og_dtype dtype = c->x[0].type.dtype;
    bool max = strstr(c->op, "Max") != NULL;
    const og_tensor *places = !max ? NULL : c->nx == 2 ? &c->x[1] : &c->y[1];
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
    card_gives(d, c, kernel_of(p, &c->x[0], max, max ? places->type.dtype : OG_UNDEFINED), 0, 0,
               close_of(dtype));
    test_free_tensors(c);
}

static void check_pool(og_device *d, const pool *p, og_dtype dtype, int channels, bool last,
                       og_dtype places)
{
    uint64_t seed = 6;
    int rank = p->spatial + 2;
    int64_t x[5] = {2, channels}, y[5] = {2, channels}, lists[15] = {0};
    char text[96];
    snprintf(text, sizeof text, "%s, %s, %d channels, %s, %s", p->what, og_dtype_name(dtype),
             channels, last ? "channels-last" : "dense", og_dtype_name(places));
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
    check(d, p, &c, last, &wide);
    if (training) {
        kernel_call g = {.op = "ai.ongrad::MaxPoolGrad", .nx = 2, .ny = 1}, ignored;
        g.n_attrs = attributes(p, true, lists, g.attrs);
        g.attrs[g.n_attrs++] =
            (og_attr){.name = "x_dims", .kind = OG_ATTR_INTS, .n = rank, .ints = x};
        g.x[0] = test_filled(dtype, rank, y, &seed);
        g.x[1] = test_convert(&wide.y[1], places);
        g.y[0] = test_tensor(dtype, rank, x);
        check(d, p, &g, last, &ignored);
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
            check(d, p, &a, last, &wide);
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
                check_pool(d, &cases[i], OG_FLOAT, 3, last, found[f]);
            check_pool(d, &cases[i], OG_FLOAT, 4, last, OG_UINT8);
            for (int channels = 3; channels <= 8; channels += 5)
                check_pool(d, &cases[i], halves[(i + (size_t)last) % 2], channels, last, OG_UINT8);
        }
    close_device(d);
}

/* MaxPool alone, without places; and a NaN, which is the largest. */
TEST(pools_without_places)
{
    og_device *d = open_device(1);
    const int64_t dims[] = {1, 4, 4, 4}, half[] = {1, 4, 2, 2}, window[] = {2, 2};
    kernel_call c = {.op = "MaxPool", .nx = 1, .ny = 1, .n_attrs = 2};
    uint64_t seed = 6;
    c.attrs[0] = (og_attr){.name = "kernel_shape", .kind = OG_ATTR_INTS, .n = 2, .ints = window};
    c.attrs[1] = (og_attr){.name = "strides", .kind = OG_ATTR_INTS, .n = 2, .ints = window};
    c.x[0] = test_filled(OG_FLOAT, 4, dims, &seed);
    c.y[0] = test_tensor(OG_FLOAT, 4, half);
    ((float *)c.x[0].data)[5] = NAN;
    test_run(&c);
    lay_out(&c.x[0], true);
    lay_out(&c.y[0], true);
    card_gives(d, &c, "cuDNN", 0, 0, close_of(OG_FLOAT));
    test_free_tensors(&c);
    close_device(d);
}

/* Every engine that cuDNN compiles is said to use tensor cores, so to round to TF32. */
TEST(places_in_float32_are_found_without_cudnn)
{
    og_device *d = open_device(1);
    d->options.allow_tf32 = false;
    const og_type image = og_type_make(OG_FLOAT, 4, (int64_t[]){2, 16, 4, 4}),
                  small = og_type_make(OG_FLOAT, 4, (int64_t[]){2, 16, 2, 2}),
                  places = og_type_make(OG_UINT8, 4, small.dims);
    static const int64_t window[] = {2, 2};
    kernel_call c = {.op = "ai.ongrad::MaxPoolTraining", .nx = 1, .ny = 2, .n_attrs = 2};
    c.attrs[0] = (og_attr){.name = "kernel_shape", .kind = OG_ATTR_INTS, .n = 2, .ints = window};
    c.attrs[1] = (og_attr){.name = "strides", .kind = OG_ATTR_INTS, .n = 2, .ints = window};
    kernel_node n;
    test_node(&n, &c);
    for (int tf32 = 0; tf32 < 2; tf32++) {
        og_tensor x[] = {og_tensor_dense(&image, NULL)},
                  y[] = {og_tensor_dense(&small, NULL), og_tensor_dense(&places, NULL)};
        og_strides_channels_last(&image, x[0].strides);
        og_strides_channels_last(&small, y[0].strides);
        og_strides_channels_last(&places, y[1].strides);
        og_call call = {.node = &n.node, .device = d, .nx = 1, .ny = 2, .x = x, .y = y};
        d->options.allow_tf32 = tf32;
        const og_kernel *kernel = og_device_kernel(d, &call, false);
        CHECK(kernel && strcmp(kernel->name, tf32 ? "cuDNN" : "elements") == 0);
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(pools_and_their_gradients), TEST_ROW(pools_without_places),
                                TEST_ROW(places_in_float32_are_found_without_cudnn)};
TEST_MAIN(tests)
