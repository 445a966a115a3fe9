/* ongrad plan: what training would take, before it is tried. The memory is planned as training
 * would, and none of it is taken. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/ongrad/alternatives.h"
#include "tools/ongrad/host_calls.h"
#include "tools/ongrad/nodes.h"
#include "tools/ongrad/plan_memory.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

enum { ALTERNATIVES = 4, LARGEST_TIMES = 64 /* the batch */, LARGEST_TRIES = 8 };

/* A row of the table of batch sizes. */
typedef struct row {
    og__alternative is;
    const char *precision, *note;
} row;

typedef struct planning {
    og__run run;
    og_memory_report memory;
    og__memory_use use;
    og__host_calls host;
    int64_t accumulation;
    row rows[ALTERNATIVES];  /* as asked for, half of it, twice as much, the other precision */
    og__alternative largest; /* that fits, computing more again if need be; batch 0: not found */
    og__alternative roomy;   /* that fits with no more computed again than this one; likewise */
    const char *verdict;     /* "larger", "keep" */
} planning;

static bool computes_more(const og__alternative *a)
{
    return a->memory.least > 0;
}

static int64_t most_tried(const planning *p)
{
    return p->run.batch_size * LARGEST_TIMES;
}

/* The largest batch that fits, `a` or more. The peak grows with the batch nearly as a line does:
 * another point, b, says where it meets the budget, and sessions at and just below that place what
 * fits. roomy: without computing more again. */
static og__alternative find_largest(const planning *p, const og__alternative *a,
                                    const og__alternative *b, bool roomy)
{
    double slope = ((double)b->peak - (double)a->peak) / ((double)b->batch - (double)a->batch);
    if (!a->fits || !b->fits || b->batch < 1 || a->batch == b->batch || slope <= 0)
        return (og__alternative){0};
    double guess = (double)a->batch + ((double)p->memory.budget - (double)a->peak) / slope;
    int64_t most = most_tried(p), batch = guess < (double)most ? (int64_t)guess : most;
    for (int i = 0; i < LARGEST_TRIES && batch > a->batch; i++, batch -= batch / 50 + 1) {
        og__alternative try = og__alternative_of(&p->run, (og__trial){.batch = batch});
        if (try.fits && !(roomy && computes_more(&try)))
            return try;
    }
    return *a;
}

static og__alternative with_most_again(const planning *p, int64_t batch)
{
    return og__alternative_of(&p->run, (og__trial){.batch = batch, .recompute = "max"});
}

static void find_largests(planning *p)
{
    const og__alternative *now = &p->rows[0].is, *half = &p->rows[1].is, *twice = &p->rows[2].is;
    if (now->memory.pieces > 1)
        return;
    if (!computes_more(now))
        p->roomy = find_largest(p, now, twice->fits && !computes_more(twice) ? twice : half, true);
    if (p->run.losses.n) {
        int64_t batch = p->roomy.batch ? p->roomy.batch : now->batch;
        og__alternative a = with_most_again(p, batch), b = with_most_again(p, batch / 2);
        p->largest = find_largest(p, &a, &b, false);
    }
    if (p->largest.batch <= p->roomy.batch)
        p->largest = p->roomy;
}

static const char *precision_name(og_dtype half)
{
    return half == OG_FLOAT16 ? "fp16" : half == OG_BFLOAT16 ? "bf16" : "float32";
}

/* The session itself. */
static og__alternative planned(const planning *p)
{
    int64_t batch = p->run.batch_size;
    return (og__alternative){.batch = batch,
                             .known = true,
                             .fits = true,
                             .peak = p->memory.peak,
                             .seconds = p->memory.seconds / (double)batch,
                             .memory = p->memory};
}

static void try_batches(planning *p)
{
    int64_t batch = p->run.batch_size;
    const char *now = precision_name(og_session_half(p->run.session));
    const char *other = p->run.losses.n ? og__other_precision(&p->run) : NULL;
    const struct {
        int64_t batch;
        const char *amp, *precision, *note;
    } wanted[ALTERNATIVES] = {
        {batch, NULL, now,
         og__argument_is_set(p->run.arguments, "batch_size") ? "as asked for" : "recommended"},
        {batch / 2, NULL, now, "conservative"},
        {batch * 2, NULL, now, "aggressive"},
        {other ? batch : batch / 2, other ? other : "off", other ? other : "float32",
         other ? "with mixed precision" : "without mixed precision"},
    };
    p->rows[0] = (row){planned(p), now, wanted[0].note};
    for (int i = 1; i < ALTERNATIVES - !p->run.losses.n; i++)
        p->rows[i] = (row){og__alternative_of(&p->run, (og__trial){.batch = wanted[i].batch,
                                                                   .amp = wanted[i].amp}),
                           wanted[i].precision, wanted[i].note};
    find_largests(p);
    p->verdict = og__has_room(&p->memory) && p->rows[2].is.fits ? "larger" : "keep";
}

