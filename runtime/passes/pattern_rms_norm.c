/* Root mean square normalization over the last axes written out, as PyTorch's exporters do below
 * opset 23 and transformers' models do themselves:
 *     y = x / √(mean(x²) + ε) · scale, or without scale
 * becomes RMSNormalization, which has a kernel and a gradient of its own. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* One for each element of the normalized axes of x. */
static og_val ones(og_val x, int axis)
{
    og_type t = og_type_make(DType(x), Rank(x) - axis, og_type_of(x)->dims + axis);
    return og_full(x.g, &t, 1);
}

static void normalize(og_rewrite *rw, const og_node *n, int x, og_val scale, og_match_norm norm)
{
    og_rewrite_set(rw, n->out[0],
                   Op("RMSNormalization", In(og_rewrite_value(rw, x), scale), I("axis", norm.axis),
                      F("epsilon", norm.epsilon)));
}

/* A product with a scale is replaced whole; what replaced its factor is then left dead. */
bool og__pattern_rms_norm(const og_match *m, og_rewrite *rw, const og_node *n)
{
    og_match_norm norm;
    for (int k = 0; k < 2 && og_op_is(n->op, NULL, "Mul"); k++) {
        int scale = n->in[1 - k];
        int x = m->uses[n->in[k]] == 1 ? og_match_normalized(m, n->in[k], &norm) : -1;
        if (x >= 0 && og_match_has_last_dims(m, scale, x, norm.axis)) {
            normalize(rw, n, x, og_rewrite_value(rw, scale), norm);
            return true;
        }
    }
    int x = og_match_normalized(m, n->out[0], &norm);
    if (x >= 0)
        normalize(rw, n, x, ones(og_rewrite_value(rw, x), norm.axis), norm);
    return x >= 0;
}
