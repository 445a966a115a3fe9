/* --profile: where the time of a training step went, as a table on stderr and as a trace file. */
#ifndef OG_COMMAND_PROFILE_H
#define OG_COMMAND_PROFILE_H

#include "tools/ongrad/run.h"

/* Is --profile_by one of its words? An exit status. */
int og__profile_check(const og__run *run);
/* With --profile: print the table (unless quiet) and write the file. An exit status. */
int og__profile_say(const og__run *run);

#endif
