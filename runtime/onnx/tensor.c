/* TensorProto to og_const. Data that lies ready (raw, external, or a typed field of the same width)
 * is pointed at; the rest (unaligned, or stored in a wider typed field) is copied into the arena.
 * Every length is checked against the shape, so that what comes out is exactly og_type_bytes long.
 *
 * Weights lie in a file at any address, and most are copied to a device once and not read again:
 * those of the top graph stay where they are even if unaligned. */
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/loader.h"

enum { LARGE = 4096 }; /* bytes of a tensor that may lie anywhere */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw tensor data is little-endian");

static og_status read_type(const og__tensor_view *t, og_type *type, og_error *error)
{
    if (t->dtype == OG_STRING)
        return og_fail(error, OG_UNSUPPORTED,
                       "holds strings, which cannot be trained on or computed with here");
    if (t->dtype <= OG_UNDEFINED || t->dtype >= OG_DTYPE_COUNT)
        return og_fail(error, OG_UNSUPPORTED, "has element type %d, known are 1 (float32) to %d",
                       t->dtype, OG_DTYPE_COUNT - 1);
    if (t->rank > OG_MAX_RANK)
        return og_fail(error, OG_UNSUPPORTED, "has %d dims, at most %d are supported", t->rank,
                       OG_MAX_RANK);
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] < 0)
            return og_fail(error, OG_INVALID_MODEL, "dim %d is %lld", i, (long long)t->dims[i]);
    *type = og_type_make((og_dtype)t->dtype, t->rank, t->dims);
    if (og_type_bytes(type) < 0)
        return og_fail(error, OG_INVALID_MODEL, "its dims multiply to more than 2⁶³ bits");
    return OG_OK;
}

/* Little-endian elements that lie somewhere: borrowed if they can be read as they are. */
static og_status take_bytes(og_arena *arena, const void *bytes, bool anywhere, og_const *c,
                            og_error *error)
{
    size_t size = (size_t)og_type_bytes(&c->type);
    bool fit = og_type_is_aligned(&c->type, bytes) ||
               (anywhere && size >= LARGE && og_dtype_is_float(c->type.dtype));
    if (c->type.dtype == OG_BOOL) /* any nonzero byte means true in a file, only 1 does in C */
        for (size_t i = 0; fit && i < size; i++)
            fit = ((const uint8_t *)bytes)[i] <= 1;
    c->data = fit ? bytes : og_arena_copy(arena, bytes, size);
    if (!c->data)
        return og_fail_memory(error, size, "a tensor");
    if (c->type.dtype == OG_BOOL && !fit)
        for (size_t i = 0; i < size; i++)
            ((uint8_t *)(uintptr_t)c->data)[i] = ((const uint8_t *)bytes)[i] != 0;
    return OG_OK;
}

static bool parse_size(const char *text, uint64_t *value)
{
    *value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
            return false;
    }
    return true;
}

static og_status take_external(og_arena *arena, og__external *external, const og__tensor_view *t,
                               bool anywhere, og_const *c, og_error *error)
{
    uint64_t bytes = (uint64_t)og_type_bytes(&c->type), offset = 0, length = bytes;
    const void *data;
    if (!t->location)
        return og_fail(error, OG_INVALID_MODEL, "its external data has no location");
    if (t->offset && !parse_size(t->offset, &offset))
        return og_fail(error, OG_INVALID_MODEL, "its external data has the offset \"%s\"",
                       t->offset);
    if (t->length && !parse_size(t->length, &length))
        return og_fail(error, OG_INVALID_MODEL, "its external data has the length \"%s\"",
                       t->length);
    if (length != bytes)
        return og_fail(error, OG_INVALID_MODEL,
                       "its external data has %llu bytes, its shape needs %llu",
                       (unsigned long long)length, (unsigned long long)bytes);
    OG_TRY(og__external_find(external, t->location, offset, bytes, &data, error));
    return take_bytes(arena, data, anywhere, c, error);
}

/* ---- typed fields */

static og_status check_count(size_t have, size_t need, const char *field, og_error *error)
{
    if (have == need)
        return OG_OK;
    return og_fail(error, OG_INVALID_MODEL, "%s has %zu elements, its shape needs %zu", field, have,
                   need);
}

/* int32_data holds every type narrower than it: one element an entry, or one byte of 4-bit
 * elements. Half floats and float8 are there as their bits. */
