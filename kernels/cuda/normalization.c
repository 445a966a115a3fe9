/* LayerNormalization, RMSNormalization and RMSNormalizationTraining, and their gradients
 * (normalization.cu). Statistics are float32. */
#include "kernels/cuda/normalization.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_normalization;

static bool is_rms(const og_call *call)
{
    return strncmp(call->node->op->name, "RMS", 3) == 0;
}

/* x seen as [rows, n] */
static bool shape_of(const og_call *call, const og_type *t, int64_t *rows, int64_t *n)
{
    int axis = og__axis(og_attr_int(call->node, "axis", -1), t->rank);
    *rows = *n = 0;
    if (t->rank < 1 || axis < 0 || axis >= t->rank)
        return false;
    *rows = og__product(t->dims, 0, axis);
    *n = og__product(t->dims, axis, t->rank);
    return *n >= 1 && *n < INT_MAX / 2 && *rows < INT_MAX;
}

static bool is_of(const og_tensor *t, int n, int which, og_dtype dtype, int64_t elements)
{
    return !og__has(n, t, which) ||
           (t[which].type.dtype == dtype && og__elements(&t[which]) == elements);
}

/* ---- forward: x, scale, bias → y, mean, rstd; RMS: x, scale → y, rstd */

static bool layer_supports(const og_call *call)
{
    int64_t rows, n;
    og_dtype dtype = call->x[0].type.dtype;
    if (!og__cuda_rows_take(dtype) || !shape_of(call, &call->x[0].type, &rows, &n))
        return false;
    for (int i = 1; i < call->nx; i++)
        if (!is_of(call->x, call->nx, i, dtype, n))
            return false;
    for (int i = 1; i < call->ny; i++)
        if (!is_of(call->y, call->ny, i, OG_FLOAT, rows))
            return false;
    return og__has(call->nx, call->x, 1) && is_of(call->y, call->ny, 0, dtype, rows * n);
}

static og_status layer_prepare(og_call *call, og_error *error)
{
    int64_t rows, n;
    og__cuda_rows *r = NULL;
    shape_of(call, &call->x[0].type, &rows, &n);
    OG_TRY(og__cuda_rows_new(call, &og_cuda_image_normalization, "layer", call->x[0].type.dtype,
                             rows, n, 0, &r, error));
    call->state = r;
    return OG_OK;
}

static void *data_of(int n, const og_tensor *t, int which)
{
    return og__has(n, t, which) ? t[which].data : NULL;
}

/* Ranges of all tensors that there are; their number. */
static int ranges_of(const og_call *call, og_cuda_range *ranges)
{
    int n = 0;
    for (int i = 0; i < call->nx; i++)
        if (og__has(call->nx, call->x, i))
            ranges[n++] = og__cuda_range(&call->x[i], false);
    for (int i = 0; i < call->ny; i++)
        if (og__has(call->ny, call->y, i))
            ranges[n++] = og__cuda_range(&call->y[i], true);
    return n;
}

static og_status layer_run(const og_call *call, og_error *error)
{
    const og__cuda_rows *r = call->state;
    bool rms = is_rms(call);
    const og_layer_arguments arguments = {.x = call->x[0].data,
                                          .scale = call->x[1].data,
                                          .bias = data_of(call->nx, call->x, 2),
                                          .y = data_of(call->ny, call->y, 0),
                                          .mean = rms ? NULL : data_of(call->ny, call->y, 1),
                                          .rstd = data_of(call->ny, call->y, rms ? 1 : 2),
                                          .rows = r->rows,
                                          .n = r->n,
                                          .warps = r->warps,
                                          .rms = rms,
                                          .epsilon =
                                              (float)og_attr_float(call->node, "epsilon", 1e-5)};
    og_cuda_range ranges[8];
    int n = ranges_of(call, ranges);
    uintptr_t addresses = (uintptr_t)arguments.x | (uintptr_t)arguments.scale |
                          (uintptr_t)arguments.bias | (uintptr_t)arguments.y;
    if (r->rows == 0)
        return OG_OK;
    return og__cuda_launch(call, og__cuda_rows_function(r, addresses), og__cuda_rows_blocks(r),
                           r->threads, 0, &arguments, sizeof arguments, ranges, n, error);
}

/* ---- gradient: dy, x, scale, mean, rstd → dx, dscale, dbias; RMS: dy, x, scale, rstd → dx, dscale
 */

enum { WARP = 32, MOST_THREADS = 256, MOST_BLOCKS = 512, LEAST_ROWS = 4, JOIN_THREADS = 256 };

typedef struct grad {
    og__cuda_rows *rows;
    og_cuda_function *join;
    int each, blocks, threads; /* rows of a block; blocks; threads of one */
} grad;

static bool grad_supports(const og_call *call)
{
    int64_t rows, n;
    og_dtype dtype = call->x[0].type.dtype;
    size_t shared = og__cuda_of(call->device)->properties.shared;
    if (!og__cuda_rows_take(dtype) || !shape_of(call, &call->x[0].type, &rows, &n) || rows == 0 ||
        (size_t)n * 2 * sizeof(float) > shared - 64 * sizeof(float))
        return false;
    for (int i = 3; i < call->nx; i++)
        if (!is_of(call->x, call->nx, i, OG_FLOAT, rows))
            return false;
    for (int i = 1; i < call->ny; i++)
        if (!is_of(call->y, call->ny, i, dtype, n))
            return false;
    return is_of(call->x, call->nx, 1, dtype, rows * n) && is_of(call->x, call->nx, 2, dtype, n) &&
           is_of(call->y, call->ny, 0, dtype, rows * n);
}

