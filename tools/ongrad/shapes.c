/* Which dim is the batch: dims[0] of every input that reads a file, and every dim of the same
 * symbol (h0: [1, batch, 20]). A constant's literal dims[0] is the batch only where the export
 * baked the same number into the other inputs. */
#include "tools/ongrad/shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

/* A symbol and what it is. */
typedef struct symbol {
    const char *name, *from; /* from: "--dim", or the path of the file it was read from */
    int64_t value;
} symbol;

typedef struct shapes {
    const og__arguments *arguments;
    og_model *model;
    const og__bindings *bindings;
    int64_t batch;
    const char *batch_symbol;
    int64_t batch_literal; /* baked in by the export; 0: none */
    symbol *symbols;
    int n_symbols, room;
    const og_transforms *transforms;
    og_tensor_info *found; /* by files: one an input; rank 0: none */
    og_error report;
} shapes;

static const symbol *find_symbol(const shapes *s, const char *name)
{
    for (int i = 0; name && i < s->n_symbols; i++)
        if (!strcmp(s->symbols[i].name, name))
            return &s->symbols[i];
    return NULL;
}

static void bind_symbol(shapes *s, const char *name, int64_t value, const char *from)
{
    const symbol *known = find_symbol(s, name);
    if (known && known->value != value)
        og_fail_also(&s->report, OG_INVALID_DATA,
                     "dim \"%s\" is %" PRId64 " by %s and %" PRId64 " by %s", name, known->value,
                     known->from, value, from);
    if (known)
        return;
    if (s->n_symbols < s->room)
        s->symbols[s->n_symbols++] = (symbol){name, from, value};
}

static bool reads_file(const shapes *s, int input)
{
    return !s->bindings || og__binding_reads(&s->bindings->inputs[input]);
}

static void find_batch(shapes *s)
{
    og_tensor_info info;
    for (int i = 0; i < og_model_input_count(s->model); i++) {
        if (!reads_file(s, i) || og_model_input(s->model, i, &info) != OG_OK || info.rank < 1)
            continue;
        if (info.dims[0] < 0)
            s->batch_symbol = info.dim_names[0];
        else
            s->batch_literal = info.dims[0];
        return;
    }
}

static bool is_batch(const shapes *s, const og_tensor_info *info, bool file, int d)
{
    if (info->dims[d] < 0 && info->dim_names[d] && s->batch_symbol)
        return !strcmp(info->dim_names[d], s->batch_symbol) || (d == 0 && file);
    return d == 0 &&
           (file || (info->dims[0] < 0 ? !info->dim_names[0] : s->batch_literal == info->dims[0]));
}

/* ---- --dim NAME=N */

static bool has_symbol(const shapes *s, const char *name)
{
    og_tensor_info info;
    for (int i = 0; i < og_model_input_count(s->model); i++)
        for (int d = 0; og_model_input(s->model, i, &info) == OG_OK && d < info.rank; d++)
            if (info.dims[d] < 0 && info.dim_names[d] && !strcmp(info.dim_names[d], name))
                return true;
    return false;
}

static void add_symbols(const shapes *s, og_text *list)
{
    og_tensor_info info;
    for (int i = 0; i < og_model_input_count(s->model); i++)
        for (int d = 0; og_model_input(s->model, i, &info) == OG_OK && d < info.rank; d++)
            if (info.dims[d] < 0 && info.dim_names[d] && !is_batch(s, &info, reads_file(s, i), d) &&
                (!list->s || !strstr(list->s, info.dim_names[d])))
                og_text_printf(list, "%s%s", list->length ? ", " : "", info.dim_names[d]);
}

