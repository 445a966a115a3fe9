/* Batch and group normalization and pooling channels-last: each kernel against the plain one on the
 * same images row-major. */
#include "tests/kernels/strided.h"

enum { X0 = 1, X1 = 2, Y0 = 1, Y1 = 2 }; /* which inputs, outputs are images */

/* The call channels-last: inputs copied, outputs of their own. */
static kernel_call channels_last(const kernel_call *k, unsigned in, unsigned out)
{
    kernel_call c = *k;
    c.kernel = "channels-last";
    for (int i = 0; i < c.nx; i++)
        if (in >> i & 1) {
            c.x[i] = test_channels_last(&k->x[i]);
            keep_block(c.x[i].data);
        }
    for (int i = 0; i < c.ny; i++) {
        bool image = out >> i & 1;
        c.y[i] = image ? test_channels_last(&k->y[i]) : test_convert(&k->y[i], k->y[i].type.dtype);
        keep_block(c.y[i].data);
        memset(c.y[i].data, 0xee, (size_t)og__elements(&c.y[i]) * og__size(c.y[i].type.dtype));
    }
    return c;
}

/* Plain and channels-last agree to `tolerance`, and the latter for every number of threads to the
 * bit. */
static void check(kernel_call *k, unsigned in, unsigned out, double tolerance)
{
    kernel_call one = channels_last(k, in, out), four = channels_last(k, in, out);
    one.threads = 1;
    four.threads = 4;
    k->kernel = "plain";
    if (!test_run(k) || !test_run(&one) || !test_run(&four))
        return;
    for (int i = 0; i < k->ny; i++) {
        int64_t n = og__elements(&k->y[i]);
        double scale = 1, worst = 0;
        for (int64_t e = 0; e < n; e++)
            scale = isfinite(test_element(&k->y[i], e))
                        ? fmax(scale, fabs(test_element(&k->y[i], e)))
                        : scale;
        for (int64_t e = 0; e < n; e++) {
            double a = test_element(&k->y[i], e), b = test_element(&one.y[i], e);
            double error = a == b ? 0 : fabs(a - b) / scale; /* infinities are equal */
            worst = error > worst || error != error ? error : worst;
        }
        CHECK_CLOSE(worst, 0, k->y[i].type.dtype == OG_INT64 ? 0 : tolerance);
        CHECK(memcmp(one.y[i].data, four.y[i].data, (size_t)n * og__size(k->y[i].type.dtype)) == 0);
    }
}

/* ---- batch normalization */

static const struct {
    int rank;
    int64_t dims[5];
} norm_cases[] = {{4, {2, 3, 5, 7}},    {4, {3, 16, 4, 4}},   {4, {4, 100, 9, 11}},
                  {4, {2, 64, 40, 30}}, {3, {5, 24, 31}},     {5, {2, 9, 3, 4, 5}},
                  {4, {1, 8, 1, 2}},    {4, {16, 129, 8, 8}}, {4, {2, 24, 80, 90}}};

static void norm_attrs(kernel_call *k)
{
    k->n_attrs = 1;
    k->attrs[0] = (og_attr){.name = "epsilon", .kind = OG_ATTR_FLOAT, .f = 1e-3};
}

/* Sums in float over 32 rows, then in double: 2^-24 × √32 of the largest element, and as much again
 * for what is computed of them. */
#define NORM_TOLERANCE 1e-6

typedef struct norm_operands {
    og_tensor x, dy, scale, bias;
    double tolerance;
} norm_operands;

/* Of images of those dims; centre: about 100. */
static norm_operands operands_of(const char *op, int rank, const int64_t *dims, int centre,
                                 uint64_t *seed)
{
    norm_operands o = {.x = laid_out(OG_FLOAT, rank, dims, DENSE, true, seed),
                       .tolerance = NORM_TOLERANCE * (centre ? 100 : 1)};
    o.dy = laid_out(OG_FLOAT, rank, dims, DENSE, true, seed);
    o.scale = laid_out(OG_FLOAT, 1, &dims[1], DENSE, true, seed);
    o.bias = laid_out(OG_FLOAT, 1, &dims[1], DENSE, true, seed);
    for (int64_t e = 0; centre && e < og__elements(&o.x); e++)
        ((float *)o.x.data)[e] += 100;
    TEST_CASE(case_text(op, &o.x.type, centre));
    return o;
}

