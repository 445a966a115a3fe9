/* ongrad train: data through a session, step by step; the trained model at the end.
 *
 * The output is written once, when training ended well or a signal stopped it; a failure leaves
 * what was there. */

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/log.h"
#include "tools/ongrad/loss_files.h"
#include "tools/ongrad/metrics.h"
#include "tools/ongrad/profile.h"
#include "tools/ongrad/progress.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/signals.h"

typedef struct trainer {
    og__run run;
    og__feed feed;
    bool validates;
    og__bindings validation;
    og__feed validation_feed;
    og__metrics metrics;
    og__run_log log;
    og__progress progress;
    const char *output;

    int64_t accumulation, steps_an_epoch, steps, epochs;
    uint64_t predicted_peak;
    uint64_t start_bytes;                /* resident before anything was loaded */
    uint64_t anonymous_start, anonymous; /* of no file: then, and after the last step */

    og_plateau plateau;  /* of scheduler reduce_lr_on_plateau */
    double epoch_losses; /* sum over the epoch's optimizer steps … */
    int64_t epoch_steps; /* … that had a finite one */
    og_step_result last; /* of the last optimizer step that was reported */
    int64_t begun;       /* optimizer steps, of which the device may be some behind */
    int64_t samples;     /* seen in all */
    double start, step_start;
    bool validated; /* metrics are of the last validation */
} trainer;

/* ---- preparation */

/* Before training's own data is opened as batches: it keeps what --val_split leaves. */
static int split_validation(trainer *t)
{
    const og__arguments *a = t->run.arguments;
    bool files = og__argument_is_set(a, "val_data") || og__argument_is_set(a, "val_target"),
         splits = og__argument_is_set(a, "val_split");
    t->validates = files || splits;
    if (og__argument_is_set(a, "val_group") && !splits)
        return og__say_error(t->run.command, OG__EXIT_USAGE, "--val_group is for --val_split");
    if (files && splits)
        return og__say_error(t->run.command, OG__EXIT_USAGE,
                             "--val_split takes a part of --data; it excludes --val_data and "
                             "--val_target");
    if (!splits)
        return OG__EXIT_DONE;
    OG__TRY(og__bindings_split(&t->run.data, &t->validation, a));
    if (t->run.batch_size > t->run.data.samples)
        return og__say_error(t->run.command, OG__EXIT_FAILED,
                             "--val_split leaves %" PRId64 " samples to train on, fewer than a "
                             "batch; add --batch_size %" PRId64,
                             t->run.data.samples, t->run.data.samples);
    return OG__EXIT_DONE;
}

static int open_validation(trainer *t)
{
    const og__arguments *a = t->run.arguments;
    if (!t->validates)
        return OG__EXIT_DONE;
    if (!og__argument_is_set(a, "val_split"))
        OG__TRY(og__bindings_open(&t->validation, a, t->run.model, &t->run.losses, "val_data",
                                  "val_target", &t->run.data));
    og__feed_options options = og__feed_options_of(a, &t->run.transforms, false);
    return og__feed_open(&t->validation_feed, &t->validation, t->run.inputs, t->run.targets,
                         t->run.batch_size, &options);
}

static void count_steps(trainer *t)
{
    const og__arguments *a = t->run.arguments;
    const char *accumulation = og_options_get(t->run.options, "gradient_accumulation_steps");
    t->accumulation = accumulation ? strtoll(accumulation, NULL, 10) : 1;
    if (t->accumulation < 1)
        t->accumulation = 1;
    t->steps_an_epoch = (t->feed.batches + t->accumulation - 1) / t->accumulation;
    t->epochs = og__argument_int(a, "epochs");
    if (og__argument_is_set(a, "steps")) {
        t->steps = og__argument_int(a, "steps");
        t->epochs = (t->steps - 1) / t->steps_an_epoch + 1;
    } else if (__builtin_mul_overflow(t->epochs, t->steps_an_epoch, &t->steps)) {
        t->steps = INT64_MAX;
    }
}

