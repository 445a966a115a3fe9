/* Bitwise operations on integers. No gradients: integers have none. */
#include "ops/common.h"

/* Integers of one type, broadcast. */
static bool integers(og_infer *i)
{
    for (int k = 0; k < i->nx; k++)
        if (!og_dtype_is_int(i->x[k]->type.dtype))
            return og_infer_error(i, "input %d is %s, expected integers", k,
                                  og_dtype_name(i->x[k]->type.dtype));
    return broadcast_all(i, &i->y[0]);
}

/* BitwiseNot: in two's complement ~x = −x − 1 */
static void not_expand(og_expand *e)
{
    e->y[0] = Sub(Neg(e->x[0]), One(e->x[0]));
}

/* BitShift: left x 2ʸ, right ⌊x / 2ʸ⌋; shifts below 0 or beyond the width move every bit out */
static bool shift_infer(og_infer *i)
{
    const char *direction = og_attr_string(i->node, "direction", "");
    if (strcmp(direction, "LEFT") != 0 && strcmp(direction, "RIGHT") != 0)
        return og_infer_error(i, "direction is \"%s\", expected LEFT or RIGHT", direction);
    return integers(i);
}

static void shift_expand(og_expand *e)
{
    og_val x = e->x[0], y = e->x[1], zero = Zero(x);
    bool left = strcmp(og_attr_string(e->node, "direction", ""), "LEFT") == 0;
    og_val out = Or(Less(y, Zero(y)), GreaterOrEqual(y, Scalar(y, og_dtype_bits(DType(y)))));
    og_val power = Pow(Scalar(x, 2), Where(out, Zero(y), y));
    og_val shifted = left ? Mul(x, power) : Div(Sub(x, Op("Mod", In(x, power))), power);
    og_val empty = left ? zero : Where(Less(x, zero), Neg(One(x)), zero);
    e->y[0] = Where(out, empty, shifted);
}

const og_op og_ops_bitwise[] = {
    {"BitwiseAnd", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseAnd, .diff = OG_DIFF_ZERO,
     .flags = OG_COMMUTATIVE},
    {"BitwiseOr", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseOr, .diff = OG_DIFF_ZERO,
     .flags = OG_COMMUTATIVE},
    {"BitwiseXor", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseXor, .diff = OG_DIFF_ZERO,
     .flags = OG_COMMUTATIVE},
    {"BitShift", NULL, 2, 2, 1, 1, shift_infer, .expand = shift_expand, .diff = OG_DIFF_ZERO},
    {"BitwiseNot", NULL, 1, 1, 1, 1, integers, .expand = not_expand, .diff = OG_DIFF_ZERO},
    {0},
};
