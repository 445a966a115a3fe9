/* The model as loaded: inputs, outputs, parameters. */
#include <stdlib.h>
#include <string.h>

#include "runtime/train/train.h"

og_model *og__model_of(og_context *c, og_onnx *onnx)
{
    if (!onnx)
        return NULL;
    og_model *m = calloc(1, sizeof(*m));
    if (m)
        m->arena = og_arena_new();
    if (!m || !m->arena) {
        og_fail_memory(&c->error, sizeof(*m), "a model");
        og_onnx_free(onnx);
        free(m);
        return NULL;
    }
    m->context = c;
    m->onnx = onnx;
    m->graph = og_onnx_graph(onnx);
    return m;
}

og_model *og_model_load(og_context *c, const char *path)
{
    og__context_begin(c);
    return og__model_of(c, og_onnx_load(path, &c->error));
}

og_model *og_model_load_memory(og_context *c, const void *bytes, size_t size, const char *folder)
{
    og__context_begin(c);
    return og__model_of(c, og_onnx_load_memory(bytes, size, folder, &c->error));
}

void og_model_free(og_model *m)
{
    if (!m)
        return;
    og_arena_free(m->inspect_arena);
    free(m->problems);
    og_text_free(&m->changes);
    og_text_free(&m->export_notes);
    og_text_free(&m->attributes);
    og_onnx_free(m->onnx);
    og_onnx_free(m->source);
    og_arena_free(m->arena);
    free(m);
}

og_status og_model_save(const og_model *m, const char *path)
{
    og__context_begin(m->context);
    og_onnx_recall(m->onnx);
    return og_onnx_save_as_is(m->onnx, path, OG__EXTERNAL_ABOVE, &m->context->error);
}

int og_model_input_count(const og_model *m)
{
    return m->graph->n_inputs;
}

int og_model_output_count(const og_model *m)
{
    return m->graph->n_outputs;
}

static void describe_type(const og_graph *g, const og_type *t, og_tensor_info *info)
{
    info->dtype = t->dtype;
    info->rank = t->rank;
    for (int i = 0; i < t->rank; i++) {
        int64_t d = t->dims[i];
        info->dims[i] = d < 0 ? -1 : d;
        info->dim_names[i] = d < 0 && -d <= g->n_symbols ? g->symbols[-d - 1] : NULL;
    }
}

static og_status out_of_range(og_context *c, const char *what, int index, int n)
{
    og__context_begin(c);
    return og_fail(&c->error, OG_INVALID_ARGUMENT, "%s %d does not exist; there are %d", what,
                   index, n);
}

og_status og_model_input(const og_model *m, int index, og_tensor_info *info)
{
    const og_graph *g = m->graph;
    if (index < 0 || index >= g->n_inputs)
        return out_of_range(m->context, "input", index, g->n_inputs);
    const og_value *v = g->values[g->inputs[index]];
    *info = (og_tensor_info){.name = v->name};
    describe_type(g, &v->type, info);
    return OG_OK;
}

og_status og_model_output(const og_model *m, int index, og_tensor_info *info)
{
    const og_graph *g = m->graph;
    if (index < 0 || index >= g->n_outputs)
        return out_of_range(m->context, "output", index, g->n_outputs);
    *info = (og_tensor_info){.name = g->outputs[index].name};
    describe_type(g, &g->values[g->outputs[index].value]->type, info);
    return OG_OK;
}

