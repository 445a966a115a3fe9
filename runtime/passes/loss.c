/* Losses by name, as graphs: Σ loss and Σ weight over a micro-batch, so that accumulation, short
 * batches, ignored labels and class weights stay exact (the mean is taken once, over the effective
 * batch). Definitions are PyTorch's. The losses themselves: loss_elementwise.c, loss_classes.c; how
 * several become one: loss_total.c. */
#include "runtime/passes/loss.h"

#include <string.h>

const char *const og_loss_names =
    "bce_with_logits, cross_entropy, huber, kl_div, l1, mse, nll, output, smooth_l1";

static const og__loss_row *find(const char *name)
{
    static const og__loss_row *const tables[] = {og__elementwise_losses, og__class_losses};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        for (const og__loss_row *row = tables[i]; row->name; row++)
            if (strcmp(name, row->name) == 0)
                return row;
    return NULL;
}

bool og_loss_exists(const char *name)
{
    return find(name) != NULL;
}

const char *og_loss_keys(const char *name)
{
    const og__loss_row *row = find(name);
    return row ? row->keys : "";
}

bool og_loss_takes_target(const char *name)
{
    const og__loss_row *row = find(name);
    return row && row->target;
}

bool og_loss_is_of_classes(const char *name)
{
    const og__loss_row *row = find(name);
    return row && row->classes;
}

og_loss_value og_loss_build(const og_loss *l, og_val output, og_val target)
{
    if (!output.g || output.g->error.status != OG_OK)
        return (og_loss_value){0};
    const og__loss_row *row = find(l->name);
    if (row)
        return row->build(l, output, target);
    og_fail(&output.g->error, OG_INVALID_ARGUMENT, "unknown loss %s; there are %s", l->name,
            og_loss_names);
    return (og_loss_value){0};
}

bool og__fits_up_to_ones(const og_type *want, const og_type *given)
{
    int i = 0, k = 0;
    while (i < want->rank || k < given->rank) {
        int64_t a = i < want->rank ? want->dims[i] : -1, b = k < given->rank ? given->dims[k] : -1;
        if (a == b) {
            i++;
            k++;
        } else if (a == 1) {
            i++;
        } else if (b == 1) {
            k++;
        } else {
            return false;
        }
    }
    return true;
}

og_status og__loss_misfit(const og_loss *l, const og_type *output, const og_type *given,
                          const char *wanted, og_error *error)
{
    char a[160], b[160];
    return og_fail(error, OG_INVALID_ARGUMENT, "%s: the target is %s, but the output %s wants %s",
                   l->name, og_type_text(b, NULL, given), og_type_text(a, NULL, output), wanted);
}

og_status og_loss_target_type(const og_loss *l, const og_type *output, const og_type *given,
                              og_type *target, og_error *error)
{
    const og__loss_row *row = find(l->name);
    if (!row || !row->target)
        return og_fail(error, OG_INVALID_ARGUMENT, "loss %s takes no target", l->name);
    return row->target(l, output, given, target, error);
}
