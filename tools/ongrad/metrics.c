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

static int no_memory(const og__run *run)
{
    return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the metrics");
}

/* Loss i's score, if its labels have one. */
static int add_score(og__metrics *m, const og__run *run, int i)
{
    const og_loss_info *loss = &run->losses.items[i];
    og__score score = {.name = loss->name,
                       .output = loss->output,
                       .target = loss->target,
                       .ignore_index = loss->ignore_index};
    if (!loss->classes)
        return OG__EXIT_DONE;
    OG__TRY(og__run_output(run, loss->output, &score.scores));
    score.labels = run->targets[loss->target];
    score.class_axis = find_class_axis(&score.scores, &score.labels);
    if (score.class_axis < 0 || score.scores.dtype != OG_FLOAT || score.labels.dtype != OG_INT64)
        return OG__EXIT_DONE;
    int64_t n = og__shape_elements(&score.scores);
    void **buffer = &m->outputs[loss->output];
    if (!*buffer && n > 0 && n < INT64_MAX / 8)
        *buffer = malloc((size_t)n * sizeof(float));
    if (!*buffer)
        return no_memory(run);
    m->scores[m->n_scores++] = score;
    return OG__EXIT_DONE;
}

int og__metrics_new(og__metrics *m, const og__run *run)
{
    size_t n = (size_t)run->losses.n + 1;
    *m = (og__metrics){.losses = &run->losses, .n_outputs = og_model_output_count(run->model)};
    m->outputs = calloc((size_t)m->n_outputs + 1, sizeof *m->outputs);
    m->loss_sums = calloc(n, sizeof *m->loss_sums);
    m->weight_sums = calloc(n, sizeof *m->weight_sums);
    m->scores = calloc(n, sizeof *m->scores);
    if (!m->outputs || !m->loss_sums || !m->weight_sums || !m->scores)
        return no_memory(run);
    for (int i = 0; i < run->losses.n; i++)
        OG__TRY(add_score(m, run, i));
    return OG__EXIT_DONE;
}

void og__metrics_free(og__metrics *m)
{
    for (int i = 0; i < m->n_outputs && m->outputs; i++)
        free(m->outputs[i]);
    free(m->outputs);
    free(m->loss_sums);
    free(m->weight_sums);
    free(m->scores);
    *m = (og__metrics){0};
}

void og__metrics_reset(og__metrics *m)
{
    for (int i = 0; i < m->losses->n; i++)
        m->loss_sums[i] = m->weight_sums[i] = 0;
    for (int i = 0; i < m->n_scores; i++)
        m->scores[i].right = m->scores[i].counted = 0;
}

double og__metrics_mean(const og__metrics *m, int i)
{
    return m->weight_sums[i] != 0 ? m->loss_sums[i] / m->weight_sums[i] : NAN;
}

double og__metrics_loss(const og__metrics *m)
{
    double total = 0;
    for (int i = 0; i < m->losses->n; i++) {
        double mean = og__metrics_mean(m, i);
        bool left_out = m->losses->n > 1 && m->weight_sums[i] == 0;
        total += left_out ? 0 : m->losses->items[i].weight * mean;
    }
    return total;
}

double og__score_accuracy(const og__score *s)
{
    return s->counted ? (double)s->right / (double)s->counted : NAN;
}

static void open_object(og_json *json, const char *prefix, const char *key)
{
    og_text name = {0};
    og_text_printf(&name, "%s%s", prefix, key);
    og_json_open(json, name.s ? name.s : key, '{');
    og_text_free(&name);
}

void og__metrics_json(const og__metrics *m, const char *prefix, og_json *json)
{
    if (m->losses->n > 1) {
        open_object(json, prefix, "losses");
        for (int i = 0; i < m->losses->n; i++)
            og_json_double(json, m->losses->items[i].name, og__metrics_mean(m, i));
        og_json_close(json, '}');
    }
    if (m->n_scores == 1 && m->scores[0].counted) {
        og_text name = {0};
        og_text_printf(&name, "%saccuracy", prefix);
        og_json_double(json, name.s ? name.s : "accuracy", og__score_accuracy(&m->scores[0]));
        og_text_free(&name);
    }
    if (m->n_scores > 1) {
        open_object(json, prefix, "accuracies");
        for (int i = 0; i < m->n_scores; i++)
            og_json_double(json, m->scores[i].name, og__score_accuracy(&m->scores[i]));
        og_json_close(json, '}');
    }
}

/* scores: [outer, classes, inner]; labels: [outer, inner]. Ties count for the first class, as
 * argmax has it. */
static void count_right(og__score *m, const float *scores, const int64_t *labels, int64_t samples)
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
        if (feed->samples == 0)
            continue; /* none of them could be read */
        if (og_session_eval_step(run->session, feed->inputs, feed->targets, feed->samples,
                                 m->outputs, &result) != OG_OK)
            return og__run_failed(run);
        for (int i = 0; i < m->losses->n; i++) {
            m->loss_sums[i] += result.loss_sums[i];
            m->weight_sums[i] += result.weight_sums[i];
        }
        for (int i = 0; i < m->n_scores; i++)
            count_right(&m->scores[i], m->outputs[m->scores[i].output],
                        feed->targets[m->scores[i].target], feed->samples);
    }
    return OG__EXIT_DONE;
}
