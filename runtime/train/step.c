/* Stepping a session: micro-batches, updates, evaluation, parameters, saving. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/print.h"
#include "runtime/train/train.h"

/* ---- plans by number of samples */

static og_plan *find_plan(og_session *s, og_plan_kind kind, int64_t samples)
{
    og_error *error = &s->context->error;
    for (int i = 0; i < s->n_plans; i++)
        if (s->plans[i].kind == kind && s->plans[i].samples == samples)
            return s->plans[i].plan;
    og_arena *arena = og_arena_new();
    og_plan_entry *grown =
        og_arena_grow(s->arena, s->plans, (size_t)s->n_plans, &s->plans_capacity, sizeof(*grown));
    if (!arena || !grown) {
        og_fail_memory(error, sizeof(*grown), "a plan");
        og_arena_free(arena);
        return NULL;
    }
    s->plans = grown;
    int n_storages = s->storages.n;
    og_graph *g = kind == OG_PLAN_MICRO
                      ? og__build_micro(s, samples, arena)
                      : og__build_forward(s, samples, kind == OG_PLAN_EVAL, arena);
    og_plan *plan = og__plan_graph(s, g, false, arena);
    if (!plan)
        return NULL;
    if (s->storages.n != n_storages) {
        og_fail(error, OG_INTERNAL,
                "a plan for %lld samples needs state that the full batch does not",
                (long long)samples);
        og_plan_free(plan);
        return NULL;
    }
    if (plan->activation_bytes > s->activation_bytes) { /* evaluation can need more than training */
        og_device *d = s->context->device;
        uint64_t peak = s->state_bytes + plan->activation_bytes;
        if (peak > s->memory.budget) {
            char need[32], have[32];
            og_fail(error, OG_OUT_OF_MEMORY, "evaluation needs %s, the budget is %s",
                    og_format_bytes(need, peak), og_format_bytes(have, s->memory.budget));
            og_plan_free(plan);
            return NULL;
        }
        void *larger = d->alloc(d, plan->activation_bytes);
        if (!larger) {
            og_fail_memory(error, plan->activation_bytes, "evaluation");
            og_plan_free(plan);
            return NULL;
        }
        d->free(d, s->activations, s->activation_bytes);
        s->activations = larger;
        s->activation_bytes = plan->activation_bytes;
        s->memory.activations = plan->activation_bytes;
        s->memory.peak = peak;
        for (int i = 0; i < s->n_plans; i++)
            og_plan_bind(s->plans[i].plan, s->states, s->activations);
        if (s->update)
            og_plan_bind(s->update, s->states, s->activations);
    }
    og_plan_bind(plan, s->states, s->activations);
    s->plans[s->n_plans++] = (og_plan_entry){kind, samples, plan};
    return plan;
}

/* profile NULL: not timed. */
static og_status run_plan(og_session *s, og_plan *plan, og_profile *profile,
                          const atomic_bool *cancel)
{
    og_error *error = &s->context->error;
    if (s->check_memory)
        return og_plan_run_checked(plan, s->state_bytes, error);
    if (profile)
        return og_plan_run_profiled(plan, profile, cancel, error);
    return og_plan_run(plan, cancel, error);
}

/* ---- training */

static og_status begin(og_session *s, int64_t samples)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    if (s->broken)
        return og_fail(error, OG_INTERNAL, "an earlier error left this session unusable");
    if (samples < 1 || samples > s->batch)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "%lld samples were given; the session was planned for 1 to %lld",
                       (long long)samples, (long long)s->batch);
    return OG_OK;
}

/* targets: in the caller's order; NULL where the plan has no losses. */
static void set_inputs(og_session *s, og_plan *plan, const void *const *inputs,
                       const void *const *targets)
{
    for (int i = 0; i < s->n_inputs; i++)
        og_plan_set_input(plan, i, inputs[i]);
    for (int t = 0; targets && t < s->losses.n_targets; t++)
        og_plan_set_input(plan, s->n_inputs + s->target_place[t], targets[t]);
}

static char *state_at(const og_session *s, int storage)
{
    return (char *)s->states + s->storages.items[storage].offset;
}

/* Back to the state after the last update: sums zero, staged statistics as the running ones. */
static void discard_sums(og_session *s)
{
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *st = &s->storages.items[i];
        size_t bytes = (size_t)og_type_bytes(&st->type);
        if (st->kind == OG_STORAGE_GRADIENT || og_total_is_sum(st))
            memset(state_at(s, i), 0, bytes);
        else if (st->kind == OG_STORAGE_STAGED)
            memcpy(state_at(s, i), state_at(s, st->of), bytes);
    }
    s->pending = 0;
}

