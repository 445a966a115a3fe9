/* A loaded model with changes: the bytes are written again on the wire with other initializers and
 * branches, and loaded. Large tensors are not copied: the new bytes refer to where they lie. */
#include <stdio.h>
#include <string.h>

#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"

enum { LENT_FROM = 1024, FIRST_IR_WITHOUT_INPUTS = 4 };

typedef struct editor {
    const og_onnx *base;
    const og_onnx_edit *edit;
    og_arena *arena;
    og_error *error;
    int depth, lent; /* edits before this one; tensors lent by it */
    bool *placed;    /* by tensor of the edit: it took the place of another */
    bool *branched;  /* by branch: its node was found */
} editor;

static bool no_memory(editor *e)
{
    og_fail_memory(e->error, 0, "a changed model");
    return false;
}

/* ---- tensors */

static bool lend(editor *e, og__out *tensor, const void *data, size_t size)
{
    char location[48];
    snprintf(location, sizeof location, "ai.ongrad.%d.%d", e->depth, e->lent++);
    og__out entry = og__out_in(e->arena);
    og__out_text(&entry, 1, "location");
    og__out_text(&entry, 2, location);
    og__out_message(tensor, TENSOR_EXTERNAL, &entry);
    og__out_varint(tensor, TENSOR_LOCATION, 1);
    return og__external_lend(e->base->external, location, data, size) || no_memory(e);
}

static bool write_tensor(editor *e, const og_onnx_tensor *t, uint32_t number, og__out *out)
{
    size_t bytes = (size_t)og_type_bytes(&t->type);
    og__out tensor = og__out_in(e->arena);
    for (int i = 0; i < t->type.rank; i++)
        og__out_varint(&tensor, TENSOR_DIMS, (uint64_t)t->type.dims[i]);
    og__out_varint(&tensor, TENSOR_TYPE, t->type.dtype);
    if (t->name)
        og__out_text(&tensor, TENSOR_NAME, t->name);
    if (bytes < LENT_FROM)
        og__out_bytes(&tensor, TENSOR_RAW, t->data, bytes);
    else if (!lend(e, &tensor, t->data, bytes))
        return false;
    og__out_message(out, number, &tensor);
    return true;
}

static int find_tensor(const editor *e, const og__field *name)
{
    for (int i = 0; i < e->edit->n_tensors; i++)
        if (og__field_is(name, e->edit->tensors[i].name))
            return i;
    return -1;
}

/* The initializer as it is, but for its raw data, which is lent where there is much. */
static bool copy_tensor(editor *e, const og__field *f, og__out *out)
{
    og__field raw, part;
    og__wire in = og__wire_inside(f);
    if (!og__wire_find(in, TENSOR_RAW, &raw) || raw.size < LENT_FROM) {
        og__out_raw(out, f->start, f->total);
        return true;
    }
    og__out tensor = og__out_in(e->arena);
    while (og__wire_next(&in, &part) > 0)
        if (part.number != TENSOR_RAW)
            og__out_raw(&tensor, part.start, part.total);
    if (!lend(e, &tensor, raw.bytes, raw.size))
        return false;
    og__out_message(out, GRAPH_INITIALIZER, &tensor);
    return true;
}

static bool write_initializer(editor *e, const og__field *f, og__out *out)
{
    og__field name;
    int i = og__wire_find(og__wire_inside(f), TENSOR_NAME, &name) ? find_tensor(e, &name) : -1;
    if (i < 0)
        return copy_tensor(e, f, out);
    e->placed[i] = true;
    return write_tensor(e, &e->edit->tensors[i], GRAPH_INITIALIZER, out);
}

/* The ValueInfoProto of a tensor; `like`: what else the one before said, NULL: nothing. */
static void write_info(editor *e, uint32_t number, const og_onnx_tensor *t, const og__field *like,
                       og__out *out)
{
    og__out shape = og__out_in(e->arena), tensor = shape, type = shape, value = shape;
    og__field f;
    for (int i = 0; i < t->type.rank; i++) {
        og__out dim = og__out_in(e->arena);
        og__out_varint(&dim, DIM_VALUE, (uint64_t)t->type.dims[i]);
        og__out_message(&shape, SHAPE_DIM, &dim);
    }
    og__out_varint(&tensor, TENSOR_ELEM, t->type.dtype);
    og__out_message(&tensor, TENSOR_SHAPE, &shape);
    og__out_message(&type, TYPE_TENSOR, &tensor);
    if (!like)
        og__out_text(&value, VALUE_NAME, t->name);
    for (og__wire in = like ? og__wire_inside(like) : og__wire_of(NULL, 0);
         og__wire_next(&in, &f) > 0;)
        if (f.number != VALUE_TYPE)
            og__out_raw(&value, f.start, f.total);
    og__out_message(&value, VALUE_TYPE, &type);
    og__out_message(out, number, &value);
}

/* ---- declared shapes */

/* The message again, with another length of an axis of the shape that `path` leads to; axis -1: the
 * last. */
