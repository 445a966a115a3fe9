/* What of a run is in its checkpoints beside the session: options, the place in the data, what the
 * schedule remembers, and what the data looked like. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/preprocess.h"
#include "tools/ongrad/resume.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/stored.h"
#include "tools/ongrad/trainer.h"

/* ---- the data */

static void add_source(const og__binding *b, const char *role, og_text *out)
{
    if (b->source)
        og_text_printf(out, "%s %s %016" PRIx64 "\n", role, b->name,
                       og_source_fingerprint(b->source));
}

/* A line a source; the data is looked at once. NULL: there is none. */
static const char *known_data(og__trainer *t)
{
    const og__bindings *b = &t->run.data;
    if (t->data.failed)
        og_text_free(&t->data);
    for (int i = 0; !t->data_known && i < b->n_inputs; i++)
        add_source(&b->inputs[i], "input", &t->data);
    for (int i = 0; !t->data_known && i < b->n_targets; i++)
        add_source(&b->targets[i], "target", &t->data);
    t->data_known = !t->data.failed;
    return t->data.s;
}

static void compare_data(og__trainer *t, const char *before, const char *when)
{
    for (const char *line = known_data(t); line && *line;) {
        int n = (int)strcspn(line, "\n");
        char *whole = strndup(line, (size_t)n + 1);
        if (whole && before && !strstr(before, whole))
            og__say_warning(t->run.command, "the data of %.*s is not what it was when %s", n - 17,
                            line, when);
        free(whole);
        line += n + (line[n] == '\n');
    }
}

/* ---- the place */

static void place_text(const og__trainer *t, og_text *out)
{
    og_text_printf(out, "epoch=%" PRId64 "\nsample=%" PRId64 "\nbegun=%" PRId64 "\n", t->epoch,
                   t->index * t->run.batch_size, t->begun);
    og_text_printf(out, "validation_due=%d\n", t->validation_due);
    og_text_printf(out, "samples=%" PRId64 "\nepoch_losses=%a\nepoch_steps=%" PRId64 "\n",
                   t->samples, t->epoch_losses, t->epoch_steps);
    og_text_printf(out, "loss=%a\n", t->last.loss);
    og_text_printf(out, "best=%a\nbest_step=%" PRId64 "\nbad=%" PRId64 "\n", t->monitor.best,
                   t->monitor.best_step, t->monitor.bad);
    og_text_printf(out,
                   "plateau_factor=%a\nplateau_best=%a\nplateau_bad=%" PRId64
                   "\nplateau_cooldown=%" PRId64 "\n",
                   t->plateau.factor, t->plateau.best, t->plateau.bad, t->plateau.cooldown);
}

/* "key=number" on a line of its own. */
static double number(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line && *line;) {
        if (strncmp(line, key, n) == 0 && line[n] == '=')
            return strtod(line + n + 1, NULL);
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return 0;
}

static int64_t whole(const char *text, const char *key)
{
    double value = number(text, key);
    return value >= 0 && value < 9e15 ? (int64_t)value : 0;
}

static void take_place(og__trainer *t, const char *text)
{
    int64_t sample = whole(text, "sample"), batch = t->run.batch_size;
    t->epoch = whole(text, "epoch");
    t->index = sample / batch;
    if (sample % batch)
        og__say_warning(t->run.command,
                        "sample %" PRId64 " of the epoch begins no batch of %" PRId64
                        "; going on from sample %" PRId64,
                        sample, batch, t->index * batch);
    if (t->index >= t->feed.batches) {
        t->index = 0;
        t->epoch++;
    }
    t->validation_due = t->validates && whole(text, "validation_due");
    t->samples = whole(text, "samples");
    t->epoch_losses = number(text, "epoch_losses");
    t->epoch_steps = whole(text, "epoch_steps");
    t->last.loss = number(text, "loss");
    t->monitor.best = number(text, "best");
    t->monitor.best_step = whole(text, "best_step");
    t->monitor.bad = whole(text, "bad");
    t->monitor.ended = t->monitor.patience && t->monitor.bad >= t->monitor.patience;
    t->plateau = (og_plateau){.factor = number(text, "plateau_factor"),
                              .best = number(text, "plateau_best"),
                              .bad = whole(text, "plateau_bad"),
                              .cooldown = whole(text, "plateau_cooldown")};
}

/* A damaged checkpoint that an older one stands in for: the next one must not be kept as the
 * older, whole one. */
static void set_aside(const og__trainer *t)
{
    const char *path = t->checkpoints.path;
    if (!path || !strcmp(path, t->run.arguments->resumed) || access(path, F_OK) != 0)
        return;
    og_checkpoint *c = og_checkpoint_open(t->run.context, path);
    og_text aside = {0};
    og_text_printf(&aside, "%s.damaged", path);
    if (!c && !aside.failed)
        (void)rename(path, aside.s);
    og_checkpoint_free(c);
    og_text_free(&aside);
}

