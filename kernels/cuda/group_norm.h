/* Arguments of the kernels in group_norm.cu. */
#ifndef OG_KERNELS_CUDA_GROUP_NORM_H
#define OG_KERNELS_CUDA_GROUP_NORM_H

enum { OG_GROUP_THREADS = 256, OG_GROUP_PIECES = 2048 /* of a block of og_group_apply */ };

/* x, dy, out: images of n × c × space elements, dense, or with their channels last; each: channels
 * of a group. Everything of a call; each kernel reads what it needs. Pointers may be NULL where a
 * tensor is absent. */
typedef struct og_group_arguments {
    const void *dy, *x, *scale, *bias;
    void *out, *dscale, *dbias; /* out: y, or dx */
    float *mean, *rstd;         /* [n, groups] */
    /* Pairs of sums of `parts` parts of `length` elements, `chunk` each but for the last: of groups
     * [n, groups, parts], or of channels [n, c, parts]. */
    float *sums;
    /* out = a dy + b (x - centre) + e: centre, a, b, e, each [n, c]; without dy no a. */
    float *factors;
    long long n;
    int c, groups, each, space, last;
    int parts, chunk, length;
    int warps;          /* a part is a warp's, not a block's */
    int width, columns; /* channels last: pieces that a block takes across, blocks across */
    int blocks;         /* of og_group_apply, a sample */
    float epsilon;
} og_group_arguments;

#endif