static int read_dim(shapes *s, const char *text)
{
    const char *command = s->arguments->command->name, *equals = strchr(text, '=');
    char *end = NULL, *name = equals ? strndup(text, (size_t)(equals - text)) : NULL;
    long long value = equals ? strtoll(equals + 1, &end, 10) : 0;
    int status = OG__EXIT_DONE;
    /* There they are of the file; one that is renamed, or the batch, is not bound here. */
    if (s->arguments->command->bit == OG__EXPORT &&
        (!name || !end || *end || !has_symbol(s, name) ||
         (s->batch_symbol && !strcmp(name, s->batch_symbol)))) {
        free(name);
        return OG__EXIT_DONE;
    }
    if (!equals || !end || end == equals + 1 || *end || value < 1 || value > INT32_MAX)
        status =
            og__say_error(command, OG__EXIT_USAGE,
                          "--dim %s: expected NAME=N with N a whole number of at least 1", text);
    else if (!name)
        status = og__say_error(command, OG__EXIT_FAILED, "out of memory for --dim");
    else if (s->batch_symbol && !strcmp(name, s->batch_symbol))
        status = og__say_error(command, OG__EXIT_USAGE,
                               "--dim %s: \"%s\" is the batch; use --batch_size %lld", text, name,
                               value);
    else if (!has_symbol(s, name)) {
        og_text list = {0};
        add_symbols(s, &list);
        status = og__say_error(command, OG__EXIT_USAGE,
                               "--dim %s: the model has no dim \"%s\"; its symbolic dims are: %s",
                               text, name, list.s ? list.s : "none but the batch");
        og_text_free(&list);
    }
    og_tensor_info info;
    /* The symbol table keeps the model's spelling, which lives as long as the model. */
    for (int i = 0; status == OG__EXIT_DONE && i < og_model_input_count(s->model); i++)
        for (int d = 0; og_model_input(s->model, i, &info) == OG_OK && d < info.rank; d++)
            if (info.dims[d] < 0 && info.dim_names[d] && !strcmp(info.dim_names[d], name))
                bind_symbol(s, info.dim_names[d], value, "--dim");
    free(name);
    return status;
}

/* ---- symbols from files */

/* Match files with the model's shapes: a data set of the inputs alone knows which axes of 1 are to
 * be added. */
static int bind_from_files(shapes *s)
{
    const og__bindings *b = s->bindings;
    og_field *fields = calloc((size_t)b->n_inputs + 1, sizeof *fields);
    int *input_of = calloc((size_t)b->n_inputs + 1, sizeof *input_of), n = 0;
    og_error error = {0};
    int status = OG__EXIT_DONE;
    if (!fields || !input_of)
        status = og__say_error(b->command, OG__EXIT_FAILED, "out of memory for the shapes");
    for (int i = 0; status == OG__EXIT_DONE && i < b->n_inputs; i++) {
        const og__binding *source = &b->inputs[i];
        og_tensor_info info;
        if (!source->source || og_model_input(s->model, i, &info) != OG_OK)
            continue;
        og_field f = og__binding_field(source, &info, b->samples);
        for (int d = 0; d < info.rank; d++) {
            const symbol *known = info.dims[d] < 0 ? find_symbol(s, info.dim_names[d]) : NULL;
            f.dims[d] = known ? known->value : info.dims[d];
        }
        input_of[n] = i;
        fields[n++] = f;
    }
    og_dataset *set = NULL;
    if (status == OG__EXIT_DONE && n > 0) {
        set = og_dataset_new(fields, n, &(og_dataset_options){.transforms = s->transforms}, &error);
        if (!set)
            status = og__say_failure(b->command, &error);
    }
    for (int f = 0; set && f < n; f++) {
        og_tensor_info info;
        int64_t dims[OG_MAX_RANK];
        if (og_model_input(s->model, input_of[f], &info) != OG_OK)
            continue;
        int rank = og_dataset_dims(set, f, dims);
        s->found[input_of[f]].rank = rank;
        memcpy(s->found[input_of[f]].dims, dims, sizeof dims);
        for (int d = 1; d < rank; d++)
            if (info.dims[d] < 0 && info.dim_names[d])
                bind_symbol(s, info.dim_names[d], dims[d], b->inputs[input_of[f]].path);
    }
    og_dataset_free(set);
    free(input_of);
    free(fields);
    return status;
}

/* ---- the shapes */

