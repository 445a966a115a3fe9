/* Reductions, scans, softmax and normalization on the CPU: each kernel against sums in double
 * written straight from the definition; gradients against finite differences. */
#include "tests/kernels/strided.h"

/* ---- reductions */

static const char *const reduce_ops[] = {"ReduceSum", "ReduceMean", "ReduceMax",
                                         "ReduceMin", "ReduceProd", "ReduceSumSquare"};

typedef struct reduce_case {
    int rank;
    int64_t dims[5];
    int n_axes;
    int64_t axes[5];
} reduce_case;

static const reduce_case reduce_cases[] = {
    {0, {0}, 0, {0}},
    {1, {1}, 1, {0}},
    {1, {7}, 1, {0}},
    {1, {100003}, 1, {-1}},
    {2, {5, 9}, 1, {1}},
    {2, {5, 9}, 1, {0}},
    {2, {5, 9}, 0, {0}},
    {2, {33, 1000}, 1, {1}},
    {2, {33, 1000}, 1, {0}},
    {2, {2000, 3}, 1, {0}},
    {2, {2000, 3}, 1, {1}},
    {2, {700, 1500}, 1, {0}},
    {2, {3, 70000}, 1, {1}},
    {3, {4, 5, 6}, 1, {1}},
    {3, {4, 5, 6}, 2, {0, 2}},
    {3, {4, 5, 6}, 2, {0, -2}},
    {4, {3, 8, 7, 7}, 3, {0, 2, 3}},
    {4, {3, 70, 9, 11}, 3, {0, 2, 3}},
    {4, {3, 5, 40, 40}, 3, {0, 2, 3}},
    {4, {2, 3, 4, 5}, 1, {0}},
    {4, {2, 3, 4, 5}, 2, {1, 3}},
    {5, {2, 3, 1, 4, 3}, 3, {0, 2, 4}},
    {3, {2, 0, 3}, 1, {1}},
    {3, {2, 0, 3}, 1, {0}},
};

static double fold(int op, double a, double v)
{
    switch (op) {
    case 2:
        return v > a || v != v ? v : a;
    case 3:
        return v < a || v != v ? v : a;
    case 4:
        return a * v;
    case 5:
        return a + v * v;
    default:
        return a + v;
    }
}

/* What `op` gives over the axes marked in `reduced`; n elements. */
static double *reduce_expected(int op, const og_tensor *x, const bool *reduced, int64_t n)
{
    double *expected = keep_block(calloc((size_t)n + 1, sizeof *expected));
    int64_t all = og__elements(x), count = 1;
    for (int64_t i = 0; i < n; i++)
        expected[i] = op == 2 ? -INFINITY : op == 3 ? INFINITY : op == 4;
    for (int a = 0; a < x->type.rank; a++)
        count *= reduced[a] ? x->type.dims[a] : 1;
    for (int64_t i = 0; i < all; i++) {
        int64_t index[OG_MAX_RANK], at = 0;
        index_of(&x->type, i, index);
        for (int a = 0; a < x->type.rank; a++)
            if (!reduced[a])
                at = at * x->type.dims[a] + index[a];
        expected[at] = fold(op, expected[at], test_element(x, i));
    }
    for (int64_t i = 0; op == 1 && i < n; i++)
        expected[i] = og__is_real(x->type.dtype) ? expected[i] / (double)count
                      : count                    ? trunc(expected[i] / (double)count)
                                                 : 0;
    return expected;
}

