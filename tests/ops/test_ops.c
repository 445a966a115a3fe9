/* The op rows: that the registry is consistent, and inference as a table of cases
 * (infer_case.h). */
#include "tests/ops/infer_case.h"

/* ---- the registry */

static bool any_number(int n)
{
    return n == OG_VARIADIC;
}

static void check_row(const og_op *op)
{
    int max_in = op->max_in ? op->max_in : 1, max_out = op->max_out ? op->max_out : 1;
    TEST_CASE(op->name);
    CHECK(op->infer);
    CHECK(op->min_in >= 0 && (any_number(max_in) || op->min_in <= max_in));
    CHECK(op->min_out >= 0 && (any_number(max_out) || op->min_out <= max_out));
    CHECK(!op->domain || strcmp(op->domain, OG_DOMAIN) == 0 ||
          strcmp(op->domain, OG_TRAINING_DOMAIN) == 0);
    if (op->scalar) {
        int arity = og_scalar_arity(op->scalar);
        CHECK(op->min_in <= arity && (any_number(max_in) || arity <= max_in));
        CHECK_INT(op->min_out, 1);
        CHECK_STR(op->name, og_scalar_name(op->scalar));
    }
    if (op->diff == OG_DIFF_ZERO || op->diff == OG_DIFF_NEVER)
        CHECK(!op->grad);
    if (op->saved) {
        CHECK(op->grad);
        CHECK(any_number(max_out) || op->saved <= max_out);
    }
    for (size_t k = 0; k < 8; k++) {
        const og_upgrade *u = &op->upgrade[k];
        CHECK(!u->run == !u->to);
        if (u->run && k > 0)
            CHECK(op->upgrade[k - 1].run && op->upgrade[k - 1].to < u->to);
        if (u->run)
            CHECK(u->to > 7);
    }
    TEST_CASE("");
}

TEST(rows_are_consistent)
{
    int rows = 0;
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++, rows++)
            check_row(op);
    CHECK(rows > 150);
}

TEST(names_are_unique)
{
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++) {
            TEST_CASE(op->name);
            CHECK(og_op_find(op->domain, op->name) == op);
        }
    TEST_CASE("");
    CHECK(!og_op_find("", "NoSuchOp"));
    CHECK(!og_op_find(OG_DOMAIN, "Add"));
    CHECK_STR(og_op_nearest("Convv"), "Conv");
}

/* Every scalar instruction but Const and Round…, which stand for no op, is the instruction of
 * exactly one row. */
TEST(every_scalar_has_a_row)
{
    for (int s = OG_SCALAR_NONE + 1; s < OG_SCALAR_COUNT; s++) {
        int rows = 0;
        for (const og_op_table *t = og_op_tables; t->family; t++)
            for (const og_op *op = t->ops; op->name; op++)
                rows += op->scalar == (og_scalar)s;
        TEST_CASE(og_scalar_name((og_scalar)s));
        CHECK_INT(rows, s != OG_SCALAR_Const && s != OG_SCALAR_RoundFloat16 &&
                            s != OG_SCALAR_RoundBfloat16);
    }
    TEST_CASE("");
}

/* ---- inference */

TEST(elementwise)
{
    static const infer_case cases[] = {
        {"Add", "f[2,3] f[3]", "", "f[2,3]"},
        {"Add", "f[2,1] f[1,3]", "", "f[2,3]"},
        {"Add", "f[] f[4]", "", "f[4]"},
        {"Add", "f[0,1] f[1,3]", "", "f[0,3]"},
        {"Mul", "i[2] i[2]", "", "i[2]"},
        {"Add", "f[2,3] f[2]", "", "!dim 1 from the right is 3 and 2"},
        {"Add", "f[2] d[2]", "", "!expected element type float32 as input 0"},
        {"Add", "b[2] b[2]", "", "!expected a numeric type"},
        {"Add", "f[2]", "", "!expected at least 2"},
        {"Sub", "f[2] -", "", "!has 1 inputs"},
        {"Pow", "f[2,3] i[]", "", "f[2,3]"},
        {"Mod", "i[3] i[]", "", "i[3]"},
        {"Exp", "d[5]", "", "d[5]"},
        {"Exp", "i[5]", "", "!expected a floating point type"},
        {"Neg", "i[5]", "", "i[5]"},
        {"Abs", "j[0]", "", "j[0]"},
        {"ai.ongrad::Log1p", "h[2]", "", "h[2]"},
        {"Max", "f[2,1] f[3] f[]", "", "f[2,3]"},
        {"Min", "f[2]", "", "f[2]"},
        {"Max", "f[2] d[2]", "", "!expected element type float32"},
        {"Sum", "f[2] f[1] f[2,2]", "", "f[2,2]"},
        {"Mean", "i[2] i[2]", "", "!expected a floating point type"},
        {"Clip", "f[2,3] f=0 -", "", "f[2,3]"},
        {"Clip", "f[2,3] - f=6", "", "f[2,3]"},
        {"Clip", "d[2,3] f=0 f=6", "", "d[2,3]"},
        {"Clip", "f[2,3] f[3]", "", "!min (input 1) is float32 [3], expected a scalar"},
    };
    RUN(cases);
}

