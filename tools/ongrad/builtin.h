/* Built-in models on the command line: `ongrad new TYPE`, and other subcommands where no model is
 * given. */
#ifndef OG_COMMAND_BUILTIN_H
#define OG_COMMAND_BUILTIN_H

#include "tools/ongrad/run.h"

/* Does some built-in model take this option of the library? */
bool og__is_model_option(const char *name);
/* NULL: there is no such type. */
const og_model_type *og__model_type_find(const char *name);
/* The rows as `ongrad new TYPE --help` shows them: options that the type takes, with its defaults.
 */
void og__rows_for_type(og__row *rows, int n_rows, const og_model_type *type);
/* run->model, of the type asked for. Streams that --data names are its inputs, unless --streams
 * says more. An exit status. */
int og__run_new_model(og__run *run);
/* An error where options of built-in models stand beside the model that is given. */
int og__refuse_model_options(const og__arguments *a);

#endif
