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

/* What is otherwise than in the run: a batch, as one piece, and values of options; NULL: as they
 * are.
 */
typedef struct og__trial {
    int64_t batch;
    const char *amp, *memory_fraction, *recompute;
} og__trial;

og__alternative og__alternative_of(const og__run *run, og__trial trial);
/* In which type the device that trains multiplies faster than in float32; OG_UNDEFINED: in none. */
og_dtype og__faster_half(const og_context *context);
/* "bf16" or "fp16": what mixed precision to try where it is off; NULL: it is on. */
const char *og__other_precision(const og__run *run);
/* After a session did not fit: what would, as options to paste. */
void og__say_remedies(const og__run *run);

#endif