/* The files that will be written: none is read, none is another. */
static int check_outputs(trainer *t)
{
    const og__arguments *a = t->run.arguments;
    const struct {
        const char *option, *path;
    } files[] = {{"--output", t->output},
                 {"--log", og__argument(a, "log")},
                 {"--profile", og__argument_file(a, "profile")}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (!files[i].path)
            continue;
        OG__TRY(og__run_check_writable(&t->run, files[i].option, files[i].path));
        for (size_t k = 0; k < i; k++)
            if (files[k].path && !strcmp(files[k].path, files[i].path))
                return og__say_error(t->run.command, OG__EXIT_USAGE, "%s and %s are both %s",
                                     files[i].option, files[k].option, files[i].path);
    }
    return og__loss_files_check(&t->run, t->output);
}

static int prepare(trainer *t, const og__arguments *a)
{
    OG__TRY(og__run_open(&t->run, a));
    OG__TRY(og__run_need_loss(&t->run));
    OG__TRY(og__profile_check(&t->run));
    OG__TRY(og__run_bind_data(&t->run, true));
    t->output = og__argument_is_set(a, "output") ? og__argument(a, "output") : "trained.onnx";
    OG__TRY(check_outputs(t));
    OG__TRY(split_validation(t));
    OG__TRY(og__run_start(&t->run));
    og__feed_options options = og__feed_options_of(a, &t->run.transforms, true);
    OG__TRY(og__feed_open(&t->feed, &t->run.data, t->run.inputs, t->run.targets, t->run.batch_size,
                          &options));
    OG__TRY(open_validation(t));
    OG__TRY(og__metrics_new(&t->metrics, &t->run));
    count_steps(t);
    og_memory_report memory;
    og_session_memory(t->run.session, &memory);
    t->predicted_peak = memory.peak;
    OG__TRY(og__run_log_open(&t->log, t->run.command, og__argument(a, "log")));
    og__report_start(&(og__report){&t->run, &t->feed, t->validates ? &t->validation : NULL,
                                   t->steps, t->epochs, t->accumulation,
                                   og__argument_is_set(a, "steps"), t->output});
    return OG__EXIT_DONE;
}

/* ---- steps */

static int failed(trainer *t)
{
    og__progress_clear(&t->progress);
    int status = og__run_failed(&t->run);
    if (og_error_status(t->run.context) == OG_NON_FINITE)
        og__say("    %s was not written", t->output);
    return status;
}

static int validate(trainer *t, int64_t epoch)
{
    int status = og__evaluate(&t->run, &t->validation_feed, &t->metrics, og__signals_stopped);
    if (status != OG__EXIT_DONE || og__signals_stopped())
        return status;
    t->validated = true;
    if (t->run.quiet)
        return OG__EXIT_DONE;
    og_text text = {0};
    for (int i = 0; i < t->metrics.n_scores; i++) {
        const og__score *score = &t->metrics.scores[i];
        if (score->counted == 0)
            continue;
        og_text_printf(&text, "  val_accuracy %.2f %%", 100 * og__score_accuracy(score));
        if (t->metrics.n_scores > 1)
            og_text_printf(&text, " (%s)", score->name);
    }
    og__progress_clear(&t->progress);
    og__say("epoch %" PRId64 "/%" PRId64 "  val_loss %.4f%s", epoch + 1, t->epochs,
            og__metrics_loss(&t->metrics), text.s ? text.s : "");
    og_text_free(&text);
    return OG__EXIT_DONE;
}

/* What reduce_lr_on_plateau watches: the validation loss, else the epoch's mean. */
static void watch(trainer *t, double value)
{
    if (og_schedule_is_plateau(t->run.options))
        og_plateau_step(t->run.options, &t->plateau, value, false);
}

static double next_lr(const trainer *t)
{
    double lr = og_schedule_lr(t->run.options, t->begun, t->steps);
    return og_schedule_is_plateau(t->run.options) ? lr * t->plateau.factor : lr;
}

/* An optimizer step is reported: tell it everywhere. `drained`: the device was waited for, and the
 * steps that are still to be reported took their share of the time. `validates`: after it. */
