/* Which nodes become one program, what of it is written, and that values stay what they were. */
#include "tests/passes/graphs.h"

/* Programs and the rounding of a sum's order alone make a difference. */
static const double TOLERANCE = 1e-13;

typedef struct counts {
    int fused, reductions, outputs; /* nodes; those that are no part of a program; of programs */
} counts;

/* The fused graph gives in all outputs what it gave before. */
static counts fuse(void build(og_graph *g))
{
    og_graph *source = og_graph_new();
    build(source);
    CHECK_INT(source->error.status, OG_OK);
    og_device *device = og_cpu_device_new(1);
    og_graph *g = og_pass_fuse(source, device);
    counts c = {.fused = count(g, "Fused")};
    bool *live = og_graph_live(g);
    for (int i = 0; i < g->n_nodes; i++) {
        c.reductions += live[i] && g->nodes[i]->op->fold != OG_FOLD_NONE;
        c.outputs += live[i] && g->nodes[i]->program ? g->nodes[i]->n_out : 0;
    }
    int n_outputs = g->n_outputs;
    for (int k = 0; k < n_outputs; k++) {
        /* Evaluating turns values into constants: a graph of its own for each output. */
        og_graph *again[2] = {og_graph_new(), og_graph_new()};
        build(again[0]);
        build(again[1]);
        int64_t n = 0, m = 0;
        double *a = evaluate(again[0], k, &n), *b = evaluate(og_pass_fuse(again[1], device), k, &m);
        CHECK_INT(m, n);
        for (int64_t i = 0; i < n && i < m; i++)
            CHECK_CLOSE(b[i], a[i], TOLERANCE);
        free(a);
        free(b);
        og_graph_free(again[0]);
        og_graph_free(again[1]);
    }
    og_graph_free(source);
    device->destroy(device);
    return c;
}

static og_val product(og_graph *g)
{
    return Mul(Input(g, "a", 6, 5), Input(g, "b", 6, 5));
}

static og_val over(const char *op, og_val x, int axis)
{
    return Reduce(op, x, 1, &axis, false);
}

static void columns(og_graph *g)
{
    og_graph_add_output(g, "y", over("ReduceSum", product(g), 0));
}

static void columns_and_values(og_graph *g)
{
    og_val v = product(g);
    og_graph_add_output(g, "y", over("ReduceSum", v, 0));
    og_graph_add_output(g, "v", v);
}

static void rows(og_graph *g)
{
    og_graph_add_output(g, "y", over("ReduceMean", product(g), -1));
}

static void everything(og_graph *g)
{
    og_graph_add_output(g, "y", Reduce("ReduceMax", product(g), 0, NULL, false));
}

TEST(reductions_join)
{
    counts c = fuse(columns);
    CHECK_INT(c.fused, 1);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 1);
    c = fuse(columns_and_values);
    CHECK_INT(c.fused, 1);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 2);
    c = fuse(rows);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 1);
    c = fuse(everything);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 1);
}

static const char *kind;
static void of_kind(og_graph *g)
{
    og_graph_add_output(g, "y", over(kind, product(g), 1));
    og_graph_add_output(g, "z", over(kind, Add(Input(g, "c", 6, 5), Input(g, "d", 5)), 0));
}

TEST(kinds)
{
    static const char *const kinds[] = {"ReduceSum", "ReduceMean",      "ReduceMax",
                                        "ReduceMin", "ReduceSumSquare", "ReduceProd"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        TEST_CASE(kind = kinds[i]);
        counts c = fuse(of_kind);
        CHECK_INT(c.fused, 2);
        CHECK_INT(c.reductions, 0);
    }
    TEST_CASE("");
}

