/* What option "loss" says: [OUTPUT=]NAME[,key=value…] or PATH.onnx[,key=value…], once a loss.
 *
 * Targets have names. A loss compares its output with the target that is called like the output,
 * unless key target names another; a target may serve several losses. */
#include "runtime/train/losses.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/train/train.h"

typedef struct parser {
    const og_graph *model;
    const og_options *options;
    og_arena *arena;
    og_error *error;
    og__losses *losses;
    const char **named; /* by loss: the target that key target names; NULL: none */
} parser;

/* ---- values of keys */

static og_status wrong(const parser *p, const char *key, const char *value, const char *expected)
{
    return og_fail(p->error, OG_INVALID_ARGUMENT, "option loss: %s is \"%s\", expected %s", key,
                   value, expected);
}

static bool parse_number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && !*end && isfinite(*value);
}

/* "1,2.5,…" or, in a key, "1:2.5:…" */
static og_status parse_weights(const parser *p, og_loss *l, const char *text, char separator)
{
    const char *at = text;
    int n = 1;
    for (const char *c = text; *c; c++)
        n += *c == separator;
    float *w = og_arena_array(p->arena, (size_t)n, sizeof(float));
    if (!w)
        return og_fail_memory(p->error, sizeof(float) * (size_t)n, "class weights");
    for (int i = 0; i < n; i++) {
        char *end;
        w[i] = strtof(at, &end);
        if (end == at || (*end != separator && *end) || !(w[i] >= 0) || isinf(w[i]))
            return og_fail(p->error, OG_INVALID_ARGUMENT,
                           "option class_weights is \"%s\", expected numbers that are not "
                           "negative, separated by '%c'",
                           text, separator);
        at = end + 1;
    }
    l->class_weights = w;
    l->n_class_weights = n;
    return OG_OK;
}

/* A key of one number with its limits. */
static og_status set_number(const parser *p, const char *key, const char *value, double *to)
{
    if (!parse_number(value, to))
        return wrong(p, key, value, "a number");
    if (strcmp(key, "label_smoothing") == 0)
        return *to >= 0 && *to <= 1 ? OG_OK : wrong(p, key, value, "a number from 0 to 1");
    if (strcmp(key, "delta") == 0)
        return *to > 0 ? OG_OK : wrong(p, key, value, "a number above 0");
    return *to >= 0 ? OG_OK : wrong(p, key, value, "a number that is not negative");
}

/* choices: two spellings of true, two of false. */
static og_status set_choice(const parser *p, const char *key, const char *value,
                            const char *const choices[4], bool *to)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(value, choices[i]) == 0) {
            *to = i < 2;
            return OG_OK;
        }
    char expected[64];
    snprintf(expected, sizeof(expected), "%s or %s", choices[0], choices[2]);
    return wrong(p, key, value, expected);
}

static og_status set_integer(const parser *p, const char *key, const char *value, int64_t *to)
{
    char *end;
    errno = 0;
    *to = strtoll(value, &end, 10);
    return end != value && !*end && !errno ? OG_OK : wrong(p, key, value, "a whole number");
}

/* Is `word` one of the words of a list? */
static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; n > 0 && (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ' '))
            return true;
    return false;
}

/* One key=value of loss `i`. */
static og_status set_key(const parser *p, int i, const char *key, const char *value)
{
    static const char *const on[4] = {"on", "true", "off", "false"};
    static const char *const reductions[4] = {"batchmean", "batchmean", "mean", "mean"};
    og_loss *l = &p->losses->items[i];
    const og__loss_source *source = &p->losses->sources[i];
    const char *own = source->path ? "" : og_loss_keys(l->name);
    bool with_target = !source->path && og_loss_takes_target(l->name);
    if (strcmp(key, "weight") == 0)
        return set_number(p, key, value, &l->weight);
    if (strcmp(key, "name") == 0) {
        l->label = value;
        return *value && !strchr(value, '/') ? OG_OK
                                             : wrong(p, key, value, "a name without slashes");
    }
    if (with_target && strcmp(key, "target") == 0) {
        p->named[i] = value;
        return *value ? OG_OK : wrong(p, key, value, "a target's name");
    }
    if (!lists(own, key))
        return og_fail(p->error, OG_INVALID_ARGUMENT,
                       "option loss: %s takes no key \"%s\"; it takes weight, name%s%s%s",
                       source->path ? source->path : l->name, key, with_target ? ", target" : "",
                       *own ? ", " : "", own);
    if (strcmp(key, "label_smoothing") == 0)
        return set_number(p, key, value, &l->label_smoothing);
    if (strcmp(key, "beta") == 0)
        return set_number(p, key, value, &l->beta);
    if (strcmp(key, "delta") == 0)
        return set_number(p, key, value, &l->delta);
    if (strcmp(key, "ignore_index") == 0)
        return set_integer(p, key, value, &l->ignore_index);
    if (strcmp(key, "class_weights") == 0)
        return parse_weights(p, l, value, ':');
    if (strcmp(key, "log_target") == 0)
        return set_choice(p, key, value, on, &l->log_target);
    return set_choice(p, key, value, reductions, &l->batchmean); /* reduction */
}

