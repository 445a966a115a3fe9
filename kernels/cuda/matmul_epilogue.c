/* MatMulEpilogue (ops/matmul.h) by cuBLASLt's epilogues: one product of matrices, whose first
 * operand is our B (products.c).
 *
 *     bias, relu, gelu        BIAS, RELU_BIAS, GELU_AUX_BIAS
 *     relu_grad, gelu_grad    DRELU, DGELU, with the sum DRELU_BGRAD, DGELU_BGRAD
 *     sum_a, sum_b            BGRADB, BGRADA
 *
 * DRELU reads bits, which a kernel of our own makes of x before. The program of a node (runtime/
 * passes/epilogue.c) may add one tensor as large as y, where a form adds nothing itself: gradients
 * of weights to the sums over micro-batches, always or (Accumulate) where a scalar on the card says
 * so. Operands at addresses that are no multiples of 16 are
 * copied to the workspace. */
#include "kernels/cuda/matmul_epilogue.h"

#include <stdlib.h>

#include "kernels/cpu/matmul.h"
#include "kernels/cuda/product_plan.h"
#include "ops/matmul.h"

extern const og_cuda_image og_cuda_image_matmul_epilogue;

enum { VECTOR = 16, THREADS = 256, BLOCKS_A_PROCESSOR = 16, BITS = 128 /* of an aux's columns */ };

enum { A, B, X, ADDEND, OPERANDS }; /* inputs of a call; an addend is the last */

/* Inputs of the call; -1: none. */
typedef struct added {
    int input;
    int more; /* the scalar that says whether there is something to add to; -1: there is */
} added;

/* An operand that goes through the workspace. */
typedef struct moved {
    og__cuda_copier *copier; /* NULL: it does not */
    og__place place;
} moved;

typedef struct plan {
    og_matmul_form form;
    added added;
    moved moved[OPERANDS];
    og__cuda_product product;
    og__place workspace, bits;
    int64_t rows, columns; /* of x */
    og_cuda_function *make_bits;
} plan;

static bool has_operand(og_matmul_form form)
{
    return form < OG_MATMUL_SUM_A;
}

static bool has_bits(og_matmul_form form)
{
    return form == OG_MATMUL_RELU_GRAD;
}

static og_cuda_epilogue code_of(og_matmul_form form, bool second)
{
    switch (form) {
    case OG_MATMUL_BIAS:
        return OG_CUDA_BIAS;
    case OG_MATMUL_RELU:
        return OG_CUDA_RELU_BIAS;
    case OG_MATMUL_GELU:
        return second ? OG_CUDA_GELU_AUX_BIAS : OG_CUDA_GELU_BIAS;
    case OG_MATMUL_RELU_GRAD:
        return second ? OG_CUDA_DRELU_BGRAD : OG_CUDA_DRELU;
    case OG_MATMUL_GELU_GRAD:
        return second ? OG_CUDA_DGELU_BGRAD : OG_CUDA_DGELU;
    case OG_MATMUL_SUM_A:
        return second ? OG_CUDA_BGRADB : OG_CUDA_PLAIN;
    default:
        return second ? OG_CUDA_BGRADA : OG_CUDA_PLAIN;
    }
}

/* ---- supports */

/* What the node's program adds; false: it is no such program. */
static bool addend_of(const og_call *call, og_matmul_form form, added *a)
{
    const og_program *p = call->node->program;
    *a = (added){-1, -1};
    if (!p)
        return true;
    const og_instr *i = &p->instr[0];
    int own = og_own_inputs(call->node);
    bool adds = i->op == OG_SCALAR_Add, accumulates = i->op == OG_SCALAR_Accumulate && i->a == 0;
    if (form < OG_MATMUL_SUM_A || p->fold || p->n_instr != 1 || p->n_out != 1 ||
        p->domain != OG_FLOAT || p->out[0] != p->n_in || p->n_in != (accumulates ? 3 : 2) ||
        (adds ? i->a + i->b != 1 : !accumulates || i->b < 1 || i->c < 1 || i->b == i->c))
        return false;
    a->input = own + (adds ? 1 : i->b) - 1;
    a->more = adds ? -1 : own + i->c - 1;
    return call->y[0].type.dtype == OG_FLOAT && /* halves would be rounded once less */
           og_type_equal(&call->x[a->input].type, &call->y[0].type) &&
           (adds || og__elements(&call->x[a->more]) == 1);
}

