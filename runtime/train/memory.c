/* The session's memory: the budget, one block for states and one for activations, and the states'
 * first content. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/device/transfer.h"
#include "runtime/graph/build.h"
#include "runtime/train/train.h"

void og__fill_budget(og_session *s)
{
    og_memory_report *m = &s->memory;
    og_device *d = s->context->device;
    const char *device = og_options_get(s->options, "device_memory");
    const char *text = og_options_get(s->options, "memory_budget");
    uint64_t cap;
    if (device && og_parse_bytes(device, &cap))
        m->total = m->available = cap;
    else
        d->memory(d, &m->total, &m->available);
    double share = og__option_float(s->options, "memory_fraction") * (double)m->total;
    m->budget = share < (double)m->available ? (uint64_t)share : m->available;
    if (text && og_parse_bytes(text, &cap) && cap < m->budget)
        m->budget = cap;
    if (s->attempt.cap && s->attempt.cap < m->budget)
        m->budget = s->attempt.cap;
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
        case OG_STORAGE_AVERAGE:
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

void og__session_forget(const og_session *s, const void *data, size_t bytes)
{
    og_onnx_forget(s->model->onnx, data, bytes);
    if (s->model->source)
        og_onnx_forget(s->model->source, data, bytes);
    for (int i = 0; i < s->losses.n; i++)
        if (s->losses.sources[i].onnx)
            og_onnx_forget(s->losses.sources[i].onnx, data, bytes);
}

void *og__state_at(const og_session *s, int storage)
{
    return s->states + s->storages.items[storage].offset;
}

static void fill_elements(void *to, og_dtype dtype, size_t n, double value)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == OG_DOUBLE)
            ((double *)to)[i] = value;
        else
            ((float *)to)[i] = (float)value;
    }
}

/* The state lies in fresh memory of the device, which is zero; what stays so is first touched by
 * the step's threads. fill: of float32 and float64 states alone. */
static og_status fill_state(og_session *s, int storage)
{
    const og_storage *st = &s->storages.items[storage];
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    char *at = og__state_at(s, storage);
    size_t bytes = (size_t)og_type_bytes(&st->type);
    if (st->kind == OG_STORAGE_AVERAGE)
        return OG_OK; /* copied when its parameter is there */
    if (st->initial) {
        OG_TRY(og_device_upload(d, at, st->initial, bytes, error));
        og__session_forget(s, st->initial, bytes);
        if (st->kind == OG_STORAGE_PARAMETER) /* others' content is read twice */
            og_onnx_release(s->model->onnx, st->initial, bytes, false);
        return OG_OK;
    }
    if (st->fill == 0)
        return OG_OK;
    size_t size = (size_t)og_dtype_bits(st->type.dtype) / 8;
    double pattern[512];
    if (!d->remote) {
        fill_elements(at, st->type.dtype, bytes / size, st->fill);
        return OG_OK;
    }
    fill_elements(pattern, st->type.dtype, sizeof pattern / size, st->fill);
    for (size_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < sizeof pattern ? bytes - done : sizeof pattern;
        OG_TRY(og_device_upload(d, at + done, pattern, n, error));
    }
    return OG_OK;
}

/* On the device, and what the host has of them is not needed any more. */
static og_status load_constants(og_session *s, og_plan *plan, char *base)
{
    if (!plan)
        return OG_OK;
    OG_TRY(og_plan_load_constants(plan, base, &s->context->error));
    for (int i = 0; i < plan->n_constants; i++)
        og__session_forget(s, plan->constants[i].data, plan->constants[i].bytes);
    return OG_OK;
}

/* Beside the states: constants and inputs, on a device with memory of its own. */
static size_t extra_bytes(const og_session *s, const og_plan *plan)
{
    return plan->constant_bytes + (s->update ? s->update->constant_bytes : 0) + s->slots.bytes;
}

