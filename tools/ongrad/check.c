/* ongrad check: what would be trained and why, which nodes are in the way, and whether gradients
 * are right. All of it in one report, also when training is not possible. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/json.h"
#include "tools/ongrad/nodes.h"
#include "tools/ongrad/overfit.h"
#include "tools/ongrad/random_batch.h"
#include "tools/ongrad/reference.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

enum { CHECK_BATCH = 4 };

typedef struct checking {
    og__run run;
    og__nodes nodes;
    og__feed feed;
    og__random_batch random;
    og_gradient_check *gradients;
    int n_gradients;
    double tolerance;
    int64_t samples; /* that were looked at; 0: none yet */
    const void *const *inputs, *const *targets;
    og__overfit overfit;
    bool trains, planned;  /* planned: a session was made */
    const char *reference; /* NULL: none was replayed */
    og__reference replayed;
} checking;

/* ---- outputs and the losses that suit them */

static const char *losses_for(const og_tensor_info *output)
{
    bool is_float = output->dtype == OG_FLOAT || output->dtype == OG_DOUBLE ||
                    output->dtype == OG_FLOAT16 || output->dtype == OG_BFLOAT16;
    if (!is_float && output->dtype != OG_UNDEFINED)
        return "none: it is not floating point";
    if (output->rank == 0)
        return "output (it is a loss already)";
    if (output->rank == 1 || output->rank < 0)
        return "mse, l1, smooth_l1, huber, bce_with_logits; output if it is a loss already";
    return "cross_entropy, nll (labels int64, without the class axis); mse, l1, smooth_l1, huber, "
           "bce_with_logits, kl_div (its shape)";
}

/* ---- gradients */

/* What a central difference in double cannot tell from zero: a bias before a BatchNormalization has
 * the gradient 0. */
static const double rounding = 1e-8;

/* The error is relative to the tensor's largest gradient; NaN fails. */
static bool passes(const checking *c, const og_gradient_check *g)
{
    return g->error <= c->tolerance || fabs(g->gradient - g->difference) <= rounding;
}

static int count_failures(const checking *c)
{
    int n = 0;
    for (int i = 0; i < c->n_gradients; i++)
        n += !passes(c, &c->gradients[i]);
    return n;
}

/* The first batch of the data. */
static int open_feed(checking *c)
{
    og__feed_options options = og__feed_options_of(c->run.arguments, &c->run.transforms, false);
    options.workers = 0;
    options.check_finite = true;
    if (c->feed.set)
        return OG__EXIT_DONE;
    OG__TRY(og__feed_open(&c->feed, &c->run.data, c->run.inputs, c->run.targets, c->run.batch_size,
                          &options));
    return og__feed_next(&c->feed, 0, 0);
}

static int replay(checking *c)
{
    OG__TRY(open_feed(c));
    OG__TRY(og__reference_replay(&c->replayed, &c->run, c->reference, c->feed.inputs,
                                 c->feed.targets, c->feed.samples));
    return c->replayed.difference.length ? OG__EXIT_FAILED : OG__EXIT_DONE;
}

/* The first batch of the data, or one made up. */
static int take_batch(checking *c, bool data, const void *const **inputs,
                      const void *const **targets)
{
    const og__arguments *a = c->run.arguments;
    if (c->samples) {
        *inputs = c->inputs;
        *targets = c->targets;
        return OG__EXIT_DONE;
    }
    c->samples = c->run.batch_size;
    if (data) {
        OG__TRY(open_feed(c));
        c->inputs = c->feed.inputs;
        c->targets = c->feed.targets;
        c->samples = c->feed.samples;
    } else {
        OG__TRY(og__random_batch_new(&c->random, &c->run, (uint64_t)og__argument_int(a, "seed")));
        c->inputs = (const void *const *)c->random.inputs;
        c->targets = (const void *const *)c->random.targets;
    }
    *inputs = c->inputs;
    *targets = c->targets;
    return OG__EXIT_DONE;
}

static int check_gradients(checking *c, bool data)
{
    const og__arguments *a = c->run.arguments;
    const void *const *inputs, *const *targets;
    OG__TRY(take_batch(c, data, &inputs, &targets));
    int n = c->nodes.trained_tensors;
    int64_t elements = og__argument_int(a, "elements");
    c->gradients = calloc((size_t)n + 1, sizeof *c->gradients);
    if (!c->gradients)
        return og__say_error(c->run.command, OG__EXIT_FAILED, "out of memory for the gradients");
    if (og_session_check_gradients(c->run.session, inputs, targets, c->samples,
                                   (int)(elements < 1000000 ? elements : 1000000), c->gradients,
                                   &n) != OG_OK)
        return og__run_failed(&c->run);
    c->n_gradients = n;
    int wrong = count_failures(c);
    if (wrong)
        return og__say_error(
            c->run.command, OG__EXIT_FAILED,
            "the gradients of %d of %d tensors differ from finite differences by more than %g\n"
            "(a kink, as of Relu or MaxPool, right beside a value does that too: try another "
            "--seed)",
            wrong, n, c->tolerance);
    return OG__EXIT_DONE;
}