static void check_reduce(int op, og_dtype dtype, const reduce_case *c, layout how, uint64_t *seed)
{
    bool reduced[OG_MAX_RANK] = {0};
    int64_t dims[OG_MAX_RANK] = {0}, n = 1;
    int keep = (int)(test_random(seed) % 2), rank = 0;
    kernel_call k = {.op = reduce_ops[op], .nx = 2, .ny = 1, .n_attrs = 1};
    k.attrs[0] = (og_attr){.name = "keepdims", .kind = OG_ATTR_INT, .i = keep};
    k.x[0] = laid_out(dtype, c->rank, c->dims, how, true, seed);
    k.x[1] = ints_of(c->n_axes, c->axes);
    for (int i = 0; i < c->n_axes; i++)
        reduced[og__axis(c->axes[i], c->rank)] = true;
    for (int a = 0; a < c->rank; a++) {
        reduced[a] = reduced[a] || c->n_axes == 0;
        n *= reduced[a] ? 1 : c->dims[a];
        if (!reduced[a] || keep)
            dims[rank++] = reduced[a] ? 1 : c->dims[a];
    }
    k.y[0] = output_of(dtype, rank, dims);
    TEST_CASE(case_text(reduce_ops[op], &k.x[0].type, (int)how));
    double *expected = reduce_expected(op, &k.x[0], reduced, n);
    bool empty = og__elements(&k.x[0]) == 0;
    if (!og__is_real(dtype) && empty && op >= 1 && op <= 3)
        return; /* no such value */
    double tolerance = dtype == OG_FLOAT16 ? 1e-3 : dtype == OG_FLOAT ? 2e-7 : 1e-12;
    for (int threads = 1; threads <= 3; threads++) {
        k.threads = threads;
        if (!test_run(&k))
            return;
        for (int64_t i = 0; i < n; i++)
            CHECK_CLOSE(test_element(&k.y[0], i), expected[i], tolerance);
        void *first = keep_block(malloc((size_t)n * og__size(dtype) + 1));
        if (threads > 1 && !empty)
            CHECK(memcmp(blocks[n_blocks - 2], k.y[0].data, (size_t)n * og__size(dtype)) == 0);
        memcpy(first, k.y[0].data, (size_t)n * og__size(dtype));
    }
}

TEST(reduce)
{
    static const og_dtype dtypes[] = {OG_FLOAT,  OG_DOUBLE, OG_INT32,  OG_INT64,
                                      OG_UINT32, OG_UINT64, OG_FLOAT16};
    uint64_t seed = 1;
    for (size_t c = 0; c < sizeof reduce_cases / sizeof *reduce_cases; c++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
            for (int op = 0; op < 6; op++) {
                int64_t n = 1;
                bool real = og__is_real(dtypes[d]);
                for (int a = 0; a < reduce_cases[c].rank; a++)
                    n *= reduce_cases[c].dims[a];
                if (op == 4 && !real && n > 8) /* products of many integers overflow */
                    continue;
                if (n > 2000 && d > 1)
                    continue;
                for (int how = 0; how < LAYOUTS; how++) {
                    if (n > 20000 && how > REVERSED_AXES)
                        continue;
                    check_reduce(op, dtypes[d], &reduce_cases[c], (layout)how, &seed);
                    release_blocks();
                }
            }
    static const og_dtype ordered[] = {OG_UINT8, OG_INT8, OG_BOOL};
    for (size_t c = 4; c < 7; c++)
        for (int d = 0; d < 3; d++)
            for (int op = 2; op < 4; op++) {
                check_reduce(op, ordered[d], &reduce_cases[c], DENSE, &seed);
                release_blocks();
            }
}

TEST(reduce_special)
{
    uint64_t seed = 5;
    for (int op = 2; op < 4; op++)
        for (int64_t at = 0; at < 100; at += 33)
            for (int axis = 0; axis < 2; axis++) { /* a NaN anywhere wins */
                kernel_call k = {.op = reduce_ops[op], .nx = 2, .ny = 1};
                k.x[0] = laid_out(OG_FLOAT, 2, axis ? (int64_t[]){1, 100} : (int64_t[]){100, 1},
                                  DENSE, true, &seed);
                k.x[1] = ints_of(1, (int64_t[]){axis});
                k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){1, 1});
                ((float *)k.x[0].data)[at] = NAN;
                if (test_run(&k))
                    CHECK(isnan(*(float *)k.y[0].data));
                release_blocks();
            }
    /* a long sum of equal numbers, where sums in float drift */
    kernel_call k = {.op = "ReduceSum", .nx = 1, .ny = 1};
    k.x[0] = laid_out(OG_FLOAT, 1, (int64_t[]){3000000}, DENSE, true, &seed);
    for (int64_t i = 0; i < 3000000; i++)
        ((float *)k.x[0].data)[i] = 0.1f;
    k.y[0] = output_of(OG_FLOAT, 0, NULL);
    if (test_run(&k))
        CHECK_CLOSE(*(float *)k.y[0].data, 3000000 * (double)0.1f, 1e-7);
    release_blocks();
    /* no axes, and told to do nothing then */
    k = (kernel_call){.op = "ReduceSum", .nx = 1, .ny = 1, .n_attrs = 1};
    k.attrs[0] = (og_attr){.name = "noop_with_empty_axes", .kind = OG_ATTR_INT, .i = 1};
    k.x[0] = laid_out(OG_FLOAT, 2, (int64_t[]){3, 4}, DENSE, true, &seed);
    k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){3, 4});
    if (test_run(&k))
        CHECK(memcmp(k.x[0].data, k.y[0].data, 12 * sizeof(float)) == 0);
    release_blocks();
}

