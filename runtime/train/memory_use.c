/* What fills the memory: bytes alive at each kernel call, and the tensors that are alive where most
 * is. */
#include <stdlib.h>
#include <string.h>

#include "runtime/train/train.h"

/* The micro plan (or the one that predicts) and the update plan, NULL where there is none. */
static void plans_of(const og_session *s, const og_plan *plans[2])
{
    plans[0] = s->n_plans ? s->plans[0].plan : NULL;
    plans[1] = s->update;
}

int og_session_memory_curve(og_session *s, const uint64_t **bytes)
{
    const og_plan *plans[2];
    int n = 0;
    og__context_begin(s->context);
    plans_of(s, plans);
    for (int i = 0; i < 2; i++)
        n += plans[i] ? plans[i]->n_steps : 0;
    if (!s->memory_curve)
        s->memory_curve = og_arena_array(s->arena, (size_t)n + 1, sizeof(*s->memory_curve));
    if (!s->memory_curve) {
        og_fail_memory(&s->context->error, (size_t)n * sizeof(uint64_t), "the memory's curve");
        return -1;
    }
    uint64_t *at = s->memory_curve;
    for (int i = 0; i < 2; i++) {
        if (!plans[i])
            continue;
        og_plan_live(plans[i]->buffers, plans[i]->n_buffers, plans[i]->n_steps, at);
        at += plans[i]->n_steps;
    }
    *bytes = s->memory_curve;
    return n;
}

static int largest_first(const void *a, const void *b)
{
    const og_tensor_use *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first - y->first;
}

const char *og__step_text(og_session *s, const og_plan *plan, int step)
{
    char text[256];
    if (step < 0 || step >= plan->n_steps)
        return "";
    og_node_text(text, plan->steps[step].call.node);
    char *opset = strstr(text, " (opset ");
    if (opset)
        *opset = '\0';
    return og_arena_strdup(s->arena, text);
}

static og_tensor_use use_of(og_session *s, const og_plan *plan, const og_buffer *b, int offset)
{
    char type[160];
    const char *text =
        b->value < 0 ? "workspace" : og_type_text(type, NULL, &plan->graph->values[b->value]->type);
    return (og_tensor_use){.type = og_arena_strdup(s->arena, text),
                           .made_by = og__step_text(s, plan, b->first),
                           .kept_by = b->last > b->first ? og__step_text(s, plan, b->last) : "",
                           .bytes = b->bytes,
                           .first = offset + b->first,
                           .last = offset + (b->last < plan->n_steps ? b->last : plan->n_steps)};
}

int og_session_peak_tensor_count(og_session *s)
{
    const og_plan *plans[2];
    const uint64_t *curve = NULL;
    int n = og_session_memory_curve(s, &curve), peak = og_plan_peak_step(curve, n), offset = 0;
    if (n < 0)
        return -1;
    plans_of(s, plans);
    const og_plan *plan = plans[0];
    if (plan && peak >= plan->n_steps) {
        offset = plan->n_steps;
        plan = plans[1];
    }
    s->n_uses = 0;
    if (!plan)
        return 0;
    if (!s->uses)
        s->uses = og_arena_array(s->arena, (size_t)plan->n_buffers + 1, sizeof(*s->uses));
    bool failed = !s->uses;
    for (int i = 0; !failed && i < plan->n_buffers; i++) {
        const og_buffer *b = &plan->buffers[i];
        if (b->storage >= 0 || b->first > peak - offset || b->last < peak - offset)
            continue;
        og_tensor_use use = use_of(s, plan, b, offset);
        failed = !use.type || !use.made_by || !use.kept_by;
        s->uses[s->n_uses++] = use;
    }
    if (failed) {
        s->n_uses = 0;
        og_fail_memory(&s->context->error, sizeof(og_tensor_use), "the tensors at the peak");
        return -1;
    }
    qsort(s->uses, (size_t)s->n_uses, sizeof(*s->uses), largest_first);
    return s->n_uses;
}

og_status og_session_peak_tensor(const og_session *s, int index, og_tensor_use *use)
{
    if (index < 0 || index >= s->n_uses) {
        og__context_begin(s->context);
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "tensor %d does not exist; %d are alive at the peak", index, s->n_uses);
    }
    *use = s->uses[index];
    return OG_OK;
}
