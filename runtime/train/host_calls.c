/* Calls that a device leaves to the host's kernels, for which their tensors travel there and back.
 */
#include <stdlib.h>

#include "runtime/train/train.h"

static uint64_t bytes_of(const og_tensor *t)
{
    return t->type.dtype == OG_UNDEFINED ? 0 : (uint64_t)og_type_bytes(&t->type);
}

/* The host has its constants. */
static bool is_constant(const og_plan *plan, int value)
{
    const og_value *v = og_graph_value(plan->graph, value);
    return v && plan->graph->values[plan->layouts.places[v->id].root]->kind == OG_VALUE_CONST;
}

static og_host_call call_of(og_session *s, const og_plan *plan, int step, bool update)
{
    const og_call *call = &plan->steps[step].call;
    og_host_call c = {
        .op = call->node->op->name, .node = og__step_text(s, plan, step), .in_update = update};
    for (int i = 0; i < call->nx; i++)
        c.to_host += is_constant(plan, call->node->in[i]) ? 0 : bytes_of(&call->x[i]);
    for (int i = 0; i < call->ny; i++)
        c.from_host += bytes_of(&call->y[i]);
    return c;
}

static int most_first(const void *a, const void *b)
{
    const og_host_call *x = a, *y = b;
    uint64_t m = x->to_host + x->from_host, n = y->to_host + y->from_host;
    return m != n ? (m < n ? 1 : -1) : x->order - y->order;
}

int og_session_host_call_count(og_session *s)
{
    const og_plan *plans[] = {s->n_plans ? s->plans[0].plan : NULL, s->update};
    int n = 0, order = 0;
    bool failed = false;
    og__context_begin(s->context);
    for (int p = 0; p < 2; p++)
        for (int i = 0; plans[p] && i < plans[p]->n_steps; i++)
            n += (plans[p]->steps[i].kernel->flags & OG_KERNEL_HOST) != 0;
    s->n_host_calls = 0;
    if (n && !s->host_calls)
        s->host_calls = og_arena_array(s->arena, (size_t)n, sizeof(*s->host_calls));
    failed = n && !s->host_calls;
    for (int p = 0; p < 2; p++)
        for (int i = 0; !failed && plans[p] && i < plans[p]->n_steps; i++, order++) {
            if (!(plans[p]->steps[i].kernel->flags & OG_KERNEL_HOST))
                continue;
            og_host_call c = call_of(s, plans[p], i, p == 1);
            c.order = order;
            failed = !c.node;
            s->host_calls[s->n_host_calls++] = c;
        }
    if (failed) {
        s->n_host_calls = 0;
        og_fail_memory(&s->context->error, sizeof(og_host_call), "the calls on the host");
        return -1;
    }
    if (n)
        qsort(s->host_calls, (size_t)n, sizeof(*s->host_calls), most_first);
    return n;
}

og_status og_session_host_call(const og_session *s, int index, og_host_call *call)
{
    if (index < 0 || index >= s->n_host_calls) {
        og__context_begin(s->context);
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "call %d does not exist; %d run on the host", index, s->n_host_calls);
    }
    *call = s->host_calls[index];
    return OG_OK;
}
