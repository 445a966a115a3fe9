/* What a plan keeps while weights stay the same (plan.h): which nodes run once, which calls share
 * what is packed, and the order of a run. */
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/plan/plan.h"

/* ---- once */

/* A copy that the layout pass made, no larger than what it is of: a view may repeat elements. */
static bool is_small_copy(const og_graph *g, const og_layouts *l, const og_node *n)
{
    return og_op_is(n->op, OG_DOMAIN, "Copy") &&
           og_type_bytes(&g->values[n->out[0]]->type) <=
               og_type_bytes(&g->values[l->places[n->in[0]].root]->type);
}

static bool runs_once(const og_graph *g, const og_layouts *l, const og_node *n, const bool *steady,
                      const bool *leaves)
{
    if (!og_node_is_hoisted(n) && !is_small_copy(g, l, n))
        return false;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] >= 0 && !steady[l->places[n->in[k]].root])
            return false;
    for (int k = 0; k < n->n_out; k++)
        if (leaves[n->out[k]])
            return false;
    return true;
}

bool og__find_once(og_graph *g, const og_layouts *l, const og_storages *storages, const bool *live,
                   bool *once, bool *steady)
{
    bool *leaves = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    if (!leaves)
        return false;
    for (int v = 0; v < g->n_values; v++)
        steady[v] = g->values[v]->kind == OG_VALUE_CONST;
    for (int i = 0; i < g->n_states; i++) {
        steady[g->states[i].in] = og_storage_is_weight(storages, &g->states[i]);
        if (g->states[i].out >= 0)
            leaves[g->states[i].out] = true;
    }
    for (int i = 0; i < g->n_outputs; i++)
        leaves[l->places[g->outputs[i].value].root] = true;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        once[i] = live[i] && l->kernels[i] && runs_once(g, l, n, steady, leaves);
        for (int k = 0; once[i] && k < n->n_out; k++)
            steady[n->out[k]] = true;
    }
    return true;
}

/* ---- room */

size_t og__keep(og_plan *plan, size_t bytes)
{
    size_t at = plan->kept_bytes;
    plan->kept_bytes += og_align_up(bytes, OG_ALIGNMENT);
    return at;
}

static bool same_tensors(const og_tensor *a, const og_tensor *b, int n)
{
    for (int i = 0; i < n; i++) {
        if (!og_type_equal(&a[i].type, &b[i].type))
            return false;
        for (int d = 0; d < a[i].type.rank; d++)
            if (a[i].strides[d] != b[i].strides[d])
                return false;
    }
    return true;
}

/* Products may want other forms for other programs. */
static bool same_program(const og_program *a, const og_program *b)
{
    if (!a || !b || a->n_in != b->n_in || a->n_instr != b->n_instr)
        return a == b;
    for (int k = 0; k < a->n_instr; k++)
        if (a->instr[k].op != b->instr[k].op)
            return false;
    return true;
}

/* Is what call `a` packs what call `b` wants? */
static bool packs_alike(const og_plan *plan, const og_step *a, const og_step *b)
{
    const og_call *x = &a->call, *y = &b->call;
    if (a->kernel != b->kernel || x->nx != y->nx || x->ny != y->ny || x->steady != y->steady ||
        x->packed_bytes != y->packed_bytes || !og_node_same_attrs(x->node, y->node) ||
        !same_program(x->node->program, y->node->program) || !same_tensors(x->x, y->x, x->nx) ||
        !same_tensors(x->y, y->y, x->ny))
        return false;
    for (int k = 0; k < x->nx && k < OG_MOST_STEADY; k++) {
        if (!(x->steady >> k & 1))
            continue;
        const og_place *p = &plan->layouts.places[x->node->in[k]],
                       *q = &plan->layouts.places[y->node->in[k]];
        if (p->root != q->root || p->layout.offset != q->layout.offset)
            return false;
    }
    return true;
}

void og__add_pack(og_plan *plan, int step)
{
    og_step *s = &plan->steps[step], *packs = plan->steps + plan->n_steps;
    for (int i = 0; i < plan->n_packs; i++)
        if (packs_alike(plan, &plan->steps[packs[i].packs], s)) {
            s->packed_at = packs[i].packed_at;
            return;
        }
    s->packed_at = og__keep(plan, s->call.packed_bytes);
    packs[plan->n_packs] = *s;
    packs[plan->n_packs].prepared = false; /* it is the step's to release */
    packs[plan->n_packs++].packs = step;
}

/* ---- the order of a run */

bool og_plan_runs_once(const og_plan *plan, int step)
{
    return step < plan->n_once || step >= plan->n_steps;
}

/* `step`, or what comes in its place where nothing of its part is left. */
static int settle(const og_plan *plan, int step)
{
    if (step == plan->n_once && plan->n_packs && !plan->fresh)
        return plan->n_steps;
    return step < plan->n_steps ? step : -1;
}

int og_plan_first(const og_plan *plan)
{
    if (!plan->fresh && plan->n_once > 0)
        return 0;
    return settle(plan, plan->n_once);
}

int og_plan_next(const og_plan *plan, int step)
{
    if (step >= plan->n_steps) { /* a pack */
        if (step + 1 < plan->n_steps + plan->n_packs)
            return step + 1;
        return plan->n_once < plan->n_steps ? plan->n_once : -1;
    }
    return step < plan->n_once ? settle(plan, step + 1)
                               : (step + 1 < plan->n_steps ? step + 1 : -1);
}
