/* Elements placed by indices: ScatterElements, ScatterND; and masks made of indices: OneHot, Trilu.
 */
#include "ops/common.h"

/* ---- inference */

static bool need_reduction(og_infer *i)
{
    static const char *const known[] = {"none", "add", "mul", "max", "min"};
    const char *reduction = og_attr_string(i->node, "reduction", "none");
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (strcmp(reduction, known[k]) == 0)
            return true;
    return og_infer_error(i, "reduction is \"%s\", expected none, add, mul, max or min", reduction);
}

/* y = x with updates put at their indices along axis */
static bool scatter_elements_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *indices = &i->x[1]->type, *updates = &i->x[2]->type;
    int axis;
    if (!need_index(i, 1) || !need_same(i, 0, 2) || !need_reduction(i) ||
        !need_axis(i, og_attr_int(i->node, "axis", 0), x->rank, &axis) ||
        !need_rank(i, 1, "indices", x->rank))
        return false;
    og_type same = *indices;
    same.dtype = updates->dtype;
    if (!og_type_equal(&same, updates))
        return og_infer_error(i, "updates are %s, expected the shape of indices, %s",
                              TypeText(i, updates), TypeText(i, indices));
    for (int k = 0; k < x->rank; k++)
        if (k != axis && indices->dims[k] > x->dims[k])
            return og_infer_error(
                i, "indices dim %d is %" PRId64 ", expected %" PRId64 " or less (%s)", k,
                indices->dims[k], x->dims[k], TypeText(i, x));
    return same_as_x(i);
}

/* indices [I…, k] place updates [I…, rest…] in x [k dims, rest…] */
static bool scatter_nd_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *indices = &i->x[1]->type, *updates = &i->x[2]->type;
    if (!need_dtype(i, 1, OG_INT64) || !need_same(i, 0, 2) || !need_reduction(i) ||
        !need_rank_from(i, 0, "input", 1) || !need_rank_from(i, 1, "indices", 1))
        return false;
    int64_t k = indices->dims[indices->rank - 1];
    if (k < 1 || k > x->rank)
        return og_infer_error(i, "the last dim of indices is %" PRId64 ", expected 1 to %d for %s",
                              k, x->rank, TypeText(i, x));
    og_type expected = {.dtype = x->dtype, .rank = indices->rank - 1 + x->rank - (int)k};
    if (expected.rank > OG_MAX_RANK)
        return og_infer_error(i, "the updates have too many dims");
    memcpy(expected.dims, indices->dims, sizeof(int64_t) * (size_t)(indices->rank - 1));
    memcpy(expected.dims + indices->rank - 1, x->dims + k, sizeof(int64_t) * (size_t)(x->rank - k));
    if (!og_type_equal(updates, &expected))
        return og_infer_error(i, "updates are %s, expected %s (indices %s, input %s)",
                              TypeText(i, updates), TypeText(i, &expected), TypeText(i, indices),
                              TypeText(i, x));
    return same_as_x(i);
}

static bool one_hot_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *depth_type = &i->x[1]->type;
    int axis;
    int64_t attr = og_attr_int(i->node, "axis", -1);
    if (!need_number(i, 0) || !need_number(i, 1) || !need_scalar(i, 1, "depth") ||
        !need_vector(i, 2, "values", 2, "off and on"))
        return false;
    if (!is_const(i->x[1]))
        return og_infer_error(i,
                              "depth (input 1) is computed while running; it must be a constant");
    double depth = og_value_double(i->x[1], 0);
    if (!(depth >= 1 && depth < 9e15))
        return og_infer_error(i, "depth is %g (%s), expected 1 or more", depth,
                              TypeText(i, depth_type));
    if (x->rank + 1 > OG_MAX_RANK)
        return og_infer_error(i, "the result has too many dims");
    if (!need_axis(i, attr, x->rank + 1, &axis))
        return false;
    og_type y = {.dtype = i->x[2]->type.dtype, .rank = x->rank + 1};
    for (int k = 0, from = 0; k < y.rank; k++)
        y.dims[k] = k == axis ? (int64_t)depth : x->dims[from++];
    i->y[0] = y;
    return true;
}

static bool trilu_infer(og_infer *i)
{
    if (present(i, 1) && (!need_dtype(i, 1, OG_INT64) || !need_scalar(i, 1, "k")))
        return false;
    return need_rank_from(i, 0, "input", 2) && same_as_x(i);
}

/* ---- definitions */

/* y = on where the place along axis is the index, else off; an index below 0 counts from the end */
static void one_hot_expand(og_expand *e)
{
    og_val index = to_dtype(e->x[0], OG_INT64), values = e->x[2];
    int rank = Rank(index) + 1, axis = positive_axis(og_attr_int(e->node, "axis", -1), rank);
    int64_t depth = (int64_t)og_value_double(og_value_of(e->x[1]), 0), dims[OG_MAX_RANK];
    for (int k = 0, from = 0; k < rank; k++)
        dims[k] = k == axis ? 1 : Dim(index, from++);
    index = Reshape(index, rank, dims);
    index = Where(Less(index, Zero(index)), Add(index, Scalar(index, (double)depth)), index);
    og_val hit = Equal(index, arange(e->g, depth, rank - 1 - axis));
    og_val off = Reshape(Slice(values, 0, 0, 1), 0, NULL),
           on = Reshape(Slice(values, 0, 1, 1), 0, NULL);
    e->y[0] = Where(hit, on, off);
}

