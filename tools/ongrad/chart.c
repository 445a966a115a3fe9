#include "tools/ongrad/chart.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/nodes.h"

/* In the units of the drawing; the script of page_style.c knows the plot's corners. */
enum { WIDTH = 520, HEIGHT = 262, LEFT = 62, RIGHT = 508, TOP = 12, BOTTOM = 218 };
enum { COLORS = 8, SPARSE = 60 /* a curve of fewer points shows each */ };

typedef struct axis {
    double low, high;
    bool log;
    int from, to; /* in the drawing */
} axis;

void og__html_text(og_text *out, const char *text)
{
    for (const char *s = text ? text : ""; *s; s++)
        switch (*s) {
        case '<':
            og_text_add(out, "&lt;");
            break;
        case '>':
            og_text_add(out, "&gt;");
            break;
        case '&':
            og_text_add(out, "&amp;");
            break;
        case '"':
            og_text_add(out, "&quot;");
            break;
        case '\'':
            og_text_add(out, "&#39;");
            break;
        default:
            og_text_addn(out, (unsigned char)*s < 0x20 && *s != '\n' ? " " : s, 1);
        }
}

/* ---- axes */

/* 1, 2 or 5 times a power of ten, at least `least`. */
static double round_step(double least)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(least)));
    for (int i = 0; i < 4; i++)
        if (steps[i] * power >= least * (1 - 1e-9))
            return steps[i] * power;
    return 10 * power;
}

static double position(const axis *a, double value)
{
    double low = a->low, high = a->high;
    if (a->log) {
        value = log10(value > 0 ? value : low);
        low = log10(low);
        high = log10(high);
    }
    double share = (value - low) / (high - low);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return a->from + share * (a->to - a->from);
}

static double mean_of(const og__point *p)
{
    return p->sum / (double)p->n;
}

/* The range of what is drawn: all means, and the bands where they are usual. false: nothing is. */
static bool find_range(const og__chart *c, double *low, double *high, double *least_positive)
{
    bool any = false;
    *least_positive = INFINITY;
    for (int i = 0; i < c->n; i++) {
        double least = 0, most = 0;
        int n = 0;
        for (int k = 0; k < OG__POINTS; k++) {
            const og__point *p = &c->curves[i].series->points[k];
            if (!p->n)
                continue;
            double v = mean_of(p);
            *low = any && *low < v ? *low : v;
            *high = any && *high > v ? *high : v;
            if (v > 0 && v < *least_positive)
                *least_positive = v;
            any = true;
            least += p->least;
            most += p->most;
            n++;
        }
        if (n) {
            *low = least / n < *low && (least > 0 || *low <= 0) ? least / n : *low;
            *high = most / n > *high ? most / n : *high;
        }
    }
    for (int i = 0; any && i < c->n_levels; i++)
        *high = c->levels[i].value > *high ? c->levels[i].value : *high;
    return any;
}

static axis y_axis(const og__chart *c, double low, double high, double least_positive)
{
    axis y = {low, high, false, BOTTOM, TOP};
    y.log = c->may_be_log && low > 0 && high / least_positive > 100;
    if (y.log) {
        y.low = low / 1.15;
        y.high = high * 1.15;
        return y;
    }
    double span = high - low;
    if (c->from_zero || (low >= 0 && low < 0.35 * high)) {
        y.low = 0;
        span = high;
    } else {
        y.low -= 0.06 * span;
    }
    y.high += 0.06 * span;
    if (y.high - y.low <= 1e-9 * fabs(y.high)) { /* one value: a range around it */
        y.low = high > 0 ? 0 : high < 0 ? 2 * high : -1;
        y.high = high > 0 ? 2 * high : high < 0 ? 0 : 1;
    }
    return y;
}

/* ---- ticks */

/* "100 MB": a round number has no need of ".0". */
static void add_bytes(og_text *out, double value)
{
    char text[32];
    og_format_bytes(text, (uint64_t)(value > 0 ? value : 0));
    char *zero = strstr(text, ".0 ");
    og_text_printf(out, "%.*s%s", zero ? (int)(zero - text) : (int)strlen(text), text,
                   zero ? zero + 2 : "");
}

