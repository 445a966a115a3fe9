/* Elementwise programs that end in a reduction, against sums in long double: every kind, every
 * block of axes, rows and columns of odd lengths, with the values also written and without. */
#include "tests/kernels/call.h"

/* v = a · b, a of the whole space, b of its last axis */
static const og_instr product[] = {{OG_SCALAR_Mul, 0, 1, -1}};
static const int16_t written = 2;

typedef struct space {
    const char *name;
    int rank;
    int64_t dims[5];
} space;

static const space spaces[] = {
    {"a vector", 1, {50021}},
    {"one element", 1, {1}},
    {"few columns", 2, {4099, 3}},
    {"rows of a tile", 2, {300, 1024}},
    {"odd rows", 2, {257, 331}},
    {"long rows", 2, {3, 70001}},
    {"wide", 2, {65, 5003}},
    {"wide, of sequences", 3, {2, 21, 4100}},
    {"images of a small batch", 3, {5, 21, 1031}},
    {"sequences", 3, {4, 65, 48}},
    {"axes of one", 4, {1, 37, 1, 50}},
    {"images", 4, {9, 20, 13, 17}},
    {"volumes", 5, {2, 16, 5, 6, 7}},
    {"rows of nothing", 2, {5, 0}},
};

/* Axes [first, last) are kept. */
static uint32_t axes_but(int rank, int first, int last)
{
    uint32_t axes = 0;
    for (int a = 0; a < rank; a++)
        axes |= a < first || a >= last ? (uint32_t)1 << a : 0;
    return axes;
}

static long double combine(og_fold fold, long double acc, long double v)
{
    switch (fold) {
    case OG_FOLD_SUM_SQUARE:
        return acc + v * v;
    case OG_FOLD_PROD:
        return acc * v;
    case OG_FOLD_MAX:
        return isnan(v) || v > acc ? v : acc;
    case OG_FOLD_MIN:
        return isnan(v) || v < acc ? v : acc;
    default:
        return acc + v;
    }
}

/* The value as the program's domain holds it. */
static double product_at(const kernel_call *c, int64_t at, const og_type *t, og_dtype domain)
{
    double a = test_element(&c->x[0], at), b = test_element(&c->x[1], at % t->dims[t->rank - 1]);
    return domain == OG_FLOAT ? (double)((float)a * (float)b) : a * b;
}

static void check_result(const kernel_call *c, const og_program *p)
{
    const og_type *t = &p->space;
    const og_tensor *y = &c->y[p->n_out];
    int64_t outputs = og__elements(y), total = og__product(t->dims, 0, t->rank), count = 0;
    long double *acc = malloc(sizeof *acc * (size_t)(outputs + 1)),
                *size = calloc((size_t)(outputs + 1), sizeof *size);
    for (int64_t i = 0; i < outputs; i++)
        acc[i] = p->fold == OG_FOLD_PROD  ? 1
                 : p->fold == OG_FOLD_MAX ? -INFINITY
                 : p->fold == OG_FOLD_MIN ? INFINITY
                                          : 0;
    for (int64_t at = 0; at < total; at++) {
        int64_t to = 0, step = 1, rest = at;
        for (int a = t->rank - 1; a >= 0; rest /= t->dims[a--])
            if (!(p->folded_axes >> a & 1)) {
                to += rest % t->dims[a] * step;
                step *= t->dims[a];
            }
        long double v = product_at(c, at, t, p->domain);
        acc[to] = combine(p->fold, acc[to], v);
        size[to] += fabsl(p->fold == OG_FOLD_SUM_SQUARE ? v * v : v);
        count += to == 0;
    }
    bool order = p->fold == OG_FOLD_MAX || p->fold == OG_FOLD_MIN;
    for (int64_t i = 0; i < outputs; i++) {
        long double want = acc[i], scale = size[i];
        if (p->fold == OG_FOLD_MEAN) {
            want /= count;
            scale /= count;
        }
        if (p->fold == OG_FOLD_PROD)
            scale = fabsl(want);
        double got = test_element(y, i);
        /* Sums are in double: what is left of their error stands before cancellation, and is the
         * rounding of the result. */
        og_dtype type = y->type.dtype;
        double unit = type == OG_FLOAT     ? 0x1p-24
                      : type == OG_DOUBLE  ? 0x1p-53
                      : type == OG_FLOAT16 ? 0x1p-11
                                           : 0x1p-8;
        long double most =
            fabsl(want) * unit + scale * 1e-13L + (type == OG_FLOAT16 ? 0x1p-25L : 0);
        if (order)
            most = type == OG_FLOAT || type == OG_DOUBLE ? 0 : most;
        bool same = isnan((double)want)
                        ? isnan(got)
                        : (isinf(want) ? got == (double)want : fabsl(got - want) <= most);
        if (!CHECK(same)) {
            printf("    element %lld: %.17g, expected %.17Lg\n", (long long)i, got, want);
            break;
        }
    }
    for (int64_t at = 0; p->n_out && at < total; at++) {
        og_tensor one = test_tensor(c->y[0].type.dtype, 0, NULL);
        og__store_double(one.data, one.type.dtype, 0, product_at(c, at, t, p->domain));
        bool same = test_element(&c->y[0], at) == test_element(&one, 0);
        free(one.data);
        if (!CHECK(same))
            break;
    }
    free(acc);
    free(size);
}

