/* How pictures become elements: from the options, else as the model says it was trained. */
#ifndef OG_COMMAND_PREPROCESS_H
#define OG_COMMAND_PREPROCESS_H

#include "tools/ongrad/run.h"

/* run->transforms: an option that was given, else what the model says, else the default. */
int og__preprocess_read(og__run *run);
/* Tell the model how its pictures were made, and the names of its classes: they are saved with it.
 */
int og__preprocess_keep(og__run *run);
/* "resize cover, center crop, …", a line or two for the report; nothing where no input reads
 * pictures; as og__line. */
void og__preprocess_say(og_text *out, const og__run *run, const char *label);

#endif
