/* What the losses' files share: a loss is a row, with what it builds, the target it wants and the
 * keys it takes. */
#ifndef OG_PASSES_LOSS_H
#define OG_PASSES_LOSS_H

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

typedef og_loss_value og__loss_fn(const og_loss *l, og_val output, og_val target);
/* As og_loss_target_type. */
typedef og_status og__loss_target_fn(const og_loss *l, const og_type *output, const og_type *given,
                                     og_type *target, og_error *error);

typedef struct og__loss_row {
    const char *name;
    og__loss_fn *build;
    og__loss_target_fn *target; /* NULL: it takes none */
    const char *keys;           /* "beta", "ignore_index class_weights" … */
    bool classes;               /* of class scores, with labels as target */
} og__loss_row;

/* Tables that end with a NULL name. */
extern const og__loss_row og__elementwise_losses[]; /* loss_elementwise.c */
extern const og__loss_row og__class_losses[];       /* loss_classes.c */

/* Do the elements of `given` fill the type once axes of 1 are added or removed? */
bool og__fits_up_to_ones(const og_type *want, const og_type *given);
/* The error of a target that does not fit; `wanted`: what the output wants. */
og_status og__loss_misfit(const og_loss *l, const og_type *output, const og_type *given,
                          const char *wanted, og_error *error);

#endif
