/* legalize: a composite or internal op stays if the device has a kernel that supports it, else it
 * is expanded; what has neither is reported, all of it at once. A node of half types that has a
 * kernel, or one better than the plain one, only in float32 is computed in that, between casts. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

#define MAX_ROUNDS 16

/* A call with dense tensors, as far as it is known before layouts are. widened: with float32 for
 * half types, whose constants are not known then. */
static const og_kernel *dense_kernel(const og_graph *g, const og_device *device, const og_node *n,
                                     bool widened, og_call *call)
{
    size_t nx = (size_t)n->n_in + 1, ny = (size_t)n->n_out + 1;
    *call = (og_call){.node = n, .device = device, .nx = n->n_in, .ny = n->n_out};
    call->x = og_arena_array(g->arena, nx, sizeof(og_tensor));
    call->y = og_arena_array(g->arena, ny, sizeof(og_tensor));
    if (!call->x || !call->y)
        return NULL;
    for (int i = 0; i < n->n_in; i++) {
        const og_value *v = og_graph_value(g, n->in[i]);
        if (!v)
            continue;
        bool known = v->kind == OG_VALUE_CONST && !(widened && og_dtype_is_half(v->type.dtype));
        call->x[i] = og_tensor_dense(&v->type, known ? (void *)(uintptr_t)v->data : NULL);
    }
    for (int i = 0; i < n->n_out; i++)
        call->y[i] = og_tensor_dense(&g->values[n->out[i]]->type, NULL);
    for (int i = 0; widened && i < n->n_in; i++)
        if (og_dtype_is_half(call->x[i].type.dtype))
            call->x[i].type.dtype = OG_FLOAT;
    for (int i = 0; widened && i < n->n_out; i++)
        if (og_dtype_is_half(call->y[i].type.dtype))
            call->y[i].type.dtype = OG_FLOAT;
    return og_device_kernel(device, call, false);
}

static bool has_half(const og_graph *g, const og_node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && og_dtype_is_half(g->values[n->in[i]]->type.dtype))
            return true;
    return false;
}

/* Is the node's kernel in float32 better than the one for its half types? */
static bool better_wide(const og_graph *g, const og_device *device, const og_node *n)
{
    og_call call;
    if (!has_half(g, n))
        return false;
    const og_kernel *half = dense_kernel(g, device, n, false, &call);
    if (half && !(half->flags & OG_KERNEL_REFERENCE))
        return false;
    const og_kernel *wide = dense_kernel(g, device, n, true, &call);
    return wide && (!half || !(wide->flags & OG_KERNEL_REFERENCE));
}

/* The node in float32, between casts. */
static void widen(og_rewrite *rw, const og_node *n)
{
    og_graph *to = rw->to;
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    if (!in) {
        og_fail_memory(&to->error, sizeof(int), "the legalize pass");
        return;
    }
    to->origin = n->origin;
    for (int i = 0; i < n->n_in; i++) {
        og_val x = og_rewrite_value(rw, n->in[i]);
        in[i] = x.g && og_dtype_is_half(DType(x)) ? Cast(x, OG_FLOAT).id : x.id;
    }
    to->origin = n->origin;
    const og_node *wide =
        og_graph_add_node(to, n->op, n->name, in, n->n_in, n->n_out, n->attrs, n->n_attrs);
    for (int k = 0; wide && k < n->n_out; k++) {
        og_val y = og_val_of(to, wide->out[k]);
        og_dtype dtype = rw->from->values[n->out[k]]->type.dtype;
        og_rewrite_set(rw, n->out[k],
                       og_dtype_is_half(dtype) && DType(y) != dtype ? Cast(y, dtype) : y);
    }
}

/* device NULL: standard ops stay, internal ones expand. last: what would still have to be expanded
 * is reported. */
static og_graph *expand_round(og_graph *g, const og_device *device, bool last, bool *changed,
                              og_error *report)
{
    og_rewrite rw;
    if (!og_rewrite_begin(&rw, g))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        og_call call;
        if (!rw.live[i])
            continue;
        bool keep = device ? n->op->view || dense_kernel(g, device, n, false, &call)
                           : !n->op->domain || strcmp(n->op->domain, OG_DOMAIN) != 0;
        if (device && !n->op->view && better_wide(g, device, n)) {
            widen(&rw, n);
            *changed = true;
        } else if (keep) {
            og_rewrite_copy(&rw, n);
        } else if (n->op->expand && !last) {
            og_rewrite_expand(&rw, n);
            *changed = true;
        } else {
            char text[256], type[160];
            const og_value *v =
                n->n_in && n->in[0] >= 0 ? g->values[n->in[0]] : g->values[n->out[0]];
            og_fail_also(report, OG_UNSUPPORTED, "%s: %s has no kernel for %s %s",
                         og_node_text(text, n), n->op->name, og_type_text(type, g, &v->type),
                         device ? device->name : "in standard ONNX");
            og_rewrite_copy(&rw, n);
        }
    }
    return og_rewrite_end(&rw);
}

/* Ops that define each other, as ConvTranspose and ConvGradData, MaxPool and MaxPoolTraining, end
 * where the device has a kernel for one of them, or with the last round. */
static og_graph *expand_all(og_graph *g, const og_device *device)
{
    bool changed = true;
    for (int i = 0; changed && i < MAX_ROUNDS; i++) {
        og_error report = {0};
        changed = false;
        og_graph *next = expand_round(g, device, i + 1 == MAX_ROUNDS, &changed, &report);
        if (!next) {
            og_error_clear(&report);
            return NULL;
        }
        og_error_move(&next->error, &report);
        if (next->error.status != OG_OK)
            return next;
        g = next;
    }
    if (changed)
        og_fail(&g->error, OG_INTERNAL, "definitions do not end after %d rounds", MAX_ROUNDS);
    return g;
}

og_graph *og_pass_legalize(og_graph *g, const og_device *device)
{
    return expand_all(g, device);
}

og_graph *og_pass_standardize(og_graph *g)
{
    return expand_all(g, NULL);
}