/* ---- ArgMax, ArgMin, CumSum */

typedef struct axis_case {
    int rank;
    int64_t dims[4];
    int axis;
} axis_case;

static const axis_case axis_cases[] = {
    {1, {1}, 0},          {1, {9}, -1},           {1, {1000}, 0},          {2, {5, 300}, 1},
    {2, {300, 5}, 0},     {2, {40, 1}, 1},        {3, {4, 70, 3}, 1},      {3, {3, 5, 300}, 1},
    {3, {64, 33, 17}, 2}, {4, {2, 3, 20, 31}, 2}, {4, {2, 21, 16, 16}, 1}, {3, {130, 2, 64}, -3},
    {2, {600, 97}, 1},
};
#define N_AXIS_CASES (sizeof axis_cases / sizeof *axis_cases)

/* Position of element k of line `l` along the axis. */
static int64_t along(const og_type *t, int axis, int64_t l, int64_t k)
{
    int64_t n = t->dims[axis], inner = og__product(t->dims, axis + 1, t->rank);
    return (l / inner * n + k) * inner + l % inner;
}

TEST(arg)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_INT32, OG_UINT8, OG_INT64};
    uint64_t seed = 2;
    for (size_t c = 0; c < N_AXIS_CASES; c++)
        for (int mode = 0; mode < 20; mode++) {
            const axis_case *a = &axis_cases[c];
            int axis = og__axis(a->axis, a->rank);
            bool max = mode & 1, last = mode & 2;
            kernel_call k = {.op = max ? "ArgMax" : "ArgMin", .nx = 1, .ny = 1, .n_attrs = 2};
            k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = a->axis};
            k.attrs[1] = (og_attr){.name = "select_last_index", .kind = OG_ATTR_INT, .i = last};
            k.x[0] = laid_out(dtypes[mode / 4], a->rank, a->dims, DENSE, true, &seed);
            if (mode / 4 == 0)
                for (int64_t i = 0; i < og__elements(&k.x[0]); i++) { /* ties */
                    float *v = (float *)k.x[0].data + i;
                    *v = floorf(*v * 4);
                }
            int64_t dims[4], n = a->dims[axis];
            memcpy(dims, a->dims, sizeof dims);
            dims[axis] = 1;
            k.y[0] = output_of(OG_INT64, a->rank, dims);
            TEST_CASE(case_text(k.op, &k.x[0].type, mode));
            if (test_run(&k))
                for (int64_t l = 0; l < og__elements(&k.y[0]); l++) {
                    int64_t best = 0;
                    for (int64_t i = 1; i < n; i++) {
                        double v = test_element(&k.x[0], along(&k.x[0].type, axis, l, i));
                        double b = test_element(&k.x[0], along(&k.x[0].type, axis, l, best));
                        if (max ? v > b : v < b)
                            best = i;
                        else if (v == b && last)
                            best = i;
                    }
                    CHECK_INT(((int64_t *)k.y[0].data)[l], best);
                }
            release_blocks();
        }
}

