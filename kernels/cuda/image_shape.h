/* The geometry of images and windows, as kernels get it (image.h). */
#ifndef OG_KERNELS_CUDA_IMAGE_SHAPE_H
#define OG_KERNELS_CUDA_IMAGE_SHAPE_H

typedef struct og_image_shape {
    long long n, c;
    int in[3], out[3], kernel[3], step[3], dilation[3], begin[3], end[3];
    int channels_last;
} og_image_shape;

#endif
