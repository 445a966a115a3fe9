/* Operands of a product that are scaled by constants, as attention scales queries and keys: the
 * product is scaled instead. (a A) (b B) = a b (A B); the factor then joins whatever elementwise
 * work follows, and operands stay views. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* value = factor · operand, seen through if it is worth it; else value itself and 1. */
static int unscaled(const og_match *m, int value, double *factor)
{
    const og_node *n = og_match_inner(m, value, "Mul");
    for (int k = 0; n && k < 2; k++)
        if (og_match_constant(m, n->in[k], factor) &&
            og_type_equal(&m->g->values[n->in[1 - k]]->type, &m->g->values[value]->type))
            return n->in[1 - k];
    *factor = 1;
    return value;
}

bool og__pattern_scale(const og_match *m, og_rewrite *rw, const og_node *n)
{
    if (!og_op_is(n->op, NULL, "MatMul") || !og_dtype_is_float(m->g->values[n->out[0]]->type.dtype))
        return false;
    double fa, fb;
    int a = unscaled(m, n->in[0], &fa), b = unscaled(m, n->in[1], &fb);
    int64_t saved = 0;
    if (a != n->in[0])
        saved += og_type_elements(&m->g->values[a]->type);
    if (b != n->in[1])
        saved += og_type_elements(&m->g->values[b]->type);
    if (saved == 0 || (saved < og_type_elements(&m->g->values[n->out[0]]->type) &&
                       (a == n->in[0] || b == n->in[1])))
        return false;
    og_val y = MatMul(og_rewrite_value(rw, a), og_rewrite_value(rw, b));
    og_rewrite_set(rw, n->out[0], Mul(y, Scalar(y, fa * fb)));
    return true;
}
