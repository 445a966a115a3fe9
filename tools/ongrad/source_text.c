/* The text of one --data or --target. A path may hold commas and equals signs: only what is a known
 * key at its end, and a known name at its beginning, is taken off. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/ongrad/bindings.h"
#include "tools/ongrad/say.h"

typedef struct keys {
    double scale, mean, std;
    bool any;
} keys;

static bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static bool parse_number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && !*end && isfinite(*value);
}

static double *key_value(keys *k, const char *piece, size_t length)
{
    static const char *const names[] = {"scale", "mean", "std"};
    double *const values[] = {&k->scale, &k->mean, &k->std};
    for (int i = 0; i < 3; i++)
        if (strlen(names[i]) == length && !strncmp(piece, names[i], length))
            return values[i];
    return NULL;
}

/* Does the piece behind a comma look like key=value? */
static bool is_key(const char *piece, size_t *length)
{
    *length = strspn(piece, "abcdefghijklmnopqrstuvwxyz_0123456789");
    return *length > 0 && piece[*length] == '=';
}

/* Take ",key=value" off the end of `text`, as often as there is one. */
static int take_keys(char *text, keys *k, const char *command, const char *option)
{
    char *comma;
    size_t length;
    *k = (keys){1, 0, 1, false};
    while (!file_exists(text) && (comma = strrchr(text, ',')) && is_key(comma + 1, &length)) {
        const char *piece = comma + 1, *number = piece + length + 1;
        double *value = key_value(k, piece, length);
        if (!value)
            return og__say_error(command, OG__EXIT_USAGE,
                                 "--%s: unknown key \"%s\"; there are scale, mean and std", option,
                                 piece);
        if (!parse_number(number, value) || (value != &k->mean && *value == 0))
            return og__say_error(command, OG__EXIT_USAGE,
                                 "--%s: %.*s is \"%s\", expected a number%s", option, (int)length,
                                 piece, number, value == &k->mean ? "" : " that is not 0");
        k->any = true;
        *comma = '\0';
    }
    return OG__EXIT_DONE;
}

static int find_name(const char *text, size_t length, const char *const *names, int n_names)
{
    for (int i = 0; i < n_names; i++)
        if (strlen(names[i]) == length && !strncmp(names[i], text, length))
            return i;
    char *copy = strndup(text, length);
    int found = -1;
    for (int i = 0; copy && i < n_names && found < 0; i++)
        if (og__same_name(names[i], copy))
            found = i;
    free(copy);
    return found;
}

static int unknown_name(const char *command, const char *option, const char *text, size_t length,
                        const char *const *names, int n_names)
{
    og_text list = {0};
    for (int i = 0; i < n_names; i++)
        og_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
    int status =
        og__say_error(command, OG__EXIT_USAGE, "--%s: \"%.*s\" is no %s; the %s are: %s", option,
                      (int)length, text, strstr(option, "target") ? "target" : "input of the model",
                      strstr(option, "target") ? "targets" : "inputs", list.s ? list.s : "none");
    og_text_free(&list);
    return status;
}

/* "ones", "zeros", "const:V" */
static bool parse_constant(const char *text, double *value)
{
    *value = !strcmp(text, "ones");
    return *value == 1 || !strcmp(text, "zeros") ||
           (!strncmp(text, "const:", 6) && parse_number(text + 6, value));
}

int og__source_parse(og__source *source, const char *command, const char *option, const char *text,
                     const char *const *names, int n_names, int *index)
{
    *source = (og__source){.scale = 1};
    *index = -1;
    char *copy = strdup(text), *path = copy;
    if (!copy)
        return og__say_error(command, OG__EXIT_FAILED, "out of memory for --%s", option);
    keys k;
    int status = take_keys(copy, &k, command, option);
    char *equals = strchr(copy, '=');
    if (status == OG__EXIT_DONE && equals && !file_exists(copy)) {
        size_t length = (size_t)(equals - copy);
        *index = find_name(copy, length, names, n_names);
        if (*index < 0)
            status = unknown_name(command, option, copy, length, names, n_names);
        path = equals + 1;
    }
    if (status == OG__EXIT_DONE && !*path)
        status = og__say_error(command, OG__EXIT_USAGE, "--%s %s has no path", option, text);
    if (status == OG__EXIT_DONE && *index >= 0)
        source->constant = parse_constant(path, &source->value);
    if (status == OG__EXIT_DONE && source->constant && k.any)
        status = og__say_error(command, OG__EXIT_USAGE, "--%s %s: a constant takes no keys", option,
                               text);
    if (status == OG__EXIT_DONE && !source->constant) {
        source->path = strdup(path);
        source->scale = 1 / (k.scale * k.std);
        source->shift = k.any && k.mean != 0 ? -k.mean / k.std : 0;
        source->scaled = k.any;
        if (!source->path)
            status = og__say_error(command, OG__EXIT_FAILED, "out of memory for --%s", option);
    }
    free(copy);
    return status;
}

void og__source_free(og__source *source)
{
    og_array_free(source->array);
    free(source->name);
    free(source->path);
    *source = (og__source){0};
}
