/* Progress of training on stderr: one line redrawn on a terminal, a line now and then elsewhere,
 * the curve of the loss at the end; nothing with --quiet. */
#ifndef OG_COMMAND_PROGRESS_H
#define OG_COMMAND_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum { OG__CURVE = 60 }; /* columns of the curve */

typedef struct og__progress {
    bool quiet, terminal, color, drawn;
    int64_t steps;            /* in all */
    int64_t printed;          /* the step of the last plain line; 0: none */
    int64_t first;            /* step of this process; 0: none yet */
    double start, shown;      /* seconds */
    double pace;              /* seconds a sample, lately */
    double losses[OG__CURVE]; /* sums, by the part of the run that a step is in … */
    int64_t n[OG__CURVE];     /* … and of so many that are finite */
} og__progress;

typedef struct og__progress_state {
    int64_t step, epoch, epochs; /* epoch from 0 */
    double loss, grad_norm, lr, samples_per_s;
    uint64_t memory; /* bytes in use; 0: not known */
} og__progress_state;

void og__progress_start(og__progress *p, bool quiet, int64_t steps);
void og__progress_step(og__progress *p, const og__progress_state *state);
/* Take the line away, before something else is written to stderr. */
void og__progress_clear(og__progress *p);
/* A small chart of the loss; nothing after a few steps. */
void og__progress_curve(const og__progress *p);
/* Seconds of a clock that only goes forward. */
double og__seconds(void);

#endif
