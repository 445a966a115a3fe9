/* Arguments of the kernels in gather.cu. */
#ifndef OG_KERNELS_CUDA_GATHER_H
#define OG_KERNELS_CUDA_GATHER_H

#include "kernels/cuda/place.h"

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

/* x [slices, run], places of `count` slices → y [count, run], runs of units of 1 to 16 bytes; bytes
 * of ones where there is no such slice. */
typedef struct og_take_arguments {
    og_places places;
    void *y;
    const void *x;
    long long count, run;
} og_take_arguments;

#endif
