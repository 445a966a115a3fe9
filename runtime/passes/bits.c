/* bits: bools take a bit an element instead of a byte where all kernels that write and read them
 * can do that: masks that the forward pass leaves for the backward pass, above all.
 *
 * The pass changes the types of values of a graph with layouts, and nothing else. Small bools stay
 * as they are, and those that leave the graph or have views. */
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

enum { LEAST_BYTES = 4096 };

static og_tensor tensor_of(const og_layouts *l, int value)
{
    if (value < 0)
        return (og_tensor){.data = NULL};
    og_tensor t = og_tensor_dense(&l->graph->values[value]->type, NULL);
    for (int i = 0; i < t.type.rank; i++)
        t.strides[i] = l->places[value].layout.strides[i];
    return t;
}

static void set_all(og_graph *g, const int *values, int n, og_dtype from, og_dtype to)
{
    for (int i = 0; i < n; i++)
        if (values[i] >= 0 && g->values[values[i]]->type.dtype == from)
            g->values[values[i]]->type.dtype = to;
}

static void exclude(bool *bits, const int *values, int n)
{
    for (int i = 0; i < n; i++)
        if (values[i] >= 0)
            bits[values[i]] = false;
}

/* By value: a bool of some size, which only kernels that know bits touch. */
static bool find_candidates(const og_layouts *l, const bool *live, bool *bits)
{
    const og_graph *g = l->graph;
    bool any = false;
    for (int v = 0; v < g->n_values; v++)
        bits[v] = g->values[v]->kind == OG_VALUE_NODE && g->values[v]->type.dtype == OG_BOOL &&
                  og_type_bytes(&g->values[v]->type) >= LEAST_BYTES;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        if (live[i] && l->kernels[i] && l->kernels[i]->flags & OG_KERNEL_BITS)
            continue;
        exclude(bits, n->in, n->n_in);
        exclude(bits, n->out, n->n_out);
    }
    for (int i = 0; i < g->n_outputs; i++)
        exclude(bits, &g->outputs[i].value, 1);
    for (int i = 0; i < g->n_states; i++)
        exclude(bits, &g->states[i].out, 1);
    for (int v = 0; v < g->n_values; v++)
        any |= bits[v];
    return any;
}

static bool has_bits(const og_graph *g, const int *values, int n)
{
    for (int i = 0; i < n; i++)
        if (values[i] >= 0 && g->values[values[i]]->type.dtype == OG_BIT)
            return true;
    return false;
}

bool og_pass_bits(og_layouts *l, const og_device *device)
{
    og_graph *g = l->graph;
    const bool *live = og_graph_live(g);
    bool *bits = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    if (!live || !bits)
        return false;
    if (!find_candidates(l, live, bits))
        return true;
    for (int v = 0; v < g->n_values; v++)
        if (bits[v])
            g->values[v]->type.dtype = OG_BIT;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        if (!has_bits(g, n->in, n->n_in) && !has_bits(g, n->out, n->n_out))
            continue;
        og_call call = {.node = n, .device = device, .nx = n->n_in, .ny = n->n_out};
        call.x = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(og_tensor));
        call.y = og_arena_array(g->arena, (size_t)n->n_out + 1, sizeof(og_tensor));
        if (!call.x || !call.y)
            return false;
        for (int k = 0; k < n->n_in; k++)
            call.x[k] = tensor_of(l, n->in[k]);
        for (int k = 0; k < n->n_out; k++)
            call.y[k] = tensor_of(l, n->out[k]);
        if (l->kernels[i]->supports && l->kernels[i]->supports(&call))
            continue;
        set_all(g, n->in, n->n_in, OG_BIT, OG_BOOL);
        set_all(g, n->out, n->n_out, OG_BIT, OG_BOOL);
    }
    return true;
}
