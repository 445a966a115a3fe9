/* Evaluation and prediction: the forward graph on a batch, in inference mode; in parts where the
 * whole does not fit. */
#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

/* The losses of a part, by weight and value: added to those of the parts before. */
static og_status add_sums(og_session *s, const og_plan *plan)
{
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    for (int i = 0; i < s->losses.n; i++) {
        double sum, weight;
        OG_TRY(og_device_download(d, &sum, og_plan_output(plan, s->n_outputs + 2 * i), sizeof sum,
                                  error));
        OG_TRY(og_device_download(d, &weight, og_plan_output(plan, s->n_outputs + 2 * i + 1),
                                  sizeof weight, error));
        s->loss_sums[i] += sum;
        s->weight_sums[i] += weight;
    }
    return OG_OK;
}

/* Their total: with one loss by its weight, else by samples. */
static void add_up(const og_session *s, int64_t samples, og_eval_result *result)
{
    double total = 0;
    for (int i = 0; i < s->losses.n; i++)
        if (s->weight_sums[i] != 0)
            total += s->losses.items[i].weight * s->loss_sums[i] / s->weight_sums[i];
    bool one = s->losses.n == 1;
    *result = (og_eval_result){.loss_sum = one ? s->losses.items[0].weight * s->loss_sums[0]
                                               : total * (double)samples,
                               .weight_sum = one ? s->weight_sums[0] : (double)samples,
                               .loss_sums = s->loss_sums,
                               .weight_sums = s->weight_sums};
}

static int64_t part_count(const og_session *s, int64_t samples)
{
    return (samples + s->eval_samples - 1) / s->eval_samples;
}

static bool plan_parts(og_session *s, og_plan_kind kind, int64_t samples)
{
    int64_t parts = part_count(s, samples);
    return og__find_plan(s, kind, samples / parts) &&
           (samples % parts == 0 || og__find_plan(s, kind, samples / parts + 1));
}

/* May evaluation go in parts although training does not? The context's error stays as it is. */
static bool may_split(og_session *s)
{
    og_error *error = &s->context->error;
    og_error kept = *error;
    *error = (og_error){0};
    char where[256];
    bool may = s->eval_samples < s->batch ||
               (og__outputs_are_by_sample(s) && !og__samples_mix(s, s->model->graph, where));
    og_error_clear(error);
    *error = kept;
    return may;
}

/* Are there plans for all parts, within the budget? Where not, the parts are made smaller. */
static og_status fit_parts(og_session *s, og_plan_kind kind, int64_t samples)
{
    og_error *error = &s->context->error;
    while (!plan_parts(s, kind, samples)) {
        if (error->status != OG_OUT_OF_MEMORY || s->broken || s->eval_samples == 1 || !may_split(s))
            return error->status;
        og_error_clear(error);
        s->eval_samples = (s->eval_samples + 1) / 2;
    }
    return OG_OK;
}

/* Samples from `first` to before `next`. */
static og_status evaluate_part(og_session *s, og_plan_kind kind, const void *const *inputs,
                               const void *const *targets, int64_t first, int64_t next,
                               void *const *outputs)
{
    og_error *error = &s->context->error;
    og_plan *plan = og__find_plan(s, kind, next - first);
    if (!plan)
        return error->status;
    OG_TRY(og__set_inputs(s, plan, inputs, kind == OG_PLAN_EVAL ? targets : NULL, first));
    OG_TRY(og__run_plan(s, plan, NULL, &s->cancel));
    for (int i = 0; outputs && i < s->n_outputs; i++) {
        const og_type *t = &plan->graph->values[plan->graph->outputs[i].value]->type;
        if (outputs[i])
            OG_TRY(og_device_download(s->context->device,
                                      og__sample_at(s, &s->outputs[i], outputs[i], first),
                                      og_plan_output(plan, i), (size_t)og_type_bytes(t), error));
    }
    return kind == OG_PLAN_EVAL ? add_sums(s, plan) : OG_OK;
}

og_status og_session_eval_step(og_session *s, const void *const *inputs, const void *const *targets,
                               int64_t samples, void *const *outputs, og_eval_result *result)
{
    OG_TRY(og__session_begin(s, samples));
    bool with_loss = s->losses.n > 0 && (targets || s->losses.n_targets == 0) && result;
    og_plan_kind kind = with_loss ? OG_PLAN_EVAL : OG_PLAN_PREDICT;
    if (with_loss)
        OG_TRY(og__check_labels(s, targets, samples));
    OG_TRY(fit_parts(s, kind, samples));
    for (int i = 0; i < s->losses.n; i++)
        s->loss_sums[i] = s->weight_sums[i] = 0;
    for (int64_t p = 0, parts = part_count(s, samples); p < parts; p++)
        OG_TRY(evaluate_part(s, kind, inputs, targets, og__part_begin(samples, p, parts),
                             og__part_begin(samples, p + 1, parts), outputs));
    if (with_loss)
        add_up(s, samples, result);
    return OG_OK;
}

og_status og_session_predict(og_session *s, const void *const *inputs, int64_t samples,
                             void *const *outputs)
{
    return og_session_eval_step(s, inputs, NULL, samples, outputs, NULL);
}