TEST(logic_and_types)
{
    static const infer_case cases[] = {
        {"Equal", "f[2,1] f[3]", "", "b[2,3]"},
        {"Equal", "b[2] b[2]", "", "b[2]"},
        {"Less", "b[2] b[2]", "", "!expected a numeric type"},
        {"Greater", "i[2] f[2]", "", "!expected element type int64"},
        {"And", "b[2,3] b[]", "", "b[2,3]"},
        {"And", "f[2] b[2]", "", "!input 0 is float32 [2], expected bool"},
        {"Not", "i[2]", "", "!expected bool"},
        {"IsNaN", "h[2]", "", "b[2]"},
        {"IsInf", "f[2]", "", "b[2]"},
        {"ai.ongrad::IsFinite", "f[2]", "", "b[2]"},
        {"Where", "b[2,1] f[3] f[]", "", "f[2,3]"},
        {"Where", "b[2] f[2] i[2]", "",
         "!input 2 is int64 [2], expected element type float32 as input 1"},
        {"Where", "f[2] f[2] f[2]", "", "!expected bool"},
        {"Cast", "f[2,3]", "to=7", "i[2,3]"},
        {"Cast", "f[2,3]", "to=9", "b[2,3]"},
        {"Cast", "f[2,3]", "", "!attribute to is 0"},
        {"Cast", "f[2,3]", "to=8", "!casts float32 to string"},
        {"CastLike", "f[2,3] h[]", "", "h[2,3]"},
    };
    RUN(cases);
}

TEST(activations)
{
    static const infer_case cases[] = {
        {"Gelu", "f[2]", "approximate='tanh'", "f[2]"},
        {"ai.ongrad::GeluErf", "f[2]", "", "f[2]"},
        {"ai.ongrad::GeluTanhGrad", "f[2] f[2]", "", "f[2]"},
        {"ai.ongrad::GeluErfGrad", "f[2] f[3]", "", "!dy is float32 [2], x float32 [3]"},
        {"Gelu", "f[2]", "approximate='fast'", "!approximate is \"fast\", expected none or tanh"},
        {"HardSwish", "f[2,2]", "", "f[2,2]"},
        {"LeakyRelu", "i[2]", "", "!expected a floating point type"},
        {"PRelu", "f[2,3,4] f[3,1]", "", "f[2,3,4]"},
        {"PRelu", "f[3] f[2,3]", "",
         "!slope (input 1) is float32 [2, 3], which does not broadcast to float32 [3]"},
        {"Softmax", "f[2,3]", "axis=-2", "f[2,3]"},
        {"Softmax", "f[2,3]", "axis=2", "!axis is 2, expected -2 to 1 (rank 2)"},
        {"ai.ongrad::FlattenedSoftmax", "f[2,3]", "axis=2", "f[2,3]"},
        {"Hardmax", "f[2,3]", "", "f[2,3]"},
        {"Dropout", "f[2,3]", "", "f[2,3] b[2,3]"},
        {"Dropout", "f[2,3] f=0.5 b=0", "", "f[2,3]"},
        {"Dropout", "f[2,3] f=0 b=1", "", "f[2,3]"},
        {"Dropout", "f[2,3] f=0.5 b=1", "", "f[2,3]"},
        {"Dropout", "f[2,3] f=1.5 b=1", "", "!ratio is 1.5, expected 0 to 1"},
    };
    RUN(cases);
}

TEST(reductions)
{
    static const infer_case cases[] = {
        {"ReduceSum", "f[2,3,4]", "", "f[1,1,1]"},
        {"ReduceSum", "f[2,3,4]", "keepdims=0", "f[]"},
        {"ReduceSum", "f[2,3,4]", "noop_with_empty_axes=1", "f[2,3,4]"},
        {"ReduceMean", "f[2,3,4] i{-1,0}", "", "f[1,3,1]"},
        {"ReduceMax", "f[2,3,4] i{1}", "keepdims=0", "f[2,4]"},
        {"ReduceMax", "b[2,3] i{1}", "keepdims=0", "b[2]"},
        {"ReduceMin", "f[2,3] i{1,-1}", "", "!axes name dim 1 twice"},
        {"ReduceL2", "f[2,3] i{2}", "", "!axis is 2, expected -2 to 1"},
        {"ReduceSum", "f[2,3] i[1]", "",
         "!axes (input 1) is computed while running; it must be a constant"},
        {"ReduceLogSumExp", "i[2,3]", "", "!expected a floating point type"},
        {"ReduceSum", "b[2,3]", "", "!expected a numeric type"},
        {"ArgMax", "f[2,3,4]", "axis=1", "i[2,1,4]"},
        {"ArgMin", "f[2,3,4]", "axis=-1 keepdims=0", "i[2,3]"},
        {"ArgMax", "f[2,0]", "axis=1", "!nothing to choose from"},
        {"CumSum", "f[2,3] i=1", "", "f[2,3]"},
        {"CumSum", "f[2,3] i=2", "", "!axis is 2"},
    };
    RUN(cases);
}