/* ---- output */

static const struct {
    const char *key, *label;
    size_t at;
    bool seldom; /* shown where there is any */
} categories[] = {
    {"parameters", "parameters", offsetof(og_memory_report, parameters)},
    {"gradients", "gradients", offsetof(og_memory_report, gradients)},
    {"optimizer", "optimizer", offsetof(og_memory_report, optimizer)},
    {"derived", "derived from weights", offsetof(og_memory_report, derived), true},
    {"other_state", "other state", offsetof(og_memory_report, other_state)},
    {"constants", "constants", offsetof(og_memory_report, constants), true},
    {"inputs", "input slots", offsetof(og_memory_report, inputs), true},
    {"activations", "activations", offsetof(og_memory_report, activations)},
};
enum { CATEGORIES = sizeof categories / sizeof *categories };

static uint64_t bytes_of(const planning *p, int category)
{
    uint64_t bytes;
    memcpy(&bytes, (const char *)&p->memory + categories[category].at, sizeof bytes);
    return bytes;
}

/* Predicted for a sample, as a multiple of the first row's. */
static double relative_time(const planning *p, const row *r)
{
    return p->rows[0].is.seconds > 0 ? r->is.seconds / p->rows[0].is.seconds : 1;
}

static int print_json(const planning *p)
{
    const og_memory_report *m = &p->memory;
    og_text out = {0};
    og_json j = {&out};
    og_json_open(&j, NULL, '{');
    og_json_string(&j, "model", p->run.model_name);
    og_json_bool(&j, "training", p->run.losses.n > 0);
    og_json_int(&j, "batch_size", p->run.batch_size);
    og_json_int(&j, "gradient_accumulation_steps", p->accumulation);
    og_json_int(&j, "effective_batch", p->run.batch_size * p->accumulation);
    og_json_open(&j, "bytes", '{');
    for (int i = 0; i < CATEGORIES; i++)
        og_json_int(&j, categories[i].key, (int64_t)bytes_of(p, i));
    og_json_close(&j, '}');
    og_json_int(&j, "peak_bytes", (int64_t)m->peak);
    og_json_int(&j, "program_bytes", (int64_t)m->program);
    og_json_int(&j, "activations_lower_bound_bytes", (int64_t)m->lower_bound);
    og_json_int(&j, "budget_bytes", (int64_t)m->budget);
    og_json_int(&j, "total_bytes", (int64_t)m->total);
    og_json_int(&j, "available_bytes", (int64_t)m->available);
    og_json_int(&j, "micro_batches", m->pieces);
    og_json_int(&j, "micro_batch_size", m->micro_batch);
    og_json_double(&j, "more_time", m->more_time);
    if (m->least)
        og_json_int(&j, "least_peak_bytes", (int64_t)m->least);
    og_json_bool(&j, "fits", m->peak <= m->budget);
    og_json_string(&j, "verdict", p->verdict);
    if (p->largest.batch)
        og_json_int(&j, "largest_batch_size", p->largest.batch);
    if (p->roomy.batch)
        og_json_int(&j, "largest_batch_size_without_more_time", p->roomy.batch);
    og_json_int(&j, "micro_steps", m->micro_steps);
    og_json_int(&j, "update_steps", m->update_steps);
    og_json_double(&j, "flops", m->flops);
    og_json_open(&j, "batches", '[');
    for (int i = 0; i < ALTERNATIVES; i++) {
        const row *r = &p->rows[i];
        if (!r->is.known)
            continue;
        og_json_open(&j, NULL, '{');
        og_json_int(&j, "batch_size", r->is.batch);
        og_json_string(&j, "precision", r->precision);
        og_json_bool(&j, "fits", r->is.fits);
        og_json_int(&j, "peak_bytes", (int64_t)r->is.peak);
        og_json_double(&j, "relative_time", relative_time(p, r));
        og_json_string(&j, "note", r->note);
        og_json_close(&j, '}');
    }
    og_json_close(&j, ']');
    og__memory_use_json(&p->use, &j);
    og__host_calls_json(&p->host, &p->run, &j);
    og_json_close(&j, '}');
    og_text_add(&out, "\n");
    return og__write_stdout(p->run.command, &out);
}

