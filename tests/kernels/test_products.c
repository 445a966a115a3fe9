/* MatMul and the convolutions: every kernel against sums in double written straight from the
 * definition, over shapes, strides, broadcasts, groups, dilations and pads. */
#include "tests/kernels/call.h"

/* ---- MatMul */

typedef struct matmul_case {
    const char *name;
    int ra, rb;
    int64_t a[5], b[5];
    int swap; /* bit 0, 1: A, B have their last two axes swapped in memory; bit 2, 3: are every
                 other element of a larger tensor */
} matmul_case;

static const matmul_case matmul_cases[] = {
    {"one", 2, 2, {1, 1}, {1, 1}},
    {"square", 2, 2, {64, 64}, {64, 64}},
    {"odd", 2, 2, {37, 53}, {53, 29}},
    {"long k", 2, 2, {5, 1031}, {1031, 7}},
    {"blocks", 2, 2, {203, 301}, {301, 1100}},
    {"A transposed", 2, 2, {45, 67}, {67, 31}, 1},
    {"B transposed", 2, 2, {45, 67}, {67, 31}, 2},
    {"both transposed", 2, 2, {45, 67}, {67, 31}, 3},
    {"sparse A", 2, 2, {45, 67}, {67, 31}, 4},
    {"sparse B", 2, 2, {45, 67}, {67, 31}, 8},
    {"sparse, transposed", 2, 2, {45, 67}, {67, 31}, 15},
    {"row", 2, 2, {1, 300}, {300, 200}},
    {"column", 2, 2, {200, 300}, {300, 1}},
    {"k 1", 2, 2, {120, 1}, {1, 70}},
    {"vector matrix", 1, 2, {80}, {80, 90}},
    {"matrix vector", 2, 1, {90, 80}, {80}},
    {"dot", 1, 1, {5000}, {5000}},
    {"batch", 3, 3, {6, 33, 20}, {6, 20, 17}},
    {"batch, shared B", 3, 2, {6, 33, 20}, {20, 17}},
    {"batch, shared B transposed", 3, 2, {6, 33, 20}, {20, 17}, 2},
    {"batch, shared A", 2, 3, {33, 20}, {6, 20, 17}},
    {"batch, 1 against 6", 3, 3, {1, 33, 20}, {6, 20, 17}},
    {"batch, 6 against 1", 3, 3, {6, 33, 20}, {1, 20, 17}, 3},
    {"attention", 4, 4, {2, 3, 50, 16}, {2, 3, 16, 50}, 2},
    {"grouped heads", 4, 4, {2, 1, 50, 16}, {2, 3, 16, 50}},
    {"crossed batches", 4, 4, {2, 1, 20, 16}, {1, 3, 16, 20}},
    {"five axes", 5, 5, {2, 3, 1, 10, 16}, {2, 1, 4, 16, 12}, 1},
    {"batch of vectors", 3, 1, {4, 30, 40}, {40}},
    {"vector against batch", 1, 3, {40}, {4, 40, 30}},
};

/* A tensor of these dims, stored as `swap` says. */
static og_tensor laid_out(og_dtype dtype, int rank, const int64_t *dims, bool swapped, bool sparse,
                          uint64_t *seed)
{
    int64_t stored[OG_MAX_RANK];
    memcpy(stored, dims, (size_t)rank * sizeof *dims);
    if (swapped && rank > 1) {
        stored[rank - 1] = dims[rank - 2];
        stored[rank - 2] = dims[rank - 1];
    }
    if (sparse)
        stored[rank - 1] *= 2;
    og_tensor t = test_filled(dtype, rank, stored, seed);
    if (sparse)
        t.strides[rank - 1] *= 2;
    if (swapped && rank > 1) {
        int64_t s = t.strides[rank - 1];
        t.strides[rank - 1] = t.strides[rank - 2];
        t.strides[rank - 2] = s;
    }
    memcpy(t.type.dims, dims, (size_t)rank * sizeof *dims);
    return t;
}

/* Largest |y - expected| relative to the sum of absolute products. */
static double matmul_error(const og_tensor *a, const og_tensor *b, const og_tensor *y)
{
    int ra = a->type.rank, rb = b->type.rank, rc = y->type.rank;
    int64_t k = a->type.dims[ra - 1], n = rb > 1 ? b->type.dims[rb - 1] : 1,
            m = ra > 1 ? a->type.dims[ra - 2] : 1;
    int64_t batch = m * n > 0 ? og__elements(y) / (m * n) : 0;
    int axes = rc - (ra > 1) - (rb > 1);
    double worst = 0;
    for (int64_t q = 0; q < batch; q++) {
        int64_t oa = 0, ob = 0, rest = q;
        for (int x = axes - 1; x >= 0; x--) {
            int64_t i = rest % y->type.dims[x];
            rest /= y->type.dims[x];
            int xa = x - (axes - (ra - 2)), xb = x - (axes - (rb - 2));
            oa += ra > 2 && xa >= 0 && a->type.dims[xa] > 1 ? i * a->strides[xa] : 0;
            ob += rb > 2 && xb >= 0 && b->type.dims[xb] > 1 ? i * b->strides[xb] : 0;
        }
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0, size = 0;
                for (int64_t p = 0; p < k; p++) {
                    int64_t ia =
                        oa + (ra > 1 ? i * a->strides[ra - 2] : 0) + p * a->strides[ra - 1];
                    int64_t ib = ob + (rb > 1 ? p * b->strides[rb - 2] + j * b->strides[rb - 1]
                                              : p * b->strides[0]);
                    double v = og__load_double(a->data, a->type.dtype, ia) *
                               og__load_double(b->data, b->type.dtype, ib);
                    sum += v;
                    size += fabs(v);
                }
                double got = og__load_double(y->data, y->type.dtype, (q * m + i) * n + j);
                double error = fabs(got - sum) / (size + 1e-3);
                worst = error > worst || error != error ? error : worst;
            }
    }
    return worst;
}

