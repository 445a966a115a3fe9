/* A graph as the algorithm of a model's TrainingInfoProto: run, it takes the model's inputs,
 * targets and a learning rate, and gives new content for the model's initializers and its own.
 *
 * The standard puts it behind the model's own graph: both share one set of names and one opset. So
 * what the model has (inputs, initializers that did not change) is read from there, every other
 * name is one that the model does not use, and nodes are written as the model's opset has them. */
#include <string.h>

#include "runtime/onnx/algorithm.h"
#include "runtime/onnx/graph_writer.h"

/* Since which opset an op reads as our rows have it; the others do from 13 on, but for types. Our
 * Reshape says allowzero. */
enum { OLDEST = 13, AXES_AS_INPUT = 18 };
static const struct {
    const char *op;
    int since;
} newer[] = {
    {"Reshape", 14},
    {"HardSwish", 14},
    {"CumSum", 14},
    {"Trilu", 14},
    {"Shape", 15},
    {"BatchNormalization", 15},
    {"PRelu", 16},
    {"ScatterElements", 16},
    {"ScatterND", 16},
    {"GridSample", 16},
    {"LayerNormalization", 17},
    {"Split", 18},
    {"Pad", 18},
    {"Resize", 18},
    {"Mish", 18},
    {"BitwiseAnd", 18},
    {"BitwiseOr", 18},
    {"BitwiseXor", 18},
    {"BitwiseNot", 18},
    {"Col2Im", 18},
    {"CenterCropPad", 18},
    {"AveragePool", 19},
    {"DeformConv", 19},
    {"Gelu", 20},
    {"AffineGrid", 20},
    {"DFT", 20},
};

static bool is_reduction(const char *op)
{
    return strncmp(op, "Reduce", 6) == 0 && strcmp(op, "ReduceSum") != 0;
}

static og_status too_new(og__writer *w, const og_node *n, int since)
{
    char text[256];
    return og_fail(w->error, OG_UNSUPPORTED, "%s needs opset %d, which is to be %d",
                   og_node_text(text, n), since, w->base_opset);
}

og_status og__algorithm_check_node(og__writer *w, const og_node *n, int *axes)
{
    if (w->n_domains || w->opset > w->base_opset)
        return too_new(w, n, w->opset);
    if (w->base_opset < OLDEST)
        return too_new(w, n, OLDEST);
    for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
        if (w->base_opset < newer[i].since && strcmp(n->op->name, newer[i].op) == 0)
            return too_new(w, n, newer[i].since);
    if (w->base_opset >= AXES_AS_INPUT || !is_reduction(n->op->name) || n->n_in < 2 || n->in[1] < 0)
        return OG_OK;
    if (w->g->values[n->in[1]]->kind != OG_VALUE_CONST)
        return too_new(w, n, AXES_AS_INPUT);
    *axes = 1;
    return OG_OK;
}

/* ---- names */

static bool take(og__writer *w, const og__field *name)
{
    const char *text = og_arena_strndup(w->arena, (const char *)name->bytes, name->size);
    return text && og__names_set(&w->taken, text, 1);
}

/* The names of a list's messages: field `number` of each. */
static bool take_names(og__writer *w, const og__field *message, uint32_t number)
{
    og__wire in = og__wire_inside(message);
    for (og__field f; og__wire_next(&in, &f) > 0;)
        if (f.number == number && f.type == OG__WIRE_BYTES && !take(w, &f))
            return false;
    return true;
}

/* Every name that the base's graph gives a value. */
static bool take_base(og__writer *w)
{
    static const struct {
        uint32_t list, name;
    } lists[] = {{GRAPH_NODE, NODE_OUTPUT},
                 {GRAPH_INITIALIZER, TENSOR_NAME},
                 {GRAPH_INPUT, VALUE_NAME},
                 {GRAPH_OUTPUT, VALUE_NAME}};
    og__wire model = og__wire_of(w->base->bytes, w->base->size);
    for (og__field m; og__wire_next(&model, &m) > 0;) {
        if (m.number != MODEL_GRAPH || m.type != OG__WIRE_BYTES)
            continue;
        og__wire graph = og__wire_inside(&m);
        for (og__field f; og__wire_next(&graph, &f) > 0;)
            for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
                if (f.number == lists[i].list && f.type == OG__WIRE_BYTES &&
                    !take_names(w, &f, lists[i].name))
                    return false;
    }
    return true;
}

