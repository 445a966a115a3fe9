/* Texts of elementwise kernels and reductions through NVRTC, for every architecture that is built
 * for: it needs neither a card nor a driver. Skipped in builds without CUDA. */
#include <stdlib.h>
#include <unistd.h>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/fold.h"
#include "tests/test.h"

#ifdef OG_HAS_CUDA

#include "kernels/cuda/driver_cuda.h"

extern const char og__cuda_text_kernel[], og__cuda_text_arithmetic[];

static const int architectures[] = {80, 86, 89, 90};

/* loop NULL: the reduction. */
static void compiles(const og__loop *loop, const og__fold_loop *fold)
{
    og_text text = {0};
    og_text_add(&text, og__cuda_text_kernel);
    og_text_add(&text, og__cuda_text_arithmetic);
    if (loop)
        og__loop_write(loop, &text);
    else
        og__fold_write(fold, &text);
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        og_error error = {0};
        char *image = NULL;
        char name[32];
        snprintf(name, sizeof name, "sm_%d", architectures[i]);
        TEST_CASE(name);
        if (!CHECK_INT(og__nvrtc_compile("elementwise", text.s, architectures[i], &image, &error),
                       OG_OK))
            printf("%s\n", og_error_text(&error));
        CHECK(image && memcmp(image, "\177ELF", 4) == 0);
        /* and once more, from the cache */
        char *again = NULL;
        CHECK_INT(og__nvrtc_compile("elementwise", text.s, architectures[i], &again, &error),
                  OG_OK);
        CHECK(again && memcmp(again, "\177ELF", 4) == 0);
        free(image);
        free(again);
        og_error_clear(&error);
    }
    TEST_CASE("");
    og_text_free(&text);
}

static void use_own_cache(void)
{
    char folder[1024];
    if (getcwd(folder, sizeof folder))
        setenv("XDG_CACHE_HOME", folder, 1);
}

TEST(every_instruction)
{
    static const og_dtype domains[] = {OG_FLOAT, OG_DOUBLE, OG_INT64};
    use_own_cache();
    for (int d = 0; d < 3; d++) {
        og_instr instr[OG_SCALAR_COUNT];
        int16_t out[OG_SCALAR_COUNT];
        int64_t strides[3][OG_MAX_RANK + 1] = {{60, 1}, {0, 1}, {1, 7}};
        og_dtype types[3 + OG_SCALAR_COUNT];
        int n = 0;
        for (int op = 1; op < OG_SCALAR_COUNT; op++)
            if (domains[d] != OG_INT64 || og_scalar_has_int((og_scalar)op)) {
                instr[n] =
                    (og_instr){(og_scalar)op, 0, 1, 2, op == OG_SCALAR_Const ? -INFINITY : 0};
                out[n] = (int16_t)(3 + n);
                n++;
            }
        for (int i = 0; i < 3 + n; i++)
            types[i] = domains[d];
        og__loop loop = {.program = {domains[d], 3, n, n, instr, out},
                         .rank = 2,
                         .dims = {7, 60},
                         .strides = strides,
                         .types = types,
                         .total = 420};
        loop.width = og__loop_width(&loop);
        CHECK(loop.width > 1);
        compiles(&loop, NULL);
    }
}

/* Every type in and out, with a tail, and positions of 64 bits. */
TEST(every_conversion)
{
    static const og_dtype domains[] = {OG_FLOAT, OG_DOUBLE, OG_INT64};
    static og_dtype types[] = {
        OG_FLOAT,  OG_DOUBLE,  OG_FLOAT16,  OG_BFLOAT16, OG_BOOL,   OG_UINT8, OG_INT8,
        OG_UINT16, OG_INT16,   OG_UINT32,   OG_INT32,    OG_UINT64, OG_INT64, OG_FLOAT,
        OG_DOUBLE, OG_FLOAT16, OG_BFLOAT16, OG_BOOL,     OG_UINT8,  OG_INT8,  OG_UINT16,
        OG_INT16,  OG_UINT32,  OG_INT32,    OG_UINT64,   OG_INT64};
    enum { TYPES = sizeof types / sizeof *types / 2 };
    int64_t strides[TYPES][OG_MAX_RANK + 1] = {{0}};
    int16_t out[TYPES];
    use_own_cache();
    for (int i = 0; i < TYPES; i++) {
        strides[i][0] = 1;
        out[i] = (int16_t)i;
    }
    for (int d = 0; d < 3; d++) {
        og__loop loop = {.program = {domains[d], TYPES, 0, TYPES, NULL, out},
                         .rank = 1,
                         .strides = strides,
                         .types = types,
                         .total = d == 1 ? ((int64_t)1 << 33) + 3 : 1003};
        loop.dims[0] = loop.total;
        loop.width = og__loop_width(&loop);
        compiles(&loop, NULL);
    }
}

/* Rows by warps, by blocks and in parts, and columns; the value also written and not. */
TEST(every_reduction)
{
    static const og_dtype domains[] = {OG_FLOAT, OG_DOUBLE, OG_INT64};
    static const int16_t out = 0;
    use_own_cache();
    for (int fold = OG_FOLD_SUM; fold < OG_FOLD_COUNT; fold++) {
        og_dtype domain = domains[fold % 3];
        int64_t strides[1][OG_MAX_RANK + 1] = {{64, 1}};
        og_dtype types[2] = {domain == OG_FLOAT ? OG_FLOAT16 : domain, domain};
        bool rows = fold % 2, parts = fold % 4 < 2;
        og__fold_loop f = {
            .loop = {.program = {domain, 1, 0, fold % 2, NULL, &out, (og_fold)fold, 0},
                     .rank = 2,
                     .dims = {4096, 64},
                     .strides = strides,
                     .types = types,
                     .total = 4096 * 64,
                     .width = 2},
            .reduced = {!rows, rows},
            .y_strides = {rows, !rows},
            .result = domain,
            .by_rows = rows,
            .team = parts ? OG__FOLD_THREADS : OG__FOLD_WARP,
            .kept = rows ? 4096 : 64,
            .count = rows ? 64 : 4096,
            .steps = rows ? 32 : 4096,
            .parts = parts ? 2 : 1,
            .part = rows ? 16 : 2048};
        compiles(NULL, &f);
    }
}

#else

TEST(every_reduction)
{
    SKIP("this build has no CUDA toolkit");
}
TEST(every_instruction)
{
    SKIP("this build has no CUDA toolkit");
}
TEST(every_conversion)
{
    SKIP("this build has no CUDA toolkit");
}

#endif

static const og_test tests[] = {TEST_ROW(every_instruction), TEST_ROW(every_conversion),
                                TEST_ROW(every_reduction)};
TEST_MAIN(tests)
