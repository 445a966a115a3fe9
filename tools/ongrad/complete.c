#include "tools/ongrad/complete.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/bindings.h"
#include "tools/ongrad/builtin.h"
#include "tools/ongrad/say.h"

enum { MOST_SOURCES = 64, MOST_CLASSES = 1 << 20 };
static const char features[] = "features_224", own_config[] = "ongrad.yaml";

/* One --data: its name (""), path and source. */
typedef struct part {
    char *name, *path;
    og_source *source;
    int64_t frames; /* of its key; 0: none */
} part;

typedef struct parts {
    const char *command;
    bool built_in; /* the model */
    part all[MOST_SOURCES];
    int n;
} parts;

static void parts_free(parts *p)
{
    for (int i = 0; i < p->n; i++) {
        free(p->all[i].name);
        free(p->all[i].path);
        og_source_free(p->all[i].source);
    }
}

/* Text of an option to a path; *name in fresh memory, NULL where there is none. */
static int parse(const char *command, const char *option, const char *text, char **name,
                 og__binding *binding)
{
    const char *equals = strchr(text, '=');
    int index;
    *name = strndup(text, equals ? (size_t)(equals - text) : 0);
    if (!*name)
        return og__say_error(command, OG__EXIT_FAILED, "out of memory for --%s", option);
    const char *names[] = {*name};
    OG__TRY(og__binding_parse(binding, command, option, text, names, equals != NULL, &index));
    if (index < 0)
        (*name)[0] = '\0';
    return OG__EXIT_DONE;
}

static int open_part(parts *p, const char *text)
{
    part *to = &p->all[p->n];
    og__binding b;
    og_error error = {0};
    int status = parse(p->command, "data", text, &to->name, &b);
    if (status == OG__EXIT_DONE && b.path) {
        to->path = strdup(b.path);
        to->frames = b.options.frames;
        to->source = og_source_open(b.path, &b.options, &error);
        og_error_prefix(&error, "--data");
        if (!to->source && p->built_in)
            status = og__say_failure(p->command, &error);
        og_error_clear(&error); /* of a model that is given: said where its data is bound */
    }
    p->n++;
    og__binding_free(&b);
    return status;
}

static const part *find_part(const parts *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (og__same_name(p->all[i].name, name))
            return &p->all[i];
    return NULL;
}

/* ---- a built-in model's options */

static bool has_option(const og_model_type *type, const char *name)
{
    for (const og_model_option *o = type->options; o->name; o++)
        if (!strcmp(o->name, name))
            return true;
    return false;
}

/* Unless it was given, or the model has no such option. */
static int set_size(og__arguments *a, const og_model_type *type, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    if (!has_option(type, name) || og__argument_is_set(a, name) || value < 1)
        return OG__EXIT_DONE;
    return og__arguments_add_found(a, name, text);
}

static int set_sizes(og__arguments *a, const og_model_type *type, const parts *p)
{
    const part *f = find_part(p, features), *v = find_part(p, "video"), *c = find_part(p, "face");
    int64_t dims[OG_MAX_RANK] = {0};
    if (f && f->source && !og_source_is_pictures(f->source)) {
        int rank = og_source_dims(f->source, dims);
        if (rank == 2 || rank == 3) {
            OG__TRY(set_size(a, type, "feature_steps", rank == 3 ? dims[1] : 1));
            OG__TRY(set_size(a, type, "feature_size", dims[rank - 1]));
        }
    }
    if (v)
        OG__TRY(set_size(a, type, "frames", v->frames));
    if (v && v->source && !og_source_is_pictures(v->source) &&
        og_source_dims(v->source, dims) == 5) {
        OG__TRY(set_size(a, type, "frames", dims[1]));
        OG__TRY(set_size(a, type, "video_size", dims[3]));
    }
    if (c && c->source && !og_source_is_pictures(c->source) && og_source_dims(c->source, dims) == 4)
        OG__TRY(set_size(a, type, "face_size", dims[2]));
    return OG__EXIT_DONE;
}

/* ---- the target */

/* A line for the report. */
static void found(og__arguments *a, const char *format, ...) OG_PRINTF(2, 3);
static void found(og__arguments *a, const char *format, ...)
{
    va_list arguments;
    og_text_add(&a->found, a->found.length ? "\n" : "");
    va_start(arguments, format);
    og_text_vprintf(&a->found, format, arguments);
    va_end(arguments);
}

