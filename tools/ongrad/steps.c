/* The steps of a training run: micro-batches, updates, validation, checkpoints. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tools/ongrad/machine.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/signals.h"
#include "tools/ongrad/trainer.h"

/* Which node made what is not finite, in the micro-batches of the update that failed. */
static void say_origin(og__trainer *t)
{
    char node[256] = "";
    int64_t last =
        t->group_epoch == t->epoch && t->index > t->group_index ? t->index : t->group_index;
    for (int64_t index = t->group_index; index <= last && !*node; index++)
        if (og__feed_next(&t->feed, t->group_epoch, index) != OG__EXIT_DONE ||
            og_session_find_non_finite(t->run.session, t->feed.inputs, t->feed.targets,
                                       t->feed.samples, index - t->group_index, node) != OG_OK)
            return;
    if (*node)
        og__say("    the first node that makes a value that is not finite: %s", node);
}

/* The update that failed changed nothing: a run that goes on from here begins with it. Before the
 * first one there is nothing that training made. */
static void save_last_good(og__trainer *t)
{
    t->epoch = t->group_epoch;
    t->index = t->group_index;
    t->validation_due = false;
    if (t->last.step > 0 && t->checkpoints.path &&
        !strcmp(og_context_device(t->run.context), "cpu") &&
        og__save_checkpoint(t) == OG__EXIT_DONE)
        og__say("    the state before this step was saved: ongrad train --resume %s",
                t->checkpoints.path);
}

static int failed(og__trainer *t)
{
    og__progress_clear(&t->progress);
    int status = og__run_failed(&t->run);
    if (og_error_status(t->run.context) == OG_NON_FINITE) {
        og__say("    %s was not written", t->output);
        say_origin(t);
        save_last_good(t);
    }
    return status;
}

static int validate_as_it_is(og__trainer *t, int64_t epoch)
{
    int status = og__evaluate(&t->run, &t->validation_feed, &t->metrics, og__signals_stopped);
    if (status != OG__EXIT_DONE || og__signals_stopped())
        return status;
    t->validated = true;
    t->validation_due = false;
    if (t->run.quiet)
        return og__monitor_see(t);
    og_text text = {0};
    for (int i = 0; i < t->metrics.n_scores; i++) {
        const og__score *score = &t->metrics.scores[i];
        if (score->counted == 0 || score->kind == OG__VALUES)
            continue;
        og_text_printf(&text, "  val_accuracy %.2f %%", 100 * og__score_value(score, "accuracy"));
        if (t->metrics.n_scores > 1)
            og_text_printf(&text, " (%s)", score->name);
    }
    const char *monitored = t->monitor.metric;
    if (strcmp(monitored, "loss") != 0 && strcmp(monitored, "accuracy") != 0)
        og_text_printf(&text, "  val_%s %.4f", monitored,
                       og__metrics_value(&t->metrics, monitored));
    og__progress_clear(&t->progress);
    og__say("epoch %" PRId64 "/%" PRId64 "  val_loss %.4f%s", epoch + 1, t->epochs,
            og__metrics_loss(&t->metrics), text.s ? text.s : "");
    og_text_free(&text);
    return og__monitor_see(t);
}

/* With --ema of the averages, as is what becomes the output. */
static int validate(og__trainer *t, int64_t epoch)
{
    if (og_session_use_ema(t->run.session, true) != OG_OK)
        return og__run_failed(&t->run);
    int status = validate_as_it_is(t, epoch);
    if (og_session_use_ema(t->run.session, false) != OG_OK && status == OG__EXIT_DONE)
        status = og__run_failed(&t->run);
    return status;
}

/* What reduce_lr_on_plateau watches without validation: the epoch's mean. */
static void watch(og__trainer *t, double value)
{
    if (og_schedule_is_plateau(t->run.options))
        og_plateau_step(t->run.options, &t->plateau, value, false);
}

static double next_lr(const og__trainer *t)
{
    double lr = og_schedule_lr(t->run.options, t->begun, t->steps);
    return og_schedule_is_plateau(t->run.options) ? lr * t->plateau.factor : lr;
}

/* Bytes in use, looked at ten times a second at most. */
static uint64_t memory_now(og__trainer *t, double now)
{
    if (!t->memory || now - t->memory_seen >= 0.1) {
        t->memory = og__memory_in_use(t->run.context);
        t->memory_seen = now;
    }
    return t->memory;
}

