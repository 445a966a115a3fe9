/* Fusions (driver.h) for kernels: their descriptions put together, and their plans, each made once
 * for a device. */
#ifndef OG_KERNELS_CUDA_FUSION_H
#define OG_KERNELS_CUDA_FUSION_H

#include "kernels/cuda/internal.h"

/* Images and matrices of these are what fusions compute with, in float32. */
static inline bool og__fusion_computes(og_dtype dtype)
{
    return dtype == OG_FLOAT || og_dtype_is_half(dtype);
}

/* ---- a description */

/* An empty one, with the device's options; dtype: of the operands of products. */
void og__fusion_begin(og_cuda_fusion *f, const og_call *call, og_dtype dtype);
/* A tensor's number: in memory, virtual, and a constant of `rank` axes. strides NULL: dense. */
int og__fusion_memory(og_cuda_fusion *f, og_dtype dtype, int rank, const int64_t *dims,
                      const int64_t *strides);
int og__fusion_virtual(og_cuda_fusion *f, og_dtype dtype, int rank, const int64_t *dims,
                       const int64_t *strides);
int og__fusion_constant(og_cuda_fusion *f, int rank, float value);
/* An image [n, c, dims …] in memory or virtual, channels-last. */
int og__fusion_image(og_cuda_fusion *f, og_dtype dtype, og_cuda_place place, int64_t n, int64_t c,
                     int spatial, const int64_t *dims);
/* An operation, whose operands are to be set. */
og_cuda_operation *og__fusion_add(og_cuda_fusion *f, og_cuda_operation_kind kind);
/* y = mode(x, b, t); b and t 0 where the mode has none. */
void og__fusion_pointwise(og_cuda_fusion *f, og_cuda_mode mode, int x, int b, int t, int y);

/* ---- its plan */

typedef struct og__fusion {
    struct og__fusion *next;
    og_cuda_fusion description;
    og_cuda_fused *plan; /* NULL: there is none */
    size_t workspace;    /* bytes that a run needs, 256-byte aligned */
    char *why;           /* there is none; malloc'd */
} og__fusion;

/* The plan of a description, made when it is first asked for and kept as long as the device; NULL
 * where the library has none, or is not there. */
const og__fusion *og__fusion_find(const og_call *call, const og_cuda_fusion *f);
/* For a kernel's `prepare`: the plan of a description that its `supports` found, and its workspace,
 * booked. */
og_status og__fusion_prepare(og_call *call, const og_cuda_fusion *f, const og__fusion **fusion,
                             og__place *scratch, og_error *error);
/* Queue it. memory: an address for each tensor; those that have none are not looked at. */
og_status og__fusion_run(const og_call *call, const og__fusion *fusion, void *const *memory,
                         void *workspace, size_t workspace_bytes, og_error *error);
void og__fusions_free(og__cuda *cuda);

#endif
