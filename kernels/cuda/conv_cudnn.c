/* Conv and its gradients as cuDNN's fusions, for images that lie channels-last:
 *
 *     y = x ∗ w + bias       dx of dy and w       dw of x and dy, summed in float32
 *
 * cuDNN wants weights as [m, kernel …, c / group]: where that differs from how they lie they go
 * through the workspace. It has no engine that makes a float32 gradient of weights from 16-bit
 * operands, but for one that is followed by a pointwise operation: a product with 1. What cuDNN
 * refuses is left to conv.c; depthwise convolutions are depthwise.c's. */
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cuda/fusion.h"

enum { VECTOR = 16, AXES = OG__SPATIAL + 2 };

typedef struct description {
    og__conv conv;
    og__conv_op op;
    og__conv_tensors tensors;
    int first; /* of the three spatial axes, the first that cuDNN sees: at least two */
    og_cuda_fusion fusion;
    int x, w, y, bias; /* tensors of the fusion */
} description;

typedef struct plan {
    og__conv_op op;
    const og__fusion *fusion;
    int x, w, y, bias;
    og__cuda_copier *copier; /* of weights, or of their gradient */
    og_tensor ordered;       /* the gradient as cuDNN wrote it, seen in the order of dw */
    og__place weights, scratch;
} plan;

/* ---- description */

/* [outer, inner, spatial …] with `inner` innermost. */
static int add_tensor(description *d, og_dtype dtype, int64_t outer, int64_t inner,
                      const int64_t *spatial, og_cuda_place place)
{
    return og__fusion_image(&d->fusion, dtype, place, outer, inner, OG__SPATIAL - d->first,
                            spatial + d->first);
}

static void describe(const og_call *call, description *d)
{
    static const og_cuda_operation_kind kinds[] = {OG_CUDA_CONV, OG_CUDA_CONV_GRAD_DATA,
                                                   OG_CUDA_CONV_GRAD_WEIGHTS};
    static const int64_t ones[OG__SPATIAL] = {1, 1, 1};
    const og__conv *c = &d->conv;
    og_dtype in = call->x[0].type.dtype, out = call->y[0].type.dtype;
    const og__conv_tensors *t = &d->tensors;
    int rank = AXES - d->first;
    og__fusion_begin(&d->fusion, call, in);
    d->x = add_tensor(d, t->x->type.dtype, c->n, c->c, c->in, OG_CUDA_MEMORY);
    d->w = add_tensor(d, t->w->type.dtype, c->m, c->c / c->group, c->kernel, OG_CUDA_MEMORY);
    d->y = add_tensor(d, t->y->type.dtype, c->n, c->m, c->out, OG_CUDA_MEMORY);
    d->bias = t->bias ? add_tensor(d, in, 1, c->m, ones, OG_CUDA_MEMORY) : 0;
    int result = d->op == OG__CONV ? d->y : d->op == OG__CONV_GRAD_DATA ? d->x : d->w;
    bool widens = in != out; /* a gradient of weights */
    int wrote = d->bias ? add_tensor(d, OG_FLOAT, c->n, c->m, c->out, OG_CUDA_VIRTUAL)
                : widens
                    ? add_tensor(d, OG_FLOAT, c->m, c->c / c->group, c->kernel, OG_CUDA_VIRTUAL)
                    : result;
    og_cuda_operation *o = og__fusion_add(&d->fusion, kinds[d->op]);
    o->in[0] = d->op == OG__CONV_GRAD_DATA ? d->y : d->x;
    o->in[1] = d->op == OG__CONV_GRAD_WEIGHTS ? d->y : d->w;
    o->out[0] = wrote;
    for (int a = d->first; a < OG__SPATIAL; a++) {
        o->begins[a - d->first] = c->begins[a];
        o->ends[a - d->first] = c->ends[a];
        o->steps[a - d->first] = c->strides[a];
        o->dilations[a - d->first] = c->dilations[a];
    }
    if (d->bias)
        og__fusion_pointwise(&d->fusion, OG_CUDA_ADD, wrote, d->bias, 0, result);
    if (widens)
        og__fusion_pointwise(&d->fusion, OG_CUDA_MUL, wrote,
                             og__fusion_constant(&d->fusion, rank, 1), 0, result);
}

