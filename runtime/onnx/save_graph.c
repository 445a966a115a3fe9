/* Any static graph as a model that other tools open: written straight to the wire, tensors borrowed
 * from the graph.
 *
 * Names. Inputs and states keep theirs; an output's name becomes the name of the value, or of an
 * Identity of it where that is impossible (an input given back, a value given out twice).
 * Everything else keeps its name where it is unique, else gets a number. A state NAME is an input
 * NAME and an output NAME_new. Each node's doc_string says where it comes from.
 *
 * Constants. Those with a name are initializers, the others Constant nodes, as the loader has them:
 * what has no name is not trained. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/graph_writer.h"

/* Rows are in the newest form of their op; all of them read the same from this opset on, but for
 * the younger ops. */
enum { OPSET = 20, IR = 10, OTHER_OPSET = 1 };
static const struct {
    const char *op;
    int opset, ir;
} younger_ops[] = {
    {"GroupNormalization", 21, 10}, {"Attention", 23, 11}, {"RMSNormalization", 23, 11},
    {"RotaryEmbedding", 23, 11},    {"Swish", 24, 12},     {"TensorScatter", 24, 12},
};

og_status og__writer_no_memory(og__writer *w)
{
    return og_fail_memory(w->error, 0, "writing the graph");
}

enum { LENT_FROM = 1024 }; /* bytes */

bool og__writer_begin(og__writer *w)
{
    size_t n = (size_t)w->g->n_values;
    w->names = og_arena_array(w->arena, n, sizeof(*w->names));
    w->used = og_arena_array(w->arena, n, sizeof(*w->used));
    w->shared = og_arena_array(w->arena, n, sizeof(*w->shared));
    w->domain_list = og_arena_array(w->arena, (size_t)w->g->n_nodes, sizeof(*w->domain_list));
    return w->names && w->used && w->shared && w->domain_list;
}

/* ---- names */

bool og__writer_name(og__writer *w, int id, const char *wish)
{
    if (!w->names[id] && !*wish)
        wish = og_arena_printf(w->arena, "v%d", id);
    if (!w->names[id])
        w->names[id] = wish ? og__names_take(&w->taken, wish) : NULL;
    return w->names[id] != NULL;
}

bool og__writer_name_rest(og__writer *w)
{
    bool good = true;
    for (int i = 0; i < w->g->n_values; i++)
        good &= og__writer_name(w, i, w->g->values[i]->name);
    return good;
}

/* Outputs that are node values not named yet take their name; the rest get Identities later. */
static og_status name_values(og__writer *w)
{
    const og_graph *g = w->g;
    bool good = true;
    for (int i = 0; i < g->n_inputs; i++)
        good &= og__writer_name(w, g->inputs[i], g->values[g->inputs[i]]->name);
    for (int i = 0; i < g->n_states; i++)
        good &= og__writer_name(w, g->states[i].in, g->values[g->states[i].in]->name);
    for (int i = 0; i < g->n_outputs; i++)
        if (g->values[g->outputs[i].value]->kind == OG_VALUE_NODE)
            good &= og__writer_name(w, g->outputs[i].value, g->outputs[i].name);
    for (int i = 0; good && i < g->n_states; i++)
        if (g->states[i].out >= 0 && g->values[g->states[i].out]->kind == OG_VALUE_NODE) {
            const char *name = og_arena_printf(w->arena, "%s_new", w->names[g->states[i].in]);
            good &= name && og__writer_name(w, g->states[i].out, name);
        }
    good &= og__writer_name_rest(w);
    return good ? OG_OK : og__writer_no_memory(w);
}

void og__writer_mark_used(og__writer *w)
{
    for (int i = 0; i < w->g->n_nodes; i++)
        for (int k = 0; k < w->g->nodes[i]->n_in; k++)
            if (w->g->nodes[i]->in[k] >= 0)
                w->used[w->g->nodes[i]->in[k]] = true;
    for (int i = 0; i < w->g->n_outputs; i++)
        w->used[w->g->outputs[i].value] = true;
    for (int i = 0; i < w->g->n_states; i++)
        if (w->g->states[i].out >= 0)
            w->used[w->g->states[i].out] = true;
}

