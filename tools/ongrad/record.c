#define _GNU_SOURCE /* memmem */
#include "tools/ongrad/record.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

enum { CHUNK = 1 << 20, LONGEST_LINE = 64 << 20 };

/* ---- series */

static og__series *series_of(og__record *r, const char *outer, const char *key)
{
    char name[300];
    snprintf(name, sizeof name, "%s%s%s", outer ? outer : "", outer ? "/" : "", key);
    for (int i = 0; i < r->n_series; i++)
        if (!strcmp(r->series[i].name, name))
            return &r->series[i];
    if (r->n_series == OG__MOST_SERIES)
        return NULL;
    og__series *all = realloc(r->series, ((size_t)r->n_series + 1) * sizeof *all);
    if (!all)
        return NULL;
    r->series = all;
    og__series *s = &all[r->n_series];
    *s = (og__series){.name = strdup(name), .last = NAN, .least = NAN, .most = NAN};
    if (!s->name)
        return NULL;
    r->n_series++;
    return s;
}

static void add_to(og__point *to, const og__point *p)
{
    if (!p->n)
        return;
    to->least = to->n && to->least < p->least ? to->least : p->least;
    to->most = to->n && to->most > p->most ? to->most : p->most;
    to->n += p->n;
    to->steps += p->steps;
    to->sum += p->sum;
}

/* Each point stands for twice as many steps. */
static void halve(og__record *r)
{
    for (int i = 0; i < r->n_series; i++) {
        og__point *p = r->series[i].points;
        for (int k = 0; k < OG__POINTS / 2; k++) {
            og__point both = p[2 * k];
            add_to(&both, &p[2 * k + 1]);
            p[k] = both;
        }
        memset(p + OG__POINTS / 2, 0, OG__POINTS / 2 * sizeof *p);
    }
    r->stride *= 2;
}

static void add_value(og__record *r, og__series *s, int64_t step, double value)
{
    if (!isfinite(value)) {
        s->not_finite++;
        return;
    }
    s->last = value;
    s->least = isnan(s->least) || value < s->least ? value : s->least;
    s->most = isnan(s->most) || value > s->most ? value : s->most;
    og__point one = {1, (double)step, value, value, value};
    add_to(&s->points[(step - 1) / r->stride], &one);
}

/* ---- a line */

typedef struct line {
    og__record *record;
    int64_t step; /* 0: not seen yet */
    bool final;
} line;

static void take(void *user, const char *outer, const char *key, double value)
{
    static const char *const no_curves[] = {"epoch", "skipped"};
    line *l = user;
    og__record *r = l->record;
    if (!outer && !strcmp(key, "step") && value >= 1 && value <= 1e15) {
        l->step = (int64_t)value;
        while ((l->step - 1) / r->stride >= OG__POINTS)
            halve(r);
        return;
    }
    for (size_t i = 0; i < sizeof no_curves / sizeof *no_curves; i++)
        if (!strcmp(key, no_curves[i]))
            return;
    if (!l->step || (outer && !strcmp(outer, "run")))
        return;
    og__series *s = series_of(r, outer, key);
    if (s)
        add_value(r, s, l->step, value);
}

static void replace(yaml_document_t *document, bool *has, yaml_document_t *with)
{
    if (*has)
        yaml_document_delete(document);
    *document = *with;
    *has = true;
}

/* What a process said of its run with its first step. */
static void take_run(og__record *r, yaml_document_t *document)
{
    enum { MOST = sizeof r->resumed / sizeof *r->resumed };
    replace(&r->run, &r->has_run, document);
    double after = og__json_number(og__json_at(og__record_run(r), "after_step"));
    if (after >= 1 && r->n_resumed < MOST)
        r->resumed[r->n_resumed++] = (int64_t)after;
}

static bool begins(const char *text, size_t length, const char *with)
{
    size_t n = strlen(with);
    return length >= n && !memcmp(text, with, n);
}

static bool see_line(og__record *r, const char *text, size_t length)
{
    yaml_document_t document;
    line l = {.record = r};
    if (begins(text, length, "{\"final\"")) {
        if (!og__json_parse(&document, text, length))
            return false;
        replace(&r->final, &r->has_final, &document);
        return true;
    }
    if (!begins(text, length, "{\"step\":") || !og__json_numbers(text, length, take, &l) || !l.step)
        return false;
    r->last_step = l.step;
    if (memmem(text, length, "\"skipped\":true", 14))
        r->skipped++;
    const char *run = memmem(text, length, ",\"run\":{", 8);
    if (run && og__json_parse(&document, run + 7, length - (size_t)(run + 7 - text) - 1))
        take_run(r, &document);
    return true;
}

/* ---- the file */

