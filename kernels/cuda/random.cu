/* Random and KeepMask (ops/random.c): the numbers of runtime/base/random.h, which are a pure
 * function of position, node and index and so the processor's. A block of the generator makes two
 * words, for two neighbouring elements: a thread writes both. */
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/random.h"

#define OG_RANDOM_FUNCTION OG_DEVICE
#include "runtime/base/random.h"

OG_DEVICE void og_random_words(og_random_arguments p, int64_t pair, uint32_t words[2])
{
    uint32_t key[2];
    og_random_key(p.position[0], p.position[1], p.position[2], p.key, key);
    og_threefry(key, (uint32_t)pair, (uint32_t)((uint64_t)pair >> 32), words);
}

OG_KERNEL(og_random_uniform, og_random_arguments, p)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    float *y = (float *)p.y;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (p.n + 1) / 2; i += step) {
        uint32_t words[2];
        og_random_words(p, i, words);
        y[2 * i] = (float)(words[0] >> 8) * 0x1p-24f;
        if (2 * i + 1 < p.n)
            y[2 * i + 1] = (float)(words[1] >> 8) * 0x1p-24f;
    }
}

#define KEEP(name, type, load)                                                                 \
    OG_KERNEL(og_random_keep_##name, og_random_arguments, p)                                   \
    {                                                                                          \
        const int64_t step = (int64_t)gridDim.x * blockDim.x;                                  \
        uint8_t *y = (uint8_t *)p.y;                                                           \
        const double ratio = (double)load(*(const type *)p.ratio);                             \
        const double scaled = ceil(ratio * 0x1p24);                                            \
        const uint32_t least = (uint32_t)(scaled < 0 ? 0 : scaled > 0x1p24 ? 0x1p24 : scaled); \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (p.n + 1) / 2;    \
             i += step) {                                                                      \
            uint32_t words[2];                                                                 \
            og_random_words(p, i, words);                                                      \
            y[2 * i] = words[0] >> 8 >= least;                                                 \
            if (2 * i + 1 < p.n)                                                               \
                y[2 * i + 1] = words[1] >> 8 >= least;                                         \
        }                                                                                      \
    }
KEEP(float, float, )
KEEP(double, double, )
KEEP(half, uint16_t, og_half_to_float)
KEEP(bfloat, uint16_t, og_bfloat_to_float)
