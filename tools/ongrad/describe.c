#include "tools/ongrad/describe.h"

#include <string.h>

#include "tools/ongrad/builtin.h"
#include "tools/ongrad/machine.h"
#include "tools/ongrad/nodes.h"
#include "tools/ongrad/plan_memory.h"
#include "tools/ongrad/say.h"

enum {
    MOST_NODES = 20000, /* of a graph that is written node by node */
    MOST_CALLS = 1200,  /* points of the memory curve */
    MOST_ROWS = 100     /* of the profile */
};

/* ---- settings */

/* What the run has of an option: its values, NULL past the end. A default has k = 0 alone. */
static const char *value_at(const og__run *run, const og__row *row, int k)
{
    const og__arguments *a = run->arguments;
    const char *name = row->info.name;
    if (og__argument_is_set(a, name))
        return row->info.kind == OG_OPTION_LIST ? og__argument_at(a, name, k)
               : k == 0                         ? og__argument(a, name)
                                                : NULL;
    if (k > 0)
        return NULL;
    return row->library ? og_options_get(run->options, name) : row->info.fallback;
}

static bool is_setting(const og__row *row)
{
    static const char *const none[] = {"help", "config", "quiet", "verbose"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (!strcmp(row->info.name, none[i]))
            return false;
    return row->commands & OG__TRAIN;
}

/* given: those of the command line, a config file or a checkpoint; else all others that have a
 * value. */
static void add_settings(const og__run *run, const char *key, bool given, og_json *j)
{
    const og__arguments *a = run->arguments;
    og_json_open(j, key, '{');
    for (int i = 0; i < a->n_rows; i++) {
        const og__row *row = &a->rows[i];
        const char *name = row->info.name, *value = value_at(run, row, 0);
        if (!is_setting(row) || !value || og__argument_is_set(a, name) != given ||
            (!given && a->model && og__is_model_option(name)))
            continue;
        if (row->info.kind != OG_OPTION_LIST) {
            og_json_string(j, name, value);
            continue;
        }
        og_json_open(j, name, '[');
        for (int k = 0; (value = value_at(run, row, k)); k++)
            og_json_string(j, NULL, value);
        og_json_close(j, ']');
    }
    og_json_close(j, '}');
}

/* The command line that does the same. */
static void add_command(const og__run *run, og_json *j)
{
    const og__arguments *a = run->arguments;
    og_text line = {0};
    og_text_add(&line, "ongrad train");
    if (a->model)
        og__paste_word(&line, a->model);
    for (int i = 0; i < a->n_settings; i++) {
        const og__row *row = a->settings[i].row;
        og_text word = {0};
        bool flag = row->info.kind == OG_OPTION_FLAG;
        if (!is_setting(row))
            continue;
        og_text_printf(&word, "--%s%s%s", row->info.name, flag ? "=" : "",
                       flag ? a->settings[i].value : "");
        og__paste_word(&line, word.s ? word.s : "");
        if (!flag)
            og__paste_word(&line, a->settings[i].value);
        og_text_free(&word);
    }
    og_json_string(j, "command", line.s);
    og_text_free(&line);
}

/* ---- memory */

/* The curve at no more than MOST_CALLS points, each the most of the calls it stands for. */
static void add_curve(const og__memory_use *use, og_json *j)
{
    int64_t n = use->n < MOST_CALLS ? use->n : MOST_CALLS;
    og_json_open(j, "over_time", '[');
    for (int64_t c = 0; c < n; c++) {
        uint64_t most = 0;
        for (int64_t i = c * use->n / n; i < (c + 1) * use->n / n; i++)
            most = use->curve[i] > most ? use->curve[i] : most;
        og_json_int(j, NULL, (int64_t)most);
    }
    og_json_close(j, ']');
}

static int add_plan(og__trainer *t, og_json *j)
{
    og_memory_report m;
    og__memory_use use;
    og_session_memory(t->run.session, &m);
    OG__TRY(og__memory_use_read(&use, &t->run));
    og_json_open(j, "plan", '{');
    og_json_int(j, "predicted_peak_bytes", (int64_t)m.peak);
    og_json_int(j, "budget_bytes", (int64_t)m.budget);
    og_json_int(j, "total_bytes", (int64_t)m.total);
    og_json_int(j, "parameter_bytes", (int64_t)m.parameters);
    og_json_int(j, "gradient_bytes", (int64_t)m.gradients);
    og_json_int(j, "optimizer_bytes", (int64_t)m.optimizer);
    og_json_int(j, "activation_bytes", (int64_t)m.activations);
    og_json_int(j, "data_bytes", (int64_t)og_loader_bytes(t->feed.loader));
    og_json_int(j, "program_bytes", (int64_t)m.program);
    og_json_int(j, "calls", use.n);
    og_json_int(j, "micro_calls", use.micro);
    og_json_int(j, "state_bytes", (int64_t)use.states);
    add_curve(&use, j);
    og__memory_largest_json(&use, j);
    og_json_close(j, '}');
    return OG__EXIT_DONE;
}

/* ---- graph */

/* The first weight that the node reads: its module, where the node's own name does not say. */
static const char *weight_of(const og__nodes *nodes, int i)
{
    const char *name;
    for (int k = 0; (name = og_model_node_input(nodes->model, i, k)); k++)
        if (og__nodes_find(nodes, name) >= 0)
            return name;
    return NULL;
}

static void add_node(const og__nodes *nodes, const og__producers *producers, int i, og_json *j)
{
    const og_node_info *info = &nodes->infos[i];
    const char *value, *weight = weight_of(nodes, i);
    og_text shape = {0};
    int from;
    og__shape_text(&shape, &info->output);
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", info->name);
    og_json_string(j, "op", info->op);
    og_json_string(j, "shape", shape.s);
    if (nodes->parameters[i])
        og_json_int(j, "parameters", nodes->parameters[i]);
    if (info->flops > 0)
        og_json_double(j, "flops", info->flops);
    if (weight)
        og_json_string(j, "weight", weight);
    og_json_open(j, "from", '[');
    for (int k = 0; (value = og_model_node_input(nodes->model, i, k)); k++)
        if (*value && og__producers_find(producers, value, &from))
            og_json_int(j, NULL, from);
    og_json_close(j, ']');
    og_json_close(j, '}');
    og_text_free(&shape);
}

static void add_tensor(const char *name, const og_tensor_info *info, og_json *j)
{
    og_text shape = {0};
    og__shape_text(&shape, info);
    og_json_string(j, "name", name ? name : "");
    og_json_string(j, "shape", shape.s);
    og_text_free(&shape);
}

/* "from" counts nodes from 0; -1, -2 … are the model's inputs. */
static int add_graph(og__run *run, og_json *j)
{
    og__nodes nodes;
    og__producers producers = {0};
    int status = og__nodes_read(&nodes, run, run->inputs), from;
    if (status == OG__EXIT_DONE && !og__producers_read(&producers, &nodes))
        status = og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the graph");
    if (status == OG__EXIT_DONE) {
        og_json_open(j, "graph", '{');
        og_json_int(j, "nodes", nodes.n);
        og_json_int(j, "trained_elements", nodes.trained_elements);
        og_json_double(j, "flops", nodes.flops);
        og_json_open(j, "inputs", '[');
        for (int i = 0; i < run->n_inputs; i++) {
            og_json_open(j, NULL, '{');
            add_tensor(run->inputs[i].name, &run->inputs[i], j);
            og_json_close(j, '}');
        }
        og_json_close(j, ']');
        og_json_open(j, "outputs", '[');
        for (int i = 0; i < og_model_output_count(run->model); i++) {
            og_tensor_info info = og__nodes_output(&nodes, i);
            og_json_open(j, NULL, '{');
            add_tensor(info.name, &info, j);
            if (info.name && og__producers_find(&producers, info.name, &from))
                og_json_int(j, "from", from);
            og_json_close(j, '}');
        }
        og_json_close(j, ']');
        og_json_open(j, "list", '[');
        for (int i = 0; i < nodes.n && nodes.n <= MOST_NODES; i++)
            add_node(&nodes, &producers, i, j);
        og_json_close(j, ']');
        og_json_close(j, '}');
    }
    og__producers_free(&producers);
    og__nodes_free(&nodes);
    return status;
}

/* ---- all of it */

/* The lines of the report. */
static void add_report(const char *report, og_json *j)
{
    og_json_open(j, "report", '[');
    while (report && *report) {
        size_t n = strcspn(report, "\n");
        char line[1024];
        size_t kept = n < sizeof line - 1 ? n : sizeof line - 1;
        memcpy(line, report, kept);
        line[kept] = '\0';
        og_json_string(j, NULL, line);
        report += n + (report[n] == '\n');
    }
    og_json_close(j, ']');
}

int og__describe(og__trainer *t, const char *report, og_text *out)
{
    og_json json = {out}, *j = &json;
    og_model_info model;
    og_model_describe(t->run.model, &model);
    og_json_open(j, NULL, '{');
    og_json_string(j, "model", t->run.model_name);
    og_json_int(j, "opset", model.opset);
    og_json_string(j, "producer", model.producer);
    og_json_string(j, "output", t->output);
    og_json_int(j, "after_step", t->begun);
    og_json_int(j, "steps", t->steps);
    og_json_int(j, "steps_an_epoch", t->steps_an_epoch);
    og_json_int(j, "samples", t->run.data.samples);
    og__environment_json(t->run.context, og__argument_int(t->run.arguments, "threads"), j);
    add_command(&t->run, j);
    add_settings(&t->run, "settings", true, j);
    add_settings(&t->run, "defaults", false, j);
    add_report(report, j);
    OG__TRY(add_plan(t, j));
    OG__TRY(add_graph(&t->run, j));
    og_json_close(j, '}');
    return out->failed ? og__say_error(t->run.command, OG__EXIT_FAILED, "out of memory for the log")
                       : OG__EXIT_DONE;
}

void og__describe_profile(const og__run *run, og_json *j)
{
    og_profile_summary s;
    int n = og__argument_flag(run->arguments, "profile")
                ? og_session_profile(run->session, OG_PROFILE_BY_OP, &s)
                : -1;
    if (n < 0 || s.steps == 0)
        return;
    og_json_open(j, "profile", '{');
    og_json_int(j, "steps", s.steps);
    og_json_double(j, "seconds", s.seconds);
    og_json_double(j, "kernel_seconds", s.kernel_seconds);
    og_json_double(j, "flops", s.flops);
    og_json_open(j, "rows", '[');
    for (int i = 0; i < n && i < MOST_ROWS; i++) {
        og_profile_row row;
        if (og_session_profile_row(run->session, i, &row) != OG_OK)
            continue;
        og_json_open(j, NULL, '{');
        og_json_string(j, "op", row.op);
        og_json_string(j, "kernel", row.kernel);
        og_json_string(j, "role", row.role);
        og_json_int(j, "calls", row.calls);
        og_json_double(j, "seconds", row.seconds);
        og_json_double(j, "flops", row.flops);
        og_json_double(j, "bytes", row.bytes);
        og_json_close(j, '}');
    }
    og_json_close(j, ']');
    og_json_close(j, '}');
}
