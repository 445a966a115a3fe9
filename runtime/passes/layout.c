/* layout: where every value lies and which kernel runs every node.
 *
 * A node whose row has a view rule makes no new memory if the rule allows it. Another node gets the
 * best kernel for dense inputs; where that kernel does not take the layouts its inputs have, `Copy`
 * nodes make them dense. Outputs and new state values get memory of their own. */
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

typedef struct layout_pass {
    og_rewrite rw;
    const og_device *device;
    og_layouts *out;
    size_t capacity; /* of places and kernels */
    const og_op *copy;
} layout_pass;

static og_tensor tensor_at(const og_value *v, const og_place *p)
{
    og_tensor t =
        og_tensor_dense(&v->type, v->kind == OG_VALUE_CONST ? (void *)(uintptr_t)v->data : NULL);
    for (int i = 0; i < v->type.rank; i++)
        t.strides[i] = p->layout.strides[i];
    return t;
}

static void place_own(layout_pass *l, int value)
{
    og_place *p = &l->out->places[value];
    p->root = value;
    p->layout.offset = 0;
    og_strides_dense(&l->rw.to->values[value]->type, p->layout.strides);
}

static bool is_dense(const layout_pass *l, int value)
{
    og_tensor t = tensor_at(l->rw.to->values[value], &l->out->places[value]);
    return og_tensor_is_dense(&t);
}

enum { MOST_INPUTS = 256 }; /* of one node */

static const og_kernel *choose(layout_pass *l, const og_node *n, const bool densify[MOST_INPUTS])
{
    og_graph *to = l->rw.to;
    og_call call = {.node = n, .device = l->device, .nx = n->n_in, .ny = n->n_out};
    call.x = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(og_tensor));
    call.y = og_arena_array(to->arena, (size_t)n->n_out + 1, sizeof(og_tensor));
    if (!call.x || !call.y) {
        og_fail_memory(&to->error, sizeof(og_tensor), "the layout pass");
        return NULL;
    }
    for (int i = 0; i < n->n_in; i++) {
        const og_value *v = og_graph_value(to, n->in[i]);
        if (!v)
            continue;
        call.x[i] = tensor_at(v, &l->out->places[v->id]);
        if (densify[i])
            og_strides_dense(&v->type, call.x[i].strides);
    }
    for (int i = 0; i < n->n_out; i++)
        call.y[i] = og_tensor_dense(&to->values[n->out[i]]->type, NULL);
    return og_device_kernel(l->device, &call, false);
}

/* Room in places and kernels for one more node with `n_out` outputs. */
static bool reserve(layout_pass *l, int n_out)
{
    const og_graph *to = l->rw.to;
    size_t need =
        (size_t)(to->n_values > to->n_nodes ? to->n_values : to->n_nodes) + (size_t)n_out + 1;
    if (need <= l->capacity)
        return true;
    size_t capacity = 2 * need + 64;
    og_place *places = og_arena_array(to->arena, capacity, sizeof(og_place));
    const og_kernel **kernels = og_arena_array(to->arena, capacity, sizeof(*kernels));
    if (!places || !kernels) {
        og_fail_memory(&l->rw.to->error, capacity * sizeof(og_place), "the layout pass");
        return false;
    }
    for (size_t i = 0; i < l->capacity; i++) {
        places[i] = l->out->places[i];
        kernels[i] = l->out->kernels[i];
    }
    l->out->places = places;
    l->out->kernels = kernels;
    l->capacity = capacity;
    return true;
}

/* A dense copy of a value of the new graph, in memory of its own. */
static int copy_value(layout_pass *l, int value)
{
    og_graph *to = l->rw.to;
    const bool keep[MOST_INPUTS] = {false};
    if (!reserve(l, 1))
        return value;
    og_node *n =
        og_graph_add_typed_node(to, l->copy, "", &value, 1, &to->values[value]->type, 1, NULL, 0);
    if (!n)
        return value;
    place_own(l, n->out[0]);
    l->out->kernels[n->id] = choose(l, n, keep);
    if (!l->out->kernels[n->id])
        og_node_fail(to, n, OG_INTERNAL, "the device %s cannot copy", l->device->name);
    return n->out[0];
}

