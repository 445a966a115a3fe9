/* The fastest way of each product, by the simulated card's clock: found once plans are decided on,
 * kept for later ones and later processes, and what happens where that cannot be. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/tuning.h"
#include "runtime/train/train.h"
#include "tests/cuda/call.h"

enum { FIRST, LEAN, FASTEST, LARGE }; /* the card's ways, by the times below */
enum { MEMORY = 1 << 20 };
static const float usual[OG_SIM_WAYS] = {3, 4, 2, 5};

/* An empty cache of this test's own. */
static void use_own_cache(const char *name)
{
    char folder[1024], command[1100];
    REQUIRE(getcwd(folder, sizeof folder - 64) != NULL);
    snprintf(folder + strlen(folder), 64, "/%s", name);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK_INT(system(command), 0);
    setenv("XDG_CACHE_HOME", folder, 1);
    og_sim_set_times(usual);
}

/* A product A B of one shape, as a kernel's call. */
typedef struct product {
    og_device *device;
    kernel_call c;
    kernel_node node;
    og_tensor x[2], y;
    og_call call;
    const og_kernel *kernel;
} product;

static void prepare(product *p, og_device *d)
{
    og_error error = {0};
    uint64_t seed = 3;
    *p = (product){.device = d, .c = {.op = "MatMul", .nx = 2, .ny = 1}};
    p->c.x[0] = test_filled(OG_FLOAT, 2, (int64_t[]){12, 40}, &seed);
    p->c.x[1] = test_filled(OG_FLOAT, 2, (int64_t[]){40, 8}, &seed);
    p->c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){12, 8});
    test_node(&p->node, &p->c);
    for (int i = 0; i < 2; i++) {
        p->x[i] = p->c.x[i];
        p->x[i].data = NULL;
    }
    p->y = p->c.y[0];
    p->y.data = NULL;
    p->call =
        (og_call){.node = &p->node.node, .device = d, .nx = 2, .ny = 1, .x = p->x, .y = &p->y};
    p->kernel = og_device_kernel(d, &p->call, false);
    REQUIRE(p->kernel != NULL);
    GOES(p->kernel->prepare(&p->call, &error));
}

static void release(product *p)
{
    p->kernel->release(&p->call);
    test_free_tensors(&p->c);
}

/* Prepares the product, has it timed in so many bytes, and releases it. Does that change plans? */
static bool tune(og_device *d, size_t bytes)
{
    og_error error = {0};
    product p;
    bool changes = false;
    prepare(&p, d);
    CHECK(d->untimed(d));
    char *memory = d->alloc(d, bytes);
    GOES(d->tune(d, memory, bytes, &changes, &error));
    CHECK(!d->untimed(d));
    d->free(d, memory, bytes);
    release(&p);
    return changes;
}

/* The workspace of the product when it is prepared again; untimed: is its fastest way not known? */
static size_t workspace_now(og_device *d, bool untimed)
{
    product p;
    prepare(&p, d);
    CHECK(d->untimed(d) == untimed);
    size_t bytes = p.call.workspace_bytes;
    release(&p);
    CHECK(!d->untimed(d));
    return bytes;
}

TEST(plans_have_the_fastest_ways_workspace)
{
    use_own_cache("fastest");
    og_device *d = open_device(1);
    CHECK_INT(workspace_now(d, true), og_sim_workspace(FIRST));
    CHECK(tune(d, MEMORY));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FASTEST));
    close_device(d);
    /* as another process */
    int timed = og_sim_timed();
    CHECK(timed > 0);
    d = open_device(2);
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FASTEST));
    CHECK_INT(og_sim_timed(), timed);
    /* other products are others */
    d->options.allow_tf32 = false;
    CHECK_INT(workspace_now(d, true), og_sim_workspace(FIRST));
    close_device(d);
}

TEST(equal_products_are_timed_once)
{
    og_error error = {0};
    product p, q;
    bool changes;
    use_own_cache("equal");
    og_device *d = open_device(1);
    prepare(&p, d);
    prepare(&q, d);
    int before = og_sim_timed();
    char *memory = d->alloc(d, MEMORY);
    GOES(d->tune(d, memory, MEMORY, &changes, &error));
    CHECK(changes);
    CHECK_INT(og_sim_timed() - before, 3 * OG_SIM_WAYS); /* twice to warm up, and once */
    release(&p);
    release(&q);
    close_device(d);
}

