/* Nodes into the graph, in file order where that is topological, else sorted: a depth-first walk
 * that keeps its own stack visits what a node reads before the node. Cycles, unknown inputs and
 * values made twice are reported by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/onnx/loader.h"

enum { SPARE = 16 }; /* see og_draft */

typedef struct visit {
    int node, next_input;
} visit;

typedef struct walk {
    og__loader *l;
    og__scope *scope;
    int n;
    og__node_view *nodes;
    uint8_t *state; /* 0: not seen, 1: on the stack, 2: added */
    visit *stack;
} walk;

const char *og__node_label(char buffer[160], const og__node_view *node)
{
    snprintf(buffer, 160, "%.60s \"%.80s\"", node->op,
             *node->name   ? node->name
             : node->n_out ? node->out[0]
                           : "");
    return buffer;
}

int og__scope_opset(const og__scope *scope, const char *domain)
{
    for (; scope; scope = scope->caller)
        for (int i = 0; i < scope->n_opsets; i++)
            if (strcmp(scope->opsets[i].domain, domain) == 0)
                return scope->opsets[i].version > INT32_MAX ? INT32_MAX
                                                            : (int)scope->opsets[i].version;
    return 0;
}

/* Names of the outputs point at their nodes until these are added. */
static bool declare_outputs(walk *w)
{
    int known;
    char label[160];
    for (int i = 0; i < w->n; i++) {
        const og__node_view *v = &w->nodes[i];
        for (int k = 0; k < v->n_out; k++) {
            if (!*v->out[k])
                continue;
            if (og__names_get(&w->scope->values, v->out[k], &known)) {
                og__report_add(&w->l->report, OG_INVALID_MODEL,
                               "%s: its output \"%.200s\" is already the name of another value",
                               og__node_label(label, v), v->out[k]);
                continue;
            }
            if (!og__names_set(&w->scope->values, v->out[k], OG__PRODUCED - i))
                return og__loader_memory(w->l);
        }
    }
    return true;
}

/* ---- adding one node */

static void set_outputs(walk *w, const og__node_view *v, const int *ids, int value)
{
    for (int k = 0; k < v->n_out; k++)
        if (*v->out[k])
            og__names_set(&w->scope->values, v->out[k], ids ? ids[k] : value);
}

/* A Constant's value as data; NULL after setting the error. */
static const og_const *constant_of(og__loader *l, const og_attr *a, og_error *error)
{
    og_const *c = og_arena_alloc(l->arena, sizeof(*c));
    void *data = og_arena_array(l->arena, (size_t)a->n + 1, sizeof(int64_t));
    if (!c || !data) {
        og_fail_memory(error, sizeof(*c), "a constant");
        return NULL;
    }
    int64_t n = a->n;
    c->data = data;
    if (a->kind == OG_ATTR_TENSOR && strcmp(a->name, "value") == 0)
        return a->t;
    if (a->kind == OG_ATTR_FLOAT && strcmp(a->name, "value_float") == 0) {
        c->type = og_type_make(OG_FLOAT, 0, NULL);
        *(float *)data = (float)a->f;
        return c;
    }
    if (a->kind == OG_ATTR_INT && strcmp(a->name, "value_int") == 0) {
        c->type = og_type_make(OG_INT64, 0, NULL);
        *(int64_t *)data = a->i;
        return c;
    }
    if (a->kind == OG_ATTR_FLOATS && strcmp(a->name, "value_floats") == 0) {
        c->type = og_type_make(OG_FLOAT, 1, &n);
        for (int i = 0; i < a->n; i++)
            ((float *)data)[i] = (float)a->floats[i];
        return c;
    }
    if (a->kind == OG_ATTR_INTS && strcmp(a->name, "value_ints") == 0) {
        c->type = og_type_make(OG_INT64, 1, &n);
        memcpy(data, a->ints, sizeof(int64_t) * (size_t)a->n);
        return c;
    }
    og_fail(error, OG_UNSUPPORTED,
            "attribute \"%s\" is no number or tensor, which alone are supported", a->name);
    return NULL;
}

/* A Constant becomes a constant value without a name: names are left to initializers. */
static int add_constant(walk *w, const og__node_view *v, const og_attr *attrs, int n_attrs)
{
    og_error error = {0};
    const og_const *c = NULL;
    if (n_attrs == 1)
        c = constant_of(w->l, &attrs[0], &error);
    else
        og_fail(&error, OG_INVALID_MODEL, "has %d attributes, exactly one value is expected",
                n_attrs);
    if (!c) {
        char label[160];
        og_error_prefix(&error, "%s", og__node_label(label, v));
        og__report_move(&w->l->report, &error);
        return OG__POISONED;
    }
    return og_graph_add_const(w->l->g, "", &c->type, c->data).id;
}

