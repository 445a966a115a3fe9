/* BatchNormalization: the form that uses given statistics, the training form, and the internal pair
 * that training and its gradient are made of. x [N, C, D…]; scale, bias, mean, var, rstd [C].
 * Statistics and parameters have one type of their own, which x is converted to for the arithmetic
 * where it is narrower. */
#include "ops/common.h"

#define TRAINING OG_DOMAIN "::BatchNormalizationTraining"
#define GRADIENT OG_DOMAIN "::BatchNormalizationGrad"

/* ---- inference */

static bool need_channel_vectors(og_infer *i, int x, int first, int last)
{
    static const char *const names[] = {"input", "scale", "bias", "mean", "variance"};
    for (int k = first; k <= last; k++)
        if (!need_float(i, k) ||
            !need_vector(i, k, last == 4 && first == 2 ? "scale, mean or rstd" : names[k],
                         i->x[x]->type.dims[1], "one for each channel"))
            return false;
    return true;
}

static bool batch_normalization_infer(og_infer *i)
{
    bool training = og_attr_int(i->node, "training_mode", 0) != 0;
    if (!need_float(i, 0) || !need_rank_from(i, 0, "input", 2) ||
        !need_channel_vectors(i, 0, 1, 4) || !need_same(i, 1, 2) || !need_same(i, 3, 4))
        return false;
    if (i->ny > 1 && !training)
        return og_infer_error(i, "has %d outputs, expected 1 where training_mode is 0", i->ny);
    i->y[0] = i->x[0]->type;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = i->x[k + 2]->type;
    return true;
}

static bool training_infer(og_infer *i)
{
    if (!need_float(i, 0) || !need_rank_from(i, 0, "input", 2) ||
        !need_channel_vectors(i, 0, 1, 2) || !need_same(i, 1, 2))
        return false;
    i->y[0] = i->x[0]->type;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = i->x[1]->type;
    return true;
}

static bool grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type, *x = &i->x[1]->type;
    if (!need_float(i, 0) || !need_rank_from(i, 1, "x", 2) || !need_channel_vectors(i, 1, 2, 4) ||
        !need_same(i, 2, 3) || !need_same(i, 2, 4))
        return false;
    if (!og_type_equal(dy, x))
        return og_infer_error(i, "dy is %s for x %s", TypeText(i, dy), TypeText(i, x));
    i->y[0] = *x;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = i->x[2]->type;
    return true;
}

/* ---- definitions */

static og_val wide(og_val x, og_val statistic)
{
    return to_dtype(x, DType(statistic));
}

static og_val rstd_of(og_val var, const og_node *node)
{
    return Reciprocal(Sqrt(Add(var, Scalar(var, og_attr_float(node, "epsilon", 1e-5)))));
}

static og_val batch_sum(const char *kind, og_val x)
{
    int axes[OG_MAX_RANK], n = axes_but(Rank(x), 1, axes);
    return Reduce(kind, x, n, axes, false);
}

/* running' = momentum running + (1 - momentum) batch */
static og_val blend(og_val running, og_val batch, double momentum)
{
    batch = to_dtype(batch, DType(running));
    return Add(Mul(running, Scalar(running, momentum)), Mul(batch, Scalar(batch, 1 - momentum)));
}

/* y = (x - mean) scale rstd + bias,  rstd = 1 / √(var + epsilon), with the batch's mean and
 * (biased) var in training */
static void batch_normalization_expand(og_expand *e)
{
    og_val x = e->x[0], scale = e->x[1], bias = e->x[2], mean = e->x[3], var = e->x[4];
    int rank = Rank(x);
    if (og_attr_int(e->node, "training_mode", 0)) {
        double momentum = og_attr_float(e->node, "momentum", 0.9);
        og_outs t = Ops(TRAINING, 4, In(x, scale, bias),
                        F("epsilon", og_attr_float(e->node, "epsilon", 1e-5)));
        e->y[0] = t.y[0];
        if (e->ny > 1)
            e->y[1] = blend(mean, t.y[1], momentum);
        if (e->ny > 2)
            e->y[2] = blend(var, t.y[2], momentum);
        return;
    }
    scale = wide(scale, mean);
    og_val factor = Mul(scale, rstd_of(var, e->node));
    og_val centred = Sub(wide(x, mean), per_channel(mean, rank));
    og_val y = Add(Mul(centred, per_channel(factor, rank)), per_channel(wide(bias, mean), rank));
    e->y[0] = to_dtype(y, DType(x));
}

/* mean = Σ x / n,  var = Σ (x - mean)² / n,  rstd = 1 / √(var + epsilon),  y = (x - mean) rstd
 * scale + bias */
