#include "tools/ongrad/loss_files.h"

#include <string.h>

#include "tools/ongrad/say.h"

/* Is a tensor of this loss model trained? */
static bool is_trained(const og__run *run, const og_loss_info *loss)
{
    int n = loss->is_model ? og_model_parameter_count(run->model, run->options) : 0;
    bool any = false;
    for (int i = 0; i < n; i++) {
        og_parameter_info p;
        any |= og_model_parameter(run->model, i, &p) == OG_OK && og__is_of_loss(&p, loss);
    }
    return any;
}

/* false: nothing is to be written of this loss. */
static bool path_of(const og__run *run, int i, const char *output, og_text *path)
{
    const og_loss_info *loss = &run->losses.items[i];
    size_t length = strlen(output), ending = strlen(".onnx");
    if (!is_trained(run, loss))
        return false;
    if (length > ending && !strcmp(output + length - ending, ".onnx"))
        length -= ending;
    og_text_printf(path, "%.*s.%s.onnx", (int)length, output, loss->name);
    return !path->failed;
}

int og__loss_files_check(const og__run *run, const char *output)
{
    int status = OG__EXIT_DONE;
    for (int i = 0; i < run->losses.n && status == OG__EXIT_DONE; i++) {
        og_text path = {0};
        if (path_of(run, i, output, &path))
            status = og__run_check_writable(run, "the trained loss model", path.s);
        og_text_free(&path);
    }
    return status;
}

int og__loss_files_save(const og__run *run, const char *output)
{
    int status = OG__EXIT_DONE;
    for (int i = 0; i < run->losses.n && status == OG__EXIT_DONE; i++) {
        og_text path = {0};
        if (path_of(run, i, output, &path)) {
            if (og_session_save_loss(run->session, i, path.s) != OG_OK)
                status = og__run_failed(run);
        }
        og_text_free(&path);
    }
    return status;
}

void og__loss_files_say(const og__run *run, const char *output)
{
    for (int i = 0; i < run->losses.n && !run->quiet; i++) {
        og_text path = {0};
        if (path_of(run, i, output, &path))
            og__say("    its loss model %s was trained, too; wrote %s", run->losses.items[i].loss,
                    path.s);
        og_text_free(&path);
    }
}

void og__loss_files_next(og__next *next, const og__run *run, const char *output)
{
    const char *text;
    for (int i = 0; (text = og__argument_at(run->arguments, "loss", i)); i++) {
        og_text path = {0};
        og__next_add(next, "--loss");
        if (i < run->losses.n && path_of(run, i, output, &path)) {
            og_text_add(&path, text + strlen(run->losses.items[i].loss));
            og__next_add(next, path.s ? path.s : text);
        } else {
            og__next_add(next, text);
        }
        og_text_free(&path);
    }
}
