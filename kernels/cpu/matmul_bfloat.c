/* MatMul of bfloat16 by the processor's own instruction for it (gemm_bfloat.c), with a bfloat16 or
 * a float32 result. A B that all matrices of a stack share is packed once by all threads, then rows
 * and columns are cut into tasks; where each has its own, a matrix is a task. How that is cut
 * changes no bit of the result. */
#include <stdlib.h>

#include "kernels/cpu/matmul_bfloat.h"

/* Fewer rows than these, or less work, are not worth packing B for. A block of a task's rows of A
 * is what B passes by: tasks are few and large where B is read much faster than it comes. */
enum { FEWEST_ROWS = 16, LEAST_WORK = 1 << 16, TASKS = 4, TILED_ROWS = 64 };

static bool one_b(const og__matmul *s)
{
    bool shared = true;
    for (int a = 0; a < s->batch.rank; a++)
        shared = shared && (s->batch.dims[a] == 1 || s->batch.strides[1][a] == 0);
    return shared;
}

/* oneDNN's kernels are asked after these: tables of one rank come in the files' order. */
bool og__bfloat_worth_it(const og__matmul *s)
{
    int64_t batch = og__product(s->batch.dims, 0, s->batch.rank), rows = s->m;
    if (one_b(s))
        rows *= batch;
    return og__has_bfloat16() && rows >= FEWEST_ROWS && s->n >= FEWEST_ROWS && s->k > 1 &&
           batch * s->m * s->n * s->k >= LEAST_WORK;
}

static bool supports(const og_call *call)
{
    og__matmul s;
    return call->nx == 2 && call->x[0].type.dtype == OG_BFLOAT16 &&
           call->x[1].type.dtype == OG_BFLOAT16 &&
           (call->y[0].type.dtype == OG_BFLOAT16 || call->y[0].type.dtype == OG_FLOAT) &&
           og__matmul_shape(call, &s) && og__bfloat_worth_it(&s);
}

static int64_t pieces_of(int64_t n, int64_t pieces, int64_t of)
{
    int64_t step = (n + pieces - 1) / pieces;
    return (step + of - 1) / of * of;
}

static void cut(og__bfloat_product *p)
{
    const og__matmul *s = &p->shape;
    p->m_step = s->m;
    p->n_step = s->n;
    if (p->shared && p->threads > 1) {
        bool tiles = og__has_matrix_tiles();
        int64_t wanted = ((tiles ? 1 : TASKS) * p->threads + p->batch - 1) / p->batch;
        int64_t rows = og__max(1, og__min(wanted, s->m / (tiles ? TILED_ROWS : 2 * FEWEST_ROWS)));
        p->m_step = pieces_of(s->m, rows, tiles ? 32 : 6);
        p->n_step = pieces_of(s->n, (wanted + rows - 1) / rows, 64);
    }
    p->rows = (s->m + p->m_step - 1) / p->m_step;
    p->columns = (s->n + p->n_step - 1) / p->n_step;
    p->tasks = p->batch * p->rows * p->columns;
}

size_t og__bfloat_plan(og__bfloat_product *p, const og__matmul *s, og_dtype result,
                       const og_call *call)
{
    *p = (og__bfloat_product){.shape = *s};
    p->gemm = (og__gemm){.dtype = OG_BFLOAT16,
                         .result = result,
                         .m = s->m,
                         .n = s->n,
                         .k = s->k,
                         .a_row = s->a_row,
                         .a_column = s->a_column,
                         .b_row = s->b_row,
                         .b_column = s->b_column,
                         .c_row = s->c_row};
    p->batch = og__product(s->batch.dims, 0, s->batch.rank);
    p->shared = one_b(s);
    p->threads = og__product_threads(call, p->batch * s->m * s->n * s->k);
    cut(p);
    p->threads = (int)og__min(p->threads, p->tasks);
    p->packed_bytes = og__gemm_bfloat_bytes(s->n, s->k);
    og__gemm task = p->gemm;
    task.m = p->m_step;
    p->rows_bytes = og__gemm_bfloat_rows_bytes(&task);
    return p->packed_bytes * (size_t)(p->shared ? 1 : p->threads) +
           p->rows_bytes * (size_t)p->threads;
}

static void run_task(const og__bfloat_product *p, const uint16_t *a, const uint16_t *b, char *y,
                     int64_t task, char *packed, char *rows)
{
    const og__matmul *s = &p->shape;
    int64_t j = task % p->columns * p->n_step, i = task / p->columns % p->rows * p->m_step;
    og__cursor c;
    og__seek(&s->batch, s->batch.rank, task / p->columns / p->rows, &c);
    og__gemm g = p->gemm;
    if (!p->shared)
        og__gemm_bfloat_pack(&g, b + c.offset[1], packed, 0, og__gemm_packed_groups(g.n));
    g.m = og__min(p->m_step, s->m - i);
    g.n = og__min(p->n_step, s->n - j);
    int64_t size = (int64_t)og__size(g.result);
    og__gemm_bfloat_packed(&g, a + c.offset[0] + i * s->a_row,
                           packed + og__gemm_bfloat_bytes(j, s->k),
                           y + (c.offset[2] + i * s->c_row + j) * size, rows);
}

void og__bfloat_run(const og__bfloat_product *p, const og_call *call, const void *a, const void *b,
                    void *c, void *workspace)
{
    char *packed = workspace;
    char *rows = packed + p->packed_bytes * (size_t)(p->shared ? 1 : p->threads);
    if (p->shared) {
        int64_t groups = og__gemm_packed_groups(p->shape.n);
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
        for (int64_t q = 0; q < groups; q++)
            og__gemm_bfloat_pack(&p->gemm, b, packed, q, q + 1);
    }
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int t = 0; t < p->threads; t++)
        for (int64_t i = p->tasks * t / p->threads; i < p->tasks * (t + 1) / p->threads; i++)
            run_task(p, a, b, c, i, p->shared ? packed : packed + (size_t)t * p->packed_bytes,
                     rows + (size_t)t * p->rows_bytes);
}

static og_status prepare(og_call *call, og_error *error)
{
    og__bfloat_product *p = malloc(sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a matrix product");
    og__matmul s;
    og__matmul_shape(call, &s);
    call->workspace_bytes = og__bfloat_plan(p, &s, call->y[0].type.dtype, call);
    call->state = p;
    return OG_OK;
}

static og_status run(const og_call *call, og_error *error)
{
    (void)error;
    og__bfloat_run(call->state, call, call->x[0].data, call->x[1].data, call->y[0].data,
                   call->workspace);
    return OG_OK;
}

const og_kernel og_kernels_cpu_matmul_bfloat[] = {
    {"MatMul", "bfloat16", OG_KERNEL_STRIDED, supports, prepare, run, og__free_state},
    {"ai.ongrad::WideMatMul", "bfloat16", OG_KERNEL_STRIDED, supports, prepare, run,
     og__free_state},
    {NULL},
};
