/* The device on the driver: og_remote by streams, events and pinned memory. All work of kernels,
 * uploads and downloads is on the compute stream; the copy stream carries inputs (feed.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/fusion.h"
#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/walk_plan.h"

#define DRIVER(cuda, function, ...) ((cuda)->driver->function((cuda)->card, __VA_ARGS__))

/* ---- memory */

static void *cuda_alloc(og_device *device, size_t bytes)
{
    og__cuda *cuda = og__cuda_of(device);
    og_error error = {0};
    void *memory = NULL;
    if (bytes == 0)
        bytes = 1;
    if (DRIVER(cuda, alloc, bytes, &memory, &error) != OG_OK ||
        (memory && DRIVER(cuda, set, OG_CUDA_COMPUTE, memory, 0, bytes, &error) != OG_OK)) {
        cuda->driver->free(cuda->card, memory);
        memory = NULL;
    }
    og_error_clear(&error);
    return memory;
}

static void cuda_free(og_device *device, void *memory, size_t bytes)
{
    (void)bytes;
    if (memory)
        og__cuda_of(device)->driver->free(og__cuda_of(device)->card, memory);
}

static void cuda_memory(og_device *device, uint64_t *total, uint64_t *left)
{
    og__cuda *cuda = og__cuda_of(device);
    og_error error = {0};
    if (DRIVER(cuda, memory, total, left, &error) != OG_OK) {
        *total = cuda->properties.memory;
        *left = 0;
    }
    og_error_clear(&error);
}

static void *host_alloc(og_device *device, size_t bytes)
{
    og__cuda *cuda = og__cuda_of(device);
    og_error error = {0};
    void *memory = NULL;
    (void)DRIVER(cuda, host_alloc, bytes ? bytes : 1, &memory, &error);
    og_error_clear(&error);
    return memory;
}

static void host_free(og_device *device, void *memory)
{
    if (memory)
        og__cuda_of(device)->driver->host_free(og__cuda_of(device)->card, memory);
}

/* ---- host ↔ device */

/* A bounce buffer that no copy reads or writes any more. */
static og_status take_bounce(og__cuda *cuda, og__cuda_bounce **bounce, og_error *error)
{
    *bounce = &cuda->bounce[cuda->next_bounce++ % OG__BOUNCES];
    if ((*bounce)->memory)
        return DRIVER(cuda, event_wait, (*bounce)->free, error);
    void *memory = NULL;
    OG_TRY(DRIVER(cuda, host_alloc, OG__BOUNCE_BYTES, &memory, error));
    if (!memory)
        return og_fail_memory(error, OG__BOUNCE_BYTES, "pinned memory for copies to the GPU");
    (*bounce)->memory = memory;
    if (!(*bounce)->free)
        OG_TRY(DRIVER(cuda, event_new, &(*bounce)->free, error));
    return OG_OK;
}

static og_status upload(og_device *device, void *to, const void *from, size_t bytes,
                        og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < OG__BOUNCE_BYTES ? bytes - at : OG__BOUNCE_BYTES;
        og__cuda_bounce *bounce;
        OG_TRY(take_bounce(cuda, &bounce, error));
        memcpy(bounce->memory, (const char *)from + at, n);
        OG_TRY(DRIVER(cuda, copy, OG_CUDA_COMPUTE, (char *)to + at, bounce->memory, n, error));
        OG_TRY(DRIVER(cuda, event_record, bounce->free, OG_CUDA_COMPUTE, error));
        at += n;
    }
    return OG_OK;
}

/* What queued work ran into, up to where the record that lies in this place was copied. */
static og_status late_error(og__cuda *cuda, int place, og_error *error)
{
    OG_TRY(og__cuda_outside_error(cuda, place, error));
    return og__cuda_host_error(cuda, error);
}

