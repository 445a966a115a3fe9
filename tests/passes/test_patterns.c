/* Patterns are found, give what the nodes they replace give, and near misses are left alone; a
 * product that is only read transposed is written transposed. */
#include "tests/passes/graphs.h"

/* After the pass, is the output made by a Mul? */
static bool mul_after_product(build_fn *build)
{
    og_graph *source = og_graph_new();
    if (!CHECK(source))
        return false;
    build(source);
    og_graph *g = og_pass_patterns(source);
    bool mul = g && strcmp(g->values[g->outputs[0].value]->producer->op->name, "Mul") == 0;
    og_graph_free(source);
    return mul;
}

/* ---- Gelu */

static void gelu_erf(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5);
    og_val erf = Erf(Div(x, Scalar(x, M_SQRT2)));
    og_graph_add_output(g, "y", Mul(Mul(x, Add(erf, One(x))), Scalar(x, 0.5)));
}

static void gelu_tanh(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5);
    og_val inner = Add(x, Mul(Scalar(x, 0.044715), Pow(x, Scalar(x, 3))));
    og_val t = Tanh(Mul(Scalar(x, M_2_SQRTPI * M_SQRT1_2), inner));
    og_graph_add_output(g, "y", Mul(Mul(Scalar(x, 0.5), x), Add(One(x), t)));
}

static void gelu_tanh_factored(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5);
    og_val inner = Add(One(x), Mul(Mul(Scalar(x, 0.044715), x), x));
    og_val t = Tanh(Mul(Mul(x, Scalar(x, M_2_SQRTPI * M_SQRT1_2)), inner));
    og_graph_add_output(g, "y", Mul(Scalar(x, 0.5), Mul(x, Add(One(x), t))));
}

static void gelu_of_another(og_graph *g) /* the gate's argument is not the factor */
{
    og_val x = Input(g, "x", 3, 5), z = Input(g, "z", 3, 5);
    og_val erf = Erf(Div(z, Scalar(x, M_SQRT2)));
    og_graph_add_output(g, "y", Mul(Mul(x, Add(erf, One(x))), Scalar(x, 0.5)));
}

static void gelu_other_constant(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5);
    og_val erf = Erf(Div(x, Scalar(x, 1.41)));
    og_graph_add_output(g, "y", Mul(Mul(x, Add(erf, One(x))), Scalar(x, 0.5)));
}

static void gelu_gate_read_twice(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5);
    og_val gate = Add(Erf(Div(x, Scalar(x, M_SQRT2))), One(x));
    og_graph_add_output(g, "y", Mul(Mul(x, gate), Scalar(x, 0.5)));
    og_graph_add_output(g, "gate", gate);
}

TEST(gelu)
{
    CHECK_INT(compare(gelu_erf, og_pass_patterns, "Gelu"), 1);
    CHECK_INT(compare(gelu_tanh, og_pass_patterns, "Gelu"), 1);
    CHECK_INT(compare(gelu_tanh_factored, og_pass_patterns, "Gelu"), 1);
    CHECK_INT(compare(gelu_of_another, og_pass_patterns, "Gelu"), 0);
    CHECK_INT(compare(gelu_other_constant, og_pass_patterns, "Gelu"), 0);
    CHECK_INT(compare(gelu_gate_read_twice, og_pass_patterns, "Gelu"), 0);
}

/* ---- SiLU */

static void silu(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5);
    og_graph_add_output(g, "y", Mul(Sigmoid(x), x));
}

static void silu_gate_read_twice(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5), gate = Sigmoid(x);
    og_graph_add_output(g, "y", Mul(x, gate));
    og_graph_add_output(g, "gate", gate);
}

static void gate_of_another(og_graph *g) /* a gated linear unit */
{
    og_val x = Input(g, "x", 3, 5), z = Input(g, "z", 3, 5);
    og_graph_add_output(g, "y", Mul(x, Sigmoid(z)));
}

