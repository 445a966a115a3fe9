/* Arguments of the kernels in random.cu. */
#ifndef OG_KERNELS_CUDA_RANDOM_H
#define OG_KERNELS_CUDA_RANDOM_H

/* position: seed, update and micro-batch, int64 [3]. ratio: of KeepMask, an element of the kernel's
 * type. */
typedef struct og_random_arguments {
    const long long *position;
    const void *ratio;
    void *y;
    long long n, key;
    int aligned; /* y begins at a multiple of 16 bytes */
} og_random_arguments;

#endif
