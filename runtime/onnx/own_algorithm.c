/* A model's own way to train, as its TrainingInfoProto has it: the algorithm's graph behind the
 * model's, which the standard makes one graph of names, and what of its outputs becomes which
 * initializer. Gradient nodes name the value that they differentiate in an attribute; here it
 * becomes their last input, so that everything a node reads is an input. */
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"
#include "runtime/onnx/rewrite.h"

enum { INITIALIZATION = 1, ALGORITHM = 2, INITIALIZATION_BINDING = 3, UPDATE_BINDING = 4 };

typedef struct joiner {
    const og_onnx *base;
    og_onnx_training *training;
    og_arena *arena; /* of the joined model */
    og_error *error;
    og__field info, algorithm; /* the TrainingInfoProto; its algorithm */
} joiner;

static og_status no_memory(const joiner *j)
{
    return og_fail_memory(j->error, 0, "the model's algorithm");
}

static const char *text(const joiner *j, const og__field *f)
{
    return og_arena_strndup(j->arena, (const char *)f->bytes, f->size);
}

/* The training information that is no checkpoint's of ours, and how many there are. */
static int find_own(const og_onnx *onnx, og__field *info, og__field *algorithm)
{
    int n = 0;
    og__wire in = og__wire_of(onnx->bytes, onnx->size);
    for (og__field f, graph, name; og__wire_next(&in, &f) > 0;)
        if (f.number == MODEL_TRAINING && f.type == OG__WIRE_BYTES &&
            og__wire_find(og__wire_inside(&f), ALGORITHM, &graph) &&
            !(og__wire_find(og__wire_inside(&graph), GRAPH_NAME, &name) &&
              og__field_is(&name, OG__ALGORITHM)) &&
            og__wire_find(og__wire_inside(&graph), GRAPH_NODE, &name)) {
            *info = f;
            *algorithm = graph;
            n++;
        }
    return n;
}

int og_onnx_own_algorithms(const og_onnx *onnx)
{
    og__field info, algorithm;
    return find_own(onnx, &info, &algorithm);
}

static og_status read_bindings(joiner *j, uint32_t number, og_onnx_binding **bindings, int *n)
{
    size_t capacity = 0;
    og__wire in = og__wire_inside(&j->info);
    for (og__field f, key, value; og__wire_next(&in, &f) > 0;) {
        if (f.number != number || f.type != OG__WIRE_BYTES ||
            !og__wire_find(og__wire_inside(&f), ENTRY_KEY, &key) ||
            !og__wire_find(og__wire_inside(&f), ENTRY_VALUE, &value))
            continue;
        og_onnx_binding *grown =
            og_arena_grow(j->arena, *bindings, (size_t)*n, &capacity, sizeof(*grown));
        const char *initializer = text(j, &key), *output = text(j, &value);
        if (!grown || !initializer || !output)
            return no_memory(j);
        *bindings = grown;
        (*bindings)[(*n)++] = (og_onnx_binding){initializer, output};
    }
    return OG_OK;
}

static bool is_update(const joiner *j, const og__field *name)
{
    for (int i = 0; i < j->training->n_updates; i++)
        if (og__field_is(name, j->training->updates[i].output))
            return true;
    return false;
}

static bool is_base_input(const joiner *j, const og__field *name)
{
    const og_graph *g = j->base->graph;
    for (int i = 0; i < g->n_inputs; i++)
        if (og__field_is(name, g->values[g->inputs[i]]->name))
            return true;
    return false;
}

/* ---- Gradient */

/* Attribute `name` of a Gradient: its k-th string. */
static bool string_at(og__wire node, const char *name, int k, og__field *found)
{
    for (og__field f, own; og__wire_next(&node, &f) > 0;) {
        if (f.number != NODE_ATTRIBUTE || f.type != OG__WIRE_BYTES ||
            !og__wire_find(og__wire_inside(&f), ATTR_NAME, &own) || !og__field_is(&own, name))
            continue;
        og__wire in = og__wire_inside(&f);
        while (og__wire_next(&in, found) > 0)
            if ((found->number == ATTR_STRINGS || found->number == ATTR_S) && k-- == 0)
                return true;
    }
    return false;
}

static bool is_gradient(og__wire node)
{
    og__field op, domain;
    return og__wire_find(node, NODE_OP, &op) && og__field_is(&op, "Gradient") &&
           og__wire_find(node, NODE_DOMAIN, &domain) && og__field_is(&domain, OG_TRAINING_DOMAIN);
}

/* xs and zs are the names of what is read, so that the part between them and y is that of the
 * graph. */