TEST(silus)
{
    CHECK_INT(compare(silu, og_pass_patterns, "Swish"), 1);
    CHECK_INT(compare(silu_gate_read_twice, og_pass_patterns, "Swish"), 0);
    CHECK_INT(compare(gate_of_another, og_pass_patterns, "Swish"), 0);
}

/* ---- MaxPool of Relu */

static og_val relu_pool(og_val x, int64_t dilation, int64_t pad)
{
    return Op("MaxPool", In(Relu(x)), Is("kernel_shape", 1, ((int64_t[]){3})),
              Is("dilations", 1, &dilation), Is("pads", 2, ((int64_t[]){pad, pad})));
}

static void pool_padded(og_graph *g)
{
    og_graph_add_output(g, "y", relu_pool(Input(g, "x", 2, 3, 9), 1, 2));
}

static void pool_dilated(og_graph *g)
{
    og_graph_add_output(g, "y", relu_pool(Input(g, "x", 2, 3, 9), 3, 0));
}

static void pool_of_padding(og_graph *g) /* -infinity where windows hold no element, not 0 */
{
    og_graph_add_output(g, "y", relu_pool(Input(g, "x", 2, 3, 2), 3, 5));
}

static void pool_relu_read_twice(og_graph *g)
{
    og_val y = relu_pool(Input(g, "x", 2, 3, 9), 1, 0);
    og_graph_add_output(g, "y", y);
    og_graph_add_output(g, "relu", og_val_of(g, og_value_of(y)->producer->in[0]));
}

static void pool_indices_read(og_graph *g)
{
    og_outs y = Ops("MaxPool", 2, In(Relu(Input(g, "x", 2, 3, 9))),
                    Is("kernel_shape", 1, ((int64_t[]){3})));
    og_graph_add_output(g, "y", y.y[0]);
    og_graph_add_output(g, "indices", y.y[1]);
}

/* The output's op after the pass, which changes no value. */
static const char *last_op(build_fn *build)
{
    CHECK_INT(compare(build, og_pass_patterns, "MaxPool"), 1);
    og_graph *source = og_graph_new();
    build(source);
    og_graph *g = og_pass_patterns(source);
    const char *name = g ? g->values[g->outputs[0].value]->producer->op->name : "";
    og_graph_free(source);
    return name;
}

TEST(pools)
{
    CHECK_STR(last_op(pool_padded), "Relu");
    CHECK_STR(last_op(pool_dilated), "Relu");
    CHECK_STR(last_op(pool_of_padding), "MaxPool");
    CHECK_STR(last_op(pool_relu_read_twice), "MaxPool");
    CHECK_STR(last_op(pool_indices_read), "MaxPool");
}

/* An activation between products, trained: what the gradient needs of it is its input alone. The
 * products keep forward and gradient apart; each is one program. */
static void check_keeps_input_alone(og_val activation(og_val x))
{
    og_graph *source = og_graph_new(), *g = source;
    og_device *device = og_cpu_device_new(1);
    if (!CHECK(g && device))
        return;
    og_val x = Input(g, "x", 3, 5), w = Input(g, "w", 5, 2), dx;
    (void)Input(g, "dy", 3, 2);
    og_graph_add_output(g, "y", MatMul(activation(x), w));
    g = og_pass_legalize(og_pass_patterns(g), device);
    x = og_val_of(g, g->inputs[0]);
    og_val dy = og_val_of(g, g->inputs[2]);
    CHECK(og_autodiff(g, og_val_of(g, g->outputs[0].value), dy, &x, 1, &dx));
    og_graph_add_output(g, "dx", dx);
    g = og_pass_fuse(og_pass_simplify(g), device);
    CHECK_INT(count(g, "Fused"), 2);
    const og_node *backward = g->values[g->outputs[1].value]->producer;
    bool reads_x = false;
    for (int i = 0; i < backward->n_in; i++) {
        const og_value *v = g->values[backward->in[i]];
        reads_x = reads_x || v->id == g->inputs[0];
        CHECK(v->kind != OG_VALUE_NODE || strcmp(v->producer->op->name, "MatMul") == 0);
    }
    CHECK(reads_x);
    device->destroy(device);
    og_graph_free(source);
}

