/* The command line of a checkpoint (stored.h) becomes that of the run. */
#include "tools/ongrad/resume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/builtin.h"
#include "tools/ongrad/checkpoint.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/stored.h"

/* Options of which the one given on the command line keeps out the other of the checkpoint. */
static const char *const rivals[][2] = {
    {"steps", "epochs"}, {"warmup_steps", "warmup_ratio"}, {"min_lr", "min_lr_rate"}};

/* Options of one run alone. */
static const char *const own[] = {"config",    "help",    "resume",      "like",
                                  "quiet",     "verbose", "profile",     "threads",
                                  "overwrite", "dry_run", "pin_threads", "profile_by"};
/* Those that say where it writes and when: of checkpoints, not of what is trained. */
static const char *const written[] = {"output", "log",         "checkpoint", "checkpoint_every",
                                      "keep",   "tensorboard", "json"};

static bool is_listed(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (og__same_name(name, list[i]))
            return true;
    return false;
}

/* Has its work been done when the model is there? */
static bool makes_model(const char *name)
{
    static const char *const makers[] = {"init_from", "reinit"};
    return is_listed(name, makers, sizeof makers / sizeof *makers) || og__is_model_option(name);
}

static bool is_own(const char *name)
{
    return is_listed(name, own, sizeof own / sizeof *own);
}

static bool is_stored(const char *name, og__stored_for what)
{
    return !is_own(name) && makes_model(name) == (what == OG__OF_MODEL) &&
           !(what == OG__OF_TRAINED && is_listed(name, written, sizeof written / sizeof *written));
}

void og__settings_text(const og__arguments *a, og__stored_for what, og_text *text)
{
    if (what == OG__OF_MODEL && a->made) {
        og_text_add(text, a->made);
        return;
    }
    if (what == OG__OF_TRAINED)
        og__settings_text(a, OG__OF_MODEL, text);
    /* In the table's order, whatever the order they were given in. */
    for (int r = 0; r < a->n_rows; r++)
        for (int i = 0; i < a->n_settings; i++)
            if (a->settings[i].row == &a->rows[r] && is_stored(a->rows[r].info.name, what))
                og__stored_add(text, a->rows[r].info.name, a->settings[i].value);
}

/* ---- which checkpoint */

/* `path`, or the newest of the older ones that is whole; the reasons why those before it are not go
 * to `why`. NULL: none is. */
static char *find_whole(const og__arguments *a, og_context *context, const char *path,
                        og_checkpoint **found, og_text *why)
{
    char *at = strdup(path);
    bool more = true;
    for (int k = 1; at && more; k++) {
        more = k == 1 || access(at, F_OK) == 0;
        if (more) {
            *found = og_checkpoint_open(context, at);
            if (*found)
                break;
            og_text_printf(why, "%s%s", why->length ? "\n" : "", og_error_message(context));
        }
        free(at);
        at = og_checkpoint_older_path(path, k);
    }
    if (*found && why->length)
        og__say_warning(a->command->name, "%s\ngoing on from %s instead", why->s ? why->s : "", at);
    if (!*found) {
        free(at);
        at = NULL;
    }
    return at;
}

/* Where --resume auto looks; NULL: there is nothing yet, or no memory. */
static char *automatic(const og__arguments *a)
{
    const char *output = og__argument(a, "output");
    char *path = og__checkpoint_path(a, output ? output : "trained.onnx");
    char *older = path ? og_checkpoint_older_path(path, 1) : NULL;
    bool any = path && (access(path, F_OK) == 0 || (older && access(older, F_OK) == 0));
    free(older);
    if (!any)
        free(path);
    return any ? path : NULL;
}

/* ---- settings */

static bool is_given(const og__arguments *a, const og__row *row, int n_given)
{
    for (int i = 0; i < n_given; i++) {
        const char *name = a->settings[i].row->info.name;
        if (a->settings[i].row == row)
            return true;
        for (size_t k = 0; k < sizeof rivals / sizeof *rivals; k++)
            if ((!strcmp(name, rivals[k][0]) && !strcmp(row->info.name, rivals[k][1])) ||
                (!strcmp(name, rivals[k][1]) && !strcmp(row->info.name, rivals[k][0])))
                return true;
    }
    return false;
}

