/* MaxPool, the form of it that is trained, its gradient, and MaxUnpool. x [N, C, D…].
 *
 * ONNX's second output says where each largest element lies in the whole of x, in int64. What the
 * gradient needs is its place within the window, counted in row-major order: a byte, unless a
 * window has more than 256 elements. A window that lies in padding only has place 0. */
#include "ops/window_rules.h"

#define TRAINING OG_DOMAIN "::MaxPoolTraining"
#define GRADIENT OG_DOMAIN "::MaxPoolGrad"

/* ---- inference */

static og_dtype place_dtype(const og_window *w)
{
    int64_t elements = 1;
    for (int k = 0; k < w->n && elements <= 256; k++)
        elements *= w->kernel[k];
    return elements <= 256 ? OG_UINT8 : OG_INT32;
}

static bool max_pool_infer(og_infer *i)
{
    og_window w;
    og_dtype dtype = i->x[0]->type.dtype;
    if (!og_dtype_is_float(dtype) && dtype != OG_INT8 && dtype != OG_UINT8)
        return og_infer_error(i, "input is %s, expected floating point, int8 or uint8",
                              og_dtype_name(dtype));
    if (!pool_infer(i))
        return false;
    og_window_read(&w, i->node, &i->x[0]->type, NULL);
    for (int k = 0; k < w.n; k++)
        if (w.pads[k] >= og_window_span(&w, k) || w.pads[k + w.n] >= og_window_span(&w, k))
            return og_infer_error(i,
                                  "pads %" PRId64 " + %" PRId64
                                  " of spatial dim %d, expected less than the window (%" PRId64 ")",
                                  w.pads[k], w.pads[k + w.n], k, og_window_span(&w, k));
    if (i->ny > 1) {
        if (og_attr_int(i->node, "storage_order", 0))
            return og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                                "storage_order 1 (column-major indices) is not supported");
        i->y[1] = i->y[0];
        i->y[1].dtype = OG_INT64;
    }
    return true;
}

static bool training_infer(og_infer *i)
{
    og_window w;
    if (!need_float(i, 0) || !max_pool_infer(i))
        return false;
    og_window_read(&w, i->node, &i->x[0]->type, NULL);
    i->y[1].dtype = place_dtype(&w);
    return true;
}

static bool grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type, *places = &i->x[1]->type;
    og_type *dx = &i->y[0], same = *places;
    og_window w;
    if (!need_float(i, 0) || !type_from_attr(i, "x_dims", dy->dtype, dx) || !need_kernel_shape(i))
        return false;
    if (dx->rank < 3 || dx->rank != dy->rank)
        return og_infer_error(i, "x_dims has %d dims for %s", dx->rank, TypeText(i, dy));
    if (!read_window(i, dx, NULL, &w) || !need_dtype(i, 1, place_dtype(&w)))
        return false;
    same.dtype = dy->dtype;
    bool fits =
        og_type_equal(dy, &same) && dy->dims[0] == dx->dims[0] && dy->dims[1] == dx->dims[1];
    for (int k = 0; k < w.n; k++)
        fits = fits && dy->dims[k + 2] == w.out[k];
    return fits || og_infer_error(i, "%s and places %s are no outputs of pooling %s",
                                  TypeText(i, dy), TypeText(i, places), TypeText(i, dx));
}

/* ---- places and indices */

/* An int64 constant of the dims given; elements to be filled. */
static int64_t *int_const(og_graph *g, int rank, const int64_t *dims, og_val *v)
{
    og_type t = og_type_make(OG_INT64, rank, dims);
    int64_t *data = og_arena_array(g->arena, (size_t)og_type_elements(&t) + 1, sizeof *data);
    if (data)
        *v = og_graph_add_const(g, "", &t, data);
    else
        og_fail_memory(&g->error, (size_t)og_type_elements(&t) * sizeof *data, "window starts");
    return data;
}

/* Where the windows begin along spatial dim k: [out] and ones, to be broadcast. */
static og_val starts_of(og_graph *g, const og_window *w, int k)
{
    int64_t dims[OG_MAX_RANK] = {w->out[k]};
    og_val v = OG_NONE;
    for (int j = 1; j < w->n - k; j++)
        dims[j] = 1;
    int64_t *starts = int_const(g, w->n - k, dims, &v);
    for (int64_t i = 0; starts && i < w->out[k]; i++)
        starts[i] = i * w->strides[k] - w->pads[k];
    return v;
}

/* Where the planes of x begin: [N, C] and ones. */
static og_val planes_of(og_graph *g, const og_window *w, const og_type *x)
{
    int64_t dims[OG_MAX_RANK] = {x->dims[0], x->dims[1]}, plane = 1;
    og_val v = OG_NONE;
    for (int k = 0; k < w->n; k++) {
        dims[k + 2] = 1;
        plane *= w->in[k];
    }
    int64_t *begins = int_const(g, x->rank, dims, &v);
    for (int64_t i = 0; begins && i < x->dims[0] * x->dims[1]; i++)
        begins[i] = i * plane;
    return v;
}

