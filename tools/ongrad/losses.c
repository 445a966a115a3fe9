#include "tools/ongrad/losses.h"

#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

int og__output_index(const og_model *model, const char *name)
{
    og_tensor_info info;
    if (!name)
        return 0;
    for (int i = 0; i < og_model_output_count(model); i++)
        if (og_model_output(model, i, &info) == OG_OK && info.name && !strcmp(info.name, name))
            return i;
    return -1;
}

static int unknown_output(const og__arguments *a, const og_model *model, const char *text)
{
    og_text list = {0};
    og_tensor_info info;
    for (int i = 0; i < og_model_output_count(model); i++)
        if (og_model_output(model, i, &info) == OG_OK)
            og_text_printf(&list, "%s%s", i ? ", " : "", info.name);
    int status = og__say_error(a->command->name, OG__EXIT_USAGE,
                               "--loss %s names no output of the model; the outputs are: %s", text,
                               list.s ? list.s : "none");
    og_text_free(&list);
    return status;
}

/* "[OUTPUT=]NAME[,key=value…]" */
static int read_one(og__loss_spec *spec, const og__arguments *a, const og_model *model,
                    const char *text)
{
    size_t head = strcspn(text, ",");
    const char *equals = memchr(text, '=', head);
    const char *name = equals ? equals + 1 : text;
    og_tensor_info only;
    spec->name = strndup(name, head - (size_t)(name - text));
    if (equals)
        spec->output = strndup(text, (size_t)(equals - text));
    else if (og_model_output_count(model) == 1 && og_model_output(model, 0, &only) == OG_OK)
        spec->output = strdup(only.name);
    if (!spec->name || (equals && !spec->output))
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for the losses");
    spec->wants_target = strcmp(spec->name, "output") != 0;
    return equals && og__output_index(model, spec->output) < 0 ? unknown_output(a, model, text)
                                                               : OG__EXIT_DONE;
}

int og__losses_read(og__losses *losses, const og__arguments *a, const og_model *model)
{
    *losses = (og__losses){0};
    int n = 0;
    const char *text;
    while (og__argument_at(a, "loss", n))
        n++;
    losses->items = calloc((size_t)n + 1, sizeof *losses->items);
    if (!losses->items)
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for the losses");
    for (int i = 0; (text = og__argument_at(a, "loss", i)); i++) {
        if (!strcmp(text, "none"))
            continue;
        og__loss_spec *spec = &losses->items[losses->n++];
        OG__TRY(read_one(spec, a, model, text));
        losses->n_targets += spec->wants_target;
    }
    return OG__EXIT_DONE;
}

void og__losses_free(og__losses *losses)
{
    for (int i = 0; i < losses->n; i++) {
        free(losses->items[i].output);
        free(losses->items[i].name);
    }
    free(losses->items);
    *losses = (og__losses){0};
}

const og__loss_spec *og__losses_of_target(const og__losses *losses, int t)
{
    for (int i = 0; i < losses->n; i++)
        if (losses->items[i].wants_target && t-- == 0)
            return &losses->items[i];
    return NULL;
}
