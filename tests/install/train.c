/* Trains a small model from memory, on the installed library alone: train FOLDER, with model.onnx,
 * x.npy and target.npy in it. Prints the loss before and after; exit status 0 if it halved. */
#include <ongrad.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t read_file(const char *folder, const char *name, unsigned char **bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    *bytes = f ? malloc(1 << 20) : NULL;
    size_t size = *bytes ? fread(*bytes, 1, 1 << 20, f) : 0;
    if (f)
        fclose(f);
    return size;
}

int main(int argc, char **argv)
{
    unsigned char *model_bytes, *x, *target;
    size_t size = argc == 2 ? read_file(argv[1], "model.onnx", &model_bytes) : 0;
    if (!size || !read_file(argv[1], "x.npy", &x) || !read_file(argv[1], "target.npy", &target))
        return fprintf(stderr, "train FOLDER: cannot read it\n"), 2;
    /* .npy: 10 bytes, then a header whose length is in bytes 8 and 9, then the elements */
    const void *inputs[] = {x + 10 + x[8] + 256 * x[9]},
               *targets[] = {target + 10 + target[8] + 256 * target[9]};
    og_tensor_info in = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {64, 12}};
    og_tensor_info out = {.name = "y", .dtype = OG_FLOAT, .rank = 1, .dims = {64}};

    og_context *context = og_context_new(NULL);
    og_model *model = og_model_load_memory(context, model_bytes, size, argv[1]);
    og_options *options = og_options_new(context);
    og_options_set(options, "loss", "bce_with_logits");
    og_options_set(options, "lr", "1e-2");
    og_session *session = og_session_new(model, options, &in, 1, &out, 1);
    og_step_result step = {0};
    double first = 0;
    og_status status = session ? OG_OK : og_error_status(context);
    for (int i = 0; status == OG_OK && i < 200; i++) {
        status = og_session_train_step(session, inputs, targets, 64, &step);
        first = i ? first : step.loss;
    }
    if (status != OG_OK)
        return fprintf(stderr, "%s\n", og_error_message(context)), 1;
    printf("ongrad %s: loss %.4f before, %.4f after\n", og_version(), first, step.loss);
    og_session_free(session);
    og_options_free(options);
    og_model_free(model);
    og_context_free(context);
    free(model_bytes), free(x), free(target);
    return step.loss < first / 2 ? 0 : 1;
}