/* The next piece travels while the last one is copied out of pinned memory. */
static og_status download(og_device *device, void *to, const void *from, size_t bytes,
                          og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    og__cuda_bounce *last = NULL;
    size_t last_at = 0, last_bytes = 0;
    if (bytes == 0)
        return OG_OK;
    OG_TRY(og__cuda_outside_fetch(cuda, OG__OUTSIDE_NOW, error));
    for (size_t at = 0; at < bytes || last;) {
        og__cuda_bounce *bounce = NULL;
        size_t n = bytes - at < OG__BOUNCE_BYTES ? bytes - at : OG__BOUNCE_BYTES;
        if (n) {
            OG_TRY(take_bounce(cuda, &bounce, error));
            OG_TRY(DRIVER(cuda, copy, OG_CUDA_COMPUTE, bounce->memory, (const char *)from + at, n,
                          error));
            OG_TRY(DRIVER(cuda, event_record, bounce->free, OG_CUDA_COMPUTE, error));
        }
        if (last) {
            OG_TRY(DRIVER(cuda, event_wait, last->free, error));
            memcpy((char *)to + last_at, last->memory, last_bytes);
        }
        last = bounce;
        last_at = at;
        last_bytes = n;
        at += n;
    }
    return late_error(cuda, OG__OUTSIDE_NOW, error);
}

static og_status copy(og_device *device, void *to, const void *from, size_t bytes, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    return bytes ? DRIVER(cuda, copy, OG_CUDA_COMPUTE, to, from, bytes, error) : OG_OK;
}

static og_status clear(og_device *device, void *at, size_t bytes, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    return bytes ? DRIVER(cuda, set, OG_CUDA_COMPUTE, at, 0, bytes, error) : OG_OK;
}

static og_status finish(og_device *device, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    OG_TRY(og__cuda_outside_fetch(cuda, OG__OUTSIDE_NOW, error));
    OG_TRY(cuda->driver->synchronize(cuda->card, error));
    return late_error(cuda, OG__OUTSIDE_NOW, error);
}

/* ---- results read later: a copy on the compute stream, and events behind it */

static og_status mark(og_device *device, int which, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    if (!cuda->marks[which])
        OG_TRY(DRIVER(cuda, event_new, &cuda->marks[which], error));
    OG_TRY(og__cuda_outside_fetch(cuda, which, error));
    return DRIVER(cuda, event_record, cuda->marks[which], OG_CUDA_COMPUTE, error);
}

static og_status wait(og_device *device, int which, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    if (!cuda->marks[which])
        return og__cuda_host_error(cuda, error);
    OG_TRY(DRIVER(cuda, event_wait, cuda->marks[which], error));
    return late_error(cuda, which, error);
}

/* ---- recordings */

static og_status record(og_device *device, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    OG_TRY(og__cuda_host_stage(cuda, error));
    OG_TRY(cuda->driver->capture_begin(cuda->card, error));
    cuda->recording = true;
    return OG_OK;
}

static og_status recorded(og_device *device, void **recording, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    og_cuda_graph *graph = NULL;
    cuda->recording = false;
    *recording = NULL;
    og_status status = cuda->driver->capture_end(cuda->card, &graph, error);
    if (status == OG_OK)
        *recording = graph;
    else if (graph)
        cuda->driver->graph_free(cuda->card, graph);
    return status;
}

static og_status replay(og_device *device, void *recording, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    return cuda->driver->graph_launch(cuda->card, recording, error);
}

static void forget(og_device *device, void *recording)
{
    if (recording)
        og__cuda_of(device)->driver->graph_free(og__cuda_of(device)->card, recording);
}

/* ---- what kernels share */

og_status og__cuda_launch(const og_call *call, og_cuda_function *function, int64_t blocks,
                          int threads, size_t shared, const void *arguments, size_t bytes,
                          const og_cuda_range *ranges, int n_ranges, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_cuda_launch launch = {.function = function,
                             .grid = {(uint32_t)blocks, 1, 1},
                             .block = {(uint32_t)threads, 1, 1},
                             .shared = shared,
                             .arguments = arguments,
                             .arguments_bytes = bytes,
                             .ranges = ranges,
                             .n_ranges = n_ranges};
    return DRIVER(cuda, launch, OG_CUDA_COMPUTE, &launch, error);
}

