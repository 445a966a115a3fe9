/* ongrad eval: the losses over a data set, in inference mode; the accuracy where labels have one.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/metrics.h"
#include "tools/ongrad/preprocess.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

static int print(const og__run *run, const og__metrics *m, bool json)
{
    og_text out = {0};
    double loss = og__metrics_loss(m);
    if (json) {
        og_json j = {&out};
        og_json_open(&j, NULL, '{');
        og_json_double(&j, "loss", loss);
        og__metrics_json(m, "", &j);
        og_json_int(&j, "samples", run->data.samples);
        og_json_close(&j, '}');
        og_text_add(&out, "\n");
        return og__write_stdout(run->command, &out);
    }
    og_text_printf(&out, "loss      %.8g\n", loss);
    for (int i = 0; run->losses.n > 1 && i < run->losses.n; i++)
        og_text_printf(&out, "          %.8g  %s\n", og__metrics_mean(m, i),
                       run->losses.items[i].name);
    for (int i = 0; i < m->n_scores; i++)
        if (m->scores[i].counted && m->scores[i].kind != OG__VALUES)
            og_text_printf(&out, "accuracy  %.6g%s%s\n", og__score_value(&m->scores[i], "accuracy"),
                           m->n_scores > 1 ? "  " : "", m->n_scores > 1 ? m->scores[i].name : "");
    og__metrics_text(m, &out);
    og_text_printf(&out, "samples   %" PRId64 "\n", run->data.samples);
    return og__write_stdout(run->command, &out);
}

/* "accuracy>=0.91", also with >, <=, <. An exit status. */
static int meets(const og__run *run, const og__metrics *m, const char *text, bool parse_only)
{
    static const char *const operators[] = {">=", "<=", ">", "<"};
    const char *number = "";
    char name[128] = "", *end = NULL;
    size_t n = strcspn(text, "<>=! "), gap = strspn(text + n, " ");
    double limit = NAN;
    int is = -1;
    for (int i = 0; i < 4 && is < 0 && n < sizeof name; i++)
        if (strncmp(text + n + gap, operators[i], strlen(operators[i])) == 0) {
            is = i;
            number = text + n + gap + strlen(operators[i]);
            limit = strtod(number, &end);
        }
    if (is < 0 || end == number || isnan(limit) || *end)
        return og__say_error(run->command, OG__EXIT_USAGE,
                             "--require is \"%s\", expected a metric and what it must reach, such "
                             "as 'accuracy>=0.91' or 'loss<0.3'",
                             text);
    memcpy(name, text, n);
    if (parse_only)
        return og__metrics_check(m, run->command, "--require", name);
    double value = og__metrics_value(m, name);
    bool met = is == 0   ? value >= limit
               : is == 1 ? value <= limit
               : is == 2 ? value > limit
                         : value < limit;
    return met ? OG__EXIT_DONE
               : og__say_error(run->command, OG__EXIT_FAILED, "--require %s: it is %.6g", text,
                               value);
}

static int meets_all(const og__run *run, const og__metrics *m, bool parse_only)
{
    int status = OG__EXIT_DONE;
    const char *text;
    for (int k = 0; (text = og__argument_at(run->arguments, "require", k)); k++) {
        int one = meets(run, m, text, parse_only);
        status = status == OG__EXIT_DONE ? one : status;
    }
    return status;
}

static int evaluate(og__run *run, og__feed *feed, og__metrics *m)
{
    const og__arguments *a = run->arguments;
    OG__TRY(og__run_need_loss(run));
    OG__TRY(og__run_bind_data(run, true, NULL));
    OG__TRY(og__run_start(run));
    og__feed_options options = og__feed_options_of(a, &run->transforms, false);
    OG__TRY(og__feed_open(feed, &run->data, run->inputs, run->targets, run->batch_size, &options));
    OG__TRY(og__metrics_new(m, run));
    OG__TRY(meets_all(run, m, true));
    if (!run->quiet) {
        og__report_found(NULL, a);
        og__report_stored_values(NULL, &run->data, run->inputs);
        og__preprocess_say(NULL, run, "pictures");
    }
    OG__TRY(og__evaluate(run, feed, m, NULL));
    run->data.samples -= og__feed_say_unreadable(feed, "and were left out");
    OG__TRY(print(run, m, og__argument_flag(a, "json")));
    og__next next = {0};
    og__next_line(&next, "predict", a->model);
    og__next_option(&next, a, "data", "data");
    og__next_line(&next, "export", a->model);
    og__next_add(&next, "-o");
    og__next_add(&next, "exported.onnx");
    og__next_say(&next, run->quiet || !a->model);
    if (!isfinite(og__metrics_loss(m)))
        return og__say_error(run->command, OG__EXIT_FAILED, "the loss is not finite");
    return meets_all(run, m, false);
}

int og__command_eval(const og__arguments *a)
{
    og__run run;
    og__feed feed = {0};
    og__metrics metrics = {0};
    int status = og__run_open(&run, a);
    if (status == OG__EXIT_DONE)
        status = evaluate(&run, &feed, &metrics);
    og__metrics_free(&metrics);
    og__feed_close(&feed);
    og__run_close(&run);
    return status;
}
