/* Data sets and loaders: conversion, checks, shuffling, batches, worker threads. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/data/convert.h"
#include "runtime/data/loader.h"
#include "runtime/data/shuffle.h"
#include "tests/own_folder.h"
#include "tests/test.h"

/* ---- conversion */

static double convert_one(og_dtype from, const void *x, og_dtype to, double scale, double shift)
{
    og__conversion c = {from, to, scale, shift};
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } y = {0};
    og__convert(&c, &y, x, 1);
    switch (to) {
    case OG_BOOL:
    case OG_UINT8:
        return y.u8;
    case OG_INT8:
        return y.i8;
    case OG_INT16:
        return y.i16;
    case OG_UINT32:
        return y.u32;
    case OG_INT32:
        return y.i32;
    case OG_UINT64:
        return (double)y.u64;
    case OG_INT64:
        return (double)y.i64;
    case OG_FLOAT:
        return y.f32;
    case OG_DOUBLE:
        return y.f64;
    default:
        return y.u16; /* the code, for 16-bit floats too */
    }
}

TEST(float16_both_ways)
{
    /* every float16 but NaN goes to float and back unchanged */
    for (uint32_t code = 0; code < 65536; code++) {
        uint16_t h = (uint16_t)code;
        float f = (float)convert_one(OG_FLOAT16, &h, OG_FLOAT, 1, 0);
        if ((h & 0x7fff) > 0x7c00) {
            CHECK(isnan(f));
            continue;
        }
        if (!CHECK_INT(convert_one(OG_FLOAT, &f, OG_FLOAT16, 1, 0), h))
            return;
        float back = (float)convert_one(OG_BFLOAT16, &h, OG_FLOAT, 1, 0);
        if (!isnan(back) && !CHECK_INT(convert_one(OG_FLOAT, &back, OG_BFLOAT16, 1, 0), h))
            return;
    }
}

TEST(sixteen_bits_round_to_nearest_even)
{
    static const struct {
        double x;
        int half, bfloat;
    } cases[] = {
        {1, 0x3c00, 0x3f80},
        {-2, 0xc000, 0xc000},
        {65504, 0x7bff, 0x4780},
        {65519.99, 0x7bff, 0x4780},
        {65520, 0x7c00, 0x4780},
        {1e300, 0x7c00, 0x7f80},
        {-1e300, 0xfc00, 0xff80},
        {1 + 0x1p-11, 0x3c00, 0x3f80},
        {1 + 0x3p-11, 0x3c02, 0x3f80},
        {1 + 0x1p-11 + 0x1p-40, 0x3c01, 0x3f80}, /* rounded once, not by way of float */
        {0x1p-24, 0x0001, 0x3380},
        {0x1p-25, 0x0000, 0x3300},
        {0x1.8p-25, 0x0001, 0x3340},
        {0x1p-14 - 0x1p-26, 0x0400, 0x3880},
        {0x1p-133, 0x0000, 0x0001},
        {0x1.fep127, 0x7c00, 0x7f7f},
        {0x1.ffp127, 0x7c00, 0x7f80},
        {0, 0, 0},
        {-0.0, 0x8000, 0x8000},
        {INFINITY, 0x7c00, 0x7f80},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.17g", cases[i].x);
        TEST_CASE(text);
        CHECK_INT(convert_one(OG_DOUBLE, &cases[i].x, OG_FLOAT16, 1, 0), cases[i].half);
        CHECK_INT(convert_one(OG_DOUBLE, &cases[i].x, OG_BFLOAT16, 1, 0), cases[i].bfloat);
    }
    TEST_CASE("");
    double nan = NAN;
    CHECK(((int)convert_one(OG_DOUBLE, &nan, OG_FLOAT16, 1, 0) & 0x7fff) > 0x7c00);
    CHECK(((int)convert_one(OG_DOUBLE, &nan, OG_BFLOAT16, 1, 0) & 0x7fff) > 0x7f80);
}

