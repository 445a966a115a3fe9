/* What the backward pass finds, and what it computes again.
 *
 * Cheap: a value need not be kept if elementwise nodes, views, masks and replays (og_op.replay)
 * make it from what is kept. What that costs is weighed against what keeping it costs: a value that
 * no forward node needs in memory is written for the backward pass alone. Values that are read by
 * more than elementwise nodes have memory of their own when they are computed again, for as long as
 * anyone reads them; so the way to one such value must not lead through another, or the whole chain
 * of a residual network would be in memory at once.
 *
 * Early: where a kept value is only read by tests (x > 0), their results, a byte an element (a bit
 * where bits.c packs them), are kept in its place.
 *
 * Blocks: between checkpoints anything may be computed again. Candidates are ordered by estimated
 * seconds for a byte freed, and as many as the caller says are dropped. */
#include <stdlib.h>

#include "runtime/passes/recompute.h"
#include "runtime/passes/rewrite.h"

/* What the estimates assume: only their proportion matters much. */
#define FLOPS_A_SECOND 1e11
#define BYTES_A_SECOND 1e10
#define ELEMENTS_A_SECOND 2e10 /* of one instruction within a program: its data is in the cache */
#define FREE_SHARE 0.01        /* of the graph's time: what all that is cheap may add with room */

enum {
    LEAST_BYTES = 4096, /* smaller values are always kept */
    MOST_STEPS = 12     /* nodes on the way to a value that is recomputed because it is cheap */
};

uint64_t og__value_bytes(const og_graph *g, int value)
{
    int64_t bytes = og_type_bytes(&g->values[value]->type);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

bool og__is_elementwise(const og_node *n)
{
    return n->op->scalar != OG_SCALAR_NONE;
}

bool og__is_cheap(const og_node *n)
{
    return og__is_elementwise(n) || n->op->view || n->op->flags & OG_CHEAP;
}

bool og__can_replay(const og_graph *g, const og_node *n)
{
    if (!n->op->replay || n->n_in > 8 || n->n_out > 8)
        return false;
    og_dtype image = g->values[n->out[0]]->type.dtype,
             dtype = n->op->flags & OG_HALF_IMAGES && og_dtype_is_half(image) ? OG_FLOAT : image;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 &&
            g->values[n->in[i]]->type.dtype != (og_op_image(n->op->images_in, i) ? image : dtype))
            return false;
    for (int i = 1; i < n->n_out; i++)
        if (n->out[i] < 0 || g->values[n->out[i]]->type.dtype != dtype)
            return false;
    return n->n_out == n->op->saved && (dtype == OG_FLOAT || dtype == OG_DOUBLE);
}

double og__node_seconds(const og_graph *g, const og_node *n)
{
    double bytes = 0;
    if (n->op->view)
        return 0;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            bytes += (double)og__value_bytes(g, n->in[i]);
    for (int i = 0; i < n->n_out; i++)
        bytes += (double)og__value_bytes(g, n->out[i]);
    double flops = og_node_flops(g, n) / FLOPS_A_SECOND;
    return flops > bytes / BYTES_A_SECOND ? flops : bytes / BYTES_A_SECOND;
}

double og__again_seconds(const og__choice *c, const og_node *n)
{
    enum { REPLAY = 4 }; /* a normalization: subtract, scale, scale, add */
    bool again = og__can_replay(c->g, n);
    if (n->op->view || (!again && !og__is_elementwise(n)))
        return og__node_seconds(c->g, n);
    double elements = (double)og_type_elements(&c->g->values[n->out[0]]->type);
    return (again ? REPLAY : 1) * elements / ELEMENTS_A_SECOND;
}

double og__write_seconds(const og_graph *g, int value)
{
    return (double)og__value_bytes(g, value) / BYTES_A_SECOND;
}

