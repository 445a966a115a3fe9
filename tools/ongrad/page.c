/* ongrad report LOG: one HTML page of a run, with all that it shows inside: no other file, no
 * network. */
#include "tools/ongrad/page.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/ongrad/nodes.h"
#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"

void og__page_begin(const og__page *page, const char *id, const char *heading)
{
    og_text_printf(page->out, "<section id=\"%s\">\n<h2>%s</h2>\n", id, heading);
}

void og__page_end(const og__page *page)
{
    og_text_add(page->out, "</section>\n");
}

void og__page_row(const og__page *page, const char *label, const char *text)
{
    og_text_add(page->out, "<tr><th>");
    og__html_text(page->out, label);
    og_text_add(page->out, "</th><td>");
    og__html_text(page->out, text);
    og_text_add(page->out, "</td></tr>\n");
}

void og__page_bar(const og__page *page, double share)
{
    share = share > 0 ? share < 1 ? share : 1 : 0;
    og_text_printf(page->out, "<div class=\"bar\"><i style=\"width:%.1f%%\"></i></div>",
                   100 * share);
}

double og__page_number(og__json_value object, const char *key)
{
    double value = og__json_number(og__json_at(object, key));
    return isfinite(value) ? value : 0;
}

/* ---- what matters, in large letters */

static void add_tile(const og__page *page, const char *label, const char *value, const char *note)
{
    og_text_add(page->out, "<div class=\"tile\"><span>");
    og__html_text(page->out, label);
    og_text_add(page->out, "</span><b>");
    og__html_text(page->out, value);
    og_text_add(page->out, "</b><small>");
    og__html_text(page->out, note);
    og_text_add(page->out, "</small></div>\n");
}

/* Validation metrics: the best of a few, and which step it was does not fit. */
static void add_metric_tiles(const og__page *page)
{
    static const struct {
        const char *name, *label;
        bool larger;
    } metrics[] = {{"val_loss", "validation loss", false},
                   {"val_accuracy", "validation accuracy", true},
                   {"val_f1", "validation F1", true},
                   {"val_miou", "validation mIoU", true},
                   {"val_rmse", "validation RMSE", false}};
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const og__series *s = og__record_series(page->record, metrics[i].name);
        char value[32], note[64];
        if (!s)
            continue;
        snprintf(value, sizeof value, "%.4g", s->last);
        snprintf(note, sizeof note, "best %.4g", metrics[i].larger ? s->most : s->least);
        add_tile(page, metrics[i].label, value, note);
    }
}