og_cuda_range og__cuda_range(const og_tensor *t, bool write)
{
    int64_t low = 0, high = 0, bits = og_dtype_bits(t->type.dtype);
    for (int a = 0; a < t->type.rank; a++) {
        int64_t span = (t->type.dims[a] - 1) * t->strides[a];
        if (t->type.dims[a] == 0)
            return (og_cuda_range){t->data, 0, write};
        *(span < 0 ? &low : &high) += span;
    }
    return (og_cuda_range){(const char *)t->data + low * bits / 8,
                           (size_t)((high - low + 1) * bits + 7) / 8, write};
}

/* ---- making one */

static const og_remote remote = {
    .upload = upload,
    .download = download,
    .copy = copy,
    .clear = clear,
    .finish = finish,
    .reserve = og__cuda_reserve,
    .feed = og__cuda_feed_run,
    .staging = og__cuda_host_staging,
    .host_alloc = host_alloc,
    .host_free = host_free,
    .fetch = og__cuda_fetch,
    .mark = mark,
    .wait = wait,
    .record = record,
    .recorded = recorded,
    .replay = replay,
    .forget = forget,
};

static void cuda_destroy(og_device *device)
{
    og__cuda *cuda = og__cuda_of(device);
    og_error error = {0};
    if (cuda->card)
        (void)cuda->driver->synchronize(cuda->card, &error);
    og_error_clear(&error);
    og__cuda_feed_free(cuda);
    og__cuda_host_free(cuda);
    og__cuda_modules_free(cuda);
    og__cuda_outside_free(cuda);
    og__fusions_free(cuda);
    og__walks_free(cuda);
    og__cuda_answers_free(cuda);
    if (cuda->ones)
        cuda->driver->free(cuda->card, cuda->ones);
    for (int i = 0; i < OG__BOUNCES; i++) {
        host_free(device, cuda->bounce[i].memory);
        if (cuda->bounce[i].free)
            cuda->driver->event_free(cuda->card, cuda->bounce[i].free);
    }
    for (int i = 0; i < OG_MARKS; i++)
        if (cuda->marks[i])
            cuda->driver->event_free(cuda->card, cuda->marks[i]);
    if (cuda->card)
        cuda->driver->close(cuda->card);
    free(cuda);
}

int og_cuda_device_count(const char **why)
{
    const char *unused;
    return og_cuda_driver_get()->count(why ? why : &unused);
}

void og_cuda_libraries(char *text, size_t room)
{
    const og_cuda_driver *driver = og_cuda_driver_get();
    if (driver->libraries)
        driver->libraries(text, room);
    else if (room)
        *text = '\0';
}

og_device *og_cuda_device_new(int index, const og_device *host, og_error *error)
{
    const og_cuda_driver *driver = og_cuda_driver_get();
    const char *why = "";
    int count = driver->count(&why);
    if (count == 0) {
        og_fail(error, OG_INVALID_ARGUMENT, "no CUDA device: %s", why);
        return NULL;
    }
    if (index < 0 || index >= count) {
        og_fail(error, OG_INVALID_ARGUMENT, "no CUDA device %d: there %s %d, counted from 0", index,
                count == 1 ? "is" : "are", count);
        return NULL;
    }
    og__cuda *cuda = calloc(1, sizeof *cuda);
    if (!cuda) {
        og_fail_memory(error, sizeof *cuda, "a device");
        return NULL;
    }
    snprintf(cuda->name, sizeof cuda->name, "cuda:%d", index);
    cuda->host = host;
    cuda->driver = driver;
    if (driver->open(index, &cuda->card, error) != OG_OK) {
        free(cuda);
        return NULL;
    }
    driver->properties(cuda->card, &cuda->properties);
    cuda->device = (og_device){
        .name = cuda->name,
        .model = cuda->properties.name,
        .remote = &remote,
        .threads = host->threads,
        .half = OG_FLOAT16,
        .continues_sums = true,
        .options = {.allow_tf32 = true},
        .tables = og_cuda_kernel_tables,
        .memory = cuda_memory,
        .alloc = cuda_alloc,
        .free = cuda_free,
        .untimed = og__cuda_untimed,
        .tune = og__cuda_tune,
        .destroy = cuda_destroy,
    };
    if (og__cuda_outside_new(cuda, error) != OG_OK) {
        cuda_destroy(&cuda->device);
        return NULL;
    }
    return &cuda->device;
}