double og__graph_seconds(const og_graph *g, const bool *live)
{
    double sum = 0;
    for (int i = 0; i < g->n_nodes; i++)
        sum += live[i] ? og__node_seconds(g, g->nodes[i]) : 0;
    return sum;
}

/* ---- who reads what */

static bool allocate(og__choice *c, og_graph *g)
{
    bool **values[] = {&c->forward, &c->read, &c->stored, &c->keep, &c->checkpoint, &c->written};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        *values[i] = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
        if (!*values[i])
            return false;
    }
    c->live = og_graph_live(g);
    c->backward = og_arena_array(g->arena, (size_t)g->n_nodes + 1, sizeof(bool));
    c->early = og_arena_array(g->arena, (size_t)g->n_nodes + 1, sizeof(bool));
    for (int i = 0; c->live && i < g->n_nodes; i++)
        c->live[i] &= !og_node_is_hoisted(g->nodes[i]);
    return c->live && c->backward && c->early;
}

static void mark_readers(og__choice *c)
{
    const og_graph *g = c->g;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        c->backward[i] = n->origin && (n->origin->role == OG_ROLE_GRADIENT ||
                                       n->origin->role == OG_ROLE_ACCUMULATE);
        for (int k = 0; c->live[i] && !c->backward[i] && k < n->n_in; k++) {
            const og_value *x = og_graph_value(g, n->in[k]);
            /* a forward node that reads a gradient is a part of the backward pass */
            c->backward[i] = x && x->producer && c->backward[x->producer->id];
        }
        for (int k = 0; c->live[i] && !c->backward[i] && k < n->n_out; k++) {
            c->forward[n->out[k]] = true;
            c->written[n->out[k]] |= !og__is_elementwise(n);
        }
        for (int k = 0; c->live[i] && !c->backward[i] && !og__is_elementwise(n) && k < n->n_in; k++)
            if (n->in[k] >= 0)
                c->written[n->in[k]] = true;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        for (int k = 0; c->live[i] && c->backward[i] && k < n->n_in; k++) {
            if (n->in[k] < 0 || !c->forward[n->in[k]] || (k < 8 && n->op->type_only >> k & 1))
                continue;
            c->read[n->in[k]] = true;
            c->stored[n->in[k]] |= !og__is_elementwise(n);
        }
    }
}

/* States whose value this graph replaces may be another when the backward pass comes. */
static bool is_written_state(const og_graph *g, int value)
{
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].in == value || g->states[i].out == value)
            return g->states[i].out >= 0;
    return false;
}

/* ---- the order in which values are dropped */

typedef struct candidate {
    int value;
    double seconds_a_byte;
} candidate;

static int cheapest_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->seconds_a_byte != y->seconds_a_byte)
        return x->seconds_a_byte < y->seconds_a_byte ? -1 : 1;
    return x->value - y->value;
}

/* ---- cheap */

/* How many nodes lead from what is kept to the value; more than MOST_STEPS: too many, or no way. */
static int steps_to(const og__choice *c, int value, int budget)
{
    const og_graph *g = c->g;
    if (value < 0)
        return 0;
    if (!c->forward[value])
        return g->values[value]->kind == OG_VALUE_STATE && is_written_state(g, value)
                   ? MOST_STEPS + 1
                   : 0;
    if (c->keep[value])
        return 0;
    const og_node *n = g->values[value]->producer;
    bool again = n->out[0] == value && og__can_replay(g, n);
    int steps = 1;
    if (budget < 1 || (!again && !og__is_cheap(n)))
        return MOST_STEPS + 1;
    for (int k = 0; k < n->n_in && steps <= budget; k++)
        steps += steps_to(c, n->in[k], budget - steps);
    for (int k = 1; again && k < n->n_out && steps <= budget; k++)
        steps += steps_to(c, n->out[k], budget - steps);
    return steps <= budget ? steps : MOST_STEPS + 1;
}

/* Does the way to what the node makes lead through a value that has memory of its own when it is
 * computed again? through: the answers for the values before. */
