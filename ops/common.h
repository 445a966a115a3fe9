/* What the op families share: checks whose messages name quantity, value and requirement;
 * broadcasting; axes; and a few forms that rules build again and again. Static functions only;
 * included by ops/<family>.c.
 *
 * Checks return false after og_infer_error. Functions that build need operands whose inference has
 * succeeded. */
#ifndef OG_OPS_COMMON_H
#define OG_OPS_COMMON_H

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/graph/draft.h"

/* "float32 [2, 3]", in a buffer of the enclosing block. */
#define TypeText(i, type) og_type_text((char[160]){0}, (i)->g, (type))

/* ---- element types */

static inline bool is_number(og_dtype dtype)
{
    return og_dtype_is_float(dtype) || og_dtype_is_int(dtype);
}

static inline bool present(const og_infer *i, int input)
{
    return input < i->nx && i->x[input];
}

static inline bool need_float(og_infer *i, int input)
{
    const og_type *t = &i->x[input]->type;
    return og_dtype_is_float(t->dtype) ||
           og_infer_error(i, "input %d is %s, expected a floating point type", input,
                          TypeText(i, t));
}

static inline bool need_number(og_infer *i, int input)
{
    const og_type *t = &i->x[input]->type;
    return is_number(t->dtype) ||
           og_infer_error(i, "input %d is %s, expected a numeric type", input, TypeText(i, t));
}

static inline bool need_dtype(og_infer *i, int input, og_dtype dtype)
{
    const og_type *t = &i->x[input]->type;
    return t->dtype == dtype || og_infer_error(i, "input %d is %s, expected %s", input,
                                               TypeText(i, t), og_dtype_name(dtype));
}

/* int32 or int64 */
static inline bool need_index(og_infer *i, int input)
{
    const og_type *t = &i->x[input]->type;
    return t->dtype == OG_INT64 || t->dtype == OG_INT32 ||
           og_infer_error(i, "input %d is %s, expected int32 or int64", input, TypeText(i, t));
}

/* Inputs `a` and `b` have one element type. */
static inline bool need_same(og_infer *i, int a, int b)
{
    const og_type *ta = &i->x[a]->type, *tb = &i->x[b]->type;
    return ta->dtype == tb->dtype ||
           og_infer_error(
               i, "input %d is %s, expected element type %s as input %d (a Cast is missing)", b,
               TypeText(i, tb), og_dtype_name(ta->dtype), a);
}

/* All present inputs have the element type of the first. */
static inline bool need_all_same(og_infer *i)
{
    for (int k = 1; k < i->nx; k++)
        if (i->x[k] && !need_same(i, 0, k))
            return false;
    return true;
}

static inline bool need_rank(og_infer *i, int input, const char *what, int rank)
{
    const og_type *t = &i->x[input]->type;
    return t->rank == rank || og_infer_error(i, "%s (input %d) is %s, expected rank %d", what,
                                             input, TypeText(i, t), rank);
}

static inline bool need_rank_from(og_infer *i, int input, const char *what, int least)
{
    const og_type *t = &i->x[input]->type;
    return t->rank >= least || og_infer_error(i, "%s (input %d) is %s, expected rank %d or more",
                                              what, input, TypeText(i, t), least);
}

/* Input `input` has shape [length]; `why` says where the length comes from. */
static inline bool need_vector(og_infer *i, int input, const char *what, int64_t length,
                               const char *why)
{
    const og_type *t = &i->x[input]->type;
    return (t->rank == 1 && t->dims[0] == length) ||
           og_infer_error(i, "%s (input %d) is %s, expected shape [%" PRId64 "] (%s)", what, input,
                          TypeText(i, t), length, why);
}

/* Input `input` has one element: rank 0, or [1]. */
static inline bool need_scalar(og_infer *i, int input, const char *what)
{
    const og_type *t = &i->x[input]->type;
    return (t->rank == 0 || (t->rank == 1 && t->dims[0] == 1)) ||
           og_infer_error(i, "%s (input %d) is %s, expected a scalar", what, input, TypeText(i, t));
}

/* ---- constants and axes */

static inline bool is_const(const og_value *v)
{
    return v->kind == OG_VALUE_CONST && v->data;
}

