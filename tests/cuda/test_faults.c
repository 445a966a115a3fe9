/* The simulated card itself: that right programs run, and that faults which a card might forgive
 * are found: races, barriers that are missing or passed by, pinned memory used too early, wrong
 * sizes, memory that was not declared, calls in a recording. */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/faults.h"
#include "tests/cuda/open.h"

enum { SEEDS = 8, N = 128 };

static const og_cuda_image image = {"faults", NULL};

/* A device and two rows of N floats on it, the first 1, 2, 3 … */
typedef struct rig {
    og_device *device;
    const og_cuda_driver *driver;
    og_cuda_card *card;
    float *x, *y, *pinned;
} rig;

static rig set_up(uint64_t seed)
{
    og_error error = {0};
    float row[N];
    rig r = {.device = open_device(seed)};
    r.driver = og__cuda_of(r.device)->driver;
    r.card = og__cuda_of(r.device)->card;
    r.x = r.device->alloc(r.device, sizeof row);
    r.y = r.device->alloc(r.device, sizeof row);
    r.pinned = r.device->remote->host_alloc(r.device, sizeof row);
    for (int i = 0; i < N; i++)
        row[i] = (float)(i + 1);
    GOES(r.device->remote->upload(r.device, r.x, row, sizeof row, &error));
    GOES(r.device->remote->finish(r.device, &error));
    return r;
}

static og_status launch(rig *r, og_cuda_stream stream, const char *name, uint32_t threads,
                        size_t shared, og_error *error)
{
    og_cuda_function *function;
    og__cuda *cuda = og__cuda_of(r->device);
    fault_arguments arguments = {r->x, r->y, N};
    og_cuda_range ranges[] = {{r->x, N * sizeof(float), false}, {r->y, N * sizeof(float), true}};
    OG_TRY(og__cuda_function(cuda, &image, name, shared, &function, error));
    const og_cuda_launch l = {.function = function,
                              .grid = {1, 1, 1},
                              .block = {threads, 1, 1},
                              .shared = shared,
                              .arguments = &arguments,
                              .arguments_bytes = sizeof arguments,
                              .ranges = ranges,
                              .n_ranges = 2};
    return r->driver->launch(r->card, stream, &l, error);
}

/* y after a kernel, as the card has it. */
static void run_kernel(rig *r, const char *name, float y[N])
{
    og_error error = {0};
    GOES(launch(r, OG_CUDA_COMPUTE, name, N, name[8] == 'c' ? 64 : 0, &error));
    GOES(r->device->remote->download(r->device, y, r->y, N * sizeof(float), &error));
}

TEST(barriers_hold)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig r = set_up(seed);
        float y[N];
        run_kernel(&r, "og_test_reverse", y);
        for (int i = 0; i < N; i++)
            CHECK_CLOSE(y[i], N - i, 0);
        run_kernel(&r, "og_test_row_sums", y);
        CHECK_CLOSE(y[0], N * (N + 1) / 2.0, 0);
        CHECK_CLOSE(y[1], N, 0);
        run_kernel(&r, "og_test_count", y);
        CHECK_CLOSE(y[77], 1, 0);
        close_device(r.device);
    }
}

/* A shared row is poison until it is written, and threads run in a random order. */
TEST(a_missing_barrier_shows)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig r = set_up(seed);
        float y[N];
        int wrong = 0;
        run_kernel(&r, "og_test_reverse_without_barrier", y);
        for (int i = 0; i < N; i++)
            wrong += y[i] != (float)(N - i);
        CHECK(wrong > N / 4);
        close_device(r.device);
    }
}

TEST(a_barrier_passed_by_is_found)
{
    og_error error = {0};
    rig r = set_up(1);
    GOES(launch(&r, OG_CUDA_COMPUTE, "og_test_barrier_in_branch", N, 0, &error));
    finds(r.device, "threads wait at a barrier that others of the block passed by");
    r = set_up(2);
    GOES(launch(&r, OG_CUDA_COMPUTE, "og_test_shuffle_in_branch", N, 0, &error));
    finds(r.device, "lanes wait at a shuffle");
}

/* The copy stream fills x, the compute stream reads it. */
static void fill_and_read(rig *r, bool with_event)
{
    og_error error = {0};
    og_cuda_event *event;
    GOES(r->driver->event_new(r->card, &event, &error));
    memset(r->pinned, 0, N * sizeof(float));
    GOES(r->driver->copy(r->card, OG_CUDA_COPY, r->x, r->pinned, N * sizeof(float), &error));
    GOES(r->driver->event_record(r->card, event, OG_CUDA_COPY, &error));
    if (with_event)
        GOES(r->driver->event_follow(r->card, event, OG_CUDA_COMPUTE, &error));
    (void)launch(r, OG_CUDA_COMPUTE, "og_test_reverse", N, 0, &error);
    og_error_clear(&error);
}

