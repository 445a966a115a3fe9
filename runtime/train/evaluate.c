/* Evaluation and prediction: the forward graph on a batch, in inference mode. */
#include "runtime/device/transfer.h"
#include "runtime/train/train.h"

/* The losses of a batch, by weight and value: sums that the plan's last outputs hold. */
static og_status read_sums(og_session *s, const og_plan *plan)
{
    og_device *d = s->context->device;
    og_error *error = &s->context->error;
    for (int i = 0; i < s->losses.n; i++) {
        const void *sum = og_plan_output(plan, s->n_outputs + 2 * i);
        const void *weight = og_plan_output(plan, s->n_outputs + 2 * i + 1);
        OG_TRY(og_device_download(d, &s->loss_sums[i], sum, sizeof(double), error));
        OG_TRY(og_device_download(d, &s->weight_sums[i], weight, sizeof(double), error));
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

og_status og_session_eval_step(og_session *s, const void *const *inputs, const void *const *targets,
                               int64_t samples, void *const *outputs, og_eval_result *result)
{
    og_error *error = &s->context->error;
    OG_TRY(og__session_begin(s, samples));
    bool with_loss = s->losses.n > 0 && (targets || s->losses.n_targets == 0) && result;
    if (with_loss)
        OG_TRY(og__check_labels(s, targets, samples));
    og_plan *plan = og__find_plan(s, with_loss ? OG_PLAN_EVAL : OG_PLAN_PREDICT, samples);
    if (!plan)
        return error->status;
    OG_TRY(og__set_inputs(s, plan, inputs, with_loss ? targets : NULL));
    OG_TRY(og__run_plan(s, plan, NULL, &s->cancel));
    for (int i = 0; outputs && i < s->n_outputs; i++) {
        const og_type *t = &plan->graph->values[plan->graph->outputs[i].value]->type;
        if (outputs[i])
            OG_TRY(og_device_download(s->context->device, outputs[i], og_plan_output(plan, i),
                                      (size_t)og_type_bytes(t), error));
    }
    if (!with_loss)
        return OG_OK;
    OG_TRY(read_sums(s, plan));
    add_up(s, samples, result);
    return OG_OK;
}

og_status og_session_predict(og_session *s, const void *const *inputs, int64_t samples,
                             void *const *outputs)
{
    return og_session_eval_step(s, inputs, NULL, samples, outputs, NULL);
}
