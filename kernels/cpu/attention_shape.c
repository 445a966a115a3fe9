/* What a call of AttentionHeads or its gradient means (attention.h), and which blocks of scores the
 * mask leaves out. */
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
    a->map_bytes = (size_t)(a->masks * a->row_blocks * a->column_blocks);
}

bool og__attention_supports(const og_call *call, int first, int mask)
{
    og__attention a;
    if (!og__supports_float(call))
        return false;
    og__attention_shape(call, first, mask, &a);
    return a.B > 0 && a.H > 0 && a.S > 0 && a.T > 0 && a.D > 0 && a.E > 0 && a.D <= OG__GEMM_K &&
           a.E <= OG__GEMM_K && (!a.mask || a.T == 1 || a.mask_strides[3] == 1);
}

/* The row of blocks of one mask. */
static void map_rows(const og__attention *a, const og__attention_fns *fns, int64_t mask,
                     int64_t block, unsigned char *map)
{
    int64_t b = mask / a->mask_heads, h = mask % a->mask_heads, first = block * OG__ATTENTION_ROWS;
    int64_t rows = og__min(OG__ATTENTION_ROWS, a->S - first);
    bool open[OG__ATTENTION_ROWS], all_open = true;
    for (int64_t r = 0; r < rows; r++) {
        open[r] = fns->largest(og__attention_bias(a, b, h, first + r, 0), a->T) > -1e20;
        all_open = all_open && open[r];
    }
    for (int64_t j = 0; j < a->column_blocks; j++) {
        int64_t column = j * OG__ATTENTION_COLUMNS,
                n = og__min(OG__ATTENTION_COLUMNS, a->T - column);
        bool skipped = all_open, zeros = true;
        for (int64_t r = 0; r < rows && (skipped || zeros); r++) {
            const void *x = og__attention_bias(a, b, h, first + r, column);
            zeros = zeros && fns->zeros(x, n);
            skipped = skipped && !zeros && fns->largest(x, n) < -1e30;
        }
        map[j] = skipped ? OG__BLOCK_SKIPPED : zeros ? OG__BLOCK_OPEN : OG__BLOCK_MASKED;
    }
}

void og__attention_map(const og_call *call, const og__attention *a, unsigned char *map)
{
    const og__attention_fns *fns = OG__PICK(og__attention_find)(a->dtype);
    int64_t tasks = a->masks * a->row_blocks, work = a->masks * a->S * a->T / 8;
#pragma omp parallel for num_threads(og__threads(call, work)) schedule(static)
    for (int64_t i = 0; i < tasks; i++)
        map_rows(a, fns, i / a->row_blocks, i % a->row_blocks, map + i * a->column_blocks);
}
