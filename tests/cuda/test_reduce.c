/* Reductions of the card against the processor's: the Reduce ops over every kind of axes, and
 * programs that end in one, with the values also written and without. */
#include "tests/cuda/call.h"

/* The processor adds in double, the card in float32 a thread's share at a time: at most 300 terms
 * in a row here, whose rounding is near their root. Half results are rounded once. */
static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT      ? (closeness){2e-6, 2e-5}
           : dtype == OG_DOUBLE   ? (closeness){1e-13, 1e-13}
           : dtype == OG_FLOAT16  ? (closeness){1e-3, 1e-3}
           : dtype == OG_BFLOAT16 ? (closeness){8e-3, 8e-3}
                                  : (closeness){0, 0};
}

typedef struct space {
    int rank;
    int64_t dims[4];
    int n_axes;
    int64_t axes[4];
    int order[4]; /* how the input lies; all 0: dense */
} space;

static const space spaces[] = {
    {1, {1000}, 0, {0}},
    {1, {1}, 0, {0}},
    {1, {20000}, 1, {0}},
    {2, {37, 5}, 1, {0}},
    {2, {37, 5}, 1, {1}},
    {2, {700, 64}, 1, {0}},
    {2, {6, 1028}, 1, {1}},
    {2, {2, 9000}, 1, {1}},
    {2, {40, 30}, 1, {1}, {1, 0}},
    {2, {40, 30}, 1, {0}, {1, 0}},
    {3, {3, 8, 12}, 1, {1}},
    {3, {3, 8, 12}, 2, {0, 2}},
    {4, {2, 3, 4, 5}, 2, {1, -1}},
    {4, {2, 3, 4, 8}, 2, {0, 2}, {0, 2, 3, 1}},
    {4, {2, 3, 4, 5}, 0, {0}, {3, 1, 0, 2}},
};

static og_tensor lying(og_dtype dtype, const space *s, uint64_t *seed)
{
    int64_t n = 1;
    bool dense = !s->order[0] && !s->order[1];
    og_tensor t = test_tensor(dtype, s->rank, s->dims);
    for (int64_t i = 0; i < og__elements(&t); i++)
        if (og__is_real(dtype))
            og__store_double(t.data, dtype, i, test_uniform(seed));
        else
            og__store_int(t.data, dtype, i, (int64_t)(test_random(seed) % 9));
    for (int i = s->rank - 1; i >= 0; i--) {
        int a = dense ? i : s->order[i];
        t.strides[a] = n;
        n *= s->dims[a];
    }
    return t;
}

static og_type reduced_type(const space *s, og_dtype dtype)
{
    og_type y = {.dtype = dtype};
    for (int a = 0; a < s->rank; a++) {
        bool gone = s->n_axes == 0;
        for (int i = 0; i < s->n_axes; i++)
            gone = gone || (s->axes[i] + s->rank) % s->rank == a;
        if (!gone)
            y.dims[y.rank++] = s->dims[a];
    }
    return y;
}

static void check_reduce(og_device *d, const char *op, og_dtype dtype, const space *s, int shift)
{
    uint64_t seed = 5;
    char text[96];
    snprintf(text, sizeof text, "%s of %s, case %d", op, og_dtype_name(dtype), (int)(s - spaces));
    TEST_CASE(text);
    kernel_call c = {.op = op, .nx = 2, .ny = 1};
    c.attrs[0] = (og_attr){.name = "keepdims", .kind = OG_ATTR_INT, .i = 0};
    c.n_attrs = 1;
    c.x[0] = lying(dtype, s, &seed);
    c.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){s->n_axes});
    for (int i = 0; i < s->n_axes; i++)
        ((int64_t *)c.x[1].data)[i] = s->axes[i];
    og_type y = reduced_type(s, dtype);
    c.y[0] = test_tensor(dtype, y.rank, y.dims);
    same_on_card(d, &c, "compiled", shift, 2, close_of(dtype));
    test_free_tensors(&c);
}

TEST(reductions_of_every_kind)
{
    static const char *const ops[] = {"ReduceSum", "ReduceMean", "ReduceMax",
                                      "ReduceMin", "ReduceProd", "ReduceSumSquare"};
    static const og_dtype types[] = {OG_FLOAT, OG_FLOAT16, OG_BFLOAT16, OG_DOUBLE, OG_INT32};
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        check_reduce(d, "ReduceSum", OG_FLOAT, &spaces[i], 0);
        check_reduce(d, ops[i % 6], types[i % 5], &spaces[i], (int)i % 2);
    }
    for (int op = 0; op < 6; op++)
        check_reduce(d, ops[op], types[op % 5], &spaces[4 + op % 3], 1);
    close_device(d);
}

/* v = a · b, a of the whole space, b of its last axis; reduced over all but axes [first, last). */
static void check_program(og_device *d, og_fold fold, og_dtype dtype, int rank, const int64_t *dims,
                          int first, int last, int n_out)
{
    static const og_instr instr[] = {{OG_SCALAR_Mul, 0, 1, -1}};
    static const int16_t out = 2;
    uint64_t seed = 9;
    char text[96];
    snprintf(text, sizeof text, "program with %s, %s, kept [%d, %d) of %d, %d written",
             og_fold_name(fold), og_dtype_name(dtype), first, last, rank, n_out);
    TEST_CASE(text);
    og_program p = {OG_FLOAT, 2, 1, n_out, instr, &out, fold, 2};
    kernel_call c = {.op = "ai.ongrad::Fused", .nx = 2, .ny = n_out + 1, .program = &p};
    int64_t kept[4];
    int n_kept = 0;
    for (int a = 0; a < rank; a++)
        if (a >= first && a < last)
            kept[n_kept++] = dims[a];
        else
            p.folded_axes |= 1u << a;
    c.x[0] = test_filled(dtype, rank, dims, &seed);
    c.x[1] = test_filled(dtype, 1, &dims[rank - 1], &seed);
    p.space = c.x[0].type;
    if (n_out)
        c.y[0] = test_tensor(dtype, rank, dims);
    c.y[n_out] = test_tensor(OG_FLOAT, n_kept, kept);
    same_on_card(d, &c, "compiled", 0, 0, close_of(n_out && dtype != OG_FLOAT ? dtype : OG_FLOAT));
    test_free_tensors(&c);
}

TEST(programs_that_end_in_a_reduction)
{
    static const og_fold folds[] = {OG_FOLD_SUM, OG_FOLD_MEAN, OG_FOLD_SUM_SQUARE, OG_FOLD_MAX};
    og_device *d = open_device(2);
    for (int f = 0; f < 4; f++)
        for (int n_out = 0; n_out < 2; n_out++) {
            og_dtype dtype = f % 2 ? OG_FLOAT16 : OG_FLOAT;
            check_program(d, folds[f], dtype, 2, (int64_t[]){37, 24}, 1, 2, n_out);
            check_program(d, folds[f], dtype, 2, (int64_t[]){9, 35}, 0, 1, n_out);
            check_program(d, folds[f], dtype, 2, (int64_t[]){3, 2500}, 0, 1, n_out);
            check_program(d, folds[f], dtype, 3, (int64_t[]){40, 20, 8}, 2, 3, n_out);
            check_program(d, folds[f], dtype, 4, (int64_t[]){4, 6, 3, 8}, 1, 2, n_out);
            check_program(d, folds[f], dtype, 2, (int64_t[]){70, 64}, 2, 2, n_out);
        }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(reductions_of_every_kind),
                                TEST_ROW(programs_that_end_in_a_reduction)};
TEST_MAIN(tests)
