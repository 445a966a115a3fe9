/* Losses that ONNX has: SoftmaxCrossEntropyLoss and NegativeLogLikelihoodLoss; and what our own
 * cross entropy (runtime/passes/loss_classes.c) is made of, at the end.
 *
 *     x: [N, C, D…] scores or log-probabilities     labels: [N, D…] int32 or int64     weight: [C]
 *     w = weight[label], or 1; 0 where label = ignore_index
 *     loss = -w x[label],  its sum,  or its sum / Σ w                      (reduction none, sum,
 * mean)
 */
#include "ops/common.h"

/* ---- inference */

static bool loss_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *labels = &i->x[1]->type;
    const char *reduction = og_attr_string(i->node, "reduction", "mean");
    if (strcmp(reduction, "none") != 0 && strcmp(reduction, "sum") != 0 &&
        strcmp(reduction, "mean") != 0)
        return og_infer_error(i, "reduction is \"%s\", expected none, sum or mean", reduction);
    if (!need_float(i, 0) || !need_rank_from(i, 0, "scores", 2) || !need_index(i, 1) ||
        !need_rank(i, 1, "labels", x->rank - 1))
        return false;
    for (int k = 0; k < labels->rank; k++)
        if (labels->dims[k] != x->dims[k ? k + 1 : 0])
            return og_infer_error(
                i, "labels are %s, expected dim %d to be %" PRId64 " (the scores are %s)",
                TypeText(i, labels), k, x->dims[k ? k + 1 : 0], TypeText(i, x));
    if (present(i, 2) &&
        !(need_same(i, 0, 2) && need_vector(i, 2, "weight", x->dims[1], "one for each class")))
        return false;
    i->y[0] = (og_type){.dtype = x->dtype};
    if (strcmp(reduction, "none") == 0) {
        i->y[0] = *labels;
        i->y[0].dtype = x->dtype;
    }
    if (i->ny > 1)
        i->y[1] = *x;
    return true;
}

/* ---- what both losses and the gradient use */

typedef struct labelled {
    og_val safe;   /* [N, D…] labels, 0 where ignored */
    og_val weight; /* [N, D…] w; none where it is 1 throughout */
} labelled;

static labelled read_labels(const og_node *node, og_val x, og_val labels, og_val weight)
{
    labelled l = {labels, OG_NONE};
    const og_attr *ignore = og_node_attr(node, "ignore_index");
    og_val valid = OG_NONE;
    if (ignore) {
        valid = Not(Equal(labels, Scalar(labels, (double)ignore->i)));
        l.safe = Where(valid, labels, Zero(labels));
    }
    if (Has(weight))
        l.weight = Op("Gather", In(weight, l.safe), I("axis", 0));
    if (Has(valid)) {
        og_val one = Cast(valid, DType(x));
        l.weight = Has(weight) ? Mul(l.weight, one) : one;
    }
    return l;
}

/* [N, D…] → [N, 1, D…] */
static og_val with_class_dim(og_val v)
{
    int64_t dims[OG_MAX_RANK] = {Dim(v, 0), 1};
    for (int k = 1; k < Rank(v); k++)
        dims[k + 1] = Dim(v, k);
    return Reshape(v, Rank(v) + 1, dims);
}

static og_val third(const og_val *x, int nx)
{
    return nx > 2 ? x[2] : OG_NONE;
}

/* ---- definitions */

static og_val nll(const og_expand *e, og_val log_p)
{
    const char *reduction = og_attr_string(e->node, "reduction", "mean");
    labelled l = read_labels(e->node, log_p, e->x[1], third(e->x, e->nx));
    og_val picked = Op("GatherElements", In(log_p, with_class_dim(l.safe)), I("axis", 1));
    og_val loss = Neg(ReshapeLike(picked, l.safe));
    if (Has(l.weight))
        loss = Mul(loss, l.weight);
    if (strcmp(reduction, "none") == 0)
        return loss;
    if (strcmp(reduction, "mean") == 0 && !Has(l.weight))
        return Reduce("ReduceMean", loss, 0, NULL, false);
    og_val sum = Reduce("ReduceSum", loss, 0, NULL, false);
    if (strcmp(reduction, "mean") == 0)
        sum = Div(sum, Reduce("ReduceSum", l.weight, 0, NULL, false));
    return sum;
}

