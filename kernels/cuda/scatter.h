/* Arguments of the kernels in scatter.cu. */
#ifndef OG_KERNELS_CUDA_SCATTER_H
#define OG_KERNELS_CUDA_SCATTER_H

enum {
    OG_SCATTER_CHUNK = 16, /* keys, whatever the card */
    OG_SCATTER_LANES = 32, /* of a block that joins chunks: pieces of a row … */
    OG_SCATTER_GROUPS = 8  /* … and threads that share the chunks of one */
};

enum { OG_SCATTER_ADD, OG_SCATTER_MUL, OG_SCATTER_MAX, OG_SCATTER_MIN };

/* u [outer, count, pieces], sorted keys of places below n → y [outer, n, pieces]: the rows of each
 * place joined; of places without rows nothing is written. The rows of a place lie within one
 * chunk, or begin before it (what is joined of them: at 0 of the chunk's pair in `partial`) or go
 * on behind it (at 1): partial [outer, chunks, 2, pieces]. */
typedef struct og_scatter_arguments {
    const void *u;
    void *y;
    const unsigned long long *keys;
    void *partial;
    long long outer, count, n, pieces, chunks;
    int reduction;
    int onto;      /* the first to be joined is what y holds; 0: y is written */
    int is_signed; /* integers */
} og_scatter_arguments;

/* u [count, run] → y [n, run], the last row of each place; runs of units of 1 to 16 bytes. */
typedef struct og_overwrite_arguments {
    const void *u;
    void *y;
    const unsigned long long *keys;
    long long count, run;
} og_overwrite_arguments;

#endif
