/* Indices as kernels read them: counted from the end where negative; one that nothing has is said,
 * as no host sees it. */
#ifndef OG_KERNELS_CUDA_INDEX_H
#define OG_KERNELS_CUDA_INDEX_H

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/outside.h"
#include "kernels/cuda/place.h"

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

/* The indices' element i as og_index_of has it; one that is outside is said. */
OG_DEVICE int64_t og_place_index(const og_places *p, int64_t i, int64_t n, unsigned int call)
{
    const int64_t index = og_index_of(p->indices, i, n, p->narrow);
    if (index < 0 && p->outside)
        og_say_outside(p->outside, call, p->indices, i, p->narrow);
    return index;
}

/* The slice, or the element, that tuple, or index, i names; -1: an index is outside. */
OG_DEVICE int64_t og_place_of(const og_places *p, int64_t i)
{
    if (p->depth == 0) {
        int64_t at = 0, rest = i;
        for (int a = p->rank - 1; a >= 0; a--) {
            at += rest % p->dims[a] * p->strides[a];
            rest /= p->dims[a];
        }
        const int64_t index = og_place_index(p, i, p->n, p->call);
        return index < 0 ? -1 : at + index * p->step;
    }
    int64_t at = i / p->each * p->slices, slice = 0;
    for (int k = 0; k < p->depth; k++) {
        const int64_t index =
            og_place_index(p, i * p->depth + k, p->dims[k], p->call + (unsigned int)k);
        if (index < 0)
            return -1;
        slice = slice * p->dims[k] + index;
    }
    return at + slice;
}

#endif