static bool begin(const og_call *call, description *d)
{
    const og__conv *c = &d->conv;
    d->op = og__conv_op_of(call);
    if (d->op == OG__CONV_TRANSPOSE || !og__conv_of(call, d->op, &d->conv) ||
        (c->group == c->c && c->m == c->c && c->c > 1))
        return false;
    d->tensors = og__conv_tensors_of(call, d->op);
    d->first = c->spatial == OG__SPATIAL ? 0 : 1;
    return true;
}

static bool supports(const og_call *call)
{
    description d;
    if (!begin(call, &d) || !og__fusion_computes(call->x[0].type.dtype) ||
        (d.op != OG__CONV_GRAD_WEIGHTS && call->x[0].type.dtype != call->y[0].type.dtype))
        return false;
    const og__conv_tensors *t = &d.tensors;
    if (!og_tensor_is_channels_last(t->x) || !og_tensor_is_channels_last(t->y) ||
        og__elements(t->x) == 0 || og__elements(t->w) == 0 || og__elements(t->y) == 0)
        return false;
    for (int i = 0; i < call->nx; i++)
        if (call->x[i].offset % VECTOR != 0)
            return false;
    describe(call, &d);
    return og__fusion_find(call, &d.fusion) != NULL;
}

/* ---- prepare */

static void release(og_call *call)
{
    plan *p = call->state;
    if (p)
        og__cuda_copier_free(p->copier);
    free(p);
    call->state = NULL;
}

/* Weights [m, c, taps] seen as [m, taps, c], or their gradient the other way round. */
static og_tensor reordered(og_dtype dtype, int64_t m, int64_t a, int64_t b)
{
    og_type type = og_type_make(dtype, 3, (int64_t[]){m, b, a});
    og_tensor t = og_tensor_dense(&type, NULL);
    t.strides[1] = 1;
    t.strides[2] = b;
    return t;
}

static og_status prepare(og_call *call, og_error *error)
{
    description d;
    og_status status = OG_OK;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    call->state = p;
    call->workspace_bytes = 0;
    if (!begin(call, &d)) {
        status = og_fail(error, OG_INTERNAL, "cuDNN was not asked for this convolution");
        goto cleanup;
    }
    describe(call, &d);
    OG_TRY_CLEANUP(og__fusion_prepare(call, &d.fusion, &p->fusion, &p->scratch, error));
    p->op = d.op;
    p->x = d.x, p->w = d.w, p->y = d.y, p->bias = d.bias;
    const og_tensor *w = d.tensors.w;
    int64_t taps = og__product(d.conv.kernel, 0, OG__SPATIAL), c = d.conv.c / d.conv.group;
    if (taps > 1 && c > 1) {
        bool gradient = d.op == OG__CONV_GRAD_WEIGHTS;
        p->ordered = reordered(w->type.dtype, d.conv.m, gradient ? taps : c, gradient ? c : taps);
        p->weights = og__cuda_book(call, (size_t)og__elements(w) * og__size(w->type.dtype));
        OG_TRY_CLEANUP(og__cuda_copier_new(call, &p->ordered, &p->copier, error));
    }
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    void *memory[OG_CUDA_TENSORS] = {NULL};
    og_tensor ordered = p->ordered;
    bool gradient = p->op == OG__CONV_GRAD_WEIGHTS;
    memory[p->x] = t.x->data;
    memory[p->w] = p->copier ? og__cuda_at(call, p->weights) : t.w->data;
    memory[p->y] = t.y->data;
    if (p->bias)
        memory[p->bias] = t.bias->data;
    if (p->copier && !gradient) {
        ordered.data = t.w->data;
        OG_TRY(
            og__cuda_copier_run(call, p->copier, &ordered, og__cuda_at(call, p->weights), error));
    }
    OG_TRY(og__fusion_run(call, p->fusion, memory, og__cuda_at(call, p->scratch), p->scratch.bytes,
                          error));
    if (p->copier && gradient) {
        ordered.data = og__cuda_at(call, p->weights);
        OG_TRY(og__cuda_copier_run(call, p->copier, &ordered, t.w->data, error));
    }
    return OG_OK;
}

#define ROW(op)                                                                                    \
    {                                                                                              \
        op, "cuDNN", OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST, supports, prepare, \
            run, release                                                                           \
    }

const og_kernel og_kernels_cuda_conv_cudnn[] = {
    ROW("Conv"),
    ROW("ai.ongrad::ConvGradData"),
    ROW("ai.ongrad::ConvGradWeights"),
    ROW("ai.ongrad::WideConvGradWeights"),
    {NULL},
};
