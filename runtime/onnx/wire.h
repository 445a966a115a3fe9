/* The protobuf wire format: reading it field by field without unpacking, and writing messages as
 * lists of borrowed pieces, so that gigabytes of tensors are never copied. Knows nothing of ONNX.
 */
#ifndef OG_ONNX_WIRE_H
#define OG_ONNX_WIRE_H

#include "runtime/base/arena.h"

enum { OG__WIRE_VARINT = 0, OG__WIRE_FIXED64 = 1, OG__WIRE_BYTES = 2, OG__WIRE_FIXED32 = 5 };

/* ---- reading */

typedef struct og__wire {
    const uint8_t *p, *end;
} og__wire;

typedef struct og__field {
    uint32_t number;
    int type;             /* OG__WIRE_… */
    uint64_t value;       /* of varints and fixed-width fields */
    const uint8_t *bytes; /* OG__WIRE_BYTES: the content */
    size_t size;
    const uint8_t *start; /* the field with its tag: start … start + total */
    size_t total;
} og__field;

static inline og__wire og__wire_of(const void *bytes, size_t size)
{
    return (og__wire){bytes, (const uint8_t *)bytes + size};
}
static inline og__wire og__wire_inside(const og__field *field)
{
    return og__wire_of(field->bytes, field->size);
}
/* 1: a field was read; 0: the message ends here; -1: malformed, `w` stays at the offending field.
 */
int og__wire_next(og__wire *w, og__field *field);
/* The last field `number` that is bytes, in `found`; false if there is none. */
bool og__wire_find(og__wire in, uint32_t number, og__field *found);
/* The tag and the length of a field of `size` bytes, as they are written; how many bytes they take.
 */
enum { OG__WIRE_HEADER = 20 };
size_t og__wire_header(uint8_t to[OG__WIRE_HEADER], uint32_t number, uint64_t size);
/* Is the field this text? */
bool og__field_is(const og__field *field, const char *text);

/* ---- writing */

typedef struct og__piece {
    const void *bytes;
    size_t size;
} og__piece;

/* A message being written. Pieces point into the arena or at what the caller lent; both must
 * outlive it. */
typedef struct og__out {
    og_arena *arena;
    og__piece *pieces;
    size_t n, capacity;
    uint64_t size;  /* of all pieces */
    bool failed;    /* out of memory: sticks, checked once at the end */
    uint8_t *spare; /* the rest of a block that small pieces are written into */
    size_t room;
} og__out;

static inline og__out og__out_in(og_arena *arena)
{
    return (og__out){.arena = arena};
}
/* Bytes as they are, borrowed. */
void og__out_raw(og__out *out, const void *bytes, size_t size);
void og__out_varint(og__out *out, uint32_t number, uint64_t value);
void og__out_float(og__out *out, uint32_t number, float value);
/* A field holding borrowed bytes; text is copied. */
void og__out_bytes(og__out *out, uint32_t number, const void *bytes, size_t size);
void og__out_text(og__out *out, uint32_t number, const char *text);
/* A field holding a message; its pieces are taken over. */
void og__out_message(og__out *out, uint32_t number, const og__out *message);
/* Give every piece to `write`; false if that does. */
bool og__out_write(const og__out *out, bool (*write)(void *user, const void *bytes, size_t size),
                   void *user);

#endif
