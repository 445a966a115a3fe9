/* Reductions over axes, ArgMax and ArgMin, running sums and products. Axes are input 1, a constant.
 */
#include "ops/common.h"

/* ---- axes */

/* marks[a]: dim a is reduced. axes: NULL where absent. Fails with a message if i is given. */
static bool reduced_axes(og_infer *i, const og_node *node, const og_value *axes, int rank,
                         bool *marks)
{
    int64_t list[OG_MAX_RANK];
    int n = 0;
    if (axes && i && !need_ints(i, 1, "axes", OG_MAX_RANK, list, &n))
        return false;
    if (axes && !i)
        n = og_value_ints(axes, OG_MAX_RANK, list);
    if (n <= 0) {
        bool all = og_attr_int(node, "noop_with_empty_axes", 0) == 0;
        for (int k = 0; k < rank; k++)
            marks[k] = all;
        return true;
    }
    if (i)
        return mark_axes(i, n, list, rank, marks);
    memset(marks, 0, OG_MAX_RANK * sizeof(bool));
    for (int k = 0; k < n; k++)
        marks[positive_axis(list[k], rank)] = true;
    return true;
}

/* The reduced axes of a node whose inference has succeeded; their count. */
static int axes_of(const og_node *node, int nx, const og_val *x, int *axes)
{
    bool marks[OG_MAX_RANK] = {false};
    int n = 0;
    const og_value *v = nx > 1 && Has(x[1]) ? og_value_of(x[1]) : NULL;
    reduced_axes(NULL, node, v, Rank(x[0]), marks);
    for (int k = 0; k < Rank(x[0]); k++)
        if (marks[k])
            axes[n++] = k;
    return n;
}

static bool reduce_shape(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    bool keep = og_attr_int(i->node, "keepdims", 1) != 0, marks[OG_MAX_RANK];
    if (!reduced_axes(i, i->node, present(i, 1) ? i->x[1] : NULL, x->rank, marks))
        return false;
    og_type *y = &i->y[0];
    *y = (og_type){.dtype = x->dtype};
    for (int k = 0; k < x->rank; k++) {
        if (!marks[k])
            y->dims[y->rank++] = x->dims[k];
        else if (keep)
            y->dims[y->rank++] = 1;
    }
    return true;
}

static bool reduce_infer(og_infer *i)
{
    return need_number(i, 0) && reduce_shape(i);
}

static bool reduce_float_infer(og_infer *i)
{
    return need_float(i, 0) && reduce_shape(i);
}

/* Max and Min also take bool. */
static bool extremum_infer(og_infer *i)
{
    return (i->x[0]->type.dtype == OG_BOOL || need_number(i, 0)) && reduce_shape(i);
}

/* ---- gradients */

/* v, of y's shape, with the reduced axes of x as dims of 1, so that it broadcasts against x. */
static og_val kept(const og_grad *d, og_val v)
{
    int axes[OG_MAX_RANK], n = axes_of(d->node, d->nx, d->x, axes);
    if (!Has(v))
        return OG_NONE;
    og_type t = *og_type_of(d->x[0]);
    for (int k = 0; k < n; k++)
        t.dims[axes[k]] = 1;
    return Reshape(v, t.rank, t.dims);
}

/* The op `kind` over the axes that d's node reduces, which stay as dims of 1. */
static og_val reduce_same(const og_grad *d, const char *kind, og_val v)
{
    int axes[OG_MAX_RANK], n = axes_of(d->node, d->nx, d->x, axes);
    return n ? Reduce(kind, v, n, axes, true) : v;
}

/* ReduceSum: y = Σ x,  dx = dy */
static void sum_grad(og_grad *d)
{
    d->dx[0] = ExpandLike(kept(d, d->dy[0]), d->x[0]);
}

/* ReduceMean: y = Σ x / n,  dx = dy / n */
static void mean_grad(og_grad *d)
{
    og_val dy = d->dy[0];
    double n = Count(dy) > 0 ? (double)Count(d->x[0]) / (double)Count(dy) : 1;
    d->dx[0] = ExpandLike(kept(d, Mul(dy, Scalar(dy, 1 / n))), d->x[0]);
}

/* ReduceMax, ReduceMin: dx = dy [x = y] / (how many equal y) */
static void extremum_grad(og_grad *d)
{
    og_val x = d->x[0], hit = Cast(Equal(x, kept(d, d->y[0])), DType(x));
    og_val share = Div(kept(d, d->dy[0]), reduce_same(d, "ReduceSum", hit));
    d->dx[0] = Mul(hit, share);
}

/* ReduceProd: y = Π x,  dxᵢ = dy Π over j ≠ i of xⱼ. With p the product of the factors that are not
 * 0, that is p / xᵢ without zeros, p at a single zero, and 0 everywhere else. */