TEST(every_pair_of_types)
{
    static const og_dtype types[] = {OG_FLOAT,  OG_DOUBLE, OG_UINT8,   OG_INT8,
                                     OG_UINT16, OG_INT16,  OG_INT32,   OG_INT64,
                                     OG_UINT32, OG_UINT64, OG_FLOAT16, OG_BOOL};
    enum { N = 1300 }; /* blocks and a rest */
    static double doubles[N], result[N];
    static uint64_t from[N], to[N];
    for (int i = 0; i < N; i++)
        doubles[i] = i % 2;
    for (size_t a = 0; a < sizeof types / sizeof *types; a++)
        for (size_t b = 0; b < sizeof types / sizeof *types; b++) {
            og__conversion in = {OG_DOUBLE, types[a], 1, 0}, c = {types[a], types[b], 1, 0},
                           out = {types[b], OG_DOUBLE, 1, 0};
            og__convert(&in, from, doubles, N);
            og__convert(&c, to, from, N);
            og__convert(&out, result, to, N);
            if (!CHECK(!memcmp(result, doubles, sizeof result)))
                printf("    %s to %s\n", og_dtype_name(types[a]), og_dtype_name(types[b]));
        }
}

TEST(values_convert)
{
    int64_t large = INT64_C(9007199254740993); /* 2^53 + 1: not a double */
    og__conversion same = {OG_INT64, OG_UINT64, 1, 0};
    uint64_t copy = 0;
    og__convert(&same, &copy, &large, 1);
    CHECK(copy == UINT64_C(9007199254740993));
    uint8_t byte = 200, two = 2;
    CHECK_CLOSE(convert_one(OG_UINT8, &byte, OG_FLOAT, 1 / 255.0, 0), (float)(200 / 255.0), 1e-7);
    CHECK_CLOSE(convert_one(OG_UINT8, &byte, OG_FLOAT, 2 / 255.0, -1), (float)(400 / 255.0 - 1),
                1e-7);
    CHECK_INT(convert_one(OG_UINT8, &byte, OG_INT64, 1, -1), 199);
    CHECK_INT(convert_one(OG_UINT8, &two, OG_BOOL, 1, 0), 1);
    CHECK_INT(convert_one(OG_BOOL, &two, OG_BOOL, 1, 0), 1);
    int32_t negative = -5;
    CHECK_INT(convert_one(OG_INT32, &negative, OG_INT64, 1, 0), -5);
    CHECK_CLOSE(convert_one(OG_INT32, &negative, OG_FLOAT, 1, 0), -5, 0);
}

/* ---- shuffling */

TEST(shuffle_is_a_permutation)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 63, 64, 65, 127, 1000, 4096, 60000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int64_t n = sizes[s], *out = malloc((size_t)n * sizeof *out);
            bool *seen = calloc((size_t)n, 1), all = true;
            REQUIRE(out && seen);
            og__shuffle(42, epoch, n, 0, n, out);
            for (int64_t i = 0; i < n; i++) {
                REQUIRE(out[i] >= 0 && out[i] < n);
                all &= !seen[out[i]];
                seen[out[i]] = true;
            }
            CHECK(all);
            /* any part of it alone is the same */
            int64_t part[3], first = n > 3 ? n / 4 : 0, count = n > 3 ? 3 : n;
            og__shuffle(42, epoch, n, first, count, part);
            CHECK(!memcmp(part, out + first, (size_t)count * sizeof *part));
            free(out);
            free(seen);
        }
}

TEST(shuffle_depends_on_seed_and_epoch)
{
    enum { N = 1000 };
    int64_t a[N], b[N];
    int64_t fixed = 0, equal = 0, neighbours = 0;
    og__shuffle(1, 0, N, 0, N, a);
    og__shuffle(1, 1, N, 0, N, b);
    for (int i = 0; i < N; i++) {
        fixed += a[i] == i;
        equal += a[i] == b[i];
        neighbours += i && llabs(a[i] - a[i - 1]) == 1;
    }
    CHECK(fixed < 12); /* each of the three is about 1, 1 and 2 on average */
    CHECK(equal < 12);
    CHECK(neighbours < 15);
    og__shuffle(2, 0, N, 0, N, b);
    CHECK(memcmp(a, b, sizeof a) != 0);
}

