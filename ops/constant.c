/* Values made from attributes and shapes: Constant, ConstantOfShape, Range, EyeLike. */
#include "ops/common.h"

/* ---- Constant */

/* The infer pass turns the node into a constant value; here it gets its type. */
static bool constant_infer(og_infer *i)
{
    static const char *const names[] = {"value",         "value_float", "value_floats",
                                        "value_int",     "value_ints",  "value_string",
                                        "value_strings", "sparse_value"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const og_attr *a = og_node_attr(i->node, names[k]);
        if (!a)
            continue;
        int64_t n = a->n;
        switch (a->kind) {
        case OG_ATTR_TENSOR:
            if (!a->t)
                break;
            i->y[0] = a->t->type;
            return true;
        case OG_ATTR_FLOAT:
            i->y[0] = og_type_make(OG_FLOAT, 0, NULL);
            return true;
        case OG_ATTR_FLOATS:
            i->y[0] = og_type_make(OG_FLOAT, 1, &n);
            return true;
        case OG_ATTR_INT:
            i->y[0] = og_type_make(OG_INT64, 0, NULL);
            return true;
        case OG_ATTR_INTS:
            i->y[0] = og_type_make(OG_INT64, 1, &n);
            return true;
        default:
            break;
        }
        return og_infer_error(
            i, "attribute %s: constants of strings or of sparse tensors are not supported",
            names[k]);
    }
    return og_infer_error(i, "has no value attribute");
}

/* ---- ConstantOfShape */

static bool filled_infer(og_infer *i)
{
    og_type y = {.dtype = OG_FLOAT};
    if (!need_ints(i, 0, "shape", OG_MAX_RANK, y.dims, &y.rank))
        return false;
    for (int k = 0; k < y.rank; k++)
        if (y.dims[k] < 0)
            return og_infer_error(i, "shape dim %d is %" PRId64 ", expected 0 or more", k,
                                  y.dims[k]);
    const og_attr *value = og_node_attr(i->node, "value");
    if (value && (!value->t || og_type_elements(&value->t->type) != 1))
        return og_infer_error(i, "attribute value is no tensor of one element");
    if (value)
        y.dtype = value->t->type.dtype;
    i->y[0] = y;
    return true;
}

static void filled_expand(og_expand *e)
{
    const og_attr *value = og_node_attr(e->node, "value");
    og_type scalar = {.dtype = value ? value->t->type.dtype : OG_FLOAT};
    og_val v =
        value ? og_const_copy(e->g, &scalar, value->t->data) : og_const_double(e->g, OG_FLOAT, 0);
    e->y[0] = Op("Expand", In(v, e->x[0]));
}

/* ---- Range, EyeLike */

/* y[k] = start + k delta; max(⌈(limit - start) / delta⌉, 0) elements */
static bool range_infer(og_infer *i)
{
    static const char *const names[] = {"start", "limit", "delta"};
    double v[3];
    if (!need_number(i, 0) || !need_all_same(i))
        return false;
    for (int k = 0; k < 3; k++) {
        if (!need_scalar(i, k, names[k]))
            return false;
        if (!is_const(i->x[k]))
            return og_infer_error(
                i,
                "%s (input %d) is computed while running; it must be a constant, or "
                "follow from shapes and constants",
                names[k], k);
        v[k] = og_value_double(i->x[k], 0);
    }
    double n = v[2] != 0 ? ceil((v[1] - v[0]) / v[2]) : 0;
    if (v[2] == 0 || !(n < 9e15))
        return og_infer_error(i, "from %g to %g by %g has no end", v[0], v[1], v[2]);
    i->y[0] = (og_type){.dtype = i->x[0]->type.dtype, .rank = 1, .dims = {n > 0 ? (int64_t)n : 0}};
    return true;
}

static bool eye_infer(og_infer *i)
{
    int64_t dtype = og_attr_int(i->node, "dtype", i->x[0]->type.dtype);
    if (dtype <= OG_UNDEFINED || dtype >= OG_DTYPE_COUNT)
        return og_infer_error(i, "attribute dtype is %" PRId64 ", expected an element type", dtype);
    if (!need_rank(i, 0, "input", 2))
        return false;
    i->y[0] = i->x[0]->type;
    i->y[0].dtype = (og_dtype)dtype;
    return true;
}

/* 1 where column = row + k */
static void eye_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t dtype = og_attr_int(e->node, "dtype", DType(x));
    og_val rows = arange(e->g, Dim(x, 0), 1), columns = arange(e->g, Dim(x, 1), 0);
    og_val k = og_const_int(e->g, og_attr_int(e->node, "k", 0));
    e->y[0] = Cast(Equal(columns, Add(rows, k)), dtype);
}

const og_op og_ops_constant[] = {
    {"Constant", NULL, 0, 1, 1, 1, constant_infer, .diff = OG_DIFF_ZERO},
    {"ConstantOfShape", NULL, 1, 1, 1, 1, filled_infer, .expand = filled_expand,
     .diff = OG_DIFF_ZERO, .flags = OG_CHEAP},
    {"Range", NULL, 3, 3, 1, 1, range_infer, .diff = OG_DIFF_NEVER, .flags = OG_CHEAP},
    {"EyeLike", NULL, 1, 1, 1, 1, eye_infer, .expand = eye_expand, .diff = OG_DIFF_ZERO,
     .flags = OG_CHEAP, .type_only = 1 << 0},
    {0},
};
