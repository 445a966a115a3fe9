/* Between the channels-last kernels of batch normalization and their loops (batchnorm_simd.c),
 * which exist once for each instruction set. x, y, dy, dx: [rows, channels] float; what belongs to
 * a channel: [channels]. */
#ifndef OG_KERNELS_CPU_BATCHNORM_H
#define OG_KERNELS_CPU_BATCHNORM_H

#include "kernels/cpu/normalization.h"

/* Rows whose sums are taken in float, before they are added in double. */
#define OG__BATCHNORM_RUN 32

typedef struct og__batchnorm_fns {
    /* s0 = Σ (x - shift), s1 = Σ (x - shift)² over the rows */
    void (*sums)(const float *x, int64_t rows, int64_t channels, const float *shift, double *s0,
                 double *s1);
    /* s0 = Σ dy, s1 = Σ dy (x - mean) */
    void (*grad_sums)(const float *dy, const float *x, int64_t rows, int64_t channels,
                      const float *mean, double *s0, double *s1);
    /* From the sums about mean over m rows: mean, var, rstd, and a = rstd scale of y below */
    void (*moments)(int64_t channels, double m, double epsilon, const double *s0, const double *s1,
                    const float *scale, float *mean, float *var, float *rstd, float *a);
    /* From the gradient's sums: dscale, dbias, and a, b, c of dx below */
    void (*grad_factors)(int64_t channels, double m, const double *s0, const double *s1,
                         const float *scale, const float *rstd, float *dscale, float *dbias,
                         float *a, float *b, float *c);
    /* y = (x - mean) a + b */
    void (*scale)(const float *x, float *y, int64_t rows, int64_t channels, const float *mean,
                  const float *a, const float *b);
    /* dx = a dy + (b (x - mean) + c) */
    void (*grad)(const float *dy, const float *x, float *dx, int64_t rows, int64_t channels,
                 const float *mean, const float *a, const float *b, const float *c);
} og__batchnorm_fns;

OG__BUILDS(const og__batchnorm_fns *, og__batchnorm_find, (void));

#endif
