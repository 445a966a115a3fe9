/* Parsing: argv to settings, each checked against the type of its row. Values of the library's rows
 * are checked again, with their ranges, by the library. */
#include "tools/ongrad/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/reference.h"
#include "tools/ongrad/resume.h"
#include "tools/ongrad/say.h"

const og__row *og__arguments_row(const og__arguments *a, const char *name)
{
    const og__row *found = NULL;
    name = og__option_alias(name);
    for (int i = 0; i < a->n_rows; i++)
        if (og__same_name(name, a->rows[i].info.name) &&
            (!found || (a->rows[i].commands & a->command->bit)))
            found = &a->rows[i];
    return found;
}

static const og__row *find_letter(const og__arguments *a, char letter)
{
    for (int i = 0; i < a->n_rows; i++)
        if (a->rows[i].letter == letter)
            return &a->rows[i];
    return NULL;
}

/* ---- messages */

static const char *nearest_option(const og__arguments *a, const char *name)
{
    const char *nearest = NULL;
    int best = 1 + (int)strlen(name) / 3; /* further away it is no slip of the finger */
    for (int i = 0; i < a->n_rows; i++) {
        int distance = og_edit_distance(name, a->rows[i].info.name);
        if ((a->rows[i].commands & a->command->bit) && distance <= best) {
            best = distance - 1;
            nearest = a->rows[i].info.name;
        }
    }
    return nearest;
}

/* "train, eval and plan" */
static void add_commands(og_text *text, unsigned bits)
{
    int left = __builtin_popcount(bits), first = left;
    for (const og__command *c = og__command_table; c->name; c++)
        if (c->bit & bits) {
            og_text_printf(text, "%s%s", left == first ? "" : left == 1 ? " and " : ", ", c->name);
            left--;
        }
}

static int unknown(const og__arguments *a, const char *where, const char *name)
{
    const char *command = a->command->name;
    const char *nearest = nearest_option(a, name);
    if (nearest)
        return og__say_error(command, OG__EXIT_USAGE, "%s%s: unknown option; did you mean --%s?",
                             where, name, nearest);
    return og__say_error(command, OG__EXIT_USAGE, "%s%s: unknown option; see ongrad %s --help",
                         where, name, command);
}

static int misplaced(const og__arguments *a, const og__row *row)
{
    og_text where = {0};
    add_commands(&where, row->commands);
    int status = og__say_error(a->command->name, OG__EXIT_USAGE, "--%s is an option of %s",
                               row->info.name, where.s ? where.s : "other subcommands");
    og_text_free(&where);
    return status;
}

/* ---- values */

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(text, *words))
            return true;
    return false;
}

static bool parse_flag(const char *text, bool *on)
{
    static const char *const ons[] = {"on", "true", "1", "yes", NULL};
    static const char *const offs[] = {"off", "false", "0", "no", NULL};
    *on = is_one_of(text, ons);
    return *on || is_one_of(text, offs);
}

static bool parse_int(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    *value = parsed;
    return end != text && !*end && !errno;
}

/* A switch may take a file: its row then names one, "FILE.json". Is `value` such a file? */
static bool is_file_of(const og__row *row, const char *value)
{
    const char *ending = row->info.argument ? strrchr(row->info.argument, '.') : NULL;
    size_t length = strlen(value), n = ending ? strlen(ending) : 0;
    return row->info.kind == OG_OPTION_FLAG && n && length > n &&
           !strcmp(value + length - n, ending);
}

static int check_value(const og__arguments *a, const char *where, const og__row *row,
                       const char *value)
{
    const char *command = a->command->name, *name = row->info.name;
    int64_t whole;
    bool on;
    char *end;
    switch (row->info.kind) {
    case OG_OPTION_FLAG:
        if (!parse_flag(value, &on) && !is_file_of(row, value))
            return og__say_error(command, OG__EXIT_USAGE, "%s%s is \"%s\", expected %s%s", where,
                                 name, value, row->info.argument ? "on, off or " : "on or off",
                                 row->info.argument ? row->info.argument : "");
        break;
    case OG_OPTION_INT:
        if (!parse_int(value, &whole))
            return og__say_error(command, OG__EXIT_USAGE, "%s%s is \"%s\", expected a whole number",
                                 where, name, value);
        if (row->own && whole < row->least)
            return og__say_error(command, OG__EXIT_USAGE, "%s%s is %s, expected at least %lld",
                                 where, name, value, (long long)row->least);
        break;
    case OG_OPTION_FLOAT:
        if (!isfinite(strtod(value, &end)) || end == value || *end)
            return og__say_error(command, OG__EXIT_USAGE, "%s%s is \"%s\", expected a number",
                                 where, name, value);
        break;
    case OG_OPTION_TEXT:
    case OG_OPTION_LIST:
        if (!*value)
            return og__say_error(command, OG__EXIT_USAGE, "%s%s is empty", where, name);
        break;
    }
    return OG__EXIT_DONE;
}

