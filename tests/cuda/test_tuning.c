/* Which way of a product is the fastest, and what is kept on disk; with CUDA's headers also how
 * cuBLASLt is asked and timed, by libraries that only pretend to compute. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/cache.h"
#include "kernels/cuda/tuning.h"
#include "tests/test.h"

/* An empty cache of this test's own. */
static void use_own_cache(const char *name)
{
    char folder[1024], command[1100];
    REQUIRE(getcwd(folder, sizeof folder - 64) != NULL);
    snprintf(folder + strlen(folder), 64, "/%s", name);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK_INT(system(command), 0);
    setenv("XDG_CACHE_HOME", folder, 1);
}

static size_t size_of(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? (size_t)s.st_size : 0;
}

static void change_byte(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    REQUIRE(f != NULL);
    fseek(f, at, SEEK_SET);
    int c = getc(f);
    fseek(f, at, SEEK_SET);
    putc(c ^ 1, f);
    fclose(f);
}

TEST(what_is_written_comes_back)
{
    static const char text[] = "an image\0of bytes";
    char path[OG__CACHE_PATH];
    size_t bytes = 0;
    use_own_cache("whole");
    REQUIRE(og__cache_path(path, "file"));
    CHECK(og__cache_read(path, &bytes) == NULL);
    for (size_t n = 0; n <= sizeof text; n += sizeof text / 2) {
        og__cache_write(path, text, n);
        char *got = og__cache_read(path, &bytes);
        REQUIRE(got != NULL);
        CHECK_INT(bytes, n);
        CHECK(memcmp(got, text, n) == 0 && got[n] == 0);
        free(got);
    }
}

TEST(a_damaged_file_is_none)
{
    static const char text[] = "0123456789";
    char path[OG__CACHE_PATH];
    size_t bytes;
    use_own_cache("damaged");
    REQUIRE(og__cache_path(path, "file"));
    og__cache_write(path, text, sizeof text);
    size_t whole = size_of(path);
    for (long at = 0; at < (long)whole; at++) {
        change_byte(path, at);
        CHECK(og__cache_read(path, &bytes) == NULL);
        change_byte(path, at);
    }
    for (size_t n = whole; n-- > 0;) {
        CHECK_INT(truncate(path, (off_t)n), 0);
        CHECK(og__cache_read(path, &bytes) == NULL);
    }
    og__cache_write(path, text, sizeof text);
    void *got = og__cache_read(path, &bytes);
    CHECK(got != NULL);
    free(got);
}

TEST(there_may_be_no_folder)
{
    char path[OG__CACHE_PATH], name[OG__CACHE_PATH];
    setenv("XDG_CACHE_HOME", "/dev/null/cache", 1);
    CHECK(!og__cache_path(path, "file"));
    CHECK(!og__tuning_keeps());
    use_own_cache("long");
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    CHECK(!og__cache_path(path, name));
}

/* Processes that write one file at once, each its own content, while others read it. */
TEST(writers_do_not_mix)
{
    enum { WRITERS = 4, TIMES = 200, BYTES = 20000 };
    char path[OG__CACHE_PATH], *content = malloc(BYTES);
    pid_t writers[WRITERS];
    use_own_cache("writers");
    REQUIRE(content && og__cache_path(path, "file"));
    for (int w = 0; w < WRITERS; w++) {
        writers[w] = fork();
        if (writers[w] == 0) {
            memset(content, 'a' + w, BYTES);
            for (int i = 0; i < TIMES; i++)
                og__cache_write(path, content, BYTES);
            _exit(0);
        }
    }
    int seen = 0;
    for (int i = 0; i < 5 * TIMES; i++) {
        size_t bytes;
        char *got = og__cache_read(path, &bytes);
        if (!got) {
            CHECK(!seen); /* nothing was there yet */
            continue;
        }
        seen++;
        CHECK_INT(bytes, BYTES);
        memset(content, got[0], BYTES);
        CHECK(memcmp(got, content, BYTES) == 0);
        free(got);
    }
    for (int w = 0; w < WRITERS; w++)
        waitpid(writers[w], NULL, 0);
    CHECK(size_of(path) > BYTES);
    free(content);
}

