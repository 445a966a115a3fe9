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

static og__score_kind kind_of(const char *loss)
{
    static const char *const values[] = {"mse", "l1", "smooth_l1", "huber"};
    if (strcmp(loss, "bce_with_logits") == 0)
        return OG__BINARY;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (strcmp(loss, values[i]) == 0)
            return OG__VALUES;
    return 0;
}

/* Loss i's score, if it has one: of labels always, of others where a metric is asked for. */
static int add_score(og__metrics *m, const og__run *run, int i)
{
    const og_loss_info *loss = &run->losses.items[i];
    og__score score = {.name = loss->name,
                       .kind = loss->classes ? OG__CLASSES : kind_of(loss->loss),
                       .loss = i,
                       .output = loss->output,
                       .target = loss->target,
                       .detailed = m->n_wanted > 0,
                       .classes = 2,
                       .ignore_index = loss->ignore_index};
    if (loss->is_model || !score.kind || (score.kind != OG__CLASSES && !score.detailed))
        return OG__EXIT_DONE;
    OG__TRY(og__run_output(run, loss->output, &score.scores));
    score.labels = run->targets[loss->target];
    if (score.scores.dtype != OG_FLOAT ||
        score.labels.dtype != (score.kind == OG__CLASSES ? OG_INT64 : OG_FLOAT))
        return OG__EXIT_DONE;
    if (score.kind == OG__CLASSES) {
        score.class_axis = find_class_axis(&score.scores, &score.labels);
        if (score.class_axis < 0)
            return OG__EXIT_DONE;
        score.classes = score.scores.dims[score.class_axis];
    } else if (og__shape_elements(&score.scores) != og__shape_elements(&score.labels)) {
        return OG__EXIT_DONE;
    }
    int64_t n = og__shape_elements(&score.scores);
    void **buffer = &m->outputs[loss->output];
    if (!*buffer && n > 0 && n < INT64_MAX / 8)
        *buffer = malloc((size_t)n * sizeof(float));
    if (!*buffer)
        return no_memory(run);
    m->scores[m->n_scores++] = score;
    return OG__EXIT_DONE;
}

/* "f1.y.cross_entropy": the metric's length. */
static size_t metric_length(const char *name)
{
    return strcspn(name, ".");
}

static const og__metric *metric_of(const char *name)
{
    char metric[32] = "";
    size_t n = metric_length(name);
    if (n < sizeof metric)
        memcpy(metric, name, n);
    return og__metric_find(metric);
}

static bool is_wanted(const og__metrics *m, const char *name, size_t n)
{
    for (int i = 0; i < m->n_wanted; i++)
        if (strlen(m->wanted[i]) == n && strncmp(m->wanted[i], name, n) == 0)
            return true;
    return false;
}

static int want(og__metrics *m, const og__run *run, const char *option, const char *name)
{
    const og__metric *metric = metric_of(name);
    og_text names = {0};
    if (metric && !strcmp(metric->name, "loss"))
        return OG__EXIT_DONE;
    if (metric) {
        const char **grown = realloc(m->wanted, ((size_t)m->n_wanted + 1) * sizeof *grown);
        if (!grown)
            return no_memory(run);
        m->wanted = grown;
        if (!is_wanted(m, metric->name, strlen(metric->name)))
            m->wanted[m->n_wanted++] = metric->name;
        return OG__EXIT_DONE;
    }
    char nearest[OG_NEAREST];
    og__metric_names(&names);
    const char *list = names.s ? names.s : "";
    int status = og__say_error(run->command, OG__EXIT_USAGE,
                               "--%s %s: there is no such metric; there are %s%s", option, name,
                               list, og_did_you_mean(nearest, name, list));
    og_text_free(&names);
    return status;
}

/* The metric that "f1>=0.9" or "f1" begins with. */
static int want_all(og__metrics *m, const og__run *run)
{
    static const char *const options[] = {"metric", "monitor", "require"};
    const og__arguments *a = run->arguments;
    const char *text;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        for (int k = 0; (text = og__argument_at(a, options[i], k)); k++) {
            char name[128] = "";
            size_t n = strcspn(text, "<>=! ");
            if (strncmp(text, "val_", 4) == 0) {
                text += 4;
                n -= 4;
            }
            if (n < sizeof name)
                memcpy(name, text, n);
            if (strcmp(options[i], "metric") == 0 && strcmp(name, "accuracy") == 0)
                continue; /* it is there in any case */
            OG__TRY(want(m, run, options[i], name));
        }
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
    OG__TRY(want_all(m, run));
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
    for (int i = 0; i < m->n_scores; i++)
        og__score_free(&m->scores[i]);
    free(m->scores);
    free(m->wanted);
    *m = (og__metrics){0};
}

