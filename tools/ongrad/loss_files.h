/* Loss models whose tensors were trained are written beside the trained model: trained.onnx and
 * trained.NAME.onnx, NAME being the loss's. */
#ifndef OG_COMMAND_LOSS_FILES_H
#define OG_COMMAND_LOSS_FILES_H

#include "tools/ongrad/report.h"

/* May they be written for this output? An exit status. */
int og__loss_files_check(const og__run *run, const char *output);
/* Write them; say that they were written. An exit status. */
int og__loss_files_save(const og__run *run, const char *output);
void og__loss_files_say(const og__run *run, const char *output);
/* The --loss options of a command that takes what was trained: written loss models instead of those
 * that were read. */
void og__loss_files_next(og__next *next, const og__run *run, const char *output);

#endif
