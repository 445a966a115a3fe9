/* The optimizers, one rule each: from a parameter and its gradient to the new parameter. Vocabulary
 * of torch.optim's documentation: w parameter, g gradient, lr learning rate, wd weight decay,
 * t the number of the step, from 1. Definitions are PyTorch's; lamb and lion are the papers'. */
#include <string.h>

#include "runtime/passes/update.h"

/* ---- pieces of rules */

/* The parameter's state of that name; zeros at first. */
static og_val moment(og__update *u, const char *name, og_val w)
{
    return og_storage_derived(u->g, u->storages, OG_STORAGE_MOMENT, og_value_of(w)->storage, name);
}

static og_val scaled(double factor, og_val x)
{
    return Mul(Scalar(x, factor), x);
}

/* a · old + (1 − a) · x */
static og_val blend(double a, og_val old, og_val x)
{
    return Add(scaled(a, old), scaled(1 - a, x));
}

/* g + wd w: decay as a part of the gradient. */
static og_val decayed_gradient(const og__update *u, og_val w, og_val g)
{
    return u->o->weight_decay != 0 ? Add(g, scaled(u->o->weight_decay, w)) : g;
}

/* w − lr · step */
static og_val descend(const og__update *u, og_val w, og_val step)
{
    return Sub(w, Mul(og__as(u->lr, w), step));
}

/* 1 − βᵗ */
static og_val bias_correction(const og__update *u, double beta)
{
    return Sub(One(u->t), Pow(Scalar(u->t, beta), u->t));
}

/* The two moments of Adam and LAMB, renewed:
 *     m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g² */
typedef struct moments {
    og_val m, v;
} moments;

static moments renew_moments(og__update *u, og_val w, og_val g)
{
    og_val m = moment(u, "exp_avg", w), v = moment(u, "exp_avg_sq", w);
    moments renewed = {blend(u->o->beta1, m, g), blend(u->o->beta2, v, Mul(g, g))};
    og__commit(u, m, renewed.m);
    og__commit(u, v, renewed.v);
    return renewed;
}

/* √v / √(1 − β₂ᵗ) + ε */
static og_val denominator(const og__update *u, og_val w, og_val v)
{
    og_val root = og__as(Reciprocal(Sqrt(bias_correction(u, u->o->beta2))), w);
    return Add(Mul(Sqrt(v), root), Scalar(w, u->o->eps));
}

/* ---- rules */

/* sgd: b = μ b + g, step = g + μ b if nesterov, else b;  w' = w − lr step */
static og_val sgd(og__update *u, og_val w, og_val g)
{
    double mu = u->o->momentum;
    g = decayed_gradient(u, w, g);
    og_val step = g;
    if (mu != 0) {
        og_val b = moment(u, "momentum", w), b1 = Add(scaled(mu, b), g);
        og__commit(u, b, b1);
        step = u->o->nesterov ? Add(g, scaled(mu, b1)) : b1;
    }
    return descend(u, w, step);
}

/* One AdamStep, with l2 w added to the gradient and w multiplied by decay. It keeps the states of a
 * skipped step itself, and renews w's half copy. */
static og_val adam_step(og__update *u, og_val w, og_val decay, double l2)
{
    og_val m = moment(u, "exp_avg", w), v = moment(u, "exp_avg_sq", w);
    og_val rate = og__as(Div(u->lr, bias_correction(u, u->o->beta1)), w);
    og_val root = og__as(Reciprocal(Sqrt(bias_correction(u, u->o->beta2))), w);
    og_val half = og__half_copy_of(u, w);
    og_outs n = Ops(OG_DOMAIN "::AdamStep", half.g ? 4 : 3,
                    In(w, u->sum, m, v, u->finite, og__as(u->factor, w), decay, rate, root),
                    F("beta1", u->o->beta1), F("beta2", u->o->beta2), F("epsilon", u->o->eps),
                    F("l2", l2), half.g ? I("half", DType(half)) : (og_attr){0});
    if (half.g)
        og_graph_set_state(u->g, half, n.y[3]);
    og_graph_set_state(u->g, m, n.y[1]);
    og_graph_set_state(u->g, v, n.y[2]);
    og_graph_set_state(u->g, w, n.y[0]);
    return OG_NONE;
}

/* adam: weight decay is added to the gradient. */
static og_val adam(og__update *u, og_val w, og_val g)
{
    (void)g;
    return adam_step(u, w, One(w), u->o->weight_decay);
}

/* adamw: w ← w (1 − lr wd) first      (Loshchilov and Hutter, arXiv 1711.05101) */
static og_val adamw(og__update *u, og_val w, og_val g)
{
    (void)g;
    og_val lr = u->lr;
    return adam_step(u, w, og__as(Sub(One(lr), scaled(u->o->weight_decay, lr)), w), 0);
}

/* rmsprop: v = α v + (1 − α) g²;  centered: a = α a + (1 − α) g, and v − a² stands for v
 * step = g / (√v + ε);  momentum: b = μ b + step, and b is the step;  w' = w − lr step
 * (torch.optim.RMSprop; centered: Graves, arXiv 1308.0850, equations 38 to 41) */
