/* Sums of gradients on the simulated card: the first micro-batch of an update begins them, whatever
 * they hold, and the others add to them; one recording serves all of them. */
#include <unistd.h>

#include "runtime/train/train.h"
#include "tests/cuda/open.h"

enum { SAMPLES = 32, COLUMNS = 12, MOST_WEIGHTS = 20000, MOST_SETTINGS = 6 };

typedef const char *const setting[2];

typedef struct run {
    og_context *context;
    og_model *model;
    og_options *options;
    og_session *session;
    float x[SAMPLES * COLUMNS], y[SAMPLES];
    bool skipped; /* the last update that was reported */
    double loss;
} run;

/* Of `batch` samples; `accumulation` of them are an update. */
static void start(run *r, const char *device, int batch, const char *accumulation,
                  setting *settings, const char *path)
{
    *r = (run){.context = og_context_new(&(og_context_config){.threads = 1, .device = device})};
    r->model = og_model_load(r->context,
                             path ? path : OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    r->options = og_options_new(r->context);
    const og_tensor_info input = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {batch, 12}},
                         target = {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {batch}};
    CHECK(og_options_set(r->options, "loss", "bce_with_logits") == OG_OK);
    CHECK(og_options_set(r->options, "allow_tf32", "off") == OG_OK);
    CHECK(og_options_set(r->options, "gradient_accumulation_steps", accumulation) == OG_OK);
    for (int i = 0; settings && settings[i][0]; i++)
        CHECK(og_options_set(r->options, settings[i][0], settings[i][1]) == OG_OK);
    r->session = og_session_new(r->model, r->options, &input, 1, &target, 1);
    if (!CHECK(r->session != NULL)) {
        printf("    %s\n", og_error_message(r->context));
        exit(1);
    }
}

static void end(run *r)
{
    og_session_free(r->session);
    og_options_free(r->options);
    og_model_free(r->model);
    og_context_free(r->context);
}

static void note(run *r, const og_step_result *result)
{
    if (!result->updated)
        return;
    r->skipped = result->skipped;
    r->loss = result->loss;
}

/* Samples first … of the endless data set; `factor` times as large. */
static og_status step(run *r, int64_t first, int64_t samples, float factor)
{
    og_step_result result;
    const void *inputs[] = {r->x}, *targets[] = {r->y};
    for (int64_t i = 0; i < samples * COLUMNS; i++)
        r->x[i] = factor * (float)((first * COLUMNS + i) * 37 % 101 - 50) / 64;
    for (int64_t i = 0; i < samples; i++)
        r->y[i] = (float)((first + i) * 7 % 3 == 0);
    og_status status = og_session_train_step(r->session, inputs, targets, samples, &result);
    if (status == OG_OK)
        note(r, &result);
    return status;
}

/* `updates` updates of `micros` batches. */
static void train(run *r, int64_t first, int updates, int micros, int64_t batch)
{
    for (int u = 0; u < updates; u++)
        for (int m = 0; m < micros; m++, first += batch)
            CHECK(step(r, first, batch, 1) == OG_OK);
}

static void flush(run *r)
{
    og_step_result result;
    CHECK(og_session_flush(r->session, &result) == OG_OK);
    do {
        note(r, &result);
        CHECK(og_session_report(r->session, &result) == OG_OK);
    } while (result.updated);
}

/* All parameters, one behind the other. */
static float *weights_of(run *r, int64_t *n)
{
    og_session *s = r->session;
    float *w = calloc(MOST_WEIGHTS, sizeof *w);
    *n = 0;
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *st = &s->storages.items[i];
        if (st->kind != OG_STORAGE_PARAMETER || st->type.rank == 0 || st->of >= 0)
            continue;
        int64_t count = og_type_elements(&st->type);
        if (og_session_get_parameter(s, st->name, w + *n, (size_t)count * sizeof *w) != OG_OK)
            continue; /* a slab of them */
        *n += count;
    }
    CHECK(*n > 100);
    return w;
}

