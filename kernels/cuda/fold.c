/* Reductions: how their loops are laid out and cut (fold.h), and their launches. */
#include "kernels/cuda/fold.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/internal.h"

enum {
    ENOUGH_BLOCKS = 512, /* with so many nothing is cut into parts */
    MOST_PARTS = 256,
    LEAST_STEPS = 16, /* of a thread in a part */
    SHORT_ROW = 256,  /* steps up to which a warp does a row */
    WARPS = 4,        /* of a block whose teams are warps */
    WIDEST = 16       /* bytes */
};

typedef struct plan {
    int n_in, n_out;
    int64_t wide_blocks, single_blocks, joins; /* of the kernels; joins 0: there are no parts */
    int threads;
    size_t parts_bytes;
    og_cuda_function *wide, *single, *join;
    uintptr_t *alignment;  /* by operand of the program: what wide accesses need of its address */
    const void **operands; /* and behind them the result and the parts */
    og_cuda_range *ranges;
} plan;

/* ---- the loop */

static uint64_t span(int64_t stride)
{
    return stride == 0 ? UINT64_MAX : (uint64_t)(stride < 0 ? -stride : stride);
}

/* The order in which axes are walked, slowest first: as the first input lies, where elements may be
 * taken in in any order; else as the program's outputs lie. */
static void find_order(const og_program *program, const og_type *space,
                       int64_t (*strides)[OG_MAX_RANK], int *order)
{
    for (int a = 0; a < space->rank; a++) {
        int at = a;
        if (program->n_out == 0)
            for (; at > 0 && span(strides[0][order[at - 1]]) < span(strides[0][a]); at--)
                order[at] = order[at - 1];
        order[at] = a;
    }
}

int64_t og__fold_blocks(const og__fold_loop *f)
{
    if (!f->by_rows)
        return (f->kept / f->loop.width + OG__FOLD_COLUMNS - 1) / OG__FOLD_COLUMNS * f->parts;
    return f->team == OG__FOLD_WARP ? (f->kept * f->parts + WARPS - 1) / WARPS : f->kept * f->parts;
}

og__fold_loop og__fold_narrow(const og__fold_loop *f)
{
    og__fold_loop n = *f;
    if (f->by_rows) {
        n.steps *= f->loop.width;
        n.part *= f->loop.width;
    }
    n.loop.width = 1;
    return n;
}

static int64_t element_bytes(const og__loop *loop, int operand)
{
    return og_dtype_bits(loop->types[operand]) / 8;
}

/* 16 bytes of the smallest elements that are read or written one behind the other. */
static int width_of(const og__loop *loop)
{
    int64_t least = WIDEST, fastest = loop->dims[loop->rank - 1];
    for (int o = 0; o < loop->program.n_in + loop->program.n_out; o++)
        if ((o >= loop->program.n_in || loop->strides[o][loop->rank - 1] == 1) &&
            element_bytes(loop, o) < least)
            least = element_bytes(loop, o);
    int width = least < 2 ? 8 : (int)(WIDEST / least);
    while (width > 1 && fastest % width != 0)
        width /= 2;
    return width;
}

static void cut(og__fold_loop *f)
{
    int last = f->loop.rank - 1;
    f->by_rows = f->reduced[last];
    f->steps = f->by_rows ? f->count / f->loop.width : f->count;
    f->team = f->steps <= SHORT_ROW ? OG__FOLD_WARP : OG__FOLD_THREADS;
    f->parts = 1;
    f->part = f->steps;
    int64_t threads = f->by_rows ? f->team : OG__FOLD_THREADS / OG__FOLD_COLUMNS,
            most = f->steps / (threads * LEAST_STEPS), wanted = ENOUGH_BLOCKS / og__fold_blocks(f);
    int64_t parts = og__min(og__min(most, wanted), MOST_PARTS);
    if (parts < 2)
        return;
    f->part = (f->steps + parts - 1) / parts;
    f->parts = (f->steps + f->part - 1) / f->part;
}

static void free_loop(og__fold_loop *f)
{
    free(f->loop.strides);
    free(f->loop.types);
}

/* rows of strides: the inputs', then the result's, 0 for axes that are reduced: so axes of both
 * kinds are never merged */
static bool make_loop(og__fold_loop *f, const og_call *call, const og_program *program,
                      const og_type *space, const bool *reduced)
{
    int n_in = program->n_in, order[OG_MAX_RANK];
    og__loop *loop = &f->loop;
    *f = (og__fold_loop){.loop = {.program = *program, .rank = space->rank, .total = 1},
                         .result = call->y[call->ny - 1].type.dtype,
                         .kept = 1,
                         .count = 1};
    size_t n = (size_t)n_in + 1;
    int64_t(*lie)[OG_MAX_RANK] = calloc(2 * n, sizeof *lie);
    loop->strides = calloc(n, sizeof *loop->strides);
    loop->types = calloc(n + (size_t)program->n_out, sizeof *loop->types);
    if (!lie || !loop->strides || !loop->types) {
        free(lie);
        return false;
    }
    int64_t(*walked)[OG_MAX_RANK] = lie + n;
    for (int i = 0; i < n_in; i++) {
        og__broadcast_strides(&call->x[i], space, lie[i]);
        loop->types[i] = call->x[i].type.dtype;
    }
    for (int o = 0; o < program->n_out; o++)
        loop->types[n_in + o] = call->y[o].type.dtype;
    int64_t step = 1;
    for (int a = space->rank - 1; a >= 0; a--)
        if (!reduced[a]) {
            lie[n_in][a] = step;
            step *= space->dims[a];
        }
    find_order(program, space, lie, order);
    for (int a = 0; a < space->rank; a++) {
        loop->dims[a] = space->dims[order[a]];
        loop->total *= loop->dims[a];
        *(reduced[order[a]] ? &f->count : &f->kept) *= loop->dims[a];
        for (int i = 0; i <= n_in; i++)
            walked[i][a] = lie[i][order[a]];
    }
    og__collapse(&loop->rank, loop->dims, (int)n, walked);
    for (int a = 0; a < loop->rank; a++) {
        f->reduced[a] = loop->dims[a] > 1 && walked[n_in][a] == 0;
        f->y_strides[a] = walked[n_in][a];
    }
    for (int i = 0; i < n_in; i++)
        memcpy(loop->strides[i], walked[i], sizeof walked[i]);
    free(lie);
    loop->width = width_of(loop);
    cut(f);
    return true;
}