/* ---- values */

void og__writer_put_value_info(og__writer *w, uint32_t number, const char *name,
                               const og_type *type)
{
    og__out shape = og__out_in(w->arena), tensor = shape, outer = shape, value = shape;
    for (int i = 0; i < type->rank; i++) {
        og__out dim = og__out_in(w->arena);
        if (type->dims[i] >= 0)
            og__out_varint(&dim, DIM_VALUE, (uint64_t)type->dims[i]);
        else
            og__out_text(&dim, DIM_PARAM, w->g->symbols[-type->dims[i] - 1]);
        og__out_message(&shape, SHAPE_DIM, &dim);
    }
    og__out_text(&value, VALUE_NAME, name);
    if (type->dtype != OG_UNDEFINED) {
        og__out_varint(&tensor, TENSOR_ELEM, type->dtype);
        if (type->rank >= 0)
            og__out_message(&tensor, TENSOR_SHAPE, &shape);
        og__out_message(&outer, TYPE_TENSOR, &tensor);
        og__out_message(&value, VALUE_TYPE, &outer);
    }
    og__out_message(&w->out, number, &value);
}

/* The fields of a tensor but its elements. */
og__out og__writer_tensor_head(const og__writer *w, const char *name, const og_type *type)
{
    og__out tensor = og__out_in(w->arena);
    for (int i = 0; i < type->rank; i++)
        og__out_varint(&tensor, TENSOR_DIMS, (uint64_t)type->dims[i]);
    og__out_varint(&tensor, TENSOR_TYPE, type->dtype);
    if (*name)
        og__out_text(&tensor, TENSOR_NAME, name);
    return tensor;
}

static og__out tensor_message(og__writer *w, const char *name, const og_type *type,
                              const void *data)
{
    og__out tensor = og__writer_tensor_head(w, name, type);
    og__out_bytes(&tensor, TENSOR_RAW, data, (size_t)og_type_bytes(type));
    return tensor;
}

/* An initializer whose elements stay where they are. */
static og_status put_lent(og__writer *w, const char *name, const og_value *v)
{
    char location[16];
    og__out tensor = og__writer_tensor_head(w, name, &v->type), entry = og__out_in(w->arena);
    snprintf(location, sizeof(location), "%d", v->id);
    og__out_text(&entry, 1, "location");
    og__out_text(&entry, 2, location);
    og__out_message(&tensor, TENSOR_EXTERNAL, &entry);
    og__out_varint(&tensor, TENSOR_LOCATION, 1);
    og__out_message(&w->out, GRAPH_INITIALIZER, &tensor);
    return og__external_lend(w->lend, location, v->data, (size_t)og_type_bytes(&v->type))
               ? OG_OK
               : og__writer_no_memory(w);
}

static void put_constant_node(og__writer *w, const char *name, const og_value *v)
{
    og__out node = og__out_in(w->arena), value = node, tensor;
    tensor = tensor_message(w, "", &v->type, v->data);
    og__out_text(&value, ATTR_NAME, "value");
    og__out_message(&value, ATTR_T, &tensor);
    og__out_varint(&value, ATTR_TYPE, OG_ATTR_TENSOR);
    og__out_text(&node, NODE_OUTPUT, name);
    og__out_text(&node, NODE_OP, "Constant");
    og__out_message(&node, NODE_ATTRIBUTE, &value);
    og__out_message(&w->out, GRAPH_NODE, &node);
}

og_status og__writer_put_constants(og__writer *w)
{
    for (int i = 0; i < w->g->n_values; i++) {
        const og_value *v = w->g->values[i];
        if (v->kind != OG_VALUE_CONST || !w->used[i] || w->shared[i])
            continue;
        int64_t bytes = og_type_bytes(&v->type);
        if (bytes < 0 || og_dtype_bits(v->type.dtype) == 0 || !v->data)
            return og_fail(w->error, OG_INTERNAL, "constant \"%s\" has no data to save",
                           w->names[i]);
        if (!*v->name) {
            put_constant_node(w, w->names[i], v);
        } else if (w->lend && bytes >= LENT_FROM) {
            OG_TRY(put_lent(w, w->names[i], v));
        } else {
            og__out tensor = tensor_message(w, w->names[i], &v->type, v->data);
            og__out_message(&w->out, GRAPH_INITIALIZER, &tensor);
        }
    }
    return OG_OK;
}

