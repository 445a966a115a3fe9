/* What the plain kernels that move and reduce data share: copies between any two layouts, reading
 * integer inputs, errors that name the node, and choosing among the builds of a *_simd.c function.
 * Nothing allocates. */
#ifndef OG_KERNELS_CPU_ITERATE_H
#define OG_KERNELS_CPU_ITERATE_H

#include "kernels/cpu/internal.h"

/* ---- instruction sets */

/* OG__PICK(name): the best build of `name`, declared by OG__BUILDS(result, name, (parameters)). */
#if defined(__x86_64__)
#define OG__BUILDS(result, name, parameters) \
    result name##_v2 parameters;             \
    result name##_v3 parameters;             \
    result name##_v4 parameters
#define OG__PICK(name) \
    (og__simd_level() == 4 ? name##_v4 : og__simd_level() == 3 ? name##_v3 : name##_v2)
#else
#define OG__BUILDS(result, name, parameters) result name##_v2 parameters
#define OG__PICK(name) name##_v2
#endif

/* OG__SHUFFLE(indices_type, a, b, indices…): these elements of the vectors a and b, counted through
 * both. */
#if defined(__clang__)
#define OG__SHUFFLE(indices_type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define OG__SHUFFLE(indices_type, a, b, ...) __builtin_shuffle(a, b, (indices_type){__VA_ARGS__})
#endif

/* ---- copies */

#define OG__COPY_RANK (2 * OG_MAX_RANK)

/* One axis of a copy: its length and both sides' strides in elements. `to` strides must not make
 * two indices meet; `from` strides may be 0 (broadcast) or negative. */
typedef struct og__copy_axis {
    int64_t n, to, from;
} og__copy_axis;

/* Another device's way to do the copies and fills that the ops of data movement are made of: what
 * og__copy and og__fill get is handed to it instead, of calls whose device has one. A copy comes
 * simplified: runs of `size` bytes, strides in bytes, slowest axis of `to` first, no axis of one.
 */
typedef struct og_mover {
    void (*copy)(const og_call *call, int rank, const og__copy_axis *axes, void *to,
                 const void *from, size_t size);
    void (*fill)(const og_call *call, void *to, int64_t n, const void *value, size_t size);
} og_mover;

/* to[index] = from[index] for every index of the rank (at most OG__COPY_RANK) axes; elements of
 * `size` bytes, any size. In parallel; the order of axes does not matter. */
void og__copy(const og_call *call, int rank, const og__copy_axis *axes, void *to, const void *from,
              size_t size);
/* The whole of tensor x, in row-major order, to a dense `to`. */
void og__copy_dense(const og_call *call, void *to, const og_tensor *x);
/* n elements of `size` bytes become *value; NULL value: zeros. */
void og__fill(const og_call *call, void *to, int64_t n, const void *value, size_t size);

/* to[i] = from[index[i]], i < n; elements of `size` bytes. */
void og__gather(void *to, const void *from, const int64_t *index, int64_t n, size_t size);

/* ---- integer inputs and errors */

/* The elements of a rank 0 or 1 integer tensor, any stride; their count, at most `max` of them
 * written; -1 if the data is not known or the tensor is of another rank or type. */
int64_t og__ints(const og_tensor *t, int64_t max, int64_t *ints);
/* NODE: message. Returns `status`. */
og_status og__call_fail(const og_call *call, og_error *error, og_status status, const char *format,
                        ...) OG_PRINTF(4, 5);
#ifdef __clang_analyzer__ /* see runtime/base/status.h */
#define og__call_fail(call, error, status, ...) \
    ((og__call_fail)(call, error, status, __VA_ARGS__), (status))
#endif

/* Does every tensor of the call that is present have elements of whole bytes? What data movement
 * supports. */
bool og__supports_bytes(const og_call *call);
/* Is x[0] float or double, and every other real tensor of the call of its type? What the plain
 * kernels of arithmetic support. */
bool og__supports_float(const og_call *call);

#endif