/* ",key=value…" */
static og_status parse_keys(const parser *p, int i, const char *at)
{
    while (*at) {
        size_t n = strcspn(++at, ",");
        char *key = og_arena_strndup(p->arena, at, n), *equals = key ? strchr(key, '=') : NULL;
        if (!key)
            return og_fail_memory(p->error, n, "the losses");
        if (!equals)
            return og_fail(p->error, OG_INVALID_ARGUMENT, "option loss: \"%s\" is no KEY=VALUE",
                           key);
        *equals = 0;
        OG_TRY(set_key(p, i, key, equals + 1));
        at += n;
    }
    return OG_OK;
}

/* ---- one loss */

int og__output_by_name(const og_graph *model, const char *name)
{
    for (int i = 0; i < model->n_outputs; i++)
        if (strcmp(model->outputs[i].name, name) == 0)
            return i;
    return -1;
}

static og_status unknown_output(const parser *p, const char *name)
{
    og_text names = {0};
    for (int i = 0; i < p->model->n_outputs; i++)
        og_text_printf(&names, "%s\"%s\"", i ? ", " : "", p->model->outputs[i].name);
    og_fail(p->error, OG_INVALID_ARGUMENT,
            "option loss: the model has no output \"%s\"; its outputs are %s", name,
            names.s ? names.s : "none");
    og_text_free(&names);
    return p->error->status;
}

/* The length of a loss model's path: up to the first ".onnx" that ends the text or has a comma
 * behind it; 0: it is no path. */
static size_t path_length(const char *text)
{
    for (const char *at = text; (at = strstr(at, ".onnx")); at += 5)
        if (!at[5] || at[5] == ',')
            return (size_t)(at + 5 - text);
    return 0;
}

/* "folder/my_loss.onnx" → "my_loss" */
static const char *stem(og_arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    return og_arena_strndup(arena, file, strlen(file) - strlen(".onnx"));
}

static og_status parse_named(const parser *p, int i, const char *text, size_t head)
{
    og_loss *l = &p->losses->items[i];
    og__loss_source *source = &p->losses->sources[i];
    char *name = og_arena_strndup(p->arena, text, head), *equals = name ? strchr(name, '=') : NULL;
    if (!name)
        return og_fail_memory(p->error, head, "the losses");
    if (equals) {
        *equals = 0;
        source->output = og__output_by_name(p->model, name);
        if (source->output < 0)
            return unknown_output(p, name);
        name = equals + 1;
    }
    char nearest[OG_NEAREST];
    if (!og_loss_exists(name))
        return og_fail(p->error, OG_INVALID_ARGUMENT,
                       "unknown loss \"%s\"; there are %s, and PATH.onnx%s", name, og_loss_names,
                       og_did_you_mean(nearest, name, og_loss_names));
    l->name = name;
    if (source->output >= p->model->n_outputs)
        return og_fail(p->error, OG_INVALID_ARGUMENT, "the model has no output for loss %s", name);
    l->label = og_arena_printf(p->arena, "%s.%s", p->model->outputs[source->output].name, name);
    const char *weights = og_options_get(p->options, "class_weights");
    return weights && og_loss_is_of_classes(name) ? parse_weights(p, l, weights, ',') : OG_OK;
}