TEST(the_librarys_first_may_be_the_fastest)
{
    use_own_cache("first");
    og_sim_set_times((const float[]){1, 2, 1.5F, 3});
    og_device *d = open_device(1);
    CHECK(!tune(d, MEMORY));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FIRST));
    close_device(d);
}

TEST(ways_that_do_not_run_are_left_out)
{
    use_own_cache("left_out");
    og_sim_set_times((const float[]){-1, 4, -1, 3});
    og_device *d = open_device(1);
    CHECK(tune(d, MEMORY));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(LARGE));
    use_own_cache("none_runs");
    og_sim_set_times((const float[]){-1, -1, -1, -1});
    CHECK(!tune(d, MEMORY));
    CHECK_INT(workspace_now(d, true), og_sim_workspace(FIRST));
    close_device(d);
}

TEST(timing_is_bounded)
{
    use_own_cache("bounded");
    og_sim_set_times((const float[]){60, 50, 40, 30});
    og_device *d = open_device(1);
    int before = og_sim_timed();
    CHECK(!tune(d, MEMORY));
    CHECK_INT(og_sim_timed() - before, 3);
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FIRST));
    close_device(d);
}

TEST(the_memory_may_be_too_little)
{
    enum { OPERANDS = 2048 + 1280 + 512 }; /* 12 x 40, 40 x 8, 12 x 8, each to 256 bytes */
    use_own_cache("too_little");
    og_device *d = open_device(1);
    int before = og_sim_timed();
    CHECK(!tune(d, OPERANDS - 1));
    CHECK_INT(og_sim_timed(), before);
    CHECK_INT(workspace_now(d, true), og_sim_workspace(FIRST));
    /* for some ways alone */
    CHECK(!tune(d, OPERANDS + og_sim_workspace(FASTEST) - 1));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FIRST));
    use_own_cache("just_enough");
    CHECK(tune(d, OPERANDS + og_sim_workspace(FASTEST)));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FASTEST));
    close_device(d);
}

TEST(nothing_is_timed_where_it_must_not)
{
    use_own_cache("deterministic");
    og_device *d = open_device(1);
    CHECK(tune(d, MEMORY));
    d->options.deterministic = true; /* and what is known is not taken */
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FIRST));
    d->options.deterministic = false;
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FASTEST));
    setenv("XDG_CACHE_HOME", "/dev/null/cache", 1);
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FIRST));
    close_device(d);
}

/* The key of the product, of which the fastest way is not known. */
static char *key_of_product(og_device *d)
{
    og_error error = {0};
    og_text key = {0};
    product p;
    prepare(&p, d);
    if (CHECK(d->untimed(d)))
        GOES(og__cuda_product_key(og__cuda_of(d), &og__cuda_of(d)->untimed->shape, &key, &error));
    release(&p);
    return key.s;
}

/* A choice of a library that is not this one, and one whose file says another workspace. */
TEST(a_way_that_the_library_does_not_take_is_none)
{
    static const og_cuda_way strange[] = {{{77}, 0}, {{3}, 123}, {{3}, UINT64_MAX}};
    use_own_cache("strange");
    og_device *d = open_device(1);
    char *key = key_of_product(d);
    for (int i = 0; i < 3; i++) {
        og__tuning_write(key, &strange[i]);
        CHECK_INT(workspace_now(d, true), og_sim_workspace(FIRST));
    }
    CHECK(tune(d, MEMORY));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FASTEST));
    free(key);
    close_device(d);
}

/* The first byte of every file of the cache is another one. */
static void damage_cache(void)
{
    char path[1500];
    snprintf(path, sizeof path, "%s/ongrad", getenv("XDG_CACHE_HOME"));
    DIR *folder = opendir(path);
    REQUIRE(folder != NULL);
    int n = 0;
    for (struct dirent *e; (e = readdir(folder));) {
        char file[2000];
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        FILE *f = fopen(file, "r+b");
        REQUIRE(f != NULL);
        putc('!', f);
        fclose(f);
        n++;
    }
    closedir(folder);
    CHECK(n > 0);
}

TEST(a_damaged_cache_is_none)
{
    use_own_cache("damaged");
    og_device *d = open_device(1);
    CHECK(tune(d, MEMORY));
    damage_cache();
    CHECK_INT(workspace_now(d, true), og_sim_workspace(FIRST));
    CHECK(tune(d, MEMORY));
    CHECK_INT(workspace_now(d, false), og_sim_workspace(FASTEST));
    close_device(d);
}

