/* AdamStep's copy in half precision: of the weights as they are after the step, rounded as a Cast
 * rounds them, whether the step counts or is skipped, for every number of threads. */
#include "tests/kernels/call.h"

#include <math.h>

static void fill(kernel_call *c, int64_t n, bool finite)
{
    uint64_t seed = 3;
    for (int i = 0; i < 9; i++)
        c->x[i] = i < 4    ? test_filled(OG_FLOAT, 1, &n, &seed)
                  : i == 4 ? test_tensor(OG_BOOL, 0, NULL)
                           : test_filled(OG_FLOAT, 0, NULL, &seed);
    for (int64_t i = 0; i < n; i++)
        ((float *)c->x[3].data)[i] = fabsf(((float *)c->x[3].data)[i]);
    *(uint8_t *)c->x[4].data = finite;
    *(float *)c->x[8].data = 1.5F;
    ((float *)c->x[1].data)[n / 2] = finite ? 1 : NAN;
}

static void check_copy(int64_t n, og_dtype half, bool finite)
{
    char text[64];
    kernel_call c = {.op = "ai.ongrad::AdamStep", .nx = 9, .ny = 4, .n_attrs = 1};
    snprintf(text, sizeof text, "%lld weights to %s, %s", (long long)n, og_dtype_name(half),
             finite ? "finite" : "skipped");
    TEST_CASE(text);
    c.attrs[0] = (og_attr){.name = "half", .kind = OG_ATTR_INT, .i = half};
    fill(&c, n, finite);
    for (int i = 0; i < 4; i++)
        c.y[i] = test_tensor(i < 3 ? OG_FLOAT : half, 1, &n);
    for (c.threads = 1; c.threads <= 3; c.threads += 2) {
        memset(c.y[3].data, 0xff, (size_t)n * 2);
        CHECK(test_run(&c));
        og_tensor rounded = test_convert(&c.y[0], half);
        CHECK(memcmp(rounded.data, c.y[3].data, (size_t)n * 2) == 0);
        CHECK(finite || memcmp(c.x[0].data, c.y[0].data, (size_t)n * 4) == 0);
        free(rounded.data);
    }
    test_free_tensors(&c);
}

TEST(the_copy_is_the_new_weights_rounded)
{
    for (int finite = 0; finite < 2; finite++) {
        check_copy(1, OG_BFLOAT16, finite);
        check_copy(100003, OG_BFLOAT16, finite);
        check_copy(999, OG_FLOAT16, finite);
    }
}

static const og_test tests[] = {TEST_ROW(the_copy_is_the_new_weights_rounded)};
TEST_MAIN(tests)