static bool place_view(layout_pass *l, const og_node *n)
{
    og_graph *to = l->rw.to;
    const og_value **in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(*in));
    if (!n->op->view || n->n_in < 1 || n->in[0] < 0 || !in)
        return false;
    for (int i = 0; i < n->n_in; i++)
        in[i] = og_graph_value(to, n->in[i]);
    const og_place *px = &l->out->places[n->in[0]];
    for (int k = 0; k < n->n_out; k++) {
        og_place p = {.root = px->root};
        if (!n->op->view(n, k, in, &in[0]->type, &px->layout, &to->values[n->out[k]]->type,
                         &p.layout))
            return false;
        l->out->places[n->out[k]] = p;
    }
    l->out->kernels[n->id] = NULL;
    return true;
}

/* The node was copied to the new graph as its last node: give it a kernel, after copies of inputs
 * if need be. */
static void place_kernel(layout_pass *l, const og_node *from)
{
    og_graph *to = l->rw.to;
    bool as_is[MOST_INPUTS] = {false}, densify[MOST_INPUTS] = {false};
    const og_node *n = to->nodes[to->n_nodes - 1];
    bool any = false;
    if (n->n_in > MOST_INPUTS) {
        og_node_fail(to, n, OG_UNSUPPORTED, "has %d inputs, more than %d", n->n_in, MOST_INPUTS);
        return;
    }
    for (int i = 0; i < n->n_in; i++) {
        densify[i] = n->in[i] >= 0 && !is_dense(l, n->in[i]);
        any |= densify[i];
    }
    const og_kernel *best = choose(l, n, densify), *now = any ? choose(l, n, as_is) : best;
    if (any && best && now != best) {
        to->n_nodes--; /* take the node back, copy its inputs, add it again; its outputs stay as
                          unused values */
        for (int i = 0; i < from->n_in; i++)
            if (densify[i])
                l->rw.map[from->in[i]] = copy_value(l, n->in[i]);
        if (!reserve(l, from->n_out) || !og_rewrite_copy(&l->rw, from))
            return;
        n = to->nodes[to->n_nodes - 1];
    } else if (!best) {
        best = now;
    }
    if (!best)
        og_node_fail(to, n, OG_UNSUPPORTED, "the device %s has no kernel for it", l->device->name);
    l->out->kernels[n->id] = best;
    for (int k = 0; k < n->n_out; k++)
        place_own(l, n->out[k]);
}

static void place_sources(layout_pass *l)
{
    og_graph *to = l->rw.to;
    for (int i = 0; i < to->n_values; i++)
        place_own(l, i);
}

/* An output or new state value must be dense memory that a node of this graph wrote. */
static int own_memory(layout_pass *l, int value, bool whole)
{
    const og_place *p = &l->out->places[value];
    const og_value *root = l->rw.to->values[p->root];
    if (root->kind == OG_VALUE_NODE && is_dense(l, value) && (!whole || p->root == value))
        return value;
    return copy_value(l, value);
}

og_graph *og_pass_layout(og_graph *g, const og_device *device, og_layouts *layouts)
{
    layout_pass l = {.device = device, .out = layouts, .copy = og_op_find(OG_DOMAIN, "Copy")};
    *layouts = (og_layouts){0};
    if (!og_rewrite_begin(&l.rw, g))
        return NULL;
    og_graph *to = l.rw.to;
    for (int i = 0; i < g->n_values;
         i++) /* constants now, so that every value has its place when it is made */
        if (g->values[i]->kind == OG_VALUE_CONST)
            og_rewrite_value(&l.rw, i);
    if (!reserve(&l, 1))
        return to;
    place_sources(&l);
    for (int i = 0; i < g->n_nodes && to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        if (!l.rw.live[i] || !reserve(&l, n->n_out))
            continue;
        og_node *copy = og_rewrite_copy(&l.rw, n);
        if (copy && !place_view(&l, copy))
            place_kernel(&l, n);
    }
    og_rewrite_end(&l.rw);
    for (int i = 0; i < to->n_outputs && to->error.status == OG_OK; i++)
        to->outputs[i].value = own_memory(&l, to->outputs[i].value, false);
    for (int i = 0; i < to->n_states && to->error.status == OG_OK; i++) {
        if (to->states[i].out < 0)
            continue;
        bool shared = false;
        for (int k = 0; k < i; k++)
            shared |= to->states[k].out == to->states[i].out;
        to->states[i].out =
            shared ? copy_value(&l, to->states[i].out) : own_memory(&l, to->states[i].out, true);
    }
    layouts->graph = to;
    return to;
}