static bool passes_stored(const og__choice *c, const og_node *n, const bool *through)
{
    for (int k = 0; k < n->n_in; k++) {
        int x = n->in[k];
        if (x >= 0 && c->forward[x] && !c->keep[x] && (through[x] || (c->read[x] && c->stored[x])))
            return true;
    }
    return false;
}

/* Seconds of what leads to a value that is computed again. */
static double way_to(const og__choice *c, int value, int budget)
{
    if (value < 0 || !c->forward[value] || c->keep[value] || budget < 1)
        return 0;
    const og_node *n = c->g->values[value]->producer;
    double seconds = og__again_seconds(c, n);
    for (int k = 0; k < n->n_in; k++)
        seconds += way_to(c, n->in[k], budget - 1);
    return seconds;
}

/* What dropping it adds to the time: the way to it, and memory traffic of its own where programs
 * do not compute it as they need it; less what is written for the backward pass alone. */
static double cost_of(const og__choice *c, int value)
{
    double write = og__write_seconds(c->g, value);
    return way_to(c, value, MOST_STEPS) + (c->stored[value] ? write : 0) -
           (c->written[value] ? 0 : write);
}

/* All that can be was dropped; what is not asked for is kept again. That only shortens ways. */
static bool keep_the_dear(og__choice *c)
{
    const og_graph *g = c->g;
    candidate *list = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(*list));
    double room = FREE_SHARE * og__graph_seconds(g, c->live);
    int n = 0, drop = 0;
    if (!list)
        return false;
    for (int v = 0; v < g->n_values; v++)
        if (c->read[v] && !c->keep[v])
            list[n++] = (candidate){v, cost_of(c, v) / (double)og__value_bytes(g, v)};
    qsort(list, (size_t)n, sizeof(*list), cheapest_first);
    for (; drop < n; drop++) {
        double cost = list[drop].seconds_a_byte * (double)og__value_bytes(g, list[drop].value);
        room -= cost > 0 ? cost : 0;
        if (c->r->drop == OG_RECOMPUTE_FREE ? room < 0 : drop >= c->r->drop)
            break;
    }
    for (int i = drop; i < n; i++)
        c->keep[list[i].value] = true;
    c->r->candidates = n;
    c->r->dropped = drop;
    return true;
}

static bool drop_cheap(og__choice *c)
{
    const og_graph *g = c->g;
    bool *through = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    if (!through)
        return false;
    for (int v = 0; v < g->n_values; v++)
        c->keep[v] = c->read[v];
    for (int i = 0; i < g->n_nodes; i++) /* statistics are small; those that nobody reads go */
        for (int k = 1; og__can_replay(g, g->nodes[i]) && k < g->nodes[i]->n_out; k++)
            c->keep[g->nodes[i]->out[k]] = c->forward[g->nodes[i]->out[k]];
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        for (int k = 0; c->live[i] && !c->backward[i] && k < n->n_out; k++) {
            int v = n->out[k];
            through[v] = passes_stored(c, n, through);
            if (!c->keep[v] || c->checkpoint[v] || is_written_state(g, v) ||
                og__value_bytes(g, v) < LEAST_BYTES)
                continue;
            c->keep[v] = false;
            c->keep[v] = steps_to(c, v, MOST_STEPS) > MOST_STEPS || (c->stored[v] && through[v]);
        }
    }
    return c->r->level != OG_RECOMPUTE_CHEAP || keep_the_dear(c);
}

/* ---- early */

/* A test of forward values, or of such tests. */
static bool is_test(const og__choice *c, const og_node *n)
{
    const og_graph *g = c->g;
    if (!og__is_elementwise(n) || g->values[n->out[0]]->type.dtype != OG_BOOL)
        return false;
    for (int k = 0; k < n->n_in; k++) {
        const og_value *x = og_graph_value(g, n->in[k]);
        if (x && x->producer && !c->forward[x->id] && !c->early[x->producer->id])
            return false;
    }
    return true;
}