static og_val silu_of(og_val x)
{
    return Mul(x, Sigmoid(x));
}

static og_val hard_swish_of(og_val x)
{
    return Op("HardSwish", In(x));
}

static og_val gelu_of(og_val x)
{
    return Op("Gelu", In(x));
}

TEST(gradients_that_read_the_input_alone)
{
    check_keeps_input_alone(silu_of);
    check_keeps_input_alone(hard_swish_of);
    check_keeps_input_alone(gelu_of);
}

/* ---- powers */

static double exponent;
static void power(og_graph *g)
{
    og_val x = Input(g, "x", 3, 5), positive = Exp(x);
    og_graph_add_output(g, "y", Pow(positive, Scalar(x, exponent)));
}

TEST(powers)
{
    static const double replaced[] = {2, 3, 0.5, -0.5, -1}, kept[] = {2.5, 4, 1e9};
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        exponent = replaced[i];
        CHECK_INT(compare(power, og_pass_patterns, "Pow"), 0);
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        exponent = kept[i];
        CHECK_INT(compare(power, og_pass_patterns, "Pow"), 1);
    }
}

/* ---- layer normalization */

static og_val mean_last(og_val x)
{
    return Op("ReduceMean", In(x, og_const_ints(x.g, 1, (int64_t[]){-1})));
}

static void norm_by_division(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6), bias = Input(g, "bias", 6);
    og_val d = Sub(x, mean_last(x));
    og_val var = mean_last(Pow(d, Scalar(x, 2)));
    og_val y = Div(d, Sqrt(Add(var, Scalar(x, 1e-3))));
    og_graph_add_output(g, "y", Add(Mul(y, scale), bias));
}

static void norm_by_reciprocal(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6), bias = Input(g, "bias", 6);
    og_val d = Sub(x, mean_last(x));
    og_val rstd = Reciprocal(Sqrt(Add(Scalar(x, 1e-3), mean_last(Mul(d, d)))));
    og_graph_add_output(g, "y", Add(bias, Mul(scale, Mul(d, rstd))));
}

static void norm_of_uncentred(og_graph *g) /* the variance is of x, not of d */
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6), bias = Input(g, "bias", 6);
    og_val d = Sub(x, mean_last(x));
    og_val y = Div(d, Sqrt(Add(mean_last(Mul(x, x)), Scalar(x, 1e-3))));
    og_graph_add_output(g, "y", Add(Mul(y, scale), bias));
}

static void norm_over_middle(og_graph *g)
{
    og_val x = Input(g, "x", 2, 6, 6), scale = Input(g, "scale", 6), bias = Input(g, "bias", 6);
    og_val axis = og_const_ints(g, 1, (int64_t[]){1});
    og_val d = Sub(x, Op("ReduceMean", In(x, axis)));
    og_val y = Div(d, Sqrt(Add(Op("ReduceMean", In(Mul(d, d), axis)), Scalar(x, 1e-3))));
    og_graph_add_output(g, "y", Add(Mul(y, scale), bias));
}

TEST(layer_norm)
{
    CHECK_INT(compare(norm_by_division, og_pass_patterns, "LayerNormalization"), 1);
    CHECK_INT(compare(norm_by_reciprocal, og_pass_patterns, "LayerNormalization"), 1);
    CHECK_INT(compare(norm_of_uncentred, og_pass_patterns, "LayerNormalization"), 0);
    CHECK_INT(compare(norm_over_middle, og_pass_patterns, "LayerNormalization"), 0);
}

/* ---- root mean square normalization */

static og_val mean_square(og_val x)
{
    return Add(mean_last(Pow(x, Scalar(x, 2))), Scalar(x, 1e-3));
}

static void rms_by_reciprocal(og_graph *g) /* torch.nn.RMSNorm */
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6);
    og_graph_add_output(g, "y", Mul(Mul(x, Reciprocal(Sqrt(mean_square(x)))), scale));
}

