/* Kernel calls that the device leaves to the host, as plan and train tell of them. */
#ifndef OG_COMMAND_HOST_CALLS_H
#define OG_COMMAND_HOST_CALLS_H

#include "runtime/base/json.h"
#include "tools/ongrad/run.h"

enum { OG__HOST_CALLS = 20 }; /* that are listed */

typedef struct og__host_calls {
    int n;                              /* all of them */
    og_host_call calls[OG__HOST_CALLS]; /* what copies most, first */
    int n_listed;
    int calls_of[2];                   /* of a micro-batch; of an update */
    uint64_t to_host[2], from_host[2]; /* bytes that these copy */
    uint64_t staging;                  /* pinned bytes that all go through */
} og__host_calls;

/* An exit status. The session keeps what is read. */
int og__host_calls_read(og__host_calls *calls, const og__run *run);
/* A table; nothing where there are none. */
void og__host_calls_text(const og__host_calls *calls, og_text *out);
/* All of them as key "host_calls", and "staging_bytes". */
void og__host_calls_json(const og__host_calls *calls, const og__run *run, og_json *json);
/* "3 kernel calls a micro-batch …", for a line of the report. */
void og__host_calls_line(const og__host_calls *calls, og_text *out);

#endif
