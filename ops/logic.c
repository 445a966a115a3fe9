/* Comparisons, boolean logic, tests of floats, and Where. Results of comparisons are bool. */
#include "ops/common.h"

/* ---- inference */

static bool bool_result(og_infer *i)
{
    i->y[0].dtype = OG_BOOL;
    return true;
}

static bool compare(og_infer *i)
{
    return need_number(i, 0) && need_number(i, 1) && need_same(i, 0, 1) &&
           broadcast_all(i, &i->y[0]) && bool_result(i);
}

static bool equal_infer(og_infer *i)
{
    return need_same(i, 0, 1) && broadcast_all(i, &i->y[0]) && bool_result(i);
}

static bool logical(og_infer *i)
{
    return need_dtype(i, 0, OG_BOOL) && need_dtype(i, 1, OG_BOOL) && broadcast_all(i, &i->y[0]);
}

static bool not_infer(og_infer *i)
{
    return need_dtype(i, 0, OG_BOOL) && same_as_x(i);
}

static bool test_infer(og_infer *i)
{
    return same_float(i) && bool_result(i);
}

static bool where_infer(og_infer *i)
{
    if (!need_dtype(i, 0, OG_BOOL) || !need_same(i, 1, 2) || !broadcast_all(i, &i->y[0]))
        return false;
    i->y[0].dtype = i->x[1]->type.dtype;
    return true;
}

/* ---- gradients and definitions */

/* Where: y = c ? a : b,  da = c ? dy : 0,  db = c ? 0 : dy */
static void where_grad(og_grad *d)
{
    og_val c = d->x[0], dy = d->dy[0];
    if (d->need[1])
        d->dx[1] = Where(c, dy, Zero(dy));
    if (d->need[2])
        d->dx[2] = Where(c, Zero(dy), dy);
}

/* IsInf: |x| = ∞, or one sign of it */
static void is_inf_expand(og_expand *e)
{
    og_val x = e->x[0];
    bool negative = og_attr_int(e->node, "detect_negative", 1) != 0;
    bool positive = og_attr_int(e->node, "detect_positive", 1) != 0;
    if (negative && positive)
        e->y[0] = Equal(Abs(x), Scalar(x, INFINITY));
    else if (negative || positive)
        e->y[0] = Equal(x, Scalar(x, positive ? INFINITY : -INFINITY));
    else {
        og_type none = *og_type_of(x);
        none.dtype = OG_BOOL;
        e->y[0] = og_full(e->g, &none, 0);
    }
}

/* IsFinite: |x| < ∞, which is false for NaN */
static void is_finite_expand(og_expand *e)
{
    e->y[0] = Less(Abs(e->x[0]), Scalar(e->x[0], INFINITY));
}

/* ---- the table */

#define TEST .diff = OG_DIFF_ZERO, .flags = OG_CHEAP
#define SYMMETRIC .diff = OG_DIFF_ZERO, .flags = OG_CHEAP | OG_COMMUTATIVE

const og_op og_ops_logic[] = {
    {"Equal", NULL, 2, 2, 1, 1, equal_infer, OG_SCALAR_Equal, SYMMETRIC},
    {"Less", NULL, 2, 2, 1, 1, compare, OG_SCALAR_Less, TEST},
    {"LessOrEqual", NULL, 2, 2, 1, 1, compare, OG_SCALAR_LessOrEqual, TEST},
    {"Greater", NULL, 2, 2, 1, 1, compare, OG_SCALAR_Greater, TEST},
    {"GreaterOrEqual", NULL, 2, 2, 1, 1, compare, OG_SCALAR_GreaterOrEqual, TEST},
    {"And", NULL, 2, 2, 1, 1, logical, OG_SCALAR_And, SYMMETRIC},
    {"Or", NULL, 2, 2, 1, 1, logical, OG_SCALAR_Or, SYMMETRIC},
    {"Xor", NULL, 2, 2, 1, 1, logical, OG_SCALAR_Xor, SYMMETRIC},
    {"Not", NULL, 1, 1, 1, 1, not_infer, OG_SCALAR_Not, TEST},
    {"IsNaN", NULL, 1, 1, 1, 1, test_infer, OG_SCALAR_IsNaN, TEST},
    {"IsInf", NULL, 1, 1, 1, 1, test_infer, .expand = is_inf_expand, TEST},
    {"IsFinite", OG_DOMAIN, 1, 1, 1, 1, test_infer, OG_SCALAR_IsFinite, .expand = is_finite_expand,
     TEST},
    {"Where", NULL, 3, 3, 1, 1, where_infer, OG_SCALAR_Where, .grad = where_grad,
     .flags = OG_CHEAP},
    {0},
};
