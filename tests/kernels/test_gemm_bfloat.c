/* Products of bfloat16 on one thread, by each kind of instruction that this processor has for them,
 * against sums in double. Operands end where their memory ends: reads past them are the sanitizer's
 * and valgrind's to find. */
#include "kernels/cpu/gemm_bfloat.h"
#include "tests/kernels/call.h"

typedef struct gemm_case {
    const char *name;
    int64_t m, n, k;
    int a, b; /* how they lie: 0 by rows, 1 by columns, 2 every other element */
} gemm_case;

static const gemm_case cases[] = {
    {"one", 1, 1, 1, 0, 0},
    {"whole tiles", 64, 64, 64, 0, 0},
    {"one panel", 32, 32, 32, 1, 1},
    {"half a panel", 16, 16, 32, 0, 0},
    {"a row", 1, 200, 70, 0, 1},
    {"a column", 200, 1, 70, 1, 0},
    {"odd", 37, 53, 29, 0, 0},
    {"odd, A by columns", 37, 53, 29, 1, 0},
    {"odd, B by columns", 37, 53, 29, 0, 1},
    {"odd, both by columns", 37, 53, 29, 1, 1},
    {"odd, sparse", 37, 53, 29, 2, 2},
    {"17 columns", 50, 17, 40, 0, 0},
    {"33 columns", 50, 33, 40, 0, 1},
    {"49 rows", 49, 96, 33, 1, 0},
    {"17 rows", 17, 64, 65, 0, 0},
    {"several depths", 70, 70, 1100, 0, 0},
    {"several depths, by columns", 33, 64, 1537, 1, 1},
    {"several blocks of rows", 1100, 40, 700, 0, 0},
    {"a large result", 1056, 1056, 40, 0, 0},
};

static og_tensor matrix(int64_t rows, int64_t columns, int lies, uint64_t *seed)
{
    int64_t dims[] = {lies == 1 ? columns : rows, lies == 1 ? rows : columns * (lies == 2 ? 2 : 1)};
    og_tensor t = test_filled(OG_BFLOAT16, 2, dims, seed);
    t.strides[0] = lies == 1 ? 1 : dims[1];
    t.strides[1] = lies == 1 ? dims[1] : lies == 2 ? 2 : 1;
    return t;
}

static double at(const og_tensor *t, int64_t i, int64_t j)
{
    return og__load_double(t->data, t->type.dtype, i * t->strides[0] + j * t->strides[1]);
}

static void *filled(size_t bytes, int value)
{
    void *p = aligned_alloc(256, og__max(256, (int64_t)(bytes + 255) / 256 * 256));
    if (p)
        memset(p, value, bytes);
    return p;
}

/* Rows first … last - 1 and columns from `column`, a multiple of 64, on. */
static void run(const og__gemm_fns *fns, const og__gemm *g, const og_tensor *a, const og_tensor *b,
                char *c, int64_t first, int64_t last, int64_t column)
{
    og__gemm part = *g;
    part.m = last - first;
    size_t rows_bytes = fns->rows_bytes(&part), size = og__size(g->result);
    char *packed = filled(fns->bytes(g->n, g->k), 0xff), *rows = filled(rows_bytes + 256, 0xff);
    CHECK(packed && rows);
    if (packed && rows) {
        memset(rows + rows_bytes, 0x5a, 256);
        fns->pack(g, b->data, packed, 0, og__gemm_packed_groups(g->n));
        part.n = g->n - column;
        fns->packed(&part, (const uint16_t *)a->data + first * g->a_row,
                    packed + fns->bytes(column, g->k),
                    c + (size_t)(first * g->c_row + column) * size, rows);
        for (int i = 0; i < 256; i++)
            CHECK(rows[rows_bytes + (size_t)i] == 0x5a);
    }
    free(packed);
    free(rows);
}

/* Sums of products below 1, in float: 3e-6 of their absolute sum. Rounded to bfloat16, to 8 bits:
 * by at most 2^-8 of the result more. */
