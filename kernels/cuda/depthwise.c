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

enum { BLOCKS_A_PROCESSOR = 16, MOST_PARTS = 64, LEAST_ROWS = 256 };

typedef struct plan {
    og__conv conv;
    og__conv_op op;
    og_cuda_function *kernel, *join;
    int parts;
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
    char name[48];
    snprintf(name, sizeof name, "og_depthwise_%s%s",
             p->op == OG__CONV             ? ""
             : p->op == OG__CONV_GRAD_DATA ? "data_"
                                           : "weights_",
             dtype == OG_FLOAT     ? "float"
             : dtype == OG_FLOAT16 ? "half"
                                   : "bfloat");
    OG_TRY_CLEANUP(og__cuda_function(cuda, &og_cuda_image_depthwise, name, 0, &p->kernel, error));
    if (p->op == OG__CONV_GRAD_WEIGHTS) {
        int64_t rows = p->conv.n * og__product(p->conv.out, 0, OG__SPATIAL);
        p->parts = (int)og__max(1, og__min(MOST_PARTS, rows / LEAST_ROWS));
        call->workspace_bytes = (size_t)(p->parts * og__elements(t.w)) * sizeof(float);
        OG_TRY_CLEANUP(og__cuda_function(cuda, &og_cuda_image_depthwise, "og_depthwise_join", 0,
                                         &p->join, error));
    }
cleanup:
    if (status != OG_OK)
        og__free_state(call);
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
                             const og_depthwise_arguments *d, og_error *error)
{
    og_cuda_range sums = {call->workspace, call->workspace_bytes, true};
    const og_cuda_range ranges[] = {og__cuda_range(t->x, false), og__cuda_range(t->y, false), sums};
    int64_t taps = og__product(p->conv.kernel, 0, OG__SPATIAL),
            blocks = (p->conv.c + OG_DEPTHWISE_CHANNELS - 1) / OG_DEPTHWISE_CHANNELS;
    OG_TRY(og__cuda_launch(call, p->kernel, blocks * taps * p->parts, OG_DEPTHWISE_THREADS, 0, d,
                           sizeof *d, ranges, 3, error));
    sums.write = false;
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
    og_depthwise_arguments d = {
        .shape = {.n = c->n,
                  .c = c->c,
                  .channels_last = !og_tensor_is_dense(t.x) || !og_tensor_is_dense(t.y)},
        .x = t.x->data,
        .w = t.w->data,
        .y = t.y->data,
        .bias = t.bias ? t.bias->data : NULL,
        .sums = call->workspace,
        .parts = p->parts};
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
        return run_weights(call, p, &t, &d, error);
    og_cuda_range ranges[4] = {og__cuda_range(t.x, !forward), og__cuda_range(t.y, forward),
                               og__cuda_range(t.w, false)};
    if (t.bias)
        ranges[3] = og__cuda_range(t.bias, false);
    return og__cuda_launch(call, p->kernel, blocks_for(call, og__elements(forward ? t.y : t.x)),
                           OG_DEPTHWISE_THREADS, 0, &d, sizeof d, ranges, 3 + (t.bias != NULL),
                           error);
}

#define DEPTHWISE(op)                                                                         \
    {                                                                                         \
        op, "depthwise", OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST, supports, \
            prepare, run, og__free_state                                                      \
    }

const og_kernel og_kernels_cuda_depthwise[] = {
    DEPTHWISE("Conv"),
    DEPTHWISE("ai.ongrad::ConvGradData"),
    DEPTHWISE("ai.ongrad::ConvGradWeights"),
    DEPTHWISE("ai.ongrad::WideConvGradWeights"),
    {NULL},
};
