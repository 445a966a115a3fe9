/* Ops that read elements at given indices, and the gradient of Gather. Indices count from the end
 * where negative; one outside its axis is an error that says where it stands. Writing at indices is
 * in scatter.c. */
#include "kernels/cpu/indexing.h"

/* ---- shared with scatter.c */

og_status og__bad_index(const og_call *call, og_error *error, int64_t position, int64_t value,
                        int64_t bound)
{
    return og__call_fail(call, error, OG_INVALID_DATA,
                         "index %lld at position %lld, expected %lld to %lld", (long long)value,
                         (long long)position, (long long)-bound, (long long)(bound - 1));
}

og_status og__read_indices(const og_call *call, const og_tensor *indices, int64_t bound,
                           int64_t *to, og_error *error)
{
    int64_t n = og__elements(indices);
    for (int64_t i = 0; i < n; i++) {
        int64_t v = og__load_int(indices->data, indices->type.dtype, i);
        if (v < -bound || v >= bound)
            return og__bad_index(call, error, i, v, bound);
        to[i] = v < 0 ? v + bound : v;
    }
    return OG_OK;
}

bool og__supports_indices(const og_call *call)
{
    og_dtype dtype = call->x[1].type.dtype;
    return (dtype == OG_INT64 || dtype == OG_INT32) && og__supports_bytes(call);
}

static og_status prepare_indices(og_call *call, og_error *error)
{
    (void)error;
    call->workspace_bytes = (size_t)og__elements(&call->x[1]) * sizeof(int64_t);
    return OG_OK;
}

/* ---- Gather and its gradient */

/* Gather: x [outer, n, inner], indices → y [outer, indices, inner]; attribute axis */
static og_status run_gather(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    int axis = og__axis(og_attr_int(call->node, "axis", 0), x->type.rank);
    int64_t outer = og__product(x->type.dims, 0, axis), n = x->type.dims[axis];
    int64_t inner = og__product(x->type.dims, axis + 1, x->type.rank),
            count = og__elements(&call->x[1]);
    int64_t size = (int64_t)og__size(x->type.dtype), *index = call->workspace;
    int64_t run = inner * size; /* bytes copied for an index */
    OG_TRY(og__read_indices(call, &call->x[1], n, index, error));
    if (outer * count * run == 0)
        return OG_OK;
    int64_t chunk = og__max(1, OG__GRAIN / inner), chunks = (count + chunk - 1) / chunk;
#pragma omp parallel for num_threads(og__threads(call, outer *count *inner)) schedule(static)
    for (int64_t i = 0; i < outer * chunks; i++) {
        int64_t o = i / chunks, first = i % chunks * chunk;
        og__gather((char *)call->y[0].data + (o * count + first) * run,
                   (const char *)x->data + o * n * run, index + first,
                   og__min(chunk, count - first), (size_t)run);
    }
    return OG_OK;
}

#define GATHER_GRAD(T)                                                                           \
    /* dx[index[i]][c] += dy[i][c] for i < count, first <= c < last; rows of `inner` elements */ \
    static void gather_grad_##T(void *to, const void *from, const int64_t *index, int64_t count, \
                                int64_t inner, int64_t first, int64_t last)                      \
    {                                                                                            \
        for (int64_t i = 0; i < count; i++) {                                                    \
            T *restrict dx = (T *)to + index[i] * inner;                                         \
            const T *restrict dy = (const T *)from + i * inner;                                  \
            for (int64_t c = first; c < last; c++)                                               \
                dx[c] += dy[c];                                                                  \
        }                                                                                        \
    }
GATHER_GRAD(float)
GATHER_GRAD(double)

/* GatherGrad: dy [outer, indices, inner], indices → dx [outer, n, inner]; attributes axis, x_dims.
 * Threads share the columns, so that equal indices do not meet and are added in their order. */
