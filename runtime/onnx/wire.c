/* The wire format; see wire.h. Limits are those of protobuf-c's parser or tighter: tags and lengths
 * of at most five bytes, lengths below 2³¹. Groups (wire types 3 and 4), which ONNX never had, are
 * malformed. */
#include "runtime/onnx/wire.h"

#include <string.h>

enum { MAX_FIELD_NUMBER = (1 << 29) - 1, SMALL_BLOCK = 1024 };

/* ---- reading */

static bool read_varint(const uint8_t **p, const uint8_t *end, int max_bytes, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < max_bytes && *p < end; i++) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *value = v;
            return true;
        }
    }
    return false;
}

static bool read_fixed(const uint8_t **p, const uint8_t *end, size_t bytes, uint64_t *value)
{
    if ((size_t)(end - *p) < bytes)
        return false;
    *value = 0;
    memcpy(value, *p, bytes); /* little-endian machines only, see tensor.c */
    *p += bytes;
    return true;
}

static bool read_field(const uint8_t **p, const uint8_t *end, og__field *f)
{
    uint64_t tag, length;
    if (!read_varint(p, end, 5, &tag) || tag >> 3 == 0 || tag >> 3 > MAX_FIELD_NUMBER)
        return false;
    f->number = (uint32_t)(tag >> 3);
    f->type = (int)(tag & 7);
    switch (f->type) {
    case OG__WIRE_VARINT:
        return read_varint(p, end, 10, &f->value);
    case OG__WIRE_FIXED64:
        return read_fixed(p, end, 8, &f->value);
    case OG__WIRE_FIXED32:
        return read_fixed(p, end, 4, &f->value);
    case OG__WIRE_BYTES:
        if (!read_varint(p, end, 5, &length) || length > INT32_MAX || length > (size_t)(end - *p))
            return false;
        f->bytes = *p;
        f->size = (size_t)length;
        *p += length;
        return true;
    default:
        return false;
    }
}

int og__wire_next(og__wire *w, og__field *field)
{
    if (w->p == w->end)
        return 0;
    const uint8_t *p = w->p;
    *field = (og__field){.start = p};
    if (!read_field(&p, w->end, field))
        return -1;
    field->total = (size_t)(p - w->p);
    w->p = p;
    return 1;
}

bool og__wire_find(og__wire in, uint32_t number, og__field *found)
{
    og__field f;
    bool any = false;
    while (og__wire_next(&in, &f) > 0)
        if (f.number == number && f.type == OG__WIRE_BYTES) {
            *found = f;
            any = true;
        }
    return any;
}

bool og__field_is(const og__field *field, const char *text)
{
    return field->type == OG__WIRE_BYTES && strlen(text) == field->size &&
           memcmp(field->bytes, text, field->size) == 0;
}

/* ---- writing */

void og__out_raw(og__out *out, const void *bytes, size_t size)
{
    if (out->failed || size == 0)
        return;
    og__piece *last = out->n ? &out->pieces[out->n - 1] : NULL;
    if (last && (const uint8_t *)last->bytes + last->size == bytes) {
        last->size += size;
        out->size += size;
        return;
    }
    og__piece *pieces =
        og_arena_grow(out->arena, out->pieces, out->n, &out->capacity, sizeof(*pieces));
    if (!pieces) {
        out->failed = true;
        return;
    }
    out->pieces = pieces;
    out->pieces[out->n++] = (og__piece){bytes, size};
    out->size += size;
}

/* A copy of a few bytes as a piece. */
static void put_small(og__out *out, const uint8_t *bytes, size_t size)
{
    if (out->room < size) {
        size_t block = size > SMALL_BLOCK / 4 ? size : SMALL_BLOCK;
        uint8_t *memory = og_arena_alloc(out->arena, block);
        if (!memory) {
            out->failed = true;
            return;
        }
        out->spare = memory;
        out->room = block;
    }
    if (size)
        memcpy(out->spare, bytes, size);
    og__out_raw(out, out->spare, size);
    out->spare += size;
    out->room -= size;
}

static size_t encode_varint(uint8_t *to, uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        to[n++] = (uint8_t)(value | 0x80);
    to[n++] = (uint8_t)value;
    return n;
}

static size_t encode_tag(uint8_t *to, uint32_t number, int type)
{
    return encode_varint(to, (uint64_t)number << 3 | (unsigned)type);
}

void og__out_varint(og__out *out, uint32_t number, uint64_t value)
{
    uint8_t header[OG__WIRE_HEADER];
    size_t n = encode_tag(header, number, OG__WIRE_VARINT);
    n += encode_varint(header + n, value);
    put_small(out, header, n);
}

void og__out_float(og__out *out, uint32_t number, float value)
{
    uint8_t header[OG__WIRE_HEADER];
    size_t n = encode_tag(header, number, OG__WIRE_FIXED32);
    memcpy(header + n, &value, sizeof(value));
    put_small(out, header, n + sizeof(value));
}

size_t og__wire_header(uint8_t to[OG__WIRE_HEADER], uint32_t number, uint64_t size)
{
    size_t n = encode_tag(to, number, OG__WIRE_BYTES);
    return n + encode_varint(to + n, size);
}

static void put_length(og__out *out, uint32_t number, uint64_t size)
{
    uint8_t header[OG__WIRE_HEADER];
    put_small(out, header, og__wire_header(header, number, size));
}

void og__out_bytes(og__out *out, uint32_t number, const void *bytes, size_t size)
{
    put_length(out, number, size);
    og__out_raw(out, bytes, size);
}

void og__out_text(og__out *out, uint32_t number, const char *text)
{
    size_t size = strlen(text);
    put_length(out, number, size);
    put_small(out, (const uint8_t *)text, size);
}

void og__out_message(og__out *out, uint32_t number, const og__out *message)
{
    out->failed |= message->failed;
    put_length(out, number, message->size);
    for (size_t i = 0; i < message->n; i++)
        og__out_raw(out, message->pieces[i].bytes, message->pieces[i].size);
}

bool og__out_write(const og__out *out, bool (*write)(void *user, const void *bytes, size_t size),
                   void *user)
{
    for (size_t i = 0; i < out->n; i++)
        if (!write(user, out->pieces[i].bytes, out->pieces[i].size))
            return false;
    return true;
}
