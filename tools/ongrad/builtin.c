#include "tools/ongrad/builtin.h"

#include <string.h>

#include "tools/ongrad/say.h"

static const og_model_option *find_option(const og_model_type *type, const char *name)
{
    for (const og_model_option *o = type->options; o->name; o++)
        if (og__same_name(o->name, name))
            return o;
    return NULL;
}

bool og__is_model_option(const char *name)
{
    const og_model_type *type;
    for (int i = 0; (type = og_model_type_at(i)); i++)
        if (find_option(type, name))
            return true;
    return !strcmp(name, "model_type");
}

const og_model_type *og__model_type_find(const char *name)
{
    const og_model_type *type;
    for (int i = 0; (type = og_model_type_at(i)); i++)
        if (!strcmp(type->name, name))
            return type;
    return NULL;
}

void og__rows_for_type(og__row *rows, int n_rows, const og_model_type *type)
{
    for (int i = 0; i < n_rows; i++) {
        const og_model_option *o = find_option(type, rows[i].info.name);
        if (o)
            rows[i].info.fallback = o->fallback;
        else if (og__is_model_option(rows[i].info.name))
            rows[i].commands &= ~(unsigned)OG__NEW;
    }
}

/* A file may get a new head, where the model is not only used. */
static bool suits_a_file(const og__arguments *a, const char *name)
{
    unsigned changes = OG__TRAIN | OG__PLAN | OG__CHECK | OG__INSPECT;
    return !strcmp(name, "num_classes") && (a->command->bit & changes);
}

int og__refuse_model_options(const og__arguments *a)
{
    for (int i = 0; i < a->n_settings; i++) {
        const og__setting *s = &a->settings[i];
        if (!s->from_file && og__is_model_option(s->row->info.name) &&
            !suits_a_file(a, s->row->info.name))
            return og__say_error(a->command->name, OG__EXIT_USAGE,
                                 "--%s is an option of built-in models, and %s is given",
                                 s->row->info.name, a->model);
    }
    return OG__EXIT_DONE;
}

/* ---- streams */

/* Is the stream `name` of length n named as INPUT of some --data? */
static bool has_data(const og__arguments *a, const char *name, size_t n)
{
    const char *text;
    for (int k = 0; (text = og__argument_at(a, "data", k)); k++)
        if (!strncmp(text, name, n) && text[n] == '=')
            return true;
    return false;
}

static int set_streams(og__run *run, const og_model_type *type)
{
    static const char *const streams[] = {"features_224", "video", "face"};
    const char *predicted = og__argument(run->arguments, "regress");
    og_text list = {0};
    if (!find_option(type, "streams") || og__argument_is_set(run->arguments, "streams"))
        return OG__EXIT_DONE;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (has_data(run->arguments, streams[i], strlen(streams[i])) &&
            !(predicted && !strcmp(predicted, streams[i])))
            og_text_printf(&list, "%s%s", list.length ? "," : "", streams[i]);
    int status = OG__EXIT_DONE;
    if (list.failed)
        status = og__say_error(run->command, OG__EXIT_FAILED, "out of memory");
    else if (list.length && og_options_set(run->options, "streams", list.s) != OG_OK)
        status = og__run_failed(run);
    og_text_free(&list);
    return status;
}

/* Training and evaluation read data, which is asked for before a model is built. */
static int need_data(const og__run *run, const og_model_type *type)
{
    bool reads = !strcmp(run->command, "train") || !strcmp(run->command, "eval");
    if (!reads || og__argument_is_set(run->arguments, "data"))
        return OG__EXIT_DONE;
    return og__say_error(run->command, OG__EXIT_USAGE,
                         "no model and no data given, and no ./ongrad.yaml is there: ongrad %s "
                         "MODEL.onnx --data PATH …, or for the built-in %s %s",
                         run->command, type->name,
                         find_option(type, "streams")
                             ? "--features_224_dir, --video_dir and --face_dir, at least one"
                             : "--data PATH");
}

int og__run_new_model(og__run *run)
{
    bool named = !strcmp(run->command, "new");
    const char *name = named ? run->arguments->model : og__argument(run->arguments, "model_type");
    const og_model_type *type = og__model_type_find(name);
    if (type)
        OG__TRY(need_data(run, type));
    if (type)
        OG__TRY(set_streams(run, type));
    run->model = og_model_new(run->context, name, run->options);
    run->model_name = name;
    return run->model ? OG__EXIT_DONE : og__run_failed(run);
}
