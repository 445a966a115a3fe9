/* Random and KeepMask (ops/random.c): the numbers of runtime/base/random.h, which are a pure
 * function of position, node and index and so the processor's. A block of the generator makes two
 * words, for two neighbouring elements: a thread makes as many as fill 16 bytes. */
#include "kernels/cuda/random.h"
#include "kernels/cuda/row.h"

#define OG_RANDOM_FUNCTION OG_DEVICE
#include "runtime/base/random.h"

OG_DEVICE void og_random_words(og_random_arguments p, int64_t pair, uint32_t words[2])
{
    uint32_t key[2];
    og_random_key(p.position[0], p.position[1], p.position[2], p.key, key);
    og_threefry(key, (uint32_t)pair, (uint32_t)((uint64_t)pair >> 32), words);
}

OG_PIECE(og_byte_16, uint8_t, og_bits128, 16)

/* Element `e` of piece i is `of` a word, `vec` of them to a piece. */
#define EACH_PIECE(piece, type, vec, of)                                                      \
    const int64_t step = (int64_t)gridDim.x * blockDim.x, pieces = (p.n + vec - 1) / vec;     \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < pieces; i += step) { \
        piece v;                                                                              \
        OG_UNROLL                                                                             \
        for (int e = 0; e < vec; e += 2) {                                                    \
            uint32_t words[2];                                                                \
            og_random_words(p, (i * vec + e) / 2, words);                                     \
            v.e[e] = of(words[0] >> 8);                                                       \
            v.e[e + 1] = of(words[1] >> 8);                                                   \
        }                                                                                     \
        if (p.aligned && (i + 1) * vec <= p.n) {                                              \
            OG_STORE_PIECE(v, p.y, i);                                                        \
        } else {                                                                              \
            OG_UNROLL                                                                         \
            for (int e = 0; e < vec; e++)                                                     \
                if (i * vec + e < p.n)                                                        \
                    ((type *)p.y)[i * vec + e] = v.e[e];                                      \
        }                                                                                     \
    }

#define UNIFORM(word) ((float)(word)*0x1p-24f)
OG_KERNEL(og_random_uniform, og_random_arguments, p){EACH_PIECE(og_float_4, float, 4, UNIFORM)}

#define KEPT(word) ((word) >= least)
#define KEEP(name, type, load)                                                                 \
    OG_KERNEL(og_random_keep_##name, og_random_arguments, p)                                   \
    {                                                                                          \
        const double ratio = (double)load(*(const type *)p.ratio);                             \
        const double scaled = ceil(ratio * 0x1p24);                                            \
        const uint32_t least = (uint32_t)(scaled < 0 ? 0 : scaled > 0x1p24 ? 0x1p24 : scaled); \
        EACH_PIECE(og_byte_16, uint8_t, 16, KEPT)                                              \
    }
KEEP(float, float, ) KEEP(double, double, ) KEEP(half, uint16_t, og_half_to_float)
    KEEP(bfloat, uint16_t, og_bfloat_to_float)
