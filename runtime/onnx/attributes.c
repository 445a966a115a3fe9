/* AttributeProto to og_attr. Numbers are widened, strings get their NUL, tensors become og_const,
 * graphs og_graph (body.c). A reference (ref_attr_name, in function bodies) is replaced by what the
 * call passed, and leaves no attribute where that passed none. */
#include <stdio.h>
#include <string.h>

#include "runtime/onnx/loader.h"

static const char *const kind_names[] = {
    [0] = "no type",
    [9] = "type tensors",
    [10] = "type graphs",
    [11] = "type sparse_tensor",
    [12] = "type sparse_tensors",
    [13] = "type type_proto",
    [14] = "type type_protos",
};

static og_status out_of_memory(og_error *error)
{
    return og_fail_memory(error, sizeof(og_attr), "an attribute");
}

static og_status read_floats(og_arena *arena, const og__attr_view *v, og_attr *a, og_error *error)
{
    double *floats = og_arena_array(arena, (size_t)v->n_floats, sizeof(*floats));
    if (!floats)
        return out_of_memory(error);
    for (int i = 0; i < v->n_floats; i++)
        floats[i] = (double)v->floats[i];
    a->floats = floats;
    a->n = v->n_floats;
    return OG_OK;
}

static og_status read_strings(og_arena *arena, const og__attr_view *v, og_attr *a, og_error *error)
{
    const char **strings = og_arena_array(arena, (size_t)v->n_strings, sizeof(*strings));
    if (!strings)
        return out_of_memory(error);
    for (int i = 0; i < v->n_strings; i++) {
        strings[i] = og_arena_strndup(arena, (const char *)v->strings[i].data, v->strings[i].len);
        if (!strings[i])
            return out_of_memory(error);
    }
    a->strings = strings;
    a->n = v->n_strings;
    return OG_OK;
}

static og_status read_tensor(og_arena *arena, og__external *external, const og__attr_view *v,
                             og_attr *a, og_error *error)
{
    if (!v->t)
        return og_fail(error, OG_INVALID_MODEL, "has no tensor");
    og_const *c = og_arena_alloc(arena, sizeof(*c));
    if (!c)
        return out_of_memory(error);
    a->t = c;
    return og__tensor_load(arena, external, v->t, false, c, error);
}

static og_status read_value(og_arena *arena, og__external *external, const og__attr_view *v,
                            og_attr *a, og_error *error)
{
    *a = (og_attr){.name = v->name, .kind = (og_attr_kind)v->kind};
    switch (v->kind) {
    case OG_ATTR_FLOAT:
        a->f = v->f;
        return OG_OK;
    case OG_ATTR_INT:
        a->i = v->i;
        return OG_OK;
    case OG_ATTR_STRING:
        a->s = og_arena_strndup(arena, (const char *)v->s, v->s_size);
        return a->s ? OG_OK : out_of_memory(error);
    case OG_ATTR_TENSOR:
        return read_tensor(arena, external, v, a, error);
    case OG_ATTR_GRAPH:
        return OG_OK;
    case OG_ATTR_FLOATS:
        return read_floats(arena, v, a, error);
    case OG_ATTR_INTS:
        a->ints = v->ints ? v->ints : og_arena_alloc(arena, sizeof(*a->ints));
        a->n = v->n_ints;
        return a->ints ? OG_OK : out_of_memory(error);
    case OG_ATTR_STRINGS:
        return read_strings(arena, v, a, error);
    default:
        break;
    }
    bool known = v->kind >= 0 && v->kind <= 14;
    return og_fail(error, OG_UNSUPPORTED, "has %s, which is not supported",
                   known ? kind_names[v->kind] : "a new type");
}

/* Attributes of ONNX's own ops from opset 7 on that have one type wherever they occur. */
static const struct {
    og_attr_kind kind;
    const char *text, *names;
} known_kinds[] = {
    {OG_ATTR_INT, "an int",
     " align_corners allowzero axis batch_axis batch_dims blocksize ceil_mode center_point_box "
     "count_include_pad detect_negative detect_positive dtype exclude_outside exclusive fmod group "
     "hidden_size ignore_index input_forget is_causal k keepdims kv_num_heads largest layout "
     "linear_before_reset new_axis noop_with_empty_axes num_groups num_heads num_outputs "
     "q_num_heads reverse select_last_index size sorted stash_type storage_order time_axis to "
     "training_mode transA transB upper value_int "},
    {OG_ATTR_FLOAT, "a float",
     " alpha beta bias clip cubic_coeff_a epsilon extrapolation_value gamma high lambd low mean "
     "momentum ratio softcap value_float "},
    {OG_ATTR_STRING, "a string",
     " approximate auto_pad coordinate_transformation_mode direction equation "
     "keep_aspect_ratio_policy mode nearest_mode padding_mode reduction value_string "},
    {OG_ATTR_FLOATS, "a list of floats", " activation_alpha activation_beta scales value_floats "},
    {OG_ATTR_INTS, "a list of ints",
     " axes dilations ends kernel_shape output_padding output_shape pads perm split starts strides "
     "value_ints "},
    {OG_ATTR_STRINGS, "a list of strings", " activations value_strings "},
};

