/* recompute: values of the forward pass that gradients read are computed again, right before their
 * first reader, instead of being kept.
 *
 * What is kept and what not is chosen in recompute_choose.c. Here the graph is written: forward
 * nodes as they are; backward nodes read kept values as they are, and others from copies of the
 * forward nodes that make them, in the role OG_ROLE_RECOMPUTE. A copy reads the same values and has
 * the same attributes (also a random op's key), so it gives the same bits; states are written by
 * the original alone. The pass runs after the last simplify, which would merge copies and
 * originals, and before fuse, which keeps the two apart. */
#include "runtime/passes/recompute.h"

#include "runtime/graph/build.h"
#include "runtime/passes/rewrite.h"

typedef struct rewriter {
    og_rewrite rw;
    og__choice c;
    int *again; /* by value of `from`: the value computed again; -1: not yet */
} rewriter;

static const og_origin *recomputed(og_graph *to, const og_node *n)
{
    og_origin o = n->origin ? *n->origin : (og_origin){.node = n->name, .op = n->op->name};
    o.role = OG_ROLE_RECOMPUTE;
    return og_graph_set_origin(to, &o);
}

/* The value as the backward pass finds it. */
static int found(rewriter *w, int value);

/* What it takes to run the node again; a value that no program computes as it needs it is written
 * and read. */
static double seconds_of(const rewriter *w, const og_node *n)
{
    return og__again_seconds(&w->c, n) +
           (w->c.stored[n->out[0]] ? og__write_seconds(w->c.g, n->out[0]) : 0);
}

static void replay(rewriter *w, const og_node *n)
{
    og_graph *to = w->rw.to;
    og_val x[8] = {{NULL, -1}}, y[8] = {{NULL, -1}};
    for (int i = 0; i < n->n_in; i++)
        x[i] = og_val_of(to, found(w, n->in[i]));
    for (int i = 1; i < n->n_out; i++)
        y[i] = og_val_of(to, found(w, n->out[i]));
    recomputed(to, n);
    w->again[n->out[0]] = n->op->replay(to, n, x, y).id;
    w->c.r->more_seconds += seconds_of(w, n);
}

static void copy_again(rewriter *w, const og_node *n)
{
    og_graph *to = w->rw.to;
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    og_type *types = og_arena_array(to->arena, (size_t)n->n_out + 1, sizeof(og_type));
    if (!in || !types) {
        og_fail_memory(&to->error, sizeof(og_type), "the recompute pass");
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        in[i] = found(w, n->in[i]);
    for (int i = 0; i < n->n_out; i++)
        types[i] = w->c.g->values[n->out[i]]->type;
    recomputed(to, n);
    og_node *copy = og_graph_add_typed_node(to, n->op, n->name, in, n->n_in, types, n->n_out,
                                            n->attrs, n->n_attrs);
    w->c.r->more_seconds += seconds_of(w, n);
    for (int i = 0; copy && i < n->n_out; i++)
        w->again[n->out[i]] = copy->out[i];
}

static int found(rewriter *w, int value)
{
    if (value < 0 || !w->c.forward[value] || w->c.keep[value])
        return og_rewrite_value(&w->rw, value).id;
    const og_node *n = w->c.g->values[value]->producer;
    if (w->again[value] < 0 && w->rw.to->error.status == OG_OK) {
        bool statistics = n->out[0] == value && og__can_replay(w->c.g, n);
        for (int i = 1; statistics && i < n->n_out; i++)
            statistics = w->c.keep[n->out[i]];
        if (statistics)
            replay(w, n);
        else
            copy_again(w, n);
    }
    return w->again[value];
}

static void write_backward(rewriter *w, const og_node *n)
{
    int in[256] = {0};
    for (int i = 0; i < n->n_in && i < 256; i++)
        in[i] = found(w, n->in[i]);
    og_node *copy = og_rewrite_copy(&w->rw, n);
    for (int i = 0; copy && i < n->n_in && i < 256; i++)
        copy->in[i] = in[i];
}

/* Backward nodes that run early follow the forward node that makes the last of what they read. */
static void write_early(rewriter *w, const int *after, int forward)
{
    const og_graph *g = w->c.g;
    for (int i = after[forward]; i >= 0; i = after[g->n_nodes + i]) {
        og_node *copy = og_rewrite_copy(&w->rw, g->nodes[i]);
        if (copy && copy->origin) {
            og_origin o = *copy->origin;
            o.role = OG_ROLE_FORWARD;
            copy->origin = og_graph_set_origin(w->rw.to, &o);
        }
    }
}

/* By forward node: the first early node after it; behind these, by early node: the next one. */
static int *place_early(const og__choice *c)
{
    const og_graph *g = c->g;
    size_t n = (size_t)g->n_nodes;
    int *after = og_arena_array(g->arena, 2 * n + 1, sizeof(int));
    int *where = og_arena_array(g->arena, n + 1, sizeof(int));
    if (!after || !where)
        return NULL;
    for (size_t i = 0; i < 2 * n; i++)
        after[i] = -1;
    for (int i = 0; i < g->n_nodes; i++) {
        where[i] = i;
        if (!c->early[i])
            continue;
        where[i] = -1;
        for (int k = 0; k < g->nodes[i]->n_in; k++) {
            const og_value *x = og_graph_value(g, g->nodes[i]->in[k]);
            if (x && x->producer && where[x->producer->id] > where[i])
                where[i] = where[x->producer->id];
        }
        int *at = &after[where[i]];
        while (*at >= 0)
            at = &after[g->n_nodes + *at];
        *at = i;
    }
    return after;
}

/* What is written for the backward pass alone is not written where it is computed again. */
static double saved_seconds(const og__choice *c)
{
    double sum = 0;
    for (int v = 0; v < c->g->n_values; v++)
        if (c->read[v] && !c->keep[v] && !c->written[v])
            sum += og__write_seconds(c->g, v);
    return sum;
}

static bool estimate(og_graph *g, og_recompute *r)
{
    const bool *live = og_graph_live(g);
    r->seconds = live ? og__graph_seconds(g, live) : 0;
    r->hoisted_seconds = 0;
    for (int i = 0; live && i < g->n_nodes; i++)
        if (live[i] && og_node_is_hoisted(g->nodes[i]))
            r->hoisted_seconds += og__node_seconds(g, g->nodes[i]);
    return live != NULL;
}

og_graph *og_pass_recompute(og_graph *g, og_recompute *r)
{
    rewriter w = {.c = {0}};
    r->candidates = r->dropped = r->cuts = 0;
    r->more_seconds = 0;
    if (!estimate(g, r))
        return NULL;
    if (r->level == OG_RECOMPUTE_OFF)
        return g;
    w.again = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(int));
    if (!w.again || !og__choose(&w.c, g, r) || !og_rewrite_begin(&w.rw, g))
        return NULL;
    const int *after = place_early(&w.c);
    if (!after)
        return NULL;
    for (int i = 0; i < g->n_values; i++)
        w.again[i] = -1;
    for (int i = 0; i < g->n_nodes && w.rw.to->error.status == OG_OK; i++) {
        if (!w.rw.live[i] || w.c.early[i])
            continue;
        if (w.c.backward[i]) {
            write_backward(&w, g->nodes[i]);
        } else {
            og_rewrite_copy(&w.rw, g->nodes[i]);
            write_early(&w, after, i);
        }
    }
    double saved = saved_seconds(&w.c);
    r->more_seconds = r->more_seconds > saved ? r->more_seconds - saved : 0;
    return og_rewrite_end(&w.rw);
}