static bool comes_before(double a, double b, bool largest)
{
    bool more = a > b || (isnan(a) && !isnan(b)), less = a < b || (isnan(b) && !isnan(a));
    return largest ? more : less;
}

TEST(top_k)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_INT32, OG_UINT8};
    uint64_t seed = 9;
    for (size_t c = 0; c < N_AXIS_CASES; c++)
        for (int mode = 0; mode < 16; mode++) {
            const axis_case *a = &axis_cases[c];
            int axis = og__axis(a->axis, a->rank);
            bool largest = mode & 1;
            int64_t dims[4], n = a->dims[axis], k = mode & 2 ? n : (n + 4) / 5;
            kernel_call t = {.op = "TopK", .nx = 2, .ny = 2, .n_attrs = 2};
            t.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = a->axis};
            t.attrs[1] = (og_attr){.name = "largest", .kind = OG_ATTR_INT, .i = largest};
            t.x[0] = laid_out(dtypes[mode / 4], a->rank, a->dims, DENSE, true, &seed);
            if (mode / 4 == 0)
                ((float *)t.x[0].data)[og__elements(&t.x[0]) / 2] = NAN;
            t.x[1] = ints_of(1, &k);
            memcpy(dims, a->dims, sizeof dims);
            dims[axis] = k;
            t.y[0] = output_of(dtypes[mode / 4], a->rank, dims);
            t.y[1] = output_of(OG_INT64, a->rank, dims);
            TEST_CASE(case_text("TopK", &t.x[0].type, mode));
            if (!test_run(&t))
                continue;
            for (int64_t l = 0; l < og__elements(&t.x[0]) / n; l++)
                for (int64_t j = 0; j < k; j++) { /* as many as j come before what stands at j */
                    int64_t at = along(&t.y[0].type, axis, l, j), ahead = 0;
                    int64_t index = ((int64_t *)t.y[1].data)[at];
                    double v = test_element(&t.x[0], along(&t.x[0].type, axis, l, index));
                    for (int64_t i = 0; i < n; i++) {
                        double w = test_element(&t.x[0], along(&t.x[0].type, axis, l, i));
                        bool worse = comes_before(v, w, largest);
                        ahead += comes_before(w, v, largest) || (!worse && i < index);
                    }
                    CHECK_INT(ahead, j);
                    CHECK_CLOSE(test_element(&t.y[0], at), v, 0);
                }
            t.y[1] = (og_tensor){0};
            memset(t.y[0].data, 0xee, (size_t)og__elements(&t.y[0]) * og__size(dtypes[mode / 4]));
            if (test_run(&t) && mode / 4 == 1 && largest && n > 1)
                CHECK(((double *)t.y[0].data)[0] > -1);
            release_blocks();
        }
}

TEST(cumsum)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_INT32, OG_INT64};
    uint64_t seed = 3;
    for (size_t c = 0; c < N_AXIS_CASES; c++)
        for (int mode = 0; mode < 16; mode++) {
            const axis_case *a = &axis_cases[c];
            int axis = og__axis(a->axis, a->rank);
            bool exclusive = mode & 1, reverse = mode & 2;
            kernel_call k = {.op = "CumSum", .nx = 2, .ny = 1, .n_attrs = 2};
            k.attrs[0] = (og_attr){.name = "exclusive", .kind = OG_ATTR_INT, .i = exclusive};
            k.attrs[1] = (og_attr){.name = "reverse", .kind = OG_ATTR_INT, .i = reverse};
            k.x[0] = laid_out(dtypes[mode / 4], a->rank, a->dims, DENSE, true, &seed);
            k.x[1] = scalar_int(a->axis);
            k.y[0] = output_of(dtypes[mode / 4], a->rank, a->dims);
            TEST_CASE(case_text("CumSum", &k.x[0].type, mode));
            int64_t n = a->dims[axis], lines = og__elements(&k.x[0]) / n;
            if (test_run(&k))
                for (int64_t l = 0; l < lines; l++) {
                    double sum = 0;
                    for (int64_t i = 0; i < n; i++) {
                        int64_t at = along(&k.x[0].type, axis, l, reverse ? n - 1 - i : i);
                        double before = sum;
                        sum += test_element(&k.x[0], at);
                        CHECK_CLOSE(test_element(&k.y[0], at), exclusive ? before : sum, 1e-6);
                    }
                }
            release_blocks();
        }
}

