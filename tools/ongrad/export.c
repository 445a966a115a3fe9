/* ongrad export: a copy of the model in inference form, as train writes it, without training; in
 * another precision, opset or with other dims if that is asked for. Of a checkpoint: what the run
 * has learned so far (run.c). */
#include <string.h>
#include <sys/stat.h>

#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

enum { MOST_DIMS = 64 };

static int read_options(const og__run *run, const char **dims, og_export *how)
{
    const og__arguments *a = run->arguments;
    const char *amp = og__argument(a, "amp"), *dim;
    *how = (og_export){.dims = dims,
                       .opset = (int)og__argument_int(a, "opset"),
                       .single_file = og__argument_flag(a, "single_file")};
    if (!strcmp(amp, "fp16"))
        how->half = OG_FLOAT16;
    else if (strcmp(amp, "off") != 0)
        return og__say_error(run->command, OG__EXIT_USAGE, "--amp is \"%s\", expected fp16 or off",
                             amp);
    while ((dim = og__argument_at(a, "dim", how->n_dims))) {
        if (how->n_dims == MOST_DIMS)
            return og__say_error(run->command, OG__EXIT_USAGE, "more than %d --dim", MOST_DIMS);
        dims[how->n_dims++] = dim;
    }
    return OG__EXIT_DONE;
}

/* "wrote exported.onnx: 1.2 MB, float16, opset 17, batch=1" */
static void say_written(const og__run *run, const char *output, const og_export *how)
{
    struct stat info;
    char size[32];
    og_text text = {0};
    if (run->quiet)
        return;
    og_text_printf(&text, "wrote %s", output);
    if (stat(output, &info) == 0)
        og_text_printf(&text, ": %s", og_format_bytes(size, (uint64_t)info.st_size));
    if (how->half == OG_FLOAT16)
        og_text_add(&text, ", float16");
    if (how->opset)
        og_text_printf(&text, ", opset %d", how->opset);
    for (int i = 0; i < how->n_dims; i++)
        og_text_printf(&text, ", %s", how->dims[i]);
    og__say("%s", text.s ? text.s : output);
    og_text_free(&text);
}

static int export_model(og__run *run)
{
    const char *output = og__argument(run->arguments, "output"), *dims[MOST_DIMS];
    og_export how;
    output = output ? output : "exported.onnx";
    OG__TRY(read_options(run, dims, &how));
    OG__TRY(og__run_check_writable(run, "--output", output));
    OG__TRY(og__run_without_loss(run));
    OG__TRY(og__run_bind_shapes(run, 1, 1));
    OG__TRY(og__run_start(run));
    if (og_session_export(run->session, output, &how) != OG_OK)
        return og__run_failed(run);
    say_written(run, output, &how);
    og__next next = {0};
    og__next_line(&next, "inspect", output);
    og__next_line(&next, "predict", output);
    og__next_add(&next, "--data");
    og__next_add(&next, "PATH");
    og__next_say(&next, run->quiet);
    return OG__EXIT_DONE;
}

int og__command_export(const og__arguments *a)
{
    og__run run;
    int status = og__run_open(&run, a);
    if (status == OG__EXIT_DONE)
        status = export_model(&run);
    og__run_close(&run);
    return status;
}
