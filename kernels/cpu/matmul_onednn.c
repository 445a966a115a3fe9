/* MatMul by oneDNN, float and bfloat16. Batch axes that both operands have become the primitive's
 * one batch axis where they lie evenly; over the others the primitive is run again and again on
 * moved pointers. An operand that lies in a way oneDNN has no fast code for (no contiguous axis,
 * overlapping rows) is first copied to the workspace; so is a stack of short A that lies unevenly
 * and is multiplied with one B, for then it becomes one product. */
#include <stdlib.h>

#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/matmul.h"

typedef struct plan {
    og__matmul shape;
    og__dnnl dnnl;
    int threads;             /* that take runs; 1: the primitive itself may use several */
    og__primitive *products; /* the primitive, once for each of them */
    int64_t inner;           /* matrices in one run of the primitive */
    int outer_axes;          /* of shape.batch, walked here */
    int64_t runs;
    bool copied[2]; /* A, B go through the workspace, whole */
    size_t copy_offset[2];
    og__epilogue epilogue;
    size_t scratch_offset, scratch_step;
} plan;

/* Does oneDNN read rows × columns of these strides fast? One axis contiguous, the other not
 * overlapping it. */
static bool good(int64_t rows, int64_t columns, int64_t row, int64_t column)
{
    return (column == 1 && (row >= columns || rows == 1) && row > 0) ||
           (row == 1 && (column >= rows || columns == 1) && column > 0);
}

/* Lengths of 1 may have any stride; give them one that keeps the matrix regular. */
static void regular(int64_t rows, int64_t columns, int64_t *row, int64_t *column)
{
    if (columns == 1 && rows == 1)
        *row = *column = 1;
    else if (columns == 1)
        *column = *row == 1 ? rows : 1;
    else if (rows == 1)
        *row = *column == 1 ? columns : 1;
}

static bool supports(const og_call *call)
{
    og__matmul s;
    og__epilogue e;
    og_dtype dtype = og_own_inputs(call->node) == 2 ? call->x[0].type.dtype : OG_UNDEFINED;
    if (!og__dnnl_dtype(dtype) || call->x[1].type.dtype != dtype ||
        (call->y[0].type.dtype != dtype && call->y[0].type.dtype != OG_FLOAT) ||
        !og__matmul_shape(call, &s))
        return false;
    return og__elements(&call->y[0]) > 0 && s.k > 0 && !og__matmul_is_large(&s) &&
           og__epilogue_of(call, s.n, &e);
}

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    for (int t = 0; p->products && t < p->threads; t++)
        og__primitive_free(&p->products[t]);
    free(p->products);
    og__dnnl_close(&p->dnnl);
    free(p);
    call->state = NULL;
}

/* From this many rows on, packing B again for each matrix of a stack costs less than copying A. */
#define TALL 256

/* A stack of short matrices, all multiplied with the same B? */
static bool short_stack(const og__matmul *s)
{
    bool stack = false;
    for (int a = 0; a < s->batch.rank; a++) {
        if (s->batch.dims[a] > 1 && s->batch.strides[1][a] != 0)
            return false;
        stack = stack || (s->batch.dims[a] > 1 && s->batch.strides[0][a] != 0);
    }
    return stack && s->m < TALL;
}

/* Operand i as the primitive reads it; books the copy where one is needed. */
static void plan_operand(plan *p, og_call *call, int i)
{
    og__matmul *s = &p->shape;
    int64_t rows = i ? s->k : s->m, columns = i ? s->n : s->k;
    int64_t *row = i ? &s->b_row : &s->a_row, *column = i ? &s->b_column : &s->a_column;
    regular(rows, columns, row, column);
    p->copied[i] = !good(rows, columns, *row, *column) || (i == 0 && short_stack(s));
    for (int a = 0; a < s->batch.rank; a++)
        p->copied[i] = p->copied[i] || s->batch.strides[i][a] < 0;
    if (!p->copied[i])
        return;
    /* The copy is the operand made dense: its matrices in order, each row-major. */
    p->copy_offset[i] = call->workspace_bytes;
    size_t bytes = (size_t)og__elements(&call->x[i]) * og__size(call->x[i].type.dtype);
    call->workspace_bytes += (bytes + 255) / 256 * 256;
}

/* From this many multiply-adds on, a matrix is worth a run of its own. */
#define LONE ((int64_t)1 << 18)
/* Runs that are worth spreading over threads, and how many a stack is cut into for that. */
enum { SPREAD = 4, RUNS = 16 };

/* Which matrices a run takes, and who runs. The cut depends on shapes only, and a run that shares
 * the work with others is of one thread: results do not depend on the number of threads. */
static void plan_runs(plan *p, const og_call *call)
{
    og__matmul *s = &p->shape;
    int last = s->batch.rank - 1;
    int64_t n = s->batch.dims[last], all = og__product(s->batch.dims, 0, s->batch.rank);
    bool regular_stack = s->batch.strides[0][last] > 0 && s->batch.strides[1][last] > 0;
    p->inner = regular_stack && s->m * s->n * s->k < LONE ? n : 1;
    while (p->inner > 1 && (all / p->inner < RUNS || n % p->inner != 0) && last + 1 < OG_MAX_RANK)
        p->inner--;
    if (p->inner > 1 && p->inner < n) { /* the last axis in two */
        for (int o = 0; o < 3; o++) {
            s->batch.strides[o][last + 1] = s->batch.strides[o][last];
            s->batch.strides[o][last] *= p->inner;
        }
        s->batch.dims[last] /= p->inner;
        s->batch.dims[++last] = p->inner;
        s->batch.rank++;
    }
    p->outer_axes = p->inner > 1 ? last : s->batch.rank;
    p->runs = all / p->inner;
    int threads = og__product_threads(call, all * s->m * s->n * s->k);
    p->threads = p->runs >= SPREAD ? (int)og__min(threads, p->runs) : 1;
    p->dnnl.threads = p->runs >= SPREAD ? 1 : threads;
}

