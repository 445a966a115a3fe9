/* Graphs that are attributes: the branches of If, the bodies of Loop and Scan. Such a graph reads
 * values of the graphs around it by name. Here these names become inputs of the node, and the graph
 * gets an input for each, so that in memory no graph reads from another. */
#include <string.h>

#include "runtime/onnx/loader.h"

/* ---- captured names */

/* Names a graph makes itself, and the graphs around it up to the node's attribute. */
typedef struct frame {
    const struct frame *outer;
    og__names made;
} frame;

typedef struct captures {
    og__loader *l;
    og_arena *scratch;
    og__names known;
    const char **names;
    size_t n, capacity;
} captures;

static bool is_made(const frame *f, const char *name)
{
    int value;
    for (; f; f = f->outer)
        if (og__names_get(&f->made, name, &value))
            return true;
    return false;
}

static bool read_name(captures *c, const frame *f, const char *name)
{
    int value;
    if (!*name || is_made(f, name) || og__names_get(&c->known, name, &value))
        return true;
    const char **grown =
        og_arena_grow(c->l->arena, c->names, c->n, &c->capacity, sizeof(*c->names));
    if (!grown || !og__names_set(&c->known, name, 0))
        return false;
    c->names = grown;
    c->names[c->n++] = name;
    return true;
}

static bool read_attributes(captures *c, const frame *outer, const og__node_view *node);

/* What `graph` reads and does not make. */
static bool read_graph(captures *c, const frame *outer, const og__graph_proto *graph)
{
    frame f = {.outer = outer, .made = og__names_in(c->scratch)};
    og__graph_view g;
    bool good = og__graph_read(c->l->arena, graph, &g);
    for (int i = 0; good && i < g.n_inputs; i++) {
        og__value_view v;
        og__value_read(g.inputs[i], &v);
        good = og__names_set(&f.made, v.name, 0);
    }
    for (int i = 0; good && i < g.n_initializers; i++) {
        og__tensor_view t;
        og__tensor_read(g.initializers[i], &t);
        good = og__names_set(&f.made, t.name, 0);
    }
    og__node_view *nodes = og_arena_array(c->scratch, (size_t)g.n_nodes + 1, sizeof(*nodes));
    good = good && nodes;
    for (int i = 0; good && i < g.n_nodes; i++) {
        og__node_read(c->scratch, g.nodes[i], &nodes[i]);
        for (int k = 0; good && k < nodes[i].n_out; k++)
            good = og__names_set(&f.made, nodes[i].out[k], 0);
    }
    for (int i = 0; good && i < g.n_nodes; i++) {
        for (int k = 0; good && k < nodes[i].n_in; k++)
            good = read_name(c, &f, nodes[i].in[k]);
        good = good && read_attributes(c, &f, &nodes[i]);
    }
    for (int i = 0; good && i < g.n_outputs; i++) {
        og__value_view v;
        og__value_read(g.outputs[i], &v);
        good = read_name(c, &f, v.name);
    }
    return good;
}

static bool read_attributes(captures *c, const frame *outer, const og__node_view *node)
{
    bool good = true;
    for (int i = 0; good && i < node->n_attrs; i++) {
        og__attr_view a;
        og__attr_read(node->attrs[i], &a);
        if (a.g)
            good = read_graph(c, outer, a.g);
    }
    return good;
}

bool og__captures_add(og__loader *l, og__node_view *node)
{
    bool any = false;
    for (int i = 0; i < node->n_attrs; i++) {
        og__attr_view a;
        og__attr_read(node->attrs[i], &a);
        any |= a.g != NULL;
    }
    if (!any)
        return true;
    captures c = {.l = l, .scratch = og_arena_new()};
    c.known = og__names_in(c.scratch);
    bool good = c.scratch && read_attributes(&c, NULL, node);
    const char **in =
        good ? og_arena_array(l->arena, (size_t)node->n_in + c.n + 1, sizeof(*in)) : NULL;
    if (in) {
        if (node->n_in)
            memcpy(in, node->in, sizeof(*in) * (size_t)node->n_in);
        if (c.n)
            memcpy(in + node->n_in, c.names, sizeof(*in) * c.n);
        node->in = in;
        node->n_in += (int)c.n;
        node->n_captured = (int)c.n;
    } else {
        og_fail_memory(&l->g->error, sizeof(*in), "the graphs of a node");
    }
    og_arena_free(c.scratch);
    return og__loader_memory(l) && in;
}