/* op: MatMul, or WideMatMul with a float result */
static void check_product(const char *op, const char *kernel, og_dtype dtype, og_dtype result,
                          double tolerance)
{
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof matmul_cases / sizeof *matmul_cases; i++) {
        const matmul_case *m = &matmul_cases[i];
        TEST_CASE(m->name);
        kernel_call c = {.op = op, .kernel = kernel, .nx = 2, .ny = 1};
        c.x[0] = laid_out(dtype, m->ra, m->a, m->swap & 1, m->swap & 4, &seed);
        c.x[1] = laid_out(dtype, m->rb, m->b, m->swap & 2, m->swap & 8, &seed);
        int batch_a = m->ra > 2 ? m->ra - 2 : 0, batch_b = m->rb > 2 ? m->rb - 2 : 0, rank = 0;
        int batch = batch_a > batch_b ? batch_a : batch_b;
        int64_t dims[OG_MAX_RANK];
        for (int x = 0; x < batch; x++) {
            int xa = x - (batch - batch_a), xb = x - (batch - batch_b);
            int64_t da = xa < 0 ? 1 : m->a[xa], db = xb < 0 ? 1 : m->b[xb];
            dims[rank++] = da > db ? da : db;
        }
        if (m->ra > 1)
            dims[rank++] = m->a[m->ra - 2];
        if (m->rb > 1)
            dims[rank++] = m->b[m->rb - 1];
        c.y[0] = test_tensor(result, rank, dims);
        if (test_run(&c))
            CHECK_CLOSE(matmul_error(&c.x[0], &c.x[1], &c.y[0]), 0, tolerance);
        test_free_tensors(&c);
    }
    TEST_CASE("");
}

static void check_matmul(const char *kernel, og_dtype dtype, double tolerance)
{
    check_product("MatMul", kernel, dtype, dtype, tolerance);
}

TEST(matmul_float)
{
    check_matmul("blocks", OG_FLOAT, 2e-6);
}

TEST(matmul_double)
{
    check_matmul("blocks", OG_DOUBLE, 1e-14);
}

TEST(matmul_half)
{
    check_matmul("blocks", OG_FLOAT16, 1e-3);
    check_matmul("blocks", OG_BFLOAT16, 8e-3);
}

TEST(matmul_onednn)
{
    if (!test_has_kernel("MatMul", "oneDNN"))
        SKIP("built without oneDNN");
    check_matmul("oneDNN", OG_FLOAT, 2e-6);
}

/* By oneDNN or by our own kernel, whichever takes each. */
TEST(matmul_bfloat16)
{
    check_matmul(NULL, OG_BFLOAT16, 8e-3);
    if (!og__has_bfloat16() || !test_has_kernel("MatMul", "oneDNN"))
        return;
    /* not rounded to bfloat16 */
    check_product("ai.ongrad::WideMatMul", NULL, OG_BFLOAT16, OG_FLOAT, 3e-6);
}

static const struct {
    matmul_case m;
    bool crossed; /* A's first two axes are swapped in memory */
} bfloat_cases[] = {
    {{"whole tiles", 2, 2, {96, 128}, {128, 192}}},
    {{"edges", 2, 2, {101, 90}, {90, 77}}},
    {{"odd k", 2, 2, {101, 91}, {91, 77}}},
    {{"few columns", 2, 2, {500, 70}, {70, 17}}},
    {{"half a group of columns", 2, 2, {100, 70}, {70, 90}}},
    {{"long k", 2, 2, {120, 5000}, {5000, 70}}},
    {{"A transposed", 2, 2, {101, 91}, {91, 77}, 1}},
    {{"B transposed", 2, 2, {101, 91}, {91, 77}, 2}},
    {{"both transposed", 2, 2, {101, 90}, {90, 200}, 3}},
    {{"sparse A", 2, 2, {101, 90}, {90, 77}, 4}},
    {{"sparse B", 2, 2, {101, 90}, {90, 77}, 8}},
    {{"both sparse, transposed", 2, 2, {101, 90}, {90, 77}, 15}},
    {{"stack, shared B", 3, 2, {7, 33, 40}, {40, 60}, 2}},
    {{"crossed stack, shared B", 3, 2, {7, 33, 40}, {40, 60}}, true},
    {{"stack", 4, 4, {2, 5, 33, 40}, {2, 5, 40, 60}, 2}},
    {{"crossed stack, shared A", 4, 4, {1, 5, 33, 40}, {2, 5, 40, 60}, 1}},
};