/* ---- nodes */

static og_status put_attribute(og__writer *w, og__out *node, const og_node *n, const og_attr *a)
{
    og__out out = og__out_in(w->arena), tensor;
    og__out_text(&out, ATTR_NAME, a->name);
    switch (a->kind) {
    case OG_ATTR_FLOAT:
        og__out_float(&out, ATTR_F, (float)a->f);
        break;
    case OG_ATTR_INT:
        og__out_varint(&out, ATTR_I, (uint64_t)a->i);
        break;
    case OG_ATTR_STRING:
        og__out_text(&out, ATTR_S, a->s);
        break;
    case OG_ATTR_TENSOR:
        tensor = tensor_message(w, "", &a->t->type, a->t->data);
        og__out_message(&out, ATTR_T, &tensor);
        break;
    case OG_ATTR_FLOATS:
        for (int i = 0; i < a->n; i++)
            og__out_float(&out, ATTR_FLOATS, (float)a->floats[i]);
        break;
    case OG_ATTR_INTS:
        for (int i = 0; i < a->n; i++)
            og__out_varint(&out, ATTR_INTS, (uint64_t)a->ints[i]);
        break;
    case OG_ATTR_STRINGS:
        for (int i = 0; i < a->n; i++)
            og__out_text(&out, ATTR_STRINGS, a->strings[i]);
        break;
    default: {
        char text[256];
        return og_fail(w->error, OG_UNSUPPORTED,
                       "%s: attribute \"%s\" is a graph, which cannot be saved",
                       og_node_text(text, n), a->name);
    }
    }
    og__out_varint(&out, ATTR_TYPE, a->kind);
    og__out_message(node, NODE_ATTRIBUTE, &out);
    return OG_OK;
}

/* Input `axes`, a constant, as the attribute it was before opset 18. */
static const og_attr *axes_attribute(og__writer *w, const og_node *n, int axes)
{
    const og_value *v = w->g->values[n->in[axes]];
    og_attr *a = og_arena_alloc(w->arena, sizeof(*a));
    if (a)
        *a = (og_attr){.name = "axes",
                       .kind = OG_ATTR_INTS,
                       .n = (int)og_type_elements(&v->type),
                       .ints = v->data};
    return a;
}

/* Opset and domains that the model has to import for this op. */
static og_status note_op(og__writer *w, const og_node *n)
{
    int known;
    const char *domain = n->op->domain;
    if (!domain || !*domain) {
        for (size_t i = 0; i < sizeof(younger_ops) / sizeof(*younger_ops); i++)
            if (strcmp(n->op->name, younger_ops[i].op) == 0 && younger_ops[i].opset > w->opset) {
                w->opset = younger_ops[i].opset;
                w->ir = younger_ops[i].ir;
            }
        return OG_OK;
    }
    if (strcmp(domain, OG_DOMAIN) == 0) {
        char text[256];
        return og_fail(w->error, OG_UNSUPPORTED,
                       "%s: the internal op %s has to be expanded before the graph is saved",
                       og_node_text(text, n), n->op->name);
    }
    if (og__names_get(&w->domains, domain, &known))
        return OG_OK;
    if (!og__names_set(&w->domains, domain, 1))
        return og__writer_no_memory(w);
    w->domain_list[w->n_domains++] = domain;
    return OG_OK;
}

