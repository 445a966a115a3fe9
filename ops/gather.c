/* Elements chosen by indices: Gather, GatherElements, GatherND, TopK, ReverseSequence, and Gather's
 * gradient. Negative indices count from the end. Indices known when a plan is made are checked
 * here, others by kernels. */
#include "ops/common.h"

/* ---- Gather */

static bool check_indices(og_infer *i, int input, int64_t dim, int axis)
{
    const og_value *v = i->x[input];
    int64_t n = og_type_elements(&v->type);
    if (!is_const(v) || n > 4096)
        return true;
    for (int64_t k = 0; k < n; k++) {
        int64_t index = v->type.dtype == OG_INT64 ? ((const int64_t *)v->data)[k]
                                                  : ((const int32_t *)v->data)[k];
        if (index < -dim || index >= dim)
            return og_infer_error(i, "index %" PRId64 " is outside dim %d, which is %" PRId64,
                                  index, axis, dim);
    }
    return true;
}

/* y: x's dims with dim `axis` replaced by the dims of indices */
static bool gather_type(og_infer *i, const og_type *x, const og_type *indices, og_type *y)
{
    int axis;
    if (!need_axis(i, og_attr_int(i->node, "axis", 0), x->rank, &axis))
        return false;
    *y = (og_type){.dtype = x->dtype, .rank = x->rank - 1 + indices->rank};
    if (y->rank > OG_MAX_RANK)
        return og_infer_error(i, "the result would have %d dims, at most %d are supported", y->rank,
                              OG_MAX_RANK);
    memcpy(y->dims, x->dims, sizeof(int64_t) * (size_t)axis);
    memcpy(y->dims + axis, indices->dims, sizeof(int64_t) * (size_t)indices->rank);
    memcpy(y->dims + axis + indices->rank, x->dims + axis + 1,
           sizeof(int64_t) * (size_t)(x->rank - 1 - axis));
    return true;
}

static bool gather_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    if (!need_index(i, 1) || !gather_type(i, x, &i->x[1]->type, &i->y[0]))
        return false;
    int axis = positive_axis(og_attr_int(i->node, "axis", 0), x->rank);
    return check_indices(i, 1, x->dims[axis], axis);
}

/* One constant index is a view: the dim is left out, or is 1. */
static bool gather_view(const og_node *node, int out, const og_value *const *in, const og_type *x,
                        const og_layout *lx, const og_type *y, og_layout *ly)
{
    (void)out, (void)y;
    int64_t index;
    const og_value *indices = in[1];
    int axis = positive_axis(og_attr_int(node, "axis", 0), x->rank), kept = indices->type.rank;
    if (kept > 1 || og_value_ints(indices, 1, &index) != 1)
        return false;
    index = index < 0 ? index + x->dims[axis] : index;
    if (index < 0 || index >= x->dims[axis])
        return false;
    ly->offset = lx->offset + index * lx->strides[axis];
    for (int k = 0; k < x->rank; k++)
        if (k < axis || kept)
            ly->strides[k] = lx->strides[k];
        else if (k > axis)
            ly->strides[k - 1] = lx->strides[k];
    return true;
}

/* Gather: dx = 0, with the rows of dy added at indices */
static void gather_grad(og_grad *d)
{
    d->dx[0] = Op(OG_DOMAIN "::GatherGrad", In(d->dy[0], d->x[1]),
                  I("axis", og_attr_int(d->node, "axis", 0)), XDims(d->x[0]));
}

static bool gather_grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type;
    og_type expected;
    if (!need_float(i, 0) || !need_index(i, 1) ||
        !type_from_attr(i, "x_dims", dy->dtype, &i->y[0]) ||
        !gather_type(i, &i->y[0], &i->x[1]->type, &expected))
        return false;
    return og_type_equal(dy, &expected) ||
           og_infer_error(i, "dy is %s, expected %s", TypeText(i, dy), TypeText(i, &expected));
}

/* GatherGrad: dx[…, indices, …] += dy, with the dims of indices as one and the indices repeated for
 * every element of dy */
