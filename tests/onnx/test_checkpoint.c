/* Checkpoint files below the session: external data beside them, older ones, damage to either file,
 * what is left over. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/test.h"

#include "runtime/base/checksum.h"
#include "runtime/onnx/checkpoint.h"
#include "tests/onnx/model_writer.h"

#define PATH "run.ckpt.onnx"
enum { N = 64, MANY = 600 };

/* y = x w */
static pb product(void)
{
    static const int64_t x[] = {-1, N}, w[] = {N, N};
    static float zeros[N * N];
    pb g = {0};
    pb_message(&g, 1, pb_node("MatMul", "product", "x w", "y"));
    pb_message(&g, 5, pb_floats("w", 2, w, zeros));
    pb_message(&g, 11, pb_value("x", 2, x));
    pb_message(&g, 12, pb_value("y", 2, x));
    return pb_model(g, 17);
}

static og_onnx *load(void)
{
    pb m = product();
    og_error error = {0};
    og_onnx *onnx = og_onnx_load_memory(m.bytes, m.size, NULL, &error);
    CHECK_STR(og_error_text(&error), "");
    pb_free(&m);
    return onnx;
}

static og_type matrix(void)
{
    return og_type_make(OG_FLOAT, 2, (int64_t[]){N, N});
}

/* All elements of the weight are `value`, of its moment 2 · value. */
static og_status save(const og_onnx *onnx, float value, int keep, uint64_t external_above,
                      og_error *error)
{
    static float weight[N * N], moment[N * N];
    for (int i = 0; i < N * N; i++) {
        weight[i] = value;
        moment[i] = 2 * value;
    }
    const og_onnx_weight weights[] = {{.name = "w", .data = weight}};
    const og_onnx_state states[] = {{.name = "m", .type = matrix(), .data = moment}};
    const og_metadata metadata[] = {{"note", "hello"}};
    return og_onnx_save_checkpoint(onnx, PATH,
                                   &(og_onnx_checkpoint){.weights = weights,
                                                         .n_weights = 1,
                                                         .states = states,
                                                         .n_states = 1,
                                                         .metadata = metadata,
                                                         .n_metadata = 1,
                                                         .keep = keep},
                                   external_above, error);
}

/* What the moment's elements are, NaN unless the file is whole. */
static float moment_of(const char *path)
{
    og_error error = {0};
    og_onnx_saved *saved = og_onnx_open_checkpoint(path, &error);
    float value = NAN;
    og_type type = matrix(), other = og_type_make(OG_DOUBLE, 0, NULL);
    if (saved) {
        const void *data = og_onnx_saved_state(saved, "m", &type);
        if (data)
            memcpy(&value, data, sizeof value);
        CHECK(og_onnx_saved_state(saved, "m", &other) == NULL);
        CHECK_STR(og_onnx_saved_metadata(saved, "note"), "hello");
        CHECK(og_onnx_saved_metadata(saved, "other") == NULL);
    }
    og_onnx_close_checkpoint(saved);
    og_error_clear(&error);
    return value;
}

static float weight_of(const char *path)
{
    og_error error = {0};
    float value = NAN;
    og_onnx *onnx = og_onnx_load(path, &error);
    const og_graph *g = onnx ? og_onnx_graph(onnx) : NULL;
    for (int i = 0; g && i < g->n_values; i++)
        if (strcmp(g->values[i]->name, "w") == 0)
            memcpy(&value, g->values[i]->data, sizeof value);
    og_onnx_free(onnx);
    CHECK_STR(og_error_text(&error), "");
    og_error_clear(&error);
    return value;
}

static int files(const char *end)
{
    int n = 0;
    DIR *d = opendir(".");
    for (const struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name), tail = strlen(end);
        n += length > tail && strcmp(e->d_name + length - tail, end) == 0;
    }
    if (d)
        closedir(d);
    return n;
}

