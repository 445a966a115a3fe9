/* Random and KeepMask: the generator against its authors' known answers, the kernels against the
 * generator, the same numbers for any number of threads, and a mask's frequency. */
#include "tests/kernels/call.h"

/* Threefry-2x32-20, once more from the paper's definition: one word pair, rounds in a loop. */
static void threefry(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, uint32_t out[2])
{
    static const int by[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    uint32_t keys[3] = {k0, k1, 0x1BD11BDA ^ k0 ^ k1};
    out[0] = c0 + k0;
    out[1] = c1 + k1;
    for (int r = 0; r < 20; r++) {
        out[0] += out[1];
        out[1] = (out[1] << by[r % 8] | out[1] >> (32 - by[r % 8])) ^ out[0];
        if (r % 4 == 3) {
            out[0] += keys[(r / 4 + 1) % 3];
            out[1] += keys[(r / 4 + 2) % 3] + (uint32_t)(r / 4 + 1);
        }
    }
}

/* From the known-answer file of Random123. */
TEST(known_answers)
{
    static const uint32_t rows[3][6] = {
        {0, 0, 0, 0, 0x6b200159, 0x99ba4efe},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x1cb996fc, 0xbb002be7},
        {0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3, 0xc4923a9c, 0x483df7a0},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[2];
        threefry(rows[i][0], rows[i][1], rows[i][2], rows[i][3], out);
        CHECK_INT(out[0], rows[i][4]);
        CHECK_INT(out[1], rows[i][5]);
    }
}

enum { N = 100003 };

static void draw(const char *op, const int64_t position[3], int64_t key, float ratio, int threads,
                 og_dtype dtype, void *y)
{
    static const int64_t three = 3, n = N;
    og_type p = og_type_make(OG_INT64, 1, &three), r = og_type_make(OG_FLOAT, 0, NULL),
            t = og_type_make(dtype, 1, &n);
    og_attr attrs[] = {{.name = "key", .kind = OG_ATTR_INT, .i = key}};
    og_node node = {.op = og_op_find(OG_DOMAIN, op), .name = "", .attrs = attrs, .n_attrs = 1};
    og_tensor x[2] = {og_tensor_dense(&p, (void *)(uintptr_t)position),
                      og_tensor_dense(&r, &ratio)};
    og_tensor out = og_tensor_dense(&t, y);
    og_device *device = og_cpu_device_new(threads);
    REQUIRE(device);
    og_call call = {.node = &node,
                    .device = device,
                    .nx = strcmp(op, "Random") ? 2 : 1,
                    .ny = 1,
                    .x = x,
                    .y = &out};
    og_error error = {0};
    const og_kernel *kernel = og_device_kernel(device, &call, true);
    REQUIRE(kernel);
    CHECK_INT(kernel->run(&call, &error), OG_OK);
    device->destroy(device);
}

TEST(words)
{
    static float y[N], again[N];
    int64_t position[3] = {-7, 123456789012, 5}, key = 42;
    uint32_t k[2], word[2];
    draw("Random", position, key, 0, 1, OG_FLOAT, y);
    draw("Random", position, key, 0, 3, OG_FLOAT, again);
    CHECK(memcmp(y, again, sizeof y) == 0);
    threefry((uint32_t)position[0], (uint32_t)(position[0] >> 32), (uint32_t)position[1],
             (uint32_t)(position[1] >> 32), k);
    threefry(k[0], k[1], (uint32_t)position[2], (uint32_t)key, k);
    for (int i = 0; i < N; i++) {
        threefry(k[0], k[1], (uint32_t)(i / 2), 0, word);
        if (!CHECK(y[i] == (float)(word[i % 2] >> 8) * 0x1p-24f))
            break;
    }
}

/* Seed, update, micro-batch and node each give other masks; each keeps 1 − ratio of the elements,
 * within five standard deviations. */
TEST(masks)
{
    static uint8_t y[5][N];
    static const int64_t positions[5][4] = {
        {1, 2, 3, 4}, {2, 2, 3, 4}, {1, 3, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5}};
    for (int i = 0; i < 5; i++) {
        draw("KeepMask", positions[i], positions[i][3], 0.25f, 2, OG_BOOL, y[i]);
        int kept = 0, same = 0;
        for (int e = 0; e < N; e++) {
            kept += y[i][e];
            same += y[i][e] == y[0][e];
        }
        CHECK(abs(kept - N * 3 / 4) < 5 * (int)sqrt(N * 0.75 * 0.25));
        if (i > 0) /* independent masks agree in 3/4² + 1/4² of the elements */
            CHECK(abs(same - N * 10 / 16) < 5 * (int)sqrt(N * 0.625 * 0.375));
    }
    draw("KeepMask", positions[0], 0, 1, 1, OG_BOOL, y[0]);
    draw("KeepMask", positions[0], 0, 0, 1, OG_BOOL, y[1]);
    for (int e = 0; e < N; e++)
        if (!CHECK(!y[0][e] && y[1][e]))
            break;
}

static const og_test tests[] = {TEST_ROW(known_answers), TEST_ROW(words), TEST_ROW(masks)};
TEST_MAIN(tests)