/* Whatever a product has: a card refuses operands that are wrong. */
TEST(every_kind_of_product_is_timed)
{
    static const struct {
        og_cuda_arithmetic arithmetic;
        og_dtype in, out;
        int64_t batch, stride, ld;
        bool transposed, reads_c, scalars_on_device;
        og_cuda_epilogue epilogue;
    } cases[] = {
        {OG_CUDA_FLOAT, OG_FLOAT, OG_FLOAT, 1, 0, 8, false, false, false, OG_CUDA_PLAIN},
        {OG_CUDA_TF32, OG_FLOAT, OG_FLOAT, 3, 48, 8, true, true, false, OG_CUDA_BIAS},
        {OG_CUDA_TF32, OG_FLOAT, OG_FLOAT, 3, 8, 24, false, true, true, OG_CUDA_PLAIN},
        {OG_CUDA_HALF, OG_FLOAT16, OG_FLOAT, 1, 0, 8, true, true, true, OG_CUDA_PLAIN},
        {OG_CUDA_HALF, OG_BFLOAT16, OG_BFLOAT16, 1, 0, 9, false, false, false, OG_CUDA_GELU_BIAS},
        {OG_CUDA_HALF, OG_FLOAT16, OG_FLOAT16, 1, 0, 8, false, false, false, OG_CUDA_RELU_AUX_BIAS},
        {OG_CUDA_HALF, OG_FLOAT16, OG_FLOAT16, 1, 0, 8, false, false, false, OG_CUDA_DGELU_BGRAD},
        {OG_CUDA_HALF, OG_FLOAT16, OG_FLOAT, 1, 0, 8, false, false, false, OG_CUDA_BGRADB},
        {OG_CUDA_DOUBLE, OG_DOUBLE, OG_DOUBLE, 1, 0, 8, false, true, true, OG_CUDA_PLAIN},
    };
    enum { M = 8, N = 6, K = 5 };
    use_own_cache("kinds");
    og_device *d = open_device(1);
    og_error error = {0};
    char *memory = d->alloc(d, MEMORY);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[16];
        snprintf(text, sizeof text, "case %zu", i);
        TEST_CASE(text);
        og__cuda_product planned;
        bool changes = false, wide = cases[i].transposed;
        og_cuda_product s = og__cuda_product_of(d, cases[i].in, cases[i].out);
        s.m = M, s.n = N, s.k = K, s.batch = cases[i].batch;
        s.transpose_a = s.transpose_b = wide;
        s.lda = wide ? K : M, s.stride_a = M * K;
        s.ldb = wide ? N : K, s.stride_b = N * K;
        s.ldc = s.ldd = cases[i].ld, s.stride_c = s.stride_d = cases[i].stride;
        s.arithmetic = cases[i].arithmetic;
        s.reads_c = cases[i].reads_c;
        s.scalars_on_device = cases[i].scalars_on_device;
        s.epilogue = cases[i].epilogue;
        s.ldaux = og_cuda_aux_is_bits(s.epilogue) ? 128 : 8;
        GOES(og__cuda_product_new(d, &s, &planned, &error));
        CHECK(planned.aligned.plan && planned.any.plan);
        GOES(d->tune(d, memory, MEMORY, &changes, &error));
        CHECK(changes);
        og__cuda_product_free(d, &planned);
        GOES(og__cuda_product_new(d, &s, &planned, &error));
        CHECK_INT(planned.workspace, og_sim_workspace(FASTEST));
        og__cuda_product_free(d, &planned);
    }
    TEST_CASE("");
    GOES(d->remote->finish(d, &error));
    close_device(d);
}

/* ---- sessions */

typedef struct trained {
    og_memory_report memory;
    uint64_t workspaces[OG_SIM_WAYS]; /* products of the micro plan that have each */
    double loss;
    int timed;
} trained;

static void count_workspaces(const og_plan *plan, uint64_t of[OG_SIM_WAYS])
{
    for (int i = 0; i < plan->n_steps; i++)
        for (int w = 0; w < OG_SIM_WAYS; w++)
            of[w] += strcmp(plan->steps[i].kernel->name, "cuBLASLt") == 0 &&
                     plan->steps[i].call.workspace_bytes == og_sim_workspace(w);
}

