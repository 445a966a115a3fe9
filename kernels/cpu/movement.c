/* Ops that move elements without looking at them: Copy, and those that are views where the planner
 * can arrange it (Reshape, Transpose, Slice …) and copies where it cannot; Concat, Split, Tile,
 * DepthToSpace, SpaceToDepth. All are one og__copy each. Outputs' shapes come from inference.
 * Padding is in pad.c. */
#include "kernels/cpu/iterate.h"

/* y: the elements of x in row-major order, under another shape. */
static og_status run_same_elements(const og_call *call, og_error *error)
{
    (void)error;
    og__copy_dense(call, call->y[0].data, &call->x[0]);
    return OG_OK;
}

/* Copy: the same elements as y lies. */
static og_status run_copy(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    og__copy_axis axes[OG_MAX_RANK];
    for (int a = 0; a < y->type.rank; a++)
        axes[a] = (og__copy_axis){y->type.dims[a], y->strides[a], x->strides[a]};
    og__copy(call, y->type.rank, axes, y->data, x->data, og__size(y->type.dtype));
    return OG_OK;
}

/* Transpose: attribute perm (default: axes reversed). y[i_0 …] = x[…], y's axis a is x's axis
 * perm[a]. */
static og_status run_transpose(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    const int64_t *perm;
    int rank = y->type.rank, n = og_attr_ints(call->node, "perm", &perm);
    og__copy_axis axes[OG_MAX_RANK];
    for (int a = 0; a < rank; a++) {
        int from = n ? og__axis(perm[a], rank) : rank - 1 - a;
        axes[a] = (og__copy_axis){y->type.dims[a], y->strides[a], x->strides[from]};
    }
    og__copy(call, rank, axes, y->data, x->data, og__size(y->type.dtype));
    return OG_OK;
}

/* Expand: x broadcast to y's shape. */
static og_status run_expand(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *y = &call->y[0];
    int64_t from[OG_MAX_RANK];
    og__copy_axis axes[OG_MAX_RANK];
    og__broadcast_strides(&call->x[0], &y->type, from);
    for (int a = 0; a < y->type.rank; a++)
        axes[a] = (og__copy_axis){y->type.dims[a], y->strides[a], from[a]};
    og__copy(call, y->type.rank, axes, y->data, call->x[0].data, og__size(y->type.dtype));
    return OG_OK;
}

/* ---- Slice and its gradient */

typedef struct slice {
    int64_t start[OG_MAX_RANK], step[OG_MAX_RANK], length[OG_MAX_RANK]; /* of each axis */
} slice;

/* The slice of a tensor of type `whole`, as inputs `first` … `first` + 3 of the call (starts, ends,
 * axes, steps; the last two may be absent) describe it. */
static og_status read_slice(const og_call *call, const og_type *whole, int first, slice *s,
                            og_error *error)
{
    int rank = whole->rank;
    int64_t starts[OG_MAX_RANK] = {0}, ends[OG_MAX_RANK] = {0}, axes[OG_MAX_RANK] = {0},
            steps[OG_MAX_RANK] = {0};
    for (int a = 0; a < rank; a++) {
        s->start[a] = 0;
        s->step[a] = 1;
        s->length[a] = whole->dims[a];
        axes[a] = a;
        steps[a] = 1;
    }
    int64_t n = og__ints(&call->x[first], OG_MAX_RANK, starts), n_axes = n, n_steps = n;
    int64_t n_ends = og__ints(&call->x[first + 1], OG_MAX_RANK, ends);
    if (og__has(call->nx, call->x, first + 2))
        n_axes = og__ints(&call->x[first + 2], OG_MAX_RANK, axes);
    if (og__has(call->nx, call->x, first + 3))
        n_steps = og__ints(&call->x[first + 3], OG_MAX_RANK, steps);
    if (n < 0 || n > rank || n_ends != n || n_axes != n || n_steps != n)
        return og__call_fail(
            call, error, OG_INVALID_MODEL,
            "starts, ends, axes and steps must be integer lists of one length, at most %d", rank);
    for (int64_t i = 0; i < n; i++) {
        if (axes[i] < -rank || axes[i] >= rank || steps[i] == 0)
            return og__call_fail(call, error, OG_INVALID_MODEL, "axis %lld, step %lld of rank %d",
                                 (long long)axes[i], (long long)steps[i], rank);
        int a = og__axis(axes[i], rank);
        int64_t dim = whole->dims[a], step = og__max(-dim - 1, og__min(steps[i], dim + 1));
        int64_t high = step > 0 ? dim : dim - 1, low = step > 0 ? 0 : -1;
        int64_t start = starts[i] < 0 ? starts[i] + dim : starts[i];
        int64_t end = ends[i] < 0 ? ends[i] + dim : ends[i];
        start = og__max(0, og__min(start, high));
        end = og__max(low, og__min(end, high));
        int64_t span = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
        s->start[a] = start;
        s->step[a] = step;
        s->length[a] = span <= 0 || dim == 0 ? 0 : (span + stride - 1) / stride;
    }
    return OG_OK;
}

