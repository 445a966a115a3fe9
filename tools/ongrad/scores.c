#include "tools/ongrad/scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 5, MOST_CLASSES = 4096 };

static const og__metric metrics[] = {
    {"loss", 0, false},
    {"accuracy", OG__CLASSES | OG__BINARY, true},
    {"top5_accuracy", OG__CLASSES, true},
    {"precision", OG__CLASSES | OG__BINARY, true},
    {"recall", OG__CLASSES | OG__BINARY, true},
    {"f1", OG__CLASSES | OG__BINARY, true},
    {"auroc", OG__CLASSES | OG__BINARY, true},
    {"miou", OG__CLASSES, true},
    {"perplexity", 0, false},
    {"mae", OG__VALUES, false},
    {"rmse", OG__VALUES, false},
    {"r2", OG__VALUES, true},
    {"psnr", OG__VALUES, true},
    {"confusion_matrix", 0, false},
};

const og__metric *og__metric_find(const char *name)
{
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        if (strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

void og__metric_names(og_text *out)
{
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        og_text_printf(out, "%s%s", i ? ", " : "", metrics[i].name);
}

void og__score_reset(og__score *s)
{
    size_t n = (size_t)(s->classes * s->classes);
    s->right = s->right5 = s->counted = 0;
    s->absolute = s->squares = s->sum = s->sum_squares = 0;
    s->low = HUGE_VAL;
    s->high = -HUGE_VAL;
    s->n_ranked = 0;
    if (!s->detailed || s->kind == OG__VALUES || s->classes > MOST_CLASSES)
        return;
    if (!s->confusion)
        s->confusion = malloc(n * sizeof *s->confusion);
    s->failed |= !s->confusion;
    if (s->confusion)
        memset(s->confusion, 0, n * sizeof *s->confusion);
}

void og__score_free(og__score *s)
{
    free(s->confusion);
    free(s->ranked);
    free(s->ranked_of);
}

/* ---- batches */

/* What the sample's classes are ranked by for auroc. */
static float *add_ranked(og__score *s, int64_t label)
{
    size_t width = s->classes == 2 ? 1 : (size_t)s->classes;
    if (s->n_ranked == s->room) {
        size_t room = s->room ? 2 * s->room : 1024;
        float *ranked = realloc(s->ranked, room * width * sizeof *ranked);
        if (ranked)
            s->ranked = ranked;
        int32_t *of = ranked ? realloc(s->ranked_of, room * sizeof *of) : NULL;
        if (of)
            s->ranked_of = of;
        s->failed |= !of;
        if (!of)
            return NULL;
        s->room = room;
    }
    s->ranked_of[s->n_ranked] = (int32_t)label;
    return s->ranked + width * s->n_ranked++;
}

/* x: scores of the classes, `step` apart. */
static void rank_classes(og__score *s, const float *x, int64_t step, int64_t label)
{
    float *to = add_ranked(s, label);
    if (!to)
        return;
    if (s->classes == 2) {
        *to = x[step] - x[0];
        return;
    }
    double most = x[0], sum = 0;
    for (int64_t c = 1; c < s->classes; c++)
        most = fmax(most, x[c * step]);
    for (int64_t c = 0; c < s->classes; c++)
        sum += exp(x[c * step] - most);
    for (int64_t c = 0; c < s->classes; c++)
        to[c] = (float)(exp(x[c * step] - most) / sum);
}

/* Ties count for the first class, as argmax has it. */
static void add_label(og__score *s, const float *x, int64_t step, int64_t label)
{
    int64_t best = 0, above = 0;
    for (int64_t c = 1; c < s->classes; c++)
        if (x[c * step] > x[best * step])
            best = c;
    for (int64_t c = 0; c < s->classes && label >= 0 && label < s->classes; c++)
        above += x[c * step] > x[label * step] || (x[c * step] == x[label * step] && c < label);
    s->right += best == label;
    s->right5 += above < TOP;
    s->counted++;
    if (!s->confusion || label < 0 || label >= s->classes)
        return;
    s->confusion[label * s->classes + best]++;
    rank_classes(s, x, step, label);
}

/* scores: [outer, classes, inner]; labels: [outer, inner]. */
static void add_classes(og__score *s, const float *scores, const int64_t *labels, int64_t samples)
{
    int64_t outer = samples, inner = 1;
    for (int d = 1; d < s->scores.rank; d++) {
        outer *= d < s->class_axis ? s->scores.dims[d] : 1;
        inner *= d > s->class_axis ? s->scores.dims[d] : 1;
    }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            if (labels[o * inner + i] != s->ignore_index)
                add_label(s, scores + o * s->classes * inner + i, inner, labels[o * inner + i]);
}

static int64_t elements(const og__score *s, int64_t samples)
{
    int64_t n = samples;
    for (int d = 1; d < s->scores.rank; d++)
        n *= s->scores.dims[d];
    return n;
}

static void add_binary(og__score *s, const float *logits, const float *targets, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t label = targets[i] > 0.5f, said = logits[i] > 0;
        s->right += label == said;
        s->counted++;
        if (s->confusion)
            s->confusion[2 * label + said]++;
        float *to = s->confusion ? add_ranked(s, label) : NULL;
        if (to)
            *to = logits[i];
    }
}

static void add_values(og__score *s, const float *y, const float *targets, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double t = targets[i], error = y[i] - t;
        s->absolute += fabs(error);
        s->squares += error * error;
        s->sum += t;
        s->sum_squares += t * t;
        s->low = fmin(s->low, t);
        s->high = fmax(s->high, t);
    }
    s->counted += n;
}

