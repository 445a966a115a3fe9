/* Group norms of the card against the processor's, and their gradients: dense and channels-last,
 * groups in one part and in several, images of odd sizes, half precision, with and without the
 * results that a node may lack, and what is left to the definition. */
#include "tests/cuda/call.h"

/* The processor's sums are double, the card's float32 over at most 3000 elements; of half types
 * images are rounded once, and dscale and dbias after sums of some tens. */
static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT     ? (closeness){2e-5, 3e-5}
           : dtype == OG_FLOAT16 ? (closeness){2e-3, 4e-3}
                                 : (closeness){1e-2, 5e-2};
}

typedef struct shape {
    int rank;
    int64_t dims[5], groups;
} shape;

static const shape shapes[] = {
    {2, {3, 24}, 2},         {2, {4, 5}, 5},          {3, {2, 6, 35}, 3},    {4, {2, 8, 4, 6}, 2},
    {4, {1, 40, 3, 3}, 1},   {5, {2, 6, 3, 2, 4}, 6}, {4, {2, 16, 5, 8}, 4}, {3, {1, 2, 1100}, 1},
    {4, {1, 3, 130, 66}, 1}, {3, {1, 264, 70}, 33},
};

static void compare_call(og_device *d, kernel_call *c, bool last, int shift)
{
    bool ok = expect_in_float(c);
    for (int i = 0, images = c->nx == 5 ? 2 : 1; last && i < images; i++)
        turn_channels_last(&c->x[i]);
    if (last && c->y[0].type.dtype != OG_UNDEFINED)
        turn_channels_last(&c->y[0]);
    if (ok)
        card_gives(d, c, "groups", shift, 0, close_of(c->x[0].type.dtype));
    test_free_tensors(c);
}

/* own: the parameters' type; wanted: a bit for each result. */
static void check(og_device *d, const shape *s, og_dtype dtype, og_dtype own, bool last, int shift,
                  unsigned wanted)
{
    uint64_t seed = 3;
    const int64_t *c = &s->dims[1];
    int64_t statistics[5] = {s->dims[0], s->groups, 1, 1, 1};
    char text[96];
    snprintf(text, sizeof text, "rank %d, %lld channels, %s, %s, results %u", s->rank,
             (long long)*c, og_dtype_name(dtype), last ? "channels-last" : "dense", wanted);
    TEST_CASE(text);
    kernel_call forward = {.op = "ai.ongrad::GroupNormalizationTraining",
                           .nx = 3,
                           .ny = 3,
                           .n_attrs = 2,
                           .attrs = {{.name = "epsilon", .kind = OG_ATTR_FLOAT, .f = 1e-3},
                                     {.name = "num_groups", .kind = OG_ATTR_INT, .i = s->groups}}};
    if (wanted == 1) {
        forward.op = *c == s->groups ? "InstanceNormalization" : "GroupNormalization";
        forward.ny = 1;
    }
    forward.x[0] = test_filled(dtype, s->rank, s->dims, &seed);
    forward.x[1] = test_filled(own, 1, c, &seed);
    forward.x[2] = test_filled(own, 1, c, &seed);
    forward.y[0] = test_tensor(dtype, s->rank, s->dims);
    for (int k = 1; k < forward.ny; k++)
        forward.y[k] = test_tensor(OG_FLOAT, s->rank, statistics);
    compare_call(d, &forward, last, shift);

    kernel_call back = {.op = "ai.ongrad::GroupNormalizationGrad", .nx = 5, .ny = 3, .n_attrs = 1};
    back.attrs[0] = forward.attrs[1];
    back.x[0] = test_filled(dtype, s->rank, s->dims, &seed);
    back.x[1] = test_filled(dtype, s->rank, s->dims, &seed);
    back.x[2] = test_filled(own, 1, c, &seed);
    for (int i = 3; i < 5; i++)
        back.x[i] = test_filled(OG_FLOAT, s->rank, statistics, &seed);
    for (int k = 0; k < 3; k++)
        if (wanted >> k & 1)
            back.y[k] = k ? test_tensor(own, 1, c) : test_tensor(dtype, s->rank, s->dims);
    compare_call(d, &back, last, shift);
}

TEST(group_norms_and_their_gradients)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int last = 0; last < (shapes[i].rank > 2 ? 2 : 1); last++) {
            og_dtype a = dtypes[i % 3], b = dtypes[(i + 1) % 3];
            check(d, &shapes[i], OG_FLOAT, OG_FLOAT, last, 0, 7);
            check(d, &shapes[i], a, a, last, 1, 7);
            check(d, &shapes[i], b, OG_FLOAT, last, 0, 7);
        }
    close_device(d);
}

/* What is not wanted is not computed. */
TEST(results_in_part)
{
    og_device *d = open_device(2);
    for (int last = 0; last < 2; last++) {
        check(d, &shapes[3], OG_FLOAT, OG_FLOAT, last, 0, 1);
        check(d, &shapes[5], OG_FLOAT, OG_FLOAT, last, 0, 1);
        check(d, &shapes[3], OG_FLOAT, OG_FLOAT, last, 0, 4);
    }
    check(d, &shapes[3], OG_FLOAT, OG_FLOAT, false, 0, 3);
    close_device(d);
}

/* Types without kernels; casts of half images, as mixed precision makes them. */
TEST(the_definition_serves_elsewhere)
{
    og_device *d = open_device(1);
    const int64_t dims[] = {2, 8, 4, 4};
    for (int i = 0; i < 3; i++) {
        og_dtype dtype = i == 0 ? OG_DOUBLE : OG_FLOAT;
        d->options.half = i == 1 ? OG_FLOAT16 : OG_UNDEFINED;
        const og_type image = og_type_make(dtype, 4, dims),
                      vector = og_type_make(dtype, 1, &dims[1]);
        kernel_call c = {.op = "GroupNormalization", .nx = 3, .ny = 1, .n_attrs = 1};
        c.attrs[0] = (og_attr){.name = "num_groups", .kind = OG_ATTR_INT, .i = 2};
        kernel_node n;
        test_node(&n, &c);
        n.op.expand = og_op_find(NULL, c.op)->expand;
        og_tensor x[] = {og_tensor_dense(&image, NULL), og_tensor_dense(&vector, NULL),
                         og_tensor_dense(&vector, NULL)};
        og_tensor y = og_tensor_dense(&image, NULL);
        og_call call = {.node = &n.node, .device = d, .nx = 3, .ny = 1, .x = x, .y = &y};
        TEST_CASE(og_dtype_name(dtype));
        CHECK_INT(og_device_kernel(d, &call, false) != NULL, i == 2);
    }
    d->options.half = OG_UNDEFINED;
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(group_norms_and_their_gradients),
                                TEST_ROW(results_in_part),
                                TEST_ROW(the_definition_serves_elsewhere)};
TEST_MAIN(tests)
