/* The report of a model's problems: every one a line, unknown ops together at the end. */
#include <stdio.h>

#include "runtime/onnx/loader.h"

enum { MAX_LINES = 40 };

void og__report_add(og__report *report, og_status status, const char *format, ...)
{
    if (report->problems++ >= MAX_LINES)
        return;
    og_error line = {0};
    va_list arguments;
    va_start(arguments, format);
    og_failv(&line, status, format, arguments);
    va_end(arguments);
    og_fail_also(report->error, status, "%s", og_error_text(&line));
    og_error_clear(&line);
}

void og__report_move(og__report *report, og_error *from)
{
    if (from->status != OG_OK)
        og__report_add(report, from->status, "%s", og_error_text(from));
    og_error_clear(from);
}

void og__report_unknown_op(og__report *report, const char *domain, const char *op, const char *node)
{
    int index;
    const char *key = og_arena_printf(report->arena, "%s:%s", domain, op);
    if (!key)
        return;
    if (og__names_get(&report->unknown_index, key, &index)) {
        report->unknown[index].count++;
        return;
    }
    og__unknown_op *list = og_arena_grow(report->arena, report->unknown, (size_t)report->n_unknown,
                                         &report->capacity, sizeof(*list));
    if (!list || !og__names_set(&report->unknown_index, key, report->n_unknown))
        return;
    report->unknown = list;
    list[report->n_unknown++] = (og__unknown_op){domain, op, node, 1};
}

static void add_unknown(og__report *report, const og__unknown_op *u)
{
    const char *nearest = *u->domain ? NULL : og_op_nearest(u->op);
    char times[32] = "";
    if (!*u->op) {
        og__report_add(report, OG_INVALID_MODEL, "node \"%s\" names no operator", u->node);
        return;
    }
    if (u->count > 1)
        snprintf(times, sizeof(times), "%d times, ", u->count);
    og__report_add(report, OG_UNSUPPORTED,
                   "operator %s%s%s is not supported (%sfirst in node \"%s\")%s%s%s", u->domain,
                   *u->domain ? "::" : "", u->op, times, u->node, nearest ? "; did you mean " : "",
                   nearest ? nearest : "", nearest ? "?" : "");
}

og_status og__report_finish(og__report *report)
{
    for (int i = 0; i < report->n_unknown; i++)
        if (report->problems < MAX_LINES)
            add_unknown(report, &report->unknown[i]);
        else
            report->problems++;
    if (report->problems > MAX_LINES)
        og_fail_also(report->error, OG_INVALID_MODEL, "… and %d more problems",
                     report->problems - MAX_LINES);
    return report->error->status;
}
