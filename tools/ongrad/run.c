#include "tools/ongrad/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/alternatives.h"
#include "tools/ongrad/builtin.h"
#include "tools/ongrad/preprocess.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/stored.h"

enum { MOST_THREADS = 1024 };

int og__run_failed(const og__run *run)
{
    const char *message = og_error_message(run->context);
    int status = og__exit_status(og_error_status(run->context));
    return og__say_error(run->command, status ? status : OG__EXIT_FAILED, "%s",
                         *message ? message : "the library failed without a message");
}

static void on_log(void *user, og_log_level level, const char *message)
{
    const og__run *run = user;
    if (level == OG_LOG_WARNING)
        og__say_warning(run->command, "%s", message);
    else if (og__argument_flag(run->arguments, "verbose"))
        og__say("%s", message);
}

/* Hand the library the options that are its own. */
static int set_options(og__run *run)
{
    const og__arguments *a = run->arguments;
    run->options = og_options_new(run->context);
    if (!run->options)
        return og__run_failed(run);
    /* A list given on the command line replaces the file's: those are not among the settings then.
     */
    for (int i = 0; i < a->n_settings; i++) {
        const og__row *row = a->settings[i].row;
        if (row->library && og_options_set(run->options, row->info.name,
                                           og__setting_for_library(&a->settings[i])) != OG_OK)
            return og__run_failed(run);
    }
    return OG__EXIT_DONE;
}

/* By the memory of the device, or of the one that is planned for: 10⁹ bytes a GB. */
static int64_t batch_of(const og__run *run)
{
    uint64_t total = 0, available;
    const char *device = og_options_get(run->options, "device_memory");
    if (!device || !og_parse_bytes(device, &total))
        og_context_memory(run->context, &total, &available);
    return total >= 20000000000u ? 128 : total >= 10000000000u ? 64 : 32;
}

/* A batch that nobody asked for is split wherever that makes it fit. */
static int choose_batch(og__run *run)
{
    run->default_batch = batch_of(run);
    if (og__argument_is_set(run->arguments, "batch_size") ||
        og_options_is_set(run->options, "split_batch"))
        return OG__EXIT_DONE;
    return og_options_set(run->options, "split_batch", "on") == OG_OK ? OG__EXIT_DONE
                                                                      : og__run_failed(run);
}

int og__run_open_context(og__run *run, const og__arguments *a)
{
    *run = (og__run){.arguments = a, .command = a->command->name};
    run->quiet = og__argument_flag(a, "quiet");
    int64_t threads = og__argument_int(a, "threads");
    if (threads > MOST_THREADS)
        return og__say_error(run->command, OG__EXIT_USAGE, "--threads is %lld, expected at most %d",
                             (long long)threads, MOST_THREADS);
    const char *device = og__argument(a, "device"); /* NULL: a subcommand that computes nothing */
    og_context_config config = {.threads = (int)threads,
                                .pin_threads = og__argument_flag(a, "pin_threads"),
                                .log = on_log,
                                .log_user = run,
                                .device = device ? device : "cpu"};
    run->context = og_context_new(&config);
    if (!run->context)
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the device");
    if (og_error_status(run->context) != OG_OK)
        return og__run_failed(run);
    return set_options(run);
}

/* Without --loss a model that says itself how it is trained is trained so. */
static int use_algorithm(og__run *run)
{
    const og__arguments *a = run->arguments;
    const char *name;
    og_text loss = {0};
    if (a->command->bit != OG__TRAIN || og__argument_is_set(a, "loss") ||
        !og_model_own_algorithms(run->model))
        return OG__EXIT_DONE;
    if (og_model_use_algorithm(run->model, !a->resumed, &name) != OG_OK)
        return og__run_failed(run);
    run->trains_itself = true;
    og_text_printf(&loss, "%s=output", name);
    int status = loss.failed
                     ? og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the loss")
                 : og_options_set(run->options, "loss", loss.s) == OG_OK ? OG__EXIT_DONE
                                                                         : og__run_failed(run);
    og_text_free(&loss);
    return status;
}

