/* Elementwise programs, compiled when planning: Fused, the scalar ops, Cast. One thread computes a
 * group of elements that it reads and writes with wide accesses, or one element after the other
 * where an address does not allow them. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/elementwise.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/fold.h"
#include "kernels/cuda/internal.h"

enum {
    THREADS = 256,
    BLOCKS_A_PROCESSOR = 16,                           /* no more than these: they loop */
    MOST_OPERANDS = OG_CUDA_ARGUMENTS / sizeof(void *) /* of a kernel */
};

typedef struct plan {
    int n_in, n_out;
    int64_t total, groups;
    uintptr_t *alignment; /* by operand: what wide accesses need of its address */
    const void **operands;
    og_cuda_range *ranges;
    og_cuda_function *wide, *single;
} plan;

/* ---- prepare */

static bool make_loop(og__loop *loop, const og_call *call, const og_program *program)
{
    const og_type *space = &call->y[0].type;
    int n = call->nx + call->ny, order[OG_MAX_RANK];
    *loop = (og__loop){.program = *program, .rank = space->rank, .total = 1};
    int64_t(*strides)[OG_MAX_RANK] = calloc((size_t)call->nx + 1, sizeof *strides);
    loop->strides = calloc((size_t)call->nx + 1, sizeof *loop->strides);
    loop->types = calloc((size_t)n, sizeof *loop->types);
    if (!strides || !loop->strides || !loop->types) {
        free(strides);
        return false;
    }
    og__output_order(&call->y[0], order);
    for (int a = 0; a < space->rank; a++) {
        loop->dims[a] = space->dims[order[a]];
        loop->total *= loop->dims[a];
    }
    for (int i = 0; i < call->nx; i++) {
        int64_t lies[OG_MAX_RANK];
        og__broadcast_strides(&call->x[i], space, lies);
        for (int a = 0; a < space->rank; a++)
            strides[i][a] = lies[order[a]];
    }
    og__collapse(&loop->rank, loop->dims, call->nx, strides);
    for (int i = 0; i < call->nx; i++)
        memcpy(loop->strides[i], strides[i], sizeof strides[i]);
    free(strides);
    for (int o = 0; o < n; o++) {
        og_dtype dtype = o < call->nx ? call->x[o].type.dtype : call->y[o - call->nx].type.dtype;
        loop->types[o] = dtype;
    }
    loop->width = og__loop_width(loop);
    return true;
}

static plan *plan_new(const og_call *call)
{
    size_t n = (size_t)call->nx + (size_t)call->ny;
    plan *p =
        calloc(1, sizeof *p + n * (sizeof(uintptr_t) + sizeof(void *) + sizeof(og_cuda_range)));
    if (!p)
        return NULL;
    p->n_in = call->nx;
    p->n_out = call->ny;
    p->ranges = (og_cuda_range *)(p + 1);
    p->operands = (const void **)(p->ranges + n);
    p->alignment = (uintptr_t *)(p->operands + n);
    return p;
}

static og_status prepare(og_call *call, const og_program *program, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og__loop loop = {0};
    og_text text = {0};
    og_status status = OG_OK;
    plan *p = plan_new(call);
    if (!p || !make_loop(&loop, call, program))
        OG_TRY_CLEANUP(og_fail_memory(error, sizeof loop, "an elementwise program"));
    p->total = loop.total;
    p->groups = (loop.total + loop.width - 1) / loop.width;
    if (loop.total == 0) /* nothing to compute, nothing to compile */
        goto cleanup;
    og__loop_write(&loop, &text);
    if (text.failed)
        OG_TRY_CLEANUP(og_fail_memory(error, text.length, "an elementwise program"));
    OG_TRY_CLEANUP(
        og__cuda_compiled(cuda, "elementwise", text.s, OG__LOOP_SINGLE, &p->single, error));
    if (loop.width > 1)
        OG_TRY_CLEANUP(
            og__cuda_compiled(cuda, "elementwise", text.s, OG__LOOP_WIDE, &p->wide, error));
    for (int o = 0; o < p->n_in + p->n_out; o++) {
        int bytes = loop.width * og_dtype_bits(loop.types[o]) / 8;
        p->alignment[o] = o < p->n_in && !og__loop_reads_wide(&loop, o) ? 1
                          : bytes > 16                                  ? 16
                                                                        : (uintptr_t)bytes;
    }
cleanup:
    og_text_free(&text);
    free(loop.strides);
    free(loop.types);
    if (status != OG_OK) {
        free(p);
        p = NULL;
    }
    call->state = p;
    return status;
}

