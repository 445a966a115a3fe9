/* The session: from a model, options and shapes to plans. What is tried until it fits, and memory,
 * is in attempts.c; stepping in step.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/graph/build.h"
#include "runtime/train/train.h"

/* ---- options */

static og_status invalid(og_session *s, const char *option, const char *wanted)
{
    const char *value = og_options_get(s->options, option);
    char nearest[OG_NEAREST];
    return og_fail(&s->context->error, OG_INVALID_ARGUMENT, "option %s is \"%s\", expected %s%s",
                   option, value, wanted, og_did_you_mean(nearest, value, wanted));
}

/* The option's value if it was given, else `otherwise`. */
static double float_or(const og_options *o, const char *name, double otherwise)
{
    return og_options_is_set(o, name) ? og__option_float(o, name) : otherwise;
}

static og_status parse_betas(og_session *s, og_optimizer *opt)
{
    char tail;
    const char *text = og_options_get(s->options, "betas");
    if (text && (sscanf(text, "%lf,%lf%c", &opt->beta1, &opt->beta2, &tail) != 2 ||
                 !(opt->beta1 >= 0 && opt->beta1 < 1 && opt->beta2 >= 0 && opt->beta2 < 1)))
        return invalid(s, "betas", "two numbers from 0 to below 1, such as 0.9,0.999");
    return OG_OK;
}

static og_status parse_optimizer(og_session *s)
{
    static const char *const not_negative[] = {"lr",       "weight_decay",
                                               "momentum", "eps",
                                               "lr_decay", "initial_accumulator_value",
                                               "max_norm", NULL};
    const og_options *o = s->options;
    const og_optimizer *defaults = og_optimizer_defaults(og_options_get(o, "optimizer"));
    if (!defaults)
        return invalid(s, "optimizer", og_optimizer_names);
    s->optimizer = *defaults;
    s->optimizer.continues_sums = s->context->device->continues_sums;
    og_optimizer *opt = &s->optimizer;
    opt->weight_decay = float_or(o, "weight_decay", defaults->weight_decay);
    opt->eps = float_or(o, "eps", defaults->eps);
    opt->alpha = float_or(o, "alpha", defaults->alpha);
    opt->momentum = og__option_float(o, "momentum");
    opt->lr_decay = og__option_float(o, "lr_decay");
    opt->initial_accumulator = og__option_float(o, "initial_accumulator_value");
    opt->nesterov = og__option_flag(o, "nesterov");
    opt->centered = og__option_flag(o, "centered");
    opt->max_norm = og__option_float(o, "max_norm");
    opt->ema = float_or(o, "ema", 0);
    opt->ema_warmup = og__option_flag(o, "ema_warmup");
    for (int i = 0; not_negative[i]; i++)
        if (og__option_float(o, not_negative[i]) < 0)
            return invalid(s, not_negative[i], "a number that is not negative");
    if (!(opt->alpha >= 0 && opt->alpha <= 1))
        return invalid(s, "alpha", "a number from 0 to 1");
    if (og_options_is_set(o, "ema") && !(opt->ema > 0 && opt->ema < 1))
        return invalid(s, "ema", "a number between 0 and 1, such as 0.999");
    if (opt->ema_warmup && opt->ema == 0)
        return invalid(s, "ema_warmup", "off, unless ema is given");
    if (opt->nesterov && opt->momentum <= 0)
        return invalid(s, "nesterov", "off, unless momentum is above 0");
    s->lr = og__option_float(o, "lr");
    return parse_betas(s, opt);
}

