/* Which values share memory, and when each buffer lives, for the steps in a given order. */
#include "runtime/passes/rewrite.h"
#include "runtime/plan/planner.h"

bool og__plan_steps(og__planner *p)
{
    og_graph *g = p->g;
    og_plan *plan = p->plan;
    size_t values = (size_t)g->n_values + 1, nodes = (size_t)g->n_nodes + 1;
    p->node_at = og_arena_array(plan->arena, nodes, sizeof(int));
    p->step_of = og_arena_array(plan->arena, nodes, sizeof(int));
    p->workspace = og_arena_array(plan->arena, nodes, sizeof(size_t));
    p->last_read = og_arena_array(plan->arena, values, sizeof(int));
    p->defined = og_arena_array(plan->arena, values, sizeof(int));
    p->steady = og_arena_array(plan->arena, values, sizeof(bool));
    plan->steps = og_arena_array(plan->arena, 2 * nodes, sizeof(og_step));
    bool *once = og_arena_array(plan->arena, nodes, sizeof(bool));
    plan->buffers = og_arena_array(plan->arena, values + nodes, sizeof(og_buffer));
    plan->buffer_of = og_arena_array(plan->arena, values, sizeof(int));
    const bool *live = og_graph_live(g);
    if (!p->node_at || !p->step_of || !p->workspace || !p->last_read || !p->defined ||
        !plan->steps || !plan->buffers || !plan->buffer_of || !p->steady || !once || !live ||
        (p->keep && !og__find_once(g, &plan->layouts, p->storages, live, once, p->steady)))
        return false;
    plan->n_steps = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (once[i])
            p->node_at[plan->n_steps++] = i;
    plan->n_once = plan->n_steps;
    for (int i = 0; i < g->n_nodes; i++)
        if (live[i] && plan->layouts.kernels[i] && !once[i])
            p->node_at[plan->n_steps++] = i;
    og__plan_lifetimes(p);
    return true;
}

void og__plan_lifetimes(og__planner *p)
{
    const og_graph *g = p->g;
    int n_steps = p->plan->n_steps;
    for (int i = 0; i < g->n_nodes; i++)
        p->step_of[i] = -1;
    for (int v = 0; v < g->n_values; v++)
        p->last_read[v] = p->defined[v] = -1;
    for (int i = 0; i < n_steps; i++) {
        const og_node *n = g->nodes[p->node_at[i]];
        p->step_of[n->id] = i;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] >= 0)
                p->last_read[og__root_of(p, n->in[k])] = i;
        for (int k = 0; k < n->n_out; k++)
            p->defined[n->out[k]] = i;
    }
    for (int i = 0; i < g->n_outputs; i++)
        p->last_read[og__root_of(p, g->outputs[i].value)] = n_steps;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out >= 0)
            p->last_read[g->states[i].out] = n_steps;
}

/* Do two values of one type lie alike, element for element? Axes of one element do not count. */
static bool lie_alike(const og__planner *p, int a, int b)
{
    const og_layout *x = &p->plan->layouts.places[a].layout,
                    *y = &p->plan->layouts.places[b].layout;
    const og_type *type = &p->g->values[a]->type;
    bool alike = og_type_equal(type, &p->g->values[b]->type) && x->offset == y->offset;
    for (int d = 0; alike && d < type->rank; d++)
        alike = type->dims[d] == 1 || x->strides[d] == y->strides[d];
    return alike;
}

bool og__in_place(const og__planner *p, int step, int in, int out)
{
    const og_node *n = p->g->nodes[p->node_at[step]];
    const og_value *a = p->g->values[in], *b = p->g->values[out];
    unsigned flags = p->plan->layouts.kernels[n->id]->flags;
    int own = flags & OG_KERNEL_INPLACE || !n->program ? 0 : og_own_inputs(n);
    bool last =
        flags & OG_KERNEL_INPLACE_LAST && in == n->in[n->n_in - 1] && out == n->out[n->n_out - 1];
    if (!(flags & OG_KERNEL_INPLACE || (flags & OG_KERNEL_INPLACE_PROGRAM && n->program) || last) ||
        a->type.dtype != b->type.dtype ||
        og_type_elements(&a->type) != og_type_elements(&b->type) || p->last_read[in] != step)
        return false;
    for (int k = 0; k < n->n_in;
         k++) /* whatever view of `in` it reads must be all of it, element for element */
        if (n->in[k] >= 0 && og__root_of(p, n->in[k]) == in &&
            (k < own || !lie_alike(p, n->in[k], out)))
            return false;
    return true;
}

