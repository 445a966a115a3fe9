/* follow: two graphs that run one after the other as one, such as a micro-batch and its update. */
#include <string.h>

#include "runtime/passes/passes.h"

static og_state *find_state(og_graph *g, int storage)
{
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].storage == storage)
            return &g->states[i];
    return NULL;
}

/* What `next` reads of a state: what g made of it. */
static int state_before(og_graph *g, const og_value *v)
{
    const og_state *s = find_state(g, v->storage);
    if (!s)
        return og_graph_add_state(g, v->name, &v->type, v->storage, v->data).id;
    return s->out >= 0 ? s->out : s->in;
}

static void add_value(og_graph *g, const og_value *v, int *map)
{
    if (v->kind == OG_VALUE_INPUT)
        map[v->id] = og_graph_add_input(g, v->name, &v->type).id;
    else if (v->kind == OG_VALUE_CONST)
        map[v->id] = og_graph_add_const(g, v->name, &v->type, v->data).id;
    else if (v->kind == OG_VALUE_STATE)
        map[v->id] = state_before(g, v);
}

static void add_node(og_graph *g, const og_graph *next, const og_node *n, int *map)
{
    int *in = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(int));
    og_type *types = og_arena_array(g->arena, (size_t)n->n_out + 1, sizeof(*types));
    if (!in || !types) {
        og_fail_memory(&g->error, sizeof(*types), "a graph");
        return;
    }
    for (int i = 0; i < n->n_in; i++)
        in[i] = n->in[i] < 0 ? -1 : map[n->in[i]];
    for (int i = 0; i < n->n_out; i++)
        if (n->out[i] >= 0)
            types[i] = next->values[n->out[i]]->type;
    g->origin = n->origin;
    const og_node *copy = og_graph_add_typed_node(g, n->op, n->name, in, n->n_in, types, n->n_out,
                                                  n->attrs, n->n_attrs);
    for (int i = 0; copy && i < n->n_out; i++)
        if (n->out[i] >= 0)
            map[n->out[i]] = copy->out[i];
}

og_graph *og_pass_follow(og_graph *g, const og_graph *next)
{
    int *map = og_arena_array(g->arena, (size_t)next->n_values + 1, sizeof(int));
    if (!map) {
        og_fail_memory(&g->error, sizeof(int), "a graph");
        return g;
    }
    g->n_outputs = 0;
    for (int i = 0; i < next->n_values && g->error.status == OG_OK; i++)
        add_value(g, next->values[i], map);
    for (int i = 0; i < next->n_nodes && g->error.status == OG_OK; i++)
        add_node(g, next, next->nodes[i], map);
    for (int i = 0; i < next->n_outputs && g->error.status == OG_OK; i++)
        og_graph_add_output(g, next->outputs[i].name, og_val_of(g, map[next->outputs[i].value]));
    for (int i = 0; i < next->n_states && g->error.status == OG_OK; i++)
        if (next->states[i].out >= 0)
            find_state(g, next->states[i].storage)->out = map[next->states[i].out];
    return g;
}
