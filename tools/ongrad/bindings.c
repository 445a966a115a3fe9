/* From options to open arrays. All that is missing or too much is said in one message. */
#include "tools/ongrad/bindings.h"

#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

static int out_of_memory(const og__bindings *b)
{
    return og__say_error(b->command, OG__EXIT_FAILED, "out of memory for --%s", b->data_option);
}

/* Put the source of one option value in its place among `places`. */
static int bind(og__bindings *b, const char *option, const char *text, const char *const *names,
                int n_names, og__binding *places, int n_places)
{
    og__binding source;
    int index,
        status = og__binding_parse(&source, b->command, option, text, names, n_names, &index);
    bool target = places == b->targets;
    if (status == OG__EXIT_DONE && target && n_places == 1)
        index = 0; /* whichever of its names was used */
    if (status == OG__EXIT_DONE && index < 0 && n_places != 1) {
        og_text list = {0};
        for (int i = 0; i < n_places; i++)
            og_text_printf(&list, "%s%s", i ? ", " : "", names[i]);
        status = og__say_error(b->command, OG__EXIT_USAGE,
                               "--%s %s: say which with --%s NAME=PATH; the %ss are: %s", option,
                               text, option, target ? "target" : "input", list.s ? list.s : "");
        og_text_free(&list);
    }
    og__binding *place = &places[index < 0 ? 0 : index];
    if (status == OG__EXIT_DONE && (place->path || place->constant || place->mask))
        status = og__say_error(b->command, OG__EXIT_USAGE, "--%s: \"%s\" is given twice", option,
                               place->name);
    if (status == OG__EXIT_DONE && target && (source.constant || source.mask))
        status =
            og__say_error(b->command, OG__EXIT_USAGE, "--%s %s: a target is a file", option, text);
    if (status != OG__EXIT_DONE) {
        og__binding_free(&source);
        return status;
    }
    source.name = place->name;
    *place = source;
    return OG__EXIT_DONE;
}

static int bind_inputs(og__bindings *b, const og__arguments *a)
{
    const char **names = calloc((size_t)b->n_inputs + 1, sizeof *names), *text;
    if (!names)
        return out_of_memory(b);
    int status = OG__EXIT_DONE;
    for (int i = 0; i < b->n_inputs; i++)
        names[i] = b->inputs[i].name;
    for (int k = 0; status == OG__EXIT_DONE && (text = og__argument_at(a, b->data_option, k)); k++)
        status = bind(b, b->data_option, text, names, b->n_inputs, b->inputs, b->n_inputs);
    free(names);
    return status;
}

/* Targets go by their names; a single one may be called like any output, too, or "target". */
static int bind_targets(og__bindings *b, const og__arguments *a)
{
    const char *text = og__argument_at(a, b->target_option, 0);
    int n_outputs = og_model_output_count(b->model), n = 0, status = OG__EXIT_DONE;
    if (text && b->n_targets == 0)
        return og__say_error(b->command, OG__EXIT_USAGE, "--%s %s: the loss takes no target",
                             b->target_option, text);
    const char **names = calloc((size_t)(b->n_targets + n_outputs) + 2, sizeof *names);
    if (!names)
        return out_of_memory(b);
    for (int t = 0; t < b->n_targets; t++)
        names[n++] = b->targets[t].name;
    og_tensor_info info;
    for (int i = 0; b->n_targets == 1 && i < n_outputs; i++)
        if (og_model_output(b->model, i, &info) == OG_OK && strcmp(info.name, names[0]) != 0)
            names[n++] = info.name;
    if (b->n_targets == 1)
        names[n++] = "target";
    for (int k = 0; status == OG__EXIT_DONE && (text = og__argument_at(a, b->target_option, k));
         k++)
        status = bind(b, b->target_option, text, names, n, b->targets, b->n_targets);
    free(names);
    return status;
}

static bool is_bound(const og__binding *source)
{
    return source->path || source->constant || source->mask;
}

