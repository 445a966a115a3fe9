/* Between the pooling kernels and their loops (pool_simd.c), which exist once for each instruction
 * set. */
#ifndef OG_KERNELS_CPU_POOL_H
#define OG_KERNELS_CPU_POOL_H

#include "kernels/cpu/iterate.h"

/* A line of n outputs of MaxPool over one plane x. */
typedef struct og__pool_line {
    const int32_t *rows; /* where the input rows that its windows read begin in the plane */
    int32_t n_rows, n;
    int32_t start; /* input column of output 0 at window offset 0; may be negative */
    int32_t width; /* of an input row */
    int32_t kernel, dilation, step;  /* along the row */
    int32_t inner_first, inner_last; /* outputs whose window lies inside the row */
} og__pool_line;

/* T: float, double, int8_t or uint8_t; the last three functions float and double only. */
typedef struct og__pool_fns {
    /* best[i] = the largest element, a NaN if there is one; index[i] = where it is in the plane, -1
     * for an empty window */
    void (*max)(void *best, int32_t *index, const void *x, const og__pool_line *line);
    /* The same for windows of 2 × 2, 2 apart: the largest of x[2i], x[2i + 1], x[2i + below], x[2i
     * + 1 + below]; index (NULL: not wanted) = `at` + its offset from x */
    void (*max_2x2)(void *best, int32_t *index, const void *x, int64_t n, int64_t below,
                    int32_t at);
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
