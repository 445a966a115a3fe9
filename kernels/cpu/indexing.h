/* Indices into tensors, shared by reading (indexing.c) and writing (scatter.c). Tensors are dense.
 */
#ifndef OG_KERNELS_CPU_INDEXING_H
#define OG_KERNELS_CPU_INDEXING_H

#include "kernels/cpu/iterate.h"

/* OG_INVALID_DATA: the value at a (flat) position of the indices is outside -bound … bound - 1. */
og_status og__bad_index(const og_call *call, og_error *error, int64_t position, int64_t value,
                        int64_t bound);
/* All indices as 0 … bound - 1. */
og_status og__read_indices(const og_call *call, const og_tensor *indices, int64_t bound,
                           int64_t *to, og_error *error);
/* x[1] int64 or int32, elements of whole bytes. */
bool og__supports_indices(const og_call *call);

/* GatherElements, ScatterElements: indices in lines along the last axis; element i of a line stands
 * for the data's element og__element_line(line) + i step + index axis_step. */
typedef struct og__element_walk {
    int64_t n; /* length of the data's axis */
    int64_t lines, line, step, axis_step;
    int rank;
    int64_t dims[OG_MAX_RANK], strides[OG_MAX_RANK];
} og__element_walk;
og__element_walk og__element_walk_of(const og_type *data, const og_type *indices, int axis);
int64_t og__element_line(const og__element_walk *w, int64_t line);

/* GatherND, ScatterND: at[i] = the slice that tuple i of x[1] names, in slices of *inner elements;
 * *count tuples. */
og_status og__read_tuples(const og_call *call, const og_type *data, int batch_dims, int64_t *at,
                          int64_t *count, int64_t *inner, og_error *error);

#endif
