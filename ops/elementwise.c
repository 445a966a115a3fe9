/* Elementwise arithmetic: ops that are one scalar instruction, and the variadic and bounded forms
 * made of them. Operands broadcast as in numpy. Comparisons and logic are in logic.c, activations
 * in activation.c. */
#include "ops/common.h"

/* ---- inference */

static bool binary(og_infer *i)
{
    return need_number(i, 0) && need_number(i, 1) && need_same(i, 0, 1) &&
           broadcast_all(i, &i->y[0]);
}

static bool variadic(og_infer *i)
{
    return need_number(i, 0) && need_all_same(i) && broadcast_all(i, &i->y[0]);
}

static bool variadic_float(og_infer *i)
{
    return need_float(i, 0) && variadic(i);
}

/* The exponent may have another type; y has the base's. */
static bool pow_infer(og_infer *i)
{
    return need_number(i, 0) && need_number(i, 1) && broadcast_all(i, &i->y[0]);
}

/* ---- gradients of one operand */

/* Neg: y = -x,  dx = -dy */
static void neg_grad(og_grad *d)
{
    d->dx[0] = Neg(d->dy[0]);
}

/* Abs: y = |x|,  dx = dy sign x */
static void abs_grad(og_grad *d)
{
    d->dx[0] = Mul(d->dy[0], Sign(d->x[0]));
}

/* Reciprocal: y = 1/x,  dx = -dy y² */
static void reciprocal_grad(og_grad *d)
{
    og_val y = d->y[0];
    d->dx[0] = Neg(Mul(d->dy[0], Mul(y, y)));
}

/* Sqrt: y = √x,  dx = dy / (2y) */
static void sqrt_grad(og_grad *d)
{
    og_val y = d->y[0];
    d->dx[0] = Div(d->dy[0], Add(y, y));
}

/* Exp: y = eˣ,  dx = dy y */
static void exp_grad(og_grad *d)
{
    d->dx[0] = Mul(d->dy[0], d->y[0]);
}

/* Log: y = ln x,  dx = dy / x */
static void log_grad(og_grad *d)
{
    d->dx[0] = Div(d->dy[0], d->x[0]);
}

/* Log1p: y = ln(1 + x),  dx = dy / (1 + x) */
static void log1p_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Div(d->dy[0], Add(One(x), x));
}

static void log1p_expand(og_expand *e)
{
    e->y[0] = Log(Add(One(e->x[0]), e->x[0]));
}

/* Tanh: y = tanh x,  dx = dy (1 - y²) */
static void tanh_grad(og_grad *d)
{
    og_val y = d->y[0];
    d->dx[0] = Mul(d->dy[0], Sub(One(y), Mul(y, y)));
}

/* Sigmoid: y = 1 / (1 + e⁻ˣ),  dx = dy y (1 - y) */
static void sigmoid_grad(og_grad *d)
{
    og_val y = d->y[0];
    d->dx[0] = Mul(d->dy[0], Mul(y, Sub(One(y), y)));
}

/* Erf: y = erf x,  dx = dy (2/√π) exp(-x²) */
static void erf_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Mul(d->dy[0], Mul(Scalar(x, M_2_SQRTPI), Exp(Neg(Mul(x, x)))));
}

/* Relu: y = max(x, 0),  dx = dy where y > 0, else 0 */
static void relu_grad(og_grad *d)
{
    og_val y = d->y[0];
    d->dx[0] = Where(Greater(y, Zero(y)), d->dy[0], Zero(y));
}

/* Sin: dx = dy cos x */
static void sin_grad(og_grad *d)
{
    d->dx[0] = Mul(d->dy[0], Cos(d->x[0]));
}

/* Cos: dx = -dy sin x */
static void cos_grad(og_grad *d)
{
    d->dx[0] = Neg(Mul(d->dy[0], Sin(d->x[0])));
}