TEST(a_missing_event_is_found)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        og_error error = {0};
        rig r = set_up(seed);
        fill_and_read(&r, true);
        GOES(r.device->remote->finish(r.device, &error));
        close_device(r.device);
        r = set_up(seed);
        fill_and_read(&r, false);
        finds(r.device,
              "a race: nothing orders a copy (copy stream, item 1) and kernel og_test_reverse");
    }
}

/* Written by the host while the copy that reads it is on its way. */
TEST(a_pinned_source_written_too_early_is_found)
{
    og_error error = {0};
    rig r = set_up(1);
    memset(r.pinned, 1, N * sizeof(float));
    GOES(r.driver->copy(r.card, OG_CUDA_COPY, r.x, r.pinned, N * sizeof(float), &error));
    memset(r.pinned, 2, N * sizeof(float));
    finds(r.device, "was changed between its being queued and done");
}

/* Read by the host before its mark: there is nothing but poison. */
TEST(a_result_read_too_early_is_poison)
{
    og_error error = {0};
    rig r = set_up(1);
    r.pinned[0] = 1;
    GOES(r.device->remote->fetch(r.device, &(og_copy){r.pinned, r.x, sizeof(float)}, 1, &error));
    CHECK(isnan(r.pinned[0]));
    GOES(r.device->remote->mark(r.device, 0, &error));
    GOES(r.device->remote->wait(r.device, 0, &error));
    CHECK_CLOSE(r.pinned[0], 1, 0);
    close_device(r.device);
}

TEST(wrong_launches_are_found)
{
    og_error error = {0};
    rig r = set_up(1);
    CHECK(launch(&r, OG_CUDA_COMPUTE, "og_test_reverse", 1025, 0, &error) != OG_OK);
    CHECK_TEXT(og_error_text(&error), "1 to 1024 threads");
    og_error_clear(&error);
    finds(r.device, "1 to 1024 threads");
    r = set_up(1);
    CHECK(launch(&r, OG_CUDA_COMPUTE, "og_test_count", N, 1 << 20, &error) != OG_OK);
    CHECK_TEXT(og_error_text(&error), "bytes of shared memory");
    og_error_clear(&error);
    r.y = (float *)((char *)r.y + 4); /* reaches behind its block */
    CHECK(launch(&r, OG_CUDA_COMPUTE, "og_test_reverse", N, 0, &error) != OG_OK);
    og_error_clear(&error);
    finds(r.device, "which are in no block of memory");
    r = set_up(1);
    float pageable[N];
    CHECK(r.driver->copy(r.card, OG_CUDA_COPY, r.x, pageable, sizeof pageable, &error) != OG_OK);
    og_error_clear(&error);
    finds(r.device, "each must be memory of the card or pinned");
}

/* ---- inputs that travel ahead (feed.c), with an event left out */

static og_status copies_at_once(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                                og_error *error)
{
    return stream == OG_CUDA_COPY ? OG_OK
                                  : og_cuda_driver_get()->event_follow(card, event, stream, error);
}

static og_status computes_at_once(og_cuda_card *card, og_cuda_event *event, og_cuda_stream stream,
                                  og_error *error)
{
    return stream == OG_CUDA_COMPUTE
               ? OG_OK
               : og_cuda_driver_get()->event_follow(card, event, stream, error);
}

static og_status waits_for_nothing(og_cuda_card *card, og_cuda_event *event, og_error *error)
{
    (void)card, (void)event, (void)error;
    return OG_OK;
}

/* Steps' inputs through both slots, on a card whose driver is that one from then on. */
static void feed_with(og_cuda_driver *driver, uint64_t seed, const char *finding)
{
    og_error error = {0};
    rig r = set_up(seed);
    void *slots = r.device->alloc(r.device, 2 * N * sizeof(float));
    float rows[6][N];
    memset(rows, 0, sizeof rows);
    GOES(r.device->remote->reserve(r.device, slots, 2 * N * sizeof(float), &error));
    og__cuda_of(r.device)->driver = driver;
    for (int i = 0; i < 6; i++) {
        og_copy copy = {r.x, rows[i], sizeof rows[i]};
        rows[i][0] = (float)i;
        if (r.device->remote->feed(r.device, &copy, 1, &error) != OG_OK)
            break;
    }
    og_error_clear(&error);
    if (finding)
        finds(r.device, finding);
    else {
        GOES(r.device->remote->finish(r.device, &error));
        close_device(r.device);
    }
}

TEST(an_event_left_out_of_the_feed_is_found)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        og_cuda_driver driver = *og_cuda_driver_get();
        feed_with(&driver, seed, NULL);
        driver.event_follow = copies_at_once;
        feed_with(&driver, seed, "a race: nothing orders");
        driver.event_follow = computes_at_once;
        feed_with(&driver, seed, "a race: nothing orders");
        driver = *og_cuda_driver_get();
        driver.event_wait = waits_for_nothing;
        feed_with(&driver, seed, "was changed between its being queued and done");
    }
}