TEST(shuffle_is_uniform)
{
    /* n = 4: each of the 24 permutations about 24000 / 24 = 1000 times; the deviation's square sum
     * is χ² with 23 degrees of freedom, above 60 once in 30000. n = 10: where the first element
     * goes, 9 degrees. */
    enum { TRIALS = 24000 };
    int counts[256] = {0}, firsts[10] = {0};
    for (int64_t epoch = 0; epoch < TRIALS; epoch++) {
        int64_t p[4], q;
        og__shuffle(7, epoch, 4, 0, 4, p);
        counts[p[0] << 6 | p[1] << 4 | p[2] << 2 | p[3]]++;
        og__shuffle(7, epoch, 10, 0, 1, &q);
        firsts[q]++;
    }
    double chi = 0, chi_first = 0;
    int seen = 0;
    for (int i = 0; i < 256; i++)
        if (counts[i]) {
            seen++;
            chi += (counts[i] - TRIALS / 24.0) * (counts[i] - TRIALS / 24.0) / (TRIALS / 24.0);
        }
    for (int i = 0; i < 10; i++)
        chi_first += (firsts[i] - TRIALS / 10.0) * (firsts[i] - TRIALS / 10.0) / (TRIALS / 10.0);
    CHECK_INT(seen, 24);
    CHECK(chi < 60);
    CHECK(chi_first < 40);
}

/* ---- data sets */

static og_array *array_of(const char *path, og_dtype dtype, int rank, const int64_t *dims,
                          const void *data)
{
    og_error e = {0};
    og_npy_write(path, dtype, rank, dims, data, &e);
    og_array *a = og_array_open(path, &e);
    CHECK_STR(og_error_text(&e), "");
    og_error_clear(&e);
    return a;
}

/* "x": float32 [N, 2, 2], element k = k / 8; "y": int32 [N], value i. */
typedef struct sample_data {
    og_array *x, *y;
    og_field fields[2];
} sample_data;

static void sample_data_make(sample_data *d, int64_t n)
{
    float *x = malloc((size_t)n * 4 * sizeof *x);
    int32_t *y = malloc((size_t)n * sizeof *y);
    if (!x || !y)
        abort();
    for (int64_t i = 0; i < n * 4; i++)
        x[i] = (float)i / 8;
    for (int64_t i = 0; i < n; i++)
        y[i] = (int32_t)i;
    d->x = array_of("x.npy", OG_FLOAT, 3, (int64_t[]){n, 2, 2}, x);
    d->y = array_of("y.npy", OG_INT32, 1, (int64_t[]){n}, y);
    free(x);
    free(y);
    d->fields[0] = (og_field){"x", d->x, OG_FLOAT, 4, {-1, 1, 2, 2}, 1, 0, true};
    d->fields[1] = (og_field){"y", d->y, OG_INT64, 1, {-1}, 1, 0, true};
}

static void sample_data_free(sample_data *d)
{
    og_array_free(d->x);
    og_array_free(d->y);
}

static const og_dataset_options plain = {.seed = 3}, shuffled = {.shuffle = true, .seed = 3};

TEST(batches_in_order)
{
    sample_data d;
    og_error e = {0};
    sample_data_make(&d, 10);
    og_dataset *set = og_dataset_new(d.fields, 2, &plain, &e);
    CHECK_STR(og_error_text(&e), "");
    REQUIRE(set != NULL);
    CHECK_INT(og_dataset_samples(set), 10);
    CHECK_INT(og_dataset_fields(set), 2);
    CHECK_INT(og_dataset_batches(set, 4), 3);
    CHECK_INT(og_dataset_batches(set, 10), 1);
    CHECK_INT(og_dataset_batches(set, 100), 1);
    CHECK_INT(og_dataset_batches(set, 0), 0);
    CHECK_INT(og_dataset_sample_bytes(set, 0), 16);
    CHECK_INT(og_dataset_sample_bytes(set, 1), 8);
    float x[16];
    int64_t y[4], samples, dims[OG_MAX_RANK];
    void *buffers[] = {x, y};
    CHECK_INT(og_dataset_dims(set, 0, dims), 4);
    CHECK_INT(dims[0], 10);
    CHECK_INT(dims[1], 1);
    for (int64_t b = 0; b < 3; b++) {
        CHECK_INT(og_dataset_batch(set, 5, b, 4, buffers, &samples, &e), OG_OK);
        CHECK_INT(samples, b < 2 ? 4 : 2);
        for (int64_t i = 0; i < samples; i++) {
            CHECK_INT(y[i], 4 * b + i);
            CHECK_CLOSE(x[4 * i + 3], (double)(4 * y[i] + 3) / 8, 0);
        }
    }
    CHECK_INT(og_dataset_batch(set, 0, 3, 4, buffers, &samples, &e), OG_INVALID_ARGUMENT);
    CHECK_TEXT(og_error_text(&e), "batch 3 of epoch 0, but an epoch has 3 batches of 4 samples");
    og_error_clear(&e);
    CHECK_INT(og_dataset_batch(set, -1, 0, 4, buffers, &samples, &e), OG_INVALID_ARGUMENT);
    og_error_clear(&e);
    og_dataset_free(set);
    og_dataset_options drop = {.drop_last = true};
    set = og_dataset_new(d.fields, 2, &drop, &e);
    CHECK_INT(og_dataset_batches(set, 4), 2);
    CHECK_INT(og_dataset_batches(set, 11), 0);
    og_dataset_free(set);
    sample_data_free(&d);
}