static bool types_go(const og_call *call)
{
    og_dtype in = call->x[A].type.dtype, out = call->y[0].type.dtype;
    bool half = in == OG_FLOAT16 || in == OG_BFLOAT16;
    for (int i = X; i < call->nx; i++)
        if (call->x[i].type.dtype != out)
            return false;
    return call->x[B].type.dtype == in && (half || in == OG_FLOAT) &&
           (out == in || (half && out == OG_FLOAT)) &&
           (call->ny < 2 || call->y[1].type.dtype == out);
}

/* The product, as it is described to the driver; false: it is none. */
static bool describe(const og_call *call, og_matmul_form form, added a, og_cuda_product *d)
{
    og__matmul s;
    og_call matrices = *call;
    matrices.nx = 2;
    matrices.ny = 1;
    if (!og__matmul_shape(&matrices, &s) || s.k < 1 || og__elements(&call->y[0]) < 1)
        return false;
    for (int i = 0; i < s.batch.rank; i++)
        if (s.batch.dims[i] > 1)
            return false;
    *d = og__cuda_product_of(call->device, call->x[A].type.dtype, call->y[0].type.dtype);
    d->m = d->ldc = d->ldd = s.n;
    d->n = s.m;
    d->k = s.k;
    d->reads_c = a.input >= 0;
    d->scalars_on_device = a.more >= 0;
    d->epilogue = code_of(form, call->ny > 1);
    d->alignment = VECTOR;
    if (og_cuda_aux_use(d->epilogue))
        d->ldaux = has_bits(form) ? (s.n + BITS - 1) / BITS * BITS : s.n;
    return og__cuda_product_reads(s.k, s.n, s.b_row, s.b_column, &d->transpose_a, &d->lda) &&
           og__cuda_product_reads(s.m, s.k, s.a_row, s.a_column, &d->transpose_b, &d->ldb) &&
           (has_bits(form) || d->ldaux % 8 == 0);
}

static bool supports(const og_call *call)
{
    og_matmul_form form = og_matmul_form_of(call->node);
    og_cuda_product d;
    added a;
    if (og_own_inputs(call->node) != (has_operand(form) ? 3 : 2) || !types_go(call) ||
        !addend_of(call, form, &a) || call->ny != call->node->n_out)
        return false;
    for (int i = X; i < call->nx; i++)
        if (!og_tensor_is_dense(&call->x[i]))
            return false;
    for (int i = 0; i < call->ny; i++)
        if (call->y[i].offset % VECTOR != 0)
            return false;
    return describe(call, form, a, &d) && og__cuda_product_goes(call->device, &d);
}

/* ---- prepare */

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    for (int i = 0; i < OPERANDS; i++)
        og__cuda_copier_free(p->moved[i].copier);
    og__cuda_product_free(call->device, &p->product);
    free(p);
    call->state = NULL;
}

/* Operands at addresses that a product does not take. */
static og_status move_operands(og_call *call, plan *p, og_error *error)
{
    for (int i = 0; i < call->nx; i++) {
        const og_tensor *x = &call->x[i];
        if (i == p->added.more)
            continue;
        moved *m = &p->moved[i == p->added.input ? ADDEND : i];
        if (x->offset % VECTOR == 0 || (i == X && has_bits(p->form)))
            continue;
        m->place = og__cuda_book(call, (size_t)og__elements(x) * og__size(x->type.dtype));
        OG_TRY(og__cuda_copier_new(call, x, &m->copier, error));
    }
    return OG_OK;
}

