/* Constants that kernels read at run, on a device that has memory of its own: it needs a copy of
 * each, once. Where the host's memory is the device's, kernels read them where they lie. */
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/device/transfer.h"
#include "runtime/plan/plan.h"

static bool same_content(const og_constant *a, const og_constant *b)
{
    return a->bytes == b->bytes && (a->data == b->data || memcmp(a->data, b->data, a->bytes) == 0);
}

/* Those that are no other plan's one behind the other. */
static void place(og_plan *plan)
{
    size_t at = 0;
    for (int i = 0; i < plan->n_constants; i++) {
        if (plan->constants[i].shared)
            continue;
        plan->constants[i].offset = at;
        at += og_align_up(plan->constants[i].bytes, OG_ALIGNMENT);
    }
    plan->constant_bytes = at;
}

static void add(og_plan *plan, int value)
{
    const og_value *v = plan->graph->values[value];
    og_constant c = {.data = v->data, .bytes = (size_t)og_type_bytes(&v->type)};
    int i = 0;
    while (i < plan->n_constants && !same_content(&plan->constants[i], &c))
        i++;
    if (i == plan->n_constants)
        plan->constants[plan->n_constants++] = c;
    plan->constant_of[value] = i;
}

bool og__find_constants(og_plan *plan)
{
    const og_graph *g = plan->graph;
    if (!plan->device->remote)
        return true;
    plan->constant_of = og_arena_array(plan->arena, (size_t)g->n_values + 1, sizeof(int));
    plan->constants = og_arena_array(plan->arena, (size_t)g->n_values + 1, sizeof(og_constant));
    if (!plan->constant_of || !plan->constants)
        return false;
    for (int i = 0; i < g->n_values; i++)
        plan->constant_of[i] = -1;
    for (int i = 0; i < plan->n_steps; i++) {
        const og_node *n = plan->steps[i].call.node;
        for (int k = 0; k < n->n_in; k++) {
            bool read = n->in[k] >= 0 && (k >= 8 || !(n->op->type_only >> k & 1));
            int root = read ? plan->layouts.places[n->in[k]].root : -1;
            if (read && g->values[root]->kind == OG_VALUE_CONST && plan->constant_of[root] < 0 &&
                og_type_bytes(&g->values[root]->type) > 0)
                add(plan, root);
        }
    }
    place(plan);
    return true;
}

void og_plan_share_constants(og_plan *plan, const og_plan *from)
{
    for (int i = 0; i < plan->n_constants; i++) {
        og_constant *c = &plan->constants[i];
        for (int k = 0; k < from->n_constants && !c->shared; k++)
            if (same_content(c, &from->constants[k]))
                c->shared =
                    from->constants[k].shared ? from->constants[k].shared : &from->constants[k];
    }
    place(plan);
}

og_status og_plan_load_constants(og_plan *plan, void *base, og_error *error)
{
    for (int i = 0; i < plan->n_constants; i++) {
        og_constant *c = &plan->constants[i];
        c->at = c->shared ? c->shared->at : (char *)base + c->offset;
        if (!c->shared)
            OG_TRY(og_device_upload(plan->device, c->at, c->data, c->bytes, error));
    }
    return OG_OK;
}
