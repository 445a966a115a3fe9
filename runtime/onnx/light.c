/* Unpacking without copies of what is large. protobuf-c copies every byte it unpacks, so it is
 * given the message with a reference in each TensorProto.raw_data instead of the data; the bytes
 * stay where they are, in the mapped file. The walk follows the descriptors that the unpacker
 * follows and replaces every raw_data it will see: what og__light_raw finds in an unpacked tensor
 * is a reference, whatever a file holds. */
#include <string.h>

#include "runtime/onnx/fields.h"
#include "runtime/onnx/proto.h"
#include "runtime/onnx/wire.h"

/* What stands in raw_data. */
typedef struct reference {
    const uint8_t *bytes;
    size_t size;
} reference;

typedef struct light {
    og_arena *scratch;
    const ProtobufCMessageDescriptor *tensor;
    size_t *sizes; /* of messages, in the order in which they are met */
    size_t n, capacity;
    bool failed;
    uint8_t *to; /* second walk: where the next byte goes */
} light;

/* The message type of a field that holds one, else NULL. */
static const ProtobufCMessageDescriptor *child_of(const ProtobufCMessageDescriptor *message,
                                                  const og__field *f)
{
    if (f->type != OG__WIRE_BYTES)
        return NULL;
    const ProtobufCFieldDescriptor *d = protobuf_c_message_descriptor_get_field(message, f->number);
    return d && d->type == PROTOBUF_C_TYPE_MESSAGE ? d->descriptor : NULL;
}

static bool is_raw(const light *l, const ProtobufCMessageDescriptor *message, const og__field *f)
{
    return message == l->tensor && f->number == TENSOR_RAW && f->type == OG__WIRE_BYTES;
}

/* First walk: what the message will take, noted for it and all inside it. */
static size_t measure(light *l, const ProtobufCMessageDescriptor *message, og__wire in)
{
    uint8_t header[OG__WIRE_HEADER];
    size_t size = 0, index = l->n;
    size_t *grown = og_arena_grow(l->scratch, l->sizes, l->n, &l->capacity, sizeof(*grown));
    if (!grown) {
        l->failed = true;
        return 0;
    }
    l->sizes = grown;
    l->n++;
    og__field f;
    while (!l->failed && og__wire_next(&in, &f) > 0) {
        const ProtobufCMessageDescriptor *child = child_of(message, &f);
        if (!child && !is_raw(l, message, &f)) {
            size += f.total;
            continue;
        }
        size_t inner = child ? measure(l, child, og__wire_inside(&f)) : sizeof(reference);
        size += og__wire_header(header, f.number, inner) + inner;
    }
    l->sizes[index] = size;
    return size;
}

static void put(light *l, const void *bytes, size_t size)
{
    if (size)
        memcpy(l->to, bytes, size);
    l->to += size;
}

/* Second walk, with l->n counting as in the first. */
static void write(light *l, const ProtobufCMessageDescriptor *message, og__wire in)
{
    og__field f;
    l->n++;
    while (og__wire_next(&in, &f) > 0) {
        const ProtobufCMessageDescriptor *child = child_of(message, &f);
        if (child) {
            l->to += og__wire_header(l->to, f.number, l->sizes[l->n]);
            write(l, child, og__wire_inside(&f));
        } else if (is_raw(l, message, &f)) {
            reference raw = {f.bytes, f.size};
            l->to += og__wire_header(l->to, f.number, sizeof(raw));
            put(l, &raw, sizeof(raw));
        } else {
            put(l, f.start, f.total);
        }
    }
}

static void *arena_alloc(void *arena, size_t size)
{
    return og_arena_alloc(arena, size);
}

static void arena_keep(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

static void *unpack(light *l, og_arena *arena, const ProtobufCMessageDescriptor *message,
                    og__wire in)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_keep, arena};
    size_t size = measure(l, message, in);
    uint8_t *bytes = l->failed ? NULL : og_arena_alloc(l->scratch, size + OG__WIRE_HEADER);
    if (!bytes)
        return NULL;
    l->to = bytes;
    l->n = 0;
    write(l, message, in);
    return protobuf_c_message_unpack(message, &allocator, size, bytes);
}

void *og__light_unpack(og_arena *arena, const ProtobufCMessageDescriptor *message,
                       const ProtobufCMessageDescriptor *tensor, const void *bytes, size_t size)
{
    light l = {.scratch = og_arena_new(), .tensor = tensor};
    void *unpacked = l.scratch ? unpack(&l, arena, message, og__wire_of(bytes, size)) : NULL;
    og_arena_free(l.scratch);
    return unpacked;
}

const uint8_t *og__light_raw(const ProtobufCBinaryData *raw, size_t *size)
{
    reference r = {0};
    if (raw->len == sizeof(r))
        memcpy(&r, raw->data, sizeof(r));
    *size = r.size;
    return r.bytes;
}
