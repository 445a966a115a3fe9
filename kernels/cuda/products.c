/* MatMul and WideMatMul by the driver's products: float32 (in TF32 where the device may), float64,
 * and half types with sums in float32. The axis of a batch that is longest becomes the product's
 * batch axis; over the others the product is run again and again on moved addresses. Operands that
 * lie in no way a product reads, and batches that would take many runs, are first copied to the
 * workspace.
 *
 * A row-major C = A B is, column-major, Cᵀ = Bᵀ Aᵀ: our B is the product's first operand.
 *
 * Epilogues: the node's program (runtime/passes/epilogue.c) may add one tensor as large as C
 * (beta = 1), then a row (the bias), then be ReLU or GELU's tanh form. Whether a sum of gradients
 * is added to (Accumulate) is said in the card's memory, where beta is read from: if it is 0, what
 * the sum holds is not read, as BLAS has it. */
#include <stdlib.h>

#include "kernels/cpu/matmul.h"
#include "kernels/cuda/product_plan.h"
#include "runtime/base/checked.h"

enum {
    MOST_RUNS = 4,               /* more are avoided by copies */
    VECTOR = OG__PRODUCT_VECTOR, /* what a bias's address must be a multiple of */
    ALIGNMENT = 256
};

enum { A, B, ADDEND, BIAS, OPERANDS };

typedef struct operand {
    int input;               /* of the call; -1: none */
    og__cuda_copier *copier; /* it goes through the workspace, made dense; NULL: it does not */
    size_t copied_at, bytes; /* there; a bias has room there in any case */
} operand;

typedef struct plan {
    og__matmul shape;
    int axis;     /* of shape.batch: the product's; -1: none */
    int64_t runs; /* over the other axes, which `outer` walks */
    og__space outer;
    operand operands[OPERANDS];
    int more; /* the input that says whether there is something to add to; -1: there is */
    og__cuda_product product;
    size_t workspace_at;
} plan;

/* ---- what is added */

typedef struct epilogue {
    int addend, more, bias; /* inputs of the call; -1: none */
    og_scalar activation;
} epilogue;

static bool add_input(const og_call *call, int64_t columns, int input, epilogue *e)
{
    const og_tensor *x = &call->x[input], *y = &call->y[0];
    if (x->type.dtype != y->type.dtype || e->bias >= 0 || e->activation)
        return false;
    if (og__elements(x) == og__elements(y)) {
        if (e->addend >= 0)
            return false;
        e->addend = input;
        return true;
    }
    if (og__elements(x) != columns || x->type.rank < 1 || x->type.dims[x->type.rank - 1] != columns)
        return false;
    e->bias = input;
    return true;
}

/* An input of the program, but for the product's result? */
static bool is_operand(const og_program *p, int value)
{
    return value >= 1 && value < p->n_in;
}

static bool is_scalar(const og_tensor *t)
{
    return og__elements(t) == 1 && t->type.dtype == OG_FLOAT;
}

/* The node's program as an epilogue; false: it is none. Additions must round as the program does:
 * the addend comes first, and half types are rounded once. */
static bool epilogue_of(const og_call *call, epilogue *e)
{
    const og_program *p = call->node->program;
    const og_type *y = &call->y[0].type;
    int value = 0, own = og_own_inputs(call->node);
    int64_t columns = y->rank ? y->dims[y->rank - 1] : 1;
    *e = (epilogue){.addend = -1, .more = -1, .bias = -1};
    if (!p)
        return true;
    if (p->fold || p->n_out != 1 || p->domain != OG_FLOAT || call->x[1].type.rank < 2)
        return false;
    for (int k = 0; k < p->n_instr; k++) {
        const og_instr *i = &p->instr[k];
        bool rounds = (i->op == OG_SCALAR_RoundBfloat16 && y->dtype == OG_BFLOAT16) ||
                      (i->op == OG_SCALAR_RoundFloat16 && y->dtype == OG_FLOAT16);
        if (i->op == OG_SCALAR_Add) {
            int other = i->a == value ? i->b : i->a;
            if ((i->a != value && i->b != value) || !is_operand(p, other) ||
                !add_input(call, columns, own + other - 1, e))
                return false;
        } else if (i->op == OG_SCALAR_Accumulate) {
            if (i->a != value || !is_operand(p, i->b) || !is_operand(p, i->c) ||
                !add_input(call, columns, own + i->b - 1, e) || e->addend != own + i->b - 1 ||
                !is_scalar(&call->x[own + i->c - 1]))
                return false;
            e->more = own + i->c - 1;
        } else if ((i->op == OG_SCALAR_Relu || i->op == OG_SCALAR_GeluTanh) && i->a == value &&
                   !e->activation) {
            e->activation = i->op;
        } else if (!rounds || i->a != value) {
            return false;
        }
        value = p->n_in + k;
    }
    /* GELU comes with a bias alone */
    return p->out[0] == value && !(e->activation == OG_SCALAR_GeluTanh && e->bias < 0);
}

