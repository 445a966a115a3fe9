/* Weights of another model: what has the same name and type is taken over, and what has not is
 * listed. */
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/train/adapt.h"

enum { MOST_LISTED = 8 };

/* ", first, second … and 3 more" */
typedef struct listing {
    og_text text;
    int n;
} listing;

static void list(listing *l, const char *format, ...) OG_PRINTF(2, 3);
static void list(listing *l, const char *format, ...)
{
    if (l->n++ >= MOST_LISTED)
        return;
    va_list arguments;
    va_start(arguments, format);
    og_text_add(&l->text, l->n > 1 ? ", " : "");
    og_text_vprintf(&l->text, format, arguments);
    va_end(arguments);
}

static void say_listing(og_model *m, const char *what, listing *l)
{
    if (l->n > MOST_LISTED)
        og_text_printf(&l->text, " and %d more", l->n - MOST_LISTED);
    if (l->n)
        og__model_changed(m, "%s (%d): %s", what, l->n, l->text.s ? l->text.s : "");
    og_text_free(&l->text);
}

static bool is_weight(const og_value *v)
{
    return v->kind == OG_VALUE_CONST && *v->name && og_dtype_is_float(v->type.dtype);
}

static const og_value *find(const og_graph *g, const char *name)
{
    for (int i = 0; i < g->n_values; i++)
        if (is_weight(g->values[i]) && strcmp(g->values[i]->name, name) == 0)
            return g->values[i];
    return NULL;
}

/* 1: layers read it as [out, in], 2: as [in, out]; 0: none reads it, or they do not agree. */
static int orientation(const og_graph *g, const og_value *v)
{
    int found = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        bool rows;
        if (og_op_is(g->nodes[i]->op, NULL, "Conv") ||
            og__layer_weight(g, g->nodes[i], &rows) != v->id)
            continue;
        if (found && found != (rows ? 1 : 2))
            return 0;
        found = rows ? 1 : 2;
    }
    return found;
}

/* w, which `from` has, as the tensor v of g, in *tensor; data NULL: it does not fit. A weight that
 * one side has transposed (built-in models and optimizing exporters do) is transposed. */
static og_status take(og_model *m, const og_value *v, const og_graph *from, const og_value *w,
                      og_onnx_tensor *tensor)
{
    *tensor = (og_onnx_tensor){v->name, v->type, NULL};
    int64_t rows = v->type.dims[0], columns = v->type.dims[1];
    int here = v->type.rank == 2 ? orientation(m->graph, v) : 0;
    int there = here ? orientation(from, w) : 0;
    if (!here || !there || here == there) {
        tensor->data = og_type_equal(&v->type, &w->type) ? w->data : NULL;
        return OG_OK;
    }
    if (w->type.rank != 2 || w->type.dtype != v->type.dtype || w->type.dims[0] != columns ||
        w->type.dims[1] != rows)
        return OG_OK;
    size_t size = (size_t)og_dtype_bits(v->type.dtype) / 8;
    char *to = og_arena_alloc(m->arena, (size_t)og_type_bytes(&v->type) + 1);
    if (!to)
        return og_fail_memory(&m->context->error, (size_t)og_type_bytes(&v->type), v->name);
    tensor->data = to;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < columns; k++, to += size)
            memcpy(to, (const char *)w->data + (size_t)(k * rows + i) * size, size);
    return OG_OK;
}

og_status og__load_weights(og_model *m, const og_options *options)
{
    og_error *error = &m->context->error;
    const char *path = og_options_get(options, "init_from");
    if (!path)
        return OG_OK;
    og_onnx *source = og_onnx_load(path, error);
    if (!source) {
        og_error_prefix(error, "option init_from");
        return error->status;
    }
    m->source = source; /* its tensors are read where they lie */
    const og_graph *g = m->graph, *from = og_onnx_graph(source);
    og_onnx_tensor *tensors = og_arena_array(m->arena, (size_t)g->n_values + 1, sizeof(*tensors));
    if (!tensors)
        return og_fail_memory(error, sizeof(*tensors), "weights");
    listing missing = {0}, extra = {0}, other = {0};
    int n = 0, weights = 0;
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i], *w = is_weight(v) ? find(from, v->name) : NULL;
        char have[160], want[160];
        weights += is_weight(v);
        if (!is_weight(v))
            continue;
        if (!w) {
            list(&missing, "%s", v->name);
            continue;
        }
        OG_TRY(take(m, v, from, w, &tensors[n]));
        if (tensors[n].data)
            n++;
        else
            list(&other, "%s %s there, %s here", v->name, og_type_text(have, NULL, &w->type),
                 og_type_text(want, NULL, &v->type));
    }
    for (int i = 0; i < from->n_values; i++)
        if (is_weight(from->values[i]) && !find(g, from->values[i]->name))
            list(&extra, "%s", from->values[i]->name);
    og_status status = OG_OK;
    if (n == 0)
        status =
            og_fail(error, OG_INVALID_ARGUMENT,
                    "option init_from: none of the %d float tensors of the model is in %s with "
                    "the same name and shape (%s%s)",
                    weights, path, other.n ? "another shape has " : "the first is ",
                    other.n     ? other.text.s
                    : missing.n ? missing.text.s
                                : "none");
    else
        og__model_changed(m, "%d of %d float tensors from %s", n, weights, path);
    if (status == OG_OK) {
        say_listing(m, "not in it, as they were", &missing);
        say_listing(m, "of another shape or type, as they were", &other);
        say_listing(m, "in it alone, left out", &extra);
    } else {
        og_text_free(&missing.text);
        og_text_free(&other.text);
        og_text_free(&extra.text);
    }
    OG_TRY(status);
    return og__model_edit(m, &(og_onnx_edit){.tensors = tensors, .n_tensors = n});
}
