/* Ops that make tensors from little or nothing: ConstantOfShape, Range, Shape, Size, OneHot,
 * EyeLike, NonZero, and Trilu, which keeps a triangle. */
#include "kernels/cpu/iterate.h"

/* ConstantOfShape: shape → y; attribute value: a tensor of one element, default float 0 */
static og_status run_constant_of_shape(const og_call *call, og_error *error)
{
    (void)error;
    const og_attr *value = og_node_attr(call->node, "value");
    const og_tensor *y = &call->y[0];
    og__fill(call, y->data, og__elements(y), value && value->t ? value->t->data : NULL,
             og__size(y->type.dtype));
    return OG_OK;
}

/* Range: start, limit, delta → y; y[i] = start + i delta */
static og_status run_range(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *start = &call->x[0], *delta = &call->x[2], *y = &call->y[0];
    og_dtype dtype = y->type.dtype;
    bool real = og__is_real(dtype);
    int64_t n = og__elements(y), first = og__load_int(start->data, dtype, 0),
            step = og__load_int(delta->data, dtype, 0);
    double real_first = og__load_double(start->data, dtype, 0),
           real_step = og__load_double(delta->data, dtype, 0);
#pragma omp parallel for num_threads(og__threads(call, n)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        if (real)
            og__store_double(y->data, dtype, i, real_first + (double)i * real_step);
        else
            og__store_int(y->data, dtype, i,
                          (int64_t)((uint64_t)first + (uint64_t)i * (uint64_t)step));
    }
    return OG_OK;
}

/* Shape: x → y int64, its dims from attribute start to attribute end */
static og_status run_shape(const og_call *call, og_error *error)
{
    (void)error;
    const og_type *x = &call->x[0].type;
    int64_t start = og_attr_int(call->node, "start", 0);
    start = og__max(0, og__min(x->rank, start < 0 ? start + x->rank : start));
    int64_t n = og__min(og__elements(&call->y[0]), x->rank - start);
    for (int64_t i = 0; i < n; i++)
        ((int64_t *)call->y[0].data)[i] = x->dims[start + i];
    return OG_OK;
}

/* Size: x → y int64 scalar, the number of elements */
static og_status run_size(const og_call *call, og_error *error)
{
    (void)error;
    *(int64_t *)call->y[0].data = og__elements(&call->x[0]);
    return OG_OK;
}

static bool numeric(og_dtype dtype)
{
    return dtype == OG_BOOL || og__is_real(dtype) || (og_dtype_is_int(dtype) && og__size(dtype));
}

static bool supports_one_hot(const og_call *call)
{
    return og__supports_bytes(call) && numeric(call->x[0].type.dtype);
}

/* OneHot: indices, depth, values [off, on] → y; attribute axis (-1): where y's new axis stands. An
 * index outside -depth … depth - 1 gives off throughout. */
static og_status run_one_hot(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int axis = og__axis(og_attr_int(call->node, "axis", -1), y->type.rank);
    int64_t depth = y->type.dims[axis], inner = og__product(x->type.dims, axis, x->type.rank);
    int64_t n = og__elements(x), size = (int64_t)og__size(y->type.dtype);
    const char *values = call->x[2].data;
    og__fill(call, y->data, og__elements(y), values, (size_t)size);
#pragma omp parallel for num_threads(og__threads(call, n)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t v = og__load_int(x->data, x->type.dtype, i);
        if (v < -depth || v >= depth)
            continue;
        int64_t at = (i / inner * depth + (v < 0 ? v + depth : v)) * inner + i % inner;
        memcpy((char *)y->data + at * size, values + size, (size_t)size);
    }
    return OG_OK;
}

static bool supports_eye(const og_call *call)
{
    return numeric(call->y[0].type.dtype);
}

/* EyeLike: x [rows, columns] → y; ones on diagonal k (attribute; above the main one if positive) */
static og_status run_eye(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *y = &call->y[0];
    int64_t rows = y->type.dims[0], columns = y->type.dims[1], k = og_attr_int(call->node, "k", 0);
    og__fill(call, y->data, rows * columns, NULL, og__size(y->type.dtype));
    for (int64_t r = 0; r < rows; r++)
        if (k >= -r && k < columns - r)
            og__store_double(y->data, y->type.dtype, r * columns + r + k, 1);
    return OG_OK;
}

/* Trilu: x [… , rows, columns], k → y; attribute upper (1): keeps columns from r + k on, else those
 * up to r + k */
static og_status run_trilu(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int rank = x->type.rank;
    int64_t rows = x->type.dims[rank - 2], columns = x->type.dims[rank - 1],
            size = (int64_t)og__size(x->type.dtype);
    int64_t lines = og__product(x->type.dims, 0, rank - 1), k = 0;
    bool upper = og_attr_int(call->node, "upper", 1) != 0;
    if (og__has(call->nx, call->x, 1))
        k = og__load_int(call->x[1].data, call->x[1].type.dtype, 0);
    k = og__max(-rows - 1, og__min(k, columns + 1));
#pragma omp parallel for num_threads(og__threads(call, lines *columns)) schedule(static)
    for (int64_t l = 0; l < lines; l++) {
        int64_t r = l % rows, cut = og__max(0, og__min(columns, upper ? r + k : r + k + 1));
        int64_t begin = upper ? cut : 0, end = upper ? columns : cut; /* what is kept */
        char *to = (char *)y->data + l * columns * size;
        const char *from = (const char *)x->data + l * columns * size;
        memset(to, 0, (size_t)(begin * size));
        memcpy(to + begin * size, from + begin * size, (size_t)((end - begin) * size));
        memset(to + end * size, 0, (size_t)((columns - end) * size));
    }
    return OG_OK;
}

/* NonZero: x → y int64 [rank, N], the indices of elements that are not zero. N comes from
 * inference, which saw the same x. */
static og_status run_non_zero(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0];
    int64_t *y = call->y[0].data, columns = call->y[0].type.dims[1], n = og__elements(x), at = 0;
    for (int64_t i = 0; i < n && at < columns; i++) {
        if (og__load_double(x->data, x->type.dtype, i) == 0)
            continue;
        int64_t rest = i;
        for (int a = x->type.rank - 1; a >= 0; a--) {
            y[a * columns + at] = rest % x->type.dims[a];
            rest /= x->type.dims[a];
        }
        at++;
    }
    return OG_OK;
}

static bool supports_non_zero(const og_call *call)
{
    return call->x[0].type.dtype == OG_BOOL || numeric(call->x[0].type.dtype);
}

static bool supports_range(const og_call *call)
{
    return numeric(call->y[0].type.dtype);
}

const og_kernel og_kernels_cpu_creation[] = {
    {"ConstantOfShape", "plain", OG_KERNEL_REFERENCE, og__supports_bytes, NULL,
     run_constant_of_shape, NULL},
    {"Range", "plain", OG_KERNEL_REFERENCE, supports_range, NULL, run_range, NULL},
    {"Shape", "plain", OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE, NULL, NULL, run_shape, NULL},
    {"Size", "plain", OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE, NULL, NULL, run_size, NULL},
    {"OneHot", "plain", OG_KERNEL_REFERENCE, supports_one_hot, NULL, run_one_hot, NULL},
    {"NonZero", "plain", OG_KERNEL_REFERENCE, supports_non_zero, NULL, run_non_zero, NULL},
    {"EyeLike", "plain", OG_KERNEL_REFERENCE, supports_eye, NULL, run_eye, NULL},
    {"Trilu", "plain", OG_KERNEL_REFERENCE, og__supports_bytes, NULL, run_trilu, NULL},
    {0},
};
