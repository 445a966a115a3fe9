/* Arguments of the kernels in pool.cu. */
#ifndef OG_KERNELS_CUDA_POOL_H
#define OG_KERNELS_CUDA_POOL_H

/* x: the larger side [n, c, in …], y the smaller one [n, c, out …], dense both or channels-last
 * both; dx and dy lie as they. found: what MaxPool says of its elements: their place in the window
 * (1 or 4 bytes; 0 for an empty window), or with 8 bytes where they lie in a dense x (-1). */
typedef struct og_pool_arguments {
    void *x, *y, *found;
    long long n, c;
    int in[3], out[3], kernel[3], step[3], dilation[3], begin[3], end[3];
    int channels_last, found_bytes, include_pad;
} og_pool_arguments;

#endif
