/* libFuzzer target: any bytes as a model. What loads is also saved and loaded again, which must
 * work too.
 *
 * Built and run by tests/fuzz/run. Seeds: tests/fixtures/fuzz/, and any small model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/onnx.h"
#include "runtime/onnx/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max_size, unsigned seed);

typedef struct copy {
    uint8_t *bytes;
    size_t size, capacity;
} copy;

static bool append(void *user, const void *bytes, size_t size)
{
    copy *c = user;
    if (c->size + size > c->capacity) {
        c->capacity = 2 * (c->size + size);
        c->bytes = realloc(c->bytes, c->capacity);
        if (!c->bytes)
            abort();
    }
    for (size_t i = 0; i < size; i++)
        c->bytes[c->size++] = ((const uint8_t *)bytes)[i];
    return true;
}

/* A broken promise of the loader or the saver: stop, so that the input is kept. */
static void fail(const char *what, const og_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->text ? error->text : error->fixed);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    og_error error = {0};
    og_onnx *onnx = og_onnx_load_memory(bytes, size, NULL, &error);
    if (!onnx && (error.status == OG_OK || error.status == OG_INTERNAL))
        fail("a refused model without a reason", &error);
    if (onnx) {
        copy saved = {0};
        const og_metadata metadata = {"key", "value"};
        if (og_onnx_write(onnx, append, &saved, NULL, 0, &metadata, 1, &error) != OG_OK)
            fail("a loaded model could not be written", &error);
        og_onnx *again = og_onnx_load_memory(saved.bytes, saved.size, NULL, &error);
        if (!again)
            fail("a written model could not be loaded", &error);
        og_onnx_free(again);
        free(saved.bytes);
    }
    og_onnx_free(onnx);
    og_error_clear(&error);
    return 0;
}

/* ---- mutation */

/* Flipped bytes break the length of some message around them nearly always, and the scan ends it
 * there. So one field somewhere in the tree is changed, dropped or repeated, and the lengths of all
 * messages around it are set right. */

static unsigned draw(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        to[n++] = (uint8_t)(value | 0x80);
    to[n++] = (uint8_t)value;
    return n;
}

static bool is_message(og__wire w)
{
    og__field f;
    int more = 0, n = 0;
    while ((more = og__wire_next(&w, &f)) > 0)
        n++;
    return more == 0 && n > 0;
}

enum { HEADER = 20 };

/* One field changed: written to `to`, which has room for `room` bytes; its size, or 0 if that is
 * too little. */
static size_t mutate_field(const og__field *f, uint8_t *to, size_t room, unsigned *seed);

static size_t mutate_message(const uint8_t *bytes, size_t size, uint8_t *to, size_t room,
                             unsigned *seed)
{
    og__wire w = og__wire_of(bytes, size);
    og__field f;
    unsigned fields = 0;
    while (og__wire_next(&w, &f) > 0)
        fields++;
    if (fields == 0 || room < size)
        return 0;
    unsigned chosen = draw(seed) % fields;
    size_t at = 0;
    w = og__wire_of(bytes, size);
    for (unsigned i = 0; og__wire_next(&w, &f) > 0; i++) {
        size_t n = i == chosen ? mutate_field(&f, to + at, room - at, seed) : f.total;
        if (n > room - at)
            return 0;
        if (i != chosen)
            memcpy(to + at, f.start, n);
        at += n;
    }
    return at;
}

static size_t mutate_field(const og__field *f, uint8_t *to, size_t room, unsigned *seed)
{
    unsigned what = draw(seed) % 16;
    if (what == 0)
        return 0;
    if (what == 1 && room >= 2 * f->total) {
        memcpy(to, f->start, f->total);
        memcpy(to + f->total, f->start, f->total);
        return 2 * f->total;
    }
    if (room < f->total + HEADER)
        return 0;
    if (f->type != OG__WIRE_BYTES) {
        memcpy(to, f->start, f->total);
        size_t tag = put_varint((uint8_t[HEADER]){0}, (uint64_t)f->number << 3);
        if (f->type == OG__WIRE_VARINT)
            return tag + put_varint(to + tag,
                                    draw(seed) % 4 ? draw(seed) % 32 : (uint64_t)draw(seed) << 40);
        to[f->total - 1 - draw(seed) % 4] ^= (uint8_t)draw(seed);
        return f->total;
    }
    uint8_t *inner = malloc(room);
    if (!inner)
        return 0;
    size_t n = 0;
    if (is_message(og__wire_inside(f)) && draw(seed) % 8)
        n = mutate_message(f->bytes, f->size, inner, room - HEADER, seed);
    if (n == 0) {
        memcpy(inner, f->bytes, f->size);
        n = LLVMFuzzerMutate(inner, f->size,
                             room - HEADER < f->size + 64 ? room - HEADER : f->size + 64);
    }
    size_t head = put_varint(to, (uint64_t)f->number << 3 | OG__WIRE_BYTES);
    head += put_varint(to + head, n);
    memcpy(to + head, inner, n);
    free(inner);
    return head + n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max_size, unsigned seed)
{
    uint8_t *out = draw(&seed) % 16 ? malloc(max_size) : NULL;
    size_t n = out && is_message(og__wire_of(bytes, size))
                   ? mutate_message(bytes, size, out, max_size, &seed)
                   : 0;
    if (n)
        memcpy(bytes, out, n);
    free(out);
    return n ? n : LLVMFuzzerMutate(bytes, size, max_size);
}
