/* Softmax and its logarithm, Hardmax. Below opset 13 they ran over all dims from `axis` on
 * together: those forms are kept as the internal Flattened… ops, which reshape to two dims. */
#include "ops/common.h"

static bool softmax_infer(og_infer *i)
{
    int axis;
    return need_float(i, 0) && need_rank_from(i, 0, "input", 1) &&
           need_axis(i, og_attr_int(i->node, "axis", -1), i->x[0]->type.rank, &axis) &&
           same_as_x(i);
}

/* axis may also be the rank: one element a row */
static bool flattened_infer(og_infer *i)
{
    int axis, rank = i->x[0]->type.rank;
    int64_t attr = og_attr_int(i->node, "axis", 1);
    return need_float(i, 0) && (attr == rank || need_axis(i, attr, rank, &axis)) && same_as_x(i);
}

static int axis_of(const og_node *node, og_val x)
{
    return positive_axis(og_attr_int(node, "axis", -1), Rank(x));
}

/* ---- definitions */

/* Softmax: y = e / Σ e,  e = exp(x - max x) */
static void softmax_expand(og_expand *e)
{
    og_val x = e->x[0];
    int axis = axis_of(e->node, x);
    og_val exps = Exp(Sub(x, Reduce("ReduceMax", x, 1, &axis, true)));
    e->y[0] = Div(exps, Reduce("ReduceSum", exps, 1, &axis, true));
}

/* LogSoftmax: y = z - ln Σ exp z,  z = x - max x */
static void log_softmax_expand(og_expand *e)
{
    og_val x = e->x[0];
    int axis = axis_of(e->node, x);
    og_val z = Sub(x, Reduce("ReduceMax", x, 1, &axis, true));
    e->y[0] = Sub(z, Log(Reduce("ReduceSum", Exp(z), 1, &axis, true)));
}

/* Hardmax: 1 at the first largest element along axis, 0 elsewhere */
static void hardmax_expand(og_expand *e)
{
    og_val x = e->x[0];
    int axis = axis_of(e->node, x);
    og_val best = Op("ArgMax", In(x), I("axis", axis));
    og_val place = arange(e->g, Dim(x, axis), Rank(x) - 1 - axis);
    e->y[0] = Cast(Equal(best, place), DType(x));
}

static og_val flattened(og_expand *e, const char *op)
{
    og_val x = e->x[0];
    int axis = positive_axis(og_attr_int(e->node, "axis", 1), Rank(x));
    if (axis == Rank(x) - 1)
        return Op(op, In(x), I("axis", -1));
    og_val flat = Op("Flatten", In(x), I("axis", axis));
    return ReshapeLike(Op(op, In(flat), I("axis", -1)), x);
}

static void flattened_softmax_expand(og_expand *e)
{
    e->y[0] = flattened(e, "Softmax");
}

static void flattened_log_softmax_expand(og_expand *e)
{
    e->y[0] = flattened(e, "LogSoftmax");
}

static void flattened_hardmax_expand(og_expand *e)
{
    e->y[0] = flattened(e, "Hardmax");
}

/* ---- gradients */

/* Softmax: dx = y (dy - Σ dy y) */
static void softmax_grad(og_grad *d)
{
    og_val y = d->y[0], dy = d->dy[0];
    int axis = axis_of(d->node, y);
    d->dx[0] = Mul(y, Sub(dy, Reduce("ReduceSum", Mul(dy, y), 1, &axis, true)));
}

/* LogSoftmax: dx = dy - exp(y) Σ dy */
static void log_softmax_grad(og_grad *d)
{
    og_val y = d->y[0], dy = d->dy[0];
    int axis = axis_of(d->node, y);
    d->dx[0] = Sub(dy, Mul(Exp(y), Reduce("ReduceSum", dy, 1, &axis, true)));
}

/* ---- upgrades */

static bool flatten_below_13(og_draft *d, const char *op)
{
    d->op = op;
    d->domain = OG_DOMAIN;
    return true;
}

static bool softmax_upgrade_13(og_draft *d)
{
    return flatten_below_13(d, "FlattenedSoftmax");
}

static bool log_softmax_upgrade_13(og_draft *d)
{
    return flatten_below_13(d, "FlattenedLogSoftmax");
}

static bool hardmax_upgrade_13(og_draft *d)
{
    return flatten_below_13(d, "FlattenedHardmax");
}

const og_op og_ops_softmax[] = {
    {"Softmax", NULL, 1, 1, 1, 1, softmax_infer, .expand = softmax_expand, .grad = softmax_grad,
     .saved = 1, .precision = OG_PRECISION_FLOAT, .upgrade = {{13, softmax_upgrade_13}}},
    {"LogSoftmax", NULL, 1, 1, 1, 1, softmax_infer, .expand = log_softmax_expand,
     .grad = log_softmax_grad, .saved = 1, .precision = OG_PRECISION_FLOAT,
     .upgrade = {{13, log_softmax_upgrade_13}}},
    {"Hardmax", NULL, 1, 1, 1, 1, softmax_infer, .expand = hardmax_expand, .diff = OG_DIFF_ZERO,
     .precision = OG_PRECISION_FLOAT, .upgrade = {{13, hardmax_upgrade_13}}},
    {"FlattenedSoftmax", OG_DOMAIN, 1, 1, 1, 1, flattened_infer, .expand = flattened_softmax_expand,
     .precision = OG_PRECISION_FLOAT},
    {"FlattenedLogSoftmax", OG_DOMAIN, 1, 1, 1, 1, flattened_infer,
     .expand = flattened_log_softmax_expand, .precision = OG_PRECISION_FLOAT},
    {"FlattenedHardmax", OG_DOMAIN, 1, 1, 1, 1, flattened_infer, .expand = flattened_hardmax_expand,
     .diff = OG_DIFF_ZERO, .precision = OG_PRECISION_FLOAT},
    {0},
};