/* A step on 32 samples, one on 20, and one without gradients. */
static void run_session(const char *const settings[][2], trained *t)
{
    og_context *c = og_context_new(&(og_context_config){.threads = 1, .device = "cuda:0"});
    og_model *m = og_model_load(c, OG_TEST_SOURCE_DIR "/../fixtures/tabular/model.onnx");
    og_options *o = og_options_new(c);
    float x[32 * 12], y[32];
    const void *inputs[] = {x}, *targets[] = {y};
    og_step_result result;
    og_eval_result eval;
    const og_tensor_info input = {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
                         target = {.name = "target", .dtype = OG_FLOAT, .rank = 1, .dims = {32}};
    *t = (trained){.timed = og_sim_timed()};
    for (int i = 0; i < 32 * 12; i++)
        x[i] = (float)(i * 7 % 31 - 15) / 16;
    for (int i = 0; i < 32; i++)
        y[i] = (float)(i % 3 == 0);
    CHECK(og_options_set(o, "loss", "bce_with_logits") == OG_OK);
    for (int i = 0; settings[i][0]; i++)
        CHECK(og_options_set(o, settings[i][0], settings[i][1]) == OG_OK);
    og_session *s = og_session_new(m, o, &input, 1, &target, 1);
    if (!CHECK(s != NULL)) {
        printf("    %s\n", og_error_message(c));
        exit(1);
    }
    og_session_memory(s, &t->memory);
    count_workspaces(s->plans[0].plan, t->workspaces);
    t->timed = og_sim_timed() - t->timed;
    if (!og_options_get(o, "device_memory")) {
        int before = og_sim_timed();
        CHECK(og_session_train_step(s, inputs, targets, 32, &result) == OG_OK);
        CHECK_INT(og_sim_timed(), before); /* nothing at the first run */
        CHECK(og_session_train_step(s, inputs, targets, 20, &result) == OG_OK);
        CHECK(og_session_eval_step(s, inputs, targets, 32, NULL, &eval) == OG_OK);
        CHECK(og_session_flush(s, &result) == OG_OK);
        t->loss = eval.loss_sum;
    }
    og_session_free(s);
    og_options_free(o);
    og_model_free(m);
    og_context_free(c);
}

static const char *const plain[][2] = {{NULL}},
                         *const only_plan[][2] = {{"device_memory", "auto"}, {NULL}},
                         *const elsewhere[][2] = {{"device_memory", "24GB"}, {NULL}},
                         *const untuned[][2] = {{"tune", "off"}, {NULL}};

TEST(a_session_is_planned_with_what_was_timed)
{
    trained first, second, off;
    use_own_cache("session");
    run_session(untuned, &off);
    CHECK_INT(off.timed, 0);
    CHECK(off.workspaces[FIRST] > 0 && off.workspaces[FASTEST] == 0);
    run_session(plain, &first);
    CHECK(first.timed > 0);
    CHECK(first.workspaces[FIRST] == 0 && first.workspaces[FASTEST] == off.workspaces[FIRST]);
    int so_far = og_sim_timed();
    run_session(plain, &second); /* other batches and evaluation are known as well */
    CHECK_INT(og_sim_timed(), so_far);
    CHECK(memcmp(first.workspaces, second.workspaces, sizeof first.workspaces) == 0);
    CHECK_INT(second.memory.peak, first.memory.peak);
    CHECK_CLOSE(first.loss, off.loss, 1e-6);
    CHECK(second.loss == first.loss);
}

TEST(a_plan_alone_is_timed_if_the_card_is_here)
{
    trained plan, other, trained_after;
    use_own_cache("plan");
    run_session(elsewhere, &other);
    CHECK_INT(other.timed, 0);
    CHECK(other.workspaces[FIRST] > 0);
    run_session(only_plan, &plan);
    CHECK(plan.timed > 0 && plan.workspaces[FASTEST] == other.workspaces[FIRST]);
    run_session(plain, &trained_after);
    CHECK_INT(trained_after.timed, 0);
    CHECK_INT(trained_after.memory.peak, plan.memory.peak);
}

static const og_test tests[] = {
    TEST_ROW(plans_have_the_fastest_ways_workspace),
    TEST_ROW(equal_products_are_timed_once),
    TEST_ROW(the_librarys_first_may_be_the_fastest),
    TEST_ROW(ways_that_do_not_run_are_left_out),
    TEST_ROW(timing_is_bounded),
    TEST_ROW(the_memory_may_be_too_little),
    TEST_ROW(nothing_is_timed_where_it_must_not),
    TEST_ROW(a_way_that_the_library_does_not_take_is_none),
    TEST_ROW(a_damaged_cache_is_none),
    TEST_ROW(every_kind_of_product_is_timed),
    TEST_ROW(a_session_is_planned_with_what_was_timed),
    TEST_ROW(a_plan_alone_is_timed_if_the_card_is_here),
};
TEST_MAIN(tests)