static og_val whole(og_val like, int64_t value)
{
    return Scalar(like, (double)value);
}

/* Does some window lie in padding only? */
static bool has_empty(const og_window *w)
{
    for (int k = 0; k < w->n; k++)
        for (int64_t i = 0; i < w->out[k]; i++) {
            bool any = false;
            for (int64_t o = 0; o < w->kernel[k] && !any; o++) {
                int64_t at = i * w->strides[k] - w->pads[k] + o * w->dilations[k];
                any = at >= 0 && at < w->in[k];
            }
            if (!any)
                return true;
        }
    return false;
}

/* place = Σ (coordinate − start) ÷ dilation · elements of the window behind it */
static og_val places_of(og_val indices, const og_window *w, const og_type *x, og_dtype dtype)
{
    og_graph *g = indices.g;
    og_val rest = Sub(indices, planes_of(g, w, x)), place = OG_NONE;
    int64_t behind = 1;
    for (int k = w->n - 1; k >= 0; k--) {
        og_val coordinate = k ? Op("Mod", In(rest, whole(rest, w->in[k]))) : rest;
        og_val tap = Div(Sub(coordinate, starts_of(g, w, k)), whole(rest, w->dilations[k]));
        tap = behind > 1 ? Mul(tap, whole(rest, behind)) : tap;
        place = place.g ? Add(place, tap) : tap;
        rest = Div(rest, whole(rest, w->in[k]));
        behind *= w->kernel[k];
    }
    if (has_empty(w))
        place = Where(Less(indices, Zero(indices)), Zero(place), place);
    return Cast(place, dtype);
}

/* The inverse; -1 for a window in padding only. */
static og_val indices_of(og_val places, const og_window *w, const og_type *x)
{
    og_graph *g = places.g;
    og_val rest = Cast(places, OG_INT64), index = planes_of(g, w, x), inside = OG_NONE;
    int64_t behind = 1;
    bool empty = has_empty(w);
    for (int k = w->n - 1; k >= 0; k--) {
        og_val tap = k ? Op("Mod", In(rest, whole(rest, w->kernel[k]))) : rest;
        og_val at = Add(Mul(tap, whole(rest, w->dilations[k])), starts_of(g, w, k));
        if (empty) {
            og_val in = And(GreaterOrEqual(at, Zero(at)), Less(at, whole(at, w->in[k])));
            inside = inside.g ? And(inside, in) : in;
        }
        index = Add(index, behind > 1 ? Mul(at, whole(at, behind)) : at);
        rest = Div(rest, whole(rest, w->kernel[k]));
        behind *= w->in[k];
    }
    return empty ? Where(inside, index, whole(index, -1)) : index;
}

/* ---- definitions and gradients */

/* In the form whose gradient reads places. */
static void max_pool_expand(og_expand *e)
{
    og_outs t = og_ops_like(OG_HERE, TRAINING, 2, In(e->x[0]), e->node);
    og_window w;
    og_window_read(&w, e->node, og_type_of(e->x[0]), NULL);
    e->y[0] = t.y[0];
    if (e->ny > 1 && t.y[1].g)
        e->y[1] = indices_of(t.y[1], &w, og_type_of(e->x[0]));
}

/* MaxPoolTraining: places from MaxPool's indices */
static void training_expand(og_expand *e)
{
    const og_type *x = og_type_of(e->x[0]);
    og_window w;
    og_window_read(&w, e->node, x, NULL);
    og_outs t = og_ops_like(OG_HERE, "MaxPool", 2, In(e->x[0]), e->node);
    e->y[0] = t.y[0];
    e->y[1] = t.y[1].g ? places_of(t.y[1], &w, x, place_dtype(&w)) : t.y[1];
}

static void training_grad(og_grad *d)
{
    og_window w;
    og_window_read(&w, d->node, og_type_of(d->x[0]), NULL);
    d->dx[0] = Op(GRADIENT, In(d->dy[0], d->y[1]), WindowAttrs(&w),
                  I("ceil_mode", og_attr_int(d->node, "ceil_mode", 0)), XDims(d->x[0]));
}

/* MaxPoolGrad: dx[indices] += dy on the flat x; an index of -1 adds 0 */
static void grad_expand(og_expand *e)
{
    og_val dy = e->x[0];
    og_type x = x_type(e);
    og_window w;
    og_window_read(&w, e->node, &x, NULL);
    og_val indices = indices_of(e->x[1], &w, &x);
    int64_t count = Count(dy), elements = og_type_elements(&x);
    og_type flat = og_type_make(DType(dy), 1, &elements);
    og_val taken = has_empty(&w) ? Where(Less(indices, Zero(indices)), Zero(dy), dy) : dy;
    og_val dx =
        Op("ScatterElements",
           In(og_full(e->g, &flat, 0), Reshape(indices, 1, &count), Reshape(taken, 1, &count)),
           I("axis", 0), S("reduction", "add"));
    e->y[0] = Reshape(dx, x.rank, x.dims);
}

