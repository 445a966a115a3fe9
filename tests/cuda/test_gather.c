/* Reading rows at indices, and the gradient of that, on the card against the processor's. */
#include "tests/cuda/call.h"

/* Of a sum of hundreds of terms below 1, taken in float. */
static const closeness to_the_bit = {0, 0}, close_float = {1e-6, 1e-5}, close_half = {2e-3, 2e-3};

/* count indices below n in either direction, many of them equal. */
static og_tensor some_indices(og_dtype dtype, int64_t count, int64_t n, uint64_t *seed)
{
    og_tensor t = test_tensor(dtype, 1, &count);
    for (int64_t i = 0; i < count; i++) {
        int64_t v = (int64_t)(test_random(seed) % (uint64_t)(i % 3 ? n : (n + 3) / 4));
        og__store_int(t.data, dtype, i, i % 5 == 1 ? v - n : v);
    }
    return t;
}

typedef struct rows {
    int64_t outer, n, inner, count;
} rows;

static const rows cases[] = {{1, 7, 24, 30},  {1, 50, 3, 5},    {3, 4, 5, 9},    {1, 9, 1, 1},
                             {2, 5, 300, 40}, {1, 30, 4, 1500}, {1, 6, 16, 2500}};

static void check(og_device *d, const rows *r, og_dtype dtype, og_dtype index)
{
    uint64_t seed = 4;
    const int64_t x[] = {r->outer, r->n, r->inner}, y[] = {r->outer, r->count, r->inner};
    char text[96];
    snprintf(text, sizeof text, "%lld of %lld rows of %lld, %s by %s", (long long)r->count,
             (long long)r->n, (long long)r->inner, og_dtype_name(dtype), og_dtype_name(index));
    TEST_CASE(text);
    kernel_call c = {.op = "Gather", .nx = 2, .ny = 1, .n_attrs = 1};
    c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = 1};
    c.x[0] = test_filled(dtype, 3, x, &seed);
    c.x[1] = some_indices(index, r->count, r->n, &seed);
    c.y[0] = test_tensor(dtype, 3, y);
    same_on_card(d, &c, "rows", (int)r->n % 2, 0, to_the_bit);
    test_free_tensors(&c);

    kernel_call g = {.op = "ai.ongrad::GatherGrad", .nx = 2, .ny = 1, .n_attrs = 1}, wide;
    g.attrs[0] = c.attrs[0];
    g.x[0] = test_filled(dtype, 3, y, &seed);
    g.x[1] = some_indices(index, r->count, r->n, &seed);
    wide = g;
    wide.x[0] = test_convert(&g.x[0], OG_DOUBLE);
    wide.y[0] = test_tensor(OG_DOUBLE, 3, x);
    if (test_run(&wide)) {
        g.y[0] = test_convert(&wide.y[0], dtype);
        card_gives(d, &g, "sorted", (int)r->n % 2, 0,
                   dtype == OG_FLOAT16 ? close_half : close_float);
    }
    test_free_tensors(&g);
    free(wide.x[0].data);
    free(wide.y[0].data);
}

TEST(rows_at_indices)
{
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(d, &cases[i], OG_FLOAT, OG_INT64);
        check(d, &cases[i], OG_FLOAT16, OG_INT32);
        check(d, &cases[i], OG_DOUBLE, OG_INT32);
    }
    close_device(d);
}

/* The row is not a number, and has no gradient; the first one is said once it has been waited for.
 */
TEST(an_index_outside)
{
    og_device *d = open_device(2);
    uint64_t seed = 1;
    kernel_call c = {.op = "Gather", .nx = 2, .ny = 1};
    c.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){3, 4}, &seed);
    c.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){3});
    memcpy(c.x[1].data, (int64_t[]){-7, 1, 3}, 3 * sizeof(int64_t));
    c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){3, 4});
    memset(c.y[0].data, 0xff, 3 * 4 * sizeof(float));
    memcpy((float *)c.y[0].data + 4, (float *)c.x[0].data + 4, 4 * sizeof(float));
    run_on_card(d, &c, "rows", 0, 0, to_the_bit,
                "Gather \"n\": index -7 at position 0, expected -3 to 2");
    ((int64_t *)c.x[1].data)[0] = INT64_MAX;
    run_on_card(d, &c, "rows", 0, 0, to_the_bit,
                "Gather \"n\": index 2147483647 or more at position 0, expected -3 to 2");

    kernel_call g = {.op = "ai.ongrad::GatherGrad", .nx = 2, .ny = 1};
    g.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){3, 4}, &seed);
    g.x[1] = c.x[1];
    g.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){3, 4});
    memcpy((float *)g.y[0].data + 4, (float *)g.x[0].data + 4, 4 * sizeof(float));
    card_gives(d, &g, "sorted", 0, 0, to_the_bit);
    free(g.x[0].data);
    free(g.y[0].data);
    test_free_tensors(&c);
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(rows_at_indices), TEST_ROW(an_index_outside)};
TEST_MAIN(tests)
