/* Activations: definitions in elementwise ops, from which gradients follow. Where the definition
 * alone would give another subgradient at a kink than PyTorch does, or overflow on the side not
 * taken, it is written to avoid that. */
#include "ops/common.h"

/* ---- inference */

static bool prelu_infer(og_infer *i)
{
    return need_number(i, 0) && need_same(i, 0, 1) && need_stretch(i, 1, "slope", &i->x[0]->type) &&
           same_as_x(i);
}

static bool gelu_infer(og_infer *i)
{
    const char *form = og_attr_string(i->node, "approximate", "none");
    if (strcmp(form, "none") != 0 && strcmp(form, "tanh") != 0)
        return og_infer_error(i, "approximate is \"%s\", expected none or tanh", form);
    return same_float(i);
}

/* dy and x of one type */
static bool grad_infer(og_infer *i)
{
    if (!og_type_equal(&i->x[0]->type, &i->x[1]->type))
        return og_infer_error(i, "dy is %s, x %s: expected the same", TypeText(i, &i->x[0]->type),
                              TypeText(i, &i->x[1]->type));
    return same_float(i);
}

/* ---- definitions */

/* min(x, 0), with slope 1 at 0 */
static og_val negative_part(og_val x)
{
    return Where(Greater(x, Zero(x)), Zero(x), x);
}

/* LeakyRelu: y = x where x > 0, else alpha x */
static void leaky_relu_expand(og_expand *e)
{
    og_val x = e->x[0], alpha = Scalar(x, og_attr_float(e->node, "alpha", 0.01));
    e->y[0] = Where(Greater(x, Zero(x)), x, Mul(alpha, x));
}

/* PRelu: the same with a slope for each element */
static void prelu_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Where(Greater(x, Zero(x)), x, Mul(e->x[1], x));
}

/* max(x, 0) + alpha (exp(min(x, 0) / beta) - 1): Elu, Selu and Celu are scalings of it */
static og_val exponential_unit(og_val x, double alpha, double beta)
{
    og_val below = negative_part(x);
    if (beta != 1)
        below = Div(below, Scalar(x, beta));
    return Add(Relu(x), Mul(Scalar(x, alpha), Sub(Exp(below), One(x))));
}

/* Elu: y = x where x > 0, else alpha (eˣ - 1) */
static void elu_expand(og_expand *e)
{
    e->y[0] = exponential_unit(e->x[0], og_attr_float(e->node, "alpha", 1), 1);
}

/* Selu: y = gamma elu(x; alpha) */
static void selu_expand(og_expand *e)
{
    og_val x = e->x[0];
    double alpha = og_attr_float(e->node, "alpha", 1.67326319217681884765625);
    double gamma = og_attr_float(e->node, "gamma", 1.05070102214813232421875);
    e->y[0] = Mul(Scalar(x, gamma), exponential_unit(x, alpha, 1));
}

/* Celu: y = max(0, x) + min(0, alpha (exp(x / alpha) - 1)) */
static void celu_expand(og_expand *e)
{
    double alpha = og_attr_float(e->node, "alpha", 1);
    e->y[0] = exponential_unit(e->x[0], alpha, alpha);
}

/* ThresholdedRelu: y = x where x > alpha, else 0 */
static void thresholded_relu_expand(og_expand *e)
{
    og_val x = e->x[0], alpha = Scalar(x, og_attr_float(e->node, "alpha", 1));
    e->y[0] = Where(Greater(x, alpha), x, Zero(x));
}

/* HardSigmoid: y = max(0, min(1, alpha x + beta)) */
static void hard_sigmoid_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_val alpha = Scalar(x, og_attr_float(e->node, "alpha", 0.2));
    og_val beta = Scalar(x, og_attr_float(e->node, "beta", 0.5));
    e->y[0] = Max(Zero(x), Min(One(x), Add(Mul(alpha, x), beta)));
}

/* dx = alpha dy where 0 < y < 1, else 0 */
static void hard_sigmoid_grad(og_grad *d)
{
    og_val y = d->y[0], dy = d->dy[0];
    og_val slope = Mul(dy, Scalar(y, og_attr_float(d->node, "alpha", 0.2)));
    d->dx[0] = Where(And(Greater(y, Zero(y)), Less(y, One(y))), slope, Zero(y));
}

/* HardSwish: y = x max(0, min(1, x/6 + 1/2)) */
static void hard_swish_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Mul(x, Op("HardSigmoid", In(x), F("alpha", 1.0 / 6), F("beta", 0.5)));
}

static void hard_swish_grad(og_grad *d)
{
    d->dx[0] = Op(OG_DOMAIN "::HardSwishGrad", In(d->dy[0], d->x[0]));
}

/* HardSwishGrad: dx = 0 where x ≤ -3, dy where x ≥ 3, else dy (x/3 + 1/2) */
static void hard_swish_grad_expand(og_expand *e)
{
    og_val dy = e->x[0], x = e->x[1];
    og_val slope = Add(Mul(x, Scalar(x, 1.0 / 3)), Scalar(x, 0.5));
    og_val upper = Where(GreaterOrEqual(x, Scalar(x, 3)), dy, Mul(dy, slope));
    e->y[0] = Where(LessOrEqual(x, Scalar(x, -3)), Zero(x), upper);
}

