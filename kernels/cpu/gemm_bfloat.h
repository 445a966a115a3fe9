/* The products of bfloat16 of gemm.h, by each kind of instruction there is for them. */
#ifndef OG_KERNELS_CPU_GEMM_BFLOAT_H
#define OG_KERNELS_CPU_GEMM_BFLOAT_H

#include "kernels/cpu/gemm.h"

/* og__gemm_bfloat_… by one kind. */
typedef struct og__gemm_fns {
    size_t (*bytes)(int64_t n, int64_t k);
    size_t (*rows_bytes)(const og__gemm *g);
    void (*pack)(const og__gemm *g, const void *b, void *packed, int64_t first, int64_t last);
    void (*packed)(const og__gemm *g, const void *a, const void *packed, void *c, void *workspace);
} og__gemm_fns;

extern const og__gemm_fns og__gemm_pairs; /* where og__has_bfloat16() */
extern const og__gemm_fns og__gemm_tiles; /* where og__has_matrix_tiles() */

#endif
