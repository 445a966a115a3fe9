/* Arguments of the kernels in attention.cu. A row is one query of one head of one sample. */
#ifndef OG_KERNELS_CUDA_ATTENTION_H
#define OG_KERNELS_CUDA_ATTENTION_H

typedef struct og_attention_clear_arguments {
    const float *statistics; /* [B, H, S] */
    unsigned short *y;       /* [B, S, H, E], 16-bit elements */
    long long rows;
    int H, S, E;
} og_attention_clear_arguments;

typedef struct og_attention_join_arguments {
    const float *top, *log_sum;
    float *statistics;
    long long rows;
    int zero_nan;
} og_attention_join_arguments;

#endif
