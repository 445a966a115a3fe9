/* Sums over batches: every loss, and the accuracy of each that compares class scores with labels.
 */
#ifndef OG_COMMAND_METRICS_H
#define OG_COMMAND_METRICS_H

#include "runtime/base/json.h"
#include "tools/ongrad/run.h"

/* An output whose classes are compared with labels. */
typedef struct og__score {
    const char *name; /* the loss's */
    int output, target, class_axis;
    int64_t ignore_index;
    og_tensor_info scores, labels; /* at the session's batch */
    int64_t right, counted;
} og__score;

typedef struct og__metrics {
    const og__losses *losses;
    double *loss_sums, *weight_sums; /* by loss */
    og__score *scores;
    int n_scores, n_outputs;
    void **outputs; /* buffers for og_session_eval_step; NULL where unwanted */
} og__metrics;

/* For the run's session. An exit status; og__metrics_free in any case. */
int og__metrics_new(og__metrics *metrics, const og__run *run);
void og__metrics_free(og__metrics *metrics);
void og__metrics_reset(og__metrics *metrics);
/* Σ weight · mean of the losses. */
double og__metrics_loss(const og__metrics *metrics);
/* The mean of loss i; NaN where nothing counted. */
double og__metrics_mean(const og__metrics *metrics, int i);
/* The share of right labels; NaN where there are none. */
double og__score_accuracy(const og__score *score);
/* {"losses": {NAME: mean}} where there are several, "accuracy" or "accuracies" where labels have
 * one; `prefix` stands before the keys. */
void og__metrics_json(const og__metrics *metrics, const char *prefix, og_json *json);

/* One pass over a feed in inference mode, added up from zero. `stop`: asked before each batch, may
 * be NULL. */
int og__evaluate(og__run *run, og__feed *feed, og__metrics *metrics, bool (*stop)(void));

#endif
