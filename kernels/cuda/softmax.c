/* Softmax and LogSoftmax along the last axis (softmax.cu). */
#include <limits.h>

#include "kernels/cuda/internal.h"
#include "kernels/cuda/softmax.h"

extern const og_cuda_image og_cuda_image_softmax;

enum { MOST_THREADS = 512, WARP = 32 };

static const char *kernel_for(og_dtype dtype)
{
    return dtype == OG_FLOAT      ? "og_softmax_float"
           : dtype == OG_FLOAT16  ? "og_softmax_half"
           : dtype == OG_BFLOAT16 ? "og_softmax_bfloat"
                                  : NULL;
}

static bool supports(const og_call *call)
{
    const og_type *type = &call->x[0].type;
    int64_t axis = og_attr_int(call->node, "axis", -1);
    if (call->nx != 1 || call->ny != 1 || type->rank < 1 || !kernel_for(type->dtype))
        return false;
    int64_t n = type->dims[type->rank - 1];
    return (axis < 0 ? axis + type->rank : axis) == type->rank - 1 && n >= 1 && n < INT_MAX / 2 &&
           og_type_elements(type) / n < INT_MAX;
}

static og_status prepare(og_call *call, og_error *error)
{
    og_cuda_function *function;
    OG_TRY(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_softmax,
                             kernel_for(call->x[0].type.dtype), 0, &function, error));
    call->state = function;
    return OG_OK;
}

static og_status run(const og_call *call, bool log, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int n = (int)x->type.dims[x->type.rank - 1], threads = WARP;
    int64_t rows = og_type_elements(&x->type) / n;
    const og_softmax_arguments arguments = {x->data, y->data, n, log};
    const og_cuda_range ranges[] = {og__cuda_range(x, false), og__cuda_range(y, true)};
    if (rows == 0)
        return OG_OK;
    while (threads < n && threads < MOST_THREADS)
        threads *= 2;
    return og__cuda_launch(call, call->state, rows, threads, 0, &arguments, sizeof arguments,
                           ranges, 2, error);
}

static og_status run_softmax(const og_call *call, og_error *error)
{
    return run(call, false, error);
}

static og_status run_log_softmax(const og_call *call, og_error *error)
{
    return run(call, true, error);
}

const og_kernel og_kernels_cuda_softmax[] = {
    {"Softmax", "rows", OG_KERNEL_INPLACE, supports, prepare, run_softmax, NULL},
    {"LogSoftmax", "rows", OG_KERNEL_INPLACE, supports, prepare, run_log_softmax, NULL},
    {NULL},
};