static void nll_expand(og_expand *e)
{
    e->y[0] = nll(e, e->x[0]);
}

static void cross_entropy_expand(og_expand *e)
{
    og_val log_p = Op("LogSoftmax", In(e->x[0]), I("axis", 1));
    e->y[0] = nll(e, log_p);
    if (e->ny > 1)
        e->y[1] = log_p;
}

/* ---- gradients */

/* d loss / d (each element's loss before reduction), times w: [N, 1, D…] */
static og_val element_gradient(const og_grad *d, const labelled *l)
{
    const char *reduction = og_attr_string(d->node, "reduction", "mean");
    og_val g = d->dy[0];
    if (strcmp(reduction, "mean") == 0)
        g = Has(l->weight) ? Div(g, Reduce("ReduceSum", l->weight, 0, NULL, false))
                           : Div(g, Scalar(g, (double)Count(l->safe)));
    if (Has(l->weight))
        g = Mul(g, l->weight);
    return with_class_dim(Rank(g) == Rank(l->safe) ? g : ExpandLike(g, l->safe));
}

/* 1 where the class is the label: [N, C, D…] bool */
static og_val is_label(og_val x, og_val labels)
{
    og_val classes = to_dtype(arange(x.g, Dim(x, 1), Rank(x) - 2), DType(labels));
    return Equal(classes, with_class_dim(labels));
}

static bool weight_is_fixed(og_grad *d)
{
    return d->nx < 3 || !d->need[2] ||
           og_node_fail(d->g, d->node, OG_UNSUPPORTED, "the class weights cannot be trained");
}

/* NegativeLogLikelihoodLoss: dx = -g [class = label],  g = dy w (/ Σ w) */
static void nll_grad(og_grad *d)
{
    og_val x = d->x[0];
    labelled l = read_labels(d->node, x, d->x[1], third(d->x, d->nx));
    if (weight_is_fixed(d))
        d->dx[0] = Where(is_label(x, l.safe), Neg(element_gradient(d, &l)), Zero(x));
}

/* SoftmaxCrossEntropyLoss: dx = g (p - [class = label]) + dlog_p - p Σ dlog_p,  p = exp(log_p) */
static void cross_entropy_grad(og_grad *d)
{
    og_val x = d->x[0], p = Exp(d->y[1]), dlog_p = d->dy[1];
    labelled l = read_labels(d->node, x, d->x[1], third(d->x, d->nx));
    if (!weight_is_fixed(d))
        return;
    og_val hit = Cast(is_label(x, l.safe), DType(x));
    og_val dx = Mul(Sub(p, hit), element_gradient(d, &l));
    if (!is_zeros(dlog_p)) {
        int axis = 1;
        og_val sum = Reduce("ReduceSum", dlog_p, 1, &axis, true);
        dx = Add(dx, Sub(dlog_p, Mul(p, sum)));
    }
    d->dx[0] = dx;
}

/* ---- SoftmaxCrossEntropy (internal)
 *
 *     x: [M, C] scores     labels: [M]     lse = ln Σ exp x,  loss = lse - x[label]: [M]
 *
 * lse is float64 whatever x is: exp(x - lse) of a row far from 0 would else lose x's last digits.
 * It is all that the gradient keeps beside x. */

#define ROW_GRADIENT OG_DOMAIN "::SoftmaxCrossEntropyGrad"

/* x (input `input`) [M, C] with labels (the one after it) [M] */
static bool need_rows(og_infer *i, int input)
{
    const og_type *x = &i->x[input]->type;
    return need_float(i, input) && need_rank(i, input, "scores", 2) && need_index(i, input + 1) &&
           need_vector(i, input + 1, "labels", x->dims[0], "one for each row of scores");
}