/* ---- prepare */

bool og__cuda_fold_supports(const og_call *call, const og_program *program)
{
    const og_type *result = &call->y[call->ny - 1].type;
    if (call->nx + call->ny + 2 > OG_CUDA_ARGUMENTS / (int)sizeof(void *) ||
        (program->domain == OG_INT64 && result->dtype == OG_UINT64) ||
        og_dtype_bits(result->dtype) < 8 || og_type_elements(result) == 0)
        return false;
    for (int o = 0; o < call->ny; o++)
        if (!og_tensor_is_dense(&call->y[o]))
            return false;
    return true;
}

static plan *plan_new(const og__fold_loop *f)
{
    size_t n = (size_t)f->loop.program.n_in + (size_t)f->loop.program.n_out;
    plan *p = calloc(1, sizeof *p + n * sizeof(uintptr_t) + (n + 2) * sizeof(void *) +
                            (n + 2) * sizeof(og_cuda_range));
    if (!p)
        return NULL;
    p->n_in = f->loop.program.n_in;
    p->n_out = f->loop.program.n_out;
    p->ranges = (og_cuda_range *)(p + 1);
    p->operands = (const void **)(p->ranges + n + 2);
    p->alignment = (uintptr_t *)(p->operands + n + 2);
    for (size_t o = 0; o < n; o++) {
        int64_t bytes = f->loop.width * element_bytes(&f->loop, (int)o);
        p->alignment[o] = (int)o < p->n_in && !og__loop_reads_wide(&f->loop, (int)o) ? 1
                          : bytes > WIDEST                                           ? WIDEST
                                           : (uintptr_t)bytes;
    }
    return p;
}

og_status og__cuda_fold_prepare(og_call *call, const og_program *program, const og_type *space,
                                const bool *reduced, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og__fold_loop f = {0};
    og_text text = {0};
    og_status status = OG_OK;
    plan *p = NULL;
    if (!make_loop(&f, call, program, space, reduced) || !(p = plan_new(&f)))
        OG_TRY_CLEANUP(og_fail_memory(error, sizeof f, "a reduction"));
    og__fold_write(&f, &text);
    if (text.failed)
        OG_TRY_CLEANUP(og_fail_memory(error, text.length, "a reduction"));
    OG_TRY_CLEANUP(
        og__cuda_compiled(cuda, "reduction", text.s, OG__FOLD_SINGLE, &p->single, error));
    if (f.loop.width > 1)
        OG_TRY_CLEANUP(
            og__cuda_compiled(cuda, "reduction", text.s, OG__FOLD_WIDE, &p->wide, error));
    if (f.parts > 1) {
        OG_TRY_CLEANUP(
            og__cuda_compiled(cuda, "reduction", text.s, OG__FOLD_JOIN, &p->join, error));
        p->joins = (f.kept + WARPS - 1) / WARPS;
        p->parts_bytes = (size_t)(f.kept * f.parts) * og__size(program->domain);
    }
    og__fold_loop narrow = og__fold_narrow(&f);
    p->wide_blocks = og__fold_blocks(&f);
    p->single_blocks = og__fold_blocks(&narrow);
    p->threads = f.by_rows && f.team == OG__FOLD_WARP ? WARPS * OG__FOLD_WARP : OG__FOLD_THREADS;
    call->workspace_bytes = p->parts_bytes;
cleanup:
    og_text_free(&text);
    free_loop(&f);
    if (status != OG_OK) {
        free(p);
        p = NULL;
    }
    call->state = p;
    return status;
}

void og__cuda_fold_release(og_call *call)
{
    free(call->state);
    call->state = NULL;
}

/* ---- run */

og_status og__cuda_fold_run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    bool wide = p->wide != NULL;
    int n = p->n_in + p->n_out;
    const og_tensor *result = &call->y[call->ny - 1];
    for (int o = 0; o < n; o++) {
        const og_tensor *t = o < p->n_in ? &call->x[o] : &call->y[o - p->n_in];
        p->operands[o] = t->data;
        p->ranges[o] = og__cuda_range(t, o >= p->n_in);
        wide = wide && (uintptr_t)t->data % p->alignment[o] == 0;
    }
    p->operands[n] = result->data;
    p->operands[n + 1] = call->workspace;
    p->ranges[n] = p->joins ? (og_cuda_range){call->workspace, p->parts_bytes, true}
                            : og__cuda_range(result, true);
    size_t bytes = (size_t)(n + 2) * sizeof(void *);
    OG_TRY(og__cuda_launch(call, wide ? p->wide : p->single,
                           wide ? p->wide_blocks : p->single_blocks, p->threads, 0, p->operands,
                           bytes, p->ranges, n + 1, error));
    if (!p->joins)
        return OG_OK;
    const og_cuda_range ranges[] = {{call->workspace, p->parts_bytes, false},
                                    og__cuda_range(result, true)};
    return og__cuda_launch(call, p->join, p->joins, WARPS * OG__FOLD_WARP, 0, p->operands, bytes,
                           ranges, 2, error);
}
