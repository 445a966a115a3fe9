/* Reading and writing at places that indices name, on the card against the processor's. */
#include "tests/cuda/call.h"

static const closeness to_the_bit = {0, 0}, close_float = {2e-6, 1e-6}, close_half = {2e-3, 2e-3};

/* The extremes of where indices meet. */
typedef enum meeting { SOME, ALL, NONE, MEETINGS } meeting;

/* Index i of count below n: many equal, all equal, or (where there are enough) all different; each
 * third counted from the end. */
static int64_t index_of(meeting m, int64_t i, int64_t n, uint64_t *seed)
{
    int64_t v = m == ALL    ? n / 2
                : m == NONE ? i * 7 % n
                            : (int64_t)(test_random(seed) % (uint64_t)(i % 3 ? n : (n + 3) / 4));
    return i % 3 == 1 ? v - n : v;
}

static void set_attrs(kernel_call *c, int axis, const char *reduction)
{
    c->attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
    c->attrs[1] = (og_attr){.name = "reduction", .kind = OG_ATTR_STRING, .s = reduction};
    c->n_attrs = 2;
}

static void fill_few(og_tensor *t, uint64_t *seed)
{
    for (int64_t i = 0; i < og__elements(t); i++)
        og__store_double(t->data, t->type.dtype, i, (double)(test_random(seed) % 5) / 2 - 1);
}

/* Factors near 1, whose product has a size. */
static void fill_factors(og_tensor *t, uint64_t *seed)
{
    for (int64_t i = 0; i < og__elements(t); i++)
        og__store_double(t->data, t->type.dtype, i, 1 + 0.01 * test_uniform(seed));
}

/* ---- along an axis */

typedef struct along {
    int rank, axis;
    int64_t data[3], indices[3];
} along;

static const along lines[] = {
    {1, 0, {40}, {100}},           {2, 0, {9, 6}, {30, 6}},        {2, 1, {5, 70}, {5, 40}},
    {3, 1, {3, 8, 5}, {2, 11, 4}}, {3, -1, {2, 3, 4}, {2, 3, 50}}, {2, 0, {7, 4}, {0, 4}},
};

static og_tensor line_indices(const along *a, og_dtype dtype, meeting m, uint64_t *seed)
{
    int axis = a->axis < 0 ? a->axis + a->rank : a->axis;
    og_tensor t = test_tensor(dtype, a->rank, a->indices);
    for (int64_t i = 0; i < og__elements(&t); i++)
        og__store_int(t.data, dtype, i, index_of(m, i, a->data[axis], seed));
    return t;
}

static const char *const reductions[] = {"none", "add", "mul", "max", "min"};

static void check_line(og_device *d, const along *a, og_dtype dtype, const char *reduction,
                       meeting m)
{
    uint64_t seed = 11;
    char text[96];
    snprintf(text, sizeof text, "axis %d of rank %d, %s of %s, meeting %d", a->axis, a->rank,
             reduction, og_dtype_name(dtype), m);
    TEST_CASE(text);
    kernel_call c = {.op = "ScatterElements", .nx = 3, .ny = 1},
                g = {.op = "GatherElements", .nx = 2, .ny = 1};
    set_attrs(&c, a->axis, reduction);
    c.x[0] = test_tensor(dtype, a->rank, a->data);
    c.x[1] = line_indices(a, m == SOME ? OG_INT32 : OG_INT64, m, &seed);
    c.x[2] = test_tensor(dtype, a->rank, a->indices);
    (strcmp(reduction, "mul") ? fill_few : fill_factors)(&c.x[0], &seed);
    (strcmp(reduction, "mul") ? fill_few : fill_factors)(&c.x[2], &seed);
    c.y[0] = test_tensor(dtype, a->rank, a->data);
    bool rounds = og_dtype_is_float(dtype);
    same_on_card(d, &c, "sorted", a->rank % 2, 0,
                 rounds && reduction[0] != 'n' ? dtype == OG_FLOAT16 ? close_half : close_float
                                               : to_the_bit);
    set_attrs(&g, a->axis, "");
    g.x[0] = c.x[0];
    g.x[1] = c.x[1];
    g.y[0] = c.x[2];
    same_on_card(d, &g, "places", a->rank % 2, 0, to_the_bit);
    test_free_tensors(&c);
}

TEST(elements_along_an_axis)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_INT8, OG_UINT64};
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (int r = 0; r < 5; r++)
            check_line(d, &lines[i], dtypes[(i + (size_t)r) % 4], reductions[r],
                       (meeting)((i + (size_t)r) % MEETINGS));
    close_device(d);
}