/* An optimizer step is reported: tell it everywhere. `drained`: the device was waited for, and the
 * steps that are still to be reported took their share of the time. `validates`: after it. */
static int finish_step(og__trainer *t, const og_step_result *result, bool drained, bool validates)
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
                         .samples_per_s = rate,
                         .memory_bytes = memory_now(t, now)};
    og__progress_step(&t->progress, &(og__progress_state){result->step, epoch, t->epochs,
                                                          result->loss, result->grad_norm,
                                                          result->lr, rate, line.memory_bytes});
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
        if (!t->validation_due)
            line.validation = &t->metrics;
        t->step_start = og__seconds();
    }
    og__run_log_step(&t->log, &line);
    og__events_step(&t->events, &line);
    return status;
}

/* The step for what is still summed, unless training stops here, and every report that is due;
 * validation after the last of them. */
static int drain(og__trainer *t, bool stops, bool validates)
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

/* The next micro-batch; an optimizer step where one is due. */
static int train_batch(og__trainer *t)
{
    og_step_result result;
    int64_t epoch = t->epoch, index = t->index;
    bool last_of_epoch = index + 1 == t->feed.batches;
    if (index % t->accumulation == 0) {
        t->group_epoch = epoch;
        t->group_index = index;
    }
    og_session_set_lr(t->run.session, next_lr(t));
    OG__TRY(og__feed_next(&t->feed, epoch, index));
    if (og_session_train_step(t->run.session, t->feed.inputs, t->feed.targets, t->feed.samples,
                              &result) != OG_OK)
        return failed(t);
    t->samples += t->feed.samples;
    t->index = last_of_epoch ? 0 : index + 1;
    t->epoch += last_of_epoch;
    bool begins = result.begun > t->begun;
    t->begun = result.begun;
    bool ends = (begins && t->begun == t->steps) || last_of_epoch;
    t->validation_due = (ends || begins) && og__monitor_is_due(t, last_of_epoch);
    if (result.updated)
        OG__TRY(finish_step(t, &result, false, t->validation_due && result.step == result.begun));
    if (ends || t->validation_due)
        OG__TRY(drain(t, !ends, t->validation_due));
    if (last_of_epoch) {
        if (!t->validates && t->epoch_steps)
            watch(t, t->epoch_losses / (double)t->epoch_steps);
        t->epoch_losses = 0;
        t->epoch_steps = 0;
    }
    return OG__EXIT_DONE;
}

/* A signal stopped it: what the device still owes is reported, and all is saved. */
static int stop(og__trainer *t)
{
    OG__TRY(drain(t, true, false));
    og__progress_clear(&t->progress);
    if (t->checkpoints.path && og__save_checkpoint(t) != OG__EXIT_DONE)
        t->unsaved = true;
    return OG__EXIT_STOPPED;
}

/* At the end one is due as well, where any are asked for. */
static int save_if_due(og__trainer *t)
{
    og__checkpoints *c = &t->checkpoints;
    bool ends =
        (t->begun >= t->steps || t->monitor.ended) && c->every != OG__NEVER && c->saved != t->begun;
    if (!c->path || !(og__checkpoints_due(c, t->begun, t->epoch) || ends))
        return OG__EXIT_DONE;
    OG__TRY(drain(t, true, false));
    if (t->validation_due && og__signals_stopped())
        return OG__EXIT_DONE;     /* it is saved with the validation still to come */
    (void)og__save_checkpoint(t); /* it has said why not; training goes on */
    t->step_start = og__seconds();
    return OG__EXIT_DONE;
}

int og__train(og__trainer *t)
{
    og__progress_start(&t->progress, t->run.quiet, t->steps);
    t->start = t->step_start = og__seconds();
    og__checkpoints_begin(&t->checkpoints, t->begun, t->epoch);
    t->group_epoch = t->epoch;
    t->group_index = t->index - t->index % t->accumulation;
    if (t->validation_due)
        OG__TRY(validate(t, t->epoch - 1));
    while (t->begun < t->steps && !t->monitor.ended) {
        if (og__signals_stopped())
            return stop(t);
        OG__TRY(train_batch(t));
        OG__TRY(save_if_due(t));
    }
    return OG__EXIT_DONE;
}