/* Terms are below 1. Wide results are sums in float: 3e-6 of their absolute sum as above. Others
 * are these rounded once, to 8 bits: by at most 2^-8 of the result. */
TEST(matmul_bfloat)
{
    if (!og__has_bfloat16())
        SKIP("this processor does not multiply bfloat16");
    uint64_t seed = 23;
    for (size_t i = 0; i < 2 * (sizeof bfloat_cases / sizeof *bfloat_cases); i++) {
        const matmul_case *m = &bfloat_cases[i / 2].m;
        bool wide = i % 2;
        TEST_CASE(m->name);
        kernel_call c = {.op = wide ? "ai.ongrad::WideMatMul" : "MatMul",
                         .kernel = "bfloat16",
                         .nx = 2,
                         .ny = 1};
        int64_t da[5], dims[5];
        memcpy(da, m->a, sizeof da);
        if (bfloat_cases[i / 2].crossed) {
            da[0] = m->a[1];
            da[1] = m->a[0];
        }
        c.x[0] = laid_out(OG_BFLOAT16, m->ra, da, m->swap & 1, m->swap & 4, &seed);
        c.x[1] = laid_out(OG_BFLOAT16, m->rb, m->b, m->swap & 2, m->swap & 8, &seed);
        if (bfloat_cases[i / 2].crossed) {
            int64_t stride = c.x[0].strides[0];
            c.x[0].strides[0] = c.x[0].strides[1];
            c.x[0].strides[1] = stride;
            memcpy(c.x[0].type.dims, m->a, sizeof m->a);
        }
        memcpy(dims, m->a, sizeof dims);
        if (m->ra == 4)
            dims[0] = m->b[0];
        dims[m->ra - 1] = m->b[m->rb - 1];
        c.y[0] = test_tensor(wide ? OG_FLOAT : OG_BFLOAT16, m->ra, dims);
        og_tensor first = test_tensor(c.y[0].type.dtype, m->ra, dims);
        size_t bytes = (size_t)og__elements(&first) * og__size(first.type.dtype);
        bool ran = true;
        static const int threads[] = {1, 2, 3, 8};
        for (int t = 0; ran && t < 4; t++) {
            memset(c.y[0].data, 0xff, bytes);
            c.threads = threads[t];
            ran = test_run(&c);
            if (t == 0)
                memcpy(first.data, c.y[0].data, bytes);
            else
                CHECK(memcmp(first.data, c.y[0].data, bytes) == 0);
        }
        if (ran)
            CHECK_CLOSE(matmul_error(&c.x[0], &c.x[1], &c.y[0]), 0, wide ? 3e-6 : 0x1.01p-8);
        free(first.data);
        test_free_tensors(&c);
    }
    TEST_CASE("");
}

/* NaN and infinities come out, and what lies beside a row or beyond k does not go in. */
TEST(matmul_bfloat_special)
{
    if (!og__has_bfloat16())
        SKIP("this processor does not multiply bfloat16");
    uint64_t seed = 29;
    kernel_call c = {.op = "MatMul", .kernel = "bfloat16", .nx = 2, .ny = 1};
    c.x[0] = test_filled(OG_BFLOAT16, 2, (int64_t[]){64, 51}, &seed);
    c.x[1] = test_filled(OG_BFLOAT16, 2, (int64_t[]){51, 70}, &seed);
    c.y[0] = test_tensor(OG_BFLOAT16, 2, (int64_t[]){64, 70});
    og__store_double(c.x[0].data, OG_BFLOAT16, 3 * 51, NAN);
    og__store_double(c.x[0].data, OG_BFLOAT16, 7 * 51, INFINITY);
    if (test_run(&c))
        for (int64_t i = 0; i < 64; i++)
            for (int64_t j = 0; j < 70; j++) {
                double y = og__load_double(c.y[0].data, OG_BFLOAT16, i * 70 + j);
                CHECK(i == 3 ? isnan(y) : i == 7 ? !isfinite(y) : isfinite(y));
            }
    test_free_tensors(&c);
}

/* Products that are cut into tasks, with the kernel that takes each: right, and the same to the bit
 * whatever the number of threads. */
