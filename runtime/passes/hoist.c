/* hoist: what depends on weights alone goes first, and is marked (OG_ROLE_WEIGHTS), so that a plan
 * can run it once an update and keep it for all micro-batches: transposed, joined and normalized
 * weights, casts of them, and what gradients compute of weights.
 *
 * A node is hoisted if all it reads are weights, constants, and what hoisted nodes make of them. It
 * is not if it is random, or if its result is larger than what it reads: that is rather made anew
 * than kept. What it makes for an output or a state is written at each run, so it stays, too. */
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

enum { SMALL = 4096 }; /* bytes that are never too many */

typedef struct hoist {
    og_rewrite rw;
    const og_graph *g;
    bool *hoisted;  /* by node */
    bool *steady;   /* by value: the same until weights change */
    bool *leaves;   /* by value: an output, or a state's new content */
    int64_t *bytes; /* by value: in memory; of a view what it is a view of, or less */
} hoist;

static bool find_steady(hoist *h, const og_storages *storages)
{
    const og_graph *g = h->g;
    size_t values = (size_t)g->n_values + 1;
    h->hoisted = og_arena_array(g->arena, (size_t)g->n_nodes + 1, sizeof(bool));
    h->steady = og_arena_array(g->arena, values, sizeof(bool));
    h->leaves = og_arena_array(g->arena, values, sizeof(bool));
    h->bytes = og_arena_array(g->arena, values, sizeof(int64_t));
    if (!h->hoisted || !h->steady || !h->leaves || !h->bytes)
        return false;
    for (int v = 0; v < g->n_values; v++) {
        h->steady[v] = g->values[v]->kind == OG_VALUE_CONST;
        h->bytes[v] = og_type_bytes(&g->values[v]->type);
    }
    for (int i = 0; i < g->n_states; i++) {
        const og_state *s = &g->states[i];
        h->steady[s->in] = og_storage_is_weight(storages, s);
        if (s->out >= 0)
            h->leaves[s->out] = true;
    }
    for (int i = 0; i < g->n_outputs; i++)
        h->leaves[g->outputs[i].value] = true;
    return true;
}

static bool can_hoist(const hoist *h, const og_node *n)
{
    int64_t read = 0, made = 0;
    bool weights = false;
    if (n->op->flags & (OG_RANDOM | OG_EAGER_ONLY))
        return false;
    for (int k = 0; k < n->n_in; k++) {
        const og_value *x = og_graph_value(h->g, n->in[k]);
        if (!x)
            continue;
        if (!h->steady[x->id])
            return false;
        weights |= x->kind != OG_VALUE_CONST;
        read += h->bytes[x->id];
    }
    for (int k = 0; k < n->n_out; k++) {
        if (h->leaves[n->out[k]])
            return false;
        made += h->bytes[n->out[k]];
    }
    return weights && (n->op->view || made <= read || made <= SMALL);
}

static void mark(hoist *h, const og_node *n)
{
    h->hoisted[n->id] = true;
    for (int k = 0; k < n->n_out; k++) {
        int64_t of = n->op->view && n->n_in > 0 && n->in[0] >= 0 ? h->bytes[n->in[0]] : INT64_MAX;
        h->steady[n->out[k]] = true;
        if (of < h->bytes[n->out[k]])
            h->bytes[n->out[k]] = of;
    }
}

static void write_hoisted(hoist *h, const og_node *n)
{
    og_node *copy = og_rewrite_copy(&h->rw, n);
    if (!copy)
        return;
    og_origin o = copy->origin ? *copy->origin : (og_origin){.node = n->name, .op = n->op->name};
    o.role = OG_ROLE_WEIGHTS;
    copy->origin = og_graph_set_origin(h->rw.to, &o);
}

og_graph *og_pass_hoist(og_graph *g, const og_storages *storages)
{
    hoist h = {.g = g};
    if (!find_steady(&h, storages) || !og_rewrite_begin(&h.rw, g))
        return NULL;
    for (int i = 0; i < g->n_nodes; i++)
        if (h.rw.live[i] && can_hoist(&h, g->nodes[i])) {
            mark(&h, g->nodes[i]);
            write_hoisted(&h, g->nodes[i]);
        }
    for (int i = 0; i < g->n_nodes && h.rw.to->error.status == OG_OK; i++)
        if (h.rw.live[i] && !h.hoisted[i])
            og_rewrite_copy(&h.rw, g->nodes[i]);
    return og_rewrite_end(&h.rw);
}
