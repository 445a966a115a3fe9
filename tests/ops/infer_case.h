/* Inference of a row as a line of text: inputs and attributes, and the outputs' types or a part of
 * the error.
 *     inputs   f[2,3]  float32 (d double, h float16, i int64, j int32, u uint8, b bool), any
 * content i{2,-1} a constant list (int64 or float32);  i=3, f=0.5, b=1 a constant scalar;  - absent
 *     attrs    axis=1  alpha=0.5  pads=[1,1]  mode='edge' */
#ifndef OG_TESTS_INFER_CASE_H
#define OG_TESTS_INFER_CASE_H

#include "tests/test.h"

#include <ctype.h>
#include <stdlib.h>

#include "runtime/graph/build.h"
#include "runtime/graph/draft.h"

/* ---- reading a case */

static og_dtype dtype_of(char letter)
{
    static const char letters[] = "fdhijub";
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_FLOAT16, OG_INT64,
                                      OG_INT32, OG_UINT8,  OG_BOOL};
    const char *at = strchr(letters, letter);
    return at && letter ? dtypes[at - letters] : OG_UNDEFINED;
}

/* "1,2,3" up to `close`; the count. */
static int read_ints(const char **text, char close, int64_t *ints)
{
    int n = 0;
    while (**text && **text != close) {
        char *end;
        ints[n++] = strtoll(*text, &end, 10);
        *text = *end == ',' ? end + 1 : end;
    }
    *text += **text == close;
    return n;
}

static og_val read_input(og_graph *g, const char **text)
{
    if (**text == '-') {
        (*text)++;
        return OG_NONE;
    }
    og_type t = {.dtype = dtype_of(*(*text)++)};
    char form = *(*text)++;
    if (form == '[') {
        t.rank = read_ints(text, ']', t.dims);
        return og_graph_add_input(g, "x", &t);
    }
    if (form == '{') {
        int64_t ints[64];
        float floats[64];
        t.rank = 1;
        t.dims[0] = read_ints(text, '}', ints);
        for (int64_t k = 0; k < t.dims[0]; k++)
            floats[k] = (float)ints[k];
        return t.dtype == OG_FLOAT ? og_const_copy(g, &t, floats)
                                   : og_const_ints(g, (int)t.dims[0], ints);
    }
    char *end;
    double value = strtod(*text, &end);
    *text = end;
    return og_const_double(g, t.dtype, value);
}

static og_attr read_attr(og_graph *g, const char **text)
{
    const char *equal = strchr(*text, '=');
    og_attr a = {.name = og_arena_strndup(g->arena, *text, (size_t)(equal - *text))};
    *text = equal + 1;
    if (**text == '[') {
        int64_t ints[64];
        (*text)++;
        a.kind = OG_ATTR_INTS;
        a.n = read_ints(text, ']', ints);
        a.ints = og_arena_copy(g->arena, ints, sizeof(int64_t) * (size_t)a.n + 1);
    } else if (**text == '\'') {
        const char *end = strchr(*text + 1, '\'');
        a.kind = OG_ATTR_STRING;
        a.s = og_arena_strndup(g->arena, *text + 1, (size_t)(end - *text - 1));
        *text = end + 1;
    } else {
        char *end;
        a.f = strtod(*text, &end);
        bool real = memchr(*text, '.', (size_t)(end - *text)) != NULL;
        a.kind = real ? OG_ATTR_FLOAT : OG_ATTR_INT;
        a.i = real ? 0 : strtoll(*text, &end, 10);
        *text = end;
    }
    return a;
}

/* "f[2,3] i[2]" */
static void types_text(const og_graph *g, const og_node *n, char *buffer, size_t size)
{
    static const char *const letters[OG_DTYPE_COUNT] = {
        [OG_FLOAT] = "f", [OG_DOUBLE] = "d", [OG_FLOAT16] = "h", [OG_INT64] = "i",
        [OG_INT32] = "j", [OG_UINT8] = "u",  [OG_BOOL] = "b",
    };
    size_t at = 0;
    for (int k = 0; k < n->n_out; k++) {
        const og_type *t = &g->values[n->out[k]]->type;
        at += (size_t)snprintf(buffer + at, size - at, "%s%s[", k ? " " : "", letters[t->dtype]);
        for (int a = 0; a < t->rank; a++)
            at += (size_t)snprintf(buffer + at, size - at, "%s%lld", a ? "," : "",
                                   (long long)t->dims[a]);
        at += (size_t)snprintf(buffer + at, size - at, "]");
    }
}

/* All inputs of a case, as ids; their count. */
static int read_inputs(og_graph *g, const char *text, int *ids)
{
    int n = 0;
    while (*text)
        if (*text == ' ') {
            text++;
        } else {
            og_val v = read_input(g, &text);
            ids[n++] = v.g ? v.id : -1;
        }
    return n;
}

static int read_attrs(og_graph *g, const char *text, og_attr *attrs)
{
    int n = 0;
    while (*text)
        if (*text == ' ')
            text++;
        else
            attrs[n++] = read_attr(g, &text);
    return n;
}

static int count_words(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += !isspace((unsigned char)*text) && (!text[1] || isspace((unsigned char)text[1]));
    return n;
}

typedef struct infer_case {
    const char *op, *inputs, *attrs;
    const char *expected; /* types, or '!' and a part of the error */
    int outputs;          /* asked for, where an error is expected; 0: 1 */
} infer_case;

static void run_case(const infer_case *c)
{
    char text[512];
    int ids[64];
    og_attr attrs[16];
    og_graph *g = og_graph_new();
    REQUIRE(g);
    snprintf(text, sizeof text, "%s %s %s", c->op, c->inputs, c->attrs);
    TEST_CASE(text);
    int n_in = read_inputs(g, c->inputs, ids), n_attrs = read_attrs(g, c->attrs, attrs);
    bool internal = strncmp(c->op, OG_DOMAIN "::", sizeof OG_DOMAIN "::" - 1) == 0;
    int outputs = *c->expected == '!' ? (c->outputs ? c->outputs : 1) : count_words(c->expected);
    const og_node *n = og_graph_add_op(g, internal ? OG_DOMAIN : "",
                                       internal ? c->op + sizeof OG_DOMAIN "::" - 1 : c->op, "n",
                                       ids, n_in, outputs, attrs, n_attrs);
    if (*c->expected == '!') {
        CHECK(!n);
        CHECK_TEXT(og_error_text(&g->error), c->expected + 1);
        CHECK(g->error.status == OG_INVALID_MODEL || g->error.status == OG_UNSUPPORTED);
    } else if (!n) {
        CHECK_STR(og_error_text(&g->error), c->expected);
    } else {
        char found[512];
        types_text(g, n, found, sizeof found);
        CHECK_STR(found, c->expected);
    }
    og_graph_free(g);
    TEST_CASE("");
}

#define RUN(cases)                                            \
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) \
    run_case(&cases[k])

#endif
