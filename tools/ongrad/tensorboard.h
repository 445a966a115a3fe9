/* --tensorboard DIR: scalars as TensorBoard reads them, an event file a process. */
#ifndef OG_COMMAND_TENSORBOARD_H
#define OG_COMMAND_TENSORBOARD_H

#include "tools/ongrad/log.h"

typedef struct og__events {
    const char *command;
    og_text path;
    FILE *file; /* NULL: nothing is written */
    bool failed;
    double flushed;    /* when, in seconds of og__seconds */
    uint32_t crc[256]; /* CRC32C, byte by byte */
    og_text values;    /* of the event that is being made */
} og__events;

/* folder NULL: nothing is written. It is made where it is not there. `after`: the run goes on after
 * so many steps; what earlier files say of later ones is void. An exit status. */
int og__events_open(og__events *events, const char *command, const char *folder, int64_t after);
/* What the log has of a step. Written to the disk once a second, and with each validation. */
void og__events_step(og__events *events, const og__log_step *step);
/* A failed write shows here: an exit status. */
int og__events_close(og__events *events);

#endif
