#include "tools/ongrad/advice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/ongrad/alternatives.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

/* Shorter runs are over before anyone reads; what waits for less of the time is no bottleneck. */
static const double long_run = 10, much_waiting = 0.05, faster_enough = 0.97;

static void add(og_text *out, const char *what, const char *format, ...) OG_PRINTF(3, 4);
static void add(og_text *out, const char *what, const char *format, ...)
{
    va_list arguments;
    og_text_printf(out, "  %-27s ", what);
    va_start(arguments, format);
    og_text_vprintf(out, format, arguments);
    va_end(arguments);
    og_text_add(out, "\n");
}

static void add_precision(const og__run *run, og_text *out)
{
    const char *tf32 = og_options_get(run->options, "allow_tf32");
    og_dtype half = og__faster_half(run->context);
    if (og_session_half(run->session) != OG_UNDEFINED)
        return;
    if (half != OG_UNDEFINED)
        add(out, half == OG_FLOAT16 ? "--amp fp16" : "--amp bf16",
            "products in %s, which this device computes faster", og_dtype_name(half));
    if (!strncmp(og_context_device(run->context), "cuda", 4) && tf32 && !strcmp(tf32, "off"))
        add(out, "--allow_tf32", "products of float32 in TF32");
}

static void add_batch(const og__run *run, og_text *out)
{
    char flag[48], peak[32];
    og_memory_report m;
    og_session_memory(run->session, &m);
    if (!og__has_room(&m) || run->data.samples < 2 * run->batch_size || m.pieces > 1)
        return;
    og__alternative twice = og__alternative_of(run, (og__trial){.batch = 2 * run->batch_size});
    double now = m.seconds / (double)run->batch_size;
    if (!twice.fits || !(twice.seconds < faster_enough * now))
        return;
    snprintf(flag, sizeof flag, "--batch_size %" PRId64, twice.batch);
    add(out, flag, "predicted %.2f x the time of a sample, peak %s", twice.seconds / now,
        og_format_bytes(peak, twice.peak));
}

static void add_data(const og__trainer *t, double seconds, og_text *out)
{
    char flag[48];
    double disk, decode, wait = t->feed.wait;
    og__feed_waits(&t->feed, &disk, &decode);
    if (disk > 0.5 * wait)
        add(out, "faster storage", "a local SSD: reading files took %.0f %% of the time",
            100 * disk / seconds);
    snprintf(flag, sizeof flag, "--num_workers %d", t->feed.workers + 1);
    og_text_printf(out, "  %-27s waiting for data took %.0f %% of the time", flag,
                   100 * wait / seconds);
    if (disk + decode > 0)
        og_text_printf(out, " (disk %.0f %%, decoding %.0f %%)", 100 * disk / seconds,
                       100 * decode / seconds);
    og_text_add(out, "\n");
}

void og__advise(const og__trainer *t, double seconds)
{
    og_text text = {0};
    if (t->run.quiet)
        return;
    if (seconds > long_run) {
        add_precision(&t->run, &text);
        add_batch(&t->run, &text);
    }
    if (t->feed.wait > much_waiting * seconds && seconds > 1)
        add_data(t, seconds, &text);
    if (text.length && !text.failed)
        og__say("To train faster, in this order:\n%.*s", (int)text.length - 1, text.s);
    og_text_free(&text);
}