/* Are the slice's lengths those of `part`? */
static og_status check_slice(const og_call *call, const slice *s, const og_type *part,
                             og_error *error)
{
    for (int a = 0; a < part->rank; a++)
        if (s->length[a] != part->dims[a])
            return og__call_fail(call, error, OG_INVALID_DATA,
                                 "the slice has length %lld along axis %d, planned was %lld",
                                 (long long)s->length[a], a, (long long)part->dims[a]);
    return OG_OK;
}

/* Slice: x, starts, ends, axes, steps → y */
static og_status run_slice(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    og__copy_axis axes[OG_MAX_RANK];
    slice s = {0};
    OG_TRY(read_slice(call, &x->type, 1, &s, error));
    OG_TRY(check_slice(call, &s, &y->type, error));
    int64_t offset = 0, size = (int64_t)og__size(y->type.dtype);
    if (og__elements(y) == 0)
        return OG_OK;
    for (int a = 0; a < y->type.rank; a++) {
        axes[a] = (og__copy_axis){s.length[a], y->strides[a], x->strides[a] * s.step[a]};
        offset += x->strides[a] * s.start[a];
    }
    og__copy(call, y->type.rank, axes, y->data, (const char *)x->data + offset * size,
             (size_t)size);
    return OG_OK;
}

/* SliceGrad: dy, starts, ends, axes, steps → dx, zero outside the slice */
static og_status run_slice_grad(const og_call *call, og_error *error)
{
    const og_tensor *dy = &call->x[0], *dx = &call->y[0];
    og__copy_axis axes[OG_MAX_RANK];
    slice s = {0};
    OG_TRY(read_slice(call, &dx->type, 1, &s, error));
    OG_TRY(check_slice(call, &s, &dy->type, error));
    int64_t offset = 0, size = (int64_t)og__size(dx->type.dtype), all = og__elements(dx);
    if (og__elements(dy) < all)
        og__fill(call, dx->data, all, NULL, (size_t)size);
    if (og__elements(dy) == 0)
        return OG_OK;
    for (int a = 0; a < dx->type.rank; a++) {
        axes[a] = (og__copy_axis){s.length[a], dx->strides[a] * s.step[a], dy->strides[a]};
        offset += dx->strides[a] * s.start[a];
    }
    og__copy(call, dx->type.rank, axes, (char *)dx->data + offset * size, dy->data, (size_t)size);
    return OG_OK;
}

/* ---- Concat and Split */

/* Concat: x… → y along attribute axis */
static og_status run_concat(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *y = &call->y[0];
    int axis = og__axis(og_attr_int(call->node, "axis", 0), y->type.rank);
    size_t size = og__size(y->type.dtype);
    char *to = y->data;
    for (int i = 0; i < call->nx; i++) {
        const og_tensor *x = &call->x[i];
        og__copy_axis axes[OG_MAX_RANK];
        if (x->type.dtype == OG_UNDEFINED)
            continue;
        for (int a = 0; a < y->type.rank; a++)
            axes[a] = (og__copy_axis){x->type.dims[a], y->strides[a], x->strides[a]};
        og__copy(call, y->type.rank, axes, to, x->data, size);
        to += x->type.dims[axis] * y->strides[axis] * (int64_t)size;
    }
    return OG_OK;
}

/* Split: x, split → y… along attribute axis. Lengths of absent outputs come from input split, or
 * are those of the first output (all equal but the last). */
static og_status run_split(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0];
    int axis = og__axis(og_attr_int(call->node, "axis", 0), x->type.rank);
    int64_t size = (int64_t)og__size(x->type.dtype), at = 0, dim = x->type.dims[axis];
    int64_t equal = (dim + call->ny - 1) / call->ny;
    bool given = og__has(call->nx, call->x, 1);
    for (int i = 0; i < call->ny; i++) {
        const og_tensor *y = &call->y[i];
        int64_t length = og__min(equal, dim - at);
        og__copy_axis axes[OG_MAX_RANK];
        if (y->type.dtype != OG_UNDEFINED)
            length = y->type.dims[axis];
        else if (given)
            length =
                og__load_int(call->x[1].data, call->x[1].type.dtype, i * call->x[1].strides[0]);
        if (length < 0 || length > dim - at)
            return og__call_fail(call, error, OG_INVALID_MODEL,
                                 "part %d has length %lld of %lld left", i, (long long)length,
                                 (long long)(dim - at));
        if (y->type.dtype != OG_UNDEFINED && length > 0) {
            for (int a = 0; a < x->type.rank; a++)
                axes[a] = (og__copy_axis){y->type.dims[a], y->strides[a], x->strides[a]};
            og__copy(call, x->type.rank, axes, y->data,
                     (const char *)x->data + at * x->strides[axis] * size, (size_t)size);
        }
        at += length;
    }
    return OG_OK;
}

