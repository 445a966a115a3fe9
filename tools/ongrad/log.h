/* --log FILE: one JSON object a line and optimizer step, and a last one of the whole run. */
#ifndef OG_COMMAND_LOG_H
#define OG_COMMAND_LOG_H

#include <stdio.h>

#include "runtime/base/json.h"
#include "tools/ongrad/command.h"

typedef struct og__run_log {
    const char *command, *path;
    FILE *file; /* NULL: there is no log, and nothing is written */
    bool failed;
} og__run_log;

typedef struct og__log_step {
    int64_t step, epoch; /* step from 1, epoch from 0 */
    double loss, lr, grad_norm, loss_scale;
    bool skipped;
    double step_ms, samples_per_s;
    bool validated; /* at this step */
    double val_loss, val_accuracy;
} og__log_step;

typedef struct og__log_final {
    int64_t steps, epochs, samples; /* epochs: whole ones */
    double loss, seconds, wait_seconds;
    bool validated;
    double val_loss, val_accuracy;
    uint64_t peak_bytes, predicted_peak_bytes;
    uint64_t process_start_bytes, process_peak_bytes; /* resident */
    const char *stopped_by;                           /* NULL: nothing */
    const char *output;
} og__log_final;

/* path NULL: no log. The file is emptied. */
int og__run_log_open(og__run_log *log, const char *command, const char *path);
void og__run_log_step(og__run_log *log, const og__log_step *step);
void og__run_log_final(og__run_log *log, const og__log_final *final);
/* A failed write shows here: an exit status. */
int og__run_log_close(og__run_log *log);

#endif
