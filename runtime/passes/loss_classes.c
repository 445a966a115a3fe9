/* Losses of classes: scores with a class axis against labels, or for cross entropy probabilities.
 * The mean is taken over the labels' weights. */
#include "runtime/passes/loss.h"

/* The axis that holds classes: 1 as in PyTorch ([N, C, d…] with [N, d…]), or the last ([N, T, C]
 * with [N, T]). */
static int class_axis(const og_type *output, const og_type *target)
{
    if (output->rank < 2)
        return -1;
    if (og_type_same_dims(output, target)) /* probabilities */
        return 1;
    if (target->rank != output->rank - 1 || target->dims[0] != output->dims[0])
        return -1;
    bool first = true, last = true;
    for (int i = 1; i < target->rank; i++) {
        first &= target->dims[i] == output->dims[i + 1];
        last &= target->dims[i] == output->dims[i];
    }
    return first ? 1 : last ? output->rank - 1 : -1;
}

/* Classes moved to the last axis, all others flattened: [M, C]. */
static og_val rows_of_classes(og_val x, int axis)
{
    int perm[OG_MAX_RANK], r = Rank(x), n = 0;
    for (int i = 0; i < r; i++)
        if (i != axis)
            perm[n++] = i;
    perm[n] = axis;
    int64_t dims[2] = {Dim(x, axis) ? Count(x) / Dim(x, axis) : 0, Dim(x, axis)};
    if (axis != r - 1)
        x = Transpose(x, perm);
    return Reshape(x, 2, dims);
}

static og_val class_weights(const og_loss *l, og_val like)
{
    int64_t dim = l->n_class_weights;
    og_type t = og_type_make(OG_FLOAT, 1, &dim);
    og_val w = og_const_copy(like.g, &t, l->class_weights);
    return DType(like) == OG_FLOAT ? w : Cast(w, DType(like));
}

/* −Σ_c q_c log p_c with q the target's probabilities, smoothed: q ← (1 − ε) q + ε / C */
static og_loss_value soft_cross_entropy(const og_loss *l, og_val y, og_val target, int axis)
{
    og_val logp = Op("LogSoftmax", In(y), I("axis", -1));
    og_val q = rows_of_classes(target, axis);
    double e = l->label_smoothing, c = (double)Dim(logp, 1), rows = (double)Dim(logp, 0);
    if (e > 0)
        q = Add(Mul(q, Scalar(q, 1 - e)), Scalar(q, e / c));
    if (l->class_weights)
        q = Mul(q, class_weights(l, logp));
    og_val sum = Neg(Reduce("ReduceSum", Mul(q, logp), 0, NULL, false));
    return (og_loss_value){.sum = sum, .weight = Scalar(sum, rows), .nominal = rows};
}

/* Labels of rows: [M]. */
typedef struct labels {
    og_val label;  /* 0 where ignored */
    og_val counts; /* bool: not ignored */
    og_val weight; /* w: 0 where ignored */
} labels;

static labels read_labels(const og_loss *l, og_val target, og_val like)
{
    int64_t flat[1] = {Count(target)};
    og_val t = Reshape(target, 1, flat);
    labels r = {.counts = Not(Equal(t, Scalar(t, (double)l->ignore_index)))};
    r.label = Where(r.counts, t, Zero(t));
    r.weight = Cast(r.counts, DType(like));
    if (l->class_weights) {
        og_val of_label = Op("Gather", In(class_weights(l, like), r.label), I("axis", 0));
        r.weight = Mul(r.weight, of_label);
    }
    return r;
}

/* Σ loss over the rows that count, whatever an ignored row holds, infinity too. */
static og_loss_value sum_of(const labels *r, og_val loss)
{
    loss = Where(r->counts, loss, Zero(loss));
    return (og_loss_value){.sum = Reduce("ReduceSum", loss, 0, NULL, false),
                           .weight = Reduce("ReduceSum", r->weight, 0, NULL, false),
                           .nominal = (double)Count(loss)};
}

/* Row i with class t: w_t ((1 − ε) (−log p_t)) + ε / C Σ_c w_c (−log p_c), weight w_t. y: [M, C].
 * With lse = ln Σ exp y the second sum is lse Σ w − Σ w y: no log p of y's size is made. */
