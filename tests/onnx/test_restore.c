/* Parameters that an exporter's optimizer merged, dropped or copied: what a file says of them gives
 * them back, and whatever a damaged file says does no harm. */
#include "tests/test.h"

#include "runtime/graph/op.h"
#include "runtime/onnx/onnx.h"
#include "tests/onnx/model_writer.h"

#define SIGNATURE "pkg.torch.export.ExportedProgram.graph_signature"

static const int64_t batch_2[] = {-1, 2}, two[] = {2}, square[] = {2, 2};
static const float zeros[] = {0, 0}, weights[] = {1, 2, 3, 4}, transposed[] = {1, 3, 2, 4};

static pb traced(pb node, const char *call)
{
    pb_message(&node, 9, pb_entry("pkg.torch.onnx.fx_node", call));
    return node;
}

/* A Gemm whose bias was dropped, an Add that reads the bias of the first Add, and a product with a
 * copy of the first weight. */
static pb exported(void)
{
    pb g = {0}, copy = pb_value("val_0", 2, square);
    pb_message(&g, 1, traced(pb_node("Gemm", "a", "x a.w", "p"), "%a : f(%x, %p_a_w, %p_a_b)"));
    pb_message(&g, 1, traced(pb_node("Add", "b", "p b.b", "q"), "%b : f(%a, %p_b_b)"));
    pb_message(&g, 1, traced(pb_node("Add", "c", "q b.b", "r"), "%c : f(%b, %p_c_b)"));
    pb_message(&g, 1, traced(pb_node("MatMul", "d", "r val_0", "y"), "%d : f(%c, %p_d_w)"));
    pb_text(&g, 2, "main");
    pb_message(&g, 5, pb_floats("a.w", 2, square, weights));
    pb_message(&g, 5, pb_floats("b.b", 1, two, zeros));
    pb_message(&g, 5, pb_floats("val_0", 2, square, transposed));
    pb_message(&g, 11, pb_value("x", 2, batch_2));
    pb_message(&g, 12, pb_value("y", 2, batch_2));
    pb_message(&copy, 4, pb_entry("pkg.onnxscript.optimizer.folded_from", "['a.w']"));
    pb_message(&g, 13, copy);
    pb_message(&g, 16,
               pb_entry(SIGNATURE, "p_a_w: PARAMETER target='a.w'\np_a_b: PARAMETER target='a.b'\n"
                                   "p_b_b: PARAMETER target='b.b'\np_c_b: PARAMETER target='c.b'\n"
                                   "p_d_w: PARAMETER target='d.w'\n"));
    return pb_model(g, 17);
}

static const og_node *node_named(const og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i]->name, name) == 0)
            return g->nodes[i];
    return NULL;
}

static void check_restored(const og_onnx *onnx)
{
    const og_graph *g = og_onnx_graph(onnx);
    CHECK_INT(g->n_nodes, 5);
    const og_node *a = node_named(g, "a"), *c = node_named(g, "c"), *d = node_named(g, "d");
    REQUIRE(a && c && d);
    REQUIRE(a->n_in == 3);
    CHECK_STR(g->values[a->in[2]]->name, "a.b");
    CHECK_INT(og_type_elements(&g->values[a->in[2]]->type), 2);
    CHECK_STR(g->values[c->in[1]]->name, "c.b");
    const og_node *transpose = g->values[d->in[1]]->producer;
    REQUIRE(transpose);
    CHECK_STR(transpose->op->name, "Transpose");
    CHECK_STR(g->values[transpose->in[0]]->name, "a.w");
}

static bool keep(void *user, const void *bytes, size_t size)
{
    pb_raw(user, bytes, size);
    return true;
}

TEST(gives_parameters_back)
{
    pb m = exported(), saved = {0};
    og_error error = {0};
    og_onnx *onnx = og_onnx_load_memory(m.bytes, m.size, NULL, &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(onnx);
    check_restored(onnx);
    const float bias[] = {5, 6};
    const og_onnx_weight weight = {"c.b", bias};
    CHECK_INT(og_onnx_write(onnx, keep, &saved, &weight, 1, NULL, 0, &error), OG_OK);
    og_onnx_free(onnx);
    onnx = og_onnx_load_memory(saved.bytes, saved.size, NULL, &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(onnx);
    check_restored(onnx);
    const og_graph *g = og_onnx_graph(onnx);
    const og_node *c = node_named(g, "c");
    CHECK(memcmp(g->values[c->in[1]]->data, bias, sizeof bias) == 0);
    og_onnx_free(onnx);
    pb_free(&saved);
    pb_free(&m);
}

TEST(survives_flipped_bytes)
{
    pb m = exported();
    for (size_t at = 0; at < m.size; at++)
        for (int flip = 1; flip < 256; flip += 23) {
            og_error error = {0};
            m.bytes[at] ^= (uint8_t)flip;
            og_onnx *onnx = og_onnx_load_memory(m.bytes, m.size, NULL, &error);
            m.bytes[at] ^= (uint8_t)flip;
            CHECK((onnx != NULL) == (error.status == OG_OK));
            CHECK(error.status != OG_INTERNAL);
            pb saved = {0};
            if (onnx)
                CHECK_INT(og_onnx_write(onnx, keep, &saved, NULL, 0, NULL, 0, &error), OG_OK);
            pb_free(&saved);
            og_onnx_free(onnx);
            og_error_clear(&error);
        }
    pb_free(&m);
}

/* A signature may name nothing at all. */
TEST(survives_empty_names)
{
    pb g = {0}, copy = pb_value("val_0", 2, square);
    pb_message(&g, 1, traced(pb_node("MatMul", "a", "x val_0", "y"), "%a : f(%x, %p_a)"));
    pb_text(&g, 2, "main");
    pb_message(&g, 5, pb_floats("val_0", 2, square, weights));
    pb_message(&g, 11, pb_value("x", 2, batch_2));
    pb_message(&g, 12, pb_value("y", 2, batch_2));
    pb_message(&copy, 4, pb_entry("pkg.onnxscript.optimizer.folded_from", "['a', '']"));
    pb_message(&g, 13, copy);
    pb_message(&g, 16, pb_entry(SIGNATURE, "p_a: PARAMETER target=''\n: PARAMETER target='a'\n"));
    pb m = pb_model(g, 17);
    og_error error = {0};
    og_onnx *onnx = og_onnx_load_memory(m.bytes, m.size, NULL, &error);
    CHECK_STR(og_error_text(&error), "");
    og_onnx_free(onnx);
    pb_free(&m);
}

static const og_test tests[] = {
    TEST_ROW(gives_parameters_back),
    TEST_ROW(survives_empty_names),
    TEST_ROW(survives_flipped_bytes),
};
TEST_MAIN(tests)
