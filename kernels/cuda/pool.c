/* MaxPool, MaxPoolTraining, AveragePool and their gradients (pool.cu). */
#include "kernels/cuda/pool.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/internal.h"
#include "kernels/cuda/pool_call.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_pool;

enum { THREADS = 256, BLOCKS_A_PROCESSOR = 16 };

og__pool_call og__pool_call_of(const og_call *call)
{
    const char *name = call->node->op->name;
    og__pool_call p = {.max = strncmp(name, "Max", 3) == 0,
                       .gradient = strstr(name, "Grad") != NULL};
    p.large = p.gradient ? &call->y[0] : &call->x[0];
    p.small = p.gradient ? &call->x[0] : &call->y[0];
    p.found = !p.max                          ? NULL
              : p.gradient                    ? &call->x[1]
              : og__has(call->ny, call->y, 1) ? &call->y[1]
                                              : NULL;
    return p;
}

static bool supports(const og_call *call)
{
    og__pool_call p = og__pool_call_of(call);
    og__pool_shape g;
    if (!og__has(call->ny, call->y, 0) || !og__cuda_rows_take(p.large->type.dtype) ||
        p.small->type.dtype != p.large->type.dtype ||
        og_attr_int(call->node, "storage_order", 0) != 0 ||
        !og__pool_read(call, &p.large->type, &p.small->type, &g))
        return false;
    if (p.found && p.found->type.dtype != OG_UINT8 && p.found->type.dtype != OG_INT32 &&
        (p.found->type.dtype != OG_INT64 || p.gradient))
        return false;
    for (int a = 0; a < 3; a++)
        if (g.in[a] > INT_MAX / 4 || g.out[a] * g.stride[a] > INT_MAX / 4 ||
            g.kernel[a] * g.dilation[a] > INT_MAX / 4)
            return false;
    return true;
}

static og_status prepare(og_call *call, og_error *error)
{
    og__pool_call p = og__pool_call_of(call);
    og_dtype dtype = p.large->type.dtype;
    og_cuda_function *function;
    char name[48];
    snprintf(name, sizeof name, "og_pool_%s%s_%s", p.max ? "max" : "average",
             p.gradient ? "_grad" : "",
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
    og__pool_call pool = og__pool_call_of(call);
    const og_tensor *x = pool.large, *y = pool.small, *f = pool.found;
    bool gradient = pool.gradient;
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