static bool is_base_input(const og_onnx *base, const char *name)
{
    for (int i = 0; i < base->graph->n_inputs; i++)
        if (strcmp(base->graph->values[base->graph->inputs[i]]->name, name) == 0)
            return true;
    return false;
}

/* Is the constant an initializer of the base as it is there? */
static bool is_base_constant(const og_onnx *base, const og_value *v)
{
    int i;
    return v->kind == OG_VALUE_CONST && *v->name && v->data &&
           og__names_get(&base->initializer_index, v->name, &i) &&
           og_type_equal(&base->initializers[i].type, &v->type) &&
           (base->initializers[i].data == v->data ||
            memcmp(base->initializers[i].data, v->data, (size_t)og_type_bytes(&v->type)) == 0);
}

static og_status name_states(og__writer *w, const char *const *names)
{
    for (int i = 0; i < w->g->n_states; i++) {
        int known, id = w->g->states[i].in;
        const char *name = names[w->g->states[i].storage];
        if (!name)
            continue; /* an ordinary value: the graph writes before it reads */
        bool of_model = og__names_get(&w->base->initializer_index, name, &known);
        if (!of_model && og__names_get(&w->taken, name, &known))
            return og_fail(w->error, OG_UNSUPPORTED, "the model has a value named \"%s\"", name);
        if (!of_model && !og__names_set(&w->taken, name, 1))
            return og__writer_no_memory(w);
        w->names[id] = name;
    }
    return OG_OK;
}

static og_status name_values(og__writer *w, const char *const *states)
{
    const og_graph *g = w->g;
    if (!take_base(w))
        return og__writer_no_memory(w);
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        w->shared[i] = (v->kind == OG_VALUE_INPUT && is_base_input(w->base, v->name)) ||
                       is_base_constant(w->base, v);
        if (w->shared[i])
            w->names[i] = v->name;
    }
    OG_TRY(name_states(w, states));
    return og__writer_name_rest(w) ? OG_OK : og__writer_no_memory(w);
}

/* ---- the graph */

static og_status put_outputs(og__writer *w, og__out *bindings, const char *const *states)
{
    const og_graph *g = w->g;
    const char *made;
    bool *given;
    OG_TRY(og__writer_put_outputs(w, &given));
    for (int i = 0; i < g->n_states; i++) {
        const og_state *s = &g->states[i];
        if (s->out < 0 || !states[s->storage])
            continue;
        const char *wish = og_arena_printf(w->arena, "%s_new", w->names[s->in]);
        if (!wish)
            return og__writer_no_memory(w);
        OG_TRY(og__writer_put_output(w, wish, s->out, &given[s->out], &made));
        og__out entry = og__out_in(w->arena);
        og__out_text(&entry, 1, w->names[s->in]);
        og__out_text(&entry, 2, made);
        og__out_message(bindings, OG__TRAINING_UPDATE, &entry);
    }
    return OG_OK;
}

og_status og__algorithm_write(const og_onnx *base, const og_graph *g, const char *const *states,
                              og_arena *arena, og__out *graph, og__out *bindings, og_error *error)
{
    og__writer w = {.g = g,
                    .arena = arena,
                    .error = error,
                    .out = og__out_in(arena),
                    .taken = og__names_in(arena),
                    .domains = og__names_in(arena),
                    .base = base,
                    .base_opset = base->opset};
    if (!og__writer_begin(&w))
        return og__writer_no_memory(&w);
    OG_TRY(name_values(&w, states));
    og__writer_mark_used(&w);
    OG_TRY(og__writer_put_constants(&w));
    for (int i = 0; i < g->n_nodes; i++)
        OG_TRY(og__writer_put_node(&w, g->nodes[i]));
    for (int i = 0; i < g->n_inputs; i++)
        if (!w.shared[g->inputs[i]])
            og__writer_put_value_info(&w, GRAPH_INPUT, w.names[g->inputs[i]],
                                      &g->values[g->inputs[i]]->type);
    OG_TRY(put_outputs(&w, bindings, states));
    *graph = w.out;
    return w.out.failed || bindings->failed ? og__writer_no_memory(&w) : OG_OK;
}