static og_status update(og_session *s, og_step_result *result)
{
    og_error *error = &s->context->error;
    og_plan *plan = s->update;
    og_plan_set_input(plan, 0, &s->lr);
    og_status status = run_plan(s, plan, s->profile, NULL);
    if (status != OG_OK) {
        s->broken = true;
        return status;
    }
    s->pending = 0;
    s->step++;
    for (int i = 0; i < s->losses.n; i++)
        s->means[i] = *(const double *)og_plan_output(plan, OG_UPDATE_MEANS + i);
    *result =
        (og_step_result){.updated = true,
                         .step = s->step,
                         .lr = s->lr,
                         .loss_scale = *(const double *)og_plan_output(plan, OG_UPDATE_SCALE),
                         .losses = s->means,
                         .loss = *(const double *)og_plan_output(plan, OG_UPDATE_LOSS),
                         .grad_norm = *(const double *)og_plan_output(plan, OG_UPDATE_GRAD_NORM),
                         .skipped = !*(const uint8_t *)og_plan_output(plan, OG_UPDATE_FINITE)};
    if (!result->skipped)
        og__weights_changed(s);
    if (result->skipped && s->optimizer.scaling.dynamic)
        return og__check_scale(s, result->loss_scale);
    if (result->skipped)
        return og_fail(error, OG_NON_FINITE,
                       "step %lld: the loss is %g and the gradient norm %g; nothing was changed by "
                       "this step. Look for NaN in "
                       "the data, or lower the learning rate (%g)",
                       (long long)s->step, isnan(result->loss) ? NAN : result->loss, /* no "-nan" */
                       isnan(result->grad_norm) ? NAN : result->grad_norm, s->lr);
    return OG_OK;
}

/* Where in the run the next micro-batch is: what random ops depend on. */
static void set_position(og_session *s)
{
    for (int i = 0; i < s->storages.n; i++)
        if (strcmp(s->storages.items[i].name, OG_STATE_POSITION) == 0) {
            int64_t *position = (int64_t *)state_at(s, i);
            position[0] = og__option_int(s->options, "seed");
            position[1] = s->step;
            position[2] = s->pending;
        }
}

static og_status train_step(og_session *s, const void *const *inputs, const void *const *targets,
                            int64_t samples, og_step_result *result)
{
    og_error *error = &s->context->error;
    *result = (og_step_result){.step = s->step, .lr = s->lr, .loss_scale = 1};
    og_status status;
    OG_TRY(begin(s, samples));
    if (s->losses.n == 0)
        return og_fail(error, OG_INVALID_ARGUMENT, "this session has no loss: it only predicts");
    if (!targets && s->losses.n_targets)
        return og_fail(error, OG_INVALID_ARGUMENT, "no targets were given; the losses take %d",
                       s->losses.n_targets);
    status = og__check_labels(s, targets, samples);
    if (status != OG_OK) {
        discard_sums(s);
        return status;
    }
    og_plan *plan = find_plan(s, OG_PLAN_MICRO, samples);
    if (!plan)
        return error->status;
    set_inputs(s, plan, inputs, targets);
    set_position(s);
    status = run_plan(s, plan, s->profile, &s->cancel);
    if (status != OG_OK) {
        discard_sums(s);
        return status;
    }
    s->pending++;
    return s->pending == s->accumulation ? update(s, result) : OG_OK;
}

og_status og_session_train_step(og_session *s, const void *const *inputs,
                                const void *const *targets, int64_t samples, og_step_result *result)
{
    og_profile_enter(s->profile);
    og_status status = train_step(s, inputs, targets, samples, result);
    og_profile_leave(s->profile, result->updated);
    return status;
}

og_status og_session_flush(og_session *s, og_step_result *result)
{
    *result = (og_step_result){.step = s->step, .lr = s->lr, .loss_scale = 1};
    OG_TRY(begin(s, 1));
    if (!s->pending)
        return OG_OK;
    og_profile_enter(s->profile);
    og_status status = update(s, result);
    og_profile_leave(s->profile, result->updated);
    return status;
}

void og_session_set_lr(og_session *s, double lr)
{
    s->lr = lr;
}

void og_session_cancel(og_session *s)
{
    atomic_store(&s->cancel, true);
}

/* ---- evaluation */

