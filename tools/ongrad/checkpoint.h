/* Where and when checkpoints are written, and that no other run writes them. */
#ifndef OG_COMMAND_CHECKPOINT_H
#define OG_COMMAND_CHECKPOINT_H

#include "tools/ongrad/run.h"

typedef enum og__every {
    OG__NEVER,
    OG__EVERY_STEPS,
    OG__EVERY_EPOCHS,
    OG__EVERY_SECONDS
} og__every;

typedef struct og__checkpoints {
    const char *command;
    char *path; /* NULL: there are none (the output is no file) */
    int keep;
    og__every every;
    double amount; /* steps, epochs or seconds */
    int lock;      /* descriptor; -1: none */
    char *lock_path;
    int64_t steps, epochs; /* at the last one */
    double seconds;
    int64_t saved; /* optimizer steps in the one on the disk; -1: none of this run */
    bool failed;   /* the last attempt */
} og__checkpoints;

/* "500", "2ep", "10m"; false: it is none of them. */
bool og__every_parse(const char *text, og__every *every, double *amount);
/* "run.ckpt.onnx" for output "run.onnx", unless --checkpoint says otherwise; malloc'd, NULL when
 * out of memory. */
char *og__checkpoint_path(const og__arguments *a, const char *output);
/* Reads the options. An exit status; og__checkpoints_close in any case. */
int og__checkpoints_open(og__checkpoints *c, const og__run *run, const char *output);
/* Takes the lock, and clears away what killed runs left: nothing of it is anyone's then. */
int og__checkpoints_lock(og__checkpoints *c);
void og__checkpoints_close(og__checkpoints *c);
/* The clock and counts from which the next one is due. */
void og__checkpoints_begin(og__checkpoints *c, int64_t steps, int64_t epochs);
/* Is one due after so many steps and whole epochs? Then the next is so much later. */
bool og__checkpoints_due(og__checkpoints *c, int64_t steps, int64_t epochs);

#endif
