/* Copying graphs (rewrite.h). */
#include "runtime/passes/rewrite.h"

#include "runtime/device/device.h"

bool og_node_keeps_order(const og_graph *g, const og_node *n)
{
    const og_value *in[8] = {0};
    if (!n->op->view || n->n_in < 1 || n->n_in > 8 || n->n_out != 1 || n->in[0] < 0)
        return false;
    for (int i = 0; i < n->n_in; i++)
        in[i] = og_graph_value(g, n->in[i]);
    const og_type *x = &in[0]->type, *y = &g->values[n->out[0]]->type;
    og_layout dense = {.offset = 0}, layout = {.offset = 0};
    og_strides_dense(x, dense.strides);
    if (og_type_elements(x) != og_type_elements(y) ||
        !n->op->view(n, 0, in, x, &dense, y, &layout) || layout.offset != 0)
        return false;
    og_tensor t = {.type = *y};
    for (int a = 0; a < y->rank; a++)
        t.strides[a] = layout.strides[a];
    return og_tensor_is_dense(&t);
}

bool og_node_swaps_last(const og_graph *g, const og_node *n)
{
    const int64_t *perm;
    int count = og_attr_ints(n, "perm", &perm), rank = g->values[n->out[0]]->type.rank;
    if (!og_op_is(n->op, NULL, "Transpose") || rank < 2 ||
        (count != rank && (count != 0 || rank != 2)))
        return false;
    for (int i = 0; i < count; i++)
        if (perm[i] != (i < rank - 2 ? i : 2 * rank - 3 - i))
            return false;
    return true;
}

bool *og_graph_live(og_graph *g)
{
    bool *live = og_arena_array(g->arena, (size_t)g->n_nodes + 1, sizeof(bool));
    bool *used = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    if (!live || !used) {
        og_fail_memory(&g->error, (size_t)g->n_values, "liveness");
        return NULL;
    }
    for (int i = 0; i < g->n_outputs; i++)
        used[g->outputs[i].value] = true;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out >= 0)
            used[g->states[i].out] = true;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const og_node *n = g->nodes[i];
        for (int k = 0; k < n->n_out;
             k++) /* a folded output is a constant: nothing has to compute it */
            live[i] |= used[n->out[k]] && g->values[n->out[k]]->kind == OG_VALUE_NODE;
        for (int k = 0; live[i] && k < n->n_in; k++)
            if (n->in[k] >= 0)
                used[n->in[k]] = true;
    }
    return live;
}

bool og_rewrite_begin(og_rewrite *rw, og_graph *from)
{
    og_graph *to = og_graph_new_in(from->arena);
    *rw = (og_rewrite){.from = from, .to = to, .position = {NULL, -1}};
    rw->live = og_graph_live(from);
    rw->map = og_arena_array(from->arena, (size_t)from->n_values + 1, sizeof(int));
    if (!to || !rw->map || !rw->live) {
        og_fail_memory(&from->error, sizeof(int) * (size_t)from->n_values, "a pass");
        return false;
    }
    to->name = from->name;
    to->symbols = from->symbols;
    to->n_symbols = from->n_symbols;
    to->metadata = from->metadata;
    to->n_metadata = from->n_metadata;
    for (int i = 0; i < from->n_values; i++)
        rw->map[i] = -1;
    for (int i = 0; i < from->n_inputs; i++) {
        const og_value *v = from->values[from->inputs[i]];
        rw->map[v->id] = og_graph_add_input(to, v->name, &v->type).id;
    }
    for (int i = 0; i < from->n_states; i++) {
        const og_value *v = from->values[from->states[i].in];
        rw->map[v->id] = og_graph_add_state(to, v->name, &v->type, v->storage, v->data).id;
    }
    return to->error.status == OG_OK;
}

og_val og_rewrite_value(og_rewrite *rw, int id)
{
    if (id < 0)
        return (og_val){NULL, -1};
    const og_value *v = rw->from->values[id];
    if (rw->map[id] < 0 && v->kind == OG_VALUE_CONST)
        rw->map[id] = og_graph_add_const(rw->to, v->name, &v->type, v->data).id;
    return og_val_of(rw->to, rw->map[id]);
}