static void rms_by_quotient_of_one(og_graph *g) /* LlamaRMSNorm, T5LayerNorm */
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6);
    og_val root = Div(One(x), Sqrt(mean_square(x)));
    og_graph_add_output(g, "y", Mul(scale, Mul(x, root)));
}

static void rms_by_power(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6);
    og_graph_add_output(g, "y", Mul(Mul(x, Pow(mean_square(x), Scalar(x, -0.5))), scale));
}

static void rms_without_scale(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6);
    og_graph_add_output(g, "y", Div(x, Sqrt(mean_square(x))));
}

static void rms_over_two_axes(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 3, 6);
    og_val square = Op("ReduceMean", In(Mul(x, x), og_const_ints(g, 2, (int64_t[]){2, -2})));
    og_val root = Sqrt(Add(square, Scalar(x, 1e-3)));
    og_graph_add_output(g, "y", Mul(Mul(x, Reciprocal(root)), scale));
}

static void rms_of_another(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6), z = Input(g, "z", 2, 3, 6), scale = Input(g, "scale", 6);
    og_graph_add_output(g, "y", Mul(Mul(x, Reciprocal(Sqrt(mean_square(z)))), scale));
}

static void rms_root_read_twice(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 6);
    og_val root = Reciprocal(Sqrt(mean_square(x)));
    og_graph_add_output(g, "y", Mul(Mul(x, root), scale));
    og_graph_add_output(g, "root", root);
}

static void rms_over_middle(og_graph *g)
{
    og_val x = Input(g, "x", 2, 6, 6), scale = Input(g, "scale", 6);
    og_val square = Op("ReduceMean", In(Mul(x, x), og_const_ints(g, 1, (int64_t[]){1})));
    og_val root = Sqrt(Add(square, Scalar(x, 1e-3)));
    og_graph_add_output(g, "y", Mul(Mul(x, Reciprocal(root)), scale));
}

static void rms_scaled_by_rows(og_graph *g) /* the scale is not one of the normalized axis */
{
    og_val x = Input(g, "x", 2, 3, 6), scale = Input(g, "scale", 3, 1);
    og_graph_add_output(g, "y", Mul(Mul(x, Reciprocal(Sqrt(mean_square(x)))), scale));
}

TEST(rms_norm)
{
    static const struct {
        build_fn *build;
        int norms, products; /* RMSNormalizations and Muls that are left */
    } cases[] = {
        {rms_by_reciprocal, 1, 0},   {rms_by_quotient_of_one, 1, 0}, {rms_by_power, 1, 0},
        {rms_without_scale, 1, 0},   {rms_over_two_axes, 1, 0},      {rms_of_another, 0, 3},
        {rms_root_read_twice, 0, 3}, {rms_over_middle, 0, 3},        {rms_scaled_by_rows, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(compare(cases[i].build, og_pass_patterns, "RMSNormalization"), cases[i].norms);
        CHECK_INT(compare(cases[i].build, og_pass_patterns, "Mul"), cases[i].products);
    }
}

/* ---- scaled products */

static void scaled_both(og_graph *g)
{
    og_val a = Input(g, "a", 2, 3, 4), b = Input(g, "b", 2, 4, 5);
    og_graph_add_output(g, "y", MatMul(Mul(a, Scalar(a, 0.5)), Mul(Scalar(b, 0.7), b)));
}

static void scaled_read_twice(og_graph *g) /* the scaled operands are needed all the same */
{
    og_val a = Input(g, "a", 2, 3, 4), b = Input(g, "b", 2, 4, 5);
    og_val scaled = Mul(a, Scalar(a, 0.5));
    og_graph_add_output(g, "y", MatMul(scaled, b));
    og_graph_add_output(g, "scaled", scaled);
}

static void scaled_one_wide(og_graph *g) /* the result is larger than what is scaled */
{
    og_val a = Input(g, "a", 3, 2), b = Input(g, "b", 2, 50);
    og_graph_add_output(g, "y", MatMul(Mul(a, Scalar(a, 0.5)), b));
}

TEST(scaled_products)
{
    CHECK_INT(compare(scaled_both, og_pass_patterns, "Mul"), 1);
    CHECK_INT(compare(scaled_read_twice, og_pass_patterns, "Mul"), 1);
    CHECK_INT(compare(scaled_one_wide, og_pass_patterns, "Mul"), 1);
    CHECK_INT(mul_after_product(scaled_both), true);
    CHECK_INT(mul_after_product(scaled_one_wide), false);
}

/* ---- transposes of merged axes */

static void merged_transpose(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 4, 5);
    og_val y = Transpose(Reshape(x, 3, ((int64_t[]){6, 4, 5})), ((int[]){0, 2, 1}));
    og_graph_add_output(g, "y", Reshape(y, 4, ((int64_t[]){2, 3, 5, 4})));
}

