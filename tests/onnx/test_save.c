/* Saving: what is new, what stays, and that a failure leaves what was there. */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#include "runtime/graph/build.h"
#include "runtime/onnx/onnx.h"
#include "tests/onnx/model_writer.h"

static const int64_t batch_2[] = {-1, 2}, two[] = {2};
static const float weights[] = {1.5f, -2}, trained[] = {7, 8};

static og_onnx *load(const pb *m)
{
    og_error error = {0};
    og_onnx *onnx = og_onnx_load_memory(m->bytes, m->size, ".", &error);
    CHECK_STR(og_error_text(&error), "");
    og_error_clear(&error);
    return onnx;
}

static bool append(void *user, const void *bytes, size_t size)
{
    pb_raw(user, bytes, size);
    return true;
}

/* The model written to memory with new weights. */
static pb rewrite(const og_onnx *onnx, const og_onnx_weight *w, int n, const og_metadata *metadata,
                  int n_metadata)
{
    pb out = {0};
    og_error error = {0};
    CHECK_INT(og_onnx_write(onnx, append, &out, w, n, metadata, n_metadata, &error), OG_OK);
    CHECK_STR(og_error_text(&error), "");
    og_error_clear(&error);
    return out;
}

static bool contains(const pb *m, const char *text)
{
    return memmem(m->bytes, m->size, text, strlen(text)) != NULL;
}

static const void *data_of(const og_onnx *onnx, const char *name)
{
    const og_graph *g = og_onnx_graph(onnx);
    for (int i = 0; i < g->n_values; i++)
        if (strcmp(g->values[i]->name, name) == 0)
            return g->values[i]->data;
    return NULL;
}

/* y = Relu(x + w), with fields of every level that no schema knows. */
static pb relu_model(void)
{
    pb g = {0}, node = pb_node("Add", "sum", "x w", "s"), w = pb_floats("w", 1, two, weights);
    pb_text(&node, 4000, "unknown in node");
    pb_text(&w, 4000, "unknown in tensor");
    pb_message(&g, 1, node);
    pb_message(&g, 1, pb_node("Relu", "act", "s", "y"));
    pb_message(&g, 5, w);
    pb_message(&g, 5, pb_floats("kept", 1, two, weights));
    pb_message(&g, 11, pb_value("x", 2, batch_2));
    pb_message(&g, 12, pb_value("y", 2, batch_2));
    pb_text(&g, 4000, "unknown in graph");
    pb m = pb_model(g, 17);
    pb_message(&m, 14, pb_entry("epoch", "1"));
    pb_message(&m, 14, pb_entry("author", "me"));
    pb_text(&m, 4000, "unknown in model");
    return m;
}

TEST(nothing_changes_but_weights_and_metadata)
{
    pb m = relu_model();
    og_onnx *onnx = load(&m);
    REQUIRE(onnx);
    pb same = rewrite(onnx, NULL, 0, NULL, 0);
    CHECK(same.size == m.size && memcmp(same.bytes, m.bytes, m.size) == 0);
    const og_metadata metadata[] = {{"epoch", "2"}, {"note", "new"}};
    pb out = rewrite(onnx, &(og_onnx_weight){"w", trained}, 1, metadata, 2);
    for (int i = 0; i < 4; i++) {
        static const char *const kept[] = {"unknown in model", "unknown in graph",
                                           "unknown in node", "unknown in tensor"};
        CHECK(contains(&out, kept[i]));
    }
    og_onnx *again = load(&out);
    REQUIRE(again);
    CHECK(memcmp(data_of(again, "w"), trained, sizeof trained) == 0);
    CHECK(memcmp(data_of(again, "kept"), weights, sizeof weights) == 0);
    CHECK_STR(og_graph_metadata(og_onnx_graph(again), "epoch"), "2");
    CHECK_STR(og_graph_metadata(og_onnx_graph(again), "author"), "me");
    CHECK_STR(og_graph_metadata(og_onnx_graph(again), "note"), "new");
    CHECK_INT(og_onnx_graph(again)->n_metadata, 3);
    og_onnx_free(again);
    og_onnx_free(onnx);
    pb_free(&same);
    pb_free(&out);
    pb_free(&m);
}

