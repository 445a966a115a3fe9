/* infer: a loaded graph with the types of its inputs bound → a typed graph without shape
 * arithmetic, control flow and sequences.
 *
 * Nodes are re-added one by one with inference on. A node whose inputs are all constants is
 * evaluated and becomes constants; so does one that only reads shapes. Rows with `resolve` replace
 * their nodes: branches and loop bodies are added in place, sequences live in the map alone. A node
 * that fails is noted, its outputs are poisoned, and what depends on them is passed over in
 * silence: one report lists the causes, not their consequences. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

#define MAX_FOLDED_BYTES ((int64_t)1 << 28) /* a larger result stays a node */
#define MAX_UNROLLED (1 << 20)              /* nodes that bodies add in all */
#define MAX_BODY_DEPTH 32

/* What the graphs of one pass share. */
typedef struct shared {
    const og_binding *binding;
    og_evaluator evaluator;
    og_error report;
    int problems;
    int64_t unrolled;
} shared;

typedef struct infer {
    const og_graph *from;
    og_graph *to;
    shared *all;
    int depth;    /* of bodies */
    og_item *map; /* by value of `from` */
} infer;

enum { POISONED = -2 }; /* the `n` of a poisoned item */

static og_item item_of(og_graph *g, int id)
{
    return (og_item){.v = og_val_of(g, id)};
}

static void note_problem(infer *f)
{
    og_error *e = &f->to->error;
    if (f->all->problems++ < 50)
        og_fail_also(&f->all->report, e->status, "%s", og_error_text(e));
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
    const og_binding *b = f->all->binding;
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

/* Evaluates the nodes from `first` on that only read constants. */
static void fold_from(infer *f, int first)
{
    og_graph *g = f->to;
    for (int i = first, end = g->n_nodes; i < end && g->error.status == OG_OK; i++) {
        og_node *n = g->nodes[i];
        if (!(n->op->flags & OG_RANDOM) && g->values[n->out[0]]->kind == OG_VALUE_NODE &&
            all_constant(g, n) && is_small(g, n) && f->all->evaluator.run)
            f->all->evaluator.run(f->all->evaluator.user, g, n);
    }
}

static void add_node(infer *f, const og_node *n);

static bool run_body(og_resolve *r, const og_graph *body, int n_in, const og_item *in, int n_out,
                     og_item *out)
{
    infer *f = r->user;
    og_graph *g = f->to;
    if (!body || body->n_inputs != n_in || body->n_outputs != n_out)
        return og_node_fail(g, r->node, OG_INVALID_MODEL,
                            "its graph takes %d values and gives %d, expected %d and %d",
                            body ? body->n_inputs : 0, body ? body->n_outputs : 0, n_in, n_out);
    f->all->unrolled += body->n_nodes + 1;
    if (f->all->unrolled > MAX_UNROLLED || f->depth >= MAX_BODY_DEPTH)
        return og_node_fail(g, r->node, OG_UNSUPPORTED,
                            "control flow unrolls to more than %d nodes or %d levels", MAX_UNROLLED,
                            MAX_BODY_DEPTH);
    infer inner = {.from = body, .to = g, .all = f->all, .depth = f->depth + 1};
    inner.map = og_arena_array(g->arena, (size_t)body->n_values + 1, sizeof(og_item));
    if (!inner.map) {
        og_fail_memory(&g->error, sizeof(og_item), "control flow");
        return false;
    }
    for (int i = 0; i < body->n_values; i++)
        if (body->values[i]->kind == OG_VALUE_CONST)
            inner.map[i] = item_of(
                g, og_graph_add_const(g, "", &body->values[i]->type, body->values[i]->data).id);
    for (int i = 0; i < n_in; i++)
        inner.map[body->inputs[i]] = in[i];
    for (int i = 0; i < body->n_nodes && g->error.status != OG_OUT_OF_MEMORY; i++)
        add_node(&inner, body->nodes[i]);
    bool good = true;
    for (int i = 0; i < n_out; i++) {
        out[i] = inner.map[body->outputs[i].value];
        good &= out[i].n != POISONED;
    }
    return good;
}

/* By the row's `resolve`; true if the node is done with, whether it failed or not. */
static bool resolve(infer *f, const og_node *n)
{
    og_graph *g = f->to;
    int problems = f->all->problems, first = g->n_nodes;
    og_item *x = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(og_item));
    og_item *y = og_arena_array(g->arena, (size_t)n->n_out + 1, sizeof(og_item));
    og_resolve r = {.g = g,
                    .node = n,
                    .nx = n->n_in,
                    .ny = n->n_out,
                    .x = x,
                    .y = y,
                    .run = run_body,
                    .user = f};
    if (!x || !y) {
        og_fail_memory(&g->error, sizeof(og_item), "control flow");
        return true;
    }
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            x[i] = f->map[n->in[i]];
    bool resolved = n->op->resolve(&r);
    if (resolved)
        fold_from(f, first);
    if (g->error.status != OG_OK)
        note_problem(f);
    if (f->all->problems != problems)
        return true;
    for (int i = 0; resolved && i < n->n_out; i++) {
        f->map[n->out[i]] = y[i];
        og_value *v = y[i].v.g ? og_value_of(y[i].v) : NULL;
        if (v && v->kind == OG_VALUE_NODE && !*v->name && f->depth == 0)
            v->name = f->from->values[n->out[i]]->name;
    }
    return resolved;
}

