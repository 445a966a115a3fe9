/* Pad, CenterCropPad, Tile, DepthToSpace, SpaceToDepth: larger or differently folded tensors of the
 * same elements.
 */
#include "ops/common.h"

/* ---- Pad */

/* begin[k] and end[k] elements are added around dim k; negative: removed. False: the list of pads
 * does not fit the axes, or an axis does not exist. Inputs 1 and 3 are constants. */
static bool read_pads(const og_value *pads, const og_value *axes, int rank, int64_t *begin,
                      int64_t *end)
{
    int64_t list[2 * OG_MAX_RANK], dims[OG_MAX_RANK];
    int n = og_value_ints(pads, 2 * OG_MAX_RANK, list);
    int n_axes = axes ? og_value_ints(axes, OG_MAX_RANK, dims) : rank;
    if (n_axes < 0 || n != 2 * n_axes)
        return false;
    for (int k = 0; k < rank; k++)
        begin[k] = end[k] = 0;
    for (int k = 0; k < n_axes; k++) {
        int64_t axis = axes ? dims[k] : k;
        if (axis < -rank || axis >= rank)
            return false;
        begin[positive_axis(axis, rank)] = list[k];
        end[positive_axis(axis, rank)] = list[k + n_axes];
    }
    return true;
}

static bool pads_of(const og_grad *d, int64_t *begin, int64_t *end)
{
    const og_value *axes = d->nx > 3 && Has(d->x[3]) ? og_value_of(d->x[3]) : NULL;
    return read_pads(og_value_of(d->x[1]), axes, Rank(d->x[0]), begin, end);
}

static bool pad_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    const char *mode = og_attr_string(i->node, "mode", "constant");
    bool constant = strcmp(mode, "constant") == 0, reflect = strcmp(mode, "reflect") == 0;
    int64_t begin[OG_MAX_RANK], end[OG_MAX_RANK], list[2 * OG_MAX_RANK];
    int n;
    if (!constant && !reflect && strcmp(mode, "edge") != 0 && strcmp(mode, "wrap") != 0)
        return og_infer_error(i, "mode is \"%s\", expected constant, reflect, edge or wrap", mode);
    if (!need_ints(i, 1, "pads", 2 * OG_MAX_RANK, list, &n) ||
        (present(i, 3) && !need_ints(i, 3, "axes", OG_MAX_RANK, list, &n)))
        return false;
    if (!read_pads(i->x[1], present(i, 3) ? i->x[3] : NULL, x->rank, begin, end))
        return og_infer_error(
            i, "pads do not fit %s: expected a begin and an end for each of the axes",
            TypeText(i, x));
    if (present(i, 2) && (!need_scalar(i, 2, "constant_value") ||
                          (i->x[2]->type.dtype != OG_FLOAT && !need_same(i, 0, 2))))
        return false;
    i->y[0] = *x;
    for (int k = 0; k < x->rank; k++) {
        int64_t *dim = &i->y[0].dims[k], most = reflect ? x->dims[k] - 1 : INT64_MAX;
        if (__builtin_add_overflow(*dim, begin[k], dim) ||
            __builtin_add_overflow(*dim, end[k], dim) || *dim < 0)
            return og_infer_error(
                i, "dim %d of %s padded by %" PRId64 " and %" PRId64 " is negative or overflows", k,
                TypeText(i, x), begin[k], end[k]);
        if (!constant && *dim > 0 && x->dims[k] == 0)
            return og_infer_error(i, "dim %d of %s is 0: mode %s has nothing to repeat", k,
                                  TypeText(i, x), mode);
        if (begin[k] > most || end[k] > most)
            return og_infer_error(i,
                                  "dim %d of %s is reflected by %" PRId64 " and %" PRId64
                                  ", expected less than the dim",
                                  k, TypeText(i, x), begin[k], end[k]);
    }
    return true;
}

/* The element of x that element k of the padded dim repeats. */
static int64_t source(const char *mode, int64_t k, int64_t dim)
{
    if (strcmp(mode, "edge") == 0)
        return k < 0 ? 0 : k < dim ? k : dim - 1;
    if (strcmp(mode, "wrap") == 0)
        return ((k % dim) + dim) % dim;
    int64_t period = dim > 1 ? 2 * (dim - 1) : 1;
    k = ((k % period) + period) % period;
    return k < dim ? k : period - k;
}

/* Modes that repeat elements: y is gathered along each padded axis in turn, so dx is scattered back
 * in reverse. */
