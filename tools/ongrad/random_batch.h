/* One batch of made-up data, for checks without files: numbers from a normal distribution, indices
 * 0 and 1, labels of every class. A pure function of the seed. */
#ifndef OG_COMMAND_RANDOM_BATCH_H
#define OG_COMMAND_RANDOM_BATCH_H

#include "tools/ongrad/run.h"

typedef struct og__random_batch {
    int n_inputs, n_targets;
    void **inputs, **targets;
} og__random_batch;

/* For the run's session. An exit status; og__random_batch_free in any case. */
int og__random_batch_new(og__random_batch *batch, const og__run *run, uint64_t seed);
void og__random_batch_free(og__random_batch *batch);

#endif