static og_val rmsprop(og__update *u, og_val w, og_val g)
{
    double alpha = u->o->alpha, mu = u->o->momentum;
    g = decayed_gradient(u, w, g);
    og_val v = moment(u, "square_avg", w), v1 = blend(alpha, v, Mul(g, g)), spread = v1;
    og__commit(u, v, v1);
    if (u->o->centered) {
        og_val a = moment(u, "grad_avg", w), a1 = blend(alpha, a, g);
        og__commit(u, a, a1);
        /* never negative but for rounding, of which the root would be NaN */
        spread = Relu(Sub(v1, Mul(a1, a1)));
    }
    og_val step = Div(g, Add(Sqrt(spread), Scalar(w, u->o->eps)));
    if (mu != 0) {
        og_val b = moment(u, "momentum", w), b1 = Add(scaled(mu, b), step);
        og__commit(u, b, b1);
        step = b1;
    }
    return descend(u, w, step);
}

/* adagrad: s = s + g²;  w' = w − lr / (1 + (t − 1) lr_decay) · g / (√s + ε)
 * (torch.optim.Adagrad; Duchi, Hazan and Singer, JMLR 12, 2011) */
static og_val adagrad(og__update *u, og_val w, og_val g)
{
    g = decayed_gradient(u, w, g);
    og_val s = moment(u, "sum", w), s1 = Add(s, Mul(g, g));
    if (s.g)
        u->storages->items[og_value_of(s)->storage].fill = u->o->initial_accumulator;
    og__commit(u, s, s1);
    og_val rate = u->lr, t = u->t;
    if (u->o->lr_decay != 0)
        rate = Div(rate, Add(One(t), scaled(u->o->lr_decay, Sub(t, One(t)))));
    return Sub(w, Mul(og__as(rate, w), Div(g, Add(Sqrt(s1), Scalar(w, u->o->eps)))));
}

/* ‖x‖₂ */
static og_val norm_of(og_val x)
{
    return Sqrt(Reduce("ReduceSumSquare", x, 0, NULL, false));
}

/* lamb: r = m / (1 − β₁ᵗ) / (√v / √(1 − β₂ᵗ) + ε) + wd w;  w' = w − lr ‖w‖ / ‖r‖ · r
 * for each tensor by itself, φ the identity; the ratio is 1 where a norm is 0
 * (You and others, arXiv 1904.00962, algorithm 2) */
static og_val lamb(og__update *u, og_val w, og_val g)
{
    moments n = renew_moments(u, w, g);
    og_val unbiased = Div(n.m, og__as(bias_correction(u, u->o->beta1), w));
    og_val r = decayed_gradient(u, w, Div(unbiased, denominator(u, w, n.v)));
    og_val size = norm_of(w), step = norm_of(r), zero = Zero(w);
    og_val ratio = Where(And(Greater(size, zero), Greater(step, zero)), Div(size, step), One(w));
    return descend(u, w, Mul(ratio, r));
}

/* lion: w' = w − lr (sign(β₁ m + (1 − β₁) g) + wd w);  m = β₂ m + (1 − β₂) g
 * (Chen and others, arXiv 2302.06675, algorithm 2) */
static og_val lion(og__update *u, og_val w, og_val g)
{
    og_val m = moment(u, "exp_avg", w), direction = Sign(blend(u->o->beta1, m, g));
    og__commit(u, m, blend(u->o->beta2, m, g));
    return descend(u, w, decayed_gradient(u, w, direction));
}

/* ---- the table: rules, and the values their options have where nothing is said */

static const struct {
    og__rule *step;
    og_optimizer defaults;
    bool by_tensor;
} rules[] = {
    {sgd, {.name = "sgd"}},
    {adam, {.name = "adam", .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}},
    {adamw, {.name = "adamw", .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01}},
    {rmsprop, {.name = "rmsprop", .alpha = 0.99, .eps = 1e-8}},
    {adagrad, {.name = "adagrad", .eps = 1e-10}},
    {lamb,
     {.name = "lamb", .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .weight_decay = 0.01},
     .by_tensor = true},
    {lion, {.name = "lion", .beta1 = 0.9, .beta2 = 0.99}},
};
const char *const og_optimizer_names = "adagrad, adam, adamw, lamb, lion, rmsprop, sgd";

static int find(const char *name)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strcmp(rules[i].defaults.name, name) == 0)
            return (int)i;
    return -1;
}

og__rule *og__find_rule(const char *name)
{
    int i = find(name);
    return i < 0 ? NULL : rules[i].step;
}

const og_optimizer *og_optimizer_defaults(const char *name)
{
    int i = find(name);
    return i < 0 ? NULL : &rules[i].defaults;
}

bool og_optimizer_is_by_tensor(const char *name)
{
    int i = find(name);
    return i >= 0 && rules[i].by_tensor;
}
