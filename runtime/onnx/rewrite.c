/* Rewriting a ModelProto on the wire: every field is copied as it came except
 *
 * - graph.initializer: weights get new data; external data is inlined, or goes to the new file;
 * - tensors elsewhere: external data is inlined, for the new model may lie in another folder;
 * - BatchNormalization: loses training_mode and all outputs but the first (what reads one of them
 *   gets the mean or variance through an Identity), and Dropout its training_mode input, unless the
 *   model is written as it is;
 * - metadata_props: given keys are replaced or added;
 * - what a checkpoint added (checkpoint.h) is left out;
 *
 * so names, order, opsets and fields we do not know stay. Nothing is copied but a few bytes around
 * what changes. The bytes were scanned when the model was loaded: they are well-formed and nested
 * at most 100 deep. */
#include "runtime/onnx/rewrite.h"
#include "runtime/onnx/fields.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/checked.h"

typedef enum kind { MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, FUNCTION, KINDS } kind;

/* Fields that hold messages to look into. */
static const struct child {
    kind parent;
    uint32_t number;
    kind child;
} children[] = {
    {MODEL, 7, GRAPH},     {MODEL, 25, FUNCTION},     {GRAPH, 1, NODE},
    {GRAPH, 5, TENSOR},    {NODE, 5, ATTRIBUTE},      {ATTRIBUTE, 5, TENSOR},
    {ATTRIBUTE, 6, GRAPH}, {ATTRIBUTE, 10, TENSOR},   {ATTRIBUTE, 11, GRAPH},
    {FUNCTION, 7, NODE},   {FUNCTION, 11, ATTRIBUTE},
};

enum { EXTERNAL_AT_LEAST = 1024, PAGE = 4096, LINE = 64, WALKED = 1 << 20 };

static og_status run(og__rewrite *r, kind k, int depth, og__wire in, og__out *out, bool *changed);

static og_status no_memory(og__rewrite *r)
{
    return og_fail_memory(r->error, 0, "writing the model");
}

/* The last field `number` of a message; false if there is none. */
static bool find_field(og__wire in, uint32_t number, og__field *found)
{
    og__field f;
    bool any = false;
    while (og__wire_next(&in, &f) > 0)
        if (f.number == number) {
            *found = f;
            any = true;
        }
    return any;
}

static bool field_is(og__wire in, uint32_t number, const char *text)
{
    og__field f;
    return find_field(in, number, &f) && og__field_is(&f, text);
}

/* ---- tensors */

og_status og__rewrite_put_data(og__rewrite *r, og__out *out, const og_const *c)
{
    uint64_t size = (uint64_t)og_type_bytes(&c->type);
    if (!r->location || size < EXTERNAL_AT_LEAST) {
        og__out_bytes(out, TENSOR_RAW, c->data, (size_t)size);
        return OG_OK;
    }
    og__chunk *chunks =
        og_arena_grow(r->arena, r->chunks, (size_t)r->n_chunks, &r->cap_chunks, sizeof(*chunks));
    char *offset = og_arena_alloc(r->arena, 32), *length = og_arena_alloc(r->arena, 32);
    if (!chunks || !offset || !length)
        return no_memory(r);
    r->chunks = chunks;
    uint64_t at = og_align_up(r->data_size, size >= 16 * PAGE ? PAGE : LINE);
    r->chunks[r->n_chunks++] = (og__chunk){c->data, size, at};
    r->data_size = at + size;
    snprintf(offset, 32, "%llu", (unsigned long long)at);
    snprintf(length, 32, "%llu", (unsigned long long)size);
    const char *const entries[3][2] = {
        {"location", r->location}, {"offset", offset}, {"length", length}};
    for (int i = 0; i < 3; i++) {
        og__out entry = og__out_in(r->arena);
        og__out_text(&entry, ENTRY_KEY, entries[i][0]);
        og__out_text(&entry, ENTRY_VALUE, entries[i][1]);
        og__out_message(out, TENSOR_EXTERNAL, &entry);
    }
    og__out_varint(out, TENSOR_LOCATION, 1);
    return OG_OK;
}

