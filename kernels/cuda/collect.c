/* Results read later, gathered (collect.cu): what is small goes by one launch, the rest by copies.
 */
#include "kernels/cuda/collect.h"

#include "kernels/cuda/internal.h"

extern const og_cuda_image og_cuda_image_collect;

static og_status collect(og__cuda *cuda, const og_collect_arguments *a, og_error *error)
{
    og_cuda_function *function;
    og_cuda_range ranges[2 * OG_COLLECT_MOST];
    OG_TRY(og__cuda_function(cuda, &og_cuda_image_collect, "og_collect", 0, &function, error));
    for (int i = 0; i < a->n; i++) {
        ranges[2 * i] = (og_cuda_range){a->from[i], a->bytes[i], false};
        ranges[2 * i + 1] = (og_cuda_range){a->to[i], a->bytes[i], true};
    }
    const og_cuda_launch launch = {.function = function,
                                   .grid = {1, 1, 1},
                                   .block = {OG_COLLECT_MOST, 1, 1},
                                   .arguments = a,
                                   .arguments_bytes = sizeof *a,
                                   .ranges = ranges,
                                   .n_ranges = 2 * a->n};
    return cuda->driver->launch(cuda->card, OG_CUDA_COMPUTE, &launch, error);
}

og_status og__cuda_fetch(og_device *device, const og_copy *copies, int n, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    og_collect_arguments a = {.n = 0};
    for (int i = 0; i < n; i++) {
        if (copies[i].bytes > OG_COLLECT_BYTES || n == 1) {
            OG_TRY(cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, copies[i].to, copies[i].from,
                                      copies[i].bytes, error));
            continue;
        }
        a.from[a.n] = copies[i].from;
        a.to[a.n] = copies[i].to;
        a.bytes[a.n++] = (unsigned char)copies[i].bytes;
        if (a.n == OG_COLLECT_MOST) {
            OG_TRY(collect(cuda, &a, error));
            a.n = 0;
        }
    }
    return a.n ? collect(cuda, &a, error) : OG_OK;
}
