/* Conv, ConvGradData and ConvGradWeights where every channel has a kernel of its own
 * (depthwise.cu). */
#include "kernels/cuda/depthwise.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cuda/internal.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_depthwise;

enum { BLOCKS_A_PROCESSOR = 16, MOST_PARTS = 64, PIECE = 16, LEAST_ROWS = 256 };

typedef struct plan {
    og__conv conv;
    og__conv_op op;
    og_cuda_function *single, *wide, *join; /* wide NULL: channels are not pieces of 16 bytes */
    int parts, vec;
    og__cuda_copier *turn; /* w to [taps, channels], for images that lie channels-last */
    og__place turned;
} plan;

static bool supports(const og_call *call)
{
    og__conv c;
    og__conv_op op = og__conv_op_of(call);
    if (!og__conv_of(call, op, &c) || c.group != c.c || c.m != c.c || c.c == 1)
        return false;
    og__conv_tensors t = og__conv_tensors_of(call, op);
    if (!og__cuda_rows_take(t.x->type.dtype) ||
        (op == OG__CONV_GRAD_WEIGHTS && t.w->type.dtype != OG_FLOAT))
        return false;
    for (int a = 0; a < OG__SPATIAL; a++)
        if (c.in[a] > INT_MAX / 4 || c.out[a] * c.strides[a] > INT_MAX / 4 ||
            c.kernel[a] * c.dilations[a] + c.begins[a] > INT_MAX / 4)
            return false;
    int64_t taps = og__product(c.kernel, 0, OG__SPATIAL);
    return og__elements(t.x) > 0 && og__elements(t.y) > 0 && og__elements(t.y) / c.n < INT_MAX &&
           (c.c / OG_DEPTHWISE_CHANNELS + 1) * taps * MOST_PARTS < INT_MAX;
}

static bool channels_last(const og__conv_tensors *t)
{
    return !og_tensor_is_dense(t->x) || !og_tensor_is_dense(t->y);
}

static int64_t taps_of(const plan *p)
{
    return og__product(p->conv.kernel, 0, OG__SPATIAL);
}

/* w as the matrix that turning makes dense. */
static og_tensor turning(const plan *p, const og_tensor *w)
{
    og_type type = og_type_make(w->type.dtype, 2, (int64_t[]){taps_of(p), p->conv.c});
    og_tensor t = og_tensor_dense(&type, w->data);
    t.strides[0] = 1;
    t.strides[1] = taps_of(p);
    return t;
}

static void release(og_call *call)
{
    plan *p = call->state;
    if (p)
        og__cuda_copier_free(p->turn);
    og__free_state(call);
}

static og_status find(const og_call *call, const plan *p, og_dtype dtype, int vec,
                      og_cuda_function **function, og_error *error)
{
    char name[48];
    snprintf(name, sizeof name, "og_depthwise_%s%s_%d",
             p->op == OG__CONV             ? ""
             : p->op == OG__CONV_GRAD_DATA ? "data_"
                                           : "weights_",
             og__cuda_element_name(dtype), vec);
    return og__cuda_function(og__cuda_of(call->device), &og_cuda_image_depthwise, name, 0, function,
                             error);
}