static void add_time_tiles(const og__page *page)
{
    double seconds = og__page_number(page->final, "seconds"),
           rate = og__page_number(page->final, "samples_per_s");
    int s = seconds < 1e8 ? (int)seconds : 0;
    char value[64], note[64];
    if (seconds <= 0)
        return;
    if (s >= 3600)
        snprintf(value, sizeof value, "%d h %02d min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(value, sizeof value, "%d min %02d s", s / 60, s % 60);
    else
        snprintf(value, sizeof value, "%.*f s", seconds < 10 ? 2 : 1, seconds);
    snprintf(note, sizeof note, "%.*f samples/s", rate < 10 ? 2 : 0, rate);
    add_tile(page, "time", value, note);
}

static void add_tiles(const og__page *page)
{
    const og__series *loss = og__record_series(page->record, "loss"),
                     *memory = og__record_series(page->record, "memory_bytes");
    double planned = og__page_number(page->run, "steps"),
           an_epoch = og__page_number(page->run, "steps_an_epoch"),
           steps = (double)page->record->last_step;
    char value[32], note[64], all[32];
    og_text_add(page->out, "<div class=\"tiles\">\n");
    if (loss) {
        snprintf(value, sizeof value, "%.4g", loss->last);
        snprintf(note, sizeof note, "lowest %.4g", loss->least);
        add_tile(page, "training loss", value, note);
    }
    add_metric_tiles(page);
    og__grouped_text(value, (int64_t)steps);
    *note = '\0';
    if (planned > steps)
        snprintf(note, sizeof note, "of %s", og__grouped_text(all, (int64_t)planned));
    else if (an_epoch > 0 && steps / an_epoch >= 1000)
        snprintf(note, sizeof note, "%s epochs",
                 og__grouped_text(all, (int64_t)(steps / an_epoch)));
    else if (an_epoch > 0)
        snprintf(note, sizeof note, "%.4g epochs", steps / an_epoch);
    add_tile(page, "steps", value, note);
    add_time_tiles(page);
    if (memory) {
        double plan = og__page_planned(page);
        *note = '\0';
        if (plan > 0)
            snprintf(note, sizeof note, "planned %s", og_format_bytes(all, (uint64_t)plan));
        add_tile(page, "memory, most", og_format_bytes(value, (uint64_t)memory->most), note);
    }
    og_text_add(page->out, "</div>\n");
}

/* ---- the page */

/* How it ended, as far as the log knows. */
static void add_state(const og__page *page)
{
    const og__record *r = page->record;
    const char *stopped = og__json_text(og__json_at(page->final, "stopped_by"));
    if (!r->has_final)
        og_text_add(page->out, "<span class=\"state warn\">not ended: still running, or killed");
    else if (*stopped)
        og_text_add(page->out, "<span class=\"state warn\">stopped by ");
    else
        og_text_add(page->out, "<span class=\"state good\">done");
    og__html_text(page->out, stopped);
    og_text_add(page->out, "</span>");
    for (int i = 0; i < r->n_resumed; i++)
        og_text_printf(page->out, " <span class=\"state\">resumed after step %" PRId64 "</span>",
                       r->resumed[i]);
    if (r->skipped)
        og_text_printf(page->out, " <span class=\"state warn\">%" PRId64 " step%s skipped</span>",
                       r->skipped, r->skipped == 1 ? "" : "s");
    if (r->bad)
        og_text_printf(page->out,
                       " <span class=\"state warn\">%" PRId64 " line%s of the log left out</span>",
                       r->bad, r->bad == 1 ? "" : "s");
    if (r->cut)
        og_text_add(page->out,
                    " <span class=\"state warn\">the last line of the log is cut short</span>");
}

/* The model's file without its folder; the log, where it does not say. */
static const char *name_of(const og__page *page)
{
    const char *model = og__json_text(og__json_at(page->run, "model")),
               *path = *model ? model : page->record->path, *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void add_heading(const og__page *page)
{
    og__json_value environment = og__json_at(page->run, "environment");
    const char *model = og__json_text(og__json_at(page->run, "model")),
               *output = og__json_text(og__json_at(page->run, "output")),
               *date = og__json_text(og__json_at(environment, "date")),
               *device = og__json_text(og__json_at(environment, "device"));
    og_text_add(page->out, "<header>\n<h1>");
    og__html_text(page->out, name_of(page));
    og_text_add(page->out, "</h1>\n<p>");
    if (strcmp(model, name_of(page)) != 0) {
        og__html_text(page->out, model);
        og_text_add(page->out, " ");
    }
    if (*output) {
        og_text_add(page->out, "trained to ");
        og__html_text(page->out, output);
    }
    if (*date) {
        og_text_add(page->out, " · ");
        og__html_text(page->out, date);
    }
    if (*device) {
        og_text_add(page->out, " · ");
        og__html_text(page->out, device);
    }
    og_text_add(page->out, "</p>\n<p>");
    add_state(page);
    og_text_add(page->out, "</p>\n");
    add_tiles(page);
    og_text_add(page->out,
                "<nav><a href=\"#curves\">Curves</a><a href=\"#memory\">Memory</a>"
                "<a href=\"#time\">Time</a><a href=\"#graph\">Graph</a>"
                "<a href=\"#settings\">Settings</a><a href=\"#environment\">Environment</a></nav>"
                "\n</header>\n");
}

static void add_page(const og__page *page)
{
    og_text_add(page->out,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>");
    og__html_text(page->out, name_of(page));
    og_text_printf(page->out, " – ongrad</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n",
                   og__page_style);
    add_heading(page);
    og__page_curves(page);
    og__page_memory(page);
    og__page_time(page);
    og__page_graph(page);
    og__page_settings(page);
    og_text_printf(page->out,
                   "</main>\n<div id=\"tip\" hidden></div>\n<script>\n%s</script>\n</body>\n"
                   "</html>\n",
                   og__page_script);
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, two;
    return stat(a, &one) == 0 && stat(b, &two) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

static int write_page(const og__arguments *a, const og__record *record)
{
    const char *path = og__argument_is_set(a, "output") ? og__argument(a, "output") : "report.html";
    og_text out = {0};
    og__page page = {record, og__record_run(record), og__record_final(record), &out};
    char size[32];
    if (same_file(path, record->path))
        return og__say_error(a->command->name, OG__EXIT_USAGE,
                             "--output %s is the log that is read; choose another name", path);
    add_page(&page);
    int status =
        out.failed ? og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for the page")
                   : og__write_file(a->command->name, &out, path);
    if (status == OG__EXIT_DONE && !og__argument_flag(a, "quiet"))
        og__say("wrote %s (%s), a page that needs no other file and no network", path,
                og_format_bytes(size, out.length));
    og_text_free(&out);
    return status;
}

int og__command_report(const og__arguments *a)
{
    og__record record;
    int status = og__record_read(&record, a->command->name, a->model);
    if (status == OG__EXIT_DONE)
        status = write_page(a, &record);
    og__record_free(&record);
    return status;
}
