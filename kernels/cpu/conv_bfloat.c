/* The gradient of 1 × 1 convolutions' weights from bfloat16, where images lie channels-last: one
 * product over all pixels,
 *     dw = dyᵀ x        x: [pixels, c], dy: [pixels, m], dw: [m, c]
 * oneDNN takes that of few channels, and everything else. */
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/matmul_bfloat.h"

/* With fewer than these, of either image, oneDNN is the faster one. */
enum { FEWEST_CHANNELS = 32 };

static bool is_pointwise(const og__conv *c)
{
    bool pointwise = c->group == 1;
    for (int a = 0; a < OG__SPATIAL; a++)
        pointwise = pointwise && c->kernel[a] == 1 && c->strides[a] == 1 && c->begins[a] == 0 &&
                    c->ends[a] == 0;
    return pointwise;
}

static og__matmul product_of(const og__conv *c)
{
    return (og__matmul){.m = c->m,
                        .n = c->c,
                        .k = c->n * og__product(c->out, 0, OG__SPATIAL),
                        .a_row = 1,
                        .a_column = c->m,
                        .b_row = c->c,
                        .b_column = 1,
                        .c_row = c->c,
                        .batch = {.n = 3, .rank = 1, .dims = {1}}};
}

static bool supports(const og_call *call)
{
    og__conv c;
    if (!og__conv_of(call, OG__CONV_GRAD_WEIGHTS, &c) || call->x[0].type.dtype != OG_BFLOAT16 ||
        !is_pointwise(&c) || og__min(c.c, c.m) < FEWEST_CHANNELS)
        return false;
    og__matmul s = product_of(&c);
    return og_tensor_is_channels_last(&call->x[0]) && og_tensor_is_channels_last(&call->x[1]) &&
           og_tensor_is_dense(&call->y[0]) && og__bfloat_worth_it(&s);
}

static og_status prepare(og_call *call, og_error *error)
{
    og__bfloat_product *p = malloc(sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    og__conv c;
    og__conv_of(call, OG__CONV_GRAD_WEIGHTS, &c);
    og__matmul s = product_of(&c);
    call->workspace_bytes = og__bfloat_plan(p, &s, call->y[0].type.dtype, call);
    call->state = p;
    return OG_OK;
}

/* x, dy → dw */
static og_status run(const og_call *call, og_error *error)
{
    (void)error;
    og__bfloat_run(call->state, call, call->x[1].data, call->x[0].data, call->y[0].data,
                   call->workspace);
    return OG_OK;
}

#define FLAGS (OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST)

const og_kernel og_kernels_cpu_conv_bfloat[] = {
    {"ai.ongrad::ConvGradWeights", "bfloat16", FLAGS, supports, prepare, run, og__free_state},
    {"ai.ongrad::WideConvGradWeights", "bfloat16", FLAGS, supports, prepare, run, og__free_state},
    {NULL},
};
