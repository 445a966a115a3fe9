/* --resume: what a checkpoint says about the command line of the run. */
#ifndef OG_COMMAND_RESUME_H
#define OG_COMMAND_RESUME_H

#include "runtime/base/text.h"
#include "tools/ongrad/options.h"

/* With --resume: the checkpoint becomes the model, and its settings those of the command line where
 * it has none of its own; differences are told. An exit status. */
int og__resume_arguments(og__arguments *a);
/* Stored lines become settings where the command line leaves them open; where it does not, what
 * differs is told. The text is taken apart. option: "resume"; path: of the file they are from. */
int og__take_settings(og__arguments *a, char *text, const char *option, const char *path);

/* Settings of a run as they are stored (stored.h): what a run that goes on takes over; what made
 * its model; and all that a run like it needs. */
typedef enum og__stored_for { OG__OF_CHECKPOINT, OG__OF_MODEL, OG__OF_TRAINED } og__stored_for;
void og__settings_text(const og__arguments *a, og__stored_for what, og_text *text);

/* like.c: with --like, the settings and the model of the run that a trained model is of. */
int og__like_arguments(og__arguments *a);

#endif
