/* Several losses and targets through the public header: which target is which, what results hold,
 * and what is refused. Values of losses are tests/train/test_losses.py's. */
#include "runtime/ongrad.h"
#include "tests/test.h"

enum { BATCH = 6, FEATURES = 12 };

static float x[BATCH * FEATURES], zeros[BATCH], twos[BATCH];
static const void *const inputs[] = {x};

static const og_tensor_info input = {
    .name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, FEATURES}};

static og_tensor_info target_named(const char *name)
{
    return (og_tensor_info){.name = name, .dtype = OG_FLOAT, .rank = 1, .dims = {BATCH}};
}

/* A context, the model and options with two losses on its output, each with a target of its own. */
typedef struct fixture {
    og_context *context;
    og_model *model;
    og_options *options;
} fixture;

static bool set_up(fixture *f)
{
    f->context = og_context_new(&(og_context_config){.threads = 1});
    f->model = og_model_load(f->context, OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    f->options = og_options_new(f->context);
    for (int i = 0; i < BATCH * FEATURES; i++)
        x[i] = (float)(i % 7) / 7 - 0.4f;
    for (int i = 0; i < BATCH; i++)
        twos[i] = 2;
    return f->model && f->options && og_options_set(f->options, "amp", "off") == OG_OK &&
           og_options_set(f->options, "loss", "mse,target=two,weight=0.5") == OG_OK &&
           og_options_set(f->options, "loss", "l1,target=zero") == OG_OK;
}

static void tear_down(fixture *f)
{
    og_options_free(f->options);
    og_model_free(f->model);
    og_context_free(f->context);
}

static og_session *session(const fixture *f, const og_tensor_info *targets, int n)
{
    return og_session_new(f->model, f->options, &input, 1, targets, n);
}

TEST(what_the_options_ask_for)
{
    fixture f;
    REQUIRE(set_up(&f));
    REQUIRE(og_model_loss_count(f.model, f.options) == 2);
    og_loss_info loss;
    og_tensor_info output;
    REQUIRE(og_model_output(f.model, 0, &output) == OG_OK);
    REQUIRE(og_model_loss(f.model, 0, &loss) == OG_OK);
    CHECK_TEXT(loss.name, ".mse");
    CHECK_TEXT(loss.name, output.name);
    CHECK_STR(loss.loss, "mse");
    CHECK_CLOSE(loss.weight, 0.5, 0);
    CHECK_INT(loss.target, 0);
    REQUIRE(og_model_loss(f.model, 1, &loss) == OG_OK);
    CHECK_INT(loss.target, 1);
    CHECK_INT(og_model_target_count(f.model), 2);
    CHECK_STR(og_model_target_name(f.model, 0), "two");
    CHECK_STR(og_model_target_name(f.model, 1), "zero");
    CHECK(og_model_target_name(f.model, 2) == NULL);
    CHECK(og_model_loss(f.model, 2, &loss) == OG_INVALID_ARGUMENT);
    tear_down(&f);
}

/* Every order of declaring the two targets gives the same results for the same data. */
TEST(targets_go_by_name_or_place)
{
    static const struct {
        const char *what;
        const char *names[2]; /* as declared; NULL: none */
        bool zero_first;      /* of the data */
    } cases[] = {{"losses' order", {"two", "zero"}, false},
                 {"the other order", {"zero", "two"}, true},
                 {"by place", {NULL, NULL}, false}};
    double loss = 0, means[2] = {0};
    fixture f;
    REQUIRE(set_up(&f));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].what);
        const og_tensor_info declared[] = {target_named(cases[i].names[0]),
                                           target_named(cases[i].names[1])};
        const void *const targets[] = {cases[i].zero_first ? zeros : twos,
                                       cases[i].zero_first ? twos : zeros};
        og_session *s = session(&f, declared, 2);
        REQUIRE(s != NULL);
        og_tensor_info info;
        CHECK(og_session_target(s, 0, &info) == OG_OK);
        CHECK_STR(info.name, cases[i].zero_first ? "zero" : "two");
        CHECK(og_session_target(s, 2, &info) == OG_INVALID_ARGUMENT);

        og_eval_result eval;
        REQUIRE(og_session_eval_step(s, inputs, targets, BATCH, NULL, &eval) == OG_OK);
        for (int k = 0; k < 2; k++) {
            double mean = eval.loss_sums[k] / eval.weight_sums[k];
            if (i > 0)
                CHECK_CLOSE(mean, means[k], 0);
            means[k] = mean;
        }
        CHECK_CLOSE(eval.loss_sum / eval.weight_sum, 0.5 * means[0] + means[1], 1e-14);

        og_step_result step;
        REQUIRE(og_session_train_step(s, inputs, targets, BATCH, &step) == OG_OK);
        CHECK_CLOSE(step.losses[0], means[0], 1e-6); /* training and evaluation differ in no op */
        CHECK_CLOSE(step.losses[1], means[1], 1e-6);
        CHECK_CLOSE(step.loss, 0.5 * step.losses[0] + step.losses[1], 1e-14);
        if (i > 0)
            CHECK_CLOSE(step.loss, loss, 0);
        loss = step.loss;
        og_session_free(s);
    }
    CHECK(means[0] != means[1]);
    tear_down(&f);
}

