/* ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceSumSquare: data, axes → reduced,
 * as programs without instructions that end in a reduction (fold.h). */
#include "kernels/cpu/reduce.h"
#include "kernels/cuda/fold.h"

static og_program program_of(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    return (og_program){.domain = dtype == OG_DOUBLE   ? OG_DOUBLE
                                  : og__is_real(dtype) ? OG_FLOAT
                                                       : OG_INT64,
                        .n_in = 1,
                        .fold = call->node->op->fold};
}

static bool supports(const og_call *call)
{
    bool reduced[OG_MAX_RANK];
    og_error ignored = {0};
    og_program program = program_of(call);
    bool ok = program.fold != OG_FOLD_NONE && call->ny == 1 &&
              og__cuda_fold_supports(call, &program) &&
              call->x[0].type.dtype == call->y[0].type.dtype && og__elements(&call->x[0]) > 0 &&
              og__reduce_axes(call, reduced, &ignored) == OG_OK;
    og_error_clear(&ignored);
    return ok;
}

static og_status prepare(og_call *call, og_error *error)
{
    bool reduced[OG_MAX_RANK];
    const og_program program = program_of(call);
    OG_TRY(og__reduce_axes(call, reduced, error));
    int nx = call->nx;
    call->nx = 1; /* the axes are read here */
    og_status status = og__cuda_fold_prepare(call, &program, &call->x[0].type, reduced, error);
    call->nx = nx;
    return status;
}

#define REDUCE(op)                                                               \
    {                                                                            \
        op, "compiled", OG_KERNEL_STRIDED, supports, prepare, og__cuda_fold_run, \
            og__cuda_fold_release                                                \
    }

const og_kernel og_kernels_cuda_reduce[] = {
    REDUCE("ReduceSum"),
    REDUCE("ReduceMean"),
    REDUCE("ReduceMax"),
    REDUCE("ReduceMin"),
    REDUCE("ReduceProd"),
    REDUCE("ReduceSumSquare"),
    {NULL},
};