static og_status prepare_bits(og_call *call, plan *p, const og_cuda_product *d, og_error *error)
{
    const og_tensor *x = &call->x[X];
    bool wide = d->m % 8 == 0 && x->offset % VECTOR == 0;
    const char *name =
        x->type.dtype == OG_FLOAT16    ? wide ? "og_relu_bits_half_8" : "og_relu_bits_half_1"
        : x->type.dtype == OG_BFLOAT16 ? wide ? "og_relu_bits_bfloat_8" : "og_relu_bits_bfloat_1"
        : wide                         ? "og_relu_bits_float_4"
                                       : "og_relu_bits_float_1";
    p->rows = d->n;
    p->columns = d->m;
    p->bits = og__cuda_book(call, (size_t)(d->n * d->ldaux / 8));
    return og__cuda_function(og__cuda_of(call->device), &og_cuda_image_matmul_epilogue, name, 0,
                             &p->make_bits, error);
}

static og_status prepare(og_call *call, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a matrix product");
    call->state = p;
    call->workspace_bytes = 0;
    og_status status = OG_OK;
    og_cuda_product d;
    p->form = og_matmul_form_of(call->node);
    addend_of(call, p->form, &p->added);
    if (!describe(call, p->form, p->added, &d))
        OG_TRY_CLEANUP(og_fail(error, OG_INTERNAL, "it is no product of matrices"));
    OG_TRY_CLEANUP(og__cuda_product_new(call->device, &d, &p->product, error));
    p->workspace = og__cuda_book(call, p->product.workspace);
    OG_TRY_CLEANUP(move_operands(call, p, error));
    if (has_bits(p->form))
        OG_TRY_CLEANUP(prepare_bits(call, p, &d, error));
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

static og_status fetch(const og_call *call, const plan *p, int input, int which, void **at,
                       og_error *error)
{
    const moved *m = &p->moved[which];
    *at = NULL;
    if (input < 0 || input >= call->nx)
        return OG_OK;
    *at = m->copier ? og__cuda_at(call, m->place) : call->x[input].data;
    return m->copier ? og__cuda_copier_run(call, m->copier, &call->x[input], *at, error) : OG_OK;
}

static og_status make_bits(const og_call *call, const plan *p, const void *x, og_error *error)
{
    int64_t stride = p->product.shape.ldaux / 8, bytes = p->rows * ((p->columns + 7) / 8);
    const og_relu_bits_arguments arguments = {x, og__cuda_at(call, p->bits), p->rows, p->columns,
                                              stride};
    const og_cuda_range ranges[] = {og__cuda_range(&call->x[X], false),
                                    {arguments.bits, (size_t)(p->rows * stride), true}};
    int64_t blocks = (bytes + THREADS - 1) / THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    return og__cuda_launch(call, p->make_bits, og__min(blocks, most), THREADS, 0, &arguments,
                           sizeof arguments, ranges, 2, error);
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    void *at[OPERANDS], *y = call->y[0].data, *second = call->ny > 1 ? call->y[1].data : NULL;
    const float one = 1, beta = p->added.input >= 0;
    int more = p->added.more;
    for (int i = 0; i < OPERANDS; i++) {
        int input = i == ADDEND ? p->added.input : i == X && !has_operand(p->form) ? -1 : i;
        OG_TRY(fetch(call, p, input, i, &at[i], error));
    }
    if (has_bits(p->form)) {
        OG_TRY(make_bits(call, p, at[X], error));
        at[X] = og__cuda_at(call, p->bits);
    }
    bool biased = p->form < OG_MATMUL_RELU_GRAD;
    const og_cuda_operands operands = {.a = at[B],
                                       .b = at[A],
                                       .c = at[ADDEND] ? at[ADDEND] : y,
                                       .d = y,
                                       .bias = biased ? at[X] : second,
                                       .aux = biased ? second : at[X],
                                       .alpha = more < 0 ? &one : NULL,
                                       .beta = more < 0 ? (const void *)&beta : call->x[more].data,
                                       .workspace = og__cuda_at(call, p->workspace),
                                       .workspace_bytes = p->product.workspace};
    return og__cuda_product_run(call->device, &p->product, &operands, error);
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_PROGRAM | OG_KERNEL_INPLACE_PROGRAM)

const og_kernel og_kernels_cuda_matmul_epilogue[] = {
    {"ai.ongrad::MatMulEpilogue", "cuBLASLt", FLAGS, supports, prepare, run, release},
    {NULL},
};
