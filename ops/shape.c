/* The same elements in another shape or order: Identity, Reshape and its relatives, Transpose,
 * Expand; and ops that read a shape only. All results can be views of the input, save a Reshape
 * across strides that do not join. */
#include "ops/common.h"

/* ---- views */

static bool same_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                      const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)node, (void)out, (void)in, (void)x, (void)y;
    *ly = *lx;
    return true;
}

/* Dims of x that lie in memory as one are joined into chunks, innermost first; dims of y are cut
 * from them. */
static bool reshape_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                         const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)node, (void)out, (void)in;
    *ly = (og_layout){.offset = lx->offset};
    int64_t left = 1, stride = 1;
    if (og_type_elements(x) == 0)
        return true;
    for (int a = y->rank - 1, k = x->rank - 1; a >= 0; a--) {
        ly->strides[a] = stride;
        if (y->dims[a] == 1)
            continue;
        if (left == 1) {
            while (k >= 0 && x->dims[k] == 1)
                k--;
            if (k < 0)
                return false;
            left = x->dims[k];
            stride = lx->strides[k--];
            for (; k >= 0 && (x->dims[k] == 1 || lx->strides[k] == stride * left); k--)
                left *= x->dims[k];
        }
        if (left % y->dims[a] != 0)
            return false;
        ly->strides[a] = stride;
        stride *= y->dims[a];
        left /= y->dims[a];
    }
    return true;
}

static bool transpose_view(const og_node *node, int out, const og_value *const *in,
                           const og_type *x, const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)out, (void)in;
    const int64_t *perm;
    int n = og_attr_ints(node, "perm", &perm);
    ly->offset = lx->offset;
    for (int k = 0; k < y->rank; k++)
        ly->strides[k] = lx->strides[n ? perm[k] : x->rank - 1 - k];
    return true;
}

static bool expand_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                        const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)node, (void)out, (void)in;
    ly->offset = lx->offset;
    for (int k = 1; k <= y->rank; k++) {
        bool own = k <= x->rank && x->dims[x->rank - k] == y->dims[y->rank - k];
        ly->strides[y->rank - k] = own ? lx->strides[x->rank - k] : 0;
    }
    return true;
}

/* ---- Reshape */

static bool is_numeric_or_bool(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    return og_dtype_bits(x->dtype) > 0 ||
           og_infer_error(i, "input 0 is %s, expected a numeric type or bool", TypeText(i, x));
}

/* Sequences and empty optionals pass; tensors stay a node. */
static bool identity_resolve(og_resolve *r)
{
    r->y[0] = r->x[0];
    return !r->x[0].v.g;
}

static bool identity_infer(og_infer *i)
{
    return is_numeric_or_bool(i) && same_as_x(i);
}

/* 0 takes x's dim (unless allowzero), one -1 takes what is left. */
static bool reshape_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t dims[OG_MAX_RANK], known = 1;
    int n, free_dim = -1;
    bool zero_is_zero = og_attr_int(i->node, "allowzero", 0) != 0;
    if (!is_numeric_or_bool(i) || !need_ints(i, 1, "shape", OG_MAX_RANK, dims, &n))
        return false;
    for (int k = 0; k < n; k++) {
        if (dims[k] == 0 && !zero_is_zero) {
            if (k >= x->rank)
                return og_infer_error(i,
                                      "shape dim %d is 0 (\"as the input's\"), but the input is %s",
                                      k, TypeText(i, x));
            dims[k] = x->dims[k];
        }
        if (dims[k] < -1 || (dims[k] == -1 && free_dim >= 0))
            return og_infer_error(
                i, "shape dim %d is %" PRId64 ", expected dims from 0 and one -1 at most", k,
                dims[k]);
        if (dims[k] == -1)
            free_dim = k;
        else if (__builtin_mul_overflow(known, dims[k], &known))
            return og_infer_error(i, "the shape's product overflows");
    }
    int64_t elements = og_type_elements(x);
    og_type y = og_type_make(x->dtype, n, dims);
    if (free_dim >= 0)
        y.dims[free_dim] = known ? elements / known : 0;
    if (og_type_elements(&y) != elements) {
        if (free_dim >= 0)
            return og_infer_error(i,
                                  "%s has %" PRId64 " elements, not a multiple of %" PRId64
                                  " (the product of the given dims)",
                                  TypeText(i, x), elements, known);
        return og_infer_error(i,
                              "%s has %" PRId64 " elements, the shape to give it %s has %" PRId64,
                              TypeText(i, x), elements, TypeText(i, &y), known);
    }
    i->y[0] = y;
    return true;
}