/* y = x where column - row ≥ k (upper) or ≤ k (lower), else 0 */
static void trilu_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_val rows = arange(e->g, Dim(x, -2), 1), columns = arange(e->g, Dim(x, -1), 0);
    og_val k = e->nx > 1 && Has(e->x[1]) ? Reshape(e->x[1], 0, NULL) : og_const_int(e->g, 0);
    og_val diagonal = Sub(columns, rows);
    og_val keep =
        og_attr_int(e->node, "upper", 1) ? GreaterOrEqual(diagonal, k) : LessOrEqual(diagonal, k);
    e->y[0] = Where(keep, x, Zero(x));
}

/* ---- gradients */

static og_val gather_at(const og_grad *d, og_val x)
{
    return og_op_is(d->node->op, "", "ScatterND")
               ? Op("GatherND", In(x, d->x[1]))
               : Op("GatherElements", In(x, d->x[1]), I("axis", og_attr_int(d->node, "axis", 0)));
}

static og_val scatter_at(const og_grad *d, og_val x, og_val updates, const char *reduction)
{
    return og_op_is(d->node->op, "", "ScatterND")
               ? Op("ScatterND", In(x, d->x[1], updates), S("reduction", reduction))
               : Op("ScatterElements", In(x, d->x[1], updates), S("reduction", reduction),
                    I("axis", og_attr_int(d->node, "axis", 0)));
}

/* reduction max or min: dy goes in equal parts to those of x and the updates that were taken (as in
 * PyTorch) */
static void extremum_grad(og_grad *d)
{
    og_val dy = d->dy[0], y = d->y[0];
    og_val taken_x = Cast(Equal(d->x[0], y), DType(y));
    og_val taken_u = Cast(Equal(d->x[2], gather_at(d, y)), DType(y));
    og_val part = Div(dy, scatter_at(d, taken_x, taken_u, "add"));
    d->dx[0] = Mul(part, taken_x);
    d->dx[2] = Mul(gather_at(d, part), taken_u);
}

/* The product of a place's factors without f: `product` is that of the factors that are not zero,
 * `zeros` how many are. */
static og_val without(og_val f, og_val product, og_val zeros)
{
    og_val zero = Equal(f, Zero(f));
    og_val others = Sub(zeros, Cast(zero, DType(zeros)));
    og_val rest = Div(product, Where(zero, One(f), f));
    return Where(Greater(others, Zero(others)), Zero(rest), rest);
}

/* reduction mul: dy times the other factors of the place, exact where factors are zero */
static void product_grad(og_grad *d)
{
    og_val x = d->x[0], u = d->x[2], dy = d->dy[0], none = Zero(x), one = One(x);
    og_val x_zero = Equal(x, none), u_zero = Equal(u, none);
    og_val product = scatter_at(d, Where(x_zero, one, x), Where(u_zero, one, u), "mul");
    og_val zeros = scatter_at(d, Cast(x_zero, DType(x)), Cast(u_zero, DType(x)), "add");
    if (d->need[0])
        d->dx[0] = Mul(dy, without(x, product, zeros));
    if (d->need[2])
        d->dx[2] = Mul(gather_at(d, dy), without(u, gather_at(d, product), gather_at(d, zeros)));
}

/* ScatterElements, ScatterND: dx = dy, 0 where it was overwritten; dupdates = dy at the indices */
static void scatter_grad(og_grad *d)
{
    const char *reduction = og_attr_string(d->node, "reduction", "none");
    og_val dy = d->dy[0];
    bool none = strcmp(reduction, "none") == 0, add = strcmp(reduction, "add") == 0;
    if (strcmp(reduction, "max") == 0 || strcmp(reduction, "min") == 0) {
        extremum_grad(d);
        return;
    }
    if (!none && !add) {
        product_grad(d);
        return;
    }
    if (d->need[0])
        d->dx[0] = add ? dy : scatter_at(d, dy, zeros_like(d->x[2]), "none");
    if (d->need[2])
        d->dx[2] = gather_at(d, dy);
}

/* ---- upgrades */

/* Scatter got the name ScatterElements in opset 11. */
static bool scatter_upgrade_11(og_draft *d)
{
    d->op = "ScatterElements";
    return true;
}

static bool scatter_infer(og_infer *i)
{
    return og_infer_error(i, "left ONNX in opset 11, expected ScatterElements");
}

const og_op og_ops_scatter[] = {
    {"ScatterElements", NULL, 3, 3, 1, 1, scatter_elements_infer, .grad = scatter_grad, .saved = 1},
    {"Scatter", NULL, 3, 3, 1, 1, scatter_infer, .diff = OG_DIFF_NEVER,
     .upgrade = {{11, scatter_upgrade_11}}},
    {"ScatterND", NULL, 3, 3, 1, 1, scatter_nd_infer, .grad = scatter_grad, .saved = 1},
    {"OneHot", NULL, 3, 3, 1, 1, one_hot_infer, .expand = one_hot_expand},
    {"Trilu", NULL, 1, 2, 1, 1, trilu_infer, .expand = trilu_expand},
    {0},
};