static bool is_data_field(uint32_t number)
{
    /* float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data,
     * external_data, data_location */
    return (number >= 4 && number <= 7) || (number >= 9 && number <= 11) || number == 13 ||
           number == 14;
}

static og_status put_tensor(og__rewrite *r, og__wire in, og__out *out, const og_const *c,
                            bool *changed)
{
    og__field f;
    while (og__wire_next(&in, &f) > 0)
        if (!is_data_field(f.number))
            og__out_raw(out, f.start, f.total);
    *changed = true;
    return og__rewrite_put_data(r, out, c);
}

static bool is_external(og__wire in)
{
    og__field f;
    return find_field(in, TENSOR_LOCATION, &f) && f.value == 1;
}

/* The name of a tensor in the arena; NULL when out of memory. */
static const char *text_of(og__rewrite *r, og__wire in, uint32_t number)
{
    og__field f;
    return find_field(in, number, &f) ? og_arena_strndup(r->arena, (const char *)f.bytes, f.size)
                                      : "";
}

static og_status rewrite_initializer(og__rewrite *r, og__wire in, og__out *out, bool *changed)
{
    int index, weight;
    const char *name = text_of(r, in, TENSOR_NAME);
    if (!name)
        return no_memory(r);
    if (!og__names_get(&r->onnx->initializer_index, name, &index))
        return og_fail(r->error, OG_INTERNAL, "initializer \"%s\" was not loaded", name);
    og_const c = r->onnx->initializers[index];
    bool given = og__names_get(&r->weight_index, name, &weight);
    if (given)
        c.data = r->weights[weight].data;
    if (given || is_external(in) || (r->location && og_type_bytes(&c.type) >= EXTERNAL_AT_LEAST))
        return put_tensor(r, in, out, &c, changed);
    og__out_raw(out, in.p, (size_t)(in.end - in.p));
    return OG_OK;
}

static og_status rewrite_tensor(og__rewrite *r, og__wire in, og__out *out, bool *changed)
{
    if (!is_external(in)) {
        og__out_raw(out, in.p, (size_t)(in.end - in.p));
        return OG_OK;
    }
    og_const c;
    const og__tensor_proto *t = og__proto_unpack_tensor(r->arena, in.p, (size_t)(in.end - in.p));
    if (!t)
        return no_memory(r);
    OG_TRY(og__tensor_load(r->arena, r->onnx->external, t, true, &c, r->error));
    return put_tensor(r, in, out, &c, changed);
}

/* ---- nodes */

static bool is_onnx_op(og__wire node, const char *op)
{
    og__field domain;
    return field_is(node, NODE_OP, op) && (!find_field(node, NODE_DOMAIN, &domain) ||
                                           domain.size == 0 || og__field_is(&domain, "ai.onnx"));
}

/* Field number `number`, occurrence `index` (from 0); false if there are fewer. */
static bool find_nth(og__wire in, uint32_t number, int index, og__field *found)
{
    for (int i = 0; og__wire_next(&in, found) > 0;)
        if (found->number == number && i++ == index)
            return true;
    return false;
}

/* A BatchNormalization with all its inputs; with fewer the node is not valid and stays as it is. */
static bool is_batch_norm(og__wire node)
{
    og__field last;
    return is_onnx_op(node, "BatchNormalization") && find_nth(node, NODE_INPUT, 4, &last);
}

/* Field `f`, the i-th (from 0) of its number, is training mode only. */
static bool is_training_only(bool batch_norm, bool dropout, const og__field *f, int i)
{
    if (batch_norm && f->number == NODE_OUTPUT)
        return i > 0;
    if (batch_norm && f->number == NODE_ATTRIBUTE)
        return field_is(og__wire_inside(f), ATTR_NAME, "training_mode");
    return dropout && f->number == NODE_INPUT && i > 1;
}

