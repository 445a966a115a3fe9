/* Matrix products on one thread: what the plain matmul and convolution kernels are made of.
 *
 *     C = A B  or  C += A B      A: [m, k], B: [k, n] of any strides; C: [m, n], rows contiguous
 *
 * float and double compute in their own type, float16 and bfloat16 in float, rounded once at the
 * end. A and B are packed block by block into the workspace, so that the inner kernel reads them in
 * order; each element of C is summed in the order of k whatever the block it falls into. */
#ifndef OG_KERNELS_CPU_GEMM_H
#define OG_KERNELS_CPU_GEMM_H

#include "kernels/cpu/iterate.h"

typedef struct og__gemm {
    og_dtype dtype; /* of A, B and C */
    int64_t m, n, k;
    int64_t a_row, a_column, b_row, b_column, c_row; /* strides in elements */
    bool add;                                        /* C += */
    int64_t packed_k; /* og__gemm_packed: rows that B was packed with, if its first k are taken, and
                         at most OG__GEMM_K; 0: k */
    og_dtype result;  /* og__gemm_bfloat: of C, float, or bfloat16 without `add` */
} og__gemm;

/* Blocks; multiples of every inner kernel's rows and columns. */
#define OG__GEMM_M 96
#define OG__GEMM_N 1024
#define OG__GEMM_K 256

/* Workspace of one thread, a multiple of 256, enough for every product of at most m × n × k. */
size_t og__gemm_bytes(og_dtype dtype, int64_t m, int64_t n, int64_t k);
void og__gemm_run(const og__gemm *g, const void *a, const void *b, void *c, void *workspace);

/* For many products with one B, float or double and k > 0: B [k, n] is packed once, whole, in
 * og__gemm_packed_groups(n) independent groups of columns; g's strides of A, B, C and its `add` may
 * differ from call to call, m may be anything. The workspace is og__gemm_rows_bytes. */
size_t og__gemm_packed_bytes(og_dtype dtype, int64_t n, int64_t k);
static inline int64_t og__gemm_packed_groups(int64_t n)
{
    return (n + 63) / 64;
}
size_t og__gemm_rows_bytes(og_dtype dtype);
OG__BUILDS(void, og__gemm_pack,
           (const og__gemm *g, const void *b, void *packed, int64_t first, int64_t last));
OG__BUILDS(void, og__gemm_packed,
           (const og__gemm *g, const void *a, const void *packed, void *c, void *workspace));

/* gemm_bfloat.c: the same for A and B of bfloat16, where og__has_bfloat16() (gemm_bfloat.h says
 * how); summed in float, over the whole of k before C is added or rounded. n in groups of 64
 * columns as above; the workspace is og__gemm_bfloat_rows_bytes(g), enough for at most g's m rows.
 */
size_t og__gemm_bfloat_bytes(int64_t n, int64_t k);
size_t og__gemm_bfloat_rows_bytes(const og__gemm *g);
void og__gemm_bfloat_pack(const og__gemm *g, const void *b, void *packed, int64_t first,
                          int64_t last);
void og__gemm_bfloat_packed(const og__gemm *g, const void *a, const void *packed, void *c,
                            void *workspace);

/* gemm_simd.c, without the check for k = 0. */
OG__BUILDS(void, og__gemm_float,
           (const og__gemm *g, const void *a, const void *b, void *c, void *workspace));
OG__BUILDS(void, og__gemm_double,
           (const og__gemm *g, const void *a, const void *b, void *c, void *workspace));

#endif
