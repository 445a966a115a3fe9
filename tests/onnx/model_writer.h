/* Models byte by byte, for tests: a protobuf writer that will write anything, and the ONNX messages
 * made with it. A pb is a growing buffer; functions return or append to one by value. Nothing is
 * checked and out of memory aborts. */
#ifndef OG_TESTS_MODEL_WRITER_H
#define OG_TESTS_MODEL_WRITER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct pb {
    uint8_t *bytes;
    size_t size, capacity;
} pb;

static inline void pb_raw(pb *m, const void *bytes, size_t size)
{
    if (m->size + size > m->capacity) {
        m->capacity = 2 * (m->size + size) + 64;
        m->bytes = realloc(m->bytes, m->capacity);
        if (!m->bytes)
            abort();
    }
    if (size)
        memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static inline void pb_number(pb *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        pb_raw(m, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    pb_raw(m, &(uint8_t){(uint8_t)value}, 1);
}

static inline void pb_varint(pb *m, unsigned field, int64_t value)
{
    pb_number(m, field << 3);
    pb_number(m, (uint64_t)value);
}

static inline void pb_float(pb *m, unsigned field, float value)
{
    pb_number(m, field << 3 | 5);
    pb_raw(m, &value, 4);
}

static inline void pb_bytes(pb *m, unsigned field, const void *bytes, size_t size)
{
    pb_number(m, field << 3 | 2);
    pb_number(m, size);
    pb_raw(m, bytes, size);
}

static inline void pb_text(pb *m, unsigned field, const char *text)
{
    pb_bytes(m, field, text, strlen(text));
}

/* `inner` is freed. */
static inline void pb_message(pb *m, unsigned field, pb inner)
{
    pb_bytes(m, field, inner.bytes, inner.size);
    free(inner.bytes);
}

static inline void pb_free(pb *m)
{
    free(m->bytes);
    *m = (pb){0};
}

/* ---- ONNX */

static inline pb pb_entry(const char *key, const char *value)
{
    pb m = {0};
    pb_text(&m, 1, key);
    pb_text(&m, 2, value);
    return m;
}

static inline pb pb_opset(const char *domain, int64_t version)
{
    pb m = {0};
    if (*domain)
        pb_text(&m, 1, domain);
    pb_varint(&m, 2, version);
    return m;
}

/* Dims and dtype; data is for the caller to add. */
static inline pb pb_tensor(const char *name, int dtype, int rank, const int64_t *dims)
{
    pb m = {0};
    for (int i = 0; i < rank; i++)
        pb_varint(&m, 1, dims[i]);
    pb_varint(&m, 2, dtype);
    pb_text(&m, 8, name);
    return m;
}

static inline pb pb_floats(const char *name, int rank, const int64_t *dims, const float *data)
{
    pb m = pb_tensor(name, 1, rank, dims);
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= (size_t)dims[i];
    pb_bytes(&m, 9, data, 4 * n);
    return m;
}

static inline pb pb_external(const char *name, int64_t n, const char *location, const char *offset,
                             const char *length)
{
    pb m = pb_tensor(name, 1, 1, &n);
    if (location)
        pb_message(&m, 13, pb_entry("location", location));
    if (offset)
        pb_message(&m, 13, pb_entry("offset", offset));
    if (length)
        pb_message(&m, 13, pb_entry("length", length));
    pb_varint(&m, 14, 1);
    return m;
}

/* A float tensor: dims ≥ 0, or -1 for the symbol "batch". */
static inline pb pb_value(const char *name, int rank, const int64_t *dims)
{
    pb m = {0}, type = {0}, tensor = {0}, shape = {0};
    for (int i = 0; i < rank; i++) {
        pb dim = {0};
        if (dims[i] < 0)
            pb_text(&dim, 2, "batch");
        else
            pb_varint(&dim, 1, dims[i]);
        pb_message(&shape, 1, dim);
    }
    pb_varint(&tensor, 1, 1);
    pb_message(&tensor, 2, shape);
    pb_message(&type, 1, tensor);
    pb_text(&m, 1, name);
    pb_message(&m, 2, type);
    return m;
}

/* Names are separated by spaces; "-" is an absent one. */
static inline void pb_names(pb *m, unsigned field, const char *names)
{
    while (*names) {
        size_t n = strcspn(names, " ");
        if (n == 1 && *names == '-')
            pb_bytes(m, field, "", 0);
        else
            pb_bytes(m, field, names, n);
        names += n + (names[n] == ' ');
    }
}

static inline pb pb_node(const char *op, const char *name, const char *in, const char *out)
{
    pb m = {0};
    pb_names(&m, 1, in);
    pb_names(&m, 2, out);
    pb_text(&m, 3, name);
    pb_text(&m, 4, op);
    return m;
}

static inline pb pb_attr_int(const char *name, int64_t value)
{
    pb m = {0};
    pb_text(&m, 1, name);
    pb_varint(&m, 3, value);
    pb_varint(&m, 20, 2);
    return m;
}

static inline pb pb_attr_float(const char *name, float value)
{
    pb m = {0};
    pb_text(&m, 1, name);
    pb_float(&m, 2, value);
    pb_varint(&m, 20, 1);
    return m;
}

static inline pb pb_attr_reference(const char *name, const char *reference)
{
    pb m = {0};
    pb_text(&m, 1, name);
    pb_varint(&m, 20, 1);
    pb_text(&m, 21, reference);
    return m;
}

/* `graph` is freed. */
static inline pb pb_model(pb graph, int64_t opset)
{
    pb m = {0};
    pb_varint(&m, 1, 8);
    pb_text(&m, 2, "tests");
    pb_message(&m, 8, pb_opset("", opset));
    pb_message(&m, 7, graph);
    return m;
}

#endif
