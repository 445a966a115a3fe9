/* The last kernel of every op: the processor's kernel, on copies in pinned memory. Everything is
 * queued, so that recordings hold it, too:
 *
 *     pinned x ← x, for each input     the host's kernel, x → y     y ← pinned y, for each output
 *
 * Calls run one after the other, so that all share their staging memory: a block as large as the
 * largest call needs. Constants are read where the plan has them. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/internal.h"
#include "runtime/base/checked.h"
#include "runtime/graph/op.h"

enum { ALIGNMENT = 256, LEAST_BLOCK = 1 << 20 };

/* Staging memory. Blocks stay until the device goes: recordings hold their addresses. */
struct og__cuda_block {
    og__cuda_block *next;
    size_t bytes;
    char *memory;
};

struct og__cuda_host {
    og__cuda_host *previous, *next;
    const og_kernel *kernel;
    og_call call; /* the host's; x, y follow this struct */
    size_t bytes; /* of staging memory */
    size_t workspace_at;
    size_t *at;     /* by input, then by output: where it is staged; not for constants */
    bool *constant; /* by input */
    og_cuda_range *ranges;
    int n_ranges;
    bool staged;        /* the addresses in `call` and `ranges` are set */
    og_error error;     /* what it ran into on the host's thread … */
    atomic_bool failed; /* … and that it did */
};

static size_t bytes_of(const og_tensor *t)
{
    return t->type.dtype == OG_UNDEFINED ? 0 : (size_t)og_type_bytes(&t->type);
}

static bool on_host(const og_call *call, og_call *host)
{
    *host = *call;
    host->device = og__cuda_of(call->device)->host;
    for (int i = 0; i < call->nx + call->ny; i++) {
        const og_tensor *t = i < call->nx ? &call->x[i] : &call->y[i - call->nx];
        if (t->type.dtype != OG_UNDEFINED && og_dtype_bits(t->type.dtype) == 0)
            return false;
    }
    return true;
}

/* Ops that have a definition and stay here all the same where no other kernel takes them. */
static const struct {
    const char *op, *why;
} kept[] = {
    {"ConvGradData", "is defined by ConvTranspose, and that by this"},
    {"ConvGradWeights", "is defined by Conv, which has no other kernel then"},
    {"AveragePoolGrad", "is defined by ConvGradData, which has no other kernel then"},
    {"MaxPool", "is defined by MaxPoolTraining, and that by this"},
    {"MaxPoolTraining", "is defined by MaxPool, and that by this"},
    {"Copy", "is added once definitions have been replaced"},
    {"LSTMDirection", "has a definition of many calls a step"},
    {"GRUDirection", "has a definition of many calls a step"},
    {"RNNDirection", "has a definition of many calls a step"},
    {"LSTMDirectionGrad", "has a definition of many calls a step"},
    {"GRUDirectionGrad", "has a definition of many calls a step"},
    {"RNNDirectionGrad", "has a definition of many calls a step"},
};

const char *og__cuda_kept_on_host(const og_op *op)
{
    for (size_t i = 0; op->expand && i < sizeof kept / sizeof *kept; i++)
        if (strcmp(op->name, kept[i].op) == 0)
            return kept[i].why;
    return op->expand && op->view ? "is a view where it can be, which is not known before layouts"
                                  : NULL;
}

bool og__cuda_by_definition(const og_op *op)
{
    return op->expand && !og__cuda_kept_on_host(op);
}

/* Has the card kernels for the ops that definitions are made of: is anything there to compute, in
 * types that programs read? */
static bool card_computes(const og_call *call)
{
    for (int i = 0; i < call->nx + call->ny; i++) {
        const og_tensor *t = i < call->nx ? &call->x[i] : &call->y[i - call->nx];
        og_dtype dtype = t->type.dtype;
        if (dtype == OG_UNDEFINED)
            continue;
        if (og__elements(t) == 0 || !(dtype == OG_BOOL || og__is_real(dtype) ||
                                      (og_dtype_is_int(dtype) && og__size(dtype) > 0)))
            return false;
    }
    return true;
}

