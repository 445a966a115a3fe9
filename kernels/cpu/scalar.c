/* Fused, and each scalar op as a program of one instruction, run by the interpreter of
 * elementwise.c. */
#include <stdlib.h>

#include "kernels/cpu/elementwise.h"

/* ---- Fused */

static bool types_loadable(const og_call *call, bool bits)
{
    for (int i = 0; i < call->nx; i++)
        if (!og__elementwise_dtype(call->x[i].type.dtype) &&
            !(bits && call->x[i].type.dtype == OG_BIT))
            return false;
    for (int i = 0; i < call->ny; i++)
        if (call->y[i].type.dtype != OG_UNDEFINED &&
            !og__elementwise_dtype(call->y[i].type.dtype) &&
            !(bits && call->y[i].type.dtype == OG_BIT))
            return false;
    return call->ny > 0 && call->y[0].type.dtype != OG_UNDEFINED;
}

static bool runs(const og_call *call, bool bits)
{
    const og_program *program = call->node->program;
    bool folds = program && program->fold != OG_FOLD_NONE;
    if (!program || program->n_in != call->nx || program->n_out + folds != call->ny ||
        !types_loadable(call, bits) || (folds && !og__elementwise_folds(call, program)))
        return false;
    for (int k = 0; k < program->n_instr; k++)
        if (program->domain == OG_INT64 && !og_scalar_has_int(program->instr[k].op))
            return false;
    return program->domain == OG_FLOAT || program->domain == OG_DOUBLE ||
           program->domain == OG_INT64;
}

bool og__fused_supports(const og_call *call)
{
    return runs(call, false);
}

static bool fused_supports_bits(const og_call *call)
{
    return runs(call, true) && og__elementwise_bits(call, call->node->program);
}

static og_status fused_prepare(og_call *call, og_error *error)
{
    return og__elementwise_prepare(call, call->node->program, error);
}

/* ---- single scalar ops */

/* What an op computes in: double if any input is; else float if any is real, but double for an
 * integer base with a real exponent, whose result is an integer; else int64. */
static og_dtype scalar_domain(const og_call *call)
{
    bool real = false;
    for (int i = 0; i < call->nx; i++) {
        if (call->x[i].type.dtype == OG_DOUBLE)
            return OG_DOUBLE;
        real = real || og__is_real(call->x[i].type.dtype);
    }
    if (!real)
        return OG_INT64;
    return call->node->op->scalar == OG_SCALAR_Pow && !og__is_real(call->x[0].type.dtype)
               ? OG_DOUBLE
               : OG_FLOAT;
}

/* Min and Max take any number of inputs. */
static bool is_chain(og_scalar op)
{
    return op == OG_SCALAR_Min || op == OG_SCALAR_Max;
}

bool og__scalar_supports(const og_call *call)
{
    og_scalar op = call->node->op->scalar;
    int arity = og_scalar_arity(op);
    if (op == OG_SCALAR_NONE || op == OG_SCALAR_Const || call->ny != 1 ||
        !types_loadable(call, false))
        return false;
    if (call->nx != arity && !(is_chain(op) && call->nx > 0 && call->nx < INT16_MAX / 2))
        return false;
    if (op == OG_SCALAR_Mod && og_attr_int(call->node, "fmod", 0) != 0)
        return false;
    return scalar_domain(call) != OG_INT64 || og_scalar_has_int(op);
}

og_status og__scalar_program(const og_call *call, og_program *program, og_error *error)
{
    og_scalar op = call->node->op->scalar;
    bool one = call->nx == og_scalar_arity(op);
    /* Min and Max: x0 op x1, that op x2 …; for one input, that input. */
    int n = one ? 1 : call->nx - 1;
    size_t bytes = (size_t)n * sizeof(og_instr) + sizeof(int16_t);
    og_instr *instr = calloc(1, bytes);
    if (!instr)
        return og_fail_memory(error, bytes, "an elementwise program");
    if (one)
        instr[0] = (og_instr){.op = op, .a = 0, .b = 1, .c = 2};
    for (int k = 0; k < n && !one; k++)
        instr[k] = (og_instr){
            .op = op, .a = (int16_t)(k ? call->nx + k - 1 : 0), .b = (int16_t)(k + 1), .c = -1};
    int16_t *out = (int16_t *)(instr + n);
    *out = (int16_t)(n ? call->nx + n - 1 : 0);
    *program = (og_program){.domain = scalar_domain(call),
                            .n_in = call->nx,
                            .n_instr = n,
                            .n_out = 1,
                            .instr = instr,
                            .out = out};
    return OG_OK;
}

static og_status scalar_prepare(og_call *call, og_error *error)
{
    og_program program;
    OG_TRY(og__scalar_program(call, &program, error));
    og_status status = og__elementwise_prepare(call, &program, error);
    free((void *)(uintptr_t)program.instr);
    return status;
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_INPLACE | OG_KERNEL_REFERENCE | OG_KERNEL_ANY_ORDER)
#define SCALAR(op) \
    {op, "tiles", FLAGS, og__scalar_supports, scalar_prepare, og__elementwise_run, og__free_state},

const og_kernel og_kernels_cpu_scalar[] = {
    {"ai.ongrad::Fused", "tiles", FLAGS | OG_KERNEL_PROGRAM | OG_KERNEL_BITS, fused_supports_bits,
     fused_prepare, og__elementwise_run, og__free_state},
#define X(name, arity, ints, expression) SCALAR(#name)
#include "runtime/graph/scalar.def"
#undef X
    SCALAR("ai.ongrad::Accumulate") SCALAR("ai.ongrad::Log1p") SCALAR("ai.ongrad::IsFinite")
        SCALAR("ai.ongrad::GeluErf") SCALAR("ai.ongrad::GeluErfGrad") SCALAR("ai.ongrad::GeluTanh")
            SCALAR("ai.ongrad::GeluTanhGrad") SCALAR("ai.ongrad::Silu")
                SCALAR("ai.ongrad::SiluGrad") SCALAR("ai.ongrad::HardSwishGrad"){NULL},
};
