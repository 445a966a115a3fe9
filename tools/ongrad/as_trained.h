/* How files were read when a model was trained: scale, columns of CSV, frames a second. Kept in the
 * model's metadata, so that `eval` and `predict` read theirs alike, and what validates is read like
 * what trains. Keys that are given win. */
#ifndef OG_COMMAND_AS_TRAINED_H
#define OG_COMMAND_AS_TRAINED_H

#include "tools/ongrad/run.h"

/* Of input or target i: before its source is opened (its options), and once it is (its scale).
 * false: out of memory. */
bool og__as_trained_options(og__bindings *b, int i);
void og__as_trained_scale(og__bindings *b, int i);
/* Tell the model how its files were read; it is saved with it. An exit status. */
int og__as_trained_keep(og__run *run);

#endif
