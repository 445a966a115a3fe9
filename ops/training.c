/* ONNX's preview of training: Gradient, and the optimizers Adagrad, Adam and Momentum. The
 * optimizers' inputs are R (learning rate), T (count of updates), then n tensors X, n gradients and
 * n of each state; outputs n new X and n of each new state. Formulas are those of ONNX's operator
 * documentation. */
#include "ops/common.h"

/* Gradient: x…, y → dy/dx…; the loader puts y last (runtime/onnx/own_algorithm.c), and the pass
 * gradient.c puts nodes in its place. */
static bool gradient_infer(og_infer *i)
{
    if (i->nx < i->ny + 1)
        return og_infer_error(i, "has %d inputs for %d outputs", i->nx - 1, i->ny);
    for (int k = 0; k < i->ny; k++)
        if (i->x[k])
            i->y[k] = i->x[k]->type;
    return true;
}

/* `groups` inputs a tensor; X and the states come back. */
static bool optimizer_infer(og_infer *i, int groups)
{
    int n = (i->nx - 2) / groups;
    if (n < 1 || (i->nx - 2) % groups || i->ny != n * (groups - 1))
        return og_infer_error(
            i, "has %d inputs and %d outputs, expected 2 + %d and %d for each tensor", i->nx, i->ny,
            groups, groups - 1);
    for (int k = 0; k < i->ny; k++) {
        const og_type *w = &i->x[2 + k % n]->type;
        if (!og_type_equal(&i->x[2 + n + k]->type, w))
            return og_infer_error(i, "input %d is %s, expected %s", 2 + n + k,
                                  TypeText(i, &i->x[2 + n + k]->type), TypeText(i, w));
        i->y[k] = *w;
    }
    return true;
}

static bool momentum_infer(og_infer *i)
{
    return optimizer_infer(i, 3);
}

static bool adam_infer(og_infer *i)
{
    return optimizer_infer(i, 4);
}

static og_val as(og_val x, og_val like)
{
    x = DType(x) == DType(like) ? x : Cast(x, DType(like));
    return Rank(x) ? Reshape(x, 0, NULL) : x;
}

static og_val times(double factor, og_val x)
{
    return Mul(Scalar(x, factor), x);
}

/* norm_coefficient X + G */
static og_val regularized(const og_expand *e, og_val x, og_val g)
{
    double l2 = og_attr_float(e->node, "norm_coefficient", 0);
    return l2 != 0 ? Add(times(l2, x), g) : g;
}

/* r = R / (1 + T decay_factor);  H' = H + G²;  X' = X − r G / (√H' + ε) */
static void adagrad_expand(og_expand *e)
{
    int n = (e->nx - 2) / 3;
    for (int k = 0; k < n; k++) {
        og_val x = e->x[2 + k], g = regularized(e, x, e->x[2 + n + k]), h = e->x[2 + 2 * n + k];
        og_val r = as(e->x[0], x), t = as(e->x[1], x);
        og_val rate = Div(r, Add(One(t), times(og_attr_float(e->node, "decay_factor", 0), t)));
        og_val h1 = Add(h, Mul(g, g));
        og_val below = Add(Sqrt(h1), Scalar(x, og_attr_float(e->node, "epsilon", 0)));
        e->y[k] = Sub(x, Mul(rate, Div(g, below)));
        e->y[n + k] = h1;
    }
}

/* V' = α V + (1 − α) G;  H' = β H + (1 − β) G²;  r = R √(1 − βᵀ) / (1 − αᵀ) if T > 0, else R
 * X' = (1 − norm_coefficient_post) (X − r V' / (√H' + ε)) */
static void adam_expand(og_expand *e)
{
    int n = (e->nx - 2) / 4;
    double alpha = og_attr_float(e->node, "alpha", 0.9),
           beta = og_attr_float(e->node, "beta", 0.999),
           post = og_attr_float(e->node, "norm_coefficient_post", 0);
    for (int k = 0; k < n; k++) {
        og_val x = e->x[2 + k], g = regularized(e, x, e->x[2 + n + k]), v = e->x[2 + 2 * n + k],
               h = e->x[2 + 3 * n + k];
        og_val r = as(e->x[0], x), t = as(e->x[1], x), begun = Greater(t, Zero(t));
        og_val some = Where(begun, t, One(t)); /* so that nothing is divided by 0 */
        og_val v1 = Add(times(alpha, v), times(1 - alpha, g));
        og_val h1 = Add(times(beta, h), times(1 - beta, Mul(g, g)));
        og_val corrected = Mul(r, Div(Sqrt(Sub(One(t), Pow(Scalar(t, beta), some))),
                                      Sub(One(t), Pow(Scalar(t, alpha), some))));
        og_val below = Add(Sqrt(h1), Scalar(x, og_attr_float(e->node, "epsilon", 0)));
        og_val stepped = Sub(x, Mul(Where(begun, corrected, r), Div(v1, below)));
        e->y[k] = post != 0 ? times(1 - post, stepped) : stepped;
        e->y[n + k] = v1;
        e->y[2 * n + k] = h1;
    }
}

/* V' = α V + β G, with 1 for β while T is 0;  X' = X − R V',  nesterov: X − R (G + α V') */
static void momentum_expand(og_expand *e)
{
    int n = (e->nx - 2) / 3;
    double alpha = og_attr_float(e->node, "alpha", 0), beta = og_attr_float(e->node, "beta", 1);
    bool nesterov = strcmp(og_attr_string(e->node, "mode", "standard"), "nesterov") == 0;
    for (int k = 0; k < n; k++) {
        og_val x = e->x[2 + k], g = regularized(e, x, e->x[2 + n + k]), v = e->x[2 + 2 * n + k];
        og_val r = as(e->x[0], x), t = as(e->x[1], x);
        og_val b = Where(Greater(t, Zero(t)), Scalar(x, beta), Scalar(x, 1));
        og_val v1 = Add(times(alpha, v), Mul(b, g));
        e->y[k] = Sub(x, Mul(r, nesterov ? Add(g, times(alpha, v1)) : v1));
        e->y[n + k] = v1;
    }
}

const og_op og_ops_training[] = {
    {"Gradient", OG_TRAINING_DOMAIN, 2, OG_VARIADIC, 1, OG_VARIADIC, gradient_infer,
     .diff = OG_DIFF_NEVER},
    {"Adagrad", OG_TRAINING_DOMAIN, 5, OG_VARIADIC, 2, OG_VARIADIC, momentum_infer,
     .expand = adagrad_expand, .diff = OG_DIFF_NEVER, .precision = OG_PRECISION_FLOAT},
    {"Adam", OG_TRAINING_DOMAIN, 6, OG_VARIADIC, 3, OG_VARIADIC, adam_infer, .expand = adam_expand,
     .diff = OG_DIFF_NEVER, .precision = OG_PRECISION_FLOAT},
    {"Momentum", OG_TRAINING_DOMAIN, 5, OG_VARIADIC, 2, OG_VARIADIC, momentum_infer,
     .expand = momentum_expand, .diff = OG_DIFF_NEVER, .precision = OG_PRECISION_FLOAT},
    {0},
};
