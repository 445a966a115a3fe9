/* AttentionHeadsGrad: dy [B, S, H, E], q, k, v, y, top, log_sum, mask as AttentionHeads has them →
 * dq, dk, dv of the shapes of q, k, v; attributes scale, zero_nan.
 *
 * Dao: FlashAttention-2 (2023), algorithm 2. A task is one unit: for each block of keys it walks
 * the rows, with delta = rowsum(dY Y):
 *     p = exp(scale Q Kᵀ + mask - top - log_sum),  ds = p (dY Vᵀ - delta)
 *     dV += Pᵀ dY,  dK += dSᵀ (scale Q),  dQ += scale dS K
 * in one order, whatever the number of threads. */
#include "kernels/cpu/attention.h"

/* Two blocks of rows are taken together: sums over rows are then long enough for the inner kernel
 * of products. */
enum { ROWS = 2 * OG__ATTENTION_ROWS, COLUMNS = OG__ATTENTION_COLUMNS };

typedef struct plan {
    og__attention_plan both;
    size_t row_bytes[2]; /* of a packed block of queries, and of dy */
} plan;

/* Workspace of a task. A block of keys has three packed forms. */
typedef struct task {
    char *q, *dy, *dq;             /* [S, D], [S, E], [S, D] with a pitch; q scaled */
    char *q_packed, *dy_packed;    /* blocks of rows */
    char *delta;                   /* [S] */
    char *k_across, *v_across, *k; /* Kᵀ [D, n], Vᵀ [E, n], K [n, D] */
    char *dk, *dv;                 /* [n, D], [n, E] with a pitch */
    char *p, *ds;
    char *gemm;
} task;

static int64_t row_blocks(const og__attention *a)
{
    return (a->S + ROWS - 1) / ROWS;
}

static size_t lay_out(const plan *p, char *base, task *t)
{
    const og__attention *a = &p->both.shape;
    size_t at = 0, size = (size_t)a->size, blocks = (size_t)row_blocks(a);
    size_t S = (size_t)a->S, d_pitch = (size_t)og__attention_pitch(a->D) * size,
           e_pitch = (size_t)og__attention_pitch(a->E) * size;
    t->q = og__attention_take(base, &at, S * d_pitch);
    t->dy = og__attention_take(base, &at, S * e_pitch);
    t->dq = og__attention_take(base, &at, S * d_pitch);
    t->q_packed = og__attention_take(base, &at, blocks * p->row_bytes[0]);
    t->dy_packed = og__attention_take(base, &at, blocks * p->row_bytes[1]);
    t->delta = og__attention_take(base, &at, S * size);
    t->k_across = og__attention_take(base, &at, og__gemm_packed_bytes(a->dtype, COLUMNS, a->D));
    t->v_across = og__attention_take(base, &at, og__gemm_packed_bytes(a->dtype, COLUMNS, a->E));
    t->k = og__attention_take(base, &at, og__gemm_packed_bytes(a->dtype, a->D, COLUMNS));
    t->dk = og__attention_take(base, &at, (COLUMNS + 12) * d_pitch);
    t->dv = og__attention_take(base, &at, (COLUMNS + 12) * e_pitch);
    t->p = og__attention_take(base, &at, ROWS * OG__ATTENTION_PITCH * size);
    t->ds = og__attention_take(base, &at, ROWS * OG__ATTENTION_PITCH * size);
    t->gemm = og__attention_take(base, &at, og__gemm_rows_bytes(a->dtype));
    return at;
}

static bool supports(const og_call *call)
{
    return og__attention_supports(call, 1, 7) && og_tensor_is_dense(&call->x[5]) &&
           og_tensor_is_dense(&call->x[6]);
}

static og_status prepare(og_call *call, og_error *error)
{
    task t;
    OG_TRY(og__attention_begin(call, sizeof(plan), 1, 7, error));
    plan *p = call->state;
    const og__attention *a = &p->both.shape;
    p->row_bytes[0] = og__gemm_packed_bytes(a->dtype, a->D, ROWS);
    p->row_bytes[1] = og__gemm_packed_bytes(a->dtype, a->E, ROWS);
    int64_t work = a->B * a->H * a->S * a->T * (3 * a->D + 2 * a->E);
    int threads = (int)og__min(a->B * a->H, og__product_threads(call, work));
    og__attention_end(call, threads, lay_out(p, NULL, &t));
    return OG_OK;
}

