/* What the kernels of this folder share: how many threads to use, elements of any type as float,
 * double or int64, and iteration over strided tensors. Nothing here allocates.
 *
 * Parallel loops are written as
 *     #pragma omp parallel for num_threads(og__threads(call, work)) schedule(static)
 * and must give the same result for every number of threads.
 */
#ifndef OG_KERNELS_CPU_INTERNAL_H
#define OG_KERNELS_CPU_INTERNAL_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/arithmetic.h"
#include "kernels/cpu/cpu.h"
#include "runtime/base/half.h"

/* What most kernels' release does: the state is one allocation. */
static inline void og__free_state(og_call *call)
{
    free(call->state);
    call->state = NULL;
}

/* ---- threads */

/* How many threads to use for `work` scalar operations: all of the device's, if there are 32768
 * operations for half of them, else one. Never some: OpenMP ends the threads that a smaller team
 * leaves out and starts new ones for the next larger one. */
#define OG__GRAIN 32768
static inline int og__threads(const og_call *call, int64_t work)
{
    int64_t useful = work / OG__GRAIN;
    int most = call->device ? call->device->threads : 1;
    return useful < 2 || most < 2 || 2 * useful < most ? 1 : most;
}

/* The team for a loop over `parts` that have scratch memory of their own, which may be fewer than
 * the device's threads. */
static inline int og__team(const og_call *call, int parts)
{
    return parts < 2 || !call->device ? 1 : call->device->threads;
}

/* The same for products, whose multiply-adds are much cheaper each: below about 20 µs of work a
 * second thread costs more than it brings, and far more where other processes want the cores. */
#define OG__PRODUCT_GRAIN 1000000
static inline int og__product_threads(const og_call *call, int64_t multiply_adds)
{
    return og__threads(call, multiply_adds / (OG__PRODUCT_GRAIN / OG__GRAIN));
}

/* Which build of a *_simd.c file this processor runs: 2 (the baseline), 3 or 4 as the levels of
 * x86-64. */
int og__simd_level(void);
/* Does it multiply pairs of bfloat16 (AVX512-BF16)? tiles of it (AMX-BF16), which is faster still?
 * features.h */
bool og__has_bfloat16(void);
bool og__has_matrix_tiles(void);

/* ---- small things */

static inline int64_t og__min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t og__max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
/* axis in -rank … rank - 1 as 0 … rank - 1. */
static inline int og__axis(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}
/* Product of dims[from … to - 1]. */
static inline int64_t og__product(const int64_t *dims, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= dims[i];
    return n;
}
/* Elements of a tensor; kernels see only static types whose product was checked. */
static inline int64_t og__elements(const og_tensor *t)
{
    return og__product(t->type.dims, 0, t->type.rank);
}
/* Bytes of one element; 0 for types narrower than a byte and strings. */
static inline size_t og__size(og_dtype dtype)
{
    return (size_t)og_dtype_bits(dtype) / 8;
}
/* Is input (output) i there? */
static inline bool og__has(int n, const og_tensor *t, int i)
{
    return i < n && t[i].type.dtype != OG_UNDEFINED;
}
/* float, double, float16 or bfloat16: what arithmetic kernels compute with. */
static inline bool og__is_real(og_dtype dtype)
{
    return dtype == OG_FLOAT || dtype == OG_DOUBLE || dtype == OG_FLOAT16 || dtype == OG_BFLOAT16;
}
/* Call `name`_float(…) or `name`_double(…). */
#define OG__REAL(dtype, name, ...) \
    ((dtype) == OG_DOUBLE ? name##_double(__VA_ARGS__) : name##_float(__VA_ARGS__))

/* ---- one element */

/* Element `i` of `data`, for bool, integers of at least 8 bits and float types of at least 16. */
double og__load_double(const void *data, og_dtype dtype, int64_t i);
int64_t og__load_int(const void *data, og_dtype dtype, int64_t i);
/* bool stores 0 or 1; integers wrap. */
void og__store_double(void *data, og_dtype dtype, int64_t i, double value);
void og__store_int(void *data, og_dtype dtype, int64_t i, int64_t value);

/* ---- strided iteration */

/* Strides with which `t` is read over the shape `to` by numpy's broadcasting: axes aligned at the
 * right, 0 where t has one element or no axis. */
void og__broadcast_strides(const og_tensor *t, const og_type *to, int64_t *strides);

/* Remove axes of length 1 and merge neighbours that lie evenly in all n operands. strides: n rows.
 * The result has at least one axis (of length 1 for a scalar). */
void og__collapse(int *rank, int64_t *dims, int n, int64_t (*strides)[OG_MAX_RANK]);

/* Up to OG__OPERANDS tensors walked together over one shape. */
#define OG__OPERANDS 6
typedef struct og__space {
    int rank, n;
    int64_t dims[OG_MAX_RANK];
    int64_t strides[OG__OPERANDS][OG_MAX_RANK]; /* in elements */
} og__space;
/* Where a walk stands: index, and the element offset of each operand. */
typedef struct og__cursor {
    int64_t index[OG_MAX_RANK];
    int64_t offset[OG__OPERANDS];
} og__cursor;

/* Stand at the linear (row-major) position `at` of the first `axes` axes. */
void og__seek(const og__space *space, int axes, int64_t at, og__cursor *cursor);
/* One further along the first `axes` axes, the last of them fastest. Wraps at the end. */
static inline void og__next(const og__space *space, int axes, og__cursor *cursor)
{
    for (int a = axes - 1; a >= 0; a--) {
        for (int o = 0; o < space->n; o++)
            cursor->offset[o] += space->strides[o][a];
        if (++cursor->index[a] < space->dims[a])
            return;
        for (int o = 0; o < space->n; o++)
            cursor->offset[o] -= space->strides[o][a] * space->dims[a];
        cursor->index[a] = 0;
    }
}

/* onednn.c, where it is built in: forgets primitives that no plan uses any more. */
__attribute__((weak)) void og__onednn_settle(void);

#endif