static void add_memory(const planning *p, og_text *out)
{
    static const char *const headings[] = {"memory", ">size", ">bytes"};
    const og_memory_report *m = &p->memory;
    bool here = !og__argument_is_set(p->run.arguments, "device_memory");
    og__table table;
    char size[32], count[32];
    og__table_start(&table, 3, headings);
    for (int i = 0; i < CATEGORIES; i++) {
        uint64_t bytes = bytes_of(p, i);
        if (!bytes && categories[i].seldom)
            continue;
        og__table_cell(&table, "%s", categories[i].label);
        og__table_cell(&table, "%s", og_format_bytes(size, bytes));
        og__table_cell(&table, "%s", og__grouped_text(count, (int64_t)bytes));
    }
    const struct {
        const char *label;
        uint64_t bytes;
    } totals[] = {{"predicted peak", m->peak},
                  {"process beside it", here ? m->program : 0},
                  {"pinned, ops on the host", m->staging},
                  {"budget", m->budget},
                  {"available", m->available},
                  {"total", m->total}};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        if (!totals[i].bytes)
            continue;
        og__table_cell(&table, "%s", totals[i].label);
        og__table_cell(&table, "%s", og_format_bytes(size, totals[i].bytes));
        og__table_cell(&table, "%s", og__grouped_text(count, (int64_t)totals[i].bytes));
    }
    og__table_finish(&table, out, 0);
}

static void add_batches(const planning *p, og_text *out)
{
    static const char *const headings[] = {">batch_size", "precision", ">peak", ">time", "note"};
    og__table table;
    char size[32];
    og__table_start(&table, 5, headings);
    for (int i = 0; i < ALTERNATIVES; i++) {
        const row *r = &p->rows[i];
        if (!r->is.known)
            continue;
        og__table_cell(&table, "%" PRId64, r->is.batch);
        og__table_cell(&table, "%s", r->precision);
        og__table_cell(&table, "%s", og_format_bytes(size, r->is.peak));
        og__table_cell(&table, "%.2f", relative_time(p, r));
        og__table_cell(&table, "%s%s", r->note,
                       !r->is.fits && p->memory.pieces > 1 ? ": above the budget unless split"
                       : !r->is.fits                       ? ": above the budget"
                       : r->is.memory.pieces > 1           ? ": split"
                       : r->is.memory.least > 0            ? ": by computing more again"
                                                           : "");
    }
    og_text_add(out, "\n");
    og__table_finish(&table, out, 0);
    if (p->run.losses.n)
        og_text_add(out, "time: of a sample, predicted; 1.00 is the first row's\n");
}

static void add_largest(const planning *p, const og__alternative *largest, const char *how,
                        og_text *out)
{
    char size[32];
    if (!largest->batch)
        return;
    og_text_printf(out, "%s that fits%s: --batch_size %" PRId64 ", predicted to take %s",
                   largest->batch == most_tried(p) ? "The largest batch tried, and one"
                                                   : "The largest batch",
                   how, largest->batch, og_format_bytes(size, largest->peak));
    if (largest->seconds > 1.005 * p->rows[0].is.seconds)
        og_text_printf(out, " and %.2f x the time of a sample",
                       largest->seconds / p->rows[0].is.seconds);
    og_text_add(out, ".\n");
}

static int print_table(const planning *p)
{
    const og_memory_report *m = &p->memory;
    og_text out = {0};
    char size[32], count[32];
    og_text_printf(&out,
                   "%s of %s: batch_size=%" PRId64 ", accumulation=%" PRId64
                   ", effective batch=%" PRId64 ", %s\n",
                   p->run.losses.n ? "training" : "prediction", p->run.model_name,
                   p->run.batch_size, p->accumulation, p->run.batch_size * p->accumulation,
                   precision_name(og_session_half(p->run.session)));
    og__add_split(m, &out);
    og_text_add(&out, "\n");
    add_memory(p, &out);
    og__memory_use_text(&p->use, &out);
    og__host_calls_text(&p->host, &out);
    add_batches(p, &out);
    og_text_printf(&out, "\n%d kernel calls a micro-batch, %d an update", m->micro_steps,
                   m->update_steps);
    if (m->flops > 0)
        og_text_printf(&out, "; %s%sFLOPs a micro-batch", og__count_text(count, m->flops),
                       m->flops < 999.5 ? " " : "");
    og_text_add(&out, "\n");
    if (m->more_time > 0.001)
        og_text_printf(&out,
                       "What is computed again instead of kept is predicted to add %.1f %% to a "
                       "micro-batch's time.\n",
                       100 * m->more_time);
    if (!strcmp(p->verdict, "larger"))
        og_text_printf(&out, "Fits, with room: --batch_size %" PRId64 " is predicted to take %s.\n",
                       p->rows[2].is.batch, og_format_bytes(size, p->rows[2].is.peak));
    else
        og_text_printf(&out, "Fits%s: keep --batch_size %" PRId64 ".\n",
                       m->pieces > 1 ? " when split" : ", near the limit", p->run.batch_size);
    bool more = p->largest.batch > p->roomy.batch;
    add_largest(p, &p->roomy, more ? " as it is" : "", &out);
    if (more)
        add_largest(p, &p->largest, " by computing more again", &out);
    return og__write_stdout(p->run.command, &out);
}