/* Softplus: y = ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|) */
static void softplus_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Add(Relu(x), Log1p(Exp(Neg(Abs(x)))));
}

/* dx = dy sigmoid(x) */
static void softplus_grad(og_grad *d)
{
    d->dx[0] = Mul(d->dy[0], Sigmoid(d->x[0]));
}

/* Softsign: y = x / (1 + |x|) */
static void softsign_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Div(x, Add(One(x), Abs(x)));
}

/* dx = dy / (1 + |x|)² */
static void softsign_grad(og_grad *d)
{
    og_val x = d->x[0], r = Reciprocal(Add(One(x), Abs(x)));
    d->dx[0] = Mul(d->dy[0], Mul(r, r));
}

/* Mish: y = x tanh(softplus(x)) */
static void mish_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Mul(x, Tanh(Op("Softplus", In(x))));
}

/* Swish: y = x sigmoid(alpha x); with alpha 1 an instruction of its own, as is its gradient, which
 * reads x alone. */
static void swish_expand(og_expand *e)
{
    og_val x = e->x[0];
    double alpha = og_attr_float(e->node, "alpha", 1);
    e->y[0] =
        alpha == 1 ? Op(OG_DOMAIN "::Silu", In(x)) : Mul(x, Sigmoid(Mul(Scalar(x, alpha), x)));
}

/* Silu: y = x sigmoid(x) */
static void silu_expand(og_expand *e)
{
    e->y[0] = Mul(e->x[0], Sigmoid(e->x[0]));
}

static void silu_grad(og_grad *d)
{
    d->dx[0] = Op(OG_DOMAIN "::SiluGrad", In(d->dy[0], d->x[0]));
}

/* SiluGrad: dx = dy s (1 + x (1 - s)),  s = sigmoid(x) */
static void silu_grad_expand(og_expand *e)
{
    og_val x = e->x[1], s = Sigmoid(x);
    e->y[0] = Mul(Mul(e->x[0], s), Add(One(x), Sub(x, Mul(x, s))));
}

/* SwiGLU: y = Swish(a) b */
static bool swiglu_infer(og_infer *i)
{
    return need_float(i, 0) &&
           (og_type_equal(&i->x[0]->type, &i->x[1]->type) ||
            og_infer_error(i, "input 1 is %s, expected %s as input 0", TypeText(i, &i->x[1]->type),
                           TypeText(i, &i->x[0]->type))) &&
           same_as_x(i);
}

static void swiglu_expand(og_expand *e)
{
    e->y[0] = Mul(og_ops_like(OG_HERE, "Swish", 1, In(e->x[0]), e->node).y[0], e->x[1]);
}

/* Gelu (Hendrycks and Gimpel, arXiv 1606.08415), with the error function or approximated by tanh:
 * one instruction each, and one for each gradient, which reads x alone. */
static void gelu_expand(og_expand *e)
{
    bool tanh_form = strcmp(og_attr_string(e->node, "approximate", "none"), "tanh") == 0;
    e->y[0] = tanh_form ? Op(OG_DOMAIN "::GeluTanh", In(e->x[0]))
                        : Op(OG_DOMAIN "::GeluErf", In(e->x[0]));
}

/* Φ(x) = (1 + erf(x/√2)) / 2 */
static og_val normal_probability(og_val x)
{
    return Mul(Scalar(x, 0.5), Add(One(x), Erf(Mul(x, Scalar(x, M_SQRT1_2)))));
}

/* GeluErf: y = x Φ(x) */
static void gelu_erf_expand(og_expand *e)
{
    e->y[0] = Mul(e->x[0], normal_probability(e->x[0]));
}

static void gelu_erf_grad(og_grad *d)
{
    d->dx[0] = Op(OG_DOMAIN "::GeluErfGrad", In(d->dy[0], d->x[0]));
}

/* GeluErfGrad: dx = dy (Φ(x) + x φ(x)),  φ(x) = exp(-x²/2) / √(2π) */
static void gelu_erf_grad_expand(og_expand *e)
{
    og_val x = e->x[1];
    og_val density =
        Mul(Scalar(x, M_2_SQRTPI * M_SQRT1_2 / 2), Exp(Mul(Scalar(x, -0.5), Mul(x, x))));
    e->y[0] = Mul(e->x[0], Add(normal_probability(x), Mul(x, density)));
}

/* s = (1 + tanh u) / 2 = sigmoid(2 u),  2 u = 2 √(2/π) (x + 0.044715 x³) */
#define GELU_BEND 0.044715
#define GELU_RATE (M_2_SQRTPI * M_SQRT2)
static og_val gelu_gate(og_val x)
{
    og_val bend = Add(One(x), Mul(Scalar(x, GELU_BEND), Mul(x, x)));
    return Sigmoid(Mul(Mul(Scalar(x, GELU_RATE), x), bend));
}

