/* Softmax and LogSoftmax along rows that lie without gaps (row.h), and the cross entropy of rows of
 * scores with labels and its gradient. A row is read three times, the second and third from cache,
 * and computed in float32 whatever its elements are.
 *
 *     m = max x,  s = Σ exp(x - m)
 *     Softmax: exp(x - m) / s    LogSoftmax: x - m - ln s
 *     loss = ln s - (x[label] - m),  lse = m + ln s
 *     dx = (dloss + dlse) exp(x - lse), less dloss at the label */
#include "kernels/cuda/index.h"
#include "kernels/cuda/row.h"
#include "kernels/cuda/softmax.h"

/* m and s of row x in pieces of `vec`. */
#define ROW_MOMENTS(piece, vec, load)                                        \
    float m = -INFINITY, s = 0;                                              \
    for (int i = r.lane; i < pieces; i += r.threads) {                       \
        piece v;                                                             \
        OG_LOAD_PIECE(v, x, i);                                              \
        OG_UNROLL for (int e = 0; e < vec; e++) m = og_max(m, load(v.e[e])); \
    }                                                                        \
    m = og_row_max(p.warps, m, scratch);                                     \
    for (int i = r.lane; i < pieces; i += r.threads) {                       \
        piece v;                                                             \
        OG_LOAD_PIECE(v, x, i);                                              \
        OG_UNROLL for (int e = 0; e < vec; e++) s += expf(load(v.e[e]) - m); \
    }                                                                        \
    s = og_row_sum(p.warps, s, scratch);

#define SOFTMAX(suffix, type, piece, vec, load, store)                 \
    OG_KERNEL(og_softmax_##suffix, og_softmax_arguments, p)            \
    {                                                                  \
        OG_SHARED(float, scratch, 32);                                 \
        const og_row r = og_row_of(p.warps);                           \
        const int pieces = p.n / vec;                                  \
        if (r.row >= p.rows)                                           \
            return;                                                    \
        const type *x = (const type *)p.x + r.row * p.n;               \
        type *y = (type *)p.y + r.row * p.n;                           \
        ROW_MOMENTS(piece, vec, load)                                  \
        const float shift = p.log ? logf(s) : 0.0f, factor = 1.0f / s; \
        for (int i = r.lane; i < pieces; i += r.threads) {             \
            piece v;                                                   \
            OG_LOAD_PIECE(v, x, i);                                    \
            OG_UNROLL for (int e = 0; e < vec; e++)                    \
            {                                                          \
                const float d = load(v.e[e]) - m;                      \
                v.e[e] = store(p.log ? d - shift : expf(d) * factor);  \
            }                                                          \
            OG_STORE_PIECE(v, y, i);                                   \
        }                                                              \
    }
OG_ROW_TYPES(SOFTMAX)

#define CROSS_ENTROPY(suffix, type, piece, vec, load, store)                                \
    OG_KERNEL(og_cross_entropy_##suffix, og_cross_entropy_arguments, p)                     \
    {                                                                                       \
        OG_SHARED(float, scratch, 32);                                                      \
        const og_row r = og_row_of(p.warps);                                                \
        const int pieces = p.n / vec;                                                       \
        if (r.row >= p.rows)                                                                \
            return;                                                                         \
        const type *x = (const type *)p.x + r.row * p.n;                                    \
        ROW_MOMENTS(piece, vec, load)                                                       \
        if (r.lane == 0) {                                                                  \
            const int64_t label = og_index_of(p.labels, r.row, p.n, p.narrow);              \
            if (label < 0)                                                                  \
                og_say_outside(p.outside, p.call, p.labels, r.row, p.narrow);               \
            const float picked = label < 0 ? og_float_of_bits(0x7fc00000) : load(x[label]); \
            ((type *)p.loss)[r.row] = store(logf(s) - (picked - m));                        \
            if (p.lse_out)                                                                  \
                p.lse_out[r.row] = (double)m + (double)logf(s);                             \
        }                                                                                   \
    }
OG_ROW_TYPES(CROSS_ENTROPY)

#define CROSS_ENTROPY_GRAD(suffix, type, piece, vec, load, store)                \
    OG_KERNEL(og_cross_entropy_grad_##suffix, og_cross_entropy_arguments, p)     \
    {                                                                            \
        const og_row r = og_row_of(p.warps);                                     \
        const int pieces = p.n / vec;                                            \
        if (r.row >= p.rows)                                                     \
            return;                                                              \
        const type *x = (const type *)p.x + r.row * p.n;                         \
        type *dx = (type *)p.dx + r.row * p.n;                                   \
        const int64_t label = og_index_of(p.labels, r.row, p.n, p.narrow);       \
        const float dloss = load(((const type *)p.dloss)[r.row]);                \
        const float g = (float)((double)dloss + (p.dlse ? p.dlse[r.row] : 0.0)); \
        const double lse = p.lse[r.row];                                         \
        for (int i = r.lane; i < pieces; i += r.threads) {                       \
            piece v;                                                             \
            OG_LOAD_PIECE(v, x, i);                                              \
            OG_UNROLL for (int e = 0; e < vec; e++)                              \
            {                                                                    \
                const float d = (float)((double)load(v.e[e]) - lse);             \
                const float flow = g == 0 ? 0.0f : g * expf(d);                  \
                v.e[e] = store(i * vec + e == label ? flow - dloss : flow);      \
            }                                                                    \
            OG_STORE_PIECE(v, dx, i);                                            \
        }                                                                        \
    }
OG_ROW_TYPES(CROSS_ENTROPY_GRAD)