TEST(batch_normalization)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof norm_cases / sizeof *norm_cases; i++)
        for (int centre = 0; centre < 2; centre++) {
            int rank = norm_cases[i].rank;
            const int64_t *dims = norm_cases[i].dims, *c = &dims[1];
            norm_operands o = operands_of("BatchNormalization", rank, dims, centre, &seed);
            kernel_call k = {.op = "ai.ongrad::BatchNormalizationTraining",
                             .nx = 3,
                             .ny = 4,
                             .x = {o.x, o.scale, o.bias}};
            norm_attrs(&k);
            k.y[0] = output_of(OG_FLOAT, rank, dims);
            for (int y = 1; y < 4; y++)
                k.y[y] = output_of(OG_FLOAT, 1, c);
            check(&k, X0, Y0, o.tolerance);
            kernel_call g = {.op = "ai.ongrad::BatchNormalizationGrad",
                             .nx = 5,
                             .ny = 3,
                             .x = {o.dy, o.x, o.scale, k.y[1], k.y[3]}};
            g.y[0] = output_of(OG_FLOAT, rank, dims);
            g.y[1] = output_of(OG_FLOAT, 1, c);
            g.y[2] = output_of(OG_FLOAT, 1, c);
            check(&g, X0 | X1, Y0, o.tolerance);
            kernel_call e = {.op = "BatchNormalization",
                             .nx = 5,
                             .ny = 1,
                             .x = {o.x, o.scale, o.bias, k.y[1], k.y[2]}};
            norm_attrs(&e);
            e.y[0] = output_of(OG_FLOAT, rank, dims);
            check(&e, X0, Y0, o.tolerance);
            release_blocks();
        }
}

/* ---- group normalization */

static const struct {
    int rank;
    int64_t dims[5], groups;
} group_cases[] = {{4, {2, 6, 5, 7}, 3},    {4, {3, 16, 4, 4}, 16},  {4, {1, 96, 30, 31}, 8},
                   {3, {9, 24, 310}, 1},    {5, {2, 9, 3, 4, 5}, 3}, {4, {5, 264, 8, 9}, 33},
                   {4, {40, 12, 13, 11}, 4}};

TEST(group_normalization)
{
    uint64_t seed = 4;
    for (size_t i = 0; i < sizeof group_cases / sizeof *group_cases; i++)
        for (int centre = 0; centre < 2; centre++) {
            int rank = group_cases[i].rank;
            const int64_t *dims = group_cases[i].dims, *c = &dims[1];
            const int64_t statistics[] = {dims[0], group_cases[i].groups};
            norm_operands o = operands_of("GroupNormalization", rank, dims, centre, &seed);
            kernel_call k = {.op = "ai.ongrad::GroupNormalizationTraining",
                             .nx = 3,
                             .ny = 3,
                             .x = {o.x, o.scale, o.bias}};
            norm_attrs(&k);
            k.attrs[k.n_attrs++] =
                (og_attr){.name = "num_groups", .kind = OG_ATTR_INT, .i = statistics[1]};
            k.y[0] = output_of(OG_FLOAT, rank, dims);
            for (int y = 1; y < 3; y++)
                k.y[y] = output_of(OG_FLOAT, 2, statistics);
            check(&k, X0, Y0, o.tolerance);
            kernel_call g = {.op = "ai.ongrad::GroupNormalizationGrad",
                             .nx = 5,
                             .ny = 3,
                             .x = {o.dy, o.x, o.scale, k.y[1], k.y[2]}};
            memcpy(g.attrs, k.attrs, sizeof g.attrs);
            g.n_attrs = k.n_attrs;
            g.y[0] = output_of(OG_FLOAT, rank, dims);
            g.y[1] = output_of(OG_FLOAT, 1, c);
            g.y[2] = output_of(OG_FLOAT, 1, c);
            check(&g, X0 | X1, Y0, o.tolerance);
            if (statistics[1] == *c) {
                kernel_call e = {
                    .op = "InstanceNormalization", .nx = 3, .ny = 1, .x = {o.x, o.scale, o.bias}};
                norm_attrs(&e);
                e.y[0] = output_of(OG_FLOAT, rank, dims);
                check(&e, X0, Y0, o.tolerance);
            }
            release_blocks();
        }
}

/* ---- pooling */

typedef struct pool_case {
    int n; /* spatial dims */
    int64_t channels, in[3], out[3], kernel[3], strides[3], dilations[3], pads[6];
    bool ceil;
} pool_case;

