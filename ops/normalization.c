/* Normalization over other dims than the batch: layer, instance, group, RMS, local response, Lp,
 * mean-variance. Where there is a stash_type, statistics are computed in it; double input keeps
 * double. */
#include "ops/common.h"

#define LAYER_GRADIENT OG_DOMAIN "::LayerNormalizationGrad"
#define RMS_TRAINING OG_DOMAIN "::RMSNormalizationTraining"
#define RMS_GRADIENT OG_DOMAIN "::RMSNormalizationGrad"
#define GROUP_TRAINING OG_DOMAIN "::GroupNormalizationTraining"
#define GROUP_GRADIENT OG_DOMAIN "::GroupNormalizationGrad"

/* The type that statistics of x are computed in. */
static og_dtype stash_type(const og_node *node, og_dtype x)
{
    return x == OG_DOUBLE ? x : (og_dtype)og_attr_int(node, "stash_type", OG_FLOAT);
}

static bool need_stash_type(og_infer *i)
{
    og_dtype t = stash_type(i->node, i->x[0]->type.dtype);
    return t == OG_FLOAT || t == OG_DOUBLE || t == OG_FLOAT16 || t == OG_BFLOAT16 ||
           og_infer_error(i, "stash_type is %d, expected a floating point type", (int)t);
}

static og_val over_root(og_val square, const og_node *node)
{
    double epsilon = og_attr_float(node, "epsilon", 1e-5);
    return Reciprocal(Sqrt(Add(square, Scalar(square, epsilon))));
}

/* ---- LayerNormalization */

/* x [lead…, norm…]: scale and bias broadcast to [norm…]; mean, rstd [lead…, 1…] */
static bool norm_axis(og_infer *i, int *axis)
{
    const og_type *x = &i->x[0]->type;
    if (!need_float(i, 0) || !need_rank_from(i, 0, "input", 1) ||
        !need_axis(i, og_attr_int(i->node, "axis", -1), x->rank, axis) || !need_stash_type(i))
        return false;
    og_type norm = {.dtype = x->dtype, .rank = x->rank - *axis};
    memcpy(norm.dims, x->dims + *axis, sizeof(int64_t) * (size_t)norm.rank);
    for (int k = 1; k < i->nx; k++)
        if (i->x[k] && (!need_float(i, k) || !need_stretch(i, k, k == 1 ? "scale" : "bias", &norm)))
            return false;
    return true;
}

/* [lead…, 1…], of the type that statistics have */
static og_type lead_type(const og_infer *i, int axis)
{
    og_type t = i->x[0]->type;
    t.dtype = stash_type(i->node, t.dtype);
    for (int j = axis; j < t.rank; j++)
        t.dims[j] = 1;
    return t;
}

static bool layer_infer(og_infer *i)
{
    int axis;
    if (!norm_axis(i, &axis) || !same_as_x(i))
        return false;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = lead_type(i, axis);
    return true;
}

/* mean = Σ x / n,  rstd = 1 / √(Σ (x - mean)² / n + epsilon),  y = (x - mean) rstd scale + bias
 * (Ba, Kiros and Hinton 2016) */
