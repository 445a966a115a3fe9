/* How the run was made: the command line, options, the report of its start, the machine. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/ongrad/page.h"

static void add_value(const og__page *page, og__json_value value)
{
    int n = og__json_count(value);
    if (!n)
        og__html_text(page->out, og__json_text(value));
    for (int i = 0; i < n; i++) {
        og_text_add(page->out, i ? "<br>" : "");
        og__html_text(page->out, og__json_text(og__json_item(value, i)));
    }
}

static void add_options(const og__page *page, const char *key)
{
    og__json_value options = og__json_at(page->run, key);
    og_text_add(page->out, "<table>\n");
    for (int i = 0; i < og__json_count(options); i++) {
        og__json_value value;
        og_text_add(page->out, "<tr><th>");
        og__html_text(page->out, og__json_pair(options, i, &value));
        og_text_add(page->out, "</th><td>");
        add_value(page, value);
        og_text_add(page->out, "</td></tr>\n");
    }
    og_text_add(page->out, "</table>\n");
}

/* "  LABEL      text" of the start: label and text, the label of the line before where it is blank.
 */
static void add_report(const og__page *page)
{
    og__json_value lines = og__json_at(page->run, "report");
    og_text_add(page->out,
                "<figure class=\"wide\"><figcaption><b>As the run began</b></figcaption>\n"
                "<table>\n");
    for (int i = 0; i < og__json_count(lines); i++) {
        const char *line = og__json_text(og__json_item(lines, i));
        char label[16] = "";
        size_t n = strlen(line);
        if (n > 14 && !strncmp(line, "  ", 2)) {
            snprintf(label, sizeof label, "%.11s", line + 2);
            line += 14;
        }
        og__page_row(page, label, line);
    }
    og_text_add(page->out, "</table></figure>\n");
}

static void add_environment(const og__page *page)
{
    static const struct {
        const char *key, *label;
    } rows[] = {{"date", "began (UTC)"},  {"ongrad", "ongrad"},  {"commit", "commit"},
                {"compiler", "compiler"}, {"device", "device"},  {"device_name", "device's name"},
                {"cpu", "processor"},     {"cores", "cores"},    {"threads", "compute threads"},
                {"system", "system"},     {"release", "kernel"}, {"machine", "architecture"}};
    og__json_value environment = og__json_at(page->run, "environment");
    char size[32];
    double memory = og__page_number(environment, "device_memory_bytes");
    og__page_begin(page, "environment", "Environment");
    og_text_add(page->out, "<div class=\"charts\"><figure class=\"wide\"><table>\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *text = og__json_text(og__json_at(environment, rows[i].key));
        if (*text)
            og__page_row(page, rows[i].label, text);
    }
    if (memory > 0)
        og__page_row(page, "memory of the device", og_format_bytes(size, (uint64_t)memory));
    og__page_row(page, "log", page->record->path);
    og_text_add(page->out, "</table></figure></div>\n");
    og__page_end(page);
}

void og__page_settings(const og__page *page)
{
    og__page_begin(page, "settings", "Settings");
    if (!page->run.node) {
        og_text_add(page->out, "<p class=\"note\">The log does not say how the run was made: its "
                               "first line is lost, or an older ongrad wrote it.</p>\n");
    } else {
        og_text_add(page->out, "<pre>");
        og__html_text(page->out, og__json_text(og__json_at(page->run, "command")));
        og_text_add(page->out, "</pre>\n<div class=\"charts\">\n"
                               "<figure class=\"wide\"><figcaption><b>Given</b></figcaption>\n");
        add_options(page, "settings");
        og_text_add(page->out, "<details><summary>all others, at their defaults</summary>\n");
        add_options(page, "defaults");
        og_text_add(page->out, "</details></figure>\n");
        add_report(page);
        og_text_add(page->out, "</div>\n");
    }
    og__page_end(page);
    add_environment(page);
}