/* The values of one row, separated by commas: those of the arguments, or those of the text. */
static void values_given(const og__arguments *a, const og__row *row, int n_given, og_text *out)
{
    for (int i = 0; i < n_given; i++)
        if (a->settings[i].row == row)
            og_text_printf(out, "%s%s", out->length ? ", " : "", a->settings[i].value);
}

static void say_override(const og__arguments *a, const char *option, const og__row *row,
                         int n_given, const char *before)
{
    og_text now = {0};
    values_given(a, row, n_given, &now);
    if (now.s && strcmp(now.s, before) != 0 && !og__argument_flag(a, "quiet"))
        og__say("%s: --%s %s, which was %s", option, row->info.name, now.s, before);
    og_text_free(&now);
}

int og__take_settings(og__arguments *a, char *text, const char *option, const char *path)
{
    int n_given = a->n_settings, status = OG__EXIT_DONE;
    og_text before = {0}, where = {0};
    og_text_printf(&where, "--%s: ", option);
    for (char *line, *value; status == OG__EXIT_DONE && og__stored_next(&text, &line, &value);) {
        const og__row *row = og__arguments_row(a, line);
        if (!row || is_own(row->info.name) || (a->resumed && makes_model(row->info.name)))
            continue;
        if (!is_given(a, row, n_given)) {
            status = og__arguments_add_from_file(a, where.s ? where.s : "", line, value);
            continue;
        }
        og_text_printf(&before, "%s%s", before.length ? ", " : "", value);
        bool same = strncmp(text, line, strlen(line)) == 0 && text[strlen(line)] == '=';
        if (!same) {
            say_override(a, option, row, n_given, before.s ? before.s : "");
            og_text_free(&before);
        }
    }
    og_text_free(&before);
    og_text_free(&where);
    return status == OG__EXIT_DONE
               ? status
               : og__say_error(a->command->name, status, "the options of %s cannot be used", path);
}

/* A built-in model was made when the run began: its options say nothing now. */
static void drop_model_options(og__arguments *a)
{
    int n = 0;
    for (int i = 0; i < a->n_settings; i++) {
        if (og__is_model_option(a->settings[i].row->info.name))
            free(a->settings[i].value);
        else
            a->settings[n++] = a->settings[i];
    }
    a->n_settings = n;
}

/* ---- the whole */

static int take_model(og__arguments *a, const og_checkpoint *c, char *path)
{
    const char *origin = og_checkpoint_note(c, "model");
    a->resumed = path;
    a->origin = strdup(origin ? origin : "");
    if (!a->origin)
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory");
    og__unescape(a->origin);
    if (a->model && strcmp(a->model, a->origin) != 0)
        return og__say_error(a->command->name, OG__EXIT_USAGE,
                             "%s is a checkpoint of %s, not of %s; leave out the model, or resume "
                             "another checkpoint",
                             path, *a->origin ? a->origin : "a built-in model", a->model);
    a->model = a->resumed;
    return OG__EXIT_DONE;
}

static int read_checkpoint(og__arguments *a, og_context *context, const char *asked)
{
    og_checkpoint *c = NULL;
    og_text why = {0};
    char *path = find_whole(a, context, asked, &c, &why);
    int status = OG__EXIT_DONE;
    if (!c)
        status = og__say_error(a->command->name, OG__EXIT_FAILED, "--resume: %s",
                               why.s ? why.s : "out of memory");
    else
        status = take_model(a, c, path);
    if (status == OG__EXIT_DONE) {
        const char *options = og_checkpoint_note(c, "options");
        char *text = strdup(options ? options : "");
        drop_model_options(a);
        const char *made = og_checkpoint_note(c, "made");
        a->made = strdup(made ? made : "");
        status = text && a->made
                     ? og__take_settings(a, text, "resume", a->resumed)
                     : og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory");
        free(text);
    }
    og_checkpoint_free(c);
    og_text_free(&why);
    return status;
}

int og__resume_arguments(og__arguments *a)
{
    const char *asked = og__argument(a, "resume");
    char *found = strcmp(asked, "auto") == 0 ? automatic(a) : strdup(asked);
    if (!found)
        return OG__EXIT_DONE;
    og_context *context = og_context_new(&(og_context_config){.threads = 1, .device = "cpu"});
    int status = context ? read_checkpoint(a, context, found)
                         : og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory");
    if (context)
        og_context_free(context);
    free(found);
    return status;
}