/* ---- Tile, DepthToSpace, SpaceToDepth */

/* Tile: y[i] = x[i mod x's dims] */
static og_status run_tile(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    og__copy_axis axes[OG__COPY_RANK];
    int n = 0;
    if (og__elements(y) == 0)
        return OG_OK;
    for (int a = 0; a < x->type.rank; a++) {
        int64_t dim = x->type.dims[a];
        axes[n++] = (og__copy_axis){y->type.dims[a] / dim, y->strides[a] * dim, 0};
        axes[n++] = (og__copy_axis){dim, y->strides[a], x->strides[a]};
    }
    og__copy(call, n, axes, y->data, x->data, og__size(y->type.dtype));
    return OG_OK;
}

/* The axes both ops share: deep: the tensor [N, C b b, H, W], wide: [N, C, H b, W b]. `crd`: the
 * deep channel is c b b + i b + j instead of (i b + j) C + c, for the pixel (h b + i, w b + j). */
static void space_depth_axes(const int64_t *wide_dims, int64_t b, bool crd, const int64_t *wide,
                             const int64_t *deep, og__copy_axis axes[6], bool to_wide)
{
    int64_t channels = wide_dims[1];
    int64_t step_c = crd ? b * b : 1, step_i = crd ? b : b * channels, step_j = crd ? 1 : channels;
    const int64_t n[6] = {wide_dims[0], channels, wide_dims[2] / b, b, wide_dims[3] / b, b};
    const int64_t w[6] = {wide[0], wide[1], wide[2] * b, wide[2], wide[3] * b, wide[3]};
    const int64_t d[6] = {deep[0],          deep[1] * step_c, deep[2],
                          deep[1] * step_i, deep[3],          deep[1] * step_j};
    for (int a = 0; a < 6; a++)
        axes[a] = (og__copy_axis){n[a], to_wide ? w[a] : d[a], to_wide ? d[a] : w[a]};
}

static og_status run_depth_to_space(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    bool crd = strcmp(og_attr_string(call->node, "mode", "DCR"), "CRD") == 0;
    og__copy_axis axes[6];
    space_depth_axes(y->type.dims, og_attr_int(call->node, "blocksize", 1), crd, y->strides,
                     x->strides, axes, true);
    og__copy(call, 6, axes, y->data, x->data, og__size(y->type.dtype));
    return OG_OK;
}

static og_status run_space_to_depth(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    bool crd = strcmp(og_attr_string(call->node, "mode", "DCR"), "CRD") == 0;
    og__copy_axis axes[6];
    space_depth_axes(x->type.dims, og_attr_int(call->node, "blocksize", 1), crd, x->strides,
                     y->strides, axes, false);
    og__copy(call, 6, axes, y->data, x->data, og__size(y->type.dtype));
    return OG_OK;
}

#define FLAGS (OG_KERNEL_STRIDED | OG_KERNEL_REFERENCE)
#define ROW(op, flags, run_it)                                     \
    {                                                              \
        op, "plain", flags, og__supports_bytes, NULL, run_it, NULL \
    }
#define MOVE(op, run_it) ROW(op, FLAGS, run_it)
/* Where outputs lie as they like. */
#define MOVE_ANY(op, run_it) ROW(op, FLAGS | OG_KERNEL_ANY_ORDER, run_it)

const og_kernel og_kernels_cpu_movement[] = {
    MOVE_ANY("ai.ongrad::Copy", run_copy),
    MOVE("Identity", run_same_elements),
    MOVE("Reshape", run_same_elements),
    MOVE("Flatten", run_same_elements),
    MOVE("Squeeze", run_same_elements),
    MOVE("Unsqueeze", run_same_elements),
    MOVE("Transpose", run_transpose),
    MOVE("Expand", run_expand),
    MOVE("Slice", run_slice),
    MOVE("ai.ongrad::SliceGrad", run_slice_grad),
    MOVE("Concat", run_concat),
    MOVE("Split", run_split),
    MOVE("Tile", run_tile),
    MOVE("DepthToSpace", run_depth_to_space),
    MOVE("SpaceToDepth", run_space_to_depth),
    {0},
};
