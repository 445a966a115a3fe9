/* AttentionHeads: q [B, S, H, D], k [B, T, H, D], v [B, T, H, E], mask [B, H, S, T] or broadcast →
 * y [B, S, H, E], top, log_sum [B, H, S]; attributes scale, zero_nan.
 *
 * Dao: FlashAttention-2 (2023), algorithm 1. A task packs the keys and values of its unit once and
 * walks its rows of scores block by block:
 *     s = scale Q Kᵀ + mask,  p = exp(s - top),  o = o exp(top before - top) + p V,  y = o / Σ p
 * Blocks are the same whatever the number of threads. */
#include "kernels/cpu/attention.h"

typedef struct plan {
    og__attention_plan both;
    int64_t parts;                 /* tasks of a unit */
    size_t key_bytes, value_bytes; /* of a packed block */
} plan;

/* Workspace of a task, in turn. */
typedef struct task {
    char *keys, *values; /* packed blocks */
    char *q, *o;         /* rows of D and of E */
    char *s;
    char *top;
    double *total;
    char *gemm;
} task;

static size_t lay_out(const plan *p, char *base, task *t)
{
    const og__attention *a = &p->both.shape;
    size_t at = 0, size = (size_t)a->size, rows = OG__ATTENTION_ROWS;
    t->keys = og__attention_take(base, &at, p->key_bytes * (size_t)a->column_blocks);
    t->values = og__attention_take(base, &at, p->value_bytes * (size_t)a->column_blocks);
    t->q = og__attention_take(base, &at, rows * (size_t)og__attention_pitch(a->D) * size);
    t->o = og__attention_take(base, &at, rows * (size_t)og__attention_pitch(a->E) * size);
    t->s = og__attention_take(base, &at, rows * OG__ATTENTION_PITCH * size);
    t->top = og__attention_take(base, &at, rows * size);
    t->total = og__attention_take(base, &at, rows * sizeof(double));
    t->gemm = og__attention_take(base, &at, og__gemm_rows_bytes(a->dtype));
    return at;
}

static bool supports(const og_call *call)
{
    return og__attention_supports(call, 0, 3);
}

static og_status prepare(og_call *call, og_error *error)
{
    task t;
    OG_TRY(og__attention_begin(call, sizeof(plan), 0, 3, error));
    plan *p = call->state;
    const og__attention *a = &p->both.shape;
    p->key_bytes = og__gemm_packed_bytes(a->dtype, OG__ATTENTION_COLUMNS, a->D);
    p->value_bytes = og__gemm_packed_bytes(a->dtype, a->E, OG__ATTENTION_COLUMNS);
    /* Two tasks a thread at least: rows of a causal mask have unequal work. */
    int64_t wanted = 2 * (call->device ? call->device->threads : 1);
    p->parts = og__max(1, og__min(a->row_blocks, (wanted + a->B * a->H - 1) / (a->B * a->H)));
    int64_t work = a->B * a->H * a->S * a->T * (a->D + a->E);
    int threads = (int)og__min(a->B * a->H * p->parts, og__product_threads(call, work));
    og__attention_end(call, threads, lay_out(p, NULL, &t));
    return OG_OK;
}

static void pack(const plan *p, const og__attention *a, const task *t, int64_t b, int64_t h)
{
    const int64_t *ks = a->k->strides, *vs = a->v->strides;
    for (int64_t j = 0; j < a->column_blocks; j++) {
        int64_t column = j * OG__ATTENTION_COLUMNS,
                n = og__min(OG__ATTENTION_COLUMNS, a->T - column);
        og__gemm k = {.dtype = a->dtype, .n = n, .k = a->D, .b_row = ks[3], .b_column = ks[1]};
        og__gemm v = {.dtype = a->dtype, .n = a->E, .k = n, .b_row = vs[1], .b_column = vs[3]};
        OG__PICK(og__gemm_pack)
        (&k, og__attention_at(a->k, a->size, b, h, column), t->keys + (size_t)j * p->key_bytes, 0,
         og__gemm_packed_groups(n));
        OG__PICK(og__gemm_pack)
        (&v, og__attention_at(a->v, a->size, b, h, column), t->values + (size_t)j * p->value_bytes,
         0, og__gemm_packed_groups(a->E));
    }
}

