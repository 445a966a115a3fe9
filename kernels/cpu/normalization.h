/* Between the normalization kernels and their loops (normalization_simd.c), which exist once for
 * each instruction set. x, y, dy, dx: T, float or double; sums are double. The loops over a line
 * work on n consecutive elements with one mean …; those over columns on `rows` rows, `stride`
 * elements apart, of `columns` consecutive elements, each column with its own. */
#ifndef OG_KERNELS_CPU_NORMALIZATION_H
#define OG_KERNELS_CPU_NORMALIZATION_H

#include "kernels/cpu/iterate.h"

/* Columns handled together: what fits the buffers on the stack. */
#define OG__NORM_COLUMNS 256

typedef struct og__norm_fns {
    /* s[0] += Σ (x - shift), s[1] += Σ (x - shift)² */
    void (*line_sums)(const void *x, int64_t n, double shift, double s[2]);
    /* y = (x - mean) a + b */
    void (*line_scale)(const void *x, void *y, int64_t n, double mean, double a, double b);
    /* s[0] += Σ dy, s[1] += Σ dy (x - mean) */
    void (*line_grad_sums)(const void *dy, const void *x, int64_t n, double mean, double s[2]);
    /* dx = a dy + b (x - mean) + c */
    void (*line_grad)(const void *dy, const void *x, void *dx, int64_t n, double mean, double a,
                      double b, double c);

    /* The same with arrays of one element a column; s0 and s1 are the sums. */
    void (*columns_sums)(const void *x, int64_t rows, int64_t stride, int64_t columns,
                         const double *shift, double *s0, double *s1);
    void (*columns_scale)(const void *x, void *y, int64_t rows, int64_t stride, int64_t columns,
                          const double *mean, const double *a, const double *b);
    void (*columns_grad_sums)(const void *dy, const void *x, int64_t rows, int64_t stride,
                              int64_t columns, const double *mean, double *s0, double *s1);
    void (*columns_grad)(const void *dy, const void *x, void *dx, int64_t rows, int64_t stride,
                         int64_t columns, const double *mean, const double *a, const double *b,
                         const double *c);

    /* y = (x - mean) rstd scale + bias, elementwise; bias may be NULL */
    void (*layer)(const void *x, const void *scale, const void *bias, void *y, int64_t n,
                  double mean, double rstd);
    /* With g = dy scale, h = (x - mean) rstd: s[0] = Σ g, s[1] = Σ g h; dscale += dy h, dbias += dy
     * unless NULL */
    void (*layer_grad_sums)(const void *dy, const void *x, const void *scale, int64_t n,
                            double mean, double rstd, double s[2], double *dscale, double *dbias);
    /* dx = rstd (g - s[0] / n - h s[1] / n) */
    void (*layer_grad)(const void *dy, const void *x, const void *scale, void *dx, int64_t n,
                       double mean, double rstd, const double s[2]);
} og__norm_fns;

OG__BUILDS(const og__norm_fns *, og__norm_find, (og_dtype dtype));

/* Shared by the kernels that normalize with x[0] float or double, y[0] of its type, the other real
 * tensors of any real type. */
bool og__supports_norm(const og_call *call);
/* Are all that are present float? */
bool og__norm_all_float(int n, const og_tensor *t);
/* Element i of a dense vector, `fallback` where the tensor is absent. */
double og__norm_get(int n, const og_tensor *t, int which, int64_t i, double fallback);
/* Store unless the output is absent. */
void og__norm_put(const og_call *call, int out, int64_t i, double value);
/* Mean and biased variance from sums about `shift` over m elements. */
void og__norm_moments(const double s[2], double shift, double m, double *mean, double *var);

#endif
