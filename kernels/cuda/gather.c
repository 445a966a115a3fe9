/* Gather and GatherGrad (gather.cu). */
#include "kernels/cuda/gather.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/indexing.h"
#include "kernels/cuda/internal.h"

extern const og_cuda_image og_cuda_image_gather;

enum { THREADS = 256, BLOCKS_A_PROCESSOR = 16, WIDTHS = 5, MOST_POSITIONS = 1 << 30 };

/* A tensor as [outer, n, inner] around the axis of the node. */
typedef struct shape {
    int64_t outer, n, inner, count;
} shape;

static shape shape_of(const og_call *call, const og_type *t)
{
    int axis = og__axis(og_attr_int(call->node, "axis", 0), t->rank);
    return (shape){og__product(t->dims, 0, axis), t->dims[axis],
                   og__product(t->dims, axis + 1, t->rank), og__elements(&call->x[1])};
}

static bool has_indices(const og_call *call)
{
    og_dtype dtype = call->x[1].type.dtype;
    return dtype == OG_INT64 || dtype == OG_INT32;
}

/* ---- Gather: x, indices → y */

typedef struct gather {
    shape shape;
    og__cuda_watch *watch;
    og_cuda_function *functions[WIDTHS];
} gather;

static bool gather_supports(const og_call *call)
{
    return has_indices(call) && call->x[0].type.rank > 0 && og__size(call->x[0].type.dtype) > 0;
}

static void gather_release(og_call *call)
{
    gather *g = call->state;
    if (g)
        og__cuda_watch_free(og__cuda_of(call->device), g->watch);
    og__free_state(call);
}

static og_status gather_prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    gather *g = calloc(1, sizeof *g);
    if (!g)
        return og_fail_memory(error, sizeof *g, "Gather");
    call->state = g;
    g->shape = shape_of(call, &call->x[0].type);
    OG_TRY_CLEANUP(og__cuda_watch_new(call, og__bad_index, g->shape.n, &g->watch, error));
    for (int w = 0; w < WIDTHS; w++) {
        char name[32];
        snprintf(name, sizeof name, "og_gather_%d", 1 << w);
        OG_TRY_CLEANUP(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_gather, name, 0,
                                         &g->functions[w], error));
    }
cleanup:
    if (status != OG_OK)
        gather_release(call);
    return status;
}

static og_status gather_run(const og_call *call, og_error *error)
{
    const gather *g = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *x = &call->x[0], *indices = &call->x[1], *y = &call->y[0];
    int64_t run = g->shape.inner * (int64_t)og__size(x->type.dtype);
    int w = WIDTHS - 1;
    while (((uint64_t)run | (uintptr_t)x->data | (uintptr_t)y->data) % ((uint64_t)1 << w) != 0)
        w--;
    const og_gather_arguments arguments = {.y = y->data,
                                           .x = x->data,
                                           .indices = indices->data,
                                           .outer = g->shape.outer,
                                           .n = g->shape.n,
                                           .count = g->shape.count,
                                           .run = run >> w,
                                           .outside = cuda->outside,
                                           .call = og__cuda_watch_number(g->watch),
                                           .narrow = indices->type.dtype == OG_INT32};
    const og_cuda_range ranges[] = {og__cuda_range(x, false),
                                    og__cuda_range(indices, false),
                                    og__cuda_range(y, true),
                                    {cuda->outside, sizeof *cuda->outside, true}};
    int64_t total = arguments.outer * arguments.count * arguments.run,
            blocks = (total + THREADS - 1) / THREADS,
            most = (int64_t)cuda->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    if (total == 0)
        return OG_OK;
    return og__cuda_launch(call, g->functions[w], og__min(blocks, most), THREADS, 0, &arguments,
                           sizeof arguments, ranges, 4, error);
}

/* ---- GatherGrad: dy, indices → dx */

typedef struct grad {
    shape shape;
    int64_t size; /* of the keys: a power of two */
    og_cuda_function *keys, *step, *block, *sum;
} grad;

static const char *sum_kernel(og_dtype dtype)
{
    return dtype == OG_FLOAT      ? "og_gather_grad_float"
           : dtype == OG_FLOAT16  ? "og_gather_grad_half"
           : dtype == OG_BFLOAT16 ? "og_gather_grad_bfloat"
                                  : NULL;
}

