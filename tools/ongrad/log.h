/* --log FILE: one JSON object a line and optimizer step, and a last one of the whole run. The first
 * line that a process writes says with key "run" what it runs: `ongrad report` draws it all. */
#ifndef OG_COMMAND_LOG_H
#define OG_COMMAND_LOG_H

#include <stdio.h>

#include "tools/ongrad/metrics.h"

typedef struct og__run_log {
    const char *command, *path;
    FILE *file;  /* NULL: there is no log, and nothing is written */
    og_text run; /* "run" of the next line: a JSON object, what the run is (describe.h); or empty */
    bool failed;
} og__run_log;

/* Losses by name; several of them are written as {NAME: mean}. */
typedef struct og__log_losses {
    const og__losses *losses;
    const double *means;
} og__log_losses;

typedef struct og__log_step {
    int64_t step, epoch; /* step from 1, epoch from 0 */
    double loss, lr, grad_norm, loss_scale;
    og__log_losses losses;
    bool skipped;
    double step_ms, samples_per_s;
    uint64_t memory_bytes;         /* in use, measured now and then */
    const og__metrics *validation; /* at this step; NULL: none */
} og__log_step;

/* What all have in use of a device with memory of its own, as it reports: when it was opened, just
 * before and after the session's memory was allocated, after the last step. All 0: another one. */
typedef struct og__log_device {
    uint64_t opened, before, after, trained;
} og__log_device;

typedef struct og__log_final {
    int64_t steps, epochs, samples; /* epochs: whole ones */
    double loss, seconds, wait_seconds;
    double wait_disk_seconds, wait_decode_seconds; /* of wait_seconds */
    int64_t unreadable;                            /* samples */
    og__log_losses losses;
    const og__metrics *validation; /* the last one; NULL: none */
    uint64_t peak_bytes, predicted_peak_bytes;
    uint64_t data_bytes;    /* batches of data held ready, beside them */
    uint64_t program_bytes; /* and what the process held before any of these */
    uint64_t process_start_bytes, process_peak_bytes; /* resident */
    uint64_t anonymous_start_bytes, anonymous_bytes;  /* no file's; the latter after the steps */
    og__log_device device;
    const char *stopped_by; /* NULL: nothing */
    const char *output;
    const og__run *run; /* whose profile is written, where there is one */
} og__log_final;

/* path NULL: no log. `after`: the run goes on after so many steps, whose lines stay; all others are
 * removed. */
int og__run_log_open(og__run_log *log, const char *command, const char *path, int64_t after);
void og__run_log_step(og__run_log *log, const og__log_step *step);
void og__run_log_final(og__run_log *log, const og__log_final *final);
/* A failed write shows here: an exit status. */
int og__run_log_close(og__run_log *log);

#endif