static void merged_otherwise(og_graph *g) /* split into other axes than were merged */
{
    og_val x = Input(g, "x", 2, 3, 4, 5);
    og_val y = Transpose(Reshape(x, 3, ((int64_t[]){6, 4, 5})), ((int[]){0, 2, 1}));
    og_graph_add_output(g, "y", Reshape(y, 4, ((int64_t[]){3, 2, 5, 4})));
}

static void merged_rows(og_graph *g) /* an axis that is transposed was merged */
{
    og_val x = Input(g, "x", 2, 3, 4, 5);
    og_val y = Transpose(Reshape(x, 3, ((int64_t[]){2, 12, 5})), ((int[]){0, 2, 1}));
    og_graph_add_output(g, "y", Reshape(y, 4, ((int64_t[]){2, 3, 5, 4})));
}

static void merged_heads(og_graph *g)
{
    og_val x = Input(g, "x", 5, 2, 12);
    og_val y = Transpose(Reshape(x, 3, ((int64_t[]){5, 6, 4})), ((int[]){1, 0, 2}));
    og_graph_add_output(g, "y", Reshape(y, 4, ((int64_t[]){2, 3, 5, 4})));
}

static void merged_heads_otherwise(og_graph *g) /* batch and heads change places */
{
    og_val x = Input(g, "x", 5, 2, 12);
    og_val y = Transpose(Reshape(x, 3, ((int64_t[]){5, 6, 4})), ((int[]){1, 0, 2}));
    og_graph_add_output(g, "y", Reshape(y, 4, ((int64_t[]){3, 2, 5, 4})));
}

TEST(merged_transposes)
{
    CHECK_INT(compare(merged_heads, og_pass_patterns, "Reshape"), 1);
    CHECK_INT(compare(merged_heads_otherwise, og_pass_patterns, "Reshape"), 2);
    CHECK_INT(compare(merged_transpose, og_pass_patterns, "Reshape"), 0);
    CHECK_INT(compare(merged_otherwise, og_pass_patterns, "Reshape"), 2);
    CHECK_INT(compare(merged_rows, og_pass_patterns, "Reshape"), 2);
}

/* ---- attention: 130 keys, [2, 3, S, 4] */

enum { KEYS = 130 };

static og_val kt_of(og_graph *g)
{
    return SwapLast(Input(g, "k", 2, 3, KEYS, 4));
}

/* softmax(scores) V, of `rank` */
static void attended(og_graph *g, og_val scores)
{
    og_val p = Op("Softmax", In(scores), I("axis", -1));
    og_graph_add_output(g, "y", MatMul(p, Input(g, "v", 2, 3, KEYS, 5)));
}

/* 0 for keys that are not behind the query, else `closed`: [S, KEYS] */
static og_val causal_mask(og_graph *g, int64_t queries, double closed)
{
    og_type t = og_type_make(OG_DOUBLE, 2, (int64_t[]){queries, KEYS});
    double *data = og_arena_array(g->arena, (size_t)(queries * KEYS), sizeof *data);
    for (int64_t i = 0; data && i < queries * KEYS; i++)
        data[i] = i % KEYS <= i / KEYS ? 0 : closed;
    return og_graph_add_const(g, "", &t, data);
}