static og_val repeated_grad(og_grad *d, const char *mode, const int64_t *begin, const int64_t *end)
{
    og_val dx = d->dy[0];
    const og_type *x = og_type_of(d->x[0]);
    for (int a = x->rank - 1; a >= 0; a--) {
        int64_t length = Dim(dx, a);
        if ((begin[a] == 0 && end[a] == 0) || !Has(dx))
            continue;
        og_type t = {.dtype = OG_INT64, .rank = 1, .dims = {length}}, before = *og_type_of(dx);
        int64_t *index = og_arena_array(d->g->arena, (size_t)length + 1, sizeof *index);
        if (!index) {
            og_fail_memory(&d->g->error, (size_t)length * sizeof *index, "indices");
            return OG_NONE;
        }
        for (int64_t k = 0; k < length; k++)
            index[k] = source(mode, k - begin[a], x->dims[a]);
        before.dims[a] = x->dims[a];
        dx = Op(OG_DOMAIN "::GatherGrad", In(dx, og_graph_add_const(d->g, "", &t, index)),
                I("axis", a), Is("x_dims", before.rank, before.dims));
    }
    return dx;
}

/* Pad: dx = dy without what was added, 0 where something was removed: the opposite pads. The
 * constant's gradient is the sum of what was added. */
static void pad_grad(og_grad *d)
{
    const char *mode = og_attr_string(d->node, "mode", "constant");
    int64_t begin[OG_MAX_RANK] = {0}, end[OG_MAX_RANK] = {0}, back[2 * OG_MAX_RANK];
    int rank = Rank(d->x[0]);
    if (!pads_of(d, begin, end))
        return;
    if (strcmp(mode, "constant") != 0) {
        d->dx[0] = repeated_grad(d, mode, begin, end);
        return;
    }
    for (int k = 0; k < rank; k++) {
        back[k] = -begin[k];
        back[k + rank] = -end[k];
    }
    d->dx[0] = Op("Pad", In(d->dy[0], og_const_ints(d->g, 2 * rank, back)));
    if (d->nx > 2 && d->need[2]) {
        og_val added = Sub(Reduce("ReduceSum", d->dy[0], 0, NULL, false),
                           Reduce("ReduceSum", d->dx[0], 0, NULL, false));
        d->dx[2] = to_dtype(ReshapeLike(added, d->x[2]), DType(d->x[2]));
    }
}

/* Below opset 11, pads and value were attributes. */
static bool pad_upgrade_11(og_draft *d)
{
    return og_draft_ints_to_input(d, "pads", 1) && og_draft_float_to_input(d, "value", 2);
}

/* ---- Tile */

static bool tile_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t repeats[OG_MAX_RANK];
    int n = 0, split = 0;
    if (!need_ints(i, 1, "repeats", OG_MAX_RANK, repeats, &n))
        return false;
    if (n != x->rank)
        return og_infer_error(i, "repeats has %d entries, expected %d for %s", n, x->rank,
                              TypeText(i, x));
    i->y[0] = *x;
    for (int k = 0; k < n; k++) {
        if (repeats[k] < 0 || __builtin_mul_overflow(x->dims[k], repeats[k], &i->y[0].dims[k]))
            return og_infer_error(i, "repeats entry %d is %" PRId64, k, repeats[k]);
        split += repeats[k] != 1;
    }
    return x->rank + split <= OG_MAX_RANK ||
           og_infer_error(i, "repeats %d dims of %d, more than supported", split, x->rank);
}

/* Each repeated dim d becomes [repeats, d]: [1, d] expanded */
static void tile_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t repeats[OG_MAX_RANK], one[OG_MAX_RANK], many[OG_MAX_RANK], dims[OG_MAX_RANK];
    int n = 0;
    og_value_ints(og_value_of(e->x[1]), OG_MAX_RANK, repeats);
    for (int k = 0; k < Rank(x); k++) {
        dims[k] = Dim(x, k) * repeats[k];
        if (repeats[k] != 1) {
            one[n] = 1;
            many[n++] = repeats[k];
        }
        one[n] = many[n] = Dim(x, k);
        n++;
    }
    if (n == Rank(x))
        e->y[0] = Identity(x);
    else
        e->y[0] = Reshape(Op("Expand", In(Reshape(x, n, one), og_const_ints(e->g, n, many))),
                          Rank(x), dims);
}

/* ---- DepthToSpace, SpaceToDepth */

static bool need_blocks(og_infer *i, int64_t *b)
{
    *b = og_attr_int(i->node, "blocksize", 0);
    return need_rank(i, 0, "input", 4) &&
           ((*b > 0 && *b < 1 << 15) ||
            og_infer_error(i, "blocksize is %" PRId64 ", expected 1 or more", *b));
}

static bool depth_to_space_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t b;
    if (!need_blocks(i, &b))
        return false;
    if (x->dims[1] % (b * b) != 0)
        return og_infer_error(
            i, "has %" PRId64 " channels, expected a multiple of blocksize² (%" PRId64 ")",
            x->dims[1], b * b);
    i->y[0] = *x;
    i->y[0].dims[1] = x->dims[1] / (b * b);
    return (!__builtin_mul_overflow(x->dims[2], b, &i->y[0].dims[2]) &&
            !__builtin_mul_overflow(x->dims[3], b, &i->y[0].dims[3])) ||
           og_infer_error(i, "the result's dims overflow");
}

