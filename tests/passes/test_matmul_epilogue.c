/* What MatMulEpilogue is by definition, form by form, and that a step is left as it is where the
 * device has no kernel for it. (What a device with kernels does: tests/cuda.) */
#include "ops/matmul.h"

#include "runtime/passes/passes.h"
#include "tests/passes/graphs.h"

static const double TOLERANCE = 1e-12;

static og_val a, b, bias, x;

static void inputs(og_graph *g)
{
    a = Input(g, "a", 3, 4);
    b = Input(g, "b", 4, 5);
    bias = Input(g, "bias", 5);
    x = Input(g, "x", 3, 5);
}

static og_val sum(og_val v, int axis)
{
    return Reduce("ReduceSum", v, 1, &axis, false);
}

static og_matmul_form form;

static void by_op(og_graph *g)
{
    inputs(g);
    og_val third = form < OG_MATMUL_RELU_GRAD ? bias : x;
    og_attr name = S("form", og_matmul_form_names[form]);
    int n = form < OG_MATMUL_GELU ? 1 : 2;
    og_outs y = form < OG_MATMUL_SUM_A ? Ops("ai.ongrad::MatMulEpilogue", n, In(a, b, third), name)
                                       : Ops("ai.ongrad::MatMulEpilogue", n, In(a, b), name);
    for (int k = 0; k < n; k++)
        og_graph_add_output(g, "y", y.y[k]);
}

static void by_hand(og_graph *g)
{
    inputs(g);
    og_val p = MatMul(a, b), y[2] = {p, p};
    switch (form) {
    case OG_MATMUL_BIAS:
        y[0] = Add(p, bias);
        break;
    case OG_MATMUL_RELU:
        y[0] = Relu(Add(p, bias));
        break;
    case OG_MATMUL_GELU:
        y[1] = Add(p, bias);
        y[0] = Op("Gelu", In(y[1]), S("approximate", "tanh"));
        break;
    case OG_MATMUL_RELU_GRAD:
        y[0] = Mul(p, Cast(Greater(x, Zero(x)), OG_DOUBLE));
        y[1] = sum(y[0], 0);
        break;
    case OG_MATMUL_GELU_GRAD:
        y[0] = Op("ai.ongrad::GeluTanhGrad", In(p, x));
        y[1] = sum(y[0], 0);
        break;
    case OG_MATMUL_SUM_A:
        y[1] = sum(a, 1);
        break;
    default:
        y[1] = sum(b, 0);
        break;
    }
    og_graph_add_output(g, "y", y[0]);
    if (form >= OG_MATMUL_GELU)
        og_graph_add_output(g, "s", y[1]);
}

TEST(forms)
{
    for (form = 0; form < OG_MATMUL_FORMS; form++)
        for (int k = 0; k < (form < OG_MATMUL_GELU ? 1 : 2); k++) {
            TEST_CASE(og_matmul_form_names[form]);
            og_graph *op = og_graph_new(), *hand = og_graph_new();
            int64_t n = 0, m = 0;
            by_op(op);
            by_hand(hand);
            double *got = evaluate(op, k, &n), *want = evaluate(hand, k, &m);
            CHECK_INT(n, m);
            for (int64_t i = 0; i < n && n == m; i++)
                CHECK_CLOSE(got[i], want[i], TOLERANCE);
            free(got);
            free(want);
            og_graph_free(op);
            og_graph_free(hand);
        }
    TEST_CASE("");
}

TEST(a_device_without_kernels)
{
    og_device *device = og_cpu_device_new(1);
    og_graph *g = og_graph_new();
    inputs(g);
    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_GRADIENT, .node = "", .op = ""});
    og_graph_add_output(g, "y", Relu(Add(MatMul(a, b), bias)));
    CHECK(og_pass_matmul_epilogue(g, device) == g);
    og_graph_free(g);
    device->destroy(device);
}

static const og_test tests[] = {TEST_ROW(forms), TEST_ROW(a_device_without_kernels)};
TEST_MAIN(tests)