static int overfit(checking *c, bool data)
{
    const void *const *inputs, *const *targets;
    OG__TRY(take_batch(c, data, &inputs, &targets));
    return og__overfit_batch(&c->run, inputs, targets, c->samples, &c->overfit);
}

/* ---- output */

static int print_json(const checking *c)
{
    og_text out = {0};
    og_json j = {&out};
    og_json_open(&j, NULL, '{');
    og_json_string(&j, "model", c->run.model_name);
    og_json_bool(&j, "trains", c->trains);
    og_json_open(&j, "nodes", '{');
    og_json_int(&j, "total", c->nodes.n);
    og_json_int(&j, "trains", c->nodes.n - c->nodes.no_gradient - c->nodes.unsupported);
    og_json_int(&j, "no_gradient", c->nodes.no_gradient);
    og_json_int(&j, "unsupported", c->nodes.unsupported);
    og_json_close(&j, '}');
    og_json_open(&j, "issues", '[');
    for (int i = 0; i < c->nodes.n; i++) {
        const og_node_info *info = &c->nodes.infos[i];
        if (!strcmp(info->support, "trains"))
            continue;
        og_json_open(&j, NULL, '{');
        og_json_string(&j, "name", info->name);
        og_json_string(&j, "op", info->op);
        og_json_string(&j, "support", info->support);
        og_json_string(&j, "note", info->note);
        og_json_close(&j, '}');
    }
    og_json_close(&j, ']');
    og_json_open(&j, "parameters", '[');
    for (int i = 0; i < c->nodes.n_parameters; i++) {
        const og_parameter_info *p = &c->nodes.tensors[i];
        og_json_open(&j, NULL, '{');
        og_json_string(&j, "name", p->name);
        og_json_open(&j, "shape", '[');
        for (int d = 0; d < p->rank; d++)
            og_json_int(&j, NULL, p->dims[d]);
        og_json_close(&j, ']');
        og_json_bool(&j, "trained", p->trained);
        og_json_bool(&j, "buffer", p->buffer);
        og_json_double(&j, "lr_scale", p->lr_scale);
        og_json_bool(&j, "no_decay", p->no_decay);
        og_json_string(&j, "reason", p->reason);
        og_json_close(&j, '}');
    }
    og_json_close(&j, ']');
    og_json_open(&j, "outputs", '[');
    for (int i = 0; i < og_model_output_count(c->run.model); i++) {
        og_tensor_info info = og__nodes_output(&c->nodes, i);
        og_json_open(&j, NULL, '{');
        og_json_string(&j, "name", info.name);
        og_json_string(&j, "dtype", og_dtype_name(info.dtype));
        og_json_string(&j, "losses", losses_for(&info));
        og_json_close(&j, '}');
    }
    og_json_close(&j, ']');
    if (c->gradients) {
        og_json_open(&j, "gradients", '[');
        for (int i = 0; i < c->n_gradients; i++) {
            og_json_open(&j, NULL, '{');
            og_json_string(&j, "name", c->gradients[i].name);
            og_json_double(&j, "gradient", c->gradients[i].gradient);
            og_json_double(&j, "difference", c->gradients[i].difference);
            og_json_double(&j, "error", c->gradients[i].error);
            og_json_bool(&j, "passed", passes(c, &c->gradients[i]));
            og_json_close(&j, '}');
        }
        og_json_close(&j, ']');
    }
    if (c->reference && c->planned) {
        og_json_open(&j, "reference", '{');
        og_json_int(&j, "steps", c->replayed.steps);
        og_json_int(&j, "same_steps", c->replayed.same < 0 ? 0 : c->replayed.same);
        og_json_int(&j, "tensors", c->replayed.compared);
        og_json_int(&j, "absent", c->replayed.absent);
        og_json_string(&j, "difference", c->replayed.difference.s ? c->replayed.difference.s : "");
        og_json_close(&j, '}');
    }
    og_json_string(&j, "export", og_model_export_notes(c->run.model));
    if (c->overfit.steps) {
        og_json_open(&j, "overfit", '{');
        og_json_int(&j, "samples", c->samples);
        og_json_int(&j, "steps", c->overfit.steps);
        og_json_double(&j, "first_loss", c->overfit.first);
        og_json_double(&j, "last_loss", c->overfit.last);
        og_json_close(&j, '}');
    }
    og_json_string(&j, "problems", og_model_problems(c->run.model));
    og_json_close(&j, '}');
    og_text_add(&out, "\n");
    return og__write_stdout(c->run.command, &out);
}