TEST(products)
{
    static const infer_case cases[] = {
        {"MatMul", "f[2,3] f[3,4]", "", "f[2,4]"},
        {"MatMul", "f[3] f[3]", "", "f[]"},
        {"MatMul", "f[3] f[5,3,4]", "", "f[5,4]"},
        {"MatMul", "f[5,2,3] f[3]", "", "f[5,2]"},
        {"MatMul", "f[5,1,2,3] f[7,3,4]", "", "f[5,7,2,4]"},
        {"MatMul", "f[2,3] f[4,3]", "",
         "!dim 1 of float32 [2, 3] is 3, expected 4 (dim 0 of float32 [4, 3]"},
        {"MatMul", "f[2,2,3] f[3,3,4]", "", "!do not broadcast"},
        {"MatMul", "f[] f[3]", "", "!A (input 0) is float32 [], expected rank 1 or more"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4] f[4]", "form='bias'", "f[2,4]"},
        {"ai.ongrad::MatMulEpilogue", "f[5,2,3] f[3,4] f[5,2,4]", "form='gelu_grad'", "f[5,2,4]"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4]", "form='sum_a'", "f[2,4]"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4] f[2,4]", "form='bias'",
         "!input 2 is float32 [2, 4], expected float32 [4]"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4] f[4]", "form='relu_grad'",
         "!input 2 is float32 [4], expected float32 [2, 4]"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4]", "form='bias'", "!form bias takes 3 inputs"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4] f[4]", "form='sum_b'",
         "!form sum_b takes 2 inputs"},
        {"ai.ongrad::MatMulEpilogue", "f[5,2,3] f[3,4]", "form='sum_a'", "!expected rank 2"},
        {"ai.ongrad::MatMulEpilogue", "f[2,3] f[3,4]", "form='sum'",
         "!attribute form is sum, which there is not"},
        {"Gemm", "f[2,3] f[3,4] f[4]", "", "f[2,4]"},
        {"Gemm", "f[3,2] f[4,3]", "transA=1 transB=1", "f[2,4]"},
        {"Gemm", "f[2,3] f[4,3]", "",
         "!dim 0 of B is 4, expected 3 (dim 1 of A; transA 0, transB 0)"},
        {"Gemm", "f[2,3] f[3,4] f[3]", "", "!C (input 2) is float32 [3], which does not broadcast"},
        {"Gemm", "f[2,3,1] f[3,4]", "", "!A (input 0) is float32 [2, 3, 1], expected rank 2"},
        {"Einsum", "f[2,3] f[3,4]", "equation='ij,jk->ik'", "f[2,4]"},
        {"Einsum", "f[5,2,3] f[5,4,3]", "equation='bij,bkj->bik'", "f[5,2,4]"},
        {"Einsum", "f[5,2,3] f[3,4]", "equation='...ij,jk'", "f[5,2,4]"},
        {"Einsum", "f[2,3]", "equation='ij->j'", "f[3]"},
        {"Einsum", "f[2,3] f[4,3]", "equation='ij,jk->ik'", "!label j is 3 and 4"},
        {"Einsum", "f[2,3]", "equation='ij->ik'", "!label k"},
    };
    RUN(cases);
}

