/* The device's own functions on the simulated card: copies, inputs that travel ahead, results read
 * later, memory, recordings; each under several orders of execution. */
#include "tests/cuda/open.h"

enum { SEEDS = 8 };

static void fill(unsigned char *bytes, size_t n, unsigned at)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(i * 7 + at);
}

TEST(copies_arrive)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        og_device *d = open_device(seed);
        og_error error = {0};
        const size_t sizes[] = {1, 255, 4096, 4 << 20, (9 << 20) + 3};
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            size_t n = sizes[s];
            unsigned char *from = malloc(n), *to = malloc(n), *a = d->alloc(d, n),
                          *b = d->alloc(d, n);
            REQUIRE(from && to && a && b);
            fill(from, n, (unsigned)s);
            GOES(d->remote->upload(d, a, from, n, &error));
            memset(from, 0, n); /* may be reused on return */
            GOES(d->remote->copy(d, b, a, n, &error));
            GOES(d->remote->clear(d, a, n, &error));
            GOES(d->remote->download(d, to, b, n, &error));
            fill(from, n, (unsigned)s);
            CHECK(memcmp(from, to, n) == 0);
            GOES(d->remote->download(d, to, a, n, &error));
            memset(from, 0, n);
            CHECK(memcmp(from, to, n) == 0);
            d->free(d, a, n);
            d->free(d, b, n);
            free(from);
            free(to);
        }
        close_device(d);
    }
}

TEST(memory_is_zeroed_and_refused)
{
    og_sim_set_memory(1 << 20);
    og_device *d = open_device(1);
    og_error error = {0};
    uint64_t total, left, begun;
    d->memory(d, &total, &begun);
    CHECK_INT(total, 1 << 20);
    CHECK_INT(begun, (1 << 20) - sizeof(og_outside)); /* the device's own */
    char *a = d->alloc(d, 1000), got[1000], zero[1000] = {0};
    REQUIRE(a != NULL);
    CHECK_INT((uintptr_t)a % 256, 0);
    GOES(d->remote->download(d, got, a, sizeof got, &error));
    CHECK(memcmp(got, zero, sizeof got) == 0);
    CHECK(d->alloc(d, 1 << 20) == NULL);
    d->memory(d, &total, &left);
    CHECK_INT(left, begun - 1000);
    d->free(d, a, 1000);
    d->memory(d, &total, &left);
    CHECK_INT(left, begun);
    close_device(d);
    og_sim_set_memory(8000000000u);
}

TEST(there_is_one_card)
{
    og_error error = {0};
    og_device *host = og_cpu_device_new(1);
    CHECK_INT(og_cuda_device_count(NULL), 1);
    CHECK(og_cuda_device_new(1, host, &error) == NULL);
    CHECK_TEXT(og_error_text(&error), "no CUDA device 1: there is 1");
    og_error_clear(&error);
    host->destroy(host);
}

/* Inputs of 20 steps, of changing sizes; each step copies what it got to its own place. */
TEST(inputs_travel_ahead)
{
    enum { STEPS = 20, MOST = 3000 };
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        og_device *d = open_device(seed);
        og_error error = {0};
        unsigned char *x = d->alloc(d, MOST), *y = d->alloc(d, MOST),
                      *all = d->alloc(d, STEPS * 8192), *reserved = d->alloc(d, 2 * 8192);
        static unsigned char a[MOST], b[MOST], got[STEPS * 8192];
        REQUIRE(x && y && all && reserved);
        GOES(d->remote->reserve(d, reserved, 2 * 8192, &error));
        for (unsigned s = 0; s < STEPS; s++) {
            size_t na = MOST - s * 10, nb = 1 + s * 100;
            fill(a, na, s);
            fill(b, nb, 2 * s);
            const og_copy inputs[] = {{x, a, na}, {y, b, nb}};
            GOES(d->remote->feed(d, inputs, 2, &error));
            memset(a, 0xee, sizeof a);
            memset(b, 0xee, sizeof b);
            GOES(d->remote->copy(d, all + s * 8192, x, na, &error));
            GOES(d->remote->copy(d, all + s * 8192 + 4096, y, nb, &error));
        }
        GOES(d->remote->download(d, got, all, sizeof got, &error));
        for (unsigned s = 0; s < STEPS; s++) {
            fill(a, MOST, s);
            fill(b, MOST, 2 * s);
            CHECK(memcmp(got + s * 8192, a, MOST - s * 10) == 0);
            CHECK(memcmp(got + s * 8192 + 4096, b, 1 + s * 100) == 0);
        }
        /* without room they are uploads */
        static unsigned char large[20000], back[20000];
        fill(large, sizeof large, 5);
        const og_copy input = {all, large, sizeof large};
        GOES(d->remote->feed(d, &input, 1, &error));
        GOES(d->remote->download(d, back, all, sizeof back, &error));
        CHECK(memcmp(large, back, sizeof back) == 0);
        GOES(d->remote->reserve(d, NULL, 0, &error));
        close_device(d);
    }
}