/* ---- softmax */

static void check_softmax(const char *op, og_dtype dtype, const axis_case *a, double scale,
                          uint64_t *seed)
{
    bool logarithm = strstr(op, "Log"), flattened = strstr(op, "Flattened");
    int axis = og__axis(a->axis, a->rank);
    kernel_call k = {.op = op, .nx = 1, .ny = 1, .n_attrs = 1};
    k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = a->axis};
    k.x[0] = laid_out(dtype, a->rank, a->dims, DENSE, true, seed);
    k.y[0] = output_of(dtype, a->rank, a->dims);
    int64_t all = og__elements(&k.x[0]);
    for (int64_t i = 0; i < all; i++)
        og__store_double(k.x[0].data, dtype, i, test_element(&k.x[0], i) * scale);
    if (scale > 10) /* some masked positions */
        for (int64_t i = 1; i < all; i += 3)
            og__store_double(k.x[0].data, dtype, i, -INFINITY);
    TEST_CASE(case_text(op, &k.x[0].type, axis));
    if (!test_run(&k))
        return;
    og_type t = k.x[0].type;
    if (flattened) {
        int64_t outer = og__product(t.dims, 0, axis), n = og__product(t.dims, axis, t.rank);
        t = (og_type){.dtype = dtype, .rank = 2, .dims = {outer, n}};
        axis = 1;
    }
    double tolerance = dtype == OG_FLOAT ? (logarithm ? 4e-7 * scale : 4e-7) : 1e-13 * scale;
    for (int64_t l = 0; l < all / t.dims[axis]; l++) {
        double m = -INFINITY, s = 0;
        for (int64_t i = 0; i < t.dims[axis]; i++)
            m = fmax(m, test_element(&k.x[0], along(&t, axis, l, i)));
        for (int64_t i = 0; i < t.dims[axis]; i++)
            s += exp(test_element(&k.x[0], along(&t, axis, l, i)) - m);
        for (int64_t i = 0; i < t.dims[axis]; i++) {
            int64_t at = along(&t, axis, l, i);
            double v = test_element(&k.x[0], at) - m, e = logarithm ? v - log(s) : exp(v) / s;
            CHECK_CLOSE(test_element(&k.y[0], at), e, tolerance);
        }
    }
}

TEST(softmax)
{
    static const char *const ops[] = {"Softmax", "LogSoftmax", "ai.ongrad::FlattenedSoftmax",
                                      "ai.ongrad::FlattenedLogSoftmax"};
    static const double scales[] = {1, 8, 100};
    uint64_t seed = 4;
    for (size_t c = 0; c < N_AXIS_CASES; c++)
        for (int op = 0; op < 4; op++)
            for (int d = 0; d < 2; d++)
                for (int s = 0; s < 3; s++) {
                    if (axis_cases[c].dims[og__axis(axis_cases[c].axis, axis_cases[c].rank)] == 1 &&
                        s == 2)
                        continue; /* a line with nothing unmasked */
                    check_softmax(ops[op], d ? OG_DOUBLE : OG_FLOAT, &axis_cases[c], scales[s],
                                  &seed);
                    release_blocks();
                }
    /* a NaN spreads over its line, and no further */
    kernel_call k = {.op = "Softmax", .nx = 1, .ny = 1};
    k.x[0] = laid_out(OG_FLOAT, 2, (int64_t[]){2, 40}, DENSE, true, &seed);
    k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){2, 40});
    ((float *)k.x[0].data)[17] = NAN;
    if (test_run(&k))
        for (int i = 0; i < 80; i++)
            CHECK_INT(isnan(((float *)k.y[0].data)[i]) != 0, i < 40);
    release_blocks();
}

/* ---- normalization */

/* A normalization seen from outside: groups of elements that share statistics, and a parameter for
 * each element. */
