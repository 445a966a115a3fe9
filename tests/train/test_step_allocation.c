/* Training steps after the first allocate nothing and start no threads. malloc and its kin are
 * interposed, for the whole process, and each call during such a step is put down to the file it
 * came from. What the libraries of the system allocate is printed; none of it may be of a tensor's
 * size. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/ongrad.h"
#include "tests/test.h"

enum { TENSOR = 64 << 10, MOST_CALLERS = 16, STEPS = 3 };

typedef struct caller {
    const char *file; /* of the program or library that asked */
    long count;
    size_t largest;
} caller;

static atomic_bool counting;
static caller callers[MOST_CALLERS];
static int n_callers;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
enum { CAN_INTERPOSE = false };
#else
enum { CAN_INTERPOSE = true };

static atomic_flag busy = ATOMIC_FLAG_INIT;

static void note(const void *from, size_t bytes)
{
    static _Thread_local bool inside; /* dladdr may allocate */
    if (!atomic_load_explicit(&counting, memory_order_relaxed) || inside)
        return;
    inside = true;
    Dl_info info;
    const char *file = dladdr(from, &info) && info.dli_fname ? info.dli_fname : "unknown";
    while (atomic_flag_test_and_set(&busy))
        ;
    int i = 0;
    while (i < n_callers && strcmp(callers[i].file, file) != 0)
        i++;
    if (i < MOST_CALLERS) {
        n_callers = i == n_callers ? n_callers + 1 : n_callers;
        callers[i].file = file;
        callers[i].count++;
        if (bytes > callers[i].largest)
            callers[i].largest = bytes;
    }
    atomic_flag_clear(&busy);
    inside = false;
}

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes)
{
    note(__builtin_return_address(0), bytes);
    return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t size)
{
    note(__builtin_return_address(0), count * size);
    return __libc_calloc(count, size);
}
void *realloc(void *old, size_t bytes)
{
    note(__builtin_return_address(0), bytes);
    return __libc_realloc(old, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes)
{
    note(__builtin_return_address(0), bytes);
    return __libc_memalign(alignment, bytes);
}
int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    note(__builtin_return_address(0), bytes);
    *memory = __libc_memalign(alignment, bytes);
    return *memory ? 0 : ENOMEM;
}
#endif

typedef struct run {
    const char *fixture, *loss;
    og_tensor_info input, target;
} run;

static const run runs[] = {
    {"tabular",
     "bce_with_logits",
     {.name = "x", .dtype = OG_FLOAT, .rank = 2, .dims = {32, 12}},
     {.dtype = OG_FLOAT, .rank = 1, .dims = {32}}},
    {"mini_resnet",
     "cross_entropy",
     {.name = "image", .dtype = OG_FLOAT, .rank = 4, .dims = {8, 3, 32, 32}},
     {.dtype = OG_INT64, .rank = 1, .dims = {8}}},
    {"encoder",
     "cross_entropy",
     {.name = "features", .dtype = OG_FLOAT, .rank = 3, .dims = {16, 16, 24}},
     {.dtype = OG_INT64, .rank = 1, .dims = {16}}},
    {"char_gpt",
     "cross_entropy",
     {.name = "tokens", .dtype = OG_INT64, .rank = 2, .dims = {4, 32}},
     {.dtype = OG_INT64, .rank = 2, .dims = {4, 32}}},
    {"seq_lstm",
     "cross_entropy",
     {.name = "x", .dtype = OG_FLOAT, .rank = 3, .dims = {16, 12, 10}},
     {.dtype = OG_INT64, .rank = 1, .dims = {16}}},
};

/* The kernel numbers threads in the order they are started. */
static long newest_thread(void)
{
    DIR *tasks = opendir("/proc/self/task");
    long newest = 0;
    for (struct dirent *task; tasks && (task = readdir(tasks)) != NULL;) {
        long id = strtol(task->d_name, NULL, 10);
        newest = id > newest ? id : newest;
    }
    if (tasks)
        closedir(tasks);
    return newest;
}

static void count_steps(og_context *c, const run *r)
{
    static const int64_t zeros[8 * 3 * 32 * 32]; /* enough for every input and target */
    char path[512];
    snprintf(path, sizeof(path), OG_TEST_SOURCE_DIR "/../fixtures/%s/model.onnx", r->fixture);
    const void *inputs[] = {zeros}, *targets[] = {zeros};
    og_tensor_info target = r->target;
    target.name = "target";
    int64_t samples = r->input.dims[0];
    og_step_result result;
    og_model *m = og_model_load(c, path);
    og_options *o = og_options_new(c);
    REQUIRE(m && o && og_options_set(o, "loss", r->loss) == OG_OK &&
            og_options_set(o, "gradient_accumulation_steps", "2") == OG_OK);
    atomic_store(&counting, true);
    og_session *s = og_session_new(m, o, &r->input, 1, &target, 1);
    atomic_store(&counting, false);
    if (!s)
        printf("%s\n", og_error_message(c));
    REQUIRE(s);
    CHECK(n_callers > 0 || !CAN_INTERPOSE); /* planning does, and so the counting works */
    n_callers = 0;
    memset(callers, 0, sizeof(callers));
    long newest = 0;
    for (int step = 0; step < 2 + 2 * STEPS; step++) { /* two micro-batches a step */
        if (step == 2) {
            newest = newest_thread();
            atomic_store(&counting, true);
        }
        og_status status = og_session_train_step(s, inputs, targets, samples, &result);
        if (status != OG_OK) {
            atomic_store(&counting, false);
            printf("%s\n", og_error_message(c));
        }
        CHECK_INT(status, OG_OK);
    }
    atomic_store(&counting, false);
    CHECK_INT(newest_thread(), newest);
    og_session_free(s);
    og_options_free(o);
    og_model_free(m);
}

TEST(later_steps_allocate_nothing)
{
    if (!CAN_INTERPOSE)
        SKIP("malloc belongs to a sanitizer here, or is not glibc's");
    Dl_info ours;
    REQUIRE(dladdr((const void *)count_steps, &ours));
    og_context *c = og_context_new(&(og_context_config){.threads = 2});
    REQUIRE(c);
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        TEST_CASE(runs[i].fixture);
        count_steps(c, &runs[i]);
        for (int k = 0; k < n_callers; k++) {
            const caller *from = &callers[k];
            printf("%s: %d steps: %ld allocations by %s, at most %zu bytes\n", runs[i].fixture,
                   STEPS, from->count, from->file, from->largest);
            CHECK(strcmp(from->file, ours.dli_fname) != 0 && !strstr(from->file, "libongrad"));
            CHECK(from->largest < TENSOR);
        }
    }
    TEST_CASE("");
    og_context_free(c);
}

/* Some work is enough for two of four threads: a team of two would end the others. */
TEST(later_steps_start_no_threads)
{
    og_context *c = og_context_new(&(og_context_config){.threads = 4});
    REQUIRE(c);
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        TEST_CASE(runs[i].fixture);
        count_steps(c, &runs[i]);
    }
    TEST_CASE("");
    og_context_free(c);
}

static const og_test tests[] = {TEST_ROW(later_steps_allocate_nothing),
                                TEST_ROW(later_steps_start_no_threads)};
TEST_MAIN(tests)
