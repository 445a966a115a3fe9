/* What training would take otherwise: another batch size, precision, or memory. Sessions are only
 * planned for it. */
#ifndef OG_COMMAND_ALTERNATIVES_H
#define OG_COMMAND_ALTERNATIVES_H

#include "tools/ongrad/run.h"

typedef struct og__alternative {
    int64_t batch;
    bool known, fits; /* known: it could be planned at all */
    uint64_t peak;    /* where it does not fit: without a budget */
    double seconds;   /* predicted, of a sample: to compare */
    og_memory_report memory;
} og__alternative;

/* The batch as one piece. amp, fraction: those options' values instead of the run's; NULL: as they
 * are. */
og__alternative og__alternative_of(const og__run *run, int64_t batch, const char *amp,
                                   const char *fraction);
/* "bf16" or "fp16": what mixed precision to try where it is off; NULL: it is on. */
const char *og__other_precision(const og__run *run);
/* After a session did not fit: what would, as options to paste. */
void og__say_remedies(const og__run *run);

#endif
