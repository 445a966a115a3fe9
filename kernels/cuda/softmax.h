/* Arguments of the kernels in softmax.cu. */
#ifndef OG_KERNELS_CUDA_SOFTMAX_H
#define OG_KERNELS_CUDA_SOFTMAX_H

/* rows × n elements, a row after the other. */
typedef struct og_softmax_arguments {
    const void *x;
    void *y;
    int n;
    int log; /* LogSoftmax */
} og_softmax_arguments;

#endif
