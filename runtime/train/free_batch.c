/* A batch that an export baked in as a number was freed by the infer pass, which had to guess which
 * constants hold it. Here the guess is verified: two samples together must give what each of them
 * gives alone. */
#include "runtime/train/train.h"

og_status og__verify_free_batch(og_session *s)
{
    const og_graph *g = s->model->graph;
    if (!s->baked_batch || s->baked_batch == s->micro)
        return OG_OK;
    for (int i = 0; i < g->n_nodes; i++)
        if (og_op_is(g->nodes[i]->op, NULL, "BatchNormalization") &&
            og_attr_int(g->nodes[i], "training_mode", 0))
            return OG_OK; /* batch statistics tie samples together: nothing to compare */
    og_error *error = &s->context->error;
    og_arena *arena = og_arena_new();
    if (!arena)
        return og_fail_memory(error, 64, "the check of the freed batch");
    og__trials t;
    if (og__try_samples(s, g, &t, arena) == OG_OK) {
        bool good = true, known;
        for (int i = 0; i < g->n_outputs; i++)
            good &= og__trials_agree(&t, g->outputs[i].value, &known) && known;
        const og_node *tie = good ? NULL : og__first_tie(g, &t);
        char text[256];
        if (tie)
            og_fail(error, OG_UNSUPPORTED,
                    "%s: the model was exported for a batch of %lld and mixes samples here when "
                    "the batch changes; export it with a dynamic batch (torch.onnx.export(…, "
                    "dynamic_shapes={\"input\": {0: \"batch\"}}))",
                    og_node_text(text, tie), (long long)s->baked_batch);
        if (!good)
            og_fail(error, OG_UNSUPPORTED,
                    "the model was exported for a batch of %lld and does not work with another; "
                    "export it with a dynamic batch "
                    "(torch.onnx.export(…, dynamic_shapes={\"input\": {0: \"batch\"}})), or use "
                    "--batch_size %lld",
                    (long long)s->baked_batch, (long long)s->baked_batch);
    }
    og_arena_free(arena);
    return error->status;
}
