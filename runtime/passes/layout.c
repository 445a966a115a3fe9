/* layout: where every value lies and which kernel runs every node.
 *
 * A node whose row has a view rule makes no new memory if the rule allows it. Another node gets the
 * best kernel for dense inputs; where that kernel does not take the layouts its inputs have, `Copy`
 * nodes make them dense. Images of a region that is faster channels-last (channels.h) are made so,
 * and copied where they come from outside. Outputs and new state values get dense memory of their
 * own. */
#include "runtime/passes/channels.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

typedef enum form { AS_IT_LIES, DENSE, CHANNELS_LAST, FORMS } form;

enum { MOST_INPUTS = 256 }; /* of one node */

typedef struct layout_pass {
    og_rewrite rw;
    const og_device *device;
    og_layouts *out;
    og__channels channels; /* of the graph that is read */
    int (*copies)[FORMS];  /* by value of the new graph: the number of a copy in that form + 1 */
    size_t capacity;       /* of places, kernels and copies */
    const og_op *copy;
} layout_pass;

static og_tensor tensor_at(const og_value *v, const og_place *p)
{
    og_tensor t =
        og_tensor_dense(&v->type, v->kind == OG_VALUE_CONST ? (void *)(uintptr_t)v->data : NULL);
    for (int i = 0; i < v->type.rank; i++)
        t.strides[i] = p->layout.strides[i];
    t.offset = og_layout_misaligned(&p->layout, v->type.dtype);
    return t;
}

static void set_strides(const og_type *type, form f, int64_t *strides)
{
    if (f == DENSE)
        og_strides_dense(type, strides);
    else if (f == CHANNELS_LAST)
        og_strides_channels_last(type, strides);
}

static void place_own(layout_pass *l, int value, form f)
{
    og_place *p = &l->out->places[value];
    p->root = value;
    p->layout.offset = 0;
    set_strides(&l->rw.to->values[value]->type, f, p->layout.strides);
}

static bool lies(const layout_pass *l, int value, form f)
{
    og_tensor t = tensor_at(l->rw.to->values[value], &l->out->places[value]);
    return f == AS_IT_LIES ||
           (f == DENSE ? og_tensor_is_dense(&t) : og_tensor_is_channels_last(&t));
}

/* The kernel for a node of either graph, whose inputs are the new graph's values in[] in the given
 * forms; outputs of types y in forms out[]. */
static const og_kernel *choose(layout_pass *l, const og_node *n, const int *in, const form *forms,
                               const og_type *const *y, const form *out)
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
        const og_value *v = og_graph_value(to, in[i]);
        if (!v)
            continue;
        call.x[i] = tensor_at(v, &l->out->places[v->id]);
        set_strides(&v->type, forms[i], call.x[i].strides);
        if (!lies(l, v->id, forms[i]))
            call.x[i].offset = 0; /* it will be copied */
    }
    for (int i = 0; i < n->n_out; i++) {
        call.y[i] = og_tensor_dense(y[i], NULL);
        set_strides(y[i], out[i], call.y[i].strides);
    }
    return og_device_kernel(l->device, &call, false);
}

/* Room for one more node with `n_out` outputs. */
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
    int(*copies)[FORMS] = og_arena_array(to->arena, capacity, sizeof(*copies));
    if (!places || !kernels || !copies) {
        og_fail_memory(&l->rw.to->error, capacity * sizeof(og_place), "the layout pass");
        return false;
    }
    for (size_t i = 0; i < l->capacity; i++) {
        places[i] = l->out->places[i];
        kernels[i] = l->out->kernels[i];
        for (int f = 0; f < FORMS; f++)
            copies[i][f] = l->copies[i][f];
    }
    l->out->places = places;
    l->out->kernels = kernels;
    l->copies = copies;
    l->capacity = capacity;
    return true;
}

/* A copy of a value of the new graph, in memory of its own. */
static int copy_value(layout_pass *l, int value, form f)
{
    og_graph *to = l->rw.to;
    const og_type *type = &to->values[value]->type;
    const form as_it_lies = AS_IT_LIES;
    if (!reserve(l, 1))
        return value;
    og_node *n = og_graph_add_typed_node(to, l->copy, "", &value, 1, type, 1, NULL, 0);
    if (!n)
        return value;
    place_own(l, n->out[0], f);
    l->out->kernels[n->id] = choose(l, n, n->in, &as_it_lies, &type, &f);
    if (!l->out->kernels[n->id])
        og_node_fail(to, n, OG_INTERNAL, "the device %s cannot copy", l->device->name);
    return n->out[0];
}

/* The value in the given form: itself, or a copy, made once. */
static int in_form(layout_pass *l, int value, form f)
{
    if (value < 0 || lies(l, value, f))
        return value;
    if (!l->copies[value][f]) {
        int made = copy_value(l, value, f) + 1;
        l->copies[value][f] = made;
    }
    return l->copies[value][f] - 1;
}

/* If the node can be a view, its outputs' places are set. */
static bool place_view(layout_pass *l, const og_node *from)
{
    og_graph *to = l->rw.to;
    const og_value **in = og_arena_array(to->arena, (size_t)from->n_in + 1, sizeof(*in));
    og_layout *y = og_arena_array(to->arena, (size_t)from->n_out + 1, sizeof(*y));
    if (!from->op->view || from->n_in < 1 || from->in[0] < 0 || !in || !y)
        return false;
    for (int i = 0; i < from->n_in; i++)
        in[i] = og_graph_value(to, og_rewrite_value(&l->rw, from->in[i]).id);
    const og_place x = l->out->places[in[0]->id];
    for (int k = 0; k < from->n_out; k++)
        if (!from->op->view(from, k, in, &in[0]->type, &x.layout,
                            &l->rw.from->values[from->out[k]]->type, &y[k]))
            return false;
    const og_node *n = og_rewrite_copy(&l->rw, from);
    for (int k = 0; n && k < n->n_out; k++)
        l->out->places[n->out[k]] = (og_place){x.root, y[k]};
    if (n)
        l->out->kernels[n->id] = NULL;
    return true;
}

