/* prepare: the forward graph in the form that is trained.
 *
 * - BatchNormalization whose statistics are state is computed from the batch, however it was
 * exported, and its running statistics are staged: micro-batches update the staged ones, `update`
 * commits them. Staging follows PyTorch (unbiased variance); the op's own outputs, where a graph
 * reads them, follow ONNX (biased).
 * - Random ops are replaced by their definitions, which draw from the step's random position.
 * - A node on the way from a trained parameter whose op has no gradient rule is replaced by its
 * definition.
 * - Outputs that a gradient rule reads are made present. */
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

#define MAX_ROUNDS 16 /* definitions nest a few levels deep */

/* By value: depends on a trained parameter. */
static bool *trained_values(og_graph *g, const og_storages *storages)
{
    bool *needs = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    if (!needs) {
        og_fail_memory(&g->error, (size_t)g->n_values, "the prepare pass");
        return NULL;
    }
    for (int i = 0; i < g->n_states; i++)
        needs[g->states[i].in] = storages->items[g->states[i].storage].kind == OG_STORAGE_PARAMETER;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        bool any = false;
        for (int k = 0; k < n->n_in; k++)
            any |= n->in[k] >= 0 && needs[n->in[k]];
        for (int k = 0; any && n->op->diff != OG_DIFF_ZERO && k < n->n_out; k++)
            needs[n->out[k]] = og_dtype_is_float(g->values[n->out[k]]->type.dtype);
    }
    return needs;
}

static bool is_buffer(const og_val v, const og_storages *storages)
{
    return v.g && og_value_of(v)->kind == OG_VALUE_STATE &&
           storages->items[og_value_of(v)->storage].kind == OG_STORAGE_BUFFER;
}

/* running' = momentum · running + (1 − momentum) · batch */
static og_val blend(og_val running, og_val batch, double momentum)
{
    return Add(Mul(running, Scalar(running, momentum)), Mul(batch, Scalar(batch, 1 - momentum)));
}

static void stage(og_graph *g, og_storages *storages, og_val buffer, og_val batch, double momentum)
{
    og_val staged =
        og_storage_derived(g, storages, OG_STORAGE_STAGED, og_value_of(buffer)->storage, "staged");
    if (!staged.g)
        return;
    og_val old = staged; /* two nodes that share statistics: the later one blends into the earlier
                            one's result */
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].in == staged.id && g->states[i].out >= 0)
            old = og_val_of(g, g->states[i].out);
    og_graph_set_state(g, staged, blend(old, batch, momentum));
}

static void train_batch_normalization(og_rewrite *rw, const og_node *n, og_storages *storages)
{
    og_graph *g = rw->to;
    og_val x = og_rewrite_value(rw, n->in[0]), scale = og_rewrite_value(rw, n->in[1]),
           bias = og_rewrite_value(rw, n->in[2]), mean = og_rewrite_value(rw, n->in[3]),
           var = og_rewrite_value(rw, n->in[4]);
    double momentum = og_attr_float(n, "momentum", 0.9);
    g->origin = n->origin;
    og_outs t = Ops(OG_DOMAIN "::BatchNormalizationTraining", 4, In(x, scale, bias),
                    F("epsilon", og_attr_float(n, "epsilon", 1e-5)));
    og_rewrite_set(rw, n->out[0], t.y[0]);
    double count = Dim(x, 1) > 0 ? (double)Count(x) / (double)Dim(x, 1) : 0;
    if (count < 2) {
        og_node_fail(g, n, OG_INVALID_ARGUMENT,
                     "trains on %g value a channel; batch statistics need at least 2 (a larger "
                     "batch, or --freeze_bn)",
                     count);
        return;
    }
    og_val unbiased = Mul(t.y[2], Scalar(t.y[2], count / (count - 1)));
    stage(g, storages, mean, t.y[1], momentum);
    stage(g, storages, var, unbiased, momentum);
    if (n->n_out > 1)
        og_rewrite_set(rw, n->out[1], blend(mean, t.y[1], momentum));
    if (n->n_out > 2)
        og_rewrite_set(rw, n->out[2], blend(var, t.y[2], momentum));
}

/* The node again with all outputs its gradient reads. */
static void add_saved_outputs(og_rewrite *rw, const og_node *n)
{
    og_graph *g = rw->to;
    int in[256];
    for (int i = 0; i < n->n_in; i++)
        in[i] = og_rewrite_value(rw, n->in[i]).id;
    g->origin = n->origin;
    og_node *copy =
        og_graph_add_node(g, n->op, n->name, in, n->n_in, n->op->saved, n->attrs, n->n_attrs);
    for (int i = 0; copy && i < n->n_out; i++)
        og_rewrite_set(rw, n->out[i], og_val_of(g, copy->out[i]));
}

/* Where the session says which update and micro-batch this is: int64 [3]. */
static og_val random_position(og_graph *g, og_storages *storages)
{
    og_type type = {.dtype = OG_INT64, .rank = 1, .dims = {3}};
    return og_storage_state(g, storages, OG_STORAGE_SCALAR, OG_STATE_POSITION, &type, NULL, 0);
}

static og_graph *round_of(og_graph *g, og_storages *storages, int64_t *next_key, bool *changed)
{
    bool *needs = trained_values(g, storages);
    og_rewrite rw;
    if (!needs || !og_rewrite_begin(&rw, g))
        return NULL;
    rw.next_key = *next_key;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        if (!rw.live[i])
            continue;
        bool needed = false;
        for (int k = 0; k < n->n_out; k++)
            needed |= needs[n->out[k]];
        if (og_op_is(n->op, NULL, "BatchNormalization") && n->n_in == 5 &&
            is_buffer(og_rewrite_value(&rw, n->in[3]), storages) &&
            is_buffer(og_rewrite_value(&rw, n->in[4]), storages)) {
            train_batch_normalization(&rw, n, storages);
            *changed = true;
        } else if (n->op->flags & OG_RANDOM && n->op->expand) {
            rw.position = random_position(rw.to, storages);
            og_rewrite_expand(&rw, n);
            *changed = true;
        } else if (needed && !n->op->grad && n->op->expand && n->op->diff == OG_DIFF_MISSING) {
            og_rewrite_expand(&rw, n);
            *changed = true;
        } else if (needed && n->op->saved > n->n_out && n->n_in <= 256) {
            add_saved_outputs(&rw, n);
        } else {
            og_rewrite_copy(&rw, n);
        }
    }
    *next_key = rw.next_key;
    return og_rewrite_end(&rw);
}

og_graph *og_pass_prepare(og_graph *g, og_storages *storages)
{
    bool changed = true;
    int64_t next_key = 0;
    for (int i = 0; changed && i < MAX_ROUNDS; i++) {
        changed = false;
        og_graph *next = round_of(g, storages, &next_key, &changed);
        if (!next || next->error.status != OG_OK)
            return next;
        g = next;
    }
    if (changed)
        og_fail(&g->error, OG_INTERNAL, "definitions do not end after %d rounds", MAX_ROUNDS);
    return g;
}
