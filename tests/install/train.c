/* Trains a model from memory: train FOLDER, with model.onnx, x.npy and target.npy (tabular's) in
 * it. Prints the loss before and after; exit status 0 if it halved. */
#include <ongrad.h>
#include <stdio.h>
static size_t read_file(const char *folder, const char *name, unsigned char *bytes, size_t room)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    size_t size = f ? fread(bytes, 1, room, f) : 0;
    return f && fclose(f) == 0 ? size : 0;
}
int main(int argc, char **argv)
{
    static unsigned char file[3][1 << 20];
    const char *folder = argc == 2 ? argv[1] : ".";
    size_t size = read_file(folder, "model.onnx", file[0], sizeof file[0]);
    if (!size || !read_file(folder, "x.npy", file[1], sizeof file[1]) ||
        !read_file(folder, "target.npy", file[2], sizeof file[2]))
        return fprintf(stderr, "train FOLDER: cannot read it\n"), 2;
    const void *x = file[1] + 128, *target = file[2] + 128; /* behind a .npy file's header */
    og_tensor_info in = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {64, 12}};
    og_tensor_info out = {.name = "y", .dtype = OG_FLOAT, .rank = 1, .dims = {64}};
    og_context *context = og_context_new(NULL);
    og_model *model = og_model_load_memory(context, file[0], size, folder);
    og_options *options = og_options_new(context);
    og_options_set(options, "loss", "bce_with_logits");
    og_options_set(options, "lr", "1e-2");
    og_session *session = og_session_new(model, options, &in, 1, &out, 1);
    og_step_result first = {0}, last = {0};
    og_status status = session ? OG_OK : og_error_status(context);
    for (int i = 0; status == OG_OK && i < 200; i++)
        status = og_session_train_step(session, &x, &target, 64, i ? &last : &first);
    if (status != OG_OK)
        return fprintf(stderr, "%s\n", og_error_message(context)), 1;
    printf("ongrad %s: loss %.4f before, %.4f after\n", og_version(), first.loss, last.loss);
    og_session_free(session), og_options_free(options), og_model_free(model);
    og_context_free(context);
    return last.loss < first.loss / 2 ? 0 : 1;
}
