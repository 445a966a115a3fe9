/* Batches ahead of time: worker threads gather into a ring of buffers while the caller trains. What
 * is delivered is what og_dataset_batch gives, in the order asked for, whatever the number of
 * workers.
 *
 * The caller says which batch it wants; the loader goes on from there (the next index, then the
 * next epoch's first), so that asking in order never waits for more than the work itself. Asking
 * for another place, as resuming does, starts over there. Threads live until og_loader_free; they
 * take no signals. One caller at a time. */
#ifndef OG_DATA_LOADER_H
#define OG_DATA_LOADER_H

#include "runtime/data/data.h"

typedef struct og_loader og_loader;

typedef struct og_batch {
    int64_t epoch, index;
    int64_t samples;      /* delivered; fewer than batch_size at an epoch's end */
    void *const *buffers; /* one a field, 64-byte aligned, room for batch_size samples, row-major */
    double wait;          /* seconds this call waited for it (or took, without workers) */
} og_batch;

/* `workers` threads, 0: the batch is made in og_loader_next. `ahead`: batches held ready at most,
 * 0: two a worker. `set` is not owned and must outlive the loader. NULL on error. */
og_loader *og_loader_new(const og_dataset *set, int64_t batch_size, int workers, int ahead,
                         og_error *error);
/* The batch's buffers stay as they are until the next call; the caller may write to them. After an
 * error *batch is undefined and the loader can be asked again, for the same place or another. */
og_status og_loader_next(og_loader *loader, int64_t epoch, int64_t index, og_batch *batch,
                         og_error *error);
/* Of the buffers of all batches held ready. */
uint64_t og_loader_bytes(const og_loader *loader);
/* Waits for batches being made. NULL is allowed. */
void og_loader_free(og_loader *loader);

#endif