static int add_buffer(og_plan *plan, og_buffer b)
{
    plan->buffers[plan->n_buffers] = b;
    return plan->n_buffers++;
}

static int add_kept(og_plan *plan, int value)
{
    size_t bytes = (size_t)og_type_bytes(&plan->graph->values[value]->type);
    return add_buffer(plan, (og_buffer){.bytes = bytes,
                                        .first = -1,
                                        .last = plan->n_steps,
                                        .offset = og__keep(plan, bytes),
                                        .storage = OG_KEPT,
                                        .value = value});
}

/* An output takes the place of an input that is read for the last time; -1: of none. */
static int take_over(og__planner *p, int step, int y, int last)
{
    og_plan *plan = p->plan;
    const og_node *n = p->g->nodes[p->node_at[step]];
    for (int j = 0; j < n->n_in; j++) {
        int x = n->in[j] < 0 ? -1 : og__root_of(p, n->in[j]);
        int b = x < 0 ? -1 : plan->buffer_of[x];
        /* the buffer's `last` still ends here only if no other output took it over already */
        if (b < 0 || p->g->values[x]->kind != OG_VALUE_NODE || plan->buffers[b].storage >= 0 ||
            plan->buffers[b].last != step || !og__in_place(p, step, x, y))
            continue;
        plan->buffers[b].last = last > step ? last : step + 1; /* + 1: taken, even if never read */
        if (plan->buffers[b].last > plan->n_steps)
            plan->buffers[b].last = plan->n_steps;
        return b;
    }
    return -1;
}

void og__plan_buffers(og__planner *p)
{
    og_graph *g = p->g;
    og_plan *plan = p->plan;
    plan->n_buffers = 0;
    plan->kept_bytes = 0;
    for (int v = 0; v < g->n_values; v++)
        plan->buffer_of[v] = -1;
    for (int i = 0; i < g->n_states; i++) {
        const og_state *s = &g->states[i];
        int b =
            add_buffer(plan, (og_buffer){.bytes = (size_t)og_type_bytes(&g->values[s->in]->type),
                                         .first = -1,
                                         .last = plan->n_steps,
                                         .storage = s->storage,
                                         .value = s->in,
                                         .offset = p->storages->items[s->storage].offset});
        plan->buffer_of[s->in] = b;
        if (s->out >= 0)
            plan->buffer_of[s->out] = b;
    }
    for (int i = 0; i < plan->n_steps; i++) {
        const og_node *n = g->nodes[p->node_at[i]];
        for (int k = 0; k < n->n_out; k++) {
            int y = n->out[k];
            if (plan->buffer_of[y] >= 0)
                continue;
            if (i < plan->n_once && p->last_read[y] >= plan->n_once) {
                plan->buffer_of[y] = add_kept(plan, y);
                continue;
            }
            int last = p->last_read[y] > i ? p->last_read[y] : i;
            plan->buffer_of[y] = take_over(p, i, y, last);
            if (plan->buffer_of[y] < 0)
                plan->buffer_of[y] = add_buffer(
                    plan, (og_buffer){.bytes = (size_t)og_type_bytes(&g->values[y]->type),
                                      .first = i,
                                      .last = last,
                                      .storage = -1,
                                      .value = y});
        }
    }
    for (int i = 0; i < plan->n_steps; i++)
        if (p->workspace[p->node_at[i]])
            add_buffer(plan, (og_buffer){.bytes = p->workspace[p->node_at[i]],
                                         .first = i,
                                         .last = i,
                                         .storage = -1,
                                         .value = -1});
}
