/* The losses asked for with --loss, as far as the command must know them: which output each reads
 * and whether it wants a target. Their meaning is the library's. */
#ifndef OG_COMMAND_LOSSES_H
#define OG_COMMAND_LOSSES_H

#include "tools/ongrad/options.h"

typedef struct og__loss_spec {
    char *output; /* the model's output; NULL: not said, and there are several */
    char *name;   /* "cross_entropy" */
    bool wants_target;
} og__loss_spec;

typedef struct og__losses {
    og__loss_spec *items;
    int n;
    int n_targets; /* how many want one */
} og__losses;

/* Every --loss. None given, or "none": n is 0. An exit status. */
int og__losses_read(og__losses *losses, const og__arguments *a, const og_model *model);
void og__losses_free(og__losses *losses);
/* The loss of target t; NULL past the end. */
const og__loss_spec *og__losses_of_target(const og__losses *losses, int t);
/* The index of an output by name; 0 for NULL; -1: there is none. */
int og__output_index(const og_model *model, const char *name);

#endif
