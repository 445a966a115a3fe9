/* The one place that touches structs generated from onnx.proto.
 *
 * Messages are opaque outside proto.c; _read functions fill plain views that point into the
 * unpacked message, so a view lives as long as the arena the model was unpacked into. The code
 * compiles with the schema of ONNX 1.12 and later ones: fields younger than 1.12 are read through
 * og__younger, from the generated struct where the schema has them, else from the unknown fields
 * that protobuf-c keeps. Strings of views are never NULL ("" where absent); lists have a count. */
#ifndef OG_ONNX_PROTO_H
#define OG_ONNX_PROTO_H

#include <protobuf-c/protobuf-c.h>

#include "runtime/graph/graph.h"

typedef struct Onnx__ModelProto og__model_proto;
typedef struct Onnx__GraphProto og__graph_proto;
typedef struct Onnx__NodeProto og__node_proto;
typedef struct Onnx__AttributeProto og__attribute_proto;
typedef struct Onnx__TensorProto og__tensor_proto;
typedef struct Onnx__ValueInfoProto og__value_proto;
typedef struct Onnx__FunctionProto og__function_proto;

/* Descriptors, for the scan. */
const ProtobufCMessageDescriptor *og__proto_model_descriptor(void);
typedef struct og__younger {
    const ProtobufCMessageDescriptor *owner;
    uint32_t number;
    const ProtobufCMessageDescriptor *message; /* NULL: a string */
} og__younger;
/* The younger field that has this number in messages of this kind, or NULL. */
const og__younger *og__proto_younger(const ProtobufCMessageDescriptor *owner, uint32_t number);

/* Unpack bytes that og_onnx_scan accepted. NULL: out of memory or not this message. raw_data is
 * not copied: tensors point into `bytes`, which must outlive the message. */
og__model_proto *og__proto_unpack(og_arena *arena, const void *bytes, size_t size);
og__tensor_proto *og__proto_unpack_tensor(og_arena *arena, const void *bytes, size_t size);

/* light.c, for proto.c alone: the same for any message, and what became of a raw_data. tensor: the
 * descriptor of TensorProto. */
void *og__light_unpack(og_arena *arena, const ProtobufCMessageDescriptor *message,
                       const ProtobufCMessageDescriptor *tensor, const void *bytes, size_t size);
const uint8_t *og__light_raw(const ProtobufCBinaryData *raw, size_t *size);

typedef struct og__opset {
    const char *domain; /* "" for ONNX's own */
    int64_t version;
} og__opset;

/* _read functions return false only when out of memory. */
typedef struct og__model_view {
    int64_t ir_version;
    const char *producer;
    const og__graph_proto *graph; /* NULL if absent */
    int n_opsets, n_metadata, n_functions;
    const og__opset *opsets;
    const og_metadata *metadata;
    const og__function_proto *const *functions;
} og__model_view;
bool og__model_read(og_arena *arena, const og__model_proto *model, og__model_view *view);

typedef struct og__graph_view {
    const char *name;
    int n_nodes, n_initializers, n_sparse, n_inputs, n_outputs, n_values, n_metadata;
    const og__node_proto *const *nodes;
    const og__tensor_proto *const *initializers;
    const og__value_proto *const *inputs, *const *outputs, *const *values; /* values: value_info */
    const og_metadata *metadata;
} og__graph_view;
bool og__graph_read(og_arena *arena, const og__graph_proto *graph, og__graph_view *view);

typedef struct og__node_view {
    const char *name, *op, *domain, *overload;
    int n_in, n_out, n_attrs;
    int n_captured; /* the last of `in`: what graph attributes read from outside (body.c) */
    const char *const *in, *const *out;
    const og__attribute_proto *const *attrs;
} og__node_view;
void og__node_read(og_arena *arena, const og__node_proto *node, og__node_view *view);
/* Its metadata under `key`; NULL if absent, malformed or out of memory. */
const char *og__node_metadata(og_arena *arena, const og__node_proto *node, const char *key);
/* Input `input`, which may be one more than there are, is `name`, borrowed; false when out of
 * memory. */
bool og__node_set_input(og_arena *arena, const og__node_proto *node, int input, const char *name);
/* An INT attribute of its own, not a reference; `fallback` where absent. */
int64_t og__node_int(const og__node_view *node, const char *name, int64_t fallback);

/* Kinds beyond og_attr_kind are numbers of AttributeProto.AttributeType. */
typedef struct og__attr_view {
    const char *name, *reference; /* reference: ref_attr_name */
    int kind;                     /* 0: unknown */
    double f;
    int64_t i;
    const uint8_t *s; /* not NUL-terminated */
    size_t s_size;
    const og__tensor_proto *t;
    const og__graph_proto *g;
    int n_floats, n_ints, n_strings;
    const float *floats;
    const int64_t *ints;
    const ProtobufCBinaryData *strings;
} og__attr_view;
void og__attr_read(const og__attribute_proto *attr, og__attr_view *view);

typedef struct og__tensor_view {
    const char *name;
    int dtype, rank;
    const int64_t *dims;
    bool has_raw, has_segment, external;
    const uint8_t *raw;
    size_t raw_size, n_int32, n_int64, n_uint64, n_float, n_double, n_string;
    const int32_t *int32;
    const int64_t *int64;
    const uint64_t *uint64;
    const float *floats;
    const double *doubles;
    const char *location, *offset, *length; /* external data; NULL where absent */
} og__tensor_view;
void og__tensor_read(const og__tensor_proto *tensor, og__tensor_view *view);

/* An input or output of a graph. */
typedef struct og__dim {
    int64_t value; /* -1: unknown or symbolic */
    const char *symbol;
} og__dim;
typedef struct og__value_view {
    const char *name;
    bool has_type, is_tensor, has_shape;
    int dtype, rank;
    const og__value_proto *source; /* for og__value_dim */
} og__value_view;
void og__value_read(const og__value_proto *value, og__value_view *view);
og__dim og__value_dim(const og__value_view *view, int axis);
/* Its metadata under `key`; NULL if absent, malformed or out of memory. */
const char *og__value_metadata(og_arena *arena, const og__value_proto *value, const char *key);

typedef struct og__function_view {
    const char *name, *domain, *overload;
    int n_in, n_out, n_nodes, n_opsets, n_defaults;
    const char *const *in, *const *out;
    const og__node_proto *const *nodes;
    const og__opset *opsets;
    const og__attribute_proto *const *defaults; /* attributes that have a default value */
} og__function_view;
bool og__function_read(og_arena *arena, const og__function_proto *function,
                       og__function_view *view);

#endif
