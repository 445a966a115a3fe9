/* Sums over batches: the loss, and the accuracy where the loss is cross entropy over class labels.
 */
#ifndef OG_COMMAND_METRICS_H
#define OG_COMMAND_METRICS_H

#include "tools/ongrad/run.h"

typedef struct og__metrics {
    double loss_sum, weight_sum;
    int64_t right, counted; /* labels; counted 0: there is no accuracy */
    /* of the model, set once */
    int output; /* the output that is scored; -1: none */
    int64_t ignore_index;
    og_tensor_info scores, labels; /* at the session's batch */
    int class_axis;
    int n_outputs;
    void **outputs; /* buffers for og_session_eval_step; NULL where unwanted */
} og__metrics;

/* For the run's session. An exit status; og__metrics_free in any case. */
int og__metrics_new(og__metrics *metrics, const og__run *run);
void og__metrics_free(og__metrics *metrics);
void og__metrics_reset(og__metrics *metrics);
double og__metrics_loss(const og__metrics *metrics);
/* NaN where there is none. */
double og__metrics_accuracy(const og__metrics *metrics);

/* One pass over a feed in inference mode, added up from zero. `stop`: asked before each batch, may
 * be NULL. */
int og__evaluate(og__run *run, og__feed *feed, og__metrics *metrics, bool (*stop)(void));

#endif