static int finish_step(trainer *t, const og_step_result *result, bool drained, bool validates)
{
    double now = og__seconds(), seconds = now - t->step_start;
    if (drained)
        seconds /= (double)(result->begun - result->step + 1);
    double rate = seconds > 0 ? (double)result->samples / seconds : 0;
    int64_t epoch = (result->step - 1) / t->steps_an_epoch;
    og__log_step line = {.step = result->step,
                         .epoch = epoch,
                         .loss = result->loss,
                         .lr = result->lr,
                         .grad_norm = result->grad_norm,
                         .loss_scale = result->loss_scale,
                         .losses = {&t->run.losses, result->losses},
                         .skipped = result->skipped,
                         .step_ms = 1e3 * seconds,
                         .samples_per_s = rate};
    og__progress_step(&t->progress,
                      &(og__progress_state){result->step, epoch, t->epochs, result->loss,
                                            result->grad_norm, result->lr, rate});
    if (result->skipped && !t->run.quiet) {
        og__progress_clear(&t->progress);
        og__say("step %" PRId64 " skipped: not finite at a loss scale of %g; the next has %g",
                result->step, result->loss_scale, result->next_loss_scale);
    }
    t->last = *result;
    t->epoch_losses += isfinite(result->loss) ? result->loss : 0;
    t->epoch_steps += isfinite(result->loss);
    t->step_start += seconds;
    int status = OG__EXIT_DONE;
    if (validates) {
        status = validate(t, epoch);
        if (t->validated && !og__signals_stopped()) {
            line.validation = &t->metrics;
            watch(t, og__metrics_loss(&t->metrics));
        }
        t->step_start = og__seconds();
    }
    og__run_log_step(&t->log, &line);
    return status;
}

/* The step for what is still summed, unless training stops here, and every report that is due;
 * validation after the last of them. */
static int drain(trainer *t, bool stops, bool validates)
{
    og_session *session = t->run.session;
    og_step_result result;
    og_status status =
        stops ? og_session_report(session, &result) : og_session_flush(session, &result);
    for (; status == OG_OK && result.updated; status = og_session_report(session, &result))
        OG__TRY(finish_step(t, &result, true, validates && result.step == result.begun));
    t->begun = result.begun;
    return status == OG_OK ? OG__EXIT_DONE : failed(t);
}

/* Micro-batch `index`; an optimizer step where one is due. */
static int train_batch(trainer *t, int64_t epoch, int64_t index)
{
    og_step_result result;
    bool last_of_epoch = index + 1 == t->feed.batches;
    if (index % t->accumulation == 0)
        og_session_set_lr(t->run.session, next_lr(t));
    OG__TRY(og__feed_next(&t->feed, epoch, index));
    if (og_session_train_step(t->run.session, t->feed.inputs, t->feed.targets, t->feed.samples,
                              &result) != OG_OK)
        return failed(t);
    t->samples += t->feed.samples;
    bool begins = result.begun > t->begun;
    t->begun = result.begun;
    bool ends = (begins && t->begun == t->steps) || last_of_epoch;
    if (result.updated)
        OG__TRY(
            finish_step(t, &result, false, ends && t->validates && result.step == result.begun));
    if (ends)
        OG__TRY(drain(t, false, t->validates));
    if (last_of_epoch) {
        if (!t->validates && t->epoch_steps)
            watch(t, t->epoch_losses / (double)t->epoch_steps);
        t->epoch_losses = 0;
        t->epoch_steps = 0;
    }
    return OG__EXIT_DONE;
}

static int train(trainer *t)
{
    og__progress_start(&t->progress, t->run.quiet, t->steps);
    t->plateau = og_plateau_start();
    t->start = t->step_start = og__seconds();
    for (int64_t epoch = 0; t->begun < t->steps; epoch++)
        for (int64_t index = 0; index < t->feed.batches && t->begun < t->steps; index++) {
            if (og__signals_stopped()) {
                OG__TRY(drain(t, true, false));
                return OG__EXIT_STOPPED;
            }
            OG__TRY(train_batch(t, epoch, index));
        }
    return OG__EXIT_DONE;
}

/* ---- the end */