static const struct {
    const char *kernel;
    matmul_case m;
    bool crossed; /* A's first two axes are swapped in memory */
} cut_cases[] = {
    {"oneDNN packed", {"rows", 2, 2, {520, 400}, {400, 400}}},
    {"oneDNN packed", {"A transposed", 2, 2, {520, 400}, {400, 400}, 1}},
    {"oneDNN packed", {"B transposed", 2, 2, {520, 400}, {400, 400}, 2}},
    {"oneDNN packed", {"both transposed", 2, 2, {1030, 400}, {400, 200}, 3}},
    {"oneDNN packed", {"sparse A", 2, 2, {520, 400}, {400, 400}, 4}},
    {"oneDNN packed", {"stack, shared B", 3, 2, {40, 20, 400}, {400, 400}, 2}},
    {"oneDNN packed", {"crossed stack, shared B", 3, 2, {40, 20, 400}, {400, 400}}, true},
    {"oneDNN", {"small stack", 4, 4, {4, 8, 64, 48}, {4, 8, 48, 64}, 2}},
    {"oneDNN", {"crossed stack", 3, 3, {32, 70, 70}, {32, 70, 70}, 2}, true},
    {"oneDNN", {"one long stack", 3, 3, {96, 40, 64}, {96, 64, 40}, 1}},
};

TEST(matmul_cut)
{
    if (!test_has_kernel("MatMul", "oneDNN"))
        SKIP("built without oneDNN");
    uint64_t seed = 5;
    for (size_t i = 0; i < sizeof cut_cases / sizeof *cut_cases; i++) {
        const matmul_case *m = &cut_cases[i].m;
        TEST_CASE(m->name);
        int64_t da[5], dims[5], k = m->a[m->ra - 1];
        memcpy(da, m->a, sizeof da);
        if (cut_cases[i].crossed) {
            da[0] = m->a[1];
            da[1] = m->a[0];
        }
        kernel_call c = {.op = "MatMul", .kernel = cut_cases[i].kernel, .nx = 2, .ny = 1};
        c.x[0] = laid_out(OG_FLOAT, m->ra, da, m->swap & 1, m->swap & 4, &seed);
        c.x[1] = laid_out(OG_FLOAT, m->rb, m->b, m->swap & 2, m->swap & 8, &seed);
        if (cut_cases[i].crossed) {
            int64_t stride = c.x[0].strides[0];
            c.x[0].strides[0] = c.x[0].strides[1];
            c.x[0].strides[1] = stride;
            memcpy(c.x[0].type.dims, m->a, sizeof m->a);
        }
        memcpy(dims, m->a, sizeof dims);
        dims[m->ra - 1] = m->b[m->rb - 1];
        kernel_call plain = {.op = "MatMul", .kernel = "blocks", .nx = 2, .ny = 1};
        for (int x = 0; x < 2; x++)
            plain.x[x] = test_convert(&c.x[x], OG_DOUBLE);
        plain.y[0] = test_tensor(OG_DOUBLE, m->ra, dims);
        og_tensor first = test_tensor(OG_FLOAT, m->ra, dims);
        size_t bytes = (size_t)og__elements(&first) * sizeof(float);
        c.y[0] = test_tensor(OG_FLOAT, m->ra, dims);
        bool ran = test_run(&plain);
        static const int threads[] = {1, 2, 3, 5};
        for (int t = 0; ran && t < 4; t++) {
            memset(c.y[0].data, 0xff, bytes);
            c.threads = threads[t];
            ran = test_run(&c);
            if (t == 0)
                memcpy(first.data, c.y[0].data, bytes);
            else
                CHECK(memcmp(first.data, c.y[0].data, bytes) == 0);
        }
        double worst = 0; /* terms are below 1, a quarter on average */
        for (int64_t e = 0; ran && e < og__elements(&first); e++)
            worst = fmax(worst,
                         fabs((double)((float *)first.data)[e] - ((double *)plain.y[0].data)[e]));
        CHECK_CLOSE(worst, 0, 2e-6 * (double)k / 4);
        free(first.data);
        test_free_tensors(&plain);
        test_free_tensors(&c);
    }
    TEST_CASE("");
}

TEST(matmul_integers)
{
    og_dtype types[] = {OG_INT32, OG_INT64, OG_UINT32, OG_UINT64};
    for (int t = 0; t < 4; t++) {
        kernel_call c = {.op = "MatMul", .nx = 2, .ny = 1};
        c.x[0] = test_tensor(types[t], 2, (int64_t[]){3, 4});
        c.x[1] = test_tensor(types[t], 2, (int64_t[]){4, 2});
        c.y[0] = test_tensor(types[t], 2, (int64_t[]){3, 2});
        for (int i = 0; i < 12; i++)
            og__store_int(c.x[0].data, types[t], i, i);
        for (int i = 0; i < 8; i++)
            og__store_int(c.x[1].data, types[t], i, i + 1);
        static const int64_t expected[] = {34, 40, 98, 120, 162, 200};
        if (test_run(&c))
            for (int i = 0; i < 6; i++)
                CHECK_INT(og__load_int(c.y[0].data, types[t], i), expected[i]);
        test_free_tensors(&c);
    }
}

