/* Products of kernels, in both alignments. */
#include "kernels/cuda/product_plan.h"

#include "kernels/cpu/internal.h"

enum { VECTOR = 16 }; /* what wide accesses need of addresses; no product asks for more */

og_cuda_product og__cuda_product_of(const og_device *device, og_dtype in, og_dtype out)
{
    bool half = in == OG_FLOAT16 || in == OG_BFLOAT16;
    bool hopper = og__cuda_of(device)->properties.sm >= 90;
    return (og_cuda_product){.batch = 1,
                             .a = in,
                             .b = in,
                             .c = out,
                             .d = out,
                             .bias = out,
                             .arithmetic = half                         ? OG_CUDA_HALF
                                           : in == OG_DOUBLE            ? OG_CUDA_DOUBLE
                                           : device->options.allow_tf32 ? OG_CUDA_TF32
                                                                        : OG_CUDA_FLOAT,
                             .deterministic = device->options.deterministic,
                             .workspace_limit = (size_t)(hopper ? 32 : 4) << 20};
}

og_status og__cuda_product_new(const og_device *device, const og_cuda_product *shape,
                               og__cuda_product *product, og_error *error)
{
    const og__cuda *cuda = og__cuda_of(device);
    size_t aligned, any;
    og_status status = OG_OK;
    *product = (og__cuda_product){.shape = *shape};
    og_cuda_product *s = &product->shape;
    s->alignment = VECTOR;
    OG_TRY_CLEANUP(cuda->driver->product_plan(cuda->card, s, &product->aligned, &aligned, error));
    s->alignment = og__size(s->a) < og__size(s->d) ? og__size(s->a) : og__size(s->d);
    OG_TRY_CLEANUP(cuda->driver->product_plan(cuda->card, s, &product->any, &any, error));
    product->workspace = aligned > any ? aligned : any;
cleanup:
    if (status != OG_OK)
        og__cuda_product_free(device, product);
    return status;
}

og_status og__cuda_product_run(const og_device *device, const og__cuda_product *product,
                               const og_cuda_operands *operands, og_error *error)
{
    const og__cuda *cuda = og__cuda_of(device);
    uintptr_t all = (uintptr_t)operands->a | (uintptr_t)operands->b | (uintptr_t)operands->c |
                    (uintptr_t)operands->d;
    return cuda->driver->product_run(
        cuda->card, all % VECTOR == 0 ? product->aligned : product->any, operands, error);
}

void og__cuda_product_free(const og_device *device, og__cuda_product *product)
{
    const og__cuda *cuda = og__cuda_of(device);
    cuda->driver->product_free(cuda->card, product->aligned);
    cuda->driver->product_free(cuda->card, product->any);
    *product = (og__cuda_product){0};
}