static void write_final(trainer *t, double seconds)
{
    og_memory_report memory;
    og_session_memory(t->run.session, &memory);
    og__run_log_final(&t->log, &(og__log_final){.steps = t->last.step,
                                                .epochs = t->last.step / t->steps_an_epoch,
                                                .samples = t->samples,
                                                .loss = t->last.step ? t->last.loss : NAN,
                                                .seconds = seconds,
                                                .wait_seconds = t->feed.wait,
                                                .losses = {&t->run.losses, t->last.losses},
                                                .validation = t->validated ? &t->metrics : NULL,
                                                .peak_bytes = memory.peak,
                                                .predicted_peak_bytes = t->predicted_peak,
                                                .data_bytes = og_loader_bytes(t->feed.loader),
                                                .program_bytes = memory.program,
                                                .process_start_bytes = t->start_bytes,
                                                .process_peak_bytes = og__process_peak(),
                                                .anonymous_start_bytes = t->anonymous_start,
                                                .anonymous_bytes = t->anonymous,
                                                .stopped_by = og__signals_name(),
                                                .output = t->output});
}

static void say_next(const trainer *t)
{
    const og__arguments *a = t->run.arguments;
    og__next next = {0};
    og__next_line(&next, "eval", t->output);
    const char *data = t->validates && og__argument_is_set(a, "val_data") ? "val_data" : "data";
    og__next_option(&next, a, data, "data");
    og__next_option(&next, a, t->validates ? "val_target" : "target", "target");
    og__loss_files_next(&next, &t->run, t->output);
    og__next_loss_options(&next, a);
    og__next_line(&next, "predict", t->output);
    og__next_option(&next, a, data, "data");
    og__next_add(&next, "-o");
    og__next_add(&next,
                 og_model_output_count(t->run.model) == 1 ? "predictions.npy" : "predictions");
    og__next_line(&next, "inspect", t->output);
    og__next_say(&next, t->run.quiet);
}

static int save(trainer *t, int trained)
{
    double seconds = og__seconds() - t->start;
    og__progress_clear(&t->progress);
    if (og_session_save(t->run.session, t->output) != OG_OK)
        return og__run_failed(&t->run);
    if (trained == OG__EXIT_STOPPED)
        og__say_warning(t->run.command,
                        "stopped by %s after step %" PRId64 " of %" PRId64
                        "; the model as it is now was written to %s",
                        og__signals_name(), t->last.step, t->steps, t->output);
    else if (!t->run.quiet)
        og__say("Trained %" PRId64 " steps in %.1f s (%.0f samples/s): loss %.4f; wrote %s",
                t->last.step, seconds, seconds > 0 ? (double)t->samples / seconds : 0, t->last.loss,
                t->output);
    OG__TRY(og__loss_files_save(&t->run, t->output));
    if (!t->run.quiet && t->feed.wait > 0.1 * seconds && seconds > 1)
        og__say("%.0f %% of the time went by waiting for data; try --num_workers %d",
                100 * t->feed.wait / seconds, t->feed.workers + 1);
    if (og__profile_say(&t->run) != OG__EXIT_DONE && trained == OG__EXIT_DONE)
        trained = OG__EXIT_FAILED;
    write_final(t, seconds);
    if (og__run_log_close(&t->log) != OG__EXIT_DONE && trained == OG__EXIT_DONE)
        trained = OG__EXIT_FAILED;
    say_next(t);
    return trained;
}

int og__command_train(const og__arguments *a)
{
    trainer t = {.start_bytes = og__process_resident(), .anonymous_start = og__process_anonymous()};
    int status = prepare(&t, a);
    if (status == OG__EXIT_DONE) {
        og__signals_catch();
        status = train(&t);
        t.anonymous = og__process_anonymous();
        if (status == OG__EXIT_DONE || status == OG__EXIT_STOPPED)
            status = save(&t, status);
    }
    og__run_log_close(&t.log);
    og__metrics_free(&t.metrics);
    og__feed_close(&t.validation_feed);
    og__feed_close(&t.feed);
    og__bindings_free(&t.validation);
    og__run_close(&t.run);
    return status;
}
