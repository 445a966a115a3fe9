/* What a call of AttentionHeads or its gradient means (attention.h), and which blocks of scores the
 * mask leaves out. */
#include <stdlib.h>

#include "kernels/cpu/attention.h"

void og__attention_shape(const og_call *call, int first, int mask, og__attention *a)
{
    const og_tensor *q = &call->x[first], *k = &call->x[first + 1], *v = &call->x[first + 2];
    *a = (og__attention){.dtype = q->type.dtype,
                         .size = (int64_t)og__size(q->type.dtype),
                         .B = q->type.dims[0],
                         .S = q->type.dims[1],
                         .H = q->type.dims[2],
                         .D = q->type.dims[3],
                         .T = k->type.dims[1],
                         .E = v->type.dims[3],
                         .q = q,
                         .k = k,
                         .v = v,
                         .scale = og_attr_float(call->node, "scale", 1),
                         .zero_nan = og_attr_int(call->node, "zero_nan", 0) != 0};
    a->row_blocks = (a->S + OG__ATTENTION_ROWS - 1) / OG__ATTENTION_ROWS;
    a->column_blocks = (a->T + OG__ATTENTION_COLUMNS - 1) / OG__ATTENTION_COLUMNS;
    if (!og__has(call->nx, call->x, mask))
        return;
    a->mask = &call->x[mask];
    og_type scores = {a->dtype, 4, {a->B, a->H, a->S, a->T}};
    og__broadcast_strides(a->mask, &scores, a->mask_strides);
    a->mask_heads = a->mask_strides[1] ? a->H : 1;
    a->masks = (a->mask_strides[0] ? a->B : 1) * a->mask_heads;
    a->map_bytes = (size_t)(a->masks * a->row_blocks * a->column_blocks) * sizeof(og__block);
}

bool og__attention_supports(const og_call *call, int first, int mask)
{
    og__attention a;
    if (!og__supports_float(call) || og__has(call->nx, call->x, mask + 1)) /* dropout */
        return false;
    og__attention_shape(call, first, mask, &a);
    return a.B > 0 && a.H > 0 && a.S > 0 && a.T > 0 && a.D > 0 && a.E > 0 && a.D <= OG__GEMM_K &&
           a.E <= OG__GEMM_K && (!a.mask || a.T == 1 || a.mask_strides[3] == 1);
}

enum { GRAIN = 32 }; /* columns that are left out together: what inner kernels compute at once */

/* Columns before which all are left out lie at the end: how many are not, of n. */
static int64_t end_of(const og__attention *a, const og__attention_fns *fns, const void *mask,
                      int64_t rows, int64_t n)
{
    int64_t end = 0;
    for (int64_t r = 0; r < rows; r++) {
        const char *row = (const char *)mask + r * a->mask_strides[2] * a->size;
        for (int64_t at = (n - 1) / GRAIN * GRAIN; at >= end; at -= GRAIN)
            if (!(fns->largest(row + at * a->size, og__min(GRAIN, n - at)) < -1e30))
                end = og__min(n, at + GRAIN);
    }
    return end;
}

/* The row of blocks of one mask. */
static void map_rows(const og__attention *a, const og__attention_fns *fns, int64_t mask,
                     int64_t block, og__block *map)
{
    int64_t b = mask / a->mask_heads, h = mask % a->mask_heads, first = block * OG__ATTENTION_ROWS;
    int64_t rows = og__min(OG__ATTENTION_ROWS, a->S - first);
    bool open = true;
    for (int64_t r = 0; r < rows && open; r++)
        open = fns->largest(og__attention_bias(a, b, h, first + r, 0), a->T) > -1e20;
    for (int64_t j = 0; j < a->column_blocks; j++) {
        int64_t column = j * OG__ATTENTION_COLUMNS,
                n = og__min(OG__ATTENTION_COLUMNS, a->T - column);
        int64_t end =
            open ? end_of(a, fns, og__attention_bias(a, b, h, first, column), rows, n) : n;
        bool zeros = true;
        for (int64_t r = 0; r < rows && zeros && end; r++)
            zeros = fns->zeros(og__attention_bias(a, b, h, first + r, column), end);
        map[j] = (og__block){(uint8_t)end, !zeros};
    }
}

void og__attention_map(const og_call *call, const og__attention *a, og__block *map)
{
    const og__attention_fns *fns = OG__PICK(og__attention_find)(a->dtype);
#pragma omp parallel for num_threads(og__threads(call, a->masks * a->S * a->T / 8)) schedule(static)
    for (int64_t i = 0; i < a->masks * a->row_blocks; i++)
        map_rows(a, fns, i / a->row_blocks, i % a->row_blocks, map + i * a->column_blocks);
}

og_status og__attention_begin(og_call *call, size_t size, int first, int mask, og_error *error)
{
    og__attention_plan *p = call->state = calloc(1, size);
    if (!p)
        return og_fail_memory(error, size, "attention");
    og__attention *a = &p->shape;
    og__attention_shape(call, first, mask, a);
    if (!a->mask || !a->mask->data)
        return OG_OK;
    p->map = malloc(a->map_bytes);
    if (!p->map) {
        og_fail_memory(error, a->map_bytes, "the blocks of a mask");
        og__attention_release(call);
        return error->status;
    }
    og__attention_map(call, a, p->map);
    return OG_OK;
}

void og__attention_end(og_call *call, int threads, size_t task_bytes)
{
    og__attention_plan *p = call->state;
    p->threads = threads;
    p->task_bytes = task_bytes;
    call->workspace_bytes = (p->shape.map_bytes + 255) / 256 * 256 + (size_t)threads * task_bytes;
}

void og__attention_release(og_call *call)
{
    og__attention_plan *p = call->state;
    if (p)
        free(p->map);
    free(p);
    call->state = NULL;
}
