/* Where the time of training steps goes: each kernel call of a plan is timed as it runs.
 *
 * Only og_plan_run_profiled measures; og_plan_run knows nothing of it. One clock reading a call
 * separates it from the next, so that the calls of a run add up to the run. The first steps warm up
 * caches and pages: what they took is dropped when a further one begins. The steps right after are
 * also kept call by call, for a trace.
 *
 * Plans that were run must live until the last report or trace. */
#ifndef OG_EXEC_PROFILE_H
#define OG_EXEC_PROFILE_H

#include "runtime/exec/exec.h"

typedef struct og_profile og_profile;

/* NULL when out of memory. */
og_profile *og_profile_new(void);
void og_profile_free(og_profile *profile);

/* Around everything that belongs to a step: a step may take several such calls, one a micro-batch;
 * `ends`: this was its last. Time between them is the caller's and does not count. profile NULL:
 * nothing. */
void og_profile_enter(og_profile *profile);
void og_profile_leave(og_profile *profile, bool ends);

/* og_plan_run, timed: a device that works behind the host is waited for after each call, and
 * nothing is recorded. The first run of a plan allocates its counters. */
og_status og_plan_run_profiled(og_plan *plan, og_profile *profile, const atomic_bool *cancel,
                               og_error *error);

/* All measured so far, summed into rows, the longest time first. The number of rows, -1 on error;
 * rows and their texts live until the next report. */
int og_profile_report(og_profile *profile, og_profile_by by, og_profile_summary *summary,
                      og_error *error);
const og_profile_row *og_profile_rows(const og_profile *profile);

/* trace.c: the traced steps as JSON in Chrome's trace event format: complete events, those of calls
 * inside those of micro and update, these inside their step's. */
void og_profile_trace(const og_profile *profile, og_text *out);

/* ---- between profile.c, profile_report.c and trace.c */

/* The counters of one plan; by step of the plan, its packs behind the others. */
typedef struct og__timing {
    const og_plan *plan;
    int64_t runs, renewals; /* of them, those that were not fresh */
    double *seconds;        /* of all runs */
    double *least;          /* of the fastest run */
} og__timing;

/* Something that took time. */
typedef struct og__event {
    const og_plan *plan; /* NULL: an optimizer step */
    int64_t index;       /* of the plan's step, -1: its whole run; of the optimizer step, from 1 */
    double start, seconds; /* start: since the profile was made */
} og__event;

struct og_profile {
    og__timing *timings; /* by plan, in the order they were first run */
    int n_timings;
    og__event *events;
    size_t n_events, events_capacity;
    double origin;     /* the clock when the profile was made; other times count from it */
    double entered;    /* the last og_profile_enter */
    double step_start; /* the first one of this step */
    bool in_step, warm;
    int64_t steps, measured; /* ended steps: all; since the warm-up */
    double seconds;          /* inside of the measured steps */
    og_arena *arena;         /* of the last report */
    og_profile_row *rows;
};

/* How often the step ran. */
int64_t og__step_runs(const og__timing *t, int step);

/* What one call does: floating-point operations, and the bytes of its inputs and outputs as if each
 * were read or written once. */
double og__call_flops(const og_plan *plan, const og_step *step);
double og__call_bytes(const og_step *step);
/* "forward", "gradient" …; the user's node it comes from, else the user's op, else "". */
const char *og__call_role(const og_step *step);
const char *og__call_node(const og_step *step);
/* "float32 [32, 64], float32 [64] -> float32 [32, 64]", and a fused program's instructions. */
void og__call_shapes(og_text *out, const og_step *step);

#endif
