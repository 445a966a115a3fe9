/* What a command line leaves to the data: ./ongrad.yaml where no data is named, the target where
 * there is no --target, and of a built-in model its loss and sizes. All of it is said in the
 * report. */
#ifndef OG_COMMAND_COMPLETE_H
#define OG_COMMAND_COMPLETE_H

#include "tools/ongrad/options.h"

/* An exit status. Options that were given stay as they are. */
int og__complete(og__arguments *arguments);

#endif
