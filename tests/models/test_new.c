/* Built-in models through the public interface: made, described, trained and saved in one process,
 * and what cannot be made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/ongrad.h"
#include "tests/test.h"

/* Small ones of every type: pairs of option and value. */
static const struct small {
    const char *type;
    const char *settings[20];
} smalls[] = {
    {"transformer",
     {"num_layers", "1", "d_model", "8", "num_heads", "2", "feature_size", "4", "feature_steps",
      "2", "frames", "2", "video_size", "9", "face_size", "17"}},
    {"lightweight_transformer",
     {"d_model", "8", "streams", "video", "num_outputs", "2", "frames", "2", "video_size", "9"}},
    {"mlp", {"input_size", "3", "hidden_sizes", "5,4", "dropout", "0.5"}},
    {"cnn", {"image_size", "8", "conv_channels", "2,3", "hidden_size", "4"}},
    {"resnet", {"image_size", "8", "num_classes", "3"}},
    {"vit", {"image_size", "8", "patch_size", "4", "num_layers", "1", "d_model", "8"}},
    {"gpt",
     {"vocab_size", "7", "sequence_length", "5", "num_layers", "1", "d_model", "8", "tie_head",
      "off"}},
    {"bert", {"vocab_size", "7", "sequence_length", "5", "num_layers", "1", "d_model", "8"}},
    {"lstm", {"input_size", "3", "sequence_length", "4", "hidden_size", "5"}},
};
enum { SMALLS = sizeof(smalls) / sizeof(*smalls), BATCH = 2 };

static og_options *options_of(og_context *c, const char *const *settings)
{
    og_options *o = og_options_new(c);
    for (int i = 0; o && settings && settings[i]; i += 2)
        CHECK_INT(og_options_set(o, settings[i], settings[i + 1]), OG_OK);
    return o;
}

TEST(lists_every_type_once)
{
    const og_model_type *type;
    int n = 0;
    for (; (type = og_model_type_at(n)); n++) {
        CHECK(*type->name && *type->summary);
        for (int k = 0; k < n; k++)
            CHECK(strcmp(og_model_type_at(k)->name, type->name) != 0);
        for (const og_model_option *o = type->options; o->name; o++) {
            const og_option_info *row = og_option_table();
            while (row->name && strcmp(row->name, o->name) != 0)
                row++;
            TEST_CASE(o->name);
            CHECK(row->name != NULL); /* each is an option of the library */
        }
    }
    CHECK_INT(n, SMALLS);
    CHECK(og_model_type_at(-1) == NULL);
}

static size_t elements(const og_tensor_info *t)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= (size_t)t->dims[i];
    return n;
}

/* Inputs of zeros, which are tokens, too; targets of zeros. */
static void train_a_step(og_context *c, og_model *m, og_options *o)
{
    og_tensor_info inputs[4] = {0}, target;
    const void *x[4] = {0};
    void *t = NULL;
    int n = og_model_input_count(m);
    REQUIRE(n <= 4);
    for (int i = 0; i < n; i++) {
        CHECK_INT(og_model_input(m, i, &inputs[i]), OG_OK);
        CHECK_STR(inputs[i].dim_names[0], "batch");
        inputs[i].dims[0] = BATCH;
        inputs[i].dim_names[0] = NULL;
        x[i] = calloc(elements(&inputs[i]), 8);
    }
    og_model_output(m, 0, &target);
    CHECK_INT(og_options_set(o, "loss", strcmp(target.name, "logits") ? "mse" : "cross_entropy"),
              OG_OK);
    og_session *s = og_session_new(m, o, inputs, n, NULL, 0);
    CHECK_STR(og_error_message(c), "");
    if (s && og_session_target(s, 0, &target) == OG_OK)
        t = calloc(elements(&target), 8);
    og_step_result result = {0};
    if (t) {
        CHECK_INT(og_session_train_step(s, x, (const void *[]){t}, BATCH, &result), OG_OK);
        CHECK(result.updated && !result.skipped && result.grad_norm > 0);
        CHECK_INT(og_session_save(s, "trained.onnx"), OG_OK);
    }
    CHECK_STR(og_error_message(c), "");
    og_session_free(s);
    free(t);
    for (int i = 0; i < n; i++)
        free((void *)x[i]);
}

TEST(makes_trains_saves_and_loads)
{
    og_context *c = og_context_new(NULL);
    REQUIRE(c);
    for (int i = 0; i < SMALLS; i++) {
        TEST_CASE(smalls[i].type);
        og_options *o = options_of(c, smalls[i].settings);
        og_model *m = og_model_new(c, smalls[i].type, o);
        CHECK_STR(og_error_message(c), "");
        REQUIRE(m);
        og_model_info made, loaded;
        og_model_describe(m, &made);
        CHECK_INT(og_model_save(m, "model.onnx"), OG_OK);
        train_a_step(c, m, o); /* which leaves the model as it was made */
        CHECK_INT(og_model_save(m, "again.onnx"), OG_OK);
        og_model *twin = og_model_load(c, "again.onnx"),
                 *trained = og_model_load(c, "trained.onnx");
        CHECK_STR(og_error_message(c), "");
        REQUIRE(twin && trained);
        og_model_describe(twin, &loaded);
        CHECK_INT(loaded.parameter_elements, made.parameter_elements);
        CHECK_INT(loaded.parameters, made.parameters);
        CHECK_INT(loaded.opset, 20);
        CHECK_STR(loaded.producer, "ongrad");
        og_model_free(trained);
        og_model_free(twin);
        og_model_free(m);
        og_options_free(o);
    }
    og_context_free(c);
}

