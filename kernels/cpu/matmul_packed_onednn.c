/* Large matrix products by oneDNN: B is brought into the layout that oneDNN reads fastest, where it
 * seldom changes only when it has, then rows of A are cut into tasks of one thread each.
 *
 * The cut depends on shapes only, so results do not depend on the number of threads; and threads
 * take neighbouring rows, as in the other kernels, so that what one wrote it mostly reads again. An
 * A that does not lie row by row is copied first: oneDNN has its fastest code for rows. */
#include <stdlib.h>

#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/matmul.h"

enum { MOST_TASKS = 16, FEWEST_ROWS = 64, LARGE_ROWS = 256, LARGE_WORK = 1 << 26 };

typedef struct plan {
    og__matmul shape;
    og__dnnl all, one; /* engines of all the threads that are worth it, and of one */
    int tasks, threads;
    int64_t rows;       /* of a task; the last may have fewer */
    og__primitive pack; /* of B */
    og__primitive products[MOST_TASKS];
    og__epilogue epilogue;
    bool copied; /* A */
    bool packed; /* B: it does not lie already as it should */
    bool kept;   /* what is packed, in call->packed; else it is in the workspace */
    size_t copy_offset, pack_offset, scratch_offset, scratch_step, pack_scratch_offset;
} plan;

bool og__matmul_is_large(const og__matmul *s)
{
    int64_t batch = og__product(s->batch.dims, 0, s->batch.rank);
    bool one = batch == 1;
    for (int a = 0; a < s->batch.rank; a++) /* or a stack that copying A makes one */
        one = one || (s->batch.rank == 1 && s->batch.strides[1][0] == 0 && s->m < LARGE_ROWS);
    return one && s->m * batch >= LARGE_ROWS && s->n >= 16 &&
           s->m * batch * s->n * s->k >= LARGE_WORK && s->b_row > 0 && s->b_column > 0 &&
           (s->b_row == 1 || s->b_column == 1);
}

static bool supports(const og_call *call)
{
    og__matmul s;
    og__epilogue e;
    og_dtype dtype = og_own_inputs(call->node) == 2 ? call->x[0].type.dtype : OG_UNDEFINED;
    return og__dnnl_dtype(dtype) && call->x[1].type.dtype == dtype &&
           (call->y[0].type.dtype == dtype || call->y[0].type.dtype == OG_FLOAT) &&
           og__matmul_shape(call, &s) && og__matmul_is_large(&s) && og__epilogue_of(call, s.n, &e);
}

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    for (int t = 0; t < p->tasks; t++)
        og__primitive_free(&p->products[t]);
    og__primitive_free(&p->pack);
    og__dnnl_close(&p->all);
    og__dnnl_close(&p->one);
    free(p);
    call->state = NULL;
}

static size_t book(og_call *call, size_t bytes)
{
    size_t at = call->workspace_bytes;
    call->workspace_bytes += (bytes + 255) / 256 * 256;
    return at;
}

/* A as its rows lie, after copying if need be. */
static void plan_a(plan *p, og_call *call)
{
    og__matmul *s = &p->shape;
    int64_t batch = og__product(s->batch.dims, 0, s->batch.rank);
    p->copied = batch > 1 || s->a_column != 1 || s->a_row < s->k;
    s->m *= batch;
    if (!p->copied)
        return;
    s->a_row = s->k;
    s->a_column = 1;
    p->copy_offset = book(call, (size_t)(s->m * s->k) * og__size(call->x[0].type.dtype));
}

/* The primitive for `rows` rows, and in `packed`, if that is empty, how it wants B. */
static bool make_product(plan *p, const og_call *call, int64_t rows, og__md *packed,
                         og__primitive *to)
{
    const og__matmul *s = &p->shape;
    og_dtype dtype = call->x[0].type.dtype, result = call->y[0].type.dtype;
    og__md a = {0}, any = {0}, y = {0};
    og__post post = {0};
    bool ok = og__md_strided(&a, dtype, 2, (int64_t[]){rows, s->k}, (int64_t[]){s->a_row, 1}) &&
              og__md_any(&any, dtype, 2, (int64_t[]){s->k, s->n}) &&
              og__md_dense(&y, result, 2, (int64_t[]){rows, s->n}) &&
              og__epilogue_post(&p->epilogue, call, 2, (int64_t[]){rows, s->n},
                                (int64_t[]){s->n, 1}, &post);
    if (ok && !og__md_get(packed))
        ok = og__matmul_layout(&p->one, og__md_get(&a), og__md_get(&any), og__md_get(&y), &post,
                               packed);
    ok = ok && og__primitive_matmul(&p->one, to, og__md_get(&a), og__md_get(packed), og__md_get(&y),
                                    &post);
    og__post_free(&post);
    og__md_free(&a);
    og__md_free(&any);
    og__md_free(&y);
    return ok;
}

