/* Where the time went: waiting for data; by op, where --profile measured it. */
#include <math.h>
#include <stdio.h>

#include "tools/ongrad/page.h"

static void add_share(const og__page *page, const char *label, double seconds, double of)
{
    og_text_printf(page->out, "<tr><th>%s</th><td class=\"number\">%.2f s</td><td class=\"share\">",
                   label, seconds);
    og__page_bar(page, seconds / of);
    og_text_printf(page->out, "</td><td class=\"number\">%.1f %%</td></tr>\n", 100 * seconds / of);
}

static void add_whole(const og__page *page)
{
    double seconds = og__page_number(page->final, "seconds"),
           wait = og__page_number(page->final, "wait_seconds"),
           disk = og__page_number(page->final, "wait_disk_seconds"),
           decode = og__page_number(page->final, "wait_decode_seconds");
    if (!(seconds > 0))
        return;
    og_text_add(page->out,
                "<figure class=\"wide\"><figcaption><b>Of the whole run</b></figcaption>\n"
                "<table class=\"bars\">\n");
    add_share(page, "training, validation, saving", fmax(seconds - wait, 0), seconds);
    add_share(page, "waiting for data", wait, seconds);
    if (disk > 0)
        add_share(page, "… of it reading files", disk, seconds);
    if (decode > 0)
        add_share(page, "… of it decoding", decode, seconds);
    og_text_add(page->out, "</table></figure>\n");
}

static void add_cell(const og__page *page, og__json_value row, const char *key)
{
    og_text_add(page->out, "<td>");
    og__html_text(page->out, og__json_text(og__json_at(row, key)));
    og_text_add(page->out, "</td>");
}

static void add_rate(const og__page *page, double amount, double seconds)
{
    if (amount > 0 && seconds > 0)
        og_text_printf(page->out, "<td class=\"number\">%.3g</td>", 1e-9 * amount / seconds);
    else
        og_text_add(page->out, "<td></td>");
}

static void add_ops(const og__page *page, og__json_value profile)
{
    enum { MOST = 40 };
    og__json_value rows = og__json_at(profile, "rows");
    double steps = fmax(og__page_number(profile, "steps"), 1),
           seconds = og__page_number(profile, "seconds");
    int n = og__json_count(rows), shown = n < MOST ? n : MOST;
    og_text_printf(
        page->out,
        "<figure class=\"wide\"><figcaption><b>A training step by op</b> <small>%.3f ms "
        "a step, mean of %.0f</small></figcaption>\n<div class=\"scroll\">"
        "<table class=\"bars\">\n<tr><th>op</th><th>role</th><th>kernel</th>"
        "<th class=\"number\">ms</th><th>share</th><th></th><th class=\"number\">calls</th>"
        "<th class=\"number\">GFLOP/s</th><th class=\"number\">GB/s</th>"
        "</tr>\n",
        1e3 * seconds / steps, steps);
    for (int i = 0; i < shown; i++) {
        og__json_value row = og__json_item(rows, i);
        double spent = og__page_number(row, "seconds");
        og_text_add(page->out, "<tr>");
        add_cell(page, row, "op");
        og_text_printf(page->out, "<td class=\"number\">%.3f</td><td class=\"share\">",
                       1e3 * spent / steps);
        og__page_bar(page, seconds > 0 ? spent / seconds : 0);
        og_text_printf(
            page->out, "</td><td class=\"number\">%.1f %%</td><td class=\"number\">%.4g</td>",
            seconds > 0 ? 100 * spent / seconds : 0, og__page_number(row, "calls") / steps);
        add_rate(page, og__page_number(row, "flops"), spent);
        add_rate(page, og__page_number(row, "bytes"), spent);
        og_text_add(page->out, "</tr>\n");
    }
    og_text_add(page->out, "</table></div>\n");
    if (n > shown)
        og_text_printf(page->out, "<p class=\"note\">and %d more</p>\n", n - shown);
    og_text_add(page->out, "</figure>\n");
}

void og__page_time(const og__page *page)
{
    og__json_value profile = og__json_at(page->final, "profile");
    og__page_begin(page, "time", "Time");
    og_text_add(page->out, "<div class=\"charts\">\n");
    add_whole(page);
    if (og__json_count(og__json_at(profile, "rows")))
        add_ops(page, profile);
    else
        og_text_add(page->out, "<p class=\"note\">The time of each op was not measured: "
                               "<code>ongrad train … --profile --log FILE</code> measures it, and "
                               "the log of a run that ended has it.</p>\n");
    og_text_add(page->out, "</div>\n");
    og__page_end(page);
}