TEST(windows)
{
    static const infer_case cases[] = {
        {"Conv", "f[1,3,8,8] f[4,3,3,3]", "", "f[1,4,6,6]"},
        {"Conv", "f[1,3,8,8] f[4,3,3,3] f[4]", "pads=[1,1,1,1] strides=[2,2]", "f[1,4,4,4]"},
        {"Conv", "f[1,4,8,9] f[6,2,3,2]", "group=2 dilations=[2,1]", "f[1,6,4,8]"},
        {"Conv", "f[1,3,7] f[4,3,3]", "auto_pad='SAME_UPPER' strides=[2]", "f[1,4,4]"},
        {"Conv", "f[1,3,7] f[4,3,3]", "auto_pad='VALID'", "f[1,4,5]"},
        {"Conv", "f[1,1,4,4,4] f[1,1,2,2,2]", "", "f[1,1,3,3,3]"},
        {"Conv", "f[1,64,8,8] f[4,64,3,3]", "group=2",
         "!weight dim 1 is 64, expected 32 (input channels / group)"},
        {"Conv", "f[1,3,8,8] f[4,3,3,3] f[3]", "",
         "!bias (input 2) is float32 [3], expected shape [4]"},
        {"Conv", "f[1,3,2,8] f[4,3,3,3]", "", "!spatial dim 0 of float32 [1, 3, 2, 8] is 2"},
        {"Conv", "f[1,3,8,8] f[4,3,3,3]", "pads=[1,1]",
         "!attribute pads does not fit the 2 spatial dims"},
        {"Conv", "f[1,3,8,8] f[4,3,3,3]", "kernel_shape=[5,5]", "!attribute kernel_shape differs"},
        {"Conv", "f[1,3,8,8] f[4,3,3]", "",
         "!weight (input 1) is float32 [4, 3, 3], expected rank 4"},
        {"Conv", "f[1,3,8,8] f[4,3,3,3]", "strides=[0,1]", "!attribute strides"},
        {"ConvTranspose", "f[1,3,4,4] f[3,5,3,3]", "", "f[1,5,6,6]"},
        {"ConvTranspose", "f[1,4,4] f[4,3,3]", "group=2 strides=[2] pads=[1,1] output_padding=[1]",
         "f[1,6,8]"},
        {"ConvTranspose", "f[1,1,3,3] f[1,2,3,3]",
         "strides=[3,2] output_shape=[10,8] output_padding=[1,1]", "f[1,2,10,8]"},
        {"ConvTranspose", "f[1,1,3,3] f[1,2,3,3]", "strides=[2,2] auto_pad='SAME_UPPER'",
         "f[1,2,6,6]"},
        {"ConvTranspose", "f[1,3,4,4] f[2,5,3,3]", "",
         "!weight dim 0 is 2, expected 3 (input channels)"},
        {"ai.ongrad::ConvGradData", "f[1,4,6,6] f[4,3,3,3]", "x_dims=[1,3,8,8]", "f[1,3,8,8]"},
        {"ai.ongrad::ConvGradData", "f[1,4,5,6] f[4,3,3,3]", "x_dims=[1,3,8,8]",
         "!is no output of a convolution"},
        {"ai.ongrad::ConvGradWeights", "f[1,3,8,8] f[1,4,6,6]", "w_dims=[4,3,3,3]", "f[4,3,3,3]"},
        {"MaxPool", "f[1,2,8,8]", "kernel_shape=[2,2] strides=[2,2]", "f[1,2,4,4] i[1,2,4,4]"},
        {"MaxPool", "f[1,2,7,7]", "kernel_shape=[2,2] strides=[2,2] ceil_mode=1", "f[1,2,4,4]"},
        {"MaxPool", "f[1,1,2,2]", "kernel_shape=[1,1] strides=[2,2] ceil_mode=1", "f[1,1,1,1]"},
        {"MaxPool", "f[1,2,8,8]", "", "!attribute kernel_shape is missing"},
        {"MaxPool", "f[1,2,8]", "kernel_shape=[2] pads=[2,0]", "!expected less than the window"},
        {"AveragePool", "f[1,2,8,8]", "kernel_shape=[3,3] pads=[1,1,1,1]", "f[1,2,8,8]"},
        {"AveragePool", "f[1,2,8]", "kernel_shape=[2] dilations=[3]", "f[1,2,5]"},
        {"GlobalAveragePool", "f[1,2,8,8]", "", "f[1,2,1,1]"},
        {"GlobalMaxPool", "f[1,2]", "", "!expected rank 3 or more"},
        {"MaxPool", "i[1,2,8]", "kernel_shape=[2]", "!expected floating point, int8 or uint8"},
        {"ai.ongrad::MaxPoolGrad", "f[1,2,4,4] u[1,2,4,4]",
         "kernel_shape=[2,2] strides=[2,2] x_dims=[1,2,8,8]", "f[1,2,8,8]"},
        {"ai.ongrad::MaxPoolGrad", "f[1,2,4,4] i[1,2,4,4]",
         "kernel_shape=[2,2] strides=[2,2] x_dims=[1,2,8,8]", "!input 1 is int64"},
        {"ai.ongrad::MaxPoolGrad", "f[1,2,4,4] u[1,2,4,4]", "kernel_shape=[2,2] x_dims=[1,2,8,8]",
         "!no outputs of pooling"},
        {"ai.ongrad::AveragePoolGrad", "f[1,2,4]", "x_dims=[1,2,8] kernel_shape=[2] strides=[2]",
         "f[1,2,8]"},
    };
    RUN(cases);
}

TEST(normalizations)
{
    static const infer_case cases[] = {
        {"BatchNormalization", "f[2,3,4] f[3] f[3] f[3] f[3]", "", "f[2,3,4]"},
        {"BatchNormalization", "f[2,3,4] f[3] f[3] f[3] f[3]", "training_mode=1",
         "f[2,3,4] f[3] f[3]"},
        {"BatchNormalization", "f[2,3,4] f[3] f[3] f[4] f[3]", "",
         "!mean (input 3) is float32 [4], expected shape [3]"},
        {"BatchNormalization", "f[2,3] f[3] f[3] f[3] f[3]", "",
         "!expected 1 where training_mode is 0", 2},
        {"ai.ongrad::BatchNormalizationTraining", "h[2,3] f[3] f[3]", "", "h[2,3] f[3] f[3] f[3]"},
        {"ai.ongrad::BatchNormalizationGrad", "f[2,3] f[2,3] f[3] f[3] f[3]", "",
         "f[2,3] f[3] f[3]"},
        {"LayerNormalization", "f[2,3,4] f[4] f[4]", "", "f[2,3,4] f[2,3,1] f[2,3,1]"},
        {"LayerNormalization", "d[2,3,4] d[3,4]", "axis=1", "d[2,3,4] d[2,1,1]"},
        {"LayerNormalization", "h[2,4] h[4]", "", "h[2,4] f[2,1]"},
        {"LayerNormalization", "f[2,4] f[3]", "",
         "!scale (input 1) is float32 [3], which does not broadcast"},
        {"ai.ongrad::LayerNormalizationGrad", "f[2,4] f[2,4] f[4] f[2,1] f[2,1]", "axis=1",
         "f[2,4] f[4] f[4]"},
        {"ai.ongrad::LayerNormalizationGrad", "f[2,4] f[2,4] f[4] f[2] f[2,1]", "axis=1",
         "!do not belong together"},
        {"RMSNormalization", "f[2,4] f[4]", "", "f[2,4]"},
        {"InstanceNormalization", "f[2,3,4] f[3] f[3]", "", "f[2,3,4]"},
        {"GroupNormalization", "f[2,6,4] f[6] f[6]", "num_groups=3", "f[2,6,4]"},
        {"GroupNormalization", "f[2,6,4] f[3] f[3]", "num_groups=3", "!expected shape [6]"},
        {"ai.ongrad::GroupNormalizationByGroup", "f[2,6,4] f[3] f[3]", "num_groups=3", "f[2,6,4]"},
        {"GroupNormalization", "f[2,6,4] f[6] f[6]", "num_groups=4",
         "!expected a divisor of 6 channels"},
        {"ai.ongrad::GroupNormalizationTraining", "h[2,6,4,5] h[6] h[6]", "num_groups=3",
         "h[2,6,4,5] f[2,3,1,1] f[2,3,1,1]"},
        {"ai.ongrad::GroupNormalizationTraining", "h[2,6,4] f[6] f[6]", "num_groups=3",
         "h[2,6,4] f[2,3,1] f[2,3,1]"},
        {"ai.ongrad::GroupNormalizationGrad", "h[2,6,4] h[2,6,4] f[6] f[2,3,1] f[2,3,1]",
         "num_groups=3", "h[2,6,4] f[6] f[6]"},
        {"ai.ongrad::GroupNormalizationGrad", "f[2,6,4] f[2,6,4] f[6] f[2,3,1] f[2,3,1]",
         "num_groups=3", "f[2,6,4] f[6] f[6]"},
        {"ai.ongrad::GroupNormalizationGrad", "f[2,6,4] f[2,6,4] f[6] f[2,3,1] f[2,2,1]",
         "num_groups=3", "!do not belong together (3 groups)"},
        {"LRN", "f[1,5,4,4]", "size=3", "f[1,5,4,4]"},
        {"LpNormalization", "f[2,3]", "p=3", "!p is 3, expected 1 or 2"},
        {"MeanVarianceNormalization", "f[2,3]", "", "!attribute axes names dims"},
    };
    RUN(cases);
}

