/* Losses, as graphs: Σ weighted loss and Σ weight over a micro-batch, so that accumulation, short
 * batches, ignored labels and class weights stay exact (the mean is taken once, over the effective
 * batch). Definitions are PyTorch's. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

const char *const og_loss_names = "bce_with_logits, cross_entropy, l1, mse, output";

static bool same_dims(const og_type *a, const og_type *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, sizeof(int64_t) * (size_t)a->rank) == 0;
}

/* ---- elementwise losses: target of the output's shape
 * --------------------------------------------------- */

static og_loss_value elementwise(og_val loss)
{
    double count = (double)Count(loss);
    return (og_loss_value){.sum = Reduce("ReduceSum", loss, 0, NULL, false),
                           .weight = Scalar(loss, count),
                           .nominal = count};
}

/* (y − t)² */
static og_val mse(og_val y, og_val t)
{
    og_val d = Sub(y, t);
    return Mul(d, d);
}

/* |y − t| */
static og_val l1(og_val y, og_val t)
{
    return Abs(Sub(y, t));
}

/* −t log σ(y) − (1 − t) log(1 − σ(y)) = max(y, 0) − y t + log(1 + e^−|y|) */
static og_val bce_with_logits(og_val y, og_val t)
{
    return Add(Sub(Relu(y), Mul(y, t)), Log1p(Exp(Neg(Abs(y)))));
}

static const struct {
    const char *name;
    og_val (*loss)(og_val y, og_val t);
} elementwise_losses[] = {{"mse", mse}, {"l1", l1}, {"bce_with_logits", bce_with_logits}};

/* ---- cross entropy
 * ------------------------------------------------------------------------------------------ */

/* The axis that holds classes: 1 as in PyTorch ([N, C, d…] with [N, d…]), or the last ([N, T, C]
 * with [N, T]). */
