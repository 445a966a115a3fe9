/* A graph moved to another arena: what passes left behind on the way to it can then be freed. */
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/graph/program.h"

typedef struct copier {
    const og_graph *from;
    og_arena *arena;
    const og_origin *origin, *origin_copy; /* the last one, which the next node mostly shares */
    bool failed;
} copier;

static void *copy_bytes(copier *c, const void *bytes, size_t count, size_t size)
{
    if (!bytes)
        return NULL;
    void *copy = og_arena_array(c->arena, count, size);
    if (!copy)
        c->failed = true;
    else if (count)
        memcpy(copy, bytes, count * size);
    return copy;
}

static const char *copy_text(copier *c, const char *text)
{
    return text && *text ? copy_bytes(c, text, strlen(text) + 1, 1) : text;
}

/* Elements outside of the graph's arena stay where they are. */
static const void *copy_elements(copier *c, const og_type *type, const void *data)
{
    return data && og_arena_holds(c->from->arena, data)
               ? copy_bytes(c, data, (size_t)og_type_bytes(type), 1)
               : data;
}

static const og_const *copy_tensor(copier *c, const og_const *t)
{
    og_const *copy = copy_bytes(c, t, 1, sizeof(*t));
    if (copy)
        copy->data = copy_elements(c, &t->type, t->data);
    return copy;
}

static og_attr *copy_attrs(copier *c, const og_attr *attrs, int n)
{
    og_attr *copy = copy_bytes(c, attrs, (size_t)n, sizeof(*copy));
    for (int i = 0; copy && i < n; i++) {
        og_attr *a = &copy[i];
        size_t count = (size_t)a->n;
        a->name = copy_text(c, a->name);
        a->s = copy_text(c, a->s);
        a->t = copy_tensor(c, a->t);
        a->graph = a->graph ? og_graph_copy(a->graph, c->arena) : NULL;
        c->failed |= attrs[i].graph && !a->graph;
        a->floats = copy_bytes(c, a->floats, count, sizeof(*a->floats));
        a->ints = copy_bytes(c, a->ints, count, sizeof(*a->ints));
        const char **strings = copy_bytes(c, a->strings, count, sizeof(*strings));
        for (size_t k = 0; strings && k < count; k++)
            strings[k] = copy_text(c, strings[k]);
        a->strings = strings;
    }
    return copy;
}

static const og_origin *copy_origin(copier *c, const og_origin *origin)
{
    if (!origin || origin == c->origin)
        return origin ? c->origin_copy : NULL;
    og_origin *copy = copy_bytes(c, origin, 1, sizeof(*copy));
    if (!copy)
        return NULL;
    copy->node = copy_text(c, copy->node);
    copy->op = copy_text(c, copy->op); /* `file` is a literal */
    c->origin = origin;
    return c->origin_copy = copy;
}

static const og_program *copy_program(copier *c, const og_program *program)
{
    og_program *copy = copy_bytes(c, program, 1, sizeof(*copy));
    if (!copy)
        return NULL;
    copy->instr = copy_bytes(c, copy->instr, (size_t)copy->n_instr, sizeof(*copy->instr));
    copy->out = copy_bytes(c, copy->out, (size_t)copy->n_out, sizeof(*copy->out));
    return copy;
}

static og_node *copy_node(copier *c, const og_node *n)
{
    og_node *copy = copy_bytes(c, n, 1, sizeof(*copy));
    if (!copy)
        return NULL;
    copy->name = copy_text(c, n->name);
    copy->attrs = copy_attrs(c, n->attrs, n->n_attrs);
    copy->in = copy_bytes(c, n->in, (size_t)n->n_in, sizeof(int));
    copy->out = copy_bytes(c, n->out, (size_t)n->n_out, sizeof(int));
    copy->origin = copy_origin(c, n->origin);
    copy->program = copy_program(c, n->program);
    return copy;
}

static og_value *copy_value(copier *c, const og_value *v, og_node *const *nodes)
{
    og_value *copy = copy_bytes(c, v, 1, sizeof(*copy));
    if (!copy)
        return NULL;
    copy->name = copy_text(c, v->name);
    copy->folded_from = copy_text(c, v->folded_from);
    copy->data = copy_elements(c, &v->type, v->data);
    if (v->producer)
        copy->producer = nodes[v->producer->id];
    return copy;
}

/* The lists, full as they are: they are copied again before they grow. */
static void copy_lists(copier *c, og_graph *to)
{
    const og_graph *g = c->from;
    to->nodes = copy_bytes(c, g->nodes, (size_t)g->n_nodes, sizeof(*g->nodes));
    to->values = copy_bytes(c, g->values, (size_t)g->n_values, sizeof(*g->values));
    to->inputs = copy_bytes(c, g->inputs, (size_t)g->n_inputs, sizeof(*g->inputs));
    to->outputs = copy_bytes(c, g->outputs, (size_t)g->n_outputs, sizeof(*g->outputs));
    to->states = copy_bytes(c, g->states, (size_t)g->n_states, sizeof(*g->states));
    to->symbols = copy_bytes(c, g->symbols, (size_t)g->n_symbols, sizeof(*g->symbols));
    to->metadata = copy_bytes(c, g->metadata, (size_t)g->n_metadata, sizeof(*g->metadata));
    to->n_nodes = g->n_nodes;
    to->n_values = g->n_values;
    to->n_inputs = g->n_inputs;
    to->n_outputs = g->n_outputs;
    to->n_states = g->n_states;
    to->n_symbols = g->n_symbols;
    to->n_metadata = g->n_metadata;
    to->cap_nodes = (size_t)g->n_nodes;
    to->cap_values = (size_t)g->n_values;
    to->cap_inputs = (size_t)g->n_inputs;
    to->cap_outputs = (size_t)g->n_outputs;
    to->cap_states = (size_t)g->n_states;
    to->cap_symbols = (size_t)g->n_symbols;
    to->cap_metadata = (size_t)g->n_metadata;
}

og_graph *og_graph_copy(const og_graph *g, og_arena *arena)
{
    copier c = {.from = g, .arena = arena};
    og_graph *to = og_graph_new_in(arena);
    if (!to)
        return NULL;
    to->name = copy_text(&c, g->name);
    to->defer = g->defer;
    copy_lists(&c, to);
    for (int i = 0; !c.failed && i < g->n_nodes; i++)
        to->nodes[i] = copy_node(&c, g->nodes[i]);
    for (int i = 0; !c.failed && i < g->n_values; i++)
        to->values[i] = copy_value(&c, g->values[i], to->nodes);
    for (int i = 0; !c.failed && i < g->n_outputs; i++)
        to->outputs[i].name = copy_text(&c, g->outputs[i].name);
    for (int i = 0; !c.failed && i < g->n_symbols; i++)
        to->symbols[i] = copy_text(&c, g->symbols[i]);
    for (int i = 0; !c.failed && i < g->n_metadata; i++)
        to->metadata[i] =
            (og_metadata){copy_text(&c, g->metadata[i].key), copy_text(&c, g->metadata[i].value)};
    return c.failed ? NULL : to;
}
