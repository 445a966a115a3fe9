/* Softmax and LogSoftmax along the last axis, the cross entropy of rows and its gradient
 * (softmax.cu). */
#include "kernels/cuda/softmax.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/indexing.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_softmax;

/* ---- Softmax, LogSoftmax; Flattened…: over all axes from attribute axis on */

/* x as [rows, n]; false: the axes behind are not reduced. */
static bool softmax_shape(const og_call *call, int64_t *rows, int64_t *n)
{
    const og_type *type = &call->x[0].type;
    bool flattened = strncmp(call->node->op->name, "Flattened", 9) == 0;
    *rows = *n = 0;
    if (type->rank < 1)
        return false;
    int axis = og__axis(og_attr_int(call->node, "axis", flattened ? 1 : -1), type->rank);
    if (axis > type->rank)
        return false;
    *rows = og__product(type->dims, 0, axis);
    *n = og__product(type->dims, axis, type->rank);
    return flattened || axis == type->rank - 1;
}

static bool fits(int64_t rows, int64_t n)
{
    return n >= 1 && n < INT_MAX / 2 && rows < INT_MAX;
}

static bool softmax_supports(const og_call *call)
{
    int64_t rows, n;
    return call->nx == 1 && call->ny == 1 && og__cuda_rows_take(call->x[0].type.dtype) &&
           softmax_shape(call, &rows, &n) && fits(rows, n);
}

static og_status softmax_prepare(og_call *call, og_error *error)
{
    int64_t rows, n;
    og__cuda_rows *r = NULL;
    softmax_shape(call, &rows, &n);
    OG_TRY(og__cuda_rows_new(call, &og_cuda_image_softmax, "softmax", call->x[0].type.dtype, rows,
                             n, 0, &r, error));
    call->state = r;
    return OG_OK;
}

static og_status softmax_run(const og_call *call, og_error *error)
{
    const og__cuda_rows *r = call->state;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    bool log = strstr(call->node->op->name, "Log") != NULL;
    const og_softmax_arguments arguments = {x->data, y->data, r->rows, r->n, r->warps, log};
    const og_cuda_range ranges[] = {og__cuda_range(x, false), og__cuda_range(y, true)};
    if (r->rows == 0)
        return OG_OK;
    return og__cuda_launch(call, og__cuda_rows_function(r, (uintptr_t)x->data | (uintptr_t)y->data),
                           og__cuda_rows_blocks(r), r->threads, 0, &arguments, sizeof arguments,
                           ranges, 2, error);
}

/* ---- SoftmaxCrossEntropy: x [rows, n], labels → loss, lse */

static bool rows_support(const og_tensor *x, const og_tensor *labels)
{
    og_dtype index = labels->type.dtype;
    return og__cuda_rows_take(x->type.dtype) && (index == OG_INT64 || index == OG_INT32) &&
           x->type.rank == 2 && fits(x->type.dims[0], x->type.dims[1]);
}

static bool loss_supports(const og_call *call)
{
    return rows_support(&call->x[0], &call->x[1]);
}

typedef struct loss {
    og__cuda_rows *rows;
    og__cuda_watch *watch;
} loss;

static void loss_release(og_call *call)
{
    loss *l = call->state;
    if (l) {
        og__cuda_watch_free(og__cuda_of(call->device), l->watch);
        free(l->rows);
    }
    og__free_state(call);
}

static og_status loss_prepare(og_call *call, og_error *error)
{
    const og_type *x = &call->x[0].type;
    og_status status = OG_OK;
    loss *l = calloc(1, sizeof *l);
    if (!l)
        return og_fail_memory(error, sizeof *l, "a loss");
    call->state = l;
    OG_TRY_CLEANUP(og__cuda_watch_new(call, og__bad_index, x->dims[1], &l->watch, error));
    OG_TRY_CLEANUP(og__cuda_rows_new(call, &og_cuda_image_softmax, "cross_entropy", x->dtype,
                                     x->dims[0], x->dims[1], 0, &l->rows, error));
cleanup:
    if (status != OG_OK)
        loss_release(call);
    return status;
}

