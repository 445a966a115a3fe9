/* x sigmoid(x), as exporters write SiLU below opset 24, becomes Swish, whose gradient keeps x
 * alone.
 */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

bool og__pattern_silu(const og_match *m, og_rewrite *rw, const og_node *n)
{
    for (int k = 0; k < 2 && og_op_is(n->op, NULL, "Mul"); k++) {
        const og_node *gate = og_match_inner(m, n->in[k], "Sigmoid");
        if (!gate || gate->in[0] != n->in[1 - k])
            continue;
        og_rewrite_set(rw, n->out[0], Op("Swish", In(og_rewrite_value(rw, gate->in[0]))));
        return true;
    }
    return false;
}