static void add_issues(const checking *c, og_text *out)
{
    static const char *const headings[] = {"node", "op", "support", "why"};
    og__table table;
    int issues = c->nodes.no_gradient + c->nodes.unsupported;
    og_text_printf(out, "nodes: %d; %d train", c->nodes.n, c->nodes.n - issues);
    if (c->nodes.no_gradient)
        og_text_printf(out, ", %d without a gradient", c->nodes.no_gradient);
    if (c->nodes.unsupported)
        og_text_printf(out, ", %d unsupported", c->nodes.unsupported);
    og_text_add(out, "\n");
    if (issues == 0)
        return;
    og__table_start(&table, 4, headings);
    for (int i = 0; i < c->nodes.n; i++) {
        const og_node_info *info = &c->nodes.infos[i];
        if (!strcmp(info->support, "trains"))
            continue;
        og__table_cell(&table, "%s", info->name);
        og__table_cell(&table, "%s", info->op);
        og__table_cell(&table, "%s", info->support);
        og__table_cell(&table, "%s", info->note);
    }
    og__table_finish(&table, out, 2);
}

static void add_parameters(const checking *c, og_text *out)
{
    static const char *const headings[] = {"tensor", "shape", "", "why"};
    og__table table;
    char count[32];
    og_text_printf(out, "\ntrained: %d of %d float tensors, %s elements\n",
                   c->nodes.trained_tensors, c->nodes.n_parameters,
                   og__grouped_text(count, c->nodes.trained_elements));
    if (c->nodes.n_parameters == 0)
        return;
    og__table_start(&table, 4, headings);
    for (int i = 0; i < c->nodes.n_parameters; i++) {
        const og_parameter_info *p = &c->nodes.tensors[i];
        og_tensor_info info = {.rank = p->rank};
        og_text shape = {0};
        memcpy(info.dims, p->dims, sizeof info.dims);
        og__shape_text(&shape, &info);
        og__table_cell(&table, "%s", p->name);
        og__table_cell(&table, "%s", shape.s ? shape.s : "?");
        og__table_cell(&table, "%s", p->trained ? "trained" : p->buffer ? "statistic" : "fixed");
        og_text reason = {0};
        og_text_add(&reason, p->reason ? p->reason : "");
        if (p->trained && p->lr_scale != 1)
            og_text_printf(&reason, "; learning rate x %g", p->lr_scale);
        if (p->trained && p->no_decay)
            og_text_add(&reason, "; no weight decay");
        og__table_cell(&table, "%s", reason.s ? reason.s : "");
        og_text_free(&reason);
        og_text_free(&shape);
    }
    og__table_finish(&table, out, 2);
}

/* What exporting did, a line each. */
static void add_export(const checking *c, og_text *out)
{
    const char *notes = og_model_export_notes(c->run.model);
    if (*notes)
        og_text_add(out, "\nexport\n");
    while (*notes) {
        int n = (int)strcspn(notes, "\n");
        og_text_printf(out, "  %.*s\n", n, notes);
        notes += n + (notes[n] == '\n');
    }
}

static void add_gradients(const checking *c, og_text *out)
{
    static const char *const headings[] = {"tensor", ">gradient", ">difference", ">error", ""};
    og__table table;
    og_text_printf(out, "\ngradients against finite differences in double, %" PRId64 " samples\n",
                   c->samples);
    og__table_start(&table, 5, headings);
    for (int i = 0; i < c->n_gradients; i++) {
        const og_gradient_check *g = &c->gradients[i];
        og__table_cell(&table, "%s", g->name);
        og__table_cell(&table, "%.6g", g->gradient);
        og__table_cell(&table, "%.6g", g->difference);
        og__table_cell(&table, "%.1e", g->error);
        og__table_cell(&table, "%s", passes(c, g) ? "" : "differs");
    }
    og__table_finish(&table, out, 2);
}

static void add_reference(const checking *c, og_text *out)
{
    const og__reference *r = &c->replayed;
    og_text_printf(out, "\nreference %s: ", c->reference);
    if (!r->difference.length)
        og_text_printf(out,
                       "%" PRId64 " steps with the same losses, gradient norms and %d tensors\n",
                       r->same, r->compared);
    else if (r->same < 0)
        og_text_printf(out, "before the first step %s\n", r->difference.s);
    else
        og_text_printf(out, "step %" PRId64 " of %" PRId64 ": %s\n", r->same + 1, r->steps,
                       r->difference.s);
    if (r->absent)
        og_text_printf(out, "  %d tensors are not in it by their names\n", r->absent);
}

