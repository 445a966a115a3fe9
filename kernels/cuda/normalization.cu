/* Layer and RMS normalization of rows (row.h), and their gradients, in float32 whatever the
 * elements are.
 *
 *     mean = Σ x / n (0 for RMS),  rstd = 1 / √(Σ (x - mean)² / n + ε),  y = (x - mean) rstd scale
 * + bias h = (x - mean) rstd,  g = dy scale: dx = rstd (g - Σ g / n - h Σ (g h) / n),  dscale = Σ
 * dy h,  dbias = Σ dy over rows; for RMS without Σ g / n
 *
 * The gradient reads dy and x once from memory and once from cache. Each thread of a block adds up
 * the columns that are its own over the block's rows, and a second kernel joins the blocks in
 * order: results do not depend on the card. */
#include "kernels/cuda/normalization.h"
#include "kernels/cuda/row.h"

#define LAYER(suffix, type, piece, vec, load, store)                               \
    OG_KERNEL(og_layer_##suffix, og_layer_arguments, p)                            \
    {                                                                              \
        OG_SHARED(float, scratch, 32);                                             \
        const og_row r = og_row_of(p.warps);                                       \
        const int pieces = p.n / vec;                                              \
        if (r.row >= p.rows)                                                       \
            return;                                                                \
        const type *x = (const type *)p.x + r.row * p.n;                           \
        float mean = 0, square = 0;                                                \
        if (!p.rms) {                                                              \
            for (int i = r.lane; i < pieces; i += r.threads) {                     \
                piece v;                                                           \
                OG_LOAD_PIECE(v, x, i);                                            \
                OG_UNROLL for (int e = 0; e < vec; e++) mean += load(v.e[e]);      \
            }                                                                      \
            mean = og_row_sum(p.warps, mean, scratch) / (float)p.n;                \
        }                                                                          \
        for (int i = r.lane; i < pieces; i += r.threads) {                         \
            piece v;                                                               \
            OG_LOAD_PIECE(v, x, i);                                                \
            OG_UNROLL for (int e = 0; e < vec; e++)                                \
            {                                                                      \
                const float d = load(v.e[e]) - mean;                               \
                square += d * d;                                                   \
            }                                                                      \
        }                                                                          \
        square = og_row_sum(p.warps, square, scratch) / (float)p.n;                \
        const float rstd = 1.0f / sqrtf(square + p.epsilon);                       \
        if (r.lane == 0 && p.mean)                                                 \
            p.mean[r.row] = mean;                                                  \
        if (r.lane == 0 && p.rstd)                                                 \
            p.rstd[r.row] = rstd;                                                  \
        if (!p.y)                                                                  \
            return;                                                                \
        type *y = (type *)p.y + r.row * p.n;                                       \
        for (int i = r.lane; i < pieces; i += r.threads) {                         \
            piece v, a, b;                                                         \
            OG_LOAD_PIECE(v, x, i);                                                \
            OG_LOAD_PIECE(a, p.scale, i);                                          \
            OG_UNROLL for (int e = 0; e < vec; e++) b.e[e] = 0;                    \
            if (p.bias)                                                            \
                OG_LOAD_PIECE(b, p.bias, i);                                       \
            OG_UNROLL for (int e = 0; e < vec; e++) v.e[e] =                       \
                store((load(v.e[e]) - mean) * rstd * load(a.e[e]) + load(b.e[e])); \
            OG_STORE_PIECE(v, y, i);                                               \
        }                                                                          \
    }
OG_ROW_TYPES(LAYER)

/* Sums of two values over a block. scratch: 64 floats. */
OG_DEVICE void og_block_sums(float *a, float *b, float *scratch)
{
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, n = (int)blockDim.x / 32;
    *a = og_warp_sum(*a);
    *b = og_warp_sum(*b);
    if (n == 1)
        return;
    if (lane == 0) {
        scratch[warp] = *a;
        scratch[32 + warp] = *b;
    }
    __syncthreads();
    *a = *b = 0;
    for (int i = 0; i < n; i++) {
        *a += scratch[i];
        *b += scratch[32 + i];
    }
    __syncthreads();
}

#define LAYER_GRAD(suffix, type, piece, vec, load, store)                                         \
    OG_KERNEL(og_layer_grad_##suffix, og_layer_grad_arguments, p)                                 \
    {                                                                                             \
        OG_SHARED(float, scratch, 64);                                                            \
        OG_SHARED_DYNAMIC(float, sums); /* [2, n], each element one thread's */                   \
        const int pieces = p.n / vec, threads = (int)blockDim.x;                                  \
        for (int i = (int)threadIdx.x; p.sums && i < pieces; i += threads)                        \
            OG_UNROLL for (int e = 0; e < vec; e++) sums[i * vec + e] = sums[p.n + i * vec + e] = \
                0;                                                                                \
        for (int64_t row = (int64_t)blockIdx.x * p.each;                                          \
             row < ((int64_t)blockIdx.x + 1) * p.each && row < p.rows; row++) {                   \
            const type *dy = (const type *)p.dy + row * p.n, *x = (const type *)p.x + row * p.n;  \
            const float mean = p.rms ? 0.0f : p.mean[row], rstd = p.rstd[row];                    \
            float sum = 0, sum_h = 0;                                                             \
            for (int i = (int)threadIdx.x; i < pieces; i += threads) {                            \
                piece d, v, a;                                                                    \
                OG_LOAD_PIECE(d, dy, i);                                                          \
                OG_LOAD_PIECE(v, x, i);                                                           \
                OG_LOAD_PIECE(a, p.scale, i);                                                     \
                OG_UNROLL for (int e = 0; e < vec; e++)                                           \
                {                                                                                 \
                    const float h = (load(v.e[e]) - mean) * rstd;                                 \
                    const float g = load(d.e[e]) * load(a.e[e]);                                  \
                    sum += g;                                                                     \
                    sum_h += g * h;                                                               \
                    if (p.sums) {                                                                 \
                        sums[i * vec + e] += load(d.e[e]) * h;                                    \
                        sums[p.n + i * vec + e] += load(d.e[e]);                                  \
                    }                                                                             \
                }                                                                                 \
            }                                                                                     \
            if (!p.dx)                                                                            \
                continue;                                                                         \
            og_block_sums(&sum, &sum_h, scratch);                                                 \
            sum = p.rms ? 0.0f : sum / (float)p.n;                                                \
            sum_h /= (float)p.n;                                                                  \
            for (int i = (int)threadIdx.x; i < pieces; i += threads) {                            \
                piece d, v, a;                                                                    \
                OG_LOAD_PIECE(d, dy, i);                                                          \
                OG_LOAD_PIECE(v, x, i);                                                           \
                OG_LOAD_PIECE(a, p.scale, i);                                                     \
                OG_UNROLL for (int e = 0; e < vec; e++)                                           \
                {                                                                                 \
                    const float h = (load(v.e[e]) - mean) * rstd;                                 \
                    const float g = load(d.e[e]) * load(a.e[e]);                                  \
                    d.e[e] = store(rstd * (g - sum - h * sum_h));                                 \
                }                                                                                 \
                OG_STORE_PIECE(d, (type *)p.dx + row * p.n, i);                                   \
            }                                                                                     \
        }                                                                                         \
        for (int i = (int)threadIdx.x; p.sums && i < pieces; i += threads)                        \
            OG_UNROLL for (int e = 0; e < vec; e++)                                               \
            {                                                                                     \
                float *to = p.sums + (int64_t)blockIdx.x * 2 * p.n;                               \
                to[i * vec + e] = sums[i * vec + e];                                              \
                to[p.n + i * vec + e] = sums[p.n + i * vec + e];                                  \
            }                                                                                     \
    }
OG_ROW_TYPES(LAYER_GRAD)

/* 32 columns by 8 rows of threads: each adds every eighth block, then the eight are added. */
#define LAYER_JOIN(name, type, store)                                    \
    OG_KERNEL(og_layer_join_##name, og_layer_join_arguments, p)          \
    {                                                                    \
        OG_SHARED(float, scratch, 256);                                  \
        const int column = (int)blockIdx.x * 32 + (int)threadIdx.x % 32; \
        const int first = (int)threadIdx.x / 32;                         \
        float sum = 0;                                                   \
        for (int b = first; column < 2 * p.n && b < p.blocks; b += 8)    \
            sum += p.sums[(int64_t)b * 2 * p.n + column];                \
        scratch[threadIdx.x] = sum;                                      \
        __syncthreads();                                                 \
        if (first != 0 || column >= 2 * p.n)                             \
            return;                                                      \
        for (int i = 1; i < 8; i++)                                      \
            sum += scratch[i * 32 + (int)threadIdx.x];                   \
        type *to = (type *)(column < p.n ? p.dscale : p.dbias);          \
        if (to)                                                          \
            to[column % p.n] = store(sum);                               \
    }
LAYER_JOIN(float_1, float, )
LAYER_JOIN(half_1, uint16_t, og_float_to_half)
LAYER_JOIN(bfloat_1, uint16_t, og_float_to_bfloat)
