/* Losses of elements: target of the output's shape, mean over all elements. */
#include "runtime/passes/loss.h"

/* Σ loss, divided by `weight` in the mean. */
static og_loss_value summed(og_val loss, double weight)
{
    return (og_loss_value){.sum = Reduce("ReduceSum", loss, 0, NULL, false),
                           .weight = Scalar(loss, weight),
                           .nominal = weight};
}

static og_loss_value mean_of(og_val loss)
{
    return summed(loss, (double)Count(loss));
}

/* (y − t)² */
static og_loss_value mse(const og_loss *l, og_val y, og_val t)
{
    (void)l;
    og_val d = Sub(y, t);
    return mean_of(Mul(d, d));
}

/* |y − t| */
static og_loss_value l1(const og_loss *l, og_val y, og_val t)
{
    (void)l;
    return mean_of(Abs(Sub(y, t)));
}

/* d²/2 where |d| ≤ δ, else δ (|d| − δ/2)  =  q (|d| − q/2) with q = min(|d|, δ),  d = y − t */
static og_val bounded_square(og_val y, og_val t, double delta)
{
    og_val d = Abs(Sub(y, t)), q = Min(d, Scalar(d, delta));
    return Mul(q, Sub(d, Mul(q, Scalar(q, 0.5))));
}

static og_loss_value huber(const og_loss *l, og_val y, og_val t)
{
    return mean_of(bounded_square(y, t, l->delta));
}

/* Huber's with δ = β, divided by β; |y − t| for β = 0. */
static og_loss_value smooth_l1(const og_loss *l, og_val y, og_val t)
{
    if (l->beta == 0)
        return l1(l, y, t);
    og_val loss = bounded_square(y, t, l->beta);
    return mean_of(Mul(loss, Scalar(loss, 1 / l->beta)));
}

/* −t log σ(y) − (1 − t) log(1 − σ(y)) = max(y, 0) − y t + log(1 + e^−|y|) */
static og_loss_value bce_with_logits(const og_loss *l, og_val y, og_val t)
{
    (void)l;
    return mean_of(Add(Sub(Relu(y), Mul(y, t)), Log1p(Exp(Neg(Abs(y))))));
}

/* t (log t − y) with y = log p, and 0 log 0 = 0;  log_target: e^t (t − y)
 * Mean over elements, or with reduction batchmean the sum divided by the samples. */
static og_loss_value kl_div(const og_loss *l, og_val y, og_val t)
{
    og_val loss;
    if (l->log_target)
        loss = Mul(Exp(t), Sub(t, y));
    else
        loss = Sub(Mul(t, Log(Where(Equal(t, Zero(t)), One(t), t))), Mul(t, y));
    return l->batchmean ? summed(loss, Rank(y) ? (double)Dim(y, 0) : 1) : mean_of(loss);
}

/* The output is the loss: the mean over whatever elements it has. */
static og_loss_value output_itself(const og_loss *l, og_val y, og_val t)
{
    (void)l;
    (void)t;
    return mean_of(y);
}

static og_status same_shape(const og_loss *l, const og_type *output, const og_type *given,
                            og_type *target, og_error *error)
{
    *target = *output;
    return given && !og__fits_up_to_ones(output, given)
               ? og__loss_misfit(l, output, given, "the same shape", error)
               : OG_OK;
}

const og__loss_row og__elementwise_losses[] = {
    {"mse", mse, same_shape, ""},
    {"l1", l1, same_shape, ""},
    {"smooth_l1", smooth_l1, same_shape, "beta"},
    {"huber", huber, same_shape, "delta"},
    {"bce_with_logits", bce_with_logits, same_shape, ""},
    {"kl_div", kl_div, same_shape, "log_target reduction"},
    {"output", output_itself, NULL, ""},
    {0},
};
