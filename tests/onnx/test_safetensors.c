/* Weights of a .safetensors file: read in place, and whatever bytes are wrong nothing outside the
 * file is read (which the sanitizers see). */
#include "runtime/onnx/onnx.h"
#include "tests/own_folder.h"
#include "tests/test.h"

static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"F32\","
                             "\"shape\":[2,3],\"data_offsets\":"
                             "[0,24]},\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[24,"
                             "30]},\"n\":{\"dtype\":\"I64\","
                             "\"shape\":[],\"data_offsets\":[30,38]}}";

enum { HEADER = sizeof header - 1, FILE_BYTES = 8 + HEADER + 38 };

static void make(uint8_t file[FILE_BYTES])
{
    memset(file, 0, FILE_BYTES);
    file[0] = HEADER & 0xff;
    file[1] = HEADER >> 8;
    memcpy(file + 8, header, HEADER);
    for (int i = 0; i < 38; i++)
        file[8 + HEADER + i] = (uint8_t)(3 * i + 1);
}

static void save(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (CHECK(f != NULL)) {
        CHECK_INT(fwrite(bytes, 1, n, f), n);
        fclose(f);
    }
}

TEST(tensors_are_read_in_place)
{
    uint8_t file[FILE_BYTES];
    og_error e = {0};
    make(file);
    save("w.safetensors", file, sizeof file);
    og_onnx *weights = og_onnx_load_weights("w.safetensors", &e);
    CHECK_STR(og_error_text(&e), "");
    REQUIRE(weights != NULL);
    const og_graph *g = og_onnx_graph(weights);
    CHECK_INT(g->n_nodes, 0);
    CHECK_INT(g->n_values, 2); /* the counter is none of the weights */
    CHECK_STR(g->values[0]->name, "w");
    CHECK_INT(g->values[0]->type.dtype, OG_FLOAT);
    CHECK_INT(g->values[0]->type.rank, 2);
    CHECK_INT(g->values[0]->type.dims[1], 3);
    CHECK(!memcmp(g->values[0]->data, file + 8 + HEADER, 24));
    CHECK_INT(g->values[1]->type.dtype, OG_BFLOAT16);
    CHECK(!memcmp(g->values[1]->data, file + 8 + HEADER + 24, 6));
    og_onnx_forget(weights, g->values[0]->data, 24);
    CHECK(!memcmp(g->values[0]->data, file + 8 + HEADER, 24));
    og_onnx_free(weights);
}

/* Read or refused; of what is read, every element lies in the file. */
static void check_any(const uint8_t *bytes, size_t n)
{
    og_error e = {0};
    volatile uint8_t sum = 0;
    save("any.safetensors", bytes, n);
    og_onnx *weights = og_onnx_load_weights("any.safetensors", &e);
    CHECK((weights == NULL) == (*og_error_text(&e) != '\0'));
    const og_graph *g = weights ? og_onnx_graph(weights) : NULL;
    for (int i = 0; g && i < g->n_values; i++)
        for (int64_t k = 0; k < og_type_bytes(&g->values[i]->type); k++)
            sum += ((const uint8_t *)g->values[i]->data)[k];
    og_onnx_free(weights);
    og_error_clear(&e);
}

TEST(cut_anywhere)
{
    uint8_t file[FILE_BYTES];
    make(file);
    for (size_t n = 0; n < sizeof file; n++) {
        og_error e = {0};
        save("cut.safetensors", file, n);
        og_onnx *weights = og_onnx_load_weights("cut.safetensors", &e);
        CHECK(weights == NULL || n >= 8 + HEADER + 30); /* only the counter is cut */
        og_onnx_free(weights);
        og_error_clear(&e);
        check_any(file, n);
    }
}

TEST(any_byte_wrong)
{
    static const uint8_t flips[] = {0x01, 0x02, 0x10, 0x80, 0xff};
    uint8_t file[FILE_BYTES];
    make(file);
    for (size_t i = 0; i < 8 + HEADER; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            file[i] ^= flips[k];
            check_any(file, sizeof file);
            file[i] ^= flips[k];
        }
}

static const og_test tests[] = {
    TEST_ROW(tensors_are_read_in_place),
    TEST_ROW(cut_anywhere),
    TEST_ROW(any_byte_wrong),
};
TEST_MAIN(tests)