/* ---- the graph */

static bool add_input(og__loader *l, og__scope *scope, const char *name)
{
    static const og_type unknown = {.rank = -1};
    int id = og_graph_add_input(l->g, name, &unknown).id;
    return og__names_set(&scope->values, name, id);
}

/* Types of inputs come from the values passed; what is declared is not read. */
static bool fill(og__loader *l, og__scope *scope, const og__node_view *node,
                 const og__graph_view *g)
{
    bool good = true;
    int problems = l->report.problems;
    og_const *consts = og_arena_array(l->arena, (size_t)g->n_initializers + 1, sizeof(*consts));
    for (int i = 0; consts && i < g->n_inputs; i++) {
        og__value_view v;
        og__value_read(g->inputs[i], &v);
        good &= add_input(l, scope, v.name);
    }
    for (int i = node->n_in - node->n_captured; consts && i < node->n_in; i++)
        good &= add_input(l, scope, node->in[i]);
    if (!consts || !good) {
        og_fail_memory(&l->g->error, sizeof(*consts), "the graph of a node");
        return og__loader_memory(l);
    }
    og__initializers_load(l, scope, g, consts, NULL);
    og__nodes_load(l, scope, g->nodes, g->n_nodes);
    for (int i = 0; i < g->n_outputs && !l->fatal; i++) {
        og__value_view v;
        int id;
        char label[160];
        og__value_read(g->outputs[i], &v);
        if (!og__names_get(&scope->values, v.name, &id) || id <= OG__PRODUCED)
            og__report_add(&l->report, OG_INVALID_MODEL,
                           "%s: nothing makes output %d, \"%.200s\", of its graph",
                           og__node_label(label, node), i, v.name);
        else if (id == OG__POISONED)
            return false;
        else
            og_graph_add_output(l->g, v.name, og_val_of(l->g, id));
    }
    return l->report.problems == problems && !l->fatal;
}

og_graph *og__body_load(og__loader *l, const og__scope *scope, const og__node_view *node,
                        const og__graph_proto *graph)
{
    og__graph_view g;
    og_graph *outer = l->g, *body = og_graph_new_in(l->arena);
    og_arena *names = og_arena_new(); /* of this graph only */
    const char *name = og__inner_name(l, scope->prefix, *node->name ? node->name : node->op);
    og__scope inner = {.caller = scope,
                       .function = scope->function,
                       .prefix = og_arena_printf(l->arena, "%s/", name),
                       .depth = scope->depth + 1,
                       .values = og__names_in(names),
                       .bindings = scope->bindings,
                       .n_bindings = scope->n_bindings};
    bool good = body && names && inner.prefix && og__graph_read(l->arena, graph, &g);
    if (!good) {
        og_fail_memory(&outer->error, sizeof(*body), "the graph of a node");
        og__loader_memory(l);
    } else {
        og_attr *draft_attrs = l->draft_attrs; /* hold the outer node that is being added */
        int *draft_in = l->draft_in;
        size_t room_attrs = l->room_attrs, room_in = l->room_in;
        l->draft_attrs = NULL;
        l->draft_in = NULL;
        l->room_attrs = l->room_in = 0;
        body->defer = true;
        body->name = g.name;
        l->g = body;
        good = fill(l, &inner, node, &g);
        l->g = outer;
        og_error_move(&outer->error, &body->error);
        body->defer = false;
        l->draft_attrs = draft_attrs;
        l->draft_in = draft_in;
        l->room_attrs = room_attrs;
        l->room_in = room_in;
    }
    og_arena_free(names);
    return good && og__loader_memory(l) ? body : NULL;
}
