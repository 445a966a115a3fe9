/* The order of steps: as the graph has them, but for moves that lower the peak.
 *
 * What is alive at the peak step is what was made before and is read after it. It becomes less if a
 * step that makes such a buffer runs after the peak, if the last reader of one runs before it, or
 * if the step itself, for its workspace, runs where less is alive. Such moves are tried, those that
 * should free most first; steps that depend on a moved one move along. Each is measured exactly, by
 * making all buffers (buffers.c), and kept if the peak falls, or is met at fewer steps. So the peak
 * is never above that of the graph's order.
 *
 * What runs only when weights have changed stays first. A step never moves across one that it
 * depends on, and a state is written after all steps that
 * read its old value. Kernels do not know when they run, so results keep their bits. */
#include <stdlib.h>
#include <string.h>

#include "runtime/plan/planner.h"

enum {
    MOST_WORK = 4000000, /* values and steps looked at in all: some milliseconds */
    MOST_MOVES = 32,     /* tried at a peak */
    MOST_ALONG = 16,     /* steps that move together */
    TARGETS = 6          /* places that a step is moved to, as a trial */
};

/* By node: the nodes that must come before (or after) it. */
typedef struct edges {
    int *first; /* n_nodes + 1 of them, into `list` */
    int *list;
} edges;

typedef struct move {
    int step;
    bool later;
    int64_t gain; /* bytes at the peak, as far as is easily seen */
} move;

typedef struct measure {
    uint64_t peak;
    int at, steps; /* the first step with the peak; how many have it */
} measure;

typedef struct search {
    og__planner *p;
    int n; /* steps */
    edges before, after;
    int *best, *trial; /* orders: node by step */
    bool *along;       /* by node */
    uint64_t *live;    /* by step */
    int64_t work;
} search;

/* ---- what depends on what */

/* Calls `edge` for each pair of nodes of which the first must run before the second. */
static void each_edge(const og__planner *p, void (*edge)(search *, int, int), search *s)
{
    const og_graph *g = p->g;
    for (int i = 0; i < p->plan->n_steps; i++) {
        const og_node *n = g->nodes[p->node_at[i]];
        for (int k = 0; k < n->n_in; k++) {
            const og_value *x = n->in[k] < 0 ? NULL : g->values[og__root_of(p, n->in[k])];
            if (x && x->producer && x->kind == OG_VALUE_NODE && x->producer != n)
                edge(s, x->producer->id, n->id);
            for (int j = 0; x && x->kind == OG_VALUE_STATE && j < g->n_states; j++) {
                const og_state *state = &g->states[j];
                const og_node *writer =
                    state->in == x->id && state->out >= 0 ? g->values[state->out]->producer : NULL;
                if (writer && writer != n)
                    edge(s, n->id, writer->id);
            }
        }
    }
}

static void count_edge(search *s, int before, int after)
{
    s->before.first[after + 1]++;
    s->after.first[before + 1]++;
}

static void add_edge(search *s, int before, int after)
{
    s->before.list[s->before.first[after]++] = before;
    s->after.list[s->after.first[before]++] = after;
}

static bool find_edges(search *s, og_arena *scratch)
{
    edges *both[] = {&s->before, &s->after};
    int n = s->p->g->n_nodes;
    for (int e = 0; e < 2; e++)
        if (!(both[e]->first = og_arena_array(scratch, (size_t)n + 2, sizeof(int))))
            return false;
    each_edge(s->p, count_edge, s);
    for (int e = 0; e < 2; e++) {
        int *first = both[e]->first;
        for (int i = 0; i < n; i++)
            first[i + 1] += first[i];
        if (!(both[e]->list = og_arena_array(scratch, (size_t)first[n] + 1, sizeof(int))))
            return false;
    }
    each_edge(s->p, add_edge, s);
    for (int e = 0; e < 2; e++) { /* filling moved each begin to the next */
        memmove(both[e]->first + 1, both[e]->first, (size_t)n * sizeof(int));
        both[e]->first[0] = 0;
    }
    return true;
}

