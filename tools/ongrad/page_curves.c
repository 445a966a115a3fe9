/* Curves over optimizer steps, and the confusion matrix of the last validation. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/ongrad/page.h"

static og__chart chart_of(const og__page *page, const char *title)
{
    return (og__chart){.title = title, .last_step = (double)page->record->last_step};
}

static void add_series(og__chart *chart, const char *name, const og__series *series)
{
    if (series && chart->n < OG__MOST_CURVES)
        chart->curves[chart->n++] = (og__curve){name, series};
}

static void add_named(const og__page *page, og__chart *chart, const char *name, const char *series)
{
    add_series(chart, name, og__record_series(page->record, series));
}

static bool starts_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static void add_loss(const og__page *page)
{
    og__chart chart = chart_of(page, "Loss");
    chart.may_be_log = true;
    add_named(page, &chart, "training", "loss");
    add_named(page, &chart, "validation", "val_loss");
    og__chart_add(&chart, page->out);
}

/* Objects of a name, "losses/box" and "losses/class", in one chart. */
static void add_object(const og__page *page, const char *prefix, const char *title, bool log)
{
    og__chart chart = chart_of(page, title);
    chart.may_be_log = log;
    for (int i = 0; i < page->record->n_series; i++) {
        const og__series *s = &page->record->series[i];
        if (starts_with(s->name, prefix) && !isnan(s->last))
            add_series(&chart, s->name + strlen(prefix), s);
    }
    og__chart_add(&chart, page->out);
}

/* Metrics between 0 and 1 share a chart; another has its own. */
static bool is_metric(const og__series *s)
{
    return starts_with(s->name, "val_") && strcmp(s->name, "val_loss") != 0 &&
           !strchr(s->name, '/') && !isnan(s->last);
}

static bool is_share(const og__series *s)
{
    return s->least >= 0 && s->most <= 1;
}

static void add_metrics(const og__page *page)
{
    const og__record *r = page->record;
    og__chart shares = chart_of(page, "Validation metrics");
    for (int i = 0; i < r->n_series; i++)
        if (is_metric(&r->series[i]) && is_share(&r->series[i]))
            add_series(&shares, r->series[i].name + 4, &r->series[i]);
    if (shares.n == 1)
        shares.title = shares.curves[0].series->name;
    og__chart_add(&shares, page->out);
    add_object(page, "val_losses/", "Validation losses", true);
    add_object(page, "val_accuracies/", "Validation accuracies", false);
    for (int i = 0; i < r->n_series; i++) {
        const og__series *s = &r->series[i];
        og__chart chart = chart_of(page, s->name);
        bool more = is_share(s) && shares.n == OG__MOST_CURVES;
        if (!is_metric(s) || (is_share(s) && !more))
            continue;
        for (int k = 0; k < shares.n && more; k++)
            more = shares.curves[k].series != s;
        if (is_share(s) && !more)
            continue;
        add_series(&chart, s->name, s);
        og__chart_add(&chart, page->out);
    }
}

static void add_one(const og__page *page, const char *title, const char *series, bool log,
                    bool from_zero, const char *note)
{
    og__chart chart = chart_of(page, title);
    const og__series *s = og__record_series(page->record, series);
    chart.may_be_log = log;
    chart.from_zero = from_zero;
    chart.note = note;
    add_series(&chart, title, s);
    og__chart_add(&chart, page->out);
}

/* A row a label, a column what was said; darker is more of its row. */
static void add_confusion(const og__page *page)
{
    enum { MOST_CLASSES = 40 };
    og__json_value matrix = og__json_at(page->final, "val_confusion_matrix");
    int n = og__json_count(matrix);
    if (n < 2 || n > MOST_CLASSES || og__json_count(og__json_item(matrix, 0)) != n)
        return;
    og_text_add(page->out,
                "<figure class=\"wide\"><figcaption><b>Confusion matrix</b> <small>of the last "
                "validation: a row a label, a column what was said</small></figcaption>\n"
                "<div class=\"scroll\"><table class=\"matrix\"><tr><th></th>");
    for (int c = 0; c < n; c++)
        og_text_printf(page->out, "<th>%d</th>", c);
    og_text_add(page->out, "</tr>\n");
    for (int r = 0; r < n; r++) {
        og__json_value row = og__json_item(matrix, r);
        double sum = 0;
        og_text_printf(page->out, "<tr><th>%d</th>", r);
        for (int c = 0; c < n; c++)
            sum += fmax(og__json_number(og__json_item(row, c)), 0);
        for (int c = 0; c < n; c++) {
            double value = fmax(og__json_number(og__json_item(row, c)), 0);
            og_text_printf(page->out, "<td style=\"--share:%.3f\">%.0f</td>",
                           sum > 0 ? value / sum : 0, value);
        }
        og_text_add(page->out, "</tr>\n");
    }
    og_text_add(page->out, "</table></div></figure>\n");
}

void og__page_curves(const og__page *page)
{
    const og__series *scale = og__record_series(page->record, "loss_scale");
    og__page_begin(page, "curves", "Curves");
    if (page->record->stride > 1)
        og_text_printf(
            page->out,
            "<p class=\"note\">A point is the mean of %lld steps; the band goes from the "
            "least to the most of them.</p>\n",
            (long long)page->record->stride);
    og_text_add(page->out, "<div class=\"charts\">\n");
    add_loss(page);
    add_metrics(page);
    add_object(page, "losses/", "Losses", true);
    add_one(page, "Learning rate", "lr", false, true, NULL);
    add_one(page, "Gradient norm", "grad_norm", true, false, "before clipping");
    if (scale && scale->most > scale->least)
        add_one(page, "Loss scale", "loss_scale", true, false, NULL);
    add_one(page, "Samples a second", "samples_per_s", false, true, NULL);
    add_confusion(page);
    og_text_add(page->out, "</div>\n");
    og__page_end(page);
}
