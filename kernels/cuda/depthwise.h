/* Arguments of the kernels in depthwise.cu. */
#ifndef OG_KERNELS_CUDA_DEPTHWISE_H
#define OG_KERNELS_CUDA_DEPTHWISE_H

#include "kernels/cuda/image_shape.h"

/* x, w [c, taps], y or their gradients; bias [c], NULL: none. Channels are counted in pieces,
 * shape.c of them; of x and y forward and of dx, w_channel and w_tap pieces of w lie between those
 * of neighbours. sums [parts, channels, taps]: of the gradient of w, a part of the images' places
 * each; a block has `lanes` pieces of channels. */
typedef struct og_depthwise_arguments {
    og_image_shape shape;
    void *x, *w, *y;
    const void *bias;
    float *sums;
    int parts, lanes;
    long long w_channel, w_tap;
} og_depthwise_arguments;

enum { OG_DEPTHWISE_CHANNELS = 32, OG_DEPTHWISE_THREADS = 256 };

#endif