/* Values that the way to some value that is computed again begins at: a node that may run again
 * reads them. */
static void mark_bases(const og__choice *c, bool *again, bool *base)
{
    const og_graph *g = c->g;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const og_node *n = g->nodes[i];
        bool runs = false;
        for (int k = 0; c->live[i] && !c->backward[i] && k < n->n_out; k++)
            runs |= !c->keep[n->out[k]] && (c->read[n->out[k]] || again[n->out[k]]);
        for (int k = 0; runs && k < n->n_in; k++)
            if (n->in[k] >= 0)
                (c->keep[n->in[k]] ? base : again)[n->in[k]] = true;
    }
}

static bool move_tests(og__choice *c)
{
    const og_graph *g = c->g;
    bool *needed = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    bool *again = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    if (!needed || !again)
        return false;
    for (int i = 0; i < g->n_nodes; i++) /* tests first, then what is needed beside them */
        c->early[i] = c->live[i] && c->backward[i] && is_test(c, g->nodes[i]);
    mark_bases(c, again, needed);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; c->live[i] && c->backward[i] && !c->early[i] && k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] >= 0)
                needed[g->nodes[i]->in[k]] = true;
    for (int i = 0; i < g->n_nodes; i++) { /* a test stays where nothing becomes free by it */
        const og_node *n = g->nodes[i];
        bool frees = false;
        for (int k = 0; c->early[i] && k < n->n_in; k++) {
            const og_value *x = og_graph_value(g, n->in[k]);
            if (!x || !x->producer)
                continue;
            frees |= !c->forward[x->id] ||
                     (c->keep[x->id] && !needed[x->id] && x->type.dtype != OG_BOOL);
            if (c->forward[x->id] ? !c->keep[x->id] : !c->early[x->producer->id]) {
                frees = false; /* reads what is computed again, or after a test that stays */
                break;
            }
        }
        c->early[i] &= frees;
    }
    return true;
}

/* ---- blocks */

/* Seconds to the value from what is kept. */
static double seconds_to(const og__choice *c, int value, bool first, int budget)
{
    if (value < 0 || !c->forward[value] || (!first && (c->keep[value] || c->read[value])) ||
        budget < 1)
        return 0;
    const og_node *n = c->g->values[value]->producer;
    double seconds = og__node_seconds(c->g, n);
    for (int k = 0; k < n->n_in; k++)
        seconds += seconds_to(c, n->in[k], false, budget - 1);
    return seconds;
}

static bool drop_candidates(og__choice *c)
{
    const og_graph *g = c->g;
    candidate *list = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(*list));
    int n = 0;
    if (!list)
        return false;
    for (int v = 0; v < g->n_values; v++) {
        if (c->checkpoint[v])
            c->keep[v] = true;
        uint64_t bytes = og__value_bytes(g, v);
        if (c->read[v] && c->keep[v] && !c->checkpoint[v] && !is_written_state(g, v) &&
            bytes >= LEAST_BYTES)
            list[n++] = (candidate){v, seconds_to(c, v, true, MOST_STEPS) / (double)bytes};
    }
    qsort(list, (size_t)n, sizeof(*list), cheapest_first);
    for (int i = 0; i < n && i < c->r->drop; i++)
        c->keep[list[i].value] = false;
    c->r->candidates = n;
    c->r->dropped = c->r->drop < n ? c->r->drop : n;
    return true;
}

bool og__choose(og__choice *c, og_graph *g, og_recompute *r)
{
    *c = (og__choice){.g = g, .r = r};
    if (!allocate(c, g))
        return false;
    mark_readers(c);
    if (r->level == OG_RECOMPUTE_BLOCKS && !og__find_cuts(c))
        return false;
    if (!drop_cheap(c) || (r->level == OG_RECOMPUTE_BLOCKS && !drop_candidates(c)))
        return false;
    return move_tests(c);
}
