/* infer: a loaded graph with the types of its inputs bound → a typed graph without shape
 * arithmetic.
 *
 * Nodes are re-added one by one with inference on. A node whose inputs are all constants is
 * evaluated and becomes constants; so does one that only reads shapes. A node that fails is noted,
 * its outputs are poisoned, and what depends on them is passed over in silence: one report lists
 * the causes, not their consequences. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

#define MAX_FOLDED_BYTES ((int64_t)1 << 28) /* a larger result stays a node */

typedef struct infer {
    const og_graph *from;
    og_graph *to;
    const og_binding *binding;
    og_evaluator evaluator;
    int *map; /* value of from → value of to; -1 absent, POISONED */
    og_error report;
    int problems;
} infer;

enum { POISONED = -2 };

static void note_problem(infer *f)
{
    og_error *e = &f->to->error;
    if (f->problems++ < 50)
        og_fail_also(&f->report, e->status, "%s", og_error_text(e));
    og_error_clear(e);
}

/* Op Constant: its attribute is its value. */
static og_val constant_value(og_graph *g, const og_node *n)
{
    for (int i = 0; i < n->n_attrs; i++) {
        const og_attr *a = &n->attrs[i];
        int64_t dim = a->n;
        og_type floats = og_type_make(OG_FLOAT, 1, &dim);
        switch (a->kind) {
        case OG_ATTR_TENSOR:
            return og_graph_add_const(g, "", &a->t->type, a->t->data);
        case OG_ATTR_FLOAT:
            return og_const_double(g, OG_FLOAT, a->f);
        case OG_ATTR_INT:
            return og_const_int(g, a->i);
        case OG_ATTR_INTS:
            return og_const_ints(g, a->n, a->ints);
        case OG_ATTR_FLOATS: {
            float *f = og_arena_array(g->arena, (size_t)a->n + 1, sizeof(float));
            if (!f) {
                og_fail_memory(&g->error, (size_t)a->n, "a constant");
                return OG_NONE;
            }
            for (int k = 0; k < a->n; k++)
                f[k] = (float)a->floats[k];
            return og_graph_add_const(g, "", &floats, f);
        }
        default:
            break;
        }
    }
    og_node_fail(g, n, OG_UNSUPPORTED, "has no numeric value");
    return OG_NONE;
}

/* Is everything the node reads known? Of some inputs it reads the type alone. */
static bool all_constant(const og_graph *g, const og_node *n)
{
    for (int i = 0; i < n->n_in; i++) {
        const og_value *v = og_graph_value(g, n->in[i]);
        bool type_only = i < 8 && n->op->type_only >> i & 1;
        if (v && v->kind != OG_VALUE_CONST && !type_only)
            return false;
    }
    return true;
}

static bool is_small(const og_graph *g, const og_node *n)
{
    for (int i = 0; i < n->n_out; i++)
        if (og_type_bytes(&g->values[n->out[i]]->type) > MAX_FOLDED_BYTES)
            return false;
    return true;
}

/* The batch baked in by an export: a constant shape [k·baked, …] of Reshape or Expand becomes
 * [k·batch, …] where the shape as it stands does not fit. */
static void free_baked_batch(infer *f, const og_node *n, int *in)
{
    const og_binding *b = f->binding;
    bool reshape = og_op_is(n->op, NULL, "Reshape"), expand = og_op_is(n->op, NULL, "Expand");
    if (b->baked_batch <= 0 || b->batch == b->baked_batch || (!reshape && !expand) || n->n_in < 2)
        return;
    const og_value *x = og_graph_value(f->to, in[0]), *shape = og_graph_value(f->to, in[1]);
    int64_t dims[OG_MAX_RANK], count = 1;
    int rank = og_value_ints(shape, OG_MAX_RANK, dims);
    if (rank < 1 || dims[0] <= 0 || !x || x->type.rank < 1 || dims[0] % b->baked_batch != 0)
        return;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return;
        count *= i < x->type.rank && dims[i] == 0 ? x->type.dims[i] : dims[i];
    }
    bool misfit = reshape
                      ? count != og_type_elements(&x->type)
                      : x->type.rank == rank && x->type.dims[0] != 1 && x->type.dims[0] != dims[0];
    if (!misfit)
        return;
    dims[0] = dims[0] / b->baked_batch * b->batch;
    in[1] = og_const_ints(f->to, rank, dims).id;
}