static void gather_grad_expand(og_expand *e)
{
    og_val dy = e->x[0], indices = e->x[1];
    const int64_t *dims;
    int rank = og_attr_ints(e->node, "x_dims", &dims);
    int axis = positive_axis(og_attr_int(e->node, "axis", 0), rank);
    og_type x = og_type_make(DType(dy), rank, dims), rows = x, index = x;
    rows.dims[axis] = Count(indices);
    for (int k = 0; k < rank; k++)
        index.dims[k] = k == axis ? Count(indices) : 1;
    og_val repeated =
        Op("Expand", In(Reshape(indices, rank, index.dims), og_const_ints(e->g, rank, rows.dims)));
    e->y[0] =
        Op("ScatterElements", In(og_full(e->g, &x, 0), repeated, Reshape(dy, rank, rows.dims)),
           I("axis", axis), S("reduction", "add"));
}

/* GatherGrad: its transpose is the gathering itself. */
static void gather_grad_grad(og_grad *d)
{
    d->dx[0] = Op("Gather", In(d->dy[0], d->x[1]), I("axis", og_attr_int(d->node, "axis", 0)));
}

/* ---- GatherElements */

static bool gather_elements_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *indices = &i->x[1]->type;
    int axis;
    if (!need_index(i, 1) || !need_axis(i, og_attr_int(i->node, "axis", 0), x->rank, &axis) ||
        !need_rank(i, 1, "indices", x->rank))
        return false;
    for (int k = 0; k < x->rank; k++)
        if (k != axis && indices->dims[k] > x->dims[k])
            return og_infer_error(
                i, "indices dim %d is %" PRId64 ", expected %" PRId64 " or less (%s)", k,
                indices->dims[k], x->dims[k], TypeText(i, x));
    i->y[0] = *indices;
    i->y[0].dtype = x->dtype;
    return check_indices(i, 1, x->dims[axis], axis);
}

/* dx = 0, with each dy added at its index along axis: GatherElements, TopK */
static og_val scatter_along(const og_grad *d, og_val indices, int64_t axis)
{
    return Op("ScatterElements", In(zeros_like(d->x[0]), indices, d->dy[0]), I("axis", axis),
              S("reduction", "add"));
}

static void gather_elements_grad(og_grad *d)
{
    d->dx[0] = scatter_along(d, d->x[1], og_attr_int(d->node, "axis", 0));
}

/* ---- GatherND */

/* indices [B…, I…, k] pick x[B…, i₁ … iₖ, rest…]; B… are batch_dims dims that both share */
static bool gather_nd_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *indices = &i->x[1]->type;
    int64_t batch = og_attr_int(i->node, "batch_dims", 0);
    if (!need_dtype(i, 1, OG_INT64) || !need_rank_from(i, 0, "input", 1) ||
        !need_rank_from(i, 1, "indices", 1))
        return false;
    int64_t k = indices->dims[indices->rank - 1];
    if (batch < 0 || batch >= indices->rank || k < 1 || batch + k > x->rank)
        return og_infer_error(i,
                              "the last dim of indices is %" PRId64 " with batch_dims %" PRId64
                              ", expected 1 to %d for %s",
                              k, batch, x->rank - (int)batch, TypeText(i, x));
    for (int a = 0; a < batch; a++)
        if (indices->dims[a] != x->dims[a])
            return og_infer_error(
                i, "batch dim %d is %" PRId64 " in indices and %" PRId64 " in the input", a,
                indices->dims[a], x->dims[a]);
    og_type y = {.dtype = x->dtype};
    int rest = x->rank - (int)(batch + k);
    if (indices->rank - 1 + rest > OG_MAX_RANK)
        return og_infer_error(i, "the result has too many dims");
    memcpy(y.dims, indices->dims, sizeof(int64_t) * (size_t)(indices->rank - 1));
    y.rank = indices->rank - 1;
    for (int a = 0; a < rest; a++)
        y.dims[y.rank++] = x->dims[batch + k + a];
    i->y[0] = y;
    return true;
}

