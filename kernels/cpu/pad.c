/* Pad: data, pads, value, axes → y, attribute mode. Negative pads crop. Modes other than constant
 * look the source index up in a table for each axis: y[i, j …] = x[table_0[i], table_1[j] …]. */
#include "kernels/cpu/iterate.h"

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP, PAD_UNKNOWN } pad_mode;

static pad_mode mode_of(const og_call *call)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *mode = og_attr_string(call->node, "mode", "constant");
    for (int m = 0; m < PAD_UNKNOWN; m++)
        if (strcmp(mode, names[m]) == 0)
            return (pad_mode)m;
    return PAD_UNKNOWN;
}

static bool supports_pad(const og_call *call)
{
    return og__supports_bytes(call) && mode_of(call) != PAD_UNKNOWN;
}

static og_status prepare_pad(og_call *call, og_error *error)
{
    (void)error;
    const og_type *y = &call->y[0].type;
    size_t entries = 0;
    for (int a = 0; a < y->rank; a++)
        entries += (size_t)y->dims[a];
    call->workspace_bytes = mode_of(call) == PAD_CONSTANT ? 0 : entries * sizeof(int64_t);
    return OG_OK;
}

/* begin[a], end[a]: elements added before and after axis a; negative: removed. */
static og_status read_pads(const og_call *call, int64_t *begin, int64_t *end, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int rank = x->type.rank;
    int64_t pads[2 * OG_MAX_RANK], axes[OG_MAX_RANK], n = rank;
    for (int a = 0; a < rank; a++) {
        axes[a] = a;
        begin[a] = end[a] = 0;
    }
    if (og__has(call->nx, call->x, 3))
        n = og__ints(&call->x[3], OG_MAX_RANK, axes);
    int64_t n_pads = og__ints(&call->x[1], 2 * OG_MAX_RANK, pads);
    if (n < 0 || n > rank || n_pads != 2 * n)
        return og__call_fail(call, error, OG_INVALID_MODEL,
                             "%lld pads, expected two for each of %lld axes", (long long)n_pads,
                             (long long)n);
    for (int64_t i = 0; i < n; i++) {
        if (axes[i] < -rank || axes[i] >= rank)
            return og__call_fail(call, error, OG_INVALID_MODEL, "axis %lld of rank %d",
                                 (long long)axes[i], rank);
        begin[og__axis(axes[i], rank)] = pads[i];
        end[og__axis(axes[i], rank)] = pads[n + i];
    }
    for (int a = 0; a < rank; a++)
        if (begin[a] + x->type.dims[a] + end[a] != y->type.dims[a])
            return og__call_fail(call, error, OG_INVALID_DATA,
                                 "axis %d: %lld + %lld + %lld elements, planned were %lld", a,
                                 (long long)begin[a], (long long)x->type.dims[a], (long long)end[a],
                                 (long long)y->type.dims[a]);
    return OG_OK;
}

/* The padding value, which may be a float where the data is of another type. */
static void read_value(const og_tensor *value, og_dtype dtype, void *to)
{
    if (value->type.dtype == dtype)
        memcpy(to, value->data, og__size(dtype));
    else
        og__store_double(to, dtype, 0, og__load_double(value->data, value->type.dtype, 0));
}

static void pad_constant(const og_call *call, const int64_t *begin, const int64_t *end)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    size_t size = og__size(y->type.dtype);
    char value[16] = {0};
    const char *from = x->data;
    char *to = y->data;
    og__copy_axis axes[OG_MAX_RANK] = {{0}};
    int64_t inside = 1, all = og__elements(y);
    for (int a = 0; a < y->type.rank; a++) {
        int64_t cut = og__max(0, -begin[a]), skip = og__max(0, begin[a]);
        int64_t n = og__max(0, x->type.dims[a] - cut - og__max(0, -end[a]));
        axes[a] = (og__copy_axis){n, y->strides[a], x->strides[a]};
        inside *= n;
        from += cut * x->strides[a] * (int64_t)size;
        to += skip * y->strides[a] * (int64_t)size;
    }
    if (inside < all && og__has(call->nx, call->x, 2))
        read_value(&call->x[2], y->type.dtype, value);
    if (inside < all)
        og__fill(call, y->data, all, value, size);
    if (inside > 0)
        og__copy(call, y->type.rank, axes, to, from, size);
}

/* Where element i of an axis, counted from x's first, comes from; n > 0 elements. */
static int64_t source_index(pad_mode mode, int64_t i, int64_t n)
{
    if (mode == PAD_EDGE)
        return og__max(0, og__min(i, n - 1));
    int64_t period = mode == PAD_WRAP ? n : og__max(1, 2 * (n - 1));
    int64_t r = i % period;
    r = r < 0 ? r + period : r;
    return r < n ? r : period - r;
}

/* tables: for each axis its source offsets, in elements of x. */
static void pad_by_table(const og_call *call, const int64_t *tables)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int last = y->type.rank - 1;
    int64_t n = y->type.dims[last], lines = og__product(y->type.dims, 0, last);
    int64_t size = (int64_t)og__size(y->type.dtype);
    int64_t table_of[OG_MAX_RANK + 1] = {0};
    for (int a = 0; a <= last; a++)
        table_of[a + 1] = table_of[a] + y->type.dims[a];
#pragma omp parallel for num_threads(og__threads(call, lines *n)) schedule(static)
    for (int64_t l = 0; l < lines; l++) {
        int64_t rest = l, offset = 0;
        for (int a = last - 1; a >= 0; a--) {
            offset += tables[table_of[a] + rest % y->type.dims[a]];
            rest /= y->type.dims[a];
        }
        og__gather((char *)y->data + l * n * size, (const char *)x->data + offset * size,
                   tables + table_of[last], n, (size_t)size);
    }
}

static og_status run_pad(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int64_t begin[OG_MAX_RANK] = {0}, end[OG_MAX_RANK] = {0};
    pad_mode mode = mode_of(call);
    OG_TRY(read_pads(call, begin, end, error));
    if (og__elements(y) == 0)
        return OG_OK;
    if (mode == PAD_CONSTANT || y->type.rank == 0) {
        pad_constant(call, begin, end);
        return OG_OK;
    }
    int64_t *table = call->workspace;
    for (int a = 0; a < y->type.rank; a++) {
        int64_t n = x->type.dims[a];
        if (n == 0)
            return og__call_fail(call, error, OG_INVALID_DATA,
                                 "axis %d has no elements to pad from", a);
        for (int64_t i = 0; i < y->type.dims[a]; i++)
            *table++ = source_index(mode, i - begin[a], n) * x->strides[a];
    }
    pad_by_table(call, call->workspace);
    return OG_OK;
}

const og_kernel og_kernels_cpu_pad[] = {
    {"Pad", "plain", OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE, supports_pad, prepare_pad, run_pad,
     NULL},
    {0},
};