og_status og__model_classify(const og_model *m, const og_part *parts, int n_parts,
                             const og_options *options, og_arena *arena, og_params *params)
{
    og_rules rules = {.fresh = m->fresh, .n_fresh = m->n_fresh};
    const struct {
        const char *option;
        og_globs *globs;
    } lists[] = {{"freeze", &rules.freeze},
                 {"trainable", &rules.trainable},
                 {"freeze_bn", &rules.freeze_bn},
                 {"lr_scale", &rules.lr_scale},
                 {"no_decay", &rules.no_decay}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        lists[i].globs->items = og__option_list(options, lists[i].option, &lists[i].globs->n);
    const char **adapters = og_arena_array(arena, 2 * (size_t)m->n_adapters + 1, sizeof(*adapters));
    if (!adapters)
        return og_fail_memory(&m->context->error, sizeof(*adapters), "the list of parameters");
    for (int i = 0; i < m->n_adapters; i++) {
        adapters[2 * i] = m->adapters[i].a;
        adapters[2 * i + 1] = m->adapters[i].b;
    }
    rules.adapters = adapters;
    rules.n_adapters = 2 * m->n_adapters;
    OG_TRY(og_classify(parts, n_parts, &rules, arena, params, &m->context->error));
    if (og__trains_itself(m))
        og__own_params(m, params);
    return OG_OK;
}

/* Once a model: parameters that its exporter made vanish. */
static void warn_of_folds(og_model *m)
{
    char first[128];
    int n = m->warned ? 0 : og_folded_norms(m->graph, first);
    m->warned = true;
    if (n > 0)
        og__log(m->context, OG_LOG_WARNING,
                "the exporter folded %d BatchNormalization%s into other weights (the first is "
                "\"%s\"): the model trains without; torch.onnx.export(…, optimize=False) keeps "
                "%s",
                n, n > 1 ? "s" : "", first, n > 1 ? "them" : "it");
}

int og_model_parameter_count(og_model *m, const og_options *options)
{
    og__losses losses;
    og_error *error = &m->context->error;
    int n_parts = 0;
    og__context_begin(m->context);
    warn_of_folds(m);
    if (og__losses_parse(&losses, m->graph, options, m->arena, error) != OG_OK)
        return -1;
    og_part *parts = og_arena_array(m->arena, (size_t)losses.n + 1, sizeof(*parts));
    if (!parts)
        og_fail_memory(error, sizeof(*parts), "the list of parameters");
    else if (og__losses_join(&losses, m->graph, m->arena, parts, &n_parts, error))
        og__model_classify(m, parts, n_parts, options, m->arena, &m->params);
    return error->status == OG_OK ? m->params.n : -1;
}

og_status og_model_parameter(const og_model *m, int index, og_parameter_info *info)
{
    if (index < 0 || index >= m->params.n)
        return out_of_range(m->context, "parameter", index, m->params.n);
    const og_param *p = &m->params.items[index];
    const og_type *t = p->type;
    *info = (og_parameter_info){.name = p->name,
                                .loss_model = p->part > 0,
                                .dtype = t->dtype,
                                .rank = t->rank,
                                .trained = p->trained,
                                .buffer = p->buffer,
                                .lr_scale = p->lr_scale,
                                .no_decay = p->no_decay,
                                .reason = p->reason};
    memcpy(info->dims, t->dims, sizeof(info->dims));
    return OG_OK;
}

void og_model_describe(const og_model *m, og_model_info *info)
{
    og_params params = {0};
    *info = (og_model_info){.ir_version = og_onnx_ir_version(m->onnx),
                            .opset = og_onnx_opset(m->onnx),
                            .producer = og_onnx_producer(m->onnx),
                            .nodes = m->graph->n_nodes};
    og_error ignored = {0};
    og_part part = {m->graph, "", NULL};
    og_classify(&part, 1, &(og_rules){0}, m->arena, &params, &ignored);
    og_error_clear(&ignored);
    for (int i = 0; i < params.n; i++)
        if (params.items[i].trained) {
            info->parameters++;
            info->parameter_elements += og_type_elements(params.items[i].type);
        }
}

/* ---- losses */

int og_model_loss_count(og_model *m, const og_options *options)
{
    og__context_begin(m->context);
    og_error *error = &m->context->error;
    return og__losses_parse(&m->losses, m->graph, options, m->arena, error) == OG_OK ? m->losses.n
                                                                                     : -1;
}

og_status og_model_loss(const og_model *m, int index, og_loss_info *info)
{
    if (index < 0 || index >= m->losses.n)
        return out_of_range(m->context, "loss", index, m->losses.n);
    const og_loss *l = &m->losses.items[index];
    const og__loss_source *source = &m->losses.sources[index];
    *info = (og_loss_info){.name = l->label,
                           .loss = source->path ? source->path : l->name,
                           .output = source->path ? -1 : source->output,
                           .target = source->target,
                           .weight = l->weight,
                           .is_model = source->path != NULL,
                           .classes = !source->path && og_loss_is_of_classes(l->name),
                           .ignore_index = l->ignore_index};
    return OG_OK;
}

int og_model_target_count(const og_model *m)
{
    return m->losses.n_targets;
}

const char *og_model_target_name(const og_model *m, int index)
{
    return index >= 0 && index < m->losses.n_targets ? m->losses.targets[index] : NULL;
}
