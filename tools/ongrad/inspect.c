/* ongrad inspect: what is in a model. A table, JSON, or a drawing; its tensors (weights.c); what
 * another has of it (diff.c). */
#include <inttypes.h>
#include <string.h>

#include "runtime/base/json.h"
#include "tools/ongrad/diff.h"
#include "tools/ongrad/nodes.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"
#include "tools/ongrad/weights.h"

/* ---- JSON */

static void add_dims(og_json *j, const og_tensor_info *info)
{
    if (info->rank < 0) {
        og_json_null(j, "shape");
        return;
    }
    og_json_open(j, "shape", '[');
    for (int d = 0; d < info->rank; d++) {
        if (info->dims[d] >= 0)
            og_json_int(j, NULL, info->dims[d]);
        else
            og_json_string(j, NULL, info->dim_names[d]);
    }
    og_json_close(j, ']');
}

static void add_tensor(og_json *j, const char *key, const og_tensor_info *info)
{
    og_json_open(j, key, '{');
    og_json_string(j, "name", info->name ? info->name : "");
    og_json_string(j, "dtype", og_dtype_name(info->dtype));
    add_dims(j, info);
    og_json_close(j, '}');
}

static void add_names(og_json *j, const char *key, const og_model *model, int node,
                      const char *(*name)(const og_model *, int, int))
{
    const char *value;
    og_json_open(j, key, '[');
    for (int k = 0; (value = name(model, node, k)); k++)
        og_json_string(j, NULL, value);
    og_json_close(j, ']');
}

static void add_node(og_json *j, const og__nodes *nodes, int i)
{
    const og_node_info *info = &nodes->infos[i];
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", info->name);
    og_json_string(j, "op", info->op);
    add_names(j, "inputs", nodes->model, i, og_model_node_input);
    add_names(j, "outputs", nodes->model, i, og_model_node_output);
    add_tensor(j, "output", &info->output);
    og_json_int(j, "parameters", nodes->parameters[i]);
    og_json_double(j, "flops", info->flops);
    og_json_string(j, "support", info->support);
    og_json_string(j, "note", info->note);
    og_json_close(j, '}');
}

static void add_parameter(og_json *j, const og_parameter_info *p)
{
    og_tensor_info info = {.rank = p->rank};
    memcpy(info.dims, p->dims, sizeof info.dims);
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", p->name);
    og_json_string(j, "dtype", og_dtype_name(p->dtype));
    add_dims(j, &info);
    og_json_bool(j, "trained", p->trained);
    og_json_bool(j, "buffer", p->buffer);
    og_json_string(j, "reason", p->reason);
    og_json_close(j, '}');
}

static int print_json(const og__run *run, const og__nodes *nodes, const og_model_info *model)
{
    og_text out = {0};
    og_json j = {&out};
    og_tensor_info info;
    og_json_open(&j, NULL, '{');
    og_json_string(&j, "model", run->model_name);
    og_json_int(&j, "ir_version", model->ir_version);
    og_json_int(&j, "opset", model->opset);
    og_json_string(&j, "producer", model->producer);
    og_json_open(&j, "inputs", '[');
    for (int i = 0; i < run->n_inputs; i++)
        if (og_model_input(run->model, i, &info) == OG_OK)
            add_tensor(&j, NULL, &info);
    og_json_close(&j, ']');
    og_json_open(&j, "outputs", '[');
    for (int i = 0; i < og_model_output_count(run->model); i++) {
        info = og__nodes_output(nodes, i);
        add_tensor(&j, NULL, &info);
    }
    og_json_close(&j, ']');
    og_json_open(&j, "nodes", '[');
    for (int i = 0; i < nodes->n; i++)
        add_node(&j, nodes, i);
    og_json_close(&j, ']');
    og_json_open(&j, "parameters", '[');
    for (int i = 0; i < nodes->n_parameters; i++)
        add_parameter(&j, &nodes->tensors[i]);
    og_json_close(&j, ']');
    og_json_open(&j, "totals", '{');
    og_json_int(&j, "nodes", nodes->n);
    og_json_int(&j, "trained_tensors", nodes->trained_tensors);
    og_json_int(&j, "trained_elements", nodes->trained_elements);
    og_json_double(&j, "flops", nodes->flops);
    og_json_int(&j, "no_gradient", nodes->no_gradient);
    og_json_int(&j, "unsupported", nodes->unsupported);
    og_json_close(&j, '}');
    og_json_string(&j, "problems", og_model_problems(run->model));
    og_json_close(&j, '}');
    og_text_add(&out, "\n");
    return og__write_stdout(run->command, &out);
}

/* ---- table */

static void add_tensors(const og__run *run, const og__nodes *nodes, og_text *out, const char *label,
                        bool outputs)
{
    int n = outputs ? og_model_output_count(run->model) : run->n_inputs;
    for (int i = 0; i < n; i++) {
        og_tensor_info info;
        if (outputs)
            info = og__nodes_output(nodes, i);
        else if (og_model_input(run->model, i, &info) != OG_OK)
            continue;
        og_text_printf(out, "%-9s %s ", i ? "" : label, info.name);
        og__shape_text(out, &info);
        og_text_printf(out, " %s\n", og_dtype_name(info.dtype));
    }
}

