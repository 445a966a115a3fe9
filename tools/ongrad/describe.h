/* What a run is, as JSON in its log: settings, machine, memory planned, the model's graph. */
#ifndef OG_COMMAND_DESCRIBE_H
#define OG_COMMAND_DESCRIBE_H

#include "tools/ongrad/trainer.h"

/* report: what was said before the start (report.h). An exit status. */
int og__describe(og__trainer *t, const char *report, og_text *out);
/* Object "profile": where the time went, by op; nothing without --profile. */
void og__describe_profile(const og__run *run, og_json *json);

#endif