static void same_weights(run *a, run *b, double tolerance)
{
    int64_t n, m;
    float *x = weights_of(a, &n), *y = weights_of(b, &m);
    CHECK_INT(n, m);
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, isnan(x[i]) || isnan(y[i]) ? INFINITY : fabs((double)x[i] - y[i]));
    CHECK(worst <= tolerance);
    free(x);
    free(y);
}

static setting plain_steps[] = {{"profile", "on"}, {NULL}};
static setting sgd[] = {{"optimizer", "sgd"}, {NULL}}; /* steps in proportion to gradients */
static setting half[] = {{"amp", "fp16"}, {"loss_scale", "1024"}, {"optimizer", "sgd"}, {NULL}};

/* ---- */

TEST(micro_batches_are_as_the_batch)
{
    run whole, parts;
    start(&whole, "cuda:0", SAMPLES, "1", sgd, NULL);
    start(&parts, "cuda:0", SAMPLES / 4, "4", sgd, NULL);
    train(&whole, 0, 4, 1, SAMPLES);
    train(&parts, 0, 4, 4, SAMPLES / 4);
    flush(&whole);
    flush(&parts);
    CHECK_CLOSE(parts.loss, whole.loss, 1e-5);
    same_weights(&whole, &parts, 1e-6); /* float sums in another order, times the rate 1e-3 */
    end(&whole);
    end(&parts);
}

TEST(replayed_as_run_plainly)
{
    run replayed, plain;
    start(&replayed, "cuda:0", 8, "3", NULL, NULL);
    start(&plain, "cuda:0", 8, "3", plain_steps, NULL);
    train(&replayed, 0, 3, 3, 8);
    train(&plain, 0, 3, 3, 8);
    same_weights(&replayed, &plain, 0);
    end(&replayed);
    end(&plain);
}

/* As the processor, which clears its sums; with groups that are short, and batches that are. */
TEST(as_the_processor)
{
    run r[2];
    for (int i = 0; i < 2; i++) {
        start(&r[i], i ? "cuda:0" : "cpu", 8, "3", sgd, NULL);
        train(&r[i], 0, 2, 3, 8);
        CHECK(step(&r[i], 48, 8, 1) == OG_OK);
        flush(&r[i]);
        CHECK(step(&r[i], 56, 5, 1) == OG_OK);
        CHECK(step(&r[i], 61, 8, 1) == OG_OK);
        CHECK(step(&r[i], 69, 3, 1) == OG_OK);
        train(&r[i], 72, 1, 3, 8);
    }
    same_weights(&r[0], &r[1], 1e-6);
    for (int i = 0; i < 2; i++)
        end(&r[i]);
}

/* What overflowed in a skipped update is in no sum of the next. */
TEST(a_skipped_update_leaves_nothing)
{
    run skips, clean;
    start(&skips, "cuda:0", 8, "2", half, NULL);
    start(&clean, "cuda:0", 8, "2", half, NULL);
    for (int times = 0; times < 2; times++) {
        CHECK(step(&skips, 0, 8, 1e30F) == OG_OK);
        CHECK(step(&skips, 8, 8, 1) == OG_OK);
        flush(&skips);
        CHECK(skips.skipped);
        train(&skips, 16, 1, 2, 8);
        train(&clean, 16, 1, 2, 8);
        flush(&skips);
        CHECK(!skips.skipped);
        same_weights(&skips, &clean, 0);
    }
    end(&skips);
    end(&clean);
}

/* A checkpoint between micro-batches, and after an update. */
static void check_resumed(int before)
{
    run whole, first, second;
    og_restored restored;
    const char *path = "accumulate.ckpt.onnx";
    start(&whole, "cuda:0", 8, "3", NULL, NULL);
    train(&whole, 0, 9, 1, 8);
    start(&first, "cuda:0", 8, "3", NULL, NULL);
    train(&first, 0, before, 1, 8);
    CHECK(og_session_checkpoint(first.session, path, 1, NULL, 0) == OG_OK);
    end(&first);
    start(&second, "cuda:0", 8, "3", NULL, path);
    og_checkpoint *c = og_checkpoint_open(second.context, path);
    REQUIRE(c != NULL);
    CHECK(og_session_restore(second.session, c, &restored) == OG_OK);
    CHECK_INT(restored.calls, before % 3);
    CHECK_INT(restored.missing, 0);
    og_checkpoint_free(c);
    train(&second, 8 * before, 9 - before, 1, 8);
    same_weights(&whole, &second, 0);
    end(&whole);
    end(&second);
}