TEST(training_mode_is_left_behind)
{
    pb g = {0}, bn = pb_node("BatchNormalization", "bn", "x s b mean var", "h new_mean new_var");
    pb_message(&bn, 5, pb_attr_int("training_mode", 1));
    pb_message(&bn, 5, pb_attr_float("epsilon", 0.5f));
    pb_message(&g, 1, bn);
    pb_message(&g, 1, pb_node("Dropout", "drop", "h ratio mode", "y mask"));
    static const char *const names[] = {"s", "b", "mean", "var"};
    for (int i = 0; i < 4; i++)
        pb_message(&g, 5, pb_floats(names[i], 1, two, weights));
    pb_message(&g, 5, pb_floats("ratio", 0, NULL, weights));
    pb mode = pb_tensor("mode", OG_BOOL, 0, NULL);
    pb_bytes(&mode, 9, "\1", 1);
    pb_message(&g, 5, mode);
    pb_message(&g, 11, pb_value("x", 2, batch_2));
    pb_message(&g, 12, pb_value("y", 2, batch_2));
    pb_message(&g, 12,
               pb_value("new_var", 1, two)); /* read: it gets the variance that is not updated */
    pb m = pb_model(g, 15);
    og_onnx *onnx = load(&m);
    REQUIRE(onnx);
    pb out = rewrite(onnx, NULL, 0, NULL, 0);
    og_onnx *again = load(&out);
    REQUIRE(again);
    const og_graph *r = og_onnx_graph(again);
    REQUIRE(r->n_nodes == 3);
    CHECK_INT(r->nodes[0]->n_out, 1);
    CHECK(!og_node_attr(r->nodes[0], "training_mode"));
    CHECK_CLOSE(og_attr_float(r->nodes[0], "epsilon", 0), 0.5, 0);
    CHECK_STR(r->nodes[1]->op->name, "Identity");
    CHECK_STR(r->values[r->nodes[1]->in[0]]->name, "var");
    CHECK_STR(r->values[r->nodes[1]->out[0]]->name, "new_var");
    CHECK_INT(r->nodes[2]->n_in, 2);
    CHECK_INT(r->nodes[2]->n_out, 2);
    og_onnx_free(again);
    og_onnx_free(onnx);
    pb_free(&out);
    pb_free(&m);
}

/* ---- files */

static long size_of(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? (long)s.st_size : -1;
}

/* Names that start with `prefix` in the working directory. */
static int count_files(const char *prefix)
{
    char command[128];
    int n = -1;
    snprintf(command, sizeof command, "ls -a | grep -c '^%s'", prefix);
    FILE *f = popen(command, "r");
    if (f && fscanf(f, "%d", &n) != 1)
        n = -1;
    if (f)
        pclose(f);
    return n;
}