static void training_expand(og_expand *e)
{
    og_val x = wide(e->x[0], e->x[1]), scale = e->x[1], bias = e->x[2];
    int rank = Rank(x);
    og_val mean = batch_sum("ReduceMean", x);
    og_val centred = Sub(x, per_channel(mean, rank));
    og_val var = batch_sum("ReduceMean", Mul(centred, centred));
    og_val rstd = rstd_of(var, e->node);
    og_val y = Add(Mul(centred, per_channel(Mul(scale, rstd), rank)), per_channel(bias, rank));
    og_val outputs[] = {to_dtype(y, DType(e->x[0])), mean, var, rstd};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* y as above, in the order of operations that kernels have */
static og_val training_replay(og_graph *g, const og_node *node, const og_val *x, const og_val *y)
{
    (void)g;
    (void)node;
    int rank = Rank(x[0]);
    og_val centred = Sub(wide(x[0], y[1]), per_channel(y[1], rank));
    og_val scaled = Mul(centred, per_channel(Mul(x[1], y[3]), rank));
    return to_dtype(Add(scaled, per_channel(x[2], rank)), DType(x[0]));
}

/* x̂ = (x - mean) rstd,  dbias = Σ dy,  dscale = Σ dy x̂,  dx = scale rstd (dy - (dbias + x̂ dscale) /
 * n) (Ioffe and Szegedy 2015, section 3, simplified) */
static void grad_expand(og_expand *e)
{
    og_val scale = e->x[2], mean = e->x[3], rstd = e->x[4];
    og_val dy = wide(e->x[0], scale), x = wide(e->x[1], scale);
    int rank = Rank(x);
    double n = Dim(x, 1) > 0 ? (double)Count(x) / (double)Dim(x, 1) : 1;
    og_val xh = Mul(Sub(x, per_channel(mean, rank)), per_channel(rstd, rank));
    og_val dbias = batch_sum("ReduceSum", dy), dscale = batch_sum("ReduceSum", Mul(dy, xh));
    og_val mean_part = Add(per_channel(dbias, rank), Mul(xh, per_channel(dscale, rank)));
    og_val dx = Mul(per_channel(Mul(scale, rstd), rank), Sub(dy, Mul(mean_part, Scalar(x, 1 / n))));
    og_val outputs[] = {to_dtype(dx, DType(e->x[1])), dscale, dbias};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* ---- gradient */

static void training_grad(og_grad *d)
{
    for (int k = 1; k < d->ny; k++)
        if (!is_zeros(d->dy[k])) {
            og_node_fail(d->g, d->node, OG_UNSUPPORTED,
                         "a gradient flows into its batch statistics (output %d)", k);
            return;
        }
    og_outs g = Ops(GRADIENT, 3, In(d->dy[0], d->x[0], d->x[1], d->y[1], d->y[3]));
    for (int k = 0; k < 3; k++)
        d->dx[k] = g.y[k];
}

/* ---- upgrades */

/* Below opset 9, spatial 0 meant statistics for every element instead of every channel. */
static bool batch_normalization_upgrade_9(og_draft *d)
{
    const og_attr *spatial = og_draft_take(d, "spatial");
    return !spatial || spatial->i != 0 ||
           og_draft_fail(d, "attribute spatial is 0 (statistics for every element), expected 1");
}

/* Below opset 14, outputs beyond the first meant training; the last two, saved_mean and saved_var,
 * were for the exporting framework's own backward pass and are gone. */
static bool batch_normalization_upgrade_14(og_draft *d)
{
    bool training = false;
    for (int k = 1; k < d->n_out; k++)
        training |= d->out[k] >= 0;
    d->n_out = d->n_out > 3 ? 3 : d->n_out;
    return !training || og_draft_add_attr(d, I("training_mode", 1));
}

/* For evaluation by the running statistics, which stay as they are. */
static void batch_normalization_evaluate(og_expand *e)
{
    e->y[0] = Op("BatchNormalization", In(e->x[0], e->x[1], e->x[2], e->x[3], e->x[4]),
                 F("epsilon", og_attr_float(e->node, "epsilon", 1e-5)),
                 F("momentum", og_attr_float(e->node, "momentum", 0.9)));
    for (int k = 1; k < e->ny; k++)
        e->y[k] = e->x[2 + k];
}

const og_op og_ops_batch_normalization[] = {
    {"BatchNormalization", NULL, 5, 5, 1, 3, batch_normalization_infer,
     .expand = batch_normalization_expand, .evaluate = batch_normalization_evaluate,
     .precision = OG_PRECISION_FLOAT, .images_in = 1, .images_out = 1,
     .upgrade = {{9, batch_normalization_upgrade_9}, {14, batch_normalization_upgrade_14}}},
    {"BatchNormalizationTraining", OG_DOMAIN, 3, 3, 1, 4, training_infer, .expand = training_expand,
     .grad = training_grad, .replay = training_replay, .saved = 4, .precision = OG_PRECISION_FLOAT,
     .flags = OG_HALF_IMAGES, .images_in = 1, .images_out = 1},
    {"BatchNormalizationGrad", OG_DOMAIN, 5, 5, 1, 3, grad_infer, .expand = grad_expand,
     .precision = OG_PRECISION_FLOAT, .images_in = 3, .images_out = 1},
    {0},
};
