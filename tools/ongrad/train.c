/* ongrad train: data through a session, step by step (steps.c); the trained model at the end.
 *
 * The output is written once, when training ended well or a signal stopped it; a failure leaves
 * what was there. */

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/advice.h"
#include "tools/ongrad/describe.h"
#include "tools/ongrad/loss_files.h"
#include "tools/ongrad/machine.h"
#include "tools/ongrad/profile.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/signals.h"
#include "tools/ongrad/trainer.h"

/* ---- preparation */

/* How is it validated, if at all? */
static int check_validation(og__trainer *t)
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
    return OG__EXIT_DONE;
}

static int open_validation(og__trainer *t)
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

static void count_steps(og__trainer *t)
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

/* --dry_run: one update, one batch of validation; no log, and no checkpoint but the one tried. */
static void be_short(og__trainer *t)
{
    t->steps = 1;
    t->epochs = 1;
    if (t->validates)
        t->validation_feed.batches = 1;
    t->checkpoints.every = OG__NEVER;
}

/* The files that will be written: none is read, none is another. */
static int check_outputs(og__trainer *t)
{
    const og__arguments *a = t->run.arguments;
    const struct {
        const char *option, *path;
    } files[] = {{"--output", t->output},
                 {"--checkpoint", a->resumed ? NULL : t->checkpoints.path},
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

/* What the run is: told, and kept for the log. */
static int report(og__trainer *t)
{
    const og__arguments *a = t->run.arguments;
    og_text text = {0};
    og__report_start(&text, &(og__report){&t->run, &t->feed, t->validates ? &t->validation : NULL,
                                          t->steps, t->epochs, t->accumulation,
                                          og__argument_is_set(a, "steps"), t->output});
    if (a->resumed)
        og__line(&text, "resumed", "from %s, after step %" PRId64, a->resumed, t->begun);
    if (!t->run.quiet && text.s)
        og__say("%.*s", (int)text.length - 1, text.s);
    int status = t->log.file ? og__describe(t, text.s, &t->log.run) : OG__EXIT_DONE;
    og_text_free(&text);
    return status;
}

static int prepare(og__trainer *t, const og__arguments *a)
{
    OG__TRY(og__run_open(&t->run, a));
    t->device_opened = og__memory_in_use(t->run.context);
    OG__TRY(og__run_need_loss(&t->run));
    OG__TRY(check_validation(t));
    OG__TRY(og__profile_check(&t->run));
    OG__TRY(og__run_bind_data(&t->run, true, &t->validation));
    t->output = og__argument_is_set(a, "output") ? og__argument(a, "output") : "trained.onnx";
    t->dry = og__argument_flag(a, "dry_run");
    OG__TRY(og__checkpoints_open(&t->checkpoints, &t->run, t->output));
    OG__TRY(check_outputs(t));
    OG__TRY(og__run_start(&t->run));
    og__feed_options options = og__feed_options_of(a, &t->run.transforms, true);
    OG__TRY(og__feed_open(&t->feed, &t->run.data, t->run.inputs, t->run.targets, t->run.batch_size,
                          &options));
    OG__TRY(open_validation(t));
    OG__TRY(og__metrics_new(&t->metrics, &t->run));
    OG__TRY(og__monitor_open(t));
    count_steps(t);
    if (t->dry)
        be_short(t);
    og_memory_report memory;
    og_session_memory(t->run.session, &memory);
    t->predicted_peak = memory.peak;
    OG__TRY(og__checkpoints_lock(&t->checkpoints));
    OG__TRY(og__resume(t));
    OG__TRY(og__run_log_open(&t->log, t->run.command, t->dry ? NULL : og__argument(a, "log"),
                             t->begun));
    OG__TRY(og__events_open(&t->events, t->run.command,
                            t->dry ? NULL : og__argument(a, "tensorboard"), t->begun));
    return report(t);
}

/* ---- the end */

static void write_final(og__trainer *t, double seconds)
{
    og_memory_report memory;
    og_session_memory(t->run.session, &memory);
    double disk, decode;
    char *list = NULL;
    og__feed_waits(&t->feed, &disk, &decode);
    int64_t unreadable = og_dataset_unreadable(t->feed.set, &list);
    free(list);
    og__run_log_final(&t->log, &(og__log_final){.steps = t->last.step,
                                                .epochs = t->last.step / t->steps_an_epoch,
                                                .samples = t->samples,
                                                .loss = t->last.step ? t->last.loss : NAN,
                                                .seconds = seconds,
                                                .wait_seconds = t->feed.wait,
                                                .wait_disk_seconds = disk,
                                                .wait_decode_seconds = decode,
                                                .unreadable = unreadable,
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
                                                .device = {t->device_opened, memory.used_before,
                                                           memory.used_after, t->device_trained},
                                                .stopped_by = og__signals_name(),
                                                .output = t->output,
                                                .run = &t->run});
}

static void say_next(const og__trainer *t, int trained)
{
    const og__arguments *a = t->run.arguments;
    og__next next = {0};
    if (trained == OG__EXIT_STOPPED && t->checkpoints.saved >= 0) {
        og__next_line(&next, "train --resume", t->checkpoints.path);
        og__next_say(&next, t->run.quiet);
        return;
    }
    og__next_line(&next, "eval", t->output);
    const char *data = t->validates && og__argument_is_set(a, "val_data") ? "val_data" : "data";
    og__next_option(&next, a, data, "data");
    og__next_option(&next, a, og__argument_is_set(a, "val_target") ? "val_target" : "target",
                    "target");
    og__loss_files_next(&next, &t->run, t->output);
    og__next_loss_options(&next, a);
    og__next_line(&next, "predict", t->output);
    og__next_option(&next, a, data, "data");
    og__next_add(&next, "-o");
    og__next_add(&next,
                 og_model_output_count(t->run.model) == 1 ? "predictions.npy" : "predictions");
    og__next_line(&next, "export", t->output);
    if (t->log.path && !t->dry)
        og__next_line(&next, "report", t->log.path);
    og__next_say(&next, t->run.quiet);
}

/* Saves beside the output, loads that again, and removes it. */
static int try_saving(og__trainer *t)
{
    og_text path = {0};
    og_text_printf(&path, "%s.dry_run.onnx", t->output);
    if (path.failed)
        return og__say_error(t->run.command, OG__EXIT_FAILED, "out of memory");
    og_model *again = NULL;
    if (og_session_save(t->run.session, path.s) == OG_OK)
        again = og_model_load(t->run.context, path.s);
    int status = again ? OG__EXIT_DONE : og__run_failed(&t->run);
    og_model_free(again);
    unlink(path.s);
    og_text_add(&path, ".data");
    unlink(path.s);
    og_text_free(&path);
    if (status == OG__EXIT_DONE && !t->run.quiet)
        og__say("Dry run: an update, %ssaving and loading worked; loss %.4f; nothing was written",
                t->validates ? "validation, " : "", t->last.loss);
    return status;
}

static int save(og__trainer *t, int trained)
{
    double seconds = og__seconds() - t->start;
    og__progress_clear(&t->progress);
    OG__TRY(og__keep_run(t));
    if (og_session_use_ema(t->run.session, true) != OG_OK) /* to the end: that is what is saved */
        return og__run_failed(&t->run);
    if (t->dry)
        return try_saving(t);
    bool best = t->monitor.best_step > 0; /* the output is that one already */
    if (!best && og_session_save(t->run.session, t->output) != OG_OK)
        return og__run_failed(&t->run);
    if (trained == OG__EXIT_STOPPED)
        og__say_warning(t->run.command,
                        "stopped by %s after step %" PRId64 " of %" PRId64
                        "; %s was written to %s%s%s",
                        og__signals_name(), t->last.step, t->steps,
                        best ? "the best model so far" : "the model as it is now", t->output,
                        t->checkpoints.saved >= 0 ? ", a checkpoint to " : "",
                        t->checkpoints.saved >= 0 ? t->checkpoints.path : "");
    else if (!t->run.quiet && best)
        og__say("Trained %" PRId64
                " steps in %.1f s: loss %.4f; %s is the model after step %" PRId64
                ", whose val_%s of %.6g is the best",
                t->last.step, seconds, t->last.loss, t->output, t->monitor.best_step,
                t->monitor.metric, t->monitor.best);
    else if (!t->run.quiet)
        og__say("Trained %" PRId64 " steps in %.1f s (%.0f samples/s): loss %.4f; wrote %s",
                t->last.step, seconds, seconds > 0 ? (double)t->samples / seconds : 0, t->last.loss,
                t->output);
    og__progress_curve(&t->progress);
    if (!best)
        OG__TRY(og__loss_files_save(&t->run, t->output));
    og__loss_files_say(&t->run, t->output);
    og__feed_say_unreadable(&t->feed, "and others stood in for them");
    if (t->validates)
        og__feed_say_unreadable(&t->validation_feed, "and were left out of validation");
    og__advise(t, seconds);
    if (og__profile_say(&t->run) != OG__EXIT_DONE && trained == OG__EXIT_DONE)
        trained = OG__EXIT_FAILED;
    write_final(t, seconds);
    if (og__run_log_close(&t->log) != OG__EXIT_DONE && trained == OG__EXIT_DONE)
        trained = OG__EXIT_FAILED;
    if (og__events_close(&t->events) != OG__EXIT_DONE && trained == OG__EXIT_DONE)
        trained = OG__EXIT_FAILED;
    say_next(t, trained);
    return trained == OG__EXIT_STOPPED && t->unsaved ? OG__EXIT_FAILED : trained;
}

int og__command_train(const og__arguments *a)
{
    og__trainer t = {.checkpoints.lock = -1,
                     .start_bytes = og__process_resident(),
                     .anonymous_start = og__process_anonymous()};
    int status = prepare(&t, a);
    if (status == OG__EXIT_DONE) {
        og__signals_catch();
        status = og__train(&t);
        t.anonymous = og__process_anonymous();
        t.device_trained = og__memory_in_use(t.run.context);
        if (status == OG__EXIT_DONE || status == OG__EXIT_STOPPED)
            status = save(&t, status);
    }
    og__checkpoints_close(&t.checkpoints);
    og__run_log_close(&t.log);
    og__events_close(&t.events);
    og__metrics_free(&t.metrics);
    og__feed_close(&t.validation_feed);
    og__feed_close(&t.feed);
    og__bindings_free(&t.validation);
    og_text_free(&t.data);
    og__run_close(&t.run);
    return status;
}