static void layer_expand(og_expand *e)
{
    og_val x = to_dtype(e->x[0], stash_type(e->node, DType(e->x[0])));
    int axes[OG_MAX_RANK];
    int n = axes_from(Rank(x), positive_axis(og_attr_int(e->node, "axis", -1), Rank(x)), axes);
    og_val mean = Reduce("ReduceMean", x, n, axes, true);
    og_val centred = Sub(x, mean);
    og_val rstd = over_root(Reduce("ReduceMean", Mul(centred, centred), n, axes, true), e->node);
    og_val y = Mul(Mul(centred, rstd), to_dtype(e->x[1], DType(x)));
    if (e->nx > 2 && Has(e->x[2]))
        y = Add(y, to_dtype(e->x[2], DType(x)));
    og_val outputs[] = {to_dtype(y, DType(e->x[0])), mean, rstd};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* What flows through the outputs Mean and InvStdDev, over n normalized elements:
 * dx = (dmean - drstd rstd³ (x - mean)) / n */
static og_val statistics_grad(const og_grad *d, int64_t n)
{
    og_val mean = d->y[1], rstd = d->y[2], x = to_dtype(d->x[0], DType(mean));
    og_val cube = Mul(rstd, Mul(rstd, rstd));
    og_val sum = Sub(d->dy[1], Mul(Mul(d->dy[2], cube), Sub(x, mean)));
    return to_dtype(Mul(sum, Scalar(sum, 1.0 / (double)n)), DType(d->x[0]));
}

/* scale stretched to the dims of x from axis on */
static og_val full_scale(og_val x, og_val scale, int axis)
{
    const int64_t *norm = og_type_of(x)->dims + axis;
    og_type full = og_type_make(DType(scale), Rank(x) - axis, norm);
    if (og_type_equal(og_type_of(scale), &full))
        return scale;
    return Op("Expand", In(scale, og_const_ints(x.g, full.rank, norm)));
}

/* y as above, in the order of operations that kernels have */
static og_val layer_replay(og_graph *g, const og_node *node, const og_val *x, const og_val *y)
{
    (void)g;
    (void)node;
    og_val scaled = Mul(Mul(Sub(x[0], y[1]), y[2]), x[1]);
    return Has(x[2]) ? Add(scaled, x[2]) : scaled;
}

/* dx, dscale, dbias = LayerNormalizationGrad(dy, x, scale, mean, rstd), scale stretched to [norm…]
 */
static void layer_grad(og_grad *d)
{
    og_val x = d->x[0];
    int axis = positive_axis(og_attr_int(d->node, "axis", -1), Rank(x));
    og_val scale = full_scale(x, d->x[1], axis);
    og_outs g = Ops(LAYER_GRADIENT, 3, In(d->dy[0], x, scale, d->y[1], d->y[2]), I("axis", axis));
    d->dx[0] = g.y[0];
    d->dx[1] = g.y[1];
    if (d->nx > 2 && Has(d->x[2]))
        d->dx[2] = to_dtype(g.y[2], DType(d->x[2]));
    if (!is_zeros(d->dy[1]) || !is_zeros(d->dy[2]))
        d->dx[0] = Add(d->dx[0], statistics_grad(d, Count(scale)));
}

/* dy, x, scale, statistics → dx, then gradients like scale */
static bool norm_grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type, *x = &i->x[1]->type, *scale = &i->x[2]->type;
    int axis;
    if (!need_float(i, 0) || !need_axis(i, og_attr_int(i->node, "axis", -1), x->rank, &axis))
        return false;
    og_type norm = og_type_make(scale->dtype, x->rank - axis, x->dims + axis);
    og_type lead = *x;
    lead.dtype = i->x[3]->type.dtype;
    for (int k = axis; k < lead.rank; k++)
        lead.dims[k] = 1;
    bool fits = og_type_equal(dy, x) && og_type_equal(scale, &norm);
    for (int k = 3; k < i->nx; k++)
        fits = fits && og_type_equal(&i->x[k]->type, &lead);
    if (!fits)
        return og_infer_error(
            i, "dy %s, x %s, scale %s, statistics %s and %s do not belong together (axis %d)",
            TypeText(i, dy), TypeText(i, x), TypeText(i, scale), TypeText(i, &i->x[3]->type),
            TypeText(i, &i->x[i->nx - 1]->type), axis);
    i->y[0] = *x;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = *scale;
    return true;
}

/* x̂ = (x - mean) rstd,  g = dy scale,  dx = rstd (g - mean(g) - x̂ mean(g x̂)),  dscale = Σ dy x̂,
 * dbias = Σ dy */
static void layer_grad_expand(og_expand *e)
{
    og_val mean = e->x[3], rstd = e->x[4], scale = to_dtype(e->x[2], DType(mean));
    og_val dy = to_dtype(e->x[0], DType(mean)), x = to_dtype(e->x[1], DType(mean));
    int axes[OG_MAX_RANK];
    int n = axes_from(Rank(x), positive_axis(og_attr_int(e->node, "axis", -1), Rank(x)), axes);
    og_val xh = Mul(Sub(x, mean), rstd), g = Mul(dy, scale);
    og_val mean_g = Reduce("ReduceMean", g, n, axes, true);
    og_val mean_gx = Reduce("ReduceMean", Mul(g, xh), n, axes, true);
    og_val dx = Mul(rstd, Sub(Sub(g, mean_g), Mul(xh, mean_gx)));
    e->y[0] = to_dtype(dx, DType(e->x[1]));
    if (e->ny > 1)
        e->y[1] = to_dtype(SumTo(Mul(dy, xh), e->x[2]), DType(e->x[2]));
    if (e->ny > 2)
        e->y[2] = to_dtype(SumTo(dy, e->x[2]), DType(e->x[2]));
}

