#include "tools/ongrad/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

/* The axis of classes: 1 ([N, C, d…] for labels [N, d…]), else the last ([N, T, C] for [N, T]); -1:
 * no labels. */
static int find_class_axis(const og_tensor_info *scores, const og_tensor_info *labels)
{
    if (scores->rank < 2 || labels->rank != scores->rank - 1 || labels->dims[0] != scores->dims[0])
        return -1;
    bool first = true, last = true;
    for (int d = 1; d < labels->rank; d++) {
        first &= labels->dims[d] == scores->dims[d + 1];
        last &= labels->dims[d] == scores->dims[d];
    }
    return first ? 1 : last ? scores->rank - 1 : -1;
}

/* The ignore_index of a loss: its own key, else the option. */
static int64_t ignore_index_of(const og__run *run)
{
    const char *loss = og__argument_at(run->arguments, "loss", 0);
    const char *key = loss ? strstr(loss, ",ignore_index=") : NULL;
    const char *text = key ? strchr(key, '=') + 1 : og_options_get(run->options, "ignore_index");
    return text ? strtoll(text, NULL, 10) : -100;
}

int og__metrics_new(og__metrics *m, const og__run *run)
{
    *m = (og__metrics){.output = -1, .ignore_index = ignore_index_of(run)};
    const og__loss_spec *loss = og__losses_of_target(&run->losses, 0);
    m->n_outputs = og_model_output_count(run->model);
    m->outputs = calloc((size_t)m->n_outputs + 1, sizeof *m->outputs);
    if (!m->outputs)
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the metrics");
    if (!loss || run->losses.n != 1 || strcmp(loss->name, "cross_entropy") != 0)
        return OG__EXIT_DONE;
    int output = og__output_index(run->model, loss->output);
    OG__TRY(og__run_output(run, output, &m->scores));
    m->labels = run->targets[0];
    m->class_axis = find_class_axis(&m->scores, &m->labels);
    if (m->class_axis < 0 || m->scores.dtype != OG_FLOAT || m->labels.dtype != OG_INT64)
        return OG__EXIT_DONE;
    int64_t n = og__shape_elements(&m->scores);
    m->outputs[output] = n > 0 && n < INT64_MAX / 8 ? malloc((size_t)n * sizeof(float)) : NULL;
    if (!m->outputs[output])
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for output \"%s\"",
                             m->scores.name);
    m->output = output;
    return OG__EXIT_DONE;
}

void og__metrics_free(og__metrics *m)
{
    for (int i = 0; i < m->n_outputs && m->outputs; i++)
        free(m->outputs[i]);
    free(m->outputs);
    *m = (og__metrics){0};
}

void og__metrics_reset(og__metrics *m)
{
    m->loss_sum = m->weight_sum = 0;
    m->right = m->counted = 0;
}

double og__metrics_loss(const og__metrics *m)
{
    return m->weight_sum != 0 ? m->loss_sum / m->weight_sum : NAN;
}

double og__metrics_accuracy(const og__metrics *m)
{
    return m->counted ? (double)m->right / (double)m->counted : NAN;
}

/* scores: [outer, classes, inner]; labels: [outer, inner]. Ties count for the first class, as
 * argmax has it. */
static void count_right(og__metrics *m, const float *scores, const int64_t *labels, int64_t samples)
{
    int64_t outer = samples, inner = 1, classes = m->scores.dims[m->class_axis];
    for (int d = 1; d < m->scores.rank; d++) {
        outer *= d < m->class_axis ? m->scores.dims[d] : 1;
        inner *= d > m->class_axis ? m->scores.dims[d] : 1;
    }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            const float *x = scores + o * classes * inner + i;
            int64_t label = labels[o * inner + i], best = 0;
            if (label == m->ignore_index)
                continue;
            for (int64_t c = 1; c < classes; c++)
                if (x[c * inner] > x[best * inner])
                    best = c;
            m->right += best == label;
            m->counted++;
        }
}

int og__evaluate(og__run *run, og__feed *feed, og__metrics *m, bool (*stop)(void))
{
    og__metrics_reset(m);
    for (int64_t index = 0; index < feed->batches && !(stop && stop()); index++) {
        og_eval_result result = {0};
        OG__TRY(og__feed_next(feed, 0, index));
        if (og_session_eval_step(run->session, feed->inputs, feed->targets, feed->samples,
                                 m->outputs, &result) != OG_OK)
            return og__run_failed(run);
        m->loss_sum += result.loss_sum;
        m->weight_sum += result.weight_sum;
        if (m->output >= 0)
            count_right(m, m->outputs[m->output], feed->targets[0], feed->samples);
    }
    return OG__EXIT_DONE;
}
