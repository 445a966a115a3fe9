#include "tools/ongrad/preprocess.h"

#include <string.h>

#include "tools/ongrad/say.h"

int og__preprocess_read(og__run *run)
{
    const og__arguments *a = run->arguments;
    og_error error = {0};
    const char *name;
    run->transforms = og_transforms_default();
    for (int i = 0; (name = og_transforms_name(i)); i++) {
        const og__row *row = og__arguments_row(a, name);
        const char *value = row && (row->commands & a->command->bit) ? og__argument(a, name) : NULL;
        if (value && og_transforms_set(&run->transforms, name, value, &error) != OG_OK)
            return og__say_failure(run->command, &error);
    }
    return OG__EXIT_DONE;
}

static bool reads_pictures(const og__bindings *b)
{
    for (int i = 0; i < b->n_inputs; i++)
        if (b->inputs[i].source && og_source_is_pictures(b->inputs[i].source))
            return true;
    return false;
}

/* ", NAME VALUE" where the option is set. */
static void add_set(const og__run *run, const char *name, og_text *text)
{
    const og__row *row = og__arguments_row(run->arguments, name);
    if (row && (row->commands & run->arguments->command->bit) &&
        og__argument_is_set(run->arguments, name))
        og_text_printf(text, ", %s %s", name, og__argument(run->arguments, name));
}

void og__preprocess_say(const og__run *run, const char *label)
{
    static const char *const random[] = {"random_resized_crop", "hflip",     "vflip",
                                         "color_jitter",        "grayscale", "blur",
                                         "random_erasing"};
    const og_transforms *t = &run->transforms;
    if (!reads_pictures(&run->data))
        return;
    og_text text = {0};
    og_text_printf(&text, "resize %s, crop %s", og__argument(run->arguments, "resize"),
                   t->random_crop ? "random" : "center");
    for (size_t i = 0; i < sizeof random / sizeof *random; i++)
        add_set(run, random[i], &text);
    og__say("  %-11s %s", label, text.s ? text.s : "");
    og_text_free(&text);
    og__say("  %-11s normalize %s: (x / 255 - [%g %g %g]) / [%g %g %g]; color %s", "",
            og__argument(run->arguments, "normalize"), t->mean[0], t->mean[1], t->mean[2],
            t->std[0], t->std[1], t->std[2], t->bgr ? "bgr" : "rgb");
}