static void prod_grad(og_grad *d)
{
    og_val x = d->x[0], is_zero = Equal(x, Zero(x));
    og_val factors = Where(is_zero, One(x), x);
    og_val p = reduce_same(d, "ReduceProd", factors);
    og_val zeros = reduce_same(d, "ReduceSum", Cast(is_zero, DType(x)));
    og_val others = Where(is_zero, p, Div(p, factors));
    og_val left = Sub(zeros, Cast(is_zero, DType(x))); /* zeros among the other factors */
    d->dx[0] = Mul(kept(d, d->dy[0]), Where(Equal(left, Zero(x)), others, Zero(x)));
}

/* ReduceL2: y = √Σ x²,  dx = dy x / y, 0 where y = 0 */
static void l2_grad(og_grad *d)
{
    og_val y = d->y[0], flat = Equal(y, Zero(y));
    og_val slope = Where(flat, Zero(y), Div(d->dy[0], Where(flat, One(y), y)));
    d->dx[0] = Mul(d->x[0], kept(d, slope));
}

/* ReduceLogSumExp: dx = dy exp(x - y) */
static void log_sum_exp_grad(og_grad *d)
{
    og_val y = d->y[0];
    og_val finite = Where(IsFinite(y), y, Zero(y));
    d->dx[0] = Mul(kept(d, d->dy[0]), Exp(Sub(d->x[0], kept(d, finite))));
}

/* ---- definitions */

static og_val reduce_of(const og_expand *e, const char *kind, og_val v, bool keep)
{
    int axes[OG_MAX_RANK], n = axes_of(e->node, e->nx, e->x, axes);
    return n ? Reduce(kind, v, n, axes, keep) : v;
}

static bool keeps(const og_expand *e)
{
    return og_attr_int(e->node, "keepdims", 1) != 0;
}

/* ReduceSumSquare: y = Σ x² */
static void sum_square_expand(og_expand *e)
{
    e->y[0] = reduce_of(e, "ReduceSum", Mul(e->x[0], e->x[0]), keeps(e));
}

/* ReduceL1: y = Σ |x| */
static void l1_expand(og_expand *e)
{
    e->y[0] = reduce_of(e, "ReduceSum", Abs(e->x[0]), keeps(e));
}

/* ReduceL2: y = √Σ x². Integers are summed as such and rooted in double. */
static void l2_expand(og_expand *e)
{
    og_val sum = reduce_of(e, "ReduceSum", Mul(e->x[0], e->x[0]), keeps(e));
    if (og_dtype_is_float(DType(sum)))
        e->y[0] = Sqrt(sum);
    else
        e->y[0] = Cast(Sqrt(Cast(sum, OG_DOUBLE)), DType(e->x[0]));
}

/* ReduceLogSum: y = ln Σ x */
static void log_sum_expand(og_expand *e)
{
    e->y[0] = Log(reduce_of(e, "ReduceSum", e->x[0], keeps(e)));
}

/* ReduceLogSumExp: y = m + ln Σ exp(x - m),  m = max x (0 where that is infinite) */
static void log_sum_exp_expand(og_expand *e)
{
    og_val x = e->x[0], m = reduce_of(e, "ReduceMax", x, true);
    m = Where(IsFinite(m), m, Zero(m));
    og_val log_sum = Log(reduce_of(e, "ReduceSum", Exp(Sub(x, m)), keeps(e)));
    e->y[0] = Add(log_sum, ReshapeLike(m, log_sum));
}

/* ---- ArgMax, ArgMin, CumSum, CumProd */

static bool arg_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int axis;
    if (!need_number(i, 0) || !need_axis(i, og_attr_int(i->node, "axis", 0), x->rank, &axis))
        return false;
    if (x->dims[axis] == 0)
        return og_infer_error(i, "dim %d of the input is 0: nothing to choose from", axis);
    og_type *y = &i->y[0];
    *y = (og_type){.dtype = OG_INT64};
    for (int k = 0; k < x->rank; k++) {
        if (k != axis)
            y->dims[y->rank++] = x->dims[k];
        else if (og_attr_int(i->node, "keepdims", 1))
            y->dims[y->rank++] = 1;
    }
    return true;
}

static bool cum_sum_infer(og_infer *i)
{
    int axis;
    int64_t value;
    if (!need_number(i, 0) || !need_index(i, 1) || !need_scalar(i, 1, "axis"))
        return false;
    if (is_const(i->x[1]) &&
        !(need_int(i, 1, "axis", &value) && need_axis(i, value, i->x[0]->type.rank, &axis)))
        return false;
    return same_as_x(i);
}