static bool is_file(const char *path)
{
    return access(path, R_OK) == 0;
}

/* labels.csv in a folder of data, in the folder around it, or here: a path in fresh memory. */
static char *find_labels(const parts *p)
{
    for (int i = 0; i <= p->n; i++)
        for (int up = 0; up < 2; up++) {
            og_text path = {0};
            const char *folder = i < p->n ? p->all[i].path : ".";
            if (!folder || (i == p->n && up))
                continue;
            og_text_printf(&path, "%s/%slabels.csv", folder, up ? "../" : "");
            if (path.s && is_file(path.s))
                return path.s;
            og_text_free(&path);
        }
    return NULL;
}

/* The --data of this name becomes the target. */
static int move_to_target(og__arguments *a, const part *p)
{
    for (int i = 0; i < a->n_settings; i++) {
        og__setting *s = &a->settings[i];
        const char *equals = strchr(s->value, '=');
        size_t length = equals ? (size_t)(equals - s->value) : 0;
        if (strcmp(s->row->info.name, "data") != 0 || !length || strlen(p->name) != length ||
            strncmp(s->value, p->name, length) != 0)
            continue;
        s->row = og__arguments_row(a, "target");
        memmove(s->value, equals + 1, strlen(equals + 1) + 1);
        return OG__EXIT_DONE;
    }
    return OG__EXIT_DONE;
}

static int no_target(const og__arguments *a, const parts *p, bool streams)
{
    og_text where = {0};
    for (int i = 0; i < p->n; i++)
        og_text_printf(&where, "%s%s", i ? ", " : "", p->all[i].path ? p->all[i].path : "?");
    int status = og__say_error(
        a->command->name, OG__EXIT_USAGE,
        "no --target: %s %s no class sub-folders, and there is no labels.csv in or beside %s%s",
        where.s ? where.s : "", p->n == 1 ? "has" : "have", p->n == 1 ? "it" : "them",
        streams ? "; without either, features_224 is predicted from video and face, which needs "
                  "--features_224_dir and one of --video_dir and --face_dir"
                : "");
    og_text_free(&where);
    return status;
}

/* Class sub-folders, else labels.csv, else features_224 predicted from video and face. */
static int find_target(og__arguments *a, const og_model_type *type, const parts *p)
{
    for (int i = 0; i < p->n; i++) {
        og_error error = {0};
        if (!p->all[i].source || !og_source_key(p->all[i].source, 0))
            continue;
        og_source *labels = og_source_of_folders(p->all[i].source, &error);
        og_error_clear(&error);
        if (!labels)
            continue;
        og_source_free(labels);
        found(a, "target: the class sub-folders of %s", p->all[i].path);
        return og__arguments_add_found(a, "target", p->all[i].path);
    }
    char *csv = find_labels(p);
    if (csv) {
        found(a, "target: %s", csv);
        int status = og__arguments_add_found(a, "target", csv);
        free(csv);
        return status;
    }
    const part *f = find_part(p, features);
    bool streams = type && has_option(type, "regress");
    if (!type)
        return OG__EXIT_DONE; /* said where it is bound */
    if (!streams || !f || !(find_part(p, "video") || find_part(p, "face")))
        return no_target(a, p, streams);
    found(a,
          "target: %s, predicted from video and face with mse: no class sub-folders, no labels.csv",
          f->path);
    OG__TRY(og__arguments_add_found(a, "regress", features));
    return move_to_target(a, f);
}

/* ---- the loss, and the outputs it needs */

static int64_t count_labels(const og_source *s)
{
    int classes;
    int64_t most = -1;
    (void)og_source_classes(s, &classes);
    if (classes)
        return classes;
    const og_array *array = og_source_array(s);
    const int64_t *labels = array ? og_array_data(array) : NULL;
    int64_t n = og_source_samples(s);
    if (labels && og_source_dtype(s) == OG_INT64)
        for (int64_t i = 0; i < n; i++)
            most = labels[i] > most ? labels[i] : most;
    return most < 0 ? 0 : most < 1 ? 2 : most + 1 < MOST_CLASSES ? most + 1 : 0;
}