/* ---- RMSNormalization */

static bool rms_infer(og_infer *i)
{
    int axis;
    if (!norm_axis(i, &axis) || !same_as_x(i))
        return false;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = lead_type(i, axis);
    return true;
}

/* In the form whose gradient reads rstd. */
static void rms_expand(og_expand *e)
{
    e->y[0] = og_ops_like(OG_HERE, RMS_TRAINING, 2, In(e->x[0], e->x[1]), e->node).y[0];
}

/* rstd = 1 / √(Σ x² / n + epsilon),  y = x rstd scale (Zhang and Sennrich 2019) */
static void rms_training_expand(og_expand *e)
{
    og_val x = to_dtype(e->x[0], stash_type(e->node, DType(e->x[0])));
    int axes[OG_MAX_RANK];
    int n = axes_from(Rank(x), positive_axis(og_attr_int(e->node, "axis", -1), Rank(x)), axes);
    og_val rstd = over_root(Reduce("ReduceMean", Mul(x, x), n, axes, true), e->node);
    og_val xh = to_dtype(Mul(x, rstd), DType(e->x[0]));
    e->y[0] = Mul(xh, to_dtype(e->x[1], DType(xh)));
    e->y[1] = rstd;
}

/* y as above, in the order of operations that kernels have */
static og_val rms_replay(og_graph *g, const og_node *node, const og_val *x, const og_val *y)
{
    (void)g;
    (void)node;
    return Mul(Mul(x[0], y[1]), x[1]);
}

/* dx, dscale = RMSNormalizationGrad(dy, x, scale, rstd), scale stretched to [norm…] */
static void rms_grad(og_grad *d)
{
    int axis = positive_axis(og_attr_int(d->node, "axis", -1), Rank(d->x[0]));
    og_val scale = full_scale(d->x[0], d->x[1], axis);
    og_outs g = Ops(RMS_GRADIENT, 2, In(d->dy[0], d->x[0], scale, d->y[1]), I("axis", axis));
    d->dx[0] = g.y[0];
    d->dx[1] = g.y[1];
}

/* h = x rstd,  g = dy scale,  dx = rstd (g - h mean(g h)),  dscale = Σ dy h */
static void rms_grad_expand(og_expand *e)
{
    og_val rstd = e->x[3], scale = to_dtype(e->x[2], DType(rstd));
    og_val dy = to_dtype(e->x[0], DType(rstd)), x = to_dtype(e->x[1], DType(rstd));
    int axes[OG_MAX_RANK];
    int n = axes_from(Rank(x), positive_axis(og_attr_int(e->node, "axis", -1), Rank(x)), axes);
    og_val h = Mul(x, rstd), g = Mul(dy, scale);
    og_val mean_gh = Reduce("ReduceMean", Mul(g, h), n, axes, true);
    e->y[0] = to_dtype(Mul(rstd, Sub(g, Mul(h, mean_gh))), DType(e->x[1]));
    if (e->ny > 1)
        e->y[1] = to_dtype(SumTo(Mul(dy, h), e->x[2]), DType(e->x[2]));
}

/* ---- InstanceNormalization, GroupNormalization */

static bool instance_infer(og_infer *i)
{
    int64_t c;
    if (!need_float(i, 0) || !need_all_same(i) || !need_rank_from(i, 0, "input", 3))
        return false;
    c = i->x[0]->type.dims[1];
    return need_vector(i, 1, "scale", c, "one for each channel") &&
           need_vector(i, 2, "bias", c, "one for each channel") && same_as_x(i);
}

/* Groups of one channel (Ulyanov et al. 2016), in the form whose gradient reads the statistics. */
static void instance_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Ops(GROUP_TRAINING, 3, In(x, e->x[1], e->x[2]), I("num_groups", Dim(x, 1)),
                  F("epsilon", og_attr_float(e->node, "epsilon", 1e-5)))
                  .y[0];
}

