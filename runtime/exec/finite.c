/* Where a result stops being finite: a run of a plan that looks at every tensor. */
#include <math.h>
#include <stdlib.h>

#include "runtime/base/half.h"
#include "runtime/exec/exec.h"

typedef enum seen { FINITE, MINUS, WORSE } seen; /* MINUS: −∞ alone, which masks are made of */

static double element(const og_tensor *t, int64_t at)
{
    switch (t->type.dtype) {
    case OG_FLOAT:
        return ((const float *)t->data)[at];
    case OG_DOUBLE:
        return ((const double *)t->data)[at];
    case OG_FLOAT16:
        return og_half_to_float(((const uint16_t *)t->data)[at]);
    case OG_BFLOAT16:
        return og_bfloat_to_float(((const uint16_t *)t->data)[at]);
    default:
        return 0;
    }
}

static seen look(const og_tensor *t)
{
    int64_t index[OG_MAX_RANK] = {0}, at = 0, n = og_type_elements(&t->type);
    seen worst = FINITE;
    if (!t->data || !og_dtype_is_float(t->type.dtype))
        return FINITE;
    for (int64_t i = 0; i < n; i++) {
        double x = element(t, at);
        if (!isfinite(x) && !(isinf(x) && x < 0))
            return WORSE;
        if (!isfinite(x))
            worst = MINUS;
        for (int d = t->type.rank - 1; d >= 0; d--) {
            at += t->strides[d];
            if (++index[d] < t->type.dims[d])
                break;
            at -= index[d] * t->strides[d];
            index[d] = 0;
        }
    }
    return worst;
}

/* What comes from outside the plan is looked at when it is first read. */
static bool any_bad_input(const og_plan *plan, const og_step *s, uint8_t *known)
{
    bool bad = false;
    for (int k = 0; k < s->call.nx && k < s->call.node->n_in; k++) {
        int id = s->call.node->in[k];
        if (id < 0)
            continue;
        if (!known[id] && plan->graph->values[id]->kind != OG_VALUE_NODE)
            known[id] = (uint8_t)(1 + look(&s->call.x[k]));
        bad |= known[id] > 1;
    }
    return bad;
}

og_status og_plan_find_non_finite(og_plan *plan, const og_node **found, og_error *error)
{
    uint8_t *known = calloc((size_t)plan->graph->n_values + 1, 1); /* 1 + seen; 0: not yet */
    const og_node *first[WORSE + 1] = {NULL};
    og_status status = known ? OG_OK : og_fail_memory(error, 1, "a look at every tensor");
    for (int i = og_plan_first(plan); i >= 0 && status == OG_OK; i = og_plan_next(plan, i)) {
        const og_step *s = &plan->steps[i];
        bool bad = s->packs >= 0 || any_bad_input(plan, s, known);
        status = og__run_step(s, NULL, error);
        for (int k = 0; status == OG_OK && s->packs < 0 && k < s->call.ny; k++) {
            int id = k < s->call.node->n_out ? s->call.node->out[k] : -1;
            if (id < 0)
                continue;
            seen what = look(&s->call.y[k]);
            known[id] = (uint8_t)(1 + what);
            if (what != FINITE && !bad && !first[what])
                first[what] = s->call.node;
        }
        if (first[WORSE])
            break;
    }
    plan->fresh = false;
    *found = first[WORSE] ? first[WORSE] : first[MINUS];
    free(known);
    return status;
}
