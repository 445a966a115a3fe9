/* A run of `ongrad train`: what its files share. train.c prepares and ends it, steps.c runs it,
 * checkpoint.c decides when and where it is saved, resume.c says what of it is saved and reads that
 * again. */
#ifndef OG_COMMAND_TRAINER_H
#define OG_COMMAND_TRAINER_H

#include "tools/ongrad/checkpoint.h"
#include "tools/ongrad/log.h"
#include "tools/ongrad/progress.h"
#include "tools/ongrad/tensorboard.h"

/* What --monitor watches, validation by validation. */
typedef struct og__monitor {
    const char *metric;
    bool larger;       /* is better */
    double best;       /* NaN: none yet */
    int64_t best_step; /* of which the output is; 0: not written yet */
    int64_t bad;       /* validations in a row that were no better */
    int64_t patience;  /* 0: any number of them */
    og__every every;
    double amount;
    bool ended; /* patience did */
} og__monitor;

typedef struct og__trainer {
    og__run run;
    og__feed feed;
    bool validates;
    og__bindings validation;
    og__feed validation_feed;
    og__metrics metrics;
    og__monitor monitor;
    bool dry; /* --dry_run */
    og__run_log log;
    og__events events;
    og__progress progress;
    og__checkpoints checkpoints;
    const char *output;

    int64_t accumulation, steps_an_epoch, steps, epochs;
    uint64_t predicted_peak;
    uint64_t start_bytes;                   /* resident before anything was loaded */
    uint64_t anonymous_start, anonymous;    /* of no file: then, and after the last step */
    uint64_t device_opened, device_trained; /* in use on the device: then, and after that step */

    int64_t epoch, index;             /* the next micro-batch: `index` of `epoch`, both from 0 */
    int64_t group_epoch, group_index; /* the first one of the update that comes next */
    og_plateau plateau;               /* of scheduler reduce_lr_on_plateau */
    double epoch_losses;              /* sum over the epoch's optimizer steps … */
    int64_t epoch_steps;              /* … that had a finite one */
    og_step_result last;              /* of the last optimizer step that was reported */
    int64_t begun;                    /* optimizer steps, of which the device may be some behind */
    int64_t resumed_at;               /* those of earlier runs */
    int64_t samples;                  /* seen in all */
    double start, step_start;
    uint64_t memory;     /* bytes in use … */
    double memory_seen;  /* … then */
    bool validation_due; /* the epoch's is still to come */
    bool unsaved;        /* stopped by a signal, and the checkpoint could not be written */
    bool validated;      /* metrics are of the last validation */
    bool data_known;
    og_text data; /* what the data looks like, for checkpoints (run_state.c) */
} og__trainer;

/* steps.c: until all steps are done, or a signal stops it (OG__EXIT_STOPPED). */
int og__train(og__trainer *t);

/* monitor.c: its options; what a validation that was just made changes: the best so far, which
 * becomes the output, the learning rate of reduce_lr_on_plateau, the end of the run. */
int og__monitor_open(og__trainer *t);
int og__monitor_see(og__trainer *t);
/* Is a validation due after this update? last: of the epoch. */
bool og__monitor_is_due(const og__trainer *t, bool last);

/* resume.c: everything is open; the session and the place in the run become the checkpoint's. */
int og__resume(og__trainer *t);
/* Options, data and metrics of the run, which are saved with its model. */
int og__keep_run(og__trainer *t);
/* A checkpoint of the run as it is now; the device was waited for. */
int og__save_checkpoint(og__trainer *t);

#endif