typedef struct norm_case {
    const char *op;
    int rank;
    int64_t dims[4];
    int64_t axis_or_groups;
} norm_case;

static const norm_case norm_cases[] = {
    {"LayerNormalization", 2, {3, 5}, 1},
    {"LayerNormalization", 3, {4, 70, 100}, -1},
    {"LayerNormalization", 3, {4, 7, 33}, 1},
    {"LayerNormalization", 2, {300, 512}, -1},
    {"LayerNormalization", 1, {50}, 0},
    {"InstanceNormalization", 4, {2, 3, 5, 7}, 0},
    {"InstanceNormalization", 3, {2, 17, 100}, 0},
    {"GroupNormalization", 4, {2, 6, 5, 7}, 3},
    {"GroupNormalization", 3, {2, 6, 50}, 1},
    {"ai.ongrad::GroupNormalizationTraining", 4, {2, 6, 5, 7}, 3},
    {"ai.ongrad::GroupNormalizationTraining", 2, {5, 12}, 2},
    {"ai.ongrad::GroupNormalizationTraining", 4, {3, 16, 40, 41}, 4},
    {"ai.ongrad::GroupNormalizationTraining", 3, {2, 5, 9}, 5},
    {"ai.ongrad::BatchNormalizationTraining", 2, {64, 10}, 0},
    {"ai.ongrad::BatchNormalizationTraining", 2, {50, 600}, 0},
    {"ai.ongrad::BatchNormalizationTraining", 4, {5, 12, 3, 3}, 0},
    {"ai.ongrad::BatchNormalizationTraining", 4, {5, 40, 2, 2}, 0},
    {"ai.ongrad::BatchNormalizationTraining", 4, {6, 8, 20, 21}, 0},
    {"ai.ongrad::BatchNormalizationTraining", 3, {6, 3, 16}, 0},
};

static int64_t norm_parameter(const norm_case *c, const og_type *t, int64_t at)
{
    if (strstr(c->op, "Layer"))
        return at % og__product(t->dims, og__axis(c->axis_or_groups, t->rank), t->rank);
    return at / og__product(t->dims, 2, t->rank) % t->dims[1];
}

static int64_t norm_group(const norm_case *c, const og_type *t, int64_t at)
{
    if (strstr(c->op, "Layer"))
        return at / og__product(t->dims, og__axis(c->axis_or_groups, t->rank), t->rank);
    int64_t line = at / og__product(t->dims, 2, t->rank);
    if (strstr(c->op, "Batch"))
        return line % t->dims[1];
    return strstr(c->op, "Group") ? line / (t->dims[1] / c->axis_or_groups) : line;
}

/* The call with random inputs around `centre`, and its outputs. */
static kernel_call norm_call(const norm_case *c, og_dtype dtype, double centre, uint64_t *seed)
{
    kernel_call k = {.op = c->op, .nx = 3, .n_attrs = 3};
    bool layer = strstr(c->op, "Layer"), batch = strstr(c->op, "BatchNormalizationTraining");
    k.attrs[0] = (og_attr){.name = "epsilon", .kind = OG_ATTR_FLOAT, .f = 1e-3};
    k.attrs[1] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = c->axis_or_groups};
    k.attrs[2] = (og_attr){.name = "num_groups", .kind = OG_ATTR_INT, .i = c->axis_or_groups};
    k.x[0] = laid_out(dtype, c->rank, c->dims, DENSE, true, seed);
    for (int64_t i = 0; i < og__elements(&k.x[0]); i++)
        og__store_double(k.x[0].data, dtype, i, test_element(&k.x[0], i) + centre);
    int axis = og__axis(c->axis_or_groups, c->rank);
    int64_t parameters = layer ? og__product(c->dims, axis, c->rank) : c->dims[1];
    int64_t statistics = layer ? og__product(c->dims, 0, axis) : c->dims[1];
    if (strstr(c->op, "Group"))
        statistics = c->dims[0] * c->axis_or_groups;
    k.x[1] = laid_out(dtype, 1, &parameters, DENSE, true, seed);
    k.x[2] = laid_out(dtype, 1, &parameters, DENSE, true, seed);
    k.y[0] = output_of(dtype, c->rank, c->dims);
    k.ny = batch ? 4 : layer || strstr(c->op, "Training") ? 3 : 1;
    for (int i = 1; i < k.ny; i++)
        k.y[i] = output_of(dtype, 1, &statistics);
    return k;
}