static og_status run_gather_grad(const og_call *call, og_error *error)
{
    enum { COLUMNS = 128 };
    const og_tensor *dy = &call->x[0], *dx = &call->y[0];
    int axis = og__axis(og_attr_int(call->node, "axis", 0), dx->type.rank);
    int64_t outer = og__product(dx->type.dims, 0, axis), n = dx->type.dims[axis];
    int64_t inner = og__product(dx->type.dims, axis + 1, dx->type.rank),
            count = og__elements(&call->x[1]);
    int64_t size = (int64_t)og__size(dx->type.dtype), *index = call->workspace;
    OG_TRY(og__read_indices(call, &call->x[1], n, index, error));
    og__fill(call, dx->data, og__elements(dx), NULL, (size_t)size);
    int64_t parts = (inner + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for num_threads(og__threads(call, outer *count *inner)) schedule(static)
    for (int64_t i = 0; i < outer * parts; i++) {
        int64_t o = i / parts, first = i % parts * COLUMNS;
        OG__REAL(dx->type.dtype, gather_grad, (char *)dx->data + o * n * inner * size,
                 (const char *)dy->data + o * count * inner * size, index, count, inner, first,
                 og__min(inner, first + COLUMNS));
    }
    return OG_OK;
}

static bool supports_gather_grad(const og_call *call)
{
    return og__supports_float(call) && og__supports_indices(call);
}

/* ---- GatherElements, GatherND */

og__element_walk og__element_walk_of(const og_type *data, const og_type *indices, int axis)
{
    og__element_walk w = {.n = data->dims[axis]};
    int64_t strides[OG_MAX_RANK];
    int last = data->rank - 1;
    og_strides_dense(data, strides);
    w.line = indices->dims[last];
    w.lines = og__product(indices->dims, 0, last);
    w.step = axis == last ? 0 : 1;
    w.axis_step = strides[axis];
    w.rank = last;
    for (int a = 0; a < last; a++) {
        w.dims[a] = indices->dims[a];
        w.strides[a] = a == axis ? 0 : strides[a];
    }
    return w;
}

int64_t og__element_line(const og__element_walk *w, int64_t line)
{
    int64_t at = 0;
    for (int a = w->rank - 1; a >= 0; a--) {
        /* There are no lines where a dim is 0. NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
        at += line % w->dims[a] * w->strides[a];
        line /= w->dims[a];
    }
    return at;
}

/* GatherElements: x, indices → y of indices' shape; y[i, j, k] = x[indices[i, j, k], j, k] for axis
 * 0 */
static og_status run_gather_elements(const og_call *call, og_error *error)
{
    enum { CHUNK = 128 };
    const og_tensor *x = &call->x[0];
    if (og__elements(&call->x[1]) == 0)
        return OG_OK;
    int axis = og__axis(og_attr_int(call->node, "axis", 0), x->type.rank);
    og__element_walk w = og__element_walk_of(&x->type, &call->x[1].type, axis);
    const int64_t *index = call->workspace;
    size_t size = og__size(x->type.dtype);
    OG_TRY(og__read_indices(call, &call->x[1], w.n, call->workspace, error));
#pragma omp parallel for num_threads(og__threads(call, w.lines *w.line)) schedule(static)
    for (int64_t l = 0; l < w.lines; l++) {
        int64_t at[CHUNK], base = og__element_line(&w, l);
        for (int64_t first = 0; first < w.line; first += CHUNK) {
            int64_t n = og__min(CHUNK, w.line - first), start = l * w.line + first;
            for (int64_t i = 0; i < n; i++)
                at[i] = base + (first + i) * w.step + index[start + i] * w.axis_step;
            og__gather((char *)call->y[0].data + start * (int64_t)size, x->data, at, n, size);
        }
    }
    return OG_OK;
}

og_status og__read_tuples(const og_call *call, const og_type *data, int batch_dims, int64_t *at,
                          int64_t *count, int64_t *inner, og_error *error)
{
    const og_tensor *indices = &call->x[1];
    int depth = (int)indices->type.dims[indices->type.rank - 1], end = batch_dims + depth;
    if (depth < 1 || end > data->rank)
        return og__call_fail(call, error, OG_INVALID_MODEL,
                             "indices' last dim is %d for data of rank %d", depth, data->rank);
    *inner = og__product(data->dims, end, data->rank);
    *count = og__elements(indices) / depth;
    int64_t batches = og__product(data->dims, 0, batch_dims), each = batches ? *count / batches : 0;
    int64_t per_batch = og__product(data->dims, batch_dims, end);
    for (int64_t i = 0; i < *count; i++) {
        at[i] = 0;
        for (int k = 0; k < depth; k++) {
            int64_t bound = data->dims[batch_dims + k];
            int64_t v = og__load_int(indices->data, indices->type.dtype, i * depth + k);
            if (v < -bound || v >= bound)
                return og__bad_index(call, error, i * depth + k, v, bound);
            at[i] = at[i] * bound + (v < 0 ? v + bound : v);
        }
        at[i] += i / og__max(1, each) * per_batch;
    }
    return OG_OK;
}

/* GatherND: x, indices [batch …, …, k] → y; attribute batch_dims. A slice of x for each tuple of k
 * indices. */
static og_status run_gather_nd(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    int64_t count, inner, *at = call->workspace;
    OG_TRY(og__read_tuples(call, &x->type, (int)og_attr_int(call->node, "batch_dims", 0), at,
                           &count, &inner, error));
    int64_t run = inner * (int64_t)og__size(x->type.dtype);
    if (count * run == 0)
        return OG_OK;
    int64_t chunk = og__max(1, OG__GRAIN / inner), chunks = (count + chunk - 1) / chunk;
#pragma omp parallel for num_threads(og__threads(call, count *inner)) schedule(static)
    for (int64_t i = 0; i < chunks; i++)
        og__gather((char *)call->y[0].data + i * chunk * run, x->data, at + i * chunk,
                   og__min(chunk, count - i * chunk), (size_t)run);
    return OG_OK;
}

/* ---- ReverseSequence */

/* ReverseSequence: x, sequence_lens [batch] → y; attributes batch_axis (1), time_axis (0): the
 * first two axes. */
static og_status run_reverse_sequence(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *lengths = &call->x[1];
    int batch_axis = (int)og_attr_int(call->node, "batch_axis", 1);
    int64_t batch = x->type.dims[batch_axis], time = x->type.dims[1 - batch_axis];
    int64_t run = og__product(x->type.dims, 2, x->type.rank) * (int64_t)og__size(x->type.dtype);
    int64_t batch_step = batch_axis ? run : time * run, time_step = batch_axis ? batch * run : run;
    for (int64_t b = 0; b < batch; b++) {
        int64_t length = og__load_int(lengths->data, lengths->type.dtype, b);
        if (length < 0 || length > time)
            return og__call_fail(call, error, OG_INVALID_DATA,
                                 "length %lld of sequence %lld, expected 0 to %lld",
                                 (long long)length, (long long)b, (long long)time);
    }
#pragma omp parallel for num_threads(og__threads(call, batch *time *run / 8)) schedule(static)
    for (int64_t i = 0; i < batch * time; i++) {
        int64_t b = i / time, t = i % time,
                length = og__load_int(lengths->data, lengths->type.dtype, b);
        memcpy((char *)call->y[0].data + b * batch_step + t * time_step,
               (const char *)x->data + b * batch_step +
                   (t < length ? length - 1 - t : t) * time_step,
               (size_t)run);
    }
    return OG_OK;
}

static bool supports_reverse_sequence(const og_call *call)
{
    int64_t batch_axis = og_attr_int(call->node, "batch_axis", 1),
            time_axis = og_attr_int(call->node, "time_axis", 0);
    return og__supports_indices(call) && call->x[0].type.rank >= 2 && batch_axis + time_axis == 1 &&
           (batch_axis == 0 || batch_axis == 1);
}

#define INDEX(op, supports, run_it)                                               \
    {                                                                             \
        op, "plain", OG_KERNEL_REFERENCE, supports, prepare_indices, run_it, NULL \
    }

const og_kernel og_kernels_cpu_indexing[] = {
    INDEX("Gather", og__supports_indices, run_gather),
    INDEX("ai.ongrad::GatherGrad", supports_gather_grad, run_gather_grad),
    INDEX("GatherElements", og__supports_indices, run_gather_elements),
    INDEX("GatherND", og__supports_indices, run_gather_nd),
    {"ReverseSequence", "plain", OG_KERNEL_REFERENCE, supports_reverse_sequence, NULL,
     run_reverse_sequence, NULL},
    {0},
};
