/* Arguments of the kernels in conv.cu. */
#ifndef OG_KERNELS_CUDA_CONV_H
#define OG_KERNELS_CUDA_CONV_H

/* Images [n, c, in …], of any strides, and their windows [n, out …, group, kernel …, c of a group],
 * dense; always three spatial axes. c_group and strides are in units of what is copied at once, or
 * elements where things are added. first: the first image; images: how many. */
typedef struct og_windows_arguments {
    void *image, *windows;
    long long first, images;
    long long n_stride, c_stride, stride[3]; /* of images, by spatial axis */
    int in[3], out[3], kernel[3], step[3], dilation[3], begin[3];
    int group, c_group;
} og_windows_arguments;

#endif