TEST(batches_shuffled)
{
    enum { N = 1000, B = 300 };
    sample_data d;
    og_error e = {0};
    sample_data_make(&d, N);
    og_dataset *set = og_dataset_new(d.fields, 2, &shuffled, &e);
    REQUIRE(set != NULL);
    static float x[B * 4];
    static int64_t y[B], first[2][B];
    static int seen[N];
    void *buffers[] = {x, y};
    for (int64_t epoch = 0; epoch < 2; epoch++)
        for (int64_t b = 0; b < og_dataset_batches(set, B); b++) {
            int64_t samples;
            CHECK_INT(og_dataset_batch(set, epoch, b, B, buffers, &samples, &e), OG_OK);
            for (int64_t i = 0; i < samples; i++) {
                REQUIRE(y[i] >= 0 && y[i] < N);
                seen[y[i]]++;
                for (int64_t k = 0; k < 4; k++)
                    if (!CHECK_CLOSE(x[4 * i + k], (double)(4 * y[i] + k) / 8, 0))
                        return;
            }
            if (b == 0)
                memcpy(first[epoch], y, sizeof y);
        }
    for (int i = 0; i < N; i++)
        if (!CHECK_INT(seen[i], 2))
            break;
    CHECK(memcmp(first[0], first[1], sizeof y) != 0);
    og_dataset_free(set);
    sample_data_free(&d);
}

TEST(shapes_match_up_to_axes_of_one)
{
    static const struct {
        const char *what;
        int file_rank;
        int64_t file[4];
        int rank;
        int64_t dims[5];
        bool ok;
        int64_t got[5];
    } cases[] = {
        {"same", 2, {4, 6}, 2, {0, 6}, true, {4, 6}},
        {"channel added", 3, {4, 2, 3}, 4, {0, 1, 2, 3}, true, {4, 1, 2, 3}},
        {"removed", 2, {4, 1}, 1, {0}, true, {4}},
        {"removed inside", 4, {4, 2, 1, 3}, 3, {0, 2, 3}, true, {4, 2, 3}},
        {"added at the end", 1, {4}, 3, {0, 1, 1}, true, {4, 1, 1}},
        {"moved", 3, {4, 1, 6}, 3, {0, 6, 1}, true, {4, 6, 1}},
        {"any", 3, {4, 2, 3}, 3, {0, -1, 3}, true, {4, 2, 3}},
        {"any is 1", 3, {4, 1, 3}, 3, {0, -1, -1}, true, {4, 1, 3}},
        {"any after removed", 3, {4, 1, 3}, 2, {0, -1}, true, {4, 3}},
        {"any needs an axis", 1, {4}, 2, {0, -1}, false, {0}},
        {"transposed", 3, {4, 2, 3}, 3, {0, 3, 2}, false, {0}},
        {"flattened", 3, {4, 2, 3}, 2, {0, 6}, false, {0}},
        {"too many", 3, {4, 2, 3}, 2, {0, 2}, false, {0}},
        {"scalar", 0, {0}, 2, {0, 1}, true, {1, 1}},
        {"no sample axis", 1, {4}, 0, {0}, false, {0}},
    };
    float data[24] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        og_error e = {0};
        TEST_CASE(cases[i].what);
        og_array *a = array_of("shape.npy", OG_FLOAT, cases[i].file_rank, cases[i].file, data);
        REQUIRE(a != NULL);
        og_field f = {"x", a, OG_FLOAT, cases[i].rank, {0}, 1, 0, false};
        for (int k = 0; k < cases[i].rank; k++)
            f.dims[k] = cases[i].dims[k];
        og_dataset *set = og_dataset_new(&f, 1, &plain, &e);
        CHECK_INT(set != NULL, cases[i].ok);
        CHECK_INT(e.status, cases[i].ok ? OG_OK : OG_INVALID_DATA);
        int64_t dims[OG_MAX_RANK];
        if (set && CHECK_INT(og_dataset_dims(set, 0, dims), cases[i].rank))
            for (int k = 0; k < cases[i].rank; k++)
                CHECK_INT(dims[k], cases[i].got[k]);
        og_error_clear(&e);
        og_dataset_free(set);
        og_array_free(a);
    }
    TEST_CASE("");
}

