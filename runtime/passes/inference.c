/* inference form: ops that compute something else in training (BatchNormalization, Dropout) in the
 * form for evaluation, whatever mode they were exported in. Random ops that remain draw the same
 * numbers in every run. */
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

og_graph *og_pass_inference_form(og_graph *g)
{
    og_rewrite rw;
    if (!og_rewrite_begin(&rw, g))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        if (!rw.live[i])
            continue;
        if (n->op->evaluate) {
            og_rewrite_evaluate(&rw, n);
        } else if (n->op->flags & OG_RANDOM && n->op->expand) {
            rw.position = og_const_ints(rw.to, 3, (int64_t[3]){0});
            og_rewrite_expand(&rw, n);
        } else {
            og_rewrite_copy(&rw, n);
        }
    }
    return og_rewrite_end(&rw);
}
