/* inference form: BatchNormalization uses its running statistics, whatever mode it was exported in.
 */
#include <string.h>

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
        if (!og_op_is(n->op, NULL, "BatchNormalization") || !og_attr_int(n, "training_mode", 0)) {
            og_rewrite_copy(&rw, n);
            continue;
        }
        og_attr attrs[16];
        int in[5], n_attrs = 0;
        for (int k = 0; k < n->n_attrs && n_attrs < 16; k++)
            if (strcmp(n->attrs[k].name, "training_mode") != 0)
                attrs[n_attrs++] = n->attrs[k];
        for (int k = 0; k < 5; k++)
            in[k] = og_rewrite_value(&rw, n->in[k]).id;
        rw.to->origin = n->origin;
        og_node *y = og_graph_add_node(rw.to, n->op, n->name, in, 5, 1, attrs, n_attrs);
        if (!y)
            break;
        og_rewrite_set(&rw, n->out[0], og_val_of(rw.to, y->out[0]));
        for (int k = 1; k < n->n_out && k < 3; k++) /* running statistics stay as they are */
            og_rewrite_set(&rw, n->out[k], og_val_of(rw.to, in[2 + k]));
    }
    return og_rewrite_end(&rw);
}
