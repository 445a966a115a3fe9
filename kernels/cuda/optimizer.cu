/* AdamStep (ops/optimizer.c, which has the formula) over slabs of many parameters, in pieces of 16
 * bytes, and the copy of the weights in half precision. Unscaling and clipping are its factor;
 * where gradients were not finite it leaves at once, after copying what has to stay if that lies
 * elsewhere. */
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/optimizer.h"

typedef union og_adam_4 {
    og_bits128 bits;
    float e[4];
} og_adam_4;
typedef union og_adam_1 {
    float bits;
    float e[1];
} og_adam_1;
typedef union og_half_4 {
    unsigned long long bits;
    uint16_t e[4];
} og_half_4;
typedef union og_half_1 {
    uint16_t bits;
    uint16_t e[1];
} og_half_1;

#define ADAM(name, piece, halves, vec)                                                         \
    OG_KERNEL(name, og_adam_arguments, p)                                                      \
    {                                                                                          \
        const int64_t step = (int64_t)gridDim.x * blockDim.x;                                  \
        const int finite = *p.finite;                                                          \
        const float factor = *p.factor, decay = *p.decay, rate = *p.rate, root = *p.root;      \
        if (!finite && p.w == p.w1 && p.m == p.m1 && p.v == p.v1 && !p.half)                   \
            return;                                                                            \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.n / vec;        \
             i += step) {                                                                      \
            piece w = ((const piece *)p.w)[i], m = ((const piece *)p.m)[i],                    \
                  v = ((const piece *)p.v)[i];                                                 \
            if (finite) {                                                                      \
                const piece g = ((const piece *)p.g)[i];                                       \
                OG_UNROLL for (int e = 0; e < vec; e++)                                        \
                {                                                                              \
                    float d = g.e[e] * factor;                                                 \
                    if (p.l2 != 0)                                                             \
                        d += p.l2 * w.e[e];                                                    \
                    m.e[e] = p.beta1 * m.e[e] + p.rest1 * d;                                   \
                    v.e[e] = p.beta2 * v.e[e] + p.rest2 * (d * d);                             \
                    w.e[e] =                                                                   \
                        w.e[e] * decay - rate * (m.e[e] / (sqrtf(v.e[e]) * root + p.epsilon)); \
                }                                                                              \
            }                                                                                  \
            ((piece *)p.w1)[i] = w;                                                            \
            ((piece *)p.m1)[i] = m;                                                            \
            ((piece *)p.v1)[i] = v;                                                            \
            if (p.half) {                                                                      \
                halves h;                                                                      \
                OG_UNROLL for (int e = 0; e < vec; e++) h.e[e] =                               \
                    p.bfloat ? og_float_to_bfloat(w.e[e]) : og_float_to_half(w.e[e]);          \
                ((halves *)p.half)[i] = h;                                                     \
            }                                                                                  \
        }                                                                                      \
    }
ADAM(og_adam_wide, og_adam_4, og_half_4, 4)
ADAM(og_adam_single, og_adam_1, og_half_1, 1)