/* Elements of the constant integer input `input`; *n is their count. */
static inline bool need_ints(og_infer *i, int input, const char *what, int max, int64_t *ints,
                             int *n)
{
    const og_value *v = i->x[input];
    if (!is_const(v))
        return og_infer_error(i,
                              "%s (input %d) is computed while running; it must be a constant, or "
                              "follow from shapes and constants",
                              what, input);
    *n = og_value_ints(v, max, ints);
    return *n >= 0 ||
           og_infer_error(i,
                          "%s (input %d) is %s, expected int64 with rank 1 and at most %d elements",
                          what, input, TypeText(i, &v->type), max);
}

static inline bool need_int(og_infer *i, int input, const char *what, int64_t *value)
{
    int n = 0;
    return need_ints(i, input, what, 1, value, &n) &&
           (n == 1 ||
            og_infer_error(i, "%s (input %d) is empty, expected one element", what, input));
}

/* An axis of a shape of that rank, made positive. */
static inline bool need_axis(og_infer *i, int64_t axis, int rank, int *positive)
{
    *positive = (int)(axis < 0 ? axis + rank : axis);
    return (axis >= -rank && axis < rank) ||
           og_infer_error(i, "axis is %" PRId64 ", expected %d to %d (rank %d)", axis, -rank,
                          rank - 1, rank);
}

