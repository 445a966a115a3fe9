/* ScatterElements and ScatterND: a copy of the data with updates written, added, multiplied … at
 * given indices. Updates that meet at one element are applied in the order of the indices: threads
 * share what cannot meet. */
#include "kernels/cpu/indexing.h"

typedef enum reduction { WRITE, ADD, MUL, MAX, MIN, UNKNOWN } reduction;

static reduction reduction_of(const og_call *call)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *name = og_attr_string(call->node, "reduction", "none");
    for (int r = 0; r < UNKNOWN; r++)
        if (strcmp(name, names[r]) == 0)
            return (reduction)r;
    return UNKNOWN;
}

static bool supports_scatter(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    reduction r = reduction_of(call);
    bool numeric = og__is_real(dtype) || og_dtype_is_int(dtype);
    return r != UNKNOWN && (r == WRITE || numeric) && og__supports_indices(call);
}

static og_status prepare_scatter(og_call *call, og_error *error)
{
    (void)error;
    call->workspace_bytes = (size_t)og__elements(&call->x[1]) * sizeof(int64_t);
    return OG_OK;
}

static double combine_real(reduction r, double a, double b)
{
    switch (r) {
    case ADD:
        return a + b;
    case MUL:
        return a * b;
    case MAX:
        return b > a || b != b ? b : a;
    default:
        return b < a || b != b ? b : a;
    }
}

static int64_t combine_int(reduction r, og_dtype dtype, int64_t a, int64_t b)
{
    bool larger = dtype == OG_UINT64 ? (uint64_t)b > (uint64_t)a : b > a;
    switch (r) {
    case ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case MAX:
        return larger ? b : a;
    default:
        return larger ? a : b;
    }
}

/* y[at … at + n - 1] takes in u[from … from + n - 1]. */
static void combine(reduction r, og_dtype dtype, void *y, int64_t at, const void *u, int64_t from,
                    int64_t n)
{
    int64_t size = (int64_t)og__size(dtype);
    if (r == WRITE) {
        memcpy((char *)y + at * size, (const char *)u + from * size, (size_t)(n * size));
    } else if (r == ADD && dtype == OG_FLOAT) {
        for (int64_t i = 0; i < n; i++)
            ((float *)y)[at + i] += ((const float *)u)[from + i];
    } else if (og__is_real(dtype)) {
        for (int64_t i = 0; i < n; i++)
            og__store_double(y, dtype, at + i,
                             combine_real(r, og__load_double(y, dtype, at + i),
                                          og__load_double(u, dtype, from + i)));
    } else {
        for (int64_t i = 0; i < n; i++)
            og__store_int(y, dtype, at + i,
                          combine_int(r, dtype, og__load_int(y, dtype, at + i),
                                      og__load_int(u, dtype, from + i)));
    }
}

/* ScatterElements: x, indices, updates (of indices' shape) → y; attributes axis, reduction. Lines
 * along the last axis are walked in order; those that differ before the scattered axis cannot meet.
 */
static og_status run_elements(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *u = &call->x[2], *y = &call->y[0];
    int64_t *index = call->workspace;
    og__copy_dense(call, y->data, x);
    if (og__elements(&call->x[1]) == 0)
        return OG_OK;
    int axis = og__axis(og_attr_int(call->node, "axis", 0), x->type.rank);
    og__element_walk w = og__element_walk_of(&x->type, &call->x[1].type, axis);
    OG_TRY(og__read_indices(call, &call->x[1], w.n, index, error));
    reduction r = reduction_of(call);
    int64_t groups = og__product(call->x[1].type.dims, 0, axis), each = 1;
    if (axis == x->type.rank - 1)
        groups = w.lines;
    else
        each = w.lines / groups;
#pragma omp parallel for num_threads(og__threads(call, w.lines *w.line)) schedule(static)
    for (int64_t g = 0; g < groups; g++)
        for (int64_t l = g * each; l < (g + 1) * each; l++) {
            int64_t base = og__element_line(&w, l);
            for (int64_t i = 0; i < w.line; i++)
                combine(r, y->type.dtype, y->data,
                        base + i * w.step + index[l * w.line + i] * w.axis_step, u->data,
                        l * w.line + i, 1);
        }
    return OG_OK;
}

/* ScatterND: x, indices [… , k], updates → y; attribute reduction. Threads share the columns of the
 * slices. */
static og_status run_nd(const og_call *call, og_error *error)
{
    enum { COLUMNS = 128 };
    const og_tensor *x = &call->x[0], *u = &call->x[2], *y = &call->y[0];
    int64_t count, inner, *at = call->workspace;
    og__copy_dense(call, y->data, x);
    OG_TRY(og__read_tuples(call, &x->type, 0, at, &count, &inner, error));
    reduction r = reduction_of(call);
    int64_t parts = (inner + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for num_threads(og__threads(call, count *inner)) schedule(static)
    for (int64_t p = 0; p < parts; p++) {
        int64_t first = p * COLUMNS, n = og__min(COLUMNS, inner - first);
        for (int64_t i = 0; i < count; i++)
            combine(r, y->type.dtype, y->data, at[i] * inner + first, u->data, i * inner + first,
                    n);
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_scatter[] = {
    {"ScatterElements", "plain", OG_KERNEL_REFERENCE, supports_scatter, prepare_scatter,
     run_elements, NULL},
    {"ScatterND", "plain", OG_KERNEL_REFERENCE, supports_scatter, prepare_scatter, run_nd, NULL},
    {0},
};
