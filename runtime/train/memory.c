/* The session's memory: the budget, one block for states and one for activations, and the states'
 * first content. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/graph/build.h"
#include "runtime/train/train.h"

void og__fill_budget(og_session *s)
{
    og_memory_report *m = &s->memory;
    og_device *d = s->context->device;
    uint64_t cap;
    d->memory(d, &m->total, &m->available);
    double share = og__option_float(s->options, "memory_fraction") * (double)m->total;
    m->budget = share < (double)m->available ? (uint64_t)share : m->available;
    const char *text = og_options_get(s->options, "memory_budget");
    if (text && og__parse_bytes(text, &cap) && cap < m->budget)
        m->budget = cap;
}

static void count_states(og_session *s)
{
    og_memory_report *m = &s->memory;
    m->parameters = m->gradients = m->optimizer = m->derived = m->other_state = 0;
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *st = &s->storages.items[i];
        if (st->slab >= 0)
            continue;
        uint64_t bytes = og_align_up((size_t)og_type_bytes(&st->type), OG_ALIGNMENT);
        switch (st->kind) {
        case OG_STORAGE_PARAMETER:
        case OG_STORAGE_HALF:
            m->parameters += bytes;
            break;
        case OG_STORAGE_GRADIENT:
            m->gradients += bytes;
            break;
        case OG_STORAGE_MOMENT:
            m->optimizer += bytes;
            break;
        case OG_STORAGE_KEPT:
            m->derived += bytes;
            break;
        default:
            m->other_state += bytes;
            break;
        }
    }
}

void og__session_forget(const og_session *s, const og_type *type, const void *data)
{
    size_t bytes = (size_t)og_type_bytes(type);
    og_onnx_forget(s->model->onnx, data, bytes);
    for (int i = 0; i < s->losses.n; i++)
        if (s->losses.sources[i].onnx)
            og_onnx_forget(s->losses.sources[i].onnx, data, bytes);
}

/* at: fresh memory of the device, which is zero; what stays so is first touched by the step's
 * threads. fill: of float32 and float64 states alone. */
static void fill_state(const og_storage *st, void *at)
{
    size_t bytes = (size_t)og_type_bytes(&st->type);
    if (st->initial) {
        memcpy(at, st->initial, bytes);
        return;
    }
    for (int64_t i = 0; st->fill != 0 && i < og_type_elements(&st->type); i++) {
        if (st->type.dtype == OG_DOUBLE)
            ((double *)at)[i] = st->fill;
        else
            ((float *)at)[i] = (float)st->fill;
    }
}

/* The peak is the least one here, unless option recompute is off. */
static og_status too_large(og_session *s)
{
    const og_memory_report *m = &s->memory;
    char need[32], have[32], states[32], least[96] = "or --recompute auto";
    if (m->least)
        snprintf(least, sizeof least, "--memory_budget %llu is the least that works",
                 (unsigned long long)m->least);
    return og_fail(&s->context->error, OG_OUT_OF_MEMORY,
                   "%s at batch size %lld needs %s%s (%s of it for parameters, gradients and "
                   "optimizer), the budget is %s; use a smaller --batch_size with "
                   "--gradient_accumulation_steps, or a larger --memory_budget or "
                   "--memory_fraction%s%s%s",
                   s->losses.n ? "training" : "prediction", (long long)s->batch,
                   og_format_bytes(need, m->peak),
                   m->least ? ", with all computed again that can be," : "",
                   og_format_bytes(states, s->state_bytes), og_format_bytes(have, m->budget),
                   s->losses.n ? " (" : "", s->losses.n ? least : "", s->losses.n ? ")" : "");
}

size_t og__persistent_bytes(og_session *s, const og_plan *plan)
{
    return og_storages_place(&s->storages) + plan->kept_bytes;
}

/* What the plan keeps lies where a state of that size does. */
static bool place_kept(og_session *s, og_plan *plan)
{
    og_type type = og_type_make(OG_UINT8, 1, (int64_t[]){(int64_t)plan->kept_bytes});
    if (!plan->kept_bytes)
        return true;
    int kept = og_storage_get(&s->storages, OG_STORAGE_KEPT, "ai.ongrad.kept", &type, NULL, 0);
    if (kept < 0)
        return false;
    og_storages_place(&s->storages);
    plan->kept_offset = s->storages.items[kept].offset;
    return true;
}

void og__weights_changed(og_session *s)
{
    for (int i = 0; i < s->n_plans; i++)
        s->plans[i].plan->fresh = false;
}

og_status og__session_allocate(og_session *s, og_plan *plan, size_t activation_bytes)
{
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    og_memory_report *m = &s->memory;
    if (!place_kept(s, plan))
        return og_fail_memory(error, sizeof(og_storage), "states");
    s->state_bytes = og_storages_place(&s->storages);
    s->activation_bytes = activation_bytes ? activation_bytes : OG_ALIGNMENT;
    count_states(s);
    m->activations = activation_bytes;
    m->lower_bound = s->lower_bound;
    m->peak = s->state_bytes + activation_bytes;
    if (m->peak > m->budget)
        return too_large(s);
    s->states = d->alloc(d, s->state_bytes ? s->state_bytes : OG_ALIGNMENT);
    s->activations = d->alloc(d, s->activation_bytes);
    if (!s->states || !s->activations)
        return og_fail_memory(error, (size_t)m->peak, "the session");
    for (int in_slab = 0; in_slab < 2; in_slab++) /* slabs before what lies in them */
        for (int i = 0; i < s->storages.n; i++) {
            const og_storage *st = &s->storages.items[i];
            if ((st->slab >= 0) != in_slab)
                continue;
            fill_state(st, (char *)s->states + st->offset);
            if (st->initial)
                og__session_forget(s, &st->type, st->initial);
        }
    og__renew_half_copies(s, -1);
    return OG_OK;
}
