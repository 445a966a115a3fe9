/* Products through the driver's table on the simulated card: the sums themselves, and what the card
 * refuses. */
#include "tests/cuda/open.h"
#include "tests/kernels/call.h"

static og_cuda_product plain(int64_t m, int64_t n, int64_t k)
{
    return (og_cuda_product){.m = m,
                             .n = n,
                             .k = k,
                             .batch = 1,
                             .a = OG_FLOAT,
                             .b = OG_FLOAT,
                             .c = OG_FLOAT,
                             .d = OG_FLOAT,
                             .lda = m,
                             .ldb = k,
                             .ldc = m,
                             .ldd = m,
                             .workspace_limit = 1 << 20};
}

static void refused(const og_cuda_product *p, const char *part)
{
    og_device *d = open_device(1);
    og__cuda *cuda = og__cuda_of(d);
    og_error error = {0};
    og_cuda_way way;
    int n;
    CHECK(cuda->driver->product_ways(cuda->card, p, &way, 1, &n, &error) != OG_OK);
    CHECK_TEXT(og_error_text(&error), part);
    og_error_clear(&error);
    close_device(d);
}

TEST(wrong_products_are_refused)
{
    og_cuda_product p = plain(8, 5, 3);
    p.lda = 7;
    refused(&p, "lda is less than A has rows");
    p = plain(8, 5, 3);
    p.transpose_b = true; /* stored as n × k */
    p.ldb = 4;
    refused(&p, "ldb is less than B has rows");
    p = plain(8, 5, 3);
    p.ldd = 6;
    refused(&p, "ldc or ldd is less than m");
    p = plain(8, 5, 3);
    p.arithmetic = OG_CUDA_HALF;
    refused(&p, "no such combination of element types");
    p = plain(8, 5, 3);
    p.batch = 2;
    p.stride_d = 39;
    refused(&p, "matrices D of the batch overlap");
    p = plain(8, 5, 3);
    p.bias = OG_FLOAT;
    p.epilogue = OG_CUDA_GELU_AUX_BIAS;
    p.ldaux = 12;
    refused(&p, "ldaux must be a multiple of 8 elements");
    p.epilogue = OG_CUDA_DRELU;
    p.ldaux = 64;
    refused(&p, "or of 128 bits");
}

/* By the library's first way. */
static og_cuda_plan *plan_product(const og__cuda *cuda, const og_cuda_product *p, size_t *workspace)
{
    og_error error = {0};
    og_cuda_way way;
    og_cuda_plan *plan = NULL;
    int n;
    GOES(cuda->driver->product_ways(cuda->card, p, &way, 1, &n, &error));
    GOES(cuda->driver->product_plan(cuda->card, p, &way, &plan, &error));
    *workspace = (size_t)way.workspace;
    return plan;
}

/* D = 2 Aᵀ B + C, with a bias: against the sum in double. */
TEST(a_product_is_right)
{
    enum { M = 12, N = 7, K = 33 };
    static const og_cuda_arithmetic ways[] = {OG_CUDA_FLOAT, OG_CUDA_TF32, OG_CUDA_HALF};
    for (int w = 0; w < 3; w++) {
        og_device *d = open_device((uint64_t)w + 1);
        og__cuda *cuda = og__cuda_of(d);
        og_error error = {0};
        uint64_t seed = 5;
        og_dtype in = ways[w] == OG_CUDA_HALF ? OG_FLOAT16 : OG_FLOAT;
        og_tensor a = test_filled(in, 2, (int64_t[]){M, K}, &seed),
                  b = test_filled(in, 2, (int64_t[]){N, K}, &seed),
                  c = test_filled(OG_FLOAT, 2, (int64_t[]){N, M}, &seed),
                  bias = test_filled(OG_FLOAT, 1, (int64_t[]){M}, &seed);
        size_t size = og__size(in), workspace;
        og_cuda_product p = plain(M, N, K);
        p.a = p.b = in;
        p.bias = OG_FLOAT;
        p.arithmetic = ways[w];
        p.transpose_a = true;
        p.lda = K;
        p.reads_c = true;
        p.epilogue = OG_CUDA_BIAS;
        og_cuda_plan *plan = plan_product(cuda, &p, &workspace);
        char *da = d->alloc(d, M * K * size), *db = d->alloc(d, N * K * size),
             *dd = d->alloc(d, N * M * 4), *dbias = d->alloc(d, M * 4),
             *work = d->alloc(d, workspace);
        GOES(d->remote->upload(d, da, a.data, M * K * size, &error));
        GOES(d->remote->upload(d, db, b.data, N * K * size, &error));
        GOES(d->remote->upload(d, dd, c.data, N * M * 4, &error));
        GOES(d->remote->upload(d, dbias, bias.data, M * 4, &error));
        const float alpha = 2, beta = 1;
        og_cuda_operands o = {da, db, dd, dd, dbias, NULL, &alpha, &beta, work, workspace};
        GOES(cuda->driver->product_run(cuda->card, plan, &o, &error));
        float got[N * M];
        GOES(d->remote->download(d, got, dd, sizeof got, &error));
        double worst = 0;
        for (int j = 0; j < N; j++)
            for (int i = 0; i < M; i++) {
                double sum = 0;
                for (int k = 0; k < K; k++)
                    sum += test_element(&a, i * K + k) * test_element(&b, j * K + k);
                sum = 2 * sum + test_element(&c, j * M + i) + test_element(&bias, i);
                worst = fmax(worst, fabs(got[j * M + i] - sum));
            }
        /* 10 bits: products off by up to 2^-10, two of 33 terms times 2; and it must show */
        CHECK(worst < (ways[w] == OG_CUDA_TF32 ? 66 * 0x1p-10 : 1e-5));
        CHECK(worst > (ways[w] == OG_CUDA_TF32 ? 1e-5 : -1));

        /* A workspace that is too small. */
        o.workspace_bytes = workspace - 1;
        CHECK(cuda->driver->product_run(cuda->card, plan, &o, &error) != OG_OK);
        CHECK_TEXT(og_error_text(&error), "the workspace is smaller than the plan needs");
        og_error_clear(&error);
        cuda->driver->product_free(cuda->card, plan);
        close_device(d);
        free(a.data);
        free(b.data);
        free(c.data);
        free(bias.data);
    }
}

