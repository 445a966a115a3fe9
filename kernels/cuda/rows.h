/* What the launchers of kernels over rows share (row.h is the kernels' half). */
#ifndef OG_KERNELS_CUDA_ROWS_H
#define OG_KERNELS_CUDA_ROWS_H

#include "kernels/cuda/internal.h"

/* A kernel in both widths, and how rows of n are shared out. */
typedef struct og__cuda_rows {
    og_cuda_function *wide, *single; /* wide NULL: rows are not made of whole pieces */
    int64_t rows;
    int n, threads;
    bool warps;
} og__cuda_rows;

/* What names of kernels call an element of a type; NULL: none is for it. Integers are called by
 * their size, whether they have a sign or not. */
const char *og__cuda_element_name(og_dtype dtype);
/* Of integers. */
bool og__cuda_is_signed(og_dtype dtype);
/* Is it a type that kernels over rows exist for? */
bool og__cuda_rows_take(og_dtype dtype);
/* Kernels og_<name>_<type>_<width> of the image; shared: dynamic, of a launch. */
og_status og__cuda_rows_new(const og_call *call, const og_cuda_image *image, const char *name,
                            og_dtype dtype, int64_t rows, int64_t n, size_t shared,
                            og__cuda_rows **made, og_error *error);
/* Which of the two fits addresses: any of them, joined by |. */
og_cuda_function *og__cuda_rows_function(const og__cuda_rows *rows, uintptr_t addresses);
int64_t og__cuda_rows_blocks(const og__cuda_rows *rows);

#endif