TEST(targets_that_were_not_declared)
{
    fixture f;
    REQUIRE(set_up(&f));
    og_session *s = session(&f, NULL, 0);
    REQUIRE(s != NULL);
    og_tensor_info info;
    CHECK(og_session_target(s, 1, &info) == OG_OK);
    CHECK_STR(info.name, "zero");
    CHECK_INT(info.dtype, OG_FLOAT);
    CHECK_INT(info.dims[0], BATCH);
    og_step_result step;
    CHECK(og_session_train_step(s, inputs, NULL, BATCH, &step) == OG_INVALID_ARGUMENT);
    CHECK_TEXT(og_error_message(f.context), "the losses take 2");
    og_session_free(s);
    tear_down(&f);
}

TEST(what_is_refused)
{
    static const struct {
        const char *names[3], *text;
        int n;
    } cases[] = {
        {{"two"}, "\"zero\" is missing", 1},
        {{"two", "three"},
         "no loss reads a target \"three\"; the targets are \"two\", \"zero\"",
         2},
        {{"two", "two"}, "\"two\" was declared twice", 2},
        {{"two", "zero", "three"}, "\"three\"", 3},
        {{NULL, NULL, NULL}, "the targets are \"two\", \"zero\"", 3},
    };
    fixture f;
    REQUIRE(set_up(&f));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].text);
        og_tensor_info declared[3];
        for (int k = 0; k < 3; k++)
            declared[k] = target_named(cases[i].names[k]);
        CHECK(session(&f, declared, cases[i].n) == NULL);
        CHECK_INT(og_error_status(f.context), OG_INVALID_ARGUMENT);
        CHECK_TEXT(og_error_message(f.context), cases[i].text);
    }
    tear_down(&f);
}

/* Labels are looked at before a step, also where they are not the caller's first target. */
TEST(labels_in_the_other_order)
{
    enum { CLASSES = 10, PIXELS = 28 * 28, FEW = 2 };
    static float image[FEW * PIXELS], scores[FEW * CLASSES];
    static int64_t labels[FEW] = {0, CLASSES - 1};
    const void *const images[] = {image}, *const targets[] = {scores, labels};
    const og_tensor_info in = {
        .name = "image", .dtype = OG_FLOAT, .rank = 4, .dims = {FEW, 1, 28, 28}};
    const og_tensor_info declared[] = {
        {.name = "scores", .dtype = OG_FLOAT, .rank = 2, .dims = {FEW, CLASSES}},
        {.name = "labels", .dtype = OG_INT64, .rank = 1, .dims = {FEW}}};
    fixture f = {.context = og_context_new(&(og_context_config){.threads = 1})};
    f.model = og_model_load(f.context, OG_TEST_SOURCE_DIR "/../fixtures/fashion_cnn/model.onnx");
    f.options = og_options_new(f.context);
    REQUIRE(f.model && f.options);
    og_options_set(f.options, "amp", "off");
    og_options_set(f.options, "loss", "cross_entropy,target=labels");
    og_options_set(f.options, "loss", "mse,target=scores");
    og_session *s = og_session_new(f.model, f.options, &in, 1, declared, 2);
    REQUIRE(s != NULL);
    og_step_result step;
    CHECK_INT(og_session_train_step(s, images, targets, FEW, &step), OG_OK);
    labels[1] = CLASSES;
    CHECK_INT(og_session_train_step(s, images, targets, FEW, &step), OG_INVALID_DATA);
    CHECK_TEXT(og_error_message(f.context), "label 10");
    og_session_free(s);
    tear_down(&f);
}

static const og_test tests[] = {TEST_ROW(what_the_options_ask_for),
                                TEST_ROW(targets_go_by_name_or_place),
                                TEST_ROW(targets_that_were_not_declared), TEST_ROW(what_is_refused),
                                TEST_ROW(labels_in_the_other_order)};
TEST_MAIN(tests)