static og_status parse_run(og_session *s)
{
    const og_options *o = s->options;
    double fraction = og__option_float(o, "memory_fraction");
    int64_t accumulation = og__option_int(o, "gradient_accumulation_steps");
    uint64_t bytes;
    if (accumulation < 1 || accumulation > 1000000)
        return invalid(s, "gradient_accumulation_steps", "a number from 1 to 1000000");
    s->accumulation = (int)accumulation;
    s->check_memory = og__option_flag(o, "check_memory");
    if (s->check_memory && s->context->device->remote)
        return invalid(s, "check_memory", "off: the host cannot look into this device's memory");
    const char *recompute = og_options_get(o, "recompute");
    s->recompute = (og_recompute){.level = strcmp(recompute, "off") == 0 ? OG_RECOMPUTE_OFF
                                                                         : OG_RECOMPUTE_CHEAP,
                                  .drop = OG_RECOMPUTE_FREE};
    if (strcmp(recompute, "off") != 0 && strcmp(recompute, "auto") != 0 &&
        strcmp(recompute, "max") != 0)
        return invalid(s, "recompute", "off, auto or max");
    if (og__option_flag(o, "profile")) {
        if (s->check_memory)
            return invalid(s, "profile", "off together with check_memory, which is slow");
        s->profile = og_profile_new();
        if (!s->profile)
            return og_fail_memory(&s->context->error, 64, "a profile");
    }
    if (!(fraction > 0 && fraction <= 1))
        return invalid(s, "memory_fraction", "a number above 0 and at most 1");
    if (og_options_get(o, "memory_budget") &&
        !og_parse_bytes(og_options_get(o, "memory_budget"), &bytes))
        return invalid(s, "memory_budget", "a size such as 6GiB, 24GB or 1500000");
    const char *device_memory = og_options_get(o, "device_memory");
    if (device_memory && strcmp(device_memory, "auto") != 0 &&
        !og_parse_bytes(device_memory, &bytes))
        return invalid(s, "device_memory", "a size such as 24GB or 16GiB, or auto");
    const char *split = og_options_get(o, "split_batch");
    if (strcmp(split, "auto") != 0 && strcmp(split, "on") != 0 && strcmp(split, "off") != 0)
        return invalid(s, "split_batch", "auto, on or off");
    OG_TRY(og__schedule_check(o, &s->context->error));
    return og__parse_precision(s);
}

/* The losses, the graph they are joined to, and what is trained in it. */
static og_status parse_losses(og_session *s)
{
    og_error *error = &s->context->error;
    int n_parts = 1;
    OG_TRY(og__losses_parse(&s->losses, s->model->graph, s->options, s->arena, error));
    size_t n = (size_t)s->losses.n + 1;
    og_part *parts = og_arena_array(s->arena, n, sizeof(*parts));
    s->loss_sums = og_arena_array(s->arena, n, sizeof(double));
    s->weight_sums = og_arena_array(s->arena, n, sizeof(double));
    s->means = og_arena_array(s->arena, n, sizeof(double));
    if (!parts || !s->loss_sums || !s->weight_sums || !s->means)
        return og_fail_memory(error, n * sizeof(double), "the losses");
    s->total = (og_total){.losses = s->losses.items, .n = s->losses.n};
    s->joined = og__losses_join(&s->losses, s->model->graph, s->arena, parts, &n_parts, error);
    if (s->joined && og__trains_itself(s->model))
        OG_TRY(og__own_outputs(s, (og_graph *)s->joined));
    return s->joined
               ? og__model_classify(s->model, parts, n_parts, s->options, s->arena, &s->params)
               : error->status;
}

/* ---- shapes */

static void type_from_info(const og_tensor_info *info, og_type *t)
{
    *t = og_type_make(info->dtype, info->rank, info->dims);
}

/* The declared inputs against the model's: rank, literal dims, symbols bound alike. A literal first
 * dim that differs is a batch baked in by the export. */
