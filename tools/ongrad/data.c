/* ongrad data: what training would read. Shapes, the range of values, counts of labels, pairs; a
 * contact sheet of the first samples as the model sees them, random changes included. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/json.h"
#include "runtime/data/sheet.h"
#include "tools/ongrad/preprocess.h"
#include "tools/ongrad/progress.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

enum { SHEET_SAMPLES = 8, MOST_CLASSES = 100 };

typedef struct range {
    double low, high, sum, squares;
    int64_t n;
} range;

typedef struct looking {
    og__run run;
    og__feed feed;
    range *ranges; /* one an input, then one a target */
    int64_t looked;
    double seconds; /* that loading them took; 0: their values were looked at, too */
} looking;

/* ---- values */

static double value_at(const void *data, og_dtype dtype, int64_t i)
{
    switch (dtype) {
    case OG_FLOAT:
        return (double)((const float *)data)[i];
    case OG_DOUBLE:
        return ((const double *)data)[i];
    case OG_INT64:
        return (double)((const int64_t *)data)[i];
    case OG_INT32:
        return ((const int32_t *)data)[i];
    case OG_UINT8:
    case OG_BOOL:
        return ((const uint8_t *)data)[i];
    default:
        return NAN;
    }
}

static void add_values(range *r, const og_tensor_info *info, const void *data, int64_t samples)
{
    int64_t n = og__shape_elements(info) / info->dims[0] * samples;
    for (int64_t i = 0; i < n; i++) {
        double x = value_at(data, info->dtype, i);
        r->low = r->n == 0 || x < r->low ? x : r->low;
        r->high = r->n == 0 || x > r->high ? x : r->high;
        r->sum += x;
        r->squares += x * x;
        r->n++;
    }
}

/* Batches, and nothing done with them: epoch after epoch until there were enough. The first batch,
 * for which threads start, is not counted. */
static int time_loading(looking *l)
{
    int64_t most = og__argument_int(l->run.arguments, "samples"), counted = 0;
    OG__TRY(og__feed_next(&l->feed, 0, 0));
    l->looked = l->feed.samples;
    double start = og__seconds();
    for (int64_t k = 1; counted < most; k++) {
        OG__TRY(og__feed_next(&l->feed, k / l->feed.batches, k % l->feed.batches));
        counted += l->feed.samples;
    }
    l->seconds = (og__seconds() - start) / (double)counted;
    return OG__EXIT_DONE;
}

static int look(looking *l)
{
    int64_t most = og__argument_int(l->run.arguments, "samples");
    for (int64_t i = 0; i < l->feed.batches && l->looked < most; i++) {
        OG__TRY(og__feed_next(&l->feed, 0, i));
        if (l->feed.samples == 0)
            continue;
        for (int k = 0; k < l->run.n_inputs; k++)
            if (l->feed.field_of_input[k] >= 0)
                add_values(&l->ranges[k], &l->run.inputs[k], l->feed.inputs[k], l->feed.samples);
        for (int t = 0; t < l->run.n_targets; t++)
            add_values(&l->ranges[l->run.n_inputs + t], &l->run.targets[t], l->feed.targets[t],
                       l->feed.samples);
        l->looked += l->feed.samples;
    }
    return OG__EXIT_DONE;
}

/* ---- what is printed */

static void add_range(og_text *out, const range *r)
{
    if (r->n == 0)
        return;
    double mean = r->sum / (double)r->n, variance = r->squares / (double)r->n - mean * mean;
    og_text_printf(out, ", values %.4g to %.4g, mean %.4g, std %.4g", r->low, r->high, mean,
                   sqrt(variance > 0 ? variance : 0));
}

static void add_line(og_text *out, const looking *l, bool target, int i)
{
    const og__binding *b = target ? &l->run.data.targets[i] : &l->run.data.inputs[i];
    const og_tensor_info *info = target ? &l->run.targets[i] : &l->run.inputs[i];
    int64_t dims[OG_MAX_RANK] = {0};
    og_text_printf(out, "%s %s: ", target ? "target" : "input", b->name);
    og__shape_text(out, info);
    og_text_printf(out, " %s", og_dtype_name(info->dtype));
    if (b->source) {
        og_source_dims(b->source, dims);
        og_text_printf(out, " from %s (%s, %" PRId64 " samples)", b->path,
                       og_source_kind(b->source), dims[0]);
    }
    add_range(out, &l->ranges[target ? l->run.n_inputs + i : i]);
    if (b->source && *og_source_note(b->source))
        og_text_printf(out, "; %s", og_source_note(b->source));
    og_text_add(out, "\n");
}

