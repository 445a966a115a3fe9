/* What kernels say of an index that nothing has (index.h says it, outside.c reads it). */
#ifndef OG_KERNELS_CUDA_OUTSIDE_H
#define OG_KERNELS_CUDA_OUTSIDE_H

/* In the card's memory, all zeros until a kernel meets one. The call that was the first to meet one
 * keeps it; of what it met, the first position stays, whatever the order of threads. */
typedef struct og_outside {
    unsigned int call; /* 0: nobody */
    unsigned int unused;
    unsigned long long first; /* ~position << 32 | value, each limited to 32 bits */
} og_outside;

#endif