static bool supports(const og_call *call)
{
    og_call host;
    if (og__cuda_by_definition(call->node->op) && card_computes(call))
        return false;
    return on_host(call, &host) && og_device_kernel(host.device, &host, false);
}

/* ---- prepare */

static void release(og_call *call);

static size_t place(size_t *total, size_t bytes)
{
    size_t at = *total;
    *total += og_align_up(bytes, ALIGNMENT);
    return at;
}

static og_status prepare(og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    size_t nx = (size_t)call->nx, n = nx + (size_t)call->ny;
    og__cuda_host *h = calloc(1, sizeof *h + n * sizeof(og_tensor) +
                                     (n + 1) * sizeof(og_cuda_range) + n * sizeof(size_t) + nx);
    if (!h)
        return og_fail_memory(error, sizeof *h, "a call on the host");
    call->state = h;
    on_host(call, &h->call);
    h->call.x = (og_tensor *)(h + 1);
    h->call.y = h->call.x + nx;
    h->ranges = (og_cuda_range *)(h->call.y + call->ny);
    h->at = (size_t *)(h->ranges + n + 1);
    h->constant = (bool *)(h->at + n);
    h->next = cuda->calls;
    if (h->next)
        h->next->previous = h;
    cuda->calls = h;
    for (int i = 0; i < call->nx; i++) {
        h->call.x[i] = call->x[i];
        h->constant[i] = call->x[i].data != NULL;
        h->at[i] = place(&h->bytes, h->constant[i] ? 0 : bytes_of(&call->x[i]));
    }
    for (int i = 0; i < call->ny; i++) {
        h->call.y[i] = call->y[i];
        h->at[nx + (size_t)i] = place(&h->bytes, bytes_of(&call->y[i]));
    }
    const og_kernel *kernel = og_device_kernel(h->call.device, &h->call, false);
    og_status status =
        kernel ? OG_OK : og_fail(error, OG_INTERNAL, "the host has no kernel for a call it had");
    if (status == OG_OK && kernel->prepare)
        status = kernel->prepare(&h->call, error);
    if (status == OG_OK)
        h->kernel = kernel; /* from here on `release` is called for it */
    else
        release(call);
    h = call->state;
    if (h)
        h->workspace_at = place(&h->bytes, h->call.workspace_bytes);
    return status;
}

static void release(og_call *call)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og__cuda_host *h = call->state;
    if (!h)
        return;
    if (h->staged) { /* what is queued may still call it */
        og_error ignored = {0};
        (void)cuda->driver->synchronize(cuda->card, &ignored);
        og_error_clear(&ignored);
    }
    if (h->kernel && h->kernel->release)
        h->kernel->release(&h->call);
    *(h->previous ? &h->previous->next : &cuda->calls) = h->next;
    if (h->next)
        h->next->previous = h->previous;
    og_error_clear(&h->error);
    free(h);
    call->state = NULL;
}

/* ---- staging memory */

static og_status grow(og__cuda *cuda, size_t bytes, og_error *error)
{
    if (cuda->blocks && cuda->blocks->bytes >= bytes)
        return OG_OK;
    og__cuda_block *block = calloc(1, sizeof *block);
    if (!block)
        return og_fail_memory(error, sizeof *block, "staging memory");
    block->bytes = og_align_up(bytes, LEAST_BLOCK);
    void *memory = NULL;
    og_status status = cuda->driver->host_alloc(cuda->card, block->bytes, &memory, error);
    if (status != OG_OK || !memory) {
        free(block);
        return status != OG_OK ? status
                               : og_fail_memory(error, bytes, "pinned memory for ops on the host");
    }
    block->memory = memory;
    block->next = cuda->blocks;
    cuda->blocks = block;
    return OG_OK;
}

static void range(og__cuda_host *h, const void *at, size_t bytes, bool write)
{
    if (bytes)
        h->ranges[h->n_ranges++] = (og_cuda_range){at, bytes, write};
}

