/* A graph run as sessions run it: simplified, legalized, fused, given epilogues, planned, and
 * executed with the plan's promises checked (og_plan_run_checked), on the device's best kernels. */
#ifndef OG_TESTS_PLANNED_H
#define OG_TESTS_PLANNED_H

#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/exec/exec.h"

typedef struct planned {
    og_plan *plan;
    void *states, *activations;
} planned;

static void planned_free(planned *p)
{
    og_plan_free(p->plan);
    free(p->states);
    free(p->activations);
}

static og_graph *planned_pass(og_graph *g, og_error *error)
{
    if (g)
        og_error_move(error, &g->error);
    return error->status == OG_OK ? g : NULL;
}

/* Plans `g`, which lives in `arena` (the plan's from here on, also on failure), and runs it once.
 * inputs: one a graph input. States begin with their storages' initial content. On error nothing is
 * left to free. */
static og_status planned_run(planned *p, og_graph *g, og_arena *arena, og_storages *storages,
                             og_device *device, const void *const *inputs, og_error *error)
{
    *p = (planned){0};
    g = planned_pass(og_pass_simplify(g), error);
    g = g ? planned_pass(og_pass_legalize(g, device), error) : NULL;
    g = g ? planned_pass(og_pass_simplify(g), error) : NULL;
    g = g ? planned_pass(og_pass_fuse(g, device), error) : NULL;
    g = g ? planned_pass(og_pass_epilogue(g, device), error) : NULL;
    if (!g) {
        og_arena_free(arena);
        return error->status != OG_OK ? error->status : og_fail_memory(error, 64, "a plan");
    }
    size_t state_bytes = og_storages_place(storages);
    p->plan = og_plan_new(g, arena, storages, 0, device, false, error);
    if (!p->plan)
        return error->status;
    p->states = aligned_alloc(OG_ALIGNMENT, state_bytes + OG_ALIGNMENT);
    p->activations = aligned_alloc(
        OG_ALIGNMENT, og_align_up(p->plan->activation_bytes, OG_ALIGNMENT) + OG_ALIGNMENT);
    og_status status =
        p->states && p->activations ? OG_OK : og_fail_memory(error, state_bytes, "a plan");
    if (status == OG_OK)
        memset(p->states, 0, state_bytes);
    for (int i = 0; i < storages->n && status == OG_OK; i++) {
        const og_storage *s = &storages->items[i];
        if (s->initial)
            memcpy((char *)p->states + s->offset, s->initial, (size_t)og_type_bytes(&s->type));
    }
    if (status == OG_OK) {
        og_plan_bind(p->plan, p->states, p->activations);
        for (int i = 0; i < g->n_inputs; i++)
            og_plan_set_input(p->plan, i, inputs[i]);
        status = og_plan_run_checked(p->plan, state_bytes, error);
    }
    if (status != OG_OK)
        planned_free(p);
    return status;
}

/* Output i as a value that can be read, until planned_free. */
static og_value planned_output(const planned *p, int i)
{
    const og_graph *g = p->plan->graph;
    return (og_value){.kind = OG_VALUE_CONST,
                      .type = g->values[g->outputs[i].value]->type,
                      .data = og_plan_output(p->plan, i)};
}

#endif