TEST(all_problems_in_one_report)
{
    float x[6] = {1, 2, 3, NAN, 5, INFINITY}, labels[3] = {0, 1, 2};
    int64_t ids[2] = {5, INT64_C(3000000000)};
    og_error e = {0};
    og_array *ax = array_of("px.npy", OG_FLOAT, 2, (int64_t[]){3, 2}, x);
    og_array *al = array_of("pl.npy", OG_FLOAT, 1, (int64_t[]){3}, labels);
    og_array *ai = array_of("pi.npy", OG_INT64, 2, (int64_t[]){2, 1}, ids);
    og_field fields[] = {
        {"image", ax, OG_FLOAT, 3, {0, 5, 5}, 1, 0, true},
        {"label", al, OG_INT64, 1, {0}, 1, 0, true},
        {"ids", ai, OG_INT32, 1, {0}, 1, 0, false},
        {"odd", al, OG_STRING, 1, {0}, 1, 0, false},
        {"scaled", ai, OG_INT64, 1, {0}, 0.5, 0, false},
        {"infinite", al, OG_FLOAT, 1, {0}, INFINITY, 0, false},
    };
    CHECK(og_dataset_new(fields, 6, &plain, &e) == NULL);
    CHECK_INT(e.status, OG_INVALID_DATA);
    const char *text = og_error_text(&e);
    CHECK_TEXT(text, "samples differ: \"image\" 3, \"label\" 3, \"ids\" 2");
    CHECK_TEXT(text, "\"image\": the file's shape is [3, 2], the model takes [N, 5, 5]");
    CHECK_TEXT(text, "\"image\": element [1, 1] is NaN (and 1 more like it)");
    CHECK_TEXT(text, "\"label\": the file holds float32, the model takes int64 (class labels are "
                     "whole numbers)");
    CHECK_TEXT(text, "\"ids\": element [1, 0] is 3000000000, which int32 cannot hold");
    CHECK_TEXT(text, "\"odd\": the model takes string");
    CHECK_TEXT(text, "\"scaled\": scale 0.5 and shift 0, where int64 needs whole numbers");
    CHECK_TEXT(text, "\"infinite\": scale inf");
    og_error_clear(&e);
    og_array_free(ax);
    og_array_free(al);
    og_array_free(ai);
}

