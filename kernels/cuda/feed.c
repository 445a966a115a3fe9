/* Inputs of steps, which travel while earlier work still runs: through one of two pinned slots on
 * the host and one of two halves of reserved memory on the card.
 *
 *     host            pinned slot i ← caller's buffers            once `arrived[i]` says it is free
 *     copy stream     half i ← pinned slot i                      once `consumed[i]` says it is
 * free compute stream  where the inputs lie ← half i               after `arrived[i]`
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/internal.h"
#include "runtime/base/checked.h"

enum { SLOTS = 2, ALIGNMENT = 256 };

struct og__cuda_feed {
    size_t bytes; /* of a slot */
    int next;
    char *pinned[SLOTS];
    char *halves[SLOTS];
    og_cuda_event *arrived[SLOTS], *consumed[SLOTS];
};

void og__cuda_feed_free(og__cuda *cuda)
{
    og__cuda_feed *feed = cuda->feed;
    cuda->feed = NULL;
    for (int i = 0; feed && i < SLOTS; i++) {
        if (feed->pinned[i])
            cuda->driver->host_free(cuda->card, feed->pinned[i]);
        if (feed->arrived[i])
            cuda->driver->event_free(cuda->card, feed->arrived[i]);
        if (feed->consumed[i])
            cuda->driver->event_free(cuda->card, feed->consumed[i]);
    }
    free(feed);
}

og_status og__cuda_reserve(og_device *device, void *memory, size_t bytes, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    OG_TRY(cuda->driver->synchronize(cuda->card, error));
    og__cuda_feed_free(cuda);
    size_t half = bytes / SLOTS / ALIGNMENT * ALIGNMENT;
    if (!memory || half == 0)
        return OG_OK;
    og__cuda_feed *feed = calloc(1, sizeof *feed);
    if (!feed)
        return og_fail_memory(error, sizeof *feed, "input slots");
    cuda->feed = feed;
    feed->bytes = half;
    og_status status = OG_OK;
    for (int i = 0; i < SLOTS; i++) {
        void *pinned = NULL;
        OG_TRY_CLEANUP(cuda->driver->host_alloc(cuda->card, half, &pinned, error));
        if (!pinned)
            OG_TRY_CLEANUP(og_fail_memory(error, half, "pinned memory for inputs"));
        feed->pinned[i] = pinned;
        feed->halves[i] = (char *)memory + (size_t)i * half;
        OG_TRY_CLEANUP(cuda->driver->event_new(cuda->card, &feed->arrived[i], error));
        OG_TRY_CLEANUP(cuda->driver->event_new(cuda->card, &feed->consumed[i], error));
    }
    /* What was queued for this memory before comes first. */
    for (int i = 0; i < SLOTS; i++)
        OG_TRY_CLEANUP(
            cuda->driver->event_record(cuda->card, feed->consumed[i], OG_CUDA_COMPUTE, error));
    return OG_OK;
cleanup:
    og__cuda_feed_free(cuda);
    return status;
}

og_status og__cuda_feed_run(og_device *device, const og_copy *copies, int n, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    const og_cuda_driver *driver = cuda->driver;
    og__cuda_feed *feed = cuda->feed;
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += og_align_up(copies[i].bytes, ALIGNMENT);
    if (total == 0)
        return OG_OK;
    if (!feed || total > feed->bytes) {
        for (int i = 0; i < n; i++)
            OG_TRY(device->remote->upload(device, copies[i].to, copies[i].from, copies[i].bytes,
                                          error));
        return OG_OK;
    }
    int slot = feed->next++ % SLOTS;
    char *pinned = feed->pinned[slot], *half = feed->halves[slot];
    OG_TRY(driver->event_wait(cuda->card, feed->arrived[slot], error));
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        memcpy(pinned + at, copies[i].from, copies[i].bytes);
        at += og_align_up(copies[i].bytes, ALIGNMENT);
    }
    OG_TRY(driver->event_follow(cuda->card, feed->consumed[slot], OG_CUDA_COPY, error));
    OG_TRY(driver->copy(cuda->card, OG_CUDA_COPY, half, pinned, total, error));
    OG_TRY(driver->event_record(cuda->card, feed->arrived[slot], OG_CUDA_COPY, error));
    OG_TRY(driver->event_follow(cuda->card, feed->arrived[slot], OG_CUDA_COMPUTE, error));
    at = 0;
    for (int i = 0; i < n; i++) {
        if (copies[i].bytes)
            OG_TRY(driver->copy(cuda->card, OG_CUDA_COMPUTE, copies[i].to, half + at,
                                copies[i].bytes, error));
        at += og_align_up(copies[i].bytes, ALIGNMENT);
    }
    return driver->event_record(cuda->card, feed->consumed[slot], OG_CUDA_COMPUTE, error);
}