static og_loss_value labelled_cross_entropy(const og_loss *l, og_val y, og_val target)
{
    labels r = read_labels(l, target, y);
    og_outs rows = Ops(OG_DOMAIN "::SoftmaxCrossEntropy", 2, In(y, r.label));
    og_val loss = rows.y[0], lse = rows.y[1];
    double e = l->label_smoothing, c = (double)Dim(y, 1), sum = c;
    if (l->class_weights)
        loss = Mul(loss, r.weight);
    if (e > 0) {
        og_val scores = y;
        if (l->class_weights) {
            scores = Mul(y, class_weights(l, y));
            sum = 0;
            for (int i = 0; i < l->n_class_weights; i++)
                sum += (double)l->class_weights[i];
        }
        scores = Reduce("ReduceSum", scores, 1, ((int[]){1}), false);
        og_val spread = Sub(Mul(lse, Scalar(lse, sum)), Cast(scores, OG_DOUBLE));
        spread = Cast(Mul(spread, Scalar(spread, e / c)), DType(loss));
        loss = Add(Mul(loss, Scalar(loss, 1 - e)), spread);
    }
    return sum_of(&r, loss);
}

/* The class axis of the output; -1 after setting the error of a target that does not fit. */
static int find_class_axis(const og_loss *l, og_val y, og_val target)
{
    int axis = class_axis(og_type_of(y), og_type_of(target));
    char a[160], b[160];
    if (axis < 0)
        og_fail(&y.g->error, OG_INVALID_ARGUMENT, "%s: target %s does not fit output %s", l->name,
                og_type_text(b, y.g, og_type_of(target)), og_type_text(a, y.g, og_type_of(y)));
    return axis;
}

/* y: scores; p = softmax y */
static og_loss_value cross_entropy(const og_loss *l, og_val y, og_val target)
{
    int axis = find_class_axis(l, y, target);
    if (axis < 0)
        return (og_loss_value){0};
    og_val rows = rows_of_classes(y, axis);
    return og_dtype_is_float(DType(target)) ? soft_cross_entropy(l, rows, target, axis)
                                            : labelled_cross_entropy(l, rows, target);
}

/* y: log p. Row i with class t: w_t (−log p_t) */
static og_loss_value nll(const og_loss *l, og_val y, og_val target)
{
    int axis = find_class_axis(l, y, target);
    if (axis < 0)
        return (og_loss_value){0};
    og_val logp = rows_of_classes(y, axis);
    labels r = read_labels(l, target, logp);
    int64_t column[2] = {Dim(logp, 0), 1};
    og_val at = Reshape(r.label, 2, column);
    og_val picked = Op("GatherElements", In(logp, at), I("axis", 1));
    og_val loss = Neg(Reshape(picked, 1, column));
    return sum_of(&r, l->class_weights ? Mul(loss, r.weight) : loss);
}

/* Labels: the output's shape without the class axis. *fits: false if `given` has another shape. */
static og_status labels_of(const og_loss *l, const og_type *output, const og_type *given,
                           og_type *target, bool *fits, og_error *error)
{
    if (output->rank < 2)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "%s needs an output of at least 2 axes (batch and classes), this one has %d",
                       l->name, output->rank);
    og_type first = *output, last = *output; /* class axis 1, class axis last */
    first.rank = last.rank = output->rank - 1;
    for (int i = 1; i < first.rank; i++)
        first.dims[i] = output->dims[i + 1];
    first.dtype = last.dtype = OG_INT64;
    *fits = true;
    *target = first;
    if (!given) { /* [N, T, C] is how language models have it */
        *target = output->rank == 3 ? last : first;
        return OG_OK;
    }
    if (og__fits_up_to_ones(&first, given))
        return OG_OK;
    *target = last;
    *fits = og__fits_up_to_ones(&last, given);
    return OG_OK;
}

static og_status label_target(const og_loss *l, const og_type *output, const og_type *given,
                              og_type *target, og_error *error)
{
    bool fits = false;
    OG_TRY(labels_of(l, output, given, target, &fits, error));
    return fits ? OG_OK
                : og__loss_misfit(l, output, given,
                                  "class indices (its shape without the class axis)", error);
}

static og_status label_or_probability_target(const og_loss *l, const og_type *output,
                                             const og_type *given, og_type *target, og_error *error)
{
    bool fits = false;
    OG_TRY(labels_of(l, output, given, target, &fits, error));
    if (fits)
        return OG_OK;
    *target = *output;
    if (og_dtype_is_float(given->dtype) && og__fits_up_to_ones(output, given))
        return OG_OK;
    return og__loss_misfit(
        l, output, given,
        "class indices (its shape without the class axis) or probabilities (its shape)", error);
}

const og__loss_row og__class_losses[] = {
    {"cross_entropy", cross_entropy, label_or_probability_target,
     "ignore_index class_weights label_smoothing", .classes = true},
    {"nll", nll, label_target, "ignore_index class_weights", .classes = true},
    {0},
};