static void add_number(og_text *out, double value, double step, og__unit unit)
{
    char text[32];
    double size = fabs(value);
    int decimals = step > 0 && step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    if (size < 1e-9 * step)
        og_text_add(out, "0");
    else if (unit == OG__BYTES)
        add_bytes(out, value);
    else if (size >= 1e5 && size < 1e18)
        og_text_printf(out, "%s%s", value < 0 ? "-" : "", og__count_text(text, size));
    else if (size < 1e-3 || size >= 1e18)
        og_text_printf(out, "%.3g", value);
    else
        og_text_printf(out, "%.*f", decimals > 6 ? 6 : decimals, value);
}

static void y_tick(const og__chart *c, const axis *y, double value, double step, og_text *out)
{
    double at = position(y, value);
    og_text_printf(out,
                   "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
                   "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                   LEFT, at, RIGHT, LEFT - 7, at + 4.5);
    add_number(out, value, step, c->unit);
    og_text_add(out, "</text>\n");
}

static void add_y_ticks(const og__chart *c, const axis *y, og_text *out)
{
    if (!y->log) {
        double step = round_step((y->high - y->low) / 5);
        for (int i = 0; i < 12; i++) {
            double value = step * (ceil(y->low / step - 1e-9) + i);
            if (value > y->high + 1e-9 * step)
                break;
            y_tick(c, y, value, step, out);
        }
        return;
    }
    double decades = log10(y->high / y->low);
    int every = decades > 12 ? (int)ceil(decades / 6) : 1;
    for (int power = (int)floor(log10(y->low)); power <= log10(y->high); power++)
        for (int factor = 1; factor < 10; factor = factor == 1 ? 2 : factor == 2 ? 5 : 10) {
            double value = factor * pow(10, power);
            if (value < y->low || value > y->high || (factor > 1 && decades > 2.2) || power % every)
                continue;
            y_tick(c, y, value, pow(10, power), out);
        }
}

/* "2 M", "2.5 M", "40,000" */
static void add_count(og_text *out, double value)
{
    char text[32];
    if (value < 1e5) {
        og_text_add(out, og__grouped_text(text, (int64_t)value));
        return;
    }
    og__count_text(text, value);
    const char *unit = strchr(text, ' ');
    og_text_printf(out, "%g%s", strtod(text, NULL), unit ? unit : "");
}

static void add_x_ticks(const axis *x, og_text *out)
{
    double step = round_step((x->high - x->low) / 5);
    step = step < 1 ? 1 : step;
    double first = ceil(x->low / step);
    for (int i = 0; step * (first + i) <= x->high; i++) {
        double value = step * (first + i);
        double at = position(x, value);
        og_text_printf(out,
                       "<path class=\"grid\" d=\"M%.1f %dv5\"/><text x=\"%.1f\" y=\"%d\" "
                       "text-anchor=\"%s\">",
                       at, BOTTOM, at, BOTTOM + 20, at > RIGHT - 12 ? "end" : "middle");
        add_count(out, value);
        og_text_add(out, "</text>\n");
    }
    og_text_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">optimizer step</text>\n",
                   RIGHT, BOTTOM + 39);
}

/* ---- curves */

static int count_points(const og__series *s, bool *wide)
{
    int n = 0;
    *wide = false;
    for (int k = 0; k < OG__POINTS; k++) {
        n += s->points[k].n > 0;
        *wide |= s->points[k].n > 1 && s->points[k].most > s->points[k].least;
    }
    return n;
}

static double x_of(const axis *x, const og__point *p)
{
    return position(x, p->steps / (double)p->n);
}

static void add_band(const og__series *s, const axis *x, const axis *y, int color, og_text *out)
{
    const char *next = "M";
    og_text_printf(out, "<path class=\"band f%d\" d=\"", color);
    for (int k = 0; k < OG__POINTS; k++, next = s->points[k - 1].n ? "L" : next)
        if (s->points[k].n)
            og_text_printf(out, "%s%.1f %.1f", next, x_of(x, &s->points[k]),
                           position(y, s->points[k].most));
    for (int k = OG__POINTS - 1; k >= 0; k--)
        if (s->points[k].n)
            og_text_printf(out, "L%.1f %.1f", x_of(x, &s->points[k]),
                           position(y, s->points[k].least));
    og_text_add(out, "Z\"/>\n");
}

