#include "tools/ongrad/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/describe.h"
#include "tools/ongrad/say.h"

/* Where the lines of the first `after` steps end; 0 where the file is no such log. */
static long end_of(FILE *file, int64_t after)
{
    static const char begin[] = "{\"step\":";
    char *line = NULL;
    size_t room = 0;
    long end = 0;
    for (ssize_t n; (n = getline(&line, &room, file)) > 0 && line[n - 1] == '\n'; end += n)
        if (strncmp(line, begin, sizeof begin - 1) != 0 ||
            strtoll(line + sizeof begin - 1, NULL, 10) > after)
            break;
    free(line);
    return end;
}

int og__run_log_open(og__run_log *log, const char *command, const char *path, int64_t after)
{
    *log = (og__run_log){.command = command, .path = path};
    if (!path)
        return OG__EXIT_DONE;
    log->file = after > 0 ? fopen(path, "r+e") : NULL;
    if (log->file) {
        long end = end_of(log->file, after);
        if (ftruncate(fileno(log->file), end) == 0 && fseek(log->file, end, SEEK_SET) == 0)
            return OG__EXIT_DONE;
        fclose(log->file);
    }
    log->file = fopen(path, "we");
    if (!log->file)
        return og__say_error(command, OG__EXIT_FAILED, "--log: cannot write %s: %s", path,
                             strerror(errno));
    return OG__EXIT_DONE;
}

/* A line is whole on the disk before the next step starts; the first failure is told, training goes
 * on. */
static void write_line(og__run_log *log, og_text *text)
{
    og_text_add(text, "\n");
    bool ok = !text->failed && fwrite(text->s, 1, text->length, log->file) == text->length &&
              fflush(log->file) == 0;
    if (!ok && !log->failed) {
        og__say_warning(log->command, "--log: cannot write %s: %s", log->path, strerror(errno));
        log->failed = true;
    }
    og_text_free(text);
}

static void add_losses(og_json *json, const og__log_losses *l)
{
    if (!l->means || l->losses->n < 2)
        return;
    og_json_open(json, "losses", '{');
    for (int i = 0; i < l->losses->n; i++)
        og_json_double(json, l->losses->items[i].name, l->means[i]);
    og_json_close(json, '}');
}

static void add_validation(og_json *json, const og__metrics *m)
{
    og_json_double(json, "val_loss", og__metrics_loss(m));
    og__metrics_json(m, "val_", json);
}

void og__run_log_step(og__run_log *log, const og__log_step *s)
{
    og_text text = {0};
    og_json json = {&text};
    if (!log->file)
        return;
    og_json_open(&json, NULL, '{');
    og_json_int(&json, "step", s->step);
    og_json_int(&json, "epoch", s->epoch);
    og_json_double(&json, "loss", s->loss);
    add_losses(&json, &s->losses);
    og_json_double(&json, "lr", s->lr);
    og_json_double(&json, "grad_norm", s->grad_norm);
    og_json_double(&json, "loss_scale", s->loss_scale);
    og_json_bool(&json, "skipped", s->skipped);
    og_json_double(&json, "step_ms", s->step_ms);
    og_json_double(&json, "samples_per_s", s->samples_per_s);
    if (s->memory_bytes)
        og_json_int(&json, "memory_bytes", (int64_t)s->memory_bytes);
    if (s->validation)
        add_validation(&json, s->validation);
    if (log->run.length)
        og_text_printf(&text, ",\"run\":%s", log->run.s);
    og_text_free(&log->run);
    og_json_close(&json, '}');
    write_line(log, &text);
}

static void add_device(og_json *json, const og__log_device *d)
{
    if (!d->after)
        return;
    og_json_open(json, "device_used_bytes", '{');
    og_json_int(json, "opened", (int64_t)d->opened);
    og_json_int(json, "before_session", (int64_t)d->before);
    og_json_int(json, "after_session", (int64_t)d->after);
    og_json_int(json, "trained", (int64_t)d->trained);
    og_json_close(json, '}');
}

void og__run_log_final(og__run_log *log, const og__log_final *f)
{
    og_text text = {0};
    og_json json = {&text};
    if (!log->file)
        return;
    og_json_open(&json, NULL, '{');
    og_json_bool(&json, "final", true);
    og_json_int(&json, "steps", f->steps);
    og_json_int(&json, "epochs", f->epochs);
    og_json_int(&json, "samples", f->samples);
    og_json_double(&json, "loss", f->loss);
    add_losses(&json, &f->losses);
    if (f->validation)
        add_validation(&json, f->validation);
    og_json_double(&json, "seconds", f->seconds);
    og_json_double(&json, "samples_per_s", f->seconds > 0 ? (double)f->samples / f->seconds : 0);
    og_json_double(&json, "wait_seconds", f->wait_seconds);
    og_json_double(&json, "wait_disk_seconds", f->wait_disk_seconds);
    og_json_double(&json, "wait_decode_seconds", f->wait_decode_seconds);
    og_json_int(&json, "unreadable_samples", f->unreadable);
    og_json_int(&json, "peak_bytes", (int64_t)f->peak_bytes);
    og_json_int(&json, "predicted_peak_bytes", (int64_t)f->predicted_peak_bytes);
    og_json_int(&json, "data_bytes", (int64_t)f->data_bytes);
    og_json_int(&json, "program_bytes", (int64_t)f->program_bytes);
    og_json_int(&json, "process_start_bytes", (int64_t)f->process_start_bytes);
    og_json_int(&json, "process_peak_bytes", (int64_t)f->process_peak_bytes);
    og_json_int(&json, "anonymous_start_bytes", (int64_t)f->anonymous_start_bytes);
    og_json_int(&json, "anonymous_bytes", (int64_t)f->anonymous_bytes);
    add_device(&json, &f->device);
    og_json_string(&json, "stopped_by", f->stopped_by);
    og_json_string(&json, "output", f->output);
    og__describe_profile(f->run, &json);
    og_json_close(&json, '}');
    write_line(log, &text);
}

int og__run_log_close(og__run_log *log)
{
    bool failed = log->failed;
    if (log->file && fclose(log->file) != 0 && !failed) {
        og__say_warning(log->command, "--log: cannot write %s: %s", log->path, strerror(errno));
        failed = true;
    }
    log->file = NULL;
    og_text_free(&log->run);
    return failed ? OG__EXIT_FAILED : OG__EXIT_DONE;
}
