#include "tools/ongrad/losses.h"

#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

int og__losses_read(og__losses *losses, const char *command, og_context *context, og_model *model,
                    const og_options *options)
{
    *losses = (og__losses){0};
    int n = og_model_loss_count(model, options), n_targets = og_model_target_count(model);
    if (n < 0) {
        int status = og__exit_status(og_error_status(context));
        return og__say_error(command, status, "%s", og_error_message(context));
    }
    losses->items = calloc((size_t)n + 1, sizeof *losses->items);
    losses->targets = calloc((size_t)n_targets + 1, sizeof *losses->targets);
    if (!losses->items || !losses->targets)
        return og__say_error(command, OG__EXIT_FAILED, "out of memory for the losses");
    losses->n = n;
    losses->n_targets = n_targets;
    for (int i = 0; i < n; i++)
        og_model_loss(model, i, &losses->items[i]);
    for (int t = 0; t < n_targets; t++)
        losses->targets[t] = og_model_target_name(model, t);
    return OG__EXIT_DONE;
}

void og__losses_free(og__losses *losses)
{
    free(losses->items);
    free(losses->targets);
    *losses = (og__losses){0};
}

const og_loss_info *og__losses_of_target(const og__losses *losses, int t)
{
    for (int i = 0; i < losses->n; i++)
        if (losses->items[i].target == t)
            return &losses->items[i];
    return NULL;
}

bool og__is_of_loss(const og_parameter_info *p, const og_loss_info *loss)
{
    size_t length = strlen(loss->name);
    return loss->is_model && p->loss_model && p->trained && !strncmp(p->name, loss->name, length) &&
           p->name[length] == '/';
}

void og__losses_reading(const og__losses *losses, int t, og_text *text)
{
    bool any = false;
    for (int i = 0; i < losses->n; i++) {
        const og_loss_info *loss = &losses->items[i];
        if (loss->target != t)
            continue;
        og_text_printf(text, "%s%s", any ? ", " : "", losses->n == 1 ? loss->loss : loss->name);
        any = true;
    }
    if (!any)
        og_text_add(text, "a loss model");
}