TEST(losses)
{
    static const infer_case cases[] = {
        {"SoftmaxCrossEntropyLoss", "f[4,5] i[4]", "", "f[] f[4,5]"},
        {"SoftmaxCrossEntropyLoss", "f[4,5,6] j[4,6] f[5]", "reduction='none' ignore_index=-1",
         "f[4,6]"},
        {"SoftmaxCrossEntropyLoss", "f[4,5] i[3]", "",
         "!labels are int64 [3], expected dim 0 to be 4"},
        {"SoftmaxCrossEntropyLoss", "f[4,5] f[4]", "", "!expected int32 or int64"},
        {"NegativeLogLikelihoodLoss", "f[4,5] i[4]", "reduction='sum'", "f[]"},
        {"NegativeLogLikelihoodLoss", "f[4,5] i[4] f[4]", "",
         "!weight (input 2) is float32 [4], expected shape [5]"},
        {"NegativeLogLikelihoodLoss", "f[4,5] i[4]", "reduction='avg'",
         "!expected none, sum or mean"},
    };
    RUN(cases);
}

TEST(shapes)
{
    static const infer_case cases[] = {
        {"Identity", "b[2]", "", "b[2]"},
        {"Reshape", "f[2,3,4] i{0,-1}", "", "f[2,12]"},
        {"Reshape", "f[2,3,4] i{4,6}", "", "f[4,6]"},
        {"Reshape", "f[1] i{}", "", "f[]"},
        {"Reshape", "f[0,3] i{3,0}", "allowzero=1", "f[3,0]"},
        {"Reshape", "f[2,3] i{4,2}", "",
         "!float32 [2, 3] has 6 elements, the shape to give it float32 [4, 2] has 8"},
        {"Reshape", "f[2,3] i{4,-1}", "", "!not a multiple of 4"},
        {"Reshape", "f[2,3] i{-1,-1}", "", "!one -1 at most"},
        {"Reshape", "f[2,3] i{2,3,0}", "", "!shape dim 2 is 0"},
        {"Reshape", "f[2,3] i[2]", "", "!must be a constant"},
        {"Flatten", "f[2,3,4]", "", "f[2,12]"},
        {"Flatten", "f[2,3,4]", "axis=0", "f[1,24]"},
        {"Flatten", "f[2,3,4]", "axis=3", "f[24,1]"},
        {"Flatten", "f[2,3,4]", "axis=-1", "f[6,4]"},
        {"Squeeze", "f[1,3,1]", "", "f[3]"},
        {"Squeeze", "f[1,3,1] i{-1}", "", "f[1,3]"},
        {"Squeeze", "f[1,3,1] i{1}", "", "!dim 1 of float32 [1, 3, 1] cannot be removed: it is 3"},
        {"Unsqueeze", "f[3] i{0,-1}", "", "f[1,3,1]"},
        {"Unsqueeze", "f[3] i{2}", "", "!axis is 2, expected -2 to 1"},
        {"Transpose", "f[2,3,4]", "", "f[4,3,2]"},
        {"Transpose", "f[2,3,4]", "perm=[1,0,2]", "f[3,2,4]"},
        {"Transpose", "f[2,3,4]", "perm=[1,0]", "!perm has 2 entries, expected 3"},
        {"Transpose", "f[2,3]", "perm=[1,1]", "!twice"},
        {"Expand", "f[3,1] i{2,1,4}", "", "f[2,3,4]"},
        {"Expand", "f[3,2] i{3}", "", "!do not broadcast"},
        {"Shape", "f[2,3,4]", "", "i[3]"},
        {"Shape", "f[2,3,4]", "start=-2 end=-1", "i[1]"},
        {"Size", "f[2,3,4]", "", "i[]"},
        {"ai.ongrad::Copy", "u[2,3]", "", "u[2,3]"},
    };
    RUN(cases);
}

