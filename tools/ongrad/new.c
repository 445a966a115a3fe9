/* ongrad new: a built-in model with random weights, written as ONNX in training mode. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/builtin.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

/* "x float32 [batch, 784]"; the name alone where no shape is known */
static void add_tensor(og_text *text, const og_tensor_info *info)
{
    og_text_printf(text, "%s%s", text->length ? ", " : "", info->name);
    for (int i = 0; i < info->rank; i++) {
        if (i == 0)
            og_text_printf(text, " %s [", og_dtype_name(info->dtype));
        else
            og_text_add(text, ", ");
        if (info->dims[i] < 0)
            og_text_add(text, info->dim_names[i]);
        else
            og_text_printf(text, "%" PRId64, info->dims[i]);
    }
    og_text_add(text, info->rank > 0 ? "]" : "");
}

static void say_made(const og__run *run, const char *output)
{
    og_model_info model;
    og_text inputs = {0}, outputs = {0};
    og_tensor_info info;
    char size[32];
    og_model_describe(run->model, &model);
    for (int i = 0; og_model_input(run->model, i, &info) == OG_OK; i++)
        add_tensor(&inputs, &info);
    for (int i = 0; og_model_output(run->model, i, &info) == OG_OK; i++)
        add_tensor(&outputs, &info);
    og__say("ongrad %s: wrote %s, a new %s", og_version(), output, run->model_name);
    og__say("  %-11s %d tensors, %" PRId64 " parameters, %s; %d nodes", "trained", model.parameters,
            model.parameter_elements,
            og_format_bytes(size, (uint64_t)model.parameter_elements * sizeof(float)), model.nodes);
    og__say("  %-11s %s", "inputs", inputs.s ? inputs.s : "");
    og__say("  %-11s %s", "outputs", outputs.s ? outputs.s : "");
    og_text_free(&inputs);
    og_text_free(&outputs);
}

/* ---- what comes next */

static void add_data(const og__run *run, og__next *next)
{
    og_tensor_info info;
    char source[256];
    for (int i = 0; og_model_input(run->model, i, &info) == OG_OK; i++) {
        snprintf(source, sizeof source, "%s=PATH", info.name);
        og__next_add(next, "--data");
        og__next_add(next, source);
    }
}

static void add_loss(const og__run *run, og__next *next)
{
    og_tensor_info info;
    bool classes = og_model_output(run->model, 0, &info) == OG_OK && !strcmp(info.name, "logits");
    og__next_add(next, "--loss");
    og__next_add(next, classes ? "cross_entropy" : "mse");
}

static int make(og__run *run)
{
    const char *output = og__argument(run->arguments, "output");
    output = output ? output : "model.onnx";
    OG__TRY(og__run_check_writable(run, "--output", output));
    if (access(output, F_OK) == 0 && !og__argument_flag(run->arguments, "overwrite"))
        return og__say_error(run->command, OG__EXIT_USAGE, "%s exists; --overwrite replaces it",
                             output);
    OG__TRY(og__run_new_model(run));
    if (og_model_save(run->model, output) != OG_OK)
        return og__run_failed(run);
    if (!run->quiet)
        say_made(run, output);
    og__next next = {0};
    og__next_line(&next, "plan", output);
    add_loss(run, &next);
    og__next_line(&next, "train", output);
    add_data(run, &next);
    og__next_add(&next, "--target");
    og__next_add(&next, "PATH");
    add_loss(run, &next);
    og__next_say(&next, run->quiet);
    return OG__EXIT_DONE;
}

int og__command_new(const og__arguments *a)
{
    og__run run;
    int status = og__run_open_context(&run, a);
    if (status == OG__EXIT_DONE)
        status = make(&run);
    og__run_close(&run);
    return status;
}
