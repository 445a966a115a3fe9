/* Bitwise operations on integers. No gradients: integers have none. */
#include "ops/common.h"

/* Integers of one type, broadcast. */
static bool integers(og_infer *i)
{
    for (int k = 0; k < i->nx; k++)
        if (!og_dtype_is_int(i->x[k]->type.dtype))
            return og_infer_error(i, "input %d is %s, expected integers", k, og_dtype_name(i->x[k]->type.dtype));
    return broadcast_all(i, &i->y[0]);
}

const og_op og_ops_bitwise[] = {
    {"BitwiseAnd", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseAnd, .diff = OG_DIFF_ZERO, .flags = OG_COMMUTATIVE},
    {"BitwiseOr", NULL, 2, 2, 1, 1, integers, OG_SCALAR_BitwiseOr, .diff = OG_DIFF_ZERO, .flags = OG_COMMUTATIVE},
    {0},
};