static int add_setting(og__arguments *a, const char *where, const og__row *row, const char *value,
                       bool from_file)
{
    OG__TRY(check_value(a, where, row, value));
    og__setting *settings = realloc(a->settings, ((size_t)a->n_settings + 1) * sizeof *a->settings);
    char *copy = settings ? strdup(value) : NULL;
    if (settings)
        a->settings = settings;
    if (!copy)
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for the options");
    char *place = NULL;
    size_t n = strlen(where);
    if (from_file && n > 2 && strncmp(where, "--", 2) != 0) { /* without its ": " */
        place = strndup(where, n - 2);
        if (!place) {
            free(copy);
            return og__say_error(a->command->name, OG__EXIT_FAILED,
                                 "out of memory for the options");
        }
    }
    settings[a->n_settings++] = (og__setting){row, copy, from_file, place};
    return OG__EXIT_DONE;
}

/* ---- one option */

/* NAME of "NAME_dir" or "NAME-dir", in fresh memory; NULL where the name does not end so. */
static char *folder_stem(const char *name)
{
    size_t length = strlen(name);
    if (length < 5 || !og__same_name(name + length - 4, "_dir"))
        return NULL;
    return strndup(name, length - 4);
}

/* --NAME_dir PATH: the row of --data and "NAME=PATH". */
static int add_folder(og__arguments *a, const char *where, const char *stem, const char *value,
                      bool from_file)
{
    const og__row *row = og__arguments_row(a, "data");
    if (!row || !(row->commands & a->command->bit))
        return from_file ? OG__EXIT_DONE : unknown(a, where, stem);
    /* The command line's folder of this name wins. */
    for (int i = 0; from_file && i < a->n_settings; i++)
        if (a->settings[i].row == row && !a->settings[i].from_file)
            return OG__EXIT_DONE;
    og_text text = {0};
    og_text_printf(&text, "%s=%s", stem, value);
    int status = text.failed ? og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory")
                             : add_setting(a, where, row, text.s, from_file);
    og_text_free(&text);
    return status;
}

/* The value behind an option without `=`: the next argument, unless that is an option itself. */
static int take_value(const og__arguments *a, const char *name, int argc, char **argv, int *at,
                      const char **value)
{
    if (*at + 1 >= argc || !strncmp(argv[*at + 1], "--", 2))
        return og__say_error(a->command->name, OG__EXIT_USAGE, "%s needs a value", name);
    *value = argv[++*at];
    return OG__EXIT_DONE;
}

/* --no_NAME: a flag that is off; amp and the schedule, which have a value for that. */
static int add_negated(og__arguments *a, const char *name, const char *value)
{
    const og__row *row = og__arguments_row(a, name + 3);
    const char *off = row && !strcmp(row->info.name, "amp")         ? "off"
                      : row && !strcmp(row->info.name, "scheduler") ? "constant"
                                                                    : NULL;
    if (row && row->info.kind == OG_OPTION_FLAG)
        off = "off";
    if (!row || !off)
        return unknown(a, "--", name);
    if (!(row->commands & a->command->bit))
        return misplaced(a, row);
    if (value)
        return og__say_error(a->command->name, OG__EXIT_USAGE, "--%s takes no value", name);
    return add_setting(a, "--", row, off, false);
}

static int parse_long(og__arguments *a, int argc, char **argv, int *at)
{
    const char *text = argv[*at] + 2, *equals = strchr(text, '='),
               *value = equals ? equals + 1 : NULL;
    char *name = equals ? strndup(text, (size_t)(equals - text)) : strdup(text);
    if (!name)
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory");
    const og__row *row = og__arguments_row(a, name);
    char *stem = row ? NULL : folder_stem(name);
    int status = OG__EXIT_DONE;
    if (row && !(row->commands & a->command->bit)) {
        status = misplaced(a, row);
    } else if (row && row->info.kind == OG_OPTION_FLAG) {
        if (!value && *at + 1 < argc && is_file_of(row, argv[*at + 1]))
            value = argv[++*at];
        status = add_setting(a, "--", row, value ? value : "on", false);
    } else if (row || stem) {
        if (!value)
            status = take_value(a, argv[*at], argc, argv, at, &value);
        if (status == OG__EXIT_DONE)
            status = row ? add_setting(a, "--", row, value, false)
                         : add_folder(a, "--", stem, value, false);
    } else if (!strncmp(name, "no_", 3) || !strncmp(name, "no-", 3)) {
        status = add_negated(a, name, value);
    } else {
        status = unknown(a, "--", name);
    }
    free(stem);
    free(name);
    return status;
}

