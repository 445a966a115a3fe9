/* Steps of optimizers that are worth a kernel of their own: what their elementwise definition reads
 * and writes many times is then read and written once. The other optimizers are programs of the
 * fuse pass (runtime/passes/optimizer_rules.c). */
#include "ops/common.h"

/* AdamStep: w, g, m, v of one type; finite bool; factor, decay, rate, root of w's type: scalars
 * → w, m, v, and if asked for w in the type that attribute half names */
static bool adam_infer(og_infer *i)
{
    const og_type *w = &i->x[0]->type;
    if (!need_float(i, 0))
        return false;
    for (int k = 1; k < i->nx; k++) {
        const og_type *t = &i->x[k]->type;
        og_type scalar = og_type_make(k == 4 ? OG_BOOL : w->dtype, 0, NULL);
        const og_type *expected = k < 4 ? w : &scalar;
        if (!og_type_equal(t, expected))
            return og_infer_error(i, "input %d is %s, expected %s", k, TypeText(i, t),
                                  TypeText(i, expected));
    }
    for (int k = 0; k < i->ny; k++)
        i->y[k] = *w;
    if (i->ny > 3)
        i->y[3].dtype = (og_dtype)og_attr_int(i->node, "half", OG_BFLOAT16);
    return true;
}

/* a · old + (1 − a) · x */
static og_val blend(double a, og_val old, og_val x)
{
    return Add(Mul(Scalar(x, a), old), Mul(Scalar(x, 1 - a), x));
}

/* g ← factor g + l2 w
 * m' = β₁ m + (1 − β₁) g,  v' = β₂ v + (1 − β₂) g²,  w' = decay w − rate m' / (root √v' + ε)
 * each kept where finite is false.
 * (Kingma and Ba, arXiv 1412.6980, algorithm 1; decay apart from g: Loshchilov and Hutter, arXiv
 * 1711.05101) */
static void adam_expand(og_expand *e)
{
    og_val w = e->x[0], m = e->x[2], v = e->x[3], finite = e->x[4];
    if (e->node->n_out > 3) { /* where the kernel at hand has no copy */
        og_outs n =
            og_ops_like(OG_HERE, OG_DOMAIN "::AdamStep", 3,
                        In(w, e->x[1], m, v, finite, e->x[5], e->x[6], e->x[7], e->x[8]), e->node);
        for (int k = 0; k < 3; k++)
            e->y[k] = n.y[k];
        e->y[3] = Cast(n.y[0], (og_dtype)og_attr_int(e->node, "half", OG_BFLOAT16));
        return;
    }
    og_val g = Mul(e->x[1], e->x[5]);
    double l2 = og_attr_float(e->node, "l2", 0);
    if (l2 != 0)
        g = Add(g, Mul(Scalar(w, l2), w));
    og_val m1 = blend(og_attr_float(e->node, "beta1", 0.9), m, g);
    og_val v1 = blend(og_attr_float(e->node, "beta2", 0.999), v, Mul(g, g));
    og_val below = Add(Mul(Sqrt(v1), e->x[8]), Scalar(w, og_attr_float(e->node, "epsilon", 1e-8)));
    og_val w1 = Sub(Mul(w, e->x[6]), Mul(e->x[7], Div(m1, below)));
    e->y[0] = Where(finite, w1, w);
    e->y[1] = Where(finite, m1, m);
    e->y[2] = Where(finite, v1, v);
}

const og_op og_ops_optimizer[] = {
    {"AdamStep", OG_DOMAIN, 9, 9, 3, 4, adam_infer, .expand = adam_expand, .diff = OG_DIFF_NEVER,
     .precision = OG_PRECISION_FLOAT},
    {0},
};