static og__out with_axis(editor *e, og__wire in, const uint32_t *path, int depth, int axis,
                         int64_t length)
{
    og__out out = og__out_in(e->arena);
    og__field f;
    int rank = 0;
    for (og__wire at = in; axis < 0 && !path[depth + 1] && og__wire_next(&at, &f) > 0;)
        rank += f.number == path[depth];
    axis = axis < 0 && !path[depth + 1] ? rank - 1 : axis;
    for (int i = 0; og__wire_next(&in, &f) > 0;) {
        bool on_path = f.number == path[depth] && f.type == OG__WIRE_BYTES;
        if (on_path && path[depth + 1]) {
            og__out inner = with_axis(e, og__wire_inside(&f), path, depth + 1, axis, length);
            og__out_message(&out, f.number, &inner);
        } else if (on_path && i++ == axis) {
            og__out dim = og__out_in(e->arena);
            og__out_varint(&dim, DIM_VALUE, (uint64_t)length);
            og__out_message(&out, f.number, &dim);
        } else {
            og__out_raw(&out, f.start, f.total);
        }
    }
    return out;
}

static void write_output(editor *e, const og__field *f, og__out *out)
{
    static const uint32_t path[] = {VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE, SHAPE_DIM, 0};
    const og_onnx_edit *edit = e->edit;
    og__field name;
    if (!edit->output || !og__wire_find(og__wire_inside(f), VALUE_NAME, &name) ||
        !og__field_is(&name, edit->output)) {
        og__out_raw(out, f->start, f->total);
        return;
    }
    og__out value = with_axis(e, og__wire_inside(f), path, 0, edit->axis, edit->length);
    og__out_message(out, GRAPH_OUTPUT, &value);
}

static void write_value(editor *e, const og__field *info, og__out *out)
{
    og__field name;
    bool known = og__wire_find(og__wire_inside(info), VALUE_NAME, &name);
    int tensor = known ? find_tensor(e, &name) : -1;
    for (int i = 0; known && i < e->edit->n_untyped; i++)
        if (og__field_is(&name, e->edit->untyped[i]))
            return;
    if (tensor >= 0)
        write_info(e, info->number, &e->edit->tensors[tensor], info, out);
    else
        og__out_raw(out, info->start, info->total);
}

/* ---- branches */

static void write_node(og__out *out, const char *op, const char *a, const char *b, const char *y,
                       og__out *node)
{
    og__out_text(node, NODE_INPUT, a);
    og__out_text(node, NODE_INPUT, b);
    og__out_text(node, NODE_OUTPUT, y);
    og__out_text(node, NODE_NAME, y);
    og__out_text(node, NODE_OP, op);
    og__out_message(out, GRAPH_NODE, node);
}

/* A Constant node, which is never trained. */
static bool write_scalar(editor *e, const og_onnx_branch *b, const char *name, og__out *out)
{
    og_type type = og_type_make(b->dtype, 0, NULL);
    double *data = og_arena_alloc(e->arena, sizeof(double));
    if (!data)
        return no_memory(e);
    if (b->dtype == OG_DOUBLE)
        *data = b->scale;
    else
        *(float *)data = (float)b->scale;
    og__out node = og__out_in(e->arena), attr = node;
    og__out_text(&attr, ATTR_NAME, "value");
    if (!write_tensor(e, &(og_onnx_tensor){NULL, type, data}, ATTR_T, &attr))
        return false;
    og__out_varint(&attr, ATTR_TYPE, OG_ATTR_TENSOR);
    og__out_text(&node, NODE_OUTPUT, name);
    og__out_text(&node, NODE_OP, "Constant");
    og__out_message(&node, NODE_ATTRIBUTE, &attr);
    og__out_message(out, GRAPH_NODE, &node);
    return true;
}

/* y becomes base, and  y = base + op(scale · op(x, a), b) */
static bool write_branch(editor *e, const og_onnx_branch *b, og__wire in, og__out *out)
{
    static const char *const suffixes[] = {"base", "down", "up", "scale", "scaled"};
    const char *names[5], *x = NULL, *op = b->conv ? "Conv" : "MatMul";
    og__out node = og__out_in(e->arena), down = node, up = node, scaled = node, sum = node;
    og__field f;
    for (int i = 0; i < 5; i++)
        if (!(names[i] = og_arena_printf(e->arena, "%s.lora_%s", b->value, suffixes[i])))
            return no_memory(e);
    for (og__wire at = in; og__wire_next(&at, &f) > 0;) {
        if (f.number == NODE_INPUT && !x &&
            !(x = og_arena_strndup(e->arena, (const char *)f.bytes, f.size)))
            return no_memory(e);
        if (f.number == NODE_OUTPUT && og__field_is(&f, b->value))
            og__out_text(&node, NODE_OUTPUT, names[0]);
        else
            og__out_raw(&node, f.start, f.total);
        if (f.number == NODE_ATTRIBUTE && b->conv)
            og__out_raw(&down, f.start, f.total);
    }
    og__out_message(out, GRAPH_NODE, &node);
    write_node(out, op, x ? x : "", b->a, names[1], &down);
    if (b->scale != 1) {
        if (!write_scalar(e, b, names[3], out))
            return false;
        write_node(out, "Mul", names[1], names[3], names[4], &scaled);
    }
    write_node(out, op, names[b->scale != 1 ? 4 : 1], b->b, names[2], &up);
    write_node(out, "Add", names[0], names[2], b->value, &sum);
    return true;
}

