/* A weight that a model uses twice, as an embedding and, transposed, as its output layer: PyTorch's
 * optimizing exporter computes the transposed copy into an initializer of its own, and training the
 * two would drive them apart. Where an initializer was computed from one other alone, which the
 * file still holds, and is its transpose, a Transpose takes the copy's place, in the graph and in
 * the bytes that are saved. */
#include <string.h>

#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"

typedef struct pair {
    const char *copy, *original;
} pair;

typedef struct tie {
    og__loader *l;
    og__names copies; /* name → index in pairs */
    pair *pairs;
    int n;
    size_t capacity;
} tie;

/* The one name of the list "['a']"; NULL if it has several. */
static const char *only_source(og_arena *arena, const char *list)
{
    size_t n = list ? strlen(list) : 0;
    if (n < 5 || list[0] != '[' || list[1] != '\'' || list[n - 2] != '\'' || list[n - 1] != ']')
        return NULL;
    char *name = og_arena_strndup(arena, list + 2, n - 4);
    return name && !strchr(name, '\'') ? name : NULL;
}

/* b = aᵀ, element for element? */
static bool is_transpose(const og_value *a, const og_value *b)
{
    const og_type *s = &a->type, *t = &b->type;
    if (s->rank != 2 || t->rank != 2 || s->dtype != t->dtype || !og_dtype_is_float(s->dtype) ||
        s->dims[0] != t->dims[1] || s->dims[1] != t->dims[0])
        return false;
    size_t size = (size_t)og_dtype_bits(s->dtype) / 8;
    const char *x = a->data, *y = b->data;
    for (int64_t i = 0; size > 0 && i < s->dims[0]; i++)
        for (int64_t k = 0; k < s->dims[1]; k++)
            if (memcmp(x + (size_t)(i * s->dims[1] + k) * size,
                       y + (size_t)(k * s->dims[0] + i) * size, size) != 0)
                return false;
    return size > 0;
}

static bool no_memory(tie *t)
{
    og_fail_memory(&t->l->g->error, sizeof(*t), "tied weights");
    return og__loader_memory(t->l);
}

/* In the graph: a Transpose makes what `copy` was. */
static bool replace(tie *t, og__scope *scope, og_value *copy, const og_value *original)
{
    og_graph *g = t->l->g;
    pair *pairs = og_arena_grow(t->l->arena, t->pairs, (size_t)t->n, &t->capacity, sizeof(*pairs));
    if (!pairs || !og__names_set(&t->copies, copy->name, t->n))
        return no_memory(t);
    t->pairs = pairs;
    t->pairs[t->n++] = (pair){copy->name, original->name};
    og_onnx_repair *done = &t->l->onnx->repairs[OG_REPAIR_TIED];
    if (done->n++ == 0)
        done->first = original->name;
    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_FORWARD,
                                        .node = copy->name,
                                        .op = "Transpose",
                                        .opset = t->l->onnx->opset});
    og_node *node = og_graph_add_op(g, "", "Transpose", copy->name, &original->id, 1, 1, NULL, 0);
    if (!node)
        return og__loader_memory(t->l);
    g->values[node->out[0]]->name = copy->name;
    if (!og__names_set(&scope->values, copy->name, node->out[0]))
        return no_memory(t);
    copy->name = ""; /* nothing reads it any more */
    return true;
}

static bool is_copy(tie *t, og__wire tensor)
{
    og__field f;
    int index;
    while (og__wire_next(&tensor, &f) > 0) {
        const char *name = f.number == TENSOR_NAME
                               ? og_arena_strndup(t->l->arena, (const char *)f.bytes, f.size)
                               : NULL;
        if (name && og__names_get(&t->copies, name, &index))
            return true;
    }
    return false;
}

static void write_graph(void *user, og__wire in, og__out *out)
{
    tie *t = user;
    og__field f;
    for (int i = 0; i < t->n; i++) {
        og__out node = og__out_in(t->l->arena);
        og__out_text(&node, NODE_INPUT, t->pairs[i].original);
        og__out_text(&node, NODE_OUTPUT, t->pairs[i].copy);
        og__out_text(&node, NODE_OP, "Transpose");
        og__out_message(out, GRAPH_NODE, &node);
    }
    while (og__wire_next(&in, &f) > 0)
        if (f.number != GRAPH_INITIALIZER || !is_copy(t, og__wire_inside(&f)))
            og__out_raw(out, f.start, f.total);
}

void og__restore_ties(og__loader *l, og__scope *scope, const og__graph_view *g)
{
    tie t = {.l = l, .copies = og__names_in(l->arena)};
    for (int i = 0; i < g->n_values && og__loader_memory(l); i++) {
        og__value_view view;
        og__value_read(g->values[i], &view);
        og_value *copy = og__scope_constant(l, scope, view.name);
        const char *source = copy ? only_source(l->arena, copy->folded_from) : NULL;
        const og_value *original = source ? og__scope_constant(l, scope, source) : NULL;
        if (original && original != copy && is_transpose(original, copy) &&
            !replace(&t, scope, copy, original))
            return;
    }
    l->g->origin = NULL;
    if (t.n > 0 && !l->fatal)
        og__graph_rewrite(l, write_graph, &t);
}