static og_status note_name(og__rewrite *r, const og__field *f)
{
    const char *name = og_arena_strndup(r->arena, (const char *)f->bytes, f->size);
    return name && og__names_set(&r->read, name, 1) ? OG_OK : no_memory(r);
}

/* Names read anywhere: node inputs, outputs of graphs and functions. */
static og_status collect_reads(og__rewrite *r, kind k, og__wire in)
{
    og__field f, name;
    while (og__wire_next(&in, &f) > 0) {
        if ((k == NODE && f.number == NODE_INPUT) || (k == FUNCTION && f.number == FUNCTION_OUTPUT))
            OG_TRY(note_name(r, &f));
        if (k == GRAPH && f.number == GRAPH_OUTPUT &&
            find_field(og__wire_inside(&f), VALUE_NAME, &name))
            OG_TRY(note_name(r, &name));
        for (size_t i = 0; i < sizeof(children) / sizeof(*children); i++)
            if (children[i].parent == k && children[i].number == f.number &&
                children[i].child != TENSOR)
                OG_TRY(collect_reads(r, children[i].child, og__wire_inside(&f)));
    }
    return OG_OK;
}

/* Where a dropped output of a BatchNormalization is read, an Identity of its mean (outputs 1, 3) or
 * variance (outputs 2, 4) makes it. */
static og_status replace_statistics(og__rewrite *r, og__wire node, uint32_t number, og__out *out)
{
    enum { MEAN_INPUT = 3 };
    og__field output, statistic;
    int known;
    for (int k = 1; find_nth(node, NODE_OUTPUT, k, &output); k++) {
        if (output.size == 0 || !find_nth(node, NODE_INPUT, MEAN_INPUT + (k - 1) % 2, &statistic))
            continue;
        if (r->read.n == 0)
            OG_TRY(collect_reads(r, MODEL, og__wire_of(r->onnx->bytes, r->onnx->size)));
        const char *name = og_arena_strndup(r->arena, (const char *)output.bytes, output.size);
        if (!name)
            return no_memory(r);
        if (!og__names_get(&r->read, name, &known))
            continue;
        og__out identity = og__out_in(r->arena);
        og__out_bytes(&identity, NODE_INPUT, statistic.bytes, statistic.size);
        og__out_text(&identity, NODE_OUTPUT, name);
        og__out_text(&identity, NODE_OP, "Identity");
        og__out_message(out, number, &identity);
    }
    return OG_OK;
}

/* ---- messages */

static const struct child *child_of(kind k, const og__field *f)
{
    for (size_t i = 0; i < sizeof(children) / sizeof(*children); i++)
        if (children[i].parent == k && children[i].number == f->number && f->type == OG__WIRE_BYTES)
            return &children[i];
    return NULL;
}

/* The walk reads little, but all over the mapped file. */
static void forget_walked(og__rewrite *r, const uint8_t *end)
{
    if (end - r->walked < WALKED)
        return;
    og_onnx_forget(r->onnx, r->walked, (size_t)(end - r->walked));
    r->walked = end;
}

static og_status run_child(og__rewrite *r, const struct child *c, int depth, const og__field *f,
                           og__out *out, bool *changed)
{
    og__wire in = og__wire_inside(f);
    og__out inner = og__out_in(r->arena);
    bool inner_changed = false;
    if (c->child != TENSOR)
        OG_TRY(run(r, c->child, depth + 1, in, &inner, &inner_changed));
    else if (depth == 1 && c->parent == GRAPH)
        OG_TRY(rewrite_initializer(r, in, &inner, &inner_changed));
    else
        OG_TRY(rewrite_tensor(r, in, &inner, &inner_changed));
    if (inner_changed)
        og__out_message(out, f->number, &inner);
    else
        og__out_raw(out, f->start, f->total);
    *changed |= inner_changed;
    if (c->child == NODE && !r->training && is_batch_norm(in))
        OG_TRY(replace_statistics(r, in, f->number, out));
    forget_walked(r, f->start + f->total);
    return OG_OK;
}

