/* Pow with a constant exponent becomes products or a root, as PyTorch computes it: a multiplication
 * costs a hundredth of a power. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

bool og__pattern_power(const og_match *m, og_rewrite *rw, const og_node *n)
{
    double exponent;
    if (!og_op_is(n->op, NULL, "Pow") || !og_match_constant(m, n->in[1], &exponent) ||
        !og_dtype_is_float(m->g->values[n->in[0]]->type.dtype) ||
        !og_type_equal(&m->g->values[n->in[0]]->type, &m->g->values[n->out[0]]->type))
        return false;
    og_val x = og_rewrite_value(rw, n->in[0]), y = OG_NONE;
    if (exponent == 2)
        y = Mul(x, x);
    else if (exponent == 3)
        y = Mul(Mul(x, x), x);
    else if (exponent == 0.5)
        y = Sqrt(x);
    else if (exponent == -0.5)
        y = Reciprocal(Sqrt(x));
    else if (exponent == -1)
        y = Reciprocal(x);
    og_rewrite_set(rw, n->out[0], y);
    return y.g != NULL;
}