static og_status bind_inputs(og_session *s, const og_tensor_info *inputs, int n_inputs)
{
    const og_graph *g = s->model->graph;
    og_error *error = &s->context->error;
    if (n_inputs != g->n_inputs)
        return og_fail(error, OG_INVALID_ARGUMENT, "the model has %d inputs, %d were declared",
                       g->n_inputs, n_inputs);
    s->n_inputs = n_inputs;
    s->inputs = og_arena_array(s->arena, (size_t)n_inputs + 1, sizeof(og_type));
    int64_t *bound = og_arena_array(s->arena, (size_t)g->n_symbols + 1, sizeof(int64_t));
    if (!s->inputs || !bound)
        return og_fail_memory(error, sizeof(og_type), "inputs");
    for (int i = 0; i < n_inputs; i++) {
        const og_value *v = g->values[g->inputs[i]];
        og_type *t = &s->inputs[i];
        type_from_info(&inputs[i], t);
        if (v->type.rank < 0) {
            og_fail_also(error, OG_INVALID_ARGUMENT, "input \"%s\" has no shape in the model",
                         v->name);
            continue;
        }
        if (t->rank != v->type.rank || t->dtype != v->type.dtype) {
            char a[160], b[160];
            og_fail_also(error, OG_INVALID_ARGUMENT, "input \"%s\" is %s, the data %s", v->name,
                         og_type_text(a, g, &v->type), og_type_text(b, NULL, t));
            continue;
        }
        for (int k = 0; k < t->rank; k++) {
            int64_t want = v->type.dims[k], have = t->dims[k];
            int64_t *symbol = want < 0 ? &bound[-want - 1] : NULL;
            if (have < 1)
                og_fail_also(error, OG_INVALID_ARGUMENT,
                             "input \"%s\": dim %d is %lld, expected at least 1", v->name, k,
                             (long long)have);
            else if (symbol && *symbol && *symbol != have)
                og_fail_also(error, OG_INVALID_ARGUMENT,
                             "input \"%s\": dim %d (%s) is %lld, but it is %lld elsewhere", v->name,
                             k, g->symbols[-want - 1], (long long)have, (long long)*symbol);
            else if (symbol)
                *symbol = have;
            else if (k == 0 && (!s->baked_batch || s->baked_batch == want) &&
                     (want != have || (s->attempt.pieces > 1 && have == inputs[0].dims[0])))
                s->baked_batch = want;
            else if (want != have)
                og_fail_also(error, OG_INVALID_ARGUMENT,
                             "input \"%s\": dim %d is %lld, the model says %lld", v->name, k,
                             (long long)have, (long long)want);
        }
        if (i == 0)
            s->batch = t->rank ? t->dims[0] : 1;
    }
    return error->status;
}

/* Initializers that stay constants are copied, once for all plans, where they lie unaligned. */
static og_status align_constants(og_session *s)
{
    const og_graph *g = s->joined;
    s->constants = og_arena_array(s->arena, (size_t)g->n_values + 1, sizeof(og_const));
    if (!s->constants)
        return og_fail_memory(&s->context->error, sizeof(og_const), "constants");
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        if (v->kind != OG_VALUE_CONST || s->storage_of[i] >= 0 ||
            og_type_is_aligned(&v->type, v->data))
            continue;
        s->constants[i] = (og_const){v->type, og_type_align(&v->type, v->data, s->arena)};
        if (!s->constants[i].data)
            return og_fail_memory(&s->context->error, (size_t)og_type_bytes(&v->type), "constants");
        og__session_forget(s, v->data, (size_t)og_type_bytes(&v->type));
    }
    return OG_OK;
}

/* The optimizer's group with the parameter's rates, added if it is new. */
static int group_of(og_session *s, og_group *groups, int *n, const og_param *p)
{
    int i = 0;
    while (i < *n && (groups[i].lr_scale != p->lr_scale || groups[i].no_decay != p->no_decay))
        i++;
    if (i == *n)
        groups[(*n)++] = (og_group){p->lr_scale, p->no_decay};
    s->optimizer.groups = groups;
    return i;
}