/* Any number of threads gives the same bits. */
TEST(matmul_threads)
{
    uint64_t seed = 3;
    og_tensor a = test_filled(OG_FLOAT, 2, (int64_t[]){150, 400}, &seed);
    og_tensor b = test_filled(OG_FLOAT, 2, (int64_t[]){400, 170}, &seed), y[3];
    for (int t = 0; t < 3; t++) {
        y[t] = test_tensor(OG_FLOAT, 2, (int64_t[]){150, 170});
        kernel_call c = {.op = "MatMul",
                         .kernel = "blocks",
                         .threads = t + 1,
                         .nx = 2,
                         .ny = 1,
                         .x = {a, b},
                         .y = {y[t]}};
        test_run(&c);
        CHECK(memcmp(y[0].data, y[t].data, 150 * 170 * sizeof(float)) == 0);
    }
    for (int t = 0; t < 3; t++)
        free(y[t].data);
    free(a.data);
    free(b.data);
}

/* ---- convolutions */

typedef struct conv_case {
    const char *name;
    int spatial;
    int64_t n, c, m, group;
    int64_t in[3], kernel[3], strides[3], dilations[3],
        pads[6]; /* strides, dilations 0: attribute absent */
    const char *auto_pad;
    int64_t extra; /* ConvTranspose's output_padding on every axis */
} conv_case;

