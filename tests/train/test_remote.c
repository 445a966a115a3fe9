/* Training on a device that has memory of its own and works behind the host (remote_device.h): to
 * the bit what the CPU gives, whatever the session is asked for in between, in the memory that was
 * predicted, and without one touch of the device's memory by the host. */
#include "tests/remote_device.h"

#include <unistd.h>

#include "runtime/train/train.h"
#include "tests/onnx/model_writer.h"
#include "tests/test.h"

enum { UPDATES = 9, MOST_BYTES = 1 << 20, MOST_SETTINGS = 6 };

typedef struct scenario {
    const char *what, *fixture; /* fixture NULL: the model that write_model makes */
    og_tensor_info input, target;
    int64_t input_classes, target_classes; /* integers are below these */
    const char *settings[MOST_SETTINGS][2];
} scenario;

static const scenario scenarios[] = {
    {"an MLP",
     "tabular",
     {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
     {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {32}},
     .settings = {{"loss", "bce_with_logits"}}},
    {"an MLP by adagrad, which begins with sums that are not zero",
     "tabular",
     {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
     {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {32}},
     .settings = {{"loss", "bce_with_logits"},
                  {"optimizer", "adagrad"},
                  {"initial_accumulator_value", "0.1"},
                  {"gradient_accumulation_steps", "3"}}},
    {"a CNN with running statistics, accumulated",
     "mini_resnet",
     {.name = "image", .dtype = OG_FLOAT, .rank = 4, .dims = {8, 3, 32, 32}},
     {.name = "target", .dtype = OG_INT64, .rank = 1, .dims = {8}},
     .target_classes = 5,
     .settings = {{"loss", "cross_entropy"}, {"gradient_accumulation_steps", "2"}}},
    {"a transformer",
     "encoder",
     {.name = "features", .dtype = OG_FLOAT, .rank = 3, .dims = {16, 16, 24}},
     {.name = "target", .dtype = OG_INT64, .rank = 1, .dims = {16}},
     .target_classes = 5,
     .settings = {{"loss", "cross_entropy"}, {"recompute", "max"}}},
    {"a language model in bfloat16",
     "char_gpt",
     {.name = "tokens", .dtype = OG_INT64, .rank = 2, .dims = {4, 32}},
     {.name = "target", .dtype = OG_INT64, .rank = 2, .dims = {4, 32}},
     .input_classes = 20,
     .target_classes = 20,
     .settings = {{"loss", "cross_entropy"}, {"amp", "bf16"}}},
    {"an LSTM",
     "seq_lstm",
     {.name = "x", .dtype = OG_FLOAT, .rank = 3, .dims = {16, 12, 10}},
     {.name = "target", .dtype = OG_INT64, .rank = 1, .dims = {16}},
     .target_classes = 3,
     .settings = {{"loss", "cross_entropy"}, {"optimizer", "sgd"}, {"momentum", "0.9"}}},
    {"float16 whose loss scale is too large at first",
     "tabular",
     {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
     {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {32}},
     .settings = {{"loss", "bce_with_logits"},
                  {"amp", "fp16"},
                  {"loss_scale_start", "1e12"},
                  {"loss_scale_backoff", "0.001"},
                  {"loss_scale_interval", "2"},
                  {"gradient_accumulation_steps", "2"}}},
    {"dropout, and a weight that stays",
     NULL,
     {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {16, 24}},
     {.name = "target", .dtype = OG_FLOAT, .rank = 2, .dims = {16, 6}},
     .settings =
         {{"loss", "mse"}, {"freeze", "w"}, {"seed", "5"}, {"gradient_accumulation_steps", "2"}}},
    {"a profile",
     "tabular",
     {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
     {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {32}},
     .settings = {{"loss", "bce_with_logits"}, {"profile", "on"}}},
};

/* h = dropout(x w), y = relu(h) v; a second output that training does not make is larger than all
 * that training makes. */
static bool write_model(const char *path)
{
    enum { COPIES = 64 };
    static const int64_t x[] = {-1, 24}, y[] = {-1, 6}, w[] = {24, 40}, v[] = {40, 6},
                         wide[] = {-1, 40 * COPIES};
    char copies[2 * COPIES + 1] = "";
    for (int i = 0; i < COPIES; i++)
        strcat(copies, i ? " r" : "r");
    float data[24 * 40];
    for (int i = 0; i < 24 * 40; i++)
        data[i] = (float)(i * 7 % 31 - 15) / 40;
    pb g = {0};
    pb_message(&g, 1, pb_node("MatMul", "first", "x w", "a"));
    pb_message(&g, 1, pb_node("Dropout", "drop", "a ratio training", "h"));
    pb_message(&g, 1, pb_node("Relu", "relu", "h", "r"));
    pb_message(&g, 1, pb_node("MatMul", "second", "r v", "y"));
    pb concat = pb_node("Concat", "wide", copies, "wide");
    pb_message(&concat, 5, pb_attr_int("axis", 1));
    pb_message(&g, 1, concat);
    pb_message(&g, 5, pb_floats("w", 2, w, data));
    pb_message(&g, 5, pb_floats("v", 2, v, data));
    pb_message(&g, 5, pb_floats("ratio", 0, NULL, &(float){0.25f}));
    pb training = pb_tensor("training", OG_BOOL, 0, NULL);
    pb_bytes(&training, 9, "\1", 1);
    pb_message(&g, 5, training);
    pb_message(&g, 11, pb_value("x", 2, x));
    pb_message(&g, 12, pb_value("y", 2, y));
    pb_message(&g, 12, pb_value("wide", 2, wide));
    pb m = pb_model(g, 17);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(m.bytes, 1, m.size, f) == m.size;
    pb_free(&m);
    return f && fclose(f) == 0 && good;
}

/* ---- what a run gives, one behind the other */

typedef struct transcript {
    char *bytes;
    size_t n, capacity;
} transcript;

static bool append(void *user, const void *bytes, size_t size)
{
    transcript *t = user;
    if (t->n + size > t->capacity) {
        t->capacity = 2 * (t->n + size);
        t->bytes = realloc(t->bytes, t->capacity);
        if (!t->bytes)
            abort();
    }
    memcpy(t->bytes + t->n, bytes, size);
    t->n += size;
    return true;
}

/* ---- a run */

typedef struct run {
    const scenario *scenario;
    og_context *context;
    remote_device *remote; /* NULL: on the CPU */
    og_model *model;
    og_options *options;
    og_session *session;
    char *input, *target; /* overwritten once they were given */
    uint64_t random;
    og_step_result steps[UPDATES + 1];
    int n_steps, most_behind;
    transcript losses, read; /* of steps; what was read between them */
} run;

static int64_t elements(const og_tensor_info *info)
{
    int64_t n = 1;
    for (int i = 0; i < info->rank; i++)
        n *= info->dims[i];
    return n;
}

static double next(run *r)
{
    r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(r->random >> 40) / (double)(1 << 24);
}

static void fill(run *r, const og_tensor_info *info, int64_t classes, char *at)
{
    for (int64_t i = 0; i < elements(info); i++) {
        if (info->dtype == OG_INT64)
            ((int64_t *)at)[i] = (int64_t)(next(r) * (double)classes);
        else
            ((float *)at)[i] = (float)next(r);
    }
}

static void fill_batch(run *r)
{
    fill(r, &r->scenario->input, r->scenario->input_classes, r->input);
    fill(r, &r->scenario->target, r->scenario->target_classes, r->target);
}

/* Whoever still reads the batch reads NaN, and labels that name no class. */
static void scramble(run *r)
{
    memset(r->input, 0xFF, MOST_BYTES);
    memset(r->target, 0xFF, MOST_BYTES);
}

static bool start(run *r, const scenario *s, bool remote)
{
    char path[512];
    *r = (run){.scenario = s,
               .context = og_context_new(&(og_context_config){.threads = 2, .device = "cpu"}),
               .input = malloc(MOST_BYTES),
               .target = malloc(MOST_BYTES),
               .random = 1};
    if (!r->context || !r->input || !r->target)
        return false;
    if (remote) {
        r->remote = remote_device_new(r->context->host);
        if (!r->remote)
            return false;
        r->context->device = &r->remote->device;
    }
    if (s->fixture)
        snprintf(path, sizeof path, OG_TEST_SOURCE_DIR "/../fixtures/%s/model.onnx", s->fixture);
    else
        snprintf(path, sizeof path, "remote.onnx");
    r->model = og_model_load(r->context, path);
    r->options = og_options_new(r->context);
    for (int i = 0; r->options && i < MOST_SETTINGS && s->settings[i][0]; i++)
        if (og_options_set(r->options, s->settings[i][0], s->settings[i][1]) != OG_OK)
            return false;
    if (r->model && r->options)
        r->session = og_session_new(r->model, r->options, &s->input, 1, &s->target, 1);
    if (!r->session)
        printf("    %s\n", og_error_message(r->context));
    return r->session != NULL;
}

static void end(run *r)
{
    og_session_free(r->session);
    if (r->remote) {
        CHECK_INT(r->remote->problems, 0);
        CHECK_INT(r->remote->live_recordings, 0);
        CHECK_INT(r->remote->allocated, 0);
    }
    og_options_free(r->options);
    og_model_free(r->model);
    if (r->context)
        og_context_free(r->context); /* and the remote device */
    free(r->input);
    free(r->target);
    free(r->losses.bytes);
    free(r->read.bytes);
}

static void note(run *r, og_step_result *result)
{
    if (!result->updated)
        return;
    append(&r->losses, result->losses, sizeof(double) * (size_t)r->session->losses.n);
    result->losses = NULL;
    int behind = (int)(result->begun - result->step);
    r->most_behind = behind > r->most_behind ? behind : r->most_behind;
    result->begun = 0; /* this is where devices differ */
    if (r->n_steps <= UPDATES)
        r->steps[r->n_steps++] = *result;
}

static bool train(run *r, int64_t samples)
{
    og_step_result result;
    const void *inputs[] = {r->input}, *targets[] = {r->target};
    fill_batch(r);
    og_status status = og_session_train_step(r->session, inputs, targets, samples, &result);
    if (status != OG_OK)
        printf("    %s\n", og_error_message(r->context));
    scramble(r);
    note(r, &result);
    return CHECK(status == OG_OK);
}

static bool report_all(run *r, bool flush)
{
    og_step_result result;
    og_status status =
        flush ? og_session_flush(r->session, &result) : og_session_report(r->session, &result);
    for (; status == OG_OK && result.updated; status = og_session_report(r->session, &result))
        note(r, &result);
    return CHECK(status == OG_OK);
}

static bool evaluate(run *r, int64_t samples)
{
    og_eval_result result;
    og_tensor_info info;
    const void *inputs[] = {r->input}, *targets[] = {r->target};
    int last = og_model_output_count(r->model) - 1;
    if (!CHECK(og_session_output(r->session, last, &info) == OG_OK))
        return false;
    size_t bytes = (size_t)(elements(&info) / info.dims[0] * samples) * sizeof(float);
    void *outputs[2] = {NULL};
    outputs[last] = malloc(bytes);
    fill_batch(r);
    bool good = CHECK(
        og_session_eval_step(r->session, inputs, targets, samples, outputs, &result) == OG_OK);
    scramble(r);
    append(&r->read, &result.loss_sum, sizeof(double));
    append(&r->read, &result.weight_sum, sizeof(double));
    append(&r->read, outputs[last], bytes);
    fill_batch(r);
    good &= CHECK(og_session_predict(r->session, inputs, samples, outputs) == OG_OK);
    scramble(r);
    append(&r->read, outputs[last], bytes);
    free(outputs[last]);
    return good;
}

/* Reads all parameters; halves the first. */
static bool change_parameters(run *r)
{
    bool first = true, good = true;
    int n = og_model_parameter_count(r->model, r->options);
    for (int i = 0; i < n && good; i++) {
        og_parameter_info p;
        int64_t count = 1;
        og_model_parameter(r->model, i, &p);
        for (int k = 0; k < p.rank; k++)
            count *= p.dims[k];
        if ((!p.trained && !p.buffer) || p.dtype != OG_FLOAT)
            continue;
        size_t bytes = (size_t)count * sizeof(float);
        float *data = malloc(bytes);
        good = CHECK(og_session_get_parameter(r->session, p.name, data, bytes) == OG_OK);
        append(&r->read, data, bytes);
        for (int64_t k = 0; first && k < count; k++)
            data[k] *= 0.5f;
        if (first)
            good &= CHECK(og_session_set_parameter(r->session, p.name, data, bytes) == OG_OK);
        first = false;
        free(data);
    }
    return good;
}

static bool save(run *r)
{
    append(&r->read, &(double){og_session_loss_scale(r->session)}, sizeof(double));
    return CHECK(og_session_save_to(r->session, append, &r->read) == OG_OK);
}

/* Steps, with everything else in between, and a short group at the end. */
static void go(run *r)
{
    int64_t batch = r->scenario->input.dims[0];
    int accumulation = r->session->accumulation;
    bool good = true;
    for (int i = 0; good && i < UPDATES * accumulation - (accumulation > 1); i++) {
        int update = i / accumulation;
        og_session_set_lr(r->session, 1e-2 / (1 + update));
        good = train(r, i % 5 == 3 ? batch - 3 : batch);
        if (i == 4 * accumulation + accumulation / 2) /* within a group, if there are groups */
            good = good && evaluate(r, batch) && change_parameters(r) && evaluate(r, batch - 1) &&
                   save(r);
    }
    good = good && report_all(r, true) && save(r) && change_parameters(r);
    CHECK_INT(r->n_steps, UPDATES);
}

static bool same(const transcript *a, const transcript *b)
{
    return a->n > 0 && a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

static void compare(const run *cpu, const run *remote)
{
    REQUIRE(cpu->n_steps == remote->n_steps);
    for (int i = 0; i < cpu->n_steps; i++) {
        const og_step_result *a = &cpu->steps[i], *b = &remote->steps[i];
        CHECK_INT(b->step, i + 1);
        CHECK_INT(b->step, a->step);
        CHECK_INT(b->samples, a->samples);
        CHECK_INT(b->skipped, a->skipped);
        CHECK(memcmp(&a->loss, &b->loss, sizeof(double)) == 0);
        CHECK(memcmp(&a->grad_norm, &b->grad_norm, sizeof(double)) == 0);
        CHECK_CLOSE(b->lr, a->lr, 0);
        CHECK_CLOSE(b->loss_scale, a->loss_scale, 0);
        CHECK_CLOSE(b->next_loss_scale, a->next_loss_scale, 0);
    }
    CHECK(same(&cpu->losses, &remote->losses));
    CHECK(same(&cpu->read, &remote->read));
}

TEST(as_on_the_cpu)
{
    int skipped = 0, random = 0, grown = 0, kept = 0;
    REQUIRE(write_model("remote.onnx"));
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        run cpu, remote;
        TEST_CASE(scenarios[i].what);
        bool started = start(&cpu, &scenarios[i], false);
        started &= start(&remote, &scenarios[i], true);
        if (CHECK(started)) {
            og_memory_report m;
            og_session_memory(remote.session, &m);
            CHECK_INT(remote.remote->allocated, m.peak);
            CHECK(m.inputs > 0 && m.constants > 0);
            uint64_t first = m.peak, activations = m.activations;
            go(&cpu);
            go(&remote);
            compare(&cpu, &remote);
            og_session_memory(remote.session, &m);
            CHECK_INT(remote.remote->most_allocated, m.peak);
            CHECK_INT(remote.most_behind, OG_UPDATES_BEHIND);
            CHECK_INT(cpu.most_behind, 0);
            bool profiled = remote.session->profile != NULL;
            CHECK(profiled ? remote.remote->recorded == 0 : remote.remote->replayed > UPDATES / 2);
            int n = 0;
            for (int k = 0; k < remote.n_steps; k++)
                n += remote.steps[k].skipped;
            CHECK(n < UPDATES);
            skipped += n;
            random += remote.session->position >= 0;
            kept += remote.session->plans[0].plan->n_once + remote.session->plans[0].plan->n_packs;
            grown += m.activations > activations;
            CHECK(m.peak >= first);
        }
        end(&cpu);
        end(&remote);
    }
    TEST_CASE("");
    CHECK(skipped > 0);
    CHECK(random > 0);
    CHECK(grown > 0);
    CHECK(kept > 0);
    unlink("remote.onnx");
}

static const scenario *find(const char *what)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(scenarios[i].what, what) == 0)
            return &scenarios[i];
    abort();
}

/* A weight that is not trained lies on the device once, for training and evaluation. */
TEST(constants_lie_there_once)
{
    const uint64_t weight = 24 * 40 * sizeof(float);
    run r;
    og_memory_report before, after;
    REQUIRE(write_model("remote.onnx"));
    if (CHECK(start(&r, find("dropout, and a weight that stays"), true))) {
        og_session_memory(r.session, &before);
        CHECK(before.constants >= weight && before.constants < 2 * weight);
        CHECK(evaluate(&r, 16));
        CHECK(evaluate(&r, 3));
        og_session_memory(r.session, &after);
        CHECK(after.constants < before.constants + weight);
    }
    end(&r);
    unlink("remote.onnx");
}

/* A loss that is not finite is told with its own step, when that is reported; what was reported
 * before and comes after it stays in order. */
TEST(errors_name_their_step)
{
    enum { BAD = 4 };
    run r;
    if (CHECK(start(&r, find("an MLP"), true))) {
        const void *inputs[] = {r.input}, *targets[] = {r.target};
        int64_t reported = 0;
        og_step_result result = {0};
        for (int i = 1; i <= UPDATES; i++) {
            fill_batch(&r);
            if (i == BAD)
                ((float *)r.input)[0] = NAN;
            og_status status = og_session_train_step(r.session, inputs, targets, 32, &result);
            CHECK_INT(status, i == BAD + OG_UPDATES_BEHIND ? OG_NON_FINITE : OG_OK);
            if (status != OG_OK)
                CHECK_TEXT(og_error_message(r.context), "step 4: the loss is nan");
            CHECK_INT(result.begun, i);
            CHECK_INT(result.updated, i > OG_UPDATES_BEHIND);
            CHECK_INT(result.skipped, status != OG_OK);
            reported += result.updated;
            CHECK_INT(result.step, reported);
        }
        CHECK(report_all(&r, true));
        CHECK_INT(r.n_steps, OG_UPDATES_BEHIND);
    }
    end(&r);
}

/* A group whose second micro-batch is refused begins anew: all is as if it had never come. */
TEST(a_refused_batch_leaves_nothing)
{
    run runs[3]; /* without the group; with it on the CPU, and on the device */
    for (int k = 0; k < 3; k++) {
        run *r = &runs[k];
        if (!CHECK(start(r, find("a CNN with running statistics, accumulated"), k == 2)))
            return;
        const void *inputs[] = {r->input}, *targets[] = {r->target};
        og_step_result result;
        CHECK(train(r, 8) && train(r, 8));
        if (k > 0)
            CHECK(train(r, 8));
        else
            fill_batch(r);
        fill_batch(r);
        ((int64_t *)r->target)[1] = 1000;
        if (k > 0)
            CHECK_INT(og_session_train_step(r->session, inputs, targets, 8, &result),
                      OG_INVALID_DATA);
        CHECK(train(r, 8) && train(r, 8) && report_all(r, false) && save(r));
        CHECK_INT(r->n_steps, 2);
    }
    for (int k = 1; k < 3; k++) {
        CHECK(same(&runs[0].read, &runs[k].read));
        CHECK(same(&runs[0].losses, &runs[k].losses));
    }
    for (int k = 0; k < 3; k++)
        end(&runs[k]);
}

TEST(freed_while_work_is_queued)
{
    run r;
    if (CHECK(start(&r, find("an MLP"), true)))
        CHECK(train(&r, 32) && train(&r, 32) && r.remote->done < r.remote->queue.n);
    end(&r);
}

/* Checks of gradients are the host's. */
TEST(gradients_are_checked)
{
    run runs[2];
    og_gradient_check checks[2][16];
    int n[2] = {16, 16};
    for (int k = 0; k < 2; k++) {
        run *r = &runs[k];
        if (!CHECK(start(r, find("an MLP"), k == 1)))
            return;
        const void *inputs[] = {r->input}, *targets[] = {r->target};
        CHECK(train(r, 32));
        fill_batch(r);
        CHECK_INT(og_session_check_gradients(r->session, inputs, targets, 32, 2, checks[k], &n[k]),
                  OG_OK);
    }
    CHECK(n[0] > 0);
    CHECK_INT(n[1], n[0]);
    for (int i = 0; i < n[0]; i++)
        CHECK_CLOSE(checks[1][i].gradient, checks[0][i].gradient, 0);
    end(&runs[0]);
    end(&runs[1]);
}

TEST(what_is_refused)
{
    static const scenario checked = {
        .fixture = "tabular",
        .input = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
        .target = {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {32}},
        .settings = {{"loss", "bce_with_logits"}, {"check_memory", "on"}}};
    run r;
    CHECK(!start(&r, &checked, true));
    CHECK_INT(og_error_status(r.context), OG_INVALID_ARGUMENT);
    CHECK_TEXT(og_error_message(r.context), "check_memory");
    end(&r);

    og_context *c = og_context_new(&(og_context_config){.threads = 1, .device = "tpu:3"});
    REQUIRE(c != NULL);
    CHECK_INT(og_error_status(c), OG_INVALID_ARGUMENT);
    CHECK_TEXT(og_error_message(c), "this build has no device tpu:3; there is: cpu");
    og_model *m = og_model_load(c, OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    CHECK(m && og_model_inspect(m, NULL) > 0);
    og_options *o = og_options_new(c);
    CHECK(!og_session_new(m, o, &checked.input, 1, &checked.target, 1));
    CHECK_TEXT(og_error_message(c), "tpu:3");
    CHECK_STR(og_context_device(c), "");
    og_options_free(o);
    og_model_free(m);
    og_context_free(c);
}

TEST(devices_are_listed)
{
    og_device_info infos[2];
    CHECK(og_devices(NULL, 0) >= 1);
    CHECK(og_devices(infos, 2) >= 1);
    CHECK_STR(infos[0].device, "cpu");
    CHECK(infos[0].total >= infos[0].available && infos[0].available > 0);
    char libraries[8] = "before";
    og_device_libraries("cpu", libraries, sizeof libraries);
    CHECK_STR(libraries, "");
    og_device_libraries("cuda:0", libraries, 0); /* no room: nothing is written */
    CHECK_STR(libraries, "");
}

static const og_test tests[] = {
    TEST_ROW(as_on_the_cpu),
    TEST_ROW(constants_lie_there_once),
    TEST_ROW(errors_name_their_step),
    TEST_ROW(a_refused_batch_leaves_nothing),
    TEST_ROW(freed_while_work_is_queued),
    TEST_ROW(gradients_are_checked),
    TEST_ROW(what_is_refused),
    TEST_ROW(devices_are_listed),
};
TEST_MAIN(tests)
