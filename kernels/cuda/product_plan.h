/* A matrix product of a kernel of this folder: planned for addresses that are multiples of 16, and
 * for any, of which a run takes what fits its operands. */
#ifndef OG_KERNELS_CUDA_PRODUCT_PLAN_H
#define OG_KERNELS_CUDA_PRODUCT_PLAN_H

#include "kernels/cuda/internal.h"

typedef struct og__cuda_product {
    og_cuda_product shape;
    og_cuda_plan *aligned, *any;
    size_t workspace; /* bytes of each run */
} og__cuda_product;

/* One product (batch 1) of operands of `in` whose sums are written as `out`, by the device's
 * options; m, n, k, leading dimensions and what else is wanted are the caller's to fill in. */
og_cuda_product og__cuda_product_of(const og_device *device, og_dtype in, og_dtype out);
/* Plans `shape`; on failure the product is as freed. */
og_status og__cuda_product_new(const og_device *device, const og_cuda_product *shape,
                               og__cuda_product *product, og_error *error);
og_status og__cuda_product_run(const og_device *device, const og__cuda_product *product,
                               const og_cuda_operands *operands, og_error *error);
/* NULLs are nothing to free; the product is all zeros afterwards. */
void og__cuda_product_free(const og_device *device, og__cuda_product *product);

#endif
