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

const og_op og_ops_bitwise[] = {
    {"BitwiseAnd", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseAnd, .diff = OG_DIFF_ZERO,
     .flags = OG_COMMUTATIVE},
    {"BitwiseOr", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseOr, .diff = OG_DIFF_ZERO,
     .flags = OG_COMMUTATIVE},
    {"BitwiseXor", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseXor, .diff = OG_DIFF_ZERO,
     .flags = OG_COMMUTATIVE},
    {"BitwiseNot", NULL, 1, 1, 1, 1, integers, .expand = not_expand, .diff = OG_DIFF_ZERO},
    {0},
};