/* Every type once, where all meet and where some do. */
TEST(types)
{
    static const og_dtype dtypes[] = {OG_FLOAT,  OG_DOUBLE, OG_FLOAT16, OG_INT8,
                                      OG_UINT8,  OG_INT16,  OG_UINT16,  OG_INT32,
                                      OG_UINT32, OG_INT64,  OG_UINT64};
    og_device *d = open_device(3);
    for (size_t t = 0; t < sizeof dtypes / sizeof *dtypes; t++)
        for (int r = 1; r < 5; r++)
            check_line(d, &lines[0], dtypes[t], reductions[r], t % 2 ? ALL : SOME);
    check_line(d, &lines[1], OG_BOOL, "none", SOME);
    close_device(d);
}

/* ---- tuples */

typedef struct tuples {
    int64_t count, depth, data[3];
    int rank;
} tuples;

static const tuples some_tuples[] = {
    {50, 1, {6, 40}, 2}, {30, 2, {4, 3, 8}, 3}, {12, 3, {2, 3, 4}, 3},
    {1, 1, {5, 3}, 2},   {0, 2, {3, 3}, 2},     {64, 1, {9, 16}, 2},
};

static og_tensor tuple_indices(const tuples *t, meeting m, uint64_t *seed)
{
    og_tensor indices = test_tensor(OG_INT64, 2, (int64_t[]){t->count, t->depth});
    for (int64_t i = 0; i < t->count * t->depth; i++)
        ((int64_t *)indices.data)[i] = index_of(m, i, t->data[i % t->depth], seed);
    return indices;
}

static void check_tuples(og_device *d, const tuples *t, og_dtype dtype, const char *reduction,
                         meeting m, int shift)
{
    uint64_t seed = 5;
    char text[96];
    int64_t dims[4] = {t->count};
    int rank = 1 + t->rank - (int)t->depth;
    snprintf(text, sizeof text, "%d tuples of %d, %s of %s, meeting %d, shift %d", (int)t->count,
             (int)t->depth, reduction, og_dtype_name(dtype), m, shift);
    TEST_CASE(text);
    for (int a = 1; a < rank; a++)
        dims[a] = t->data[t->depth + a - 1];
    kernel_call c = {.op = "ScatterND", .nx = 3, .ny = 1}, wide,
                g = {.op = "GatherND", .nx = 2, .ny = 1};
    set_attrs(&c, 0, reduction);
    c.x[0] = test_tensor(dtype, t->rank, t->data);
    c.x[1] = tuple_indices(t, m, &seed);
    c.x[2] = test_tensor(dtype, rank, dims);
    (strcmp(reduction, "mul") ? fill_few : fill_factors)(&c.x[0], &seed);
    (strcmp(reduction, "mul") ? fill_few : fill_factors)(&c.x[2], &seed);
    wide = c; /* as the card computes: it rounds once */
    wide.x[0] = test_convert(&c.x[0], OG_FLOAT);
    wide.x[2] = test_convert(&c.x[2], OG_FLOAT);
    wide.y[0] = test_tensor(OG_FLOAT, t->rank, t->data);
    if (test_run(&wide)) {
        c.y[0] = test_convert(&wide.y[0], dtype);
        card_gives(d, &c, "sorted", shift, 0,
                   reduction[0] == 'n' ? to_the_bit
                   : dtype == OG_FLOAT ? close_float
                                       : close_half);
    }
    g.x[0] = c.x[0];
    g.x[1] = c.x[1];
    g.y[0] = c.x[2];
    same_on_card(d, &g, "places", shift, 0, to_the_bit);
    test_free_tensors(&c);
    free(wide.x[0].data);
    free(wide.x[2].data);
    free(wide.y[0].data);
}

TEST(slices_of_tuples)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(2);
    for (size_t i = 0; i < sizeof some_tuples / sizeof *some_tuples; i++)
        for (int r = 0; r < 5; r++)
            check_tuples(d, &some_tuples[i], dtypes[(i + (size_t)r) % 3], reductions[r],
                         (meeting)((i + (size_t)r) % MEETINGS), r % 2);
    close_device(d);
}

