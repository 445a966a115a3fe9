/* Accessors of generated structs; see proto.h. */
#include "runtime/onnx/proto.h"

#include <string.h>

#include "onnx.pb-c.h"

/* ---- younger fields */

static const og__younger younger_fields[] = {
    {&onnx__node_proto__descriptor, 8, NULL},      /* overload */
    {&onnx__function_proto__descriptor, 13, NULL}, /* overload */
    {&onnx__function_proto__descriptor, 11,
     &onnx__attribute_proto__descriptor}, /* attribute_proto */
    {&onnx__graph_proto__descriptor, 16,
     &onnx__string_string_entry_proto__descriptor}, /* metadata_props */
    {&onnx__node_proto__descriptor, 9,
     &onnx__string_string_entry_proto__descriptor}, /* metadata_props */
    {&onnx__value_info_proto__descriptor, 4,
     &onnx__string_string_entry_proto__descriptor}, /* metadata_props */
};
enum {
    NODE_OVERLOAD = 8,
    FUNCTION_OVERLOAD = 13,
    FUNCTION_DEFAULTS = 11,
    GRAPH_METADATA = 16,
    NODE_METADATA = 9,
    VALUE_METADATA = 4
};

const og__younger *og__proto_younger(const ProtobufCMessageDescriptor *owner, uint32_t number)
{
    for (size_t i = 0; i < sizeof(younger_fields) / sizeof(*younger_fields); i++)
        if (younger_fields[i].owner == owner && younger_fields[i].number == number)
            return &younger_fields[i];
    return NULL;
}

const ProtobufCMessageDescriptor *og__proto_model_descriptor(void)
{
    return &onnx__model_proto__descriptor;
}

/* ---- unpacking */

static void *unpack(og_arena *arena, const ProtobufCMessageDescriptor *message, const void *bytes,
                    size_t size)
{
    return og__light_unpack(arena, message, &onnx__tensor_proto__descriptor, bytes, size);
}

og__model_proto *og__proto_unpack(og_arena *arena, const void *bytes, size_t size)
{
    return unpack(arena, &onnx__model_proto__descriptor, bytes, size);
}

og__tensor_proto *og__proto_unpack_tensor(og_arena *arena, const void *bytes, size_t size)
{
    return unpack(arena, &onnx__tensor_proto__descriptor, bytes, size);
}

