/* Layer and RMS norms of the card against the processor's, and their gradients: short rows by
 * warps, long ones by blocks, rows of odd lengths, half precision. */
#include "tests/cuda/call.h"

/* The processor's statistics are double; of half types the result is rounded once, and dscale and
 * dbias after sums of some tens. */
static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT     ? (closeness){2e-5, 2e-5}
           : dtype == OG_FLOAT16 ? (closeness){2e-3, 4e-3}
                                 : (closeness){1e-2, 3e-2};
}

typedef struct rows {
    int64_t rows, n;
} rows;

static const rows shapes[] = {{6, 64}, {5, 33}, {3, 1}, {9, 1100}, {4, 1031}, {70, 24}, {2, 2056}};

static void check(og_device *d, kernel_call *c, og_dtype dtype, int shift)
{
    if (expect_in_float(c))
        card_gives(d, c, "rows", shift, 0, close_of(dtype));
    test_free_tensors(c);
}

static void check_norms(og_device *d, bool rms, og_dtype dtype, rows s, int shift)
{
    uint64_t seed = 3;
    char text[96];
    const int64_t all[] = {s.rows, s.n}, lead[] = {s.rows, 1};
    snprintf(text, sizeof text, "%s, %s, %lld rows of %lld", rms ? "RMS" : "layer",
             og_dtype_name(dtype), (long long)s.rows, (long long)s.n);
    TEST_CASE(text);
    kernel_call c = {.op = rms ? "ai.ongrad::RMSNormalizationTraining" : "LayerNormalization",
                     .nx = 2 + !rms,
                     .ny = 2 + !rms};
    c.x[0] = test_filled(dtype, 2, all, &seed);
    c.x[1] = test_filled(dtype, 1, &s.n, &seed);
    if (!rms)
        c.x[2] = test_filled(dtype, 1, &s.n, &seed);
    c.y[0] = test_tensor(dtype, 2, all);
    c.y[1] = test_tensor(OG_FLOAT, 2, lead);
    if (!rms)
        c.y[2] = test_tensor(OG_FLOAT, 2, lead);
    check(d, &c, dtype, shift);

    kernel_call g = {.op = rms ? "ai.ongrad::RMSNormalizationGrad"
                               : "ai.ongrad::LayerNormalizationGrad",
                     .nx = 4 + !rms,
                     .ny = 2 + !rms};
    g.x[0] = test_filled(dtype, 2, all, &seed);
    g.x[1] = test_filled(dtype, 2, all, &seed);
    g.x[2] = test_filled(dtype, 1, &s.n, &seed);
    for (int i = 3; i < g.nx; i++)
        g.x[i] = test_filled(OG_FLOAT, 2, lead, &seed);
    g.y[0] = test_tensor(dtype, 2, all);
    for (int i = 1; i < g.ny; i++)
        g.y[i] = test_tensor(dtype, 1, &s.n);
    check(d, &g, dtype, shift);
}

TEST(norms_and_their_gradients)
{
    static const og_dtype types[] = {OG_FLOAT, OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int rms = 0; rms < 2; rms++) {
            check_norms(d, rms, OG_FLOAT, shapes[i], 0);
            check_norms(d, rms, types[(i + (size_t)rms) % 3], shapes[i], 1);
        }
    close_device(d);
}

/* What is not wanted is not computed. */
TEST(a_gradient_in_part)
{
    og_device *d = open_device(2);
    for (int without = 0; without < 3; without++) {
        uint64_t seed = 3;
        const int64_t all[] = {7, 40}, lead[] = {7, 1};
        TEST_CASE(without == 0 ? "no dx" : without == 1 ? "no dscale" : "dx alone");
        kernel_call g = {.op = "ai.ongrad::LayerNormalizationGrad", .nx = 5, .ny = 3};
        for (int i = 0; i < 5; i++)
            g.x[i] = i == 2 ? test_filled(OG_FLOAT, 1, &all[1], &seed)
                            : test_filled(OG_FLOAT, 2, i < 2 ? all : lead, &seed);
        for (int i = 0; i < 3; i++)
            if (without == 2 ? i == 0 : i != without)
                g.y[i] = i ? test_tensor(OG_FLOAT, 1, &all[1]) : test_tensor(OG_FLOAT, 2, all);
        check(d, &g, OG_FLOAT, 0);
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(norms_and_their_gradients), TEST_ROW(a_gradient_in_part)};
TEST_MAIN(tests)
