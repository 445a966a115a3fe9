/* eager: one node at a time, on plain kernels, allocating as it goes. For constant folding,
 * conformance tests and checks in double; never for training steps.
 *
 * An op without a kernel for its types is evaluated through its definition, in a graph of its own.
 */
#include <stdlib.h>

#include "runtime/exec/exec.h"

#define MAX_DEPTH 16

static bool evaluate(const og_device *device, og_graph *g, og_node *n, int depth);

static bool make_call(og_graph *g, og_node *n, const og_device *device, og_call *call)
{
    *call = (og_call){.node = n, .device = device, .nx = n->n_in, .ny = n->n_out};
    call->x = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(og_tensor));
    call->y = og_arena_array(g->arena, (size_t)n->n_out + 1, sizeof(og_tensor));
    if (!call->x || !call->y) {
        og_fail_memory(&g->error, sizeof(og_tensor), "evaluation");
        return false;
    }
    for (int i = 0; i < n->n_in; i++) {
        const og_value *v = og_graph_value(g, n->in[i]);
        if (v)
            call->x[i] = og_tensor_dense(&v->type, (void *)(uintptr_t)v->data);
    }
    for (int i = 0; i < n->n_out; i++)
        call->y[i] = og_tensor_dense(&g->values[n->out[i]]->type, NULL);
    return true;
}

static void become_constant(og_value *v, const void *data)
{
    v->kind = OG_VALUE_CONST;
    v->producer = NULL;
    v->data = data;
}

static bool run_kernel(og_graph *g, og_node *n, const og_kernel *kernel, og_call *call)
{
    for (int i = 0; i < n->n_out; i++) {
        int64_t bytes = og_type_bytes(&call->y[i].type);
        call->y[i].data = bytes < 0 ? NULL : og_arena_alloc(g->arena, (size_t)bytes + 64);
        if (!call->y[i].data) {
            og_fail_memory(&g->error, bytes < 0 ? SIZE_MAX : (size_t)bytes, "evaluation");
            return false;
        }
    }
    og_error error = {0};
    og_status status = kernel->prepare ? kernel->prepare(call, &error) : OG_OK;
    if (status == OG_OK && call->workspace_bytes) {
        call->workspace = aligned_alloc(256, (call->workspace_bytes + 255) / 256 * 256);
        if (!call->workspace)
            status = og_fail_memory(&error, call->workspace_bytes, "a workspace");
    }
    if (status == OG_OK)
        status = kernel->run(call, &error);
    if (kernel->release)
        kernel->release(call);
    free(call->workspace);
    if (status != OG_OK) {
        og_node_fail(g, n, status, "%s", og_error_text(&error));
        og_error_clear(&error);
        return false;
    }
    for (int i = 0; i < n->n_out; i++)
        become_constant(g->values[n->out[i]], call->y[i].data);
    return true;
}

/* Through the definition: its nodes are added behind `n` in the same graph, and evaluated. */
static bool run_definition(const og_device *device, og_graph *g, og_node *n, int depth)
{
    size_t nx = (size_t)n->n_in + 1, ny = (size_t)n->n_out + 1;
    og_val *x = og_arena_array(g->arena, nx, sizeof(og_val));
    og_val *y = og_arena_array(g->arena, ny, sizeof(og_val));
    bool *want = og_arena_array(g->arena, ny, sizeof(bool));
    if (!x || !y || !want) {
        og_fail_memory(&g->error, nx * sizeof(og_val), "evaluation");
        return false;
    }
    for (int i = 0; i < n->n_in; i++)
        x[i] = og_val_of(g, n->in[i]);
    for (int i = 0; i < n->n_out; i++)
        want[i] = true;
    int first = g->n_nodes;
    og_expand e = {.g = g, .node = n, .nx = n->n_in, .ny = n->n_out, .x = x, .y = y, .want = want};
    n->op->expand(&e);
    int end = g->n_nodes;
    for (int i = first; i < end && g->error.status == OG_OK; i++)
        if (!evaluate(device, g, g->nodes[i], depth + 1))
            return false;
    for (int i = 0; i < n->n_out && g->error.status == OG_OK; i++) {
        const og_value *v = y[i].g ? og_value_of(y[i]) : NULL;
        if (!v || v->kind != OG_VALUE_CONST ||
            !og_type_equal(&v->type, &g->values[n->out[i]]->type))
            return og_node_fail(g, n, OG_INTERNAL, "its definition does not give output %d", i);
        become_constant(g->values[n->out[i]], v->data);
    }
    return g->error.status == OG_OK;
}

static bool evaluate(const og_device *device, og_graph *g, og_node *n, int depth)
{
    og_call call;
    if (!make_call(g, n, device, &call))
        return false;
    const og_kernel *kernel = og_device_kernel(device, &call, true);
    if (!kernel)
        kernel = og_device_kernel(device, &call, false);
    if (kernel)
        return run_kernel(g, n, kernel, &call);
    if (n->op->expand && depth < MAX_DEPTH)
        return run_definition(device, g, n, depth);
    char type[160];
    return og_node_fail(g, n, OG_UNSUPPORTED, "%s has no plain kernel for %s", n->op->name,
                        n->n_in && n->in[0] >= 0 ? og_type_text(type, g, &g->values[n->in[0]]->type)
                                                 : "its type");
}

static bool eager_run(void *user, og_graph *g, og_node *n)
{
    return evaluate(user, g, n, 0);
}

og_evaluator og_eager_evaluator(const og_device *device)
{
    return (og_evaluator){.user = (void *)(uintptr_t)device, .run = eager_run};
}