static void remove_all(void)
{
    DIR *d = opendir(".");
    for (const struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(e->d_name);
    if (d)
        closedir(d);
}

/* Flips a bit at each of some places; true: every time the file is refused. */
static bool damage_is_found(const char *data, const char *checkpoint)
{
    FILE *f = fopen(data, "r+b");
    bool found = true;
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return false;
    long size = ftell(f);
    for (int i = 0; i < MANY; i++) {
        long at = size * i / MANY;
        int c = fseek(f, at, SEEK_SET) == 0 ? getc(f) : EOF;
        found &= fseek(f, at, SEEK_SET) == 0 && putc(c ^ 1 << i % 8, f) != EOF && fflush(f) == 0;
        found &= isnan(moment_of(checkpoint));
        found &= fseek(f, at, SEEK_SET) == 0 && putc(c, f) != EOF && fflush(f) == 0;
    }
    fclose(f);
    return found && !isnan(moment_of(checkpoint));
}

TEST(older_ones_stay)
{
    og_error error = {0};
    og_onnx *onnx = load();
    remove_all();
    for (int i = 1; i <= 5; i++)
        CHECK_INT(save(onnx, (float)i, 3, 0, &error), OG_OK);
    CHECK(moment_of(PATH) == 10 && weight_of(PATH) == 5);
    CHECK(moment_of("run.ckpt.1.onnx") == 8 && weight_of("run.ckpt.1.onnx") == 4);
    CHECK(moment_of("run.ckpt.2.onnx") == 6);
    CHECK_INT(files(".onnx"), 3);
    CHECK_INT(save(onnx, 6, 1, 0, &error), OG_OK);
    CHECK(moment_of(PATH) == 12);
    CHECK_INT(files(".onnx"), 1);
    CHECK(damage_is_found(PATH, PATH));
    og_onnx_free(onnx);
    remove_all();
}

TEST(external_data_goes_with_its_checkpoint)
{
    og_error error = {0};
    og_onnx *onnx = load();
    remove_all();
    for (int i = 1; i <= 4; i++) {
        CHECK_INT(save(onnx, (float)i, 2, 1, &error), OG_OK);
        CHECK_INT(files(".data"), i < 2 ? i : 2);
    }
    CHECK(moment_of(PATH) == 8 && weight_of(PATH) == 4);
    CHECK(moment_of("run.ckpt.1.onnx") == 6 && weight_of("run.ckpt.1.onnx") == 3);
    const char *data = access(PATH ".1.data", F_OK) == 0 ? PATH ".1.data" : PATH ".0.data";
    CHECK(damage_is_found(PATH, PATH));
    CHECK(damage_is_found(data, PATH) || damage_is_found(PATH ".0.data", PATH) ||
          damage_is_found(PATH ".2.data", PATH));
    CHECK_INT(save(onnx, 5, 1, 0, &error), OG_OK); /* small again: no data is left behind */
    CHECK_INT(files(".data"), 0);
    CHECK(moment_of(PATH) == 10);
    og_onnx_free(onnx);
    remove_all();
}

TEST(what_killed_runs_left_is_cleared)
{
    static const char *const left[] = {PATH ".123-0.tmp", PATH ".old.tmp", PATH ".7.data"},
                             *const others[] = {"run.ckpt.onnx2.tmp", "other.onnx.1-0.tmp",
                                                PATH ".data", "run.onnx"};
    og_error error = {0};
    og_onnx *onnx = load();
    remove_all();
    CHECK_INT(save(onnx, 1, 2, 1, &error), OG_OK);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        fclose(fopen(left[i], "w"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        fclose(fopen(others[i], "w"));
    og_checkpoint_clean(PATH);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        CHECK(access(left[i], F_OK) != 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK(access(others[i], F_OK) == 0);
    CHECK(moment_of(PATH) == 2);
    og_onnx_free(onnx);
    remove_all();
}

TEST(a_folder_that_is_not_there)
{
    og_error error = {0};
    og_onnx *onnx = load();
    og_status status = og_onnx_save_checkpoint(onnx, "nowhere/run.ckpt.onnx",
                                               &(og_onnx_checkpoint){.keep = 2}, 0, &error);
    CHECK_INT(status, OG_IO_ERROR);
    CHECK_TEXT(og_error_text(&error), "nowhere/run.ckpt.onnx");
    og_error_clear(&error);
    og_onnx_free(onnx);
}

TEST(checksums)
{
    uint8_t bytes[100];
    og_checksum whole = og_checksum_start();
    for (int i = 0; i < 100; i++)
        bytes[i] = (uint8_t)(i * 37);
    og_checksum_add(&whole, bytes, sizeof bytes);
    uint64_t expected = og_checksum_value(&whole);
    CHECK(og_checksum_value(&whole) == expected); /* asking changes nothing */
    for (size_t piece = 1; piece < sizeof bytes; piece++) {
        og_checksum sum = og_checksum_start();
        for (size_t at = 0; at < sizeof bytes; at += piece)
            og_checksum_add(&sum, bytes + at,
                            sizeof bytes - at < piece ? sizeof bytes - at : piece);
        CHECK(og_checksum_value(&sum) == expected);
    }
    for (size_t n = 0; n < sizeof bytes; n++) { /* cut short, also by zeros */
        og_checksum sum = og_checksum_start();
        og_checksum_add(&sum, bytes, n);
        CHECK(og_checksum_value(&sum) != expected);
        og_checksum longer = og_checksum_start();
        static const uint8_t zero[1];
        og_checksum_add(&longer, bytes, n);
        og_checksum_add(&longer, zero, 1);
        CHECK(og_checksum_value(&sum) != og_checksum_value(&longer));
    }
}

static const og_test tests[] = {
    TEST_ROW(older_ones_stay),
    TEST_ROW(external_data_goes_with_its_checkpoint),
    TEST_ROW(what_killed_runs_left_is_cleared),
    TEST_ROW(a_folder_that_is_not_there),
    TEST_ROW(checksums),
};
TEST_MAIN(tests)
