/* whole: nodes that a device's library computes as a whole, with a gradient that is whole, too
 * (og_op.whole), become the ops of that name, before gradients are taken. The device says whether
 * it does, and how many bytes it keeps for the way back. */
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

/* The kernel of `whole` for what the node reads; NULL: none that keeps anything. */
static const og_kernel *kernel_for(const og_graph *g, const og_device *device, const og_node *n,
                                   const og_op *whole, size_t *bytes)
{
    og_node node = *n;
    og_call call = {.node = &node, .device = device, .nx = n->n_in};
    if (!og_device_names(device, whole))
        return NULL;
    node.op = whole;
    call.x = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(og_tensor));
    if (!call.x)
        return NULL;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            call.x[i] = og_tensor_dense(&g->values[n->in[i]]->type, NULL);
    const og_kernel *kernel = og_device_kernel(device, &call, false);
    if (!kernel || !kernel->reserve_bytes)
        return NULL;
    *bytes = kernel->reserve_bytes(&call);
    return kernel;
}

/* Does anybody read what only the op itself saves? */
static bool saves_read(const og_match *m, const og_node *n, const og_op *whole)
{
    for (int k = whole->max_out - 1; k < n->n_out; k++)
        if (m->uses[n->out[k]] > 0)
            return true;
    return false;
}

static void replace(og_rewrite *rw, const og_node *n, const og_op *whole, size_t bytes)
{
    og_graph *to = rw->to;
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    og_attr *attrs = og_arena_array(to->arena, (size_t)n->n_attrs + 1, sizeof(og_attr));
    if (!in || !attrs) {
        og_fail_memory(&to->error, sizeof(og_attr), "the whole pass");
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        in[i] = og_rewrite_value(rw, n->in[i]).id;
    for (int i = 0; i < n->n_attrs; i++)
        attrs[i] = n->attrs[i];
    attrs[n->n_attrs] =
        (og_attr){.name = "reserve_bytes", .kind = OG_ATTR_INT, .i = (int64_t)bytes};
    to->origin = n->origin;
    const og_node *made =
        og_graph_add_node(to, whole, n->name, in, n->n_in, whole->max_out, attrs, n->n_attrs + 1);
    for (int k = 0; made && k < n->n_out && k + 1 < whole->max_out; k++)
        og_rewrite_set(rw, n->out[k], og_val_of(to, made->out[k]));
}

og_graph *og_pass_whole(og_graph *g, const og_device *device)
{
    og_rewrite rw;
    og_match m;
    if (!og_rewrite_begin(&rw, g) || !og_match_begin(&m, g, rw.live))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        const og_op *whole = n->op->whole ? og_op_find(OG_DOMAIN, n->op->whole) : NULL;
        size_t bytes = 0;
        if (!rw.live[i])
            continue;
        if (whole && m.stateful[n->out[0]] && !saves_read(&m, n, whole) &&
            kernel_for(g, device, n, whole, &bytes))
            replace(&rw, n, whole, bytes);
        else
            og_rewrite_copy(&rw, n);
    }
    return og_rewrite_end(&rw);
}