TEST(values_are_checked_where_they_matter)
{
    float x[2000];
    og_error e = {0};
    for (int i = 0; i < 2000; i++)
        x[i] = 1;
    x[1999] = 70000;
    og_array *a = array_of("v.npy", OG_FLOAT, 2, (int64_t[]){1000, 2}, x);
    og_field f = {"x", a, OG_FLOAT16, 2, {0, 2}, 1, 0, true};
    CHECK(og_dataset_new(&f, 1, &plain, &e) == NULL);
    CHECK_STR(og_error_text(&e), "\"x\": element [999, 1] is 70000, which float16 cannot hold");
    og_error_clear(&e);
    f.scale = 0.5;
    og_dataset *set = og_dataset_new(&f, 1, &plain, &e);
    CHECK(set != NULL);
    og_dataset_free(set);
    f.scale = 1;
    f.check_finite = false;
    set = og_dataset_new(&f, 1, &plain, &e);
    CHECK(set != NULL);
    og_dataset_free(set);
    og_array_free(a);

    uint8_t labels[3] = {0, 1, 200};
    a = array_of("v.npy", OG_UINT8, 1, (int64_t[]){3}, labels);
    og_field l = {"y", a, OG_INT8, 1, {0}, 1, 0, false};
    CHECK(og_dataset_new(&l, 1, &plain, &e) == NULL);
    CHECK_TEXT(og_error_text(&e), "element [2] is 200, which int8 cannot hold");
    og_error_clear(&e);
    l.dtype = OG_BOOL;
    CHECK(og_dataset_new(&l, 1, &plain, &e) == NULL);
    CHECK_TEXT(og_error_text(&e), "which bool cannot hold");
    og_error_clear(&e);
    l.dtype = OG_UINT8;
    l.shift = -1;
    CHECK(og_dataset_new(&l, 1, &plain, &e) == NULL);
    CHECK_TEXT(og_error_text(&e),
               "element [0] is 0, which uint8 cannot hold after scale and shift");
    og_error_clear(&e);
    og_array_free(a);

    a = array_of("v.npy", OG_FLOAT, 2, (int64_t[]){0, 2}, x);
    og_field none = {"x", a, OG_FLOAT, 2, {0, 2}, 1, 0, true};
    CHECK(og_dataset_new(&none, 1, &plain, &e) == NULL);
    CHECK_TEXT(og_error_text(&e), "no samples");
    og_error_clear(&e);
    og_array_free(a);
    CHECK(og_dataset_new(NULL, 0, &plain, &e) == NULL);
    CHECK_INT(e.status, OG_INVALID_ARGUMENT);
    og_error_clear(&e);
}

/* ---- loaders */

/* Fold what a loader delivers from (epoch, index) on into one number. */
static uint64_t hash_batches(og_loader *loader, int64_t batches, int64_t from, int64_t count)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    og_error e = {0};
    for (int64_t p = from; p < from + count; p++) {
        og_batch b;
        if (!CHECK_INT(og_loader_next(loader, p / batches, p % batches, &b, &e), OG_OK))
            break;
        CHECK_INT(b.epoch, p / batches);
        CHECK_INT(b.index, p % batches);
        CHECK(b.wait >= 0);
        const uint8_t *y = b.buffers[1], *x = b.buffers[0];
        for (int64_t i = 0; i < b.samples * 8; i++)
            hash = (hash ^ y[i]) * UINT64_C(1099511628211);
        for (int64_t i = 0; i < b.samples * 16; i++)
            hash = (hash ^ x[i]) * UINT64_C(1099511628211);
        memset(b.buffers[0], 0xff, (size_t)b.samples * 16); /* the caller may write */
    }
    og_error_clear(&e);
    return hash;
}

TEST(loader_order_does_not_depend_on_workers)
{
    sample_data d;
    og_error e = {0};
    sample_data_make(&d, 103);
    og_dataset *set = og_dataset_new(d.fields, 2, &shuffled, &e);
    REQUIRE(set != NULL);
    int64_t batches = og_dataset_batches(set, 10);
    static const int workers[] = {0, 1, 2, 5}, ahead[] = {0, 1, 7};
    uint64_t expected = 0;
    for (size_t w = 0; w < 4; w++)
        for (size_t k = 0; k < 3; k++) {
            og_loader *loader = og_loader_new(set, 10, workers[w], ahead[k], &e);
            CHECK_STR(og_error_text(&e), "");
            REQUIRE(loader != NULL);
            uint64_t hash = hash_batches(loader, batches, 0, 4 * batches + 3);
            /* back, forward, again */
            hash ^= hash_batches(loader, batches, 2, 5) * 3;
            hash ^= hash_batches(loader, batches, 1000, 9) * 5;
            hash ^= hash_batches(loader, batches, 1008, 1) * 7;
            if (w == 0 && k == 0)
                expected = hash;
            CHECK(hash == expected);
            og_loader_free(loader);
        }
    og_dataset_free(set);
    sample_data_free(&d);
}

TEST(loader_buffers_stay)
{
    sample_data d;
    og_error e = {0};
    sample_data_make(&d, 64);
    og_dataset *set = og_dataset_new(d.fields, 2, &plain, &e);
    REQUIRE(set != NULL);
    og_loader *loader = og_loader_new(set, 8, 3, 2, &e);
    REQUIRE(loader != NULL);
    for (int64_t p = 0; p < 40; p++) {
        og_batch b;
        CHECK_INT(og_loader_next(loader, p / 8, p % 8, &b, &e), OG_OK);
        CHECK_INT((uintptr_t)b.buffers[0] % 64, 0);
        CHECK_INT((uintptr_t)b.buffers[1] % 64, 0);
        if (p % 10 == 0)
            usleep(2000); /* workers run as far ahead as they may */
        const int64_t *y = b.buffers[1];
        for (int64_t i = 0; i < 8; i++)
            CHECK_INT(y[i], 8 * (p % 8) + i);
    }
    og_loader_free(loader);
    og_dataset_free(set);
    sample_data_free(&d);
}

