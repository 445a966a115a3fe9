/* runtime/base: statuses, arenas, text, JSON, names. */
#include <stdlib.h>

#include "runtime/base/arena.h"
#include "runtime/base/checked.h"
#include "runtime/base/json.h"
#include "tests/test.h"

/* ---- errors */

TEST(error_keeps_the_first)
{
    og_error e = {0};
    CHECK_STR(og_error_text(&e), "");
    CHECK_INT(og_fail(&e, OG_INVALID_DATA, "value %d", 3), OG_INVALID_DATA);
    CHECK_INT(og_fail(&e, OG_IO_ERROR, "later"), OG_IO_ERROR);
    CHECK_INT(e.status, OG_INVALID_DATA);
    CHECK_STR(og_error_text(&e), "value 3");
    og_error_clear(&e);
    CHECK_INT(e.status, OG_OK);
    CHECK_STR(og_error_text(&e), "");
}

TEST(error_report_lists_all)
{
    og_error e = {0};
    og_error_prefix(&e, "no effect");
    CHECK_INT(e.status, OG_OK);
    og_fail_also(&e, OG_INVALID_MODEL, "one");
    og_fail_also(&e, OG_UNSUPPORTED, "two %s", "2");
    CHECK_INT(e.status, OG_INVALID_MODEL);
    og_error_prefix(&e, "%s.onnx", "m");
    CHECK_STR(og_error_text(&e), "m.onnx: one\ntwo 2");
    CHECK_INT(e.length, strlen(e.text));
    og_error_clear(&e);
}

TEST(error_moves)
{
    og_error to = {0}, from = {0};
    CHECK_INT(og_error_move(&to, &from), OG_OK);
    og_fail(&from, OG_IO_ERROR, "from");
    CHECK_INT(og_error_move(&to, &from), OG_IO_ERROR);
    CHECK_INT(from.status, OG_OK);
    CHECK_STR(og_error_text(&to), "from");
    og_fail_memory(&from, 12, "a thing");
    CHECK_TEXT(og_error_text(&from), "12 bytes for a thing");
    CHECK_INT(og_error_move(&to, &from), OG_IO_ERROR);
    CHECK_STR(og_error_text(&to), "from");
    CHECK_INT(from.status, OG_OK);
    og_error_clear(&to);
    CHECK_INT(og_fail(NULL, OG_IO_ERROR, "nobody listens"), OG_IO_ERROR);
}

TEST(error_texts_may_be_long)
{
    og_error e = {0};
    char *long_text = malloc(100001);
    REQUIRE(long_text != NULL);
    memset(long_text, 'x', 100000);
    long_text[100000] = '\0';
    og_fail(&e, OG_INTERNAL, "%s!", long_text);
    CHECK_INT(e.length, 100001);
    CHECK_INT(og_error_text(&e)[100000], '!');
    og_error_clear(&e);
    free(long_text);
}

TEST(try_returns_the_status)
{
    og_error e = {0};
    og_status status = OG_OK;
    OG_TRY_CLEANUP(og_fail(&e, OG_CANCELLED, "stop"));
    CHECK(!"OG_TRY_CLEANUP leaves");
cleanup:
    CHECK_INT(status, OG_CANCELLED);
    og_error_clear(&e);
}

/* ---- arena */

TEST(arena_gives_zeroed_aligned_memory)
{
    og_arena *arena = og_arena_new();
    REQUIRE(arena != NULL);
    char *last = NULL;
    for (size_t i = 0; i < 3000; i++) {
        size_t bytes = i * 7919 % 4001;
        char *p = og_arena_alloc(arena, bytes);
        REQUIRE(p != NULL);
        CHECK(p != last);
        CHECK_INT((uintptr_t)p % 16, 0);
        bool zero = true;
        for (size_t j = 0; j < bytes; j++)
            zero &= p[j] == 0;
        CHECK(zero);
        memset(p, 0xff, bytes);
        last = p;
    }
    char *large = og_arena_alloc(arena, 5 << 20);
    REQUIRE(large != NULL);
    large[(5 << 20) - 1] = 1;
    CHECK(og_arena_bytes(arena) >= 5 << 20);
    og_arena_free(arena);
    og_arena_free(NULL);
}

TEST(arena_refuses_absurd_sizes)
{
    og_arena *arena = og_arena_new();
    REQUIRE(arena != NULL);
    CHECK(og_arena_alloc(arena, SIZE_MAX) == NULL);
    CHECK(og_arena_alloc(arena, SIZE_MAX / 2 + 1) == NULL);
    CHECK(og_arena_array(arena, SIZE_MAX / 4, 8) == NULL);
    CHECK(og_arena_strndup(arena, "", SIZE_MAX) == NULL);
    CHECK(og_arena_alloc(arena, 0) != NULL);
    og_arena_free(arena);
}