static bool grad_supports(const og_call *call)
{
    og_dtype dtype = call->y[0].type.dtype;
    if (!has_indices(call) || !sum_kernel(dtype) || call->x[0].type.dtype != dtype ||
        call->y[0].type.rank < 1)
        return false;
    shape s = shape_of(call, &call->y[0].type);
    return s.count <= MOST_POSITIONS && s.n <= INT_MAX &&
           s.outer * s.count * ((s.inner + THREADS - 1) / THREADS) <= INT_MAX;
}

static og_status grad_prepare(og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_status status = OG_OK;
    grad *g = calloc(1, sizeof *g);
    if (!g)
        return og_fail_memory(error, sizeof *g, "the gradient of Gather");
    call->state = g;
    g->shape = shape_of(call, &call->y[0].type);
    for (g->size = 2; g->size < g->shape.count;)
        g->size *= 2;
    const struct {
        const char *name;
        og_cuda_function **function;
    } functions[] = {{"og_gather_keys", &g->keys},
                     {"og_sort_step", &g->step},
                     {"og_sort_block", &g->block},
                     {sum_kernel(call->y[0].type.dtype), &g->sum}};
    for (int i = 0; i < 4; i++)
        OG_TRY_CLEANUP(og__cuda_function(cuda, &og_cuda_image_gather, functions[i].name, 0,
                                         functions[i].function, error));
    call->workspace_bytes = (size_t)g->size * sizeof(uint64_t);
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

/* The keys in the workspace. */
static og_status sort(const og_call *call, const grad *g, og_error *error)
{
    const og_cuda_range range = {call->workspace, call->workspace_bytes, true};
    int64_t pairs = g->size / 2, within = og__min(g->size, OG_SORT_BLOCK),
            blocks = g->size / within;
    og_sort_arguments s = {.keys = call->workspace, .size = g->size};
    s.sorted = 2;
    s.apart = 1;
    s.until = within;
    OG_TRY(og__cuda_launch(call, g->block, blocks, OG_SORT_THREADS, 0, &s, sizeof s, &range, 1,
                           error));
    for (s.sorted = 2 * within; s.sorted <= g->size; s.sorted *= 2) {
        for (s.apart = s.sorted / 2; s.apart >= within; s.apart /= 2)
            OG_TRY(og__cuda_launch(call, g->step, (pairs + THREADS - 1) / THREADS, THREADS, 0, &s,
                                   sizeof s, &range, 1, error));
        s.until = s.sorted;
        OG_TRY(og__cuda_launch(call, g->block, blocks, OG_SORT_THREADS, 0, &s, sizeof s, &range, 1,
                               error));
    }
    return OG_OK;
}

static og_status grad_run(const og_call *call, og_error *error)
{
    const grad *g = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *dy = &call->x[0], *indices = &call->x[1], *dx = &call->y[0];
    og_cuda_range keys = {call->workspace, call->workspace_bytes, true},
                  output = og__cuda_range(dx, true);
    if (output.bytes)
        OG_TRY(cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, dx->data, 0, output.bytes, error));
    if (g->shape.outer * g->shape.count * g->shape.inner == 0)
        return OG_OK;
    const og_keys_arguments k = {.keys = call->workspace,
                                 .indices = indices->data,
                                 .count = g->shape.count,
                                 .size = g->size,
                                 .n = g->shape.n,
                                 .narrow = indices->type.dtype == OG_INT32};
    const og_cuda_range made[] = {keys, og__cuda_range(indices, false)};
    OG_TRY(og__cuda_launch(call, g->keys, (g->size + THREADS - 1) / THREADS, THREADS, 0, &k,
                           sizeof k, made, 2, error));
    OG_TRY(sort(call, g, error));
    keys.write = false;
    og_gather_grad_arguments s = {.dy = dy->data,
                                  .dx = dx->data,
                                  .keys = call->workspace,
                                  .outer = g->shape.outer,
                                  .count = g->shape.count,
                                  .n = g->shape.n,
                                  .inner = g->shape.inner};
    int threads = 32;
    while (threads < s.inner && threads < THREADS)
        threads *= 2;
    s.column_blocks = (int)((s.inner + threads - 1) / threads);
    const og_cuda_range ranges[] = {keys, og__cuda_range(dy, false), output};
    return og__cuda_launch(call, g->sum, s.outer * s.count * s.column_blocks, threads, 0, &s,
                           sizeof s, ranges, 3, error);
}

const og_kernel og_kernels_cuda_gather[] = {
    {"Gather", "rows", 0, gather_supports, gather_prepare, gather_run, gather_release},
    {"ai.ongrad::GatherGrad", "sorted", 0, grad_supports, grad_prepare, grad_run, og__free_state},
    {NULL},
};