/* What attribute `a` of an ONNX op should have been; NULL if it is that, or its name unknown. */
static const char *another_kind(const og_attr *a)
{
    char key[64];
    if (snprintf(key, sizeof(key), " %s ", a->name) >= (int)sizeof(key))
        return NULL;
    for (size_t i = 0; i < sizeof(known_kinds) / sizeof(known_kinds[0]); i++)
        if (strstr(known_kinds[i].names, key))
            return a->kind == known_kinds[i].kind ? NULL : known_kinds[i].text;
    return NULL;
}

static const og_attr *find(const og_attr *attrs, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(attrs[i].name, name) == 0)
            return &attrs[i];
    return NULL;
}

/* One attribute appended to attrs[*n]; false after a report. */
static bool load_one(og__loader *l, const og__scope *scope, const og__node_view *node,
                     const char *label, const og__attribute_proto *proto, og_attr *attrs, int *n)
{
    og__attr_view v;
    og__attr_read(proto, &v);
    if (find(attrs, *n, v.name)) {
        og__report_add(&l->report, OG_INVALID_MODEL, "%s: attribute \"%s\" is given twice", label,
                       v.name);
        return false;
    }
    if (*v.reference) {
        const og_attr *bound = find(scope->bindings, scope->n_bindings, v.reference);
        if (!scope->function) {
            og__report_add(&l->report, OG_INVALID_MODEL,
                           "%s: attribute \"%s\" refers to \"%s\", which only function bodies may",
                           label, v.name, v.reference);
            return false;
        }
        if (bound) {
            attrs[*n] = *bound;
            attrs[(*n)++].name = v.name;
        }
        return true;
    }
    og_error error = {0};
    if (read_value(l->arena, l->onnx->external, &v, &attrs[*n], &error) == OG_OK) {
        og_attr *a = &attrs[*n];
        if (v.kind == OG_ATTR_GRAPH && v.g && node) {
            a->graph = og__body_load(l, scope, node, v.g);
            a->n = node->n_captured;
        }
        (*n)++;
        return v.kind != OG_ATTR_GRAPH || a->graph;
    }
    og_error_prefix(&error, "%s: attribute \"%s\"", label, v.name);
    og__report_move(&l->report, &error);
    return false;
}

enum { MAX_ATTRIBUTES = 1024 }; /* of a node; names are compared pairwise */

bool og__attributes_load(og__loader *l, const og__scope *scope, const og__node_view *node,
                         og_attr *attrs, int *n)
{
    char label[160];
    og__node_label(label, node);
    *n = 0;
    if (node->n_attrs > MAX_ATTRIBUTES) {
        og__report_add(&l->report, OG_INVALID_MODEL, "%s has %d attributes", label, node->n_attrs);
        return false;
    }
    bool good = true;
    for (int i = 0; i < node->n_attrs; i++)
        good &= load_one(l, scope, node, label, node->attrs[i], attrs, n);
    for (int i = 0; i < *n && !*node->domain; i++) {
        const char *expected = another_kind(&attrs[i]);
        if (expected)
            og__report_add(&l->report, OG_INVALID_MODEL,
                           "%s: attribute \"%s\" is of another type, expected %s", label,
                           attrs[i].name, expected);
        good &= !expected;
    }
    return good;
}

bool og__attributes_defaults(og__loader *l, const og__scope *scope,
                             const og__function_view *function, og_attr *attrs, int *n)
{
    bool good = true;
    for (int i = 0; i < function->n_defaults; i++) {
        og__attr_view v;
        og__attr_read(function->defaults[i], &v);
        if (!find(attrs, *n, v.name))
            good &= load_one(l, scope, NULL, function->name, function->defaults[i], attrs, n);
    }
    return good;
}
