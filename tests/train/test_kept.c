/* What a session keeps of weights is never older than they are: after updates, and after parameters
 * were set, also between the micro-batches of an update. */
#include <unistd.h>

#include "runtime/ongrad.h"
#include "tests/onnx/model_writer.h"
#include "tests/test.h"

enum { BATCH = 4, WIDE = 6, NARROW = 3, WEIGHTS = WIDE * NARROW };

static const og_tensor_info input = {.dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, WIDE}};
static const og_tensor_info wanted = {.dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, NARROW}};
static float x[BATCH * WIDE], target[BATCH * NARROW];
static const void *const inputs[] = {x}, *const targets[] = {target};

/* y = x exp(w), w [WIDE, NARROW] zero */
static bool write_model(const char *path)
{
    static const int64_t x_dims[] = {-1, WIDE}, y_dims[] = {-1, NARROW}, w_dims[] = {WIDE, NARROW};
    static const float zeros[WEIGHTS];
    pb g = {0};
    pb_message(&g, 1, pb_node("Exp", "positive", "w", "e"));
    pb_message(&g, 1, pb_node("MatMul", "product", "x e", "y"));
    pb_message(&g, 5, pb_floats("w", 2, w_dims, zeros));
    pb_message(&g, 11, pb_value("x", 2, x_dims));
    pb_message(&g, 12, pb_value("y", 2, y_dims));
    pb m = pb_model(g, 17);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(m.bytes, 1, m.size, f) == m.size;
    pb_free(&m);
    return f && fclose(f) == 0 && good;
}

typedef struct run {
    og_context *context;
    og_model *model;
    og_options *options;
    og_session *session;
    og_memory_report memory;
} run;

/* budget 0: all there is. loss "none": it predicts. */
static bool start(run *r, const char *loss, uint64_t budget)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)budget);
    *r = (run){.context = og_context_new(&(og_context_config){.threads = 1})};
    r->model = og_model_load(r->context, "kept.onnx");
    r->options = og_options_new(r->context);
    bool good = r->model && r->options && og_options_set(r->options, "loss", loss) == OG_OK &&
                og_options_set(r->options, "gradient_accumulation_steps", "2") == OG_OK &&
                og_options_set(r->options, "lr", "0.1") == OG_OK &&
                (!budget || og_options_set(r->options, "memory_budget", text) == OG_OK);
    bool trains = strcmp(loss, "none") != 0;
    if (good)
        r->session = og_session_new(r->model, r->options, &input, 1, &wanted, trains);
    if (!r->session)
        printf("    %s\n", og_error_message(r->context));
    else
        og_session_memory(r->session, &r->memory);
    return r->session != NULL;
}

static void end(run *r)
{
    og_session_free(r->session);
    og_options_free(r->options);
    og_model_free(r->model);
    og_context_free(r->context);
}

static og_status set_weights(run *r, float value)
{
    float w[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++)
        w[i] = value;
    return og_session_set_parameter(r->session, "w", w, sizeof w);
}

static void fill(void)
{
    for (int i = 0; i < BATCH * WIDE; i++)
        x[i] = 1 + (float)(i % 3) / 4;
}

TEST(predictions_follow_parameters)
{
    static const double values[] = {0, 1, -0.5};
    float y[BATCH * NARROW];
    void *outputs[] = {y};
    run r;
    fill();
    REQUIRE(write_model("kept.onnx"));
    REQUIRE(start(&r, "none", 0));
    CHECK(r.memory.derived > 0);
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        CHECK_INT(set_weights(&r, (float)values[k]), OG_OK);
        for (int again = 0; again < 2; again++) {
            CHECK_INT(og_session_predict(r.session, inputs, BATCH, outputs), OG_OK);
            for (int b = 0; b < BATCH; b++) {
                double sum = 0;
                for (int i = 0; i < WIDE; i++)
                    sum += (double)x[b * WIDE + i];
                CHECK_CLOSE(y[b * NARROW], sum * exp(values[k]), 1e-5); /* of six floats */
            }
        }
    }
    end(&r);
    unlink("kept.onnx");
}

/* Three updates of two micro-batches; the parameter is set after the first micro-batch of the
 * second. The last weights. */
static void train(run *r, float *w)
{
    og_step_result result;
    for (int micro = 0; micro < 6; micro++) {
        CHECK_INT(og_session_train_step(r->session, inputs, targets, BATCH, &result), OG_OK);
        CHECK_INT(result.updated, micro % 2);
        if (micro == 2)
            CHECK_INT(set_weights(r, 0.25f), OG_OK);
    }
    CHECK_INT(og_session_get_parameter(r->session, "w", w, WEIGHTS * sizeof *w), OG_OK);
}

TEST(training_follows_parameters)
{
    float kept[WEIGHTS], anew[WEIGHTS];
    run r;
    fill();
    REQUIRE(write_model("kept.onnx"));
    REQUIRE(start(&r, "mse", 0));
    CHECK(r.memory.derived > 0);
    uint64_t budget = r.memory.peak - 1;
    train(&r, kept);
    end(&r);
    REQUIRE(start(&r, "mse", budget)); /* too little to keep anything */
    CHECK_INT(r.memory.derived, 0);
    train(&r, anew);
    end(&r);
    CHECK(memcmp(kept, anew, sizeof kept) == 0);
    CHECK(kept[0] != 0.25f);
    unlink("kept.onnx");
}

static const og_test tests[] = {
    TEST_ROW(predictions_follow_parameters),
    TEST_ROW(training_follows_parameters),
};
TEST_MAIN(tests)
