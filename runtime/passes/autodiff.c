/* Reverse-mode differentiation: walks the nodes backwards from y, asks each row's `grad` for the
 * inputs' gradients, undoes broadcasting and sums contributions. Gradient nodes are appended to the
 * same graph, in the origin of the node they differentiate. Prepared graphs only (prepare.c): every
 * node on the way has a rule. */
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

typedef struct autodiff {
    og_graph *g;
    int n_values; /* before gradients were added */
    bool *needs;  /* by value: depends on one of x */
    og_val *grad; /* by value: the sum of contributions so far */
} autodiff;

static void mark_needs(autodiff *a, const og_val *x, int n, int n_nodes)
{
    for (int i = 0; i < n; i++)
        a->needs[x[i].id] = true;
    for (int i = 0; i < n_nodes; i++) {
        const og_node *node = a->g->nodes[i];
        if (node->op->diff == OG_DIFF_ZERO)
            continue;
        bool any = false;
        for (int k = 0; k < node->n_in; k++)
            any |= node->in[k] >= 0 && a->needs[node->in[k]];
        for (int k = 0; any && k < node->n_out; k++)
            a->needs[node->out[k]] = og_dtype_is_float(a->g->values[node->out[k]]->type.dtype);
    }
}

static void contribute(autodiff *a, const og_node *n, int value, og_val dx)
{
    og_graph *g = a->g;
    const og_type *t = &g->values[value]->type;
    if (DType(dx) != t->dtype) {
        og_node_fail(g, n, OG_INTERNAL, "its gradient is %s for a %s input",
                     og_dtype_name(DType(dx)), og_dtype_name(t->dtype));
        return;
    }
    if (!og_type_equal(og_type_of(dx), t))
        dx = og_sum_to(OG_HERE, dx, t);
    a->grad[value] = a->grad[value].g ? Add(a->grad[value], dx) : dx;
}

static void differentiate(autodiff *a, const og_node *n)
{
    og_graph *g = a->g;
    bool any_dy = false, any_need = false;
    for (int i = 0; i < n->n_out; i++)
        any_dy |= a->grad[n->out[i]].g != NULL;
    for (int i = 0; i < n->n_in; i++)
        any_need |= n->in[i] >= 0 && a->needs[n->in[i]];
    if (!any_dy || !any_need || n->op->diff == OG_DIFF_ZERO)
        return;
    if (!n->op->grad) {
        og_node_fail(g, n, OG_UNSUPPORTED,
                     n->op->diff == OG_DIFF_NEVER
                         ? "is not differentiable, and trained values flow through it"
                         : "has no gradient yet, and trained values flow through it");
        return;
    }
    size_t nx = (size_t)n->n_in + 1, ny = (size_t)n->n_out + 1;
    og_val *x = og_arena_array(g->arena, nx, sizeof(og_val));
    og_val *dx = og_arena_array(g->arena, nx, sizeof(og_val));
    bool *need = og_arena_array(g->arena, nx, sizeof(bool));
    og_val *y = og_arena_array(g->arena, ny, sizeof(og_val));
    og_val *dy = og_arena_array(g->arena, ny, sizeof(og_val));
    if (!x || !dx || !need || !y || !dy) {
        og_fail_memory(&g->error, nx * sizeof(og_val), "gradients");
        return;
    }
    og_origin o = n->origin ? *n->origin : (og_origin){.node = n->name, .op = n->op->name};
    o.role = OG_ROLE_GRADIENT;
    og_graph_set_origin(g, &o);
    for (int i = 0; i < n->n_in; i++) {
        x[i] = og_val_of(g, n->in[i]);
        dx[i] = OG_NONE;
        need[i] = n->in[i] >= 0 && a->needs[n->in[i]];
    }
    for (int i = 0; i < n->n_out; i++) {
        const og_type *t = &g->values[n->out[i]]->type;
        y[i] = og_val_of(g, n->out[i]);
        dy[i] = a->grad[n->out[i]];
        if (!dy[i].g && og_dtype_is_float(t->dtype))
            dy[i] = og_full(g, t, 0);
    }
    og_grad d = {.g = g,
                 .node = n,
                 .nx = n->n_in,
                 .ny = n->n_out,
                 .x = x,
                 .y = y,
                 .dy = dy,
                 .need = need,
                 .dx = dx};
    n->op->grad(&d);
    for (int i = 0; i < n->n_in && g->error.status == OG_OK; i++)
        if (need[i] && dx[i].g)
            contribute(a, n, n->in[i], dx[i]);
}

bool og_autodiff(og_graph *g, og_val y, og_val dy, const og_val *x, int n, og_val *dx)
{
    int n_nodes = g->n_nodes;
    autodiff a = {.g = g, .n_values = g->n_values};
    a.needs = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(bool));
    a.grad = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(og_val));
    if (!a.needs || !a.grad) {
        og_fail_memory(&g->error, sizeof(og_val) * (size_t)g->n_values, "gradients");
        return false;
    }
    mark_needs(&a, x, n, n_nodes);
    a.grad[y.id] = dy;
    for (int i = n_nodes - 1; i >= 0 && g->error.status == OG_OK; i--)
        differentiate(&a, g->nodes[i]);
    for (int i = 0; i < n; i++)
        dx[i] = a.grad[x[i].id];
    return g->error.status == OG_OK;
}
