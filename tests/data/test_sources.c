/* Sources, pairing, splitting, and what pictures become; files that were damaged byte by byte. */
#include <stdlib.h>
#include <sys/stat.h>

#include "runtime/data/geometry.h"
#include "runtime/data/loader.h"
#include "runtime/data/mix.h"
#include "runtime/data/sheet.h"
#include "runtime/data/source.h"
#include "tests/own_folder.h"
#include "tests/test.h"

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
}

static size_t read_file(const char *path, uint8_t *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        abort();
    size_t n = fread(bytes, 1, room, f);
    fclose(f);
    return n;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static og_source *open_source(const char *path)
{
    og_error e = {0};
    og_source_options none = {0};
    og_source *s = og_source_open(path, &none, &e);
    CHECK_STR(og_error_text(&e), "");
    og_error_clear(&e);
    return s;
}

/* ---- transforms */

TEST(transforms_from_text)
{
    static const struct {
        const char *name, *value;
        bool ok;
    } cases[] = {
        {"resize", "cover", true},
        {"resize", "stretch", true},
        {"resize", "256", true},
        {"resize", "224x112", true},
        {"resize", "0", false},
        {"resize", "224x", false},
        {"resize", "1e9", false},
        {"resize", "99999999999999999999", false},
        {"crop", "random", true},
        {"crop", "top", false},
        {"random_resized_crop", "on", true},
        {"random_resized_crop", "0.5,1", true},
        {"random_resized_crop", "1,0.5", false},
        {"random_resized_crop", "0,1", false},
        {"random_resized_crop", "0.5", false},
        {"hflip", "0.5", true},
        {"hflip", "1.5", false},
        {"vflip", "nan", false},
        {"color_jitter", "0.4", true},
        {"color_jitter", "0.4,0.4,0.4,0.1", true},
        {"color_jitter", "0.4,0.4,0.4,0.6", false},
        {"color_jitter", "0.4,,1", false},
        {"grayscale", "", false},
        {"normalize", "imagenet", true},
        {"normalize", "0.5/0.25", true},
        {"normalize", "0.1,0.2,0.3/1,1,1", true},
        {"normalize", "0.1,0.2/1", false},
        {"normalize", "0.5/0", false},
        {"normalize", "0.5", false},
        {"normalize", "image", false},
        {"color", "bgr", true},
        {"color", "hsv", false},
        {"mixup", "0.4", true},
        {"mixup", "-1", false},
        {"sharpen", "1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        og_error e = {0};
        og_transforms t = og_transforms_default();
        char text[80];
        snprintf(text, sizeof text, "%s %s", cases[i].name, cases[i].value);
        TEST_CASE(text);
        CHECK_INT(og_transforms_set(&t, cases[i].name, cases[i].value, &e) == OG_OK, cases[i].ok);
        if (!cases[i].ok)
            CHECK_TEXT(og_error_text(&e), cases[i].name);
        og_error_clear(&e);
    }
    TEST_CASE("");
}

/* ---- geometry */

TEST(parts_lie_in_the_picture)
{
    static const char *const crops[] = {"0.08,1", "0.01,0.02", "1,1"};
    static const int64_t sizes[][2] = {{1, 1}, {640, 480}, {1000, 3}, {3, 1000}, {224, 224}};
    og_error e = {0};
    for (size_t c = 0; c < 3; c++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            for (int64_t i = 0; i < 200; i++) {
                og_transforms t = og_transforms_default();
                og_transforms_set(&t, "random_resized_crop", crops[c], &e);
                og__geometry g = og__geometry_of(&t, 1, 0, i, 112, 112);
                double w = (double)sizes[k][0], h = (double)sizes[k][1];
                og__rect r = og__geometry_part(&g, sizes[k][0], sizes[k][1]);
                bool in = r.x >= 0 && r.y >= 0 && r.width > 0 && r.height > 0 &&
                          r.x + r.width <= w * (1 + 1e-12) && r.y + r.height <= h * (1 + 1e-12);
                if (!CHECK(in))
                    return;
                double scale = og__geometry_scale(&g, sizes[k][0], sizes[k][1]);
                if (!CHECK(scale > 0 && scale <= 1))
                    return;
            }
}

TEST(augmentation_is_a_function_of_seed_epoch_and_sample)
{
    og_error e = {0};
    og_transforms t = og_transforms_default();
    og_transforms_set(&t, "random_resized_crop", "on", &e);
    og_transforms_set(&t, "hflip", "0.5", &e);
    int flips = 0, same = 0;
    double mean = 0;
    for (int64_t i = 0; i < 1000; i++) {
        og__geometry a = og__geometry_of(&t, 7, 3, i, 8, 8), b = og__geometry_of(&t, 7, 3, i, 8, 8),
                     c = og__geometry_of(&t, 7, 4, i, 8, 8);
        og__rect x = og__geometry_part(&a, 100, 80), y = og__geometry_part(&b, 100, 80),
                 z = og__geometry_part(&c, 100, 80);
        if (!CHECK(x.x == y.x && x.width == y.width && a.flip_x == b.flip_x))
            return;
        same += x.x == z.x;
        flips += a.flip_x;
        mean += (x.x + x.width / 2) / 100 / 1000;
    }
    CHECK(same < 5);
    CHECK(flips > 420 && flips < 580); /* five standard deviations */
    CHECK(mean > 0.45 && mean < 0.55);
}

/* ---- mixing */

TEST(mixing_keeps_sums)
{
    og_error e = {0};
    og_transforms t = og_transforms_default();
    og_transforms_set(&t, "mixup", "0.4", &e);
    og_transforms_set(&t, "cutmix", "1", &e);
    double shares = 0;
    int cuts = 0;
    for (int64_t i = 0; i < 500; i++) {
        og__mix m = og__mix_of(&t, 1, 0, i);
        CHECK(m.share >= 0 && m.share <= 1);
        shares += m.share;
        cuts += m.kind == OG__MIX_CUT;
    }
    CHECK(cuts > 180 && cuts < 320);
    CHECK(shares / 500 > 0.4 && shares / 500 < 0.8);
    float x[6] = {1, 2, 3, 4, 5, 6}; /* three samples; the middle one stays */
    og__mix_blend(0.75, 3, 2, x);
    CHECK_CLOSE(x[0], 0.75 * 1 + 0.25 * 5, 1e-7);
    CHECK_CLOSE(x[4], 0.75 * 5 + 0.25 * 1, 1e-7);
    CHECK_CLOSE(x[2], 3, 0);
}

/* ---- pairing and splitting */

static void make_npy(const char *path, float value)
{
    og_error e = {0};
    og_npy_write(path, OG_FLOAT, 1, (int64_t[]){1}, &value, &e);
    CHECK_STR(og_error_text(&e), "");
}

TEST(groups_stay_on_one_side)
{
    mkdir("people", 0777);
    for (int i = 0; i < 60; i++) {
        char path[64];
        snprintf(path, sizeof path, "people/id%02d_%d.npy", i % 12, i / 12);
        make_npy(path, (float)i);
    }
    og_source *s = open_source("people");
    REQUIRE(s != NULL);
    CHECK_INT(og_source_samples(s), 60);
    og_error e = {0};
    og_pairing p;
    og_pair_options options = {0};
    const char *names[] = {"x"};
    CHECK_INT(og_pair((const og_source *const[]){s}, names, 1, &options, &p, &e), OG_OK);
    CHECK_INT(p.samples, 60);
    bool validates[60], again[60];
    for (uint64_t seed = 0; seed < 5; seed++) {
        CHECK_INT(og_split(&p, 0.25, seed, "^(id[0-9]+)", validates, &e), OG_OK);
        CHECK_INT(og_split(&p, 0.25, seed, "^(id[0-9]+)", again, &e), OG_OK);
        CHECK(memcmp(validates, again, sizeof again) == 0);
        int n = 0;
        for (int i = 0; i < 60; i++) {
            n += validates[i];
            for (int k = 0; k < 60; k++)
                if (!strncmp(p.names[i], p.names[k], 4))
                    CHECK_INT(validates[i], validates[k]);
        }
        CHECK_INT(n, 15); /* three people of five */
    }
    CHECK_INT(og_split(&p, 0.5, 1, NULL, validates, &e), OG_OK);
    CHECK_INT(og_split(&p, 0.5, 2, NULL, again, &e), OG_OK);
    CHECK(memcmp(validates, again, sizeof again) != 0);
    CHECK(og_split(&p, 0.5, 1, "(", validates, &e) != OG_OK);
    CHECK_TEXT(og_error_text(&e), "--val_group (");
    og_error_clear(&e);
    og_pairing_free(&p);
    og_source_free(s);
}

/* ---- batches in any order */

static og_dataset *pictures_of(const og_source *s, const og_transforms *t, og_error *e)
{
    og_field f = {
        .name = "x", .source = s, .dtype = OG_FLOAT, .rank = 4, .dims = {-1, 3, 6, 6}, .scale = 1};
    og_dataset_options options = {.shuffle = true, .seed = 5, .augment = true, .transforms = t};
    return og_dataset_new(&f, 1, &options, e);
}

static void make_pngs(const char *folder, int n)
{
    uint8_t pixels[10 * 12 * 3];
    uint64_t state = 1;
    og_error e = {0};
    mkdir(folder, 0777);
    for (int i = 0; i < n; i++) {
        char path[64];
        for (size_t k = 0; k < sizeof pixels; k++)
            pixels[k] = (uint8_t)next(&state);
        snprintf(path, sizeof path, "%s/%d.png", folder, i);
        og_png_write(path, pixels, 10, 12, &e);
    }
    CHECK_STR(og_error_text(&e), "");
}

TEST(batches_are_the_same_in_any_order)
{
    og_error e = {0};
    og_transforms t = og_transforms_default();
    og_transforms_set(&t, "random_resized_crop", "on", &e);
    og_transforms_set(&t, "color_jitter", "0.4,0.4,0.4,0.1", &e);
    og_transforms_set(&t, "blur", "0.5", &e);
    make_pngs("order", 9);
    write_file("order/4.png", "junk", 4);
    og_source *s = open_source("order");
    og_dataset *set = pictures_of(s, &t, &e);
    REQUIRE(set != NULL);
    static float first[3][3 * 108], again[3 * 108];
    int64_t samples;
    for (int64_t b = 0; b < 3; b++) {
        og_status status = og_dataset_batch(set, 2, b, 3, (void *[]){first[b]}, &samples, &e);
        if (status == OG_UNSUPPORTED) {
            og_error_clear(&e);
            og_dataset_free(set);
            og_source_free(s);
            SKIP("built without FFmpeg's libraries");
        }
        CHECK_STR(og_error_text(&e), "");
        CHECK_INT(samples, 3);
    }
    for (int64_t b = 3; b-- > 0;) {
        CHECK_INT(og_dataset_batch(set, 2, b, 3, (void *[]){again}, &samples, &e), OG_OK);
        CHECK(memcmp(again, first[b], sizeof again) == 0);
    }
    og_loader *loader = og_loader_new(set, 3, 3, 0, &e);
    REQUIRE(loader != NULL);
    for (int64_t b = 0; b < 3; b++) {
        og_batch batch;
        CHECK_INT(og_loader_next(loader, 2, b, &batch, &e), OG_OK);
        CHECK(memcmp(batch.buffers[0], first[b], sizeof again) == 0);
    }
    og_loader_free(loader);
    char *list;
    CHECK_INT(og_dataset_unreadable(set, &list), 1);
    CHECK_TEXT(list, "order/4.png");
    free(list);
    og_dataset_free(set);
    og_source_free(s);
}

/* ---- damage: every outcome is a value or an error, never a crash */

enum { ROUNDS = 1500 };

/* One to four bytes changed, or the end cut off. */
static size_t damage(uint8_t *bytes, size_t n, uint64_t *state)
{
    if (next(state) % 8 == 0)
        return (size_t)(next(state) % n);
    for (uint64_t k = 1 + next(state) % 4; k > 0; k--)
        bytes[next(state) % n] = (uint8_t)next(state);
    return n;
}

TEST(damaged_pictures)
{
    uint8_t good[8192], bad[8192];
    uint64_t state = 3;
    og_error e = {0};
    og_transforms t = og_transforms_default();
    make_pngs("damage", 1);
    size_t n = read_file("damage/0.png", good, sizeof good);
    float out[108] = {0};
    int readable = 0;
    og_source *s = open_source("damage");
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(bad, good, n);
        write_file("damage/0.png", bad, damage(bad, n, &state));
        og_dataset *set = pictures_of(s, &t, &e);
        REQUIRE(set != NULL);
        int64_t samples;
        readable += og_dataset_batch(set, 0, 0, 1, (void *[]){out}, &samples, &e) == OG_OK;
        og_error_clear(&e);
        og_dataset_free(set);
    }
    CHECK(readable < ROUNDS / 2); /* checksums find most */
    og_source_free(s);
}

/* Opened as what its ending says; the values of what opens are read. */
static void damage_table(const char *path, const char *text, size_t n)
{
    uint8_t bad[1024];
    uint64_t state = 4;
    for (int i = 0; i < ROUNDS; i++) {
        og_error e = {0};
        og_source_options none = {0};
        int64_t dims[OG_MAX_RANK] = {0};
        memcpy(bad, text, n);
        write_file(path, bad, damage(bad, n, &state));
        og_source *s = og_source_open(path, &none, &e);
        const og_array *a = s ? og_source_array(s) : NULL;
        int rank = s ? og_source_dims(s, dims) : 0;
        size_t bytes = a ? (size_t)og_dtype_bits(og_source_dtype(s)) / 8 : 0;
        for (int d = 0; d < rank; d++)
            bytes *= (size_t)dims[d];
        volatile uint8_t sum = 0;
        for (size_t k = 0; k < bytes; k++)
            sum += ((const uint8_t *)og_array_data(a))[k];
        CHECK(s || *og_error_text(&e));
        og_error_clear(&e);
        og_source_free(s);
    }
}

TEST(damaged_tables)
{
    static const char csv[] =
        "file,\"kind, of\",x\r\na/1.jpg,\"b \"\"c\"\"\",1\nd,e,2.5\nf,g,-3e2\n";
    damage_table("damaged.csv", csv, sizeof csv - 1);
    static const char header[] =
        "{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],"
        "\"data_offsets\":[0,24]}}";
    char file[256] = {0};
    file[0] = (char)(sizeof header - 1);
    memcpy(file + 8, header, sizeof header - 1);
    damage_table("damaged.safetensors", file, 8 + sizeof header - 1 + 24);
}

static const og_test tests[] = {
    TEST_ROW(transforms_from_text),
    TEST_ROW(parts_lie_in_the_picture),
    TEST_ROW(augmentation_is_a_function_of_seed_epoch_and_sample),
    TEST_ROW(mixing_keeps_sums),
    TEST_ROW(groups_stay_on_one_side),
    TEST_ROW(batches_are_the_same_in_any_order),
    TEST_ROW(damaged_pictures),
    TEST_ROW(damaged_tables),
};
TEST_MAIN(tests)