static int open_model(og__run *run)
{
    const char *path = run->arguments->model;
    if (!path)
        return og__run_new_model(run);
    OG__TRY(og__refuse_model_options(run->arguments));
    run->model_name = path;
    run->model = og_model_load(run->context, path);
    return run->model ? use_algorithm(run) : og__run_failed(run);
}

/* Of the run that a checkpoint is of: the adapters, which are not in its model. */
static int take_adapters(og__run *run)
{
    const char *options = og_checkpoint_note(run->checkpoint, "options");
    char *text = strdup(options ? options : ""), *at = text, *name, *value;
    int status =
        text ? OG__EXIT_DONE : og__say_error(run->command, OG__EXIT_FAILED, "out of memory");
    while (status == OG__EXIT_DONE && og__stored_next(&at, &name, &value))
        if (!strcmp(name, "lora") && og_options_set(run->options, name, value) != OG_OK)
            status = og__run_failed(run);
    free(text);
    return status;
}

/* A model that is a checkpoint: its weights are those of the run then. */
static int open_checkpoint(og__run *run)
{
    bool uses = run->arguments->command->bit & (OG__EVAL | OG__PREDICT | OG__EXPORT),
         averages = uses && og__argument_flag(run->arguments, "ema");
    if (uses && run->arguments->model && og_model_metadata(run->model, OG_CHECKPOINT_KEY)) {
        run->checkpoint = og_checkpoint_open(run->context, run->arguments->model);
        return run->checkpoint ? take_adapters(run) : og__run_failed(run);
    }
    if (averages)
        return og__say_error(run->command, OG__EXIT_USAGE,
                             "--ema is of checkpoints, and %s is none; a model that train --ema "
                             "wrote is of the averages already",
                             run->model_name);
    return OG__EXIT_DONE;
}

/* What fine-tuning changes; train tells it in its report. */
static int adapt_model(og__run *run)
{
    const char *resumed = run->arguments->resumed;
    if (resumed)
        run->checkpoint = og_checkpoint_open(run->context, resumed);
    else
        OG__TRY(open_checkpoint(run));
    if ((resumed || run->checkpoint) &&
        (!run->checkpoint || og_model_restore(run->model, run->checkpoint) != OG_OK))
        return og__run_failed(run);
    if (og_model_adapt(run->model, run->options) != OG_OK)
        return og__run_failed(run);
    if (!run->quiet && strcmp(run->command, "train") != 0)
        og__report_changes(NULL, run);
    return OG__EXIT_DONE;
}

int og__run_open(og__run *run, const og__arguments *a)
{
    OG__TRY(og__run_open_context(run, a)); /* before the model: wrong usage is told first */
    OG__TRY(choose_batch(run));
    OG__TRY(open_model(run));
    OG__TRY(adapt_model(run));
    run->n_inputs = og_model_input_count(run->model);
    run->inputs = calloc((size_t)run->n_inputs + 1, sizeof *run->inputs);
    if (!run->inputs)
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the inputs");
    return og__losses_read(&run->losses, run->command, run->context, run->model, run->options);
}

void og__run_close(og__run *run)
{
    og_checkpoint_free(run->checkpoint);
    og_session_free(run->session);
    og__bindings_free(&run->data);
    og__losses_free(&run->losses);
    free(run->inputs);
    free(run->targets);
    og_options_free(run->options);
    og_model_free(run->model);
    if (run->context)
        og_context_free(run->context);
    *run = (og__run){0};
}

/* ---- losses */

