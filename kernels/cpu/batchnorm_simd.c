/* The loops of batch normalization channels-last. Compiled once for each instruction set. Sums walk
 * down a strip of channels that fits registers. */
#include "kernels/cpu/batchnorm.h"

typedef float wide __attribute__((vector_size(64), aligned(4), may_alias));
typedef float half __attribute__((vector_size(32), aligned(4), may_alias));

/* `n` vectors V of L channels at once; D is the type of a register. */
#define STRIP(name, V, D, L, n)                                                                 \
    static void sums_##name(const float *x, int64_t rows, int64_t stride, const float *shift,   \
                            double *restrict s0, double *restrict s1)                           \
    {                                                                                           \
        D about[n];                                                                             \
        for (int v = 0; v < (n); v++)                                                           \
            about[v] = *(const V *)(shift + v * (L));                                           \
        for (int64_t first = 0; first < rows; first += OG__BATCHNORM_RUN) {                     \
            int64_t last = og__min(rows, first + OG__BATCHNORM_RUN);                            \
            D a[n] = {0}, b[n] = {0};                                                           \
            for (int64_t r = first; r < last; r++)                                              \
                for (int v = 0; v < (n); v++) {                                                 \
                    D d = *(const V *)(x + r * stride + v * (L)) - about[v];                    \
                    a[v] += d;                                                                  \
                    b[v] += d * d;                                                              \
                }                                                                               \
            for (int v = 0; v < (n); v++)                                                       \
                for (int l = 0; l < (L); l++) {                                                 \
                    s0[v * (L) + l] += (double)PART(a[v], l);                                   \
                    s1[v * (L) + l] += (double)PART(b[v], l);                                   \
                }                                                                               \
        }                                                                                       \
    }                                                                                           \
    static void grad_sums_##name(const float *dy, const float *x, int64_t rows, int64_t stride, \
                                 const float *mean, double *restrict s0, double *restrict s1)   \
    {                                                                                           \
        D about[n];                                                                             \
        for (int v = 0; v < (n); v++)                                                           \
            about[v] = *(const V *)(mean + v * (L));                                            \
        for (int64_t first = 0; first < rows; first += OG__BATCHNORM_RUN) {                     \
            int64_t last = og__min(rows, first + OG__BATCHNORM_RUN);                            \
            D a[n] = {0}, b[n] = {0};                                                           \
            for (int64_t r = first; r < last; r++)                                              \
                for (int v = 0; v < (n); v++) {                                                 \
                    D d = *(const V *)(dy + r * stride + v * (L));                              \
                    a[v] += d;                                                                  \
                    b[v] += d * (*(const V *)(x + r * stride + v * (L)) - about[v]);            \
                }                                                                               \
            for (int v = 0; v < (n); v++)                                                       \
                for (int l = 0; l < (L); l++) {                                                 \
                    s0[v * (L) + l] += (double)PART(a[v], l);                                   \
                    s1[v * (L) + l] += (double)PART(b[v], l);                                   \
                }                                                                               \
        }                                                                                       \
    }

typedef float wide_register __attribute__((vector_size(64)));
typedef float half_register __attribute__((vector_size(32)));
#define PART(vector, lane) (vector)[lane]
STRIP(4x16, wide, wide_register, 16, 4)
STRIP(1x16, wide, wide_register, 16, 1)
STRIP(1x8, half, half_register, 8, 1)
#undef PART
#define PART(scalar, lane) (scalar)
STRIP(1, float, float, 1, 1)

#define STRIPS(function, ...)                         \
    do {                                              \
        int64_t c = 0;                                \
        memset(s0, 0, (size_t)channels * sizeof *s0); \
        memset(s1, 0, (size_t)channels * sizeof *s1); \
        for (; c + 64 <= channels; c += 64)           \
            function##_4x16(__VA_ARGS__);             \
        for (; c + 16 <= channels; c += 16)           \
            function##_1x16(__VA_ARGS__);             \
        for (; c + 8 <= channels; c += 8)             \
            function##_1x8(__VA_ARGS__);              \
        for (; c < channels; c++)                     \
            function##_1(__VA_ARGS__);                \
    } while (0)

static void sums(const float *x, int64_t rows, int64_t channels, const float *shift, double *s0,
                 double *s1)
{
    STRIPS(sums, x + c, rows, channels, shift + c, s0 + c, s1 + c);
}

static void grad_sums(const float *dy, const float *x, int64_t rows, int64_t channels,
                      const float *mean, double *s0, double *s1)
{
    STRIPS(grad_sums, dy + c, x + c, rows, channels, mean + c, s0 + c, s1 + c);
}

static void moments(int64_t channels, double m, double epsilon, const double *restrict s0,
                    const double *restrict s1, const float *restrict scale, float *restrict mean,
                    float *restrict var, float *restrict rstd, float *restrict a)
{
    for (int64_t c = 0; c < channels; c++) {
        double d = s0[c] / m, v = s1[c] / m - d * d;
        v = v < 0 ? 0 : v;
        double r = 1 / sqrt(v + epsilon);
        mean[c] = (float)((double)mean[c] + d);
        var[c] = (float)v;
        rstd[c] = (float)r;
        a[c] = rstd[c] * scale[c]; /* as whoever computes y again has it */
    }
}

static void grad_factors(int64_t channels, double m, const double *restrict s0,
                         const double *restrict s1, const float *restrict scale,
                         const float *restrict rstd, float *restrict dscale, float *restrict dbias,
                         float *restrict a, float *restrict b, float *restrict e)
{
    for (int64_t c = 0; c < channels; c++) {
        double r = (double)rstd[c], f = r * (double)scale[c];
        a[c] = (float)f;
        b[c] = (float)(-f * r * r * s1[c] / m);
        e[c] = (float)(-f * s0[c] / m);
        dscale[c] = (float)(s1[c] * r);
        dbias[c] = (float)s0[c];
    }
}

static void scale(const float *x_, float *y_, int64_t rows, int64_t channels,
                  const float *restrict mean, const float *restrict a, const float *restrict b)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *restrict x = x_ + r * channels;
        float *restrict y = y_ + r * channels;
        for (int64_t c = 0; c < channels; c++)
            y[c] = (x[c] - mean[c]) * a[c] + b[c];
    }
}

static void grad(const float *dy_, const float *x_, float *dx_, int64_t rows, int64_t channels,
                 const float *restrict mean, const float *restrict a, const float *restrict b,
                 const float *restrict e)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *restrict dy = dy_ + r * channels, *restrict x = x_ + r * channels;
        float *restrict dx = dx_ + r * channels;
        for (int64_t c = 0; c < channels; c++)
            dx[c] = a[c] * dy[c] + (b[c] * (x[c] - mean[c]) + e[c]);
    }
}

static const og__batchnorm_fns fns = {sums, grad_sums, moments, grad_factors, scale, grad};

const og__batchnorm_fns *OG_SIMD(og__batchnorm_find)(void)
{
    return &fns;
}
