/* Weights of another file, of a model or .safetensors: what has the same name and shape is taken
 * over, in the model's floating-point type, and what has not is listed. */
#include <math.h>
#include <string.h>

#include "runtime/base/half.h"
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

/* ---- which way round a weight is */

/* Of the weights of rank 2 that are not square, by how the model's layers read them (1 or 2): how
 * many the file has the same way round, and how many the other. */
typedef struct layout {
    int same[3], turned[3];
} layout;

static bool is_turned(const og_type *a, const og_type *b)
{
    return a->rank == 2 && b->rank == 2 && a->dims[0] == b->dims[1] && a->dims[1] == b->dims[0];
}

/* For files without layers. */
static layout layout_of(const og_graph *g, const og_graph *from)
{
    layout found = {0};
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i];
        const og_value *w = is_weight(v) && v->type.rank == 2 ? find(from, v->name) : NULL;
        int here = w && v->type.dims[0] != v->type.dims[1] ? orientation(g, v) : 0;
        found.same[here] += here && og_type_same_dims(&v->type, &w->type);
        found.turned[here] += here && is_turned(&v->type, &w->type);
    }
    return found;
}

/* As orientation, of a tensor in a file that does not say what reads it: as its shape says; a
 * square one goes with the others, and if there are none is as PyTorch's modules have it. */
static int orientation_there(const layout *l, int here, const og_value *v, const og_value *w)
{
    if (v->type.dims[0] != v->type.dims[1])
        return og_type_same_dims(&v->type, &w->type) ? here : 3 - here;
    if (!l->same[here] && !l->turned[here])
        return 1;
    return l->turned[here] > l->same[here] ? 3 - here : here;
}

/* ---- taking over */

static bool is_number_type(og_dtype t)
{
    return t == OG_FLOAT || t == OG_DOUBLE || t == OG_FLOAT16 || t == OG_BFLOAT16;
}

/* Elements may lie at any alignment. */
static double read_element(const char *from, og_dtype dtype)
{
    uint16_t half;
    float single;
    double number;
    if (dtype == OG_DOUBLE) {
        memcpy(&number, from, sizeof number);
        return number;
    }
    if (dtype == OG_FLOAT) {
        memcpy(&single, from, sizeof single);
        return (double)single;
    }
    memcpy(&half, from, sizeof half);
    return (double)(dtype == OG_FLOAT16 ? og_half_to_float(half) : og_bfloat_to_float(half));
}

/* false: x is finite and too large for the type. */
static bool write_element(char *to, og_dtype dtype, double x)
{
    float single = (float)x;
    uint16_t half;
    switch (dtype) {
    case OG_DOUBLE:
        memcpy(to, &x, sizeof x);
        return true;
    case OG_FLOAT:
        memcpy(to, &single, sizeof single);
        return isfinite(single) || !isfinite(x);
    case OG_FLOAT16:
        half = og_float_to_half(single);
        memcpy(to, &half, sizeof half);
        return isfinite(og_half_to_float(half)) || !isfinite(x);
    default:
        half = og_float_to_bfloat(single);
        memcpy(to, &half, sizeof half);
        return isfinite(og_bfloat_to_float(half)) || !isfinite(x);
    }
}

/* w, which `from` has, as the tensor v of the model, in *tensor; data NULL: it does not fit. A
 * weight that one side has transposed (built-in models and optimizing exporters do) is transposed.
 */
static og_status take(og_model *m, const og_value *v, const og_graph *from, const layout *l,
                      const og_value *w, og_onnx_tensor *tensor)
{
    *tensor = (og_onnx_tensor){v->name, v->type, NULL};
    int here = v->type.rank == 2 && w->type.rank == 2 ? orientation(m->graph, v) : 0;
    int there = !here ? 0 : l ? orientation_there(l, here, v, w) : orientation(from, w);
    bool turn = here && there && here != there;
    if (!(turn ? is_turned(&v->type, &w->type) : og_type_same_dims(&v->type, &w->type)))
        return OG_OK;
    if (!turn && v->type.dtype == w->type.dtype) {
        tensor->data = w->data;
        return OG_OK;
    }
    bool convert = v->type.dtype != w->type.dtype;
    if (convert && (!is_number_type(v->type.dtype) || !is_number_type(w->type.dtype)))
        return OG_OK;
    size_t size = (size_t)og_dtype_bits(v->type.dtype) / 8;
    size_t size_there = (size_t)og_dtype_bits(w->type.dtype) / 8;
    char *to = og_arena_alloc(m->arena, (size_t)og_type_bytes(&v->type) + 1);
    if (!to)
        return og_fail_memory(&m->context->error, (size_t)og_type_bytes(&v->type), v->name);
    tensor->data = to;
    int64_t n = og_type_elements(&v->type), rows = turn ? v->type.dims[0] : 1,
            columns = turn ? v->type.dims[1] : n;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < columns; k++, to += size) {
            const char *element = (const char *)w->data + (size_t)(k * rows + i) * size_there;
            double x = convert ? read_element(element, w->type.dtype) : 0;
            if (!convert)
                memcpy(to, element, size);
            else if (!write_element(to, v->type.dtype, x))
                return og_fail(&m->context->error, OG_INVALID_DATA,
                               "option init_from: %s holds %g, which %s cannot", v->name, x,
                               og_dtype_name(v->type.dtype));
        }
    return OG_OK;
}