void og_rewrite_set(og_rewrite *rw, int id, og_val v)
{
    if (id >= 0 && v.g)
        rw->map[id] = v.id;
}

/* Names given by the user stay with the values. */
static void keep_name(og_rewrite *rw, int id)
{
    const char *name = rw->from->values[id]->name;
    og_value *v = og_graph_value(rw->to, rw->map[id]);
    if (v && v->kind == OG_VALUE_NODE && !*v->name)
        v->name = name;
}

og_node *og_rewrite_copy(og_rewrite *rw, const og_node *n)
{
    og_graph *to = rw->to;
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    og_type *types = og_arena_array(to->arena, (size_t)n->n_out + 1, sizeof(og_type));
    if (!in || !types) {
        og_fail_memory(&to->error, sizeof(og_type), "a pass");
        return NULL;
    }
    for (int i = 0; i < n->n_in; i++)
        in[i] = og_rewrite_value(rw, n->in[i]).id;
    for (int i = 0; i < n->n_out; i++)
        types[i] = rw->from->values[n->out[i]]->type;
    to->origin = n->origin;
    og_node *copy = og_graph_add_typed_node(to, n->op, n->name, in, n->n_in, types, n->n_out,
                                            n->attrs, n->n_attrs);
    if (!copy)
        return NULL;
    copy->program = n->program;
    for (int i = 0; i < n->n_out; i++) {
        rw->map[n->out[i]] = copy->out[i];
        keep_name(rw, n->out[i]);
    }
    return copy;
}

static void expand_by(og_rewrite *rw, const og_node *n, og_expand_fn *rule)
{
    og_graph *to = rw->to;
    size_t nx = (size_t)n->n_in + 1, ny = (size_t)n->n_out + 1;
    og_val *x = og_arena_array(to->arena, nx, sizeof(og_val));
    og_val *y = og_arena_array(to->arena, ny, sizeof(og_val));
    bool *want = og_arena_array(to->arena, ny, sizeof(bool));
    if (!x || !y || !want) {
        og_fail_memory(&to->error, nx * sizeof(og_val), "a pass");
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        x[i] = og_rewrite_value(rw, n->in[i]);
    for (int i = 0; i < n->n_out; i++) {
        y[i] = (og_val){NULL, -1};
        want[i] = true;
    }
    og_expand e = {.g = to, .node = n, .nx = n->n_in, .ny = n->n_out, .x = x, .y = y, .want = want};
    if (n->op->flags & OG_RANDOM) {
        e.position = rw->position;
        e.key = rw->next_key++;
        if (!e.position.g && rule == n->op->expand) {
            og_node_fail(to, n, OG_UNSUPPORTED, "is random, and nothing says where in a run it is");
            return;
        }
    }
    to->origin = n->origin;
    rule(&e);
    for (int i = 0; i < n->n_out; i++) {
        if (!y[i].g) {
            if (to->error.status == OG_OK)
                og_node_fail(to, n, OG_INTERNAL, "its definition leaves output %d undefined", i);
            return;
        }
        if (!og_type_equal(og_type_of(y[i]), &rw->from->values[n->out[i]]->type)) {
            char a[160], b[160];
            og_node_fail(to, n, OG_INTERNAL, "its definition gives %s, inference %s",
                         og_type_text(a, to, og_type_of(y[i])),
                         og_type_text(b, to, &rw->from->values[n->out[i]]->type));
            return;
        }
        rw->map[n->out[i]] = y[i].id;
        keep_name(rw, n->out[i]);
    }
}

void og_rewrite_expand(og_rewrite *rw, const og_node *n)
{
    expand_by(rw, n, n->op->expand);
}

void og_rewrite_evaluate(og_rewrite *rw, const og_node *n)
{
    expand_by(rw, n, n->op->evaluate);
}

og_graph *og_rewrite_end(og_rewrite *rw)
{
    og_graph *to = rw->to;
    for (int i = 0; i < rw->from->n_outputs; i++)
        og_graph_add_output(to, rw->from->outputs[i].name,
                            og_rewrite_value(rw, rw->from->outputs[i].value));
    for (int i = 0; i < rw->from->n_states; i++)
        to->states[i].out = og_rewrite_value(rw, rw->from->states[i].out).id;
    return to;
}