TEST(arena_copies_and_grows)
{
    og_arena *arena = og_arena_new();
    REQUIRE(arena != NULL);
    CHECK_STR(og_arena_strdup(arena, "text"), "text");
    CHECK_STR(og_arena_strndup(arena, "text", 2), "te");
    CHECK_STR(og_arena_printf(arena, "%s-%d", "n", 7), "n-7");
    int *list = NULL;
    size_t capacity = 0;
    for (size_t n = 0; n < 1000; n++) {
        list = og_arena_grow(arena, list, n, &capacity, sizeof *list);
        REQUIRE(list != NULL && capacity > n);
        list[n] = (int)n;
    }
    for (int i = 0; i < 1000; i++)
        if (!CHECK_INT(list[i], i))
            break;
    int *copy = og_arena_copy(arena, list, 1000 * sizeof *list);
    CHECK(copy && copy != list && copy[999] == 999);
    og_arena_free(arena);
}

TEST(sizes_are_checked)
{
    size_t n;
    CHECK(og_mul_size(3, 4, &n) && n == 12);
    CHECK(!og_mul_size(SIZE_MAX, 2, &n));
    CHECK(!og_add_size(SIZE_MAX, 1, &n));
    CHECK_INT(og_align_up(1, 64), 64);
    CHECK_INT(og_align_up(64, 64), 64);
}

/* ---- text */

TEST(text_grows)
{
    og_text t = {0};
    for (int i = 0; i < 500; i++)
        og_text_printf(&t, "%d,", i);
    og_text_addn(&t, "abc", 2);
    CHECK_INT(t.failed, false);
    CHECK_INT(t.length, strlen(t.s));
    CHECK_TEXT(t.s, "498,499,ab");
    og_text_free(&t);
    CHECK(t.s == NULL && t.length == 0);
    og_text_add(&t, "");
    CHECK_STR(t.s, "");
    og_text_free(&t);
}

TEST(globs)
{
    static const struct {
        const char *glob, *name;
        bool match;
    } cases[] = {
        {"*", "", true},
        {"*", "layer.weight", true},
        {"layer*", "layer1.conv", true},
        {"*.weight", "layer.weight", true},
        {"*.weight", "layer.weights", false},
        {"l*r*t", "layer.weight", true},
        {"l?yer", "layer", true},
        {"l?yer", "lyer", false},
        {"layer[0-3].w", "layer2.w", true},
        {"layer[0-3].w", "layer4.w", false},
        {"layer[!0-3].w", "layer4.w", true},
        {"layer[^4].w", "layer4.w", false},
        {"layers[0].w", "layers[0].w", true},
        {"[]]", "]", true},
        {"[", "[", true},
        {"a[", "a", false},
        {"*[", "x[", true},
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         false},
        {"**a", "bba", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].glob);
        CHECK_INT(og_glob_match(cases[i].glob, cases[i].name), cases[i].match);
    }
    TEST_CASE("");
}

TEST(edit_distances)
{
    CHECK_INT(og_edit_distance("", ""), 0);
    CHECK_INT(og_edit_distance("", "abc"), 3);
    CHECK_INT(og_edit_distance("kitten", "sitting"), 3);
    CHECK_INT(og_edit_distance("batch_size", "batchsize"), 1);
    char a[201], b[201];
    memset(a, 'a', 200);
    memset(b, 'b', 200);
    a[200] = b[200] = '\0';
    CHECK_INT(og_edit_distance(a, b), 64);
}

TEST(did_you_mean)
{
    static const struct {
        const char *name, *list, *said;
    } cases[] = {
        {"adamv", "sgd, adamw or lamb", "; did you mean adamw?"},
        {"lam", "sgd, adamw or lamb", "; did you mean lamb?"},
        {"gradient", "sgd, adamw or lamb", ""},
        {"onn", "auto, on or off", "; did you mean on?"},
        {"x", "a, b or c", ""},
        {"0.9", "two numbers such as 0.9,0.999", ""},
        {"a numbe", "a number that is not negative", ""},
        {"", "a, b", ""},
        {"a", "", ""},
        {"accurracy", "loss, accuracy, f1 and miou", "; did you mean accuracy?"},
    };
    char buffer[OG_NEAREST], name[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].name);
        CHECK_STR(og_did_you_mean(buffer, cases[i].name, cases[i].list), cases[i].said);
    }
    TEST_CASE("");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    CHECK_STR(og_did_you_mean(buffer, name, name), "");
}

TEST(byte_counts)
{
    char s[32];
    CHECK_STR(og_format_bytes(s, 0), "0 bytes");
    CHECK_STR(og_format_bytes(s, 1), "1 byte");
    CHECK_STR(og_format_bytes(s, 640), "640 bytes");
    CHECK_STR(og_format_bytes(s, 1000), "1.0 kB");
    CHECK_STR(og_format_bytes(s, 999949), "999.9 kB");
    CHECK_STR(og_format_bytes(s, 999960), "1.0 MB");
    CHECK_STR(og_format_bytes(s, 12000000), "12.0 MB");
    CHECK_STR(og_format_bytes(s, 1500000000), "1.5 GB");
    CHECK_STR(og_format_bytes(s, UINT64_MAX), "18.4 EB");
}

