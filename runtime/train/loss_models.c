/* A loss that is a model itself. Its inputs are called like the trained model's outputs or inputs;
 * any other is a target of that name. Its first output is the loss: the mean over its elements,
 * exact under accumulation and for short batches if there is one a sample; a scalar counts once for
 * each micro-batch. It is joined to the trained model before anything is typed: gradients,
 * precision and plans see one graph. */
#include <string.h>

#include "runtime/train/train.h"

static void free_onnx(void *onnx)
{
    og_onnx_free(onnx);
}

static int input_by_name(const og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_inputs; i++)
        if (strcmp(g->values[g->inputs[i]]->name, name) == 0)
            return i;
    return -1;
}

og_status og__loss_model_open(og__losses *losses, og__loss_source *source, const og_graph *model,
                              og_arena *arena, og_error *error)
{
    og_onnx *onnx = og_onnx_load(source->path, error);
    if (!onnx)
        return error->status;
    if (!og_arena_defer(arena, free_onnx, onnx)) {
        og_onnx_free(onnx);
        return og_fail_memory(error, sizeof(void *), "a loss model");
    }
    const og_graph *g = og_onnx_graph(onnx);
    source->onnx = onnx;
    source->reads = og_arena_array(arena, (size_t)g->n_inputs + 1, sizeof(*source->reads));
    if (!source->reads)
        return og_fail_memory(error, sizeof(*source->reads), "a loss model");
    if (g->n_outputs == 0)
        return og_fail(error, OG_INVALID_MODEL, "%s: a loss model needs an output, the loss",
                       source->path);
    bool reads_output = false;
    for (int i = 0; i < g->n_inputs; i++) {
        const char *name = g->values[g->inputs[i]]->name;
        og__loss_input *reads = &source->reads[i];
        *reads = (og__loss_input){OG__READS_OUTPUT, og__output_by_name(model, name)};
        reads_output |= reads->index >= 0;
        if (reads->index < 0)
            *reads = (og__loss_input){OG__READS_INPUT, input_by_name(model, name)};
        if (reads->index < 0)
            *reads = (og__loss_input){OG__READS_TARGET, og__losses_target(losses, name, arena)};
        if (reads->index < 0)
            return og_fail_memory(error, sizeof(char *), "the targets");
    }
    if (reads_output)
        return OG_OK;
    og_text names = {0};
    for (int i = 0; i < model->n_outputs; i++)
        og_text_printf(&names, "%s\"%s\"", i ? ", " : "", model->outputs[i].name);
    og_fail(error, OG_INVALID_ARGUMENT,
            "%s: none of its inputs is called like an output of the model, which are %s",
            source->path, names.s ? names.s : "none");
    og_text_free(&names);
    return error->status;
}

/* An initializer of the joined graph must not be called like one of the trained model. */
static og_status check_names(const og__loss_source *source, const og_graph *model, og_error *error)
{
    size_t n = strlen(source->prefix);
    for (int i = 0; i < model->n_values; i++)
        if (strncmp(model->values[i]->name, source->prefix, n) == 0)
            return og_fail(error, OG_INVALID_ARGUMENT,
                           "the model has a tensor \"%s\", which could be one of %s; give the loss "
                           "another name with key name=NAME",
                           model->values[i]->name, source->path);
    return OG_OK;
}

static og_status join_one(const og__loss_source *source, const og_graph *model, og_graph *g,
                          const int *targets, og_part *part, og_error *error)
{
    const og_graph *loss = og_onnx_graph(source->onnx);
    int *inputs = og_arena_array(g->arena, (size_t)loss->n_inputs + 1, sizeof(int));
    int *map = og_arena_array(g->arena, (size_t)loss->n_values + 1, sizeof(int));
    if (!inputs || !map)
        return og_fail_memory(error, sizeof(int), "a loss model");
    for (int i = 0; i < loss->n_inputs; i++) {
        int index = source->reads[i].index;
        switch (source->reads[i].kind) {
        case OG__READS_INPUT:
            inputs[i] = model->inputs[index];
            break;
        case OG__READS_OUTPUT:
            inputs[i] = model->outputs[index].value;
            break;
        case OG__READS_TARGET:
            inputs[i] = targets[index];
            break;
        }
    }
    OG_TRY(check_names(source, model, error));
    og_graph_attach(g, loss, inputs, source->prefix, map);
    if (g->error.status != OG_OK)
        return og_error_move(error, &g->error);
    og_graph_add_output(g, source->prefix, og_val_of(g, map[loss->outputs[0].value]));
    *part = (og_part){loss, source->prefix, map};
    return og_error_move(error, &g->error);
}

og_graph *og__losses_join(og__losses *losses, const og_graph *model, og_arena *arena,
                          og_part *parts, int *n_parts, og_error *error)
{
    og_graph *g = og_graph_extend(model, arena);
    int *targets = og_arena_array(arena, (size_t)losses->n_targets + 1, sizeof(int));
    parts[0] = (og_part){model, "", NULL};
    *n_parts = 1;
    if (!g || !targets) {
        og_fail_memory(error, sizeof(*g), "the losses");
        return NULL;
    }
    const og_type untyped = {.rank = -1};
    for (int t = 0; t < losses->n_targets; t++) {
        /* No value of the model is called so, whatever the target's name. */
        const char *name = losses->n_targets == 1
                               ? "target"
                               : og_arena_printf(arena, "target.%s", losses->targets[t]);
        targets[t] = og_graph_add_input(g, name, &untyped).id;
    }
    for (int i = 0; i < losses->n && error->status == OG_OK; i++) {
        og__loss_source *source = &losses->sources[i];
        if (!source->path)
            continue;
        source->output = g->n_outputs;
        join_one(source, model, g, targets, &parts[*n_parts], error);
        ++*n_parts;
    }
    og_error_move(error, &g->error);
    return error->status == OG_OK ? g : NULL;
}
