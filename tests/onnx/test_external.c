/* External data: what a location may lead to. Each test works in a fresh folder under the working
 * directory: in/  the model's folder      out/  outside it */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#include "runtime/onnx/onnx.h"
#include "tests/onnx/model_writer.h"

static char root[64];

static const char *path_of(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static bool make_folders(void)
{
    strcpy(root, "external.XXXXXX");
    return mkdtemp(root) && mkdir(path_of("in"), 0777) == 0 && mkdir(path_of("out"), 0777) == 0;
}

static bool write_file(const char *name, const void *bytes, size_t size)
{
    FILE *f = fopen(path_of(name), "wb");
    bool good = f && fwrite(bytes, 1, size, f) == size;
    return f && fclose(f) == 0 && good;
}

static void remove_folders(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    CHECK_INT(system(command), 0);
}

/* A model whose initializer w, float [n], is external. */
static pb model(int64_t n, const char *location, const char *offset, const char *length)
{
    pb g = {0};
    pb_message(&g, 1, pb_node("Add", "", "x w", "y"));
    pb_message(&g, 5, pb_external("w", n, location, offset, length));
    pb_message(&g, 11, pb_value("x", 1, &n));
    pb_message(&g, 12, pb_value("y", 1, &n));
    return pb_model(g, 17);
}

static bool write_model(const char *name, pb m)
{
    bool good = write_file(name, m.bytes, m.size);
    pb_free(&m);
    return good;
}

static const float data[] = {1, 2, 3, 4};

/* Load the model at `path`: w must be data[first…], or, with `message`, the error must say so. */
static void expect(const char *path, int first, int n, const char *message)
{
    og_error error = {0};
    og_onnx *onnx = og_onnx_load(path, &error);
    if (message) {
        CHECK(!onnx);
        CHECK_TEXT(og_error_text(&error), message);
    } else {
        CHECK_STR(og_error_text(&error), "");
    }
    if (onnx && !message) {
        const og_value *w = og_onnx_graph(onnx)->values[0];
        CHECK(memcmp(w->data, data + first, sizeof(float) * (size_t)n) == 0);
        CHECK_INT((uintptr_t)w->data % sizeof(float), 0);
    }
    og_error_clear(&error);
    og_onnx_free(onnx);
}

TEST(reads_tensors_beside_the_model)
{
    REQUIRE(make_folders() && mkdir(path_of("in/sub"), 0777) == 0);
    CHECK(write_file("in/w.bin", data, sizeof data));
    CHECK(write_file("in/sub/w.bin", data, sizeof data));
    CHECK(write_file("in/odd.bin", "\0\0\0\200\77\0\0\0\100", 9)); /* 1 and 2 from byte 1 on */
    CHECK(write_model("in/a.onnx", model(4, "w.bin", NULL, NULL)));
    expect(path_of("in/a.onnx"), 0, 4, NULL);
    CHECK(write_model("in/a.onnx", model(2, "./w.bin", "8", "8")));
    expect(path_of("in/a.onnx"), 2, 2, NULL);
    CHECK(write_model("in/a.onnx", model(4, "sub/w.bin", "0", "16")));
    expect(path_of("in/a.onnx"), 0, 4, NULL);
    CHECK(write_model("in/a.onnx", model(2, "odd.bin", "1", NULL)));
    expect(path_of("in/a.onnx"), 0, 2, NULL);
    CHECK(write_model("in/a.onnx", model(0, "w.bin", "16", "0")));
    expect(path_of("in/a.onnx"), 0, 0, NULL);
    remove_folders();
}

TEST(follows_links_as_model_caches_make_them)
{
    REQUIRE(make_folders() && mkdir(path_of("blobs"), 0777) == 0);
    CHECK(write_file("blobs/d0", data, sizeof data));
    CHECK(write_model("blobs/m0", model(4, "w.bin", NULL, NULL)));
    CHECK_INT(symlink("../blobs/m0", path_of("in/a.onnx")), 0);
    CHECK_INT(symlink("../blobs/d0", path_of("in/w.bin")), 0);
    expect(path_of("in/a.onnx"), 0, 4, NULL);
    /* Only the model is a link: its data lies beside the real file. */
    CHECK(write_file("blobs/w.bin", data, sizeof data));
    CHECK_INT(symlink("../blobs/m0", path_of("out/a.onnx")), 0);
    expect(path_of("out/a.onnx"), 0, 4, NULL);
    remove_folders();
}

TEST(refuses_what_leads_elsewhere)
{
    REQUIRE(make_folders());
    char absolute[512], here[256];
    REQUIRE(getcwd(here, sizeof here));
    snprintf(absolute, sizeof absolute, "%s/%s/out/w.bin", here, root);
    CHECK(write_file("out/w.bin", data, sizeof data) && write_file("in/w.bin", data, sizeof data));
    CHECK_INT(symlink("../out/w.bin", path_of("in/link.bin")), 0);
    CHECK_INT(symlink("../out", path_of("in/folder")), 0);
    CHECK_INT(symlink("/proc/self/environ", path_of("in/environ")), 0);
    CHECK_INT(mkfifo(path_of("in/fifo"), 0666), 0);
    CHECK_INT(mkdir(path_of("in/dir"), 0777), 0);
    const struct {
        const char *location, *offset, *length, *message;
    } cases[] = {
        {"../out/w.bin", NULL, NULL, "a path inside the model's folder is required"},
        {"dir/../../out/w.bin", NULL, NULL, "a path inside the model's folder is required"},
        {"..", NULL, NULL, "a path inside the model's folder is required"},
        {absolute, NULL, NULL, "a path inside the model's folder is required"},
        {"", NULL, NULL, "a path inside the model's folder is required"},
        {"link.bin", NULL, NULL, "outside the model's folder"},
        {"folder/w.bin", NULL, NULL, "outside the model's folder"},
        {"environ", NULL, NULL, "outside the model's folder"},
        {"fifo", NULL, NULL, "is not a regular file"},
        {"dir", NULL, NULL, "is not a regular file"},
        {"missing", NULL, NULL, "No such file"},
        {NULL, NULL, NULL, "has no location"},
        {"w.bin", "4", NULL, "16 bytes at offset 4 are needed, the file has 16"},
        {"w.bin", "17", "16", "the file has 16"},
        {"w.bin", "18446744073709551615", NULL, "the file has 16"},
        {"w.bin", "18446744073709551616", NULL, "the offset \"18446744073709551616\""},
        {"w.bin", "-1", NULL, "the offset \"-1\""},
        {"w.bin", "", NULL, "the offset \"\""},
        {"w.bin", "0", "8", "its external data has 8 bytes, its shape needs 16"},
        {"w.bin", "0", "1x", "the length \"1x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].location ? cases[i].location : "");
        CHECK(write_model("in/a.onnx",
                          model(4, cases[i].location, cases[i].offset, cases[i].length)));
        expect(path_of("in/a.onnx"), 0, 0, cases[i].message);
    }
    TEST_CASE("");
    remove_folders();
}

TEST(memory_needs_a_folder)
{
    REQUIRE(make_folders());
    CHECK(write_file("in/w.bin", data, sizeof data));
    pb m = model(4, "w.bin", NULL, NULL);
    og_error error = {0};
    CHECK(!og_onnx_load_memory(m.bytes, m.size, NULL, &error));
    CHECK_TEXT(og_error_text(&error), "loaded from memory without a folder");
    og_error_clear(&error);
    og_onnx *onnx = og_onnx_load_memory(m.bytes, m.size, path_of("in"), &error);
    CHECK(onnx != NULL);
    og_onnx_free(onnx);
    pb_free(&m);
    remove_folders();
}

TEST(models_are_regular_files)
{
    REQUIRE(make_folders());
    CHECK_INT(mkfifo(path_of("in/fifo"), 0666), 0);
    CHECK(write_file("in/empty.onnx", "", 0));
    expect(path_of("in/fifo"), 0, 0, "is not a regular file");
    expect(path_of("in"), 0, 0, "is not a regular file");
    expect(path_of("in/none.onnx"), 0, 0, "No such file");
    expect(path_of("in/empty.onnx"), 0, 0, "the file is empty");
    remove_folders();
}

/* Zeros that take no room on the disk; nothing is written. */
TEST(more_than_a_single_file_holds)
{
    int64_t n = ((int64_t)1 << 29) + 1;
    char length[32];
    og_error error = {0};
    snprintf(length, sizeof length, "%lld", (long long)n * 4);
    CHECK(make_folders() && write_file("in/w.data", "", 0) &&
          write_model("in/m.onnx", model(n, "w.data", "0", length)));
    CHECK_INT(truncate(path_of("in/w.data"), n * 4), 0);
    og_onnx *onnx = og_onnx_load(path_of("in/m.onnx"), &error);
    CHECK(onnx);
    CHECK_INT(og_onnx_save(onnx, path_of("out/m.onnx"), NULL, 0, NULL, 0, OG_ONNX_SINGLE, &error),
              OG_UNSUPPORTED);
    CHECK_TEXT(og_error_text(&error), "in a single file, ONNX files end at 2 GiB");
    CHECK(access(path_of("out/m.onnx"), F_OK) != 0);
    og_error_clear(&error);
    og_onnx_free(onnx);
    remove_folders();
}

static const og_test tests[] = {
    TEST_ROW(reads_tensors_beside_the_model), TEST_ROW(follows_links_as_model_caches_make_them),
    TEST_ROW(refuses_what_leads_elsewhere),   TEST_ROW(memory_needs_a_folder),
    TEST_ROW(models_are_regular_files),       TEST_ROW(more_than_a_single_file_holds),
};
TEST_MAIN(tests)