TEST(large_tensors_go_to_an_external_file_and_back)
{
    enum { N = 70000 };
    float *big = malloc(N * sizeof(float)), *next = malloc(N * sizeof(float));
    REQUIRE(big && next);
    for (int i = 0; i < N; i++) {
        big[i] = (float)i;
        next[i] = (float)-i;
    }
    const int64_t n = N;
    pb g = {0};
    pb_message(&g, 1, pb_node("Add", "", "x w", "h"));
    pb_message(&g, 1, pb_node("Add", "", "h small", "y"));
    pb_message(&g, 5, pb_floats("small", 1, two, weights));
    pb_message(&g, 5, pb_floats("w", 1, &n, big));
    pb_message(&g, 5, pb_floats("v", 1, &n, big));
    pb_message(&g, 11, pb_value("x", 1, &n));
    pb_message(&g, 12, pb_value("y", 1, &n));
    pb m = pb_model(g, 17);
    og_error error = {0};
    og_onnx *onnx = load(&m);
    REQUIRE(onnx);
    unlink("ext.onnx");
    unlink("ext.onnx.data");
    CHECK_INT(og_onnx_save(onnx, "ext.onnx", NULL, 0, NULL, 0, 1000, &error), OG_OK);
    CHECK(size_of("ext.onnx") > 0 && size_of("ext.onnx") < 1000);
    CHECK_INT(size_of("ext.onnx.data"), 282624 + 280000);
    CHECK_INT(count_files("ext"), 2);
    og_onnx *again = og_onnx_load("ext.onnx", &error);
    REQUIRE(again);
    CHECK(memcmp(data_of(again, "w"), big, N * sizeof(float)) == 0);
    CHECK(memcmp(data_of(again, "small"), weights, sizeof weights) == 0);
    /* Over itself, while it is mapped. */
    CHECK_INT(
        og_onnx_save(again, "ext.onnx", &(og_onnx_weight){"w", next}, 1, NULL, 0, 1000, &error),
        OG_OK);
    CHECK(memcmp(data_of(again, "w"), big, N * sizeof(float)) == 0);
    og_onnx_free(again);
    again = og_onnx_load("ext.onnx", &error);
    REQUIRE(again);
    CHECK(memcmp(data_of(again, "w"), next, N * sizeof(float)) == 0);
    CHECK(memcmp(data_of(again, "v"), big, N * sizeof(float)) == 0);
    /* Inlined again. */
    CHECK_INT(og_onnx_save(again, "inline.onnx", NULL, 0, NULL, 0, 0, &error), OG_OK);
    CHECK(size_of("inline.onnx") > 2 * 280000);
    og_onnx_free(again);
    again = og_onnx_load("inline.onnx", &error);
    REQUIRE(again);
    CHECK(memcmp(data_of(again, "w"), next, N * sizeof(float)) == 0);
    og_onnx_free(again);
    og_onnx_free(onnx);
    CHECK_STR(og_error_text(&error), "");
    og_error_clear(&error);
    pb_free(&m);
    free(big);
    free(next);
}

static bool refuse_after(void *user, const void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
    return (*(int *)user)-- > 0;
}

TEST(failures_leave_what_was_there)
{
    pb m = relu_model();
    og_onnx *onnx = load(&m);
    REQUIRE(onnx);
    og_error error = {0};
    CHECK_INT(og_onnx_save(onnx, "fail.onnx", NULL, 0, NULL, 0, 0, &error), OG_OK);
    CHECK_INT(chmod("fail.onnx", 0640), 0);
    const long before = size_of("fail.onnx");
    CHECK(og_onnx_save(onnx, "fail.onnx", &(og_onnx_weight){"nobody", trained}, 1, NULL, 0, 0,
                       &error) == OG_INVALID_ARGUMENT);
    CHECK_TEXT(og_error_text(&error), "no initializer \"nobody\"");
    og_error_clear(&error);
    CHECK_INT(size_of("fail.onnx"), before);
    CHECK_INT(count_files("fail"), 1);
    CHECK(og_onnx_save(onnx, "no/such/folder.onnx", NULL, 0, NULL, 0, 0, &error) == OG_IO_ERROR);
    CHECK_TEXT(og_error_text(&error), "no/such/folder.onnx");
    og_error_clear(&error);
    CHECK(og_onnx_save(onnx, ".", NULL, 0, NULL, 0, 0, &error) == OG_IO_ERROR);
    og_error_clear(&error);
    CHECK(og_onnx_save(onnx, "/dev/full", NULL, 0, NULL, 0, 0, &error) == OG_IO_ERROR);
    CHECK_TEXT(og_error_text(&error), "No space left");
    og_error_clear(&error);
    CHECK_INT(og_onnx_save(onnx, "/dev/null", NULL, 0, NULL, 0, 0, &error), OG_OK);
    CHECK(access("/dev/null", F_OK) == 0);
    for (int n = 0; n < 3; n++) {
        int left = n;
        CHECK(og_onnx_write(onnx, refuse_after, &left, &(og_onnx_weight){"w", trained}, 1, NULL, 0,
                            &error) == OG_IO_ERROR);
        og_error_clear(&error);
    }
    /* The mode of a replaced file stays. */
    struct stat s;
    CHECK_INT(og_onnx_save(onnx, "fail.onnx", NULL, 0, NULL, 0, 0, &error), OG_OK);
    CHECK(stat("fail.onnx", &s) == 0 && (s.st_mode & 0777) == 0640);
    og_onnx_free(onnx);
    pb_free(&m);
}

/* ---- graphs */

