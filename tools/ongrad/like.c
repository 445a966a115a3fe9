/* --like TRAINED.onnx: the run that made a trained model once more, with what the command line says
 * differently. Its settings, model and data are in the metadata of what train writes. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/ongrad/resume.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/stored.h"

static int no_memory(const og__arguments *a)
{
    return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory for --like");
}

/* The model it began with, unless another one is given. */
static int take_model(og__arguments *a, const char *path, const char *model)
{
    a->like = strdup(model ? model : "");
    if (!a->like)
        return no_memory(a);
    og__unescape(a->like);
    if (a->model || !*a->like)
        return OG__EXIT_DONE;
    if (access(a->like, R_OK) != 0)
        return og__say_error(a->command->name, OG__EXIT_FAILED,
                             "--like: %s was trained from %s, which cannot be read here; name the "
                             "model: ongrad %s MODEL.onnx --like %s",
                             path, a->like, a->command->name, path);
    a->model = a->like;
    return OG__EXIT_DONE;
}

static int take(og__arguments *a, const char *path, const og_model *m)
{
    const char *options = og_model_metadata(m, "ongrad.options"),
               *data = og_model_metadata(m, "ongrad.data");
    if (!options)
        return og__say_error(a->command->name, OG__EXIT_USAGE,
                             "--like: %s does not say how it was trained: it was not written by "
                             "ongrad train",
                             path);
    char *text = strdup(options);
    a->like_data = strdup(data ? data : "");
    int status = text && a->like_data ? take_model(a, path, og_model_metadata(m, "ongrad.model"))
                                      : no_memory(a);
    if (status == OG__EXIT_DONE)
        status = og__take_settings(a, text, "like", path);
    free(text);
    return status;
}

int og__like_arguments(og__arguments *a)
{
    const char *path = og__argument(a, "like");
    if (a->resumed)
        return OG__EXIT_DONE; /* --resume auto found the run, whose settings it has */
    if (og__argument_is_set(a, "resume") && strcmp(og__argument(a, "resume"), "auto") != 0)
        return og__say_error(a->command->name, OG__EXIT_USAGE,
                             "--like begins a run anew, --resume goes on with one");
    og_context *context = og_context_new(&(og_context_config){.threads = 1, .device = "cpu"});
    if (!context)
        return no_memory(a);
    og_model *m = og_model_load(context, path);
    int status = m ? take(a, path, m)
                   : og__say_error(a->command->name, OG__EXIT_FAILED, "--like: %s",
                                   og_error_message(context));
    og_model_free(m);
    og_context_free(context);
    return status;
}
