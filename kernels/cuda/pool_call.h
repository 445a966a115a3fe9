/* Calls of MaxPool, MaxPoolTraining, AveragePool and their gradients, for the kernels of these. */
#ifndef OG_KERNELS_CUDA_POOL_CALL_H
#define OG_KERNELS_CUDA_POOL_CALL_H

#include "kernels/cpu/pool.h"

typedef struct og__pool_call {
    bool max, gradient;
    const og_tensor *large, *small; /* x and y, or dx and dy */
    const og_tensor *found;         /* what MaxPool says of its elements; NULL: not wanted */
} og__pool_call;

og__pool_call og__pool_call_of(const og_call *call);

#endif
