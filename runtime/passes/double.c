/* double: the same graph in float64, for finite differences and for comparing kernels with
 * something better than themselves. States become inputs, in the order of g->states, after the
 * inputs the graph had. */
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

static og_type widened(const og_type *t)
{
    og_type w = *t;
    if (w.dtype == OG_FLOAT)
        w.dtype = OG_DOUBLE;
    return w;
}

static og_val widened_constant(og_graph *to, const og_value *v)
{
    if (v->type.dtype != OG_FLOAT)
        return og_graph_add_const(to, v->name, &v->type, v->data);
    og_type type = widened(&v->type);
    int64_t n = og_type_elements(&v->type);
    double *data = og_arena_array(to->arena, (size_t)n + 1, sizeof(double));
    if (!data) {
        og_fail_memory(&to->error, (size_t)n * sizeof(double), "a constant in double");
        return OG_NONE;
    }
    for (int64_t i = 0; i < n; i++)
        data[i] = ((const float *)v->data)[i];
    return og_graph_add_const(to, v->name, &type, data);
}

static void copy_node(og_graph *to, const og_node *n, int *map)
{
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    og_attr *attrs = og_arena_copy(to->arena, n->attrs, sizeof(og_attr) * (size_t)n->n_attrs);
    if (!in || (n->n_attrs && !attrs)) {
        og_fail_memory(&to->error, sizeof(int), "the double pass");
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        in[i] = n->in[i] < 0 ? -1 : map[n->in[i]];
    for (int i = 0; i < n->n_attrs; i++) /* a cast to float is one to double */
        if (attrs[i].kind == OG_ATTR_INT && attrs[i].i == OG_FLOAT && og_op_is(n->op, NULL, "Cast"))
            attrs[i].i = OG_DOUBLE;
    to->origin = n->origin;
    og_node *copy = og_graph_add_node(to, n->op, n->name, in, n->n_in, n->n_out, attrs, n->n_attrs);
    for (int i = 0; copy && i < n->n_out; i++) { /* ops that always make float32 are cast */
        og_val y = og_val_of(to, copy->out[i]);
        map[n->out[i]] = og_type_of(y)->dtype == OG_FLOAT ? Cast(y, OG_DOUBLE).id : y.id;
    }
}

og_graph *og_pass_double(og_graph *g)
{
    og_graph *to = og_graph_new_in(g->arena);
    int *map = og_arena_array(g->arena, (size_t)g->n_values + 1, sizeof(int));
    if (!to || !map)
        return NULL;
    for (int i = 0; i < g->n_inputs; i++) {
        const og_value *v = g->values[g->inputs[i]];
        og_type t = widened(&v->type);
        map[v->id] = og_graph_add_input(to, v->name, &t).id;
    }
    for (int i = 0; i < g->n_states; i++) {
        const og_value *v = g->values[g->states[i].in];
        og_type t = widened(&v->type);
        map[v->id] = og_graph_add_input(to, v->name, &t).id;
    }
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->kind == OG_VALUE_CONST)
            map[i] = widened_constant(to, g->values[i]).id;
    for (int i = 0; i < g->n_nodes && to->error.status == OG_OK; i++)
        copy_node(to, g->nodes[i], map);
    for (int i = 0; i < g->n_outputs; i++)
        og_graph_add_output(to, g->outputs[i].name, og_val_of(to, map[g->outputs[i].value]));
    return to;
}
