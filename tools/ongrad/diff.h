/* `ongrad inspect --diff A B`: what B has that A has not, and the other way round. */
#ifndef OG_COMMAND_DIFF_H
#define OG_COMMAND_DIFF_H

#include "tools/ongrad/run.h"

/* run: of B, open. As diff(1): 0 they are the same, 1 they differ, 2 something went wrong. */
int og__diff(og__run *run, const char *path, bool json);

#endif