TEST(parts)
{
    static const infer_case cases[] = {
        {"Slice", "f[5,6] i{1} i{4}", "", "f[3,6]"},
        {"Slice", "f[5,6] i{1} i{-1} i{1} i{2}", "", "f[5,2]"},
        {"Slice", "f[5,6] i{-1} i{-100} i{0} i{-2}", "", "f[3,6]"},
        {"Slice", "f[5,6] i{4} i{2}", "", "f[0,6]"},
        {"Slice", "f[5,6] i{0} i{9223372036854775807}", "", "f[5,6]"},
        {"Slice", "f[5,6] i{0} i{3} i{0} i{0}", "", "!steps do not fit"},
        {"Slice", "f[5,6] i{0} i{3} i{2}", "", "!axes do not fit"},
        {"ai.ongrad::SliceGrad", "f[3,6] i{1} i{4}", "x_dims=[5,6]", "f[5,6]"},
        {"ai.ongrad::SliceGrad", "f[2,6] i{1} i{4}", "x_dims=[5,6]", "!expected float32 [3, 6]"},
        {"Split", "f[6,2]", "", "f[3,2] f[3,2]"},
        {"Split", "f[7,2]", "num_outputs=3", "f[3,2] f[3,2] f[1,2]"},
        {"Split", "f[2,6] i{1,5}", "axis=1", "f[2,1] f[2,5]"},
        {"Split", "f[2,6] i{1,4}", "axis=1", "!split adds up to 5, expected 6", 2},
        {"Split", "f[5]", "", "!does not split into 2 equal parts", 2},
        {"Concat", "f[2,3] f[2,4]", "axis=-1", "f[2,7]"},
        {"Concat", "f[2,3] f[3,4]", "axis=1",
         "!input 1 is float32 [3, 4], expected the dims of input 0"},
        {"Concat", "f[2,3] d[2,3]", "axis=1", "!expected element type float32"},
        {"Concat", "f[2,3]", "", "!attribute axis is missing"},
        {"Pad", "f[2,3] i{1,0,0,2}", "", "f[3,5]"},
        {"Pad", "f[2,3] i{-1,0,0,0}", "", "f[1,3]"},
        {"Pad", "f[2,3] i{1,2} - i{-1}", "mode='edge'", "f[2,6]"},
        {"Pad", "f[2,3] i{1,2}", "", "!pads do not fit float32 [2, 3]"},
        {"Pad", "f[2,3] i{0,3,0,0}", "mode='reflect'", "!expected less than the dim"},
        {"Tile", "f[2,3] i{2,1}", "", "f[4,3]"},
        {"Tile", "f[2,3] i{2}", "", "!repeats has 1 entries, expected 2"},
        {"DepthToSpace", "f[1,8,2,3]", "blocksize=2", "f[1,2,4,6]"},
        {"DepthToSpace", "f[1,6,2,3]", "blocksize=2", "!expected a multiple of blocksize"},
        {"SpaceToDepth", "f[1,2,4,6]", "blocksize=2", "f[1,8,2,3]"},
        {"ConstantOfShape", "i{2,3}", "", "f[2,3]"},
        {"ConstantOfShape", "i{-2}", "", "!shape dim 0 is -2"},
        {"Constant", "", "value_ints=[1,2,3]", "i[3]"},
        {"Constant", "", "value_float=0.5", "f[]"},
        {"Constant", "", "", "!has no value attribute"},
        {"Range", "i=0 i=10 i=3", "", "i[4]"},
        {"Range", "f=1 f=0 f=0.5", "", "f[0]"},
        {"Range", "i=0 i=10 i=0", "", "!has no end"},
        {"EyeLike", "i[2,3]", "dtype=1", "f[2,3]"},
    };
    RUN(cases);
}