/* The losses of a batch, and their total: with one loss by its weight, else by samples. */
static void add_up(og_session *s, const og_plan *plan, int64_t samples, og_eval_result *result)
{
    double total = 0;
    for (int i = 0; i < s->losses.n; i++) {
        s->loss_sums[i] = *(const double *)og_plan_output(plan, s->n_outputs + 2 * i);
        s->weight_sums[i] = *(const double *)og_plan_output(plan, s->n_outputs + 2 * i + 1);
        if (s->weight_sums[i] != 0)
            total += s->losses.items[i].weight * s->loss_sums[i] / s->weight_sums[i];
    }
    bool one = s->losses.n == 1;
    *result = (og_eval_result){.loss_sum = one ? s->losses.items[0].weight * s->loss_sums[0]
                                               : total * (double)samples,
                               .weight_sum = one ? s->weight_sums[0] : (double)samples,
                               .loss_sums = s->loss_sums,
                               .weight_sums = s->weight_sums};
}

og_status og_session_eval_step(og_session *s, const void *const *inputs, const void *const *targets,
                               int64_t samples, void *const *outputs, og_eval_result *result)
{
    og_error *error = &s->context->error;
    OG_TRY(begin(s, samples));
    bool with_loss = s->losses.n > 0 && (targets || s->losses.n_targets == 0) && result;
    if (with_loss)
        OG_TRY(og__check_labels(s, targets, samples));
    og_plan *plan = find_plan(s, with_loss ? OG_PLAN_EVAL : OG_PLAN_PREDICT, samples);
    if (!plan)
        return error->status;
    set_inputs(s, plan, inputs, with_loss ? targets : NULL);
    OG_TRY(run_plan(s, plan, NULL, &s->cancel));
    for (int i = 0; outputs && i < s->n_outputs; i++)
        if (outputs[i])
            memcpy(
                outputs[i], og_plan_output(plan, i),
                (size_t)og_type_bytes(&plan->graph->values[plan->graph->outputs[i].value]->type));
    if (with_loss)
        add_up(s, plan, samples, result);
    return OG_OK;
}

og_status og_session_predict(og_session *s, const void *const *inputs, int64_t samples,
                             void *const *outputs)
{
    return og_session_eval_step(s, inputs, NULL, samples, outputs, NULL);
}

/* ---- what a session knows */

static void info_from_type(const char *name, const og_type *t, og_tensor_info *info)
{
    *info = (og_tensor_info){.name = name, .dtype = t->dtype, .rank = t->rank};
    memcpy(info->dims, t->dims, sizeof(info->dims));
}

og_status og_session_target(const og_session *s, int index, og_tensor_info *info)
{
    if (index < 0 || index >= s->losses.n_targets) {
        og__context_begin(s->context);
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "target %d does not exist; there are %d", index, s->losses.n_targets);
    }
    int place = s->target_place[index];
    info_from_type(s->losses.targets[place], &s->targets[place], info);
    return OG_OK;
}

og_status og_session_output(const og_session *s, int index, og_tensor_info *info)
{
    if (index < 0 || index >= s->n_outputs) {
        og__context_begin(s->context);
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "output %d does not exist; there are %d", index, s->n_outputs);
    }
    info_from_type(s->model->graph->outputs[index].name, &s->outputs[index], info);
    return OG_OK;
}

void og_session_memory(const og_session *s, og_memory_report *report)
{
    *report = s->memory;
}

/* ---- parameters */

/* The storage of a parameter or buffer; its size checked. -1 on error. */
static int find_parameter(og_session *s, const char *name, size_t bytes)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *st = &s->storages.items[i];
        if ((st->kind != OG_STORAGE_PARAMETER && st->kind != OG_STORAGE_BUFFER) ||
            strcmp(st->name, name) != 0)
            continue;
        if (bytes == (size_t)og_type_bytes(&st->type))
            return i;
        og_fail(error, OG_INVALID_ARGUMENT, "parameter \"%s\" has %lld bytes, the buffer %zu", name,
                (long long)og_type_bytes(&st->type), bytes);
        return -1;
    }
    og_fail(error, OG_INVALID_ARGUMENT, "there is no trained parameter or running statistic \"%s\"",
            name);
    return -1;
}

og_status og_session_get_parameter(og_session *s, const char *name, void *data, size_t bytes)
{
    int i = find_parameter(s, name, bytes);
    if (i < 0)
        return s->context->error.status;
    memcpy(data, state_at(s, i), bytes);
    return OG_OK;
}

og_status og_session_set_parameter(og_session *s, const char *name, const void *data, size_t bytes)
{
    int i = find_parameter(s, name, bytes);
    if (i < 0)
        return s->context->error.status;
    memcpy(state_at(s, i), data, bytes);
    for (int k = 0; k < s->storages.n; k++)
        if (s->storages.items[k].kind == OG_STORAGE_STAGED && s->storages.items[k].of == i)
            memcpy(state_at(s, k), data, bytes);
    og__renew_half_copies(s, i);
    og__weights_changed(s);
    return OG_OK;
}

