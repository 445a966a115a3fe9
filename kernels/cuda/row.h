/* For kernels over rows: rows × n elements, a row after the other, each the work of a team of
 * threads: a warp for short rows, of which a block does several, else a block. Elements are read
 * and written in pieces of `vec` of them: 16 bytes where rows lie so, else 1. */
#ifndef OG_KERNELS_CUDA_ROW_H
#define OG_KERNELS_CUDA_ROW_H

#include "kernels/cuda/kernel.h"

/* The team's row, its threads, and which of them this one is. warps: a team is a warp. */
typedef struct og_row {
    int64_t row;
    int lane, threads;
} og_row;

OG_DEVICE og_row og_row_of(int warps)
{
    og_row r;
    r.threads = warps ? 32 : (int)blockDim.x;
    r.lane = (int)threadIdx.x % r.threads;
    r.row = (int64_t)blockIdx.x * ((int)blockDim.x / r.threads) + (int)threadIdx.x / r.threads;
    return r;
}
/* scratch: 32 floats of shared memory; not used by warps. */
OG_DEVICE float og_row_sum(int warps, float v, float *scratch)
{
    return warps ? og_warp_sum(v) : og_block_sum(v, scratch);
}
OG_DEVICE float og_row_max(int warps, float v, float *scratch)
{
    return warps ? og_warp_max(v) : og_block_max(v, scratch);
}

/* A piece of memory, as one word and as elements. */
#define OG_PIECE(name, type, word, vec) \
    typedef union name {                \
        word bits;                      \
        type e[vec];                    \
    } name;
OG_PIECE(og_float_1, float, float, 1)
OG_PIECE(og_float_4, float, og_bits128, 4)
OG_PIECE(og_half_1, uint16_t, uint16_t, 1)
OG_PIECE(og_half_8, uint16_t, og_bits128, 8)

/* X(suffix, type, piece, vec, load, store) for every element type and width. */
#define OG_ROW_TYPES(X)                                                         \
    X(float_1, float, og_float_1, 1, , )                                        \
    X(float_4, float, og_float_4, 4, , )                                        \
    X(half_1, uint16_t, og_half_1, 1, og_half_to_float, og_float_to_half)       \
    X(half_8, uint16_t, og_half_8, 8, og_half_to_float, og_float_to_half)       \
    X(bfloat_1, uint16_t, og_half_1, 1, og_bfloat_to_float, og_float_to_bfloat) \
    X(bfloat_8, uint16_t, og_half_8, 8, og_bfloat_to_float, og_float_to_bfloat)

/* Piece i of a row: to `p`, and from it. */
#define OG_LOAD_PIECE(p, row, i) ((p).bits = ((const __typeof__((p).bits) *)(row))[i])
#define OG_STORE_PIECE(p, row, i) (((__typeof__((p).bits) *)(row))[i] = (p).bits)

#endif