static og_status name_states(og_session *s)
{
    const og_graph *g = s->joined;
    og_error *error = &s->context->error;
    s->storages.arena = s->arena;
    s->storage_of = og_arena_array(s->arena, (size_t)g->n_values + 1, sizeof(int));
    og_group *groups = og_arena_array(s->arena, (size_t)s->params.n + 1, sizeof(og_group));
    int n_groups = 0;
    if (!s->storage_of || !groups)
        return og_fail_memory(error, sizeof(int), "states");
    for (int i = 0; i < g->n_values; i++)
        s->storage_of[i] = -1;
    for (int i = 0; i < s->params.n; i++) {
        const og_param *p = &s->params.items[i];
        const og_value *v = g->values[p->value];
        if (!p->trained && !p->buffer)
            continue;
        s->storage_of[p->value] =
            og_storage_get(&s->storages, p->trained ? OG_STORAGE_PARAMETER : OG_STORAGE_BUFFER,
                           p->name, &v->type, v->data, 0);
        if (s->storage_of[p->value] < 0)
            return og_fail_memory(error, sizeof(og_storage), "states");
        if (p->trained)
            s->storages.items[s->storage_of[p->value]].group = group_of(s, groups, &n_groups, p);
    }
    if (og__trains_itself(s->model))
        OG_TRY(og__own_states(s));
    return align_constants(s);
}

static og_status find_outputs(og_session *s)
{
    og_error *error = &s->context->error;
    og_arena *arena = og_arena_new();
    og_graph *g = arena ? og__build_forward(s, s->batch, false, arena) : NULL;
    if (g) {
        s->n_outputs = g->n_outputs;
        s->outputs = og_arena_array(s->arena, (size_t)g->n_outputs + 1, sizeof(og_type));
        for (int i = 0; s->outputs && i < g->n_outputs; i++)
            s->outputs[i] = g->values[g->outputs[i].value]->type;
    }
    og_arena_free(arena);
    if (error->status == OG_OK && !s->outputs)
        og_fail_memory(error, sizeof(og_type), "outputs");
    return error->status;
}

/* Floating-point operations of a plan: products by their rows, programs by instruction, the rest by
 * element. */
static double plan_flops(const og_plan *plan)
{
    double sum = 0;
    for (int i = 0; i < plan->n_steps; i++)
        sum += og_node_flops(plan->graph, plan->steps[i].call.node);
    return sum;
}

static og_plan *plan_forward(og_session *s)
{
    og_arena *arena = og_arena_new();
    if (!arena) {
        og_fail_memory(&s->context->error, 64, "a plan");
        return NULL;
    }
    return og__plan_graph(s, og__build_forward(s, s->micro, false, arena), s->keeps, arena);
}