static const conv_case conv_cases[] = {
    {"one", 2, 1, 1, 1, 1, {1, 1}, {1, 1}},
    {"first layer", 2, 3, 1, 32, 1, {28, 28}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {"second layer", 2, 2, 32, 64, 1, {14, 14}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {"defaults", 2, 2, 3, 4, 1, {9, 11}, {3, 2}},
    {"1 x 1", 2, 2, 17, 19, 1, {7, 5}, {1, 1}},
    {"1 x 1, strided", 2, 2, 16, 24, 1, {9, 9}, {1, 1}, {2, 2}},
    {"strided", 2, 2, 5, 7, 1, {15, 14}, {3, 3}, {2, 3}, {1, 1}, {1, 0, 1, 2}},
    {"last windows missed", 2, 1, 4, 4, 1, {10, 11}, {3, 3}, {3, 4}, {0, 0}, {0, 0, 0, 0}, NULL, 1},
    {"asymmetric pads", 2, 2, 3, 5, 1, {8, 9}, {4, 3}, {1, 1}, {1, 1}, {2, 0, 1, 3}},
    {"dilated", 2, 2, 6, 8, 1, {13, 17}, {3, 3}, {1, 2}, {2, 3}, {2, 3, 2, 3}},
    {"groups", 2, 2, 12, 18, 3, {10, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {"depthwise", 2, 2, 24, 24, 24, {12, 12}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, NULL, 1},
    {"depthwise, two filters", 2, 1, 8, 16, 8, {9, 9}, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}},
    {"same upper", 2, 1, 3, 4, 1, {9, 10}, {4, 3}, {2, 2}, {1, 1}, {0}, "SAME_UPPER"},
    {"same lower", 2, 1, 3, 4, 1, {9, 10}, {4, 3}, {2, 2}, {1, 1}, {0}, "SAME_LOWER"},
    {"valid", 2, 1, 3, 4, 1, {9, 10}, {4, 3}, {2, 1}, {1, 1}, {0}, "VALID"},
    {"not set", 2, 1, 3, 4, 1, {9, 10}, {4, 3}, {2, 1}, {1, 1}, {1, 1, 0, 0}, "NOTSET"},
    {"pads wider than the image", 2, 1, 2, 3, 1, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {2, 2, 2, 2}},
    {"kernel as large as the image", 2, 4, 8, 16, 1, {7, 7}, {7, 7}},
    {"one axis", 1, 3, 9, 11, 1, {50}, {5}, {2}, {2}, {3, 4}},
    {"one axis, groups", 1, 2, 16, 32, 4, {33}, {3}, {1}, {1}, {1, 1}},
    {"three axes", 3, 2, 4, 6, 1, {6, 7, 8}, {3, 2, 3}, {1, 2, 1}, {1, 1, 2}, {1, 0, 2, 1, 1, 2}},
    {"three axes, groups",
     3,
     1,
     6,
     4,
     2,
     {5, 5, 5},
     {2, 2, 2},
     {2, 1, 2},
     {1, 1, 1},
     {0, 1, 0, 1, 0, 1}},
    {"large image", 2, 1, 3, 8, 1, {150, 190}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
};

/* 1 × 1 windows of not too few channels */
static const conv_case pointwise_cases[] = {
    {"pixels", 2, 3, 33, 50, 1, {7, 5}, {1, 1}},
    {"many pixels", 2, 2, 32, 40, 1, {20, 17}, {1, 1}},
    {"many channels", 2, 4, 320, 130, 1, {4, 4}, {1, 1}},
    {"one pixel an image", 2, 40, 48, 64, 1, {1, 1}, {1, 1}},
    {"one axis", 1, 3, 32, 48, 1, {65}, {1}, {1}, {1}, {0, 0}},
};

/* Few pixels, many channels */
static const conv_case matrix_cases[] = {
    {"last layer", 2, 4, 40, 64, 1, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {"strides", 2, 5, 33, 50, 1, {7, 6}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
    {"dilation", 2, 2, 32, 48, 1, {6, 7}, {3, 2}, {1, 1}, {2, 3}, {2, 1, 0, 1}},
    {"uneven", 2, 4, 48, 32, 1, {8, 5}, {4, 2}, {3, 2}, {1, 2}, {0, 1, 3, 0}},
    {"one axis", 1, 3, 64, 64, 1, {17}, {5}, {2}, {1}, {4, 0}},
    {"volume", 3, 2, 32, 64, 1, {3, 4, 3}, {2, 3, 1}, {1, 2, 1}, {1, 1, 1}, {1, 0, 0, 0, 1, 0}},
    {"one tap", 2, 9, 64, 32, 1, {5, 4}, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
    {"rest of a stride", 2, 5, 32, 40, 1, {6, 6}, {2, 2}, {3, 3}, {1, 1}, {0, 0, 0, 0}},
    {"many", 2, 16, 96, 128, 1, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
};

/* One filter a channel. */
static const conv_case depthwise_cases[] = {
    {"3 x 3", 2, 3, 70, 70, 70, {9, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {"strided", 2, 9, 64, 64, 64, {10, 7}, {3, 3}, {2, 3}, {1, 1}, {1, 0, 1, 2}},
    {"tiny images", 2, 16, 200, 200, 200, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {"5 x 4, dilated", 2, 2, 17, 17, 17, {13, 17}, {5, 4}, {1, 2}, {2, 3}, {4, 3, 4, 3}},
    {"pads wider than the image", 2, 2, 3, 3, 3, {2, 2}, {3, 3}, {1, 1}, {1, 1}, {3, 3, 3, 3}},
    {"one axis", 1, 2, 33, 33, 33, {40}, {7}, {2}, {1}, {3, 3}},
};

typedef struct geometry {
    int64_t out[3], begins[3], strides[3], dilations[3];
} geometry;

static geometry conv_geometry(const conv_case *k)
{
    geometry g = {0};
    for (int a = 0; a < k->spatial; a++) {
        int64_t s = g.strides[a] = k->strides[a] ? k->strides[a] : 1;
        int64_t d = g.dilations[a] = k->dilations[a] ? k->dilations[a] : 1;
        int64_t span = (k->kernel[a] - 1) * d + 1, begin = k->pads[a],
                end = k->pads[k->spatial + a];
        if (k->auto_pad && !strncmp(k->auto_pad, "SAME", 4)) {
            int64_t out = (k->in[a] + s - 1) / s, total = (out - 1) * s + span - k->in[a];
            total = total < 0 ? 0 : total;
            begin = !strcmp(k->auto_pad, "SAME_UPPER") ? total / 2 : total - total / 2;
            end = total - begin;
        }
        g.begins[a] = begin;
        g.out[a] = (k->in[a] + begin + end - span) / s + 1;
    }
    return g;
}

/* Adds the convolution's every product to what `to` is: 0 y, 1 x, 2 w. Doubles, dense. */
static void conv_sums(const conv_case *k, const geometry *g, double *x, double *w, double *y,
                      int to)
{
    int64_t cg = k->c / k->group, mg = k->m / k->group, in = 1, out = 1, window = 1;
    for (int a = 0; a < k->spatial; a++) {
        in *= k->in[a];
        out *= g->out[a];
        window *= k->kernel[a];
    }
    for (int64_t p = 0; p < out; p++)
        for (int64_t q = 0; q < window; q++) {
            int64_t at = 0, scale = 1, rp = p, rq = q;
            bool inside = true;
            for (int a = k->spatial - 1; a >= 0; a--) {
                int64_t i = rp % g->out[a] * g->strides[a] + rq % k->kernel[a] * g->dilations[a] -
                            g->begins[a];
                inside = inside && i >= 0 && i < k->in[a];
                at += i * scale;
                scale *= k->in[a];
                rp /= g->out[a];
                rq /= k->kernel[a];
            }
            for (int64_t n = 0; inside && n < k->n; n++)
                for (int64_t m = 0; m < k->m; m++)
                    for (int64_t c = 0; c < cg; c++) {
                        double *px = x + (n * k->c + m / mg * cg + c) * in + at;
                        double *pw = w + (m * cg + c) * window + q,
                               *py = y + (n * k->m + m) * out + p;
                        if (to == 0)
                            *py += *px * *pw;
                        else if (to == 1)
                            *px += *py * *pw;
                        else
                            *pw += *px * *py;
                    }
        }
}

static og_tensor spatial_tensor(og_dtype dtype, int64_t first, int64_t second, int n,
                                const int64_t *dims, uint64_t *seed)
{
    int64_t all[5] = {first, second};
    memcpy(all + 2, dims, (size_t)n * sizeof *dims);
    return test_filled(dtype, n + 2, all, seed);
}

#define WIDE_WEIGHTS "ai.ongrad::WideConvGradWeights"
/* Does kernel `name` of `op` give the sums? to: as conv_sums; ConvTranspose reads y and writes x.
 * last: images channels-last. */
static void check_cases(const conv_case *cases, size_t n_cases, const char *op, const char *name,
                        og_dtype dtype, int to, double tolerance, bool last)
{
    uint64_t seed = 5;
    bool transpose = !strcmp(op, "ConvTranspose");
    bool wide = !strncmp(op, "ai.ongrad::Wide", 15);
    og_dtype result = wide ? OG_FLOAT : dtype;
    for (size_t i = 0; i < n_cases; i++) {
        conv_case k = cases[i];
        if (transpose && k.auto_pad)
            continue; /* auto_pad means other things there */
        if (to == 2 && k.group > 1 && dtype == OG_BFLOAT16 && !strcmp(name, "oneDNN"))
            continue; /* faster in float, and left to it */
        TEST_CASE(k.name);
        geometry g = conv_geometry(&k);
        kernel_call call = {.op = op, .kernel = name, .nx = 2, .ny = 1};
        if (transpose) /* the length that the attributes give, instead of the case's */
            for (int a = 0; a < k.spatial; a++)
                k.in[a] = (g.out[a] - 1) * g.strides[a] + (k.kernel[a] - 1) * g.dilations[a] + 1 -
                          k.pads[a] - k.pads[k.spatial + a] + k.extra;
        og_tensor x = spatial_tensor(to == 1 ? result : dtype, k.n, k.c, k.spatial, k.in, &seed);
        og_tensor w = spatial_tensor(to == 2 ? result : dtype, k.m, k.c / k.group, k.spatial,
                                     k.kernel, &seed);
        og_tensor y = spatial_tensor(to == 0 ? result : dtype, k.n, k.m, k.spatial, g.out, &seed);
        og_tensor bias = {0};
        og_tensor dx = test_convert(&x, OG_DOUBLE), dw = test_convert(&w, OG_DOUBLE),
                  dy = test_convert(&y, OG_DOUBLE);
        og_tensor *written = to == 0 ? &dy : to == 1 ? &dx : &dw;
        memset(written->data, 0, (size_t)og__elements(written) * sizeof(double));
        conv_sums(&k, &g, dx.data, dw.data, dy.data, to);

        call.x[0] = to == 1 ? y : x;
        call.x[1] = to == 2 ? y : w;
        call.y[0] = to == 0 ? y : to == 1 ? x : w;
        if ((to == 0 || transpose) && i % 2 && !wide) {
            bias = test_filled(dtype, 1, &call.y[0].type.dims[1], &seed);
            call.x[call.nx++] = bias;
            int64_t channels = call.y[0].type.dims[1],
                    size = og__elements(&call.y[0]) / k.n / channels;
            for (int64_t e = 0; e < og__elements(&call.y[0]); e++)
                ((double *)written->data)[e] += test_element(&bias, e / size % channels);
        }
        if (k.strides[0])
            call.attrs[call.n_attrs++] = (og_attr){
                .name = "strides", .kind = OG_ATTR_INTS, .n = k.spatial, .ints = g.strides};
        if (k.dilations[0])
            call.attrs[call.n_attrs++] = (og_attr){
                .name = "dilations", .kind = OG_ATTR_INTS, .n = k.spatial, .ints = g.dilations};
        int64_t pads[6];
        memcpy(pads, k.pads, sizeof pads);
        if (k.strides[0] && (!k.auto_pad || !strcmp(k.auto_pad, "NOTSET")))
            call.attrs[call.n_attrs++] =
                (og_attr){.name = "pads", .kind = OG_ATTR_INTS, .n = 2 * k.spatial, .ints = pads};
        if (k.auto_pad)
            call.attrs[call.n_attrs++] =
                (og_attr){.name = "auto_pad", .kind = OG_ATTR_STRING, .s = k.auto_pad};
        call.attrs[call.n_attrs++] = (og_attr){.name = "group", .kind = OG_ATTR_INT, .i = k.group};
        int64_t extra[3] = {k.extra, k.extra, k.extra};
        if (transpose && k.extra)
            call.attrs[call.n_attrs++] = (og_attr){
                .name = "output_padding", .kind = OG_ATTR_INTS, .n = k.spatial, .ints = extra};

        memset(call.y[0].data, 0xff,
               (size_t)og__elements(&call.y[0]) * og__size(call.y[0].type.dtype));
        og_tensor images[3] = {0};
        og_tensor *operands[3] = {&call.x[0], &call.x[1], &call.y[0]};
        for (int t = 0; last && t < 3; t++)
            if (t == 0 || t == (to == 2 ? 1 : 2))
                *operands[t] = images[t] = test_channels_last(operands[t]);
        if (test_run(&call)) {
            double worst = 0, scale = 1;
            for (int64_t e = 0; e < og__elements(written); e++)
                scale = fmax(scale, fabs(test_element(written, e)));
            for (int64_t e = 0; e < og__elements(written); e++) {
                double error = fabs(test_element(&call.y[0], e) - test_element(written, e)) / scale;
                worst = error > worst || error != error ? error : worst;
            }
            CHECK_CLOSE(worst, 0, tolerance);
        }
        og_tensor all[] = {x, w, y, bias, dx, dw, dy, images[0], images[1], images[2]};
        for (int t = 0; t < 10; t++)
            free(all[t].data);
    }
    TEST_CASE("");
}

static void check_conv(const char *op, const char *name, og_dtype dtype, int to, double tolerance,
                       bool last)
{
    check_cases(conv_cases, sizeof conv_cases / sizeof *conv_cases, op, name, dtype, to, tolerance,
                last);
}

static void check_convs(const char *kernel, og_dtype dtype, double tolerance, bool last)
{
    check_conv("Conv", kernel, dtype, 0, tolerance, last);
    check_conv("ai.ongrad::ConvGradData", kernel, dtype, 1, tolerance, last);
    check_conv("ai.ongrad::ConvGradWeights", kernel, dtype, 2, tolerance, last);
    check_conv("ConvTranspose", kernel, dtype, 1, tolerance, last);
}

static void check_wide(bool last)
{
    check_conv("ai.ongrad::WideConv", "oneDNN", OG_BFLOAT16, 0, 1e-5, last);
    check_conv("ai.ongrad::WideConvGradData", "oneDNN", OG_BFLOAT16, 1, 1e-5, last);
    check_conv(WIDE_WEIGHTS, "oneDNN", OG_BFLOAT16, 2, 1e-5, last);
}

TEST(conv_float)
{
    check_convs("windows", OG_FLOAT, 3e-6, false);
}

TEST(conv_double)
{
    check_convs("windows", OG_DOUBLE, 1e-13, false);
}

TEST(conv_half)
{
    check_convs("windows", OG_FLOAT16, 1e-3, false);
    check_convs("windows", OG_BFLOAT16, 8e-3, false);
}

TEST(conv_onednn)
{
    if (!test_has_kernel("Conv", "oneDNN"))
        SKIP("built without oneDNN");
    check_convs("oneDNN", OG_FLOAT, 3e-6, false);
    if (!og__has_bfloat16())
        return;
    check_convs("oneDNN", OG_BFLOAT16, 1e-2, false);
    check_wide(false);
}

TEST(conv_channels_last)
{
    if (!test_has_kernel("Conv", "oneDNN"))
        SKIP("built without oneDNN");
    check_convs("oneDNN", OG_FLOAT, 1e-5, true); /* up to 28500 products added in float */
    if (!og__has_bfloat16())
        return;
    check_convs("oneDNN", OG_BFLOAT16, 1e-2, true);
    check_wide(true);
}

TEST(conv_pointwise)
{
    if (!og__has_bfloat16())
        SKIP("this processor does not multiply bfloat16");
    size_t n = sizeof pointwise_cases / sizeof *pointwise_cases;
    check_cases(pointwise_cases, n, "ai.ongrad::ConvGradWeights", "bfloat16", OG_BFLOAT16, 2, 4e-3,
                true);
    check_cases(pointwise_cases, n, WIDE_WEIGHTS, "bfloat16", OG_BFLOAT16, 2, 3e-6, true);
}

TEST(conv_matrix)
{
    if (!og__has_matrix_tiles())
        SKIP("this processor does not multiply tiles");
    static const char *const ops[] = {"Conv", "ConvGradData", "ConvGradWeights"};
    size_t n = sizeof matrix_cases / sizeof *matrix_cases;
    for (int to = 0; to < 3; to++) {
        char half[64], wide[64];
        snprintf(half, sizeof half, "%s%s", to ? "ai.ongrad::" : "", ops[to]);
        snprintf(wide, sizeof wide, "ai.ongrad::Wide%s", ops[to]);
        check_cases(matrix_cases, n, wide, "matrix", OG_BFLOAT16, to, 1e-5, true);
        for (size_t i = 0; i < n; i++) /* one by one: without the bias of every second */
            check_cases(&matrix_cases[i], 1, half, "matrix", OG_BFLOAT16, to, 4e-3, true);
    }
}

TEST(conv_depthwise)
{
    size_t n = sizeof depthwise_cases / sizeof *depthwise_cases;
    check_cases(depthwise_cases, n, "ai.ongrad::ConvGradWeights", "depthwise", OG_FLOAT, 2, 3e-6,
                true);
    check_cases(depthwise_cases, n, WIDE_WEIGHTS, "depthwise", OG_BFLOAT16, 2, 3e-6, true);
}

static const og_test tests[] = {
    TEST_ROW(conv_pointwise), TEST_ROW(conv_matrix),
    TEST_ROW(conv_depthwise), TEST_ROW(matmul_float),
    TEST_ROW(matmul_double),  TEST_ROW(matmul_half),
    TEST_ROW(matmul_onednn),  TEST_ROW(matmul_bfloat16),
    TEST_ROW(matmul_bfloat),  TEST_ROW(matmul_bfloat_special),
    TEST_ROW(matmul_cut),     TEST_ROW(matmul_integers),
    TEST_ROW(matmul_threads), TEST_ROW(conv_float),
    TEST_ROW(conv_double),    TEST_ROW(conv_half),
    TEST_ROW(conv_onednn),    TEST_ROW(conv_channels_last),
};
TEST_MAIN(tests)