/* How often each label occurs among the pairs; nothing where the target holds no labels. */
static int64_t *count_labels(const looking *l, int t, int64_t *n)
{
    const og__binding *b = &l->run.data.targets[t];
    const og_array *array = og_source_array(b->source);
    const int64_t *labels = array ? og_array_data(array) : NULL;
    int64_t most = -1, *counts;
    if (!labels || og_array_dtype(array) != OG_INT64 || og_array_rank(array) != 1)
        return NULL;
    for (int64_t i = 0; i < l->run.data.samples; i++) {
        int64_t label = labels[b->rows ? b->rows[i] : i];
        if (label < 0 || label > 1 << 20)
            return NULL;
        most = label > most ? label : most;
    }
    int classes;
    (void)og_source_classes(b->source, &classes);
    *n = classes > most + 1 ? classes : most + 1;
    counts = calloc((size_t)*n + 1, sizeof *counts);
    for (int64_t i = 0; counts && i < l->run.data.samples; i++)
        counts[labels[b->rows ? b->rows[i] : i]]++;
    return counts;
}

static void add_label_counts(og_text *out, const looking *l, int t)
{
    int64_t n = 0, *counts = count_labels(l, t, &n);
    int classes;
    const char *const *names = og_source_classes(l->run.data.targets[t].source, &classes);
    for (int64_t i = 0; counts && i < n && i < MOST_CLASSES; i++) {
        if (i < classes)
            og_text_printf(out, "    %s: %" PRId64 "\n", names[i], counts[i]);
        else
            og_text_printf(out, "    label %" PRId64 ": %" PRId64 "\n", i, counts[i]);
    }
    if (counts && n > MOST_CLASSES)
        og_text_printf(out, "    and %" PRId64 " more classes\n", n - MOST_CLASSES);
    free(counts);
}

static void add_pairs(og_text *out, const looking *l)
{
    const og_pairing *p = &l->run.data.pairing;
    og_text_printf(out, "samples: %" PRId64 "%s\n", l->run.data.samples,
                   p->names ? ", paired by name" : "");
    if (p->left_out)
        og_text_printf(out, "left out for want of a part: %" PRId64 "%s\n", p->left_out,
                       p->list ? p->list : "");
}

static void add_unreadable(og_text *out, const looking *l)
{
    char *list = NULL;
    int64_t n = og_dataset_unreadable(l->feed.set, &list);
    if (n)
        og_text_printf(out, "cannot be read: %" PRId64 "\n%s\n", n, list ? list : "");
    free(list);
}

static int print(const looking *l)
{
    og_text out = {0};
    add_pairs(&out, l);
    for (int i = 0; i < l->run.n_inputs; i++)
        add_line(&out, l, false, i);
    for (int t = 0; t < l->run.n_targets; t++) {
        add_line(&out, l, true, t);
        add_label_counts(&out, l, t);
    }
    add_unreadable(&out, l);
    if (l->seconds > 0) {
        double disk, decode;
        og_dataset_times(l->feed.set, &disk, &decode);
        og_text_printf(&out, "%.1f samples a second with %d loader threads (disk %.0f %%)\n",
                       1 / l->seconds, l->feed.workers,
                       disk + decode > 0 ? 100 * disk / (disk + decode) : 0);
    } else if (l->looked < l->run.data.samples)
        og_text_printf(&out, "values are of %" PRId64 " samples (--samples)\n", l->looked);
    return og__write_stdout(l->run.command, &out);
}

static void add_json(og_json *j, const looking *l, bool target, int i)
{
    const og__binding *b = target ? &l->run.data.targets[i] : &l->run.data.inputs[i];
    const og_tensor_info *info = target ? &l->run.targets[i] : &l->run.inputs[i];
    const range *r = &l->ranges[target ? l->run.n_inputs + i : i];
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", b->name);
    og_json_string(j, "role", target ? "target" : "input");
    if (b->path)
        og_json_string(j, "path", b->path);
    og_json_open(j, "shape", '[');
    for (int d = 0; d < info->rank; d++)
        og_json_int(j, NULL, info->dims[d]);
    og_json_close(j, ']');
    og_json_string(j, "dtype", og_dtype_name(info->dtype));
    og_json_double(j, "least", r->n ? r->low : NAN);
    og_json_double(j, "most", r->n ? r->high : NAN);
    og_json_double(j, "mean", r->n ? r->sum / (double)r->n : NAN);
    int64_t n = 0, *counts = target ? count_labels(l, i, &n) : NULL;
    if (counts) {
        og_json_open(j, "labels", '[');
        for (int64_t k = 0; k < n; k++)
            og_json_int(j, NULL, counts[k]);
        og_json_close(j, ']');
    }
    free(counts);
    og_json_close(j, '}');
}