/* The trained tensors and running statistics of one part, under the names they have in its file. */
static og_status save(og_session *s, int part, const og_onnx *onnx, const char *path,
                      og_write_fn *write, void *user)
{
    og_error *error = &s->context->error;
    int n = 0;
    og_onnx_weight *weights = calloc((size_t)s->params.n + 1, sizeof(*weights));
    if (!weights)
        return og_fail_memory(error, sizeof(*weights), "saving");
    for (int i = 0; i < s->params.n; i++) {
        const og_param *p = &s->params.items[i];
        int storage = s->storage_of[p->value];
        if (p->part == part && storage >= 0)
            weights[n++] =
                (og_onnx_weight){.name = p->name + strlen(p->prefix), .data = state_at(s, storage)};
    }
    og_status status = path
                           ? og_onnx_save(onnx, path, weights, n, NULL, 0, (uint64_t)1 << 30, error)
                           : og_onnx_write(onnx, write, user, weights, n, NULL, 0, error);
    free(weights);
    return status;
}

og_status og_session_save(og_session *s, const char *path)
{
    og__context_begin(s->context);
    return save(s, 0, s->model->onnx, path, NULL, NULL);
}

og_status og_session_save_to(og_session *s, og_write_fn *write, void *user)
{
    og__context_begin(s->context);
    return save(s, 0, s->model->onnx, NULL, write, user);
}

og_status og_session_save_loss(og_session *s, int index, const char *path)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    int part = 0;
    for (int i = 0; i <= index && i < s->losses.n; i++)
        part += s->losses.sources[i].path != NULL;
    if (index < 0 || index >= s->losses.n || !s->losses.sources[index].path)
        return og_fail(error, OG_INVALID_ARGUMENT, "loss %d is not a model", index);
    return save(s, part, s->losses.sources[index].onnx, path, NULL, NULL);
}

og_status og_session_print_plan(og_session *s, const char *which, og_write_fn *write, void *user)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    const og_plan *plan = strcmp(which, "update") == 0 ? s->update
                          : s->n_plans                 ? s->plans[0].plan
                                                       : NULL;
    if (!plan)
        return og_fail(error, OG_INVALID_ARGUMENT, "this session has no plan \"%s\"", which);
    og_text text = {0};
    for (int i = 0; i < plan->n_steps + plan->n_packs; i++) {
        const og_step *step = &plan->steps[i];
        int b = plan->buffer_of[step->call.node->out[0]];
        size_t at = b < 0 ? 0 : plan->buffers[b].offset;
        og_text_printf(&text, "%4d  %-8s %10zu %10zu  %s", i, step->kernel->name,
                       step->packs < 0 ? at : step->packed_at, step->call.workspace_bytes,
                       step->packs < 0 ? "" : "packed for ");
        og_node_print(&text, plan->graph, step->call.node);
        og_text_add(&text, "\n");
    }
    bool stopped = text.failed || !write(user, text.s ? text.s : "", text.length);
    og_text_free(&text);
    return stopped ? og_fail(error, OG_IO_ERROR, "the plan could not be written") : OG_OK;
}

og_status og_session_save_graph(og_session *s, const char *which, const char *path)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    og_arena *arena = og_arena_new();
    og_graph *g = NULL;
    if (!arena)
        return og_fail_memory(error, 64, "a graph");
    if (strcmp(which, "micro") == 0 && s->losses.n > 0)
        g = og__build_micro(s, s->batch, arena);
    else if (strcmp(which, "update") == 0 && s->losses.n > 0) {
        og_storages apart = og_storages_apart(&s->storages, arena);
        g = apart.items ? og__build_update_graph(s, &apart, arena) : NULL;
    } else if (strcmp(which, "forward") == 0)
        g = og__build_forward(s, s->batch, s->losses.n > 0, arena);
    else
        og_fail(error, OG_INVALID_ARGUMENT,
                "there is no graph \"%s\"; there are micro, update (with a loss) and forward",
                which);
    if (g)
        g = og_pass_simplify(g);
    if (g && g->error.status == OG_OK)
        g = og_pass_standardize(g);
    if (g && g->error.status == OG_OK)
        og_onnx_save_graph(g, path, error);
    else if (g)
        og_error_move(error, &g->error);
    else if (error->status == OG_OK)
        og_fail_memory(error, sizeof(og_graph), "a graph");
    og_arena_free(arena);
    return error->status;
}
