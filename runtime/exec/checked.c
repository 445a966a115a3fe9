/* Running a plan with its promises checked: for tests, and for whoever writes a kernel.
 *
 * Memory that holds nothing is filled with NaN, before the run and again whenever a tensor's life
 * ends, so that a read of dead memory changes the result. After every step all memory but the
 * step's outputs and workspace must be as it was. Results are bit-identical to og_plan_run's. */
#include <stdlib.h>
#include <string.h>

#include "runtime/exec/exec.h"

enum { POISON = 0xFF }; /* as float, double and half: NaN; as an index: out of every range */

typedef struct region {
    char *base;
    size_t bytes;
    char *before;  /* its content before the step */
    bool *allowed; /* by byte: the step may write here */
} region;

static bool make_region(region *r, char *base, size_t bytes)
{
    *r = (region){
        .base = base, .bytes = bytes, .before = malloc(bytes + 1), .allowed = malloc(bytes + 1)};
    return r->before && r->allowed;
}

static void free_region(region *r)
{
    free(r->before);
    free(r->allowed);
}

static void snapshot(region *r)
{
    memcpy(r->before, r->base, r->bytes);
    memset(r->allowed, 0, r->bytes);
}

static void allow(region *r, const void *data, size_t bytes)
{
    size_t at = (size_t)((const char *)data - r->base);
    if ((const char *)data >= r->base && at + bytes <= r->bytes)
        memset(r->allowed + at, 1, bytes);
}

static const char *stray_write(const region *r)
{
    for (size_t i = 0; i < r->bytes; i++)
        if (!r->allowed[i] && r->before[i] != r->base[i])
            return r->base + i;
    return NULL;
}

static void poison_dead(og_plan *plan, int step)
{
    for (int i = 0; i < plan->n_buffers; i++) {
        const og_buffer *b = &plan->buffers[i];
        if (b->storage < 0 && b->last == step)
            memset(plan->activation_base + b->offset, POISON, b->bytes);
    }
}

static og_status run_step(og_plan *plan, int i, region *states, region *activations,
                          og_error *error)
{
    const og_step *s = &plan->steps[i];
    char text[256];
    snapshot(states);
    snapshot(activations);
    if (s->packs >= 0)
        allow(states, s->call.packed, s->call.packed_bytes);
    for (int k = 0; s->packs < 0 && k < s->call.ny; k++) {
        size_t bytes = (size_t)og_type_bytes(&s->call.y[k].type);
        allow(states, s->call.y[k].data, bytes);
        allow(activations, s->call.y[k].data, bytes);
    }
    allow(activations, s->call.workspace, s->call.workspace_bytes);
    OG_TRY(og__run_step(s, NULL, error));
    const char *stray = stray_write(activations);
    const char *where = "activations";
    if (!stray) {
        stray = stray_write(states);
        where = "states";
    }
    if (stray)
        return og_fail(error, OG_INTERNAL,
                       "step %d, %s, kernel %s wrote outside its outputs, at byte %zu of the %s", i,
                       og_node_text(text, s->call.node), s->kernel->name,
                       (size_t)(stray - (where[0] == 'a' ? activations->base : states->base)),
                       where);
    return OG_OK;
}

og_status og_plan_run_checked(og_plan *plan, size_t state_bytes, og_error *error)
{
    region states, activations;
    bool have = make_region(&states, plan->state_base, state_bytes);
    have &= make_region(&activations, plan->activation_base, plan->activation_bytes);
    og_status status =
        have ? OG_OK : og_fail_memory(error, 2 * plan->activation_bytes, "a checked run");
    if (have)
        memset(activations.base, POISON, activations.bytes);
    for (int i = og_plan_first(plan); i >= 0 && status == OG_OK; i = og_plan_next(plan, i)) {
        status = run_step(plan, i, &states, &activations, error);
        if (plan->steps[i].packs < 0)
            poison_dead(plan, i);
    }
    plan->fresh = status == OG_OK;
    free_region(&states);
    free_region(&activations);
    return status;
}
