#include "tools/ongrad/profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/ongrad/nodes.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

/* By og_profile_by. */
static const char *const ways[] = {"op", "node", "call"};
enum { WAYS = sizeof ways / sizeof *ways };

static int way_of(const og__run *run)
{
    const char *by = og__argument(run->arguments, "profile_by");
    int way = 0;
    while (way < WAYS && strcmp(by, ways[way]) != 0)
        way++;
    return way;
}

int og__profile_check(const og__run *run)
{
    if (way_of(run) < WAYS)
        return OG__EXIT_DONE;
    const char *by = og__argument(run->arguments, "profile_by");
    char nearest[OG_NEAREST];
    return og__say_error(run->command, OG__EXIT_USAGE,
                         "--profile_by is \"%s\", expected op, node or call%s", by,
                         og_did_you_mean(nearest, by, "op, node or call"));
}

/* ---- the table */

/* "12.3", three digits or more: milliseconds, GFLOP/s. */
static void number_cell(og__table *table, double value)
{
    og__table_cell(table, "%.*f", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value);
}

static void rate_cell(og__table *table, double amount, double seconds)
{
    if (amount > 0 && seconds > 0)
        number_cell(table, 1e-9 * amount / seconds);
    else
        og__table_cell(table, "-");
}

static void add_row(og__table *table, const og_profile_row *row, const og_profile_summary *s,
                    bool with_node)
{
    double steps = (double)s->steps;
    number_cell(table, 1e3 * row->seconds / steps);
    number_cell(table, 1e3 * row->least_seconds / steps);
    og__table_cell(table, "%.1f %%", 100 * row->seconds / s->seconds);
    og__table_cell(table, "%.*f", row->calls % s->steps ? 1 : 0, (double)row->calls / steps);
    rate_cell(table, row->flops, row->seconds);
    rate_cell(table, row->bytes, row->seconds);
    og__table_cell(table, "%s", row->op);
    og__table_cell(table, "%s", row->kernel);
    og__table_cell(table, "%s", row->role);
    if (with_node)
        og__table_cell(table, "%s%s%s", row->node, *row->node && *row->shapes ? " " : "",
                       row->shapes);
}

/* What the session did besides: setting inputs, reading results. */
static void add_rest(og__table *table, const og_profile_summary *s, bool with_node)
{
    double rest = s->seconds - s->kernel_seconds;
    number_cell(table, 1e3 * rest / (double)s->steps);
    og__table_cell(table, "-");
    og__table_cell(table, "%.1f %%", 100 * rest / s->seconds);
    for (int i = 0; i < 3; i++)
        og__table_cell(table, "-");
    og__table_cell(table, "(between calls)");
    for (int i = with_node ? 0 : 1; i < 3; i++)
        og__table_cell(table, "%s", "");
}

static void add_heading(og_text *out, const og_profile_summary *s)
{
    char flops[32], bytes[32];
    double steps = (double)s->steps;
    og_text_printf(out, "Profile of %" PRId64 " step%s", s->steps, s->steps == 1 ? "" : "s");
    if (s->warmup_steps)
        og_text_printf(out, ", after %" PRId64 " to warm up", s->warmup_steps);
    og_text_printf(
        out, ": %.3f ms a step (%.3f ms with each call at its fastest), %sFLOPs, %sB moved\n",
        1e3 * s->seconds / steps, 1e3 * s->least_seconds / steps,
        og__count_text(flops, s->flops / steps), og__count_text(bytes, s->bytes / steps));
}

static int say_table(const og__run *run)
{
    static const char *const headings[] = {">ms",   ">fastest", ">share", ">calls", ">GFLOP/s",
                                           ">GB/s", "op",       "kernel", "role",   "node"};
    int way = way_of(run);
    bool with_node = way != OG_PROFILE_BY_OP;
    og_profile_summary s;
    int n = og_session_profile(run->session, (og_profile_by)way, &s);
    if (n < 0)
        return og__run_failed(run);
    if (s.steps == 0)
        return OG__EXIT_DONE;
    og_text out = {0};
    og__table table;
    add_heading(&out, &s);
    og__table_start(&table, with_node ? 10 : 9, headings);
    for (int i = 0; i < n; i++) {
        og_profile_row row;
        if (og_session_profile_row(run->session, i, &row) == OG_OK)
            add_row(&table, &row, &s, with_node);
    }
    add_rest(&table, &s, with_node);
    og__table_finish(&table, &out, 2);
    if (!out.failed)
        og__say("%.*s", (int)out.length - 1, out.s);
    og_text_free(&out);
    return OG__EXIT_DONE;
}

/* ---- the trace */

static bool write_file(void *user, const void *bytes, size_t size)
{
    return fwrite(bytes, 1, size, user) == size;
}

static int write_trace(const og__run *run, const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return og__say_error(run->command, OG__EXIT_FAILED, "--profile: cannot write %s: %s", path,
                             strerror(errno));
    og_status status = og_session_profile_trace(run->session, write_file, file);
    bool written = !ferror(file), closed = fclose(file) == 0;
    if (!written || !closed)
        return og__say_error(run->command, OG__EXIT_FAILED, "--profile: cannot write %s: %s", path,
                             strerror(errno));
    if (status != OG_OK)
        return og__run_failed(run);
    if (!run->quiet)
        og__say("wrote %s, for chrome://tracing or ui.perfetto.dev", path);
    return OG__EXIT_DONE;
}

int og__profile_say(const og__run *run)
{
    const char *path = og__argument_file(run->arguments, "profile");
    if (!og__argument_flag(run->arguments, "profile"))
        return OG__EXIT_DONE;
    if (!run->quiet)
        OG__TRY(say_table(run));
    return path ? write_trace(run, path) : OG__EXIT_DONE;
}