static int set_outputs(og__arguments *a, const og_model_type *type, const og_source *target)
{
    int64_t dims[OG_MAX_RANK] = {0};
    int rank = og_source_dims(target, dims);
    bool numbers = og_source_holds_floats(target), regresses = og__argument_is_set(a, "regress");
    if (!og__argument_is_set(a, "loss")) {
        const char *loss = numbers ? "mse" : "cross_entropy";
        found(a, "loss: %s%s", loss, numbers ? ", the target being numbers" : "");
        OG__TRY(og__arguments_add_found(a, "loss", loss));
    }
    if (regresses || og__argument_is_set(a, "num_classes") ||
        og__argument_is_set(a, "num_outputs") || rank > 2)
        return OG__EXIT_DONE;
    if (numbers)
        return set_size(a, type, "num_outputs", rank == 2 ? dims[1] : 1);
    return rank == 1 ? set_size(a, type, "num_classes", count_labels(target)) : OG__EXIT_DONE;
}

static int read_target(og__arguments *a, const og_model_type *type)
{
    char *name;
    og__binding b;
    og_error error = {0};
    int status = parse(a->command->name, "target", og__argument_at(a, "target", 0), &name, &b);
    og_source *s =
        status == OG__EXIT_DONE && b.path ? og_source_open(b.path, &b.options, &error) : NULL;
    bool pictures = s && og_source_is_pictures(s);
    og_source *labels =
        s && og_source_key(s, 0) &&
                (pictures || (og_source_holds_floats(s) && !og__argument_is_set(a, "regress")))
            ? og_source_of_folders(s, &error)
            : NULL;
    if (status == OG__EXIT_DONE && s && (labels || !pictures))
        status = set_outputs(a, type, labels ? labels : s);
    og_error_clear(&error); /* said again where the target is bound */
    og_source_free(labels);
    og_source_free(s);
    og__binding_free(&b);
    free(name);
    return status;
}

/* ---- all of it */

static bool takes(const og__arguments *a, const char *name)
{
    const og__row *row = og__arguments_row(a, name);
    return row && (row->commands & a->command->bit);
}

/* A built-in model of streams takes data for no other. */
static int check_names(const og__arguments *a, const og_model_type *type, const parts *p)
{
    for (int i = 0; i < p->n && has_option(type, "streams"); i++)
        if (!og__same_name(p->all[i].name, features) && strcmp(p->all[i].name, "video") != 0 &&
            strcmp(p->all[i].name, "face") != 0 && (*p->all[i].name || p->n > 1))
            return og__say_error(a->command->name, OG__EXIT_USAGE,
                                 "--data: \"%s\" is no input of %s, whose inputs are features_224, "
                                 "video and face (--features_224_dir, --video_dir, --face_dir)",
                                 p->all[i].name, type->name);
    return OG__EXIT_DONE;
}

static int complete(og__arguments *a, const og_model_type *type, parts *p)
{
    const char *text;
    for (int k = 0; p->n < MOST_SOURCES && (text = og__argument_at(a, "data", k)); k++)
        OG__TRY(open_part(p, text));
    if (type)
        OG__TRY(check_names(a, type, p));
    /* A loss that was given and no target: one may be wanted (cross_entropy) or not (output). */
    bool loss = og__argument_is_set(a, "loss"), looks_only = a->command->bit == OG__DATA;
    if (!og__argument_is_set(a, "target") && (type ? !loss : !looks_only || loss))
        OG__TRY(find_target(a, type, p));
    if (!type)
        return OG__EXIT_DONE;
    OG__TRY(set_sizes(a, type, p));
    if (og__argument_is_set(a, "target"))
        OG__TRY(read_target(a, type));
    return OG__EXIT_DONE;
}

int og__complete(og__arguments *a)
{
    bool trains = a->command->bit & (OG__TRAIN | OG__EVAL | OG__DATA);
    if (!trains || a->help)
        return OG__EXIT_DONE;
    if (!og__argument_is_set(a, "data") && !og__argument_is_set(a, "config") &&
        is_file(own_config)) {
        OG__TRY(og__config_read(a, own_config));
        found(a, "options: those of ./%s", own_config);
    }
    if (!og__argument_is_set(a, "data") || !takes(a, "target"))
        return OG__EXIT_DONE;
    const char *name = a->model ? NULL : og__argument(a, "model_type");
    const og_model_type *type = name ? og__model_type_find(name) : NULL;
    parts *p = calloc(1, sizeof *p);
    if (!p)
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for the data");
    p->command = a->command->name;
    p->built_in = type != NULL;
    int status = complete(a, type, p);
    parts_free(p);
    free(p);
    return status;
}