static char *content(const char *path, long *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    *size = 0;
    if (file && fseek(file, 0, SEEK_END) == 0 && (*size = ftell(file)) > 0 &&
        (bytes = malloc((size_t)*size)) != NULL) {
        rewind(file);
        if (fread(bytes, 1, (size_t)*size, file) != (size_t)*size)
            *size = 0;
    }
    if (file)
        fclose(file);
    return bytes;
}

/* Weights of whole pages, which a session gives back, are drawn again as they were. */
TEST(draws_again_what_was_given_back)
{
    og_context *c = og_context_new(NULL);
    REQUIRE(c);
    og_options *seeded[3];
    for (int i = 0; i < 3; i++)
        seeded[i] = options_of(c, (const char *[]){"seed", "5", NULL});
    og_model *m = og_model_new(c, "mlp", seeded[0]);
    REQUIRE(m);
    CHECK_INT(og_model_save(m, "model.onnx"), OG_OK);
    train_a_step(c, m, seeded[0]);
    train_a_step(c, m, seeded[1]);
    CHECK_INT(og_model_save(m, "again.onnx"), OG_OK);
    CHECK_INT(og_options_set(seeded[2], "lr", "0"), OG_OK);
    train_a_step(c, m, seeded[2]);
    long n, n_again, n_trained;
    char *before = content("model.onnx", &n), *again = content("again.onnx", &n_again),
         *trained = content("trained.onnx", &n_trained);
    REQUIRE(before && again && trained);
    CHECK(n > 512 * 784 * 4);
    CHECK_INT(n_again, n);
    CHECK_INT(n_trained, n);
    CHECK(n_again == n && memcmp(before, again, (size_t)n) == 0);
    CHECK(n_trained == n && memcmp(before, trained, (size_t)n) == 0);
    free(before);
    free(again);
    free(trained);
    og_model_free(m);
    for (int i = 0; i < 3; i++)
        og_options_free(seeded[i]);
    og_context_free(c);
}

TEST(takes_type_and_defaults_from_the_options)
{
    og_context *c = og_context_new(NULL);
    REQUIRE(c);
    og_options *o = options_of(c, (const char *[]){"model_type", "mlp", NULL});
    og_model *m = og_model_new(c, NULL, o), *bare = og_model_new(c, "mlp", NULL);
    REQUIRE(m && bare);
    og_model_info info, same;
    og_model_describe(m, &info);
    og_model_describe(bare, &same);
    CHECK_INT(info.parameter_elements, 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10);
    CHECK_INT(same.parameter_elements, info.parameter_elements);
    og_model_free(m);
    og_model_free(bare);
    og_options_free(o);
    og_context_free(c);
}

TEST(says_what_cannot_be_made)
{
    static const struct refused {
        const char *type, *settings[3], *said;
        og_status status;
    } cases[] = {
        {"MLP", {NULL}, "unknown model type \"MLP\"; there are ", OG_INVALID_ARGUMENT},
        {"vti", {NULL}, "did you mean vit?", OG_INVALID_ARGUMENT},
        {"", {NULL}, "unknown model type \"\"", OG_INVALID_ARGUMENT},
        {"lstm", {"depth", "18"}, "lstm has no option depth", OG_INVALID_ARGUMENT},
        {"lstm", {"hidden_size", "0"}, "hidden_size is 0, expected 1 to", OG_INVALID_ARGUMENT},
        {"gpt", {"num_heads", "7"}, "d_model is 768, which num_heads, 7,", OG_INVALID_ARGUMENT},
        {"gpt", {"dropout", "nan"}, "", OG_OK}, /* refused by og_options_set */
        {"lstm", {"hidden_size", "16777216"}, "memory are free", OG_OUT_OF_MEMORY},
    };
    og_context *c = og_context_new(NULL);
    REQUIRE(c);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        TEST_CASE(cases[i].said);
        og_options *o = og_options_new(c);
        REQUIRE(o);
        if (cases[i].settings[0] &&
            og_options_set(o, cases[i].settings[0], cases[i].settings[1]) != OG_OK) {
            CHECK_INT(cases[i].status, OG_OK);
            og_options_free(o);
            continue;
        }
        CHECK(og_model_new(c, cases[i].type, o) == NULL);
        CHECK_INT(og_error_status(c), cases[i].status);
        CHECK(strstr(og_error_message(c), cases[i].said) != NULL);
        og_options_free(o);
    }
    og_model *m = og_model_new(c, "mlp", NULL);
    REQUIRE(m);
    CHECK_INT(og_model_save(m, "no/where.onnx"), OG_IO_ERROR);
    CHECK(*og_error_message(c));
    og_model_free(m);
    og_context_free(c);
}

static const og_test tests[] = {
    TEST_ROW(lists_every_type_once),           TEST_ROW(makes_trains_saves_and_loads),
    TEST_ROW(draws_again_what_was_given_back), TEST_ROW(takes_type_and_defaults_from_the_options),
    TEST_ROW(says_what_cannot_be_made),
};
TEST_MAIN(tests)
