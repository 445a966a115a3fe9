/* The gradient of depthwise convolutions' weights, float or from bfloat16, where images lie
 * channels-last. Tasks are some images of a strip of channels, the same for any number of threads;
 * their sums are added in order. */
#include <stdlib.h>

#include "kernels/cpu/conv_depthwise.h"

enum { PARTS = 8 }; /* of the images, at most */

typedef struct plan {
    og__conv conv;
    int64_t taps, parts, strips;
    bool halves;
} plan;

static bool supports(const og_call *call)
{
    og__conv c;
    og_dtype dtype = call->nx == 2 ? call->x[0].type.dtype : OG_UNDEFINED;
    return (dtype == OG_FLOAT || dtype == OG_BFLOAT16) && call->y[0].type.dtype == OG_FLOAT &&
           og__conv_of(call, OG__CONV_GRAD_WEIGHTS, &c) && c.group > 1 && c.group == c.c &&
           c.group == c.m && og_tensor_is_channels_last(&call->x[0]) &&
           og_tensor_is_channels_last(&call->x[1]) && og_tensor_is_dense(&call->y[0]);
}

static og_status prepare(og_call *call, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    og__conv_of(call, OG__CONV_GRAD_WEIGHTS, &p->conv);
    p->taps = og__product(p->conv.kernel, 0, OG__SPATIAL);
    p->parts = og__max(1, og__min(PARTS, p->conv.n));
    p->strips = (p->conv.c + OG__DEPTHWISE_STRIP - 1) / OG__DEPTHWISE_STRIP;
    p->halves = call->x[0].type.dtype == OG_BFLOAT16;
    call->workspace_bytes = (size_t)(p->parts * p->taps * p->conv.c) * sizeof(float);
    call->state = p;
    return OG_OK;
}

/* x: [n, in …, c], dy: [n, out …, c] → dw: [c, taps] */
static og_status run(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    const og__conv *c = &p->conv;
    float *sums = call->workspace, *dw = call->y[0].data;
    int64_t tasks = p->parts * p->strips;
#pragma omp parallel for num_threads(og__threads(call, og__elements(&call->x[1]))) schedule(static)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t part = t / p->strips, channel = t % p->strips * OG__DEPTHWISE_STRIP;
        OG__PICK(og__depthwise_weights)
        (c, call->x[0].data, call->x[1].data, p->halves, c->n * part / p->parts,
         c->n * (part + 1) / p->parts, channel, og__min(OG__DEPTHWISE_STRIP, c->c - channel),
         sums + part * p->taps * c->c);
    }
    for (int64_t j = 0; j < c->c; j++)
        for (int64_t q = 0; q < p->taps; q++) {
            float sum = 0;
            for (int64_t part = 0; part < p->parts; part++)
                sum += sums[(part * p->taps + q) * c->c + j];
            dw[j * p->taps + q] = sum;
        }
    return OG_OK;
}

#define FLAGS (OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST)

const og_kernel og_kernels_cpu_conv_depthwise[] = {
    {"ai.ongrad::ConvGradWeights", "depthwise", FLAGS, supports, prepare, run, og__free_state},
    {"ai.ongrad::WideConvGradWeights", "depthwise", FLAGS, supports, prepare, run, og__free_state},
    {NULL},
};
