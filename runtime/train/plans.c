/* Plans by number of samples: made when a batch of that size first comes, kept for the session's
 * life. What evaluation needs beyond what training does is found out then. */
#include <limits.h>

#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

void og__bind_plan(og_session *s, og_plan *plan)
{
    og_plan_bind(plan, s->states, s->activations);
    og__bind_inputs(s, plan);
}

/* Nothing in the old region is needed any more, which goes before the new one comes. */
static og_status grow_activations(og_session *s, size_t bytes)
{
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    OG_TRY(og_device_finish(d, error));
    d->free(d, s->activations, s->activation_bytes);
    s->activations = d->alloc(d, bytes);
    if (s->activations) {
        s->activation_bytes = bytes;
        s->memory.peak += bytes - s->memory.activations;
        s->memory.activations = bytes;
    } else {
        og_fail_memory(error, bytes, "evaluation");
        s->activations = d->alloc(d, s->activation_bytes);
        s->broken = !s->activations;
    }
    for (int i = 0; i < s->n_plans; i++)
        og__bind_plan(s, s->plans[i].plan);
    if (s->update)
        og__bind_plan(s, s->update);
    return error->status;
}

/* Constants that no plan made before has get memory of their own. */
static og_status load_constants(og_session *s, og_plan_entry *e)
{
    og_device *d = s->context->device;
    size_t bytes = e->plan->constant_bytes;
    if (bytes)
        e->constants = d->alloc(d, bytes);
    if (bytes && !e->constants)
        return og_fail_memory(&s->context->error, bytes, "constants");
    OG_TRY(og_plan_load_constants(e->plan, e->constants, &s->context->error));
    s->memory.constants += bytes;
    s->memory.peak += bytes;
    return OG_OK;
}

/* Evaluation can need more than training. */
static og_status make_room(og_session *s, og_plan_entry *e)
{
    og_memory_report *m = &s->memory;
    og_plan *plan = e->plan;
    for (int i = 0; i < s->n_plans; i++)
        og_plan_share_constants(plan, s->plans[i].plan);
    bool grows = plan->activation_bytes > s->activation_bytes;
    uint64_t peak = m->peak + plan->constant_bytes;
    if (grows)
        peak = peak - m->activations + plan->activation_bytes;
    if (peak > m->budget) {
        char need[32], have[32];
        return og_fail(&s->context->error, OG_OUT_OF_MEMORY,
                       "evaluation needs %s, the budget is %s", og_format_bytes(need, peak),
                       og_format_bytes(have, m->budget));
    }
    if (grows)
        OG_TRY(grow_activations(s, plan->activation_bytes));
    return load_constants(s, e);
}

static og_plan *make_once(og_session *s, og_plan_kind kind, int64_t samples)
{
    og_error *error = &s->context->error;
    og_arena *arena = og_arena_new();
    if (!arena) {
        og_fail_memory(error, 64, "a plan");
        return NULL;
    }
    int n_storages = s->storages.n;
    og_graph *g = kind == OG_PLAN_MICRO
                      ? og__build_micro(s, samples, arena)
                      : og__build_forward(s, samples, kind == OG_PLAN_EVAL, arena);
    og_plan *plan = og__plan_graph(s, g, false, arena);
    if (plan && s->storages.n != n_storages) {
        og_fail(error, OG_INTERNAL,
                "a plan for %lld samples needs state that the full batch does not",
                (long long)samples);
        og_plan_free(plan);
        return NULL;
    }
    return plan;
}

static og_plan *make_plan(og_session *s, og_plan_kind kind, int64_t samples)
{
    bool changes = false;
    og_plan *plan = make_once(s, kind, samples);
    bool good = plan && og__late_tune(s, &changes) == OG_OK;
    if (plan && (!good || changes)) {
        og_plan_free(plan);
        plan = good ? make_once(s, kind, samples) : NULL;
    }
    return plan;
}

/* Of fewer samples than planned first: what was computed again there may not be enough here. */
static og_plan *make_smaller(og_session *s, og_plan *plan, int64_t samples)
{
    og_recompute how = s->recompute;
    og_plan_free(plan);
    s->recompute.drop = INT_MAX;
    plan = make_plan(s, OG_PLAN_MICRO, samples);
    s->recompute = how;
    return plan;
}

og_plan *og__find_plan(og_session *s, og_plan_kind kind, int64_t samples)
{
    for (int i = 0; i < s->n_plans; i++)
        if (s->plans[i].kind == kind && s->plans[i].samples == samples)
            return s->plans[i].plan;
    og_plan_entry *grown =
        og_arena_grow(s->arena, s->plans, (size_t)s->n_plans, &s->plans_capacity, sizeof(*grown));
    if (!grown) {
        og_fail_memory(&s->context->error, sizeof(*grown), "a plan");
        return NULL;
    }
    s->plans = grown;
    og_plan_entry e = {.kind = kind, .samples = samples, .plan = make_plan(s, kind, samples)};
    if (e.plan && kind == OG_PLAN_MICRO && e.plan->activation_bytes > s->activation_bytes)
        e.plan = make_smaller(s, e.plan, samples);
    if (!e.plan)
        return NULL;
    if (make_room(s, &e) != OG_OK) {
        if (e.constants)
            s->context->device->free(s->context->device, e.constants, e.plan->constant_bytes);
        og_plan_free(e.plan);
        return NULL;
    }
    og__bind_plan(s, e.plan);
    s->plans[s->n_plans++] = e;
    return e.plan;
}

og_status og__run_plan(og_session *s, og_plan *plan, og_profile *profile, const atomic_bool *cancel)
{
    og_error *error = &s->context->error;
    if (s->check_memory)
        return og_plan_run_checked(plan, s->state_bytes, error);
    if (profile)
        return og_plan_run_profiled(plan, profile, cancel, error);
    return og_plan_run(plan, cancel, error);
}
