/* The .npy format, versions 1.0, 2.0 and 3.0: magic, version, header length, a Python dictionary,
 * elements. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 *
 * The dictionary is read by a parser of exactly what numpy.save writes: the keys descr,
 * fortran_order and shape, once each, in any order. Nothing is ever unpickled. */
#include "runtime/data/array.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/checked.h"

enum { LONGEST_HEADER = 1 << 20 };

typedef struct cursor {
    const char *p, *end;
    og_error *error;
} cursor;

static og_status malformed(cursor *c, const char *what)
{
    char shown[48];
    int n = 0;
    for (const char *s = c->p; s < c->end && n < 40; s++)
        shown[n++] = *s >= 0x20 && *s < 0x7f ? *s : '?';
    shown[n] = '\0';
    return og_fail(c->error, OG_INVALID_DATA, "malformed .npy header: expected %s at \"%s\"", what,
                   shown);
}

static void skip_space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t'))
        c->p++;
}

/* The next character if it is `wanted`. */
static bool accept(cursor *c, char wanted)
{
    skip_space(c);
    if (c->p >= c->end || *c->p != wanted)
        return false;
    c->p++;
    return true;
}

static bool accept_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return false;
    c->p += n;
    return true;
}

/* A quoted string without escapes. */
static og_status read_string(cursor *c, char *out, size_t size)
{
    skip_space(c);
    char quote = c->p < c->end ? *c->p : 0;
    if (quote != '\'' && quote != '"')
        return malformed(c, "a quoted string");
    const char *first = c->p + 1, *last = memchr(first, quote, (size_t)(c->end - first));
    size_t n = last ? (size_t)(last - first) : 0;
    if (!last || n >= size || memchr(first, '\\', n) || memchr(first, '\0', n))
        return malformed(c, "a short quoted string");
    memcpy(out, first, n);
    out[n] = '\0';
    c->p = last + 1;
    return OG_OK;
}

static og_status read_descr(cursor *c, og_array *array)
{
    static const struct {
        const char *text;
        og_dtype dtype;
    } types[] = {
        {"f2", OG_FLOAT16}, {"f4", OG_FLOAT},  {"f8", OG_DOUBLE}, {"i1", OG_INT8},
        {"i2", OG_INT16},   {"i4", OG_INT32},  {"i8", OG_INT64},  {"u1", OG_UINT8},
        {"u2", OG_UINT16},  {"u4", OG_UINT32}, {"u8", OG_UINT64}, {"b1", OG_BOOL},
    };
    const char foreign = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<';
    skip_space(c);
    if (c->p < c->end && *c->p == '[')
        return og_fail(c->error, OG_UNSUPPORTED,
                       "a structured array; hint: save one field: np.save(path, a[\"field\"])");
    char descr[24];
    OG_TRY(read_string(c, descr, sizeof descr));
    const char *type = strchr("<>|=", descr[0]) && descr[0] ? descr + 1 : descr;
    array->dtype = OG_UNDEFINED;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(type, types[i].text))
            array->dtype = types[i].dtype;
    if (type[0] == 'O')
        return og_fail(c->error, OG_UNSUPPORTED,
                       "an array of Python objects (dtype \"%s\"); hint: save an array of numbers, "
                       "np.save(path, np.stack(list_of_equal_arrays))",
                       descr);
    if (array->dtype == OG_UNDEFINED)
        return og_fail(c->error, OG_UNSUPPORTED,
                       "dtype \"%s\"; f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1 are read; "
                       "hint: np.save(path, a.astype(np.float32))",
                       descr);
    if (descr[0] == foreign && og_dtype_bits(array->dtype) > 8)
        return og_fail(
            c->error, OG_UNSUPPORTED,
            "dtype \"%s\" has the other byte order; hint: np.save(path, a.astype(\"%s\"))", descr,
            type);
    return OG_OK;
}

/* (), (3,), (3, 4), (3, 4,) */
static og_status read_shape(cursor *c, og_array *array)
{
    array->rank = 0;
    if (!accept(c, '('))
        return malformed(c, "a tuple");
    while (!accept(c, ')')) {
        int64_t dim = 0;
        const char *first = c->p;
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
            if (__builtin_mul_overflow(dim, 10, &dim) ||
                __builtin_add_overflow(dim, *c->p - '0', &dim))
                return og_fail(c->error, OG_INVALID_DATA, "a dim in the shape overflows 64 bits");
        if (c->p == first)
            return malformed(c, "a dim (a non-negative integer)");
        if (array->rank == OG_MAX_RANK)
            return og_fail(c->error, OG_UNSUPPORTED, "more than %d dims", OG_MAX_RANK);
        array->dims[array->rank++] = dim;
        accept(c, 'L'); /* Python 2 wrote 3L */
        bool comma = accept(c, ',');
        skip_space(c);
        bool closes = c->p < c->end && *c->p == ')';
        if (!comma && (!closes || array->rank == 1))
            return malformed(c, "a comma");
    }
    return OG_OK;
}