TEST(normalization)
{
    uint64_t seed = 6;
    for (size_t c = 0; c < sizeof norm_cases / sizeof *norm_cases; c++)
        for (int mode = 0; mode < 4; mode++) {
            og_dtype dtype = mode & 1 ? OG_DOUBLE : OG_FLOAT;
            double centre = mode & 2 ? 1000 : 0;
            kernel_call k = norm_call(&norm_cases[c], dtype, centre, &seed);
            int64_t n = og__elements(&k.x[0]);
            TEST_CASE(case_text(k.op, &k.x[0].type, mode));
            if (!test_run(&k))
                continue;
            double *sum = keep_block(calloc((size_t)n, sizeof *sum)),
                   *var = keep_block(calloc((size_t)n, sizeof *var));
            double *count = keep_block(calloc((size_t)n, sizeof *count));
            for (int64_t i = 0; i < n; i++) {
                int64_t g = norm_group(&norm_cases[c], &k.x[0].type, i);
                sum[g] += test_element(&k.x[0], i);
                count[g]++;
            }
            for (int64_t i = 0; i < n; i++) {
                int64_t g = norm_group(&norm_cases[c], &k.x[0].type, i);
                var[g] += pow(test_element(&k.x[0], i) - sum[g] / count[g], 2) / count[g];
            }
            double tolerance = dtype == OG_DOUBLE ? 1e-10 : centre > 0 ? 1e-3 : 2e-6;
            for (int64_t i = 0; i < n; i++) {
                int64_t g = norm_group(&norm_cases[c], &k.x[0].type, i);
                int64_t p = norm_parameter(&norm_cases[c], &k.x[0].type, i);
                double e = (test_element(&k.x[0], i) - sum[g] / count[g]) / sqrt(var[g] + 1e-3);
                CHECK_CLOSE(test_element(&k.y[0], i),
                            e * test_element(&k.x[1], p) + test_element(&k.x[2], p), tolerance);
                if (k.ny > 1)
                    CHECK_CLOSE(test_element(&k.y[1], g), sum[g] / count[g], 1e-6);
                if (k.ny > 3)
                    CHECK_CLOSE(test_element(&k.y[2], g), var[g], 1e-6);
                if (k.ny > 1)
                    CHECK_CLOSE(test_element(&k.y[k.ny - 1], g), 1 / sqrt(var[g] + 1e-3), 1e-5);
            }
            release_blocks();
        }
}

/* Σ y dy of a normalization at the call's inputs. */
static double norm_objective(kernel_call *k, const og_tensor *dy)
{
    double sum = 0;
    if (test_run(k))
        for (int64_t i = 0; i < og__elements(dy); i++)
            sum += test_element(&k->y[0], i) * test_element(dy, i);
    return sum;
}