TEST(a_resumed_run_goes_on_with_its_sums)
{
    check_resumed(3);
    check_resumed(4);
    check_resumed(5);
}

/* On one device after the other: sums that wait are the other's. */
TEST(a_run_changes_its_device)
{
    static const char *const devices[] = {"cpu", "cuda:0"};
    run whole;
    start(&whole, "cpu", 8, "3", sgd, NULL);
    train(&whole, 0, 6, 1, 8);
    for (int to = 0; to < 2; to++) {
        run first, second;
        og_restored restored;
        const char *path = "device.ckpt.onnx";
        start(&first, devices[1 - to], 8, "3", sgd, NULL);
        train(&first, 0, 4, 1, 8);
        CHECK(og_session_checkpoint(first.session, path, 1, NULL, 0) == OG_OK);
        end(&first);
        start(&second, devices[to], 8, "3", sgd, path);
        og_checkpoint *c = og_checkpoint_open(second.context, path);
        REQUIRE(c != NULL);
        CHECK(og_session_restore(second.session, c, &restored) == OG_OK);
        CHECK_INT(restored.missing, 0);
        og_checkpoint_free(c);
        train(&second, 32, 2, 1, 8);
        same_weights(&whole, &second, 1e-6);
        end(&second);
    }
    end(&whole);
}

/* ---- what is planned */

static bool writes_a_sum(const run *r, const og_plan *plan)
{
    for (int i = 0; i < plan->graph->n_states; i++) {
        const og_state *s = &plan->graph->states[i];
        if (s->out >= 0 && r->session->storages.items[s->storage].kind == OG_STORAGE_GRADIENT)
            return true;
    }
    return false;
}

/* Products that continue a sum as the card says, and other calls that do. */
static void count_sums(const og_plan *plan, int *products, int *others)
{
    *products = *others = 0;
    for (int i = 0; i < plan->n_steps; i++) {
        const og_node *n = plan->steps[i].call.node;
        bool sums = n->op->scalar == OG_SCALAR_Accumulate;
        for (int k = 0; n->program && k < n->program->n_instr; k++)
            sums |= n->program->instr[k].op == OG_SCALAR_Accumulate;
        bool product = strcmp(plan->steps[i].kernel->name, "cuBLASLt") == 0;
        *products += sums && product;
        *others += sums && !product;
    }
}

TEST(update_clears_no_sums)
{
    static setting *const kinds[] = {sgd, half};
    for (int i = 0; i < 2; i++) {
        run r;
        int products, others;
        start(&r, "cuda:0", 8, "2", kinds[i], NULL);
        CHECK(!writes_a_sum(&r, r.session->update));
        count_sums(r.session->plans[0].plan, &products, &others);
        CHECK_INT(products, 3); /* weights */
        CHECK_INT(others, 4);   /* biases, and one number */
        end(&r);
        start(&r, "cuda:0", 8, "1", kinds[i], NULL);
        CHECK(!writes_a_sum(&r, r.session->update));
        count_sums(r.session->plans[0].plan, &products, &others);
        CHECK_INT(products + others, 0);
        end(&r);
    }
}

static const og_test tests[] = {
    TEST_ROW(micro_batches_are_as_the_batch),
    TEST_ROW(replayed_as_run_plainly),
    TEST_ROW(as_the_processor),
    TEST_ROW(a_skipped_update_leaves_nothing),
    TEST_ROW(a_resumed_run_goes_on_with_its_sums),
    TEST_ROW(a_run_changes_its_device),
    TEST_ROW(update_clears_no_sums),
};
TEST_MAIN(tests)
