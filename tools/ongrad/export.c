/* ongrad export: a copy of the model in inference form, as train writes it, without training. */
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

static int export_model(og__run *run)
{
    const char *output = og__argument(run->arguments, "output");
    output = output ? output : "exported.onnx";
    OG__TRY(og__run_check_writable(run, "--output", output));
    OG__TRY(og__run_without_loss(run));
    OG__TRY(og__run_bind_shapes(run, 1, 1));
    OG__TRY(og__run_start(run));
    if (og_session_save(run->session, output) != OG_OK)
        return og__run_failed(run);
    if (!run->quiet)
        og__say("wrote %s", output);
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
