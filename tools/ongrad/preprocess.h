/* How pictures become elements: from the options, else as the model says it was trained. */
#ifndef OG_COMMAND_PREPROCESS_H
#define OG_COMMAND_PREPROCESS_H

#include "tools/ongrad/run.h"

/* run->transforms. */
int og__preprocess_read(og__run *run);
/* "resize cover, center crop, …", a line or two for the report; nothing where no input reads
 * pictures. */
void og__preprocess_say(const og__run *run, const char *label);

#endif
