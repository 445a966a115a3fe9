/* Softmax, LogSoftmax and the cross entropy of rows of the card against the processor's: short, odd
 * and long rows, rows with infinities and NaN, half precision. */
#include "tests/cuda/call.h"

/* The two add in another order; a half result may round the other way. */
static const closeness close_float = {1e-5, 1e-7}, close_half = {2e-3, 1e-6},
                       close_bfloat = {1e-2, 1e-6};

static void compare_rows(og_device *d, const char *op, og_dtype dtype, int64_t rows, int64_t n,
                         bool special)
{
    static const double odd[] = {INFINITY, -INFINITY, NAN, 80, -80};
    uint64_t seed = (uint64_t)(rows * 1000 + n);
    char text[64];
    snprintf(text, sizeof text, "%s, %s, %lld rows of %lld", op, og_dtype_name(dtype),
             (long long)rows, (long long)n);
    TEST_CASE(text);
    /* The processor computes in float32 from the same numbers. */
    kernel_call c = {.op = op, .nx = 1, .ny = 1}, wide = c;
    c.x[0] = test_filled(dtype, 2, (int64_t[]){rows, n}, &seed);
    for (int64_t r = 0; special && r < rows; r++)
        og__store_double(c.x[0].data, dtype, r * n + (r * 7) % n, odd[r % 5]);
    wide.x[0] = test_convert(&c.x[0], OG_FLOAT);
    wide.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){rows, n});
    test_run(&wide);
    c.y[0] = test_convert(&wide.y[0], dtype);
    card_gives(d, &c, "rows", 0, 0,
               dtype == OG_FLOAT     ? close_float
               : dtype == OG_FLOAT16 ? close_half
                                     : close_bfloat);
    test_free_tensors(&c);
    test_free_tensors(&wide);
}

TEST(rows_of_all_lengths)
{
    static const og_dtype types[] = {OG_FLOAT, OG_FLOAT16, OG_BFLOAT16};
    static const int64_t lengths[] = {1, 2, 31, 32, 33, 100, 512, 1025, 3000};
    og_device *d = open_device(1);
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 9; i++)
            for (int special = 0; special < 2; special++) {
                compare_rows(d, "Softmax", types[t], 6, lengths[i], special);
                compare_rows(d, "LogSoftmax", types[t], 6, lengths[i], special);
            }
    close_device(d);
}

/* Scores of float32, labels of either type, one of them counted from the end. */
static void compare_loss(og_device *d, og_dtype index, int64_t n, bool with_dlse)
{
    uint64_t seed = (uint64_t)n;
    const int64_t dims[] = {5, n};
    char text[64];
    snprintf(text, sizeof text, "cross entropy of rows of %lld, labels %s", (long long)n,
             og_dtype_name(index));
    TEST_CASE(text);
    kernel_call c = {.op = "ai.ongrad::SoftmaxCrossEntropy", .nx = 2, .ny = 2};
    c.x[0] = test_filled(OG_FLOAT, 2, dims, &seed);
    c.x[1] = test_tensor(index, 1, dims);
    for (int64_t r = 0; r < 5; r++)
        og__store_int(c.x[1].data, index, r, r == 3 ? -1 : r * 7 % n);
    c.y[0] = test_tensor(OG_FLOAT, 1, dims);
    c.y[1] = test_tensor(OG_DOUBLE, 1, dims);
    same_on_card(d, &c, "rows", 0, 0, close_float);

    kernel_call g = {.op = "ai.ongrad::SoftmaxCrossEntropyGrad", .nx = 4 + with_dlse, .ny = 1};
    g.x[0] = test_filled(OG_FLOAT, 1, dims, &seed);
    if (!with_dlse) {
        ((float *)g.x[0].data)[1] = 0; /* an ignored row may hold anything */
        ((float *)c.x[0].data)[n] = INFINITY;
    }
    g.x[1] = c.x[0];
    g.x[2] = c.x[1];
    g.x[3] = c.y[1];
    if (with_dlse)
        g.x[4] = test_filled(OG_DOUBLE, 1, dims, &seed);
    g.y[0] = test_tensor(OG_FLOAT, 2, dims);
    same_on_card(d, &g, "rows", n % 2 != 0, 0, close_float);
    free(g.x[0].data);
    free(g.x[4].data);
    free(g.y[0].data);
    test_free_tensors(&c);
}

TEST(cross_entropy_of_rows)
{
    static const int64_t lengths[] = {1, 5, 32, 1000, 1028, 3001};
    og_device *d = open_device(2);
    for (int i = 0; i < 6; i++) {
        compare_loss(d, OG_INT64, lengths[i], false);
        compare_loss(d, OG_INT32, lengths[i], true);
    }
    close_device(d);
}

/* Its loss is not a number; the first one is said once it has been waited for. */
TEST(a_label_that_no_class_has)
{
    og_device *d = open_device(3);
    uint64_t seed = 1;
    kernel_call c = {.op = "ai.ongrad::SoftmaxCrossEntropy", .nx = 2, .ny = 1};
    c.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){2, 5}, &seed);
    c.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){2});
    c.y[0] = test_tensor(OG_FLOAT, 1, (int64_t[]){2});
    ((int64_t *)c.x[1].data)[0] = 5;
    ((int64_t *)c.x[1].data)[1] = -6;
    ((float *)c.y[0].data)[0] = ((float *)c.y[0].data)[1] = NAN;
    run_on_card(d, &c, "rows", 0, 0, close_float,
                "SoftmaxCrossEntropy \"n\": index 5 at position 0, expected -5 to 4");
    test_free_tensors(&c);
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(rows_of_all_lengths), TEST_ROW(cross_entropy_of_rows),
                                TEST_ROW(a_label_that_no_class_has)};
TEST_MAIN(tests)