/* A bias gradient: the batch of sequences is seen as rows, by the products and by the sum. */
static void through_reshape(og_graph *g)
{
    og_val v = Mul(Input(g, "a", 2, 3, 5), Input(g, "b", 2, 3, 5));
    og_val flat = Reshape(v, 2, ((int64_t[]){6, 5}));
    og_graph_add_output(g, "y", over("ReduceSum", flat, 0));
    og_graph_add_output(g, "z", MatMul(flat, Input(g, "w", 5, 2)));
}

static void through_reshape_alone(og_graph *g)
{
    og_val v = Mul(Input(g, "a", 2, 3, 5), Input(g, "b", 2, 3, 5));
    og_val flat = Reshape(Reshape(v, 1, ((int64_t[]){30})), 2, ((int64_t[]){6, 5}));
    og_graph_add_output(g, "y", over("ReduceSum", flat, 0));
}

/* The images of a batch, all but their channels. */
static void images(og_graph *g)
{
    og_val v = Mul(Input(g, "a", 2, 3, 4, 5), Input(g, "b", 3, 1, 1));
    og_graph_add_output(g, "y", Reduce("ReduceSum", v, 3, ((int[]){0, 2, 3}), false));
}

TEST(views)
{
    counts c = fuse(through_reshape);
    CHECK_INT(c.fused, 1);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 2);
    c = fuse(through_reshape_alone);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 1);
    c = fuse(images);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 1);
}

/* The rows of the Reshape are no axes of the values. */
static void across_axes(og_graph *g)
{
    og_graph_add_output(g, "y", over("ReduceSum", Reshape(product(g), 2, ((int64_t[]){3, 10})), 0));
}

static void transposed(og_graph *g)
{
    og_graph_add_output(g, "y", over("ReduceSum", SwapLast(product(g)), 0));
}

static void in_the_middle(og_graph *g)
{
    og_val v = Mul(Input(g, "a", 2, 3, 5), Input(g, "b", 2, 3, 5));
    og_graph_add_output(g, "y", over("ReduceSum", v, 1));
}

static void of_an_input(og_graph *g)
{
    og_graph_add_output(g, "y", over("ReduceSum", Input(g, "a", 6, 5), 0));
}

TEST(reductions_that_stay)
{
    CHECK_INT(fuse(across_axes).reductions, 1);
    CHECK_INT(fuse(transposed).reductions, 1);
    CHECK_INT(fuse(in_the_middle).reductions, 1);
    CHECK_INT(fuse(of_an_input).reductions, 1);
}

/* exp(x) / Σ exp(x): the quotient waits for the sum, and the sum for the exponentials. */
static void softmax(og_graph *g)
{
    og_val e = Exp(Input(g, "x", 6, 5));
    og_graph_add_output(g, "y", Div(e, Reduce("ReduceSum", e, 1, ((int[]){1}), true)));
}

/* Two reductions of one program: one of them joins. */
static void moments(og_graph *g)
{
    og_val v = product(g);
    og_graph_add_output(g, "y", over("ReduceSum", v, 0));
    og_graph_add_output(g, "z", over("ReduceSumSquare", v, 0));
}

/* What reads the result is of the same space as what is reduced, two steps away. */
static void centred(og_graph *g)
{
    og_val v = product(g), mean = Reduce("ReduceMean", v, 1, ((int[]){0}), true);
    og_graph_add_output(g, "y", Sub(v, Mul(mean, Scalar(v, 2))));
}

TEST(order)
{
    counts c = fuse(softmax);
    CHECK_INT(c.fused, 2);
    CHECK_INT(c.reductions, 0);
    CHECK_INT(c.outputs, 3);
    c = fuse(moments);
    CHECK_INT(c.fused, 1);
    CHECK_INT(c.reductions, 1);
    c = fuse(centred);
    CHECK_INT(c.reductions, 0);
}

static const og_test tests[] = {TEST_ROW(reductions_join), TEST_ROW(kinds), TEST_ROW(views),
                                TEST_ROW(reductions_that_stay), TEST_ROW(order)};
TEST_MAIN(tests)
