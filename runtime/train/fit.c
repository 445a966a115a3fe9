/* The plans of a training session: which activations a micro-batch keeps, so that the peak is
 * within the budget, and what that costs.
 *
 * Where several micro-batches share weights, what depends on them alone is kept; that is the first
 * to go where it does not fit, and max keeps nothing of it.
 *
 * auto: what costs next to nothing is always computed again. If that does not fit, as much as is
 * needed of all that is cheap, the cheapest for a byte first. If that does not, checkpoints are set
 * at every stride-th cut, and of the values between them as few as fit are dropped, in the same
 * order. max: all of them, with the stride that has the least peak. */
#include <string.h>

#include "runtime/train/train.h"

enum { MOST_STRIDE = 16, ALL = 1 << 30 };

/* Slabs of what update treats alike, before anything has a place; once. */
static bool gather_states(og_session *s)
{
    return og_storages_gather(&s->storages, OG_STORAGE_STAGED, OG_ALIGNMENT) &&
           (og_optimizer_is_by_tensor(s->optimizer.name) ||
            (og_storages_gather(&s->storages, OG_STORAGE_GRADIENT, OG_ALIGNMENT) &&
             og_storages_gather_halves(&s->storages)));
}

/* A micro-batch's plan; its recompute's outputs are in s->recomputed. NULL on error. */
static og_plan *plan_micro(og_session *s, og_recompute how)
{
    s->recompute = how;
    og_arena *arena = og_arena_new();
    if (!arena) {
        og_fail_memory(&s->context->error, 64, "a plan");
        return NULL;
    }
    og_graph *g = og__build_micro(s, s->micro, arena);
    if (g && !s->update && !gather_states(s)) {
        og_fail_memory(&s->context->error, sizeof(og_storage), "slabs");
        g = NULL;
    }
    return og__plan_graph(s, g, s->keeps, arena);
}

static og_plan *plan_update(og_session *s)
{
    og_arena *arena = og_arena_new();
    if (!arena) {
        og_fail_memory(&s->context->error, 64, "a plan");
        return NULL;
    }
    return og__plan_graph(s, og__build_update_graph(s, &s->storages, arena), false, arena);
}

static uint64_t peak_with(og_session *s, const og_plan *plan)
{
    size_t activations = plan->activation_bytes > s->update->activation_bytes
                             ? plan->activation_bytes
                             : s->update->activation_bytes;
    return og__persistent_bytes(s, plan) + activations;
}

/* Replaces *plan by one made in another way; it is kept if that fails. */
static og_status replace(og_session *s, og_plan **plan, og_recompute how)
{
    og_plan *other = plan_micro(s, how);
    if (!other)
        return s->context->error.status;
    og_plan_free(*plan);
    *plan = other;
    return OG_OK;
}

/* Blocks with the stride of the least peak; *best is that peak, *how what makes it. Other
 * batches of the model were tried before: their stride. */
static og_status find_stride(og_session *s, og_plan **plan, uint64_t *best, og_recompute *how)
{
    int known = s->attempt.stride;
    for (int stride = known ? known : 1; stride <= MOST_STRIDE; stride *= 2) {
        og_recompute blocks = {.level = OG_RECOMPUTE_BLOCKS, .drop = ALL, .stride = stride};
        OG_TRY(replace(s, plan, blocks));
        uint64_t peak = peak_with(s, *plan);
        if (peak < *best) {
            *best = peak;
            *how = blocks;
        }
        if (known || stride >= s->recomputed.cuts)
            break;
    }
    s->attempt.stride = how->stride;
    return OG_OK;
}

/* The fewest dropped that fit, of the level's candidates; `fails` do not. All of them do. */
static og_status find_drop(og_session *s, og_plan **plan, og_recompute how, int fails)
{
    int fits = s->recomputed.candidates;
    uint64_t stays = og__persistent_bytes(s, *plan);
    s->room = s->memory.budget > stays ? (size_t)(s->memory.budget - stays) : 0;
    while (fits - fails > 1) {
        how.drop = fails + (fits - fails) / 2;
        OG_TRY(replace(s, plan, how));
        if (peak_with(s, *plan) <= s->memory.budget)
            fits = how.drop;
        else
            fails = how.drop;
    }
    s->room = 0;
    how.drop = fits;
    return replace(s, plan, how);
}

/* *plan, with what is next to free computed again, does not fit. */
static og_status fit(og_session *s, og_plan **plan, bool most)
{
    og_recompute how = {.level = OG_RECOMPUTE_CHEAP, .drop = ALL};
    int next_to_free = s->recomputed.dropped;
    OG_TRY(replace(s, plan, how));
    uint64_t best = peak_with(s, *plan);
    if (!most && best <= s->memory.budget)
        return find_drop(s, plan, how, next_to_free);
    OG_TRY(find_stride(s, plan, &best, &how));
    if (how.level != s->recompute.level || how.stride != s->recompute.stride)
        OG_TRY(replace(s, plan, how));
    if (!most && how.level == OG_RECOMPUTE_BLOCKS && best <= s->memory.budget)
        OG_TRY(find_drop(s, plan, how, -1));
    s->memory.least = best;
    return OG_OK;
}

og_status og__plan_training(og_session *s, og_plan **plan)
{
    bool most = strcmp(og_options_get(s->options, "recompute"), "max") == 0;
    s->keeps = s->optimizer.accumulation > 1 && !most;
    *plan = plan_micro(s, s->recompute);
    og_recompute micro = s->recomputed;
    s->update = *plan ? plan_update(s) : NULL;
    double update = s->recomputed.seconds;
    s->recomputed = micro;
    if (!s->update)
        return s->context->error.status;
    if (s->keeps && peak_with(s, *plan) > s->memory.budget) {
        s->keeps = false;
        OG_TRY(replace(s, plan, s->recompute));
    }
    if (s->recompute.level != OG_RECOMPUTE_OFF && (most || peak_with(s, *plan) > s->memory.budget))
        OG_TRY(fit(s, plan, most));
    double once = s->recomputed.seconds, more = s->recomputed.more_seconds;
    s->memory.more_time = once > 0 ? more / once : 0;
    double hoisted = s->recomputed.hoisted_seconds;
    s->memory.seconds = (once - hoisted + more) * s->optimizer.accumulation + hoisted + update;
    return OG_OK;
}