/* One call with 1, 2 and 7 threads; the last of them without its elementwise output. */
static void check_fold(const space *s, uint32_t axes, og_fold fold, og_dtype domain, og_dtype type,
                       bool last, bool missing)
{
    uint64_t seed = 3;
    int64_t outputs = 1;
    for (int a = 0; a < s->rank; a++)
        outputs *= axes >> a & 1 ? 1 : s->dims[a];
    og_program p = {domain, 2, 1, 1, product, &written};
    p.fold = fold;
    p.folded = written;
    p.folded_axes = axes;
    p.space = og_type_make(domain, s->rank, s->dims);
    kernel_call c = {.op = "ai.ongrad::Fused", .program = &p, .nx = 2, .ny = 2};
    c.x[0] = test_filled(type, s->rank, s->dims, &seed);
    c.x[1] = test_filled(type, 1, &s->dims[s->rank - 1], &seed);
    if (fold == OG_FOLD_PROD) /* neither vanishing nor growing without bound */
        for (int i = 0; i < 2; i++)
            for (int64_t e = 0; e < og__elements(&c.x[i]); e++)
                og__store_double(c.x[i].data, type, e, 1 + test_uniform(&seed) * 1e-5);
    if (missing)
        og__store_double(c.x[0].data, type, og__elements(&c.x[0]) / 2, NAN);
    c.y[0] = test_tensor(type, s->rank, s->dims);
    if (last) {
        og_tensor x = test_channels_last(&c.x[0]);
        free(c.x[0].data);
        c.x[0] = x;
        og_strides_channels_last(&c.y[0].type, c.y[0].strides);
    }
    c.y[1] = test_tensor(type, 1, &outputs);
    og_tensor first = {0};
    for (int turn = 0; turn < 3; turn++) {
        static const int threads[] = {1, 2, 7};
        c.threads = threads[turn];
        if (turn == 2) {
            free(c.y[0].data);
            c.y[0] = c.y[1];
            p.n_out = 0;
            c.ny = 1;
        }
        if (!test_run(&c))
            break;
        og_tensor *y = &c.y[p.n_out];
        if (turn == 0) {
            if (!missing)
                check_result(&c, &p);
            first = test_convert(y, OG_DOUBLE);
            if (missing && (fold == OG_FOLD_MAX || fold == OG_FOLD_MIN)) {
                int found = 0;
                for (int64_t i = 0; i < outputs; i++)
                    found += isnan(test_element(y, i));
                CHECK_INT(found, 1);
            }
        } else { /* to the bit */
            og_tensor now = test_convert(y, OG_DOUBLE);
            CHECK(memcmp(now.data, first.data, (size_t)outputs * sizeof(double)) == 0);
            free(now.data);
        }
        memset(y->data, 0x55, (size_t)outputs * og__size(type));
    }
    free(first.data);
    test_free_tensors(&c);
}

TEST(folds)
{
    static const og_dtype types[] = {OG_FLOAT, OG_DOUBLE, OG_FLOAT16, OG_BFLOAT16};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        for (int kept = 0; kept <= spaces[i].rank; kept++)
            for (int first = 0; first + kept <= spaces[i].rank && (kept || !first); first++) {
                const space *s = &spaces[i];
                uint32_t axes = axes_but(s->rank, first, first + kept);
                TEST_CASE(s->name);
                for (int f = 1; f < OG_FOLD_COUNT; f++)
                    check_fold(s, axes, (og_fold)f, OG_FLOAT, OG_FLOAT, false, false);
                for (int t = 1; t < 4; t++)
                    check_fold(s, axes, OG_FOLD_SUM, t == 1 ? OG_DOUBLE : OG_FLOAT, types[t], false,
                               false);
            }
    TEST_CASE("");
}

/* Images channels-last, as far as the axes of memory allow: the channels kept, the batch, or both;
 * or the spatial axes. */
TEST(channels_last)
{
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        const space *s = &spaces[i];
        if (s->rank < 4 || s->dims[0] == 1)
            continue;
        TEST_CASE(s->name);
        for (int f = 1; f < OG_FOLD_COUNT; f++) {
            check_fold(s, axes_but(s->rank, 1, 2), (og_fold)f, OG_FLOAT, OG_FLOAT, true, false);
            check_fold(s, axes_but(s->rank, 0, 1), (og_fold)f, OG_FLOAT, OG_FLOAT, true, false);
            check_fold(s, axes_but(s->rank, 0, 2), (og_fold)f, OG_FLOAT, OG_FLOAT, true, false);
            check_fold(s, axes_but(s->rank, 2, s->rank), (og_fold)f, OG_FLOAT, OG_FLOAT, true,
                       false);
            check_fold(s, axes_but(s->rank, 1, s->rank), (og_fold)f, OG_FLOAT, OG_FLOAT, true,
                       false);
            check_fold(s, axes_but(s->rank, s->rank - 1, s->rank), (og_fold)f, OG_FLOAT, OG_FLOAT,
                       true, false);
        }
    }
    TEST_CASE("");
}

TEST(missing_values)
{
    for (int f = OG_FOLD_MAX; f <= OG_FOLD_MIN; f++)
        for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
            if (spaces[i].dims[spaces[i].rank - 1] > 0) {
                TEST_CASE(spaces[i].name);
                check_fold(&spaces[i], axes_but(spaces[i].rank, 0, spaces[i].rank - 1), (og_fold)f,
                           OG_FLOAT, OG_FLOAT, false, true);
                check_fold(&spaces[i], axes_but(spaces[i].rank, spaces[i].rank - 1, spaces[i].rank),
                           (og_fold)f, OG_FLOAT, OG_FLOAT, false, true);
            }
    TEST_CASE("");
}

static const og_test tests[] = {TEST_ROW(folds), TEST_ROW(channels_last), TEST_ROW(missing_values)};
TEST_MAIN(tests)