TEST(indices)
{
    static const infer_case cases[] = {
        {"Gather", "f[5,6] i[2,3]", "axis=1", "f[5,2,3]"},
        {"Gather", "f[5,6] i=-5", "", "f[6]"},
        {"Gather", "f[5,6] i=5", "", "!index 5 is outside dim 0, which is 5"},
        {"Gather", "f[5,6] f[2]", "", "!expected int32 or int64"},
        {"ai.ongrad::GatherGrad", "f[2,6] i[2]", "x_dims=[5,6] axis=0", "f[5,6]"},
        {"ai.ongrad::GatherGrad", "f[3,6] i[2]", "x_dims=[5,6] axis=0", "!expected float32 [2, 6]"},
        {"GatherElements", "f[5,6] i[5,2]", "axis=1", "f[5,2]"},
        {"GatherElements", "f[5,6] i[7,2]", "axis=1", "!indices dim 0 is 7"},
        {"GatherND", "f[2,3,4] i[5,2]", "", "f[5,4]"},
        {"GatherND", "f[2,3,4] i[2,5,1]", "batch_dims=1", "f[2,5,4]"},
        {"GatherND", "f[2,3,4] i[5,4]", "", "!the last dim of indices is 4"},
        {"ScatterElements", "f[5,6] i[2,3] f[2,3]", "axis=1 reduction='add'", "f[5,6]"},
        {"ScatterElements", "f[5,6] i[2,3] f[2,2]", "", "!expected the shape of indices"},
        {"Scatter", "f[5,6] i[2,3] f[2,3]", "", "!expected ScatterElements"},
        {"ScatterND", "f[2,3,4] i[5,2] f[5,4]", "", "f[2,3,4]"},
        {"ScatterND", "f[2,3,4] i[5,2] f[5,3]", "", "!expected float32 [5, 4]"},
        {"ScatterND", "f[2,3,4] i[5,2] f[5,4]", "reduction='avg'", "!reduction is \"avg\""},
        {"OneHot", "i[2,3] i=4 f[2]", "", "f[2,3,4]"},
        {"OneHot", "i[2,3] i=4 f[2]", "axis=0", "f[4,2,3]"},
        {"OneHot", "i[2,3] i[] f[2]", "", "!depth (input 1)"},
        {"TopK", "f[2,5] i{3}", "", "f[2,3] i[2,3]"},
        {"TopK", "f[2,5] i{6}", "", "!K is 6, expected 0 to 5", 2},
        {"ReverseSequence", "f[4,3,2] i[3]", "", "f[4,3,2]"},
        {"ReverseSequence", "f[4,3,2] i[4]", "",
         "!sequence_lens (input 1) is int64 [4], expected shape [3]"},
        {"Trilu", "f[2,3,3] i=1", "upper=0", "f[2,3,3]"},
        {"NonZero", "i{0,3,0,-1}", "", "i[1,2]"},
        {"NonZero", "f[2,3]", "", "!the shape of the result depends on it"},
        {"Compress", "f[2,3] b[2]", "axis=1", "!condition (input 1) is computed while running"},
        {"RandomNormal", "", "shape=[2,3]", "f[2,3]"},
        {"RandomUniformLike", "d[2,3]", "", "d[2,3]"},
    };
    RUN(cases);
}

/* ---- views */

typedef struct view_case {
    const char *op, *inputs, *attrs;
    og_layout x;          /* of input 0 */
    const char *expected; /* "strides+offset" of output 0, or "copy" */
} view_case;

static void run_view(const view_case *c)
{
    int ids[8];
    og_attr attrs[8];
    og_graph *g = og_graph_new();
    REQUIRE(g);
    TEST_CASE(c->op);
    int n_in = read_inputs(g, c->inputs, ids), n_attrs = read_attrs(g, c->attrs, attrs);
    const og_node *n = og_graph_add_op(g, "", c->op, "n", ids, n_in, 1, attrs, n_attrs);
    const og_value *in[8] = {NULL};
    for (int k = 0; k < n_in; k++)
        in[k] = og_graph_value(g, ids[k]);
    if (n && CHECK(n->op->view)) {
        char text[256] = "copy";
        og_layout y = {.offset = 0};
        const og_type *ty = &g->values[n->out[0]]->type;
        if (n->op->view(n, 0, in, &in[0]->type, &c->x, ty, &y)) {
            size_t at = 0;
            text[0] = 0;
            for (int a = 0; a < ty->rank; a++)
                at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", a ? "," : "",
                                       (long long)y.strides[a]);
            snprintf(text + at, sizeof text - at, "+%lld", (long long)y.offset);
        }
        CHECK_STR(text, c->expected);
    }
    og_graph_free(g);
    TEST_CASE("");
}

