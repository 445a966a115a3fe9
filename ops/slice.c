/* Parts of a tensor, and tensors of parts: Slice, Split, Concat. */
#include "ops/common.h"

/* ---- Slice */

/* For each dim of x: y[k] = x[start + k step], k below length */
typedef struct ranges {
    int64_t start[OG_MAX_RANK], step[OG_MAX_RANK], length[OG_MAX_RANK];
} ranges;

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* One dim's range, with ONNX's clamping of start and end. */
static void range_of(int64_t dim, int64_t start, int64_t end, int64_t step, ranges *r, int axis)
{
    step = step == INT64_MIN ? -INT64_MAX : step;
    start = start < 0 ? start + dim : start;
    end = end < 0 ? end + dim : end;
    start = step > 0 ? clamp(start, 0, dim) : clamp(start, 0, dim > 0 ? dim - 1 : 0);
    end = step > 0 ? clamp(end, 0, dim) : clamp(end, -1, dim - 1);
    int64_t room = step > 0 ? end - start : start - end;
    r->start[axis] = start;
    r->step[axis] = step;
    r->length[axis] = dim > 0 && room > 0 ? (room - 1) / (step > 0 ? step : -step) + 1 : 0;
}

/* in: the node's inputs, of which first … first + 3 are starts, ends, axes, steps. What is wrong
 * goes to *bad: an input's name, or "steps" for a step of 0. Values are constants. */
static bool read_ranges(const og_value *const *in, int nx, int first, const og_type *x, ranges *r,
                        const char **bad)
{
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    int64_t list[4][OG_MAX_RANK];
    int n[4] = {-1, -1, -1, -1};
    for (int k = 0; k < 4; k++) {
        *bad = names[k];
        const og_value *v = first + k < nx ? in[first + k] : NULL;
        if (!v && k < 2)
            return false;
        if (v && ((n[k] = og_value_ints(v, OG_MAX_RANK, list[k])) < 0 || n[k] != n[0]))
            return false;
    }
    for (int a = 0; a < x->rank; a++)
        range_of(x->dims[a], 0, x->dims[a], 1, r, a);
    for (int k = 0; k < n[0]; k++) {
        int64_t axis = n[2] < 0 ? k : list[2][k], step = n[3] < 0 ? 1 : list[3][k];
        *bad = "axes";
        if (axis < -x->rank || axis >= x->rank)
            return false;
        *bad = "steps";
        if (step == 0)
            return false;
        int a = positive_axis(axis, x->rank);
        range_of(x->dims[a], list[0][k], list[1][k], step, r, a);
    }
    return true;
}

static bool need_ranges(og_infer *i, const og_type *x, ranges *r)
{
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    const char *bad;
    int64_t list[OG_MAX_RANK];
    int n;
    for (int k = 1; k < i->nx && k <= 4; k++)
        if (i->x[k] && !need_ints(i, k, names[k - 1], OG_MAX_RANK, list, &n))
            return false;
    return read_ranges(i->x, i->nx, 1, x, r, &bad) ||
           og_infer_error(
               i,
               "%s do not fit %s: expected one entry for each of starts, axes that exist and "
               "steps other than 0",
               bad, TypeText(i, x));
}

static bool slice_infer(og_infer *i)
{
    ranges r = {0};
    if (!need_ranges(i, &i->x[0]->type, &r))
        return false;
    i->y[0] = i->x[0]->type;
    memcpy(i->y[0].dims, r.length, sizeof(int64_t) * (size_t)i->y[0].rank);
    return true;
}

static bool slice_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                       const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)out, (void)y;
    ranges r = {0};
    const char *bad;
    if (!read_ranges(in, node->n_in, 1, x, &r, &bad))
        return false;
    ly->offset = lx->offset;
    for (int k = 0; k < x->rank; k++) {
        bool moved = r.length[k] > 0;
        ly->offset += moved ? r.start[k] * lx->strides[k] : 0;
        ly->strides[k] = r.length[k] > 1 ? r.step[k] * lx->strides[k] : lx->strides[k];
    }
    return true;
}

static og_val input_or_none(const og_val *x, int nx, int k)
{
    return k < nx ? x[k] : OG_NONE;
}

/* Slice: dx = dy at the places taken, 0 elsewhere */
static void slice_grad(og_grad *d)
{
    const og_val *x = d->x;
    d->dx[0] = Op(OG_DOMAIN "::SliceGrad",
                  In(d->dy[0], x[1], x[2], input_or_none(x, d->nx, 3), input_or_none(x, d->nx, 4)),
                  XDims(x[0]));
}

static bool slice_grad_infer(og_infer *i)
{
    ranges r = {0};
    const og_type *dy = &i->x[0]->type;
    if (!type_from_attr(i, "x_dims", dy->dtype, &i->y[0]) || !need_ranges(i, &i->y[0], &r))
        return false;
    og_type slice = og_type_make(dy->dtype, i->y[0].rank, r.length);
    return og_type_equal(dy, &slice) ||
           og_infer_error(i, "dy is %s, expected %s", TypeText(i, dy), TypeText(i, &slice));
}