/* C [m, n] (+)= A [m, k] B; A has a row or a column of 1, C a pitch. */
static void product(const og__attention *a, int64_t m, int64_t n, int64_t k, const char *x,
                    int64_t row, int64_t column, const char *packed, int64_t packed_k, char *c,
                    int64_t pitch, bool add, const task *t)
{
    og__gemm g = {.dtype = a->dtype,
                  .n = n,
                  .k = k,
                  .a_row = row,
                  .a_column = column,
                  .c_row = pitch,
                  .add = add,
                  .packed_k = packed_k};
    int64_t step = column == 1 ? OG__ATTENTION_ROWS : OG__GEMM_M;
    for (int64_t i = 0; i < m; i += step) {
        g.m = og__min(step, m - i);
        OG__PICK(og__gemm_packed)
        (&g, x + i * row * a->size, packed, c + i * pitch * a->size, t->gemm);
    }
}

/* B [k, n] packed whole. */
static void pack(const og__attention *a, int64_t n, int64_t k, const char *x, int64_t row,
                 int64_t column, char *packed)
{
    og__gemm g = {.dtype = a->dtype, .n = n, .k = k, .b_row = row, .b_column = column};
    OG__PICK(og__gemm_pack)(&g, x, packed, 0, og__gemm_packed_groups(n));
}

/* What every block of keys reads of the rows. */
static void read_rows(const plan *p, const og__attention *a, const og_call *call, const task *t,
                      int64_t b, int64_t h)
{
    const og__attention_fns *fns = OG__PICK(og__attention_find)(a->dtype);
    const og_tensor *dy = &call->x[0], *y = &call->x[4];
    int64_t d_pitch = og__attention_pitch(a->D), e_pitch = og__attention_pitch(a->E);
    fns->gather(og__attention_at(a->q, a->size, b, h, 0), a->q->strides[1], a->q->strides[3], t->q,
                d_pitch, a->S, a->D, a->scale);
    fns->gather(og__attention_at(dy, a->size, b, h, 0), dy->strides[1], dy->strides[3], t->dy,
                e_pitch, a->S, a->E, 1);
    for (int64_t i = 0; i < a->S; i++) {
        const char *line = og__attention_at(y, a->size, b, h, i);
        if (y->strides[3] != 1) {
            fns->gather(line, 0, y->strides[3], t->gemm, 0, 1, a->E, 1);
            line = t->gemm;
        }
        og__store_double(t->delta, a->dtype, i,
                         fns->dot(t->dy + i * e_pitch * a->size, line, a->E));
    }
    for (int64_t i = 0; i < row_blocks(a); i++) {
        int64_t row = i * ROWS, m = og__min(ROWS, a->S - row);
        pack(a, a->D, m, t->q + row * d_pitch * a->size, d_pitch, 1,
             t->q_packed + (size_t)i * p->row_bytes[0]);
        pack(a, a->E, m, t->dy + row * e_pitch * a->size, e_pitch, 1,
             t->dy_packed + (size_t)i * p->row_bytes[1]);
    }
    memset(t->dq, 0, (size_t)(a->S * d_pitch * a->size));
}

static void read_columns(const og__attention *a, const task *t, int64_t b, int64_t h,
                         int64_t column, int64_t n)
{
    const int64_t *ks = a->k->strides, *vs = a->v->strides;
    const char *k = og__attention_at(a->k, a->size, b, h, column);
    pack(a, n, a->D, k, ks[3], ks[1], t->k_across);
    pack(a, a->D, n, k, ks[1], ks[3], t->k);
    pack(a, n, a->E, og__attention_at(a->v, a->size, b, h, column), vs[3], vs[1], t->v_across);
    memset(t->dk, 0, (size_t)((COLUMNS + 12) * og__attention_pitch(a->D) * a->size));
    memset(t->dv, 0, (size_t)((COLUMNS + 12) * og__attention_pitch(a->E) * a->size));
}

