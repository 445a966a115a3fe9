/* May a batch be split? Gradients of its parts add up to its own where samples do not see each
 * other: unless the model normalizes by statistics of the batch, a node or an output ties samples
 * together, or several losses would be averaged otherwise. And where its parts lie in the caller's
 * buffers. */
#include <stdio.h>
#include <string.h>

#include "runtime/train/train.h"

bool og__outputs_are_by_sample(og_session *s)
{
    int64_t samples = s->micro < s->batch ? s->micro : (s->batch + 1) / 2;
    og_arena *arena = og_arena_new();
    og_graph *g = arena ? og__build_forward(s, samples, false, arena) : NULL;
    bool good = g && g->n_outputs == s->n_outputs;
    for (int i = 0; good && i < s->n_outputs; i++) {
        og_type part = g->values[g->outputs[i].value]->type, whole = s->outputs[i];
        good =
            part.rank > 0 && whole.rank > 0 && part.dims[0] == samples && whole.dims[0] == s->batch;
        if (good)
            part.dims[0] = s->batch;
        good = good && og_type_equal(&part, &whole);
    }
    og_arena_free(arena);
    return good;
}

bool og__samples_mix(og_session *s, const og_graph *g, char where[256])
{
    og_error *error = &s->context->error;
    og_error kept = *error;
    og_arena *arena = og_arena_new();
    const og_node *tie = NULL;
    og__trials t;
    *error = (og_error){0};
    if (!s->attempt.apart && arena && og__try_samples(s, g, &t, arena) == OG_OK) {
        bool known, mixed = false;
        for (int i = 0; i < g->n_outputs; i++)
            mixed |= !og__trials_agree(&t, g->outputs[i].value, &known);
        tie = mixed ? og__first_tie(g, &t) : NULL;
    }
    if (tie)
        og_node_text(where, tie);
    og_error_clear(error);
    *error = kept;
    og_arena_free(arena);
    s->attempt.apart = !tie;
    return tie != NULL;
}

/* text: room for it. */
static const char *find_tie(og_session *s, char text[320])
{
    char where[256];
    for (int i = 0; i < s->storages.n; i++)
        if (s->storages.items[i].kind == OG_STORAGE_STAGED)
            return "BatchNormalization would normalize by fewer samples";
    for (int i = 0; s->losses.n > 1 && i < s->losses.n; i++)
        if (og_loss_is_of_classes(s->losses.items[i].name))
            return "one of several losses may ignore labels";
    if (s->attempt.too_large)
        return NULL;
    if (!og__outputs_are_by_sample(s))
        return "an output does not have one row a sample";
    if (!og__samples_mix(s, s->losses.n ? s->joined : s->model->graph, where))
        return NULL;
    snprintf(text, 320, "%s mixes samples", where);
    return text;
}

og_status og__session_may_split(og_session *s)
{
    bool always = strcmp(og_options_get(s->options, "split_batch"), "on") == 0;
    char text[320];
    const char *tie = s->losses.n && always ? NULL : find_tie(s, text);
    if (!tie)
        return s->context->error.status;
    snprintf(s->attempt.tied, sizeof s->attempt.tied, "; the batch was not split: %s%s", tie,
             s->losses.n ? " (--split_batch on does it all the same)" : "");
    og_fail(&s->context->error, OG_OUT_OF_MEMORY, "%s", tie); /* unless it failed before */
    return s->context->error.status;
}

int64_t og__part_begin(int64_t samples, int64_t i, int64_t n)
{
    return samples / n * i + samples % n * i / n;
}

void *og__sample_at(const og_session *s, const og_type *type, const void *data, int64_t first)
{
    bool batched = type->rank > 0 && type->dims[0] == s->batch;
    return (char *)(uintptr_t)data + (batched ? first * (og_type_bytes(type) / s->batch) : 0);
}