static og_cuda_epilogue code_of(const epilogue *e)
{
    return e->activation == OG_SCALAR_Relu       ? e->bias < 0 ? OG_CUDA_RELU : OG_CUDA_RELU_BIAS
           : e->activation == OG_SCALAR_GeluTanh ? OG_CUDA_GELU_BIAS
           : e->bias >= 0                        ? OG_CUDA_BIAS
                                                 : OG_CUDA_PLAIN;
}

/* ---- what is multiplied */

static bool types_go(const og_call *call)
{
    og_dtype in = call->x[0].type.dtype, out = call->y[0].type.dtype;
    bool half = in == OG_FLOAT16 || in == OG_BFLOAT16;
    return call->x[1].type.dtype == in && (half || in == OG_FLOAT || in == OG_DOUBLE) &&
           (out == in || (half && out == OG_FLOAT));
}

bool og__cuda_product_reads(int64_t rows, int64_t columns, int64_t row, int64_t column,
                            bool *transpose, int64_t *ld)
{
    if (rows == 1)
        row = column == 1 || columns == 1 ? columns : row;
    if (columns == 1)
        column = row == 1 || rows == 1 ? rows : column;
    if (columns == 1 && rows > 1 && row >= 1) { /* a column: any distance will do */
        *transpose = false;
        *ld = row;
        return true;
    }
    if (rows == 1 && columns > 1 && column >= 1) {
        *transpose = column != 1;
        *ld = column == 1 ? columns : column;
        return true;
    }
    *transpose = column != 1;
    *ld = column == 1 ? row : column;
    return (column == 1 && row >= columns) || (row == 1 && column >= rows);
}

static bool regular(const og__matmul *s, int which)
{
    bool transpose;
    int64_t ld;
    for (int a = 0; a < s->batch.rank; a++)
        if (s->batch.strides[which][a] < 0)
            return false;
    return which == A ? og__cuda_product_reads(s->m, s->k, s->a_row, s->a_column, &transpose, &ld)
                      : og__cuda_product_reads(s->k, s->n, s->b_row, s->b_column, &transpose, &ld);
}

/* The axis that the product takes, and how often it is run; -1: there is no batch. */
static int batch_axis(const og__matmul *s, int64_t *runs)
{
    int best = -1;
    *runs = 1;
    for (int a = 0; a < s->batch.rank; a++)
        if (s->batch.dims[a] > 1 && (best < 0 || s->batch.dims[a] > s->batch.dims[best]))
            best = a;
    for (int a = 0; a < s->batch.rank; a++)
        *runs *= a == best ? 1 : s->batch.dims[a];
    return best;
}

/* The shape after operands A and B were copied where copied says so. */
static void shape_after(const og_call *call, const bool copied[2], og__matmul *s)
{
    og_tensor x[2] = {call->x[0], call->x[1]};
    og_call after = *call;
    after.x = x;
    for (int i = 0; i < 2; i++)
        if (copied[i])
            og_strides_dense(&x[i].type, x[i].strides);
    og__matmul_shape(&after, s);
}

static void choose_copies(const og_call *call, bool copied[2], og__matmul *s)
{
    int64_t runs, fewer;
    shape_after(call, copied, s);
    for (int i = 0; i < 2; i++)
        copied[i] = copied[i] || !regular(s, i);
    shape_after(call, copied, s);
    batch_axis(s, &runs);
    static const bool choices[][2] = {{true, false}, {false, true}, {true, true}};
    bool had[2] = {copied[0], copied[1]};
    for (int c = 0; c < 3 && runs > MOST_RUNS; c++) {
        const bool more[2] = {had[0] || choices[c][0], had[1] || choices[c][1]};
        og__matmul after;
        shape_after(call, more, &after);
        batch_axis(&after, &fewer);
        if (fewer < runs) {
            copied[0] = more[0];
            copied[1] = more[1];
            runs = fewer;
        }
    }
    shape_after(call, copied, s);
}