static size_t shared_bytes(int64_t n)
{
    return (size_t)n * 2 * sizeof(float);
}

static void grad_release(og_call *call)
{
    grad *g = call->state;
    if (!g)
        return;
    free(g->rows);
    free(g);
    call->state = NULL;
}

static og_status grad_prepare(og_call *call, og_error *error)
{
    int64_t rows, n;
    og_status status = OG_OK;
    og_dtype dtype = call->x[0].type.dtype;
    const char *join = dtype == OG_FLOAT     ? "og_layer_join_float_1"
                       : dtype == OG_FLOAT16 ? "og_layer_join_half_1"
                                             : "og_layer_join_bfloat_1";
    shape_of(call, &call->x[0].type, &rows, &n);
    grad *g = calloc(1, sizeof *g);
    if (!g)
        return og_fail_memory(error, sizeof *g, "the gradient of a norm");
    call->state = g;
    int64_t each = (rows + MOST_BLOCKS - 1) / MOST_BLOCKS, vec = 16 / (int64_t)og__size(dtype);
    g->each = (int)og__max(each, LEAST_ROWS);
    g->blocks = (int)((rows + g->each - 1) / g->each);
    g->threads = WARP;
    while (g->threads < n / vec && g->threads < MOST_THREADS)
        g->threads *= 2;
    OG_TRY_CLEANUP(og__cuda_rows_new(call, &og_cuda_image_normalization, "layer_grad", dtype, rows,
                                     n, shared_bytes(n), &g->rows, error));
    OG_TRY_CLEANUP(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_normalization, join,
                                     0, &g->join, error));
    if (og__has(call->ny, call->y, 1) || og__has(call->ny, call->y, 2))
        call->workspace_bytes = (size_t)(g->blocks * 2 * n) * sizeof(float);
cleanup:
    if (status != OG_OK)
        grad_release(call);
    return status;
}

static og_status grad_run(const og_call *call, og_error *error)
{
    const grad *g = call->state;
    const og__cuda_rows *r = g->rows;
    bool rms = is_rms(call), sums = call->workspace_bytes > 0;
    const og_layer_grad_arguments arguments = {.dy = call->x[0].data,
                                               .x = call->x[1].data,
                                               .scale = call->x[2].data,
                                               .mean = rms ? NULL : call->x[3].data,
                                               .rstd = call->x[rms ? 3 : 4].data,
                                               .dx = data_of(call->ny, call->y, 0),
                                               .sums = sums ? call->workspace : NULL,
                                               .rows = r->rows,
                                               .n = r->n,
                                               .each = g->each,
                                               .rms = rms};
    og_cuda_range ranges[8];
    int n = 0;
    for (int i = 0; i < call->nx; i++)
        ranges[n++] = og__cuda_range(&call->x[i], false);
    if (arguments.dx)
        ranges[n++] = og__cuda_range(&call->y[0], true);
    if (sums)
        ranges[n++] = (og_cuda_range){call->workspace, call->workspace_bytes, true};
    uintptr_t addresses = (uintptr_t)arguments.x | (uintptr_t)arguments.dy |
                          (uintptr_t)arguments.scale | (uintptr_t)arguments.dx;
    OG_TRY(og__cuda_launch(call, og__cuda_rows_function(r, addresses), g->blocks, g->threads,
                           shared_bytes(r->n), &arguments, sizeof arguments, ranges, n, error));
    if (!sums)
        return OG_OK;
    const og_layer_join_arguments join = {.sums = call->workspace,
                                          .dscale = data_of(call->ny, call->y, 1),
                                          .dbias = data_of(call->ny, call->y, 2),
                                          .n = r->n,
                                          .blocks = g->blocks};
    n = 1;
    ranges[0] = (og_cuda_range){call->workspace, call->workspace_bytes, false};
    for (int i = 1; i < call->ny; i++)
        if (og__has(call->ny, call->y, i))
            ranges[n++] = og__cuda_range(&call->y[i], true);
    return og__cuda_launch(call, g->join, (2 * r->n + 31) / 32, JOIN_THREADS, 0, &join, sizeof join,
                           ranges, n, error);
}

#define FORWARD(op)                                                             \
    {                                                                           \
        op, "rows", 0, layer_supports, layer_prepare, layer_run, og__free_state \
    }
#define GRADIENT(op)                                                       \
    {                                                                      \
        op, "rows", 0, grad_supports, grad_prepare, grad_run, grad_release \
    }

const og_kernel og_kernels_cuda_normalization[] = {
    FORWARD("LayerNormalization"),
    FORWARD("RMSNormalization"),
    FORWARD("ai.ongrad::RMSNormalizationTraining"),
    GRADIENT("ai.ongrad::LayerNormalizationGrad"),
    GRADIENT("ai.ongrad::RMSNormalizationGrad"),
    {NULL},
};
