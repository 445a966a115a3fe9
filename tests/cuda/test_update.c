/* Random numbers, which are the processor's to the bit, and the optimizer's step. */
#include "tests/cuda/call.h"

static const closeness to_the_bit = {0, 0}, close_float = {2e-6, 1e-7}, close_half = {8e-3, 1e-7};

TEST(random_numbers_are_the_processors)
{
    static const og_dtype types[] = {OG_FLOAT, OG_DOUBLE, OG_FLOAT16, OG_BFLOAT16};
    static const int64_t lengths[] = {1, 2, 63, 1000};
    static const double ratios[] = {0, 0.1, 0.5, 1};
    og_device *d = open_device(1);
    for (int i = 0; i < 4; i++) {
        kernel_call c = {.op = "ai.ongrad::Random", .nx = 1, .ny = 1, .n_attrs = 1};
        TEST_CASE(og_dtype_name(types[i]));
        c.attrs[0] = (og_attr){.name = "key", .kind = OG_ATTR_INT, .i = 77};
        c.x[0] = test_tensor(OG_INT64, 1, (int64_t[]){3});
        memcpy(c.x[0].data, (int64_t[]){(int64_t)1 << 40, 12 + i, i}, 3 * sizeof(int64_t));
        c.y[0] = test_tensor(OG_FLOAT, 1, &lengths[i]);
        same_on_card(d, &c, "counters", i % 2, 0, to_the_bit);
        free(c.y[0].data);
        c.op = "ai.ongrad::KeepMask";
        c.nx = 2;
        c.x[1] = test_tensor(types[i], 0, NULL);
        og__store_double(c.x[1].data, types[i], 0, ratios[i]);
        c.y[0] = test_tensor(OG_BOOL, 1, &lengths[i]);
        same_on_card(d, &c, "counters", i % 2, 0, to_the_bit);
        test_free_tensors(&c);
    }
    close_device(d);
}

/* half OG_UNDEFINED: no copy is asked for. */
static void check_adam(og_device *d, int64_t n, bool finite, double l2, int shift, og_dtype half)
{
    uint64_t seed = 5;
    char text[64];
    snprintf(text, sizeof text, "%lld weights, %s", (long long)n, finite ? "finite" : "skipped");
    TEST_CASE(text);
    kernel_call c = {.op = "ai.ongrad::AdamStep", .nx = 9, .ny = 3, .n_attrs = 3};
    c.attrs[0] = (og_attr){.name = "beta1", .kind = OG_ATTR_FLOAT, .f = 0.8};
    c.attrs[1] = (og_attr){.name = "l2", .kind = OG_ATTR_FLOAT, .f = l2};
    c.attrs[2] = (og_attr){.name = "half", .kind = OG_ATTR_INT, .i = half};
    if (half)
        c.y[c.ny++] = test_tensor(half, 1, &n);
    for (int i = 0; i < 9; i++)
        c.x[i] = i < 4    ? test_filled(OG_FLOAT, 1, &n, &seed)
                 : i == 4 ? test_tensor(OG_BOOL, 0, NULL)
                          : test_filled(OG_FLOAT, 0, NULL, &seed);
    for (int64_t i = 0; i < n; i++)
        ((float *)c.x[3].data)[i] = fabsf(((float *)c.x[3].data)[i]);
    *(uint8_t *)c.x[4].data = finite;
    *(float *)c.x[8].data = 1.5F;
    if (!finite)
        ((float *)c.x[1].data)[n / 2] = NAN;
    for (int i = 0; i < 3; i++)
        c.y[i] = test_tensor(OG_FLOAT, 1, &n);
    same_on_card(d, &c, "slab", shift, 0,
                 !finite                ? to_the_bit
                 : half == OG_UNDEFINED ? close_float
                                        : close_half);
    test_free_tensors(&c);
}

TEST(adams_step)
{
    og_device *d = open_device(2);
    check_adam(d, 1, true, 0, 0, OG_UNDEFINED);
    check_adam(d, 1000, true, 0.1, 0, OG_UNDEFINED);
    check_adam(d, 1000, true, 0, 1, OG_UNDEFINED);
    check_adam(d, 999, false, 0, 0, OG_UNDEFINED);
    check_adam(d, 64, false, 0, 0, OG_UNDEFINED);
    check_adam(d, 1000, true, 0, 0, OG_FLOAT16);
    check_adam(d, 1000, true, 0, 4, OG_BFLOAT16);
    check_adam(d, 999, true, 0, 1, OG_BFLOAT16);
    check_adam(d, 1000, false, 0, 0, OG_BFLOAT16);
    check_adam(d, 33, false, 0, 0, OG_FLOAT16);
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(random_numbers_are_the_processors), TEST_ROW(adams_step)};
TEST_MAIN(tests)