static og_status write_gradient(joiner *j, const og__field *f, og__out *out)
{
    og__wire in = og__wire_inside(f);
    og__out node = og__out_in(j->arena);
    og__field part, y, named;
    int n = 0, n_xs = 0;
    while (string_at(in, "xs", n_xs, &named))
        n_xs++;
    for (og__wire at = in; og__wire_next(&at, &part) > 0;) {
        if (part.number == NODE_INPUT) {
            bool x = n < n_xs;
            if (!string_at(in, x ? "xs" : "zs", x ? n : n - n_xs, &named) ||
                named.size != part.size || memcmp(named.bytes, part.bytes, part.size) != 0)
                return og_fail(j->error, OG_UNSUPPORTED,
                               "Gradient: input %d is \"%.*s\", which attribute %s does not name; "
                               "a gradient at other values than the graph's is not supported",
                               n, (int)part.size, part.bytes, x ? "xs" : "zs");
            n++;
            if (!x)
                continue; /* held constant, as all else is */
        }
        if (part.number != NODE_ATTRIBUTE)
            og__out_raw(&node, part.start, part.total);
    }
    if (!string_at(in, "y", 0, &y) || n < n_xs)
        return og_fail(j->error, OG_INVALID_MODEL, "Gradient: %s",
                       n < n_xs ? "it has fewer inputs than attribute xs names" : "it has no y");
    og__out_bytes(&node, NODE_INPUT, y.bytes, y.size);
    og__out_message(out, GRAPH_NODE, &node);
    return OG_OK;
}

/* ---- the joined graph */

static og_status write_algorithm(joiner *j, og__out *out)
{
    og__wire in = og__wire_inside(&j->algorithm);
    for (og__field f, name; og__wire_next(&in, &f) > 0;) {
        bool named =
            f.type == OG__WIRE_BYTES && og__wire_find(og__wire_inside(&f), VALUE_NAME, &name);
        switch (f.number) {
        case GRAPH_NODE:
            if (is_gradient(og__wire_inside(&f)))
                OG_TRY(write_gradient(j, &f, out));
            else
                og__out_raw(out, f.start, f.total);
            break;
        case GRAPH_OUTPUT:
            if (!named || is_update(j, &name))
                break;
            if (!j->training->loss && !(j->training->loss = text(j, &name)))
                return no_memory(j);
            og__out_raw(out, f.start, f.total);
            break;
        case GRAPH_INPUT:
            if (named && !is_base_input(j, &name))
                og__out_raw(out, f.start, f.total);
            break;
        case GRAPH_INITIALIZER:
        case GRAPH_VALUE_INFO:
            og__out_raw(out, f.start, f.total);
            break;
        default:
            break;
        }
    }
    return OG_OK;
}

static bool append(void *user, const void *bytes, size_t size)
{
    uint8_t **at = user;
    memcpy(*at, bytes, size);
    *at += size;
    return true;
}

static og_status finish(const joiner *j, const og__out *out, const uint8_t **bytes, size_t *size)
{
    uint8_t *all = out->failed ? NULL : og_arena_alloc(j->arena, (size_t)out->size + 1);
    if (!all)
        return no_memory(j);
    *bytes = all;
    *size = (size_t)out->size;
    og__out_write(out, append, &all);
    return OG_OK;
}

/* The initialization as a model of its own. */
static og_status write_initialization(joiner *j)
{
    og__field graph, f;
    og__out out = og__out_in(j->arena);
    if (!og__wire_find(og__wire_inside(&j->info), INITIALIZATION, &graph))
        return OG_OK;
    og__wire in = og__wire_of(j->base->bytes, j->base->size);
    while (og__wire_next(&in, &f) > 0)
        if (f.number == MODEL_IR || f.number == MODEL_OPSET)
            og__out_raw(&out, f.start, f.total);
    og__out_bytes(&out, MODEL_GRAPH, graph.bytes, graph.size);
    return finish(j, &out, &j->training->initialization, &j->training->initialization_size);
}

og_status og__joined_bytes(const og_onnx *base, og_onnx_training *training, og_arena *arena,
                           const uint8_t **bytes, size_t *size, og_error *error)
{
    joiner j = {.base = base, .training = training, .arena = arena, .error = error};
    *training = (og_onnx_training){0};
    int n = find_own(base, &j.info, &j.algorithm);
    if (n != 1)
        return og_fail(error, OG_UNSUPPORTED,
                       n ? "the model has %d training algorithms, one is supported"
                         : "the model has no training algorithm of its own (%d)",
                       n);
    OG_TRY(read_bindings(&j, UPDATE_BINDING, &training->updates, &training->n_updates));
    OG_TRY(read_bindings(&j, INITIALIZATION_BINDING, &training->firsts, &training->n_firsts));
    if (!training->n_updates)
        return og_fail(error, OG_INVALID_MODEL,
                       "the model's training algorithm updates nothing: it has no update_binding");
    OG_TRY(write_initialization(&j));
    og__out out = og__out_in(arena);
    og__wire in = og__wire_of(base->bytes, base->size);
    for (og__field f; og__wire_next(&in, &f) > 0;) {
        if (f.number == MODEL_TRAINING)
            continue;
        if (f.number != MODEL_GRAPH || f.type != OG__WIRE_BYTES) {
            og__out_raw(&out, f.start, f.total);
            continue;
        }
        og__out graph = og__out_in(arena);
        og__out_raw(&graph, f.bytes, f.size);
        OG_TRY(write_algorithm(&j, &graph));
        og__out_message(&out, MODEL_GRAPH, &graph);
    }
    return finish(&j, &out, bytes, size);
}