static bool make_primitives(plan *p, og_call *call)
{
    const og__matmul *s = &p->shape;
    og_dtype dtype = call->x[0].type.dtype;
    og__md b = {0}, packed = {0};
    bool ok = true;
    for (int t = 0; ok && t < p->tasks; t++)
        ok = make_product(p, call, og__min(p->rows, s->m - t * p->rows), &packed, &p->products[t]);
    ok = ok &&
         og__md_strided(&b, dtype, 2, (int64_t[]){s->k, s->n}, (int64_t[]){s->b_row, s->b_column});
    p->packed = ok && !og__md_equal(og__md_get(&b), og__md_get(&packed));
    if (p->packed)
        ok = og__primitive_reorder(&p->all, &p->pack, og__md_get(&b), og__md_get(&packed));
    if (ok) {
        if (p->packed) {
            size_t bytes = og__md_bytes(og__md_get(&packed));
            p->kept = call->steady >> 1 & 1;
            if (p->kept)
                call->packed_bytes = bytes;
            else
                p->pack_offset = book(call, bytes);
            p->pack_scratch_offset = book(call, p->pack.scratch);
        }
        for (int t = 0; t < p->tasks; t++)
            if (p->products[t].scratch > p->scratch_step)
                p->scratch_step = p->products[t].scratch;
        p->scratch_offset = book(call, p->scratch_step * (size_t)p->tasks);
    }
    og__md_free(&b);
    og__md_free(&packed);
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
    plan_a(p, call);
    og__epilogue_of(call, s->n, &p->epilogue);
    og__epilogue_book(&p->epilogue, call);
    p->rows = og__max(FEWEST_ROWS, (s->m + MOST_TASKS - 1) / MOST_TASKS);
    p->rows = (p->rows + 15) / 16 * 16;
    p->tasks = (int)((s->m + p->rows - 1) / p->rows);
    p->threads = (int)og__min(p->tasks, og__product_threads(call, s->m * s->n * s->k));
    if (!og__dnnl_open(&p->all, p->threads) || !og__dnnl_open(&p->one, 1) ||
        !make_primitives(p, call)) {
        release(call);
        return og__dnnl_fail(call, error, "a matrix product");
    }
    return OG_OK;
}

static bool pack_into(plan *p, const og_call *call, void *to)
{
    return og__primitive_run(&p->all, &p->pack, 2, (const int[]){DNNL_ARG_FROM, DNNL_ARG_TO},
                             (void *[]){call->x[1].data, to},
                             (char *)call->workspace + p->pack_scratch_offset);
}

static og_status pack(const og_call *call, og_error *error)
{
    return pack_into(call->state, call, call->packed)
               ? OG_OK
               : og__dnnl_fail(call, error, "to pack a matrix");
}

static og_status run(const og_call *call, og_error *error)
{
    plan *p = call->state;
    const og__matmul *s = &p->shape;
    char *workspace = call->workspace, *a = call->x[0].data, *y = call->y[0].data;
    int64_t size = (int64_t)og__size(call->x[0].type.dtype),
            y_size = (int64_t)og__size(call->y[0].type.dtype);
    if (p->copied) {
        a = workspace + p->copy_offset;
        og__copy_dense(call, a, &call->x[0]);
    }
    char *added[OG__POST_STEPS];
    og__epilogue_gather(&p->epilogue, call, added);
    void *b = p->kept ? call->packed : call->x[1].data;
    int failed = 0;
    if (p->packed && !p->kept) {
        b = workspace + p->pack_offset;
        failed = !pack_into(p, call, b);
    }
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static) reduction(+ : failed)
    for (int t = 0; t < p->tasks; t++) {
        int64_t row = t * p->rows;
        void *data[3 + OG__POST_STEPS] = {a + row * s->a_row * size, b, y + row * s->n * y_size};
        int args[3 + OG__POST_STEPS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
        int n = og__epilogue_args(&p->epilogue, call, added, row * s->n, 3, args, data);
        failed += !og__primitive_run(&p->one, &p->products[t], n, args, data,
                                     workspace + p->scratch_offset + (size_t)t * p->scratch_step);
    }
    return failed ? og__dnnl_fail(call, error, "to run a matrix product") : OG_OK;
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_PROGRAM)

const og_kernel og_kernels_cpu_matmul_packed_onednn[] = {
    {"MatMul", "oneDNN packed", FLAGS, supports, prepare, run, release, pack},
    {"ai.ongrad::WideMatMul", "oneDNN packed", FLAGS, supports, prepare, run, release, pack},
    {NULL},
};
