/* A model that says itself how it is trained (ONNX's TrainingInfoProto): the algorithm's graph is
 * the micro-batch, and its bindings say which of its outputs become which initializers. Those of
 * the model are parameters, those of the algorithm (moments, counters) moments. A step whose loss
 * is not finite changes nothing. What is saved is the model without it. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/train/train.h"

bool og__trains_itself(const og_model *m)
{
    return m->own_base != NULL;
}

int og_model_own_algorithms(const og_model *m)
{
    return og_onnx_own_algorithms(m->onnx);
}

static int constant_by_name(const og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->kind == OG_VALUE_CONST && strcmp(g->values[i]->name, name) == 0)
            return i;
    return -1;
}

static int value_by_name(const og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_values; i++)
        if (strcmp(g->values[i]->name, name) == 0)
            return i;
    return -1;
}

/* ---- its beginning */

/* The output's content, computed on the host; what is random there draws the same every time. */
static og_status first_content(og_model *m, const og_graph *typed, const og_onnx_binding *b,
                               const og_type *type, og_const *first)
{
    og_error *error = &m->context->error;
    const og_value *v = NULL;
    for (int i = 0; i < typed->n_outputs; i++)
        if (strcmp(typed->outputs[i].name, b->output) == 0)
            v = typed->values[typed->outputs[i].value];
    if (!v)
        return og_fail(error, OG_INVALID_MODEL,
                       "initialization_binding of \"%s\": the initialization has no output \"%s\"",
                       b->initializer, b->output);
    if (v->kind != OG_VALUE_CONST)
        return og_fail(error, OG_UNSUPPORTED,
                       "initialization of \"%s\": its value cannot be computed before training",
                       b->initializer);
    char have[160], want[160];
    if (!og_type_equal(&v->type, type))
        return og_fail(error, OG_INVALID_MODEL, "initialization of \"%s\" is %s, expected %s",
                       b->initializer, og_type_text(have, NULL, &v->type),
                       og_type_text(want, NULL, type));
    void *copy = og_arena_copy(m->arena, v->data, (size_t)og_type_bytes(type));
    *first = (og_const){*type, copy};
    return copy ? OG_OK : og_fail_memory(error, (size_t)og_type_bytes(type), "initialization");
}

static og_status read_firsts(og_model *m, const og_graph *typed)
{
    const og_onnx_training *t = &m->training;
    for (int i = 0; i < t->n_firsts; i++)
        for (int k = 0; k < t->n_updates; k++) {
            if (strcmp(t->firsts[i].initializer, t->updates[k].initializer) != 0)
                continue;
            int id = constant_by_name(m->graph, t->firsts[i].initializer);
            if (id >= 0)
                OG_TRY(first_content(m, typed, &t->firsts[i], &m->graph->values[id]->type,
                                     &m->firsts[k]));
        }
    return OG_OK;
}

static og_status initialize(og_model *m)
{
    const og_onnx_training *t = &m->training;
    og_error *error = &m->context->error;
    og_onnx *onnx = og_onnx_load_memory(t->initialization, t->initialization_size, NULL, error);
    og_arena *arena = onnx ? og_arena_new() : NULL;
    og_evaluator evaluator = og_eager_evaluator(m->context->host);
    og_graph *g =
        arena ? og_pass_infer(og_onnx_graph(onnx), &(og_binding){0}, evaluator, arena) : NULL;
    if (g && g->error.status == OG_OK)
        g = og_pass_inference_form(g);
    if (g && g->error.status == OG_OK)
        g = og_pass_infer(g, &(og_binding){0}, evaluator, arena);
    og_status status = error->status;
    if (g)
        status = og_error_move(error, &g->error);
    else if (status == OG_OK)
        status = og_fail_memory(error, sizeof(og_graph), "initialization");
    if (status == OG_OK)
        status = read_firsts(m, g);
    if (status != OG_OK)
        og_error_prefix(error, "the model's initialization");
    og_onnx_free(onnx);
    og_arena_free(arena);
    return status;
}

og_status og_model_use_algorithm(og_model *m, bool begin, const char **loss)
{
    og_error *error = &m->context->error;
    og__context_begin(m->context);
    og_onnx *whole = og_onnx_with_algorithm(m->onnx, &m->training, error);
    if (!whole) {
        og_error_prefix(error, "the model's training algorithm");
        return error->status;
    }
    m->own_base = m->onnx;
    m->onnx = whole;
    m->graph = og_onnx_graph(whole);
    *loss = m->training.loss;
    if (!*loss)
        return og_fail(error, OG_UNSUPPORTED,
                       "the model's training algorithm has no output but its updates; ongrad needs "
                       "one more, the loss");
    m->firsts = og_arena_array(m->arena, (size_t)m->training.n_updates + 1, sizeof(*m->firsts));
    if (!m->firsts)
        return og_fail_memory(error, sizeof(*m->firsts), "the model's training algorithm");
    return begin && m->training.initialization ? initialize(m) : OG_OK;
}

