#include "tools/ongrad/preprocess.h"

#include <stdio.h>
#include <string.h>

#include "tools/ongrad/as_trained.h"
#include "tools/ongrad/class_names.h"
#include "tools/ongrad/say.h"

/* What is kept in the model's metadata, as ongrad.NAME. */
static const char *const kept[] = {"resize", "normalize", "color"};

static const char *metadata(const og__run *run, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "ongrad.%s", name);
    return og_model_metadata(run->model, key);
}

/* The value in force; *where says who decided, "" for the command line. NULL: none. */
static const char *value_of(const og__run *run, const char *name, const char **where)
{
    const og__arguments *a = run->arguments;
    const og__row *row = og__arguments_row(a, name);
    *where = "";
    if (!row || !(row->commands & a->command->bit))
        return NULL;
    if (og__argument_is_set(a, name))
        return og__argument(a, name);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!strcmp(kept[i], name) && metadata(run, name)) {
            *where = " (as the model was trained)";
            return metadata(run, name);
        }
    *where = " (default)";
    return row->info.fallback;
}

int og__preprocess_read(og__run *run)
{
    og_error error = {0};
    const char *name, *where;
    run->transforms = og_transforms_default();
    for (int i = 0; (name = og_transforms_name(i)); i++) {
        const char *value = value_of(run, name, &where);
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

void og__preprocess_say(og_text *out, const og__run *run, const char *label)
{
    static const char *const random[] = {"random_resized_crop", "hflip",     "vflip",
                                         "color_jitter",        "grayscale", "blur",
                                         "random_erasing"};
    const og_transforms *t = &run->transforms;
    if (!reads_pictures(&run->data))
        return;
    og_text text = {0};
    const char *resized, *normalized, *ordered,
        *resize = value_of(run, "resize", &resized),
        *normalize = value_of(run, "normalize", &normalized);
    (void)value_of(run, "color", &ordered);
    og_text_printf(&text, "resize %s%s, crop %s", resize, resized,
                   t->random_crop ? "random" : "center");
    for (size_t i = 0; i < sizeof random / sizeof *random; i++)
        add_set(run, random[i], &text);
    og__line(out, label, "%s", text.s ? text.s : "");
    og_text_free(&text);
    og__line(out, "", "normalize %s%s: (x / 255 - [%g %g %g]) / [%g %g %g]; color %s%s", normalize,
             normalized, t->mean[0], t->mean[1], t->mean[2], t->std[0], t->std[1], t->std[2],
             t->bgr ? "bgr" : "rgb", ordered);
}

static int keep(og__run *run, const char *key, const char *value)
{
    return og_model_set_metadata(run->model, key, value) == OG_OK ? OG__EXIT_DONE
                                                                  : og__run_failed(run);
}

static int keep_classes(og__run *run)
{
    for (int t = 0; t < run->data.n_targets; t++) {
        int n;
        const char *const *classes = og_source_classes(run->data.targets[t].source, &n);
        if (n)
            return og__class_names_keep(run->model, classes, n) ? OG__EXIT_DONE
                                                                : og__run_failed(run);
    }
    return OG__EXIT_DONE;
}

int og__preprocess_keep(og__run *run)
{
    const char *where;
    char key[64];
    for (size_t i = 0; i < sizeof kept / sizeof *kept && reads_pictures(&run->data); i++) {
        snprintf(key, sizeof key, "ongrad.%s", kept[i]);
        OG__TRY(keep(run, key, value_of(run, kept[i], &where)));
    }
    OG__TRY(og__as_trained_keep(run));
    return keep_classes(run);
}