/* Block i of rows with the block of keys that was read. */
static void add_block(const plan *p, const og__attention *a, const og_call *call, const task *t,
                      int64_t b, int64_t h, int64_t i, int64_t column, int64_t n, bool masked)
{
    const og__attention_fns *fns = OG__PICK(og__attention_find)(a->dtype);
    int64_t row = i * ROWS, m = og__min(ROWS, a->S - row), size = a->size;
    int64_t d_pitch = og__attention_pitch(a->D), e_pitch = og__attention_pitch(a->E);
    int64_t unit_row = ((b * a->H + h) * a->S + row) * size;
    int64_t wide = (n + 11) / 12 * 12; /* rows of dk and dv, whole groups of the inner kernel */
    int64_t packed = og__min(COLUMNS, a->T - column);
    char *dq = t->dq + row * d_pitch * size;
    og__scores s = {.m = m,
                    .n = n,
                    .s = t->p,
                    .bias = masked ? og__attention_bias(a, b, h, row, column) : NULL,
                    .bias_row = a->mask_strides[2]};
    product(a, m, n, a->D, t->q + row * d_pitch * size, d_pitch, 1, t->k_across, 0, t->p,
            OG__ATTENTION_PITCH, false, t);
    product(a, m, n, a->E, t->dy + row * e_pitch * size, e_pitch, 1, t->v_across, 0, t->ds,
            OG__ATTENTION_PITCH, false, t);
    fns->gradient(&s, t->ds, (const char *)call->x[5].data + unit_row,
                  (const char *)call->x[6].data + unit_row, t->delta + row * size, a->zero_nan);
    product(a, wide, a->E, m, t->p, 1, OG__ATTENTION_PITCH,
            t->dy_packed + (size_t)i * p->row_bytes[1], 0, t->dv, e_pitch, true, t);
    product(a, wide, a->D, m, t->ds, 1, OG__ATTENTION_PITCH,
            t->q_packed + (size_t)i * p->row_bytes[0], 0, t->dk, d_pitch, true, t);
    product(a, m, a->D, n, t->ds, OG__ATTENTION_PITCH, 1, t->k, packed, dq, d_pitch, true, t);
}

/* Rows of `n` elements to output `out`, [B, positions, H, n]. */
static void write_rows(const og__attention *a, const og_call *call, int out, int64_t b, int64_t h,
                       int64_t positions, int64_t first, int64_t rows, int64_t n, const char *from,
                       double factor)
{
    if (!og__has(call->ny, call->y, out))
        return;
    char *to = (char *)call->y[out].data + ((b * positions + first) * a->H + h) * n * a->size;
    OG__PICK(og__attention_find)
    (a->dtype)->gather(from, og__attention_pitch(n), 1, to, a->H * n, rows, n, factor);
}

/* Of two blocks of the map. */
static og__block block_of(const og__attention *a, const og__block *map, int64_t i, int64_t j)
{
    og__block x = og__attention_block(a, map, 2 * i, j),
              y = og__attention_block(a, map, og__min(2 * i + 1, a->row_blocks - 1), j);
    bool masked = x.masked || y.masked || x.end != y.end;
    return (og__block){x.end > y.end ? x.end : y.end, masked};
}

static void unit(const plan *p, const og__attention *a, const og_call *call, const task *t,
                 const og__block *map, int64_t b, int64_t h)
{
    read_rows(p, a, call, t, b, h);
    for (int64_t j = 0; j < a->column_blocks; j++) {
        int64_t column = j * COLUMNS, n = og__min(COLUMNS, a->T - column);
        read_columns(a, t, b, h, column, n);
        for (int64_t i = 0; i < row_blocks(a); i++) {
            og__block block = block_of(a, map, i, j);
            if (block.end)
                add_block(p, a, call, t, b, h, i, column, block.end, block.masked);
        }
        write_rows(a, call, 1, b, h, a->T, column, n, a->D, t->dk, 1);
        write_rows(a, call, 2, b, h, a->T, column, n, a->E, t->dv, 1);
    }
    write_rows(a, call, 0, b, h, a->S, 0, a->S, a->D, t->dq, a->scale);
}

static og_status run(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    og__attention a;
    og__attention_shape(call, 1, 7, &a);
    og__block *map = p->both.map ? p->both.map : call->workspace;
    if (a.mask && !p->both.map)
        og__attention_map(call, &a, map);
    char *tasks = (char *)call->workspace + (a.map_bytes + 255) / 256 * 256;
    int64_t units = a.B * a.H;
#pragma omp parallel for num_threads(og__team(call, p->both.threads)) schedule(static)
    for (int i = 0; i < p->both.threads; i++) {
        task t;
        lay_out(p, tasks + (size_t)i * p->both.task_bytes, &t);
        for (int64_t u = units * i / p->both.threads; u < units * (i + 1) / p->both.threads; u++) {
            int64_t b = u / a.H, h = u % a.H;
            const og__block *blocks =
                a.mask ? map + og__attention_mask_of(&a, b, h) * a.row_blocks * a.column_blocks
                       : NULL;
            unit(p, &a, call, &t, blocks, b, h);
        }
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_attention_grad[] = {
    {"ai.ongrad::AttentionHeadsGrad", "blocks", OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE, supports,
     prepare, run, og__attention_release},
    {NULL},
};
