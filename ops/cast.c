/* Changes of element type. The gradient of a Cast is a Cast back, so that mixed precision needs no
 * rule of its own. */
#include "ops/common.h"

static bool can_cast(og_infer *i, og_dtype to)
{
    if (og_dtype_bits(to) == 0 || og_dtype_bits(i->x[0]->type.dtype) == 0)
        return og_infer_error(i, "casts %s to %s, expected numeric types or bool",
                              og_dtype_name(i->x[0]->type.dtype), og_dtype_name(to));
    i->y[0] = i->x[0]->type;
    i->y[0].dtype = to;
    return true;
}

static bool cast_infer(og_infer *i)
{
    int64_t to = og_attr_int(i->node, "to", OG_UNDEFINED);
    if (to <= OG_UNDEFINED || to >= OG_DTYPE_COUNT)
        return og_infer_error(i, "attribute to is %" PRId64 ", expected an element type", to);
    return can_cast(i, (og_dtype)to);
}

static bool cast_like_infer(og_infer *i)
{
    return can_cast(i, i->x[1]->type.dtype);
}

/* Cast: dx = dy in x's type */
static void cast_grad(og_grad *d)
{
    if (Has(d->dy[0]))
        d->dx[0] = to_dtype(d->dy[0], DType(d->x[0]));
}

static void cast_like_expand(og_expand *e)
{
    e->y[0] = Op("Cast", In(e->x[0]), I("to", DType(e->x[1])),
                 I("saturate", og_attr_int(e->node, "saturate", 1)));
}

/* A cast to the same type is the same elements. */
static bool cast_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                      const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)node, (void)out, (void)in;
    *ly = *lx;
    return x->dtype == y->dtype;
}

const og_op og_ops_cast[] = {
    {"Cast", NULL, 1, 1, 1, 1, cast_infer, .grad = cast_grad, .view = cast_view, .flags = OG_CHEAP},
    {"CastLike", NULL, 2, 2, 1, 1, cast_like_infer, .expand = cast_like_expand, .flags = OG_CHEAP,
     .type_only = 1 << 1},
    {0},
};
