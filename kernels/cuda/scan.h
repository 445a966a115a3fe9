/* Arguments of the kernels in scan.cu. */
#ifndef OG_KERNELS_CUDA_SCAN_H
#define OG_KERNELS_CUDA_SCAN_H

enum {
    OG_SCAN_THREADS = 256,
    OG_SCAN_ITEMS = 4,  /* of a line, a thread at a time: CumSum */
    OG_SORT_LINE = 2048 /* elements of a line that TopK sorts, at most */
};

/* Lines of x [outer, n, inner] along n. A block has `along` threads, a power of two, for each of
 * its lines. */
typedef struct og_scan_arguments {
    const void *x;
    void *y;       /* ArgMax, ArgMin: int64 [outer, inner]; CumSum: as x; TopK: [outer, k, inner] */
    long long *at; /* TopK: indices [outer, k, inner]; NULL: not wanted */
    long long lines, n, inner, k;
    int along;
    int neighbours; /* threads next to each other are of lines next to each other, not of one */
    int is_signed;
    int least, last;        /* ArgMin, not ArgMax; TopK: the smallest. The last of equals */
    int exclusive, reverse; /* CumSum */
} og_scan_arguments;

#endif
