/* What a step reads of the caller's. Plans of the CPU read the caller's buffers in place. A device
 * with memory of its own has a slot for each input, at an address that stays, so that recorded
 * steps find it: all of a micro-batch's inputs travel in one feed, while earlier steps still run.
 */
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/train/train.h"

/* Inputs of the model, then targets. */
static int count(const og_session *s)
{
    return s->n_inputs + (s->targets ? s->losses.n_targets : 0);
}

static const og_type *type_of(const og_session *s, int input)
{
    return input < s->n_inputs ? &s->inputs[input] : &s->targets[input - s->n_inputs];
}

/* For as many samples as go through a plan at once. */
static size_t slot_bytes(const og_session *s, int input)
{
    og_type t = *type_of(s, input);
    if (t.rank > 0 && t.dims[0] == s->batch)
        t.dims[0] = s->micro;
    return (size_t)og_type_bytes(&t);
}

static size_t whole(size_t bytes)
{
    return og_align_up(bytes, OG_ALIGNMENT);
}

static bool is_remote(const og_session *s)
{
    return s->context->device->remote != NULL;
}

enum { POSITION = 3 }; /* seed, update, micro-batch */

og_status og__place_inputs(og_session *s)
{
    og__slots *slots = &s->slots;
    size_t n = (size_t)count(s);
    if (!is_remote(s))
        return OG_OK;
    slots->offsets = og_arena_array(s->arena, n + 1, sizeof(*slots->offsets));
    slots->copies = og_arena_array(s->arena, n + 1, sizeof(*slots->copies));
    if (!slots->offsets || !slots->copies)
        return og_fail_memory(&s->context->error, n * sizeof(og_copy), "inputs");
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        slots->offsets[i] = at;
        at += whole(slot_bytes(s, (int)i));
    }
    slots->feed = at + whole(POSITION * sizeof(int64_t));
    slots->lr = at;
    slots->bytes = at + whole(sizeof(double)) + 2 * slots->feed;
    return OG_OK;
}

og_status og__reserve_inputs(og_session *s, char *base)
{
    og__slots *slots = &s->slots;
    og_device *d = s->context->device;
    if (!is_remote(s))
        return OG_OK;
    slots->base = base;
    return d->remote->reserve(d, base + slots->bytes - 2 * slots->feed, 2 * slots->feed,
                              &s->context->error);
}

void og__bind_inputs(og_session *s, og_plan *plan)
{
    if (!is_remote(s))
        return;
    if (plan == s->update)
        og_plan_set_input(plan, 0, s->slots.base + s->slots.lr);
    for (int i = 0; plan != s->update && i < plan->graph->n_inputs; i++)
        og_plan_set_input(plan, i, s->slots.base + s->slots.offsets[i]);
}

/* Where in the run the next micro-batch is: what random ops depend on. */
static void fill_position(const og_session *s, int64_t position[POSITION])
{
    position[0] = og__option_int(s->options, "seed");
    position[1] = s->step;
    position[2] = s->pending;
}

/* Sample `first` of what the caller gave for an input, and those behind it. */
static const void *part(const og_session *s, int input, const void *data, int64_t first)
{
    return og__sample_at(s, type_of(s, input), data, first);
}

/* Input i of the plan, if it reads it. */
static void add_copy(og_session *s, const og_plan *plan, int i, const void *from, int *n)
{
    const og_type *t = &plan->graph->values[plan->graph->inputs[i]]->type;
    if (plan->n_patches[i])
        s->slots.copies[(*n)++] = (og_copy){.to = s->slots.base + s->slots.offsets[i],
                                            .from = from,
                                            .bytes = (size_t)og_type_bytes(t)};
}

og_status og__set_inputs(og_session *s, og_plan *plan, const void *const *inputs,
                         const void *const *targets, int64_t first)
{
    og_device *d = s->context->device;
    int64_t position[POSITION];
    int n = 0, n_targets = targets ? s->losses.n_targets : 0;
    if (s->position >= 0)
        fill_position(s, position);
    if (!is_remote(s)) {
        for (int i = 0; i < s->n_inputs; i++)
            og_plan_set_input(plan, i, part(s, i, inputs[i], first));
        for (int t = 0; t < n_targets; t++) {
            int place = s->n_inputs + s->target_place[t];
            og_plan_set_input(plan, place, part(s, place, targets[t], first));
        }
        if (s->position >= 0)
            memcpy(og__state_at(s, s->position), position, sizeof position);
        return OG_OK;
    }
    for (int i = 0; i < s->n_inputs; i++)
        add_copy(s, plan, i, part(s, i, inputs[i], first), &n);
    for (int t = 0; t < n_targets; t++) {
        int place = s->n_inputs + s->target_place[t];
        add_copy(s, plan, place, part(s, place, targets[t], first), &n);
    }
    if (s->position >= 0)
        s->slots.copies[n++] = (og_copy){og__state_at(s, s->position), position, sizeof position};
    return n ? d->remote->feed(d, s->slots.copies, n, &s->context->error) : OG_OK;
}

og_status og__set_lr_input(og_session *s)
{
    og_device *d = s->context->device;
    if (!is_remote(s)) {
        og_plan_set_input(s->update, 0, &s->lr);
        return OG_OK;
    }
    const og_copy copy = {s->slots.base + s->slots.lr, &s->lr, sizeof s->lr};
    return d->remote->feed(d, &copy, 1, &s->context->error);
}