TEST(the_first_that_none_beats)
{
    static const struct {
        float ms[4];
        int n, fastest;
    } cases[] = {{{3}, 1, 0},
                 {{3, 2, 1, 4}, 4, 2},
                 {{1.01F, 1, 2, 3}, 4, 0}, /* within what timing varies */
                 {{1.1F, 1.01F, 1, 3}, 4, 1},
                 {{-1, 5, -1, 4}, 4, 3},
                 {{-1, -1}, 2, -1},
                 {{0}, 0, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(og__tuning_fastest(cases[i].ms, cases[i].n), cases[i].fastest);
}

static const og_cuda_product some_product = {.m = 64,
                                             .n = 32,
                                             .k = 16,
                                             .batch = 1,
                                             .a = OG_FLOAT16,
                                             .b = OG_FLOAT16,
                                             .c = OG_FLOAT,
                                             .d = OG_FLOAT,
                                             .bias = OG_FLOAT,
                                             .lda = 64,
                                             .ldb = 16,
                                             .ldc = 64,
                                             .ldd = 64,
                                             .arithmetic = OG_CUDA_HALF,
                                             .workspace_limit = 1 << 20,
                                             .alignment = 16};

static char *key_of(const og_cuda_product *p, const char *device, uint64_t library)
{
    og_text key = {0};
    og__tuning_key(&key, p, device, library);
    return key.s;
}

/* Whatever differs makes another key. */
TEST(a_key_has_everything)
{
    enum { KEYS = 29 };
    og_cuda_product p[KEYS];
    char *keys[KEYS + 2];
    for (int i = 0; i < KEYS; i++)
        p[i] = some_product;
    int64_t *numbers[] = {&p[1].m,        &p[2].n,         &p[3].k,         &p[4].batch,
                          &p[5].lda,      &p[6].ldb,       &p[7].ldc,       &p[8].ldd,
                          &p[9].stride_a, &p[10].stride_b, &p[11].stride_c, &p[12].stride_d,
                          &p[13].ldaux};
    for (int i = 0; i < 13; i++)
        ++*numbers[i];
    p[14].a = p[15].b = p[16].c = p[17].d = p[18].bias = OG_BFLOAT16;
    p[19].transpose_a = p[20].transpose_b = true;
    p[21].arithmetic = OG_CUDA_TF32;
    p[22].scalars_on_device = p[23].reads_c = true;
    p[24].epilogue = OG_CUDA_BIAS;
    p[25].workspace_limit = p[26].alignment = 4;
    p[27].m = p[28].n = 6;
    p[27].n = p[28].m = 43;
    for (int i = 0; i < KEYS; i++)
        keys[i] = key_of(&p[i], "card", 1);
    keys[KEYS] = key_of(&some_product, "other card", 1);
    keys[KEYS + 1] = key_of(&some_product, "card", 2);
    for (int i = 0; i < KEYS + 2; i++)
        for (int j = 0; j < i; j++)
            CHECK(strcmp(keys[i], keys[j]) != 0);
    for (int i = 0; i < KEYS + 2; i++)
        free(keys[i]);
}

/* The one file of the cache. */
static void the_file(const char *key, char path[OG__CACHE_PATH])
{
    char name[64];
    snprintf(name, sizeof name, "product-%016llx",
             (unsigned long long)og__cache_hash(OG__CACHE_HASH, key, strlen(key)));
    og__cache_path(path, name);
}

TEST(choices_are_kept)
{
    og_cuda_way choice = {.workspace = 4096}, got;
    char path[OG__CACHE_PATH], *key = key_of(&some_product, "card", 1);
    for (int i = 0; i < OG_CUDA_ALGORITHM_BYTES; i++)
        choice.algorithm[i] = (unsigned char)(i * 7);
    use_own_cache("choices");
    CHECK(!og__tuning_read(key, &got));
    og__tuning_write(key, &choice);
    CHECK(og__tuning_read(key, &got) && memcmp(&got, &choice, sizeof got) == 0);
    CHECK(!og__tuning_read("another", &got));
    /* a file of another key under this one's name, as two keys of one hash would have it */
    the_file(key, path);
    og__cache_write(path, "another", sizeof "another");
    CHECK(!og__tuning_read(key, &got));
    og__tuning_write(key, &choice);
    CHECK(og__tuning_read(key, &got));
    free(key);
}

#ifdef OG_HAS_CUDA

#include "kernels/cuda/driver_cuda.h"

/* ---- libraries that pretend: a way's runs cost what `cost` says, by a clock of their own */

enum { WAYS = 4 };

static struct {
    float clock, cost[WAYS + 1]; /* by algorithm, from 1 on; negative: it does not run */
    int runs, last;              /* products; the last one's algorithm */
    bool refuses;                /* the library no longer takes an algorithm */
    int events;                  /* that there are */
} fake;

static const char *fake_text(cublasStatus_t status)
{
    (void)status;
    return "pretended";
}
static cublasStatus_t fake_description(cublasLtMatmulDesc_t *made, cublasComputeType_t compute,
                                       cudaDataType_t scale)
{
    (void)compute;
    (void)scale;
    *made = malloc(1);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_description_free(cublasLtMatmulDesc_t description)
{
    free(description);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_attribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which,
                                     const void *value, size_t bytes)
{
    (void)d, (void)which, (void)value, (void)bytes;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_layout(cublasLtMatrixLayout_t *made, cudaDataType_t type, uint64_t rows,
                                  uint64_t columns, int64_t ld)
{
    (void)type, (void)rows, (void)columns, (void)ld;
    *made = malloc(1);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_layout_free(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_preference(cublasLtMatmulPreference_t *made)
{
    *made = malloc(1);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_preference_free(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_prefers(cublasLtMatmulPreference_t p,
                                   cublasLtMatmulPreferenceAttributes_t which, const void *value,
                                   size_t bytes)
{
    (void)p, (void)which, (void)value, (void)bytes;
    return CUBLAS_STATUS_SUCCESS;
}
static size_t workspace_of(int algorithm)
{
    return 1000 * (size_t)algorithm;
}
static cublasStatus_t fake_heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t d,
                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t dd,
                                     cublasLtMatmulPreference_t p, int most,
                                     cublasLtMatmulHeuristicResult_t *results, int *n)
{
    (void)handle, (void)d, (void)a, (void)b, (void)c, (void)dd, (void)p;
    *n = most < WAYS ? most : WAYS;
    for (int i = 0; i < *n; i++) {
        results[i].algo.data[0] = (uint64_t)i + 1;
        results[i].workspaceSize = workspace_of(i + 1);
        results[i].state = CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_algorithm(cublasLtHandle_t handle, cublasLtMatmulDesc_t d,
                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t dd,
                                     const cublasLtMatmulAlgo_t *algorithm,
                                     cublasLtMatmulHeuristicResult_t *result)
{
    (void)handle, (void)d, (void)a, (void)b, (void)c, (void)dd;
    result->workspaceSize = workspace_of((int)algorithm->data[0]);
    return fake.refuses ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t fake_multiply(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                    const void *alpha, const void *a, cublasLtMatrixLayout_t al,
                                    const void *b, cublasLtMatrixLayout_t bl, const void *beta,
                                    const void *c, cublasLtMatrixLayout_t cl, void *d,
                                    cublasLtMatrixLayout_t dl,
                                    const cublasLtMatmulAlgo_t *algorithm, void *workspace,
                                    size_t bytes, cudaStream_t stream)
{
    (void)handle, (void)description, (void)alpha, (void)a, (void)al, (void)b, (void)bl, (void)beta;
    (void)c, (void)cl, (void)d, (void)dl, (void)workspace, (void)stream;
    fake.last = (int)algorithm->data[0];
    CHECK(bytes >= workspace_of(fake.last));
    if (fake.cost[fake.last] < 0)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    fake.clock += fake.cost[fake.last];
    fake.runs++;
    return CUBLAS_STATUS_SUCCESS;
}
static size_t fake_version(void)
{
    return 7;
}

static CUresult fake_current(CUcontext context)
{
    (void)context;
    return CUDA_SUCCESS;
}
static CUresult fake_event(CUevent *event, unsigned flags)
{
    (void)flags;
    void *made = malloc(sizeof(float)); /* the time it was recorded */
    *event = made;
    fake.events++;
    return CUDA_SUCCESS;
}
static CUresult fake_event_free(CUevent event)
{
    free(event);
    fake.events--;
    return CUDA_SUCCESS;
}
static CUresult fake_record(CUevent event, CUstream stream)
{
    (void)stream;
    *(float *)(void *)event = fake.clock;
    return CUDA_SUCCESS;
}
static CUresult fake_wait(CUevent event)
{
    (void)event;
    return CUDA_SUCCESS;
}
static CUresult fake_elapsed(float *ms, CUevent from, CUevent to)
{
    *ms = *(float *)(void *)to - *(float *)(void *)from;
    return CUDA_SUCCESS;
}
static const og__cublas_library pretended_cublas = {
    .cublasLtGetStatusString = fake_text,
    .cublasLtMatmulDescCreate = fake_description,
    .cublasLtMatmulDescDestroy = fake_description_free,
    .cublasLtMatmulDescSetAttribute = fake_attribute,
    .cublasLtMatrixLayoutCreate = fake_layout,
    .cublasLtMatrixLayoutDestroy = fake_layout_free,
    .cublasLtMatmulPreferenceCreate = fake_preference,
    .cublasLtMatmulPreferenceDestroy = fake_preference_free,
    .cublasLtMatmulPreferenceSetAttribute = fake_prefers,
    .cublasLtMatmulAlgoGetHeuristic = fake_heuristic,
    .cublasLtMatmulAlgoCheck = fake_algorithm,
    .cublasLtMatmul = fake_multiply,
    .cublasLtGetVersion = fake_version,
};
static const og__cuda_library pretended_cuda = {
    .cuCtxSetCurrent = fake_current,
    .cuEventCreate = fake_event,
    .cuEventDestroy = fake_event_free,
    .cuEventRecord = fake_record,
    .cuEventSynchronize = fake_wait,
    .cuEventElapsedTime = fake_elapsed,
};
static og_cuda_card card = {.cuda = &pretended_cuda,
                            .cublas = &pretended_cublas,
                            .handle = (cublasLtHandle_t)&fake,
                            .properties = {.name = "pretended card"}};

static const float one = 1;
static const og_cuda_operands operands = {.alpha = &one, .beta = &one, .workspace_bytes = 4000};

static og_cuda_plan *plan_way(const og_cuda_way *way)
{
    og_error error = {0};
    og_cuda_plan *plan = NULL;
    CHECK_INT(og__cublas_plan(&card, &some_product, way, &plan, &error), OG_OK);
    return plan;
}

TEST(cublas_says_its_ways)
{
    og_error error = {0};
    og_cuda_way ways[8];
    int n = 0;
    memset(&fake, 0, sizeof fake);
    CHECK_INT(og__cublas_ways(&card, &some_product, ways, 8, &n, &error), OG_OK);
    CHECK_INT(n, WAYS);
    for (int i = 0; i < n; i++) {
        CHECK_INT(ways[i].workspace, workspace_of(i + 1));
        og_cuda_plan *plan = plan_way(&ways[i]);
        CHECK_INT(og__cublas_run(&card, plan, &operands, &error), OG_OK);
        CHECK_INT(fake.last, i + 1);
        og__cublas_free(&card, plan);
    }
    CHECK_INT(og__cublas_ways(&card, &some_product, ways, 2, &n, &error), OG_OK);
    CHECK_INT(n, 2);
    CHECK_INT(og__cublas_version(&card), 7);
}

TEST(cublas_may_not_take_a_way_any_more)
{
    og_error error = {0};
    og_cuda_way way = {{3}, workspace_of(3) - 1};
    og_cuda_plan *plan;
    memset(&fake, 0, sizeof fake);
    CHECK_INT(og__cublas_plan(&card, &some_product, &way, &plan, &error), OG_UNSUPPORTED);
    og_error_clear(&error);
    way.workspace++;
    og__cublas_free(&card, plan_way(&way));
    fake.refuses = true;
    CHECK_INT(og__cublas_plan(&card, &some_product, &way, &plan, &error), OG_UNSUPPORTED);
    og_error_clear(&error);
}

TEST(cublas_is_timed)
{
    og_error error = {0};
    og_cuda_way way = {{2}, workspace_of(2)};
    float ms = 0;
    memset(&fake, 0, sizeof fake);
    fake.cost[2] = 0.25F;
    og_cuda_plan *plan = plan_way(&way);
    CHECK_INT(og__cublas_time(&card, plan, &operands, 8, &ms, &error), OG_OK);
    CHECK_INT(fake.runs, 8);
    CHECK_CLOSE(ms, 2, 1e-6);
    fake.cost[2] = -1;
    CHECK_INT(og__cublas_time(&card, plan, &operands, 8, &ms, &error), OG_OK);
    CHECK(ms < 0);
    CHECK_INT(fake.events, 0);
    og__cublas_free(&card, plan);
}

#else

TEST(cublas_says_its_ways)
{
    SKIP("this build has no CUDA toolkit");
}

#endif

static const og_test tests[] = {
    TEST_ROW(what_is_written_comes_back),
    TEST_ROW(a_damaged_file_is_none),
    TEST_ROW(there_may_be_no_folder),
    TEST_ROW(writers_do_not_mix),
    TEST_ROW(the_first_that_none_beats),
    TEST_ROW(a_key_has_everything),
    TEST_ROW(choices_are_kept),
    TEST_ROW(cublas_says_its_ways),
#ifdef OG_HAS_CUDA
    TEST_ROW(cublas_may_not_take_a_way_any_more),
    TEST_ROW(cublas_is_timed),
#endif
};
TEST_MAIN(tests)
