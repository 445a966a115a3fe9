/* A product of bfloat16 matrices on all threads, by gemm_bfloat.c. */
#ifndef OG_KERNELS_CPU_MATMUL_BFLOAT_H
#define OG_KERNELS_CPU_MATMUL_BFLOAT_H

#include "kernels/cpu/matmul.h"

/* Set by og__bfloat_plan. */
typedef struct og__bfloat_product {
    og__matmul shape;
    og__gemm gemm; /* of a whole matrix */
    bool shared;   /* one B */
    int threads;
    int64_t batch, m_step, n_step;   /* a task: up to m_step × n_step of one product */
    int64_t rows, columns, tasks;    /* tasks down and across a matrix; in all */
    size_t packed_bytes, rows_bytes; /* of B; of A's rows, for each thread */
} og__bfloat_product;

/* Does this processor multiply bfloat16, and is the product not too small for packing B? */
bool og__bfloat_worth_it(const og__matmul *shape);

/* Cuts the product with a `result`, float or bfloat16, into tasks for the call's threads; returns
 * the bytes of workspace that og__bfloat_run takes. */
size_t og__bfloat_plan(og__bfloat_product *p, const og__matmul *shape, og_dtype result,
                       const og_call *call);
void og__bfloat_run(const og__bfloat_product *p, const og_call *call, const void *a, const void *b,
                    void *c, void *workspace);

#endif
