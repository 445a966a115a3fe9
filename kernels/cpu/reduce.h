/* Between the reductions' driver (reduce.c) and their loops (reduce_simd.c), which exist once for
 * each instruction set. An accumulator is 8 bytes: double for real types, int64_t for integers and
 * bool, uint64_t for uint64. */
#ifndef OG_KERNELS_CPU_REDUCE_H
#define OG_KERNELS_CPU_REDUCE_H

#include "kernels/cpu/iterate.h"

typedef struct og__reduce_fns {
    /* acc[0 … n - 1] = the value of reducing nothing */
    void (*start)(void *acc, int64_t n);
    /* acc[0] takes in n elements, `stride` elements apart. */
    void (*row)(void *acc, const void *x, int64_t n, int64_t stride);
    /* acc[c] takes in x[r row_stride + c column_stride] for all r < rows, c < columns. */
    void (*columns)(void *acc, const void *x, int64_t rows, int64_t row_stride, int64_t columns,
                    int64_t column_stride);
    /* acc[i] takes in other[i]. */
    void (*join)(void *acc, const void *other, int64_t n);
    /* y[i stride] = acc[i] / divisor */
    void (*finish)(const void *acc, int64_t n, int64_t divisor, void *y, int64_t stride);
} og__reduce_fns;

/* For elements of a type; a mean is a sum that is divided. NULL where the combination does not
 * exist. */
OG__BUILDS(const og__reduce_fns *, og__reduce_find, (og_fold kind, og_dtype dtype));

/* reduce.c: which axes of a Reduce op's input are reduced, for every device. */
og_status og__reduce_axes(const og_call *call, bool *reduced, og_error *error);

#endif
