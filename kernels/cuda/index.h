/* Indices as kernels read them: counted from the end where negative; one that nothing has is said,
 * as no host sees it. */
#ifndef OG_KERNELS_CUDA_INDEX_H
#define OG_KERNELS_CUDA_INDEX_H

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/outside.h"

/* Index i as 0 … n - 1; -1: it is outside -n … n - 1. narrow: they are int32, not int64. */
OG_DEVICE int64_t og_index_of(const void *indices, int64_t i, int64_t n, int narrow)
{
    int64_t v = narrow ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
    v = v < 0 ? v + n : v;
    return v < 0 || v >= n ? -1 : v;
}

OG_DEVICE void og_say_outside(og_outside *outside, unsigned int call, const void *indices,
                              int64_t i, int narrow)
{
    const int64_t v = narrow ? ((const int32_t *)indices)[i] : ((const int64_t *)indices)[i];
    const int32_t value = v > 2147483647 ? 2147483647 : v < -2147483647 ? -2147483647 : (int32_t)v;
    const uint32_t position = i > 0xffffffff ? ~0u : (uint32_t)i;
    const unsigned int other = atomicCAS(&outside->call, 0u, call);
    if (other == 0 || other == call)
        atomicMax(&outside->first, (unsigned long long)~position << 32 | (uint32_t)value);
}

#endif
