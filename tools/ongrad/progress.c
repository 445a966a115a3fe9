#include "tools/ongrad/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tools/ongrad/say.h"

static const double redraw_seconds = 0.1, line_seconds = 30;
enum { LINES = 10, BAR = 16 }; /* plain lines in a run; columns of the bar */

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

/* The most wanted first: a narrow terminal cuts the rest off. left: seconds, NaN to leave it out.
 */
static void add_numbers(const og__progress *p, const og__progress_state *s, double left,
                        og_text *out)
{
    og_text_printf(out, "step %" PRId64 "/%" PRId64 "  loss %.4f", s->step, p->steps, s->loss);
    if (!isnan(left)) {
        og_text_add(out, "  left ");
        add_duration(out, left);
    }
    if (s->epochs > 1)
        og_text_printf(out, "  epoch %" PRId64 "/%" PRId64, s->epoch + 1, s->epochs);
    og_text_printf(out, "  %.*f samples/s  lr %.3g  grad_norm %.3g", s->samples_per_s < 10 ? 2 : 0,
                   s->samples_per_s, s->lr, s->grad_norm);
}

static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw(og__progress *p, const og__progress_state *s, double now)
{
    og_text line = {0}, text = {0};
    int full = (int)((double)BAR * (double)s->step / (double)p->steps);
    double left = (now - p->start) / (double)s->step * (double)(p->steps - s->step);
    add_numbers(p, s, left, &text);
    int columns = terminal_columns(), room = columns - BAR - 2;
    og_text_add(&line, "\r");
    if (room >= 20) {
        og_text_add(&line, p->color ? "\033[32m" : "");
        for (int i = 0; i < BAR; i++)
            og_text_add(&line, i < full ? "█" : "░");
        og_text_add(&line, p->color ? "\033[0m " : " ");
    } else {
        room = columns - 1;
    }
    if (text.s && room > 0)
        og_text_printf(&line, "%.*s", room, text.s);
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
    add_numbers(p, s, NAN, &text);
    if (text.s)
        og__say("%s", text.s);
    og_text_free(&text);
    p->printed = s->step;
}

void og__progress_step(og__progress *p, const og__progress_state *s)
{
    double now = og__seconds();
    if (p->quiet || p->steps < 1)
        return;
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