static void bind_dims(shapes *s, int input, int64_t fallback, og_tensor_info *info)
{
    bool file = reads_file(s, input);
    for (int d = 0; d < info->rank; d++) {
        const symbol *known = info->dims[d] < 0 ? find_symbol(s, info->dim_names[d]) : NULL;
        if (is_batch(s, info, file, d))
            info->dims[d] = s->batch;
        else if (known)
            info->dims[d] = known->value;
        else if (info->dims[d] < 0 && fallback > 0)
            info->dims[d] = fallback;
        else if (info->dims[d] < 0 && info->dim_names[d])
            og_fail_also(&s->report, OG_INVALID_ARGUMENT,
                         "input \"%s\": dim %d is \"%s\"; add --dim %s=N", info->name, d,
                         info->dim_names[d], info->dim_names[d]);
        else if (info->dims[d] < 0 && s->found && s->found[input].rank == info->rank)
            info->dims[d] = s->found[input].dims[d];
        else if (info->dims[d] < 0)
            og_fail_also(&s->report, OG_INVALID_ARGUMENT,
                         "input \"%s\": the model does not say how long dim %d is", info->name, d);
    }
    memset(info->dim_names, 0, sizeof info->dim_names);
}

int og__shapes_of_inputs(const og__arguments *a, og_model *model, const og__bindings *bindings,
                         const og_transforms *transforms, int64_t batch, int64_t fallback,
                         og_tensor_info *inputs)
{
    shapes s = {.arguments = a,
                .model = model,
                .bindings = bindings,
                .transforms = transforms,
                .batch = batch};
    int n = og_model_input_count(model), status = OG__EXIT_DONE;
    const char *text;
    s.room = (n + 1) * OG_MAX_RANK;
    s.symbols = calloc((size_t)s.room, sizeof *s.symbols);
    s.found = calloc((size_t)n + 1, sizeof *s.found);
    if (!s.symbols || !s.found) {
        free(s.symbols);
        free(s.found);
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for the shapes");
    }
    find_batch(&s);
    for (int k = 0; status == OG__EXIT_DONE && (text = og__argument_at(a, "dim", k)); k++)
        status = read_dim(&s, text);
    if (status == OG__EXIT_DONE && bindings)
        status = bind_from_files(&s);
    for (int i = 0; status == OG__EXIT_DONE && i < n; i++)
        if (og_model_input(model, i, &inputs[i]) == OG_OK)
            bind_dims(&s, i, fallback, &inputs[i]);
    if (status == OG__EXIT_DONE && s.report.status != OG_OK)
        status = og__say_failure(a->command->name, &s.report);
    og_error_clear(&s.report);
    free(s.symbols);
    free(s.found);
    return status;
}

/* A target of pictures: as the output it is compared with, without the classes; sizes that the
 * model does not say are those of the first input of pictures. */
static void picture_target(const og__bindings *b, int t, const og_tensor_info *inputs,
                           og_tensor_info *target)
{
    const og_loss_info *loss = og__losses_of_target(b->losses, t);
    og_tensor_info output = {0};
    const og_tensor_info *like = NULL;
    bool raw = b->targets[t].raw;
    for (int i = 0; i < b->n_inputs && !like; i++)
        if (b->inputs[i].source && og_source_is_pictures(b->inputs[i].source))
            like = &inputs[i];
    if (!loss || og_model_output(b->model, loss->output, &output) != OG_OK || output.rank < 3) {
        if (!like)
            return;
        output = *like;
    }
    target->dtype = raw ? OG_INT64 : OG_FLOAT;
    target->rank = 0;
    for (int d = 0; d < output.rank; d++) {
        int64_t dim = output.dims[d];
        if (dim < 0 && like && like->rank >= output.rank - d)
            dim = like->dims[like->rank - (output.rank - d)];
        if (!raw || d != 1)
            target->dims[target->rank++] = dim;
    }
}

/* How many classes an output [samples, classes] has, for these inputs; 0: it has another shape, or
 * one that is not known before training. */
