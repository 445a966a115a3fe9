/* attach: a loaded graph that another one is joined to, before either is typed: a loss that is a
 * model reads the trained model's inputs and outputs as if it were a part of it, and every later
 * pass sees one graph. */
#include <string.h>

#include "runtime/passes/passes.h"

og_graph *og_graph_extend(const og_graph *loaded, og_arena *arena)
{
    og_graph *g = og_graph_new_in(arena);
    if (!g)
        return NULL;
    *g = *loaded;
    g->arena = arena;
    g->error = (og_error){0};
    g->owns_arena = false;
    g->defer = true;
    /* The lists are shared as far as they go: full ones are copied before they grow. */
    g->cap_nodes = (size_t)g->n_nodes;
    g->cap_values = (size_t)g->n_values;
    g->cap_inputs = (size_t)g->n_inputs;
    g->cap_outputs = (size_t)g->n_outputs;
    g->cap_states = (size_t)g->n_states;
    g->cap_symbols = (size_t)g->n_symbols;
    g->cap_metadata = (size_t)g->n_metadata;
    return g;
}

static void attach_node(og_graph *g, const og_node *n, int *map)
{
    int *in = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(int));
    if (!in) {
        og_fail_memory(&g->error, sizeof(int), "a loss model");
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        in[i] = n->in[i] < 0 ? -1 : map[n->in[i]];
    og_origin origin = n->origin ? *n->origin : (og_origin){.node = n->name, .op = n->op->name};
    origin.role = OG_ROLE_LOSS;
    og_graph_set_origin(g, &origin);
    og_node *copy =
        og_graph_add_node(g, n->op, n->name, in, n->n_in, n->n_out, n->attrs, n->n_attrs);
    for (int i = 0; copy && i < n->n_out; i++)
        map[n->out[i]] = copy->out[i];
}

void og_graph_attach(og_graph *g, const og_graph *other, const int *inputs, const char *prefix,
                     int *map)
{
    for (int i = 0; i < other->n_values; i++)
        map[i] = -1;
    for (int i = 0; i < other->n_inputs; i++)
        map[other->inputs[i]] = inputs[i];
    for (int i = 0; i < other->n_values && g->error.status == OG_OK; i++) {
        const og_value *v = other->values[i];
        if (v->kind != OG_VALUE_CONST || map[i] >= 0)
            continue;
        const char *name = *v->name ? og_arena_printf(g->arena, "%s%s", prefix, v->name) : "";
        if (name)
            map[i] = og_graph_add_const(g, name, &v->type, v->data).id;
        else
            og_fail_memory(&g->error, strlen(v->name), "a loss model");
    }
    for (int i = 0; i < other->n_nodes && g->error.status == OG_OK; i++)
        attach_node(g, other->nodes[i], map);
}