/* A layer y = act(x w + b) and its gradient by epilogues: dy' = dx2 act'(aux), db = its sum. The
 * slope is held against differences of the layer itself. */
static void check_layer(og_cuda_epilogue forward, og_cuda_epilogue backward, int64_t ldaux)
{
    enum { M = 8, N = 6, K = 5 };
    og_device *d = open_device(1);
    og__cuda *cuda = og__cuda_of(d);
    og_error error = {0};
    uint64_t seed = 11;
    size_t workspace;
    const float one = 1, zero = 0, h = 1e-3F;
    float bias[M], y[3][M * N], dx[M * N], db[M], ones[K * N], a[M * K];
    for (int i = 0; i < M; i++)
        bias[i] = (float)test_uniform(&seed);
    for (int i = 0; i < M * K; i++)
        a[i] = (float)test_uniform(&seed);
    for (int i = 0; i < K * N; i++)
        ones[i] = i % K == 0; /* the product is A's first column, in every column */
    char *da = d->alloc(d, sizeof a), *dones = d->alloc(d, sizeof ones),
         *dd = d->alloc(d, sizeof dx), *dbias = d->alloc(d, sizeof bias),
         *aux = d->alloc(d, (size_t)ldaux * N * 4), *work = d->alloc(d, 4096);
    GOES(d->remote->upload(d, dones, ones, sizeof ones, &error));
    og_cuda_plan *plan;
    og_cuda_product p = plain(M, N, K);
    p.bias = OG_FLOAT;
    p.ldaux = ldaux;
    for (int shift = 2; shift >= 0; shift--) { /* + h, - h, and 0 last, which aux is from */
        float moved[M * K];
        memcpy(moved, a, sizeof a);
        for (int i = 0; i < M; i++)
            moved[i] += shift == 2 ? h : shift == 1 ? -h : 0;
        p.epilogue = forward;
        GOES(d->remote->upload(d, da, moved, sizeof moved, &error));
        GOES(d->remote->upload(d, dbias, bias, sizeof bias, &error));
        plan = plan_product(cuda, &p, &workspace);
        og_cuda_operands o = {da, dones, NULL, dd, dbias, aux, &one, &zero, work, workspace};
        GOES(cuda->driver->product_run(cuda->card, plan, &o, &error));
        GOES(d->remote->download(d, y[shift], dd, sizeof dx, &error));
        cuda->driver->product_free(cuda->card, plan);
    }
    for (int i = 0; i < M * K; i++)
        a[i] = i < M ? 1 : 0; /* a sum of ones: the slope alone */
    p.epilogue = backward;
    GOES(d->remote->upload(d, da, a, sizeof a, &error));
    plan = plan_product(cuda, &p, &workspace);
    og_cuda_operands o = {da, dones, NULL, dd, dbias, aux, &one, &zero, work, workspace};
    GOES(cuda->driver->product_run(cuda->card, plan, &o, &error));
    GOES(d->remote->download(d, dx, dd, sizeof dx, &error));
    GOES(d->remote->download(d, db, dbias, sizeof db, &error));
    cuda->driver->product_free(cuda->card, plan);
    for (int i = 0; i < M; i++) {
        /* float differences of 2e-3: 1e-7 / 1e-3 */
        CHECK_CLOSE(dx[i], (y[2][i] - y[1][i]) / (2 * h), 1e-3);
        CHECK_CLOSE(db[i], N * dx[i], 1e-5);
    }
    close_device(d);
}

TEST(epilogues_are_right)
{
    check_layer(OG_CUDA_GELU_AUX_BIAS, OG_CUDA_DGELU_BGRAD, 8);
    check_layer(OG_CUDA_RELU_AUX_BIAS, OG_CUDA_DRELU_BGRAD, 128);
}

static const og_test tests[] = {
    TEST_ROW(wrong_products_are_refused),
    TEST_ROW(a_product_is_right),
    TEST_ROW(epilogues_are_right),
};
TEST_MAIN(tests)
