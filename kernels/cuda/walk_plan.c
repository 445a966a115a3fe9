/* Plans of recurrences: nodes that are the same share one. */
#include "kernels/cuda/walk_plan.h"

#include <stdlib.h>
#include <string.h>

const og__walk *og__walk_find(const og_device *device, const og_cuda_recurrence *r)
{
    og__cuda *cuda = og__cuda_of(device);
    og_error error = {0};
    if (!cuda->driver->recurrence_plan)
        return NULL;
    og__walk *found = cuda->walks;
    /* All of both is set. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    while (found && memcmp(&found->description, r, sizeof *r) != 0)
        found = found->next;
    if (found)
        return found->plan ? found : NULL;
    found = calloc(1, sizeof *found);
    if (!found)
        return NULL;
    memcpy(&found->description, r, sizeof *r);
    if (cuda->driver->recurrence_plan(cuda->card, r, &found->plan, &found->sizes, &error) != OG_OK)
        found->plan = NULL;
    og_error_clear(&error);
    found->next = cuda->walks;
    cuda->walks = found;
    return found->plan ? found : NULL;
}

void og__walks_free(og__cuda *cuda)
{
    for (og__walk *w = cuda->walks, *next; w; w = next) {
        next = w->next;
        if (w->plan)
            cuda->driver->recurrence_free(cuda->card, w->plan);
        free(w);
    }
    cuda->walks = NULL;
}