static og_status prepare(og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_status status = OG_OK;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a depthwise convolution");
    call->state = p;
    p->op = og__conv_op_of(call);
    og__conv_of(call, p->op, &p->conv);
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    og_dtype dtype = t.x->type.dtype;
    p->vec = PIECE / (int)og__size(dtype);
    OG_TRY_CLEANUP(find(call, p, dtype, 1, &p->single, error));
    if (channels_last(&t) && p->conv.c % p->vec == 0)
        OG_TRY_CLEANUP(find(call, p, dtype, p->vec, &p->wide, error));
    if (channels_last(&t) && p->op != OG__CONV_GRAD_WEIGHTS) {
        const og_tensor from = turning(p, t.w);
        OG_TRY_CLEANUP(og__cuda_copier_new(call, &from, &p->turn, error));
        p->turned = og__cuda_book(call, (size_t)og__elements(&from) * og__size(from.type.dtype));
    }
    if (p->op == OG__CONV_GRAD_WEIGHTS) {
        int64_t rows = p->conv.n * og__product(p->conv.out, 0, OG__SPATIAL);
        p->parts = (int)og__max(1, og__min(MOST_PARTS, rows / LEAST_ROWS));
        call->workspace_bytes = (size_t)(p->parts * og__elements(t.w)) * sizeof(float);
        OG_TRY_CLEANUP(og__cuda_function(cuda, &og_cuda_image_depthwise, "og_depthwise_join", 0,
                                         &p->join, error));
    }
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

static int64_t blocks_for(const og_call *call, int64_t items)
{
    int64_t all = (items + OG_DEPTHWISE_THREADS - 1) / OG_DEPTHWISE_THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    return og__min(all, most);
}

static og_status run_weights(const og_call *call, const plan *p, const og__conv_tensors *t,
                             og_cuda_function *kernel, og_depthwise_arguments *d, og_error *error)
{
    og_cuda_range sums = {call->workspace, call->workspace_bytes, true};
    const og_cuda_range ranges[] = {og__cuda_range(t->x, false), og__cuda_range(t->y, false), sums};
    d->lanes = 1;
    while (d->lanes < d->shape.c && d->lanes < OG_DEPTHWISE_CHANNELS)
        d->lanes *= 2;
    int64_t blocks = (d->shape.c + d->lanes - 1) / d->lanes;
    OG_TRY(og__cuda_launch(call, kernel, blocks * taps_of(p) * p->parts, OG_DEPTHWISE_THREADS, 0, d,
                           sizeof *d, ranges, 3, error));
    sums.write = false;
    d->shape.c = p->conv.c;
    const og_cuda_range joined[] = {sums, og__cuda_range(t->w, true)};
    return og__cuda_launch(call, p->join, blocks_for(call, og__elements(t->w)),
                           OG_DEPTHWISE_THREADS, 0, d, sizeof *d, joined, 2, error);
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__conv *c = &p->conv;
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    bool forward = p->op == OG__CONV;
    uintptr_t addresses = (uintptr_t)t.x->data | (uintptr_t)t.y->data;
    if (t.bias)
        addresses |= (uintptr_t)t.bias->data;
    bool wide = p->wide && addresses % PIECE == 0;
    og_depthwise_arguments d = {
        .shape = {.n = c->n, .c = wide ? c->c / p->vec : c->c, .channels_last = channels_last(&t)},
        .x = t.x->data,
        .w = t.w->data,
        .y = t.y->data,
        .bias = t.bias ? t.bias->data : NULL,
        .sums = call->workspace,
        .parts = p->parts,
        .w_channel = p->turn ? 1 : taps_of(p),
        .w_tap = p->turn ? (wide ? c->c / p->vec : c->c) : 1};
    for (int a = 0; a < OG__SPATIAL; a++) {
        d.shape.in[a] = (int)c->in[a];
        d.shape.out[a] = (int)c->out[a];
        d.shape.kernel[a] = (int)c->kernel[a];
        d.shape.step[a] = (int)c->strides[a];
        d.shape.dilation[a] = (int)c->dilations[a];
        d.shape.begin[a] = (int)c->begins[a];
        d.shape.end[a] = (int)c->ends[a];
    }
    if (p->op == OG__CONV_GRAD_WEIGHTS)
        return run_weights(call, p, &t, wide ? p->wide : p->single, &d, error);
    og_cuda_range ranges[4] = {og__cuda_range(t.x, !forward), og__cuda_range(t.y, forward),
                               og__cuda_range(t.w, false)};
    if (t.bias)
        ranges[3] = og__cuda_range(t.bias, false);
    if (p->turn) {
        const og_tensor from = turning(p, t.w);
        d.w = og__cuda_at(call, p->turned);
        OG_TRY(og__cuda_copier_run(call, p->turn, &from, d.w, error));
        ranges[2] = (og_cuda_range){d.w, p->turned.bytes, false};
    }
    int64_t pieces = og__elements(forward ? t.y : t.x) / (wide ? p->vec : 1);
    return og__cuda_launch(call, wide ? p->wide : p->single, blocks_for(call, pieces),
                           OG_DEPTHWISE_THREADS, 0, &d, sizeof d, ranges, 3 + (t.bias != NULL),
                           error);
}

#define DEPTHWISE(op)                                                                         \
    {                                                                                         \
        op, "depthwise", OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST, supports, \
            prepare, run, release                                                             \
    }

const og_kernel og_kernels_cuda_depthwise[] = {
    DEPTHWISE("Conv"),
    DEPTHWISE("ai.ongrad::ConvGradData"),
    DEPTHWISE("ai.ongrad::ConvGradWeights"),
    DEPTHWISE("ai.ongrad::WideConvGradWeights"),
    {NULL},
};