og_status og__writer_put_node(og__writer *w, const og_node *n)
{
    char text[256];
    og__out out = og__out_in(w->arena);
    int axes = -1;
    OG_TRY(note_op(w, n));
    if (w->base_opset)
        OG_TRY(og__algorithm_check_node(w, n, &axes));
    for (int i = 0; i < n->n_in; i++)
        if (i != axes)
            og__out_text(&out, NODE_INPUT, n->in[i] < 0 ? "" : w->names[n->in[i]]);
    for (int i = 0; i < n->n_out; i++)
        og__out_text(&out, NODE_OUTPUT, n->out[i] < 0 ? "" : w->names[n->out[i]]);
    if (*n->name && !w->base) /* the base has nodes of these names */
        og__out_text(&out, NODE_NAME, n->name);
    og__out_text(&out, NODE_OP, n->op->name);
    if (n->op->domain && *n->op->domain)
        og__out_text(&out, NODE_DOMAIN, n->op->domain);
    for (int i = 0; i < n->n_attrs; i++)
        OG_TRY(put_attribute(w, &out, n, &n->attrs[i]));
    if (axes >= 0) {
        const og_attr *a = axes_attribute(w, n, axes);
        OG_TRY(a ? put_attribute(w, &out, n, a) : og__writer_no_memory(w));
    }
    if (n->origin && (w->base || !w->base_opset))
        og__out_text(&out, NODE_DOC, og_node_text(text, n));
    og__out_message(&w->out, GRAPH_NODE, &out);
    return OG_OK;
}

og_status og__writer_put_output(og__writer *w, const char *wish, int id, bool *given,
                                const char **made)
{
    const char *name = w->names[id];
    if (*given || w->g->values[id]->kind != OG_VALUE_NODE || strcmp(name, wish) != 0) {
        og__out node = og__out_in(w->arena);
        name = og__names_take(&w->taken, wish);
        if (!name)
            return og__writer_no_memory(w);
        og__out_text(&node, NODE_INPUT, w->names[id]);
        og__out_text(&node, NODE_OUTPUT, name);
        og__out_text(&node, NODE_OP, "Identity");
        og__out_message(&w->out, GRAPH_NODE, &node);
    } else {
        *given = true;
    }
    if (!w->framed)
        og__writer_put_value_info(w, GRAPH_OUTPUT, name, &w->g->values[id]->type);
    *made = name;
    return OG_OK;
}

og_status og__writer_put_outputs(og__writer *w, bool **given)
{
    const og_graph *g = w->g;
    const char *made;
    *given = og_arena_array(w->arena, (size_t)g->n_values, sizeof(**given));
    if (!*given)
        return og__writer_no_memory(w);
    for (int i = 0; i < g->n_outputs; i++)
        OG_TRY(og__writer_put_output(w, g->outputs[i].name, g->outputs[i].value,
                                     &(*given)[g->outputs[i].value], &made));
    return OG_OK;
}

static og_status put_outputs(og__writer *w)
{
    const og_graph *g = w->g;
    const char *made;
    bool *given;
    OG_TRY(og__writer_put_outputs(w, &given));
    for (int i = 0; i < g->n_states; i++) {
        if (g->states[i].out < 0)
            continue;
        const char *name = og_arena_printf(w->arena, "%s_new", w->names[g->states[i].in]);
        if (!name)
            return og__writer_no_memory(w);
        OG_TRY(og__writer_put_output(w, name, g->states[i].out, &given[g->states[i].out], &made));
    }
    return OG_OK;
}

/* ---- the model */

og_status og__writer_put_body(og__writer *w)
{
    const og_graph *g = w->g;
    OG_TRY(name_values(w));
    og__writer_mark_used(w);
    og__out_text(&w->out, GRAPH_NAME, *g->name ? g->name : "graph");
    OG_TRY(og__writer_put_constants(w));
    for (int i = 0; i < g->n_nodes; i++)
        OG_TRY(og__writer_put_node(w, g->nodes[i]));
    return OG_OK;
}

static og_status put_graph(og__writer *w)
{
    const og_graph *g = w->g;
    OG_TRY(og__writer_put_body(w));
    for (int i = 0; i < g->n_inputs; i++)
        og__writer_put_value_info(w, GRAPH_INPUT, w->names[g->inputs[i]],
                                  &g->values[g->inputs[i]]->type);
    for (int i = 0; i < g->n_states; i++)
        og__writer_put_value_info(w, GRAPH_INPUT, w->names[g->states[i].in],
                                  &g->values[g->states[i].in]->type);
    OG_TRY(put_outputs(w));
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->kind == OG_VALUE_NODE && w->used[i] &&
            g->values[i]->type.dtype != OG_UNDEFINED)
            og__writer_put_value_info(w, GRAPH_VALUE_INFO, w->names[i], &g->values[i]->type);
    return w->out.failed ? og__writer_no_memory(w) : OG_OK;
}

