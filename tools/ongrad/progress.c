#include "tools/ongrad/progress.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/ongrad/blocks.h"
#include "tools/ongrad/say.h"

static const double redraw_seconds = 0.1, line_seconds = 30;
enum {
    LINES = 10,         /* plain lines in a run */
    BAR = 16,           /* columns of the bar … */
    WIDE = 100,         /* … on a terminal of so many; half of it on a narrower one */
    LEAST_COLUMNS = 64, /* none on one below this */
    ROWS = 5            /* of the curve */
};

double og__seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void og__progress_start(og__progress *p, bool quiet, int64_t steps)
{
    *p = (og__progress){.quiet = quiet, .steps = steps, .start = og__seconds()};
    p->terminal = isatty(STDERR_FILENO);
    p->color = og__say_in_color();
    p->shown = p->start;
}

/* "1:02:03", "2:03" */
static void add_duration(og_text *out, double seconds)
{
    int64_t s = isfinite(seconds) && seconds < 1e9 ? (int64_t)ceil(seconds) : 0;
    if (s >= 3600)
        og_text_printf(out, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    else
        og_text_printf(out, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

/* ---- numbers */

/* One more, where there is room for all of it. */
static void add_field(og_text *out, int room, const char *format, ...) OG_PRINTF(3, 4);
static void add_field(og_text *out, int room, const char *format, ...)
{
    og_text field = {0};
    va_list arguments;
    va_start(arguments, format);
    og_text_vprintf(&field, format, arguments);
    va_end(arguments);
    if (field.s && out->length + field.length + (out->length ? 2 : 0) <= (size_t)room)
        og_text_printf(out, "%s%s", out->length ? "  " : "", field.s);
    og_text_free(&field);
}

/* The most wanted first: a narrow terminal has no room for the rest. left: seconds, NaN to leave it
 * out. */
static void add_numbers(const og__progress *p, const og__progress_state *s, double left, int room,
                        og_text *out)
{
    og_text duration = {0};
    char size[32];
    add_field(out, room, "step %" PRId64 "/%" PRId64, s->step, p->steps);
    add_field(out, room, "loss %.4f", s->loss);
    if (!isnan(left))
        add_duration(&duration, left);
    if (duration.s)
        add_field(out, room, "left %s", duration.s);
    add_field(out, room, "%.*f samples/s", p->pace > 0.1 ? 2 : 0, p->pace > 0 ? 1 / p->pace : 0);
    add_field(out, room, "lr %.3g", s->lr);
    if (s->memory)
        add_field(out, room, "%s%s", p->terminal ? "" : "memory ",
                  og_format_bytes(size, s->memory));
    if (s->epochs > 1)
        add_field(out, room, "epoch %" PRId64 "/%" PRId64, s->epoch + 1, s->epochs);
    add_field(out, room, "grad_norm %.3g", s->grad_norm);
    og_text_free(&duration);
}

/* ---- the line */

static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw(og__progress *p, const og__progress_state *s, double now)
{
    og_text line = {0}, text = {0};
    double done = (double)(s->step - p->first + 1),
           left = (now - p->start) / done * (double)(p->steps - s->step);
    int columns = terminal_columns(), bar = columns < WIDE ? BAR / 2 : BAR,
        full = (int)((double)bar * (double)s->step / (double)p->steps);
    og_text_add(&line, "\r");
    if (columns >= LEAST_COLUMNS) {
        og_text_add(&line, p->color ? "\033[32m" : "");
        for (int i = 0; i < bar; i++)
            og_text_add(&line, og__bar_cell(i < full));
        og_text_add(&line, p->color ? "\033[0m " : " ");
        columns -= bar + 1;
    }
    add_numbers(p, s, left, columns - 1, &text);
    og_text_add(&line, text.s ? text.s : "");
    og_text_add(&line, "\033[K");
    if (line.s)
        fputs(line.s, stderr);
    fflush(stderr);
    og_text_free(&text);
    og_text_free(&line);
    p->drawn = true;
}

static void print(og__progress *p, const og__progress_state *s)
{
    og_text text = {0};
    add_numbers(p, s, NAN, INT_MAX, &text);
    if (text.s)
        og__say("%s", text.s);
    og_text_free(&text);
    p->printed = s->step;
}

/* One step's time varies: a mean in which twenty steps ago counts a third. */
static void see_pace(og__progress *p, const og__progress_state *s)
{
    if (s->samples_per_s > 0)
        p->pace = p->pace > 0 ? 0.95 * p->pace + 0.05 / s->samples_per_s : 1 / s->samples_per_s;
}

static void see_loss(og__progress *p, const og__progress_state *s)
{
    int column = (int)((double)(s->step - 1) * OG__CURVE / (double)p->steps);
    if (!isfinite(s->loss) || column < 0 || column >= OG__CURVE)
        return;
    p->losses[column] += s->loss;
    p->n[column]++;
}

void og__progress_step(og__progress *p, const og__progress_state *s)
{
    double now = og__seconds();
    if (p->quiet || p->steps < 1)
        return;
    p->first = p->first ? p->first : s->step;
    see_loss(p, s);
    see_pace(p, s);
    bool last = s->step == p->steps;
    if (p->terminal) {
        if (last || !p->drawn || now - p->shown >= redraw_seconds) {
            draw(p, s, now);
            p->shown = now;
        }
        return;
    }
    int64_t every = p->steps / LINES > 0 ? p->steps / LINES : 1;
    if (last || s->step == 1 || s->step - p->printed >= every || now - p->shown >= line_seconds) {
        print(p, s);
        p->shown = now;
    }
}

void og__progress_clear(og__progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

/* ---- the curve */

/* The mean of a column; columns between steps of a short run repeat the one before. */
static int find_columns(const og__progress *p, double heights[OG__CURVE], double *low, double *high)
{
    int n = 0;
    for (int c = 0; c < OG__CURVE; c++) {
        if (p->n[c]) {
            double v = p->losses[c] / (double)p->n[c];
            *low = n && *low < v ? *low : v;
            *high = n && *high > v ? *high : v;
            n++;
            heights[c] = v;
        } else {
            heights[c] = c ? heights[c - 1] : NAN;
        }
    }
    return n;
}

void og__progress_curve(const og__progress *p)
{
    enum { FEWEST = 6 };
    double heights[OG__CURVE], low = 0, high = 0;
    int last = OG__CURVE - 1, columns = terminal_columns() - 14;
    if (p->quiet || find_columns(p, heights, &low, &high) < FEWEST || !(high > low))
        return;
    while (!p->n[last])
        last--;
    columns = !p->terminal || columns > OG__CURVE ? OG__CURVE : columns;
    for (int row = ROWS - 1; row >= 0 && columns >= FEWEST; row--) {
        og_text line = {0};
        char label[32] = "";
        if (row == ROWS - 1 || row == 0)
            snprintf(label, sizeof label, "%.3g", row ? high : low);
        og_text_printf(&line, "  %s %8s %s", row == ROWS - 1 ? "loss" : "    ", label,
                       og__axis_left());
        for (int c = 0; c < columns && c * OG__CURVE / columns <= last; c++) {
            double v = heights[c * OG__CURVE / columns];
            /* The lowest is an eighth of a row, so that it can be seen. */
            double filled = 0.125 + (v - low) / (high - low) * (ROWS - 0.125) - row;
            og_text_add(&line, isnan(v) ? " " : og__block(filled));
        }
        while (line.length && line.s[line.length - 1] == ' ')
            line.s[--line.length] = '\0';
        if (line.s)
            og__say("%s", line.s);
        og_text_free(&line);
    }
}
