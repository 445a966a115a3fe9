/* Where little passes from one part of the forward pass to the next: between the blocks of a
 * network. What passes there is kept when everything between is computed again. */
#include "runtime/passes/recompute.h"

enum { AROUND = 8 }; /* nodes before and behind that a cut has the least of */

/* The value in whose memory a view lies, more or less. */
static int base_of(const og_graph *g, int value)
{
    const og_node *n = g->values[value]->producer;
    while (n && n->op->view && n->n_in > 0 && n->in[0] >= 0) {
        value = n->in[0];
        n = g->values[value]->producer;
    }
    return value;
}

bool og__find_cuts(og__choice *c)
{
    const og_graph *g = c->g;
    size_t n = (size_t)g->n_nodes;
    int *last = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(int));
    int *order = og_arena_array(g->arena, n + 1, sizeof(int)), forward = 0;
    int64_t *passing = og_arena_array(g->arena, n + 2, sizeof(*passing));
    if (!last || !order || !passing)
        return false;
    for (int i = 0; i < g->n_nodes; i++)
        if (c->live[i] && !c->backward[i])
            order[forward++] = i;
    for (int at = 0; at < forward; at++)
        for (int k = 0; k < g->nodes[order[at]]->n_in; k++)
            if (g->nodes[order[at]]->in[k] >= 0)
                last[base_of(g, g->nodes[order[at]]->in[k])] = at;
    for (int at = 0; at < forward; at++)
        for (int k = 0; k < g->nodes[order[at]]->n_out; k++) {
            int v = g->nodes[order[at]]->out[k];
            if (base_of(g, v) != v || last[v] <= at)
                continue;
            passing[at] += (int64_t)og__value_bytes(g, v);
            passing[last[v]] -= (int64_t)og__value_bytes(g, v);
        }
    for (int at = 1; at < forward; at++)
        passing[at] += passing[at - 1];
    for (int at = 1; at + 1 < forward; at++) {
        bool least = passing[at] > 0;
        for (int k = at - AROUND; k <= at + AROUND && least; k++)
            if (k >= 0 && k < forward - 1 && k != at)
                least = k < at ? passing[at] < passing[k] || passing[k] == 0
                               : passing[at] <= passing[k] || passing[k] == 0;
        if (!least || c->r->cuts++ % (c->r->stride > 0 ? c->r->stride : 1))
            continue;
        for (int b = 0; b <= at; b++)
            for (int k = 0; k < g->nodes[order[b]]->n_out; k++) {
                int v = g->nodes[order[b]]->out[k];
                if (base_of(g, v) == v && last[v] > at)
                    c->checkpoint[v] = true;
            }
    }
    return true;
}