static bool touches_along(const search *s, const edges *e, int node)
{
    for (int i = e->first[node]; i < e->first[node + 1]; i++)
        if (s->along[e->list[i]])
            return true;
    return false;
}

/* ---- orders */

/* The buffers of an order, and what they need; p is left with them. */
static measure measure_order(search *s, const int *order)
{
    og__planner *p = s->p;
    memcpy(p->node_at, order, (size_t)s->n * sizeof(int));
    og__plan_lifetimes(p);
    og__plan_buffers(p);
    og_plan_live(p->plan->buffers, p->plan->n_buffers, s->n, s->live);
    measure m = {.at = og_plan_peak_step(s->live, s->n)};
    m.peak = s->live[m.at];
    for (int i = 0; i < s->n; i++)
        m.steps += s->live[i] == m.peak;
    s->work += p->g->n_values + 4 * s->n;
    return m;
}

static bool is_less(const measure *a, const measure *b)
{
    return a->peak < b->peak || (a->peak == b->peak && a->steps < b->steps);
}

/* Fills `trial` with `best` after a move of the step at `from` to `to`, and of those between that
 * depend on it (that it depends on). false: too many. */
static bool make_trial(search *s, int from, int to)
{
    int step = to > from ? 1 : -1, n = 0, at = from;
    int moved[MOST_ALONG];
    const edges *e = to > from ? &s->before : &s->after;
    bool fits = true;
    memcpy(s->trial, s->best, (size_t)s->n * sizeof(int));
    for (int i = from; i != to + step && fits; i += step) {
        int node = s->best[i];
        if (i == from || touches_along(s, e, node)) {
            fits = n < MOST_ALONG;
            if (fits) {
                s->along[node] = true;
                moved[n++] = node;
            }
        } else {
            s->trial[at] = node;
            at += step;
        }
    }
    for (int i = 0; i < n; i++) {
        s->along[moved[i]] = false;
        if (fits)
            s->trial[at + i * step] = moved[i];
    }
    return fits && at != from;
}

/* ---- moves */

static int64_t bytes_of(const search *s, int value)
{
    int64_t bytes = og_type_bytes(&s->p->g->values[value]->type);
    return bytes > 0 ? bytes : 0;
}

/* The buffer of a value that is no state, input or constant; NULL: none. */
static const og_buffer *buffer_of(const search *s, int value)
{
    const og_plan *plan = s->p->plan;
    int b = value < 0 ? -1 : plan->buffer_of[og__root_of(s->p, value)];
    return b < 0 || plan->buffers[b].storage >= 0 ? NULL : &plan->buffers[b];
}

/* What leaves the peak if the step runs after it, less what then stays for it. */
static int64_t gain_later(const search *s, int step, int peak)
{
    const og_node *n = s->p->g->nodes[s->best[step]];
    int64_t gain = step == peak ? (int64_t)s->p->workspace[n->id] : 0;
    for (int k = 0; k < n->n_out; k++) {
        const og_buffer *b = buffer_of(s, n->out[k]);
        gain += b && b->last >= peak ? bytes_of(s, n->out[k]) : 0;
    }
    for (int k = 0; k < n->n_in; k++) {
        const og_buffer *b = buffer_of(s, n->in[k]);
        gain -= b && (b->last < peak || (b->last == peak && step < peak))
                    ? bytes_of(s, og__root_of(s->p, n->in[k]))
                    : 0;
    }
    return gain;
}

/* What leaves the peak if the step runs before it, less what it makes. */
static int64_t gain_earlier(const search *s, int step, int peak)
{
    const og_node *n = s->p->g->nodes[s->best[step]];
    int64_t gain = step == peak ? (int64_t)s->p->workspace[n->id] : 0;
    for (int k = 0; k < n->n_in; k++) {
        const og_buffer *b = buffer_of(s, n->in[k]);
        gain +=
            b && b->last == step && b->first < peak ? bytes_of(s, og__root_of(s->p, n->in[k])) : 0;
    }
    for (int k = 0; k < n->n_out && step != peak; k++) {
        const og_buffer *b = buffer_of(s, n->out[k]);
        gain -= b && b->first == step ? bytes_of(s, n->out[k]) : 0;
    }
    return gain;
}