/* dx = dy in x's shape: Reshape, Flatten, Squeeze, Unsqueeze */
static void reshape_grad(og_grad *d)
{
    d->dx[0] = ReshapeLike(d->dy[0], d->x[0]);
}

static void identity_grad(og_grad *d)
{
    d->dx[0] = d->dy[0];
}

static void copy_expand(og_expand *e)
{
    e->y[0] = Identity(e->x[0]);
}

/* y = x reshaped to the dims before and from `axis`, multiplied out */
static bool flatten_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int axis;
    int64_t attr = og_attr_int(i->node, "axis", 1);
    og_type y = {.dtype = x->dtype, .rank = 2};
    if (attr == x->rank)
        axis = x->rank;
    else if (!need_axis(i, attr, x->rank, &axis))
        return false;
    if (!dims_product(x->dims, 0, axis, &y.dims[0]) ||
        !dims_product(x->dims, axis, x->rank, &y.dims[1]))
        return og_infer_error(i, "the product of the dims overflows");
    i->y[0] = y;
    return is_numeric_or_bool(i);
}

/* Without axes, every dim of 1 goes. */
static bool squeeze_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    bool marks[OG_MAX_RANK];
    int64_t axes[OG_MAX_RANK];
    int n;
    for (int k = 0; k < x->rank; k++)
        marks[k] = x->dims[k] == 1;
    if (present(i, 1) &&
        (!need_ints(i, 1, "axes", OG_MAX_RANK, axes, &n) || !mark_axes(i, n, axes, x->rank, marks)))
        return false;
    og_type y = {.dtype = x->dtype};
    for (int k = 0; k < x->rank; k++) {
        if (marks[k] && x->dims[k] != 1)
            return og_infer_error(i,
                                  "dim %d of %s cannot be removed: it is %" PRId64 ", expected 1",
                                  k, TypeText(i, x), x->dims[k]);
        if (!marks[k])
            y.dims[y.rank++] = x->dims[k];
    }
    i->y[0] = y;
    return is_numeric_or_bool(i);
}

/* axes are those of the result */
static bool unsqueeze_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    bool marks[OG_MAX_RANK];
    int64_t axes[OG_MAX_RANK];
    int n;
    if (!need_ints(i, 1, "axes", OG_MAX_RANK, axes, &n))
        return false;
    if (x->rank + n > OG_MAX_RANK)
        return og_infer_error(i, "the result would have %d dims, at most %d are supported",
                              x->rank + n, OG_MAX_RANK);
    og_type y = {.dtype = x->dtype, .rank = x->rank + n};
    if (!mark_axes(i, n, axes, y.rank, marks))
        return false;
    for (int k = 0, from = 0; k < y.rank; k++)
        y.dims[k] = marks[k] ? 1 : x->dims[from++];
    i->y[0] = y;
    return is_numeric_or_bool(i);
}

/* Flatten, Squeeze, Unsqueeze: a Reshape to the shape inferred */
static void reshape_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_type y = {0};
    og_infer i = {.g = e->g, .node = e->node, .nx = e->nx, .ny = 1, .y = &y};
    const og_value *values[2] = {og_value_of(x),
                                 e->nx > 1 && Has(e->x[1]) ? og_value_of(e->x[1]) : NULL};
    i.x = values;
    if (e->node->op->infer(&i))
        e->y[0] = og_type_equal(&y, og_type_of(x)) ? Identity(x) : Reshape(x, y.rank, y.dims);
}

/* ---- Transpose, Expand */

static bool transpose_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    const int64_t *perm;
    bool marks[OG_MAX_RANK];
    int n = og_attr_ints(i->node, "perm", &perm);
    if (!is_numeric_or_bool(i))
        return false;
    if (n && n != x->rank)
        return og_infer_error(i, "perm has %d entries, expected %d for %s", n, x->rank,
                              TypeText(i, x));
    for (int k = 0; k < n; k++)
        if (perm[k] < 0)
            return og_infer_error(i, "perm entry %d is %" PRId64 ", expected 0 or more", k,
                                  perm[k]);
    if (!mark_axes(i, n, perm, x->rank, marks))
        return false;
    og_type y = *x;
    for (int k = 0; k < x->rank; k++)
        y.dims[k] = x->dims[n ? perm[k] : x->rank - 1 - k];
    i->y[0] = y;
    return true;
}

