/* The text of one --data or --target. A path may hold commas and equals signs: only what is a known
 * key at its end, and a known name at its beginning, is taken off. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/ongrad/bindings.h"
#include "tools/ongrad/say.h"

/* What a path's keys set: numbers that scale, and how its source is opened. */
typedef struct keys {
    double scale, mean, std;
    bool scaled, any;
    og_source_options options;
    char *key, *columns;
} keys;

typedef enum key_kind { NUMBER, COUNT, TEXT, DTYPE } key_kind;

static const struct {
    const char *name;
    key_kind kind;
    size_t offset;
    bool scales;
} key_table[] = {
    {"scale", NUMBER, offsetof(keys, scale), true},
    {"mean", NUMBER, offsetof(keys, mean), true},
    {"std", NUMBER, offsetof(keys, std), true},
    {"frames", COUNT, offsetof(keys, options.frames), false},
    {"rate", NUMBER, offsetof(keys, options.rate), false},
    {"seq_len", COUNT, offsetof(keys, options.seq_len), false},
    {"shift", COUNT, offsetof(keys, options.shift), false},
    {"dtype", DTYPE, offsetof(keys, options.dtype), false},
    {"key", TEXT, offsetof(keys, key), false},
    {"columns", TEXT, offsetof(keys, columns), false},
};
enum { N_KEYS = sizeof key_table / sizeof *key_table };

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

static int find_key(const char *piece, size_t length)
{
    for (int i = 0; i < N_KEYS; i++)
        if (strlen(key_table[i].name) == length && !strncmp(piece, key_table[i].name, length))
            return i;
    return -1;
}

/* Does the piece behind a comma look like key=value? */
static bool is_key(const char *piece, size_t *length)
{
    *length = strspn(piece, "abcdefghijklmnopqrstuvwxyz_0123456789");
    return *length > 0 && piece[*length] == '=';
}

static og_dtype find_dtype(const char *name)
{
    for (int d = 1; d < OG_DTYPE_COUNT; d++)
        if (!strcmp(og_dtype_name((og_dtype)d), name) && og_dtype_bits((og_dtype)d) >= 8)
            return (og_dtype)d;
    return OG_UNDEFINED;
}

/* NULL, or what was expected. */
static const char *set_key(keys *k, int index, const char *text)
{
    void *at = (char *)k + key_table[index].offset;
    double number = 0;
    switch (key_table[index].kind) {
    case NUMBER:
        if (!parse_number(text, at))
            return "a number";
        return at != (void *)&k->mean && *(double *)at == 0 ? "a number that is not 0" : NULL;
    case COUNT:
        if (!parse_number(text, &number) || number != floor(number) || number < 0 || number > 1e9)
            return "a whole number";
        *(int64_t *)at = (int64_t)number;
        return NULL;
    case DTYPE:
        return (*(og_dtype *)at = find_dtype(text)) ? NULL : "a type such as uint16";
    default:
        free(*(char **)at);
        return (*(char **)at = strdup(text)) ? NULL : "less of everything: out of memory";
    }
}

static int unknown_key(const char *command, const char *option, const char *piece)
{
    og_text list = {0};
    for (int i = 0; i < N_KEYS; i++)
        og_text_printf(&list, "%s%s",
                       i == 0            ? ""
                       : i + 1 == N_KEYS ? " and "
                                         : ", ",
                       key_table[i].name);
    int status = og__say_error(command, OG__EXIT_USAGE, "--%s: unknown key \"%s\"; there are %s",
                               option, piece, list.s ? list.s : "");
    og_text_free(&list);
    return status;
}

/* Take ",key=value" off the end of `text`, as often as there is one. */
static int take_keys(char *text, keys *k, const char *command, const char *option)
{
    char *comma;
    size_t length;
    *k = (keys){.scale = 1, .std = 1};
    while (!file_exists(text) && (comma = strrchr(text, ',')) && is_key(comma + 1, &length)) {
        const char *piece = comma + 1, *value = piece + length + 1;
        int index = find_key(piece, length);
        if (index < 0)
            return unknown_key(command, option, piece);
        const char *expected = set_key(k, index, value);
        if (expected)
            return og__say_error(command, OG__EXIT_USAGE, "--%s: %.*s is \"%s\", expected %s",
                                 option, (int)length, piece, value, expected);
        k->scaled |= key_table[index].scales;
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

/* "mask", "mask:NAME" */
static bool parse_mask(og__binding *binding, const char *text)
{
    if (strncmp(text, "mask", 4) != 0 || (text[4] && text[4] != ':'))
        return false;
    binding->mask_of = text[4] ? strdup(text + 5) : NULL;
    return binding->mask = true;
}

/* The keys' texts become the binding's. */
static void take_options(og__binding *binding, keys *k)
{
    binding->options = k->options;
    binding->options.key = binding->key = k->key;
    binding->options.columns = binding->columns = k->columns;
    binding->scale = 1 / (k->scale * k->std);
    binding->shift = k->scaled && k->mean != 0 ? -k->mean / k->std : 0;
    binding->scaled = k->scaled;
}

int og__binding_parse(og__binding *binding, const char *command, const char *option,
                      const char *text, const char *const *names, int n_names, int *index)
{
    *binding = (og__binding){.scale = 1};
    *index = -1;
    char *copy = strdup(text), *path = copy;
    if (!copy)
        return og__say_error(command, OG__EXIT_FAILED, "out of memory for --%s", option);
    keys k;
    int status = take_keys(copy, &k, command, option);
    take_options(binding, &k);
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
        binding->constant = parse_constant(path, &binding->value);
    bool file = status == OG__EXIT_DONE && !binding->constant &&
                (*index < 0 || file_exists(path) || !parse_mask(binding, path));
    if (status == OG__EXIT_DONE && !file && k.any)
        status = og__say_error(command, OG__EXIT_USAGE, "--%s %s: a constant takes no keys", option,
                               text);
    if (file && !(binding->path = strdup(path)))
        status = og__say_error(command, OG__EXIT_FAILED, "out of memory for --%s", option);
    free(copy);
    return status;
}

void og__binding_free(og__binding *binding)
{
    if (!binding->shares)
        og_source_free(binding->source);
    free(binding->name);
    free(binding->path);
    free(binding->key);
    free(binding->columns);
    free(binding->mask_of);
    *binding = (og__binding){0};
}
