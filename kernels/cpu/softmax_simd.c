/* Softmax and LogSoftmax over one axis, and the rows of cross entropy. Compiled once for each
 * instruction set.
 *
 *     m = max x,  s = Σ exp(x - m),  Softmax = exp(x - m) / s,  LogSoftmax = x - m - log s
 *
 * exp is computed here: k = round(x / ln 2), r = x - k ln 2 in two parts, exp x = 2^k Σ rⁿ/n!, |r|
 * ≤ 0.35, so that the remainder of the series is below the type's precision. Arguments are at most
 * 0; where the result would be subnormal it is 0. NaN stays NaN. */
#include "kernels/cpu/softmax.h"
#include "kernels/cpu/vector_math.h"

#define exp_float og__exp_float

static inline double exp_double(double x)
{
    const double magic = 0x1.8p52; /* adding it rounds to an integer in the low bits */
    double a = x < -708.0 ? -708.0 : x;
    double z = a * 0x1.71547652b82fep0 + magic, k = z - magic;
    double r = a - k * 0x1.62e42fefap-1 - k * 0x1.cf79abc9e3b39p-40;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    union {
        double f;
        uint64_t u;
    } bits = {.f = z};
    bits.u = (bits.u << 52) + 0x3ff0000000000000u;
    double y = p * bits.f;
    return x < -708.0 ? 0.0 : y;
}

#define SOFTMAX(T)                                                                        \
    static void line_##T(const T *restrict x, T *restrict y, int64_t n, bool logarithm)   \
    {                                                                                     \
        T m = x[0];                                                                       \
        double s = 0;                                                                     \
        _Pragma("omp simd reduction(max : m)") for (int64_t i = 1; i < n; i++) m =        \
            x[i] > m ? x[i] : m;                                                          \
        _Pragma("omp simd reduction(+ : s)") for (int64_t i = 0; i < n; i++)              \
        {                                                                                 \
            T e = exp_##T(x[i] - m);                                                      \
            y[i] = e;                                                                     \
            s += (double)e;                                                               \
        }                                                                                 \
        if (logarithm) {                                                                  \
            T shift = (T)log(s);                                                          \
            for (int64_t i = 0; i < n; i++)                                               \
                y[i] = (x[i] - m) - shift;                                                \
        } else {                                                                          \
            T factor = (T)(1 / s);                                                        \
            for (int64_t i = 0; i < n; i++)                                               \
                y[i] *= factor;                                                           \
        }                                                                                 \
    }                                                                                     \
    /* x, y: n rows `stride` apart of `columns` (at most OG__SOFTMAX_COLUMNS) elements */ \
    static void columns_##T(const T *x, T *y, int64_t n, int64_t stride, int64_t columns, \
                            bool logarithm)                                               \
    {                                                                                     \
        T m[OG__SOFTMAX_COLUMNS];                                                         \
        double s[OG__SOFTMAX_COLUMNS];                                                    \
        for (int64_t c = 0; c < columns; c++) {                                           \
            m[c] = x[c];                                                                  \
            s[c] = 0;                                                                     \
        }                                                                                 \
        for (int64_t k = 1; k < n; k++) {                                                 \
            const T *restrict row = x + k * stride;                                       \
            for (int64_t c = 0; c < columns; c++)                                         \
                m[c] = row[c] > m[c] ? row[c] : m[c];                                     \
        }                                                                                 \
        for (int64_t k = 0; k < n; k++) {                                                 \
            const T *restrict row = x + k * stride;                                       \
            T *restrict to = y + k * stride;                                              \
            for (int64_t c = 0; c < columns; c++) {                                       \
                T e = exp_##T(row[c] - m[c]);                                             \
                to[c] = e;                                                                \
                s[c] += (double)e;                                                        \
            }                                                                             \
        }                                                                                 \
        T f[OG__SOFTMAX_COLUMNS];                                                         \
        for (int64_t c = 0; c < columns; c++)                                             \
            f[c] = (T)(logarithm ? log(s[c]) : 1 / s[c]);                                 \
        for (int64_t k = 0; k < n; k++) {                                                 \
            const T *restrict row = x + k * stride;                                       \
            T *restrict to = y + k * stride;                                              \
            if (logarithm)                                                                \
                for (int64_t c = 0; c < columns; c++)                                     \
                    to[c] = (row[c] - m[c]) - f[c];                                       \
            else                                                                          \
                for (int64_t c = 0; c < columns; c++)                                     \
                    to[c] *= f[c];                                                        \
        }                                                                                 \
    }

#define ROWS(T)                                                                      \
    static double sum_##T(const T *restrict x, int64_t n, double *most)              \
    {                                                                                \
        T m = x[0];                                                                  \
        double s = 0;                                                                \
        _Pragma("omp simd reduction(max : m)") for (int64_t i = 1; i < n; i++) m =   \
            x[i] > m ? x[i] : m;                                                     \
        _Pragma("omp simd reduction(+ : s)") for (int64_t i = 0; i < n; i++) s +=    \
            (double)exp_##T(x[i] - m);                                               \
        *most = (double)m;                                                           \
        return s;                                                                    \
    }                                                                                \
    /* x - lse in two parts of T, so that nothing of lse is lost */                  \
    static void scaled_##T(const T *x, T *dx, int64_t n, double lse, double factor_) \
    {                                                                                \
        T high = (T)lse, low = (T)(lse - (double)high), factor = (T)factor_;         \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) dx[i] =                  \
            factor * exp_##T((x[i] - high) - low);                                   \
    }

SOFTMAX(float)
SOFTMAX(double)
ROWS(float)
ROWS(double)

double OG_SIMD(og__softmax_sum)(bool is_double, const void *x, int64_t n, double *most)
{
    return is_double ? sum_double(x, n, most) : sum_float(x, n, most);
}

void OG_SIMD(og__softmax_scaled)(bool is_double, const void *x, void *dx, int64_t n, double lse,
                                 double factor)
{
    if (is_double)
        scaled_double(x, dx, n, lse, factor);
    else
        scaled_float(x, dx, n, lse, factor);
}

void OG_SIMD(og__softmax_block)(bool is_double, const void *x, void *y, int64_t n, int64_t stride,
                                int64_t columns, bool logarithm)
{
    if (stride == 1 && is_double)
        line_double(x, y, n, logarithm);
    else if (stride == 1)
        line_float(x, y, n, logarithm);
    else if (is_double)
        columns_double(x, y, n, stride, columns, logarithm);
    else
        columns_float(x, y, n, stride, columns, logarithm);
}
