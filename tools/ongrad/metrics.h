/* Sums over batches: every loss, the accuracy of each that compares class scores with labels, and
 * the metrics asked for with --metric, --monitor and --require. */
#ifndef OG_COMMAND_METRICS_H
#define OG_COMMAND_METRICS_H

#include "tools/ongrad/scores.h"

typedef struct og__metrics {
    const og__losses *losses;
    double *loss_sums, *weight_sums; /* by loss */
    og__score *scores;
    int n_scores, n_outputs;
    const char **wanted; /* metrics, beside loss and accuracy */
    int n_wanted;
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
/* "f1", or "f1.LOSS" of one loss where there are several; "loss" and "loss.LOSS", too. NaN where it
 * is not known. */
double og__metrics_value(const og__metrics *metrics, const char *name);
/* Everything that is known of a pass: "loss", "loss.LOSS" where there are several; "accuracy", and
 * what is wanted, with ".LOSS" where there are several; no matrix. */
void og__metrics_each(const og__metrics *metrics,
                      void (*see)(void *user, const char *name, double value), void *user);
/* Is more of it better? */
bool og__metrics_larger(const char *name);
/* An error unless the name can be a metric of this run. `option`: "--monitor". */
int og__metrics_check(const og__metrics *metrics, const char *command, const char *option,
                      const char *name);
/* Lines of those that are wanted, for people. */
void og__metrics_text(const og__metrics *metrics, og_text *out);
/* {"losses": {NAME: mean}} where there are several, "accuracy" or "accuracies" where labels have
 * one; `prefix` stands before the keys. */
void og__metrics_json(const og__metrics *metrics, const char *prefix, og_json *json);

/* One pass over a feed in inference mode, added up from zero. `stop`: asked before each batch, may
 * be NULL. */
int og__evaluate(og__run *run, og__feed *feed, og__metrics *metrics, bool (*stop)(void));

#endif