void og__metrics_reset(og__metrics *m)
{
    for (int i = 0; i < m->losses->n; i++)
        m->loss_sums[i] = m->weight_sums[i] = 0;
    for (int i = 0; i < m->n_scores; i++)
        og__score_reset(&m->scores[i]);
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

static double of_score(const og__metrics *m, const og__score *s, const char *metric)
{
    if (strcmp(metric, "perplexity") == 0)
        return s->kind == OG__CLASSES ? exp(og__metrics_mean(m, s->loss)) : NAN;
    return og__score_value(s, metric);
}

double og__metrics_value(const og__metrics *m, const char *name)
{
    const og__metric *metric = metric_of(name);
    const char *of = name[metric_length(name)] ? name + metric_length(name) + 1 : NULL;
    if (!metric)
        return NAN;
    if (strcmp(metric->name, "loss") == 0 && !of)
        return og__metrics_loss(m);
    for (int i = 0; strcmp(metric->name, "loss") == 0 && i < m->losses->n; i++)
        if (strcmp(m->losses->items[i].name, of) == 0)
            return og__metrics_mean(m, i);
    for (int i = 0; i < m->n_scores; i++) {
        double value = of_score(m, &m->scores[i], metric->name);
        if (of ? strcmp(m->scores[i].name, of) == 0 : !isnan(value))
            return value;
    }
    return NAN;
}

/* One of a score: "f1", "f1.LOSS" where there are several. */
static void see_one(const og__metrics *m, const og__score *score, const char *metric,
                    void (*see)(void *user, const char *name, double value), void *user)
{
    og_text name = {0};
    double value = of_score(m, score, metric);
    og_text_printf(&name, "%s%s%s", metric, m->n_scores > 1 ? "." : "",
                   m->n_scores > 1 ? score->name : "");
    if (!isnan(value) && !name.failed)
        see(user, name.s, value);
    og_text_free(&name);
}

void og__metrics_each(const og__metrics *m, void (*see)(void *user, const char *name, double value),
                      void *user)
{
    see(user, "loss", og__metrics_loss(m));
    for (int i = 0; m->losses->n > 1 && i < m->losses->n; i++) {
        og_text name = {0};
        og_text_printf(&name, "loss.%s", m->losses->items[i].name);
        if (!name.failed)
            see(user, name.s, og__metrics_mean(m, i));
        og_text_free(&name);
    }
    for (int i = 0; i < m->n_scores; i++) {
        if (m->scores[i].counted && m->scores[i].kind != OG__VALUES)
            see_one(m, &m->scores[i], "accuracy", see, user);
        for (int w = 0; w < m->n_wanted; w++)
            if (strcmp(m->wanted[w], "accuracy") != 0)
                see_one(m, &m->scores[i], m->wanted[w], see, user);
    }
}

bool og__metrics_larger(const char *name)
{
    const og__metric *metric = metric_of(name);
    return metric && metric->larger;
}

int og__metrics_check(const og__metrics *m, const char *command, const char *option,
                      const char *name)
{
    const og__metric *metric = metric_of(name);
    const char *of = name[metric_length(name)] ? name + metric_length(name) + 1 : NULL;
    bool any = metric && !strcmp(metric->name, "loss") && !of;
    for (int i = 0; metric && i < m->losses->n; i++)
        any |= !strcmp(metric->name, "loss") && of && !strcmp(m->losses->items[i].name, of);
    for (int i = 0; metric && i < m->n_scores; i++) {
        bool fits = (metric->kinds & m->scores[i].kind) ||
                    (!strcmp(metric->name, "perplexity") && m->scores[i].kind == OG__CLASSES);
        any |= fits && (!of || !strcmp(m->scores[i].name, of));
    }
    return any ? OG__EXIT_DONE
               : og__say_error(command, OG__EXIT_USAGE,
                               "%s %s: no loss of this run has such a metric", option, name);
}

void og__metrics_text(const og__metrics *m, og_text *out)
{
    for (int w = 0; w < m->n_wanted; w++)
        for (int i = 0; i < m->n_scores; i++) {
            double value = of_score(m, &m->scores[i], m->wanted[w]);
            if (!isnan(value) && strcmp(m->wanted[w], "accuracy") != 0)
                og_text_printf(out, "%-9s %.6g%s%s\n", m->wanted[w], value,
                               m->n_scores > 1 ? "  " : "",
                               m->n_scores > 1 ? m->scores[i].name : "");
        }
    for (int i = 0; is_wanted(m, "confusion_matrix", 16) && i < m->n_scores; i++) {
        const og__score *s = &m->scores[i];
        if (!s->confusion)
            continue;
        og_text_printf(out, "confusion_matrix%s%s: a row a label, a column what was said\n",
                       m->n_scores > 1 ? "  " : "", m->n_scores > 1 ? s->name : "");
        for (int64_t r = 0; r < s->classes; r++) {
            for (int64_t c = 0; c < s->classes; c++)
                og_text_printf(out, "%7lld", (long long)s->confusion[r * s->classes + c]);
            og_text_add(out, "\n");
        }
    }
}

static void open_object(og_json *json, const char *prefix, const char *key)
{
    og_text name = {0};
    og_text_printf(&name, "%s%s", prefix, key);
    og_json_open(json, name.s ? name.s : key, '{');
    og_text_free(&name);
}

static void add_confusion(const og__score *s, const char *key, og_json *json)
{
    og_json_open(json, key, '[');
    for (int64_t r = 0; r < s->classes; r++) {
        og_json_open(json, NULL, '[');
        for (int64_t c = 0; c < s->classes; c++)
            og_json_int(json, NULL, s->confusion[r * s->classes + c]);
        og_json_close(json, ']');
    }
    og_json_close(json, ']');
}

/* "f1": value, or by loss where there are several scores. */
static void add_wanted(const og__metrics *m, const char *prefix, og_json *json)
{
    for (int w = 0; w < m->n_wanted; w++) {
        const char *metric = m->wanted[w];
        bool matrix = strcmp(metric, "confusion_matrix") == 0, several = m->n_scores > 1;
        if (strcmp(metric, "accuracy") == 0)
            continue;
        og_text name = {0};
        og_text_printf(&name, "%s%s", prefix, metric);
        if (several && name.s)
            og_json_open(json, name.s, '{');
        for (int i = 0; i < m->n_scores && name.s; i++) {
            const og__score *s = &m->scores[i];
            double value = of_score(m, s, metric);
            const char *key = several ? s->name : name.s;
            if (matrix && s->confusion)
                add_confusion(s, key, json);
            else if (!matrix && !isnan(value))
                og_json_double(json, key, value);
        }
        if (several && name.s)
            og_json_close(json, '}');
        og_text_free(&name);
    }
}

void og__metrics_json(const og__metrics *m, const char *prefix, og_json *json)
{
    if (m->losses->n > 1) {
        open_object(json, prefix, "losses");
        for (int i = 0; i < m->losses->n; i++)
            og_json_double(json, m->losses->items[i].name, og__metrics_mean(m, i));
        og_json_close(json, '}');
    }
    add_wanted(m, prefix, json);
    if (m->n_scores == 1 && m->scores[0].counted && m->scores[0].kind != OG__VALUES) {
        og_text name = {0};
        og_text_printf(&name, "%saccuracy", prefix);
        og_json_double(json, name.s ? name.s : "accuracy",
                       og__score_value(&m->scores[0], "accuracy"));
        og_text_free(&name);
    }
    if (m->n_scores > 1) {
        open_object(json, prefix, "accuracies");
        for (int i = 0; i < m->n_scores; i++)
            og_json_double(json, m->scores[i].name, og__score_value(&m->scores[i], "accuracy"));
        og_json_close(json, '}');
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
            og__score_add(&m->scores[i], m->outputs[m->scores[i].output],
                          feed->targets[m->scores[i].target], feed->samples);
    }
    for (int i = 0; i < m->n_scores; i++)
        if (m->scores[i].failed)
            return no_memory(run);
    return OG__EXIT_DONE;
}