static int class_axis(const og_type *output, const og_type *target)
{
    if (output->rank < 2)
        return -1;
    if (same_dims(output, target)) /* probabilities */
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
static og_loss_value soft_cross_entropy(const og_loss *l, og_val logp, og_val target, int axis)
{
    og_val q = rows_of_classes(target, axis);
    double e = l->label_smoothing, c = (double)Dim(logp, 1), rows = (double)Dim(logp, 0);
    if (e > 0)
        q = Add(Mul(q, Scalar(q, 1 - e)), Scalar(q, e / c));
    if (l->class_weights)
        q = Mul(q, class_weights(l, logp));
    og_val sum = Neg(Reduce("ReduceSum", Mul(q, logp), 0, NULL, false));
    return (og_loss_value){.sum = sum, .weight = Scalar(sum, rows), .nominal = rows};
}

/* Row i with class t: w_t ((1 − ε) (−log p_t)) + ε / C Σ_c w_c (−log p_c), weight w_t; ignored rows
 * count 0. */
static og_loss_value cross_entropy(const og_loss *l, og_val y, og_val target)
{
    int axis = class_axis(og_type_of(y), og_type_of(target));
    if (axis < 0) {
        char a[160], b[160];
        og_fail(&y.g->error, OG_INVALID_ARGUMENT, "cross_entropy: target %s does not fit output %s",
                og_type_text(b, y.g, og_type_of(target)), og_type_text(a, y.g, og_type_of(y)));
        return (og_loss_value){0};
    }
    og_val logp = Op("LogSoftmax", In(rows_of_classes(y, axis)), I("axis", -1));
    if (og_dtype_is_float(DType(target)))
        return soft_cross_entropy(l, logp, target, axis);
    int64_t rows = Dim(logp, 0), column[2] = {rows, 1}, flat[1] = {rows};
    double e = l->label_smoothing, c = (double)Dim(logp, 1);
    og_val t = Reshape(target, 1, flat);
    og_val counts = Not(Equal(t, Scalar(t, (double)l->ignore_index)));
    og_val label = Where(counts, t, Zero(t));
    og_val w = Cast(counts, DType(y));
    if (l->class_weights)
        w = Mul(w, Op("Gather", In(class_weights(l, logp), label), I("axis", 0)));
    og_val picked = Op("GatherElements", In(logp, Reshape(label, 2, column)), I("axis", 1));
    og_val loss = Mul(w, Neg(Reshape(picked, 1, flat)));
    if (e > 0) {
        og_val all = l->class_weights ? Mul(logp, class_weights(l, logp)) : logp;
        og_val spread =
            Mul(Cast(counts, DType(y)), Neg(Reduce("ReduceSum", all, 1, ((int[]){1}), false)));
        loss = Add(Mul(loss, Scalar(loss, 1 - e)), Mul(spread, Scalar(loss, e / c)));
    }
    return (og_loss_value){.sum = Reduce("ReduceSum", loss, 0, NULL, false),
                           .weight = Reduce("ReduceSum", w, 0, NULL, false),
                           .nominal = (double)rows};
}

/* ---- by name
 * ------------------------------------------------------------------------------------------------
 */

bool og_loss_exists(const char *name)
{
    for (size_t i = 0; i < sizeof(elementwise_losses) / sizeof(elementwise_losses[0]); i++)
        if (strcmp(name, elementwise_losses[i].name) == 0)
            return true;
    return strcmp(name, "cross_entropy") == 0 || strcmp(name, "output") == 0;
}

og_loss_value og_loss_build(const og_loss *l, og_val output, og_val target)
{
    if (!output.g || output.g->error.status != OG_OK)
        return (og_loss_value){0};
    if (strcmp(l->name, "cross_entropy") == 0)
        return cross_entropy(l, output, target);
    if (strcmp(l->name, "output") ==
        0) { /* the output is the loss: its mean over whatever elements it has */
        return elementwise(output);
    }
    for (size_t i = 0; i < sizeof(elementwise_losses) / sizeof(elementwise_losses[0]); i++)
        if (strcmp(l->name, elementwise_losses[i].name) == 0)
            return elementwise(elementwise_losses[i].loss(output, target));
    og_fail(&output.g->error, OG_INVALID_ARGUMENT, "unknown loss %s; there are %s", l->name,
            og_loss_names);
    return (og_loss_value){0};
}

/* Do the data's elements fill the type once axes of 1 are added or removed? */
static bool matches_up_to_ones(const og_type *want, const og_type *given)
{
    int i = 0, k = 0;
    while (i < want->rank || k < given->rank) {
        int64_t a = i < want->rank ? want->dims[i] : -1, b = k < given->rank ? given->dims[k] : -1;
        if (a == b) {
            i++;
            k++;
        } else if (a == 1) {
            i++;
        } else if (b == 1) {
            k++;
        } else {
            return false;
        }
    }
    return true;
}

static og_status misfit(const og_loss *l, const og_type *output, const og_type *given,
                        const char *wanted, og_error *error)
{
    char a[160], b[160];
    return og_fail(error, OG_INVALID_ARGUMENT, "%s: the target is %s, but the output %s wants %s",
                   l->name, og_type_text(b, NULL, given), og_type_text(a, NULL, output), wanted);
}

static og_status class_target(const og_loss *l, const og_type *output, const og_type *given,
                              og_type *target, og_error *error)
{
    if (output->rank < 2)
        return og_fail(
            error, OG_INVALID_ARGUMENT,
            "cross_entropy needs an output of at least 2 axes (batch and classes), this one has %d",
            output->rank);
    og_type first = *output, last = *output; /* class axis 1, class axis last */
    first.rank = last.rank = output->rank - 1;
    for (int i = 1; i < first.rank; i++)
        first.dims[i] = output->dims[i + 1];
    first.dtype = last.dtype = OG_INT64;
    *target = first;
    if (!given || matches_up_to_ones(&first, given))
        return OG_OK;
    *target = last;
    if (matches_up_to_ones(&last, given))
        return OG_OK;
    *target = *output;
    if (og_dtype_is_float(given->dtype) && matches_up_to_ones(output, given))
        return OG_OK;
    return misfit(l, output, given,
                  "class indices (its shape without the class axis) or probabilities (its shape)",
                  error);
}

og_status og_loss_target_type(const og_loss *l, const og_type *output, const og_type *given,
                              og_type *target, og_error *error)
{
    if (strcmp(l->name, "cross_entropy") == 0)
        return class_target(l, output, given, target, error);
    *target = *output;
    if (given && !matches_up_to_ones(output, given))
        return misfit(l, output, given, "the same shape", error);
    return OG_OK;
}
