/* Arguments of the kernels in gather.cu. */
#ifndef OG_KERNELS_CUDA_GATHER_H
#define OG_KERNELS_CUDA_GATHER_H

#include "kernels/cuda/outside.h"

/* x [outer, n, run], indices [count] → y [outer, count, run], runs of units of 1 to 16 bytes.
 * Indices count from the end where negative; one outside is said and gives bytes of ones, which are
 * NaN. */
typedef struct og_gather_arguments {
    void *y;
    const void *x, *indices;
    long long outer, n, count, run;
    og_outside *outside;
    unsigned int call; /* for `outside` */
    int narrow;        /* indices are int32 */
} og_gather_arguments;

/* keys [size]: index << 32 | position of each of `count` indices, and behind them all ones. */
typedef struct og_keys_arguments {
    unsigned long long *keys;
    const void *indices;
    long long count, size, n;
    int narrow;
} og_keys_arguments;

/* One step of a bitonic sort: runs of `sorted` keys are made, keys `apart` are compared. Or all
 * steps from `sorted`, `apart` on that stay within a block of OG_SORT_BLOCK keys, up to runs of
 * `until`. */
typedef struct og_sort_arguments {
    unsigned long long *keys;
    long long size, sorted, apart, until;
} og_sort_arguments;

enum { OG_SORT_BLOCK = 1024, OG_SORT_THREADS = 256 };

/* dy [outer, count, inner], sorted keys → dx [outer, n, inner], which is zero before: a block adds
 * up the rows of one index in the order of their positions, in some of the columns. */
typedef struct og_gather_grad_arguments {
    const void *dy;
    void *dx;
    const unsigned long long *keys;
    long long outer, count, n, inner;
    int column_blocks;
} og_gather_grad_arguments;

#endif
