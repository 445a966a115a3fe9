/* Which elements of a Relu's result are above zero, in a bit each, as products read them whose
 * results go through the Relu's gradient. A thread makes a byte, of eight neighbours. */
#include "kernels/cuda/matmul_epilogue.h"
#include "kernels/cuda/row.h"

#define RELU_BITS(suffix, type, piece, vec, load, store)                                     \
    OG_KERNEL(og_relu_bits_##suffix, og_relu_bits_arguments, p)                              \
    {                                                                                        \
        const int64_t step = (int64_t)gridDim.x * blockDim.x, bytes = (p.n + 7) / 8;         \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.rows * bytes; \
             i += step) {                                                                    \
            const int64_t row = i / bytes, byte = i % bytes;                                 \
            const type *x = (const type *)p.x + row * p.n + 8 * byte;                        \
            const int64_t left = p.n - 8 * byte;                                             \
            uint32_t bits = 0;                                                               \
            OG_UNROLL                                                                        \
            for (int e = 0; e < 8; e += vec) {                                               \
                piece v;                                                                     \
                if (e >= left)                                                               \
                    break;                                                                   \
                OG_LOAD_PIECE(v, x, e / vec);                                                \
                OG_UNROLL                                                                    \
                for (int k = 0; k < vec; k++)                                                \
                    bits |= (uint32_t)(load(v.e[k]) > 0) << (e + k);                         \
            }                                                                                \
            ((uint8_t *)p.bits)[row * p.stride + byte] = (uint8_t)bits;                      \
        }                                                                                    \
    }
OG_ROW_TYPES(RELU_BITS)
