/* ONNX's own Gradient nodes, and the optimizers beside them, in simpler ops: what a model's own
 * algorithm is made of. Prepared graphs only, as for autodiff.c. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

static void write_gradient(og_rewrite *rw, const og_node *n)
{
    og_graph *g = rw->to;
    og_val *x = og_arena_array(g->arena, (size_t)n->n_out, sizeof(*x));
    og_val *dx = og_arena_array(g->arena, (size_t)n->n_out, sizeof(*dx));
    og_val y = og_rewrite_value(rw, n->in[n->n_in - 1]);
    if (!x || !dx) {
        og_fail_memory(&g->error, sizeof(*x), "gradients");
        return;
    }
    for (int i = 0; i < n->n_out; i++)
        x[i] = og_rewrite_value(rw, n->in[i]);
    og_autodiff(g, y, og_full(g, og_type_of(y), 1), x, n->n_out, dx);
    for (int i = 0; i < n->n_out && g->error.status == OG_OK; i++)
        if (n->out[i] >= 0)
            og_rewrite_set(rw, n->out[i], dx[i].g ? dx[i] : og_full(g, og_type_of(x[i]), 0));
}

og_graph *og_pass_gradients(og_graph *g)
{
    og_rewrite rw;
    if (!og_rewrite_begin(&rw, g))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        bool preview = n->op->domain && strcmp(n->op->domain, OG_TRAINING_DOMAIN) == 0;
        if (!rw.live[i])
            continue;
        if (og_op_is(n->op, OG_TRAINING_DOMAIN, "Gradient"))
            write_gradient(&rw, n);
        else if (preview && n->op->expand)
            og_rewrite_expand(&rw, n);
        else
            og_rewrite_copy(&rw, n);
    }
    return og_rewrite_end(&rw);
}
