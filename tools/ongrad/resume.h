/* --resume: what a checkpoint says about the command line of the run. */
#ifndef OG_COMMAND_RESUME_H
#define OG_COMMAND_RESUME_H

#include "runtime/base/text.h"
#include "tools/ongrad/options.h"

/* With --resume: the checkpoint becomes the model, and its settings those of the command line where
 * it has none of its own; differences are told. An exit status. */
int og__resume_arguments(og__arguments *a);
/* The settings that a resumed run takes over, a line each. */
void og__settings_text(const og__arguments *a, og_text *text);

#endif