/* Set the call's addresses, for good. */
static void stage(og__cuda *cuda, og__cuda_host *h)
{
    char *memory = cuda->blocks->memory;
    for (int i = 0; i < h->call.nx; i++)
        if (!h->constant[i] && h->call.x[i].type.dtype != OG_UNDEFINED) {
            h->call.x[i].data = memory + h->at[i];
            range(h, h->call.x[i].data, bytes_of(&h->call.x[i]), false);
        }
    for (int i = 0; i < h->call.ny; i++)
        if (h->call.y[i].type.dtype != OG_UNDEFINED) {
            h->call.y[i].data = memory + h->at[h->call.nx + i];
            range(h, h->call.y[i].data, bytes_of(&h->call.y[i]), true);
        }
    h->call.workspace = memory + h->workspace_at;
    range(h, h->call.workspace, h->call.workspace_bytes, true);
    h->staged = true;
}

og_status og__cuda_host_stage(og__cuda *cuda, og_error *error)
{
    size_t most = 0;
    bool any = false;
    for (const og__cuda_host *h = cuda->calls; h; h = h->next) {
        any = any || !h->staged;
        if (!h->staged && h->bytes > most)
            most = h->bytes;
    }
    if (!any)
        return OG_OK;
    OG_TRY(grow(cuda, most ? most : 1, error));
    for (og__cuda_host *h = cuda->calls; h; h = h->next)
        if (!h->staged)
            stage(cuda, h);
    return OG_OK;
}

uint64_t og__cuda_host_staging(const og_device *device)
{
    const og__cuda *cuda = og__cuda_of(device);
    uint64_t bytes = 0, most = 0, largest = cuda->blocks ? cuda->blocks->bytes : 0;
    for (const og__cuda_block *b = cuda->blocks; b; b = b->next)
        bytes += b->bytes;
    for (const og__cuda_host *h = cuda->calls; h; h = h->next)
        if (!h->staged && h->bytes > most)
            most = h->bytes;
    return bytes + (most > largest ? og_align_up((size_t)most, LEAST_BLOCK) : 0);
}

void og__cuda_host_free(og__cuda *cuda)
{
    for (og__cuda_block *b = cuda->blocks, *next; b; b = next) {
        next = b->next;
        cuda->driver->host_free(cuda->card, b->memory);
        free(b);
    }
    cuda->blocks = NULL;
}

/* ---- run */

static void run_on_host(void *user)
{
    og__cuda_host *h = user;
    if (atomic_load_explicit(&h->failed, memory_order_acquire))
        return;
    if (h->kernel->run(&h->call, &h->error) != OG_OK) {
        og_node_prefix(&h->error, h->call.node);
        atomic_store_explicit(&h->failed, true, memory_order_release);
    }
}

og_status og__cuda_host_error(og__cuda *cuda, og_error *error)
{
    for (og__cuda_host *h = cuda->calls; h; h = h->next)
        if (atomic_load_explicit(&h->failed, memory_order_acquire)) {
            og_status status = og_error_move(error, &h->error);
            atomic_store_explicit(&h->failed, false, memory_order_release);
            return status;
        }
    return OG_OK;
}

static og_status run(const og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og__cuda_host *h = call->state;
    if (!h->staged)
        OG_TRY(og__cuda_host_stage(cuda, error));
    for (int i = 0; i < call->nx; i++) {
        size_t bytes = h->constant[i] ? 0 : bytes_of(&call->x[i]);
        if (bytes)
            OG_TRY(cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, h->call.x[i].data,
                                      call->x[i].data, bytes, error));
    }
    OG_TRY(cuda->driver->call(cuda->card, OG_CUDA_COMPUTE, run_on_host, h, h->ranges, h->n_ranges,
                              error));
    for (int i = 0; i < call->ny; i++) {
        size_t bytes = bytes_of(&call->y[i]);
        if (bytes)
            OG_TRY(cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, call->y[i].data,
                                      h->call.y[i].data, bytes, error));
    }
    return OG_OK;
}

const og_kernel og_kernels_cuda_host[] = {
    {"*", "host", OG_KERNEL_REFERENCE | OG_KERNEL_PROGRAM | OG_KERNEL_HOST, supports, prepare, run,
     release},
    {NULL},
};
