/* The driver on CUDA's driver interface. One context, the device's primary one, which libraries
 * share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/driver_cuda.h"

#define OLDEST 80 /* compute capability: what kernels are compiled for */

struct og_cuda_module {
    og_cuda_module *next;
    CUmodule module;
};

#define CHECK(function, ...) \
    OG_TRY(og__cuda_check(card, card->cuda->function(__VA_ARGS__), #function, error))
/* Whichever thread calls, the context must be its current one. */
#define ENTER() CHECK(cuCtxSetCurrent, card->context)
/* For functions that report nothing. */
#define ENTER_QUIETLY() ((void)card->cuda->cuCtxSetCurrent(card->context))

/* ---- the card */

static int count(const char **why)
{
    static char text[160];
    const og__cuda_library *cuda = og__open_cuda(why);
    int n = 0;
    if (!cuda)
        return 0;
    CUresult result = cuda->cuInit(0);
    if (result == CUDA_SUCCESS)
        result = cuda->cuDeviceGetCount(&n);
    if (result == CUDA_SUCCESS && n > 0)
        return n;
    const char *reason = NULL;
    if (result != CUDA_SUCCESS)
        cuda->cuGetErrorString(result, &reason);
    snprintf(text, sizeof text, "the NVIDIA driver says \"%s\"", reason ? reason : "no device");
    *why = text;
    return 0;
}

static og_status read_properties(og_cuda_card *card, og_error *error)
{
    og_cuda_properties *p = &card->properties;
    int major, minor, grid[3], shared;
    const struct {
        CUdevice_attribute which;
        int *to;
    } attributes[] = {{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major},
                      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor},
                      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &p->multiprocessors},
                      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &p->max_threads},
                      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, &grid[0]},
                      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, &grid[1]},
                      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, &grid[2]},
                      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &shared}};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        CHECK(cuDeviceGetAttribute, attributes[i].to, attributes[i].which, card->device);
    CHECK(cuDeviceGetName, p->name, (int)sizeof p->name, card->device);
    CHECK(cuDeviceTotalMem, &p->memory, card->device);
    p->sm = 10 * major + minor;
    p->shared = (size_t)shared;
    for (int i = 0; i < 3; i++)
        p->max_grid[i] = grid[i];
    if (p->sm < OLDEST)
        return og_fail(error, OG_UNSUPPORTED,
                       "%s has compute capability %d.%d, at least %d.%d is needed", p->name, major,
                       minor, OLDEST / 10, OLDEST % 10);
    return OG_OK;
}

static void close_card(og_cuda_card *card)
{
    if (card->context) {
        ENTER_QUIETLY();
        card->cuda->cuCtxSynchronize();
    }
    for (og_cuda_module *m = card->modules, *next; m; m = next) {
        next = m->next;
        card->cuda->cuModuleUnload(m->module);
        free(m);
    }
    if (card->handle)
        card->cublas->cublasLtDestroy(card->handle);
#ifdef OG_HAS_CUDNN
    og__cudnn_close(card);
#endif
    for (int s = 0; s < OG_CUDA_STREAMS; s++)
        if (card->streams[s])
            card->cuda->cuStreamDestroy(card->streams[s]);
    if (card->context)
        card->cuda->cuDevicePrimaryCtxRelease(card->device);
    free(card);
}

static og_status set_up(og_cuda_card *card, int index, og_error *error)
{
    CHECK(cuInit, 0);
    CHECK(cuDeviceGet, &card->device, index);
    OG_TRY(read_properties(card, error));
    CHECK(cuDevicePrimaryCtxRetain, &card->context, card->device);
    ENTER();
    for (int s = 0; s < OG_CUDA_STREAMS; s++)
        CHECK(cuStreamCreate, &card->streams[s], CU_STREAM_NON_BLOCKING);
    return OG_OK;
}

static og_status open_card(int index, og_cuda_card **opened, og_error *error)
{
    const char *why;
    const og__cuda_library *cuda = og__open_cuda(&why);
    if (!cuda)
        return og_fail(error, OG_UNSUPPORTED, "no CUDA device: %s", why);
    og_cuda_card *card = calloc(1, sizeof *card);
    if (!card)
        return og_fail_memory(error, sizeof *card, "a GPU");
    card->cuda = cuda;
    og_status status = set_up(card, index, error);
    if (status != OG_OK)
        close_card(card);
    else
        *opened = card;
    return status;
}

static void properties(og_cuda_card *card, og_cuda_properties *p)
{
    *p = card->properties;
}