/* Inputs x and k have one element type, or k has that of the statistics. */
static bool need_same_or_stash(og_infer *i, int x, int k)
{
    return i->x[k]->type.dtype == stash_type(i->node, i->x[x]->type.dtype) || need_same(i, x, k);
}

/* scale and bias are [C], or also [num_groups] in the internal op. */
static bool need_groups(og_infer *i, bool by_group)
{
    const og_type *x = &i->x[0]->type;
    int64_t groups = og_attr_int(i->node, "num_groups", 0);
    if (!need_float(i, 0) || !need_rank_from(i, 0, "input", 2) || !need_stash_type(i))
        return false;
    if (groups < 1 || x->dims[1] % groups != 0)
        return og_infer_error(
            i, "num_groups is %" PRId64 ", expected a divisor of %" PRId64 " channels", groups,
            x->dims[1]);
    for (int k = 1; k <= 2; k++) {
        const og_type *t = &i->x[k]->type;
        const char *what = k == 1 ? "scale" : "bias";
        bool channels = t->rank == 1 && t->dims[0] == x->dims[1];
        if (i->node->op->flags & OG_HALF_IMAGES ? !need_same_or_stash(i, 0, k)
                                                : !need_same(i, 0, k))
            return false;
        if (!channels && !(by_group ? need_vector(i, k, what, groups, "one for each group")
                                    : need_vector(i, k, what, x->dims[1], "one for each channel")))
            return false;
    }
    return same_as_x(i);
}

static bool group_infer(og_infer *i)
{
    return need_groups(i, false);
}

static bool by_group_infer(og_infer *i)
{
    return need_groups(i, true);
}

/* [N, num_groups, 1 …], of the type that statistics have */
static og_type group_statistics(const og_node *node, const og_type *x)
{
    og_type t = {.dtype = stash_type(node, x->dtype), .rank = x->rank, .dims = {x->dims[0]}};
    t.dims[1] = og_attr_int(node, "num_groups", 1);
    for (int k = 2; k < t.rank; k++)
        t.dims[k] = 1;
    return t;
}

static bool group_training_infer(og_infer *i)
{
    if (!need_groups(i, false))
        return false;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = group_statistics(i->node, &i->x[0]->type);
    return true;
}

/* In the form whose gradient reads the statistics. */
static void group_expand(og_expand *e)
{
    og_vals in = In(e->x[0], e->x[1], e->x[2]);
    e->y[0] = og_ops_like(OG_HERE, GROUP_TRAINING, 3, in, e->node).y[0];
}

/* Statistics [N, num_groups, 1 …] of x, for each of its channels: [N, C, 1 …] */
static og_val of_channels(og_val statistic, og_val x)
{
    int64_t n = Dim(x, 0), groups = Dim(statistic, 1), each = Dim(x, 1) / groups;
    int64_t dims[OG_MAX_RANK] = {n, Dim(x, 1)}, full[] = {n, groups, each};
    if (groups == 1 || each == 1)
        return statistic;
    for (int k = 2; k < Rank(x); k++)
        dims[k] = 1;
    og_val column = Reshape(statistic, 3, ((int64_t[]){n, groups, 1}));
    og_val repeated = Op("Expand", In(column, og_const_ints(x.g, 3, full)));
    return Reshape(repeated, Rank(x), dims);
}

/* [N, C]: sums or means (`kind`) of x over space, which leave an image as it lies */
static og_val over_space(const char *kind, og_val x)
{
    int axes[OG_MAX_RANK], n = axes_from(Rank(x), 2, axes);
    return n ? Reduce(kind, x, n, axes, false) : x;
}

/* The same of values [N, C], by groups: like `statistics`, [N, num_groups, 1 …] */
static og_val over_channels(const char *kind, og_val x, const og_type *statistics)
{
    int64_t groups = statistics->dims[1], each = Dim(x, 1) / groups;
    int axis = 2;
    og_val rows = Reshape(x, 3, ((int64_t[]){Dim(x, 0), groups, each}));
    return Reshape(Reduce(kind, rows, 1, &axis, false), statistics->rank, statistics->dims);
}

static og_val group_mean(og_val x, const og_type *statistics)
{
    return over_channels("ReduceMean", over_space("ReduceMean", x), statistics);
}

/* y = (x - mean) rstd scale + bias, mean and rstd over each group of channels and space (Wu and He
 * 2018) */
