/* simplify: equal nodes become one, nodes that change nothing go, dead nodes go. Values keep their
 * meaning to the bit. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

typedef struct table { /* open addressing: hash of a node (or constant) → id + 1 */
    int *slots;
    size_t size; /* a power of two */
} table;

static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001B3ull; /* FNV-1a */
    return h;
}

static bool same_node(const og_node *a, const og_node *b)
{
    if (a->op != b->op || a->n_in != b->n_in || a->n_out != b->n_out || a->program != b->program ||
        memcmp(a->in, b->in, sizeof(int) * (size_t)a->n_in) != 0)
        return false;
    return og_node_same_attrs(a, b);
}

/* A node of the new graph equal to `n`, which was just added; else NULL, and n is entered. */
static const og_node *find_equal(table *t, const og_graph *g, const og_node *n)
{
    uint64_t h = mix(14695981039346656037ull, &n->op, sizeof(n->op));
    h = mix(h, n->in, sizeof(int) * (size_t)n->n_in);
    for (size_t i = h & (t->size - 1);; i = (i + 1) & (t->size - 1)) {
        if (!t->slots[i]) {
            t->slots[i] = n->id + 1;
            return NULL;
        }
        const og_node *m = g->nodes[t->slots[i] - 1];
        if (same_node(m, n))
            return m;
    }
}

/* Small constants of equal content become one value, so that nodes reading them compare equal. */
static void share_constant(table *t, og_rewrite *rw, int id)
{
    const og_value *v = rw->from->values[id];
    int64_t bytes = og_type_bytes(&v->type);
    if (rw->map[id] >= 0 || v->kind != OG_VALUE_CONST || bytes < 0 || bytes > 256)
        return;
    uint64_t h =
        mix(mix(14695981039346656037ull, &v->type, sizeof(v->type)), v->data, (size_t)bytes);
    for (size_t i = h & (t->size - 1);; i = (i + 1) & (t->size - 1)) {
        if (!t->slots[i]) {
            og_val c = og_rewrite_value(rw, id);
            if (c.g)
                t->slots[i] = c.id + 1;
            return;
        }
        const og_value *w = rw->to->values[t->slots[i] - 1];
        if (og_type_equal(&w->type, &v->type) && memcmp(w->data, v->data, (size_t)bytes) == 0) {
            rw->map[id] = w->id;
            return;
        }
    }
}

static bool is_scalar_constant(const og_value *v, double value)
{
    return v && v->kind == OG_VALUE_CONST && og_type_elements(&v->type) == 1 &&
           og_value_double(v, 0) == value;
}

/* Is it a Cast back to the half type that another widened? */
static bool restores(const og_graph *g, const og_node *n)
{
    const og_value *wide = g->values[n->in[0]];
    const og_node *cast = wide->producer;
    og_dtype to = g->values[n->out[0]]->type.dtype;
    return cast && wide->kind == OG_VALUE_NODE && og_op_is(n->op, NULL, "Cast") &&
           cast->op == n->op && (to == OG_FLOAT16 || to == OG_BFLOAT16) &&
           (wide->type.dtype == OG_FLOAT || wide->type.dtype == OG_DOUBLE) &&
           g->values[cast->in[0]]->type.dtype == to;
}

/* The input that the node merely passes on, or -1: Identity, casts and reshapes to the type it has,
 * x · 1, x / 1; or what a Cast to half undoes. */
static int passed_on(const og_graph *g, const og_node *n)
{
    static const char *const no_ops[] = {"Identity", "Cast",    "CastLike",  "Reshape", "Expand",
                                         "Squeeze",  "Flatten", "Unsqueeze", NULL};
    const og_value *x = og_graph_value(g, n->in[0]);
    const og_value *y = g->values[n->out[0]];
    if (n->n_in < 1 || !x || n->op->domain)
        return -1;
    for (int i = 0; no_ops[i]; i++)
        if (strcmp(n->op->name, no_ops[i]) == 0 && og_type_equal(&x->type, &y->type))
            return n->in[0];
    if (restores(g, n))
        return x->producer->in[0];
    if (n->n_in != 2 || (n->op->scalar != OG_SCALAR_Mul && n->op->scalar != OG_SCALAR_Div))
        return -1;
    const og_value *b = og_graph_value(g, n->in[1]);
    if (is_scalar_constant(b, 1) && og_type_equal(&x->type, &y->type))
        return n->in[0];
    if (n->op->scalar == OG_SCALAR_Mul && is_scalar_constant(x, 1) &&
        og_type_equal(&b->type, &y->type))
        return n->in[1];
    return -1;
}

og_graph *og_pass_simplify(og_graph *g)
{
    og_rewrite rw;
    table nodes = {.size = 64}, constants = {.size = 64};
    while (nodes.size < 2 * (size_t)g->n_nodes + 2)
        nodes.size *= 2;
    while (constants.size < 2 * (size_t)g->n_values + 2)
        constants.size *= 2;
    nodes.slots = og_arena_array(g->arena, nodes.size, sizeof(int));
    constants.slots = og_arena_array(g->arena, constants.size, sizeof(int));
    if (!nodes.slots || !constants.slots || !og_rewrite_begin(&rw, g))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        if (!rw.live[i])
            continue;
        int same = n->n_in ? passed_on(g, n) : -1;
        if (same >= 0) {
            og_rewrite_set(&rw, n->out[0], og_rewrite_value(&rw, same));
            continue;
        }
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] >= 0)
                share_constant(&constants, &rw, n->in[k]);
        const og_node *copy = og_rewrite_copy(&rw, n);
        const og_node *equal =
            copy && !(n->op->flags & OG_RANDOM) ? find_equal(&nodes, rw.to, copy) : NULL;
        for (int k = 0; equal && k < n->n_out; k++) /* the copy is left dead */
            og_rewrite_set(&rw, n->out[k], og_val_of(rw.to, equal->out[k]));
    }
    og_graph *merged = og_rewrite_end(&rw);
    if (merged->error.status != OG_OK || !og_rewrite_begin(&rw, merged))
        return merged;
    for (int i = 0; i < merged->n_nodes; i++)
        if (rw.live[i])
            og_rewrite_copy(&rw, merged->nodes[i]);
    return og_rewrite_end(&rw);
}