void og__score_add(og__score *s, const void *outputs, const void *targets, int64_t samples)
{
    if (s->kind == OG__CLASSES)
        add_classes(s, outputs, targets, samples);
    else if (s->kind == OG__BINARY)
        add_binary(s, outputs, targets, elements(s, samples));
    else
        add_values(s, outputs, targets, elements(s, samples));
}

/* ---- values */

typedef struct counts {
    double right, said, of; /* of a class: said and right; said; there are */
} counts;

static counts of_class(const og__score *s, int64_t c)
{
    counts n = {(double)s->confusion[c * s->classes + c], 0, 0};
    for (int64_t k = 0; k < s->classes; k++) {
        n.said += (double)s->confusion[k * s->classes + c];
        n.of += (double)s->confusion[c * s->classes + k];
    }
    return n;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static double of_counts(const counts *n, const char *metric)
{
    if (strcmp(metric, "precision") == 0)
        return ratio(n->right, n->said);
    if (strcmp(metric, "recall") == 0)
        return ratio(n->right, n->of);
    if (strcmp(metric, "f1") == 0)
        return ratio(2 * n->right, n->said + n->of);
    return ratio(n->right, n->said + n->of - n->right); /* miou */
}

static double by_class(const og__score *s, const char *metric)
{
    double sum = 0, n = 0;
    if (!s->confusion)
        return NAN;
    for (int64_t c = s->kind == OG__BINARY; c < s->classes; c++) {
        counts class = of_class(s, c);
        if (class.said + class.of == 0)
            continue;
        sum += of_counts(&class, metric);
        n++;
    }
    return n > 0 ? sum / n : s->kind == OG__BINARY ? 0 : NAN;
}

typedef struct ranking {
    float score;
    bool positive;
} ranking;

static int by_score(const void *a, const void *b)
{
    float x = ((const ranking *)a)->score, y = ((const ranking *)b)->score;
    return (x > y) - (x < y);
}

/* The chance that a positive ranks above a negative, ties counting half (Mann and Whitney's U). NaN
 * where there is only one of them. */
static double area(ranking *r, size_t n)
{
    double ranks = 0, positives = 0;
    qsort(r, n, sizeof *r, by_score);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && r[next].score == r[i].score;)
            next++;
        double rank = ((double)i + 1 + (double)next) / 2;
        for (size_t k = i; k < next; k++)
            if (r[k].positive) {
                ranks += rank;
                positives++;
            }
    }
    double negatives = (double)n - positives;
    return positives > 0 && negatives > 0
               ? (ranks - positives * (positives + 1) / 2) / (positives * negatives)
               : NAN;
}

/* Mean over classes, each against the rest. */
static double auroc(const og__score *s)
{
    size_t width = s->classes == 2 ? 1 : (size_t)s->classes;
    ranking *r = malloc((s->n_ranked + 1) * sizeof *r);
    double sum = 0;
    for (size_t c = 0; r && c < width; c++) {
        for (size_t i = 0; i < s->n_ranked; i++) {
            int32_t class = s->classes == 2 ? 1 : (int32_t)c;
            r[i] = (ranking){s->ranked[i * width + c], s->ranked_of[i] == class};
        }
        sum += area(r, s->n_ranked);
    }
    double value = r ? sum / (double)width : NAN;
    free(r);
    return value;
}

static double of_values(const og__score *s, const char *metric)
{
    double n = (double)s->counted, spread = s->sum_squares - s->sum * s->sum / n;
    double range = s->high - s->low;
    if (strcmp(metric, "mae") == 0)
        return s->absolute / n;
    if (strcmp(metric, "rmse") == 0)
        return sqrt(s->squares / n);
    if (strcmp(metric, "r2") == 0)
        return spread > 0 ? 1 - s->squares / spread : NAN;
    return 10 * log10(range * range / (s->squares / n)); /* psnr */
}

double og__score_value(const og__score *s, const char *name)
{
    const og__metric *metric = og__metric_find(name);
    if (!metric || !(metric->kinds & s->kind) || s->counted == 0 || s->failed)
        return NAN;
    if (s->kind == OG__VALUES)
        return of_values(s, name);
    if (strcmp(name, "accuracy") == 0)
        return (double)s->right / (double)s->counted;
    if (strcmp(name, "top5_accuracy") == 0)
        return (double)s->right5 / (double)s->counted;
    if (strcmp(name, "auroc") == 0)
        return s->confusion ? auroc(s) : NAN;
    return by_class(s, name);
}
