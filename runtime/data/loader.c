/* The ring. Batches have positions epoch × batches + index; position p lies in slot p mod ring.
 * Slots hold positions [base, base + ring): base is the batch the caller holds, or the next it will
 * ask for. A worker claims the next position in that window, gathers outside the lock, and marks
 * the slot ready; the caller waits for its position's slot. Going to another place waits until no
 * slot is being filled and empties the ring.
 *
 * `lock` guards base, claimed, stop, active and the slots' states; a slot's buffers belong to the
 * worker while it is BUSY and to the caller while it is held. */
#include "runtime/data/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/base/checked.h"

enum { BUFFER_ALIGNMENT = 64, MOST_WORKERS = 256, MOST_AHEAD = 4096 };

typedef enum slot_state { EMPTY, BUSY, READY } slot_state;

typedef struct slot {
    slot_state state;
    int64_t samples;
    og_error error; /* of the gathering */
    void **buffers; /* one a field, in `memory` */
    void *memory;
} slot;

struct og_loader {
    const og_dataset *set;
    int64_t batch_size, batches;
    int ring;
    slot *slots;

    pthread_mutex_t lock;
    pthread_cond_t can_work, is_ready;
    int64_t base;    /* first position of the window */
    int64_t claimed; /* next position a worker takes */
    int active;      /* slots being filled */
    bool holds;      /* the caller holds position `base` */
    bool stop;

