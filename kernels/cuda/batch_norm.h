/* Arguments of the kernel in batch_norm.cu. */
#ifndef OG_KERNELS_CUDA_BATCH_NORM_H
#define OG_KERNELS_CUDA_BATCH_NORM_H

/* rstd, var: [n] */
typedef struct og_variance_arguments {
    const float *rstd;
    float *var;
    int n;
    float epsilon;
} og_variance_arguments;

#endif