/* Given anew, or of a checkpoint that the model was loaded from. */
static bool is_replaced_metadata(og__rewrite *r, const og__field *f)
{
    int index;
    const char *key = text_of(r, og__wire_inside(f), ENTRY_KEY);
    return key && (og__names_get(&r->metadata_index, key, &index) ||
                   strncmp(key, OG__CHECKPOINT, strlen(OG__CHECKPOINT)) == 0);
}

/* Is the training information a checkpoint's, not the model's own? */
static bool is_checkpoint(const og__field *f)
{
    og__field graph;
    return f->type == OG__WIRE_BYTES &&
           find_field(og__wire_inside(f), TRAINING_ALGORITHM, &graph) &&
           field_is(og__wire_inside(&graph), GRAPH_NAME, OG__ALGORITHM);
}

static bool is_replaced(og__rewrite *r, const og__field *f)
{
    return (f->number == MODEL_METADATA && is_replaced_metadata(r, f)) ||
           (f->number == MODEL_TRAINING && is_checkpoint(f));
}

/* One message; depth 0: the model, 1: its graph or a function. */
static og_status run(og__rewrite *r, kind k, int depth, og__wire in, og__out *out, bool *changed)
{
    bool look = k == NODE && !r->training;
    bool batch_norm = look && is_batch_norm(in), dropout = look && is_onnx_op(in, "Dropout");
    int n_in = 0, n_out = 0;
    og__field f;
    while (og__wire_next(&in, &f) > 0) {
        const struct child *c = child_of(k, &f);
        int i = f.number == NODE_INPUT ? n_in++ : f.number == NODE_OUTPUT ? n_out++ : 0;
        if (is_training_only(batch_norm, dropout, &f, i) || (k == MODEL && is_replaced(r, &f)))
            *changed = true;
        else if (c)
            OG_TRY(run_child(r, c, depth, &f, out, changed));
        else
            og__out_raw(out, f.start, f.total);
    }
    return out->failed ? no_memory(r) : OG_OK;
}

og_status og__rewrite_run(og__rewrite *r)
{
    int index;
    bool changed = false;
    r->out = og__out_in(r->arena);
    r->weight_index = og__names_in(r->arena);
    r->metadata_index = og__names_in(r->arena);
    r->read = og__names_in(r->arena);
    r->chunks = NULL;
    r->n_chunks = 0;
    r->cap_chunks = 0;
    r->data_size = 0;
    r->walked = r->onnx->bytes;
    for (int i = 0; i < r->n_weights; i++) {
        if (!og__names_get(&r->onnx->initializer_index, r->weights[i].name, &index))
            return og_fail(r->error, OG_INVALID_ARGUMENT,
                           "the model has no initializer \"%s\" to save", r->weights[i].name);
        if (!og__names_set(&r->weight_index, r->weights[i].name, i))
            return no_memory(r);
    }
    for (int i = 0; i < r->n_metadata; i++)
        if (!og__names_set(&r->metadata_index, r->metadata[i].key, i))
            return no_memory(r);
    OG_TRY(run(r, MODEL, 0, og__wire_of(r->onnx->bytes, r->onnx->size), &r->out, &changed));
    for (int i = 0; i < r->n_metadata; i++) {
        og__out entry = og__out_in(r->arena);
        og__out_text(&entry, ENTRY_KEY, r->metadata[i].key);
        og__out_text(&entry, ENTRY_VALUE, r->metadata[i].value);
        og__out_message(&r->out, MODEL_METADATA, &entry);
    }
    return r->out.failed ? no_memory(r) : OG_OK;
}