/* A block of rows: y, top and log_sum of `m` queries from `row` on. */
static void attend(const plan *p, const og__attention *a, const og_call *call, const task *t,
                   const og__block *map, int64_t b, int64_t h, int64_t row)
{
    const og__attention_fns *fns = OG__PICK(og__attention_find)(a->dtype);
    int64_t m = og__min(OG__ATTENTION_ROWS, a->S - row), q_pitch = og__attention_pitch(a->D),
            o_pitch = og__attention_pitch(a->E);
    fns->gather(og__attention_at(a->q, a->size, b, h, row), a->q->strides[1], a->q->strides[3],
                t->q, q_pitch, m, a->D, a->scale);
    memset(t->o, 0, (size_t)(m * o_pitch * a->size));
    for (int64_t i = 0; i < m; i++) {
        og__store_double(t->top, a->dtype, i, -INFINITY);
        t->total[i] = 0;
    }
    for (int64_t j = 0; j < a->column_blocks; j++) {
        og__block block = og__attention_block(a, map, 0, j);
        if (!block.end)
            continue;
        int64_t column = j * OG__ATTENTION_COLUMNS, n = block.end,
                packed = og__min(OG__ATTENTION_COLUMNS, a->T - column);
        og__scores s = {.m = m,
                        .n = n,
                        .s = t->s,
                        .bias = block.masked ? og__attention_bias(a, b, h, row, column) : NULL,
                        .bias_row = a->mask_strides[2]};
        og__gemm qk = {.dtype = a->dtype,
                       .m = m,
                       .n = n,
                       .k = a->D,
                       .a_row = q_pitch,
                       .a_column = 1,
                       .c_row = OG__ATTENTION_PITCH};
        og__gemm pv = {.dtype = a->dtype,
                       .m = m,
                       .n = a->E,
                       .k = n,
                       .a_row = OG__ATTENTION_PITCH,
                       .a_column = 1,
                       .c_row = o_pitch,
                       .add = true,
                       .packed_k = packed};
        OG__PICK(og__gemm_packed)
        (&qk, t->q, t->keys + (size_t)j * p->key_bytes, t->s, t->gemm);
        fns->softmax(&s, t->top, t->total, t->o, o_pitch, a->E);
        OG__PICK(og__gemm_packed)
        (&pv, t->s, t->values + (size_t)j * p->value_bytes, t->o, t->gemm);
    }
    for (int64_t i = 0; i < m; i++) {
        double total = t->total[i];
        char *y = (char *)call->y[0].data + ((b * a->S + row + i) * a->H + h) * a->E * a->size;
        if (a->zero_nan && !(total > 0))
            memset(y, 0, (size_t)(a->E * a->size));
        else
            fns->divide(t->o + i * o_pitch * a->size, total, y, a->E);
        int64_t at = (b * a->H + h) * a->S + row + i;
        if (og__has(call->ny, call->y, 1))
            og__store_double(call->y[1].data, a->dtype, at, og__load_double(t->top, a->dtype, i));
        if (og__has(call->ny, call->y, 2))
            og__store_double(call->y[2].data, a->dtype, at, total == 0 ? NAN : log(total));
    }
}

static og_status run(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    og__attention a;
    og__attention_shape(call, 0, 3, &a);
    og__block *map = p->both.map ? p->both.map : call->workspace;
    if (a.mask && !p->both.map)
        og__attention_map(call, &a, map);
    char *tasks = (char *)call->workspace + (a.map_bytes + 255) / 256 * 256;
    int64_t n = a.B * a.H * p->parts;
#pragma omp parallel for num_threads(og__team(call, p->both.threads)) schedule(static)
    for (int i = 0; i < p->both.threads; i++) {
        task t;
        lay_out(p, tasks + (size_t)i * p->both.task_bytes, &t);
        for (int64_t k = n * i / p->both.threads; k < n * (i + 1) / p->both.threads; k++) {
            int64_t unit = k / p->parts, part = k % p->parts, b = unit / a.H, h = unit % a.H;
            const og__block *blocks =
                a.mask ? map + og__attention_mask_of(&a, b, h) * a.row_blocks * a.column_blocks
                       : NULL;
            pack(p, &a, &t, b, h);
            for (int64_t r = part; r < a.row_blocks; r += p->parts)
                attend(p, &a, call, &t, blocks ? blocks + r * a.column_blocks : NULL, b, h,
                       r * OG__ATTENTION_ROWS);
        }
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_attention[] = {
    {"ai.ongrad::AttentionHeads", "blocks", OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE, supports,
     prepare, run, og__attention_release},
    {NULL},
};