/* GeluTanh: y = x s */
static void gelu_tanh_expand(og_expand *e)
{
    e->y[0] = Mul(e->x[0], gelu_gate(e->x[0]));
}

static void gelu_tanh_grad(og_grad *d)
{
    d->dx[0] = Op(OG_DOMAIN "::GeluTanhGrad", In(d->dy[0], d->x[0]));
}

/* GeluTanhGrad: dx = dy s (1 + x (1 - s) 2u'),  2u' = 2 √(2/π) (1 + 3 · 0.044715 x²) */
static void gelu_tanh_grad_expand(og_expand *e)
{
    og_val x = e->x[1], s = gelu_gate(x);
    og_val slope = Add(Scalar(x, GELU_RATE), Mul(Scalar(x, 3 * GELU_BEND * GELU_RATE), Mul(x, x)));
    og_val rest = Sub(x, Mul(x, s));
    e->y[0] = Mul(Mul(e->x[0], s), Add(One(x), Mul(rest, slope)));
}

/* Shrink: y = x + bias where x < -lambd, x - bias where x > lambd, else 0 */
static void shrink_expand(og_expand *e)
{
    og_val x = e->x[0], bias = Scalar(x, og_attr_float(e->node, "bias", 0));
    double lambd = og_attr_float(e->node, "lambd", 0.5);
    e->y[0] = Where(Less(x, Scalar(x, -lambd)), Add(x, bias),
                    Where(Greater(x, Scalar(x, lambd)), Sub(x, bias), Zero(x)));
}

/* ---- the table */

#define CHEAP .flags = OG_CHEAP

const og_op og_ops_activation[] = {
    {"LeakyRelu", NULL, 1, 1, 1, 1, same_float, .expand = leaky_relu_expand, CHEAP},
    {"PRelu", NULL, 2, 2, 1, 1, prelu_infer, .expand = prelu_expand, CHEAP},
    {"Elu", NULL, 1, 1, 1, 1, same_float, .expand = elu_expand, CHEAP},
    {"Selu", NULL, 1, 1, 1, 1, same_float, .expand = selu_expand, CHEAP},
    {"Celu", NULL, 1, 1, 1, 1, same_float, .expand = celu_expand, CHEAP},
    {"ThresholdedRelu", NULL, 1, 1, 1, 1, same_float, .expand = thresholded_relu_expand, CHEAP},
    {"HardSigmoid", NULL, 1, 1, 1, 1, same_float, .expand = hard_sigmoid_expand,
     .grad = hard_sigmoid_grad, .saved = 1, CHEAP},
    {"HardSwish", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_HardSwish, hard_swish_expand,
     hard_swish_grad, CHEAP},
    {"HardSwishGrad", OG_DOMAIN, 2, 2, 1, 1, grad_infer, OG_SCALAR_HardSwishGrad,
     hard_swish_grad_expand, CHEAP},
    {"Softplus", NULL, 1, 1, 1, 1, same_float, .expand = softplus_expand, .grad = softplus_grad,
     CHEAP},
    {"Softsign", NULL, 1, 1, 1, 1, same_float, .expand = softsign_expand, .grad = softsign_grad,
     CHEAP},
    {"Mish", NULL, 1, 1, 1, 1, same_float, .expand = mish_expand, CHEAP},
    {"Swish", NULL, 1, 1, 1, 1, same_float, .expand = swish_expand, CHEAP},
    {"Silu", OG_DOMAIN, 1, 1, 1, 1, same_float, OG_SCALAR_Silu, silu_expand, silu_grad, CHEAP},
    {"SiluGrad", OG_DOMAIN, 2, 2, 1, 1, grad_infer, OG_SCALAR_SiluGrad, silu_grad_expand, CHEAP},
    {"SwiGLU", NULL, 2, 2, 1, 1, swiglu_infer, .expand = swiglu_expand, CHEAP},
    {"Gelu", NULL, 1, 1, 1, 1, gelu_infer, .expand = gelu_expand, CHEAP},
    {"GeluErf", OG_DOMAIN, 1, 1, 1, 1, same_float, OG_SCALAR_GeluErf, gelu_erf_expand,
     gelu_erf_grad, CHEAP},
    {"GeluErfGrad", OG_DOMAIN, 2, 2, 1, 1, grad_infer, OG_SCALAR_GeluErfGrad, gelu_erf_grad_expand,
     CHEAP},
    {"GeluTanh", OG_DOMAIN, 1, 1, 1, 1, same_float, OG_SCALAR_GeluTanh, gelu_tanh_expand,
     gelu_tanh_grad, CHEAP},
    {"GeluTanhGrad", OG_DOMAIN, 2, 2, 1, 1, grad_infer, OG_SCALAR_GeluTanhGrad,
     gelu_tanh_grad_expand, CHEAP},
    {"Shrink", NULL, 1, 1, 1, 1, same_number, .expand = shrink_expand, CHEAP},
    {0},
};