static int print_report(const checking *c)
{
    og_text out = {0};
    add_issues(c, &out);
    if (*og_model_problems(c->run.model))
        og_text_printf(&out, "\nproblems:\n%s\n", og_model_problems(c->run.model));
    add_export(c, &out);
    add_parameters(c, &out);
    og_text_add(&out, "\noutputs and the losses that suit them\n");
    for (int i = 0; i < og_model_output_count(c->run.model); i++) {
        og_tensor_info info = og__nodes_output(&c->nodes, i);
        og_text_printf(&out, "  %s ", info.name);
        og__shape_text(&out, &info);
        og_text_printf(&out, ": %s\n", losses_for(&info));
    }
    if (c->gradients)
        add_gradients(c, &out);
    if (c->reference && c->planned)
        add_reference(c, &out);
    if (c->overfit.steps)
        og_text_printf(
            &out, "\none batch of %" PRId64 " samples: loss %.4g, after %" PRId64 " steps %.4g\n",
            c->samples, c->overfit.first, c->overfit.steps, c->overfit.last);
    og_text_printf(&out, "\n%s\n",
                   !c->trains ? "This model does not train as it is."
                   : c->planned
                       ? "This model trains with this loss."
                       : "Nothing is in the way of training; --loss NAME checks the whole step.");
    return og__write_stdout(c->run.command, &out);
}

/* ---- the work */

static int inspect(checking *c, bool data)
{
    og__run *run = &c->run;
    const og__arguments *a = run->arguments;
    if (data) {
        OG__TRY(og__run_bind_data(run, run->losses.n > 0, NULL));
    } else {
        run->batch_size = og__argument_is_set(a, "batch_size") ? og__argument_int(a, "batch_size")
                                                               : run->default_batch;
        OG__TRY(og__shapes_of_inputs(a, run->model, NULL, NULL, run->batch_size, 1, run->inputs));
    }
    OG__TRY(og__nodes_read(&c->nodes, run, run->inputs));
    c->trains = c->nodes.unsupported == 0 && c->nodes.trained_tensors > 0 &&
                !*og_model_problems(run->model);
    return OG__EXIT_DONE;
}

/* Make the step, and check it; what fails is said, and told by the report as "does not train". */
static int try_step(checking *c, bool data)
{
    int status = data ? OG__EXIT_DONE : og__run_bind_shapes(&c->run, c->run.default_batch, 0);
    if (status == OG__EXIT_DONE)
        status = og__run_start(&c->run);
    if (status != OG__EXIT_DONE) {
        c->trains = false;
        return status;
    }
    c->planned = true;
    if (og__argument_flag(c->run.arguments, "gradients"))
        OG__TRY(check_gradients(c, data));
    if (c->reference)
        OG__TRY(replay(c));
    return og__argument_flag(c->run.arguments, "overfit") ? overfit(c, data) : OG__EXIT_DONE;
}

static int check(checking *c)
{
    og__run *run = &c->run;
    const og__arguments *a = run->arguments;
    bool data = og__argument_is_set(a, "data") || og__argument_is_set(a, "target");
    bool json = og__argument_flag(a, "json");
    c->tolerance = strtod(og__argument(a, "tolerance"), NULL);
    run->default_batch = CHECK_BATCH;
    c->reference = og__argument(a, "reference");
    if (og__argument_flag(a, "gradients") || og__argument_flag(a, "overfit") || c->reference)
        OG__TRY(og__run_need_loss(run));
    OG__TRY(inspect(c, data));
    int status = run->losses.n > 0 ? try_step(c, data) : OG__EXIT_DONE;
    OG__TRY(json ? print_json(c) : print_report(c));
    if (status == OG__EXIT_DONE && !c->trains)
        status = OG__EXIT_FAILED;
    og__next next = {0};
    og__next_model(&next, "plan", run);
    if (run->losses.n > 0) {
        og__next_loss(&next, a);
    } else {
        og__next_add(&next, "--loss");
        og__next_add(&next, "cross_entropy");
    }
    og__next_say(&next, run->quiet || json || status != OG__EXIT_DONE);
    return status;
}

int og__command_check(const og__arguments *a)
{
    checking c = {0};
    int status = og__run_open(&c.run, a);
    if (status == OG__EXIT_DONE)
        status = check(&c);
    og_text_free(&c.replayed.difference);
    free(c.gradients);
    og__random_batch_free(&c.random);
    og__feed_close(&c.feed);
    og__nodes_free(&c.nodes);
    og__run_close(&c.run);
    return status;
}
