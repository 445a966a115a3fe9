/* Loading: what a good model becomes, what each kind of damage is answered with. */
#include "tests/test.h"

#include "runtime/graph/op.h"
#include "runtime/onnx/onnx.h"
#include "tests/onnx/model_writer.h"

static og_onnx *load(const pb *m, og_error *error)
{
    return og_onnx_load_memory(m->bytes, m->size, NULL, error);
}

/* The model must be refused with a text that contains every line of `parts`; `m` is freed. */
static void refused(pb m, const char *parts)
{
    og_error error = {0};
    og_onnx *onnx = load(&m, &error);
    CHECK(!onnx);
    CHECK(error.status != OG_OK && error.status != OG_INTERNAL);
    char line[256];
    while (*parts) {
        size_t n = strcspn(parts, "\n");
        snprintf(line, sizeof line, "%.*s", (int)n, parts);
        CHECK_TEXT(og_error_text(&error), line);
        parts += n + (parts[n] == '\n');
    }
    og_error_clear(&error);
    og_onnx_free(onnx);
    pb_free(&m);
}

static const int64_t batch_2[] = {-1, 2}, two[] = {2};
static const float weights[] = {1.5f, -2};

/* y = Relu(x + w) with x [batch, 2], w [2] */
static pb relu_graph(void)
{
    pb g = {0};
    pb_message(&g, 1, pb_node("Add", "sum", "x w", "s"));
    pb_message(&g, 1, pb_node("Relu", "act", "s", "y"));
    pb_text(&g, 2, "main");
    pb_message(&g, 5, pb_floats("w", 1, two, weights));
    pb_message(&g, 11, pb_value("x", 2, batch_2));
    pb_message(&g, 12, pb_value("y", 2, batch_2));
    return g;
}

/* A graph with input x, output y and the nodes given to it later. */
static pb frame(void)
{
    pb g = {0};
    pb_message(&g, 11, pb_value("x", 1, two));
    pb_message(&g, 12, pb_value("y", 1, two));
    return g;
}

/* ---- good models */

