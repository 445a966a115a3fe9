/* Arguments of the kernels in optimizer.cu. */
#ifndef OG_KERNELS_CUDA_OPTIMIZER_H
#define OG_KERNELS_CUDA_OPTIMIZER_H

/* As AdamStep of ops/optimizer.c names them; w, m, v may be where w1, m1, v1 are. */
typedef struct og_adam_arguments {
    const float *w, *g, *m, *v;
    float *w1, *m1, *v1;
    void *half; /* w1 in float16, or in bfloat16 where `bfloat` is set; NULL: not wanted */
    const unsigned char *finite;
    const float *factor, *decay, *rate, *root; /* one element each */
    long long n;
    int bfloat;
    float beta1, beta2, rest1, rest2, epsilon, l2; /* rest: 1 - beta */
} og_adam_arguments;

#endif