/* dx has dy's element k of `axis` at start + k step. */
static og_val spread(og_val dy, int axis, const ranges *r, int64_t dim)
{
    og_type before = *og_type_of(dy), t = {.dtype = OG_INT64, .rank = 1, .dims = {Dim(dy, axis)}};
    int64_t *index = og_arena_array(dy.g->arena, (size_t)t.dims[0], sizeof *index);
    if (!index) {
        og_fail_memory(&dy.g->error, (size_t)t.dims[0] * sizeof *index, "indices");
        return OG_NONE;
    }
    for (int64_t k = 0; k < t.dims[0]; k++)
        index[k] = r->start[axis] + k * r->step[axis];
    before.dims[axis] = dim;
    return Op(OG_DOMAIN "::GatherGrad", In(dy, og_graph_add_const(dy.g, "", &t, index)),
              I("axis", axis), Is("x_dims", before.rank, before.dims));
}

/* SliceGrad: dims in steps other than 1 are scattered, the others padded. */
static void slice_grad_expand(og_expand *e)
{
    og_val dx = e->x[0];
    const og_value *in[5] = {NULL};
    const int64_t *dims;
    const char *bad;
    int rank = og_attr_ints(e->node, "x_dims", &dims);
    og_type x = og_type_make(DType(dx), rank, dims);
    ranges r = {0};
    for (int k = 1; k < e->nx && k < 5; k++)
        in[k] = Has(e->x[k]) ? og_value_of(e->x[k]) : NULL;
    read_ranges(in, 5, 1, &x, &r, &bad);
    int64_t pads[2 * OG_MAX_RANK];
    bool padded = false;
    if (Count(dx) == 0) {
        e->y[0] = og_full(e->g, &x, 0);
        return;
    }
    for (int a = 0; a < rank; a++) {
        bool unit = r.step[a] == 1 || r.length[a] == 1;
        if (!unit && Has(dx))
            dx = spread(dx, a, &r, dims[a]);
        pads[a] = unit ? r.start[a] : 0;
        pads[a + rank] = unit ? dims[a] - r.start[a] - r.length[a] : 0;
        padded |= pads[a] || pads[a + rank];
    }
    dx = padded ? Op("Pad", In(dx, og_const_ints(e->g, 2 * rank, pads))) : dx;
    e->y[0] = dx.id == e->x[0].id ? Identity(dx) : dx;
}

/* SliceGrad: its transpose is the slice itself. */
static void slice_grad_grad(og_grad *d)
{
    const og_val *x = d->x;
    d->dx[0] = Op("Slice",
                  In(d->dy[0], x[1], x[2], input_or_none(x, d->nx, 3), input_or_none(x, d->nx, 4)));
}

/* ---- Split */

/* Where output `out` starts along the axis and how long it is. Lengths are input 1, or equal parts,
 * of which the last may be shorter. False: output `out` does not exist or the given lengths are no
 * such list. */
static bool split_part(const og_node *node, const og_value *lengths, int64_t dim, int n_out,
                       int out, int64_t *start, int64_t *length)
{
    *start = 0;
    if (lengths) {
        int64_t list[256];
        int n = og_value_ints(lengths, 256, list);
        if (out >= n)
            return false;
        for (int k = 0; k < out; k++)
            *start += list[k];
        *length = list[out];
        return true;
    }
    int64_t parts = og_attr_int(node, "num_outputs", n_out);
    if (parts < 1 || out >= parts)
        return false;
    int64_t chunk = dim / parts + (dim % parts != 0);
    *start = clamp(chunk * out, 0, dim);
    *length = clamp(dim - *start, 0, chunk);
    return true;
}

static bool check_lengths(og_infer *i, int64_t dim, int axis)
{
    int64_t list[256], sum = 0;
    int n = 0;
    if (!need_ints(i, 1, "split", 256, list, &n))
        return false;
    if (n < i->ny)
        return og_infer_error(i, "split has %d entries for %d outputs", n, i->ny);
    for (int k = 0; k < n; k++) {
        if (list[k] < 0 || __builtin_add_overflow(sum, list[k], &sum))
            return og_infer_error(i, "split entry %d is %" PRId64, k, list[k]);
    }
    return sum == dim ||
           og_infer_error(i, "split adds up to %" PRId64 ", expected %" PRId64 " (dim %d of %s)",
                          sum, dim, axis, TypeText(i, &i->x[0]->type));
}

