/* Metrics of an output against its target, added up over batches. Definitions are scikit-learn's
 * (and torchmetrics' for mean IoU and PSNR):
 *
 *     classes  scores [N, C, …] or [N, …, C] and labels: accuracy, top5_accuracy; precision,
 * recall, f1 and miou as means over the classes that occur; auroc, one class against the rest by
 * softmax; with two classes, of the second binary   logits and targets of 0 and 1: accuracy,
 * precision, recall, f1 and auroc of 1 values   numbers: mae, rmse, r2, psnr (of the targets'
 * range) */
#ifndef OG_COMMAND_SCORES_H
#define OG_COMMAND_SCORES_H

#include "runtime/base/json.h"
#include "tools/ongrad/run.h"

typedef enum og__score_kind { OG__CLASSES = 1, OG__BINARY = 2, OG__VALUES = 4 } og__score_kind;

typedef struct og__score {
    const char *name; /* the loss's */
    og__score_kind kind;
    int loss, output, target, class_axis;
    bool detailed; /* more than the accuracy is wanted */
    int64_t ignore_index, classes;
    og_tensor_info scores, labels; /* at the session's batch */
    int64_t right, right5, counted;
    int64_t *confusion; /* classes × classes: of label, as class */
    float *ranked;      /* for auroc: by sample, its score a class … */
    int32_t *ranked_of; /* … and its label */
    size_t n_ranked, room;
    double absolute, squares, sum, sum_squares, low, high; /* of errors; of targets */
    bool failed;                                           /* out of memory */
} og__score;

typedef struct og__metric {
    const char *name;
    unsigned kinds;
    bool larger; /* is better */
} og__metric;

/* NULL: there is no metric of that name. */
const og__metric *og__metric_find(const char *name);
/* "accuracy, top5_accuracy, …" */
void og__metric_names(og_text *out);

void og__score_reset(og__score *score);
void og__score_free(og__score *score);
/* A batch: rows as the session has them. */
void og__score_add(og__score *score, const void *outputs, const void *targets, int64_t samples);
/* NaN where nothing counted, or the metric is none of this kind. perplexity is none of a score. */
double og__score_value(const og__score *score, const char *metric);

#endif
