/* MaxPool of Relu becomes Relu of MaxPool: the largest element of a window is the same one, and
 * where Relu would have stopped its gradient it still does. There is less for Relu to do, and no
 * mask of the larger size to be kept. Not where a window may lie in padding only, whose -infinity
 * Relu would turn into 0. */
#include "ops/window.h"
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* Without pads a window begins inside; without dilation it is longer than the pad it begins in. */
static bool never_empty(const og_match *m, const og_node *n)
{
    og_window w;
    if (!og_window_read(&w, n, &m->g->values[n->in[0]]->type, NULL))
        return false;
    for (int k = 0; k < w.n; k++)
        if (w.dilations[k] > 1 && (w.pads[k] || w.pads[k + w.n]))
            return false;
    return true;
}

bool og__pattern_pool(const og_match *m, og_rewrite *rw, const og_node *n)
{
    if (!og_op_is(n->op, NULL, "MaxPool") || (n->n_out > 1 && n->out[1] >= 0 && m->uses[n->out[1]]))
        return false;
    const og_node *relu = og_match_inner(m, n->in[0], "Relu");
    if (!relu || !never_empty(m, n))
        return false;
    og_graph *to = rw->to;
    og_val y = og_ops_like(OG_HERE, "MaxPool", 1, In(og_rewrite_value(rw, relu->in[0])), n).y[0];
    to->origin = relu->origin;
    og_rewrite_set(rw, n->out[0], Relu(y));
    return true;
}
