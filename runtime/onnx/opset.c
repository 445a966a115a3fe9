/* A loaded model in another opset: its graph, whose nodes are in the newest form of their op, is
 * written in that of the opset asked for. The frame stays: inputs and outputs as they are declared,
 * metadata, and what else the file says of the model. Functions are inlined. */
#include <string.h>

#include "runtime/onnx/form.h"
#include "runtime/onnx/graph_writer.h"

enum { OLDEST = 13, MODEL_FUNCTIONS = 25 };

/* The least IR version of a model of that opset. */
static int ir_of(int opset)
{
    static const struct {
        int opset, ir;
    } versions[] = {{24, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8}, {0, 7}};
    int i = 0;
    while (opset < versions[i].opset)
        i++;
    return versions[i].ir;
}

/* What the file says of inputs, outputs, and values between that are still there. */
static void put_frame(og__writer *w, og__wire graph)
{
    int known;
    for (og__field f, name; og__wire_next(&graph, &f) > 0;) {
        bool value = f.type == OG__WIRE_BYTES && f.number == GRAPH_VALUE_INFO;
        if (value && og__wire_find(og__wire_inside(&f), VALUE_NAME, &name)) {
            const char *text = og_arena_strndup(w->arena, (const char *)name.bytes, name.size);
            value = text && og__names_get(&w->taken, text, &known);
        }
        if (value || f.number == GRAPH_INPUT || f.number == GRAPH_OUTPUT)
            og__out_raw(&w->out, f.start, f.total);
    }
}

/* Each output's name is that of its value, or of an Identity of it. */
static og_status put_outputs(og__writer *w)
{
    const og_graph *g = w->g;
    const char *made;
    bool *given = og_arena_array(w->arena, (size_t)g->n_values + 1, sizeof(*given));
    if (!given)
        return og__writer_no_memory(w);
    for (int i = 0; i < g->n_outputs; i++) {
        const og_output *o = &g->outputs[i];
        if (g->values[o->value]->kind != OG_VALUE_NODE && strcmp(w->names[o->value], o->name) == 0)
            continue; /* an input or initializer, given out as it is */
        OG_TRY(og__writer_put_output(w, o->name, o->value, &given[o->value], &made));
        if (strcmp(made, o->name) != 0)
            return og_fail(w->error, OG_UNSUPPORTED, "another value has the name of output \"%s\"",
                           o->name);
    }
    return OG_OK;
}

static og_status put_model(og__writer *w, const og_onnx *base, og__out *model)
{
    og__wire in = og__wire_of(base->bytes, base->size);
    OG_TRY(og__writer_put_body(w));
    OG_TRY(put_outputs(w));
    for (og__field f; og__wire_next(&in, &f) > 0;) {
        switch (f.number) {
        case MODEL_IR:
            og__out_varint(model, MODEL_IR, f.value > (uint64_t)w->ir ? f.value : (uint64_t)w->ir);
            break;
        case MODEL_GRAPH:
            put_frame(w, og__wire_inside(&f));
            og__out_message(model, MODEL_GRAPH, &w->out);
            break;
        case MODEL_OPSET:
        case MODEL_FUNCTIONS:
        case MODEL_TRAINING: /* of the opset that was */
            break;
        default:
            og__out_raw(model, f.start, f.total);
        }
    }
    og__writer_put_opset(w, model, "", w->base_opset);
    return model->failed || w->out.failed ? og__writer_no_memory(w) : OG_OK;
}

static bool append(void *user, const void *bytes, size_t size)
{
    uint8_t **at = user;
    memcpy(*at, bytes, size);
    *at += size;
    return true;
}

og_status og__opset_bytes(const og_onnx *base, int opset, og_arena *arena, const uint8_t **bytes,
                          size_t *size, og_error *error)
{
    if (opset < OLDEST || opset > OG__OPSET_NEWEST)
        return og_fail(error, OG_INVALID_ARGUMENT, "opset %d cannot be written, %d to %d can",
                       opset, OLDEST, OG__OPSET_NEWEST);
    og__writer w = {.g = base->graph,
                    .arena = arena,
                    .error = error,
                    .out = og__out_in(arena),
                    .taken = og__names_in(arena),
                    .domains = og__names_in(arena),
                    .opset = opset,
                    .ir = ir_of(opset),
                    .base_opset = opset,
                    .framed = true,
                    .lend = base->external};
    og__out model = og__out_in(arena);
    if (!og__writer_begin(&w))
        return og__writer_no_memory(&w);
    OG_TRY(put_model(&w, base, &model));
    uint8_t *all = og_arena_alloc(arena, (size_t)model.size + 1);
    if (!all)
        return og__writer_no_memory(&w);
    *bytes = all;
    *size = (size_t)model.size;
    og__out_write(&model, append, &all);
    return OG_OK;
}
