/* The loops of optimizers' steps (optimizer.h). Compiled once for each instruction set. */
#include "kernels/cpu/optimizer.h"

#define ADAM(T, ROOT)                                                                             \
    static void adam_##T(const og__adam *s, int64_t n, const T *w, const T *g, const T *m,        \
                         const T *v, T *w1, T *m1, T *v1)                                         \
    {                                                                                             \
        const T b1 = (T)s->beta1, c1 = (T)(1 - s->beta1), b2 = (T)s->beta2,                       \
                c2 = (T)(1 - s->beta2), l2 = (T)s->l2, epsilon = (T)s->epsilon,                   \
                factor = (T)s->factor, decay = (T)s->decay, rate = (T)s->rate, root = (T)s->root; \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                       \
        {                                                                                         \
            T x = g[i] * factor + l2 * w[i];                                                      \
            T mean = b1 * m[i] + c1 * x, square = b2 * v[i] + c2 * (x * x);                       \
            w1[i] = w[i] * decay - rate * (mean / (ROOT(square) * root + epsilon));               \
            m1[i] = mean;                                                                         \
            v1[i] = square;                                                                       \
        }                                                                                         \
    }

ADAM(float, sqrtf)
ADAM(double, sqrt)

void OG_SIMD(og__adam_step)(const og__adam *a, bool is_double, int64_t n, const void *w,
                            const void *g, const void *m, const void *v, void *w1, void *m1,
                            void *v1)
{
    if (is_double)
        adam_double(a, n, w, g, m, v, w1, m1, v1);
    else
        adam_float(a, n, w, g, m, v, w1, m1, v1);
}