TEST(normalization_gradients)
{
    uint64_t seed = 7;
    for (size_t c = 0; c < sizeof norm_cases / sizeof *norm_cases; c++) {
        const norm_case *n = &norm_cases[c];
        const char *op =
            strstr(n->op, "Layer")                        ? "ai.ongrad::LayerNormalizationGrad"
            : strstr(n->op, "BatchNormalizationTraining") ? "ai.ongrad::BatchNormalizationGrad"
            : strstr(n->op, "GroupNormalizationTraining") ? "ai.ongrad::GroupNormalizationGrad"
                                                          : NULL;
        if (!op)
            continue;
        for (int mode = 0; mode < 3; mode++) { /* double; float; double without dscale and dbias */
            og_dtype dtype = mode == 1 ? OG_FLOAT : OG_DOUBLE;
            kernel_call k = norm_call(n, dtype, 0.5, &seed);
            kernel_call g = {.op = op, .nx = 5, .ny = mode == 2 ? 1 : 3, .n_attrs = 3};
            memcpy(g.attrs, k.attrs, sizeof g.attrs);
            og_tensor dy = laid_out(dtype, n->rank, n->dims, DENSE, true, &seed);
            TEST_CASE(case_text(g.op, &dy.type, mode));
            if (!test_run(&k))
                continue;
            og_tensor in[5] = {dy, k.x[0], k.x[1], k.y[1], k.y[k.ny - 1]};
            memcpy(g.x, in, sizeof in);
            g.y[0] = output_of(dtype, n->rank, n->dims);
            g.y[1] = output_of(dtype, 1, k.x[1].type.dims);
            g.y[2] = output_of(dtype, 1, k.x[1].type.dims);
            bool ran = test_run(&g);
            /* a few elements of each input, by central differences in double */
            kernel_call d = k;
            for (int i = 0; i < 3; i++) {
                d.x[i] = test_convert(&k.x[i], OG_DOUBLE);
                keep_block(d.x[i].data);
            }
            for (int i = 0; i < d.ny; i++)
                d.y[i] = output_of(OG_DOUBLE, d.y[i].type.rank, d.y[i].type.dims);
            for (int i = 0; ran && i < g.ny; i++)
                for (int repeat = 0; repeat < 8; repeat++) {
                    int64_t at = (int64_t)(test_random(&seed) % (uint64_t)og__elements(&d.x[i]));
                    double *v = (double *)d.x[i].data + at, keep = *v, h = 1e-5;
                    *v = keep + h;
                    double up = norm_objective(&d, &dy);
                    *v = keep - h;
                    double down = norm_objective(&d, &dy);
                    *v = keep;
                    CHECK_CLOSE(test_element(&g.y[i], at), (up - down) / (2 * h),
                                mode == 1 ? 2e-5 : 1e-6);
                }
            release_blocks();
        }
    }
}

TEST(batch_normalization_inference)
{
    static const norm_case cases[] = {{"BatchNormalization", 4, {2, 5, 6, 7}, 0},
                                      {"BatchNormalization", 2, {30, 300}, 0},
                                      {"BatchNormalization", 3, {3, 90, 5}, 0}};
    uint64_t seed = 8;
    for (int c = 0; c < 3; c++)
        for (int d = 0; d < 2; d++) {
            kernel_call k = norm_call(&cases[c], d ? OG_DOUBLE : OG_FLOAT, 0, &seed);
            k.nx = 5;
            k.ny = 1;
            k.x[3] = laid_out(k.x[0].type.dtype, 1, k.x[1].type.dims, DENSE, true, &seed);
            k.x[4] = laid_out(k.x[0].type.dtype, 1, k.x[1].type.dims, DENSE, true, &seed);
            for (int64_t i = 0; i < og__elements(&k.x[4]); i++)
                og__store_double(k.x[4].data, k.x[4].type.dtype, i,
                                 fabs(test_element(&k.x[4], i)) + 0.1);
            TEST_CASE(case_text(k.op, &k.x[0].type, d));
            if (test_run(&k))
                for (int64_t i = 0; i < og__elements(&k.x[0]); i++) {
                    int64_t p = norm_parameter(&cases[c], &k.x[0].type, i);
                    double h = (test_element(&k.x[0], i) - test_element(&k.x[3], p)) /
                               sqrt(test_element(&k.x[4], p) + 1e-3);
                    CHECK_CLOSE(test_element(&k.y[0], i),
                                h * test_element(&k.x[1], p) + test_element(&k.x[2], p), 2e-6);
                }
            release_blocks();
        }
}

static const og_test tests[] = {TEST_ROW(reduce),
                                TEST_ROW(reduce_special),
                                TEST_ROW(arg),
                                TEST_ROW(top_k),
                                TEST_ROW(cumsum),
                                TEST_ROW(softmax),
                                TEST_ROW(normalization),
                                TEST_ROW(normalization_gradients),
                                TEST_ROW(batch_normalization_inference)};
TEST_MAIN(tests)
