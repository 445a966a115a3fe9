/* The .safetensors format: eight bytes of the header's length, a JSON object of names, types,
 * shapes and places, and the elements.
 * https://github.com/huggingface/safetensors#format
 *
 * Only what such a header may hold is read: an object of objects. A tensor's bytes must be as many
 * as its shape says, and lie in the file. */
#include <string.h>

#include "runtime/base/text.h"
#include "runtime/data/array.h"

enum { LENGTH_BYTES = 8, LONGEST_HEADER = 100 << 20, NAME_BYTES = 256, MOST_LISTED = 20 };

static uint64_t header_length(og__bytes file)
{
    uint64_t n = 0;
    for (int i = LENGTH_BYTES; i-- > 0;)
        n = n << 8 | file.p[i];
    return n;
}

bool og__is_safetensors(og__bytes file)
{
    return file.n >= LENGTH_BYTES + 2 && file.p[LENGTH_BYTES] == '{' &&
           header_length(file) <= LONGEST_HEADER;
}

/* ---- the JSON of a header */

typedef struct cursor {
    const char *p, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
        c->p++;
}

static bool take(cursor *c, char what)
{
    skip_space(c);
    if (c->p == c->end || *c->p != what)
        return false;
    c->p++;
    return true;
}

/* A string; what does not fit, and escapes but \" and \\, is cut or kept as it is. */
static bool take_string(cursor *c, char text[NAME_BYTES])
{
    size_t n = 0;
    if (!take(c, '"'))
        return false;
    for (; c->p < c->end && *c->p != '"'; c->p++) {
        if (*c->p == '\\' && ++c->p == c->end)
            return false;
        if (n + 1 < NAME_BYTES)
            text[n++] = *c->p;
    }
    text[n] = '\0';
    return take(c, '"');
}

static bool take_number(cursor *c, uint64_t *value)
{
    skip_space(c);
    const char *from = c->p;
    for (*value = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
        if (*value > (UINT64_MAX >> 1) / 10 ||
            (*value = *value * 10 + (uint64_t)(*c->p - '0')) > INT64_MAX)
            return false;
    return c->p > from;
}

/* [n, …]: at most `most`; -1 if it is none. */
static int take_numbers(cursor *c, uint64_t *values, int most)
{
    int n = 0;
    if (!take(c, '['))
        return -1;
    if (take(c, ']'))
        return 0;
    do {
        if (n == most || !take_number(c, &values[n++]))
            return -1;
    } while (take(c, ','));
    return take(c, ']') ? n : -1;
}

/* ---- a tensor */

typedef struct tensor {
    char name[NAME_BYTES], dtype[NAME_BYTES];
    uint64_t dims[OG_MAX_RANK], place[2];
    int rank, n_place;
} tensor;

/* {"dtype": "F32", "shape": […], "data_offsets": [from, to]}; other keys hold strings. */
static bool take_tensor(cursor *c, tensor *t)
{
    char key[NAME_BYTES], other[NAME_BYTES];
    if (!take(c, '{'))
        return false;
    if (take(c, '}'))
        return true;
    do {
        if (!take_string(c, key) || !take(c, ':'))
            return false;
        bool ok;
        if (!strcmp(key, "dtype"))
            ok = take_string(c, t->dtype);
        else if (!strcmp(key, "shape"))
            ok = (t->rank = take_numbers(c, t->dims, OG_MAX_RANK)) >= 0;
        else if (!strcmp(key, "data_offsets"))
            ok = (t->n_place = take_numbers(c, t->place, 2)) == 2;
        else
            ok = take_string(c, other);
        if (!ok)
            return false;
    } while (take(c, ','));
    return take(c, '}');
}

static og_dtype dtype_of(const char *name)
{
    static const struct {
        const char *name;
        og_dtype dtype;
    } types[] = {{"F32", OG_FLOAT}, {"F64", OG_DOUBLE}, {"F16", OG_FLOAT16}, {"BF16", OG_BFLOAT16},
                 {"I64", OG_INT64}, {"I32", OG_INT32},  {"I16", OG_INT16},   {"I8", OG_INT8},
                 {"U8", OG_UINT8},  {"BOOL", OG_BOOL},  {"U16", OG_UINT16},  {"U32", OG_UINT32},
                 {"U64", OG_UINT64}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name))
            return types[i].dtype;
    return OG_UNDEFINED;
}

static og_status place(og__bytes file, size_t header, const tensor *t, og_array *array,
                       og_error *error)
{
    size_t bytes, room = file.n - header;
    array->dtype = dtype_of(t->dtype);
    if (!array->dtype)
        return og_fail(error, OG_UNSUPPORTED, "\"%s\" is of type %s, which is not read", t->name,
                       t->dtype);
    array->rank = t->rank;
    for (int d = 0; d < t->rank; d++)
        array->dims[d] = (int64_t)t->dims[d];
    OG_TRY(og__array_bytes(array, &bytes, error));
    if (t->n_place != 2 || t->place[0] > t->place[1] || t->place[1] > room)
        return og_fail(error, OG_INVALID_DATA, "cut off: \"%s\" lies beyond the end", t->name);
    if (t->place[1] - t->place[0] != bytes)
        return og_fail(error, OG_INVALID_DATA, "\"%s\" takes %zu bytes by its shape, and has %llu",
                       t->name, bytes, (unsigned long long)(t->place[1] - t->place[0]));
    return og__array_place(array, file.p + header + t->place[0], bytes, error);
}

og_status og__safetensors_open(og__bytes file, const char *member, og_array *array, og_error *error)
{
    uint64_t length = header_length(file);
    if (length > file.n - LENGTH_BYTES)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: the .safetensors header takes %llu bytes, the file has %zu",
                       (unsigned long long)length, file.n - LENGTH_BYTES);
    cursor c = {(const char *)file.p + LENGTH_BYTES, (const char *)file.p + LENGTH_BYTES + length};
    og_text list = {0};
    tensor found = {0};
    int n = 0, matches = 0;
    bool ok = take(&c, '{');
    while (ok && !take(&c, '}')) {
        tensor t = {0};
        ok = take_string(&c, t.name) && take(&c, ':') && take_tensor(&c, &t);
        if (!ok || !strcmp(t.name, "__metadata__")) {
            take(&c, ',');
            continue;
        }
        if (n++ < MOST_LISTED)
            og_text_printf(&list, "%s%s", n == 1 ? "" : ", ", t.name);
        if (!member || !strcmp(member, t.name)) {
            found = t;
            matches++;
        }
        take(&c, ',');
    }
    og_status status = OG_OK;
    if (!ok)
        status = og_fail(error, OG_INVALID_DATA, "damaged .safetensors header");
    else if (matches == 0)
        status = og_fail(error, OG_INVALID_DATA, "no tensor%s%s%s in the file; it has %s",
                         member ? " \"" : "", member ? member : "", member ? "\"" : "",
                         list.s ? list.s : "none");
    else if (matches > 1)
        status = og_fail(error, OG_INVALID_DATA,
                         "the file has %d tensors: %s; hint: choose one with "
                         "FILE.safetensors:NAME",
                         n, list.s ? list.s : "");
    og_text_free(&list);
    return status == OG_OK ? place(file, LENGTH_BYTES + (size_t)length, &found, array, error)
                           : status;
}