TEST(loads_a_model)
{
    pb g = relu_graph();
    pb_message(&g, 16, pb_entry("signature", "p_w: PARAMETER"));
    pb m = pb_model(g, 17);
    pb_message(&m, 14, pb_entry("author", "me"));
    og_error error = {0};
    og_onnx *onnx = load(&m, &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(onnx);
    const og_graph *graph = og_onnx_graph(onnx);
    CHECK_INT(og_onnx_ir_version(onnx), 8);
    CHECK_INT(og_onnx_opset(onnx), 17);
    CHECK_STR(og_onnx_producer(onnx), "tests");
    CHECK_STR(graph->name, "main");
    CHECK_STR(og_graph_metadata(graph, "author"), "me");
    CHECK_STR(og_graph_metadata(graph, "signature"), "p_w: PARAMETER");
    CHECK_INT(graph->n_nodes, 2);
    CHECK_INT(graph->n_inputs, 1);
    CHECK_INT(graph->n_outputs, 1);
    char text[160];
    CHECK_STR(og_type_text(text, graph, &graph->values[graph->inputs[0]]->type),
              "float32 [batch, 2]");
    const og_node *sum = graph->nodes[0];
    CHECK_STR(sum->op->name, "Add");
    CHECK_STR(sum->origin->node, "sum");
    CHECK_INT(sum->origin->opset, 17);
    const og_value *w = graph->values[sum->in[1]];
    CHECK_INT(w->kind, OG_VALUE_CONST);
    CHECK_STR(w->name, "w");
    CHECK(memcmp(w->data, weights, sizeof weights) == 0);
    CHECK_STR(graph->values[graph->outputs[0].value]->name, "y");
    CHECK(graph->values[graph->outputs[0].value]->producer == graph->nodes[1]);
    og_onnx_free(onnx);
    pb_free(&m);
}

TEST(sorts_nodes_and_skips_initializers_among_inputs)
{
    pb g = {0};
    pb_message(&g, 1, pb_node("Relu", "act", "s", "y"));
    pb_message(&g, 1, pb_node("Add", "sum", "x w", "s"));
    pb_message(&g, 5, pb_floats("w", 1, two, weights));
    pb_message(&g, 11, pb_value("w", 1, two));
    pb_message(&g, 11, pb_value("x", 2, batch_2));
    pb_message(&g, 12, pb_value("y", 2, batch_2));
    pb m = pb_model(g, 8);
    og_error error = {0};
    og_onnx *onnx = load(&m, &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(onnx);
    CHECK_INT(og_onnx_graph(onnx)->n_inputs, 1);
    CHECK_STR(og_onnx_graph(onnx)->nodes[0]->op->name, "Add");
    CHECK_STR(og_onnx_graph(onnx)->nodes[1]->op->name, "Relu");
    og_onnx_free(onnx);
    pb_free(&m);
}

/* Constants and attributes, through one function that calls another and passes its attribute on. */
static pb function(const char *name, const char *in, const char *out, const char *attribute,
                   pb node)
{
    pb f = {0};
    pb_text(&f, 1, name);
    pb_names(&f, 4, in);
    pb_names(&f, 5, out);
    if (*attribute)
        pb_text(&f, 6, attribute);
    pb_message(&f, 7, node);
    pb_message(&f, 9, pb_opset("", 17));
    pb_message(&f, 9, pb_opset("mine", 1));
    pb_text(&f, 10, "mine");
    return f;
}

static pb call(const char *op, const char *name, const char *in, const char *out)
{
    pb n = pb_node(op, name, in, out);
    pb_text(&n, 7, "mine");
    return n;
}

TEST(inlines_functions)
{
    pb leaky = pb_node("LeakyRelu", "leak", "a", "b");
    pb_message(&leaky, 5, pb_attr_reference("alpha", "slope"));
    pb inner = function("Inner", "a", "b", "slope", leaky);
    pb pass = call("Inner", "in", "a", "b");
    pb_message(&pass, 5, pb_attr_reference("slope", "slope"));
    pb outer = function("Outer", "a", "b", "", pass);
    pb_message(&outer, 11, pb_attr_float("slope", 0.25f)); /* the default */
    pb g = frame();
    pb first = call("Outer", "one", "x", "h");
    pb_message(&first, 5, pb_attr_float("slope", 0.5f));
    pb_message(&g, 1, first);
    pb_message(&g, 1, call("Outer", "two", "h", "y"));
    pb m = pb_model(g, 17);
    pb_message(&m, 8, pb_opset("mine", 1));
    pb_message(&m, 25, inner);
    pb_message(&m, 25, outer);
    og_error error = {0};
    og_onnx *onnx = load(&m, &error);
    CHECK_STR(og_error_text(&error), "");
    REQUIRE(onnx);
    const og_graph *graph = og_onnx_graph(onnx);
    CHECK_INT(graph->n_nodes, 2);
    CHECK_CLOSE(og_attr_float(graph->nodes[0], "alpha", 9), 0.5, 0);
    CHECK_CLOSE(og_attr_float(graph->nodes[1], "alpha", 9), 0.25, 0);
    CHECK_STR(graph->nodes[0]->name, "one/in/leak");
    CHECK_STR(graph->values[graph->nodes[0]->out[0]]->name, "h");
    CHECK_INT(graph->nodes[1]->in[0], graph->nodes[0]->out[0]);
    og_onnx_free(onnx);
    pb_free(&m);
}

TEST(refuses_bad_functions)
{
    pb g = frame();
    pb_message(&g, 1, call("Loop", "start", "x", "y"));
    pb m = pb_model(g, 17);
    pb_message(&m, 25, function("Loop", "a", "b", "", call("Loop", "again", "a", "b")));
    refused(m, "function \"Loop\" calls itself");

    /* Each of 40 functions calls the next twice. */
    g = frame();
    pb_message(&g, 1, call("F0", "start", "x", "y"));
    m = pb_model(g, 17);
    for (int i = 0; i < 40; i++) {
        char name[16], next[16];
        snprintf(name, sizeof name, "F%d", i);
        snprintf(next, sizeof next, "F%d", i + 1);
        pb f = function(name, "a", "c", "", call(next, "l", "a", "b"));
        pb_message(&f, 7, call(next, "r", "b", "c"));
        pb_message(&m, 25, f);
    }
    pb_message(&m, 25, function("F40", "a", "b", "", pb_node("Relu", "", "a", "b")));
    refused(m, "expand to more than");
}

/* ---- tensors */

enum { RAW = 9, FLOATS = 4, INT32S = 5, INT64S = 7, DOUBLES = 10, UINT64S = 11 };

/* Loads a graph whose only initializer is `t`; NULL and the error, or the model. `t` is freed. */
static og_onnx *load_tensor(pb t, og_error *error)
{
    pb g = frame();
    pb_message(&g, 1, pb_node("Identity", "", "x", "y"));
    pb_message(&g, 5, t);
    pb m = pb_model(g, 20);
    og_onnx *onnx = load(&m, error);
    pb_free(&m);
    return onnx;
}

TEST(reads_every_element_type)
{
    static const struct {
        og_dtype dtype;
        int64_t n;
        int field;
        const char *data; /* of the field */
        size_t size;
        const char *expected;
        size_t bytes;
    } cases[] = {
        {OG_FLOAT, 1, FLOATS, "\0\0\200\77", 4, "\0\0\200\77", 4},
        {OG_FLOAT, 1, RAW, "\0\0\200\77", 4, "\0\0\200\77", 4},
        {OG_DOUBLE, 1, DOUBLES, "\0\0\0\0\0\0\360\77", 8, "\0\0\0\0\0\0\360\77", 8},
        {OG_COMPLEX64, 1, FLOATS, "abcdefgh", 8, "abcdefgh", 8},
        {OG_COMPLEX128, 1, DOUBLES, "abcdefghABCDEFGH", 16, "abcdefghABCDEFGH", 16},
        {OG_INT64, 2, INT64S, "\1\200\1", 3, "\1\0\0\0\0\0\0\0\200\0\0\0\0\0\0\0", 16},
        {OG_INT32, 2, INT32S, "\1\200\1", 3, "\1\0\0\0\200\0\0\0", 8},
        {OG_UINT64, 1, UINT64S, "\5", 1, "\5\0\0\0\0\0\0\0", 8},
        {OG_UINT32, 1, UINT64S, "\5", 1, "\5\0\0\0", 4},
        {OG_UINT8, 1, INT32S, "\377\1", 2, "\377", 1},
        {OG_INT8, 1, INT32S, "\377\377\377\377\377\377\377\377\377\1", 10, "\377", 1},
        {OG_INT16, 1, INT32S, "\5", 1, "\5\0", 2},
        {OG_UINT16, 1, INT32S, "\377\377\3", 3, "\377\377", 2},
        {OG_FLOAT16, 1, INT32S, "\200\170", 2, "\0\74", 2},
        {OG_BFLOAT16, 1, INT32S, "\200\177", 2, "\200\77", 2},
        {OG_FLOAT8E4M3FN, 1, INT32S, "\70", 1, "\70", 1},
        {OG_FLOAT8E5M2FNUZ, 1, RAW, "\70", 1, "\70", 1},
        {OG_BOOL, 3, INT32S, "\0\1\1", 3, "\0\1\1", 3},
        {OG_BOOL, 3, RAW, "\0\2\1", 3, "\0\1\1", 3},
        {OG_INT4, 3, INT32S, "\41\3", 2, "\41\3", 2},
        {OG_UINT4, 3, RAW, "\41\3", 2, "\41\3", 2},
        {OG_FLOAT4E2M1, 2, RAW, "\41", 1, "\41", 1},
        {OG_FLOAT, 0, RAW, "", 0, "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s, field %d", og_dtype_name(cases[i].dtype), cases[i].field);
        TEST_CASE(name);
        pb t = pb_tensor("w", cases[i].dtype, 1, &cases[i].n);
        pb_bytes(&t, (unsigned)cases[i].field, cases[i].data, cases[i].size);
        og_error error = {0};
        og_onnx *onnx = load_tensor(t, &error);
        CHECK_STR(og_error_text(&error), "");
        REQUIRE(onnx);
        const og_value *w = og_onnx_graph(onnx)->values[0];
        CHECK_INT(w->type.dtype, cases[i].dtype);
        CHECK_INT(og_type_bytes(&w->type), cases[i].bytes);
        CHECK(w->data && memcmp(w->data, cases[i].expected, cases[i].bytes) == 0);
        og_onnx_free(onnx);
    }
    TEST_CASE("");
}

TEST(refuses_bad_tensors)
{
    static const struct {
        int dtype, rank;
        int64_t dims[2];
        int field;
        const char *data;
        size_t size;
        const char *message;
    } cases[] = {
        {OG_FLOAT, 1, {2}, RAW, "abcd", 4, "raw_data has 4 bytes, its shape needs 8"},
        {OG_FLOAT, 1, {1}, RAW, "abcdefgh", 8, "raw_data has 8 bytes, its shape needs 4"},
        {OG_FLOAT, 1, {2}, FLOATS, "abcd", 4, "float_data has 1 elements, its shape needs 2"},
        {OG_INT64, 1, {2}, INT64S, "\1", 1, "int64_data has 1 elements"},
        {OG_UINT8, 1, {1}, INT32S, "\200\2", 2, "element 0 is 256"},
        {OG_UINT32, 1, {1}, UINT64S, "\200\200\200\200\20", 5, "no uint32 is"},
        {OG_INT4, 1, {3}, INT32S, "\1", 1, "its shape needs 2"},
        {OG_FLOAT, 1, {-1}, RAW, "", 0, "dim 0 is -1"},
        {OG_FLOAT, 2, {INT64_C(1) << 40, INT64_C(1) << 40}, RAW, "", 0, "dims multiply"},
        {OG_FLOAT, 2, {INT64_C(1) << 40, 3}, RAW, "abcd", 4, "raw_data has 4 bytes"},
        {OG_STRING, 1, {1}, 6, "hi", 2, "holds strings"},
        {99, 1, {1}, RAW, "a", 1, "element type 99"},
        {0, 1, {1}, RAW, "a", 1, "element type 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].message);
        pb t = pb_tensor("w", cases[i].dtype, cases[i].rank, cases[i].dims);
        pb_bytes(&t, (unsigned)cases[i].field, cases[i].data, cases[i].size);
        og_error error = {0};
        og_onnx *onnx = load_tensor(t, &error);
        CHECK(!onnx);
        CHECK_TEXT(og_error_text(&error), "initializer \"w\"");
        CHECK_TEXT(og_error_text(&error), cases[i].message);
        og_error_clear(&error);
        og_onnx_free(onnx);
    }
    TEST_CASE("");
    const int64_t many[OG_MAX_RANK + 1] = {1};
    og_error error = {0};
    CHECK(!load_tensor(pb_tensor("w", OG_FLOAT, OG_MAX_RANK + 1, many), &error));
    CHECK_TEXT(og_error_text(&error), "13 dims");
    og_error_clear(&error);
}

/* ---- bad graphs */

TEST(reports_all_problems_at_once)
{
    pb g = frame();
    pb_message(&g, 1, pb_node("Rellu", "first", "x", "a"));
    pb_message(&g, 1, pb_node("Rellu", "second", "a", "b"));
    pb_message(&g, 1, pb_node("Rellu", "third", "x", "c"));
    pb_message(&g, 1, pb_node("Add", "sum", "x nowhere", "d"));
    pb_message(&g, 1, pb_node("Relu", "twice", "x", "x"));
    pb_message(&g, 1, pb_node("Add", "p", "x r", "q"));
    pb_message(&g, 1, pb_node("Relu", "r", "q", "r"));
    pb_message(&g, 12, pb_value("lost", 1, two));
    pb_message(&g, 5, pb_floats("w", 1, two, weights));
    pb_message(&g, 5, pb_floats("w", 1, two, weights));
    pb_message(&g, 15, (pb){0});
    refused(
        pb_model(g, 17),
        "operator Rellu is not supported (2 times, first in node \"first\"); did you mean Relu?\n"
        "Add \"sum\" reads \"nowhere\"\n"
        "Relu \"twice\": its output \"x\" is already the name of another value\n"
        "in a circle: Add \"p\", Relu \"r\"\n"
        "nothing makes output 0, \"y\"\n"
        "nothing makes output 1, \"lost\"\n"
        "initializer \"w\" is given twice\n"
        "1 sparse initializers");
}

TEST(refuses_bad_frames)
{
    refused((pb){0}, "the file is empty");
    refused(pb_model(relu_graph(), 6), "opset 6 is not supported");
    refused(pb_model(relu_graph(), 99), "opset 99 is not supported");
    pb old = {0};
    pb_varint(&old, 1, 2);
    pb_message(&old, 7, relu_graph());
    refused(old, "IR version 2");
    pb none = {0};
    pb_varint(&none, 1, 8);
    pb_message(&none, 7, relu_graph());
    refused(none, "imports no opset of its domain \"ai.onnx\"");
    pb g = frame();
    pb_message(&g, 1, pb_node("Relu", "self", "y", "y"));
    refused(pb_model(g, 17), "in a circle: Relu \"self\"");
    g = frame();
    pb internal = pb_node("Fused", "sly", "x", "y");
    pb_text(&internal, 7, OG_DOMAIN);
    pb_message(&g, 1, internal);
    refused(pb_model(g, 17), "operator ai.ongrad::Fused is not supported");
    g = frame();
    pb_message(&g, 1, pb_node("Relu", "", "x", "y"));
    pb_message(&g, 11, pb_value("x", 1, two));
    refused(pb_model(g, 17), "input \"x\" is given twice");
}

/* ---- hostile bytes */

TEST(survives_truncation_and_flipped_bytes)
{
    pb g = relu_graph();
    pb_message(&g, 16, pb_entry("key", "value"));
    pb m = pb_model(g, 17);
    og_onnx *onnx;
    for (size_t n = 0; n <= m.size; n++) {
        uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees reads past the end */
        memcpy(exact, m.bytes, n);
        og_error error = {0};
        onnx = og_onnx_load_memory(exact, n, NULL, &error);
        CHECK((onnx != NULL) == (error.status == OG_OK));
        CHECK(n < m.size ? !onnx : onnx != NULL);
        CHECK(error.status != OG_INTERNAL);
        og_onnx_free(onnx);
        og_error_clear(&error);
        free(exact);
    }
    for (size_t at = 0; at < m.size; at++)
        for (int flip = 1; flip < 256; flip += 7) {
            og_error error = {0};
            m.bytes[at] ^= (uint8_t)flip;
            onnx = load(&m, &error);
            m.bytes[at] ^= (uint8_t)flip;
            CHECK((onnx != NULL) == (error.status == OG_OK));
            og_onnx_free(onnx);
            og_error_clear(&error);
        }
    pb_free(&m);
}

/* Message fields `outer` then alternately a and b, `depth` deep, written from the inside in linear
 * time. */
static pb nested(unsigned a, unsigned b, int depth)
{
    size_t room = 8 * (size_t)depth + 64, at = room;
    uint8_t *bytes = malloc(room);
    for (int i = depth; i-- > 0;) {
        pb head = {0};
        pb_number(&head, (i % 2 ? b : a) << 3 | 2);
        pb_number(&head, room - at);
        at -= head.size;
        memcpy(bytes + at, head.bytes, head.size);
        pb_free(&head);
    }
    pb m = {0};
    pb_raw(&m, bytes + at, room - at);
    free(bytes);
    return m;
}

static pb nested_types(int depth)
{
    pb g = {0}, value = {0}, model = {0};
    pb_text(&value, 1, "x");
    pb_message(&value, 2, nested(4, 1, depth)); /* TypeProto.sequence_type, Sequence.elem_type */
    pb_message(&g, 11, value);
    pb_varint(&model, 1, 8);
    pb_message(&model, 7, g);
    return model;
}

TEST(refuses_deep_nesting)
{
    refused(nested_types(100000), "nested deeper than 100");
    refused(nested_types(9000),
            "nested deeper than 100"); /* about 29 KB: enough for protobuf-c's stack */
    refused(nested_types(98), "nested deeper than 100");
    refused(nested_types(50), "is no dense tensor");
}

TEST(refuses_bombs)
{
    /* 8 MB of empty nodes would unpack to more than a gigabyte. */
    size_t n = 8 << 20;
    pb g = {0};
    uint8_t *pairs = malloc(n);
    for (size_t i = 0; i < n; i += 2) {
        pairs[i] = 012;
        pairs[i + 1] = 0;
    }
    pb_raw(&g, pairs, n);
    refused(pb_model(g, 17), "memory unpacked");
    free(pairs);
    /* One field of 30 MB that claims to be longer than the file. */
    pb lie = {0};
    pb_number(&lie, 7 << 3 | 2);
    pb_number(&lie, INT32_MAX);
    refused(lie, "truncated or malformed");
    pb group = {0};
    pb_number(&group, 7 << 3 | 3);
    refused(group, "truncated or malformed");
    pb twice = pb_model(relu_graph(), 17);
    pb_message(&twice, 7, relu_graph());
    refused(twice, "given twice");
    pb number = {0};
    pb_varint(&number, 7, 1);
    refused(number, "another type than the schema's");
}

TEST(refuses_nul_in_names)
{
    pb g = frame(), node = {0};
    pb_bytes(&node, 1, "x\0z", 3);
    pb_text(&node, 4, "Relu");
    pb_message(&g, 1, node);
    refused(pb_model(g, 17), "a string with a NUL byte");
    g = frame();
    node = pb_node("Relu", "", "x", "y");
    pb_bytes(&node, 8, "o\0", 2); /* overload: younger than the oldest schema */
    pb_message(&g, 1, node);
    refused(pb_model(g, 17), "a string with a NUL byte");
}

static const og_test tests[] = {
    TEST_ROW(loads_a_model),
    TEST_ROW(sorts_nodes_and_skips_initializers_among_inputs),
    TEST_ROW(inlines_functions),
    TEST_ROW(refuses_bad_functions),
    TEST_ROW(reads_every_element_type),
    TEST_ROW(refuses_bad_tensors),
    TEST_ROW(reports_all_problems_at_once),
    TEST_ROW(refuses_bad_frames),
    TEST_ROW(survives_truncation_and_flipped_bytes),
    TEST_ROW(refuses_deep_nesting),
    TEST_ROW(refuses_bombs),
    TEST_ROW(refuses_nul_in_names),
};
TEST_MAIN(tests)
