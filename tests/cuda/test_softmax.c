/* Softmax and LogSoftmax of the card against the processor's: short, odd and long rows, rows with
 * infinities and NaN, half precision. */
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

static const og_test tests[] = {TEST_ROW(rows_of_all_lengths)};
TEST_MAIN(tests)
