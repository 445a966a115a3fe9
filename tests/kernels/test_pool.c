/* Pooling on the CPU: every output against its window looked at element by element; gradients as
 * the transposes that they are. */
#include "tests/kernels/strided.h"

typedef struct pool_case {
    int n; /* spatial dims */
    int64_t in[3], kernel[3], strides[3], dilations[3], pads[6];
    bool ceil;
} pool_case;

static const pool_case cases[] = {
    {1, {10}, {3}, {1}, {1}, {0, 0}, false},
    {1, {600}, {4}, {3}, {2}, {2, 3}, true},
    {2, {8, 8}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
    {2, {9, 11}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
    {2, {9, 11}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, true},
    {2, {4, 1200}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
    {2, {13, 17}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, false},
    {2, {14, 18}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, true},
    {2, {7, 7}, {7, 7}, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {2, {12, 15}, {3, 2}, {1, 3}, {2, 3}, {2, 0, 1, 1}, false},
    {2, {12, 900}, {3, 5}, {2, 1}, {1, 1}, {0, 2, 2, 1}, false},
    {2, {5, 5}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}, false},
    {2, {6, 6}, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
    {3, {4, 6, 8}, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0, 0, 0, 0}, false},
    {3, {5, 6, 7}, {3, 2, 3}, {2, 1, 2}, {1, 2, 1}, {1, 0, 1, 0, 1, 1}, true},
};
#define N_CASES (sizeof cases / sizeof *cases)
enum { SAMPLES = 2, CHANNELS = 5 };

static int64_t out_dim(const pool_case *c, int k)
{
    int64_t span = (c->kernel[k] - 1) * c->dilations[k] + 1,
            room = c->in[k] + c->pads[k] + c->pads[k + c->n] - span;
    int64_t out = (c->ceil ? (room + c->strides[k] - 1) / c->strides[k] : room / c->strides[k]) + 1;
    if (c->ceil && (out - 1) * c->strides[k] >= c->in[k] + c->pads[k])
        out--;
    return out;
}

static int set_attrs(og_attr *attrs, const pool_case *c, bool include_pad)
{
    attrs[0] =
        (og_attr){.name = "kernel_shape", .kind = OG_ATTR_INTS, .n = c->n, .ints = c->kernel};
    attrs[1] = (og_attr){.name = "strides", .kind = OG_ATTR_INTS, .n = c->n, .ints = c->strides};
    attrs[2] =
        (og_attr){.name = "dilations", .kind = OG_ATTR_INTS, .n = c->n, .ints = c->dilations};
    attrs[3] = (og_attr){.name = "pads", .kind = OG_ATTR_INTS, .n = 2 * c->n, .ints = c->pads};
    attrs[4] = (og_attr){.name = "ceil_mode", .kind = OG_ATTR_INT, .i = c->ceil};
    attrs[5] = (og_attr){.name = "count_include_pad", .kind = OG_ATTR_INT, .i = include_pad};
    return 6;
}

/* The window of output `at`, element by element: 1 and the flat position in x, 0 for padding that
 * counts where padding counts, -1 beyond it. */
static int window_element(const pool_case *c, const og_type *x, const og_type *y, int64_t at,
                          int64_t offset, int64_t *position)
{
    int64_t index[OG_MAX_RANK] = {0}, source[OG_MAX_RANK] = {0}, o[3] = {0};
    int where = 1;
    index_of(y, at, index);
    for (int k = c->n - 1; k >= 0; k--) {
        o[k] = offset % c->kernel[k];
        offset /= c->kernel[k];
    }
    memcpy(source, index, 2 * sizeof *index);
    for (int k = 0; k < c->n; k++) {
        int64_t i = index[k + 2] * c->strides[k] - c->pads[k] + o[k] * c->dilations[k];
        if (i >= c->in[k] + c->pads[k + c->n])
            where = -1;
        else if ((i < 0 || i >= c->in[k]) && where == 1)
            where = 0;
        source[k + 2] = i;
    }
    *position = 0;
    for (int a = 0; a < x->rank; a++)
        *position = *position * x->dims[a] + source[a];
    return where;
}

static int64_t window_size(const pool_case *c)
{
    return og__product(c->kernel, 0, c->n);
}

/* x [SAMPLES, CHANNELS, in…] and y's dims */
static og_tensor make_x(const pool_case *c, og_dtype dtype, int64_t *x_dims, int64_t *y_dims,
                        uint64_t *seed)
{
    x_dims[0] = y_dims[0] = SAMPLES;
    x_dims[1] = y_dims[1] = CHANNELS;
    for (int k = 0; k < c->n; k++) {
        x_dims[k + 2] = c->in[k];
        y_dims[k + 2] = out_dim(c, k);
    }
    return laid_out(dtype, c->n + 2, x_dims, DENSE, true, seed);
}

TEST(max_pool)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_INT8, OG_UINT8};
    uint64_t seed = 1;
    for (size_t i = 0; i < N_CASES; i++)
        for (int mode = 0; mode < 8; mode++) {
            const pool_case *c = &cases[i];
            og_dtype dtype = dtypes[mode / 2];
            kernel_call k = {.op = "MaxPool", .kernel = "plain", .nx = 1, .ny = 1 + mode % 2};
            k.n_attrs = set_attrs(k.attrs, c, false);
            int64_t x_dims[OG_MAX_RANK], y_dims[OG_MAX_RANK], position;
            k.x[0] = make_x(c, dtype, x_dims, y_dims, &seed);
            k.y[0] = output_of(dtype, c->n + 2, y_dims);
            k.y[1] = output_of(OG_INT64, c->n + 2, y_dims);
            TEST_CASE(case_text("MaxPool", &k.x[0].type, (int)i));
            if (test_run(&k))
                for (int64_t at = 0; at < og__elements(&k.y[0]); at++) {
                    int64_t best = -1;
                    for (int64_t o = 0; o < window_size(c); o++)
                        if (window_element(c, &k.x[0].type, &k.y[0].type, at, o, &position) == 1 &&
                            (best < 0 ||
                             test_element(&k.x[0], position) > test_element(&k.x[0], best)))
                            best = position;
                    CHECK_CLOSE(test_element(&k.y[0], at), test_element(&k.x[0], best), 0);
                    if (k.ny > 1)
                        CHECK_INT(((int64_t *)k.y[1].data)[at], best);
                }
            release_blocks();
        }
}

TEST(max_pool_special)
{
    /* NaN wins, -Inf everywhere still has an index */
    for (int mode = 0; mode < 4; mode++) {
        int stride = 1 + mode / 2;
        bool places = mode & 1;
        const pool_case c = {2, {4, 4}, {2, 2}, {stride, stride}, {1, 1}, {0}, false};
        uint64_t seed = 2;
        kernel_call k = {.op = places ? "ai.ongrad::MaxPoolTraining" : "MaxPool",
                         .kernel = "plain",
                         .nx = 1,
                         .ny = 2};
        k.n_attrs = set_attrs(k.attrs, &c, false);
        int64_t x_dims[4], y_dims[4];
        k.x[0] = make_x(&c, OG_FLOAT, x_dims, y_dims, &seed);
        float *x = k.x[0].data;
        for (int i = 0; i < 16; i++)
            x[i] = -INFINITY;
        x[16 + 5] = NAN;
        k.y[0] = output_of(OG_FLOAT, 4, y_dims);
        k.y[1] = output_of(places ? OG_UINT8 : OG_INT64, 4, y_dims);
        if (test_run(&k)) {
            int64_t plane = y_dims[2] * y_dims[3];
            CHECK(((float *)k.y[0].data)[0] == -INFINITY);
            CHECK_INT((int64_t)test_element(&k.y[1], 0), 0);
            CHECK(isnan(((float *)k.y[0].data)[plane]));
            CHECK_INT((int64_t)test_element(&k.y[1], plane), places ? 3 : 16 + 5);
        }
        release_blocks();
    }
}

/* Where the largest element of output `at`'s window lies in x, and its place in the window; -1: the
 * window lies in padding only. */
static int64_t largest(const pool_case *c, const og_tensor *x, const og_type *y, int64_t at,
                       int64_t *place)
{
    int64_t best = -1, position;
    *place = 0;
    for (int64_t o = 0; o < window_size(c); o++) {
        if (window_element(c, &x->type, y, at, o, &position) != 1 ||
            (best >= 0 && !(test_element(x, position) > test_element(x, best))))
            continue;
        best = position;
        *place = o;
    }
    return best;
}

TEST(max_pool_training)
{
    /* windows of more than a byte's places, with ties; and such as lie in padding only */
    static const pool_case more[] = {
        {2, {19, 40}, {17, 16}, {1, 3}, {1, 1}, {3, 2, 4, 5}, false},
        {1, {2}, {2}, {1}, {3}, {1, 2}, false},
        {2, {4, 2}, {2, 2}, {2, 1}, {1, 3}, {0, 1, 0, 2}, false},
    };
    uint64_t seed = 3;
    for (size_t i = 0; i < 2 * (N_CASES + sizeof more / sizeof *more); i++) {
        const pool_case *c = i / 2 < N_CASES ? &cases[i / 2] : &more[i / 2 - N_CASES];
        og_dtype dtype = i & 1 ? OG_DOUBLE : OG_FLOAT;
        int64_t x_dims[OG_MAX_RANK], y_dims[OG_MAX_RANK], place;
        kernel_call k = {.op = "ai.ongrad::MaxPoolTraining", .kernel = "plain", .nx = 1, .ny = 2};
        k.n_attrs = set_attrs(k.attrs, c, false);
        k.x[0] = make_x(c, dtype, x_dims, y_dims, &seed);
        for (int64_t e = 0; i / 2 >= N_CASES && e < og__elements(&k.x[0]); e++)
            if (dtype == OG_DOUBLE)
                ((double *)k.x[0].data)[e] = (double)(e * 7 % 5);
            else
                ((float *)k.x[0].data)[e] = (float)(e * 7 % 5);
        k.y[0] = output_of(dtype, c->n + 2, y_dims);
        k.y[1] = output_of(window_size(c) > 256 ? OG_INT32 : OG_UINT8, c->n + 2, y_dims);
        TEST_CASE(case_text("MaxPoolTraining", &k.x[0].type, (int)i));
        kernel_call g = {.op = "ai.ongrad::MaxPoolGrad",
                         .kernel = "plain",
                         .nx = 2,
                         .ny = 1,
                         .n_attrs = k.n_attrs};
        memcpy(g.attrs, k.attrs, sizeof g.attrs);
        g.x[0] = laid_out(dtype, c->n + 2, y_dims, DENSE, true, &seed);
        g.y[0] = output_of(dtype, c->n + 2, x_dims);
        double *dx = keep_block(calloc((size_t)og__elements(&k.x[0]), sizeof *dx));
        if (test_run(&k))
            for (int64_t at = 0; at < og__elements(&k.y[0]); at++) {
                int64_t best = largest(c, &k.x[0], &k.y[0].type, at, &place);
                CHECK_INT((int64_t)test_element(&k.y[1], at), place);
                CHECK_CLOSE(test_element(&k.y[0], at),
                            best < 0 ? -INFINITY : test_element(&k.x[0], best), 0);
                if (best >= 0)
                    dx[best] += test_element(&g.x[0], at);
            }
        g.x[1] = k.y[1];
        if (test_run(&g))
            for (int64_t at = 0; at < og__elements(&g.y[0]); at++)
                CHECK_CLOSE(test_element(&g.y[0], at), dx[at], 1e-6); /* a few sums of float */
        release_blocks();
    }
}

TEST(average_pool)
{
    uint64_t seed = 4;
    for (size_t i = 0; i < N_CASES; i++)
        for (int mode = 0; mode < 4; mode++) {
            const pool_case *c = &cases[i];
            og_dtype dtype = mode & 1 ? OG_DOUBLE : OG_FLOAT;
            bool include = mode & 2;
            double tolerance = mode & 1 ? 1e-13 : 1e-6;
            kernel_call k = {.op = "AveragePool", .kernel = "plain", .nx = 1, .ny = 1};
            k.n_attrs = set_attrs(k.attrs, c, include);
            int64_t x_dims[OG_MAX_RANK], y_dims[OG_MAX_RANK], position;
            k.x[0] = make_x(c, dtype, x_dims, y_dims, &seed);
            k.y[0] = output_of(dtype, c->n + 2, y_dims);
            TEST_CASE(case_text("AveragePool", &k.x[0].type, (int)i));
            kernel_call g = {.op = "ai.ongrad::AveragePoolGrad",
                             .kernel = "plain",
                             .nx = 1,
                             .ny = 1,
                             .n_attrs = k.n_attrs};
            memcpy(g.attrs, k.attrs, sizeof g.attrs);
            g.x[0] = laid_out(dtype, c->n + 2, y_dims, DENSE, true, &seed);
            g.y[0] = output_of(dtype, c->n + 2, x_dims);
            int64_t n = og__elements(&k.x[0]);
            double *dx = keep_block(calloc((size_t)n, sizeof *dx));
            if (test_run(&k) && test_run(&g)) {
                for (int64_t at = 0; at < og__elements(&k.y[0]); at++) {
                    double sum = 0, count = 0;
                    for (int64_t o = 0; o < window_size(c); o++) {
                        int where = window_element(c, &k.x[0].type, &k.y[0].type, at, o, &position);
                        count += where == 1 || (where == 0 && include);
                        sum += where == 1 ? test_element(&k.x[0], position) : 0;
                    }
                    CHECK_CLOSE(test_element(&k.y[0], at), sum / count, tolerance);
                    for (int64_t o = 0; o < window_size(c); o++)
                        if (window_element(c, &k.x[0].type, &k.y[0].type, at, o, &position) == 1)
                            dx[position] += test_element(&g.x[0], at) / count;
                }
                for (int64_t at = 0; at < n; at++)
                    CHECK_CLOSE(test_element(&g.y[0], at), dx[at], tolerance);
            }
            release_blocks();
        }
}

TEST(global_pool)
{
    uint64_t seed = 5;
    static const int64_t dims[][4] = {{2, 3, 7, 7}, {1, 9, 100, 33}, {3, 1, 1, 1}};
    for (int i = 0; i < 12; i++) {
        bool max = i & 1;
        og_dtype dtype = i & 2 ? OG_DOUBLE : OG_FLOAT;
        const int64_t *d = dims[i / 4];
        kernel_call k = {
            .op = max ? "GlobalMaxPool" : "GlobalAveragePool", .kernel = "plain", .nx = 1, .ny = 1};
        k.x[0] = laid_out(dtype, 4, d, DENSE, true, &seed);
        k.y[0] = output_of(dtype, 4, (int64_t[]){d[0], d[1], 1, 1});
        TEST_CASE(case_text(k.op, &k.x[0].type, i));
        if (test_run(&k))
            for (int64_t p = 0; p < d[0] * d[1]; p++) {
                double best = -INFINITY, sum = 0;
                for (int64_t j = 0; j < d[2] * d[3]; j++) {
                    sum += test_element(&k.x[0], p * d[2] * d[3] + j);
                    best = fmax(best, test_element(&k.x[0], p * d[2] * d[3] + j));
                }
                CHECK_CLOSE(test_element(&k.y[0], p), max ? best : sum / (double)(d[2] * d[3]),
                            1e-6);
            }
        release_blocks();
    }
}

static const og_test tests[] = {TEST_ROW(max_pool), TEST_ROW(max_pool_special),
                                TEST_ROW(max_pool_training), TEST_ROW(average_pool),
                                TEST_ROW(global_pool)};
TEST_MAIN(tests)