/* The content of an unknown field of wire type 2: without its length prefix. */
static bool unknown_content(const ProtobufCMessageUnknownField *u, const uint8_t **bytes,
                            size_t *size)
{
    if (u->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
        return false;
    size_t prefix = 0;
    while (prefix < u->len && u->data[prefix] & 0x80)
        prefix++;
    if (prefix == u->len)
        return false;
    *bytes = u->data + prefix + 1;
    *size = u->len - prefix - 1;
    return true;
}

static const char *text(const char *s)
{
    return s ? s : "";
}

/* A younger string; "" where absent or out of memory. */
static const char *younger_text(og_arena *arena, const void *message, uint32_t number)
{
    const ProtobufCMessage *m = message;
    const ProtobufCFieldDescriptor *d =
        protobuf_c_message_descriptor_get_field(m->descriptor, number);
    if (d)
        return text(*(char *const *)((const char *)message + d->offset));
    for (unsigned i = 0; i < m->n_unknown_fields; i++) {
        const uint8_t *bytes;
        size_t size;
        if (m->unknown_fields[i].tag == number &&
            unknown_content(&m->unknown_fields[i], &bytes, &size)) {
            return text(og_arena_strndup(arena, (const char *)bytes, size));
        }
    }
    return "";
}

/* A younger list of messages; false when out of memory or malformed. */
static bool younger_messages(og_arena *arena, const void *message, uint32_t number,
                             void *const **list, int *n)
{
    const ProtobufCMessage *m = message;
    const ProtobufCFieldDescriptor *d =
        protobuf_c_message_descriptor_get_field(m->descriptor, number);
    *n = 0;
    *list = NULL;
    if (d) {
        *n = (int)*(const size_t *)((const char *)message + d->quantifier_offset);
        *list = *(void **const *)((const char *)message + d->offset);
        return true;
    }
    const og__younger *y = og__proto_younger(m->descriptor, number);
    void **found = og_arena_array(arena, m->n_unknown_fields, sizeof(*found));
    if (!found)
        return false;
    for (unsigned i = 0; i < m->n_unknown_fields; i++) {
        const uint8_t *bytes;
        size_t size;
        if (m->unknown_fields[i].tag != number ||
            !unknown_content(&m->unknown_fields[i], &bytes, &size))
            continue;
        found[*n] = unpack(arena, y->message, bytes, size);
        if (!found[(*n)++])
            return false;
    }
    *list = found;
    return true;
}

/* ---- lists */

static const og_metadata *read_metadata(og_arena *arena, int n,
                                        Onnx__StringStringEntryProto *const *entries)
{
    og_metadata *list = og_arena_array(arena, (size_t)n, sizeof(*list));
    for (int i = 0; list && i < n; i++)
        list[i] = (og_metadata){text(entries[i]->key), text(entries[i]->value)};
    return list;
}

/* "ai.onnx" is another name of the domain "". */
static const char *domain_of(const char *domain)
{
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

static const og__opset *read_opsets(og_arena *arena, size_t n,
                                    Onnx__OperatorSetIdProto *const *entries)
{
    og__opset *list = og_arena_array(arena, n, sizeof(*list));
    for (size_t i = 0; list && i < n; i++)
        list[i] = (og__opset){domain_of(entries[i]->domain), entries[i]->version};
    return list;
}

/* ---- views */

bool og__model_read(og_arena *arena, const og__model_proto *m, og__model_view *view)
{
    *view = (og__model_view){
        .ir_version = m->ir_version,
        .producer = text(m->producer_name),
        .graph = m->graph,
        .n_opsets = (int)m->n_opset_import,
        .opsets = read_opsets(arena, m->n_opset_import, m->opset_import),
        .n_metadata = (int)m->n_metadata_props,
        .metadata = read_metadata(arena, (int)m->n_metadata_props, m->metadata_props),
        .n_functions = (int)m->n_functions,
        .functions = (const og__function_proto *const *)m->functions,
    };
    return view->opsets && view->metadata;
}

bool og__graph_read(og_arena *arena, const og__graph_proto *g, og__graph_view *view)
{
    void *const *entries;
    int n;
    *view = (og__graph_view){
        .name = text(g->name),
        .n_nodes = (int)g->n_node,
        .nodes = (const og__node_proto *const *)g->node,
        .n_initializers = (int)g->n_initializer,
        .initializers = (const og__tensor_proto *const *)g->initializer,
        .n_sparse = (int)g->n_sparse_initializer,
        .n_inputs = (int)g->n_input,
        .inputs = (const og__value_proto *const *)g->input,
        .n_outputs = (int)g->n_output,
        .outputs = (const og__value_proto *const *)g->output,
        .n_values = (int)g->n_value_info,
        .values = (const og__value_proto *const *)g->value_info,
    };
    if (!younger_messages(arena, g, GRAPH_METADATA, &entries, &n))
        return false;
    view->n_metadata = n;
    view->metadata = read_metadata(arena, n, (Onnx__StringStringEntryProto *const *)entries);
    return view->metadata != NULL;
}

void og__node_read(og_arena *arena, const og__node_proto *n, og__node_view *view)
{
    *view = (og__node_view){
        .name = text(n->name),
        .op = text(n->op_type),
        .domain = domain_of(n->domain),
        .overload = younger_text(arena, n, NODE_OVERLOAD),
        .n_in = (int)n->n_input,
        .in = (const char *const *)n->input,
        .n_out = (int)n->n_output,
        .out = (const char *const *)n->output,
        .n_attrs = (int)n->n_attribute,
        .attrs = (const og__attribute_proto *const *)n->attribute,
    };
}

/* Files of the first IR versions have no type: the one field that is set tells it. */
static int kind_of(const og__attribute_proto *a)
{
    if (a->has_type && a->type != 0)
        return (int)a->type;
    return a->has_f       ? OG_ATTR_FLOAT
           : a->has_i     ? OG_ATTR_INT
           : a->has_s     ? OG_ATTR_STRING
           : a->t         ? OG_ATTR_TENSOR
           : a->g         ? OG_ATTR_GRAPH
           : a->n_floats  ? OG_ATTR_FLOATS
           : a->n_ints    ? OG_ATTR_INTS
           : a->n_strings ? OG_ATTR_STRINGS
                          : 0;
}

void og__attr_read(const og__attribute_proto *a, og__attr_view *view)
{
    *view = (og__attr_view){
        .name = text(a->name),
        .reference = text(a->ref_attr_name),
        .kind = kind_of(a),
        .f = (double)a->f,
        .i = a->i,
        .s = a->s.data,
        .s_size = a->s.len,
        .t = a->t,
        .g = a->g,
        .n_floats = (int)a->n_floats,
        .floats = a->floats,
        .n_ints = (int)a->n_ints,
        .ints = a->ints,
        .n_strings = (int)a->n_strings,
        .strings = a->strings,
    };
}

void og__tensor_read(const og__tensor_proto *t, og__tensor_view *view)
{
    size_t raw_size = 0;
    const uint8_t *raw = t->has_raw_data ? og__light_raw(&t->raw_data, &raw_size) : NULL;
    *view = (og__tensor_view){
        .name = text(t->name),
        .dtype = t->data_type,
        .rank = (int)t->n_dims,
        .dims = t->dims,
        .has_raw = t->has_raw_data,
        .has_segment = t->segment != NULL,
        .external = t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL,
        .raw = raw,
        .raw_size = raw_size,
        .n_int32 = t->n_int32_data,
        .int32 = t->int32_data,
        .n_int64 = t->n_int64_data,
        .int64 = t->int64_data,
        .n_uint64 = t->n_uint64_data,
        .uint64 = t->uint64_data,
        .n_float = t->n_float_data,
        .floats = t->float_data,
        .n_double = t->n_double_data,
        .doubles = t->double_data,
        .n_string = t->n_string_data,
    };
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = text(t->external_data[i]->key), *value = text(t->external_data[i]->value);
        if (strcmp(key, "location") == 0)
            view->location = value;
        else if (strcmp(key, "offset") == 0)
            view->offset = value;
        else if (strcmp(key, "length") == 0)
            view->length = value;
    }
}

void og__value_read(const og__value_proto *v, og__value_view *view)
{
    *view = (og__value_view){.name = text(v->name), .has_type = v->type != NULL, .source = v};
    if (!v->type || v->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return;
    const Onnx__TypeProto__Tensor *t = v->type->tensor_type;
    view->is_tensor = true;
    view->dtype = t->elem_type;
    view->has_shape = t->shape != NULL;
    view->rank = t->shape ? (int)t->shape->n_dim : 0;
}

og__dim og__value_dim(const og__value_view *view, int axis)
{
    const Onnx__TensorShapeProto__Dimension *d = view->source->type->tensor_type->shape->dim[axis];
    switch (d->value_case) {
    case ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE:
        return (og__dim){d->dim_value, ""};
    case ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM:
        return (og__dim){-1, text(d->dim_param)};
    default:
        return (og__dim){-1, ""};
    }
}

/* A younger list of entries, searched. */
static const char *younger_entry(og_arena *arena, const void *message, uint32_t number,
                                 const char *key)
{
    void *const *list;
    int n;
    if (!younger_messages(arena, message, number, &list, &n))
        return NULL;
    for (int i = 0; i < n; i++) {
        const Onnx__StringStringEntryProto *entry = list[i];
        if (strcmp(text(entry->key), key) == 0)
            return text(entry->value);
    }
    return NULL;
}

const char *og__value_metadata(og_arena *arena, const og__value_proto *v, const char *key)
{
    return younger_entry(arena, v, VALUE_METADATA, key);
}

const char *og__node_metadata(og_arena *arena, const og__node_proto *n, const char *key)
{
    return younger_entry(arena, n, NODE_METADATA, key);
}

bool og__node_set_input(og_arena *arena, const og__node_proto *node, int input, const char *name)
{
    og__node_proto *n = (og__node_proto *)node; /* ours: unpacked into an arena */
    if ((size_t)input >= n->n_input) {
        char **inputs = og_arena_array(arena, n->n_input + 1, sizeof(*inputs));
        if (!inputs)
            return false;
        if (n->n_input)
            memcpy(inputs, n->input, n->n_input * sizeof(*inputs));
        n->input = inputs;
        input = (int)n->n_input++;
    }
    n->input[input] = (char *)name;
    return true;
}

int64_t og__node_int(const og__node_view *node, const char *name, int64_t fallback)
{
    for (int i = 0; i < node->n_attrs; i++) {
        og__attr_view a;
        og__attr_read(node->attrs[i], &a);
        if (strcmp(a.name, name) == 0 && a.kind == OG_ATTR_INT && !*a.reference)
            return a.i;
    }
    return fallback;
}

bool og__function_read(og_arena *arena, const og__function_proto *f, og__function_view *view)
{
    void *const *defaults;
    *view = (og__function_view){
        .name = text(f->name),
        .domain = domain_of(f->domain),
        .overload = younger_text(arena, f, FUNCTION_OVERLOAD),
        .n_in = (int)f->n_input,
        .in = (const char *const *)f->input,
        .n_out = (int)f->n_output,
        .out = (const char *const *)f->output,
        .n_nodes = (int)f->n_node,
        .nodes = (const og__node_proto *const *)f->node,
        .n_opsets = (int)f->n_opset_import,
        .opsets = read_opsets(arena, f->n_opset_import, f->opset_import),
    };
    if (!younger_messages(arena, f, FUNCTION_DEFAULTS, &defaults, &view->n_defaults))
        return false;
    view->defaults = (const og__attribute_proto *const *)defaults;
    return view->opsets != NULL;
}
