/* Which instructions a product takes over from the program that reads its result, and that the plan
 * gives what the nodes give one by one in double. */
#include "tests/conformance/planned.h"
#include "tests/passes/graphs.h"

/* Sums of some terms of about 1 in float. */
static const double TOLERANCE = 2e-5;

typedef struct counts {
    int programs, steps, fused; /* products with a program; their instructions; other programs */
} counts;

static bool has_kernels(void)
{
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (k->flags & OG_KERNEL_PROGRAM && strcmp(k->op, "MatMul") == 0)
                return true;
    return false;
}

static counts count_programs(const og_graph *g)
{
    counts c = {0, 0, 0};
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        bool fused = og_op_is(n->op, OG_DOMAIN, "Fused");
        c.fused += fused;
        c.programs += n->program && !fused;
        c.steps += n->program && !fused ? n->program->n_instr : 0;
    }
    return c;
}

static counts run(void build(og_graph *g))
{
    og_arena *arena = og_arena_new();
    og_device *device = og_cpu_device_new(2);
    og_graph *g = og_graph_new_in(arena);
    og_storages storages = {0};
    og_error error = {0};
    planned p;
    input_dtype = OG_FLOAT;
    build(g);
    input_dtype = OG_DOUBLE;
    CHECK_STR(og_error_text(&g->error), "");
    const void *inputs[8];
    for (int i = 0; i < g->n_inputs; i++) {
        int64_t n = og_type_elements(&g->values[g->inputs[i]]->type);
        float *data = malloc(sizeof(float) * (size_t)(n + 1));
        for (int64_t k = 0; k < n; k++)
            data[k] = (float)input_element(i, k);
        inputs[i] = data;
    }
    int n_inputs = g->n_inputs, n_outputs = g->n_outputs;
    counts c = {-1, -1, -1};
    if (CHECK_INT(planned_run(&p, g, arena, &storages, device, inputs, &error), OG_OK)) {
        c = count_programs(p.plan->graph);
        for (int k = 0; k < n_outputs; k++) {
            og_graph *oracle = og_graph_new();
            build(oracle);
            int64_t n = 0;
            double *want = evaluate(oracle, k, &n);
            og_value y = planned_output(&p, k);
            CHECK_INT(og_type_elements(&y.type), n);
            for (int64_t i = 0; i < n; i++)
                if (!CHECK_CLOSE(og_value_double(&y, i), want[i], TOLERANCE))
                    break;
            free(want);
            og_graph_free(oracle);
        }
        planned_free(&p);
    } else {
        printf("    %s\n", og_error_text(&error));
    }
    for (int i = 0; i < n_inputs; i++)
        free((void *)(uintptr_t)inputs[i]);
    og_error_clear(&error);
    device->destroy(device);
    return c;
}

static void check(void build(og_graph *g), const char *name, int programs, int steps, int fused)
{
    TEST_CASE(name);
    counts c = run(build);
    CHECK_INT(c.programs, programs);
    CHECK_INT(c.steps, steps);
    CHECK_INT(c.fused, fused);
    TEST_CASE("");
}

static og_val product(og_graph *g)
{
    return MatMul(Input(g, "x", 6, 7), Input(g, "w", 7, 5));
}

static void bias(og_graph *g)
{
    og_graph_add_output(g, "y", Add(product(g), Input(g, "b", 5)));
}

static void bias_first(og_graph *g)
{
    og_graph_add_output(g, "y", Add(Input(g, "b", 1, 5), product(g)));
}

static void transposed(og_graph *g)
{
    og_val a = SwapLast(Input(g, "x", 7, 6)), b = SwapLast(Input(g, "w", 5, 7));
    og_graph_add_output(g, "y", Add(MatMul(a, b), Input(g, "b", 5)));
}

static void residual(og_graph *g)
{
    og_graph_add_output(g, "y", Add(product(g), Input(g, "r", 6, 5)));
}

static void residual_with_gaps(og_graph *g)
{
    og_graph_add_output(g, "y", Add(product(g), SwapLast(Input(g, "r", 5, 6))));
}

/* A layer on rows, whose residual has the shape of sequences. */
static void through_reshape(og_graph *g)
{
    og_val y = Add(product(g), Input(g, "b", 5));
    og_val z = Add(Input(g, "r", 2, 3, 5), Reshape(y, 3, ((int64_t[]){2, 3, 5})));
    og_graph_add_output(g, "y", z);
}

static void batches(og_graph *g)
{
    og_val y = MatMul(Input(g, "x", 4, 3, 6, 7), Input(g, "w", 4, 3, 7, 5));
    og_graph_add_output(g, "y", Add(Add(y, Input(g, "b", 5)), Input(g, "r", 4, 3, 6, 5)));
}

static void large(og_graph *g)
{
    og_val y = MatMul(Input(g, "x", 520, 400), Input(g, "w", 400, 410));
    og_graph_add_output(g, "y", Tanh(Add(Add(y, Input(g, "b", 410)), Input(g, "r", 520, 410))));
}

static void added_products(og_graph *g)
{
    og_val z = MatMul(Input(g, "u", 6, 3), Input(g, "v", 3, 5));
    og_graph_add_output(g, "y", Add(product(g), z));
}

TEST(sums)
{
    if (!has_kernels())
        SKIP("no kernel takes products' programs");
    check(bias, "bias", 1, 1, 0);
    check(bias_first, "bias first", 1, 1, 0);
    check(transposed, "transposed", 1, 1, 0);
    check(residual, "residual", 1, 1, 0);
    check(residual_with_gaps, "residual with gaps", 1, 1, 0);
    check(through_reshape, "through Reshape", 1, 2, 0);
    check(batches, "batches", 1, 2, 0);
    check(large, "large", 1, 3, 0);
    check(added_products, "two products", 1, 1, 0);
}