/* Opset of the node's domain; 0 after a report. */
static int opset_of(walk *w, const og__node_view *v)
{
    char label[160];
    int opset = og__scope_opset(w->scope, v->domain);
    if (*v->domain == '\0' && opset > 0 && (opset < OG__OPSET_OLDEST || opset > OG__OPSET_NEWEST)) {
        og__report_add(&w->l->report, OG_UNSUPPORTED,
                       "%s: opset %d of its function is not supported, %d to %d are",
                       og__node_label(label, v), opset, OG__OPSET_OLDEST, OG__OPSET_NEWEST);
        return 0;
    }
    if (opset <= 0)
        og__report_add(&w->l->report, OG_INVALID_MODEL,
                       "%s: the model imports no opset of its domain \"%s\"",
                       og__node_label(label, v), *v->domain ? v->domain : "ai.onnx");
    return opset > 0 ? opset : 0;
}

/* The loader's scratch arrays get room for a node and what upgrade steps add to it. */
static bool make_room(og__loader *l, const og__node_view *v)
{
    size_t attrs = (size_t)v->n_attrs + SPARE, in = (size_t)v->n_in + SPARE;
    if (attrs > l->room_attrs) {
        l->draft_attrs = og_arena_array(l->arena, 2 * attrs, sizeof(*l->draft_attrs));
        l->room_attrs = 2 * attrs;
    }
    if (in > l->room_in) {
        l->draft_in = og_arena_array(l->arena, 2 * in, sizeof(*l->draft_in));
        l->room_in = 2 * in;
    }
    if (!l->draft_attrs || !l->draft_in)
        og_fail_memory(&l->g->error, attrs * sizeof(*l->draft_attrs), "a node");
    return og__loader_memory(l);
}

static bool add_op(walk *w, const og__node_view *v, const int *in, int *out)
{
    og__loader *l = w->l;
    bool inner = *w->scope->prefix != '\0';
    const og_op *row = strcmp(v->domain, OG_DOMAIN) == 0 ? NULL : og_op_find(v->domain, v->op);
    if (!row) {
        og__report_unknown_op(&l->report, v->domain, v->op,
                              *v->name || !v->n_out ? v->name : v->out[0]);
        return false;
    }
    og_draft d = {.g = l->g,
                  .opset = opset_of(w, v),
                  .domain = v->domain,
                  .op = v->op,
                  .n_in = v->n_in,
                  .n_out = v->n_out,
                  .in = l->draft_in,
                  .out = out,
                  .attrs = l->draft_attrs};
    d.name =
        inner && *v->name ? og_arena_printf(l->arena, "%s%s", w->scope->prefix, v->name) : v->name;
    if (!d.name)
        d.name = "";
    memcpy(d.in, in, sizeof(int) * (size_t)v->n_in);
    if (!d.opset || !og__attributes_load(l, w->scope, v, d.attrs, &d.n_attrs))
        return false;
    for (int k = 0; k < v->n_out; k++)
        out[k] = *v->out[k] ? 0 : OG__ABSENT;
    og_node *n = og_draft_add(&d);
    if (!n) {
        if (og__loader_memory(l))
            og__report_move(&l->report, &l->g->error);
        return false;
    }
    for (int k = 0; k < v->n_out; k++) {
        if (!*v->out[k])
            continue;
        out[k] = k < n->n_out ? n->out[k] : OG__POISONED;
        if (out[k] >= 0)
            l->g->values[out[k]]->name =
                inner ? og__inner_name(l, w->scope->prefix, v->out[k]) : v->out[k];
    }
    return true;
}

