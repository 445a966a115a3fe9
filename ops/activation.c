/* Activations: definitions in elementwise ops, from which gradients follow. Where the definition
 * alone would give another subgradient at a kink than PyTorch does, or overflow on the side not
 * taken, it is written to avoid that. */
#include "ops/common.h"

/* ---- inference
 * ------------------------------------------------------------------------------------ */

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

/* ---- definitions
 * ------------------------------------------------------------------------------------ */

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

/* Swish: y = x sigmoid(alpha x) */
static void swish_expand(og_expand *e)
{
    og_val x = e->x[0];
    double alpha = og_attr_float(e->node, "alpha", 1);
    e->y[0] = Mul(x, Sigmoid(alpha == 1 ? x : Mul(Scalar(x, alpha), x)));
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

/* Gelu: y = x/2 (1 + erf(x/√2)),  or with tanh: y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) */
static void gelu_expand(og_expand *e)
{
    og_val x = e->x[0], half_x = Mul(Scalar(x, 0.5), x), bend;
    if (strcmp(og_attr_string(e->node, "approximate", "none"), "tanh") == 0) {
        og_val inner = Add(One(x), Mul(Scalar(x, 0.044715), Mul(x, x)));
        bend = Tanh(Mul(Mul(Scalar(x, M_2_SQRTPI * M_SQRT1_2), x), inner));
    } else {
        bend = Erf(Mul(x, Scalar(x, M_SQRT1_2)));
    }
    e->y[0] = Mul(half_x, Add(One(x), bend));
}

/* Shrink: y = x + bias where x < -lambd, x - bias where x > lambd, else 0 */
static void shrink_expand(og_expand *e)
{
    og_val x = e->x[0], bias = Scalar(x, og_attr_float(e->node, "bias", 0));
    double lambd = og_attr_float(e->node, "lambd", 0.5);
    e->y[0] = Where(Less(x, Scalar(x, -lambd)), Add(x, bias),
                    Where(Greater(x, Scalar(x, lambd)), Sub(x, bias), Zero(x)));
}

/* ---- the table
 * ---------------------------------------------------------------------------------------- */

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
    {"HardSwish", NULL, 1, 1, 1, 1, same_float, .expand = hard_swish_expand, CHEAP},
    {"Softplus", NULL, 1, 1, 1, 1, same_float, .expand = softplus_expand, .grad = softplus_grad,
     CHEAP},
    {"Softsign", NULL, 1, 1, 1, 1, same_float, .expand = softsign_expand, .grad = softsign_grad,
     CHEAP},
    {"Mish", NULL, 1, 1, 1, 1, same_float, .expand = mish_expand, CHEAP},
    {"Swish", NULL, 1, 1, 1, 1, same_float, .expand = swish_expand, CHEAP},
    {"SwiGLU", NULL, 2, 2, 1, 1, swiglu_infer, .expand = swiglu_expand, CHEAP},
    {"Gelu", NULL, 1, 1, 1, 1, gelu_infer, .expand = gelu_expand, CHEAP},
    {"Shrink", NULL, 1, 1, 1, 1, same_number, .expand = shrink_expand, CHEAP},
    {0},
};
