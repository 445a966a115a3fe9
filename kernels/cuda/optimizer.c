/* AdamStep (optimizer.cu). The other optimizers are programs of the fuse pass. */
#include "kernels/cuda/optimizer.h"

#include <stdlib.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/internal.h"

extern const og_cuda_image og_cuda_image_optimizer;

enum { THREADS = 256, BLOCKS_A_PROCESSOR = 8, PIECE = 16, INPUTS = 9, OUTPUTS = 4 };

typedef struct functions {
    og_cuda_function *wide, *single;
} functions;

static bool supports(const og_call *call)
{
    og_dtype half = call->ny == OUTPUTS ? call->y[3].type.dtype : OG_FLOAT16;
    if (call->ny < OUTPUTS - 1 || (half != OG_FLOAT16 && half != OG_BFLOAT16))
        return false;
    for (int i = 0; i < INPUTS; i++)
        if (i != 4 && call->x[i].type.dtype != OG_FLOAT)
            return false;
    return true;
}

static og_status prepare(og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_status status = OG_OK;
    functions *f = calloc(1, sizeof *f);
    if (!f)
        return og_fail_memory(error, sizeof *f, "an optimizer's step");
    call->state = f;
    OG_TRY_CLEANUP(
        og__cuda_function(cuda, &og_cuda_image_optimizer, "og_adam_wide", 0, &f->wide, error));
    OG_TRY_CLEANUP(
        og__cuda_function(cuda, &og_cuda_image_optimizer, "og_adam_single", 0, &f->single, error));
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

/* w, g, m, v, finite, factor, decay, rate, root → w, m, v, and w in half precision */
static og_status run(const og_call *call, og_error *error)
{
    const functions *f = call->state;
    const og_node *node = call->node;
    const og_tensor *half = call->ny == OUTPUTS ? &call->y[3] : NULL;
    double beta1 = og_attr_float(node, "beta1", 0.9), beta2 = og_attr_float(node, "beta2", 0.999);
    const og_adam_arguments a = {.w = call->x[0].data,
                                 .g = call->x[1].data,
                                 .m = call->x[2].data,
                                 .v = call->x[3].data,
                                 .w1 = call->y[0].data,
                                 .m1 = call->y[1].data,
                                 .v1 = call->y[2].data,
                                 .half = half ? half->data : NULL,
                                 .bfloat = half && half->type.dtype == OG_BFLOAT16,
                                 .finite = call->x[4].data,
                                 .factor = call->x[5].data,
                                 .decay = call->x[6].data,
                                 .rate = call->x[7].data,
                                 .root = call->x[8].data,
                                 .n = og__elements(&call->x[0]),
                                 .beta1 = (float)beta1,
                                 .beta2 = (float)beta2,
                                 .rest1 = (float)(1 - beta1),
                                 .rest2 = (float)(1 - beta2),
                                 .epsilon = (float)og_attr_float(node, "epsilon", 1e-8),
                                 .l2 = (float)og_attr_float(node, "l2", 0)};
    og_cuda_range ranges[INPUTS + OUTPUTS];
    uintptr_t addresses = 0;
    for (int i = 0; i < INPUTS; i++) {
        ranges[i] = og__cuda_range(&call->x[i], false);
        addresses |= i < 4 ? (uintptr_t)call->x[i].data : 0;
    }
    for (int i = 0; i < call->ny; i++) {
        ranges[INPUTS + i] = og__cuda_range(&call->y[i], true);
        addresses |= i < 3 ? (uintptr_t)call->y[i].data : 2 * (uintptr_t)call->y[i].data;
    }
    bool wide = addresses % PIECE == 0 && a.n % (PIECE / (int64_t)sizeof(float)) == 0;
    int64_t items = wide ? a.n / 4 : a.n, blocks = (items + THREADS - 1) / THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    if (items == 0)
        return OG_OK;
    return og__cuda_launch(call, wide ? f->wide : f->single, og__min(blocks, most), THREADS, 0, &a,
                           sizeof a, ranges, INPUTS + call->ny, error);
}

const og_kernel og_kernels_cuda_optimizer[] = {
    {"ai.ongrad::AdamStep", "slab", OG_KERNEL_INPLACE, supports, prepare, run, og__free_state},
    {NULL},
};