static int print_table(const og__run *run, const og__nodes *nodes, const og_model_info *model)
{
    static const char *const headings[] = {">#",   "op",          "name",   "output",
                                           "type", ">parameters", ">FLOPs", "gradient"};
    og_text out = {0};
    og__table table;
    char count[32];
    og_text_printf(&out, "%-9s %s, opset %d, IR version %" PRId64 "%s%s\n", "model",
                   run->model_name, model->opset, model->ir_version,
                   model->producer && *model->producer ? ", from " : "",
                   model->producer ? model->producer : "");
    add_tensors(run, nodes, &out, "inputs", false);
    add_tensors(run, nodes, &out, "outputs", true);
    og_text_add(&out, "\n");
    og__table_start(&table, 8, headings);
    for (int i = 0; i < nodes->n; i++) {
        const og_node_info *info = &nodes->infos[i];
        og_text shape = {0};
        og__shape_text(&shape, &info->output);
        og__table_cell(&table, "%d", i);
        og__table_cell(&table, "%s", info->op);
        og__table_cell(&table, "%s", info->name);
        og__table_cell(&table, "%s", shape.s ? shape.s : "?");
        og__table_cell(&table, "%s", info->output.dtype ? og_dtype_name(info->output.dtype) : "?");
        og__table_cell(&table, "%s",
                       nodes->parameters[i] ? og__grouped_text(count, nodes->parameters[i]) : "");
        og__table_cell(&table, "%s", info->flops > 0 ? og__count_text(count, info->flops) : "");
        og__table_cell(&table, "%s%s%s", !strcmp(info->support, "trains") ? "" : info->support,
                       *info->note ? ": " : "", info->note);
        og_text_free(&shape);
    }
    og__table_finish(&table, &out, 0);
    og_text_printf(&out, "\n%d nodes; %d trained tensors, %s parameters; ", nodes->n,
                   nodes->trained_tensors, og__grouped_text(count, nodes->trained_elements));
    og_text_printf(&out, "%s%sFLOPs forward at batch %" PRId64 "\n",
                   og__count_text(count, nodes->flops), nodes->flops < 999.5 ? " " : "",
                   run->batch_size);
    if (*og_model_problems(run->model))
        og_text_printf(&out, "\nproblems:\n%s\n", og_model_problems(run->model));
    return og__write_stdout(run->command, &out);
}

/* ---- drawings */

static int draw(const og__run *run, const og__nodes *nodes, const char *dot, const char *svg)
{
    og_text text = {0};
    int status = OG__EXIT_DONE;
    og__nodes_dot(nodes, &text);
    if (text.failed)
        status = og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the drawing");
    if (status == OG__EXIT_DONE && svg)
        status = og__draw_svg(run->command, &text, svg);
    if (status == OG__EXIT_DONE && dot && strcmp(dot, "-") != 0)
        status = og__write_file(run->command, &text, dot);
    if (status == OG__EXIT_DONE && dot && !strcmp(dot, "-"))
        return og__write_stdout(run->command, &text);
    og_text_free(&text);
    return status;
}

static int inspect(og__run *run, og__nodes *nodes)
{
    const og__arguments *a = run->arguments;
    const char *dot = og__argument(a, "dot"), *svg = og__argument(a, "svg");
    bool json = og__argument_flag(a, "json");
    if (og__argument_is_set(a, "diff"))
        return og__diff(run, og__argument(a, "diff"), json);
    if (og__argument_flag(a, "weights"))
        return og__weights_print(run, json);
    run->batch_size = og__argument_is_set(a, "batch_size") ? og__argument_int(a, "batch_size") : 1;
    if (dot && strcmp(dot, "-") != 0)
        OG__TRY(og__run_check_writable(run, "--dot", dot));
    if (svg)
        OG__TRY(og__run_check_writable(run, "--svg", svg));
    OG__TRY(og__shapes_of_inputs(a, run->model, NULL, NULL, run->batch_size, 1, run->inputs));
    OG__TRY(og__nodes_read(nodes, run, run->inputs));
    og_model_info model;
    og_model_describe(run->model, &model);
    if (dot || svg)
        OG__TRY(draw(run, nodes, dot, svg));
    if ((dot || svg) && !json)
        return OG__EXIT_DONE;
    OG__TRY(json ? print_json(run, nodes, &model) : print_table(run, nodes, &model));
    og__next next = {0};
    og__next_model(&next, "check", run);
    og__next_model(&next, "plan", run);
    og__next_add(&next, "--loss");
    og__next_add(&next, "cross_entropy");
    og__next_say(&next, run->quiet || json);
    return OG__EXIT_DONE;
}

int og__command_inspect(const og__arguments *a)
{
    og__run run;
    og__nodes nodes = {0};
    int status = og__run_open(&run, a);
    if (status == OG__EXIT_DONE)
        status = inspect(&run, &nodes);
    else if (og__argument_is_set(a, "diff"))
        status = OG__EXIT_USAGE; /* 1 says that they differ */
    og__nodes_free(&nodes);
    og__run_close(&run);
    return status;
}