/* What fits goes to `tensors`, the rest to the lists. */
typedef struct taking {
    og_onnx_tensor *tensors;
    int n, weights, converted; /* taken; of the model; taken, of another type */
    listing missing, extra, other;
} taking;

static og_status take_all(og_model *m, const og_graph *from, taking *t)
{
    const og_graph *g = m->graph;
    bool has_layers = from->n_nodes > 0;
    layout by_shape = {0};
    if (!has_layers)
        by_shape = layout_of(g, from);
    for (int i = 0; i < g->n_values; i++) {
        const og_value *v = g->values[i], *w = is_weight(v) ? find(from, v->name) : NULL;
        char have[160], want[160];
        if (!is_weight(v))
            continue;
        t->weights++;
        if (!w) {
            list(&t->missing, "%s", v->name);
            continue;
        }
        OG_TRY(take(m, v, from, has_layers ? NULL : &by_shape, w, &t->tensors[t->n]));
        if (t->tensors[t->n].data) {
            t->n++;
            t->converted += v->type.dtype != w->type.dtype;
        } else {
            list(&t->other, "%s %s there, %s here", v->name, og_type_text(have, NULL, &w->type),
                 og_type_text(want, NULL, &v->type));
        }
    }
    for (int i = 0; i < from->n_values; i++)
        if (is_weight(from->values[i]) && !find(g, from->values[i]->name))
            list(&t->extra, "%s", from->values[i]->name);
    return OG_OK;
}

static og_status fail_none(og_model *m, const char *path, const taking *t)
{
    return og_fail(&m->context->error, OG_INVALID_ARGUMENT,
                   "option init_from: none of the %d float tensors of the model is in %s with the "
                   "same name and shape (%s%s%s%s)",
                   t->weights, path, t->other.n ? "another shape has " : "the first is ",
                   t->other.n     ? t->other.text.s
                   : t->missing.n ? t->missing.text.s
                                  : "none",
                   t->extra.n ? "; there are " : "", t->extra.n ? t->extra.text.s : "");
}

og_status og__load_weights(og_model *m, const og_options *options)
{
    og_error *error = &m->context->error;
    const char *path = og_options_get(options, "init_from");
    if (!path)
        return OG_OK;
    og_onnx *source = og_onnx_load_weights(path, error);
    if (!source) {
        og_error_prefix(error, "option init_from");
        return error->status;
    }
    m->source = source; /* its tensors are read where they lie */
    const og_graph *from = og_onnx_graph(source);
    og_onnx_tensor *tensors =
        og_arena_array(m->arena, (size_t)m->graph->n_values + 1, sizeof(*tensors));
    if (!tensors)
        return og_fail_memory(error, sizeof(*tensors), "weights");
    taking t = {.tensors = tensors};
    og_status status = take_all(m, from, &t);
    if (status == OG_OK && t.n == 0)
        status = fail_none(m, path, &t);
    if (status == OG_OK) {
        og__model_changed(m, "%d of %d float tensors from %s", t.n, t.weights, path);
        if (t.converted)
            og__model_changed(m, "of them %d of another type, converted", t.converted);
        say_listing(m, "not in it, as they were", &t.missing);
        say_listing(m, "of another shape or type, as they were", &t.other);
        say_listing(m, "in it alone, left out", &t.extra);
    }
    og_text_free(&t.missing.text);
    og_text_free(&t.other.text);
    og_text_free(&t.extra.text);
    OG_TRY(status);
    return og__model_edit(m, &(og_onnx_edit){.tensors = tensors, .n_tensors = t.n});
}
