/* Arguments of the kernels in pool.cu. */
#ifndef OG_KERNELS_CUDA_POOL_H
#define OG_KERNELS_CUDA_POOL_H

#include "kernels/cuda/image_shape.h"

/* x and y, or dx and dy: the larger and the smaller side. found: what MaxPool says of its elements:
 * their place in the window (1 or 4 bytes; 0 for an empty window), or with 8 bytes where they lie
 * in a dense x (-1). */
typedef struct og_pool_arguments {
    og_image_shape shape;
    void *x, *y, *found;
    int found_bytes, include_pad;
} og_pool_arguments;

#endif