/* ---- JSON */

TEST(json_objects)
{
    og_text t = {0};
    og_json j = {.out = &t};
    og_json_open(&j, NULL, '{');
    og_json_int(&j, "step", 1);
    og_json_double(&j, "loss", 0.1);
    og_json_double(&j, "nan", NAN);
    og_json_open(&j, "list", '[');
    og_json_bool(&j, NULL, true);
    og_json_open(&j, NULL, '{');
    og_json_close(&j, '}');
    og_json_null(&j, NULL);
    og_json_close(&j, ']');
    og_json_open(&j, "empty", '[');
    og_json_close(&j, ']');
    og_json_string(&j, "s", "x");
    og_json_close(&j, '}');
    CHECK_STR(
        t.s,
        "{\"step\":1,\"loss\":0.1,\"nan\":null,\"list\":[true,{},null],\"empty\":[],\"s\":\"x\"}");
    og_text_free(&t);
}

TEST(json_strings_are_valid)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a\"b\\c\n\t\r\x01", "\"a\\\"b\\\\c\\n\\t\\r\\u0001\""},
        {"h\xc3\xa9", "\"h\xc3\xa9\""},
        {"\xff", "\"\xef\xbf\xbd\""},
        {"\xc3", "\"\xef\xbf\xbd\""},
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\x7f\xc2\x85\xc2\xa0", "\"\\u007f\\u0085\xc2\xa0\""},
        {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\"\\u2028\\u2029\xe2\x80\xaa\""},
        {"\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd", "\"\\ufffe\\uffff\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        og_text t = {0};
        og_json j = {.out = &t};
        og_json_string(&j, NULL, cases[i].in);
        CHECK_STR(t.s, cases[i].out);
        og_text_free(&t);
    }
}

TEST(json_numbers_read_back)
{
    static const double cases[] = {0,       -0.0,        1,      -1,   1e300,   5e-324,
                                   1.0 / 3, 123456789.0, 2.5e-5, 1e22, 65536.0, 3.1415926535897931,
                                   0.3};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        og_text t = {0};
        og_json j = {.out = &t};
        og_json_double(&j, NULL, cases[i]);
        CHECK(strtod(t.s, NULL) == cases[i]);
        og_text_free(&t);
    }
    og_text t = {0};
    og_json j = {.out = &t};
    og_json_int(&j, NULL, INT64_MIN);
    CHECK_STR(t.s, "-9223372036854775808");
    og_text_free(&t);
}

TEST(json_too_deep_fails)
{
    og_text t = {0};
    og_json j = {.out = &t};
    for (int i = 0; i < 70; i++)
        og_json_open(&j, NULL, '[');
    CHECK_INT(t.failed, true);
    og_text_free(&t);
}

/* ---- names */

TEST(names)
{
    CHECK(strchr(og_version(), '.') != NULL);
    for (int s = OG_OK; s <= OG_INTERNAL; s++)
        CHECK(strcmp(og_status_name((og_status)s), "unknown status") != 0);
    CHECK_STR(og_status_name((og_status)1000), "unknown status");
    CHECK_STR(og_status_name((og_status)-1), "unknown status");
    CHECK_STR(og_dtype_name(OG_FLOAT), "float32");
    CHECK_STR(og_dtype_name(OG_DOUBLE), "float64");
    CHECK_STR(og_dtype_name(OG_FLOAT8E4M3FN), "float8e4m3fn");
    CHECK_STR(og_dtype_name((og_dtype)99), "unknown type");
    CHECK_INT(og_dtype_bits(OG_FLOAT), 32);
    CHECK_INT(og_dtype_bits(OG_BOOL), 8);
    CHECK_INT(og_dtype_bits(OG_INT4), 4);
    CHECK_INT(og_dtype_bits(OG_STRING), 0);
    CHECK_INT(og_dtype_bits((og_dtype)-5), 0);
    for (int d = 1; d < OG_DTYPE_COUNT; d++)
        CHECK(og_dtype_name((og_dtype)d) != NULL);
}

static const og_test tests[] = {
    TEST_ROW(error_keeps_the_first),
    TEST_ROW(error_report_lists_all),
    TEST_ROW(error_moves),
    TEST_ROW(error_texts_may_be_long),
    TEST_ROW(try_returns_the_status),
    TEST_ROW(arena_gives_zeroed_aligned_memory),
    TEST_ROW(arena_refuses_absurd_sizes),
    TEST_ROW(arena_copies_and_grows),
    TEST_ROW(sizes_are_checked),
    TEST_ROW(text_grows),
    TEST_ROW(globs),
    TEST_ROW(edit_distances),
    TEST_ROW(did_you_mean),
    TEST_ROW(byte_counts),
    TEST_ROW(json_objects),
    TEST_ROW(json_strings_are_valid),
    TEST_ROW(json_numbers_read_back),
    TEST_ROW(json_too_deep_fails),
    TEST_ROW(names),
};
TEST_MAIN(tests)
