/* Between softmax.c, cross_entropy.c and their loops (softmax_simd.c), which exist once for each
 * instruction set. */
#ifndef OG_KERNELS_CPU_SOFTMAX_H
#define OG_KERNELS_CPU_SOFTMAX_H

#include "kernels/cpu/iterate.h"

#define OG__SOFTMAX_COLUMNS 256

/* Over n elements `stride` apart, for each of `columns` neighbouring positions (1 where stride is
 * 1). x and y do not overlap; float or double. */
OG__BUILDS(void, og__softmax_block,
           (bool is_double, const void *x, void *y, int64_t n, int64_t stride, int64_t columns,
            bool logarithm));

/* n consecutive elements, float or double: *most = max x, the result Σ exp(x - max). */
OG__BUILDS(double, og__softmax_sum, (bool is_double, const void *x, int64_t n, double *most));
/* dx = factor exp(x - lse), lse = ln Σ exp x; dx may be x. */
OG__BUILDS(void, og__softmax_scaled,
           (bool is_double, const void *x, void *dx, int64_t n, double lse, double factor));

#endif