static void group_training_expand(og_expand *e)
{
    og_type statistics = group_statistics(e->node, og_type_of(e->x[0]));
    og_val x = to_dtype(e->x[0], statistics.dtype);
    int rank = Rank(x);
    og_val mean = group_mean(x, &statistics), centred = Sub(x, of_channels(mean, x));
    og_val rstd = over_root(group_mean(Mul(centred, centred), &statistics), e->node);
    og_val xh = to_dtype(Mul(centred, of_channels(rstd, x)), DType(e->x[1]));
    og_val y = Add(Mul(xh, per_channel(e->x[1], rank)), per_channel(e->x[2], rank));
    og_val outputs[] = {to_dtype(y, DType(e->x[0])), mean, rstd};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* y as above, in the order of operations that kernels have */
static og_val group_replay(og_graph *g, const og_node *node, const og_val *x, const og_val *y)
{
    (void)g;
    (void)node;
    int rank = Rank(x[0]);
    og_val centred = Sub(to_dtype(x[0], DType(y[1])), of_channels(y[1], x[0]));
    og_val factor = Mul(per_channel(x[1], rank), of_channels(y[2], x[0]));
    return to_dtype(Add(Mul(centred, factor), per_channel(x[2], rank)), DType(x[0]));
}

/* dx, dscale, dbias = GroupNormalizationGrad(dy, x, scale, mean, rstd) */
static void group_grad(og_grad *d)
{
    og_outs g = Ops(GROUP_GRADIENT, 3, In(d->dy[0], d->x[0], d->x[1], d->y[1], d->y[2]),
                    I("num_groups", og_attr_int(d->node, "num_groups", 1)));
    for (int k = 0; k < 3; k++)
        d->dx[k] = g.y[k];
}

/* dy, x, scale [C], mean, rstd → dx, dscale, dbias */
static bool group_grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type, *x = &i->x[1]->type, *scale = &i->x[2]->type;
    int64_t groups = og_attr_int(i->node, "num_groups", 0);
    if (!need_float(i, 0) || !need_rank_from(i, 1, "x", 2) ||
        !need_vector(i, 2, "scale", x->dims[1], "one for each channel") ||
        !need_same_or_stash(i, 1, 2))
        return false;
    og_type statistics = group_statistics(i->node, x);
    statistics.dtype = i->x[3]->type.dtype;
    if (groups < 1 || x->dims[1] % groups != 0 || !og_type_equal(dy, x) ||
        !og_type_equal(&i->x[3]->type, &statistics) || !og_type_equal(&i->x[4]->type, &statistics))
        return og_infer_error(
            i, "dy %s, x %s, mean %s and rstd %s do not belong together (%" PRId64 " groups)",
            TypeText(i, dy), TypeText(i, x), TypeText(i, &i->x[3]->type),
            TypeText(i, &i->x[4]->type), groups);
    i->y[0] = *x;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = *scale;
    return true;
}

/* d = x - mean,  g = dy scale,  dx = rstd (g - mean(g) - rstd² d mean(g d)), means over a group;
 * dscale = Σ dy d rstd,  dbias = Σ dy over all axes but 1. All means and sums follow from those of
 * dy and dy d over space. */
static void group_grad_expand(og_expand *e)
{
    og_val mean = e->x[3], rstd = e->x[4], scale = to_dtype(e->x[2], DType(mean));
    og_val dy = to_dtype(e->x[0], DType(mean)), x = to_dtype(e->x[1], DType(mean));
    const og_type *statistics = og_type_of(mean);
    int rank = Rank(x), samples = 0;
    int64_t n = Dim(x, 0), c = Dim(x, 1), dims[OG_MAX_RANK] = {n, c};
    for (int k = 2; k < rank; k++)
        dims[k] = 1;
    int64_t m = n > 0 && c > 0 ? Count(x) / n / Dim(mean, 1) : 1;
    og_val centred = Sub(x, of_channels(mean, x)), rstd_c = of_channels(rstd, x);
    og_val sum = over_space("ReduceSum", dy), sum_d = over_space("ReduceSum", Mul(dy, centred));
    og_val mean_g = over_channels("ReduceSum", Mul(sum, scale), statistics);
    og_val mean_gd = over_channels("ReduceSum", Mul(sum_d, scale), statistics);
    og_val per = Scalar(rstd, 1 / (double)m), slope = Mul(Mul(rstd, rstd), Mul(mean_gd, per));
    og_val g = Mul(dy, per_channel(scale, rank));
    og_val dx = Sub(Sub(g, of_channels(Mul(mean_g, per), x)), Mul(centred, of_channels(slope, x)));
    og_val dscales = Reshape(Mul(Reshape(sum_d, rank, dims), rstd_c), 2, dims);
    og_val outputs[] = {Mul(rstd_c, dx), Reduce("ReduceSum", dscales, 1, &samples, false),
                        Reduce("ReduceSum", sum, 1, &samples, false)};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = to_dtype(outputs[k], DType(e->x[k == 0 ? 1 : 2]));
}

