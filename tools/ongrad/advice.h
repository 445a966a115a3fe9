/* What would make training faster, told after a run that took its time. */
#ifndef OG_COMMAND_ADVICE_H
#define OG_COMMAND_ADVICE_H

#include "tools/ongrad/trainer.h"

/* Half precision, TF32, batch size, storage, workers, in this order, each only where it applies.
 * seconds: of the training. Nothing with --quiet. */
void og__advise(const og__trainer *t, double seconds);

#endif
