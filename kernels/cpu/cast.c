/* Cast between any two of bool, the integers and the floating-point types of 16 bits and more: an
 * elementwise program without instructions, whose load and store convert. Real to integer
 * truncates; NaN gives 0, what int64 cannot hold its nearest end, and narrower integers the low
 * bits of that. Real to bool is "not zero". */
#include "kernels/cpu/elementwise.h"

/* The domain that holds every value of `from` that `to` can tell apart. */
static og_dtype cast_domain(og_dtype from, og_dtype to)
{
    if (from == OG_DOUBLE)
        return OG_DOUBLE;
    if (og__is_real(from))
        return OG_FLOAT;
    return from == OG_UINT64 && og__is_real(to) ? OG_DOUBLE : OG_INT64;
}

bool og__cast_supports(const og_call *call)
{
    return call->nx >= 1 && call->ny == 1 && og__elementwise_dtype(call->x[0].type.dtype) &&
           og__elementwise_dtype(call->y[0].type.dtype);
}

og_program og__cast_program(const og_call *call)
{
    static const int16_t out = 0;
    return (og_program){.domain = cast_domain(call->x[0].type.dtype, call->y[0].type.dtype),
                        .n_in = 1,
                        .n_out = 1,
                        .out = &out};
}

static og_status cast_prepare(og_call *call, og_error *error)
{
    og_program program = og__cast_program(call);
    return og__elementwise_prepare(call, &program, error);
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_INPLACE | OG_KERNEL_REFERENCE | OG_KERNEL_ANY_ORDER)

const og_kernel og_kernels_cpu_cast[] = {
    {"Cast", "tiles", FLAGS, og__cast_supports, cast_prepare, og__elementwise_run, og__free_state},
    {"CastLike", "tiles", FLAGS, og__cast_supports, cast_prepare, og__elementwise_run,
     og__free_state},
    {NULL},
};