static void attention_plain(og_graph *g) /* enough keys without a mask */
{
    og_val q = Input(g, "q", 2, 50, 4), k = Input(g, "k", 2, 300, 4), v = Input(g, "v", 2, 300, 3);
    og_val s = Div(MatMul(q, SwapLast(k)), Scalar(q, 2));
    og_graph_add_output(g, "y", MatMul(Op("Softmax", In(s), I("axis", 2)), v));
}

static void attention_transposed(og_graph *g) /* heads of rank 3 that are made of [S, N, D] */
{
    og_val q = Transpose(Input(g, "q", 50, 2, 4), ((int[]){1, 0, 2})),
           k = Input(g, "k", 2, KEYS, 4), v = Input(g, "v", 2, KEYS, 3),
           mask = Input(g, "mask", 2, 1, KEYS);
    og_val p = Op("Softmax", In(Add(MatMul(q, SwapLast(k)), mask)), I("axis", -1));
    og_graph_add_output(g, "y", Transpose(MatMul(p, v), ((int[]){1, 0, 2})));
}

static void attention_samples(og_graph *g) /* a mask for each of rank 3 */
{
    og_val q = Input(g, "q", 2, 50, 4), k = Input(g, "k", 2, KEYS, 4),
           v = Input(g, "v", 2, KEYS, 3), mask = Input(g, "mask", 2, 50, KEYS);
    og_val p = Op("Softmax", In(Add(mask, MatMul(q, SwapLast(k)))), I("axis", -1));
    og_graph_add_output(g, "y", MatMul(p, v));
}

static void
attention_causal(og_graph *g) /* both operands scaled, as scaled_dot_product_attention */
{
    og_val q = Input(g, "q", 2, 3, KEYS, 4), root = Scalar(q, 0.7), kt = kt_of(g);
    og_val s = MatMul(Mul(q, root), Mul(kt, root));
    attended(g, Add(s, causal_mask(g, KEYS, -INFINITY)));
}

static void attention_finite_mask(og_graph *g)
{
    og_val q = Input(g, "q", 2, 3, 100, 4);
    attended(g, Add(causal_mask(g, 100, -3.4e38), Mul(MatMul(q, kt_of(g)), Scalar(q, 0.5))));
}

static void attention_padded(og_graph *g) /* a mask that is only known later */
{
    og_val q = Input(g, "q", 2, 3, 7, 4), mask = Input(g, "mask", 2, 1, 1, KEYS);
    attended(g, Add(MatMul(q, kt_of(g)), Mul(mask, Scalar(mask, 1e4))));
}

static void attention_where(og_graph *g)
{
    og_val q = Input(g, "q", 2, 3, 7, 4), mask = Input(g, "mask", 2, 1, 1, KEYS);
    og_val s = MatMul(q, kt_of(g));
    attended(g, Where(Greater(mask, Zero(mask)), Scalar(s, -INFINITY), s));
}

static void attention_without_nan(og_graph *g) /* two rows are masked as a whole */
{
    og_val q = Input(g, "q", 2, 3, 4, 4), v = Input(g, "v", 2, 3, KEYS, 5);
    og_type t = og_type_make(OG_DOUBLE, 2, (int64_t[]){4, 1});
    og_val rows = og_const_copy(g, &t, (double[]){0, -INFINITY, -INFINITY, 1});
    og_val mask = Add(rows, causal_mask(g, 4, -INFINITY));
    og_val p = Op("Softmax", In(Add(MatMul(q, kt_of(g)), mask)), I("axis", -1));
    p = Where(Op("IsNaN", In(p)), Zero(p), p);
    og_graph_add_output(g, "y", MatMul(p, v));
}

static void attention_read_twice(og_graph *g) /* the probabilities are an output, too */
{
    og_val q = Input(g, "q", 2, 3, 7, 4), v = Input(g, "v", 2, 3, KEYS, 5);
    og_val s = Add(MatMul(q, kt_of(g)), causal_mask(g, 7, -INFINITY));
    og_val p = Op("Softmax", In(s), I("axis", -1));
    og_graph_add_output(g, "y", MatMul(p, v));
    og_graph_add_output(g, "p", p);
}

