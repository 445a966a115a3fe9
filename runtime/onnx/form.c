/* A loaded model in another form: symbolic dims renamed or fixed, in float16. The bytes are written
 * again on the wire, everything else as it is, and loaded: that checks them. Large tensors are not
 * copied: the new bytes refer to where they lie. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/onnx/form.h"

enum { LENT_FROM = 1024 };

typedef struct former {
    const og_onnx *base;
    const og_onnx_form *form;
    og_arena *arena; /* of the model that is made */
    og_error *error;
    og__half half;
    int depth, lent, nodes; /* models before this one; tensors lent by it; nodes written */
} former;

static og_status no_memory(const former *r)
{
    return og_fail_memory(r->error, 0, "a model in another form");
}

/* ---- dims */

/* A TensorShapeProto.Dimension. */
static void write_dim(former *r, const og__field *dim, og__out *out)
{
    og__field name;
    bool symbolic = og__wire_find(og__wire_inside(dim), DIM_PARAM, &name);
    for (int i = 0; symbolic && i < r->form->n_dims; i++) {
        const og_onnx_dim *d = &r->form->dims[i];
        if (!og__field_is(&name, d->name))
            continue;
        og__out made = og__out_in(r->arena);
        if (d->other)
            og__out_text(&made, DIM_PARAM, d->other);
        else
            og__out_varint(&made, DIM_VALUE, (uint64_t)d->length);
        og__out_message(out, SHAPE_DIM, &made);
        return;
    }
    og__out_raw(out, dim->start, dim->total);
}

/* The message again, with the dims of the shape that `path` leads to. */
static void write_shape(former *r, og__wire in, const uint32_t *path, og__out *out)
{
    for (og__field f; og__wire_next(&in, &f) > 0;) {
        if (f.number != *path || f.type != OG__WIRE_BYTES) {
            og__out_raw(out, f.start, f.total);
        } else if (path[1]) {
            og__out inner = og__out_in(r->arena);
            write_shape(r, og__wire_inside(&f), path + 1, &inner);
            og__out_message(out, f.number, &inner);
        } else {
            write_dim(r, &f, out);
        }
    }
}

static void write_value(former *r, const og__field *f, og__out *out)
{
    static const uint32_t path[] = {VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE, SHAPE_DIM, 0};
    og__field name;
    if (r->form->dtypes && f->number == GRAPH_VALUE_INFO &&
        og__wire_find(og__wire_inside(f), VALUE_NAME, &name) && og__half_is_half(&r->half, &name))
        return; /* what it says is not so any more */
    og__out value = og__out_in(r->arena);
    write_shape(r, og__wire_inside(f), path, &value);
    og__out_message(out, f->number, &value);
}

/* ---- tensors */

static og_status lend(former *r, og__out *tensor, const void *data, size_t size)
{
    char location[48];
    snprintf(location, sizeof location, "ai.ongrad.form.%d.%d", r->depth, r->lent++);
    og__out entry = og__out_in(r->arena);
    og__out_text(&entry, ENTRY_KEY, "location");
    og__out_text(&entry, ENTRY_VALUE, location);
    og__out_message(tensor, TENSOR_EXTERNAL, &entry);
    og__out_varint(tensor, TENSOR_LOCATION, 1);
    return og__external_lend(r->base->external, location, data, size) ? OG_OK : no_memory(r);
}

static og_status write_half(former *r, const og_const *c, const char *name, og__out *out)
{
    int64_t n = og_type_elements(&c->type);
    uint16_t *data = og_arena_array(r->arena, (size_t)n + 1, sizeof(*data));
    if (!data)
        return no_memory(r);
    for (int64_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, (const char *)c->data + (size_t)i * sizeof x, sizeof x);
        data[i] = og_float_to_half(x);
    }
    og__out tensor = og__out_in(r->arena);
    for (int i = 0; i < c->type.rank; i++)
        og__out_varint(&tensor, TENSOR_DIMS, (uint64_t)c->type.dims[i]);
    og__out_varint(&tensor, TENSOR_TYPE, OG_FLOAT16);
    og__out_text(&tensor, TENSOR_NAME, name);
    if ((size_t)n * sizeof(*data) < LENT_FROM)
        og__out_bytes(&tensor, TENSOR_RAW, data, (size_t)n * sizeof(*data));
    else
        OG_TRY(lend(r, &tensor, data, (size_t)n * sizeof(*data)));
    og__out_message(out, GRAPH_INITIALIZER, &tensor);
    return OG_OK;
}