static og_val biased(og_graph *g)
{
    return Add(product(g), Input(g, "b", 5));
}

static void with_tanh(og_graph *g)
{
    og_graph_add_output(g, "y", Tanh(biased(g)));
}

static void with_sigmoid(og_graph *g)
{
    og_graph_add_output(g, "y", Sigmoid(biased(g)));
}

static void with_silu(og_graph *g)
{
    og_graph_add_output(g, "y", Op(OG_DOMAIN "::Silu", In(biased(g))));
}

static void tanh_and_residual(og_graph *g)
{
    og_graph_add_output(g, "y", Add(Tanh(biased(g)), Input(g, "r", 6, 5)));
}

static void convolution(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 9, 8), w = Input(g, "w", 4, 3, 3, 3);
    og_graph_add_output(g, "y", Sigmoid(Op("Conv", In(x, w, Input(g, "b", 4)))));
}

TEST(activations)
{
    if (!has_kernels())
        SKIP("no kernel takes products' programs");
    check(with_tanh, "tanh", 1, 2, 0);
    check(with_sigmoid, "sigmoid", 1, 2, 0);
    check(with_silu, "silu", 1, 2, 0);
    check(tanh_and_residual, "tanh, residual", 1, 3, 0);
    check(convolution, "convolution", 1, 1, 0);
}

/* The sum is kept for the gradient: the product writes it, and Gelu reads it. */
static void kept(og_graph *g)
{
    og_val z = biased(g);
    og_graph_add_output(g, "y", Op(OG_DOMAIN "::GeluErf", In(z)));
    og_graph_add_output(g, "z", z);
}

/* Two instructions are left, one of which reads what the product gives twice. */
static void rest(og_graph *g)
{
    og_val z = biased(g), c = Input(g, "c", 6, 5);
    og_graph_add_output(g, "z", z);
    og_graph_add_output(g, "y", Sub(Mul(z, z), c));
}

/* What is left ends in a reduction, of what the product gives. */
static void reduced(og_graph *g)
{
    og_val z = biased(g);
    og_graph_add_output(g, "z", z);
    og_graph_add_output(g, "y", Exp(z));
    og_graph_add_output(g, "s", Reduce("ReduceSum", z, 1, ((int[]){0}), false));
}

/* Nothing is left but a reduction. */
static void summed(og_graph *g)
{
    og_val z = biased(g);
    og_graph_add_output(g, "z", z);
    og_graph_add_output(g, "s", Reduce("ReduceMean", z, 1, ((int[]){1}), false));
}

TEST(rests)
{
    if (!has_kernels())
        SKIP("no kernel takes products' programs");
    check(kept, "kept", 1, 1, 1);
    check(rest, "rest", 1, 1, 1);
    check(reduced, "reduced", 1, 1, 1);
    check(summed, "summed", 1, 1, 1);
}

/* Not as exact by oneDNN, NaN included: the sum has no reader but the program, which keeps it. */
static void with_relu(og_graph *g)
{
    og_graph_add_output(g, "y", Relu(biased(g)));
}

static void with_gelu(og_graph *g)
{
    og_graph_add_output(g, "y", Op(OG_DOMAIN "::GeluTanh", In(biased(g))));
}

static void convolution_relu(og_graph *g)
{
    og_val x = Input(g, "x", 2, 3, 9, 8), w = Input(g, "w", 4, 3, 3, 3);
    og_graph_add_output(g, "y", Relu(Op("Conv", In(x, w, Input(g, "b", 4)))));
}

static void read_twice(og_graph *g)
{
    og_val z = product(g);
    og_graph_add_output(g, "y", Add(z, Input(g, "b", 5)));
    og_graph_add_output(g, "z", z);
}

static void doubled(og_graph *g)
{
    og_val z = product(g);
    og_graph_add_output(g, "y", Add(z, z));
}

static void bias_of_rows(og_graph *g)
{
    og_graph_add_output(g, "y", Add(product(g), Input(g, "b", 6, 1)));
}

static void stretched(og_graph *g)
{
    og_val z = MatMul(Input(g, "x", 1, 7), Input(g, "w", 7, 5));
    og_graph_add_output(g, "y", Add(z, Input(g, "r", 6, 5)));
}

static void scaled(og_graph *g)
{
    og_graph_add_output(g, "y", Mul(product(g), Input(g, "r", 6, 5)));
}

TEST(left_alone)
{
    check(with_relu, "relu", 0, 0, 1);
    check(with_gelu, "gelu", 0, 0, 1);
    check(convolution_relu, "convolution, relu", 0, 0, 1);
    check(read_twice, "read twice", 0, 0, 1);
    check(doubled, "doubled", 0, 0, 1);
    check(bias_of_rows, "bias of rows", 0, 0, 1);
    check(stretched, "stretched", 0, 0, 1);
    check(scaled, "scaled", 0, 0, 1);
}

/* With gradients, activations stay in programs, whatever is computed again: sums are exact. */
static void with_gradients(og_graph *g)
{
    og_graph_add_output(g, "y", Tanh(biased(g)));
    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_GRADIENT, .node = "", .op = ""});
    og_graph_add_output(g, "z",
                        Add(MatMul(Input(g, "u", 6, 3), Input(g, "v", 3, 5)), Input(g, "r", 6, 5)));
}

TEST(training)
{
    if (!has_kernels())
        SKIP("no kernel takes products' programs");
    check(with_gradients, "with gradients", 1, 1, 1);
}

static const og_test tests[] = {TEST_ROW(sums), TEST_ROW(activations), TEST_ROW(rests),
                                TEST_ROW(left_alone), TEST_ROW(training)};
TEST_MAIN(tests)
