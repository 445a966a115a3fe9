/* Offsets: what lives at the same time does not overlap, the region is nearly as small as it can
 * be, and large plans are placed quickly. */
#include <time.h>

#include "runtime/plan/plan.h"
#include "tests/test.h"

enum { MOST = 12000, LARGE = 10000 };

static og_buffer buffers[MOST];

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* As a training step has them: half live from the forward pass to their place in the backward
 * pass, the others for a few steps. */
static int training_like(int n, uint64_t seed)
{
    for (int i = 0; i < n; i++) {
        int at = (int)(next_random(&seed) % (uint64_t)n);
        bool saved = next_random(&seed) % 2 && at < n / 2;
        int last = saved ? n - 1 - at : at + (int)(next_random(&seed) % 3);
        buffers[i] = (og_buffer){.bytes = 256 * (1 + next_random(&seed) % 64),
                                 .first = at,
                                 .last = last < n ? last : n - 1,
                                 .storage = -1};
    }
    return n;
}

static size_t placed(int n, size_t *bound)
{
    og_arena *arena = og_arena_new();
    og_error error = {0};
    size_t size = og__place_buffers(buffers, n, n, 0, arena, &error);
    *bound = og__live_bytes(buffers, n, n, arena);
    CHECK_INT(error.status, OG_OK);
    og_arena_free(arena);
    return size;
}

static bool overlap(const og_buffer *a, const og_buffer *b)
{
    return a->first <= b->last && b->first <= a->last && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

TEST(nothing_overlaps)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        size_t bound;
        int n = training_like(40 + (int)seed * 10, seed);
        size_t size = placed(n, &bound);
        CHECK(size >= bound);
        CHECK(size <= bound + bound / 20); /* by size alone some of these need more */
        for (int i = 0; i < n; i++) {
            CHECK(buffers[i].offset + buffers[i].bytes <= size);
            for (int k = 0; k < i; k++)
                CHECK(!overlap(&buffers[i], &buffers[k]));
        }
    }
}

TEST(ten_thousand_are_placed_in_a_second)
{
    size_t bound;
    int n = training_like(LARGE, 7);
    clock_t start = clock();
    size_t size = placed(n, &bound);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("%d buffers, %.3f of the bound, %.2f s\n", n, (double)size / (double)bound, seconds);
    CHECK(size <= bound + bound / 20);
    CHECK(seconds < 10); /* a tenth of that here, without sanitizers */
}

static const og_test tests[] = {
    TEST_ROW(nothing_overlaps),

    TEST_ROW(ten_thousand_are_placed_in_a_second),
};
TEST_MAIN(tests)
