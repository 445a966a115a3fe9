/* Where the layout pass puts images: channels-last inside of regions, row-major outside, with one
 * copy where an image crosses. */
#include "tests/test.h"

#include "kernels/cpu/cpu.h"
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

typedef struct laid {
    og_graph *g;
    og_device *device;
    og_layouts out;
    int copies; /* nodes */
} laid;

/* Is there a kernel that prefers images channels-last? */
static bool has_regions(void)
{
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (k->flags & OG_KERNEL_PREFERS_CHANNELS_LAST)
                return true;
    return false;
}

static og_val input(og_graph *g, const char *name, int rank, const int64_t *dims)
{
    og_type type = og_type_make(OG_FLOAT, rank, dims);
    return og_graph_add_input(g, name, &type);
}

static og_val conv(og_val x, const char *name, int64_t channels)
{
    og_val w = input(x.g, name, 4, (int64_t[]){channels, Dim(x, 1), 3, 3});
    return Op("Conv", In(x, w), Is("pads", 4, ((int64_t[]){1, 1, 1, 1})));
}

static laid lay_out(og_graph *g)
{
    laid l = {.g = g, .device = og_cpu_device_new(2)};
    CHECK_INT(g->error.status, OG_OK);
    og_graph *to = og_pass_layout(g, l.device, &l.out);
    CHECK(to && to->error.status == OG_OK);
    for (int i = 0; i < to->n_nodes; i++)
        l.copies += og_op_is(to->nodes[i]->op, OG_DOMAIN, "Copy");
    return l;
}

/* Output `k` of the n-th node of an op in the new graph, as it lies. */
static og_tensor result_of(const laid *l, const char *op, int n, int k)
{
    og_graph *to = l->out.graph;
    for (int i = 0; i < to->n_nodes; i++)
        if (og_op_is(to->nodes[i]->op, NULL, op) && n-- == 0) {
            int v = to->nodes[i]->out[k];
            og_tensor t = og_tensor_dense(&to->values[v]->type, NULL);
            memcpy(t.strides, l->out.places[v].layout.strides, sizeof t.strides);
            return t;
        }
    CHECK(false);
    return (og_tensor){0};
}

static void finish(laid *l)
{
    l->device->destroy(l->device);
    og_graph_free(l->g);
}

/* x → Conv → Relu → Add of a broadcast → MaxPool → Conv → output */
TEST(region)
{
    if (!has_regions())
        SKIP("no kernel prefers images channels-last");
    og_graph *g = og_graph_new();
    og_val x = input(g, "x", 4, (int64_t[]){2, 16, 8, 8});
    og_val shift = input(g, "shift", 3, (int64_t[]){32, 1, 1});
    og_val y = Add(Relu(conv(x, "w0", 32)), shift);
    y = Op("MaxPool", In(y), Is("kernel_shape", 2, ((int64_t[]){2, 2})),
           Is("strides", 2, ((int64_t[]){2, 2})));
    og_graph_add_output(g, "y", conv(y, "w1", 16));
    laid l = lay_out(g);
    CHECK_INT(l.copies, 2); /* x in, y out */
    const char *const ops[] = {"Conv", "Relu", "Add", "MaxPool"};
    for (int i = 0; i < 4; i++) {
        og_tensor t = result_of(&l, ops[i], 0, 0);
        CHECK(og_tensor_is_channels_last(&t) && !og_tensor_is_dense(&t));
    }
    const og_place *out = &l.out.places[l.out.graph->outputs[0].value];
    og_tensor t = og_tensor_dense(&l.out.graph->values[l.out.graph->outputs[0].value]->type, NULL);
    memcpy(t.strides, out->layout.strides, sizeof t.strides);
    CHECK(og_tensor_is_dense(&t));
    finish(&l);
}

/* Conv → Softmax along the width, twice read, and Conv again: one copy for both readers. */
TEST(border)
{
    if (!has_regions())
        SKIP("no kernel prefers images channels-last");
    og_graph *g = og_graph_new();
    og_val y = conv(input(g, "x", 4, (int64_t[]){2, 1, 8, 8}), "w0", 16);
    og_graph_add_output(g, "a", Op("Softmax", In(y), I("axis", 3)));
    og_graph_add_output(g, "b", Op("Softmax", In(y), I("axis", 2)));
    og_graph_add_output(g, "c", Op("GlobalMaxPool", In(conv(y, "w1", 16))));
    laid l = lay_out(g);
    /* x has one channel and lies both ways; y for the Softmaxes, the last image for the pooling */
    CHECK_INT(l.copies, 2);
    og_tensor t = result_of(&l, "Softmax", 0, 0);
    CHECK(og_tensor_is_dense(&t));
    finish(&l);
}

/* Without a convolution nothing moves. */
TEST(no_region)
{
    og_graph *g = og_graph_new();
    og_val x = input(g, "x", 4, (int64_t[]){2, 16, 8, 8});
    og_graph_add_output(g, "y",
                        Relu(Op("MaxPool", In(x), Is("kernel_shape", 2, ((int64_t[]){2, 2})))));
    laid l = lay_out(g);
    CHECK_INT(l.copies, 0);
    og_tensor t = result_of(&l, "MaxPool", 0, 0);
    CHECK(og_tensor_is_dense(&t));
    finish(&l);
}

/* A new state value [3] that is all of a sum [1, 3] under other dims is that sum; a second state
 * that is the same, and one that is a part of a result, are copies. */
static void check_states(int n, int copies)
{
    og_graph *g = og_graph_new();
    const og_type row = og_type_make(OG_FLOAT, 1, (int64_t[]){3});
    og_val x = input(g, "x", 2, (int64_t[]){4, 3}), old[3];
    og_val sum = Reduce("ReduceSum", x, 1, ((int[]){0}), true);
    og_val all = Reshape(sum, 1, ((int64_t[]){3}));
    const og_val new[] = {all, all, Reshape(Slice(Relu(x), 0, 1, 1), 1, ((int64_t[]){3}))};
    for (int i = 0; i < n; i++) {
        old[i] = og_graph_add_state(g, "state", &row, i, NULL);
        og_graph_set_state(g, old[i], new[i]);
    }
    laid l = lay_out(g);
    const og_graph *to = l.out.graph;
    CHECK_INT(l.copies, copies);
    CHECK_STR(to->values[to->states[0].out]->producer->op->name, "ReduceSum");
    finish(&l);
}

TEST(states_under_other_dims)
{
    check_states(1, 0);
    check_states(2, 1);
    check_states(3, 2);
}

static const og_test tests[] = {TEST_ROW(region), TEST_ROW(border), TEST_ROW(no_region),
                                TEST_ROW(states_under_other_dims)};
TEST_MAIN(tests)