TEST(views)
{
    static const view_case cases[] = {
        {"Identity", "f[2,3]", "", {{3, 1}, 5}, "3,1+5"},
        {"Reshape", "f[2,3,4] i{6,4}", "", {{12, 4, 1}, 7}, "4,1+7"},
        {"Reshape", "f[2,3,4] i{2,12}", "", {{24, 4, 1}, 0}, "24,1+0"},
        {"Reshape", "f[2,3,4] i{6,4}", "", {{24, 4, 1}, 0}, "copy"},
        {"Reshape", "f[6,4] i{2,3,2,2}", "", {{8, 1}, 0}, "24,8,2,1+0"},
        {"Reshape", "f[6,4] i{3,8}", "", {{1, 6}, 0}, "copy"},
        {"Reshape", "f[3,4] i{12}", "", {{0, 0}, 2}, "0+2"},
        {"Unsqueeze", "f[3,4] i{1}", "", {{1, 3}, 0}, "1,12,3+0"},
        {"Squeeze", "f[3,1,4]", "", {{8, 7, 1}, 0}, "8,1+0"},
        {"Flatten", "f[2,3,4]", "", {{12, 4, 1}, 0}, "12,1+0"},
        {"Transpose", "f[2,3,4]", "perm=[2,0,1]", {{12, 4, 1}, 3}, "1,12,4+3"},
        {"Transpose", "f[2,3]", "", {{3, 1}, 0}, "1,3+0"},
        {"Expand", "f[3,1] i{2,3,4}", "", {{1, 1}, 0}, "0,1,0+0"},
        {"Slice", "f[5,6] i{1} i{6} i{1} i{2}", "", {{6, 1}, 0}, "6,2+1"},
        {"Slice", "f[5,6] i{-1} i{-100} i{0} i{-1}", "", {{6, 1}, 0}, "-6,1+24"},
        {"Gather", "f[5,6] i=-2", "axis=0", {{6, 1}, 0}, "1+18"},
        {"Gather", "f[5,6] i{3}", "axis=1", {{6, 1}, 0}, "6,1+3"},
        {"Gather", "f[5,6] i{3,4}", "axis=1", {{6, 1}, 0}, "copy"},
        {"Cast", "f[5,6]", "to=1", {{6, 1}, 2}, "6,1+2"},
        {"Split", "f[6,2]", "num_outputs=2", {{2, 1}, 4}, "2,1+4"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        run_view(&cases[k]);
}

/* ---- upgrades */

typedef struct upgrade_case {
    int opset;
    const char *op, *inputs, *attrs;
    const char *expected; /* the newest form: op and outputs' types */
    int outputs;          /* of the draft; 0: 1 */
} upgrade_case;

static void run_upgrade(const upgrade_case *c)
{
    og_graph *g = og_graph_new();
    REQUIRE(g);
    int in[64], out[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    og_attr attrs[32];
    og_draft d = {.g = g,
                  .opset = c->opset,
                  .domain = "",
                  .op = c->op,
                  .name = "n",
                  .in = in,
                  .out = out,
                  .attrs = attrs,
                  .n_out = c->outputs ? c->outputs : 1};
    TEST_CASE(c->op);
    d.n_in = read_inputs(g, c->inputs, in);
    d.n_attrs = read_attrs(g, c->attrs, attrs);
    const og_node *n = og_draft_add(&d);
    char types[512], text[600];
    if (n)
        types_text(g, n, types, sizeof types);
    snprintf(text, sizeof text, "%s %s",
             n ? n->op->name : "failed:", n ? types : og_error_text(&g->error));
    CHECK_STR(text, c->expected);
    og_graph_free(g);
    TEST_CASE("");
}

TEST(upgrades)
{
    static const upgrade_case cases[] = {
        {11, "Squeeze", "f[1,3]", "axes=[0]", "Squeeze f[3]"},
        {11, "Unsqueeze", "f[3]", "axes=[0,2]", "Unsqueeze f[1,3,1]"},
        {11, "ReduceSum", "f[2,3]", "axes=[1] keepdims=0", "ReduceSum f[2]"},
        {17, "ReduceMean", "f[2,3]", "axes=[-1]", "ReduceMean f[2,1]"},
        {9, "Slice", "f[5,6]", "starts=[1] ends=[3] axes=[1]", "Slice f[5,2]"},
        {9, "Slice", "f[5,6]", "starts=[1,0] ends=[3,2]", "Slice f[2,2]"},
        {11, "Split", "f[6]", "split=[2,4]", "Split f[2] f[4]", 2},
        {10, "Pad", "f[2,3]", "pads=[1,0,0,2] value=0.5", "Pad f[3,5]"},
        {10, "Clip", "f[2]", "min=0.0 max=6.0", "Clip f[2]"},
        {10, "Clip", "f[2]", "max=6.0", "Clip f[2]"},
        {11, "Dropout", "f[2]", "ratio=0.5", "Dropout f[2]"},
        {9, "TopK", "f[2,5]", "k=3", "TopK f[2,3] i[2,3]", 2},
        {12, "Softmax", "f[2,3,4]", "", "FlattenedSoftmax f[2,3,4]"},
        {12, "LogSoftmax", "f[2,3]", "axis=1", "FlattenedLogSoftmax f[2,3]"},
        {13, "Softmax", "f[2,3,4]", "", "Softmax f[2,3,4]"},
        {10, "Scatter", "f[5] i[2] f[2]", "axis=0", "ScatterElements f[5]"},
        {7, "BatchNormalization", "f[2,3] f[3] f[3] f[3] f[3]", "spatial=1",
         "BatchNormalization f[2,3]"},
        {9, "BatchNormalization", "f[2,3] f[3] f[3] f[3] f[3]", "",
         "BatchNormalization f[2,3] f[3] f[3]", 5},
        {18, "GroupNormalization", "f[2,6,4] f[3] f[3]", "num_groups=3",
         "GroupNormalizationByGroup f[2,6,4]"},
        {9, "Upsample", "f[1,2,3,4] f{1,1,2,2}", "mode='nearest'", "Resize f[1,2,6,8]"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        run_upgrade(&cases[k]);
}

static const og_test tests[] = {
    TEST_ROW(rows_are_consistent),
    TEST_ROW(names_are_unique),
    TEST_ROW(every_scalar_has_a_row),
    TEST_ROW(elementwise),
    TEST_ROW(logic_and_types),
    TEST_ROW(activations),
    TEST_ROW(reductions),
    TEST_ROW(products),
    TEST_ROW(windows),
    TEST_ROW(normalizations),
    TEST_ROW(losses),
    TEST_ROW(shapes),
    TEST_ROW(parts),
    TEST_ROW(indices),
    TEST_ROW(views),
    TEST_ROW(upgrades),
};
TEST_MAIN(tests)