int og__run_need_loss(og__run *run)
{
    const char *target = og__argument_at(run->arguments, "target", 0), *fits = NULL;
    if (run->losses.n > 0)
        return OG__EXIT_DONE;
    og__binding source = {0};
    int index;
    if (target &&
        og__binding_parse(&source, run->command, "target", target, NULL, 0, &index) == 0 &&
        source.path) {
        og_error error = {0};
        og_source *data = og_source_open(source.path, &source.options, &error);
        og_dtype dtype = data ? og_source_dtype(data) : OG_UNDEFINED;
        fits = !data                                                            ? NULL
               : dtype == OG_FLOAT || dtype == OG_DOUBLE || dtype == OG_FLOAT16 ? "mse"
                                                                                : "cross_entropy";
        og_source_free(data);
        og_error_clear(&error);
    }
    og__binding_free(&source);
    return og__say_error(run->command, OG__EXIT_USAGE,
                         "no loss given; for this target add --loss %s%s",
                         fits ? fits : "cross_entropy (class labels) or --loss mse (numbers)",
                         fits && !strcmp(fits, "mse") ? " (or bce_with_logits, for 0 and 1)" : "");
}

int og__run_without_loss(og__run *run)
{
    og__losses_free(&run->losses);
    return og_options_set(run->options, "loss", "none") == OG_OK ? OG__EXIT_DONE
                                                                 : og__run_failed(run);
}

/* ---- shapes */

static int allocate_targets(og__run *run, int n)
{
    run->n_targets = n;
    run->targets = calloc((size_t)n + 1, sizeof *run->targets);
    return run->targets
               ? OG__EXIT_DONE
               : og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the targets");
}

int og__run_bind_data(og__run *run, bool with_targets, og__bindings *part)
{
    OG__TRY(og__preprocess_read(run));
    OG__TRY(og__bindings_open(&run->data, run->arguments, run->model, &run->losses, "data",
                              with_targets ? "target" : NULL, NULL));
    if (part && og__argument_is_set(run->arguments, "val_split"))
        OG__TRY(og__bindings_split(&run->data, part, run->arguments));
    int64_t batch = og__argument_is_set(run->arguments, "batch_size")
                        ? og__argument_int(run->arguments, "batch_size")
                        : run->default_batch;
    run->batch_size = batch < run->data.samples ? batch : run->data.samples;
    OG__TRY(allocate_targets(run, run->data.n_targets));
    OG__TRY(og__shapes_of_inputs(run->arguments, run->model, &run->data, &run->transforms,
                                 run->batch_size, 0, run->inputs));
    return og__shapes_of_targets(&run->data, &run->transforms, run->inputs, run->batch_size,
                                 run->targets);
}

int og__run_bind_shapes(og__run *run, int64_t batch, int64_t fallback)
{
    run->batch_size = og__argument_is_set(run->arguments, "batch_size")
                          ? og__argument_int(run->arguments, "batch_size")
                          : batch;
    return og__shapes_of_inputs(run->arguments, run->model, NULL, NULL, run->batch_size, fallback,
                                run->inputs);
}

/* ---- session */

int og__run_start(og__run *run)
{
    run->session = og_session_new(run->model, run->options, run->inputs, run->n_inputs,
                                  run->targets, run->n_targets);
    if (!run->session) {
        int status = og__run_failed(run);
        if (og_error_status(run->context) == OG_OUT_OF_MEMORY)
            og__say_remedies(run);
        return status;
    }
    if (run->checkpoint && !run->arguments->resumed &&
        og_session_restore_weights(run->session, run->checkpoint,
                                   og__argument_flag(run->arguments, "ema")) != OG_OK)
        return og__run_failed(run);
    if (!run->targets)
        OG__TRY(allocate_targets(run, run->losses.n_targets));
    for (int t = 0; t < run->n_targets; t++)
        if (og_session_target(run->session, t, &run->targets[t]) != OG_OK)
            return og__run_failed(run);
    return OG__EXIT_DONE;
}

int og__run_output(const og__run *run, int index, og_tensor_info *info)
{
    return og_session_output(run->session, index, info) == OG_OK ? OG__EXIT_DONE
                                                                 : og__run_failed(run);
}
