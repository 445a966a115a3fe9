/* A graph run as sessions run it: simplified, legalized, fused, given epilogues, planned, and
 * executed on the device's best kernels: with the plan's promises checked (og_plan_run_checked), or
 * on a device with memory of its own call by call and then once more as a recording. */
#ifndef OG_TESTS_PLANNED_H
#define OG_TESTS_PLANNED_H

#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/device/transfer.h"
#include "runtime/exec/exec.h"

typedef struct planned {
    og_plan *plan;
    char *memory; /* the device's: states, activations, constants and inputs */
    size_t bytes;
    char **outputs; /* a device's with memory of its own: the host's copies; in the plan's arena */
} planned;

static void planned_free(planned *p)
{
    og_device *d = p->plan->device;
    for (int i = 0; p->outputs && i < p->plan->graph->n_outputs; i++)
        free(p->outputs[i]);
    og_plan_free(p->plan);
    d->free(d, p->memory, p->bytes);
}

static og_graph *planned_pass(og_graph *g, og_error *error)
{
    if (g)
        og_error_move(error, &g->error);
    return error->status == OG_OK ? g : NULL;
}

static size_t planned_align(size_t bytes)
{
    return og_align_up(bytes, OG_ALIGNMENT) + OG_ALIGNMENT; /* no two at the same address */
}

/* Storages' initial content and the plan's constants; `inputs` behind them where the device's
 * memory is its own. */
static og_status planned_fill(planned *p, const og_storages *storages, size_t state_bytes,
                              const void *const *inputs, og_error *error)
{
    og_device *d = p->plan->device;
    const og_graph *g = p->plan->graph;
    char *activations = p->memory + planned_align(state_bytes);
    char *constants = activations + planned_align(p->plan->activation_bytes);
    char *at = constants + planned_align(p->plan->constant_bytes);
    OG_TRY(og_device_clear(d, p->memory, state_bytes, error));
    for (int i = 0; i < storages->n; i++) {
        const og_storage *s = &storages->items[i];
        if (s->initial)
            OG_TRY(og_device_upload(d, p->memory + s->offset, s->initial,
                                    (size_t)og_type_bytes(&s->type), error));
    }
    OG_TRY(og_plan_load_constants(p->plan, constants, error));
    og_plan_bind(p->plan, p->memory, activations);
    for (int i = 0; i < g->n_inputs; i++) {
        size_t bytes = (size_t)og_type_bytes(&g->values[g->inputs[i]]->type);
        if (d->remote)
            OG_TRY(og_device_upload(d, at, inputs[i], bytes, error));
        og_plan_set_input(p->plan, i, d->remote ? at : inputs[i]);
        at += d->remote ? planned_align(bytes) : 0;
    }
    return OG_OK;
}

static og_status planned_download(planned *p, og_error *error)
{
    const og_graph *g = p->plan->graph;
    p->outputs = og_arena_array(p->plan->arena, (size_t)g->n_outputs + 1, sizeof *p->outputs);
    if (!p->outputs)
        return og_fail_memory(error, sizeof *p->outputs, "a test");
    for (int i = 0; i < g->n_outputs; i++) {
        size_t bytes = (size_t)og_type_bytes(&g->values[g->outputs[i].value]->type);
        p->outputs[i] = malloc(bytes + 1);
        if (!p->outputs[i])
            return og_fail_memory(error, bytes, "a test");
        OG_TRY(og_device_download(p->plan->device, p->outputs[i], og_plan_output(p->plan, i), bytes,
                                  error));
    }
    return OG_OK;
}

static og_status planned_execute(planned *p, size_t state_bytes, og_error *error)
{
    if (!p->plan->device->remote)
        return og_plan_run_checked(p->plan, state_bytes, error);
    OG_TRY(og_plan_run(p->plan, NULL, error));
    OG_TRY(og_plan_run(p->plan, NULL, error));
    return planned_download(p, error);
}

/* Plans `g`, which lives in `arena` (the plan's from here on, also on failure), and runs it. inputs:
 * one a graph input, the host's memory. States begin with their storages' initial content. On error
 * nothing is left to free. */
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
    p->bytes = planned_align(state_bytes) + planned_align(p->plan->activation_bytes) +
               planned_align(p->plan->constant_bytes);
    for (int i = 0; device->remote && i < g->n_inputs; i++)
        p->bytes += planned_align((size_t)og_type_bytes(&g->values[g->inputs[i]]->type));
    p->memory = device->alloc(device, p->bytes);
    og_status status = p->memory ? planned_fill(p, storages, state_bytes, inputs, error)
                                 : og_fail_memory(error, p->bytes, "a plan");
    if (status == OG_OK)
        status = planned_execute(p, state_bytes, error);
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
                      .data = p->outputs ? p->outputs[i] : og_plan_output(p->plan, i)};
}

#endif