/* [num_groups] or [C] → [C]: repeated within each group */
static og_val for_channels(og_val v, int64_t channels)
{
    int64_t groups = Dim(v, 0);
    if (groups == channels || groups == 0)
        return v;
    int64_t dims[] = {groups, channels / groups};
    og_val column = Reshape(v, 2, ((int64_t[]){groups, 1}));
    return Reshape(Op("Expand", In(column, og_const_ints(v.g, 2, dims))), 1, &channels);
}

static void by_group_expand(og_expand *e)
{
    int64_t channels = Dim(e->x[0], 1);
    og_vals in = In(e->x[0], for_channels(e->x[1], channels), for_channels(e->x[2], channels));
    e->y[0] = og_ops_like(OG_HERE, "GroupNormalization", 1, in, e->node).y[0];
}

/* Below opset 21, scale and bias were [num_groups]. */
static bool group_upgrade_21(og_draft *d)
{
    d->op = "GroupNormalizationByGroup";
    d->domain = OG_DOMAIN;
    return true;
}

/* ---- LRN, LpNormalization, MeanVarianceNormalization */

static bool lrn_infer(og_infer *i)
{
    int64_t size = og_attr_int(i->node, "size", 0);
    if (size < 1)
        return og_infer_error(i, "attribute size is %" PRId64 ", expected 1 or more", size);
    return need_float(i, 0) && need_rank_from(i, 0, "input", 3) && same_as_x(i);
}

/* LRN: y = x / (bias + alpha / size Σ x²)^beta, the sum over `size` neighbouring channels: an
 * average pooling of x² with channels as rows (Krizhevsky et al. 2012) */
static void lrn_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t size = og_attr_int(e->node, "size", 1), n = Dim(x, 0), c = Dim(x, 1);
    int64_t rest = n * c > 0 ? Count(x) / n / c : 0;
    int64_t kernel[] = {size, 1}, pads[] = {(size - 1) / 2, 0, size / 2, 0};
    og_val squares = Reshape(Mul(x, x), 4, ((int64_t[]){n, 1, c, rest}));
    og_val mean = Op("AveragePool", In(squares), Is("kernel_shape", 2, kernel), Is("pads", 4, pads),
                     I("count_include_pad", 1));
    og_val base = Add(Scalar(x, og_attr_float(e->node, "bias", 1)),
                      Mul(Scalar(x, og_attr_float(e->node, "alpha", 1e-4)), ReshapeLike(mean, x)));
    e->y[0] = Mul(x, Pow(base, Scalar(x, -og_attr_float(e->node, "beta", 0.75))));
}

static bool lp_infer(og_infer *i)
{
    int axis;
    int64_t p = og_attr_int(i->node, "p", 2);
    if (p != 1 && p != 2)
        return og_infer_error(i, "p is %" PRId64 ", expected 1 or 2", p);
    return need_float(i, 0) &&
           need_axis(i, og_attr_int(i->node, "axis", -1), i->x[0]->type.rank, &axis) &&
           same_as_x(i);
}

/* LpNormalization: y = x / ‖x‖ₚ, 0 where that is 0 */
static void lp_expand(og_expand *e)
{
    og_val x = e->x[0];
    int axis = positive_axis(og_attr_int(e->node, "axis", -1), Rank(x));
    const char *kind = og_attr_int(e->node, "p", 2) == 1 ? "ReduceL1" : "ReduceL2";
    og_val norm = Reduce(kind, x, 1, &axis, true);
    e->y[0] = Div(x, Where(Equal(norm, Zero(norm)), One(norm), norm));
}

