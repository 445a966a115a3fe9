/* The graph's containers: values, nodes, states, attributes. See graph.h for invariants. */
#include "runtime/graph/graph.h"

#include <string.h>

#include "runtime/graph/op.h"

/* The text of an error is the one thing of a graph that lies outside the arena. */
static void clear_error(void *graph)
{
    og_error_clear(&((og_graph *)graph)->error);
}

og_graph *og_graph_new_in(og_arena *arena)
{
    og_graph *g = og_arena_alloc(arena, sizeof(*g));
    if (!g || !og_arena_defer(arena, clear_error, g))
        return NULL;
    g->arena = arena;
    g->name = "";
    return g;
}

og_graph *og_graph_new(void)
{
    og_arena *arena = og_arena_new();
    if (!arena)
        return NULL;
    og_graph *g = og_graph_new_in(arena);
    if (!g) {
        og_arena_free(arena);
        return NULL;
    }
    g->owns_arena = true;
    return g;
}

void og_graph_free(og_graph *g)
{
    if (g && g->owns_arena)
        og_arena_free(g->arena);
}

/* Room for one more element in one of the graph's arrays; false, with the error set, when out of
 * memory. */
static bool grow(og_graph *g, void *array, int count, size_t *capacity, size_t size)
{
    void **slot = array;
    void *larger = og_arena_grow(g->arena, *slot, (size_t)count, capacity, size);
    if (!larger) {
        og_fail_memory(&g->error, size * (size_t)(count + 1), "the graph");
        return false;
    }
    *slot = larger;
    return true;
}

static og_value *new_value(og_graph *g, og_value_kind kind, const char *name, const og_type *type)
{
    if (g->error.status != OG_OK ||
        !grow(g, &g->values, g->n_values, &g->cap_values, sizeof(og_value *)))
        return NULL;
    og_value *v = og_arena_alloc(g->arena, sizeof(*v));
    if (!v) {
        og_fail_memory(&g->error, sizeof(*v), "a value");
        return NULL;
    }
    v->id = g->n_values;
    v->kind = kind;
    v->name = name ? name : "";
    v->storage = -1;
    if (type)
        v->type = *type;
    else
        v->type.rank = -1;
    g->values[g->n_values++] = v;
    return v;
}

static og_val null_val(void)
{
    return (og_val){NULL, -1};
}

og_val og_graph_add_input(og_graph *g, const char *name, const og_type *type)
{
    if (!grow(g, &g->inputs, g->n_inputs, &g->cap_inputs, sizeof(int)))
        return null_val();
    og_value *v = new_value(g, OG_VALUE_INPUT, name, type);
    if (!v)
        return null_val();
    g->inputs[g->n_inputs++] = v->id;
    return (og_val){g, v->id};
}

og_val og_graph_add_const(og_graph *g, const char *name, const og_type *type, const void *data)
{
    og_value *v = new_value(g, OG_VALUE_CONST, name, type);
    if (!v)
        return null_val();
    v->data = data;
    return (og_val){g, v->id};
}

og_val og_graph_add_state(og_graph *g, const char *name, const og_type *type, int storage,
                          const void *initial)
{
    if (!grow(g, &g->states, g->n_states, &g->cap_states, sizeof(og_state)))
        return null_val();
    og_value *v = new_value(g, OG_VALUE_STATE, name, type);
    if (!v)
        return null_val();
    v->data = initial;
    v->storage = storage;
    g->states[g->n_states++] = (og_state){.storage = storage, .in = v->id, .out = -1};
    return (og_val){g, v->id};
}

void og_graph_add_output(og_graph *g, const char *name, og_val value)
{
    if (value.g && grow(g, &g->outputs, g->n_outputs, &g->cap_outputs, sizeof(og_output)))
        g->outputs[g->n_outputs++] = (og_output){name, value.id};
}

void og_graph_set_state(og_graph *g, og_val state, og_val out)
{
    if (!state.g || !out.g)
        return;
    for (int i = 0; i < g->n_states; i++) {
        if (g->states[i].in != state.id)
            continue;
        if (!og_type_equal(og_type_of(state), og_type_of(out))) {
            char a[160], b[160];
            og_fail(&g->error, OG_INTERNAL, "state \"%s\" is %s, its new value %s",
                    og_value_of(state)->name, og_type_text(a, g, og_type_of(state)),
                    og_type_text(b, g, og_type_of(out)));
        }
        g->states[i].out = out.id;
        return;
    }
    og_fail(&g->error, OG_INTERNAL, "value %d is no state", state.id);
}

