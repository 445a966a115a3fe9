/* What MatMul's kernels share: numpy's rules for shapes, as one matrix product over a batch. */
#ifndef OG_KERNELS_CPU_MATMUL_H
#define OG_KERNELS_CPU_MATMUL_H

#include "kernels/cpu/gemm.h"

/* C = A B for each index of `batch`, A: [m, k], B: [k, n], C: [m, n] with contiguous rows. Strides
 * in elements. */
typedef struct og__matmul {
    int64_t m, n, k;
    int64_t a_row, a_column, b_row, b_column, c_row;
    og__space batch; /* operands: A, B, C; collapsed; stride 0 where an operand is broadcast */
} og__matmul;

/* From the types and strides of the call's first two inputs and its output. Batch axes over which B
 * is the same are made rows of A where they lie evenly. False if the shapes do not fit. */
bool og__matmul_shape(const og_call *call, og__matmul *s);

/* Is it one product of so many rows and so much work that B is better packed once, and the rows cut
 * into tasks (matmul_packed_onednn.c)? */
bool og__matmul_is_large(const og__matmul *s);

#endif