static og_status parse_loss(const parser *p, int i, const char *text)
{
    og_loss *l = &p->losses->items[i];
    og__loss_source *source = &p->losses->sources[i];
    size_t path = path_length(text), head = path ? path : strcspn(text, ",");
    *l = (og_loss){.name = "output", /* what a loss model adds is a loss already */
                   .weight = 1,
                   .ignore_index = og__option_int(p->options, "ignore_index"),
                   .beta = 1,
                   .delta = 1};
    source->target = -1;
    OG_TRY(set_number(p, "label_smoothing", og_options_get(p->options, "label_smoothing"),
                      &l->label_smoothing));
    if (path) {
        source->path = og_arena_strndup(p->arena, text, path);
        l->label = source->path ? stem(p->arena, source->path) : NULL;
    } else {
        OG_TRY(parse_named(p, i, text, head));
    }
    return l->label ? parse_keys(p, i, text + head) : og_fail_memory(p->error, head, "the losses");
}

/* ---- all of them */

int og__losses_target(og__losses *l, const char *name, og_arena *arena)
{
    for (int i = 0; i < l->n_targets; i++)
        if (strcmp(l->targets[i], name) == 0)
            return i;
    const char **longer = og_arena_array(arena, (size_t)l->n_targets + 1, sizeof(*longer));
    if (!longer)
        return -1;
    if (l->n_targets)
        memcpy(longer, l->targets, sizeof(*longer) * (size_t)l->n_targets);
    longer[l->n_targets] = name;
    l->targets = longer;
    return l->n_targets++;
}

static og_status check_labels(const parser *p)
{
    const og__losses *l = p->losses;
    for (int i = 0; i < l->n; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(l->items[i].label, l->items[k].label) == 0)
                return og_fail(p->error, OG_INVALID_ARGUMENT,
                               "option loss: two losses are called %s; add key name=NAME to one",
                               l->items[i].label);
    return OG_OK;
}

/* The targets of losses by name. Two losses of one output that both leave open what they compare it
 * with: an error. */
static og_status name_targets(const parser *p)
{
    og__losses *l = p->losses;
    for (int i = 0; i < l->n; i++) {
        og__loss_source *source = &l->sources[i];
        if (source->path || !og_loss_takes_target(l->items[i].name))
            continue;
        const char *name = p->named[i] ? p->named[i] : p->model->outputs[source->output].name;
        for (int k = 0; k < i && !p->named[i]; k++)
            if (l->sources[k].target >= 0 && !p->named[k] && l->sources[k].output == source->output)
                return og_fail(p->error, OG_INVALID_ARGUMENT,
                               "option loss: %s and %s both read output \"%s\"; say with key "
                               "target=NAME what each compares it with (the same NAME if it is the "
                               "same)",
                               l->items[k].label, l->items[i].label, name);
        source->target = og__losses_target(l, name, p->arena);
        if (source->target < 0)
            return og_fail_memory(p->error, sizeof(char *), "the targets");
    }
    return OG_OK;
}

og_status og__losses_parse(og__losses *l, const og_graph *model, const og_options *options,
                           og_arena *arena, og_error *error)
{
    int n = 0;
    const char *const *list = og__option_list(options, "loss", &n);
    *l = (og__losses){0};
    l->items = og_arena_array(arena, (size_t)n + 1, sizeof(*l->items));
    l->sources = og_arena_array(arena, (size_t)n + 1, sizeof(*l->sources));
    const char **named = og_arena_array(arena, (size_t)n + 1, sizeof(*named));
    if (!l->items || !l->sources || !named)
        return og_fail_memory(error, sizeof(*l->items), "the losses");
    parser p = {.model = model,
                .options = options,
                .arena = arena,
                .error = error,
                .losses = l,
                .named = named};
    for (int i = 0; i < n; i++) {
        bool none = strcmp(list[i], "none") == 0;
        if (none && n > 1)
            return og_fail(error, OG_INVALID_ARGUMENT,
                           "option loss: none was given together with other losses");
        if (!none) {
            OG_TRY(parse_loss(&p, i, list[i]));
            l->n++;
        }
    }
    OG_TRY(check_labels(&p));
    OG_TRY(name_targets(&p));
    for (int i = 0; i < l->n; i++)
        if (l->sources[i].path) {
            l->sources[i].prefix = og_arena_printf(arena, "%s/", l->items[i].label);
            OG_TRY(og__loss_model_open(l, &l->sources[i], model, arena, error));
        }
    return OG_OK;
}