static int parse_short(og__arguments *a, int argc, char **argv, int *at)
{
    const char *text = argv[*at], *value = text[2] ? text + 2 : NULL;
    const og__row *row = find_letter(a, text[1]);
    if (!row)
        return unknown(a, "", text);
    if (!(row->commands & a->command->bit))
        return misplaced(a, row);
    if (row->info.kind == OG_OPTION_FLAG)
        return value ? unknown(a, "", text) : add_setting(a, "--", row, "on", false);
    if (!value)
        OG__TRY(take_value(a, text, argc, argv, at, &value));
    return add_setting(a, "--", row, value, false);
}

/* What the argument that is no option is. */
static const char *positional(const og__command *command)
{
    return strstr(command->arguments, "MODEL")   ? "model"
           : strstr(command->arguments, "TYPE")  ? "model's type"
           : strstr(command->arguments, "SHELL") ? "shell"
           : strstr(command->arguments, "LOG")   ? "log"
                                                 : "subcommand";
}

static int add_positional(og__arguments *a, const char *text)
{
    if (!*a->command->arguments)
        return og__say_error(a->command->name, OG__EXIT_USAGE, "unexpected argument \"%s\"", text);
    if (a->model)
        return og__say_error(a->command->name, OG__EXIT_USAGE,
                             "unexpected argument \"%s\": the %s is %s already", text,
                             positional(a->command), a->model);
    if (!*text)
        return og__say_error(a->command->name, OG__EXIT_USAGE, "the %s is empty",
                             positional(a->command));
    a->model = text;
    return OG__EXIT_DONE;
}

int og__arguments_parse(og__arguments *a, const og__command *command, int argc, char **argv)
{
    *a = (og__arguments){.command = command};
    a->rows = og__option_rows(&a->n_rows);
    if (!a->rows)
        return og__say_error(command->name, OG__EXIT_FAILED, "out of memory for the options");
    bool options = true;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        if (options && !strcmp(text, "--"))
            options = false;
        else if (options && !strncmp(text, "--", 2))
            OG__TRY(parse_long(a, argc, argv, &i));
        else if (options && text[0] == '-' && text[1])
            OG__TRY(parse_short(a, argc, argv, &i));
        else
            OG__TRY(add_positional(a, text));
        if (og__argument_flag(a, "help")) {
            a->help = true;
            return OG__EXIT_DONE;
        }
    }
    const og__row *config = og__arguments_row(a, "config");
    if ((config->commands & command->bit) && og__argument_is_set(a, "config"))
        OG__TRY(og__config_read(a, og__argument(a, "config")));
    const og__row *reference = og__arguments_row(a, "reference");
    if ((reference->commands & command->bit) && og__argument_is_set(a, "reference"))
        OG__TRY(og__reference_options(a, og__argument(a, "reference")));
    if ((og__arguments_row(a, "resume")->commands & command->bit) &&
        og__argument_is_set(a, "resume"))
        OG__TRY(og__resume_arguments(a));
    if ((og__arguments_row(a, "like")->commands & command->bit) && og__argument_is_set(a, "like"))
        OG__TRY(og__like_arguments(a));
    bool optional = *command->arguments == '[';
    if (*command->arguments && !optional && !a->model)
        return og__say_error(command->name, OG__EXIT_USAGE,
                             "no %s given: ongrad %s %s …; see ongrad %s --help",
                             positional(command), command->name, command->arguments, command->name);
    return OG__EXIT_DONE;
}

void og__arguments_free(og__arguments *a)
{
    for (int i = 0; i < a->n_settings; i++) {
        free(a->settings[i].value);
        free(a->settings[i].where);
    }
    free(a->settings);
    free(a->rows);
    free(a->resumed);
    free(a->origin);
    free(a->made);
    free(a->like);
    free(a->like_data);
    og_text_free(&a->found);
    *a = (og__arguments){0};
}

int og__arguments_add_from_file(og__arguments *a, const char *where, const char *name,
                                const char *value)
{
    const og__row *row = og__arguments_row(a, name);
    bool negated = !row && (!strncmp(name, "no_", 3) || !strncmp(name, "no-", 3));
    bool on;
    if (negated)
        row = og__arguments_row(a, name + 3);
    char *stem = row ? NULL : folder_stem(name);
    if (stem) {
        int status = add_folder(a, where, stem, value, true);
        free(stem);
        return status;
    }
    if (!row || (negated && row->info.kind != OG_OPTION_FLAG))
        return unknown(a, where, name);
    if (!strcmp(row->info.name, "config") || !strcmp(row->info.name, "help"))
        return og__say_error(a->command->name, OG__EXIT_USAGE, "%s%s cannot be set in a file",
                             where, name);
    if (!(row->commands & a->command->bit))
        return OG__EXIT_DONE; /* one file for several subcommands */
    for (int i = 0; i < a->n_settings; i++)
        if (a->settings[i].row == row && !a->settings[i].from_file)
            return check_value(a, where, row, value);
    if (negated && parse_flag(value, &on))
        value = on ? "off" : "on";
    return add_setting(a, where, row, value, true);
}