/* Weights stay the same: what depends on them alone is kept, if that fits. */
static og_plan *plan_prediction(og_session *s)
{
    s->keeps = true;
    og_plan *plan = plan_forward(s);
    if (plan && og__persistent_bytes(s, plan) + plan->activation_bytes > s->memory.budget) {
        og_plan_free(plan);
        s->keeps = false;
        plan = plan_forward(s);
    }
    return plan;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static og_status make_plans(og_session *s)
{
    og_error *error = &s->context->error;
    og_plan *plan = NULL;
    bool training = s->losses.n > 0;
    if (training)
        og__plan_training(s, &plan);
    else
        plan = plan_prediction(s);
    s->plans = og_arena_grow(s->arena, s->plans, 0, &s->plans_capacity, sizeof(og_plan_entry));
    if (!plan || !s->plans || error->status != OG_OK) {
        og_plan_free(plan);
        return error->status != OG_OK ? error->status
                                      : og_fail_memory(error, sizeof(og_plan_entry), "a plan");
    }
    s->plans[s->n_plans++] =
        (og_plan_entry){training ? OG_PLAN_MICRO : OG_PLAN_PREDICT, s->micro, plan};
    size_t activations = plan->activation_bytes;
    s->lower_bound = plan->lower_bound;
    s->memory.micro_steps = plan->n_steps;
    s->memory.flops = plan_flops(plan);
    if (s->update) {
        s->memory.update_steps = s->update->n_steps;
        activations = larger(activations, s->update->activation_bytes);
        s->lower_bound = larger(s->lower_bound, s->update->lower_bound);
    }
    return og__session_fits(s, plan, activations);
}

/* Samples of a plan, and how many plans a batch takes. */
static void split_batch(og_session *s)
{
    int64_t pieces = s->attempt.pieces < s->batch ? s->attempt.pieces : s->batch;
    s->micro = s->eval_samples = (s->batch + pieces - 1) / pieces;
    s->attempt.pieces = (int)((s->batch + s->micro - 1) / s->micro);
    s->optimizer.accumulation = s->accumulation * s->attempt.pieces;
    s->memory.pieces = s->attempt.pieces;
    s->memory.micro_batch = s->micro;
}

/* Options that change the model are done before. */
static bool is_adapted(const og_model *model, const og_options *options)
{
    static const char *const names[] = {"init_from", "reinit", "lora", "num_classes"};
    for (size_t i = 0; !model->adapted && i < sizeof names / sizeof *names; i++)
        if (og_options_is_set(options, names[i]) &&
            !(model->built_in && strcmp(names[i], "num_classes") == 0)) {
            og_fail(&model->context->error, OG_INVALID_ARGUMENT,
                    "option %s changes the model: call og_model_adapt before og_session_new",
                    names[i]);
            return false;
        }
    return true;
}

og_session *og__session_plan(og_model *model, const og_options *options,
                             const og_tensor_info *inputs, int n_inputs,
                             const og_tensor_info *targets, int n_targets, og_attempt *attempt)
{
    og_context *c = model->context;
    og__context_begin(c);
    if (!og__context_device(c) || !is_adapted(model, options))
        return NULL;
    og_session *s = calloc(1, sizeof(*s));
    if (!s) {
        og_fail_memory(&c->error, sizeof(*s), "a session");
        return NULL;
    }
    s->context = c;
    s->model = model;
    s->attempt = (og_attempt){.pieces = attempt->pieces,
                              .cap = attempt->cap,
                              .apart = attempt->apart,
                              .stride = attempt->stride};
    memcpy(s->attempt.tied, attempt->tied, sizeof s->attempt.tied);
    s->arena = og_arena_new();
    s->options = og__options_copy(options);
    og_status status =
        s->arena && s->options ? OG_OK : og_fail_memory(&c->error, sizeof(*s), "a session");
    if (status == OG_OK)
        status = parse_optimizer(s);
    if (status == OG_OK)
        status = parse_run(s);
    if (status == OG_OK)
        status = bind_inputs(s, inputs, n_inputs);
    if (status == OG_OK)
        split_batch(s);
    if (status == OG_OK)
        status = parse_losses(s);
    if (status == OG_OK)
        status = name_states(s);
    if (status == OG_OK)
        status = find_outputs(s);
    if (status == OG_OK)
        status = og__verify_free_batch(s);
    if (status == OG_OK && s->losses.n)
        status = og__session_bind_targets(s, targets, n_targets);
    if (status == OG_OK)
        status = og__place_inputs(s);
    if (status == OG_OK) {
        og__fill_budget(s);
        status = make_plans(s);
    }
    if ((status == OG_OK || s->attempt.too_large) && s->micro < s->batch)
        status = og__session_may_split(s);
    *attempt = s->attempt;
    if (status != OG_OK) {
        og_session_free(s);
        return NULL;
    }
    return s;
}

void og_session_free(og_session *s)
{
    if (!s)
        return;
    og_device *d = s->context->device;
    og_error ignored = {0}; /* what queued work ran into has no one to tell any more */
    og_device_finish(d, &ignored);
    og_error_clear(&ignored);
    for (int i = 0; i < s->n_plans; i++) {
        if (s->plans[i].constants)
            d->free(d, s->plans[i].constants, s->plans[i].plan->constant_bytes);
        og_plan_free(s->plans[i].plan);
    }
    og_plan_free(s->update);
    og__results_free(s);
    if (s->states)
        d->free(d, s->states, s->resident_bytes);
    if (s->activations)
        d->free(d, s->activations, s->activation_bytes);
    og_profile_free(s->profile);
    og_options_free(s->options);
    og_arena_free(s->arena);
    free(s);
}