    int n_threads;
    pthread_t threads[];
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill_slot(og_loader *loader, slot *s, int64_t position)
{
    og_error_clear(&s->error);
    og_dataset_batch(loader->set, position / loader->batches, position % loader->batches,
                     loader->batch_size, s->buffers, &s->samples, &s->error);
}

static void *work(void *argument)
{
    og_loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->stop && loader->claimed - loader->base >= loader->ring)
            pthread_cond_wait(&loader->can_work, &loader->lock);
        if (loader->stop)
            break;
        int64_t position = loader->claimed++;
        slot *s = &loader->slots[position % loader->ring];
        s->state = BUSY;
        loader->active++;
        pthread_mutex_unlock(&loader->lock);
        fill_slot(loader, s, position);
        pthread_mutex_lock(&loader->lock);
        s->state = READY;
        loader->active--;
        pthread_cond_signal(&loader->is_ready);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Every signal goes to the caller's threads. */
static int start_thread(pthread_t *thread, og_loader *loader)
{
    sigset_t all, before;
    sigfillset(&all);
    int blocked = pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(thread, NULL, work, loader);
    if (blocked == 0)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

static og_status alloc_slot(og_loader *loader, slot *s, og_error *error)
{
    int n = og_dataset_fields(loader->set);
    size_t total = 0, bytes;
    s->buffers = calloc((size_t)n, sizeof *s->buffers);
    if (!s->buffers)
        return og_fail_memory(error, (size_t)n * sizeof *s->buffers, "a batch");
    for (int f = 0; f < n; f++)
        if (!og_mul_size(og_dataset_sample_bytes(loader->set, f), (size_t)loader->batch_size,
                         &bytes) ||
            bytes > PTRDIFF_MAX / 2 ||
            !og_add_size(total, og_align_up(bytes, BUFFER_ALIGNMENT), &total) ||
            total > PTRDIFF_MAX)
            return og_fail(error, OG_OUT_OF_MEMORY, "a batch of %" PRId64 " samples is too large",
                           loader->batch_size);
    if (posix_memalign(&s->memory, BUFFER_ALIGNMENT, total)) {
        s->memory = NULL;
        return og_fail_memory(error, total, "a batch");
    }
    memset(s->memory, 0, total); /* what a short batch leaves is never garbage */
    char *next = s->memory;
    for (int f = 0; f < n; f++) {
        s->buffers[f] = next;
        next += og_align_up(og_dataset_sample_bytes(loader->set, f) * (size_t)loader->batch_size,
                            BUFFER_ALIGNMENT);
    }
    return OG_OK;
}

og_loader *og_loader_new(const og_dataset *set, int64_t batch_size, int workers, int ahead,
                         og_error *error)
{
    if (workers < 0 || workers > MOST_WORKERS || ahead < 0 || ahead > MOST_AHEAD) {
        og_fail(error, OG_INVALID_ARGUMENT, "%d workers, %d batches ahead; at most %d and %d",
                workers, ahead, MOST_WORKERS, MOST_AHEAD);
        return NULL;
    }
    int64_t batches = og_dataset_batches(set, batch_size);
    if (batches < 1) {
        og_fail(error, OG_INVALID_ARGUMENT,
                "no batch of %" PRId64 " samples: the data has %" PRId64
                " samples; hint: a smaller batch size, or keep the last batch",
                batch_size, og_dataset_samples(set));
        return NULL;
    }
    og_loader *loader = calloc(1, sizeof *loader + (size_t)workers * sizeof *loader->threads);
    if (!loader) {
        og_fail_memory(error, sizeof *loader, "a loader");
        return NULL;
    }
    loader->set = set;
    loader->batch_size = batch_size;
    loader->batches = batches;
    loader->ring = workers ? 1 + (ahead ? ahead : 2 * workers) : 1;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->can_work, NULL);
    pthread_cond_init(&loader->is_ready, NULL);
    loader->slots = calloc((size_t)loader->ring, sizeof *loader->slots);
    og_status status =
        loader->slots ? OG_OK : og_fail_memory(error, sizeof *loader->slots, "a loader");
    for (int i = 0; i < loader->ring && status == OG_OK; i++)
        status = alloc_slot(loader, &loader->slots[i], error);
    for (int i = 0; i < workers && status == OG_OK; i++) {
        int result = start_thread(&loader->threads[i], loader);
        if (result)
            status = og_fail(error, OG_OUT_OF_MEMORY, "cannot start data worker %d of %d: %s",
                             i + 1, workers, strerror(result));
        else
            loader->n_threads++;
    }
    if (status != OG_OK) {
        og_loader_free(loader);
        return NULL;
    }
    return loader;
}

/* Make `position` the first of the window; what the caller held is free again. Called with the lock
 * held. */
static void move_to(og_loader *loader, int64_t position)
{
    if (loader->holds) {
        loader->slots[loader->base % loader->ring].state = EMPTY;
        loader->holds = false;
        loader->base++;
    }
    if (position != loader->base) {
        loader->claimed = INT64_MAX; /* nobody starts anything */
        while (loader->active > 0)
            pthread_cond_wait(&loader->is_ready, &loader->lock);
        for (int i = 0; i < loader->ring; i++)
            loader->slots[i].state = EMPTY;
        loader->base = loader->claimed = position;
    }
    pthread_cond_broadcast(&loader->can_work);
}

og_status og_loader_next(og_loader *loader, int64_t epoch, int64_t index, og_batch *batch,
                         og_error *error)
{
    double start = seconds_now();
    int64_t position;
    if (epoch < 0 || index < 0 || index >= loader->batches ||
        __builtin_mul_overflow(epoch, loader->batches, &position) || position > INT64_MAX / 2)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "batch %" PRId64 " of epoch %" PRId64 ", but an epoch has %" PRId64
                       " batches",
                       index, epoch, loader->batches);
    position += index;
    slot *s = &loader->slots[position % loader->ring];
    if (loader->n_threads == 0) {
        fill_slot(loader, s, position);
    } else {
        pthread_mutex_lock(&loader->lock);
        move_to(loader, position);
        while (s->state != READY)
            pthread_cond_wait(&loader->is_ready, &loader->lock);
        loader->holds = true;
        pthread_mutex_unlock(&loader->lock);
    }
    *batch = (og_batch){epoch, index, s->samples, s->buffers, seconds_now() - start};
    if (s->error.status != OG_OK) {
        og_status status = s->error.status;
        og_error_move(error, &s->error);
        og_error_clear(&s->error);
        return status;
    }
    return OG_OK;
}

uint64_t og_loader_bytes(const og_loader *loader)
{
    uint64_t bytes = 0;
    for (int f = 0; f < og_dataset_fields(loader->set); f++)
        bytes += og_align_up(og_dataset_sample_bytes(loader->set, f) * (size_t)loader->batch_size,
                             BUFFER_ALIGNMENT);
    return bytes * (uint64_t)loader->ring;
}

void og_loader_free(og_loader *loader)
{
    if (!loader)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->can_work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->n_threads; i++)
        pthread_join(loader->threads[i], NULL);
    for (int i = 0; loader->slots && i < loader->ring; i++) {
        og_error_clear(&loader->slots[i].error);
        free(loader->slots[i].buffers);
        free(loader->slots[i].memory);
    }
    free(loader->slots);
    pthread_cond_destroy(&loader->can_work);
    pthread_cond_destroy(&loader->is_ready);
    pthread_mutex_destroy(&loader->lock);
    free(loader);
}