static og_status memory(og_cuda_card *card, uint64_t *total, uint64_t *left, og_error *error)
{
    size_t all, rest;
    ENTER();
    CHECK(cuMemGetInfo, &rest, &all);
    *total = all;
    *left = rest > OG__CUDA_LATER ? rest - OG__CUDA_LATER : 0;
    return OG_OK;
}

/* ---- memory */

static og_status alloc(og_cuda_card *card, size_t bytes, void **at, og_error *error)
{
    CUdeviceptr p = 0;
    *at = NULL;
    ENTER();
    CUresult result = card->cuda->cuMemAlloc(&p, bytes);
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return OG_OK;
    OG_TRY(og__cuda_check(card, result, "cuMemAlloc", error));
    *at = (void *)(uintptr_t)p;
    return OG_OK;
}

static void free_memory(og_cuda_card *card, void *at)
{
    ENTER_QUIETLY();
    card->cuda->cuCtxSynchronize();
    card->cuda->cuMemFree((CUdeviceptr)(uintptr_t)at);
}

static og_status host_alloc(og_cuda_card *card, size_t bytes, void **at, og_error *error)
{
    *at = NULL;
    ENTER();
    CUresult result = card->cuda->cuMemHostAlloc(at, bytes, CU_MEMHOSTALLOC_PORTABLE);
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return OG_OK;
    return og__cuda_check(card, result, "cuMemHostAlloc", error);
}

static void host_free(og_cuda_card *card, void *at)
{
    ENTER_QUIETLY();
    card->cuda->cuCtxSynchronize();
    card->cuda->cuMemFreeHost(at);
}

/* ---- queueing */

/* Addresses are unified: CUDA sees which side each is on. */
static og_status copy(og_cuda_card *card, og_cuda_stream stream, void *to, const void *from,
                      size_t bytes, og_error *error)
{
    ENTER();
    CHECK(cuMemcpyAsync, (CUdeviceptr)(uintptr_t)to, (CUdeviceptr)(uintptr_t)from, bytes,
          card->streams[stream]);
    return OG_OK;
}

static og_status set(og_cuda_card *card, og_cuda_stream stream, void *at, int byte, size_t bytes,
                     og_error *error)
{
    ENTER();
    CHECK(cuMemsetD8Async, (CUdeviceptr)(uintptr_t)at, (unsigned char)byte, bytes,
          card->streams[stream]);
    return OG_OK;
}

static og_status launch(og_cuda_card *card, og_cuda_stream stream, const og_cuda_launch *l,
                        og_error *error)
{
    void *parameters[] = {(void *)(uintptr_t)l->arguments};
    ENTER();
    CHECK(cuLaunchKernel, (CUfunction)l->function, l->grid[0], l->grid[1], l->grid[2], l->block[0],
          l->block[1], l->block[2], (unsigned)l->shared, card->streams[stream], parameters, NULL);
    return OG_OK;
}

static og_status call(og_cuda_card *card, og_cuda_stream stream, void (*run)(void *), void *user,
                      const og_cuda_range *ranges, int n_ranges, og_error *error)
{
    (void)ranges;
    (void)n_ranges;
    ENTER();
    CHECK(cuLaunchHostFunc, card->streams[stream], run, user);
    return OG_OK;
}

/* ---- events: og_cuda_event * is the CUevent */

static og_status event_new(og_cuda_card *card, og_cuda_event **event, og_error *error)
{
    CUevent e;
    ENTER();
    CHECK(cuEventCreate, &e, CU_EVENT_DISABLE_TIMING);
    *event = (og_cuda_event *)e;
    return OG_OK;
}

static void event_free(og_cuda_card *card, og_cuda_event *event)
{
    ENTER_QUIETLY();
    card->cuda->cuEventDestroy((CUevent)event);
}

static og_status event_record(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                              og_error *error)
{
    ENTER();
    CHECK(cuEventRecord, (CUevent)event, card->streams[stream]);
    return OG_OK;
}

static og_status event_follow(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                              og_error *error)
{
    ENTER();
    CHECK(cuStreamWaitEvent, card->streams[stream], (CUevent)event, 0);
    return OG_OK;
}

static og_status event_wait(og_cuda_card *card, og_cuda_event *event, og_error *error)
{
    ENTER();
    CHECK(cuEventSynchronize, (CUevent)event);
    return OG_OK;
}

static og_status synchronize(og_cuda_card *card, og_error *error)
{
    ENTER();
    CHECK(cuCtxSynchronize);
    return OG_OK;
}

/* ---- kernels: og_cuda_function * is the CUfunction */

