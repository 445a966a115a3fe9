/* The loops of batch, layer, instance and group normalization. Compiled once for each instruction
 * set. */
#include "kernels/cpu/normalization.h"

#define NORM(T)                                                                                    \
    static void line_sums_##T(const void *data, int64_t n, double shift, double s[2])              \
    {                                                                                              \
        const T *restrict x = data;                                                                \
        double s0 = 0, s1 = 0;                                                                     \
        _Pragma("omp simd reduction(+ : s0, s1)") for (int64_t i = 0; i < n; i++)                  \
        {                                                                                          \
            double d = (double)x[i] - shift;                                                       \
            s0 += d;                                                                               \
            s1 += d * d;                                                                           \
        }                                                                                          \
        s[0] += s0;                                                                                \
        s[1] += s1;                                                                                \
    }                                                                                              \
    static void line_scale_##T(const void *from, void *to, int64_t n, double mean_, double a_,     \
                               double b_)                                                          \
    {                                                                                              \
        const T *restrict x = from;                                                                \
        T *restrict y = to;                                                                        \
        T mean = (T)mean_, a = (T)a_, b = (T)b_;                                                   \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] = (x[i] - mean) * a + b;                                                          \
    }                                                                                              \
    static void line_grad_sums_##T(const void *dy_, const void *x_, int64_t n, double mean,        \
                                   double s[2])                                                    \
    {                                                                                              \
        const T *restrict dy = dy_, *restrict x = x_;                                              \
        double s0 = 0, s1 = 0;                                                                     \
        _Pragma("omp simd reduction(+ : s0, s1)") for (int64_t i = 0; i < n; i++)                  \
        {                                                                                          \
            double d = (double)dy[i];                                                              \
            s0 += d;                                                                               \
            s1 += d * ((double)x[i] - mean);                                                       \
        }                                                                                          \
        s[0] += s0;                                                                                \
        s[1] += s1;                                                                                \
    }                                                                                              \
    static void line_grad_##T(const void *dy_, const void *x_, void *dx_, int64_t n, double mean_, \
                              double a_, double b_, double c_)                                     \
    {                                                                                              \
        const T *restrict dy = dy_, *restrict x = x_;                                              \
        T *restrict dx = dx_;                                                                      \
        T mean = (T)mean_, a = (T)a_, b = (T)b_, c = (T)c_;                                        \
        for (int64_t i = 0; i < n; i++)                                                            \
            dx[i] = a * dy[i] + (b * (x[i] - mean) + c);                                           \
    }                                                                                              \
    static void columns_sums_##T(const void *data, int64_t rows, int64_t stride, int64_t columns,  \
                                 const double *restrict shift, double *restrict s0,                \
                                 double *restrict s1)                                              \
    {                                                                                              \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            const T *restrict x = (const T *)data + r * stride;                                    \
            for (int64_t c = 0; c < columns; c++) {                                                \
                double d = (double)x[c] - shift[c];                                                \
                s0[c] += d;                                                                        \
                s1[c] += d * d;                                                                    \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void columns_scale_##T(const void *from, void *to, int64_t rows, int64_t stride,        \
                                  int64_t columns, const double *mean_, const double *a_,          \
                                  const double *b_)                                                \
    {                                                                                              \
        T mean[OG__NORM_COLUMNS], a[OG__NORM_COLUMNS], b[OG__NORM_COLUMNS];                        \
        for (int64_t c = 0; c < columns; c++) {                                                    \
            mean[c] = (T)mean_[c];                                                                 \
            a[c] = (T)a_[c];                                                                       \
            b[c] = (T)b_[c];                                                                       \
        }                                                                                          \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            const T *restrict x = (const T *)from + r * stride;                                    \
            T *restrict y = (T *)to + r * stride;                                                  \
            for (int64_t c = 0; c < columns; c++)                                                  \
                y[c] = (x[c] - mean[c]) * a[c] + b[c];                                             \
        }                                                                                          \
    }                                                                                              \
    static void columns_grad_sums_##T(                                                             \
        const void *dy_, const void *x_, int64_t rows, int64_t stride, int64_t columns,            \
        const double *restrict mean, double *restrict s0, double *restrict s1)                     \
    {                                                                                              \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            const T *restrict dy = (const T *)dy_ + r * stride;                                    \
            const T *restrict x = (const T *)x_ + r * stride;                                      \
            for (int64_t c = 0; c < columns; c++) {                                                \
                double d = (double)dy[c];                                                          \
                s0[c] += d;                                                                        \
                s1[c] += d * ((double)x[c] - mean[c]);                                             \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void columns_grad_##T(const void *dy_, const void *x_, void *dx_, int64_t rows,         \
                                 int64_t stride, int64_t columns, const double *mean_,             \
                                 const double *a_, const double *b_, const double *c_)             \
    {                                                                                              \
        T mean[OG__NORM_COLUMNS], a[OG__NORM_COLUMNS], b[OG__NORM_COLUMNS], e[OG__NORM_COLUMNS];   \
        for (int64_t c = 0; c < columns; c++) {                                                    \
            mean[c] = (T)mean_[c];                                                                 \
            a[c] = (T)a_[c];                                                                       \
            b[c] = (T)b_[c];                                                                       \
            e[c] = (T)c_[c];                                                                       \
        }                                                                                          \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            const T *restrict dy = (const T *)dy_ + r * stride;                                    \
            const T *restrict x = (const T *)x_ + r * stride;                                      \
            T *restrict dx = (T *)dx_ + r * stride;                                                \
            for (int64_t c = 0; c < columns; c++)                                                  \
                dx[c] = a[c] * dy[c] + (b[c] * (x[c] - mean[c]) + e[c]);                           \
        }                                                                                          \
    }                                                                                              \
    static void layer_##T(const void *x_, const void *scale_, const void *bias_, void *y_,         \
                          int64_t n, double mean_, double rstd_)                                   \
    {                                                                                              \
        const T *restrict x = x_, *restrict scale = scale_, *restrict bias = bias_;                \
        T *restrict y = y_;                                                                        \
        T mean = (T)mean_, rstd = (T)rstd_;                                                        \
        if (bias)                                                                                  \
            for (int64_t i = 0; i < n; i++)                                                        \
                y[i] = (x[i] - mean) * rstd * scale[i] + bias[i];                                  \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++)                                                        \
                y[i] = (x[i] - mean) * rstd * scale[i];                                            \
    }                                                                                              \
    static void layer_grad_sums_##T(const void *dy_, const void *x_, const void *scale_,           \
                                    int64_t n, double mean, double rstd, double s[2],              \
                                    double *restrict dscale, double *restrict dbias)               \
    {                                                                                              \
        const T *restrict dy = dy_, *restrict x = x_, *restrict scale = scale_;                    \
        double s0 = 0, s1 = 0;                                                                     \
        _Pragma("omp simd reduction(+ : s0, s1)") for (int64_t i = 0; i < n; i++)                  \
        {                                                                                          \
            double g = (double)dy[i] * (double)scale[i];                                           \
            s0 += g;                                                                               \
            s1 += g * (((double)x[i] - mean) * rstd);                                              \
        }                                                                                          \
        s[0] = s0;                                                                                 \
        s[1] = s1;                                                                                 \
        if (dscale)                                                                                \
            for (int64_t i = 0; i < n; i++)                                                        \
                dscale[i] += (double)dy[i] * (((double)x[i] - mean) * rstd);                       \
        if (dbias)                                                                                 \
            for (int64_t i = 0; i < n; i++)                                                        \
                dbias[i] += (double)dy[i];                                                         \
    }                                                                                              \
    static void layer_grad_##T(const void *dy_, const void *x_, const void *scale_, void *dx_,     \
                               int64_t n, double mean_, double rstd_, const double s[2])           \
    {                                                                                              \
        const T *restrict dy = dy_, *restrict x = x_, *restrict scale = scale_;                    \
        T *restrict dx = dx_;                                                                      \
        T mean = (T)mean_, rstd = (T)rstd_;                                                        \
        T s0 = (T)(s[0] / (double)n), s1 = (T)(s[1] / (double)n * rstd_);                          \
        for (int64_t i = 0; i < n; i++)                                                            \
            dx[i] = rstd * ((dy[i] * scale[i] - s0) - (x[i] - mean) * s1);                         \
    }                                                                                              \
    static const og__norm_fns fns_##T = {                                                          \
        line_sums_##T,    line_scale_##T,      line_grad_sums_##T,    line_grad_##T,               \
        columns_sums_##T, columns_scale_##T,   columns_grad_sums_##T, columns_grad_##T,            \
        layer_##T,        layer_grad_sums_##T, layer_grad_##T,                                     \
    };

NORM(float)
NORM(double)

const og__norm_fns *OG_SIMD(og__norm_find)(og_dtype dtype)
{
    return dtype == OG_DOUBLE ? &fns_double : &fns_float;
}
