/* Writes what another engine needs to repeat a training step:
 *
 *     save_step CASE OUT STEPS [loss=mse optimizer=sgd …]
 *
 * CASE holds model.onnx, one INPUT.npy a graph input and target.npy, which are one batch. The
 * arguments after STEPS are options of the session. OUT (a folder that exists) gets micro.onnx,
 * update.onnx and forward.onnx, saved before anything ran, and after STEPS optimizer steps on the
 * batch trained.onnx and, as output_N.npy, the outputs that the trained session predicts from the
 * inputs. On stdout: each step's result, a JSON object a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/data.h"
#include "runtime/ongrad.h"

enum { MOST_INPUTS = 16, MOST_OUTPUTS = 16 };

typedef struct batch {
    og_array *arrays[MOST_INPUTS];
    og_tensor_info inputs[MOST_INPUTS], target;
    const void *data[MOST_INPUTS], *target_data;
    int n;
} batch;

static bool open_array(const char *folder, const char *name, og_array **array, og_tensor_info *info)
{
    char path[4096];
    og_error error = {0};
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    *array = og_array_open(path, &error);
    if (!*array) {
        fprintf(stderr, "%s\n", og_error_text(&error));
        og_error_clear(&error);
        return false;
    }
    info->name = name;
    info->dtype = og_array_dtype(*array);
    info->rank = og_array_rank(*array);
    memcpy(info->dims, og_array_dims(*array), sizeof(int64_t) * (size_t)info->rank);
    return true;
}

/* arrays[n] is the target's. */
static bool open_batch(const char *folder, const og_model *model, batch *b)
{
    b->n = og_model_input_count(model);
    if (b->n >= MOST_INPUTS)
        return false;
    for (int i = 0; i < b->n; i++) {
        og_model_input(model, i, &b->inputs[i]);
        if (!open_array(folder, b->inputs[i].name, &b->arrays[i], &b->inputs[i]))
            return false;
        b->data[i] = og_array_data(b->arrays[i]);
    }
    if (!open_array(folder, "target", &b->arrays[b->n], &b->target))
        return false;
    b->target_data = og_array_data(b->arrays[b->n]);
    return true;
}

static og_status save_graphs(og_session *session, const char *out)
{
    static const char *const graphs[] = {"micro", "update", "forward"};
    og_status status = OG_OK;
    for (size_t i = 0; i < sizeof graphs / sizeof *graphs && status == OG_OK; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.onnx", out, graphs[i]);
        status = og_session_save_graph(session, graphs[i], path);
    }
    return status;
}

static og_status save_outputs(og_session *session, int n, const batch *b, const char *out)
{
    og_tensor_info info[MOST_OUTPUTS];
    void *data[MOST_OUTPUTS] = {NULL};
    og_status status = n <= MOST_OUTPUTS ? OG_OK : OG_INVALID_ARGUMENT;
    for (int i = 0; i < n && status == OG_OK; i++) {
        status = og_session_output(session, i, &info[i]);
        size_t bytes = (size_t)og_dtype_bits(info[i].dtype) / 8;
        for (int k = 0; k < info[i].rank; k++)
            bytes *= (size_t)info[i].dims[k];
        data[i] = malloc(bytes + 1);
        if (!data[i])
            status = OG_OUT_OF_MEMORY;
    }
    if (status == OG_OK)
        status = og_session_predict(session, b->data, b->inputs[0].dims[0], data);
    for (int i = 0; i < n && status == OG_OK; i++) {
        char path[4096];
        og_error error = {0};
        snprintf(path, sizeof path, "%s/output_%d.npy", out, i);
        status = og_npy_write(path, info[i].dtype, info[i].rank, info[i].dims, data[i], &error);
        og_error_clear(&error);
    }
    for (int i = 0; i < n && i < MOST_OUTPUTS; i++)
        free(data[i]);
    return status;
}

static og_status train(og_session *session, int steps, const batch *b)
{
    const void *targets[] = {b->target_data};
    for (int done = 0; done < steps;) {
        og_step_result r;
        og_status status =
            og_session_train_step(session, b->data, targets, b->inputs[0].dims[0], &r);
        if (status != OG_OK)
            return status;
        if (r.updated)
            printf("{\"loss\": %.17g, \"grad_norm\": %.17g, \"lr\": %.17g}\n", r.loss, r.grad_norm,
                   r.lr);
        done += r.updated;
    }
    return OG_OK;
}

static og_status run(og_session *session, int outputs, int steps, const batch *b, const char *out)
{
    char path[4096];
    og_status status = save_graphs(session, out);
    if (status == OG_OK)
        status = train(session, steps, b);
    snprintf(path, sizeof path, "%s/trained.onnx", out);
    if (status == OG_OK)
        status = og_session_save(session, path);
    return status == OG_OK ? save_outputs(session, outputs, b, out) : status;
}

static bool set_options(og_options *options, int n, char **settings)
{
    for (int i = 0; i < n; i++) {
        char *equal = strchr(settings[i], '=');
        if (!equal)
            return false;
        *equal = '\0';
        if (og_options_set(options, settings[i], equal + 1) != OG_OK)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    int steps = argc < 4 ? 0 : atoi(argv[3]);
    if (steps < 1) {
        fprintf(stderr, "usage: save_step CASE OUT STEPS [OPTION=VALUE …]\n");
        return 2;
    }
    char path[4096];
    batch b = {0};
    snprintf(path, sizeof path, "%s/model.onnx", argv[1]);
    og_context *context = og_context_new(NULL);
    og_model *model = context ? og_model_load(context, path) : NULL;
    og_options *options = model ? og_options_new(context) : NULL;
    og_session *session = NULL;
    bool good =
        options && set_options(options, argc - 4, argv + 4) && open_batch(argv[1], model, &b);
    if (good) {
        session = og_session_new(model, options, b.inputs, b.n, &b.target, 1);
        good = session && run(session, og_model_output_count(model), steps, &b, argv[2]) == OG_OK;
    }
    if (!good)
        fprintf(stderr, "%s\n", context ? og_error_message(context) : "no memory");
    og_session_free(session);
    og_options_free(options);
    og_model_free(model);
    og_context_free(context);
    for (int i = 0; i <= b.n && i < MOST_INPUTS; i++)
        og_array_free(b.arrays[i]);
    return good ? 0 : 1;
}