/* Room in the workspace for an operand, and how it gets there. */
static og_status book(og_call *call, plan *p, int which, int input, bool copied, og_error *error)
{
    operand *o = &p->operands[which];
    o->input = input;
    if (input < 0 || (!copied && which != BIAS))
        return OG_OK;
    const og_tensor *x = &call->x[input];
    o->bytes = (size_t)og__elements(x) * og__size(x->type.dtype);
    o->copied_at = call->workspace_bytes;
    call->workspace_bytes += og_align_up(o->bytes, ALIGNMENT);
    return copied ? og__cuda_copier_new(call, x, &o->copier, error) : OG_OK;
}

/* What all addresses of all runs are multiples of, as far as that counts. */
static size_t alignment_of(const og_call *call, const plan *p, const bool copied[2], int addend)
{
    const og_tensor *tensors[] = {&call->x[A], &call->x[B], &call->y[0]};
    size_t least = og__size(call->x[A].type.dtype), out = og__size(call->y[0].type.dtype),
           all = addend >= 0 && og_tensor_is_dense(&call->x[addend]) ? call->x[addend].offset : 0;
    for (int i = 0; i < 3; i++) {
        size_t size = og__size(tensors[i]->type.dtype);
        all |= i < 2 && copied[i] ? 0 : tensors[i]->offset;
        for (int a = 0; a < p->outer.rank; a++)
            if (p->outer.dims[a] > 1)
                all |= (size_t)p->outer.strides[i][a] * size;
    }
    return all % VECTOR == 0 ? VECTOR : least < out ? least : out;
}

static og_cuda_product describe(const og_call *call, const plan *p, const epilogue *e)
{
    const og__matmul *s = &p->shape;
    og_cuda_product d =
        og__cuda_product_of(call->device, call->x[0].type.dtype, call->y[0].type.dtype);
    d.m = d.ldc = d.ldd = s->n;
    d.n = s->m;
    d.k = s->k;
    d.batch = p->axis < 0 ? 1 : s->batch.dims[p->axis];
    d.reads_c = e->addend >= 0;
    d.scalars_on_device = e->more >= 0;
    d.epilogue = code_of(e);
    og__cuda_product_reads(s->k, s->n, s->b_row, s->b_column, &d.transpose_a, &d.lda);
    og__cuda_product_reads(s->m, s->k, s->a_row, s->a_column, &d.transpose_b, &d.ldb);
    if (p->axis >= 0) {
        d.stride_a = s->batch.strides[1][p->axis];
        d.stride_b = s->batch.strides[0][p->axis];
        d.stride_c = d.stride_d = s->batch.strides[2][p->axis];
    }
    return d;
}

/* All but the plans: false where the library has no way to do it, or there is no such program. */
static bool lay_out(const og_call *call, plan *p, epilogue *e, bool copied[2], og_cuda_product *d)
{
    if (!epilogue_of(call, e))
        return false;
    for (int turn = 0; turn < 2; turn++) {
        choose_copies(call, copied, &p->shape);
        p->axis = batch_axis(&p->shape, &p->runs);
        p->outer = p->shape.batch;
        if (p->axis >= 0)
            p->outer.dims[p->axis] = 1;
        *d = describe(call, p, e);
        d->alignment = alignment_of(call, p, copied, e->addend);
        if (og__cuda_product_goes(call->device, d))
            return true;
        if (d->alignment >= VECTOR)
            return false;
        for (int i = 0; i < 2; i++) /* not at such addresses: at others */
            copied[i] = true;
    }
    return false;
}

static bool supports(const og_call *call)
{
    plan p;
    epilogue e;
    bool copied[2] = {false, false};
    og_cuda_product d;
    return og_own_inputs(call->node) == 2 && call->ny == 1 && types_go(call) &&
           og__matmul_shape(call, &p.shape) && og__elements(&call->y[0]) > 0 && p.shape.k > 0 &&
           lay_out(call, &p, &e, copied, &d);
}