/* Give the node a kernel, after copies of inputs if need be. */
static void place_kernel(layout_pass *l, const og_node *from)
{
    const og_graph *g = l->rw.from;
    og_graph *to = l->rw.to;
    bool region = l->channels.nodes[from->id], any = false;
    if (from->n_in > MOST_INPUTS) {
        og_node_fail(to, from, OG_UNSUPPORTED, "has %d inputs, more than %d", from->n_in,
                     MOST_INPUTS);
        return;
    }
    int in[MOST_INPUTS] = {0};
    form copied[MOST_INPUTS] = {AS_IT_LIES}, as_is[MOST_INPUTS] = {AS_IT_LIES};
    form *out = og_arena_array(to->arena, (size_t)from->n_out + 1, sizeof(form));
    const og_type **types = og_arena_array(to->arena, (size_t)from->n_out + 1, sizeof(*types));
    if (!out || !types) {
        og_fail_memory(&to->error, sizeof(form), "the layout pass");
        return;
    }
    for (int i = 0; i < from->n_in; i++) {
        bool image = region && og__image_in(g, from, i);
        in[i] = og_rewrite_value(&l->rw, from->in[i]).id;
        as_is[i] = image ? CHANNELS_LAST : AS_IT_LIES;
        copied[i] = image ? CHANNELS_LAST : DENSE;
        any |= !image && in[i] >= 0 && !lies(l, in[i], DENSE);
    }
    for (int k = 0; k < from->n_out; k++) {
        types[k] = &g->values[from->out[k]]->type;
        out[k] = region && og__image_out(g, from, k) ? CHANNELS_LAST : DENSE;
    }
    const og_kernel *best = choose(l, from, in, copied, types, out);
    const og_kernel *now = any ? choose(l, from, in, as_is, types, out) : best;
    const form *forms = best && now != best ? copied : as_is;
    if (!best)
        best = now;
    to->origin = from->origin; /* of copies, too */
    for (int i = 0; i < from->n_in; i++) {
        in[i] = in_form(l, in[i], forms[i]);
        if (forms[i] == DENSE && from->in[i] >= 0 && !l->channels.values[from->in[i]])
            l->rw.map[from->in[i]] = in[i]; /* for later readers too */
    }
    og_node *n = reserve(l, from->n_out) ? og_rewrite_copy(&l->rw, from) : NULL;
    if (!n)
        return;
    if (!best)
        og_node_fail(to, n, OG_UNSUPPORTED, "the device %s has no kernel for it", l->device->name);
    for (int i = 0; i < n->n_in; i++)
        n->in[i] = in[i];
    l->out->kernels[n->id] = best;
    for (int k = 0; k < n->n_out; k++)
        place_own(l, n->out[k], out[k]);
}

static void place_sources(layout_pass *l)
{
    og_graph *to = l->rw.to;
    for (int i = 0; i < to->n_values; i++)
        place_own(l, i, DENSE);
}

/* An output or new state value must be dense memory that a node of this graph wrote. */
static int own_memory(layout_pass *l, int value, bool whole)
{
    const og_place *p = &l->out->places[value];
    const og_value *root = l->rw.to->values[p->root];
    if (root->kind == OG_VALUE_NODE && lies(l, value, DENSE) && (!whole || p->root == value))
        return value;
    return copy_value(l, value, DENSE);
}

/* What a view that is all of a node's result, element for element, views; the value itself
 * otherwise. A state may be that result, whatever its dims. */
static int viewed_whole(const layout_pass *l, int value)
{
    const og_place *p = &l->out->places[value];
    const og_value *v = l->rw.to->values[value], *root = l->rw.to->values[p->root];
    bool whole = root->kind == OG_VALUE_NODE && p->layout.offset == 0 &&
                 v->type.dtype == root->type.dtype &&
                 og_type_elements(&v->type) == og_type_elements(&root->type) &&
                 lies(l, value, DENSE) && lies(l, p->root, DENSE);
    return whole ? p->root : value;
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
    if (!og__channels_find(g, l.rw.live, device, to->arena, &l.channels)) {
        og_fail_memory(&to->error, (size_t)g->n_values, "the layout pass");
        return to;
    }
    place_sources(&l);
    for (int i = 0; i < g->n_nodes && to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        if (!l.rw.live[i] || !reserve(&l, n->n_out))
            continue;
        if (!place_view(&l, n))
            place_kernel(&l, n);
    }
    og_rewrite_end(&l.rw);
    for (int i = 0; i < to->n_outputs && to->error.status == OG_OK; i++)
        to->outputs[i].value = own_memory(&l, to->outputs[i].value, false);
    for (int i = 0; i < to->n_states && to->error.status == OG_OK; i++) {
        if (to->states[i].out < 0)
            continue;
        int out = viewed_whole(&l, to->states[i].out);
        bool shared = false;
        for (int k = 0; k < i; k++)
            shared |= to->states[k].out == out;
        to->states[i].out =
            shared ? copy_value(&l, to->states[i].out, DENSE) : own_memory(&l, out, true);
    }
    layouts->graph = to;
    return to;
}