/* ---- graphs */

static int save_graphs(const planning *p, const char *folder)
{
    static const char *const training[] = {"micro", "update", NULL}, *const prediction[] = {
                                                                         "forward", NULL};
    const char *const *names = p->run.losses.n ? training : prediction;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return og__say_error(p->run.command, OG__EXIT_FAILED, "cannot make the folder %s: %s",
                             folder, strerror(errno));
    for (; *names; names++) {
        og_text path = {0};
        og_text_printf(&path, "%s/%s.onnx", folder, *names);
        int status = path.failed ? og__say_error(p->run.command, OG__EXIT_FAILED, "out of memory")
                                 : og__run_check_writable(&p->run, "--save_graph", path.s);
        if (status == OG__EXIT_DONE &&
            og_session_save_graph(p->run.session, *names, path.s) != OG_OK)
            status = og__run_failed(&p->run);
        if (status == OG__EXIT_DONE && !p->run.quiet)
            og__say("wrote %s", path.s);
        og_text_free(&path);
        OG__TRY(status);
    }
    return OG__EXIT_DONE;
}

static int plan(planning *p)
{
    og__run *run = &p->run;
    const og__arguments *a = run->arguments;
    const char *folder = og__argument(a, "save_graph"), *svg = og__argument(a, "svg");
    if (!og__argument_is_set(a, "loss"))
        return og__say_error(run->command, OG__EXIT_USAGE,
                             "no loss given: add --loss NAME, or --loss none to plan prediction");
    if (og__argument_is_set(a, "data") || og__argument_is_set(a, "target"))
        OG__TRY(og__run_bind_data(run, run->losses.n > 0, NULL));
    else
        OG__TRY(og__run_bind_shapes(run, run->default_batch, 0));
    if (!og_options_get(run->options, "device_memory") &&
        og_options_set(run->options, "device_memory", "auto") != OG_OK)
        return og__run_failed(run);
    OG__TRY(og__run_start(run));
    og_session_memory(run->session, &p->memory);
    const char *accumulation = og_options_get(run->options, "gradient_accumulation_steps");
    p->accumulation = accumulation && run->losses.n ? strtoll(accumulation, NULL, 10) : 1;
    OG__TRY(og__memory_use_read(&p->use, run));
    OG__TRY(og__host_calls_read(&p->host, run));
    try_batches(p);
    bool json = og__argument_flag(a, "json");
    OG__TRY(json ? print_json(p) : print_table(p));
    if (svg)
        OG__TRY(og__memory_use_svg(&p->use, run, svg));
    if (folder)
        OG__TRY(save_graphs(p, folder));
    if (run->losses.n == 0 || json)
        return OG__EXIT_DONE;
    og__next next = {0};
    og__next_model(&next, "train", run);
    if (!og__next_option(&next, a, "data", "data")) {
        og__next_add(&next, "--data");
        og__next_add(&next, "PATH");
    }
    if (!og__next_option(&next, a, "target", "target") && run->n_targets) {
        og__next_add(&next, "--target");
        og__next_add(&next, "PATH");
    }
    og__next_loss(&next, a);
    og__next_option(&next, a, "optimizer", "optimizer");
    og__next_option(&next, a, "batch_size", "batch_size");
    og__next_option(&next, a, "gradient_accumulation_steps", "gradient_accumulation_steps");
    og__next_say(&next, run->quiet);
    return OG__EXIT_DONE;
}

int og__command_plan(const og__arguments *a)
{
    planning p = {0};
    int status = og__run_open(&p.run, a);
    if (status == OG__EXIT_DONE)
        status = plan(&p);
    og__run_close(&p.run);
    return status;
}
