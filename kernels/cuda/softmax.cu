/* Softmax and LogSoftmax along rows that lie without gaps: one block a row, which it reads three
 * times (the second and third from cache), in float32 whatever the elements are.
 *
 *     m = max x,  s = Σ exp(x - m),  y = exp(x - m) / s   or   x - m - ln s */
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/softmax.h"

#define SOFTMAX(name, type, load, store)                                                \
    OG_KERNEL(name, og_softmax_arguments, p)                                            \
    {                                                                                   \
        OG_SHARED(float, scratch, 32);                                                  \
        const type *x = (const type *)p.x + (int64_t)blockIdx.x * p.n;                  \
        type *y = (type *)p.y + (int64_t)blockIdx.x * p.n;                              \
        const int step = (int)blockDim.x;                                               \
        float m = -INFINITY, s = 0;                                                     \
        for (int i = (int)threadIdx.x; i < p.n; i += step) {                            \
            const float v = load(x[i]);                                                 \
            m = m != m ? m : v > m || v != v ? v : m;                                   \
        }                                                                               \
        m = og_block_max(m, scratch);                                                   \
        for (int i = (int)threadIdx.x; i < p.n; i += step)                              \
            s += expf(load(x[i]) - m);                                                  \
        s = og_block_sum(s, scratch);                                                   \
        const float shift = p.log ? logf(s) : 0.0f, factor = 1.0f / s;                  \
        for (int i = (int)threadIdx.x; i < p.n; i += step) {                            \
            const float d = load(x[i]) - m;                                             \
            y[i] = store(p.log ? d - shift : expf(d) * factor);                         \
        }                                                                               \
    }

SOFTMAX(og_softmax_float, float, , )
SOFTMAX(og_softmax_half, uint16_t, og_half_to_float, og_float_to_half)
SOFTMAX(og_softmax_bfloat, uint16_t, og_bfloat_to_float, og_float_to_bfloat)