static bool row_loss_infer(og_infer *i)
{
    if (!need_rows(i, 0))
        return false;
    const og_type *x = &i->x[0]->type;
    i->y[0] = og_type_make(x->dtype, 1, x->dims);
    if (i->ny > 1)
        i->y[1] = og_type_make(OG_DOUBLE, 1, x->dims);
    return true;
}

/* [M] → [M, 1] */
static og_val column(og_val v)
{
    return Reshape(v, 2, ((int64_t[]){Dim(v, 0), 1}));
}

static void row_loss_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_val log_p = Op("LogSoftmax", In(x), I("axis", -1));
    og_val picked = Op("GatherElements", In(log_p, column(e->x[1])), I("axis", 1));
    e->y[0] = Neg(Reshape(picked, 1, og_type_of(x)->dims));
    if (e->ny > 1)
        e->y[1] = Reduce("ReduceLogSumExp", to_dtype(x, OG_DOUBLE), 1, ((int[]){1}), false);
}

static void row_loss_grad(og_grad *d)
{
    og_val dlse = is_zeros(d->dy[1]) ? OG_NONE : d->dy[1];
    d->dx[0] = Op(ROW_GRADIENT, In(d->dy[0], d->x[0], d->x[1], d->y[1], dlse));
}

static bool row_grad_infer(og_infer *i)
{
    if (!need_rows(i, 1) || !need_same(i, 1, 0))
        return false;
    int64_t rows = i->x[1]->type.dims[0];
    i->y[0] = i->x[1]->type;
    return need_vector(i, 0, "dloss", rows, "one for each row of scores") &&
           need_vector(i, 3, "lse", rows, "one for each row of scores") &&
           need_dtype(i, 3, OG_DOUBLE) &&
           (!present(i, 4) || (need_vector(i, 4, "dlse", rows, "one for each row of scores") &&
                               need_dtype(i, 4, OG_DOUBLE)));
}

/* g = dloss + dlse,  dx = g exp(x - lse) - dloss [class = label], the first term 0 where g is: an
 * ignored row may hold infinities. */
static void row_grad_expand(og_expand *e)
{
    og_val x = e->x[1], labels = e->x[2], g = to_dtype(e->x[0], OG_DOUBLE);
    if (e->nx > 4 && Has(e->x[4]))
        g = Add(g, e->x[4]);
    og_val p = Exp(Sub(to_dtype(x, OG_DOUBLE), column(e->x[3]))), rows = column(g);
    og_val flow = Where(Equal(rows, Zero(rows)), Zero(rows), Mul(rows, p));
    og_val from_end = Add(labels, Scalar(labels, (double)Dim(x, 1)));
    og_val label = Where(Less(labels, Zero(labels)), from_end, labels);
    e->y[0] = Sub(to_dtype(flow, DType(x)), Where(is_label(x, label), column(e->x[0]), Zero(x)));
}

const og_op og_ops_loss[] = {
    {"SoftmaxCrossEntropyLoss", NULL, 2, 3, 1, 2, loss_infer, .expand = cross_entropy_expand,
     .grad = cross_entropy_grad, .saved = 2, .precision = OG_PRECISION_FLOAT},
    {"NegativeLogLikelihoodLoss", NULL, 2, 3, 1, 1, loss_infer, .expand = nll_expand,
     .grad = nll_grad, .precision = OG_PRECISION_FLOAT},
    {"SoftmaxCrossEntropy", OG_DOMAIN, 2, 2, 1, 2, row_loss_infer, .expand = row_loss_expand,
     .grad = row_loss_grad, .saved = 2, .precision = OG_PRECISION_FLOAT},
    {"SoftmaxCrossEntropyGrad", OG_DOMAIN, 4, 5, 1, 1, row_grad_infer, .expand = row_grad_expand,
     .precision = OG_PRECISION_FLOAT},
    {0},
};
