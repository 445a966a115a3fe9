/* MaxPool, MaxPoolTraining, AveragePool and their gradients (pool.cu). */
#include "kernels/cuda/pool.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/pool.h"
#include "kernels/cuda/internal.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_pool;

enum { THREADS = 256, BLOCKS_A_PROCESSOR = 16 };

static bool is_gradient(const og_call *call)
{
    return strstr(call->node->op->name, "Grad") != NULL;
}

static bool is_max(const og_call *call)
{
    return strncmp(call->node->op->name, "Max", 3) == 0;
}

/* The larger and the smaller side, and what was found; NULL: not wanted. */
static const og_tensor *large(const og_call *call)
{
    return is_gradient(call) ? &call->y[0] : &call->x[0];
}

static const og_tensor *small(const og_call *call)
{
    return is_gradient(call) ? &call->x[0] : &call->y[0];
}

static const og_tensor *found(const og_call *call)
{
    return !is_max(call)                   ? NULL
           : is_gradient(call)             ? &call->x[1]
           : og__has(call->ny, call->y, 1) ? &call->y[1]
                                           : NULL;
}

static bool supports(const og_call *call)
{
    og__pool_shape g;
    const og_tensor *f = found(call);
    if (!og__has(call->ny, call->y, 0) || !og__cuda_rows_take(large(call)->type.dtype) ||
        small(call)->type.dtype != large(call)->type.dtype ||
        og_attr_int(call->node, "storage_order", 0) != 0 ||
        !og__pool_read(call, &large(call)->type, &small(call)->type, &g))
        return false;
    if (f && f->type.dtype != OG_UINT8 && f->type.dtype != OG_INT32 &&
        (f->type.dtype != OG_INT64 || is_gradient(call)))
        return false;
    for (int a = 0; a < 3; a++)
        if (g.in[a] > INT_MAX / 4 || g.out[a] * g.stride[a] > INT_MAX / 4 ||
            g.kernel[a] * g.dilation[a] > INT_MAX / 4)
            return false;
    return true;
}

static og_status prepare(og_call *call, og_error *error)
{
    og_dtype dtype = large(call)->type.dtype;
    og_cuda_function *function;
    char name[48];
    snprintf(name, sizeof name, "og_pool_%s%s_%s", is_max(call) ? "max" : "average",
             is_gradient(call) ? "_grad" : "",
             dtype == OG_FLOAT     ? "float"
             : dtype == OG_FLOAT16 ? "half"
                                   : "bfloat");
    OG_TRY(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_pool, name, 0, &function,
                             error));
    call->state = function;
    return OG_OK;
}

static og_status run(const og_call *call, og_error *error)
{
    const og_tensor *x = large(call), *y = small(call), *f = found(call);
    bool gradient = is_gradient(call);
    og__pool_shape g;
    if (!og__pool_read(call, &x->type, &y->type, &g))
        return og__call_fail(call, error, OG_INTERNAL, "unexpected shapes");
    og_pool_arguments p = {
        .shape = {.n = x->type.dims[0],
                  .c = x->type.dims[1],
                  .channels_last = !og_tensor_is_dense(x) || !og_tensor_is_dense(y)},
        .x = x->data,
        .y = y->data,
        .found = f ? f->data : NULL,
        .found_bytes = f ? (int)og__size(f->type.dtype) : 0,
        .include_pad = g.include_pad};
    for (int a = 0; a < 3; a++) {
        p.shape.in[a] = (int)g.in[a];
        p.shape.out[a] = (int)g.out[a];
        p.shape.kernel[a] = (int)g.kernel[a];
        p.shape.step[a] = (int)g.stride[a];
        p.shape.dilation[a] = (int)g.dilation[a];
        p.shape.begin[a] = (int)g.pad[a];
        p.shape.end[a] = (int)g.pad_end[a];
    }
    og_cuda_range ranges[3] = {og__cuda_range(x, gradient), og__cuda_range(y, !gradient)};
    if (f)
        ranges[2] = og__cuda_range(f, !gradient);
    int64_t total = og__elements(gradient ? x : y), blocks = (total + THREADS - 1) / THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    if (total == 0)
        return OG_OK;
    return og__cuda_launch(call, call->state, og__min(blocks, most), THREADS, 0, &p, sizeof p,
                           ranges, 2 + (f != NULL), error);
}

#define POOL(op)                                                              \
    {                                                                         \
        op, "elements", OG_KERNEL_CHANNELS_LAST, supports, prepare, run, NULL \
    }

const og_kernel og_kernels_cuda_pool[] = {
    POOL("MaxPool"),     POOL("ai.ongrad::MaxPoolTraining"), POOL("ai.ongrad::MaxPoolGrad"),
    POOL("AveragePool"), POOL("ai.ongrad::AveragePoolGrad"), {NULL},
};
