/* What a session takes of memory, against what its plan says; and weights that lie unaligned in
 * their file. */
#include <stdlib.h>
#include <unistd.h>

#include "runtime/ongrad.h"
#include "tests/onnx/model_writer.h"
#include "tests/resident.h"
#include "tests/test.h"

enum { BATCH = 4, WIDE = 2048, NARROW = 8 };

static float weight(int i)
{
    return (float)(i % 13 - 6) / 64;
}

/* h = x w, y = h v; w [WIDE, WIDE], v [WIDE, NARROW]. `pad`: bytes before the weights. */
static bool write_model(const char *path, size_t pad)
{
    static const int64_t x[] = {-1, WIDE}, y[] = {-1, NARROW}, w[] = {WIDE, WIDE},
                         v[] = {WIDE, NARROW};
    float *data = malloc(sizeof(float) * WIDE * WIDE);
    if (!data)
        abort();
    for (int i = 0; i < WIDE * WIDE; i++)
        data[i] = weight(i);
    pb g = {0}, node = pb_node("MatMul", "first", "x w", "h");
    pb_bytes(&node, 6, "abcd", pad); /* doc_string */
    pb_message(&g, 1, node);
    pb_message(&g, 1, pb_node("MatMul", "second", "h v", "y"));
    pb_message(&g, 5, pb_floats("w", 2, w, data));
    pb_message(&g, 5, pb_floats("v", 2, v, data));
    pb_message(&g, 11, pb_value("x", 2, x));
    pb_message(&g, 12, pb_value("y", 2, y));
    free(data);
    pb m = pb_model(g, 17);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(m.bytes, 1, m.size, f) == m.size;
    pb_free(&m);
    return f && fclose(f) == 0 && good;
}

/* y of the written model, in double. */
static void expected(const float *x, double *y)
{
    static double h[WIDE];
    for (int b = 0; b < BATCH; b++) {
        for (int k = 0; k < WIDE; k++) {
            h[k] = 0;
            for (int i = 0; i < WIDE; i++)
                h[k] += (double)x[b * WIDE + i] * (double)weight(i * WIDE + k);
        }
        for (int j = 0; j < NARROW; j++) {
            y[b * NARROW + j] = 0;
            for (int k = 0; k < WIDE; k++)
                y[b * NARROW + j] += h[k] * (double)weight(k * NARROW + j);
        }
    }
}

static float x[BATCH * WIDE], target[BATCH * NARROW];
static const void *const inputs[] = {x}, *const targets[] = {target};
static const og_tensor_info input = {.dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, WIDE}};
static const og_tensor_info wanted = {.dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, NARROW}};

typedef struct run {
    og_context *context;
    og_model *model;
    og_options *options;
    og_session *session;
} run;

/* freeze: a glob of what is not trained, or NULL. */
static bool start(run *r, const char *path, const char *freeze)
{
    r->context = og_context_new(&(og_context_config){.threads = 1});
    r->model = og_model_load(r->context, path);
    r->options = og_options_new(r->context);
    if (r->model && og_options_set(r->options, "loss", "mse") == OG_OK &&
        (!freeze || og_options_set(r->options, "freeze", freeze) == OG_OK))
        r->session = og_session_new(r->model, r->options, &input, 1, &wanted, 1);
    if (!r->session)
        printf("    %s\n", og_error_message(r->context));
    return r->session != NULL;
}

static void end(run *r)
{
    og_session_free(r->session);
    og_options_free(r->options);
    og_model_free(r->model);
    og_context_free(r->context);
}

/* Training takes what was predicted, and neither the file's pages nor copies of its weights. What
 * is left above it is code, and what the libraries keep for themselves. */
TEST(as_much_as_predicted)
{
    const int64_t slack = 14 << 20; /* w has 16 MiB */
    if (!og_test_can_measure_resident())
        SKIP("resident memory cannot be measured here");
    REQUIRE(write_model("resident.onnx", 1));
    int64_t before = og_test_resident();
    run r = {0};
    REQUIRE(start(&r, "resident.onnx", NULL));
    og_step_result result;
    og_memory_report memory;
    for (int i = 0; i < 2; i++)
        CHECK_INT(og_session_train_step(r.session, inputs, targets, BATCH, &result), OG_OK);
    og_session_memory(r.session, &memory);
    int64_t taken = og_test_resident() - before;
    printf("    predicted %.1f MB, taken %.1f MB\n", 1e-6 * (double)memory.peak,
           1e-6 * (double)taken);
    CHECK(taken < (int64_t)memory.peak + slack);
    CHECK_INT(og_session_save(r.session, "trained.onnx"), OG_OK);
    CHECK(og_test_resident() - before < (int64_t)memory.peak + slack);
    end(&r);
    unlink("resident.onnx");
    unlink("trained.onnx");
}

/* Frozen and trained weights at every offset from an aligned address. */
TEST(weights_at_any_address)
{
    static double y[BATCH * NARROW];
    static const char *const frozen[] = {NULL, "w"};
    for (int i = 0; i < BATCH * WIDE; i++)
        x[i] = (float)(i % 7 - 3) / 4;
    expected(x, y);
    for (size_t pad = 0; pad < 4; pad++)
        for (int k = 0; k < 2; k++) {
            REQUIRE(write_model("offset.onnx", pad));
            run r = {0};
            og_step_result result;
            float out[BATCH * NARROW];
            void *outputs[] = {out};
            REQUIRE(start(&r, "offset.onnx", frozen[k]));
            CHECK_INT(og_session_predict(r.session, inputs, BATCH, outputs), OG_OK);
            double largest = 0;
            for (int i = 0; i < BATCH * NARROW; i++)
                largest = fmax(largest, fabs(y[i]));
            for (int i = 0; i < BATCH * NARROW; i++) /* sums of 2048 floats, twice */
                CHECK_CLOSE((double)out[i] / largest, y[i] / largest, 1e-5);
            CHECK_INT(og_session_train_step(r.session, inputs, targets, BATCH, &result), OG_OK);
            CHECK_INT(og_session_save(r.session, "offset_trained.onnx"), OG_OK);
            end(&r);
        }
    unlink("offset.onnx");
    unlink("offset_trained.onnx");
}

static const og_test tests[] = {
    TEST_ROW(as_much_as_predicted),
    TEST_ROW(weights_at_any_address),
};
TEST_MAIN(tests)