/* GatherND behind two axes of batches. */
TEST(batches_of_tuples)
{
    og_device *d = open_device(4);
    uint64_t seed = 2;
    kernel_call c = {.op = "GatherND", .nx = 2, .ny = 1, .n_attrs = 1};
    c.attrs[0] = (og_attr){.name = "batch_dims", .kind = OG_ATTR_INT, .i = 2};
    c.x[0] = test_filled(OG_FLOAT, 4, (int64_t[]){2, 3, 5, 4}, &seed);
    c.x[1] = test_tensor(OG_INT32, 4, (int64_t[]){2, 3, 7, 1});
    for (int64_t i = 0; i < 42; i++)
        og__store_int(c.x[1].data, OG_INT32, i, index_of(SOME, i, 5, &seed));
    c.y[0] = test_tensor(OG_FLOAT, 4, (int64_t[]){2, 3, 7, 4});
    same_on_card(d, &c, "places", 0, 0, to_the_bit);
    test_free_tensors(&c);
    close_device(d);
}

/* 10,000 rows of one index, whose chunks are joined. */
TEST(one_place_has_all_rows)
{
    enum { COUNT = 10000, INNER = 8 };
    for (uint64_t s = 1; s <= 2; s++) {
        og_device *d = open_device(s);
        uint64_t seed = 9;
        kernel_call c = {.op = "ai.ongrad::GatherGrad", .nx = 2, .ny = 1, .n_attrs = 1};
        c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = 0};
        c.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){COUNT, INNER}, &seed);
        c.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){COUNT});
        c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){3, INNER});
        for (int64_t i = 0; i < COUNT; i++)
            ((int64_t *)c.x[1].data)[i] = 1;
        for (int64_t e = 0; e < INNER; e++) { /* in double, rounded once */
            double sum = 0;
            for (int64_t i = 0; i < COUNT; i++)
                sum += (double)((float *)c.x[0].data)[i * INNER + e];
            ((float *)c.y[0].data)[INNER + e] = (float)sum;
        }
        /* 16 + 8 + 625 / 8 additions in float, of terms below 1 */
        card_gives(d, &c, "sorted", 0, 0, (closeness){1e-5, 1e-3});
        test_free_tensors(&c);
        close_device(d);
    }
}

/* ---- indices outside */

/* Rows at such an index are not a number when read, and pass when written. */
TEST(an_index_outside)
{
    og_device *d = open_device(5);
    uint64_t seed = 1;
    kernel_call g = {.op = "GatherND", .nx = 2, .ny = 1},
                s = {.op = "ScatterElements", .nx = 3, .ny = 1};
    g.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){3, 4}, &seed);
    g.x[1] = test_tensor(OG_INT64, 2, (int64_t[]){2, 2});
    memcpy(g.x[1].data, (int64_t[]){1, -2, 2, 4}, 4 * sizeof(int64_t));
    g.y[0] = test_tensor(OG_FLOAT, 1, (int64_t[]){2});
    memset(g.y[0].data, 0xff, 2 * sizeof(float));
    ((float *)g.y[0].data)[0] = ((float *)g.x[0].data)[4 + 2];
    run_on_card(d, &g, "places", 0, 0, to_the_bit,
                "GatherND \"n\": index 4 at position 3, expected -4 to 3");
    memcpy(g.x[1].data, (int64_t[]){1, -2, -9, 0}, 4 * sizeof(int64_t));
    run_on_card(d, &g, "places", 0, 0, to_the_bit,
                "GatherND \"n\": index -9 at position 2, expected -3 to 2");

    set_attrs(&s, 1, "add");
    s.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){1, 4}, &seed);
    s.x[1] = test_tensor(OG_INT32, 2, (int64_t[]){1, 2});
    memcpy(s.x[1].data, (int32_t[]){3, 7}, 2 * sizeof(int32_t));
    s.x[2] = test_filled(OG_FLOAT, 2, (int64_t[]){1, 2}, &seed);
    s.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){1, 4});
    memcpy(s.y[0].data, s.x[0].data, 4 * sizeof(float));
    ((float *)s.y[0].data)[3] += ((float *)s.x[2].data)[0];
    run_on_card(d, &s, "sorted", 0, 0, to_the_bit,
                "ScatterElements \"n\": index 7 at position 1, expected -4 to 3");
    test_free_tensors(&g);
    test_free_tensors(&s);
    close_device(d);
}

static const og_test tests[] = {
    TEST_ROW(elements_along_an_axis), TEST_ROW(types),
    TEST_ROW(slices_of_tuples),       TEST_ROW(batches_of_tuples),
    TEST_ROW(one_place_has_all_rows), TEST_ROW(an_index_outside),
};
TEST_MAIN(tests)
