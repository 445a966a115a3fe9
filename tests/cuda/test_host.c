/* Ops that the card has no kernel for run on the processor, queued and recorded like others, with
 * their errors reported by a later call. */
#include "tests/cuda/call.h"

static const closeness same = {0, 0};

TEST(ops_run_on_the_host)
{
    for (uint64_t s = 1; s <= 4; s++) {
        og_device *d = open_device(s);
        uint64_t seed = s;
        kernel_call topk = {.op = "TopK", .nx = 2, .ny = 2};
        topk.x[0] = test_filled(OG_DOUBLE, 2, (int64_t[]){4, 9}, &seed);
        topk.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){1});
        *(int64_t *)topk.x[1].data = 3;
        topk.y[0] = test_tensor(OG_DOUBLE, 2, (int64_t[]){4, 3});
        topk.y[1] = test_tensor(OG_INT64, 2, (int64_t[]){4, 3});
        same_on_card(d, &topk, "host", 0, 2, same);
        kernel_call cast = {.op = "Cast", .nx = 1, .ny = 1};
        cast.x[0] = test_filled(OG_FLOAT, 1, (int64_t[]){33}, &seed);
        cast.y[0] = test_tensor(OG_FLOAT8E4M3FN, 1, (int64_t[]){33});
        same_on_card(d, &cast, "host", 0, 0, same);
        test_free_tensors(&topk);
        test_free_tensors(&cast);
        close_device(d);
    }
}

/* A sequence of 9 steps, of 4. */
TEST(an_error_on_the_host_is_reported)
{
    og_device *d = open_device(1);
    og_error error = {0};
    uint64_t seed = 1;
    kernel_call c = {.op = "ReverseSequence", .nx = 2, .ny = 1};
    c.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){4, 2}, &seed);
    c.x[1] = test_tensor(OG_INT64, 1, (int64_t[]){2});
    c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){4, 2});
    *(int64_t *)c.x[1].data = 9;
    kernel_node n;
    test_node(&n, &c);
    og_tensor x[2] = {c.x[0], c.x[1]}, y[1] = {c.y[0]};
    x[0].data = x[1].data = y[0].data = NULL;
    og_call call = {.node = &n.node, .device = d, .nx = 2, .ny = 1, .x = x, .y = y};
    const og_kernel *kernel = og_device_kernel(d, &call, false);
    REQUIRE(kernel != NULL);
    GOES(kernel->prepare(&call, &error));
    on_card px[2], py;
    for (int i = 0; i < 2; i++) {
        x[i].data = c.x[i].data;
        place_on_card(d, &x[i], true, 0, &px[i]);
    }
    y[0].data = c.y[0].data;
    place_on_card(d, &y[0], false, 0, &py);
    GOES(kernel->run(&call, &error));
    CHECK_INT(d->remote->finish(d, &error), OG_INVALID_DATA);
    CHECK_TEXT(og_error_text(&error), "ReverseSequence");
    CHECK_TEXT(og_error_text(&error), "9");
    og_error_clear(&error);
    GOES(d->remote->finish(d, &error)); /* reported once */
    kernel->release(&call);
    close_device(d);
    test_free_tensors(&c);
}

/* Has the card, or the host for it, a kernel for op (x [dims], rest of its inputs [n]) → y …? */
static bool has_kernel(og_device *d, kernel_call *c)
{
    kernel_node n;
    og_tensor x[CALL_MAX], y[CALL_MAX];
    test_node(&n, c);
    n.node.op = og_op_find(n.op.domain, n.op.name);
    memcpy(x, c->x, sizeof x);
    memcpy(y, c->y, sizeof y);
    for (int i = 0; i < CALL_MAX; i++)
        x[i].data = y[i].data = NULL;
    og_call call = {.node = &n.node, .device = d, .nx = c->nx, .ny = c->ny, .x = x, .y = y};
    return og_device_kernel(d, &call, false) != NULL;
}

/* Where its kernels refuse, an op runs by its definition, unless there is nothing to compute, or
 * the definition is none for a card. */
TEST(definitions_come_before_the_host)
{
    static const struct {
        const char *op;
        og_dtype dtype;
        int64_t rows;
        int axis;
        bool kept;
    } cases[] = {
        {"Softmax", OG_FLOAT, 4, 1, true},      {"Softmax", OG_FLOAT, 4, 0, false},
        {"Softmax", OG_DOUBLE, 4, 1, false},    {"Softmax", OG_FLOAT, 0, 0, true},
        {"LogSoftmax", OG_DOUBLE, 4, 0, false}, {"Trilu", OG_INT32, 4, 0, false},
        {"Trilu", OG_FLOAT8E4M3FN, 4, 0, true}, {"Size", OG_FLOAT, 4, 0, false},
        {"CumSum", OG_DOUBLE, 4, 0, true},      {"ai.ongrad::Copy", OG_DOUBLE, 4, 0, true},
    };
    og_device *d = open_device(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t dims[] = {cases[i].rows, 5};
        bool sum = strcmp(cases[i].op, "CumSum") == 0;
        TEST_CASE(cases[i].op);
        kernel_call c = {.op = cases[i].op, .nx = 1 + sum, .ny = 1, .n_attrs = 1};
        c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = cases[i].axis};
        c.x[0] = test_tensor(cases[i].dtype, 2, dims);
        c.x[1] = test_tensor(OG_INT64, 0, NULL);
        c.y[0] = test_tensor(cases[i].dtype, 2, dims);
        CHECK_INT(has_kernel(d, &c), cases[i].kept);
        for (int k = 0; k < 2; k++)
            free(c.x[k].data);
        free(c.y[0].data);
    }
    close_device(d);
}

static const og_test tests[] = {
    TEST_ROW(ops_run_on_the_host),
    TEST_ROW(an_error_on_the_host_is_reported),
    TEST_ROW(definitions_come_before_the_host),
};
TEST_MAIN(tests)