/* dx = dy with the dims put back: dim perm[k] of x is dim k of y */
static void transpose_grad(og_grad *d)
{
    const int64_t *perm;
    int n = og_attr_ints(d->node, "perm", &perm), back[OG_MAX_RANK], rank = Rank(d->x[0]);
    for (int k = 0; k < rank; k++)
        back[n ? perm[k] : rank - 1 - k] = k;
    d->dx[0] = Transpose(d->dy[0], back);
}

static bool expand_infer(og_infer *i)
{
    og_type shape = {.dtype = i->x[0]->type.dtype};
    if (!is_numeric_or_bool(i) || !need_ints(i, 1, "shape", OG_MAX_RANK, shape.dims, &shape.rank))
        return false;
    for (int k = 0; k < shape.rank; k++)
        if (shape.dims[k] < 0)
            return og_infer_error(i, "shape dim %d is %" PRId64 ", expected 0 or more", k,
                                  shape.dims[k]);
    i->y[0].dtype = shape.dtype;
    return broadcast(i, &i->x[0]->type, &shape, &i->y[0]);
}

/* Expand: dx = Σ dy over the stretched dims, which the pass takes */
static void expand_grad(og_grad *d)
{
    d->dx[0] = d->dy[0];
}

/* ---- Shape, Size */

/* Dims start … end - 1, clamped; their count. */
static int shape_range(const og_node *node, int rank, int *start)
{
    int64_t from = og_attr_int(node, "start", 0), to = og_attr_int(node, "end", rank);
    from = from < 0 ? from + rank : from;
    to = to < 0 ? to + rank : to;
    from = from < 0 ? 0 : from > rank ? rank : from;
    to = to < from ? from : to > rank ? rank : to;
    *start = (int)from;
    return (int)(to - from);
}

static bool shape_infer(og_infer *i)
{
    int start, n = shape_range(i->node, i->x[0]->type.rank, &start);
    i->y[0] = (og_type){.dtype = OG_INT64, .rank = 1, .dims = {n}};
    return true;
}

static void shape_expand(og_expand *e)
{
    int start, n = shape_range(e->node, Rank(e->x[0]), &start);
    e->y[0] = og_const_ints(e->g, n, og_type_of(e->x[0])->dims + start);
}

static bool size_infer(og_infer *i)
{
    i->y[0] = (og_type){.dtype = OG_INT64};
    return true;
}

static void size_expand(og_expand *e)
{
    e->y[0] = og_const_int(e->g, Count(e->x[0]));
}

/* ---- the table */

/* Below opset 13, Squeeze's and Unsqueeze's axes were an attribute. */
static bool axes_to_input(og_draft *d)
{
    return og_draft_ints_to_input(d, "axes", 1);
}

const og_op og_ops_shape[] = {
    {"Identity", NULL, 1, 1, 1, 1, identity_infer, OG_SCALAR_Identity, .grad = identity_grad,
     .resolve = identity_resolve, .view = same_view, .flags = OG_CHEAP},
    {"Copy", OG_DOMAIN, 1, 1, 1, 1, identity_infer, .expand = copy_expand, .grad = identity_grad},
    {"Reshape", NULL, 2, 2, 1, 1, reshape_infer, .grad = reshape_grad, .view = reshape_view,
     .flags = OG_CHEAP},
    {"Flatten", NULL, 1, 1, 1, 1, flatten_infer, .expand = reshape_expand, .grad = reshape_grad,
     .view = reshape_view, .flags = OG_CHEAP},
    {"Squeeze", NULL, 1, 2, 1, 1, squeeze_infer, .expand = reshape_expand, .grad = reshape_grad,
     .view = reshape_view, .flags = OG_CHEAP, .upgrade = {{13, axes_to_input}}},
    {"Unsqueeze", NULL, 2, 2, 1, 1, unsqueeze_infer, .expand = reshape_expand, .grad = reshape_grad,
     .view = reshape_view, .flags = OG_CHEAP, .upgrade = {{13, axes_to_input}}},
    {"Transpose", NULL, 1, 1, 1, 1, transpose_infer, .grad = transpose_grad, .view = transpose_view,
     .flags = OG_CHEAP},
    {"Expand", NULL, 2, 2, 1, 1, expand_infer, .grad = expand_grad, .view = expand_view,
     .flags = OG_CHEAP},
    {"Shape", NULL, 1, 1, 1, 1, shape_infer, .expand = shape_expand, .diff = OG_DIFF_ZERO,
     .flags = OG_CHEAP, .type_only = 1 << 0},
    {"Size", NULL, 1, 1, 1, 1, size_infer, .expand = size_expand, .diff = OG_DIFF_ZERO,
     .flags = OG_CHEAP, .type_only = 1 << 0},
    {0},
};
