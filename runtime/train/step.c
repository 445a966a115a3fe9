/* Stepping a session: micro-batches and updates. A batch that was split goes through the plans in
 * parts: rows of the caller's buffers, which lie one after the other. */
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

og_status og__session_has_memory(og_session *s)
{
    if (s->states)
        return OG_OK;
    return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                   "this session has no memory: with option device_memory it only plans");
}

og_status og__session_begin(og_session *s, int64_t samples)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    if (s->broken)
        return og_fail(error, OG_INTERNAL, "an earlier error left this session unusable");
    OG_TRY(og__session_has_memory(s));
    if (samples < 1 || samples > s->batch)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "%lld samples were given; the session was planned for 1 to %lld",
                       (long long)samples, (long long)s->batch);
    return OG_OK;
}

og_status og__clear_sums(og_session *s)
{
    og_device *d = s->context->device;
    og_error error = {0}; /* the context has one already: why they are cleared */
    og_status status = OG_OK;
    for (int i = 0; i < s->storages.n && status == OG_OK; i++) {
        const og_storage *st = &s->storages.items[i];
        size_t bytes = (size_t)og_type_bytes(&st->type);
        if (st->kind == OG_STORAGE_GRADIENT || og_total_is_sum(st) || og_is_accumulating(st))
            status = og_device_clear(d, og__state_at(s, i), bytes, &error);
        else if (st->kind == OG_STORAGE_STAGED)
            status = og_device_copy(d, og__state_at(s, i), og__state_at(s, st->of), bytes, &error);
    }
    og_error_clear(&error);
    return status;
}

/* A micro-batch failed; so does the call, and its update begins anew. */
static og_status discard_sums(og_session *s, og_status why)
{
    if (og__clear_sums(s) != OG_OK)
        s->broken = true;
    s->pending = s->calls = 0;
    s->pending_samples = 0;
    return why;
}

/* Is it known that the update that was just run changed no weights? Not of one that is queued. */
static bool was_skipped(const og_session *s)
{
    return !s->context->device->remote &&
           !*(const uint8_t *)og_plan_output(s->update, OG_UPDATE_FINITE);
}

/* Queues the update. */
static og_status update(og_session *s)
{
    OG_TRY(og__use_weights(s));
    og_status status = og__set_lr_input(s);
    if (status == OG_OK)
        status = og__run_plan(s, s->update, s->profile, NULL);
    if (status == OG_OK)
        status = og__results_push(
            s,
            &(og__update_record){.step = s->step + 1, .samples = s->pending_samples, .lr = s->lr});
    if (status != OG_OK) {
        s->broken = true;
        return status;
    }
    s->step++;
    s->pending = s->calls = 0;
    s->pending_samples = 0;
    if (!was_skipped(s))
        og__weights_changed(s);
    return OG_OK;
}

static og_step_result no_result(const og_session *s)
{
    return (og_step_result){
        .step = s->reported, .begun = s->step, .lr = s->lr, .loss_scale = 1, .next_loss_scale = 1};
}

/* Samples from `first` to before `next`. */
static og_status train_part(og_session *s, const void *const *inputs, const void *const *targets,
                            int64_t first, int64_t next)
{
    og_plan *plan = og__find_plan(s, OG_PLAN_MICRO, next - first);
    if (!plan)
        return s->context->error.status;
    OG_TRY(og__set_inputs(s, plan, inputs, targets, first));
    OG_TRY(og__run_plan(s, plan, s->profile, &s->cancel));
    s->pending++;
    return OG_OK;
}

static og_status train_step(og_session *s, const void *const *inputs, const void *const *targets,
                            int64_t samples, og_step_result *result)
{
    og_error *error = &s->context->error;
    *result = no_result(s);
    og_status status;
    OG_TRY(og__session_begin(s, samples));
    if (s->losses.n == 0)
        return og_fail(error, OG_INVALID_ARGUMENT, "this session has no loss: it only predicts");
    OG_TRY(og__use_weights(s));
    if (!targets && s->losses.n_targets)
        return og_fail(error, OG_INVALID_ARGUMENT, "no targets were given; the losses take %d",
                       s->losses.n_targets);
    status = og__check_labels(s, targets, samples);
    if (status != OG_OK)
        return discard_sums(s, status);
    int64_t parts = (samples + s->micro - 1) / s->micro;
    for (int64_t i = 0; i < parts; i++) {
        status = train_part(s, inputs, targets, og__part_begin(samples, i, parts),
                            og__part_begin(samples, i + 1, parts));
        if (status != OG_OK)
            return discard_sums(s, status);
    }
    s->calls++;
    s->pending_samples += samples;
    if (s->calls < s->accumulation)
        return OG_OK;
    OG_TRY(update(s));
    result->begun = s->step;
    return og__results_take(s, false, result);
}

og_status og_session_train_step(og_session *s, const void *const *inputs,
                                const void *const *targets, int64_t samples, og_step_result *result)
{
    int64_t before = s->step;
    og_profile_enter(s->profile);
    og_status status = train_step(s, inputs, targets, samples, result);
    og_profile_leave(s->profile, s->step > before);
    return status;
}

og_status og_session_flush(og_session *s, og_step_result *result)
{
    *result = no_result(s);
    OG_TRY(og__session_begin(s, 1));
    if (s->pending) {
        og_profile_enter(s->profile);
        og_status status = update(s);
        og_profile_leave(s->profile, status == OG_OK);
        if (status != OG_OK)
            return status;
        result->begun = s->step;
    }
    OG_TRY(og_device_finish(s->context->device, &s->context->error));
    return og__results_take(s, true, result);
}

og_status og_session_report(og_session *s, og_step_result *result)
{
    *result = no_result(s);
    OG_TRY(og__session_begin(s, 1));
    return og__results_take(s, true, result);
}

void og_session_set_lr(og_session *s, double lr)
{
    s->lr = lr;
}

void og_session_cancel(og_session *s)
{
    atomic_store(&s->cancel, true);
}