/* DCR: channel = (block row, block column, depth); CRD: (depth, block row, block column) */
static void depth_to_space_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t b = og_attr_int(e->node, "blocksize", 1);
    int64_t n = Dim(x, 0), c = Dim(x, 1) / (b * b), h = Dim(x, 2), w = Dim(x, 3);
    bool crd = strcmp(og_attr_string(e->node, "mode", "DCR"), "CRD") == 0;
    og_val blocks =
        crd ? Transpose(Reshape(x, 6, ((int64_t[]){n, c, b, b, h, w})), ((int[]){0, 1, 4, 2, 5, 3}))
            : Transpose(Reshape(x, 6, ((int64_t[]){n, b, b, c, h, w})),
                        ((int[]){0, 3, 4, 1, 5, 2}));
    e->y[0] = Reshape(blocks, 4, ((int64_t[]){n, c, h * b, w * b}));
}

static bool space_to_depth_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t b;
    if (!need_blocks(i, &b))
        return false;
    if (x->dims[2] % b != 0 || x->dims[3] % b != 0)
        return og_infer_error(
            i, "is %s, expected height and width to be multiples of blocksize (%" PRId64 ")",
            TypeText(i, x), b);
    i->y[0] = *x;
    i->y[0].dims[2] = x->dims[2] / b;
    i->y[0].dims[3] = x->dims[3] / b;
    return !__builtin_mul_overflow(x->dims[1], b * b, &i->y[0].dims[1]) ||
           og_infer_error(i, "the result's dims overflow");
}

static void space_to_depth_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t b = og_attr_int(e->node, "blocksize", 1);
    int64_t n = Dim(x, 0), c = Dim(x, 1), h = Dim(x, 2) / b, w = Dim(x, 3) / b;
    bool crd = strcmp(og_attr_string(e->node, "mode", "DCR"), "CRD") == 0;
    og_val blocks = Reshape(x, 6, ((int64_t[]){n, c, h, b, w, b}));
    og_val moved = Transpose(blocks, (crd ? (int[]){0, 1, 3, 5, 2, 4} : (int[]){0, 3, 5, 1, 2, 4}));
    e->y[0] = Reshape(moved, 4, ((int64_t[]){n, c * b * b, h, w}));
}

/* ---- CenterCropPad */

/* What is added (or, negative, removed) around each dim so that the middle stays the middle; an odd
 * element more at the end. */
static bool crop_pads(const og_node *node, const og_value *shape, const og_type *x, int64_t *pads)
{
    int64_t sizes[OG_MAX_RANK];
    const int64_t *axes;
    int n = og_value_ints(shape, OG_MAX_RANK, sizes), n_axes = og_attr_ints(node, "axes", &axes);
    bool all = og_node_attr(node, "axes") == NULL;
    if (n != (all ? x->rank : n_axes))
        return false;
    for (int k = 0; k < 2 * x->rank; k++)
        pads[k] = 0;
    for (int k = 0; k < n; k++) {
        int64_t axis = all ? k : axes[k];
        if (axis < -x->rank || axis >= x->rank || sizes[k] < 0)
            return false;
        axis = positive_axis(axis, x->rank);
        int64_t more = sizes[k] - x->dims[axis];
        pads[axis] = more / 2;
        pads[axis + x->rank] = more - more / 2;
    }
    return true;
}

static bool crop_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t pads[2 * OG_MAX_RANK];
    if (!is_const(i->x[1]))
        return og_infer_error(i,
                              "shape (input 1) is computed while running; it must be a constant");
    if (!crop_pads(i->node, i->x[1], x, pads))
        return og_infer_error(i, "shape and axes do not fit %s", TypeText(i, x));
    i->y[0] = *x;
    for (int k = 0; k < x->rank; k++)
        i->y[0].dims[k] += pads[k] + pads[k + x->rank];
    return true;
}

static void crop_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t pads[2 * OG_MAX_RANK];
    crop_pads(e->node, og_value_of(e->x[1]), og_type_of(x), pads);
    e->y[0] = Op("Pad", In(x, og_const_ints(e->g, 2 * Rank(x), pads)));
}

const og_op og_ops_pad[] = {
    {"Pad", NULL, 2, 4, 1, 1, pad_infer, .grad = pad_grad, .upgrade = {{11, pad_upgrade_11}}},
    {"Tile", NULL, 2, 2, 1, 1, tile_infer, .expand = tile_expand},
    {"DepthToSpace", NULL, 1, 1, 1, 1, depth_to_space_infer, .expand = depth_to_space_expand},
    {"SpaceToDepth", NULL, 1, 1, 1, 1, space_to_depth_infer, .expand = space_to_depth_expand},
    {"CenterCropPad", NULL, 2, 2, 1, 1, crop_infer, .expand = crop_expand},
    {0},
};