/* The peak is the least one here, unless option recompute is off. */
static og_status too_large(og_session *s)
{
    const og_memory_report *m = &s->memory;
    og_error *error = &s->context->error;
    char need[32], have[32], states[32], least[128] = "";
    const char *what = s->losses.n ? "training" : "prediction";
    og_format_bytes(need, m->peak);
    og_format_bytes(have, m->budget);
    og_format_bytes(states, s->state_bytes);
    if (s->losses.n && m->least)
        snprintf(least, sizeof least, "; --memory_budget %llu is the least that works",
                 (unsigned long long)m->least);
    else if (s->losses.n)
        snprintf(least, sizeof least, "; --recompute auto takes less");
    return og_fail(error, OG_OUT_OF_MEMORY,
                   "%s at batch size %lld%s needs %s%s, of which %s hold%s; %s %s%s%s", what,
                   (long long)s->batch, s->micro < s->batch ? ", split as far as it goes," : "",
                   need, m->least ? " even with all that can be computed again" : "", states,
                   s->losses.n ? " parameters, gradients and optimizer state" : " parameters",
                   s->attempt.cap ? "the system refuses more than" : "the budget is", have, least,
                   s->attempt.tied);
}

size_t og__persistent_bytes(og_session *s, const og_plan *plan)
{
    return og_storages_place(&s->storages) + plan->kept_bytes + extra_bytes(s, plan);
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

static int find_position(const og_session *s)
{
    for (int i = 0; i < s->storages.n; i++)
        if (strcmp(s->storages.items[i].name, OG_STATE_POSITION) == 0)
            return i;
    return -1;
}

og_status og__session_fits(og_session *s, og_plan *plan, size_t activation_bytes)
{
    og_memory_report *m = &s->memory;
    if (!place_kept(s, plan))
        return og_fail_memory(&s->context->error, sizeof(og_storage), "states");
    s->state_bytes = og_storages_place(&s->storages);
    s->activation_bytes = activation_bytes ? activation_bytes : OG_ALIGNMENT;
    s->position = find_position(s);
    if (s->update)
        og_plan_share_constants(s->update, plan);
    size_t extra = extra_bytes(s, plan);
    s->resident_bytes = s->state_bytes + extra;
    if (!s->resident_bytes)
        s->resident_bytes = OG_ALIGNMENT;
    count_states(s);
    m->inputs = s->slots.bytes;
    m->constants = extra - s->slots.bytes;
    m->activations = activation_bytes;
    m->lower_bound = s->lower_bound;
    m->peak = s->state_bytes + extra + activation_bytes;
    s->attempt.too_large = m->peak > m->budget;
    return s->attempt.too_large ? too_large(s) : OG_OK;
}

/* One block for what stays: states | constants of the plan | of update | inputs. */
static og_status fill_resident(og_session *s)
{
    og_plan *plan = s->plans[0].plan;
    char *at = s->states + s->state_bytes;
    OG_TRY(load_constants(s, plan, at));
    at += plan->constant_bytes;
    OG_TRY(load_constants(s, s->update, at));
    at += s->update ? s->update->constant_bytes : 0;
    OG_TRY(og__reserve_inputs(s, at));
    for (int in_slab = 0; in_slab < 2; in_slab++) /* slabs before what lies in them */
        for (int i = 0; i < s->storages.n; i++)
            if ((s->storages.items[i].slab >= 0) == in_slab)
                OG_TRY(fill_state(s, i));
    OG_TRY(og__begin_averages(s));
    return og__renew_half_copies(s, -1);
}

/* By everyone; 0 of the host's memory, which is taken as it is touched. */
static uint64_t device_used(og_device *d)
{
    uint64_t total = 0, left = 0;
    if (d->remote)
        d->memory(d, &total, &left);
    return total > left ? total - left : 0;
}

og_status og__session_allocate(og_session *s)
{
    og_device *d = s->context->device;
    s->memory.used_before = device_used(d);
    s->states = d->alloc(d, s->resident_bytes);
    s->activations = s->states ? d->alloc(d, s->activation_bytes) : NULL;
    if (!s->activations)
        return og_fail_memory(&s->context->error, (size_t)s->memory.peak, "the session");
    s->memory.used_after = device_used(d);
    OG_TRY(fill_resident(s));
    for (int i = 0; i < s->n_plans; i++)
        og__bind_plan(s, s->plans[i].plan);
    if (s->update)
        og__bind_plan(s, s->update);
    return og__results_new(s);
}

uint64_t og__device_left(og_device *d, uint64_t bytes)
{
    uint64_t given = 0, step = bytes / 256 + 1;
    while (bytes - given > step) {
        uint64_t middle = given + (bytes - given) / 2;
        void *block = d->alloc(d, (size_t)middle);
        if (block)
            given = middle;
        else
            bytes = middle;
        d->free(d, block, (size_t)middle);
    }
    return given;
}