TEST(loader_errors)
{
    sample_data d;
    og_error e = {0};
    og_batch b;
    sample_data_make(&d, 10);
    og_dataset *set = og_dataset_new(d.fields, 2, &plain, &e);
    REQUIRE(set != NULL);
    CHECK(og_loader_new(set, 4, -1, 0, &e) == NULL);
    CHECK_INT(e.status, OG_INVALID_ARGUMENT);
    og_error_clear(&e);
    CHECK(og_loader_new(set, 0, 2, 0, &e) == NULL);
    CHECK_TEXT(og_error_text(&e), "no batch of 0 samples");
    og_error_clear(&e);
    CHECK(og_loader_new(set, INT64_MAX / 2, 2, 0, &e) == NULL);
    CHECK_INT(e.status, OG_OUT_OF_MEMORY);
    og_error_clear(&e);
    for (int workers = 0; workers <= 2; workers++) {
        og_loader *loader = og_loader_new(set, 4, workers, 0, &e);
        REQUIRE(loader != NULL);
        CHECK_INT(og_loader_next(loader, 0, 3, &b, &e), OG_INVALID_ARGUMENT);
        og_error_clear(&e);
        CHECK_INT(og_loader_next(loader, -1, 0, &b, &e), OG_INVALID_ARGUMENT);
        og_error_clear(&e);
        CHECK_INT(og_loader_next(loader, INT64_MAX, 0, &b, &e), OG_INVALID_ARGUMENT);
        og_error_clear(&e);
        CHECK_INT(og_loader_next(loader, 0, 1, &b, &e), OG_OK);
        og_loader_free(loader); /* a batch held, others under way */
    }
    og_loader_free(NULL);
    og_dataset_free(set);
    sample_data_free(&d);
}

static void *read_alone(void *argument)
{
    const og_dataset *set = argument;
    int64_t batches = og_dataset_batches(set, 10);
    og_error e = {0};
    og_loader *loader = og_loader_new(set, 10, 2, 0, &e);
    uint64_t *hash = malloc(sizeof *hash);
    if (hash)
        *hash = loader ? hash_batches(loader, batches, 0, 3 * batches) : 0;
    og_loader_free(loader);
    return hash;
}

TEST(two_loaders_share_a_set)
{
    sample_data d;
    og_error e = {0};
    sample_data_make(&d, 500);
    og_dataset *set = og_dataset_new(d.fields, 2, &shuffled, &e);
    REQUIRE(set != NULL);
    pthread_t other;
    REQUIRE(pthread_create(&other, NULL, read_alone, set) == 0);
    uint64_t *mine = read_alone(set);
    void *theirs = NULL;
    pthread_join(other, &theirs);
    CHECK(mine && theirs && *mine && *mine == *(uint64_t *)theirs);
    free(mine);
    free(theirs);
    og_dataset_free(set);
    sample_data_free(&d);
}

static const og_test tests[] = {
    TEST_ROW(float16_both_ways),
    TEST_ROW(sixteen_bits_round_to_nearest_even),
    TEST_ROW(every_pair_of_types),
    TEST_ROW(values_convert),
    TEST_ROW(shuffle_is_a_permutation),
    TEST_ROW(shuffle_depends_on_seed_and_epoch),
    TEST_ROW(shuffle_is_uniform),
    TEST_ROW(batches_in_order),
    TEST_ROW(batches_shuffled),
    TEST_ROW(shapes_match_up_to_axes_of_one),
    TEST_ROW(all_problems_in_one_report),
    TEST_ROW(values_are_checked_where_they_matter),
    TEST_ROW(loader_order_does_not_depend_on_workers),
    TEST_ROW(loader_buffers_stay),
    TEST_ROW(loader_errors),
    TEST_ROW(two_loaders_share_a_set),
};
TEST_MAIN(tests)