static bool make_primitives(plan *p, const og_call *call)
{
    const og__matmul *s = &p->shape;
    og_dtype dtype = call->x[0].type.dtype, result = call->y[0].type.dtype;
    int last = s->batch.rank - 1, rank = p->inner > 1 ? 3 : 2, skip = 3 - rank;
    const int64_t dims[3][3] = {
        {p->inner, s->m, s->k}, {p->inner, s->k, s->n}, {p->inner, s->m, s->n}};
    const int64_t strides[3][3] = {{s->batch.strides[0][last], s->a_row, s->a_column},
                                   {s->batch.strides[1][last], s->b_row, s->b_column},
                                   {s->batch.strides[2][last], s->c_row, 1}};
    og__md md[3] = {0};
    og__post post = {0};
    p->products = calloc((size_t)p->threads, sizeof *p->products);
    bool ok = p->products && og__dnnl_open(&p->dnnl, p->dnnl.threads);
    for (int i = 0; ok && i < 3; i++)
        ok =
            og__md_strided(&md[i], i < 2 ? dtype : result, rank, dims[i] + skip, strides[i] + skip);
    ok =
        ok && og__epilogue_post(&p->epilogue, call, rank, dims[2] + skip, strides[2] + skip, &post);
    for (int t = 0; ok && t < p->threads; t++)
        ok = og__primitive_matmul(&p->dnnl, &p->products[t], og__md_get(&md[0]), og__md_get(&md[1]),
                                  og__md_get(&md[2]), &post);
    og__post_free(&post);
    for (int i = 0; i < 3; i++)
        og__md_free(&md[i]);
    return ok;
}

static og_status prepare(og_call *call, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a matrix product");
    call->state = p;
    call->workspace_bytes = 0;
    og__matmul *s = &p->shape;
    og__matmul_shape(call, s);
    plan_operand(p, call, 0);
    plan_operand(p, call, 1);
    if (p->copied[0] || p->copied[1]) { /* the shape again, as it is after copying */
        og_tensor x[2] = {call->x[0], call->x[1]};
        og_call after = *call;
        after.x = x;
        for (int i = 0; i < 2; i++)
            if (p->copied[i])
                og_strides_dense(&x[i].type, x[i].strides);
        og__matmul_shape(&after, s);
        regular(s->m, s->k, &s->a_row, &s->a_column);
        regular(s->k, s->n, &s->b_row, &s->b_column);
    }

    plan_runs(p, call);
    og__epilogue_of(call, s->n, &p->epilogue);
    og__epilogue_book(&p->epilogue, call);
    if (!make_primitives(p, call)) {
        release(call);
        return og__dnnl_fail(call, error, "a matrix product");
    }
    p->scratch_offset = call->workspace_bytes;
    p->scratch_step = p->products[0].scratch;
    call->workspace_bytes += p->scratch_step * (size_t)p->threads;
    return OG_OK;
}

static bool run_part(const plan *p, const og_call *call, int thread, char *const data[3],
                     char *const added[OG__POST_STEPS], char *scratch)
{
    int64_t one = (int64_t)og__size(call->x[0].type.dtype);
    const int64_t size[3] = {one, one, (int64_t)og__size(call->y[0].type.dtype)};
    const og__matmul *s = &p->shape;
    int64_t begin = p->runs * thread / p->threads, end = p->runs * (thread + 1) / p->threads;
    og__cursor c;
    og__seek(&s->batch, p->outer_axes, begin, &c);
    int args[3 + OG__POST_STEPS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    for (int64_t i = begin; i < end; i++) {
        void *at[3 + OG__POST_STEPS];
        for (int o = 0; o < 3; o++)
            at[o] = data[o] + c.offset[o] * size[o];
        int n = og__epilogue_args(&p->epilogue, call, added, c.offset[2], 3, args, at);
        if (!og__primitive_run(&p->dnnl, &p->products[thread], n, args, at, scratch))
            return false;
        og__next(&s->batch, p->outer_axes, &c);
    }
    return true;
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    char *workspace = call->workspace,
         *data[3] = {call->x[0].data, call->x[1].data, call->y[0].data};
    for (int i = 0; i < 2; i++)
        if (p->copied[i]) {
            og__copy_dense(call, workspace + p->copy_offset[i], &call->x[i]);
            data[i] = workspace + p->copy_offset[i];
        }
    char *added[OG__POST_STEPS];
    og__epilogue_gather(&p->epilogue, call, added);
    char *scratch = workspace + p->scratch_offset;
    int failed = 0;
    if (p->threads == 1)
        failed = !run_part(p, call, 0, data, added, scratch);
    else
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static) reduction(+ : failed)
        for (int t = 0; t < p->threads; t++)
            failed += !run_part(p, call, t, data, added, scratch + (size_t)t * p->scratch_step);
    return failed ? og__dnnl_fail(call, error, "to run a matrix product") : OG_OK;
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_PROGRAM)

const og_kernel og_kernels_cpu_matmul_onednn[] = {
    {"MatMul", "oneDNN", FLAGS, supports, prepare, run, release},
    {"ai.ongrad::WideMatMul", "oneDNN", FLAGS, supports, prepare, run, release},
    {NULL},
};
