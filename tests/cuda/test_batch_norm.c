/* Batch normalization of the card in training, and its gradient, against the processor's: dense and
 * channels-last, with and without the results that a node may lack, and what is left to the
 * definition. */
#include "tests/cuda/call.h"

/* Statistics are sums of at most 600 numbers in double; of half types images are rounded once. */
static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT     ? (closeness){2e-5, 2e-5}
           : dtype == OG_FLOAT16 ? (closeness){2e-3, 2e-3}
                                 : (closeness){1e-2, 2e-2};
}

typedef struct shape {
    int rank;
    int64_t dims[5];
} shape;

static const shape shapes[] = {
    {2, {20, 16}}, {3, {6, 8, 5}}, {4, {5, 8, 4, 3}}, {4, {3, 24, 7, 7}}, {5, {2, 8, 3, 2, 4}},
};

static void compare_call(og_device *d, kernel_call *c, bool last)
{
    og_dtype dtype = c->x[0].type.dtype;
    expect_in_float(c);
    if (last) {
        turn_channels_last(&c->x[0]);
        turn_channels_last(&c->y[0]);
        if (c->nx == 5)
            turn_channels_last(&c->x[1]);
    }
    card_gives(d, c, "cuDNN", 0, 0, close_of(dtype));
    test_free_tensors(c);
}

static void check(og_device *d, const shape *s, og_dtype dtype, bool last, bool all)
{
    uint64_t seed = 3;
    const int64_t *c = &s->dims[1];
    char text[96];
    snprintf(text, sizeof text, "rank %d, %s, %s, %s results", s->rank, og_dtype_name(dtype),
             last ? "channels-last" : "dense", all ? "all" : "few");
    TEST_CASE(text);
    kernel_call forward = {.op = "ai.ongrad::BatchNormalizationTraining",
                           .nx = 3,
                           .ny = all ? 4 : 1,
                           .n_attrs = 1,
                           .attrs = {{.name = "epsilon", .kind = OG_ATTR_FLOAT, .f = 1e-3}}};
    forward.x[0] = test_filled(dtype, s->rank, s->dims, &seed);
    forward.x[1] = test_filled(OG_FLOAT, 1, c, &seed);
    forward.x[2] = test_filled(OG_FLOAT, 1, c, &seed);
    forward.y[0] = test_tensor(dtype, s->rank, s->dims);
    for (int k = 1; k < forward.ny; k++)
        forward.y[k] = test_tensor(OG_FLOAT, 1, c);
    compare_call(d, &forward, last);

    kernel_call back = {.op = "ai.ongrad::BatchNormalizationGrad", .nx = 5, .ny = all ? 3 : 1};
    back.x[0] = test_filled(dtype, s->rank, s->dims, &seed);
    back.x[1] = test_filled(dtype, s->rank, s->dims, &seed);
    for (int i = 2; i < 5; i++)
        back.x[i] = test_filled(OG_FLOAT, 1, c, &seed);
    back.y[0] = test_tensor(dtype, s->rank, s->dims);
    for (int k = 1; k < back.ny; k++)
        back.y[k] = test_tensor(OG_FLOAT, 1, c);
    compare_call(d, &back, last);
}

TEST(batch_norms_and_their_gradients)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 3; t++)
            for (int last = 0; last < (shapes[i].rank > 2 ? 2 : 1); last++)
                check(d, &shapes[i], dtypes[t], last, (i + (size_t)t) % 2 == 0);
    close_device(d);
}

/* Channels that are not 16 bytes wide, parameters of another type, casts of half images. */
TEST(the_definition_serves_elsewhere)
{
    og_device *d = open_device(1);
    const og_type images[] = {og_type_make(OG_FLOAT16, 4, (int64_t[]){2, 12, 3, 3}),
                              og_type_make(OG_FLOAT16, 4, (int64_t[]){2, 16, 3, 3}),
                              og_type_make(OG_FLOAT, 4, (int64_t[]){2, 16, 3, 3})};
    d->options.half = OG_FLOAT16;
    for (int i = 0; i < 3; i++) {
        const og_type image = images[i], floats = og_type_make(OG_FLOAT, 1, &image.dims[1]),
                      halves = og_type_make(OG_FLOAT16, 1, &image.dims[1]);
        kernel_call c = {.op = "ai.ongrad::BatchNormalizationTraining", .nx = 3, .ny = 1};
        kernel_node n;
        test_node(&n, &c);
        og_tensor x[] = {og_tensor_dense(&image, NULL), og_tensor_dense(&floats, NULL),
                         og_tensor_dense(i == 1 ? &halves : &floats, NULL)},
                  y[] = {og_tensor_dense(&image, NULL)};
        og_call call = {.node = &n.node, .device = d, .nx = 3, .ny = 1, .x = x, .y = y};
        const og_kernel *kernel = og_device_kernel(d, &call, false);
        CHECK(!kernel || strcmp(kernel->name, "cuDNN") != 0);
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(batch_norms_and_their_gradients),
                                TEST_ROW(the_definition_serves_elsewhere)};
TEST_MAIN(tests)