/* The same where inference has checked it already. */
static inline int positive_axis(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

/* marks[axis] = true for each of the n axes; each may come once. */
static inline bool mark_axes(og_infer *i, int n, const int64_t *axes, int rank, bool *marks)
{
    memset(marks, 0, OG_MAX_RANK * sizeof(bool));
    for (int k = 0; k < n; k++) {
        int axis;
        if (!need_axis(i, axes[k], rank, &axis))
            return false;
        if (marks[axis])
            return og_infer_error(i, "axes name dim %d twice", axis);
        marks[axis] = true;
    }
    return true;
}

/* Every axis of `rank` but one, in `axes`; their count. */
static inline int axes_but(int rank, int but, int *axes)
{
    int n = 0;
    for (int k = 0; k < rank; k++)
        if (k != but)
            axes[n++] = k;
    return n;
}

static inline int axes_from(int rank, int first, int *axes)
{
    for (int k = first; k < rank; k++)
        axes[k - first] = k;
    return rank - first;
}

/* a × b × … of dims[from … to - 1]; false on overflow. */
static inline bool dims_product(const int64_t *dims, int from, int to, int64_t *product)
{
    *product = 1;
    for (int k = from; k < to; k++)
        if (__builtin_mul_overflow(*product, dims[k], product))
            return false;
    return true;
}

/* ---- broadcasting */

/* *y gets the dims of a and b broadcast against each other (its dtype stays). y may be a or b. */
static inline bool broadcast(og_infer *i, const og_type *a, const og_type *b, og_type *y)
{
    og_type r = {.dtype = y->dtype, .rank = a->rank > b->rank ? a->rank : b->rank};
    for (int k = 1; k <= r.rank; k++) {
        int64_t da = k <= a->rank ? a->dims[a->rank - k] : 1;
        int64_t db = k <= b->rank ? b->dims[b->rank - k] : 1;
        if (da != db && da != 1 && db != 1)
            return og_infer_error(i,
                                  "%s and %s do not broadcast: dim %d from the right is %" PRId64
                                  " and %" PRId64 ", expected equal dims or 1",
                                  TypeText(i, a), TypeText(i, b), k, da, db);
        r.dims[r.rank - k] = da == 1 ? db : da;
    }
    *y = r;
    return true;
}

/* x stretches to `to` without `to` changing (ONNX: unidirectional broadcasting). */
static inline bool need_stretch(og_infer *i, int input, const char *what, const og_type *to)
{
    const og_type *t = &i->x[input]->type;
    bool fits = t->rank <= to->rank;
    for (int k = 1; fits && k <= t->rank; k++)
        fits = t->dims[t->rank - k] == 1 || t->dims[t->rank - k] == to->dims[to->rank - k];
    return fits || og_infer_error(i, "%s (input %d) is %s, which does not broadcast to %s", what,
                                  input, TypeText(i, t), TypeText(i, to));
}

/* y: the shapes of all inputs broadcast, with input 0's dtype. */
static inline bool broadcast_all(og_infer *i, og_type *y)
{
    *y = i->x[0]->type;
    for (int k = 1; k < i->nx; k++)
        if (!broadcast(i, y, &i->x[k]->type, y))
            return false;
    return true;
}

/* ---- inference that many rows share */

static inline bool same_as_x(og_infer *i)
{
    i->y[0] = i->x[0]->type;
    return true;
}

static inline bool same_float(og_infer *i)
{
    return need_float(i, 0) && same_as_x(i);
}

static inline bool same_number(og_infer *i)
{
    return need_number(i, 0) && same_as_x(i);
}

/* Attribute `name` is absent, 0 or an element type of bits. */
static inline bool need_type_attr(og_infer *i, const char *name)
{
    int64_t v = og_attr_int(i->node, name, 0);
    return v == 0 || (v > OG_UNDEFINED && v < OG_DTYPE_COUNT && og_dtype_bits((og_dtype)v) > 0) ||
           og_infer_error(i, "attribute %s is %" PRId64 ", expected a numeric element type", name,
                          v);
}

/* For rows that `resolve` replaces: whatever is left of them was not in a model's graph. */
static inline bool resolved_before(og_infer *i)
{
    return og_infer_error(i, "can only be resolved in a model's graph");
}

/* Attribute "x_dims" (or as named): the type of a result that inputs alone do not determine. */
static inline bool type_from_attr(og_infer *i, const char *name, og_dtype dtype, og_type *y)
{
    const int64_t *dims;
    int n = og_attr_ints(i->node, name, &dims);
    if (n > OG_MAX_RANK || !og_node_attr(i->node, name))
        return og_infer_error(i, "attribute %s is missing or has more than %d dims", name,
                              OG_MAX_RANK);
    *y = og_type_make(dtype, n, dims);
    return true;
}

/* ---- forms that rules build */

/* Attribute x_dims: the shape of x, which has a value (operands of rules always do). */
#define XDims(x) Is("x_dims", Rank(x), og_type_of(x)->dims)

/* [C] as [C, 1, …, 1], so that it broadcasts along axis 1 of `rank` dims. */
static inline og_val per_channel(og_val v, int rank)
{
    int64_t dims[OG_MAX_RANK] = {Dim(v, 0)};
    for (int k = 1; k < rank - 1; k++)
        dims[k] = 1;
    return Reshape(v, rank > 2 ? rank - 1 : 1, dims);
}

/* Cast unless it has that type already. */
static inline og_val to_dtype(og_val x, og_dtype dtype)
{
    return !Has(x) || DType(x) == dtype ? x : Cast(x, dtype);
}

static inline og_val zeros_like(og_val x)
{
    return Has(x) ? og_full(x.g, og_type_of(x), 0) : OG_NONE;
}

/* 0, 1, … n - 1 as int64 with shape [n, 1, … 1] (`after` ones). */
static inline og_val arange(og_graph *g, int64_t n, int after)
{
    int64_t *data = og_arena_array(g->arena, (size_t)(n > 0 ? n : 1), sizeof *data);
    if (!data) {
        og_fail_memory(&g->error, (size_t)n * sizeof *data, "indices");
        return OG_NONE;
    }
    for (int64_t k = 0; k < n; k++)
        data[k] = k;
    og_type type = {.dtype = OG_INT64, .rank = 1 + after, .dims = {n}};
    for (int k = 1; k <= after; k++)
        type.dims[k] = 1;
    return og_graph_add_const(g, "", &type, data);
}

/* v[0 … n - 1] joined along `axis`; v is overwritten. Joined a few at a time, for nodes have few
 * inputs. */
static inline og_val concat_all(int n, og_val *v, int64_t axis)
{
    enum { MOST = 32 };
    while (n > 1) {
        int m = 0;
        for (int i = 0; i < n; i += MOST)
            v[m++] = og_ops(OG_HERE, "Concat", 1, (og_vals){n - i < MOST ? n - i : MOST, v + i},
                            (og_attr[]){I("axis", axis), {0}})
                         .y[0];
        n = m;
    }
    return n == 1 ? v[0] : OG_NONE;
}

/* Is v known to be zero everywhere: a constant scalar 0, or one expanded? Nothing flows into such a
 * gradient. */
static inline bool is_zeros(og_val v)
{
    if (!Has(v))
        return true;
    const og_value *value = og_value_of(v);
    while (value->kind == OG_VALUE_NODE && value->producer->n_in > 0 &&
           (og_op_is(value->producer->op, "", "Expand") ||
            og_op_is(value->producer->op, "", "Identity") ||
            og_op_is(value->producer->op, "", "Cast") ||
            og_op_is(value->producer->op, "", "Reshape")))
        value = v.g->values[value->producer->in[0]];
    return value->kind == OG_VALUE_CONST && og_type_elements(&value->type) == 1 &&
           og_value_double(value, 0) == 0;
}

#endif