static og_status read_dictionary(cursor *c, og_array *array)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    unsigned seen = 0;
    bool fortran = false;
    if (!accept(c, '{'))
        return malformed(c, "a dictionary");
    while (!accept(c, '}')) {
        char key[24];
        unsigned bit = 0;
        OG_TRY(read_string(c, key, sizeof key));
        for (unsigned i = 0; i < 3; i++)
            if (!strcmp(key, keys[i]))
                bit = 1u << i;
        if (!bit || (seen & bit))
            return og_fail(c->error, OG_INVALID_DATA, "malformed .npy header: %s key \"%s\"",
                           bit ? "repeated" : "unknown", key);
        seen |= bit;
        if (!accept(c, ':'))
            return malformed(c, "a colon");
        if (bit == DESCR)
            OG_TRY(read_descr(c, array));
        else if (bit == SHAPE)
            OG_TRY(read_shape(c, array));
        else if (accept_word(c, "True"))
            fortran = true;
        else if (!accept_word(c, "False"))
            return malformed(c, "True or False");
        skip_space(c);
        if (!accept(c, ',') && (c->p >= c->end || *c->p != '}'))
            return malformed(c, "a comma");
    }
    skip_space(c);
    if (c->p != c->end)
        return malformed(c, "nothing behind the dictionary");
    if (seen != (DESCR | ORDER | SHAPE))
        return og_fail(c->error, OG_INVALID_DATA, "malformed .npy header: key \"%s\" is missing",
                       keys[!(seen & DESCR)   ? 0
                            : !(seen & ORDER) ? 1
                                              : 2]);
    if (fortran && array->rank > 1)
        return og_fail(
            c->error, OG_UNSUPPORTED,
            "the array is in Fortran order; hint: np.save(path, np.ascontiguousarray(a))");
    return OG_OK;
}

og_status og__npy_header_bytes(og__bytes prefix, size_t *bytes, og_error *error)
{
    const uint8_t *p = prefix.p;
    if (prefix.n < 10 || memcmp(p, "\x93NUMPY", 6) != 0 || (p[6] >= 2 && prefix.n < 12))
        return og_fail(error, OG_INVALID_DATA, "not a .npy file, or cut off in its header");
    if (p[6] < 1 || p[6] > 3 || p[7] != 0)
        return og_fail(error, OG_UNSUPPORTED, ".npy version %d.%d; 1.0, 2.0 and 3.0 are read", p[6],
                       p[7]);
    size_t length = (size_t)p[8] | (size_t)p[9] << 8, start = 10;
    if (p[6] >= 2) {
        length |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
        start = 12;
    }
    if (length > LONGEST_HEADER)
        return og_fail(error, OG_INVALID_DATA, "a .npy header of %zu bytes; at most %d are read",
                       length, LONGEST_HEADER);
    *bytes = start + length;
    return OG_OK;
}

og_status og__npy_header(og__bytes header, size_t total, og_array *array, size_t *bytes,
                         og_error *error)
{
    size_t length = 0;
    OG_TRY(og__npy_header_bytes(header, &length, error));
    if (length > header.n || length > total)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: the .npy header takes %zu bytes, the file has %zu", length,
                       header.n < total ? header.n : total);
    const char *text = (const char *)header.p + (header.p[6] >= 2 ? 12 : 10);
    cursor c = {text, (const char *)header.p + length, error};
    OG_TRY(read_dictionary(&c, array));
    OG_TRY(og__array_bytes(array, bytes, error));
    if (*bytes > total - length)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: the header promises %zu bytes of elements, the file has %zu",
                       *bytes, total - length);
    if (*bytes < total - length)
        return og_fail(error, OG_INVALID_DATA,
                       "%zu bytes more than the shape in the header says; "
                       "hint: one array a file, np.save once",
                       total - length - *bytes);
    return OG_OK;
}

og_status og__npy_open(og__bytes file, og_array *array, og_error *error)
{
    size_t header = 0, bytes = 0;
    OG_TRY(og__npy_header_bytes(file, &header, error));
    OG_TRY(og__npy_header(file, file.n, array, &bytes, error));
    return og__array_place(array, file.p + header, bytes, error);
}