/* Is it one of the ops that branches stand beside, and no call of a function? */
static bool is_layer(og__wire node)
{
    og__field op, domain;
    if (og__wire_find(node, NODE_DOMAIN, &domain) && domain.size &&
        !og__field_is(&domain, "ai.onnx"))
        return false;
    return og__wire_find(node, NODE_OP, &op) &&
           (og__field_is(&op, "MatMul") || og__field_is(&op, "Gemm") || og__field_is(&op, "Conv"));
}

static bool write_graph_node(editor *e, const og__field *f, og__out *out)
{
    og__field output;
    og__wire in = og__wire_inside(f);
    bool may = e->edit->n_branches && is_layer(in);
    while (may && og__wire_next(&in, &output) > 0)
        for (int i = 0; i < e->edit->n_branches && output.number == NODE_OUTPUT; i++)
            if (og__field_is(&output, e->edit->branches[i].value)) {
                e->branched[i] = true;
                return write_branch(e, &e->edit->branches[i], og__wire_inside(f), out);
            }
    og__out_raw(out, f->start, f->total);
    return true;
}

/* ---- the model */

static bool write_graph(editor *e, og__wire in, bool with_inputs, og__out *out)
{
    const og_onnx_edit *edit = e->edit;
    bool good = true;
    og__field f;
    while (good && og__wire_next(&in, &f) > 0) {
        bool message = f.type == OG__WIRE_BYTES;
        if (message && f.number == GRAPH_NODE)
            good = write_graph_node(e, &f, out);
        else if (message && f.number == GRAPH_INITIALIZER)
            good = write_initializer(e, &f, out);
        else if (message && f.number == GRAPH_OUTPUT)
            write_output(e, &f, out);
        else if (message && (f.number == GRAPH_VALUE_INFO || f.number == GRAPH_INPUT))
            write_value(e, &f, out);
        else
            og__out_raw(out, f.start, f.total);
    }
    for (int i = 0; good && i < edit->n_tensors; i++) {
        if (e->placed[i])
            continue;
        good = write_tensor(e, &edit->tensors[i], GRAPH_INITIALIZER, out);
        if (with_inputs) /* before IR version 4 every initializer had to be an input, too */
            write_info(e, GRAPH_INPUT, &edit->tensors[i], NULL, out);
    }
    return good;
}

static bool append(void *user, const void *bytes, size_t size)
{
    uint8_t **to = user;
    memcpy(*to, bytes, size);
    *to += size;
    return true;
}

og_status og__edit_bytes(const og_onnx *base, const og_onnx_edit *edit, og_arena *arena,
                         const uint8_t **bytes, size_t *size, og_error *error)
{
    editor e = {.base = base, .edit = edit, .arena = og_arena_new(), .error = error};
    og_status status = OG_OK;
    for (const og_onnx *b = base; b; b = b->base)
        e.depth++;
    if (e.arena) {
        e.placed = og_arena_array(e.arena, (size_t)edit->n_tensors + 1, sizeof(bool));
        e.branched = og_arena_array(e.arena, (size_t)edit->n_branches + 1, sizeof(bool));
    }
    if (!e.arena || !e.placed || !e.branched) {
        og_arena_free(e.arena);
        return og_fail_memory(error, 0, "a changed model");
    }
    og__out out = og__out_in(e.arena);
    og__wire in = og__wire_of(base->bytes, base->size);
    og__field f;
    bool good = true;
    while (good && og__wire_next(&in, &f) > 0) {
        if (f.number != MODEL_GRAPH || f.type != OG__WIRE_BYTES) {
            og__out_raw(&out, f.start, f.total);
            continue;
        }
        og__out graph = og__out_in(e.arena);
        good = write_graph(&e, og__wire_inside(&f), base->ir_version < FIRST_IR_WITHOUT_INPUTS,
                           &graph);
        og__out_message(&out, MODEL_GRAPH, &graph);
    }
    for (int i = 0; good && i < edit->n_branches; i++)
        if (!e.branched[i])
            good = og_fail(error, OG_UNSUPPORTED,
                           "\"%s\" is made inside a function of the model, where nothing can be "
                           "added",
                           edit->branches[i].value) == OG_OK;
    uint8_t *all = good && !out.failed ? og_arena_alloc(arena, (size_t)out.size + 1) : NULL;
    if (all) {
        *bytes = all;
        *size = (size_t)out.size;
        og__out_write(&out, append, &all);
    } else if (good) {
        status = og_fail_memory(error, (size_t)out.size, "a changed model");
    }
    if (!good)
        status = error->status;
    og_arena_free(e.arena);
    return status;
}