static const pool_case pool_cases[] = {
    {1, 20, {10}, {8}, {3}, {1}, {1}, {0, 0}, false},
    {2, 32, {28, 28}, {14, 14}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
    {2, 5, {9, 11}, {5, 6}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, true},
    {2, 64, {32, 32}, {16, 16}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 33, {7, 7}, {1, 1}, {7, 7}, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {2, 7, {12, 15}, {11, 5}, {3, 2}, {1, 3}, {2, 3}, {2, 0, 1, 1}, false},
    {2, 1, {5, 5}, {5, 5}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}, false},
    {3, 6, {5, 6, 7}, {3, 5, 5}, {3, 2, 3}, {2, 1, 2}, {1, 2, 1}, {1, 0, 1, 0, 1, 1}, true},
};

static og_attr list(const char *name, int n, const int64_t *ints)
{
    return (og_attr){.name = name, .kind = OG_ATTR_INTS, .n = n, .ints = ints};
}

/* The call of `op` with the case's attributes. */
static kernel_call pool_call(const char *op, const pool_case *c, bool include_pad)
{
    kernel_call k = {.op = op, .n_attrs = 6};
    k.attrs[0] = list("kernel_shape", c->n, c->kernel);
    k.attrs[1] = list("strides", c->n, c->strides);
    k.attrs[2] = list("dilations", c->n, c->dilations);
    k.attrs[3] = list("pads", 2 * c->n, c->pads);
    k.attrs[4] = (og_attr){.name = "ceil_mode", .kind = OG_ATTR_INT, .i = c->ceil};
    k.attrs[5] = (og_attr){.name = "count_include_pad", .kind = OG_ATTR_INT, .i = include_pad};
    return k;
}

TEST(pooling)
{
    uint64_t seed = 2;
    for (size_t i = 0; i < sizeof pool_cases / sizeof *pool_cases; i++)
        for (int include = 0; include < 2; include++) {
            const pool_case *c = &pool_cases[i];
            int64_t x_dims[5] = {3, c->channels}, y_dims[5] = {3, c->channels};
            memcpy(x_dims + 2, c->in, sizeof c->in);
            memcpy(y_dims + 2, c->out, sizeof c->out);
            int rank = c->n + 2;
            og_tensor x = laid_out(OG_FLOAT, rank, x_dims, DENSE, true, &seed);
            og_tensor dy = laid_out(OG_FLOAT, rank, y_dims, DENSE, true, &seed);
            if (include) /* -infinity loses to whatever is there */
                for (int64_t e = 0; e < og__elements(&x); e += 7)
                    ((float *)x.data)[e] = -INFINITY;
            TEST_CASE(case_text("pooling", &x.type, (int)i));
            kernel_call max = pool_call("MaxPool", c, false);
            max.nx = 1;
            max.ny = 2;
            max.x[0] = x;
            max.y[0] = output_of(OG_FLOAT, rank, y_dims);
            max.y[1] = output_of(OG_INT64, rank, y_dims);
            check(&max, X0, Y0 | Y1, 0);
            kernel_call training = pool_call("ai.ongrad::MaxPoolTraining", c, false);
            training.nx = 1;
            training.ny = 2;
            training.x[0] = x;
            training.y[0] = output_of(OG_FLOAT, rank, y_dims);
            training.y[1] = output_of(OG_UINT8, rank, y_dims);
            check(&training, X0, Y0 | Y1, 0);
            kernel_call g = pool_call("ai.ongrad::MaxPoolGrad", c, false);
            g.nx = 2;
            g.ny = 1;
            g.x[0] = dy;
            g.x[1] = training.y[1];
            g.y[0] = output_of(OG_FLOAT, rank, x_dims);
            check(&g, X0 | X1, Y0, 0);
            for (int64_t e = 0; e < og__elements(&x); e++)
                ((float *)x.data)[e] = (float)test_uniform(&seed);
            kernel_call average = pool_call("AveragePool", c, include);
            average.nx = average.ny = 1;
            average.x[0] = x;
            average.y[0] = output_of(OG_FLOAT, rank, y_dims);
            check(&average, X0, Y0, 1e-6); /* sums in another order */
            kernel_call spread = pool_call("ai.ongrad::AveragePoolGrad", c, include);
            spread.nx = spread.ny = 1;
            spread.x[0] = dy;
            spread.y[0] = output_of(OG_FLOAT, rank, x_dims);
            check(&spread, X0, Y0, 1e-6);
            release_blocks();
        }
}

TEST(max_pool_nan)
{
    const pool_case c = {2, 20, {4, 4}, {2, 2}, {2, 2}, {2, 2}, {1, 1}, {0}, false};
    uint64_t seed = 3;
    kernel_call k = pool_call("MaxPool", &c, false);
    k.kernel = "channels-last";
    k.nx = 1;
    k.ny = 2;
    og_tensor x = laid_out(OG_FLOAT, 4, (int64_t[]){1, 20, 4, 4}, DENSE, true, &seed);
    ((float *)x.data)[16 * 3 + 5] = NAN;
    for (int i = 0; i < 16; i++)
        ((float *)x.data)[16 * 17 + i] = -INFINITY;
    k.x[0] = test_channels_last(&x);
    keep_block(k.x[0].data);
    for (int i = 0; i < 2; i++) {
        k.y[i] = output_of(i ? OG_INT64 : OG_FLOAT, 4, (int64_t[]){1, 20, 2, 2});
        og_strides_channels_last(&k.y[i].type, k.y[i].strides);
    }
    if (test_run(&k)) {
        CHECK(isnan(test_element(&k.y[0], 4 * 3)));
        CHECK_CLOSE(test_element(&k.y[1], 4 * 3), 16 * 3 + 5, 0);
        CHECK(test_element(&k.y[0], 4 * 17 + 3) == -INFINITY);
        CHECK_CLOSE(test_element(&k.y[1], 4 * 17 + 3), 16 * 17 + 10, 0);
    }
    release_blocks();
}

static const og_test tests[] = {TEST_ROW(batch_normalization), TEST_ROW(group_normalization),
                                TEST_ROW(pooling), TEST_ROW(max_pool_nan)};
TEST_MAIN(tests)