static void check(const og__gemm_fns *fns, const gemm_case *t, og_dtype result, bool add)
{
    uint64_t seed = 31;
    og_tensor a = matrix(t->m, t->k, t->a, &seed), b = matrix(t->k, t->n, t->b, &seed);
    int64_t row = (t->n + 31) / 32 * 32 + 32; /* gaps between C's rows stay as they are */
    size_t size = og__size(result), bytes = (size_t)(t->m * row) * size;
    og__gemm g = {.dtype = OG_BFLOAT16,
                  .result = result,
                  .m = t->m,
                  .n = t->n,
                  .k = t->k,
                  .a_row = a.strides[0],
                  .a_column = a.strides[1],
                  .b_row = b.strides[0],
                  .b_column = b.strides[1],
                  .c_row = row,
                  .add = add};
    char *c = filled(bytes, 0x3f), *cut = filled(bytes, 0x3f);
    double before = c ? og__load_double(c, result, 0) : 0;
    run(fns, &g, &a, &b, c, 0, t->m, 0);
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < row; j++) {
            double got = og__load_double(c, result, i * row + j), sum = add ? before : 0,
                   most = sum;
            if (j >= t->n) {
                CHECK(got == before);
                continue;
            }
            for (int64_t p = 0; p < t->k; p++) {
                double v = at(&a, i, p) * at(&b, p, j);
                sum += v;
                most += fabs(v);
            }
            double tolerance = 3e-6 * most + (result == OG_BFLOAT16 ? fabs(sum) * 0x1.01p-8 : 0);
            if (!(fabs(got - sum) <= tolerance)) {
                CHECK_CLOSE(got, sum, tolerance);
                i = t->m; /* one is enough */
                break;
            }
        }
    /* in pieces, as tasks are: not a bit differs */
    int64_t down = t->m / 2 / 3 * 3, across = t->n > 64 ? 64 : 0;
    run(fns, &g, &a, &b, cut, 0, down, 0);
    run(fns, &g, &a, &b, cut, down, t->m, across);
    if (across) {
        og__gemm left = g;
        left.n = across;
        run(fns, &left, &a, &b, cut, down, t->m, 0);
    }
    CHECK(memcmp(c, cut, bytes) == 0);
    free(c);
    free(cut);
    free(a.data);
    free(b.data);
}

/* NaN and infinities come out where they belong, from A and from B, and nowhere else. */
static void check_special(const og__gemm_fns *fns, og_dtype result)
{
    enum { M = 70, N = 90, K = 51 };
    uint64_t seed = 37;
    og_tensor a = matrix(M, K, 0, &seed), b = matrix(K, N, 0, &seed);
    og__store_double(a.data, OG_BFLOAT16, 3 * K + 50, NAN);
    og__store_double(a.data, OG_BFLOAT16, 67 * K, INFINITY);
    og__store_double(b.data, OG_BFLOAT16, 50 * N + 89, NAN);
    og__gemm g = {OG_BFLOAT16, M, N, K, K, 1, N, 1, N, false, 0, result};
    char *c = filled(M * N * og__size(result), 0);
    run(fns, &g, &a, &b, c, 0, M, 0);
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double y = og__load_double(c, result, i * N + j);
            CHECK(i == 3 || j == 89 ? isnan(y) : i == 67 ? !isfinite(y) : isfinite(y));
        }
    free(c);
    free(a.data);
    free(b.data);
}

static void check_all(const og__gemm_fns *fns)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].name);
        check(fns, &cases[i], OG_FLOAT, false);
        check(fns, &cases[i], OG_FLOAT, true);
        check(fns, &cases[i], OG_BFLOAT16, false);
    }
    TEST_CASE("NaN and infinity");
    check_special(fns, OG_FLOAT);
    check_special(fns, OG_BFLOAT16);
    TEST_CASE("");
}

TEST(pairs)
{
    if (!og__has_bfloat16())
        SKIP("this processor does not multiply pairs of bfloat16");
    check_all(&og__gemm_pairs);
}

TEST(tiles)
{
    if (!og__has_matrix_tiles())
        SKIP("this processor does not multiply tiles of bfloat16, or this process may not");
    check_all(&og__gemm_tiles);
}

static const og_test tests[] = {TEST_ROW(pairs), TEST_ROW(tiles)};
TEST_MAIN(tests)