static void add_node(infer *f, const og_node *n)
{
    og_graph *g = f->to;
    int in[256] = {0}, sequence = -1;
    bool poisoned = n->n_in > 256;
    for (int i = 0; i < n->n_in && !poisoned; i++) {
        const og_item *x = n->in[i] < 0 ? NULL : &f->map[n->in[i]];
        in[i] = x && x->v.g ? x->v.id : -1;
        poisoned = x && x->n == POISONED;
        sequence = x && x->sequence ? i : sequence;
    }
    for (int i = 0; i < n->n_out; i++)
        f->map[n->out[i]] = (og_item){.n = POISONED};
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
            f->map[n->out[0]] = item_of(g, v.id);
        return;
    }
    if (n->op->resolve && resolve(f, n))
        return;
    if (sequence >= 0) {
        og_node_fail(g, n, OG_UNSUPPORTED, "input %d is a sequence, expected a tensor", sequence);
        note_problem(f);
        return;
    }
    free_baked_batch(f, n, in);
    int first = g->n_nodes;
    og_node *copy =
        og_graph_add_node(g, n->op, n->name, in, n->n_in, n->n_out, n->attrs, n->n_attrs);
    if (!copy || g->error.status != OG_OK) {
        note_problem(f);
        return;
    }
    fold_from(f, first);
    if (g->error.status != OG_OK) {
        note_problem(f);
        return;
    }
    for (int i = 0; i < n->n_out; i++) {
        f->map[n->out[i]] = item_of(g, copy->out[i]);
        og_value *v = g->values[copy->out[i]];
        if (!*v->name && f->depth == 0)
            v->name = f->from->values[n->out[i]]->name;
    }
}

static og_val aligned_constant(og_graph *g, const char *name, const og_type *type, const void *data)
{
    const void *aligned = og_type_align(type, data, g->arena);
    if (data && !aligned)
        og_fail_memory(&g->error, (size_t)og_type_bytes(type), "a constant");
    return og_graph_add_const(g, name, type, aligned);
}

/* Inputs, states and constants, in the loaded graph's order. */
static void bind_values(infer *f)
{
    const og_graph *from = f->from;
    const og_binding *b = f->all->binding;
    for (int i = 0; i < from->n_inputs; i++) {
        int id = from->inputs[i];
        const og_const *over = b->overrides && b->overrides[id].data ? &b->overrides[id] : NULL;
        const char *name = from->values[id]->name;
        f->map[id].v = over ? og_graph_add_const(f->to, name, &over->type, over->data)
                            : og_graph_add_input(f->to, name, &b->inputs[i]);
    }
    for (int i = 0; i < from->n_values; i++) {
        const og_value *v = from->values[i];
        if (v->kind != OG_VALUE_CONST)
            continue;
        const og_const *over = b->overrides && b->overrides[i].data ? &b->overrides[i] : NULL;
        const og_type *type = over ? &over->type : &v->type;
        const void *data = over ? over->data : v->data;
        if (b->storage && b->storage[i] >= 0)
            f->map[i].v = og_graph_add_state(f->to, v->name, type, b->storage[i], data);
        else
            f->map[i].v = aligned_constant(f->to, v->name, type, data);
    }
}

og_graph *og_pass_infer(const og_graph *loaded, const og_binding *binding, og_evaluator evaluator,
                        og_arena *arena)
{
    og_graph *to = og_graph_new_in(arena);
    shared all = {.binding = binding, .evaluator = evaluator};
    infer f = {.from = loaded, .to = to, .all = &all};
    f.map = og_arena_array(arena, (size_t)loaded->n_values + 1, sizeof(og_item));
    if (!to || !f.map)
        return NULL;
    to->name = loaded->name;
    to->metadata = loaded->metadata;
    to->n_metadata = loaded->n_metadata;
    bind_values(&f);
    for (int i = 0; i < loaded->n_nodes && to->error.status != OG_OUT_OF_MEMORY; i++)
        add_node(&f, loaded->nodes[i]);
    for (int i = 0; i < loaded->n_outputs; i++) {
        const og_item *y = &f.map[loaded->outputs[i].value];
        if (y->v.g) {
            og_graph_add_output(to, loaded->outputs[i].name, y->v);
        } else if (y->n != POISONED) {
            og_fail(&to->error, OG_UNSUPPORTED, "output \"%s\" is a sequence or an empty optional",
                    loaded->outputs[i].name);
            note_problem(&f);
        }
    }
    for (int i = 0; binding->values && i < loaded->n_values; i++)
        binding->values[i] = f.map[i].v.g             ? f.map[i].v.id
                             : f.map[i].n == POISONED ? OG_VALUE_FAILED
                                                      : OG_VALUE_RESOLVED;
    if (all.problems > 50)
        og_fail_also(&all.report, OG_INVALID_MODEL, "… and %d more", all.problems - 50);
    og_error_move(&to->error, &all.report);
    return to;
}