/* ---- prepare */

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    for (int i = 0; i < OPERANDS; i++)
        og__cuda_copier_free(p->operands[i].copier);
    og__cuda_product_free(call->device, &p->product);
    free(p);
    call->state = NULL;
}

static og_status prepare(og_call *call, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a matrix product");
    call->state = p;
    call->workspace_bytes = 0;
    og_status status = OG_OK;
    epilogue e;
    bool copied[2] = {false, false};
    og_cuda_product d;
    if (!lay_out(call, p, &e, copied, &d))
        OG_TRY_CLEANUP(og_fail(error, OG_INTERNAL, "cuBLASLt has no way to do it any more"));
    p->more = e.more;
    for (int i = 0; i < 2; i++)
        OG_TRY_CLEANUP(book(call, p, i, i, copied[i], error));
    OG_TRY_CLEANUP(book(call, p, ADDEND, e.addend,
                        e.addend >= 0 && !og_tensor_is_dense(&call->x[e.addend]), error));
    OG_TRY_CLEANUP(
        book(call, p, BIAS, e.bias, e.bias >= 0 && !og_tensor_is_dense(&call->x[e.bias]), error));
    OG_TRY_CLEANUP(og__cuda_product_new(call->device, &d, &p->product, error));
    p->workspace_at = call->workspace_bytes;
    call->workspace_bytes += p->product.workspace;
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

/* Where the operand lies for the product, after it was copied there if it has to be. */
static og_status fetch(const og_call *call, const plan *p, int which, const char **at,
                       og_error *error)
{
    const operand *o = &p->operands[which];
    const og__cuda *cuda = og__cuda_of(call->device);
    *at = NULL;
    if (o->input < 0)
        return OG_OK;
    const og_tensor *x = &call->x[o->input];
    char *copy = (char *)call->workspace + o->copied_at;
    bool moves = which == BIAS && (uintptr_t)x->data % VECTOR != 0;
    *at = o->copier || moves ? copy : x->data;
    if (o->copier)
        return og__cuda_copier_run(call, o->copier, x, copy, error);
    return moves ? cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, copy, x->data, o->bytes, error)
                 : OG_OK;
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const char *at[OPERANDS];
    int64_t in = (int64_t)og__size(call->x[0].type.dtype),
            out = (int64_t)og__size(call->y[0].type.dtype);
    bool wide = call->x[0].type.dtype == OG_DOUBLE;
    const float one = 1, beta = p->operands[ADDEND].input >= 0;
    const double one_wide = 1, beta_wide = beta;
    const void *alpha = p->more >= 0 ? NULL
                        : wide       ? (const void *)&one_wide
                                     : &one,
               *factor = wide ? (const void *)&beta_wide : &beta;
    for (int i = 0; i < OPERANDS; i++)
        OG_TRY(fetch(call, p, i, &at[i], error));
    og__cursor c;
    og__seek(&p->outer, p->outer.rank, 0, &c);
    for (int64_t r = 0; r < p->runs; r++) {
        char *y = (char *)call->y[0].data + c.offset[2] * out;
        const og_cuda_operands operands = {.a = at[B] + c.offset[1] * in,
                                           .b = at[A] + c.offset[0] * in,
                                           .c = at[ADDEND] ? at[ADDEND] + c.offset[2] * out : y,
                                           .d = y,
                                           .bias = (void *)(uintptr_t)at[BIAS],
                                           .alpha = alpha,
                                           .beta = p->more >= 0 ? call->x[p->more].data : factor,
                                           .workspace = (char *)call->workspace + p->workspace_at,
                                           .workspace_bytes = p->product.workspace};
        OG_TRY(og__cuda_product_run(call->device, &p->product, &operands, error));
        og__next(&p->outer, p->outer.rank, &c);
    }
    return OG_OK;
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_PROGRAM | OG_KERNEL_INPLACE_PROGRAM)

const og_kernel og_kernels_cuda_products[] = {
    {"MatMul", "cuBLASLt", FLAGS, supports, prepare, run, release},
    {"ai.ongrad::WideMatMul", "cuBLASLt", FLAGS, supports, prepare, run, release},
    {NULL},
};