/* Indices with the batch coordinates written out, so that batch_dims is 0: [B…, I…, batch + k] */
static og_val with_batch_indices(og_graph *g, og_val indices, int batch)
{
    og_type t = *og_type_of(indices);
    og_val parts[OG_MAX_RANK + 1];
    t.dims[t.rank - 1] = 1;
    for (int a = 0; a < batch; a++) {
        og_val place = arange(g, t.dims[a], t.rank - 1 - a);
        parts[a] = Op("Expand", In(place, og_const_ints(g, t.rank, t.dims)));
    }
    parts[batch] = indices;
    return og_ops(OG_HERE, "Concat", 1, (og_vals){batch + 1, parts},
                  (og_attr[]){I("axis", -1), {0}})
        .y[0];
}

static void gather_nd_grad(og_grad *d)
{
    int batch = (int)og_attr_int(d->node, "batch_dims", 0);
    og_val indices = batch ? with_batch_indices(d->g, d->x[1], batch) : d->x[1];
    d->dx[0] = Op("ScatterND", In(zeros_like(d->x[0]), indices, d->dy[0]), S("reduction", "add"));
}

/* ---- TopK */

static bool top_k_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int axis;
    int64_t k;
    if (!need_number(i, 0) || !need_axis(i, og_attr_int(i->node, "axis", -1), x->rank, &axis) ||
        !need_int(i, 1, "K", &k))
        return false;
    if (k < 0 || k > x->dims[axis])
        return og_infer_error(i, "K is %" PRId64 ", expected 0 to %" PRId64 " (dim %d of %s)", k,
                              x->dims[axis], axis, TypeText(i, x));
    for (int o = 0; o < i->ny; o++) {
        i->y[o] = *x;
        i->y[o].dims[axis] = k;
    }
    if (i->ny > 1)
        i->y[1].dtype = OG_INT64;
    return true;
}

static void top_k_grad(og_grad *d)
{
    d->dx[0] = scatter_along(d, d->y[1], og_attr_int(d->node, "axis", -1));
}

/* ---- ReverseSequence */

/* y: of each batch element, the first lens[b] steps in reverse */
static bool reverse_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t batch = og_attr_int(i->node, "batch_axis", 1),
            time = og_attr_int(i->node, "time_axis", 0);
    if (!need_rank_from(i, 0, "input", 2) || !need_dtype(i, 1, OG_INT64))
        return false;
    if (batch + time != 1 || batch * time != 0)
        return og_infer_error(
            i, "batch_axis is %" PRId64 " and time_axis %" PRId64 ", expected 0 and 1", batch,
            time);
    return need_vector(i, 1, "sequence_lens", x->dims[batch], "one for each batch element") &&
           same_as_x(i);
}

/* Reversing again undoes it: dx = dy reversed */
static void reverse_grad(og_grad *d)
{
    d->dx[0] = og_ops_like(OG_HERE, "ReverseSequence", 1, In(d->dy[0], d->x[1]), d->node).y[0];
}

/* Below opset 10, K was an attribute. */
static bool top_k_upgrade_10(og_draft *d)
{
    return og_draft_ints_to_input(d, "k", 1);
}

const og_op og_ops_gather[] = {
    {"Gather", NULL, 2, 2, 1, 1, gather_infer, .grad = gather_grad, .view = gather_view},
    {"GatherGrad", OG_DOMAIN, 2, 2, 1, 1, gather_grad_infer, .expand = gather_grad_expand,
     .grad = gather_grad_grad},
    {"GatherElements", NULL, 2, 2, 1, 1, gather_elements_infer, .grad = gather_elements_grad},
    {"GatherND", NULL, 2, 2, 1, 1, gather_nd_infer, .grad = gather_nd_grad},
    {"TopK", NULL, 2, 2, 2, 2, top_k_infer, .grad = top_k_grad, .saved = 2,
     .upgrade = {{10, top_k_upgrade_10}}},
    {"ReverseSequence", NULL, 2, 2, 1, 1, reverse_infer, .grad = reverse_grad},
    {0},
};
