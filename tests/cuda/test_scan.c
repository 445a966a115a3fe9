/* ArgMax, ArgMin, CumSum and TopK on the card against the processor's. */
#include "kernels/cuda/rows.h"
#include "tests/cuda/call.h"

static const closeness to_the_bit = {0, 0}, close_float = {1e-6, 1e-6}, close_half = {2e-3, 2e-3},
                       close_double = {1e-12, 1e-12};

typedef enum content { SOME, EQUAL, NANS, CONTENTS } content;

static og_tensor fill(og_dtype dtype, int rank, const int64_t *dims, content what, uint64_t *seed)
{
    og_tensor t = test_tensor(dtype, rank, dims);
    bool real = og_dtype_is_float(dtype), is_signed = real || og__cuda_is_signed(dtype);
    for (int64_t i = 0; i < og__elements(&t); i++) {
        double v = (double)(test_random(seed) % 23) - (is_signed ? 11 : 0);
        v = what == EQUAL ? 3 : real ? v / 4 : v; /* often equal */
        og__store_double(t.data, dtype, i,
                         real && what == NANS && test_random(seed) % 4 == 0 ? (double)NAN : v);
    }
    return t;
}

typedef struct lines {
    int rank, axis;
    int64_t dims[3];
} lines;

/* Short and long lines, alone, many, side by side. */
static const lines cases[] = {
    {1, 0, {1}},          {1, 0, {5000}},      {2, 1, {100, 3}},  {2, 0, {3, 100}},
    {3, 1, {2, 300, 40}}, {3, -1, {2, 3, 70}}, {3, 0, {9, 2, 2}}, {2, 1, {2, 2500}},
};

static void check_arg(og_device *d, const lines *l, og_dtype dtype, bool least, bool last,
                      content what)
{
    uint64_t seed = 3;
    char text[96];
    int64_t dims[3];
    int axis = l->axis < 0 ? l->axis + l->rank : l->axis;
    snprintf(text, sizeof text, "axis %d of %s [%d, …], rank %d%s%s, content %d", axis,
             og_dtype_name(dtype), (int)l->dims[0], l->rank, least ? ", least" : "",
             last ? ", last" : "", what);
    TEST_CASE(text);
    memcpy(dims, l->dims, sizeof dims);
    dims[axis] = 1;
    kernel_call c = {.op = least ? "ArgMin" : "ArgMax", .nx = 1, .ny = 1, .n_attrs = 2};
    c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = l->axis};
    c.attrs[1] = (og_attr){.name = "select_last_index", .kind = OG_ATTR_INT, .i = last};
    c.x[0] = fill(dtype, l->rank, l->dims, what, &seed);
    c.y[0] = test_tensor(OG_INT64, l->rank, dims);
    same_on_card(d, &c, "lines", axis, 0, to_the_bit);
    test_free_tensors(&c);
}

static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_FLOAT16, OG_INT8,   OG_UINT8, OG_BFLOAT16,
                                  OG_INT16, OG_UINT16, OG_INT32,   OG_UINT32, OG_INT64, OG_UINT64};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

TEST(the_best_of_lines)
{
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++)
            check_arg(d, &cases[i], dtypes[k == 3 ? i % DTYPES : (size_t)k], k % 2,
                      (i + (size_t)k) / 2 % 2, (content)((i + (size_t)k) % CONTENTS));
    for (size_t t = 0; t < DTYPES; t++)
        check_arg(d, &cases[4], dtypes[t], t % 2, false, SOME);
    close_device(d);
}

static void check_sum(og_device *d, const lines *l, og_dtype dtype, bool exclusive, bool reverse)
{
    uint64_t seed = 8;
    char text[96];
    snprintf(text, sizeof text, "axis %d of %s [%d, …], rank %d%s%s", l->axis, og_dtype_name(dtype),
             (int)l->dims[0], l->rank, exclusive ? ", exclusive" : "", reverse ? ", reverse" : "");
    TEST_CASE(text);
    kernel_call c = {.op = "CumSum", .nx = 2, .ny = 1, .n_attrs = 2};
    c.attrs[0] = (og_attr){.name = "exclusive", .kind = OG_ATTR_INT, .i = exclusive};
    c.attrs[1] = (og_attr){.name = "reverse", .kind = OG_ATTR_INT, .i = reverse};
    c.x[0] = fill(dtype, l->rank, l->dims, SOME, &seed);
    c.x[1] = test_tensor(OG_INT32, 0, NULL);
    *(int32_t *)c.x[1].data = l->axis;
    c.y[0] = test_tensor(dtype, l->rank, l->dims);
    same_on_card(d, &c, "lines", l->rank % 2, 2,
                 dtype == OG_FLOAT          ? close_float
                 : dtype == OG_DOUBLE       ? close_double
                 : og_dtype_is_float(dtype) ? close_half
                                            : to_the_bit);
    test_free_tensors(&c);
}

TEST(running_sums)
{
    og_device *d = open_device(2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++)
            check_sum(d, &cases[i], k ? dtypes[(i + (size_t)k) % DTYPES] : OG_FLOAT, k % 2, k / 2);
    for (size_t t = 0; t < DTYPES; t++)
        check_sum(d, &cases[5], dtypes[t], false, false);
    close_device(d);
}

static void check_top(og_device *d, const lines *l, int64_t k, og_dtype dtype, bool largest,
                      content what)
{
    uint64_t seed = 6;
    char text[96];
    int64_t dims[3];
    int axis = l->axis < 0 ? l->axis + l->rank : l->axis;
    bool here = l->dims[axis] <= 2048 && og_dtype_bits(dtype) <= 32;
    snprintf(text, sizeof text, "%d along axis %d of %s [%d, …], rank %d%s, content %d", (int)k,
             axis, og_dtype_name(dtype), (int)l->dims[0], l->rank, largest ? "" : ", least", what);
    TEST_CASE(text);
    memcpy(dims, l->dims, sizeof dims);
    dims[axis] = k;
    kernel_call c = {.op = "TopK", .nx = 2, .ny = 2, .n_attrs = 2};
    c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = l->axis};
    c.attrs[1] = (og_attr){.name = "largest", .kind = OG_ATTR_INT, .i = largest};
    c.x[0] = fill(dtype, l->rank, l->dims, what, &seed);
    c.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){1});
    *(int64_t *)c.x[1].data = k;
    c.y[0] = test_tensor(dtype, l->rank, dims);
    c.y[1] = test_tensor(OG_INT64, l->rank, dims);
    same_on_card(d, &c, here ? "lines" : "host", 0, 2, to_the_bit);
    test_free_tensors(&c);
}

TEST(the_best_k)
{
    og_device *d = open_device(3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 3; k++) {
            int axis = cases[i].axis < 0 ? cases[i].axis + cases[i].rank : cases[i].axis;
            int64_t n = cases[i].dims[axis];
            check_top(d, &cases[i],
                      k == 0   ? 1
                      : k == 1 ? (n + 1) / 2
                               : n,
                      dtypes[(i + (size_t)k) % DTYPES], k % 2,
                      (content)((i + (size_t)k) % CONTENTS));
        }
    for (size_t t = 0; t < DTYPES; t++)
        check_top(d, &cases[5], 4, dtypes[t], t % 2, NANS);
    close_device(d);
}

static const og_test tests[] = {
    TEST_ROW(the_best_of_lines),
    TEST_ROW(running_sums),
    TEST_ROW(the_best_k),
};
TEST_MAIN(tests)