static bool few_operands(const og_call *call)
{
    return call->nx + call->ny <= MOST_OPERANDS;
}

static bool folds(const og_call *call)
{
    return call->node->program && call->node->program->fold != OG_FOLD_NONE;
}

static bool fused_supports(const og_call *call)
{
    return few_operands(call) && og__fused_supports(call) &&
           (!folds(call) || og__cuda_fold_supports(call, call->node->program));
}

static og_status fused_prepare(og_call *call, og_error *error)
{
    const og_program *program = call->node->program;
    bool reduced[OG_MAX_RANK];
    if (!folds(call))
        return prepare(call, program, error);
    for (int a = 0; a < program->space.rank; a++)
        reduced[a] = program->folded_axes >> a & 1;
    return og__cuda_fold_prepare(call, program, &program->space, reduced, error);
}

static bool scalar_supports(const og_call *call)
{
    return few_operands(call) && og__scalar_supports(call);
}

static og_status scalar_prepare(og_call *call, og_error *error)
{
    og_program program;
    OG_TRY(og__scalar_program(call, &program, error));
    og_status status = prepare(call, &program, error);
    free((void *)(uintptr_t)program.instr);
    return status;
}

static og_status cast_prepare(og_call *call, og_error *error)
{
    og_program program = og__cast_program(call);
    int nx = call->nx;
    call->nx = 1; /* CastLike's second input is read for its type */
    og_status status = prepare(call, &program, error);
    call->nx = nx;
    return status;
}

/* ---- run */

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    bool wide = p->wide != NULL;
    if (p->total == 0)
        return OG_OK;
    for (int o = 0; o < p->n_in + p->n_out; o++) {
        const og_tensor *t = o < p->n_in ? &call->x[o] : &call->y[o - p->n_in];
        p->operands[o] = t->data;
        p->ranges[o] = og__cuda_range(t, o >= p->n_in);
        wide = wide && (uintptr_t)t->data % p->alignment[o] == 0;
    }
    int64_t items = wide ? p->groups : p->total, blocks = (items + THREADS - 1) / THREADS,
            most = (int64_t)cuda->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    return og__cuda_launch(call, wide ? p->wide : p->single, blocks < most ? blocks : most, THREADS,
                           0, p->operands, (size_t)(p->n_in + p->n_out) * sizeof(void *), p->ranges,
                           p->n_in + p->n_out, error);
}

static og_status fused_run(const og_call *call, og_error *error)
{
    return folds(call) ? og__cuda_fold_run(call, error) : run(call, error);
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_ANY_ORDER | OG_KERNEL_INPLACE)

const og_kernel og_kernels_cuda_elementwise[] = {
    {"ai.ongrad::Fused", "compiled", FLAGS | OG_KERNEL_PROGRAM, fused_supports, fused_prepare,
     fused_run, og__free_state},
    {"Cast", "compiled", FLAGS, og__cast_supports, cast_prepare, run, og__free_state},
    {"CastLike", "compiled", FLAGS, og__cast_supports, cast_prepare, run, og__free_state},
    /* every op whose row has a scalar instruction */
    {"*", "compiled", FLAGS, scalar_supports, scalar_prepare, run, og__free_state},
    {NULL},
};