/* ---- where it is set */

/* Is it in the text, not as a part of another word? */
static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    const char *at = text;
    for (; n && (at = strstr(at, word)) != NULL; at++) {
        bool begins = at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_'),
             ends = !(isalnum((unsigned char)at[n]) || at[n] == '_');
        if (begins && ends)
            return true;
    }
    return false;
}

/* Does the text quote a part of the value? */
static bool quotes(const char *text, const char *value)
{
    for (const char *open; (open = strchr(text, '"')) != NULL;) {
        const char *close = strchr(open + 1, '"');
        char part[128];
        if (!close)
            return false;
        size_t n = (size_t)(close - open - 1);
        if (n > 1 && n < sizeof part) {
            memcpy(part, open + 1, n);
            part[n] = '\0';
            if (strstr(value, part))
                return true;
        }
        text = close + 1;
    }
    return false;
}

/* Names of options are words of English, too: an error speaks of one that it names as an option, or
 * names together with its value. */
static bool speaks_of(const char *text, const og__setting *s)
{
    char option[96], long_form[96];
    snprintf(option, sizeof option, "option %s", s->row->info.name);
    snprintf(long_form, sizeof long_form, "--%s", s->row->info.name);
    if (!has_word(text, s->row->info.name))
        return quotes(text, s->value) && strstr(text, s->value);
    return has_word(text, option) || has_word(text, long_form) || has_word(text, s->value) ||
           quotes(text, s->value);
}

/* Quoted, or as it would be on the command line. */
static bool shows(const char *text, const og__setting *s)
{
    og_text option = {0};
    og_text_printf(&option, "--%s %s", s->row->info.name, s->value);
    bool shown = quotes(text, s->value) || (option.s && strstr(text, option.s));
    og_text_free(&option);
    return shown;
}

/* Of a list: is it another of its values that the text shows? */
static bool another_is_shown(const og__arguments *a, int i, const char *text)
{
    const og__setting *s = &a->settings[i];
    bool another = false;
    for (int k = 0; k < a->n_settings; k++)
        another |= a->settings[k].row == s->row && shows(text, &a->settings[k]);
    return another && !shows(text, s);
}

void og__arguments_say_where(const void *arguments, const char *text)
{
    const og__arguments *a = arguments;
    for (int i = 0; i < a->n_settings; i++)
        if (a->settings[i].where && speaks_of(text, &a->settings[i]) &&
            !another_is_shown(a, i, text))
            og__say("    %s: %s is set here", a->settings[i].where, a->settings[i].row->info.name);
}

int og__arguments_add_found(og__arguments *a, const char *name, const char *value)
{
    return add_setting(a, "--", og__arguments_row(a, name), value, true);
}

/* ---- reading */

static const og__setting *last_setting(const og__arguments *a, const char *name)
{
    const og__setting *found = NULL;
    for (int i = 0; i < a->n_settings; i++)
        if (og__same_name(a->settings[i].row->info.name, name))
            found = &a->settings[i];
    return found;
}

const char *og__argument(const og__arguments *a, const char *name)
{
    const og__setting *setting = last_setting(a, name);
    const og__row *row = og__arguments_row(a, name);
    return setting ? setting->value : row ? row->info.fallback : NULL;
}

bool og__argument_is_set(const og__arguments *a, const char *name)
{
    return last_setting(a, name) != NULL;
}

bool og__argument_flag(const og__arguments *a, const char *name)
{
    const char *text = og__argument(a, name);
    bool on = false;
    return text && (og__argument_file(a, name) || (parse_flag(text, &on) && on));
}

const char *og__argument_file(const og__arguments *a, const char *name)
{
    const og__setting *setting = last_setting(a, name);
    return setting && is_file_of(setting->row, setting->value) ? setting->value : NULL;
}

const char *og__setting_for_library(const og__setting *setting)
{
    return is_file_of(setting->row, setting->value) ? "on" : setting->value;
}

int64_t og__argument_int(const og__arguments *a, const char *name)
{
    const char *text = og__argument(a, name);
    int64_t value = 0;
    return text && parse_int(text, &value) ? value : 0;
}

const char *og__argument_at(const og__arguments *a, const char *name, int k)
{
    for (int i = 0; i < a->n_settings; i++)
        if (og__same_name(a->settings[i].row->info.name, name) && k-- == 0)
            return a->settings[i].value;
    return NULL;
}
