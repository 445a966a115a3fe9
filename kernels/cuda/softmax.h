/* Arguments of the kernels in softmax.cu. */
#ifndef OG_KERNELS_CUDA_SOFTMAX_H
#define OG_KERNELS_CUDA_SOFTMAX_H

#include "kernels/cuda/outside.h"

/* rows × n elements, a row after the other. */
typedef struct og_softmax_arguments {
    const void *x;
    void *y;
    long long rows;
    int n;
    int warps; /* a warp does a row; else a block */
    int log;   /* LogSoftmax */
} og_softmax_arguments;

/* Labels are int64, or int32 where `narrow` is set; those that no class has are said and
 * give NaN. lse, dlse: double; dlse NULL: zeros. */
typedef struct og_cross_entropy_arguments {
    const void *x, *labels, *dloss;
    const double *lse, *dlse;
    void *loss, *dx;
    double *lse_out;     /* NULL: not wanted */
    og_outside *outside; /* of the loss */
    unsigned int call;   /* for `outside` */
    long long rows;
    int n, warps, narrow;
} og_cross_entropy_arguments;

#endif