static int64_t classes_of(const og__bindings *b, const og_loss_info *loss,
                          const og_tensor_info *inputs)
{
    og_tensor_info output;
    og_node_info node;
    if (og_model_output(b->model, loss->output, &output) != OG_OK)
        return 0;
    int n = output.rank < 0 ? og_model_inspect(b->model, inputs) : 0;
    for (int i = 0; i < n; i++) {
        const char *name = og_model_node_output(b->model, i, 0);
        if (name && !strcmp(name, output.name) && og_model_node(b->model, i, &node) == OG_OK)
            output = node.output;
    }
    return output.rank == 2 && output.dims[1] > 0 ? output.dims[1] : 0;
}

static bool is_float(og_dtype dtype)
{
    return dtype == OG_FLOAT || dtype == OG_DOUBLE || dtype == OG_FLOAT16 || dtype == OG_BFLOAT16;
}

/* Where samples are mixed labels become probabilities. Numbers are mixed as they are; parts of
 * pictures are exchanged in targets that are pictures, too. */
static int mix_target(const og__bindings *b, int t, const og_transforms *transforms,
                      const og_tensor_info *inputs, og_tensor_info *target)
{
    const og_loss_info *loss = og__losses_of_target(b->losses, t);
    bool labels = !is_float(target->dtype), cut = transforms->cutmix > 0;
    bool pictures = og_source_is_pictures(b->targets[t].source) && !labels;
    if ((transforms->mixup <= 0 && !cut) || (!labels && (!cut || pictures)))
        return OG__EXIT_DONE;
    int64_t classes =
        labels && loss && loss->classes && target->rank == 1 ? classes_of(b, loss, inputs) : 0;
    if (!classes)
        return og__say_error(b->command, OG__EXIT_FAILED,
                             "--%s cannot mix target \"%s\": it needs one class label a sample, "
                             "and an output [samples, classes] of a loss of classes",
                             cut ? "cutmix" : "mixup", target->name);
    target->dtype = OG_FLOAT;
    target->rank = 2;
    target->dims[1] = classes;
    return OG__EXIT_DONE;
}

int og__shapes_of_targets(const og__bindings *b, const og_transforms *transforms,
                          const og_tensor_info *inputs, int64_t batch, og_tensor_info *targets)
{
    for (int t = 0; t < b->n_targets; t++) {
        const og_source *source = b->targets[t].source;
        const og_loss_info *loss = og__losses_of_target(b->losses, t);
        og_tensor_info output;
        targets[t] = (og_tensor_info){.name = b->targets[t].name, .dtype = og_source_dtype(source)};
        targets[t].rank = og_source_dims(source, targets[t].dims);
        if (og_source_is_pictures(source))
            picture_target(b, t, inputs, &targets[t]);
        else if (og_source_has_lengths(source) && loss &&
                 og_model_output(b->model, loss->output, &output) == OG_OK && output.rank > 1 &&
                 output.dims[1] > 0)
            targets[t].dims[1] = output.dims[1];
        OG__TRY(mix_target(b, t, transforms, inputs, &targets[t]));
        targets[t].dims[0] = batch;
    }
    return OG__EXIT_DONE;
}

void og__shape_text(og_text *out, const og_tensor_info *info)
{
    if (info->rank < 0) {
        og_text_add(out, "?");
        return;
    }
    og_text_add(out, "[");
    for (int d = 0; d < info->rank; d++) {
        og_text_add(out, d ? ", " : "");
        if (info->dims[d] >= 0)
            og_text_printf(out, "%" PRId64, info->dims[d]);
        else
            og_text_add(out, info->dim_names[d] ? info->dim_names[d] : "?");
    }
    og_text_add(out, "]");
}

int64_t og__shape_elements(const og_tensor_info *info)
{
    int64_t n = 1;
    if (info->rank < 0)
        return -1;
    for (int d = 0; d < info->rank; d++)
        if (info->dims[d] < 0 || __builtin_mul_overflow(n, info->dims[d], &n))
            return -1;
    return n;
}
