/* Indices that nothing has, and lengths that are none, as the host hears of them. A kernel writes
 * the first one into a record in the card's memory (index.h) and goes on with NaN; nobody waits for
 * it. The record is copied to pinned memory before each event that somebody will wait for, and who
 * has waited reads it: an error as the processor's kernel gives it, some steps late. */
#include <inttypes.h>
#include <stdlib.h>

#include "kernels/cpu/indexing.h"
#include "kernels/cuda/internal.h"

struct og__cuda_watch {
    og__cuda_watch *previous, *next;
    const og_node *node;
    og__cuda_refusal *refuse;
    int64_t bound;
    unsigned number;
};

og_status og__cuda_outside_new(og__cuda *cuda, og_error *error)
{
    const size_t seen = OG__OUTSIDE_PLACES * sizeof *cuda->outside_seen;
    void *record = NULL, *pinned = NULL;
    OG_TRY(cuda->driver->alloc(cuda->card, sizeof *cuda->outside, &record, error));
    cuda->outside = record;
    OG_TRY(cuda->driver->host_alloc(cuda->card, seen, &pinned, error));
    cuda->outside_seen = pinned;
    if (!record || !pinned)
        return og_fail_memory(error, record ? seen : sizeof *cuda->outside, "a device");
    return cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, record, 0, sizeof *cuda->outside, error);
}

void og__cuda_outside_free(og__cuda *cuda)
{
    if (cuda->outside_seen)
        cuda->driver->host_free(cuda->card, cuda->outside_seen);
    if (cuda->outside)
        cuda->driver->free(cuda->card, cuda->outside);
}

og_status og__cuda_outside_fetch(og__cuda *cuda, int place, og_error *error)
{
    return cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, &cuda->outside_seen[place],
                              cuda->outside, sizeof *cuda->outside, error);
}

og_status og__cuda_outside_error(og__cuda *cuda, int place, og_error *error)
{
    const og_outside seen = cuda->outside_seen[place];
    const og__cuda_watch *w = cuda->watches;
    if (seen.call == 0)
        return OG_OK;
    OG_TRY(cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, cuda->outside, 0, sizeof *cuda->outside,
                             error));
    cuda->outside_seen[place].call = 0;
    while (w && w->number != seen.call)
        w = w->next;
    if (!w) /* of a plan that is gone, and so is who would want to know */
        return OG_OK;
    const og_call call = {.node = w->node};
    const int32_t value = (int32_t)(uint32_t)(seen.first & 0xffffffff);
    const int64_t position = (int64_t)(~seen.first >> 32);
    if (w->refuse != og__bad_index || (value > -INT32_MAX && value < INT32_MAX))
        return w->refuse(&call, error, position, value, w->bound);
    return og__call_fail(&call, error, OG_INVALID_DATA,
                         "index %" PRId32 " or %s at position %" PRId64 ", expected %" PRId64
                         " to %" PRId64,
                         value, value < 0 ? "less" : "more", position, -w->bound, w->bound - 1);
}

og_status og__cuda_watch_new(const og_call *call, og__cuda_refusal *refuse, int64_t bound,
                             og__cuda_watch **watch, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og__cuda_watch *w = calloc(1, sizeof *w);
    if (!w)
        return og_fail_memory(error, sizeof *w, "an indexed read");
    *w = (og__cuda_watch){.next = cuda->watches,
                          .node = call->node,
                          .refuse = refuse,
                          .bound = bound,
                          .number = ++cuda->last_watch};
    if (w->next)
        w->next->previous = w;
    cuda->watches = *watch = w;
    return OG_OK;
}

unsigned og__cuda_watch_number(const og__cuda_watch *watch)
{
    return watch->number;
}

void og__cuda_watch_free(og__cuda *cuda, og__cuda_watch *watch)
{
    if (!watch)
        return;
    *(watch->previous ? &watch->previous->next : &cuda->watches) = watch->next;
    if (watch->next)
        watch->next->previous = watch->previous;
    free(watch);
}
