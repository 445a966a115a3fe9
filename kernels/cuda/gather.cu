/* Gather, and ops that read slices or elements at places (place.h). */
#include "kernels/cuda/gather.h"
#include "kernels/cuda/index.h"

/* Of element `at` of the run that index i names; the first of them says it where there is none. */
OG_DEVICE int64_t og_gather_index(og_gather_arguments p, int64_t i, int64_t at)
{
    const int64_t index = og_index_of(p.indices, i, p.n, p.narrow);
    if (index < 0 && at == 0)
        og_say_outside(p.outside, p.call, p.indices, i, p.narrow);
    return index;
}

OG_DEVICE og_bits128 og_ones_128(void)
{
    og_bits128 v;
    v.x = v.y = v.z = v.w = ~0u;
    return v;
}

#define GATHER(bytes, type, ones)                                                                \
    OG_KERNEL(og_gather_##bytes, og_gather_arguments, p)                                         \
    {                                                                                            \
        const int64_t step = (int64_t)gridDim.x * blockDim.x, total = p.outer * p.count * p.run; \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) { \
            const int64_t at = i % p.run, row = i / p.run;                                       \
            const int64_t index = og_gather_index(p, row % p.count, at);                         \
            ((type *)p.y)[i] =                                                                   \
                index < 0 ? (type)ones                                                           \
                          : ((const type *)p.x)[(row / p.count * p.n + index) * p.run + at];     \
        }                                                                                        \
    }
GATHER(1, uint8_t, ~0u)
GATHER(2, uint16_t, ~0u)
GATHER(4, uint32_t, ~0u)
GATHER(8, uint64_t, ~(uint64_t)0)

OG_KERNEL(og_gather_16, og_gather_arguments, p)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x, total = p.outer * p.count * p.run;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) {
        const int64_t at = i % p.run, row = i / p.run;
        const int64_t index = og_gather_index(p, row % p.count, at);
        og_bits128 v = og_ones_128();
        if (index >= 0)
            v = ((const og_bits128 *)p.x)[(row / p.count * p.n + index) * p.run + at];
        ((og_bits128 *)p.y)[i] = v;
    }
}

/* ---- at places */

#define TAKE(bytes, type, ones)                                                                  \
    OG_KERNEL(og_take_##bytes, og_take_arguments, p)                                             \
    {                                                                                            \
        const int64_t step = (int64_t)gridDim.x * blockDim.x, total = p.count * p.run;           \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) { \
            const int64_t place = og_place_of(&p.places, i / p.run);                             \
            type v = ones;                                                                       \
            if (place >= 0)                                                                      \
                v = ((const type *)p.x)[place * p.run + i % p.run];                              \
            ((type *)p.y)[i] = v;                                                                \
        }                                                                                        \
    }
TAKE(1, uint8_t, (uint8_t)~0u)
TAKE(2, uint16_t, (uint16_t)~0u)
TAKE(4, uint32_t, ~0u)
TAKE(8, uint64_t, ~(uint64_t)0)
TAKE(16, og_bits128, og_ones_128())