/* MaxPoolGrad is linear: y[indices] += u,  du = dy[indices], but 0 where there is no index */
static void grad_grad(og_grad *d)
{
    og_window w;
    og_window_read(&w, d->node, og_type_of(d->dy[0]), NULL);
    og_val rows = Reshape(d->dy[0], 1, (int64_t[]){Count(d->dy[0])});
    og_val indices = indices_of(d->x[1], &w, og_type_of(d->dy[0]));
    og_val du = Op("Gather", In(rows, indices), I("axis", 0));
    d->dx[0] = has_empty(&w) ? Where(Less(indices, Zero(indices)), Zero(du), du) : du;
}

/* ---- MaxUnpool */

/* The shape that was pooled, of one window after the other: (x − 1) stride + kernel − pads. False:
 * an attribute does not fit. */
static bool unpooled(const og_node *node, const og_type *x, og_type *y)
{
    og_window w = {.n = x->rank - 2};
    *y = *x;
    if (!og_window_list(&w, node, "kernel_shape", w.n, 0, 1, w.kernel) ||
        !og_window_list(&w, node, "strides", w.n, 1, 1, w.strides) ||
        !og_window_list(&w, node, "pads", 2 * w.n, 0, 0, w.pads))
        return false;
    for (int k = 0; k < w.n; k++)
        y->dims[k + 2] =
            (x->dims[k + 2] - 1) * w.strides[k] + w.kernel[k] - w.pads[k] - w.pads[k + w.n];
    for (int k = 2; k < y->rank; k++)
        if (y->dims[k] < 1)
            return false;
    return true;
}

/* x [N, C, D…], indices as MaxPool's second output; output_shape at least the shape pooled */
static bool max_unpool_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    og_type y, same = i->x[1]->type;
    int n = 0;
    same.dtype = x->dtype;
    if (!need_number(i, 0) || !need_dtype(i, 1, OG_INT64) || !need_rank_from(i, 0, "X", 3) ||
        !need_kernel_shape(i))
        return false;
    if (!og_type_equal(x, &same) || !unpooled(i->node, x, &y))
        return og_infer_error(i, "indices %s and the attributes do not fit %s",
                              TypeText(i, &i->x[1]->type), TypeText(i, x));
    i->y[0] = y;
    if (!present(i, 2))
        return true;
    if (!need_ints(i, 2, "output_shape", OG_MAX_RANK, i->y[0].dims, &n))
        return false;
    for (int k = 0; n == y.rank && k < n; k++)
        if (i->y[0].dims[k] < y.dims[k])
            n = -1;
    return n == y.rank || og_infer_error(i,
                                         "output_shape is smaller than the pooled %s, or of "
                                         "another rank",
                                         TypeText(i, &y));
}

/* y[indices] = x on the flat y, else 0; zeros behind where output_shape is larger */
static void max_unpool_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_type y;
    int64_t count = Count(x), pads[2 * OG_MAX_RANK] = {0}, dims[OG_MAX_RANK];
    unpooled(e->node, og_type_of(x), &y);
    int64_t elements = og_type_elements(&y);
    og_type flat = og_type_make(DType(x), 1, &elements);
    og_val v = Op("ScatterElements",
                  In(og_full(e->g, &flat, 0), Reshape(e->x[1], 1, &count), Reshape(x, 1, &count)));
    v = Reshape(v, y.rank, y.dims);
    if (e->nx > 2 && Has(e->x[2])) {
        og_value_ints(og_value_of(e->x[2]), OG_MAX_RANK, dims);
        for (int k = 0; k < y.rank; k++)
            pads[k + y.rank] = dims[k] - y.dims[k];
        v = Op("Pad", In(v, og_const_ints(e->g, 2 * y.rank, pads)));
    }
    e->y[0] = v;
}

const og_op og_ops_max_pool[] = {
    {"MaxPool", NULL, 1, 1, 1, 2, max_pool_infer, .expand = max_pool_expand, .images_in = 1,
     .images_out = 3},
    {"MaxPoolTraining", OG_DOMAIN, 1, 1, 2, 2, training_infer, .expand = training_expand,
     .grad = training_grad, .saved = 2, .images_in = 1, .images_out = 3},
    {"MaxPoolGrad", OG_DOMAIN, 2, 2, 1, 1, grad_infer, .expand = grad_expand, .grad = grad_grad,
     .images_in = 3, .images_out = 1},
    {"MaxUnpool", NULL, 2, 3, 1, 1, max_unpool_infer, .expand = max_unpool_expand},
    {0},
};
