/* Arguments of the kernel in collect.cu. */
#ifndef OG_KERNELS_CUDA_COLLECT_H
#define OG_KERNELS_CUDA_COLLECT_H

enum { OG_COLLECT_MOST = 32, OG_COLLECT_BYTES = 8 };

/* n pieces of at most OG_COLLECT_BYTES bytes. */
typedef struct og_collect_arguments {
    const void *from[OG_COLLECT_MOST];
    void *to[OG_COLLECT_MOST];
    unsigned char bytes[OG_COLLECT_MOST];
    int n;
} og_collect_arguments;

#endif