/* What no recording takes: call `which` of them; OG_INTERNAL behind the last. */
static og_status call_in_recording(rig *r, int which, og_cuda_event *event, og_error *error)
{
    const og_cuda_driver *d = r->driver;
    uint64_t bytes[2];
    size_t workspace;
    void *memory;
    og_cuda_event *another;
    og_cuda_module *module;
    og_cuda_function *function;
    og_cuda_plan *plan;
    og_cuda_way way = {{0}, 0};
    int n;
    og_cuda_fused *fused;
    const og_cuda_product product = {.m = 8, .n = 8, .k = 8, .batch = 1};
    static const og_cuda_fusion fusion;
    switch (which) {
    case 0:
        return d->memory(r->card, &bytes[0], &bytes[1], error);
    case 1:
        return d->alloc(r->card, 256, &memory, error);
    case 2:
        return d->host_alloc(r->card, 256, &memory, error);
    case 3:
        return d->event_new(r->card, &another, error);
    case 4:
        return d->event_record(r->card, event, OG_CUDA_COMPUTE, error);
    case 5:
        return d->event_follow(r->card, event, OG_CUDA_COMPUTE, error);
    case 6:
        return d->event_wait(r->card, event, error);
    case 7:
        return d->synchronize(r->card, error);
    case 8:
        return d->load(r->card, &image, &module, error);
    case 9:
        return d->compile(r->card, "none", "", &module, error);
    case 10:
        return d->function(r->card, NULL, "none", 0, &function, error);
    case 11:
        return d->capture_begin(r->card, error);
    case 12:
        return d->graph_launch(r->card, NULL, error);
    case 13:
        return d->product_ways(r->card, &product, &way, 1, &n, error);
    case 14:
        return d->product_plan(r->card, &product, &way, &plan, error);
    case 15:
        return d->fusion_plan(r->card, &fusion, &fused, &workspace, error);
    case 16: /* of the other stream */
        return d->set(r->card, OG_CUDA_COPY, r->x, 0, 4, error);
    default:
        return OG_INTERNAL;
    }
}

TEST(a_recording_takes_only_kernels)
{
    enum { CALLS = 17 };
    for (int i = 0; i < CALLS; i++) {
        og_error error = {0};
        rig r = set_up(1);
        void *recording;
        og_cuda_event *event;
        GOES(r.driver->event_new(r.card, &event, &error));
        GOES(r.device->remote->record(r.device, &error));
        CHECK(call_in_recording(&r, i, event, &error) != OG_OK);
        CHECK_TEXT(og_error_text(&error), "between the beginning and the end of a recording");
        og_error_clear(&error);
        CHECK(r.device->remote->recorded(r.device, &recording, &error) != OG_OK);
        r.device->remote->forget(r.device, recording);
        og_error_clear(&error);
        finds(r.device, "of a recording");
    }
}

/* ---- what ends the program: each in a child, whose end is looked at */

static void touch_from_host(rig *r)
{
    *(volatile float *)r->x = 1;
}

static void touch_undeclared(rig *r)
{
    og_error error = {0};
    og_cuda_range ranges[] = {{r->x, N * sizeof(float), false}};
    fault_arguments arguments = {r->x, r->y, N};
    og_cuda_function *function;
    og__cuda_function(og__cuda_of(r->device), &image, "og_test_reverse", 0, &function, &error);
    const og_cuda_launch l = {.function = function,
                              .grid = {1, 1, 1},
                              .block = {N, 1, 1},
                              .arguments = &arguments,
                              .arguments_bytes = sizeof arguments,
                              .ranges = ranges,
                              .n_ranges = 1};
    r->driver->launch(r->card, OG_CUDA_COMPUTE, &l, &error);
    r->device->remote->finish(r->device, &error);
}

static void dies(void (*run)(rig *r))
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        rig r = set_up(1);
        run(&r);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

TEST(memory_of_the_card_is_the_cards)
{
    dies(touch_from_host);
    dies(touch_undeclared);
}

static const og_test tests[] = {
    TEST_ROW(barriers_hold),
    TEST_ROW(a_missing_barrier_shows),
    TEST_ROW(a_barrier_passed_by_is_found),
    TEST_ROW(a_missing_event_is_found),
    TEST_ROW(a_pinned_source_written_too_early_is_found),
    TEST_ROW(a_result_read_too_early_is_poison),
    TEST_ROW(wrong_launches_are_found),
    TEST_ROW(an_event_left_out_of_the_feed_is_found),
    TEST_ROW(a_recording_takes_only_kernels),
    TEST_ROW(memory_of_the_card_is_the_cards),
};
TEST_MAIN(tests)
