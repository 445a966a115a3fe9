/* Arguments of the kernels in depthwise.cu. */
#ifndef OG_KERNELS_CUDA_DEPTHWISE_H
#define OG_KERNELS_CUDA_DEPTHWISE_H

#include "kernels/cuda/image_shape.h"

/* x, w [c, 1, kernel …], y or their gradients; bias [c], NULL: none. sums [parts, c, taps]: of the
 * gradient of w, a part of the images' places each. */
typedef struct og_depthwise_arguments {
    og_image_shape shape;
    void *x, *w, *y;
    const void *bias;
    float *sums;
    int parts;
} og_depthwise_arguments;

enum { OG_DEPTHWISE_CHANNELS = 32, OG_DEPTHWISE_THREADS = 256 };

#endif
