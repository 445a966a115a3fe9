/* MatMul, plain: numpy's batched product of any strides, in float, double and the half types by
 * blocks (gemm.h), in 32- and 64-bit integers by a simple loop that wraps on overflow. */
#include "kernels/cpu/matmul.h"

#include <stdlib.h>

#include "runtime/base/checked.h"

/* ---- shapes */

bool og__matmul_shape(const og_call *call, og__matmul *s)
{
    if (call->nx < 2 || call->ny != 1)
        return false;
    const og_tensor *a = &call->x[0], *b = &call->x[1], *c = &call->y[0];
    int ra = a->type.rank, rb = b->type.rank, rc = c->type.rank;
    if (ra < 1 || rb < 1)
        return false;
    /* A vector is a row of A, a column of B. */
    *s = (og__matmul){.m = ra > 1 ? a->type.dims[ra - 2] : 1,
                      .k = a->type.dims[ra - 1],
                      .n = rb > 1 ? b->type.dims[rb - 1] : 1,
                      .a_row = ra > 1 ? a->strides[ra - 2] : 0,
                      .a_column = a->strides[ra - 1],
                      .b_row = rb > 1 ? b->strides[rb - 2] : b->strides[0],
                      .b_column = rb > 1 ? b->strides[rb - 1] : 0};
    s->c_row = s->n;
    if ((rb > 1 ? b->type.dims[rb - 2] : b->type.dims[0]) != s->k)
        return false;

    int batch_a = ra > 2 ? ra - 2 : 0, batch_b = rb > 2 ? rb - 2 : 0,
        batch = batch_a > batch_b ? batch_a : batch_b;
    if (rc != batch + (ra > 1) + (rb > 1))
        return false;
    s->batch.n = 3;
    s->batch.rank = batch;
    int64_t step = s->m * s->n;
    for (int i = batch - 1; i >= 0; i--) {
        int ia = i - (batch - batch_a), ib = i - (batch - batch_b);
        int64_t da = ia < 0 ? 1 : a->type.dims[ia], db = ib < 0 ? 1 : b->type.dims[ib],
                d = da == 1 ? db : da;
        if ((db != 1 && db != d) || c->type.dims[i] != d)
            return false;
        s->batch.dims[i] = d;
        s->batch.strides[0][i] = da == 1 ? 0 : a->strides[ia];
        s->batch.strides[1][i] = db == 1 ? 0 : b->strides[ib];
        s->batch.strides[2][i] = step;
        step *= d;
    }
    og__collapse(&s->batch.rank, s->batch.dims, s->batch.n, s->batch.strides);

    int last = s->batch.rank - 1;
    int64_t a_step = s->batch.strides[0][last];
    if (s->batch.dims[last] > 1 && s->batch.strides[1][last] == 0 && a_step != 0 &&
        (s->m == 1 || a_step == s->a_row * s->m)) {
        s->a_row = s->m == 1 ? a_step : s->a_row;
        s->m *= s->batch.dims[last];
        s->batch.rank--;
        og__collapse(&s->batch.rank, s->batch.dims, s->batch.n, s->batch.strides);
    }
    return true;
}

/* ---- real types */

typedef struct plan {
    og__matmul shape;
    og__gemm gemm;                 /* of a whole matrix */
    int64_t m_step, n_step, tasks; /* a task: up to m_step × n_step of one product */
    int threads;
    size_t thread_bytes;
} plan;

static bool real_supports(const og_call *call)
{
    og__matmul shape;
    og_dtype dtype = call->nx == 2 ? call->x[0].type.dtype : OG_UNDEFINED;
    return og__is_real(dtype) && call->x[1].type.dtype == dtype && og__matmul_shape(call, &shape);
}

static og_status real_prepare(og_call *call, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a matrix product");
    og__matmul *s = &p->shape;
    og__matmul_shape(call, s);
    p->gemm = (og__gemm){.dtype = call->x[0].type.dtype,
                         .k = s->k,
                         .a_row = s->a_row,
                         .a_column = s->a_column,
                         .b_row = s->b_row,
                         .b_column = s->b_column,
                         .c_row = s->c_row};
    int64_t batch = og__product(s->batch.dims, 0, s->batch.rank);
    p->threads = og__product_threads(call, batch * s->m * s->n * og__max(1, s->k));
    p->m_step = og__max(1, s->m);
    p->n_step = og__max(1, s->n);
    if (batch < 4 * p->threads && p->threads > 1) { /* cut the longer side */
        int64_t pieces = 4 * p->threads / og__max(1, batch);
        if (s->m >= s->n)
            p->m_step = (int64_t)og_align_up((size_t)(s->m / pieces + 1), OG__GEMM_M / 2);
        else
            p->n_step = (int64_t)og_align_up((size_t)(s->n / pieces + 1), 64);
    }
    p->tasks = batch * ((s->m + p->m_step - 1) / p->m_step) * ((s->n + p->n_step - 1) / p->n_step);
    p->thread_bytes =
        og__gemm_bytes(p->gemm.dtype, og__min(s->m, p->m_step), og__min(s->n, p->n_step), s->k);
    call->workspace_bytes = (size_t)p->threads * p->thread_bytes;
    call->state = p;
    return OG_OK;
}

