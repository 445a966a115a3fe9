/* Which node made a value that is not finite: a micro-batch run again, node by node. The plan is
 * one of its own, without fusion, so that every node of the model has its tensor; it takes memory
 * that the session's plans do not, while a run that has failed already is looked into. */
#include <stdio.h>

#include "runtime/train/train.h"

static og_plan *plan_apart(og_session *s, int64_t samples)
{
    og_error *error = &s->context->error;
    og_arena *arena = og_arena_new(), *own = NULL;
    og_graph *g = arena ? og__build_micro(s, samples, arena) : NULL;
    g = g ? og_pass_simplify(g) : NULL;
    g = g && g->error.status == OG_OK ? og_pass_legalize(g, s->context->device) : g;
    if (g && g->error.status != OG_OK)
        og_error_move(error, &g->error);
    if (g && error->status == OG_OK)
        own = og_arena_new();
    og_graph *planned = own ? og_graph_copy(g, own) : NULL;
    og_arena_free(arena);
    if (planned)
        return og_plan_new(planned, own, &s->storages, 0, s->context->device, false, error);
    og_arena_free(own);
    if (error->status == OG_OK)
        og_fail_memory(error, sizeof(og_graph), "a plan");
    return NULL;
}

static og_status look(og_session *s, const void *const *inputs, const void *const *targets,
                      int64_t first, int64_t next, char text[256])
{
    og_error *error = &s->context->error;
    og_device *d = s->context->device;
    const og_node *found = NULL;
    og_plan *plan = plan_apart(s, next - first);
    if (!plan)
        return error->status;
    size_t bytes = plan->activation_bytes ? plan->activation_bytes : OG_ALIGNMENT;
    void *memory = d->alloc(d, bytes);
    og_status status = memory ? OG_OK : og_fail_memory(error, bytes, "a look at every tensor");
    if (status == OG_OK) {
        og_plan_bind(plan, s->states, memory);
        status = og__set_inputs(s, plan, inputs, targets, first);
    }
    if (status == OG_OK)
        status = og_plan_find_non_finite(plan, &found, error);
    if (found)
        og_node_text(text, found);
    d->free(d, memory, bytes);
    og_plan_free(plan);
    return status;
}

og_status og_session_find_non_finite(og_session *s, const void *const *inputs,
                                     const void *const *targets, int64_t samples, int64_t micro,
                                     char text[256])
{
    text[0] = '\0';
    OG_TRY(og__session_begin(s, samples));
    if (s->context->device->remote || s->losses.n == 0)
        return OG_OK;
    int64_t parts = (samples + s->micro - 1) / s->micro;
    og_status status = OG_OK;
    for (int64_t i = 0; i < parts && status == OG_OK && !text[0]; i++) {
        s->pending = (int)(micro * parts + i);
        status = look(s, inputs, targets, og__part_begin(samples, i, parts),
                      og__part_begin(samples, i + 1, parts), text);
    }
    s->pending = s->calls = 0;
    s->pending_samples = 0;
    if (og__clear_sums(s) != OG_OK)
        s->broken = true;
    return status;
}