TEST(results_come_with_their_marks)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        og_device *d = open_device(seed);
        og_error error = {0};
        int *x = d->alloc(d, sizeof(int)), *ring = d->remote->host_alloc(d, OG_MARKS * sizeof(int));
        REQUIRE(x && ring);
        for (int s = 0; s < 4 * OG_MARKS; s++) {
            int slot = s % OG_MARKS;
            if (s >= OG_MARKS) {
                GOES(d->remote->wait(d, slot, &error));
                CHECK_INT(ring[slot], s - OG_MARKS);
            }
            GOES(d->remote->upload(d, x, &s, sizeof s, &error));
            GOES(d->remote->fetch(d, &(og_copy){&ring[slot], x, sizeof s}, 1, &error));
            GOES(d->remote->mark(d, slot, &error));
        }
        GOES(d->remote->finish(d, &error));
        for (int slot = 0; slot < OG_MARKS; slot++)
            CHECK_INT(ring[slot], 3 * OG_MARKS + slot);
        d->remote->host_free(d, ring);
        close_device(d);
    }
}

/* Many at once, of all small lengths and a long one. */
TEST(results_are_collected)
{
    enum { MOST = 100, LONG = 5000 };
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        og_device *d = open_device(seed);
        og_error error = {0};
        static unsigned char sent[MOST * 16 + LONG];
        unsigned char *x = d->alloc(d, sizeof sent), *got = d->remote->host_alloc(d, sizeof sent);
        REQUIRE(x && got);
        fill(sent, sizeof sent, (unsigned)seed);
        GOES(d->remote->upload(d, x, sent, sizeof sent, &error));
        og_copy copies[MOST + 1];
        for (size_t i = 0; i < MOST; i++)
            copies[i] = (og_copy){got + 16 * i, x + 16 * i, i % 9};
        copies[MOST] = (og_copy){got + 16 * MOST, x + 16 * MOST, LONG};
        memset(got, 0, sizeof sent);
        GOES(d->remote->fetch(d, copies, MOST + 1, &error));
        CHECK(memcmp(got + 16, sent + 16, 1) != 0); /* too early: poison */
        GOES(d->remote->mark(d, 0, &error));
        GOES(d->remote->wait(d, 0, &error));
        for (size_t i = 0; i <= MOST; i++) {
            size_t at = 16 * i;
            CHECK(memcmp(got + at, sent + at, copies[i].bytes) == 0);
            CHECK(i == MOST || got[at + copies[i].bytes] == 0); /* and no more than that */
        }
        d->remote->host_free(d, got);
        close_device(d);
    }
}

static const og_test tests[] = {
    TEST_ROW(copies_arrive),
    TEST_ROW(memory_is_zeroed_and_refused),
    TEST_ROW(there_is_one_card),
    TEST_ROW(inputs_travel_ahead),
    TEST_ROW(results_come_with_their_marks),
    TEST_ROW(results_are_collected),
};
TEST_MAIN(tests)