static og_status loss_run(const og_call *call, og_error *error)
{
    const loss *l = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og__cuda_rows *r = l->rows;
    const og_tensor *x = &call->x[0], *labels = &call->x[1];
    bool wants_lse = og__has(call->ny, call->y, 1);
    const og_cross_entropy_arguments arguments = {.x = x->data,
                                                  .labels = labels->data,
                                                  .loss = call->y[0].data,
                                                  .lse_out = wants_lse ? call->y[1].data : NULL,
                                                  .outside = cuda->outside,
                                                  .call = og__cuda_watch_number(l->watch),
                                                  .rows = r->rows,
                                                  .n = r->n,
                                                  .warps = r->warps,
                                                  .narrow = labels->type.dtype == OG_INT32};
    og_cuda_range ranges[5] = {og__cuda_range(x, false),
                               og__cuda_range(labels, false),
                               og__cuda_range(&call->y[0], true),
                               {cuda->outside, sizeof *cuda->outside, true}};
    if (wants_lse)
        ranges[4] = og__cuda_range(&call->y[1], true);
    if (r->rows == 0)
        return OG_OK;
    return og__cuda_launch(call, og__cuda_rows_function(r, (uintptr_t)x->data),
                           og__cuda_rows_blocks(r), r->threads, 0, &arguments, sizeof arguments,
                           ranges, 4 + wants_lse, error);
}

/* ---- SoftmaxCrossEntropyGrad: dloss, x [rows, n], labels, lse, dlse → dx */

static bool grad_supports(const og_call *call)
{
    return rows_support(&call->x[1], &call->x[2]) && call->x[0].type.dtype == call->x[1].type.dtype;
}

static og_status grad_prepare(og_call *call, og_error *error)
{
    const og_type *x = &call->x[1].type;
    og__cuda_rows *r = NULL;
    OG_TRY(og__cuda_rows_new(call, &og_cuda_image_softmax, "cross_entropy_grad", x->dtype,
                             x->dims[0], x->dims[1], 0, &r, error));
    call->state = r;
    return OG_OK;
}

static og_status grad_run(const og_call *call, og_error *error)
{
    const og__cuda_rows *r = call->state;
    const og_tensor *x = &call->x[1], *dx = &call->y[0];
    bool has_dlse = og__has(call->nx, call->x, 4);
    const og_cross_entropy_arguments arguments = {.x = x->data,
                                                  .labels = call->x[2].data,
                                                  .dloss = call->x[0].data,
                                                  .lse = call->x[3].data,
                                                  .dlse = has_dlse ? call->x[4].data : NULL,
                                                  .dx = dx->data,
                                                  .rows = r->rows,
                                                  .n = r->n,
                                                  .warps = r->warps,
                                                  .narrow = call->x[2].type.dtype == OG_INT32};
    og_cuda_range ranges[6] = {og__cuda_range(dx, true)};
    for (int i = 0; i < 4 + has_dlse; i++)
        ranges[i + 1] = og__cuda_range(&call->x[i], false);
    if (r->rows == 0)
        return OG_OK;
    return og__cuda_launch(call,
                           og__cuda_rows_function(r, (uintptr_t)x->data | (uintptr_t)dx->data),
                           og__cuda_rows_blocks(r), r->threads, 0, &arguments, sizeof arguments,
                           ranges, 5 + has_dlse, error);
}

#define SOFTMAX(op)                                                                    \
    {                                                                                  \
        op, "rows", OG_KERNEL_INPLACE, softmax_supports, softmax_prepare, softmax_run, \
            og__free_state                                                             \
    }

const og_kernel og_kernels_cuda_softmax[] = {
    SOFTMAX("Softmax"),
    SOFTMAX("LogSoftmax"),
    SOFTMAX("ai.ongrad::FlattenedSoftmax"),
    SOFTMAX("ai.ongrad::FlattenedLogSoftmax"),
    {"ai.ongrad::SoftmaxCrossEntropy", "rows", 0, loss_supports, loss_prepare, loss_run,
     loss_release},
    {"ai.ongrad::SoftmaxCrossEntropyGrad", "rows", OG_KERNEL_INPLACE, grad_supports, grad_prepare,
     grad_run, og__free_state},
    {NULL},
};
