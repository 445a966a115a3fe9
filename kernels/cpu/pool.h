/* Between the pooling kernels and their loops (pool_simd.c), which exist once for each instruction set. */
#ifndef OG_KERNELS_CPU_POOL_H
#define OG_KERNELS_CPU_POOL_H

#include "kernels/cpu/iterate.h"

/* T: float, double, int8_t or uint8_t; the last two functions float and double only. */
typedef struct og__pool_fns {
    /* best[i] = -Inf or the lowest integer */
    void (*lowest)(void *best, int64_t n);
    /* best[i] = max(best[i], x[i step]); a NaN is larger than all */
    void (*max)(void *best, const void *x, int64_t n, int64_t step);
    /* The same; where the element is taken, or index[i] is negative, index[i] = at + i step */
    void (*max_index)(void *best, int32_t *index, const void *x, int64_t n, int64_t step, int32_t at);
    /* best[i] = the largest of x[2i], x[2i + 1], x[2i + below], x[2i + 1 + below]; index (NULL: not wanted) as above */
    void (*max_2x2)(void *best, int32_t *index, const void *x, int64_t n, int64_t below, int32_t at);
    /* y[i] += x[i step] */
    void (*add)(void *y, const void *x, int64_t n, int64_t step);
    /* y[i step] += x[i] */
    void (*spread)(void *y, const void *x, int64_t n, int64_t step);
    /* y[i] = x[i] / (count[i] others) */
    void (*divide)(void *y, const void *x, const int32_t *count, double others, int64_t n);
} og__pool_fns;

/* NULL for other types. */
OG__BUILDS(const og__pool_fns *, og__pool_find, (og_dtype dtype));

#endif