int64_t og_graph_symbol(og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_symbols; i++)
        if (strcmp(g->symbols[i], name) == 0)
            return -(int64_t)i - 1;
    char *copy = og_arena_strdup(g->arena, name);
    if (!copy || !grow(g, &g->symbols, g->n_symbols, &g->cap_symbols, sizeof(char *))) {
        og_fail_memory(&g->error, strlen(name), "a symbol");
        return -1;
    }
    g->symbols[g->n_symbols++] = copy;
    return -(int64_t)g->n_symbols;
}

void og_graph_add_metadata(og_graph *g, const char *key, const char *value)
{
    if (grow(g, &g->metadata, g->n_metadata, &g->cap_metadata, sizeof(og_metadata)))
        g->metadata[g->n_metadata++] = (og_metadata){key, value};
}

const char *og_graph_metadata(const og_graph *g, const char *key)
{
    for (int i = 0; i < g->n_metadata; i++)
        if (strcmp(g->metadata[i].key, key) == 0)
            return g->metadata[i].value;
    return NULL;
}

const og_origin *og_graph_set_origin(og_graph *g, const og_origin *origin)
{
    og_origin *copy = og_arena_copy(g->arena, origin, sizeof(*origin));
    if (copy)
        g->origin = copy;
    else
        og_fail_memory(&g->error, sizeof(*origin), "a node's origin");
    return g->origin;
}

/* ---- nodes */

static bool count_fits(int n, int min, int max)
{
    return n >= min && (max == OG_VARIADIC || n <= (max ? max : 1));
}

static og_node *new_node(og_graph *g, const og_op *op, const char *name, const int *in, int n_in,
                         int n_out, const og_attr *attrs, int n_attrs)
{
    if (g->error.status != OG_OK)
        return NULL;
    og_node *n = og_arena_alloc(g->arena, sizeof(*n));
    int *ports = og_arena_array(g->arena, (size_t)n_in + (size_t)n_out + 1, sizeof(int));
    og_attr *copy = og_arena_copy(g->arena, attrs, sizeof(*attrs) * (size_t)n_attrs);
    if (!n || !ports || (n_attrs && !copy)) {
        og_fail_memory(&g->error, sizeof(*n), "a node");
        return NULL;
    }
    while (n_in > 0 && in[n_in - 1] < 0) /* trailing absent inputs say nothing */
        n_in--;
    n->id = g->n_nodes;
    n->op = op;
    n->name = name ? name : "";
    n->attrs = copy;
    n->n_attrs = n_attrs;
    n->in = ports;
    n->n_in = n_in;
    n->out = ports + n_in;
    n->n_out = n_out;
    n->origin = g->origin;
    for (int i = 0; i < n_in; i++) {
        if (in[i] >= g->n_values) {
            og_fail(&g->error, OG_INTERNAL, "node %s reads value %d of %d", op->name, in[i],
                    g->n_values);
            return NULL;
        }
        n->in[i] = in[i];
    }
    return n;
}

/* Add the node and make its output values; types NULL: untyped. */
static bool append_node(og_graph *g, og_node *n, const og_type *types)
{
    for (int i = 0; i < n->n_out; i++) {
        og_value *v = new_value(g, OG_VALUE_NODE, "", types ? &types[i] : NULL);
        if (!v)
            return false;
        v->producer = n;
        v->out_index = i;
        n->out[i] = v->id;
    }
    if (!grow(g, &g->nodes, g->n_nodes, &g->cap_nodes, sizeof(og_node *)))
        return false;
    g->nodes[g->n_nodes++] = n;
    return true;
}

static bool infer_types(og_graph *g, const og_node *n, og_type *types)
{
    const og_op *op = n->op;
    const og_value **x = og_arena_array(g->arena, (size_t)n->n_in + 1, sizeof(*x));
    if (!x) {
        og_fail_memory(&g->error, sizeof(*x), "inference");
        return false;
    }
    if (!count_fits(n->n_in, op->min_in, op->max_in))
        return og_node_fail(g, n, OG_INVALID_MODEL, "has %d inputs, expected %s %d", n->n_in,
                            n->n_in < op->min_in ? "at least" : "at most",
                            n->n_in < op->min_in ? op->min_in : op->max_in);
    if (!count_fits(n->n_out, 0, op->max_out))
        return og_node_fail(g, n, OG_INVALID_MODEL, "has %d outputs, at most %d exist", n->n_out,
                            op->max_out ? op->max_out : 1);
    for (int i = 0; i < n->n_in; i++) {
        x[i] = og_graph_value(g, n->in[i]);
        if (!x[i] && i < op->min_in)
            return og_node_fail(g, n, OG_INVALID_MODEL, "input %d is absent but required", i);
        if (x[i] && (x[i]->type.dtype == OG_UNDEFINED || !og_type_is_static(&x[i]->type)))
            return og_node_fail(g, n, OG_INTERNAL, "input %d (\"%s\") has no static type", i,
                                x[i]->name);
    }
    if (!op->infer)
        return og_node_fail(g, n, OG_INTERNAL, "has no inference");
    og_infer i = {.g = g, .node = n, .nx = n->n_in, .ny = n->n_out, .x = x, .y = types};
    if (!op->infer(&i)) {
        if (g->error.status == OG_OK)
            og_node_fail(g, n, OG_INTERNAL, "inference failed without a message");
        return false;
    }
    for (int k = 0; k < n->n_out; k++)
        if (types[k].dtype == OG_UNDEFINED || og_type_bytes(&types[k]) < 0)
            return og_node_fail(g, n, OG_INVALID_MODEL,
                                "output %d has an impossible or overflowing shape", k);
    return true;
}