/* Tan: y = tan x,  dx = dy (1 + y²) */
static void tan_grad(og_grad *d)
{
    og_val y = d->y[0];
    d->dx[0] = Mul(d->dy[0], Add(One(y), Mul(y, y)));
}

/* Asin: dx = dy / √(1 - x²) */
static void asin_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Div(d->dy[0], Sqrt(Sub(One(x), Mul(x, x))));
}

/* Acos: dx = -dy / √(1 - x²) */
static void acos_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Neg(Div(d->dy[0], Sqrt(Sub(One(x), Mul(x, x)))));
}

/* Atan: dx = dy / (1 + x²) */
static void atan_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Div(d->dy[0], Add(One(x), Mul(x, x)));
}

/* Sinh: dx = dy cosh x */
static void sinh_grad(og_grad *d)
{
    d->dx[0] = Mul(d->dy[0], Op("Cosh", In(d->x[0])));
}

/* Cosh: dx = dy sinh x */
static void cosh_grad(og_grad *d)
{
    d->dx[0] = Mul(d->dy[0], Op("Sinh", In(d->x[0])));
}

/* Asinh: dx = dy / √(x² + 1) */
static void asinh_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Div(d->dy[0], Sqrt(Add(Mul(x, x), One(x))));
}

/* Acosh: dx = dy / √(x² - 1) */
static void acosh_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Div(d->dy[0], Sqrt(Sub(Mul(x, x), One(x))));
}

/* Atanh: dx = dy / (1 - x²) */
static void atanh_grad(og_grad *d)
{
    og_val x = d->x[0];
    d->dx[0] = Div(d->dy[0], Sub(One(x), Mul(x, x)));
}

/* ---- gradients of two operands */

/* Add: da = dy,  db = dy */
static void add_grad(og_grad *d)
{
    d->dx[0] = d->dy[0];
    d->dx[1] = d->dy[0];
}

/* Sub: da = dy,  db = -dy */
static void sub_grad(og_grad *d)
{
    d->dx[0] = d->dy[0];
    if (d->need[1])
        d->dx[1] = Neg(d->dy[0]);
}

/* Mul: da = dy b,  db = dy a */
static void mul_grad(og_grad *d)
{
    if (d->need[0])
        d->dx[0] = Mul(d->dy[0], d->x[1]);
    if (d->need[1])
        d->dx[1] = Mul(d->dy[0], d->x[0]);
}

/* Div: y = a / b,  da = dy / b,  db = -dy y / b */
static void div_grad(og_grad *d)
{
    og_val b = d->x[1], dy = d->dy[0];
    if (d->need[0])
        d->dx[0] = Div(dy, b);
    if (d->need[1])
        d->dx[1] = Neg(Mul(dy, Div(d->y[0], b)));
}

/* Mod: y has the sign of b, or with fmod the sign of a: sign(a) (|a| mod |b|). With fmod 0 it is
 * the instruction. */
static void mod_expand(og_expand *e)
{
    og_val a = e->x[0], b = e->x[1];
    bool plain = og_attr_int(e->node, "fmod", 0) == 0;
    e->y[0] = plain ? Op("Mod", In(a, b)) : Mul(Sign(a), Op("Mod", In(Abs(a), Abs(b))));
}

/* y = a - b q with a whole number q,  da = dy,  db = -dy q,  q = (a - y) / b */
static void mod_grad(og_grad *d)
{
    og_val a = d->x[0], b = d->x[1], y = d->y[0], dy = d->dy[0];
    d->dx[0] = dy;
    if (d->need[1])
        d->dx[1] = Neg(Mul(dy, Round(Div(Sub(a, y), b))));
}

