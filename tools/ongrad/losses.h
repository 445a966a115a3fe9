/* The losses asked for with --loss and the targets they read, as the library understands them. */
#ifndef OG_COMMAND_LOSSES_H
#define OG_COMMAND_LOSSES_H

#include "runtime/base/text.h"
#include "tools/ongrad/options.h"

typedef struct og__losses {
    og_loss_info *items; /* strings are the model's */
    int n;
    const char **targets; /* names */
    int n_targets;
} og__losses;

/* Every --loss. None given, or "none": n is 0. An exit status. */
int og__losses_read(og__losses *losses, const char *command, og_context *context, og_model *model,
                    const og_options *options);
void og__losses_free(og__losses *losses);
/* The first loss that compares an output with target t; NULL: only loss models read it. */
const og_loss_info *og__losses_of_target(const og__losses *losses, int t);
/* Is it a trained tensor of this loss model? */
bool og__is_of_loss(const og_parameter_info *p, const og_loss_info *loss);
/* The losses that read target t, for messages: "y.mse, y.l1". */
void og__losses_reading(const og__losses *losses, int t, og_text *text);

#endif