static void attention_dropped(og_graph *g) /* something lies between softmax and the product */
{
    og_val q = Input(g, "q", 2, 3, 7, 4), keep = Input(g, "keep", 2, 3, 7, KEYS);
    og_val s = Add(MatMul(q, kt_of(g)), causal_mask(g, 7, -INFINITY));
    og_val p = Mul(Op("Softmax", In(s), I("axis", -1)), keep);
    og_graph_add_output(g, "y", MatMul(p, Input(g, "v", 2, 3, KEYS, 5)));
}

static void attention_dropout(og_graph *g) /* the op, in training mode */
{
    og_val q = Input(g, "q", 2, 3, 7, 4);
    og_type scalar = og_type_make(OG_BOOL, 0, NULL);
    og_val p = Op("Softmax", In(MatMul(q, kt_of(g))), I("axis", -1));
    p = Op("Dropout", In(p, og_const_double(g, OG_FLOAT, 0.25), og_full(g, &scalar, 1)));
    og_graph_add_output(g, "y", MatMul(p, Input(g, "v", 2, 3, KEYS, 5)));
}

static void attention_other_axis(og_graph *g)
{
    og_val q = Input(g, "q", 2, 3, 7, 4), v = Input(g, "v", 2, 3, KEYS, 5);
    og_val s = Add(MatMul(q, kt_of(g)), causal_mask(g, 7, -1));
    og_graph_add_output(g, "y", MatMul(Op("Softmax", In(s), I("axis", 2)), v));
}

static void attention_shared_keys(og_graph *g) /* heads share K and V: they are broadcast */
{
    og_val q = Input(g, "q", 2, 3, 7, 4), k = Input(g, "k", 2, 1, KEYS, 4),
           v = Input(g, "v", 2, 1, KEYS, 4);
    og_val s = Add(MatMul(q, SwapLast(k)), causal_mask(g, 7, -1));
    og_graph_add_output(g, "y", MatMul(Op("Softmax", In(s), I("axis", -1)), v));
}

static void attention_few_keys(og_graph *g)
{
    og_val q = Input(g, "q", 2, 50, 4), k = Input(g, "k", 2, KEYS, 4),
           v = Input(g, "v", 2, KEYS, 3);
    og_val p = Op("Softmax", In(MatMul(q, SwapLast(k))), I("axis", -1));
    og_graph_add_output(g, "y", MatMul(p, v));
}

TEST(attention)
{
    static build_fn *const found[] = {attention_plain,  attention_transposed,  attention_samples,
                                      attention_causal, attention_finite_mask, attention_padded,
                                      attention_where,  attention_without_nan};
    static build_fn *const left[] = {attention_read_twice, attention_dropped, attention_other_axis,
                                     attention_shared_keys, attention_few_keys};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        CHECK_INT(compare(found[i], og_pass_patterns, "AttentionHeads"), 1);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        CHECK_INT(compare(left[i], og_pass_patterns, "AttentionHeads"), 0);
}

/* Few keys, and dropout, only on a device that has one kernel for all of it, in mixed precision. */
TEST(fused_attention)
{
    static build_fn *const builds[] = {attention_few_keys, attention_dropout};
    og_device *cpu = og_cpu_device_new(1);
    og_device card = {
        .tables = (og_kernel_table[]){
            {"attention", (og_kernel[]){{.op = "ai.ongrad::WideAttentionHeads"}, {NULL}}}, {NULL}}};
    REQUIRE(cpu);
    const og_device *devices[] = {cpu, &card};
    for (int d = 0; d < 2; d++)
        for (int half = 0; half < 2; half++)
            for (int b = 0; b < 2; b++) {
                og_graph *g = og_graph_new();
                REQUIRE(g);
                builds[b](g);
                og_graph *after =
                    og_pass_patterns_for(g, devices[d], half ? OG_FLOAT16 : OG_UNDEFINED);
                CHECK_INT(after ? count(after, "AttentionHeads") : -1, d && half);
                og_graph_free(g);
            }
    cpu->destroy(cpu);
}

