/* Arguments of the kernels in matmul_epilogue.cu. */
#ifndef OG_KERNELS_CUDA_MATMUL_EPILOGUE_H
#define OG_KERNELS_CUDA_MATMUL_EPILOGUE_H

/* x: rows × n, dense; bits: rows of `stride` bytes, bit i % 8 of byte i / 8: is element i above 0?
 * A row is written to the byte that has its last element, with zeros behind that. */
typedef struct og_relu_bits_arguments {
    const void *x;
    void *bits;
    long long rows, n, stride;
} og_relu_bits_arguments;

#endif
