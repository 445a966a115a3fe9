/* The .safetensors format: eight bytes of the header's length, a JSON object of names, types,
 * shapes and places, and the elements.
 * https://github.com/huggingface/safetensors#format
 *
 * Only what such a header may hold is read: an object of objects, whose values are strings and
 * lists of numbers. */
#include "runtime/base/safetensors.h"

#include <string.h>

#include "runtime/base/checked.h"

enum { LENGTH_BYTES = 8, LONGEST_HEADER = 100 << 20, KEY_BYTES = 32 };

static uint64_t header_length(const uint8_t *file)
{
    uint64_t n = 0;
    for (int i = LENGTH_BYTES; i-- > 0;)
        n = n << 8 | file[i];
    return n;
}

bool og_is_safetensors(const uint8_t *file, size_t size)
{
    return size >= LENGTH_BYTES + 2 && file[LENGTH_BYTES] == '{' &&
           header_length(file) <= LONGEST_HEADER;
}

/* ---- the JSON of a header */

static void skip_space(og_safetensors *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

static bool take(og_safetensors *s, char what)
{
    skip_space(s);
    if (s->at == s->end || *s->at != what)
        return false;
    s->at++;
    return true;
}

/* A string; of an escape, the character behind the backslash. *whole: it fits. */
static bool take_string(og_safetensors *s, char *text, size_t size, bool *whole)
{
    size_t n = 0;
    *whole = true;
    if (!take(s, '"'))
        return false;
    for (; s->at < s->end && *s->at != '"'; s->at++) {
        if (*s->at == '\\' && ++s->at == s->end)
            return false;
        if (n + 1 < size)
            text[n++] = *s->at;
        else
            *whole = false;
    }
    text[n] = '\0';
    return take(s, '"');
}

static bool take_number(og_safetensors *s, uint64_t *value)
{
    skip_space(s);
    const char *from = s->at;
    for (*value = 0; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        if (*value > (UINT64_MAX >> 1) / 10 ||
            (*value = *value * 10 + (uint64_t)(*s->at - '0')) > INT64_MAX)
            return false;
    return s->at > from;
}

/* [n, …]; *n counts also those behind the first `most`, which are all that is kept. */
static bool take_numbers(og_safetensors *s, uint64_t *values, int most, int *n)
{
    uint64_t value;
    *n = 0;
    if (!take(s, '['))
        return false;
    if (take(s, ']'))
        return true;
    do {
        if (!take_number(s, &value))
            return false;
        if (*n < most)
            values[*n] = value;
        *n += *n <= most;
    } while (take(s, ','));
    return take(s, ']');
}

static bool take_shape(og_safetensors *s, og_safetensor *t)
{
    uint64_t dims[OG_MAX_RANK] = {0};
    if (!take_numbers(s, dims, OG_MAX_RANK, &t->rank))
        return false;
    for (int d = 0; d < OG_MAX_RANK; d++)
        t->dims[d] = (int64_t)dims[d];
    if (t->rank > OG_MAX_RANK)
        t->rank = -1;
    return true;
}

/* {"dtype": "F32", "shape": […], "data_offsets": [from, to]}; other keys hold strings, and of
 * __metadata__ all do. */
static bool take_tensor(og_safetensors *s, og_safetensor *t, bool metadata, bool *complete)
{
    char key[KEY_BYTES], other[KEY_BYTES];
    bool whole, has_type = false, has_shape = false, has_place = false;
    if (!take(s, '{'))
        return false;
    bool empty = take(s, '}');
    while (!empty) {
        if (!take_string(s, key, sizeof key, &whole) || !take(s, ':'))
            return false;
        bool ok;
        if (!metadata && !strcmp(key, "dtype")) {
            ok = has_type = take_string(s, t->type, sizeof t->type, &whole);
        } else if (!metadata && !strcmp(key, "shape")) {
            ok = has_shape = take_shape(s, t);
        } else if (!metadata && !strcmp(key, "data_offsets")) {
            uint64_t place[2];
            int n;
            ok = has_place = take_numbers(s, place, 2, &n) && n == 2;
            t->from = ok ? place[0] : 0;
            t->to = ok ? place[1] : 0;
        } else {
            ok = take_string(s, other, sizeof other, &whole);
        }
        if (!ok)
            return false;
        if (!take(s, ','))
            break;
    }
    *complete = has_type && has_shape && has_place;
    return empty || take(s, '}');
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

/* ---- the list */

og_status og_safetensors_open(const uint8_t *file, size_t size, og_safetensors *list,
                              og_error *error)
{
    if (size < LENGTH_BYTES + 2)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: %zu bytes are no .safetensors file, whose header alone is longer",
                       size);
    uint64_t length = header_length(file);
    if (length > size - LENGTH_BYTES)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: the .safetensors header takes %llu bytes, the file has %zu",
                       (unsigned long long)length, size - LENGTH_BYTES);
    const char *header = (const char *)file + LENGTH_BYTES;
    *list = (og_safetensors){.elements = file + LENGTH_BYTES + length,
                             .room = size - LENGTH_BYTES - (size_t)length,
                             .at = header,
                             .end = header + length};
    if (length > LONGEST_HEADER || !take(list, '{'))
        return og_fail(error, OG_INVALID_DATA, "not a .safetensors file: its header is no object");
    return OG_OK;
}

og_status og_safetensors_next(og_safetensors *list, og_safetensor *t, bool *more, og_error *error)
{
    bool metadata = true, whole, complete;
    *more = false;
    while (metadata) {
        *t = (og_safetensor){0};
        if (take(list, '}'))
            return OG_OK;
        if (!take_string(list, t->name, sizeof t->name, &whole) || !take(list, ':'))
            return og_fail(error, OG_INVALID_DATA, "damaged .safetensors header");
        if (!whole)
            return og_fail(error, OG_INVALID_DATA,
                           "a tensor's name of more than %zu bytes in the .safetensors header",
                           sizeof t->name - 1);
        metadata = !strcmp(t->name, "__metadata__");
        if (!take_tensor(list, t, metadata, &complete))
            return og_fail(error, OG_INVALID_DATA, "damaged .safetensors header, at \"%s\"",
                           t->name);
        if (!metadata && !complete)
            return og_fail(error, OG_INVALID_DATA,
                           "\"%s\" of the .safetensors header lacks its dtype, shape or "
                           "data_offsets",
                           t->name);
        take(list, ',');
    }
    t->dtype = dtype_of(t->type);
    *more = true;
    return OG_OK;
}

og_status og_safetensor_place(const og_safetensors *list, const og_safetensor *t,
                              const uint8_t **elements, size_t *bytes, og_error *error)
{
    if (!t->dtype)
        return og_fail(error, OG_UNSUPPORTED, "\"%s\" is of type %s, which is not read", t->name,
                       t->type);
    if (t->rank < 0)
        return og_fail(error, OG_UNSUPPORTED, "\"%s\" has more than %d dims", t->name, OG_MAX_RANK);
    size_t n = (size_t)og_dtype_bits(t->dtype) / 8;
    bool empty = false, fits = true;
    for (int d = 0; d < t->rank; d++) {
        if (t->dims[d] == 0)
            empty = true;
        else if (fits)
            fits = og_mul_size(n, (size_t)t->dims[d], &n);
    }
    if (!fits || n > PTRDIFF_MAX)
        return og_fail(error, OG_INVALID_DATA,
                       "the shape in the header overflows: \"%s\", %d dims of %s", t->name, t->rank,
                       og_dtype_name(t->dtype));
    n = empty ? 0 : n;
    if (t->from > t->to || t->to > list->room)
        return og_fail(error, OG_INVALID_DATA, "cut off: \"%s\" lies beyond the end", t->name);
    if (t->to - t->from != n)
        return og_fail(error, OG_INVALID_DATA, "\"%s\" takes %zu bytes by its shape, and has %llu",
                       t->name, n, (unsigned long long)(t->to - t->from));
    *elements = list->elements + t->from;
    *bytes = n;
    return OG_OK;
}
