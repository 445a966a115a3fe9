/* A transpose of the last two axes, of a tensor whose leading axes are merged for it and split
 * again after, as PyTorch's exporter writes the keys of attention:
 *     [a, b, m, n] → [a b, m, n] → [a b, n, m] → [a, b, n, m]
 * becomes one Transpose, which costs no copy where the merged form is not a view. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

bool og__pattern_transpose(const og_match *m, og_rewrite *rw, const og_node *n)
{
    if (!og_op_is(n->op, NULL, "Reshape"))
        return false;
    const og_node *transpose = og_match_inner(m, n->in[0], "Transpose");
    const og_node *merge = transpose ? og_match_inner(m, transpose->in[0], "Reshape") : NULL;
    const int64_t *perm;
    if (!merge || og_attr_ints(transpose, "perm", &perm) != 3 || perm[0] != 0 || perm[1] != 2)
        return false;
    const og_type *x = &m->g->values[merge->in[0]]->type, *y = &m->g->values[n->out[0]]->type,
                  *merged = &m->g->values[merge->out[0]]->type;
    int lead = x->rank - 2;
    if (lead < 1 || y->rank != x->rank ||
        memcmp(x->dims, y->dims, sizeof(int64_t) * (size_t)lead) != 0 ||
        merged->dims[1] != x->dims[lead] || merged->dims[2] != x->dims[lead + 1] ||
        y->dims[lead] != x->dims[lead + 1] || y->dims[lead + 1] != x->dims[lead])
        return false;
    og_rewrite_set(rw, n->out[0], SwapLast(og_rewrite_value(rw, merge->in[0])));
    return true;
}