static void add_node(walk *w, const og__node_view *v)
{
    og__loader *l = w->l;
    int *in = og_arena_array(l->arena, (size_t)v->n_in + (size_t)v->n_out + 1, sizeof(int));
    if (!in)
        og_fail_memory(&l->g->error, sizeof(*in), "a node");
    if (!og__loader_memory(l) || !in || !make_room(l, v))
        return;
    int *out = in + v->n_in;
    for (int k = 0; k < v->n_in; k++) {
        in[k] = OG__ABSENT;
        if (*v->in[k] && !og__names_get(&w->scope->values, v->in[k], &in[k]))
            in[k] = OG__POISONED;
        if (in[k] <= OG__POISONED) {
            set_outputs(w, v, NULL, OG__POISONED);
            return;
        }
    }
    const og__function_view *f = og__functions_find(l, v);
    if (f && !(*v->domain == '\0' && og_op_find("", v->op))) {
        og__functions_call(l, w->scope, f, v, in, out);
        set_outputs(w, v, out, 0);
        return;
    }
    if (*v->domain == '\0' && strcmp(v->op, "Constant") == 0) {
        int n_attrs;
        bool good = og__attributes_load(l, w->scope, v, l->draft_attrs, &n_attrs);
        set_outputs(w, v, NULL, good ? add_constant(w, v, l->draft_attrs, n_attrs) : OG__POISONED);
        return;
    }
    if (add_op(w, v, in, out))
        set_outputs(w, v, out, 0);
    else
        set_outputs(w, v, NULL, OG__POISONED);
}

/* ---- order */

/* The nodes on the stack from `first` on read each other in a circle. */
static void report_cycle(walk *w, int depth, int first)
{
    enum { SHOWN = 6 };
    og_text names = {0};
    char label[160];
    int start = depth, shown = 0;
    while (start > 0 && w->stack[start].node != first)
        start--;
    for (int i = start; i <= depth && shown < SHOWN; i++, shown++)
        og_text_printf(&names, "%s%s", shown ? ", " : "",
                       og__node_label(label, &w->nodes[w->stack[i].node]));
    if (depth - start >= SHOWN)
        og_text_printf(&names, ", … (%d nodes)", depth - start + 1);
    og__report_add(&w->l->report, OG_INVALID_MODEL, "nodes read each other in a circle: %s",
                   names.s ? names.s : "");
    og_text_free(&names);
}

/* The node that has to be added before input `name` of node `v` can be read; -1: none. */
static int wanted_node(walk *w, const og__node_view *v, const char *name)
{
    int id;
    if (!*name)
        return -1;
    if (!og__names_get(&w->scope->values, name, &id)) {
        char label[160];
        og__report_add(
            &w->l->report, OG_INVALID_MODEL,
            "%s reads \"%.200s\", which is no input, initializer or output of another node",
            og__node_label(label, v), name);
        og__names_set(&w->scope->values, name, OG__POISONED);
        return -1;
    }
    return id <= OG__PRODUCED ? OG__PRODUCED - id : -1;
}

/* Add a node and before it all it depends on. */
static void visit_node(walk *w, int root)
{
    int depth = 0;
    w->stack[0] = (visit){.node = root};
    w->state[root] = 1;
    while (depth >= 0 && !w->l->fatal) {
        visit *top = &w->stack[depth];
        const og__node_view *v = &w->nodes[top->node];
        if (top->next_input == v->n_in) {
            add_node(w, v);
            w->state[top->node] = 2;
            depth--;
            continue;
        }
        const char *name = v->in[top->next_input++];
        int wanted = wanted_node(w, v, name);
        if (wanted < 0 || w->state[wanted] == 2)
            continue;
        if (w->state[wanted] == 1) {
            report_cycle(w, depth, wanted);
            og__names_set(&w->scope->values, name, OG__POISONED);
            continue;
        }
        w->state[wanted] = 1;
        w->stack[++depth] = (visit){.node = wanted};
    }
}

void og__nodes_load(og__loader *l, og__scope *scope, const og__node_proto *const *nodes, int n)
{
    size_t count = (size_t)n + 1;
    walk w = {.l = l, .scope = scope, .n = n};
    w.nodes = calloc(count, sizeof(*w.nodes));
    w.state = calloc(count, 1);
    w.stack = calloc(count, sizeof(*w.stack));
    if (!w.nodes || !w.state || !w.stack) {
        og_fail_memory(l->report.error, count * sizeof(*w.nodes), "the nodes");
        l->fatal = true;
        goto cleanup;
    }
    for (int i = 0; i < n; i++) {
        og__node_read(l->arena, nodes[i], &w.nodes[i]);
        if (!og__captures_add(l, &w.nodes[i]))
            goto cleanup;
    }
    if (!declare_outputs(&w))
        goto cleanup;
    for (int i = 0; i < n && !l->fatal; i++)
        if (w.state[i] == 0)
            visit_node(&w, i);
cleanup:
    free(w.nodes);
    free(w.state);
    free(w.stack);
}
