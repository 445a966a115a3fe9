/* Patterns are found, give what the nodes they replace give, and near misses are left alone; a
 * product that is only read transposed is written transposed. */
#include "tests/test.h"

#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"
#include "runtime/passes/rewrite.h"

/* Everything is computed in double, so forms that differ in rounding alone agree to this. */
static const double TOLERANCE = 1e-12;

static og_val input(og_graph *g, const char *name, int rank, const int64_t *dims)
{
    og_type t = og_type_make(OG_DOUBLE, rank, dims);
    return og_graph_add_input(g, name, &t);
}
#define Input(g, name, ...)                                                   \
    input(g, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
          (int64_t[]){__VA_ARGS__})

static int count(og_graph *g, const char *op)
{
    int n = 0;
    bool *live = og_graph_live(g);
    for (int i = 0; live && i < g->n_nodes; i++)
        n += live[i] && strcmp(g->nodes[i]->op->name, op) == 0;
    return n;
}

/* Output 0 with irregular inputs; the caller frees. */
static double *evaluate(og_graph *g, int64_t *n)
{
    og_device *device = og_cpu_device_new(1);
    og_evaluator evaluator = og_eager_evaluator(device);
    for (int i = 0; i < g->n_inputs; i++) {
        og_value *v = g->values[g->inputs[i]];
        int64_t elements = og_type_elements(&v->type);
        double *data = og_arena_array(g->arena, (size_t)elements + 1, sizeof *data);
        for (int64_t k = 0; data && k < elements; k++) /* irregular, between -2 and 2 */
            data[k] = 2 * sin(1.7 * (double)(k + 1) * (double)(i + 1));
        v->kind = OG_VALUE_CONST;
        v->data = data;
    }
    bool *live = og_graph_live(g);
    for (int i = 0; live && i < g->n_nodes; i++)
        if (live[i])
            CHECK(evaluator.run(evaluator.user, g, g->nodes[i]));
    CHECK_STR(og_error_text(&g->error), "");
    const og_value *y = g->values[g->outputs[0].value];
    *n = og_type_elements(&y->type);
    double *copy = malloc(sizeof *copy * (size_t)(*n + 1));
    for (int64_t i = 0; copy && i < *n; i++)
        copy[i] = og_value_double(y, i);
    device->destroy(device);
    return copy;
}

typedef void build_fn(og_graph *g);

/* The graph after `pass` gives what it gave before; how many nodes `op` it then has. */
static int compare(build_fn *build, og_graph *(*pass)(og_graph *), const char *op)
{
    og_graph *plain = og_graph_new(), *source = og_graph_new();
    if (!CHECK(plain && source))
        return -1;
    build(plain);
    build(source);
    og_graph *after = pass(source);
    int found = after ? count(after, op) : -1;
    int64_t n = 0, m = 0;
    double *a = evaluate(plain, &n), *b = after ? evaluate(after, &m) : NULL;
    CHECK_INT(m, n);
    for (int64_t i = 0; a && b && i < n && i < m; i++)
        CHECK_CLOSE(b[i], a[i], TOLERANCE);
    free(a);
    free(b);
    og_graph_free(plain);
    og_graph_free(source);
    return found;
}

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

TEST(merged_transposes)
{
    CHECK_INT(compare(merged_transpose, og_pass_patterns, "Reshape"), 0);
    CHECK_INT(compare(merged_otherwise, og_pass_patterns, "Reshape"), 2);
    CHECK_INT(compare(merged_rows, og_pass_patterns, "Reshape"), 2);
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
                                TEST_ROW(splits),
                                TEST_ROW(products)};
TEST_MAIN(tests)
