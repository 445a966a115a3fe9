/* Random and KeepMask (random.cu). */
#include "kernels/cuda/random.h"

#include <string.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/internal.h"

extern const og_cuda_image og_cuda_image_random;

enum { THREADS = 256, BLOCKS_A_PROCESSOR = 16, PIECE = 16 };

static const char *kernel_of(const og_call *call)
{
    if (strcmp(call->node->op->name, "Random") == 0)
        return "og_random_uniform";
    switch (call->x[1].type.dtype) {
    case OG_FLOAT:
        return "og_random_keep_float";
    case OG_DOUBLE:
        return "og_random_keep_double";
    case OG_FLOAT16:
        return "og_random_keep_half";
    case OG_BFLOAT16:
        return "og_random_keep_bfloat";
    default:
        return NULL;
    }
}

static bool supports(const og_call *call)
{
    return kernel_of(call) != NULL;
}

static og_status prepare(og_call *call, og_error *error)
{
    og_cuda_function *function;
    OG_TRY(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_random, kernel_of(call), 0,
                             &function, error));
    call->state = function;
    return OG_OK;
}

/* Random: position → y float; KeepMask: position, ratio → y bool */
static og_status run(const og_call *call, og_error *error)
{
    const og_tensor *y = &call->y[0];
    const og_random_arguments arguments = {.position = call->x[0].data,
                                           .ratio = call->nx > 1 ? call->x[1].data : NULL,
                                           .y = y->data,
                                           .n = og__elements(y),
                                           .key = og_attr_int(call->node, "key", 0),
                                           .aligned = (uintptr_t)y->data % PIECE == 0};
    og_cuda_range ranges[3] = {og__cuda_range(y, true)};
    for (int i = 0; i < call->nx; i++)
        ranges[i + 1] = og__cuda_range(&call->x[i], false);
    int64_t vec = PIECE / (int64_t)og__size(y->type.dtype),
            blocks = ((arguments.n + vec - 1) / vec + THREADS - 1) / THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    if (blocks == 0)
        return OG_OK;
    return og__cuda_launch(call, call->state, og__min(blocks, most), THREADS, 0, &arguments,
                           sizeof arguments, ranges, call->nx + 1, error);
}

const og_kernel og_kernels_cuda_random[] = {
    {"ai.ongrad::Random", "counters", 0, supports, prepare, run, NULL},
    {"ai.ongrad::KeepMask", "counters", 0, supports, prepare, run, NULL},
    {NULL},
};