void og__writer_put_opset(og__writer *w, og__out *model, const char *domain, int version)
{
    og__out opset = og__out_in(w->arena);
    og__out_text(&opset, 1, domain);
    og__out_varint(&opset, 2, (uint64_t)version);
    og__out_message(model, MODEL_OPSET, &opset);
}

static og_status put_model(og__writer *w, og__out *model)
{
    OG_TRY(put_graph(w));
    og__out_varint(model, MODEL_IR, (uint64_t)w->ir);
    og__out_text(model, MODEL_PRODUCER, "ongrad");
    og__out_text(model, MODEL_PRODUCER_VERSION, og_version());
    og__out_message(model, MODEL_GRAPH, &w->out);
    og__writer_put_opset(w, model, "", w->opset);
    for (int i = 0; i < w->n_domains; i++)
        og__writer_put_opset(w, model, w->domain_list[i], OTHER_OPSET);
    for (int i = 0; i < w->g->n_metadata; i++) {
        og__out entry = og__out_in(w->arena);
        og__out_text(&entry, 1, w->g->metadata[i].key);
        og__out_text(&entry, 2, w->g->metadata[i].value);
        og__out_message(model, MODEL_METADATA, &entry);
    }
    if (model->failed)
        return og__writer_no_memory(w);
    if (model->size > INT32_MAX)
        return og_fail(w->error, OG_UNSUPPORTED,
                       "the graph has %llu bytes with its constants, ONNX files end at 2 GiB",
                       (unsigned long long)model->size);
    return OG_OK;
}

static og_status write_file(const og__out *model, const char *path, og_error *error)
{
    og__sink sink;
    og_status status = og__sink_open(&sink, path, error);
    if (status == OG_OK && !og__out_write(model, og__sink_write, &sink))
        status = OG_IO_ERROR;
    if (status == OG_OK)
        status = og__sink_finish(&sink);
    if (status == OG_OK)
        status = og__sink_commit(&sink);
    og__sink_abandon(&sink);
    return status;
}

static og_status write_model(const og_graph *g, og__external *lend, og_arena *arena, og__out *model,
                             og_error *error)
{
    og__writer w = {.g = g,
                    .arena = arena,
                    .error = error,
                    .out = og__out_in(arena),
                    .taken = og__names_in(arena),
                    .domains = og__names_in(arena),
                    .opset = OPSET,
                    .ir = IR,
                    .lend = lend};
    *model = og__out_in(arena);
    return og__writer_begin(&w) ? put_model(&w, model) : og__writer_no_memory(&w);
}

og_status og_onnx_save_graph(const og_graph *g, const char *path, og_error *error)
{
    og_arena *arena = og_arena_new();
    if (!arena)
        return og_fail_memory(error, 0, "writing the graph");
    og__out model;
    og_status status = write_model(g, NULL, arena, &model, error);
    if (status == OG_OK)
        status = write_file(&model, path, error);
    og_arena_free(arena);
    return status;
}

static bool append(void *user, const void *bytes, size_t size)
{
    uint8_t **at = user;
    memcpy(*at, bytes, size);
    *at += size;
    return true;
}

og_status og__graph_bytes(const og_graph *g, og__external *lend, og_arena *arena,
                          const uint8_t **bytes, size_t *size, og_error *error)
{
    og_arena *pieces = og_arena_new();
    if (!pieces)
        return og_fail_memory(error, 0, "writing the graph");
    og__out model;
    og_status status = write_model(g, lend, pieces, &model, error);
    if (status == OG_OK) {
        uint8_t *all = og_arena_alloc(arena, (size_t)model.size + 1), *end = all;
        if (!all || !og__out_write(&model, append, &end))
            status = og_fail_memory(error, (size_t)model.size, "a model");
        *bytes = all;
        *size = (size_t)model.size;
    }
    og_arena_free(pieces);
    return status;
}
