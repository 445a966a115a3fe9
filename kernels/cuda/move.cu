/* Copies between any two layouts. A thread copies one unit after the other, of 1 to 16 bytes, as
 * many as lie together on both sides; where what lies together differs (a transpose), tiles of
 * 32 × 32 go through shared memory, so that both sides are read and written in lines. */
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/move.h"

#define MOVE(name, type, index)                                                          \
    OG_KERNEL(name, og_move_arguments, p)                                                \
    {                                                                                    \
        const index step = (index)gridDim.x * blockDim.x;                                \
        for (index i = (index)blockIdx.x * blockDim.x + threadIdx.x; i < (index)p.total; \
             i += step) {                                                                \
            index rest = i;                                                              \
            int64_t to = 0, from = 0;                                                    \
            for (int a = p.rank - 1; a > 0; a--) {                                       \
                const index n = (index)p.n[a], at = rest % n;                            \
                rest /= n;                                                               \
                to += (int64_t)at * p.to_stride[a];                                      \
                from += (int64_t)at * p.from_stride[a];                                  \
            }                                                                            \
            to += (int64_t)rest * p.to_stride[0];                                        \
            from += (int64_t)rest * p.from_stride[0];                                    \
            ((type *)p.to)[to] = ((const type *)p.from)[from];                           \
        }                                                                                \
    }
/* Positions and one grid behind them in 32 bits, in which division is much cheaper, and in 64. */
#define MOVES(bytes, type)                \
    MOVE(og_move_##bytes, type, uint32_t) \
    MOVE(og_move_##bytes##_far, type, uint64_t)
MOVES(1, uint8_t)
MOVES(2, uint16_t)
MOVES(4, uint32_t)
MOVES(8, uint64_t)
MOVES(16, og_bits128)

#define CROSS(bytes, type)                                                                  \
    OG_KERNEL(og_cross_##bytes, og_cross_arguments, p)                                      \
    {                                                                                       \
        OG_SHARED(type, tile, OG_MOVE_TILE *(OG_MOVE_TILE + 1));                            \
        const int x = (int)threadIdx.x % OG_MOVE_TILE, y = (int)threadIdx.x / OG_MOVE_TILE; \
        const int down = OG_MOVE_THREADS / OG_MOVE_TILE;                                    \
        uint32_t rest = blockIdx.x;                                                         \
        const int column = (int)(rest % (uint32_t)p.column_tiles) * OG_MOVE_TILE;           \
        rest /= (uint32_t)p.column_tiles;                                                   \
        const int row = (int)(rest % (uint32_t)p.row_tiles) * OG_MOVE_TILE;                 \
        rest /= (uint32_t)p.row_tiles;                                                      \
        int64_t to = 0, from = 0;                                                           \
        for (int a = p.rank - 1; a >= 0; a--) {                                             \
            const int64_t at = rest % (uint32_t)p.n[a];                                     \
            rest /= (uint32_t)p.n[a];                                                       \
            to += at * p.to_stride[a];                                                      \
            from += at * p.from_stride[a];                                                  \
        }                                                                                   \
        for (int c = y; c < OG_MOVE_TILE; c += down)                                        \
            if (column + c < p.columns && row + x < p.rows)                                 \
                tile[c * (OG_MOVE_TILE + 1) + x] =                                          \
                    ((const type *)p.from)[from + (column + c) * p.from_column + row + x];  \
        __syncthreads();                                                                    \
        for (int r = y; r < OG_MOVE_TILE; r += down)                                        \
            if (row + r < p.rows && column + x < p.columns)                                 \
                ((type *)p.to)[to + (row + r) * p.to_row + column + x] =                    \
                    tile[x * (OG_MOVE_TILE + 1) + r];                                       \
    }
CROSS(1, uint8_t)
CROSS(2, uint16_t)
CROSS(4, uint32_t)
CROSS(8, uint64_t)

OG_KERNEL(og_fill_bytes, og_fill_arguments, p)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.bytes; i += step)
        ((uint8_t *)p.to)[i] = p.value[i % 16];
}