/* Pow: y = aᵇ,  da = dy b aᵇ⁻¹ (0 where b = 0),  db = dy y ln a (0 where a = 0 and b ≥ 0) */
static void pow_grad(og_grad *d)
{
    og_val a = d->x[0], y = d->y[0], dy = d->dy[0];
    const og_value *exponent = og_value_of(d->x[1]);
    bool known = is_const(exponent) && og_type_elements(&exponent->type) == 1;
    og_val b = to_dtype(d->x[1], DType(a));
    if (d->need[0] && known) {
        double p = og_value_double(exponent, 0);
        og_val slope = p == 2.0   ? Add(a, a)
                       : p == 1.0 ? One(a)
                       : p == 0.5 ? Div(Scalar(a, 0.5), y)
                       : p == 0.0 ? Zero(a)
                                  : Mul(Scalar(a, p), Pow(a, Scalar(a, p - 1)));
        d->dx[0] = Mul(dy, slope);
    } else if (d->need[0]) {
        og_val slope = Mul(b, Pow(a, Sub(b, One(b))));
        d->dx[0] = Mul(dy, Where(Equal(b, Zero(b)), Zero(a), slope));
    }
    if (d->need[1]) {
        og_val flat = And(Equal(a, Zero(a)), GreaterOrEqual(b, Zero(b)));
        og_val db = Where(flat, Zero(a), Mul(dy, Mul(y, Log(Where(flat, One(a), a)))));
        d->dx[1] = to_dtype(db, DType(d->x[1]));
    }
}

/* ---- Min, Max, Sum, Mean */

/* y = x₀ op x₁ op … in order */
static og_val chain(const og_expand *e, const char *op)
{
    og_val y = e->x[0];
    for (int k = 1; k < e->nx; k++)
        y = Op(op, In(y, e->x[k]));
    return e->nx == 1 ? Identity(y) : y;
}

/* With two inputs Min and Max are the instruction; the definition is for any other number. */
static void min_expand(og_expand *e)
{
    e->y[0] = chain(e, "Min");
}

static void max_expand(og_expand *e)
{
    e->y[0] = chain(e, "Max");
}

static void sum_expand(og_expand *e)
{
    e->y[0] = chain(e, "Add");
}

/* Mean: y = (x₀ + x₁ + …) / n */
static void mean_expand(og_expand *e)
{
    og_val sum = chain(e, "Add");
    e->y[0] = Div(sum, Scalar(sum, e->nx));
}

/* y = the largest (or smallest) of x₀, x₁ …: dxᵢ = dy [xᵢ = y] / (how many equal y) */
static void extremum_grad(og_grad *d)
{
    og_val y = d->y[0], hits = OG_NONE;
    for (int k = 0; k < d->nx; k++) {
        d->dx[k] = Cast(Equal(d->x[k], y), DType(y));
        hits = k ? Add(hits, d->dx[k]) : d->dx[k];
    }
    og_val share = Div(d->dy[0], hits);
    for (int k = 0; k < d->nx; k++)
        d->dx[k] = Mul(share, d->dx[k]);
}

/* Sum: dxᵢ = dy */
static void sum_grad(og_grad *d)
{
    for (int k = 0; k < d->nx; k++)
        d->dx[k] = d->dy[0];
}

/* Mean: dxᵢ = dy / n */
static void mean_grad(og_grad *d)
{
    og_val share = Mul(d->dy[0], Scalar(d->dy[0], 1.0 / d->nx));
    for (int k = 0; k < d->nx; k++)
        d->dx[k] = share;
}

/* ---- Clip */

/* Bounds are scalars of x's type; those that an upgrade made from attributes are float32. */
static bool clip_infer(og_infer *i)
{
    for (int k = 1; k < i->nx; k++) {
        if (!i->x[k])
            continue;
        const char *what = k == 1 ? "min" : "max";
        if (!need_scalar(i, k, what))
            return false;
        if (i->x[k]->type.dtype != OG_FLOAT && !need_same(i, 0, k))
            return false;
    }
    return need_number(i, 0) && same_as_x(i);
}

