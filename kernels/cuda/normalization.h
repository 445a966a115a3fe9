/* Arguments of the kernels in normalization.cu. */
#ifndef OG_KERNELS_CUDA_NORMALIZATION_H
#define OG_KERNELS_CUDA_NORMALIZATION_H

/* rows × n elements. RMS norms have no mean and no bias. Pointers may be NULL where a tensor is
 * absent. */
typedef struct og_layer_arguments {
    const void *x, *scale, *bias;
    void *y;
    float *mean, *rstd;
    long long rows;
    int n, warps, rms;
    float epsilon;
} og_layer_arguments;

/* A block does `each` rows one after the other and leaves what it adds up for dscale and dbias in
 * sums [blocks, 2, n]. */
typedef struct og_layer_grad_arguments {
    const void *dy, *x, *scale;
    const float *mean, *rstd;
    void *dx;
    float *sums; /* NULL: neither is wanted */
    long long rows;
    int n, each, rms;
} og_layer_grad_arguments;

/* dscale and dbias from the sums of `blocks` blocks. */
typedef struct og_layer_join_arguments {
    const float *sums;
    void *dscale, *dbias;
    int n, blocks;
} og_layer_join_arguments;

#endif