/* ---- a session of it */

/* Options that say how to train. */
static og_status check_options(og_session *s)
{
    static const char *const others[] = {"optimizer",
                                         "lr",
                                         "weight_decay",
                                         "momentum",
                                         "nesterov",
                                         "betas",
                                         "eps",
                                         "alpha",
                                         "centered",
                                         "max_norm",
                                         "ema",
                                         "lora",
                                         "amp",
                                         "loss_scale",
                                         "scheduler",
                                         "use_scheduler",
                                         "freeze",
                                         "trainable",
                                         "lr_scale",
                                         "no_decay",
                                         "freeze_bn",
                                         "num_classes",
                                         "init_from",
                                         "reinit",
                                         "label_smoothing",
                                         "class_weights",
                                         "gradient_accumulation_steps"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (og_options_is_set(s->options, others[i]))
            return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                           "option %s: the model trains by an algorithm of its own, which knows "
                           "no options; with option loss it is trained by ours",
                           others[i]);
    if (s->attempt.pieces > 1)
        return og_fail(&s->context->error, OG_OUT_OF_MEMORY,
                       "the model's own algorithm takes a batch whole, which does not fit: give a "
                       "smaller batch_size");
    return OG_OK;
}

og_status og__own_outputs(og_session *s, og_graph *joined)
{
    const og_model *m = s->model;
    OG_TRY(check_options(s));
    s->optimizer.elsewhere = true;
    s->optimizer.max_norm = 0;
    for (int i = 0; i < m->training.n_updates; i++) {
        const og_onnx_binding *b = &m->training.updates[i];
        int id = value_by_name(joined, b->output);
        if (id < 0)
            return og_fail(&s->context->error, OG_INVALID_MODEL,
                           "update_binding of \"%s\": the algorithm has no value \"%s\"",
                           b->initializer, b->output);
        og_graph_add_output(joined, b->output, og_val_of(joined, id));
    }
    return og_error_move(&s->context->error, &joined->error);
}

static bool is_updated(const og_model *m, const char *name)
{
    for (int i = 0; i < m->training.n_updates; i++)
        if (strcmp(m->training.updates[i].initializer, name) == 0)
            return true;
    return false;
}

void og__own_params(const og_model *m, og_params *params)
{
    const og_graph *base = og_onnx_graph(m->own_base);
    for (int i = 0; i < params->n; i++) {
        og_param *p = &params->items[i];
        bool of_model = constant_by_name(base, p->name) >= 0;
        p->buffer = false;
        p->trained = of_model && is_updated(m, p->name);
        p->reason = p->trained ? "the model's own algorithm updates it"
                    : of_model ? "the model's own algorithm does not update it"
                               : "of the model's own algorithm";
    }
}

og_status og__own_states(og_session *s)
{
    const og_model *m = s->model;
    og_error *error = &s->context->error;
    for (int i = 0; i < m->training.n_updates; i++) {
        const char *name = m->training.updates[i].initializer;
        int id = constant_by_name(s->joined, name);
        if (id < 0)
            return og_fail(error, OG_INVALID_MODEL,
                           "update_binding of \"%s\": there is no such initializer", name);
        const og_value *v = s->joined->values[id];
        if (s->storage_of[id] < 0)
            s->storage_of[id] =
                og_storage_get(&s->storages, OG_STORAGE_MOMENT, name, &v->type, v->data, 0);
        if (s->storage_of[id] < 0)
            return og_fail_memory(error, sizeof(og_storage), "states");
        if (m->firsts[i].data)
            s->storages.items[s->storage_of[id]].initial = m->firsts[i].data;
    }
    return OG_OK;
}

void og__own_updates(og_session *s, og_graph *g, og_val loss, int n)
{
    const og_model *m = s->model;
    og_val finite = IsFinite(loss);
    for (int i = 0; i < m->training.n_updates && g->error.status == OG_OK; i++) {
        int id = constant_by_name(s->joined, m->training.updates[i].initializer);
        const og_storage st = s->storages.items[s->storage_of[id]];
        og_val old =
            og_storage_state(g, &s->storages, st.kind, st.name, &st.type, st.initial, st.fill);
        og_val renewed = og_val_of(g, g->outputs[n + i].value);
        char have[160], want[160];
        if (!og_type_equal(og_type_of(renewed), &st.type)) {
            og_fail(&g->error, OG_INVALID_MODEL,
                    "update_binding of \"%s\": it is %s, its update \"%s\" %s", st.name,
                    og_type_text(want, NULL, &st.type), m->training.updates[i].output,
                    og_type_text(have, NULL, og_type_of(renewed)));
            return;
        }
        og_graph_set_state(g, old, Where(finite, renewed, old));
    }
}