/* Attribute axes, 0, 2, 3 where absent; their count, -1 if one does not exist. */
static int mvn_axes(const og_node *node, int rank, int *axes)
{
    static const int64_t standard[] = {0, 2, 3};
    const int64_t *list;
    int n = og_attr_ints(node, "axes", &list);
    if (!list) {
        list = standard;
        n = 3;
    }
    for (int k = 0; k < n && k < OG_MAX_RANK; k++) {
        if (list[k] < -rank || list[k] >= rank)
            return -1;
        axes[k] = positive_axis(list[k], rank);
    }
    return n <= OG_MAX_RANK ? n : -1;
}

static bool mvn_infer(og_infer *i)
{
    int axes[OG_MAX_RANK];
    if (mvn_axes(i->node, i->x[0]->type.rank, axes) < 0)
        return og_infer_error(i, "attribute axes names dims that %s does not have",
                              TypeText(i, &i->x[0]->type));
    return need_float(i, 0) && same_as_x(i);
}

/* MeanVarianceNormalization: y = (x - mean) / (√var + 1e-9) */
static void mvn_expand(og_expand *e)
{
    og_val x = e->x[0];
    int axes[OG_MAX_RANK], n = mvn_axes(e->node, Rank(x), axes);
    og_val centred = Sub(x, Reduce("ReduceMean", x, n, axes, true));
    og_val var = Reduce("ReduceMean", Mul(centred, centred), n, axes, true);
    e->y[0] = Div(centred, Add(Sqrt(var), Scalar(x, 1e-9)));
}

#define FLOAT_PRECISION .precision = OG_PRECISION_FLOAT
#define GROUP_IMAGES .images_in = 1, .images_out = 1

const og_op og_ops_normalization[] = {
    {"LayerNormalization", NULL, 2, 3, 1, 3, layer_infer, .expand = layer_expand,
     .grad = layer_grad, .replay = layer_replay, .saved = 3, FLOAT_PRECISION},
    {"LayerNormalizationGrad", OG_DOMAIN, 5, 5, 1, 3, norm_grad_infer, .expand = layer_grad_expand,
     FLOAT_PRECISION},
    {"RMSNormalization", NULL, 2, 2, 1, 1, rms_infer, .expand = rms_expand, FLOAT_PRECISION},
    {"RMSNormalizationTraining", OG_DOMAIN, 2, 2, 2, 2, rms_infer, .expand = rms_training_expand,
     .grad = rms_grad, .replay = rms_replay, .saved = 2, FLOAT_PRECISION},
    {"RMSNormalizationGrad", OG_DOMAIN, 4, 4, 1, 2, norm_grad_infer, .expand = rms_grad_expand,
     FLOAT_PRECISION},
    {"InstanceNormalization", NULL, 3, 3, 1, 1, instance_infer, .expand = instance_expand,
     GROUP_IMAGES, FLOAT_PRECISION},
    {"GroupNormalization", NULL, 3, 3, 1, 1, group_infer, .expand = group_expand, GROUP_IMAGES,
     FLOAT_PRECISION, .upgrade = {{21, group_upgrade_21}}},
    {"GroupNormalizationTraining", OG_DOMAIN, 3, 3, 3, 3, group_training_infer,
     .expand = group_training_expand, .grad = group_grad, .replay = group_replay, .saved = 3,
     .flags = OG_HALF_IMAGES, GROUP_IMAGES, FLOAT_PRECISION},
    {"GroupNormalizationGrad", OG_DOMAIN, 5, 5, 1, 3, group_grad_infer, .expand = group_grad_expand,
     .images_in = 3, .images_out = 1, FLOAT_PRECISION},
    {"GroupNormalizationByGroup", OG_DOMAIN, 3, 3, 1, 1, by_group_infer, .expand = by_group_expand,
     FLOAT_PRECISION},
    {"LRN", NULL, 1, 1, 1, 1, lrn_infer, .expand = lrn_expand, FLOAT_PRECISION},
    {"LpNormalization", NULL, 1, 1, 1, 1, lp_infer, .expand = lp_expand, FLOAT_PRECISION},
    {"MeanVarianceNormalization", NULL, 1, 1, 1, 1, mvn_infer, .expand = mvn_expand,
     FLOAT_PRECISION},
    {0},
};