static og_status narrow_int32(og_arena *arena, const og__tensor_view *t, og_const *c,
                              og_error *error)
{
    size_t bytes = (size_t)og_type_bytes(&c->type);
    size_t width = og_dtype_bits(c->type.dtype) == 16 ? 2 : 1;
    int32_t low = width == 2 ? INT16_MIN : INT8_MIN, high = width == 2 ? UINT16_MAX : UINT8_MAX;
    OG_TRY(check_count(t->n_int32, bytes / width, "int32_data", error));
    uint8_t *data = og_arena_alloc(arena, bytes);
    if (!data)
        return og_fail_memory(error, bytes, "a tensor");
    for (size_t i = 0; i < t->n_int32; i++) {
        int32_t v = t->int32[i];
        if (v < low || v > high)
            return og_fail(error, OG_INVALID_MODEL, "element %zu is %d, which no %s is", i, v,
                           og_dtype_name(c->type.dtype));
        uint16_t bits = c->type.dtype == OG_BOOL ? v != 0 : (uint16_t)v;
        memcpy(data + i * width, &bits, width);
    }
    c->data = data;
    return OG_OK;
}

static og_status narrow_uint64(og_arena *arena, const og__tensor_view *t, og_const *c,
                               og_error *error)
{
    uint32_t *data = og_arena_array(arena, t->n_uint64, sizeof(*data));
    if (!data)
        return og_fail_memory(error, t->n_uint64 * sizeof(*data), "a tensor");
    for (size_t i = 0; i < t->n_uint64; i++) {
        if (t->uint64[i] > UINT32_MAX)
            return og_fail(error, OG_INVALID_MODEL, "element %zu is %llu, which no uint32 is", i,
                           (unsigned long long)t->uint64[i]);
        data[i] = (uint32_t)t->uint64[i];
    }
    c->data = data;
    return OG_OK;
}

static og_status take_typed(og_arena *arena, const og__tensor_view *t, og_const *c, og_error *error)
{
    size_t n = (size_t)og_type_elements(&c->type);
    switch (c->type.dtype) {
    case OG_FLOAT:
    case OG_COMPLEX64:
        c->data = t->floats;
        return check_count(t->n_float, c->type.dtype == OG_FLOAT ? n : 2 * n, "float_data", error);
    case OG_DOUBLE:
    case OG_COMPLEX128:
        c->data = t->doubles;
        return check_count(t->n_double, c->type.dtype == OG_DOUBLE ? n : 2 * n, "double_data",
                           error);
    case OG_INT64:
        c->data = t->int64;
        return check_count(t->n_int64, n, "int64_data", error);
    case OG_INT32:
        c->data = t->int32;
        return check_count(t->n_int32, n, "int32_data", error);
    case OG_UINT64:
        c->data = t->uint64;
        return check_count(t->n_uint64, n, "uint64_data", error);
    case OG_UINT32:
        OG_TRY(check_count(t->n_uint64, n, "uint64_data", error));
        return narrow_uint64(arena, t, c, error);
    default:
        return narrow_int32(arena, t, c, error);
    }
}

og_status og__tensor_load(og_arena *arena, og__external *external, const og__tensor_proto *tensor,
                          bool anywhere, og_const *c, og_error *error)
{
    og__tensor_view t;
    og__tensor_read(tensor, &t);
    OG_TRY(read_type(&t, &c->type, error));
    if (t.has_segment)
        return og_fail(error, OG_UNSUPPORTED, "is split into segments");
    if (t.external)
        return take_external(arena, external, &t, anywhere, c, error);
    size_t bytes = (size_t)og_type_bytes(&c->type);
    if (bytes == 0) {
        c->data = "";
        return OG_OK;
    }
    if (!t.n_float && !t.n_double && !t.n_int32 && !t.n_int64 && !t.n_uint64 && t.raw_size == 0)
        return og_fail(error, OG_INVALID_MODEL, "holds no data, its shape needs %zu bytes", bytes);
    if (!t.has_raw || t.raw_size == 0)
        return take_typed(arena, &t, c, error);
    if (t.raw_size != bytes)
        return og_fail(error, OG_INVALID_MODEL, "raw_data has %zu bytes, its shape needs %zu",
                       t.raw_size, bytes);
    return take_bytes(arena, t.raw, anywhere, c, error);
}