static int print_json(const looking *l)
{
    og_text out = {0};
    og_json j = {&out};
    char *list = NULL;
    og_json_open(&j, NULL, '{');
    og_json_int(&j, "samples", l->run.data.samples);
    og_json_int(&j, "left_out", l->run.data.pairing.left_out);
    og_json_int(&j, "unreadable", og_dataset_unreadable(l->feed.set, &list));
    if (l->seconds > 0)
        og_json_double(&j, "samples_per_s", 1 / l->seconds);
    og_json_open(&j, "fields", '[');
    for (int i = 0; i < l->run.n_inputs + l->run.n_targets; i++)
        add_json(&j, l, i >= l->run.n_inputs, i < l->run.n_inputs ? i : i - l->run.n_inputs);
    og_json_close(&j, ']');
    og_json_close(&j, '}');
    og_text_add(&out, "\n");
    free(list);
    return og__write_stdout(l->run.command, &out);
}

/* ---- the contact sheet */

static void say_rows(const looking *l, int64_t rows)
{
    const og__bindings *b = &l->run.data;
    for (int64_t i = 0; i < rows; i++) {
        int64_t sample = og_dataset_sample(l->feed.set, 0, i);
        if (b->pairing.names)
            og__say("  row %" PRId64 "     %s", i + 1, b->pairing.names[sample]);
        else
            og__say("  row %" PRId64 "     sample %" PRId64, i + 1, sample);
    }
}

static int write_sheet(looking *l, const char *path)
{
    og_error error = {0};
    OG__TRY(og__run_check_writable(&l->run, "--contact_sheet", path));
    OG__TRY(og__feed_next(&l->feed, 0, 0));
    int64_t rows = l->feed.samples < SHEET_SAMPLES ? l->feed.samples : SHEET_SAMPLES;
    int n = og_dataset_fields(l->feed.set), k = 0;
    void **buffers = calloc((size_t)n + 1, sizeof *buffers);
    if (!buffers)
        return og__say_error(l->run.command, OG__EXIT_FAILED, "out of memory");
    for (int i = 0; i < l->run.n_inputs; i++)
        if (l->feed.field_of_input[i] >= 0)
            buffers[k++] = (void *)l->feed.inputs[i];
    for (int t = 0; t < l->run.n_targets && k < n; t++)
        buffers[k++] = (void *)l->feed.targets[t];
    og_status status = og_sheet_write(l->feed.set, buffers, rows, path, &error);
    free(buffers);
    if (status != OG_OK)
        return og__say_failure(l->run.command, &error);
    if (!l->run.quiet) {
        og__say("%s: the first samples of an epoch, as training sees them", path);
        say_rows(l, rows);
    }
    return OG__EXIT_DONE;
}

/* ---- the subcommand */

static int open_data(looking *l)
{
    og__run *run = &l->run;
    const og__arguments *a = run->arguments;
    bool target = og__argument_is_set(a, "target");
    if (target)
        OG__TRY(og__run_need_loss(run));
    else
        OG__TRY(og__run_without_loss(run));
    if (!og__argument_is_set(a, "data"))
        return og__say_error(run->command, OG__EXIT_USAGE, "no data given: add --data PATH");
    OG__TRY(og__run_bind_data(run, target, NULL));
    og__feed_options options = og__feed_options_of(a, &run->transforms, true);
    options.check_finite = false;
    OG__TRY(
        og__feed_open(&l->feed, &run->data, run->inputs, run->targets, run->batch_size, &options));
    l->ranges = calloc((size_t)(run->n_inputs + run->n_targets) + 1, sizeof *l->ranges);
    return l->ranges ? OG__EXIT_DONE
                     : og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the data");
}

static int run_data(looking *l)
{
    const og__arguments *a = l->run.arguments;
    const char *sheet = og__argument(a, "contact_sheet");
    OG__TRY(open_data(l));
    if (!l->run.quiet) {
        og__report_found(NULL, a);
        og__preprocess_say(NULL, &l->run, "pictures");
    }
    OG__TRY(og__argument_flag(a, "throughput") ? time_loading(l) : look(l));
    OG__TRY(og__argument_flag(a, "json") ? print_json(l) : print(l));
    return sheet ? write_sheet(l, sheet) : OG__EXIT_DONE;
}

int og__command_data(const og__arguments *a)
{
    looking l = {0};
    int status = og__run_open(&l.run, a);
    if (status == OG__EXIT_DONE)
        status = run_data(&l);
    og__feed_close(&l.feed);
    free(l.ranges);
    og__run_close(&l.run);
    return status;
}
