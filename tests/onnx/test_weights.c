/* Weights stay in the file: what loading and saving take of memory, where the bytes of raw_data are
 * found, and that a file comes back as it was. */
#include <unistd.h>

#include "tests/test.h"

#include "runtime/onnx/onnx.h"
#include "tests/onnx/model_writer.h"
#include "tests/resident.h"

enum { ROWS = 2048, COLUMNS = 2048 };
static const int64_t x_dims[] = {-1, ROWS}, y_dims[] = {-1, COLUMNS}, w_dims[] = {ROWS, COLUMNS};
static const size_t weight_bytes = sizeof(float) * ROWS * COLUMNS;

/* y = x w, with `pad` bytes of documentation before the weight. */
static pb large_model(size_t pad)
{
    float *w = malloc(weight_bytes);
    if (!w)
        abort();
    for (int i = 0; i < ROWS * COLUMNS; i++)
        w[i] = (float)(i % 1001) - 500;
    pb g = {0}, node = pb_node("MatMul", "product", "x w", "y");
    pb_bytes(&node, 6, "abcd", pad); /* doc_string */
    pb_message(&g, 1, node);
    pb_message(&g, 5, pb_floats("w", 2, w_dims, w));
    pb_message(&g, 11, pb_value("x", 2, x_dims));
    pb_message(&g, 12, pb_value("y", 2, y_dims));
    free(w);
    return pb_model(g, 17);
}

static bool write_file(const char *path, const pb *m)
{
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(m->bytes, 1, m->size, f) == m->size;
    return f && fclose(f) == 0 && good;
}

static bool file_is(const char *path, const pb *m)
{
    uint8_t *bytes = malloc(m->size + 1);
    FILE *f = fopen(path, "rb");
    bool good = f && bytes && fread(bytes, 1, m->size + 1, f) == m->size &&
                memcmp(bytes, m->bytes, m->size) == 0;
    if (f)
        fclose(f);
    free(bytes);
    return good;
}

TEST(a_large_weight_takes_no_memory)
{
    if (!og_test_can_measure_resident())
        SKIP("resident memory cannot be measured here");
    for (size_t pad = 0; pad < 4; pad++) {
        pb m = large_model(pad);
        REQUIRE(write_file("large.onnx", &m));
        og_error error = {0};
        int64_t before = og_test_resident();
        og_onnx *onnx = og_onnx_load("large.onnx", &error);
        REQUIRE(onnx);
        int64_t loaded = og_test_resident() - before;
        CHECK_INT(og_onnx_save(onnx, "saved.onnx", NULL, 0, NULL, 0, 0, &error), OG_OK);
        int64_t saved = og_test_resident() - before;
        /* A copy of the weight, or its pages of the mapped file, are 16 MB each. */
        CHECK(loaded < (int64_t)weight_bytes / 4);
        CHECK(saved < (int64_t)weight_bytes / 4);
        CHECK(file_is("saved.onnx", &m));
        og_onnx_free(onnx);
        pb_free(&m);
    }
    unlink("large.onnx");
    unlink("saved.onnx");
}

static const og_value *value_of(const og_onnx *onnx, const char *name)
{
    const og_graph *g = og_onnx_graph(onnx);
    for (int i = 0; i < g->n_values; i++)
        if (strcmp(g->values[i]->name, name) == 0)
            return g->values[i];
    return NULL;
}

/* Forgotten content is read again from the file. */
TEST(forgotten_weights_are_still_there)
{
    pb m = large_model(1);
    og_error error = {0};
    REQUIRE(write_file("forgotten.onnx", &m));
    og_onnx *onnx = og_onnx_load("forgotten.onnx", &error);
    REQUIRE(onnx);
    const og_value *w = value_of(onnx, "w");
    REQUIRE(w != NULL);
    for (int round = 0; round < 2; round++) {
        float last;
        memcpy(&last, (const char *)w->data + weight_bytes - sizeof(last), sizeof(last));
        CHECK_CLOSE(last, (ROWS * COLUMNS - 1) % 1001 - 500, 0);
        og_onnx_forget(onnx, w->data, weight_bytes);
        og_onnx_forget(onnx, &last, sizeof(last)); /* not the model's: nothing happens */
        og_onnx_forget(onnx, NULL, weight_bytes);
    }
    og_onnx_free(onnx);
    pb_free(&m);
    unlink("forgotten.onnx");
}

/* The loader hands raw data on as references of 16 bytes; data of any length, these too, is found
 * where it stands in the file, in initializers and in attributes. */
TEST(raw_data_of_every_length)
{
    for (int64_t n = 1; n <= 40; n++) {
        uint8_t data[40], other[40];
        for (int i = 0; i < 40; i++) {
            data[i] = (uint8_t)(7 * i + 1);
            other[i] = (uint8_t)(200 - i);
        }
        pb g = {0}, w = pb_tensor("w", OG_UINT8, 1, &n), t = pb_tensor("", OG_UINT8, 1, &n);
        pb value = {0}, constant = pb_node("Constant", "c", "", "c");
        pb_bytes(&w, 9, other, (size_t)n); /* the last one counts */
        pb_bytes(&w, 9, data, (size_t)n);
        pb_bytes(&t, 9, other, (size_t)n);
        pb_text(&value, 1, "value");
        pb_message(&value, 5, t);
        pb_varint(&value, 20, 4);
        pb_message(&constant, 5, value);
        pb_message(&g, 1, constant);
        pb_message(&g, 1, pb_node("Add", "sum", "w c", "y"));
        pb_message(&g, 5, w);
        pb_message(&g, 12, pb_value("y", 1, &n));
        pb m = pb_model(g, 17);
        og_error error = {0};
        og_onnx *onnx = og_onnx_load_memory(m.bytes, m.size, NULL, &error);
        CHECK_STR(og_error_text(&error), "");
        REQUIRE(onnx);
        const og_value *loaded = value_of(onnx, "w");
        REQUIRE(loaded != NULL);
        CHECK(memcmp(loaded->data, data, (size_t)n) == 0);
        const og_graph *graph = og_onnx_graph(onnx);
        const void *in_node = NULL;
        for (int i = 0; i < graph->n_values; i++)
            if (graph->values[i]->kind == OG_VALUE_CONST && graph->values[i] != loaded)
                in_node = graph->values[i]->data;
        REQUIRE(in_node != NULL);
        CHECK(memcmp(in_node, other, (size_t)n) == 0);
        og_onnx_free(onnx);
        pb_free(&m);
    }
}

static const og_test tests[] = {
    TEST_ROW(a_large_weight_takes_no_memory),
    TEST_ROW(forgotten_weights_are_still_there),
    TEST_ROW(raw_data_of_every_length),
};
TEST_MAIN(tests)
