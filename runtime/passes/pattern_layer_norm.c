/* Layer normalization over the last axes written out, as exporters do below opset 17:
 *     d = x - mean(x),  y = d / √(mean(d²) + ε) · scale + bias
 * becomes LayerNormalization, which has a kernel and a gradient of its own. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* value = (x - mean x) / √(mean((x - mean x)²) + ε): x; else -1. */
static int normalized(const og_match *m, int value, og_match_norm *norm)
{
    int d = m->uses[value] == 1 ? og_match_normalized(m, value, norm) : -1, axis;
    const og_node *sub = d < 0 ? NULL : og_match_node(m, d, "Sub");
    return sub && og_match_mean(m, sub->in[1], &axis) == sub->in[0] && axis == norm->axis
               ? sub->in[0]
               : -1;
}

bool og__pattern_layer_norm(const og_match *m, og_rewrite *rw, const og_node *n)
{
    if (!og_op_is(n->op, NULL, "Add"))
        return false;
    for (int k = 0; k < 2; k++) {
        const og_node *scaled = og_match_inner(m, n->in[k], "Mul");
        for (int j = 0; scaled && j < 2; j++) {
            og_match_norm norm;
            int bias = n->in[1 - k], scale = scaled->in[1 - j];
            int x = normalized(m, scaled->in[j], &norm);
            if (x < 0 || !og_match_has_last_dims(m, scale, x, norm.axis) ||
                !og_match_has_last_dims(m, bias, x, norm.axis))
                continue;
            og_rewrite_set(rw, n->out[0],
                           Op("LayerNormalization",
                              In(og_rewrite_value(rw, x), og_rewrite_value(rw, scale),
                                 og_rewrite_value(rw, bias)),
                              I("axis", norm.axis), F("epsilon", norm.epsilon)));
            return true;
        }
    }
    return false;
}
