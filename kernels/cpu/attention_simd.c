/* The loops of attention over rows of scores. Compiled once for each instruction set. */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/vector_math.h"

#define exp_float og__exp_float
#define exp_double exp /* the C library's, in vectors */

/* Sums go over lanes first: reductions that the compiler makes add lane after lane. */
#define LANES(T) ((int)(64 / sizeof(T)))
typedef float wide_float __attribute__((vector_size(64), aligned(4), may_alias));
typedef double wide_double __attribute__((vector_size(64), aligned(8), may_alias));

#define ATTENTION(T)                                                                               \
    static void gather_##T(const void *from_, int64_t row, int64_t column, void *to_,              \
                           int64_t pitch, int64_t rows, int64_t columns, double factor_)           \
    {                                                                                              \
        const T *from = from_;                                                                     \
        T factor = (T)factor_;                                                                     \
        for (int64_t i = 0; i < rows; i++) {                                                       \
            const T *restrict x = from + i * row;                                                  \
            T *restrict to = (T *)to_ + i * pitch;                                                 \
            if (column == 1)                                                                       \
                for (int64_t j = 0; j < columns; j++)                                              \
                    to[j] = factor * x[j];                                                         \
            else                                                                                   \
                for (int64_t j = 0; j < columns; j++)                                              \
                    to[j] = factor * x[j * column];                                                \
        }                                                                                          \
    }                                                                                              \
    static void add_##T(T *restrict s, const T *restrict bias, int64_t n)                          \
    {                                                                                              \
        for (int64_t j = 0; j < n; j++)                                                            \
            s[j] += bias[j];                                                                       \
    }                                                                                              \
    static double largest_##T(const void *x_, int64_t n)                                           \
    {                                                                                              \
        const T *restrict x = x_;                                                                  \
        T m = x[0];                                                                                \
        _Pragma("omp simd reduction(max : m)") for (int64_t j = 1; j < n; j++) m =                 \
            x[j] > m ? x[j] : m;                                                                   \
        return (double)m;                                                                          \
    }                                                                                              \
    static bool zeros_##T(const void *x_, int64_t n)                                               \
    {                                                                                              \
        const T *restrict x = x_;                                                                  \
        int any = 0;                                                                               \
        for (int64_t j = 0; j < n; j++)                                                            \
            any |= x[j] != 0;                                                                      \
        return !any;                                                                               \
    }                                                                                              \
    static inline T fold_##T(wide_##T v)                                                           \
    {                                                                                              \
        T part[LANES(T)];                                                                          \
        memcpy(part, &v, sizeof part);                                                             \
        for (int width = LANES(T) / 2; width; width /= 2)                                          \
            for (int k = 0; k < width; k++)                                                        \
                part[k] += part[k + width];                                                        \
        return part[0];                                                                            \
    }                                                                                              \
    static T sum_##T(const T *x, int64_t n)                                                        \
    {                                                                                              \
        wide_##T v = {0};                                                                          \
        T sum = 0;                                                                                 \
        int64_t j = 0;                                                                             \
        for (; j + LANES(T) <= n; j += LANES(T))                                                   \
            v += *(const wide_##T *)(x + j);                                                       \
        for (; j < n; j++)                                                                         \
            sum += x[j];                                                                           \
        return sum + fold_##T(v);                                                                  \
    }                                                                                              \
    static void softmax_##T(const og__scores *b, void *top_, double *total, void *o_,              \
                            int64_t o_pitch, int64_t E)                                            \
    {                                                                                              \
        T *top = top_;                                                                             \
        for (int64_t i = 0; i < b->m; i++) {                                                       \
            T *restrict s = (T *)b->s + i * OG__ATTENTION_PITCH;                                   \
            T *restrict o = (T *)o_ + i * o_pitch;                                                 \
            if (b->bias)                                                                           \
                add_##T(s, (const T *)b->bias + i * b->bias_row, b->n);                            \
            T here = (T)largest_##T(s, b->n), now = here > top[i] ? here : top[i];                 \
            T shift = now == -(T)INFINITY ? 0 : now;                                               \
            for (int64_t j = 0; j < b->n; j++)                                                     \
                s[j] = exp_##T(s[j] - shift);                                                      \
            T sum = sum_##T(s, b->n);                                                              \
            T factor = top[i] == now ? 1 : exp_##T(top[i] - shift);                                \
            for (int64_t j = 0; j < E && factor != 1; j++)                                         \
                o[j] *= factor;                                                                    \
            total[i] = total[i] * (double)factor + (double)sum;                                    \
            top[i] = now;                                                                          \
        }                                                                                          \
    }                                                                                              \
    static void divide_##T(const void *o_, double total, void *y_, int64_t E)                      \
    {                                                                                              \
        const T *restrict o = o_;                                                                  \
        T *restrict y = y_;                                                                        \
        T factor = (T)(1 / total);                                                                 \
        for (int64_t j = 0; j < E; j++)                                                            \
            y[j] = o[j] * factor;                                                                  \
    }                                                                                              \
    static double dot_##T(const void *a_, const void *b_, int64_t n)                               \
    {                                                                                              \
        const T *a = a_, *b = b_;                                                                  \
        wide_##T v = {0};                                                                          \
        T sum = 0;                                                                                 \
        int64_t j = 0;                                                                             \
        for (; j + LANES(T) <= n; j += LANES(T))                                                   \
            v += *(const wide_##T *)(a + j) * *(const wide_##T *)(b + j);                          \
        for (; j < n; j++)                                                                         \
            sum += a[j] * b[j];                                                                    \
        return (double)(sum + fold_##T(v));                                                        \
    }                                                                                              \
    static void gradient_##T(const og__scores *b, void *ds_, const void *top, const void *log_sum, \
                             const void *delta, bool zero_nan)                                     \
    {                                                                                              \
        int64_t end = (b->n + 11) / 12 * 12;                                                       \
        for (int64_t i = 0; i < b->m; i++) {                                                       \
            T *restrict s = (T *)b->s + i * OG__ATTENTION_PITCH;                                   \
            T *restrict ds = (T *)ds_ + i * OG__ATTENTION_PITCH;                                   \
            T high = ((const T *)top)[i], rest = ((const T *)log_sum)[i];                          \
            T d = ((const T *)delta)[i];                                                           \
            if (b->bias)                                                                           \
                add_##T(s, (const T *)b->bias + i * b->bias_row, b->n);                            \
            for (int64_t j = 0; j < b->n; j++) {                                                   \
                T p = exp_##T((s[j] - high) - rest);                                               \
                s[j] = p;                                                                          \
                ds[j] = p * (ds[j] - d);                                                           \
            }                                                                                      \
            for (int64_t j = zero_nan && isnan(rest) ? 0 : b->n; j < end; j++)                     \
                s[j] = ds[j] = 0;                                                                  \
        }                                                                                          \
    }                                                                                              \
    static const og__attention_fns fns_##T = {gather_##T,   softmax_##T, divide_##T, dot_##T,      \
                                              gradient_##T, largest_##T, zeros_##T};

ATTENTION(float)
ATTENTION(double)

const og__attention_fns *OG_SIMD(og__attention_find)(og_dtype dtype)
{
    return dtype == OG_DOUBLE ? &fns_double : &fns_float;
}