/* A bound as a scalar (rank 0) of x's type. */
static og_val bound(og_val v, og_val x)
{
    return Has(v) ? Reshape(to_dtype(v, DType(x)), 0, NULL) : OG_NONE;
}

/* y = min(max(x, low), high) */
static void clip_expand(og_expand *e)
{
    og_val y = e->x[0];
    og_val low = e->nx > 1 ? bound(e->x[1], y) : OG_NONE;
    og_val high = e->nx > 2 ? bound(e->x[2], y) : OG_NONE;
    if (Has(low))
        y = Max(y, low);
    if (Has(high))
        y = Min(y, high);
    e->y[0] = Has(low) || Has(high) ? y : Identity(y);
}

/* dx = dy where low ≤ x ≤ high; dlow = Σ dy where x < low ≤ high; dhigh = Σ dy where x > high or
 * low > high */
static void clip_grad(og_grad *d)
{
    og_val x = d->x[0], dy = d->dy[0], none = Zero(dy);
    og_val low = d->nx > 1 ? bound(d->x[1], x) : OG_NONE;
    og_val high = d->nx > 2 ? bound(d->x[2], x) : OG_NONE;
    og_val inside = Has(low) ? GreaterOrEqual(x, low) : OG_NONE;
    if (Has(high))
        inside = Has(low) ? And(inside, LessOrEqual(x, high)) : LessOrEqual(x, high);
    if (d->need[0])
        d->dx[0] = Has(inside) ? Where(inside, dy, none) : dy;
    if (Has(low) && d->need[1]) {
        og_val below = Less(x, low);
        if (Has(high))
            below = And(below, LessOrEqual(low, high));
        d->dx[1] = to_dtype(SumTo(Where(below, dy, none), d->x[1]), DType(d->x[1]));
    }
    if (Has(high) && d->need[2]) {
        og_val above = Greater(x, high);
        if (Has(low))
            above = Or(above, Greater(low, high));
        d->dx[2] = to_dtype(SumTo(Where(above, dy, none), d->x[2]), DType(d->x[2]));
    }
}

/* Below opset 11 the bounds are attributes. */
static bool clip_upgrade_11(og_draft *d)
{
    return og_draft_float_to_input(d, "min", 1) && og_draft_float_to_input(d, "max", 2);
}

/* Accumulate: y = more ? x + sum : x. A sum that is begun anew is not read: it may be NaN. */
static bool accumulate_infer(og_infer *i)
{
    return need_number(i, 0) && need_same(i, 0, 1) && need_same(i, 0, 2) &&
           broadcast_all(i, &i->y[0]);
}

static void accumulate_expand(og_expand *e)
{
    og_val x = e->x[0], more = e->x[2];
    e->y[0] = Where(Equal(more, Zero(more)), x, Add(x, e->x[1]));
}

/* ---- the table */

#define CHEAP .flags = OG_CHEAP
#define CHEAP_COMMUTATIVE .flags = OG_CHEAP | OG_COMMUTATIVE