static void real_task(const plan *p, const og_call *call, int64_t task, void *workspace)
{
    const og__matmul *s = &p->shape;
    int64_t columns = (s->n + p->n_step - 1) / p->n_step, rows = (s->m + p->m_step - 1) / p->m_step;
    int64_t j = task % columns * p->n_step, i = task / columns % rows * p->m_step;
    og__cursor c;
    og__seek(&s->batch, s->batch.rank, task / columns / rows, &c);
    og__gemm g = p->gemm;
    g.m = og__min(p->m_step, s->m - i);
    g.n = og__min(p->n_step, s->n - j);
    int64_t size = (int64_t)og__size(g.dtype);
    og__gemm_run(&g, (const char *)call->x[0].data + (c.offset[0] + i * g.a_row) * size,
                 (const char *)call->x[1].data + (c.offset[1] + j * g.b_column) * size,
                 (char *)call->y[0].data + (c.offset[2] + i * g.c_row + j) * size, workspace);
}

static og_status real_run(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
#pragma omp parallel for num_threads(p->threads) schedule(static)
    for (int t = 0; t < p->threads; t++)
        for (int64_t i = p->tasks * t / p->threads; i < p->tasks * (t + 1) / p->threads; i++)
            real_task(p, call, i, (char *)call->workspace + (size_t)t * p->thread_bytes);
    return OG_OK;
}

/* ---- integers */

static bool int_supports(const og_call *call)
{
    og__matmul shape;
    og_dtype dtype = call->nx == 2 ? call->x[0].type.dtype : OG_UNDEFINED;
    return (dtype == OG_INT32 || dtype == OG_UINT32 || dtype == OG_INT64 || dtype == OG_UINT64) &&
           call->x[1].type.dtype == dtype && og__matmul_shape(call, &shape);
}

/* One matrix; unsigned arithmetic gives the same bits and wraps. */
#define INT_PRODUCT(T)                                                         \
    static void product_##T(const og__matmul *s, const T *a, const T *b, T *c) \
    {                                                                          \
        for (int64_t i = 0; i < s->m; i++) {                                   \
            T *row = c + i * s->c_row;                                         \
            memset(row, 0, (size_t)s->n * sizeof(T));                          \
            for (int64_t p = 0; p < s->k; p++) {                               \
                T factor = a[i * s->a_row + p * s->a_column];                  \
                for (int64_t j = 0; j < s->n; j++)                             \
                    row[j] += factor * b[p * s->b_row + j * s->b_column];      \
            }                                                                  \
        }                                                                      \
    }
INT_PRODUCT(uint32_t)
INT_PRODUCT(uint64_t)

static og_status int_run(const og_call *call, og_error *error)
{
    (void)error;
    og__matmul s = {0};
    og__matmul_shape(call, &s);
    bool wide = og__size(call->x[0].type.dtype) == 8;
    int64_t batch = og__product(s.batch.dims, 0, s.batch.rank);
    for (int64_t i = 0; i < batch; i++) {
        og__cursor c;
        og__seek(&s.batch, s.batch.rank, i, &c);
        if (wide)
            product_uint64_t(&s, (const uint64_t *)call->x[0].data + c.offset[0],
                             (const uint64_t *)call->x[1].data + c.offset[1],
                             (uint64_t *)call->y[0].data + c.offset[2]);
        else
            product_uint32_t(&s, (const uint32_t *)call->x[0].data + c.offset[0],
                             (const uint32_t *)call->x[1].data + c.offset[1],
                             (uint32_t *)call->y[0].data + c.offset[2]);
    }
    return OG_OK;
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE)

const og_kernel og_kernels_cpu_matmul[] = {
    {"MatMul", "blocks", FLAGS, real_supports, real_prepare, real_run, og__free_state},
    {"MatMul", "integers", FLAGS, int_supports, NULL, int_run, NULL},
    {NULL},
};
