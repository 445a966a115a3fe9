/* A new session: planned until it fits. The whole batch is tried first, with as much computed again
 * as that takes; then the batch in as few parts as fit. What the device refuses although it is
 * within the budget (another process took it) is planned again for what it still gives. */
#include <stdio.h>
#include <string.h>

#include "runtime/train/train.h"

enum { MOST_REFUSALS = 8, MOST_TUNINGS = 3 };

typedef struct wanted {
    og_model *model;
    const og_options *options;
    const og_tensor_info *inputs, *targets;
    int n_inputs, n_targets;
} wanted;

static og_session *plan(const wanted *w, og_attempt *attempt)
{
    return og__session_plan(w->model, w->options, w->inputs, w->n_inputs, w->targets, w->n_targets,
                            attempt);
}

/* The error of the whole batch, with why it was not split. */
static og_session *fail_whole(const wanted *w, uint64_t cap, const char *tied)
{
    og_attempt whole = {.pieces = 1, .cap = cap};
    snprintf(whole.tied, sizeof whole.tied, "%s", tied);
    return plan(w, &whole);
}

/* Few parts, with checkpoints as the whole has them: twice as many until they fit, then those
 * between. */
static og_session *plan_split(const wanted *w, uint64_t cap, int64_t batch, int stride)
{
    int fails = 1, fits = 0;
    bool apart = false;
    og_session *s = NULL;
    for (int pieces = 2; !fits; pieces *= 2) {
        og_attempt attempt = {
            .pieces = pieces < batch ? pieces : (int)batch, .cap = cap, .stride = stride};
        s = plan(w, &attempt);
        apart |= attempt.apart;
        if (!s && *attempt.tied)
            return fail_whole(w, cap, attempt.tied);
        if (!s && (!attempt.too_large || attempt.pieces >= batch))
            return NULL;
        *(s ? &fits : &fails) = attempt.pieces;
    }
    while (fits - fails > 1) {
        int middle = fails + (fits - fails) / 2;
        og_attempt attempt = {.pieces = middle, .cap = cap, .apart = apart, .stride = stride};
        og_session *other = plan(w, &attempt);
        if (!other && !attempt.too_large) {
            og_session_free(s);
            return NULL;
        }
        if (!other || attempt.pieces >= fits) {
            og_session_free(other);
            fails = middle;
            continue;
        }
        og_session_free(s);
        s = other;
        fits = attempt.pieces;
    }
    og__context_begin(w->model->context);
    return s;
}

static og_session *plan_within(const wanted *w, uint64_t cap)
{
    og_attempt whole = {.pieces = 1, .cap = cap};
    og_session *s = plan(w, &whole);
    int64_t batch = w->n_inputs && w->inputs[0].rank > 0 ? w->inputs[0].dims[0] : 1;
    const char *split = og_options_get(w->options, "split_batch");
    if (s || !whole.too_large || batch < 2 || batch > INT32_MAX || strcmp(split, "off") == 0)
        return s;
    return plan_split(w, cap, batch, whole.stride);
}

/* Other parts of the batch than before have other products: more than once, perhaps. */
static og_session *plan_tuned(const wanted *w, uint64_t cap)
{
    og_session *s = plan_within(w, cap);
    bool changes = true;
    for (int i = 0; s && i < MOST_TUNINGS && changes; i++) {
        bool failed = og__session_tune(s, &changes) != OG_OK;
        if (failed || changes) {
            og_session_free(s);
            s = failed ? NULL : plan_within(w, cap);
        }
    }
    return s;
}

og_session *og_session_new(og_model *model, const og_options *options, const og_tensor_info *inputs,
                           int n_inputs, const og_tensor_info *targets, int n_targets)
{
    const wanted w = {model, options, inputs, targets, n_inputs, n_targets};
    og_device *d = model->context->device, *host = model->context->host;
    uint64_t cap = 0, refused = 0;
    bool only_plans = og_options_get(options, "device_memory") != NULL;
    for (int i = 0; i <= MOST_REFUSALS; i++) {
        if (!only_plans)
            og_onnx_recall(model->onnx);
        og_session *s = plan_tuned(&w, cap);
        if (!s)
            return NULL;
        s->memory.refused = refused;
        if (d->settle)
            d->settle(d);
        s->memory.program = host->held ? host->held(host) : 0;
        og_status status = only_plans ? OG_OK : og__session_allocate(s);
        if (status == OG_OK)
            return s;
        uint64_t peak = s->memory.peak;
        og_session_free(s);
        if (status != OG_OUT_OF_MEMORY)
            return NULL;
        refused = refused ? refused : peak;
        /* A share of it: threads, buffers and the program's own data come after. */
        cap = (uint64_t)(0.9 * (double)og__device_left(d, peak));
        if (cap == 0)
            return NULL;
        og__log(model->context, OG_LOG_INFO,
                "the system refused %llu bytes; planning again for %llu", (unsigned long long)peak,
                (unsigned long long)cap);
    }
    return NULL;
}
