/* Every allocation of ours fails once: loading, planning, training, saving and making models must
 * each end in an
 * error message or in success, never in a crash, and a later try with memory must work. Linked with
 * --wrap for malloc and its kin, so that only the library's own calls are counted, not those of the
 * libraries it uses. */
#include <stdlib.h>
#include <string.h>

#include "runtime/ongrad.h"
#include "tests/test.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

static long countdown = -1; /* allocations until the one that fails; negative: none fails */
static bool failed;

static bool fails(void)
{
    if (countdown < 0 || countdown-- > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}
void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

static bool swallow(void *user, const void *bytes, size_t size)
{
    (void)bytes;
    *(size_t *)user += size;
    return true;
}

enum { BATCH = 8, FEATURES = 12 };

/* Up to two losses; the second may be a model. */
typedef struct losses {
    const char *first, *second; /* second NULL: there is one */
    bool adapts;                /* weights of a file, some begun anew, and adapters first */
} losses;

static bool adapt(og_model *m, og_options *o)
{
    return og_options_set(o, "reinit", "n.*") == OG_OK &&
           og_options_set(o, "init_from", OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx") ==
               OG_OK &&
           og_options_set(o, "lora", "rank=2,alpha=3") == OG_OK && og_model_adapt(m, o) == OG_OK &&
           *og_model_changes(m);
}

/* Load, plan, one step, what it took, evaluate, save. true: everything worked. */
static bool whole_run(og_context *c, const losses *l)
{
    static const float x[BATCH * FEATURES], t[BATCH];
    const void *inputs[] = {x}, *targets[] = {t};
    og_tensor_info input = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, FEATURES}};
    og_tensor_info target = {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {BATCH}};
    og_step_result result;
    og_profile_summary profile;
    size_t written = 0;
    bool good = false;
    og_session *s = NULL;
    og_model *m = og_model_load(c, OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    og_options *o = m ? og_options_new(c) : NULL;
    if (o && og_options_set(o, "loss", l->first) == OG_OK &&
        (!l->second || og_options_set(o, "loss", l->second) == OG_OK) &&
        og_options_set(o, "profile", "on") == OG_OK && (!l->adapts || adapt(m, o)))
        s = og_session_new(m, o, &input, 1, &target, 1);
    og_eval_result eval;
    if (s && og_session_train_step(s, inputs, targets, BATCH, &result) == OG_OK &&
        og_session_eval_step(s, inputs, targets, BATCH, NULL, &eval) == OG_OK)
        good = og_session_profile(s, OG_PROFILE_BY_CALL, &profile) > 0 &&
               og_session_profile_trace(s, swallow, &written) == OG_OK &&
               og_session_save_to(s, swallow, &written) == OG_OK;
    og_session_free(s);
    og_options_free(o);
    og_model_free(m);
    return good;
}

/* A built-in model made and saved. */
static bool new_model(og_context *c, const losses *unused)
{
    static const char *const settings[][2] = {
        {"num_layers", "1"},    {"d_model", "8"}, {"num_heads", "2"},  {"feature_size", "4"},
        {"feature_steps", "2"}, {"frames", "2"},  {"video_size", "8"}, {"face_size", "16"}};
    og_options *o = og_options_new(c);
    bool good = o != NULL;
    (void)unused;
    for (size_t i = 0; good && i < sizeof(settings) / sizeof(*settings); i++)
        good = og_options_set(o, settings[i][0], settings[i][1]) == OG_OK;
    og_model *m = good ? og_model_new(c, "transformer", o) : NULL;
    good = m && og_model_save(m, "new.onnx") == OG_OK;
    og_model_free(m);
    og_options_free(o);
    return good;
}

/* A step, a checkpoint and another session that goes on from it. The checkpoint of the try before,
 * which worked, stays whole if this one fails. */
static bool checkpointed_run(og_context *c, const losses *l)
{
    static const float x[BATCH * FEATURES], t[BATCH];
    static const char path[] = "allocation.ckpt.onnx";
    const void *inputs[] = {x}, *targets[] = {t};
    og_tensor_info input = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {BATCH, FEATURES}};
    og_tensor_info target = {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {BATCH}};
    const og_note note = {"key", "value"};
    og_step_result result;
    og_restored restored;
    bool good = false;
    og_session *s = NULL, *next = NULL;
    og_checkpoint *saved = NULL;
    og_model *m = og_model_load(c, OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    og_options *o = m ? og_options_new(c) : NULL;
    if (o && og_options_set(o, "loss", l->first) == OG_OK &&
        og_options_set(o, "ema", "0.9") == OG_OK &&
        og_options_set(o, "gradient_accumulation_steps", "2") == OG_OK)
        s = og_session_new(m, o, &input, 1, &target, 1);
    if (s && og_session_train_step(s, inputs, targets, BATCH, &result) == OG_OK &&
        og_session_checkpoint(s, path, 2, &note, 1) == OG_OK)
        saved = og_checkpoint_open(c, path);
    if (saved && strcmp(og_checkpoint_note(saved, "key"), "value") == 0)
        next = og_session_new(m, o, &input, 1, &target, 1);
    if (next && og_session_restore(next, saved, &restored) == OG_OK)
        good = restored.calls == 1 && restored.missing == 0;
    og_checkpoint_free(saved);
    og_session_free(next);
    og_session_free(s);
    og_options_free(o);
    og_model_free(m);
    return good;
}

/* In another opset, with another dim, in float16; what is there of the try before stays whole. */
static bool exported_run(og_context *c, const losses *l)
{
    static const char *const dims[] = {"batch=N"};
    og_tensor_info input = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {1, FEATURES}};
    const og_export how = {
        .dims = dims, .n_dims = 1, .opset = 21, .half = OG_FLOAT16, .single_file = true};
    og_session *s = NULL;
    og_model *m = og_model_load(c, OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    og_options *o = m ? og_options_new(c) : NULL;
    if (o && og_options_set(o, "loss", l->first) == OG_OK)
        s = og_session_new(m, o, &input, 1, NULL, 0);
    bool good = s && og_session_export(s, "allocation.export.onnx", &how) == OG_OK;
    og_session_free(s);
    og_options_free(o);
    og_model_free(m);
    return good;
}

/* `least`: so many allocations there are at any rate. */
static void fail_each(bool (*run)(og_context *, const losses *), const losses *l, long least)
{
    og_context *c = og_context_new(&(og_context_config){.threads = 1});
    REQUIRE(c != NULL);
    CHECK(run(c, l));
    long n = 0;
    for (bool more = true; more && n < 20000; n++) {
        countdown = n;
        failed = false;
        bool good = run(c, l);
        countdown = -1;
        more = failed;
        char which[32];
        snprintf(which, sizeof(which), "allocation %ld", n);
        TEST_CASE(which);
        if (failed && !good)
            CHECK(og_error_status(c) != OG_OK && *og_error_message(c));
    }
    CHECK(n > least);
    CHECK(n < 20000);
    CHECK(run(c, l));
    og_context_free(c);
}

TEST(each_allocation_fails_once)
{
    fail_each(whole_run, &(losses){"bce_with_logits", NULL, false}, 100);
}

TEST(each_allocation_fails_once_while_checkpointing)
{
    fail_each(checkpointed_run, &(losses){"bce_with_logits", NULL}, 100);
}

TEST(each_allocation_fails_once_while_exporting)
{
    fail_each(exported_run, &(losses){"none", NULL}, 100);
}

TEST(each_allocation_fails_once_with_a_loss_model)
{
    fail_each(whole_run,
              &(losses){"huber,target=t,weight=0.5",
                        OG_TEST_SOURCE_DIR "/../fixtures/losses/uncertain.onnx", false},
              100);
}

TEST(each_allocation_fails_once_with_adapters)
{
    fail_each(whole_run, &(losses){"bce_with_logits", NULL, true}, 100);
}

TEST(each_allocation_fails_once_with_a_new_model)
{
    fail_each(new_model, NULL, 30);
}

static const og_test tests[] = {TEST_ROW(each_allocation_fails_once),
                                TEST_ROW(each_allocation_fails_once_while_checkpointing),
                                TEST_ROW(each_allocation_fails_once_while_exporting),
                                TEST_ROW(each_allocation_fails_once_with_a_loss_model),
                                TEST_ROW(each_allocation_fails_once_with_adapters),
                                TEST_ROW(each_allocation_fails_once_with_a_new_model)};
TEST_MAIN(tests)