static og_status write_initializer(former *r, const og__field *f, og__out *out)
{
    og__field name, raw, part;
    int index;
    if (r->form->dtypes && og__wire_find(og__wire_inside(f), TENSOR_NAME, &name) &&
        og__half_is_half(&r->half, &name)) {
        const char *text = og_arena_strndup(r->arena, (const char *)name.bytes, name.size);
        if (!text || !og__names_get(&r->base->initializer_index, text, &index))
            return no_memory(r);
        return write_half(r, &r->base->initializers[index], text, out);
    }
    if (!og__wire_find(og__wire_inside(f), TENSOR_RAW, &raw) || raw.size < LENT_FROM) {
        og__out_raw(out, f->start, f->total);
        return OG_OK;
    }
    og__out tensor = og__out_in(r->arena);
    for (og__wire in = og__wire_inside(f); og__wire_next(&in, &part) > 0;)
        if (part.number != TENSOR_RAW)
            og__out_raw(&tensor, part.start, part.total);
    OG_TRY(lend(r, &tensor, raw.bytes, raw.size));
    og__out_message(out, GRAPH_INITIALIZER, &tensor);
    return OG_OK;
}

/* ---- the model */

static og_status write_graph(former *r, og__wire in, og__out *out)
{
    if (r->form->dtypes)
        OG_TRY(og__half_decide(&r->half, in));
    for (og__field f; og__wire_next(&in, &f) > 0;) {
        bool message = f.type == OG__WIRE_BYTES;
        if (message && f.number == GRAPH_INITIALIZER)
            OG_TRY(write_initializer(r, &f, out));
        else if (message && f.number == GRAPH_NODE && r->form->dtypes)
            OG_TRY(og__half_node(&r->half, r->nodes++, og__wire_inside(&f), out));
        else if (message && (f.number == GRAPH_INPUT || f.number == GRAPH_OUTPUT ||
                             f.number == GRAPH_VALUE_INFO))
            write_value(r, &f, out);
        else
            og__out_raw(out, f.start, f.total);
    }
    return OG_OK;
}

/* Every dim that is asked for must be there. */
static og_status check_dims(const og_onnx *base, const og_onnx_form *form, og_error *error)
{
    OG_ASSUME(base);
    const og_graph *g = base->graph;
    for (int i = 0; i < form->n_dims; i++) {
        bool found = false;
        og_text list = {0};
        for (int k = 0; k < g->n_symbols; k++) {
            found |= strcmp(g->symbols[k], form->dims[i].name) == 0;
            og_text_printf(&list, "%s%s", k ? ", " : "", g->symbols[k]);
        }
        if (!found)
            og_fail(error, OG_INVALID_ARGUMENT,
                    "the model has no symbolic dim \"%s\"; those it has are: %s",
                    form->dims[i].name, list.s ? list.s : "none");
        og_text_free(&list);
        if (!found)
            return error->status;
    }
    return OG_OK;
}

static bool append(void *user, const void *bytes, size_t size)
{
    uint8_t **to = user;
    memcpy(*to, bytes, size);
    *to += size;
    return true;
}

og_status og__form_bytes(const og_onnx *base, const og_onnx_form *form, og_arena *arena,
                         const uint8_t **bytes, size_t *size, og_error *error)
{
    former r = {.base = base, .form = form, .arena = arena, .error = error};
    r.half = (og__half){.base = base, .dtypes = form->dtypes, .arena = arena, .error = error};
    for (const og_onnx *b = base; b; b = b->base)
        r.depth++;
    OG_TRY(check_dims(base, form, error));
    og__out out = og__out_in(arena);
    og__wire in = og__wire_of(base->bytes, base->size);
    for (og__field f; og__wire_next(&in, &f) > 0;) {
        if (f.number != MODEL_GRAPH || f.type != OG__WIRE_BYTES) {
            og__out_raw(&out, f.start, f.total);
            continue;
        }
        og__out graph = og__out_in(arena);
        OG_TRY(write_graph(&r, og__wire_inside(&f), &graph));
        og__out_message(&out, MODEL_GRAPH, &graph);
    }
    uint8_t *all = out.failed ? NULL : og_arena_alloc(arena, (size_t)out.size + 1);
    if (!all)
        return no_memory(&r);
    *bytes = all;
    *size = (size_t)out.size;
    og__out_write(&out, append, &all);
    return OG_OK;
}