static bool split_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int axis;
    if (i->ny < 1)
        return og_infer_error(i, "has no outputs");
    if (!need_axis(i, og_attr_int(i->node, "axis", 0), x->rank, &axis))
        return false;
    const og_value *lengths = present(i, 1) ? i->x[1] : NULL;
    if (lengths && !check_lengths(i, x->dims[axis], axis))
        return false;
    if (!lengths && !og_node_attr(i->node, "num_outputs") && x->dims[axis] % i->ny != 0)
        return og_infer_error(i, "dim %d of %s does not split into %d equal parts", axis,
                              TypeText(i, x), i->ny);
    for (int k = 0; k < i->ny; k++) {
        int64_t start;
        i->y[k] = *x;
        if (!split_part(i->node, lengths, x->dims[axis], i->ny, k, &start, &i->y[k].dims[axis]))
            return og_infer_error(i, "has %d outputs, num_outputs is %" PRId64, i->ny,
                                  og_attr_int(i->node, "num_outputs", 0));
    }
    return true;
}

static bool split_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                       const og_layout *lx, const og_type *y, og_layout *ly)
{
    int axis = positive_axis(og_attr_int(node, "axis", 0), x->rank);
    int64_t start, length;
    const og_value *lengths = node->n_in > 1 ? in[1] : NULL;
    if (!split_part(node, lengths, x->dims[axis], node->n_out, out, &start, &length))
        return false;
    *ly = *lx;
    ly->offset += y->dims[axis] > 0 ? start * lx->strides[axis] : 0;
    return true;
}

/* Split: dx = the dy in a row */
static void split_grad(og_grad *d)
{
    d->dx[0] = og_ops(OG_HERE, "Concat", 1, (og_vals){d->ny, d->dy},
                      (og_attr[]){I("axis", og_attr_int(d->node, "axis", 0)), {0}})
                   .y[0];
    const og_type *x = og_type_of(d->x[0]);
    int axis = positive_axis(og_attr_int(d->node, "axis", 0), x->rank);
    int64_t missing = x->dims[axis] - Dim(d->dx[0], axis);
    if (Has(d->dx[0]) && missing > 0) { /* outputs that the node leaves out */
        og_type rest = *x;
        rest.dims[axis] = missing;
        d->dx[0] = Op("Concat", In(d->dx[0], og_full(d->g, &rest, 0)), I("axis", axis));
    }
}

/* ---- Concat */

static bool concat_infer(og_infer *i)
{
    const og_type *first = &i->x[0]->type;
    int axis;
    if (!og_node_attr(i->node, "axis"))
        return og_infer_error(i, "attribute axis is missing");
    if (!need_axis(i, og_attr_int(i->node, "axis", 0), first->rank, &axis) || !need_all_same(i))
        return false;
    og_type y = *first;
    for (int k = 1; k < i->nx; k++) {
        if (!i->x[k])
            return og_infer_error(i, "input %d is absent", k);
        const og_type *t = &i->x[k]->type;
        bool fits = t->rank == y.rank;
        for (int a = 0; fits && a < y.rank; a++)
            fits = a == axis || t->dims[a] == y.dims[a];
        if (!fits)
            return og_infer_error(i,
                                  "input %d is %s, expected the dims of input 0, %s, except dim %d",
                                  k, TypeText(i, t), TypeText(i, first), axis);
        if (__builtin_add_overflow(y.dims[axis], t->dims[axis], &y.dims[axis]))
            return og_infer_error(i, "dim %d of the result overflows", axis);
    }
    i->y[0] = y;
    return true;
}

/* Concat: each dx is its part of dy */
static void concat_grad(og_grad *d)
{
    int axis = positive_axis(og_attr_int(d->node, "axis", 0), Rank(d->x[0]));
    int64_t start = 0;
    for (int k = 0; k < d->nx; k++) {
        int64_t length = Dim(d->x[k], axis);
        if (d->need[k])
            d->dx[k] = Slice(d->dy[0], axis, start, length);
        start += length;
    }
}

/* ---- upgrades */

/* Below opset 10 everything was an attribute, and there were no steps. */
static bool slice_upgrade_10(og_draft *d)
{
    return og_draft_ints_to_input(d, "starts", 1) && og_draft_ints_to_input(d, "ends", 2) &&
           og_draft_ints_to_input(d, "axes", 3);
}

static bool split_upgrade_13(og_draft *d)
{
    return og_draft_ints_to_input(d, "split", 1);
}

const og_op og_ops_slice[] = {
    {"Slice", NULL, 3, 5, 1, 1, slice_infer, .grad = slice_grad, .view = slice_view,
     .flags = OG_CHEAP, .upgrade = {{10, slice_upgrade_10}}},
    {"SliceGrad", OG_DOMAIN, 3, 5, 1, 1, slice_grad_infer, .expand = slice_grad_expand,
     .grad = slice_grad_grad},
    {"Split", NULL, 1, 2, 1, OG_VARIADIC, split_infer, .grad = split_grad, .view = split_view,
     .flags = OG_CHEAP, .upgrade = {{13, split_upgrade_13}}},
    {"Concat", NULL, 1, OG_VARIADIC, 1, 1, concat_infer, .grad = concat_grad},
    {0},
};