static int check_complete(const og__bindings *b)
{
    og_text missing = {0};
    int n_missing = 0;
    for (int i = 0; i < b->n_inputs; i++)
        if (!is_bound(&b->inputs[i])) {
            n_missing++;
            og_text_printf(&missing, "\ninput \"%s\": add --%s %s%sPATH", b->inputs[i].name,
                           b->data_option, b->n_inputs > 1 ? b->inputs[i].name : "",
                           b->n_inputs > 1 ? "=" : "");
        }
    for (int t = 0; t < b->n_targets; t++)
        if (!is_bound(&b->targets[t])) {
            n_missing++;
            og_text_add(&missing, "\ntarget of ");
            og__losses_reading(b->losses, t, &missing);
            og_text_printf(&missing, ": add --%s %s%sPATH", b->target_option,
                           b->n_targets > 1 ? b->targets[t].name : "", b->n_targets > 1 ? "=" : "");
        }
    if (n_missing == 0)
        return OG__EXIT_DONE;
    int status = og__say_error(b->command, OG__EXIT_USAGE, "there is no data for:%s",
                               missing.s ? missing.s : "");
    og_text_free(&missing);
    return status;
}

int og__bindings_open(og__bindings *b, const og__arguments *a, og_model *model,
                      const og__losses *losses, const char *data_option, const char *target_option,
                      const og__bindings *base)
{
    *b = (og__bindings){.command = a->command->name,
                        .model = model,
                        .losses = losses,
                        .data_option = data_option,
                        .target_option = target_option,
                        .base = base};
    int n_inputs = og_model_input_count(model), n_targets = target_option ? losses->n_targets : 0;
    b->inputs = calloc((size_t)n_inputs + 1, sizeof *b->inputs);
    b->targets = calloc((size_t)n_targets + 1, sizeof *b->targets);
    if (!b->inputs || !b->targets)
        return out_of_memory(b);
    b->n_inputs = n_inputs;
    b->n_targets = n_targets;
    for (int i = 0; i < n_inputs; i++) {
        og_tensor_info info;
        if (og_model_input(model, i, &info) != OG_OK || !(b->inputs[i].name = strdup(info.name)))
            return out_of_memory(b);
    }
    for (int t = 0; t < n_targets; t++)
        if (!(b->targets[t].name = strdup(losses->targets[t])))
            return out_of_memory(b);
    OG__TRY(bind_inputs(b, a));
    if (target_option)
        OG__TRY(bind_targets(b, a));
    for (int i = 0; base && i < n_inputs; i++)
        if (!is_bound(&b->inputs[i]) && base->inputs[i].constant) {
            b->inputs[i].constant = true;
            b->inputs[i].value = base->inputs[i].value;
        }
    OG__TRY(check_complete(b));
    return og__bindings_open_sources(b, a);
}

og_field og__binding_field(const og__binding *b, const og_tensor_info *info, int64_t samples)
{
    og_field f = {.name = b->name,
                  .path = b->path,
                  .array = b->source ? og_source_array(b->source) : NULL,
                  .source = b->source,
                  .dtype = info->dtype,
                  .rank = info->rank,
                  .scale = b->scale,
                  .shift = b->shift,
                  .rows = b->rows,
                  .n_rows = samples,
                  .frames = b->options.frames,
                  .rate = b->options.rate,
                  .raw = b->raw};
    memcpy(f.dims, info->dims, sizeof f.dims);
    return f;
}

void og__bindings_free(og__bindings *b)
{
    for (int i = 0; i < b->n_inputs; i++)
        og__binding_free(&b->inputs[i]);
    for (int t = 0; t < b->n_targets; t++)
        og__binding_free(&b->targets[t]);
    for (int i = 0; b->rows && i < b->n_rows; i++)
        free(b->rows[i]);
    free(b->rows);
    og_pairing_free(&b->pairing);
    free(b->inputs);
    free(b->targets);
    *b = (og__bindings){0};
}
