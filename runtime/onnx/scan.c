/* The check of a file's bytes before protobuf-c sees them.
 *
 * protobuf-c recurses once a nesting level, allocates for every field it meets and copies raw data,
 * so a small hostile file can exhaust the stack or the memory. This walk over the wire format keeps
 * its own stack, follows the same descriptors as the unpacker and refuses, before anything is
 * allocated: nesting beyond MAX_DEPTH, lengths that leave their message, more than MAX_MESSAGES
 * messages, an estimate of the unpacked size beyond the budget, single messages given twice
 * (protobuf-c would merge them, in quadratic time), and NUL inside strings (they become C strings;
 * raw data and AttributeProto.s are bytes and may hold anything). */
#include <string.h>

#include "runtime/onnx/onnx.h"
#include "runtime/onnx/proto.h"
#include "runtime/onnx/wire.h"

enum {
    MAX_DEPTH = 100,
    MAX_MESSAGES = 1 << 24,
    ALLOCATION = 32,      /* what an allocation costs besides its bytes */
    FIELDS_ON_STACK = 16, /* of a message; above, protobuf-c allocates FIELD_COST for each */
    FIELD_COST = 96
};
static const uint64_t budget_base = UINT64_C(1) << 30;
static const uint64_t budget_factor = 4; /* bytes a byte of the file */

typedef struct frame {
    const ProtobufCMessageDescriptor *message;
    og__wire wire;
    uint64_t seen; /* bit i: the single message field i of the descriptor was met */
    unsigned fields;
} frame;

typedef struct scan {
    const uint8_t *start;
    og_error *error;
    uint64_t budget, used;
    unsigned messages;
    int depth; /* of the innermost frame */
    frame stack[MAX_DEPTH + 1];
} scan;

static og_status malformed(scan *s, const void *at, const char *what)
{
    const frame *f = &s->stack[s->depth];
    return og_fail(s->error, OG_INVALID_MODEL, "not a valid ONNX file: %s in %s at byte %zu", what,
                   f->message->short_name, (size_t)((const uint8_t *)at - s->start));
}

/* Book unpacked memory. */
static og_status take(scan *s, uint64_t bytes)
{
    s->used += bytes + ALLOCATION;
    if (s->used <= s->budget)
        return OG_OK;
    return og_fail(s->error, OG_INVALID_MODEL,
                   "the file would need more than %llu MB of memory unpacked, far more than a "
                   "model of its size should: it is damaged or hostile",
                   (unsigned long long)(s->budget >> 20));
}

static og_status enter(scan *s, const ProtobufCMessageDescriptor *message, const og__field *f)
{
    if (s->depth == MAX_DEPTH)
        return malformed(s, f->start, "messages nested deeper than 100");
    if (++s->messages > MAX_MESSAGES)
        return malformed(s, f->start, "more than 16777216 messages");
    OG_TRY(take(s, message->sizeof_message + sizeof(void *)));
    s->stack[++s->depth] = (frame){.message = message, .wire = og__wire_inside(f)};
    return OG_OK;
}

/* Numbers in a packed list; -1 if it ends inside one. */
static int64_t packed_count(ProtobufCType type, const og__field *f)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return f->size % 4 ? -1 : (int64_t)(f->size / 4);
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return f->size % 8 ? -1 : (int64_t)(f->size / 8);
    default:
        break;
    }
    int64_t count = 0;
    for (size_t i = 0; i < f->size; i++)
        count += f->bytes[i] < 0x80;
    return f->size && f->bytes[f->size - 1] >= 0x80 ? -1 : count;
}

static og_status check_bytes(scan *s, const og__field *f, ProtobufCType type)
{
    if (f->type != OG__WIRE_BYTES)
        return malformed(s, f->start, "a field of another type than the schema's");
    if (type == PROTOBUF_C_TYPE_STRING && f->size && memchr(f->bytes, 0, f->size))
        return malformed(s, f->start, "a string with a NUL byte");
    return take(s, f->size + 1 + sizeof(ProtobufCBinaryData));
}

static og_status check_number(scan *s, const og__field *f, const ProtobufCFieldDescriptor *d)
{
    if (f->type != OG__WIRE_BYTES)
        return take(s, sizeof(uint64_t));
    int64_t count = d->label == PROTOBUF_C_LABEL_REPEATED ? packed_count(d->type, f) : -1;
    if (count < 0)
        return malformed(s, f->start, "a malformed list of numbers");
    return take(s, (uint64_t)count * sizeof(uint64_t));
}

/* A field the descriptor does not have: kept by protobuf-c as bytes, and unpacked by proto.c if it
 * is one of the younger fields we read. */
static og_status check_unknown(scan *s, const ProtobufCMessageDescriptor *message,
                               const og__field *f)
{
    OG_TRY(take(s, f->total + sizeof(ProtobufCMessageUnknownField)));
    const og__younger *younger = og__proto_younger(message, f->number);
    if (!younger)
        return OG_OK;
    if (younger->message && f->type == OG__WIRE_BYTES)
        return enter(s, younger->message, f);
    return check_bytes(s, f, PROTOBUF_C_TYPE_STRING);
}

static og_status check_field(scan *s, const og__field *f)
{
    frame *top = &s->stack[s->depth];
    if (++top->fields > FIELDS_ON_STACK)
        OG_TRY(take(s, FIELD_COST));
    const ProtobufCFieldDescriptor *d =
        protobuf_c_message_descriptor_get_field(top->message, f->number);
    if (!d)
        return check_unknown(s, top->message, f);
    switch (d->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        return check_bytes(s, f, d->type);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    default:
        return check_number(s, f, d);
    }
    if (f->type != OG__WIRE_BYTES)
        return malformed(s, f->start, "a field of another type than the schema's");
    if (d->label != PROTOBUF_C_LABEL_REPEATED) {
        uint64_t bit = UINT64_C(1) << ((size_t)(d - top->message->fields) % 64);
        if (top->seen & bit)
            return malformed(s, f->start, "a field given twice");
        top->seen |= bit;
    }
    return enter(s, d->descriptor, f);
}

og_status og_onnx_scan(const void *bytes, size_t size, og_error *error)
{
    if (size > INT32_MAX)
        return og_fail(
            error, OG_INVALID_MODEL,
            "the file has %zu bytes, ONNX files end at 2 GiB: larger models keep their weights in "
            "external data",
            size);
    scan s = {.start = bytes, .error = error, .budget = budget_base + budget_factor * size};
    s.stack[0] = (frame){.message = og__proto_model_descriptor(), .wire = og__wire_of(bytes, size)};
    while (s.depth >= 0) {
        og__field f;
        int more = og__wire_next(&s.stack[s.depth].wire, &f);
        if (more < 0)
            return malformed(&s, s.stack[s.depth].wire.p, "a truncated or malformed field");
        if (more == 0)
            s.depth--;
        else
            OG_TRY(check_field(&s, &f));
    }
    return OG_OK;
}