/* A mask that may be trained needs its gradient: all scores. */
TEST(trained_mask)
{
    og_graph *g = og_graph_new();
    REQUIRE(g);
    og_type t = og_type_make(OG_DOUBLE, 2, (int64_t[]){7, KEYS});
    og_val q = Input(g, "q", 2, 3, 7, 4), bias = og_graph_add_state(g, "bias", &t, 0, NULL);
    attended(g, Add(MatMul(q, kt_of(g)), Mul(bias, Scalar(bias, 2))));
    og_graph *after = og_pass_patterns(g);
    CHECK(after && after->error.status == OG_OK);
    CHECK_INT(after ? count(after, "AttentionHeads") : -1, 0);
    og_graph_free(g);
}

/* ---- splits */

static og_val gather(og_val x, int axis, int64_t index)
{
    return Op("Gather", In(x, og_const_int(x.g, index)), I("axis", axis));
}

static void gathers_of_all(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 4);
    og_val a = gather(x, 1, 2), b = gather(x, 1, 0), c = gather(x, 1, -2);
    og_graph_add_output(g, "y", Add(Mul(a, b), Sub(c, a)));
}

static void gathers_of_some(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 4);
    og_graph_add_output(g, "y", Add(gather(x, 1, 2), gather(x, 1, 0)));
}

static void gathers_and_whole(og_graph *g)
{
    og_val x = Input(g, "x", 2, 2, 4);
    og_val y = Mul(gather(x, 1, 0), gather(x, 1, 1));
    og_graph_add_output(g, "y", Add(y, Reduce("ReduceSum", x, 1, ((int[]){1}), false)));
}

static void gathers_of_two_axes(og_graph *g)
{
    og_val x = Input(g, "x", 2, 2, 4);
    og_graph_add_output(g, "y", Mul(gather(x, 1, 0), gather(x, 0, 1)));
}

TEST(splits)
{
    CHECK_INT(compare(gathers_of_all, og_pass_patterns, "Split"), 1);
    CHECK_INT(compare(gathers_of_some, og_pass_patterns, "Split"), 0);
    CHECK_INT(compare(gathers_and_whole, og_pass_patterns, "Split"), 0);
    CHECK_INT(compare(gathers_of_two_axes, og_pass_patterns, "Split"), 0);
}

/* ---- products */

static void transposed(og_graph *g)
{
    og_val a = Input(g, "a", 2, 3, 4), b = Input(g, "b", 2, 4, 5);
    og_graph_add_output(g, "y", SwapLast(MatMul(a, b)));
}

static void transposed_and_read(og_graph *g)
{
    og_val a = Input(g, "a", 3, 4), b = Input(g, "b", 4, 5), y = MatMul(a, b);
    og_graph_add_output(g, "y", SwapLast(y));
    og_graph_add_output(g, "z", y);
}

static void batch_transposed(og_graph *g)
{
    og_val a = Input(g, "a", 2, 3, 4), b = Input(g, "b", 2, 4, 5);
    og_graph_add_output(g, "y", Transpose(MatMul(a, b), ((int[]){1, 0, 2})));
}

TEST(products)
{
    CHECK_INT(compare(transposed, og_pass_products, "Transpose"), 2); /* of the operands */
    CHECK_INT(compare(transposed_and_read, og_pass_products, "Transpose"), 1);
    CHECK_INT(compare(batch_transposed, og_pass_products, "Transpose"), 1);
}

static const og_test tests[] = {TEST_ROW(gelu),
                                TEST_ROW(powers),
                                TEST_ROW(layer_norm),
                                TEST_ROW(scaled_products),
                                TEST_ROW(merged_transposes),
                                TEST_ROW(attention),
                                TEST_ROW(fused_attention),
                                TEST_ROW(trained_mask),
                                TEST_ROW(splits),
                                TEST_ROW(products),
                                TEST_ROW(rms_norm),
                                TEST_ROW(silus),
                                TEST_ROW(pools),
                                TEST_ROW(gradients_that_read_the_input_alone)};
TEST_MAIN(tests)