og_node *og_graph_add_node(og_graph *g, const og_op *op, const char *name, const int *in, int n_in,
                           int n_out, const og_attr *attrs, int n_attrs)
{
    og_node *n = new_node(g, op, name, in, n_in, n_out, attrs, n_attrs);
    if (!n)
        return NULL;
    og_type *types = NULL;
    if (!g->defer) {
        types = og_arena_array(g->arena, (size_t)n_out + 1, sizeof(*types));
        if (!types) {
            og_fail_memory(&g->error, sizeof(*types), "inference");
            return NULL;
        }
        if (!infer_types(g, n, types))
            return NULL;
    }
    return append_node(g, n, types) ? n : NULL;
}

og_node *og_graph_add_typed_node(og_graph *g, const og_op *op, const char *name, const int *in,
                                 int n_in, const og_type *types, int n_out, const og_attr *attrs,
                                 int n_attrs)
{
    og_node *n = new_node(g, op, name, in, n_in, n_out, attrs, n_attrs);
    return n && append_node(g, n, types) ? n : NULL;
}

og_node *og_graph_add_op(og_graph *g, const char *domain, const char *op, const char *name,
                         const int *in, int n_in, int n_out, const og_attr *attrs, int n_attrs)
{
    if (g->error.status != OG_OK)
        return NULL;
    const og_op *row = og_op_find(domain, op);
    if (!row) {
        const char *nearest = og_op_nearest(op);
        og_fail(&g->error, OG_UNSUPPORTED, "op %s%s%s is not supported%s%s%s", domain ? domain : "",
                domain && *domain ? "::" : "", op, nearest ? "; did the exporter mean " : "",
                nearest ? nearest : "", nearest ? "?" : "");
        return NULL;
    }
    return og_graph_add_node(g, row, name, in, n_in, n_out, attrs, n_attrs);
}

/* ---- attributes */

const og_attr *og_node_attr(const og_node *n, const char *name)
{
    for (int i = 0; i < n->n_attrs; i++)
        if (strcmp(n->attrs[i].name, name) == 0)
            return &n->attrs[i];
    return NULL;
}

int64_t og_attr_int(const og_node *n, const char *name, int64_t fallback)
{
    const og_attr *a = og_node_attr(n, name);
    return a && a->kind == OG_ATTR_INT ? a->i : fallback;
}

double og_attr_float(const og_node *n, const char *name, double fallback)
{
    const og_attr *a = og_node_attr(n, name);
    return a && a->kind == OG_ATTR_FLOAT ? a->f : fallback;
}

const char *og_attr_string(const og_node *n, const char *name, const char *fallback)
{
    const og_attr *a = og_node_attr(n, name);
    return a && a->kind == OG_ATTR_STRING ? a->s : fallback;
}

int og_attr_ints(const og_node *n, const char *name, const int64_t **ints)
{
    const og_attr *a = og_node_attr(n, name);
    *ints = a && a->kind == OG_ATTR_INTS ? a->ints : NULL;
    return *ints ? a->n : 0;
}

static bool same_attr(const og_attr *a, const og_attr *b)
{
    if (a->kind != b->kind || strcmp(a->name, b->name) != 0)
        return false;
    switch (a->kind) {
    case OG_ATTR_FLOAT:
        return a->f == b->f;
    case OG_ATTR_INT:
        return a->i == b->i;
    case OG_ATTR_STRING:
        return strcmp(a->s, b->s) == 0;
    case OG_ATTR_INTS:
        return a->n == b->n && memcmp(a->ints, b->ints, sizeof(int64_t) * (size_t)a->n) == 0;
    case OG_ATTR_FLOATS:
        return a->n == b->n && memcmp(a->floats, b->floats, sizeof(double) * (size_t)a->n) == 0;
    default:
        return a->t == b->t && a->graph == b->graph && a->strings == b->strings;
    }
}

bool og_node_same_attrs(const og_node *a, const og_node *b)
{
    for (int i = 0; i < a->n_attrs && a->n_attrs == b->n_attrs; i++)
        if (!same_attr(&a->attrs[i], &b->attrs[i]))
            return false;
    return a->n_attrs == b->n_attrs;
}