const og_op og_ops_elementwise[] = {
    {"Neg", NULL, 1, 1, 1, 1, same_number, OG_SCALAR_Neg, .grad = neg_grad, CHEAP},
    {"Abs", NULL, 1, 1, 1, 1, same_number, OG_SCALAR_Abs, .grad = abs_grad, CHEAP},
    {"Reciprocal", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Reciprocal, .grad = reciprocal_grad,
     .saved = 1, CHEAP},
    {"Sqrt", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Sqrt, .grad = sqrt_grad, .saved = 1, CHEAP},
    {"Exp", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Exp, .grad = exp_grad, .saved = 1, CHEAP},
    {"Log", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Log, .grad = log_grad, CHEAP},
    {"Log1p", OG_DOMAIN, 1, 1, 1, 1, same_float, OG_SCALAR_Log1p, .expand = log1p_expand,
     .grad = log1p_grad, CHEAP},
    {"Tanh", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Tanh, .grad = tanh_grad, .saved = 1, CHEAP},
    {"Sigmoid", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Sigmoid, .grad = sigmoid_grad, .saved = 1,
     CHEAP},
    {"Erf", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Erf, .grad = erf_grad, CHEAP},
    {"Relu", NULL, 1, 1, 1, 1, same_number, OG_SCALAR_Relu, .grad = relu_grad, .saved = 1, CHEAP},
    {"Sin", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Sin, .grad = sin_grad, CHEAP},
    {"Cos", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Cos, .grad = cos_grad, CHEAP},
    {"Tan", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Tan, .grad = tan_grad, .saved = 1, CHEAP},
    {"Asin", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Asin, .grad = asin_grad, CHEAP},
    {"Acos", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Acos, .grad = acos_grad, CHEAP},
    {"Atan", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Atan, .grad = atan_grad, CHEAP},
    {"Sinh", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Sinh, .grad = sinh_grad, CHEAP},
    {"Cosh", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Cosh, .grad = cosh_grad, CHEAP},
    {"Asinh", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Asinh, .grad = asinh_grad, CHEAP},
    {"Acosh", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Acosh, .grad = acosh_grad, CHEAP},
    {"Atanh", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Atanh, .grad = atanh_grad, CHEAP},
    {"Floor", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Floor, .diff = OG_DIFF_ZERO, CHEAP},
    {"Ceil", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Ceil, .diff = OG_DIFF_ZERO, CHEAP},
    {"Round", NULL, 1, 1, 1, 1, same_float, OG_SCALAR_Round, .diff = OG_DIFF_ZERO, CHEAP},
    {"Sign", NULL, 1, 1, 1, 1, same_number, OG_SCALAR_Sign, .diff = OG_DIFF_ZERO, CHEAP},

    {"Add", NULL, 2, 2, 1, 1, binary, OG_SCALAR_Add, .grad = add_grad, CHEAP_COMMUTATIVE},
    {"Sub", NULL, 2, 2, 1, 1, binary, OG_SCALAR_Sub, .grad = sub_grad, CHEAP},
    {"Mul", NULL, 2, 2, 1, 1, binary, OG_SCALAR_Mul, .grad = mul_grad, CHEAP_COMMUTATIVE},
    {"Div", NULL, 2, 2, 1, 1, binary, OG_SCALAR_Div, .grad = div_grad, .saved = 1, CHEAP},
    {"Mod", NULL, 2, 2, 1, 1, binary, OG_SCALAR_Mod, mod_expand, mod_grad, .saved = 1, CHEAP},
    {"Accumulate", OG_DOMAIN, 3, 3, 1, 1, accumulate_infer, OG_SCALAR_Accumulate, accumulate_expand,
     CHEAP},
    {"Pow", NULL, 2, 2, 1, 1, pow_infer, OG_SCALAR_Pow, .grad = pow_grad, .saved = 1, CHEAP},

    /* The instruction is for two inputs, the definition for any other number. (Mod, above: for fmod
       0, and 1.) */
    {"Min", NULL, 1, OG_VARIADIC, 1, 1, variadic, OG_SCALAR_Min, min_expand, extremum_grad,
     .saved = 1, CHEAP},
    {"Max", NULL, 1, OG_VARIADIC, 1, 1, variadic, OG_SCALAR_Max, max_expand, extremum_grad,
     .saved = 1, CHEAP},
    {"Sum", NULL, 1, OG_VARIADIC, 1, 1, variadic_float, .expand = sum_expand, .grad = sum_grad,
     CHEAP},
    {"Mean", NULL, 1, OG_VARIADIC, 1, 1, variadic_float, .expand = mean_expand, .grad = mean_grad,
     CHEAP},
    {"Clip", NULL, 1, 3, 1, 1, clip_infer, .expand = clip_expand, .grad = clip_grad, CHEAP,
     .upgrade = {{11, clip_upgrade_11}}},
    {0},
};