static int no_log(const og__record *r)
{
    size_t n = strlen(r->path);
    if (n > 5 && !strcmp(r->path + n - 5, ".onnx"))
        return og__say_error(r->command, OG__EXIT_FAILED,
                             "%s is a model; expected the log of its training: ongrad train … "
                             "--log run.jsonl",
                             r->path);
    return og__say_error(r->command, OG__EXIT_FAILED,
                         "%s is no log of ongrad train: line 1 is no JSON object that begins with "
                         "\"step\"; ongrad train … --log FILE writes one",
                         r->path);
}

/* One line, whole or the last. */
static int see(og__record *r, const char *text, size_t length, bool whole)
{
    r->lines++;
    while (length && (text[length - 1] == '\r' || text[length - 1] == ' '))
        length--;
    if (see_line(r, text, length))
        return OG__EXIT_DONE;
    if (!whole) { /* the run was killed, or the disk was full */
        r->cut = true;
        return OG__EXIT_DONE;
    }
    if (r->lines == 1)
        return no_log(r);
    r->first_bad = r->bad++ ? r->first_bad : r->lines;
    return OG__EXIT_DONE;
}

static int too_long(const og__record *r)
{
    return r->lines ? og__say_error(r->command, OG__EXIT_FAILED,
                                    "%s: line %" PRId64 " is longer than %d MiB", r->path,
                                    r->lines + 1, LONGEST_LINE >> 20)
                    : no_log(r);
}

static int read_lines(og__record *r, FILE *file, char **buffer)
{
    size_t held = 0, room = 0;
    for (;;) {
        if (room - held < CHUNK) {
            if (held > LONGEST_LINE)
                return too_long(r);
            room = held + 2 * CHUNK;
            char *more = realloc(*buffer, room);
            if (!more)
                return og__say_error(r->command, OG__EXIT_FAILED, "out of memory for %s", r->path);
            *buffer = more;
        }
        size_t got = fread(*buffer + held, 1, CHUNK, file), from = 0;
        held += got;
        for (char *end; (end = memchr(*buffer + from, '\n', held - from)) != NULL;) {
            size_t length = (size_t)(end - *buffer) - from;
            OG__TRY(see(r, *buffer + from, length, true));
            from += length + 1;
        }
        held -= from;
        memmove(*buffer, *buffer + from, held);
        if (got == 0)
            break;
    }
    if (ferror(file))
        return og__say_error(r->command, OG__EXIT_FAILED, "cannot read %s: %s", r->path,
                             strerror(errno));
    return held ? see(r, *buffer, held, false) : OG__EXIT_DONE;
}

static void warn(const og__record *r)
{
    if (r->bad)
        og__say_warning(r->command,
                        "%s: %" PRId64 " line%s no step of a run, the first is line %" PRId64
                        "; left out",
                        r->path, r->bad, r->bad == 1 ? " is" : "s are", r->first_bad);
    if (r->cut)
        og__say_warning(r->command, "%s: its last line is cut short; left out", r->path);
    if (r->n_series == OG__MOST_SERIES)
        og__say_warning(r->command, "%s: it has more than %d kinds of numbers; the first are drawn",
                        r->path, OG__MOST_SERIES);
}

int og__record_read(og__record *r, const char *command, const char *path)
{
    *r = (og__record){.command = command, .path = path, .stride = 1};
    char *buffer = NULL;
    FILE *file = fopen(path, "re");
    if (!file)
        return og__say_error(command, OG__EXIT_FAILED, "cannot read %s: %s", path, strerror(errno));
    int status = read_lines(r, file, &buffer);
    free(buffer);
    fclose(file);
    if (status != OG__EXIT_DONE)
        return status;
    if (r->lines == 0)
        return og__say_error(command, OG__EXIT_FAILED,
                             "%s is empty: the run has written no step yet", path);
    if (!r->last_step && !r->has_final)
        return og__say_error(command, OG__EXIT_FAILED, "%s has no whole line: no step to draw",
                             path);
    warn(r);
    return OG__EXIT_DONE;
}

void og__record_free(og__record *r)
{
    for (int i = 0; i < r->n_series; i++)
        free(r->series[i].name);
    free(r->series);
    if (r->has_run)
        yaml_document_delete(&r->run);
    if (r->has_final)
        yaml_document_delete(&r->final);
    *r = (og__record){0};
}

const og__series *og__record_series(const og__record *r, const char *name)
{
    for (int i = 0; i < r->n_series; i++)
        if (!strcmp(r->series[i].name, name))
            return isnan(r->series[i].last) ? NULL : &r->series[i];
    return NULL;
}

og__json_value og__record_run(const og__record *r)
{
    return r->has_run ? og__json_root((yaml_document_t *)&r->run) : (og__json_value){NULL, NULL};
}

og__json_value og__record_final(const og__record *r)
{
    return r->has_final ? og__json_root((yaml_document_t *)&r->final)
                        : (og__json_value){NULL, NULL};
}