/* Among the MOST_MOVES moves that gain most, in that order. */
static void propose(move *moves, int *n, move m)
{
    int at = *n;
    if (m.gain <= 0)
        return;
    for (int i = 0; i < *n; i++)
        if (moves[i].step == m.step && moves[i].later == m.later)
            return;
    while (at > 0 && (moves[at - 1].gain < m.gain))
        at--;
    if (at == MOST_MOVES)
        return;
    *n += *n < MOST_MOVES;
    memmove(moves + at + 1, moves + at, (size_t)(*n - 1 - at) * sizeof(*moves));
    moves[at] = m;
}

/* p holds the buffers of `best`. */
static int find_moves(const search *s, int peak, move *moves)
{
    const og_plan *plan = s->p->plan;
    int n = 0;
    propose(moves, &n, (move){peak, true, gain_later(s, peak, peak)});
    propose(moves, &n, (move){peak, false, gain_earlier(s, peak, peak)});
    for (int i = 0; i < plan->n_buffers; i++) {
        const og_buffer *b = &plan->buffers[i];
        if (b->storage >= 0 || b->first > peak || b->last < peak || b->first == b->last)
            continue;
        if (b->first < peak)
            propose(moves, &n, (move){b->first, true, gain_later(s, b->first, peak)});
        if (b->last > peak && b->last < s->n)
            propose(moves, &n, (move){b->last, false, gain_earlier(s, b->last, peak)});
    }
    return n;
}

/* The best place for the step beyond the peak, if that is better than *now: then `best` changes. */
static bool try_move(search *s, const move *m, measure *now)
{
    if (m->step < s->p->plan->n_once)
        return false;
    int peak = now->at, better = -1, last = -1;
    measure least = *now;
    for (int t = 0; t < TARGETS; t++) { /* next to the peak, then at growing distances */
        int room = m->later ? s->n - 1 - peak : peak, far = t ? room >> (TARGETS - 1 - t) : 0;
        int near = m->step == peak; /* which must leave its own place */
        int to = m->later ? peak + (far > near ? far : near) : peak - (far > near ? far : near);
        if (to < s->p->plan->n_once || to >= s->n || to == last || s->work > MOST_WORK)
            continue;
        last = to;
        if (!make_trial(s, m->step, to))
            break; /* too many depend on it; more do further away */
        measure then = measure_order(s, s->trial);
        if (is_less(&then, &least)) {
            least = then;
            better = to;
        }
    }
    if (better < 0)
        return false;
    make_trial(s, m->step, better);
    memcpy(s->best, s->trial, (size_t)s->n * sizeof(int));
    *now = least;
    return true;
}

static void improve(search *s)
{
    measure now = measure_order(s, s->best);
    bool better = true;
    while (better && now.peak && s->work < MOST_WORK) {
        move moves[MOST_MOVES + 1];
        int n = find_moves(s, now.at, moves);
        better = false;
        for (int i = 0; i < n && !better; i++)
            better = try_move(s, &moves[i], &now);
        now = measure_order(s, s->best);
    }
}

bool og__plan_order(og__planner *p)
{
    og_arena *scratch = og_arena_new();
    search s = {.p = p, .n = p->plan->n_steps};
    size_t n = (size_t)s.n + 1;
    if (!scratch)
        return false;
    s.best = og_arena_array(scratch, n, sizeof(int));
    s.trial = og_arena_array(scratch, n, sizeof(int));
    s.live = og_arena_array(scratch, n, sizeof(*s.live));
    s.along = og_arena_array(scratch, (size_t)p->g->n_nodes + 1, sizeof(bool));
    bool good = s.best && s.trial && s.live && s.along && find_edges(&s, scratch);
    if (good) {
        memcpy(s.best, p->node_at, (size_t)s.n * sizeof(int));
        improve(&s);
    }
    og_arena_free(scratch);
    return good;
}