static void add_curve(const og__curve *curve, const axis *x, const axis *y, int color, og_text *out)
{
    const og__series *s = curve->series;
    bool wide;
    int n = count_points(s, &wide);
    if (wide)
        add_band(s, x, y, color, out);
    const char *next = "M";
    og_text_printf(out, "<path class=\"line s%d\" data-n=\"", color);
    og__html_text(out, curve->name);
    og_text_add(out, "\" d=\"");
    for (int k = 0; k < OG__POINTS; k++)
        if (s->points[k].n) {
            og_text_printf(out, "%s%.1f %.2f", next, x_of(x, &s->points[k]),
                           position(y, mean_of(&s->points[k])));
            next = "L";
        }
    og_text_add(out, "\"/>\n");
    for (int k = 0; k < OG__POINTS && n < SPARSE; k++)
        if (s->points[k].n)
            og_text_printf(out, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.2f\" r=\"3\"/>", color,
                           x_of(x, &s->points[k]), position(y, mean_of(&s->points[k])));
}

static void add_level(const og__level *level, const axis *y, og_text *out)
{
    double at = position(y, level->value);
    og_text_printf(out,
                   "<path class=\"level\" d=\"M%d %.1fH%d\"/>"
                   "<text class=\"label\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                   LEFT, at, RIGHT, RIGHT - 4, at < (TOP + BOTTOM) / 2.0 ? at + 15 : at - 5);
    og__html_text(out, level->name);
    og_text_add(out, "</text>\n");
}

static void add_caption(const og__chart *c, const axis *y, og_text *out)
{
    int64_t lost = 0;
    og_text_add(out, "<figcaption><b>");
    og__html_text(out, c->title);
    og_text_add(out, "</b>");
    for (int i = 0; i < c->n && c->n > 1; i++) {
        og_text_printf(out, " <span class=\"key\"><i class=\"k%d\"></i>", i % COLORS);
        og__html_text(out, c->curves[i].name);
        og_text_add(out, "</span>");
    }
    for (int i = 0; i < c->n; i++)
        lost += c->curves[i].series->not_finite;
    if (y->log)
        og_text_add(out, " <small>logarithmic</small>");
    if (c->note) {
        og_text_add(out, " <small>");
        og__html_text(out, c->note);
        og_text_add(out, "</small>");
    }
    if (lost)
        og_text_printf(out, " <small class=\"bad\">%" PRId64 " value%s not finite</small>", lost,
                       lost == 1 ? " is" : "s are");
    og_text_add(out, "</figcaption>\n");
}

void og__chart_add(const og__chart *c, og_text *out)
{
    double low = 0, high = 0, positive;
    if (!find_range(c, &low, &high, &positive))
        return;
    axis x = {1, c->last_step > 1 ? c->last_step : 2, false, LEFT, RIGHT},
         y = y_axis(c, low, high, positive);
    og_text_add(out, "<figure>\n");
    add_caption(c, &y, out);
    og_text_printf(out,
                   "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
                   "data-t=\"%.17g,%.17g,%.17g,%.17g,%d,%d\" aria-label=\"",
                   WIDTH, HEIGHT, x.low, x.high, y.low, y.high, y.log, c->unit == OG__BYTES);
    og__html_text(out, c->title);
    og_text_add(out, "\">\n");
    add_y_ticks(c, &y, out);
    add_x_ticks(&x, out);
    og_text_printf(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, BOTTOM, RIGHT);
    for (int i = 0; i < c->n_levels; i++)
        add_level(&c->levels[i], &y, out);
    for (int i = 0; i < c->n; i++)
        add_curve(&c->curves[i], &x, &y, i % COLORS, out);
    og_text_printf(out, "<path class=\"rule\" d=\"M0 %dV%d\"/>\n</svg>\n</figure>\n", TOP, BOTTOM);
}