/* CumSum: yᵢ = Σ over j ≤ i of xⱼ,  dxⱼ = Σ over i ≥ j of dyᵢ: the sum from the other end */
static void cum_sum_grad(og_grad *d)
{
    d->dx[0] =
        Op("CumSum", In(d->dy[0], d->x[1]), I("exclusive", og_attr_int(d->node, "exclusive", 0)),
           I("reverse", !og_attr_int(d->node, "reverse", 0)));
}

/* CumProd: yᵢ = Π over j ≤ i of xⱼ, in log₂ n steps: y ← y · (y moved by 1, 2, 4 … places, ones
 * moving in). exclusive: x itself is moved by one first. Exact gradients where factors are zero. */
static bool cum_prod_infer(og_infer *i)
{
    int64_t axis;
    return cum_sum_infer(i) && need_int(i, 1, "axis", &axis);
}

/* v moved by some places along axis, ones moving in */
static og_val moved(og_val v, int64_t axis, int64_t by)
{
    int rank = Rank(v);
    int64_t pads[2 * OG_MAX_RANK] = {0};
    pads[axis] = by;
    pads[axis + rank] = -by;
    return Op("Pad", In(v, og_const_ints(v.g, 2 * rank, pads), One(v)));
}

static void cum_prod_expand(og_expand *e)
{
    og_val y = e->x[0];
    int64_t axis = 0, sign = og_attr_int(e->node, "reverse", 0) ? -1 : 1;
    og_value_ints(og_value_of(e->x[1]), 1, &axis);
    axis = positive_axis(axis, Rank(y));
    int64_t n = Dim(y, (int)axis);
    if (og_attr_int(e->node, "exclusive", 0) && n > 0)
        y = moved(y, axis, sign);
    for (int64_t by = 1; by < n; by *= 2)
        y = Mul(y, moved(y, axis, sign * by));
    e->y[0] = n > 0 ? y : Identity(y);
}

/* Axes were an attribute below opset 13 (ReduceSum) or 18 (the others). */
static bool axes_to_input(og_draft *d)
{
    return og_draft_ints_to_input(d, "axes", 1);
}

/* ---- the table */

#define REDUCE(opset) .precision = OG_PRECISION_FLOAT, .upgrade = {{opset, axes_to_input}}

const og_op og_ops_reduce[] = {
    {"ReduceSum", NULL, 1, 2, 1, 1, reduce_infer, .fold = OG_FOLD_SUM, .grad = sum_grad,
     REDUCE(13)},
    {"ReduceMean", NULL, 1, 2, 1, 1, reduce_infer, .fold = OG_FOLD_MEAN, .grad = mean_grad,
     REDUCE(18)},
    {"ReduceMax", NULL, 1, 2, 1, 1, extremum_infer, .fold = OG_FOLD_MAX, .grad = extremum_grad,
     .saved = 1, REDUCE(18)},
    {"ReduceMin", NULL, 1, 2, 1, 1, extremum_infer, .fold = OG_FOLD_MIN, .grad = extremum_grad,
     .saved = 1, REDUCE(18)},
    {"ReduceProd", NULL, 1, 2, 1, 1, reduce_infer, .fold = OG_FOLD_PROD, .grad = prod_grad,
     REDUCE(18)},
    {"ReduceSumSquare", NULL, 1, 2, 1, 1, reduce_infer, .fold = OG_FOLD_SUM_SQUARE,
     .expand = sum_square_expand, REDUCE(18)},
    {"ReduceL1", NULL, 1, 2, 1, 1, reduce_infer, .expand = l1_expand, REDUCE(18)},
    {"ReduceL2", NULL, 1, 2, 1, 1, reduce_infer, .expand = l2_expand, .grad = l2_grad, .saved = 1,
     REDUCE(18)},
    {"ReduceLogSum", NULL, 1, 2, 1, 1, reduce_float_infer, .expand = log_sum_expand, REDUCE(18)},
    {"ReduceLogSumExp", NULL, 1, 2, 1, 1, reduce_float_infer, .expand = log_sum_exp_expand,
     .grad = log_sum_exp_grad, .saved = 1, REDUCE(18)},
    {"ArgMax", NULL, 1, 1, 1, 1, arg_infer, .diff = OG_DIFF_ZERO},
    {"ArgMin", NULL, 1, 1, 1, 1, arg_infer, .diff = OG_DIFF_ZERO},
    {"CumProd", NULL, 2, 2, 1, 1, cum_prod_infer, .expand = cum_prod_expand},
    {"CumSum", NULL, 2, 2, 1, 1, cum_sum_infer, .grad = cum_sum_grad},
    {0},
};