static og_status add_module(og_cuda_card *card, const void *image, og_cuda_module **module,
                            og_error *error)
{
    og_cuda_module *m = calloc(1, sizeof *m);
    if (!m)
        return og_fail_memory(error, sizeof *m, "a module of kernels");
    og_status status = og__cuda_check(card, card->cuda->cuModuleLoadData(&m->module, image),
                                      "cuModuleLoadData", error);
    if (status != OG_OK) {
        free(m);
        return status;
    }
    m->next = card->modules;
    *module = card->modules = m;
    return OG_OK;
}

static og_status load(og_cuda_card *card, const og_cuda_image *image, og_cuda_module **module,
                      og_error *error)
{
    ENTER();
    return add_module(card, image->data, module, error);
}

static og_status compile(og_cuda_card *card, const char *name, const char *source,
                         og_cuda_module **module, og_error *error)
{
    char *image = NULL;
    ENTER();
    OG_TRY(og__nvrtc_compile(name, source, card->properties.sm, &image, error));
    og_status status = add_module(card, image, module, error);
    free(image);
    return status;
}

static og_status function(og_cuda_card *card, og_cuda_module *module, const char *name,
                          size_t shared, og_cuda_function **f, og_error *error)
{
    enum { WITHOUT_ASKING = 48 << 10 };
    CUfunction found; /* the same each time, with one limit for all who ask */
    int own = 0, limit = 0;
    ENTER();
    CHECK(cuModuleGetFunction, &found, module->module, name);
    CHECK(cuFuncGetAttribute, &own, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, found);
    CHECK(cuFuncGetAttribute, &limit, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, found);
    if (shared + (size_t)own > WITHOUT_ASKING && shared > (size_t)limit)
        CHECK(cuFuncSetAttribute, found, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
              (int)shared);
    *f = (og_cuda_function *)found;
    return OG_OK;
}

/* ---- recordings: og_cuda_graph * is the CUgraphExec */

static og_status capture_begin(og_cuda_card *card, og_error *error)
{
    ENTER();
    CHECK(cuStreamBeginCapture, card->streams[OG_CUDA_COMPUTE],
          CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    card->recording = true;
    return OG_OK;
}

static og_status capture_end(og_cuda_card *card, og_cuda_graph **graph, og_error *error)
{
    CUgraph captured = NULL;
    CUgraphExec ready = NULL;
    *graph = NULL;
    card->recording = false;
    ENTER();
    CHECK(cuStreamEndCapture, card->streams[OG_CUDA_COMPUTE], &captured);
    CUresult result = card->cuda->cuGraphInstantiateWithFlags(&ready, captured, 0);
    card->cuda->cuGraphDestroy(captured);
    *graph = (og_cuda_graph *)ready;
    return og__cuda_check(card, result, "cuGraphInstantiate", error);
}

static og_status graph_launch(og_cuda_card *card, og_cuda_graph *graph, og_error *error)
{
    ENTER();
    CHECK(cuGraphLaunch, (CUgraphExec)graph, card->streams[OG_CUDA_COMPUTE]);
    return OG_OK;
}

static void graph_free(og_cuda_card *card, og_cuda_graph *graph)
{
    ENTER_QUIETLY();
    card->cuda->cuGraphExecDestroy((CUgraphExec)graph);
}

const og_cuda_driver *og_cuda_driver_get(void)
{
    static const og_cuda_driver driver = {
        .count = count,
        .libraries = og__cuda_libraries,
        .open = open_card,
        .close = close_card,
        .properties = properties,
        .memory = memory,
        .alloc = alloc,
        .free = free_memory,
        .host_alloc = host_alloc,
        .host_free = host_free,
        .copy = copy,
        .set = set,
        .launch = launch,
        .call = call,
        .event_new = event_new,
        .event_free = event_free,
        .event_record = event_record,
        .event_follow = event_follow,
        .event_wait = event_wait,
        .synchronize = synchronize,
        .load = load,
        .compile = compile,
        .function = function,
        .capture_begin = capture_begin,
        .capture_end = capture_end,
        .graph_launch = graph_launch,
        .graph_free = graph_free,
        .product_library = og__cublas_version,
        .product_ways = og__cublas_ways,
        .product_plan = og__cublas_plan,
        .product_run = og__cublas_run,
        .product_time = og__cublas_time,
        .product_free = og__cublas_free,
#ifdef OG_HAS_CUDNN
        .fusion_plan = og__cudnn_plan,
        .fusion_run = og__cudnn_run,
        .fusion_free = og__cudnn_free,
        .recurrence_plan = og__cudnn_rnn_plan,
        .recurrence_run = og__cudnn_rnn_run,
        .recurrence_back = og__cudnn_rnn_back,
        .recurrence_free = og__cudnn_rnn_free,
#endif
    };
    return &driver;
}