/* w [2] trains, c [2] has no name; Dropout is in training mode. */
static og_graph *made_graph(void)
{
    og_graph *g = og_graph_new();
    if (!g)
        return NULL;
    const og_type t = og_type_make(OG_FLOAT, 1, two);
    og_val x = og_graph_add_input(g, "x", &t), w = og_graph_add_const(g, "w", &t, weights);
    og_val y = Add(Mul(x, w), og_const_copy(g, &t, weights));
    y = Op("Dropout", In(y, Scalar(y, 0.5), og_const_double(g, OG_BOOL, 1)));
    og_graph_add_output(g, "y", y);
    CHECK_STR(og_error_text(&g->error), "");
    return g;
}

static int count(const og_graph *g, const char *op)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        n += strcmp(g->nodes[i]->op->name, op) == 0;
    return n;
}

/* Values that og_classify would look at. */
static int named_constants(const og_graph *g)
{
    int n = 0;
    for (int i = 0; i < g->n_values; i++)
        n += g->values[i]->kind == OG_VALUE_CONST && *g->values[i]->name;
    return n;
}

TEST(a_graph_becomes_a_model_in_memory_and_in_a_file)
{
    og_error error = {0};
    og_onnx *made = og_onnx_from_graph(made_graph(), &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(made);
    CHECK_INT(og_onnx_save_as_is(made, "as_is.onnx", 0, &error), OG_OK);
    CHECK_INT(og_onnx_save(made, "inference.onnx", NULL, 0, NULL, 0, 0, &error), OG_OK);
    og_onnx *as_is = og_onnx_load("as_is.onnx", &error),
            *inference = og_onnx_load("inference.onnx", &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(as_is && inference);
    const og_onnx *all[] = {made, as_is, inference};
    for (int i = 0; i < 3; i++) {
        const og_graph *g = og_onnx_graph(all[i]);
        TEST_CASE(i == 0 ? "in memory" : i == 1 ? "as it is" : "in inference mode");
        CHECK_INT(named_constants(g), 1);
        REQUIRE(count(g, "Dropout") == 1);
        CHECK_INT(g->nodes[g->n_nodes - 1]->n_in, i == 2 ? 2 : 3);
    }
    og_onnx_free(inference);
    og_onnx_free(as_is);
    og_onnx_free(made);
}

TEST(saves_a_graph_with_states)
{
    og_graph *g = og_graph_new();
    REQUIRE(g);
    const og_type t = og_type_make(OG_FLOAT, 1, two);
    og_val x = og_graph_add_input(g, "x", &t), w = og_graph_add_state(g, "w", &t, 0, NULL);
    og_val c = og_const_copy(g, &t, weights);
    og_val y = Relu(Add(Mul(x, w), c)), next = Sub(w, y);
    og_graph_add_output(g, "y", y);
    og_graph_add_output(g, "twice", y);
    og_graph_add_output(g, "back", x);
    og_graph_set_state(g, w, next);
    CHECK_STR(og_error_text(&g->error), "");
    og_error error = {0};
    CHECK_INT(og_onnx_save_graph(g, "graph.onnx", &error), OG_OK);
    CHECK_STR(og_error_text(&error), "");
    og_onnx *onnx = og_onnx_load("graph.onnx", &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(onnx);
    const og_graph *r = og_onnx_graph(onnx);
    CHECK_INT(r->n_inputs, 2);
    CHECK_STR(r->values[r->inputs[0]]->name, "x");
    CHECK_STR(r->values[r->inputs[1]]->name, "w");
    REQUIRE(r->n_outputs == 4);
    static const char *const names[] = {"y", "twice", "back", "w_new"};
    for (int i = 0; i < 4; i++)
        CHECK_STR(r->outputs[i].name, names[i]);
    CHECK_INT(r->n_nodes, 4 + 2); /* twice and back through an Identity */
    og_onnx_free(onnx);
    og_graph_free(g);
    og_error_clear(&error);
}

static const og_test tests[] = {
    TEST_ROW(nothing_changes_but_weights_and_metadata),
    TEST_ROW(training_mode_is_left_behind),
    TEST_ROW(large_tensors_go_to_an_external_file_and_back),
    TEST_ROW(failures_leave_what_was_there),
    TEST_ROW(a_graph_becomes_a_model_in_memory_and_in_a_file),
    TEST_ROW(saves_a_graph_with_states),
};
TEST_MAIN(tests)