int og__resume(og__trainer *t)
{
    const char *path = t->run.arguments->resumed;
    og_restored restored = {0};
    t->plateau = og_plateau_start();
    if (!path && t->run.arguments->like)
        compare_data(t, t->run.arguments->like_data, "that model was trained");
    if (!path)
        return OG__EXIT_DONE;
    set_aside(t);
    const og_checkpoint *c = t->run.checkpoint;
    const char *place = og_checkpoint_note(c, "place");
    int status = OG__EXIT_DONE;
    if (!place)
        status =
            og__say_error(t->run.command, OG__EXIT_FAILED,
                          "%s was not written by ongrad train: it has no place in the data", path);
    else if (og_session_restore(t->run.session, c, &restored) != OG_OK)
        status = og__run_failed(&t->run);
    if (status == OG__EXIT_DONE) {
        t->begun = t->resumed_at = restored.step;
        t->last.step = restored.step;
        take_place(t, place);
        compare_data(t, og_checkpoint_note(c, "data"), "the checkpoint was made");
        if (restored.missing)
            og__say_warning(t->run.command,
                            "%d states of the optimizer are not in %s and begin anew",
                            restored.missing, path);
        if (restored.dropped)
            og__say_warning(t->run.command,
                            "micro-batches of the next update were left out: accumulation is not "
                            "what it was");
    }
    og_checkpoint_free(t->run.checkpoint);
    t->run.checkpoint = NULL;
    return status;
}

/* ---- saving */

/* The model that the run began with; "": a built-in one. */
static const char *origin_of(const og__trainer *t)
{
    const og__arguments *a = t->run.arguments;
    return a->resumed ? a->origin : a->model ? a->model : "";
}

int og__save_checkpoint(og__trainer *t)
{
    og__checkpoints *c = &t->checkpoints;
    const char *data = known_data(t);
    og_text options = {0}, place = {0}, model_text = {0}, made = {0};
    og__settings_text(t->run.arguments, OG__OF_CHECKPOINT, &options);
    og__settings_text(t->run.arguments, OG__OF_MODEL, &made);
    place_text(t, &place);
    og__add_escaped(&model_text, origin_of(t));
    const og_note notes[] = {
        {"options", options.s ? options.s : ""},     {"made", made.s ? made.s : ""},
        {"place", place.s ? place.s : ""},           {"data", data ? data : ""},
        {"model", model_text.s ? model_text.s : ""}, {"version", og_version()}};
    bool good = !options.failed && !place.failed && !t->data.failed && !model_text.failed &&
                !made.failed &&
                og_session_checkpoint(t->run.session, c->path, c->keep, notes,
                                      sizeof notes / sizeof *notes) == OG_OK;
    const char *why = og_error_message(t->run.context);
    if (good)
        c->saved = t->begun;
    else if (!c->failed)
        og__say_warning(t->run.command, "no checkpoint at step %" PRId64 ": %s%s", t->begun,
                        *why ? why : "out of memory",
                        c->saved >= 0 ? "; the one before stays, training goes on"
                                      : "; training goes on");
    c->failed = !good;
    og_text_free(&options);
    og_text_free(&place);
    og_text_free(&model_text);
    og_text_free(&made);
    return good ? OG__EXIT_DONE : OG__EXIT_FAILED;
}

static int keep(og__trainer *t, const char *key, const og_text *value)
{
    if (value->failed)
        return og__say_error(t->run.command, OG__EXIT_FAILED, "out of memory");
    return og_model_set_metadata(t->run.model, key, value->s ? value->s : "") == OG_OK
               ? OG__EXIT_DONE
               : og__run_failed(&t->run);
}

/* {"step": 120, "loss": 0.31, "val_loss": …} of the model that is saved. */
static void metrics_text(const og__trainer *t, og_text *out)
{
    og_json json = {.out = out};
    og_json_open(&json, NULL, '{');
    og_json_int(&json, "step", t->last.step);
    og_json_double(&json, "loss", t->last.loss);
    if (t->validated) {
        og_json_double(&json, "val_loss", og__metrics_loss(&t->metrics));
        og__metrics_json(&t->metrics, "val_", &json);
    }
    og_json_close(&json, '}');
}

int og__keep_run(og__trainer *t)
{
    const char *data = known_data(t);
    og_text options = {0}, metrics = {0}, model = {0};
    og__settings_text(t->run.arguments, OG__OF_TRAINED, &options);
    metrics_text(t, &metrics);
    og__add_escaped(&model, origin_of(t));
    int status = og__preprocess_keep(&t->run);
    if (status == OG__EXIT_DONE)
        status = keep(t, "ongrad.options", &options);
    if (status == OG__EXIT_DONE)
        status = keep(t, "ongrad.model", &model);
    if (status == OG__EXIT_DONE)
        status = keep(t, "ongrad.metrics", &metrics);
    if (status == OG__EXIT_DONE && data)
        status = keep(t, "ongrad.data", &t->data);
    og_text_free(&options);
    og_text_free(&metrics);
    og_text_free(&model);
    return status;
}