static void add_node(infer *f, const og_node *n)
{
    og_graph *g = f->to;
    int in[256];
    bool poisoned = n->n_in > 256;
    for (int i = 0; i < n->n_in && !poisoned; i++) {
        in[i] = n->in[i] < 0 ? -1 : f->map[n->in[i]];
        poisoned = in[i] == POISONED;
    }
    for (int i = 0; i < n->n_out; i++)
        f->map[n->out[i]] = POISONED;
    if (n->n_in > 256)
        og_node_fail(g, n, OG_UNSUPPORTED, "has %d inputs, more than 256", n->n_in);
    if (poisoned) {
        if (g->error.status != OG_OK)
            note_problem(f);
        return;
    }
    g->origin = n->origin;
    if (og_op_is(n->op, NULL, "Constant")) {
        og_val v = constant_value(g, n);
        if (g->error.status != OG_OK)
            note_problem(f);
        else
            f->map[n->out[0]] = v.id;
        return;
    }
    free_baked_batch(f, n, in);
    og_node *copy =
        og_graph_add_node(g, n->op, n->name, in, n->n_in, n->n_out, n->attrs, n->n_attrs);
    if (!copy || g->error.status != OG_OK) {
        note_problem(f);
        return;
    }
    if (!(n->op->flags & OG_RANDOM) && all_constant(g, copy) && is_small(g, copy) &&
        f->evaluator.run)
        f->evaluator.run(f->evaluator.user, g, copy);
    if (g->error.status != OG_OK) {
        note_problem(f);
        return;
    }
    for (int i = 0; i < n->n_out; i++) {
        f->map[n->out[i]] = copy->out[i];
        og_value *v = g->values[copy->out[i]];
        if (!*v->name)
            v->name = f->from->values[n->out[i]]->name;
    }
}

/* Inputs, states and constants, in the loaded graph's order. */
static void bind_values(infer *f)
{
    const og_graph *from = f->from;
    const og_binding *b = f->binding;
    for (int i = 0; i < from->n_values; i++)
        f->map[i] = -1;
    for (int i = 0; i < from->n_inputs; i++) {
        int id = from->inputs[i];
        const og_const *over = b->overrides && b->overrides[id].data ? &b->overrides[id] : NULL;
        const char *name = from->values[id]->name;
        f->map[id] = over ? og_graph_add_const(f->to, name, &over->type, over->data).id
                          : og_graph_add_input(f->to, name, &b->inputs[i]).id;
    }
    for (int i = 0; i < from->n_values; i++) {
        const og_value *v = from->values[i];
        if (v->kind != OG_VALUE_CONST)
            continue;
        const og_const *over = b->overrides && b->overrides[i].data ? &b->overrides[i] : NULL;
        const og_type *type = over ? &over->type : &v->type;
        const void *data = over ? over->data : v->data;
        if (b->storage && b->storage[i] >= 0)
            f->map[i] = og_graph_add_state(f->to, v->name, type, b->storage[i], data).id;
        else
            f->map[i] = og_graph_add_const(f->to, v->name, type, data).id;
    }
}

og_graph *og_pass_infer(const og_graph *loaded, const og_binding *binding, og_evaluator evaluator,
                        og_arena *arena)
{
    og_graph *to = og_graph_new_in(arena);
    infer f = {.from = loaded, .to = to, .binding = binding, .evaluator = evaluator};
    f.map = og_arena_array(arena, (size_t)loaded->n_values + 1, sizeof(int));
    if (!to || !f.map)
        return NULL;
    to->name = loaded->name;
    to->metadata = loaded->metadata;
    to->n_metadata = loaded->n_metadata;
    bind_values(&f);
    for (int i = 0; i < loaded->n_nodes && to->error.status != OG_OUT_OF_MEMORY; i++)
        add_node(&f, loaded->nodes[i]);
    for (int i = 0; i < loaded->n_outputs; i++)
        if (f.map[loaded->outputs[i].value] >= 0)
            og_graph_add_output(to, loaded->outputs[i].name,
                                (og_val){to, f.map[loaded->outputs[i].value]});
    for (int i = 0; binding->values && i < loaded->n_values; i++)
        binding->values[i] = f.map[i];
    if (f.problems > 50)
        og_fail_also(&f.report, OG_INVALID_MODEL, "… and %d more", f.problems - 50);
    og_error_move(&to->error, &f.report);
    return to;
}
