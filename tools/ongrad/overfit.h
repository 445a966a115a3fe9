/* check --overfit: can the model learn one batch by heart? */
#ifndef OG_COMMAND_OVERFIT_H
#define OG_COMMAND_OVERFIT_H

#include "tools/ongrad/run.h"

typedef struct og__overfit {
    int64_t steps;
    double lr, first, last; /* losses */
} og__overfit;

/* Steps of the run's session on the batch, at several learning rates one after the other, until the
 * loss is a tenth of what it was. An exit status; OG__EXIT_FAILED, having said so, where it never
 * is. */
int og__overfit_batch(og__run *run, const void *const *inputs, const void *const *targets,
                      int64_t samples, og__overfit *result);

#endif
