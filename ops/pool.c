/* Pooling: windows over the spatial dims of x [N, C, D…]. Global pooling is a reduction. */
#include "ops/window_rules.h"

/* ---- inference */

static bool need_kernel_shape(og_infer *i)
{
    return og_node_attr(i->node, "kernel_shape") ||
           og_infer_error(i, "attribute kernel_shape is missing");
}

static bool pool_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    og_window w;
    if (!need_number(i, 0) || !need_rank_from(i, 0, "input", 3) || !need_kernel_shape(i) ||
        !read_window(i, x, NULL, &w))
        return false;
    i->y[0] = *x;
    memcpy(i->y[0].dims + 2, w.out, sizeof(int64_t) * (size_t)w.n);
    return true;
}

/* A window that lies in padding only would have no largest element. */
static bool max_pool_infer(og_infer *i)
{
    og_window w;
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

static bool average_pool_infer(og_infer *i)
{
    return need_float(i, 0) && pool_infer(i);
}

static bool max_pool_grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type, *indices = &i->x[1]->type;
    og_type same = *indices;
    same.dtype = dy->dtype;
    return need_float(i, 0) && need_dtype(i, 1, OG_INT64) &&
           (og_type_equal(dy, &same) ||
            og_infer_error(i, "indices are %s for %s", TypeText(i, indices), TypeText(i, dy))) &&
           type_from_attr(i, "x_dims", dy->dtype, &i->y[0]);
}

static bool average_pool_grad_infer(og_infer *i)
{
    const og_type *dy = &i->x[0]->type;
    og_type *dx = &i->y[0];
    og_window w;
    if (!need_float(i, 0) || !type_from_attr(i, "x_dims", dy->dtype, dx) || !need_kernel_shape(i))
        return false;
    if (dx->rank < 3 || dx->rank != dy->rank)
        return og_infer_error(i, "x_dims has %d dims for %s", dx->rank, TypeText(i, dy));
    if (!read_window(i, dx, NULL, &w))
        return false;
    bool fits = dy->dims[0] == dx->dims[0] && dy->dims[1] == dx->dims[1];
    for (int k = 0; k < w.n; k++)
        fits = fits && dy->dims[k + 2] == w.out[k];
    return fits ||
           og_infer_error(i, "%s is no output of pooling %s", TypeText(i, dy), TypeText(i, dx));
}

static bool global_infer(og_infer *i)
{
    if (!need_float(i, 0) || !need_rank_from(i, 0, "input", 3))
        return false;
    i->y[0] = i->x[0]->type;
    for (int k = 2; k < i->y[0].rank; k++)
        i->y[0].dims[k] = 1;
    return true;
}

/* ---- gradients */

/* MaxPool: dx[indices] += dy */
static void max_pool_grad(og_grad *d)
{
    d->dx[0] = Op(OG_DOMAIN "::MaxPoolGrad", In(d->dy[0], d->y[1]), XDims(d->x[0]));
}

/* AveragePool: each window's dy ÷ its count goes to the elements it covers */
static void average_pool_grad(og_grad *d)
{
    og_window w;
    og_window_read(&w, d->node, og_type_of(d->x[0]), NULL);
    d->dx[0] =
        Op(OG_DOMAIN "::AveragePoolGrad", In(d->dy[0]), WindowAttrs(&w),
           I("ceil_mode", og_attr_int(d->node, "ceil_mode", 0)),
           I("count_include_pad", og_attr_int(d->node, "count_include_pad", 0)), XDims(d->x[0]));
}

/* AveragePoolGrad is linear; its transpose is the pooling itself. */
static void average_pool_grad_grad(og_grad *d)
{
    og_window w;
    og_window_read(&w, d->node, og_type_of(d->dy[0]), NULL);
    d->dx[0] = Op("AveragePool", In(d->dy[0]), WindowAttrs(&w),
                  I("ceil_mode", og_attr_int(d->node, "ceil_mode", 0)),
                  I("count_include_pad", og_attr_int(d->node, "count_include_pad", 0)));
}

/* MaxPoolGrad: y[indices] += u,  du = dy[indices] */
static void max_pool_grad_grad(og_grad *d)
{
    og_val rows = Reshape(d->dy[0], 1, (int64_t[]){Count(d->dy[0])});
    d->dx[0] = Op("Gather", In(rows, d->x[1]), I("axis", 0));
}

/* ---- definitions */

/* The type that attribute x_dims and dy's element type make. */
static og_type x_type(const og_expand *e)
{
    const int64_t *dims;
    int rank = og_attr_ints(e->node, "x_dims", &dims);
    return og_type_make(DType(e->x[0]), rank, dims);
}

/* MaxPoolGrad: dx[indices] += dy on the flat x; an index of -1, a window in padding only, adds 0 */
static void max_pool_grad_expand(og_expand *e)
{
    og_val dy = e->x[0], indices = e->x[1];
    og_type x = x_type(e);
    int64_t count = Count(dy), elements = og_type_elements(&x);
    og_type flat = og_type_make(DType(dy), 1, &elements);
    og_val taken = Where(Less(indices, Zero(indices)), Zero(dy), dy);
    og_val dx =
        Op("ScatterElements",
           In(og_full(e->g, &flat, 0), Reshape(indices, 1, &count), Reshape(taken, 1, &count)),
           I("axis", 0), S("reduction", "add"));
    e->y[0] = Reshape(dx, x.rank, x.dims);
}

/* Elements that count in window `i` of spatial dim k: those inside x, with count_include_pad also
 * those in its padding, at least 1. */
static int64_t window_count(const og_window *w, int k, int64_t i, bool include_pad)
{
    int64_t start = i * w->strides[k] - w->pads[k], step = w->dilations[k];
    int64_t low = include_pad ? -w->pads[k] : 0;
    int64_t high = w->in[k] + (include_pad ? w->pads[k + w->n] : 0);
    int64_t first = low > start ? (low - start + step - 1) / step : 0;
    int64_t end = high > start ? (high - start + step - 1) / step : 0;
    end = end < w->kernel[k] ? end : w->kernel[k];
    return end > first ? end - first : 1;
}

/* dy ÷ its windows' counts, which are a product of one factor for each dim */
static og_val shares(og_graph *g, og_val dy, const og_window *w, bool include_pad)
{
    for (int k = 0; k < w->n; k++) {
        og_type t = {.dtype = OG_FLOAT, .rank = w->n - k, .dims = {w->out[k]}};
        for (int j = 1; j < t.rank; j++)
            t.dims[j] = 1;
        float *counts = og_arena_array(g->arena, (size_t)w->out[k], sizeof *counts);
        if (!counts) {
            og_fail_memory(&g->error, (size_t)w->out[k] * sizeof *counts, "window sizes");
            return OG_NONE;
        }
        for (int64_t i = 0; i < w->out[k]; i++)
            counts[i] = (float)window_count(w, k, i, include_pad);
        dy = Div(dy, to_dtype(og_graph_add_const(g, "", &t, counts), DType(dy)));
    }
    return dy;
}

/* AveragePoolGrad: each window's share spread over the elements it covers: the transpose of a
 * convolution of single channels with ones. The end pads become what the last window needs, which
 * with ceil_mode can be more than given. */
static void average_pool_grad_expand(og_expand *e)
{
    og_type x = x_type(e), plane = x, dy_plane = *og_type_of(e->x[0]), ones = x;
    og_window w;
    og_window_read(&w, e->node, &x, NULL);
    og_val dy = shares(e->g, e->x[0], &w, og_attr_int(e->node, "count_include_pad", 0) != 0);
    for (int k = 0; k < w.n; k++) {
        int64_t end = (w.out[k] - 1) * w.strides[k] + og_window_span(&w, k) - w.in[k] - w.pads[k];
        w.pads[k + w.n] = end > 0 ? end : 0;
        ones.dims[k + 2] = w.kernel[k];
    }
    plane.dims[0] = dy_plane.dims[0] = x.dims[0] * x.dims[1];
    plane.dims[1] = dy_plane.dims[1] = ones.dims[0] = ones.dims[1] = 1;
    og_val dx = Op(OG_DOMAIN "::ConvGradData",
                   In(Reshape(dy, dy_plane.rank, dy_plane.dims), og_full(e->g, &ones, 1)),
                   WindowAttrs(&w), Is("x_dims", plane.rank, plane.dims));
    e->y[0] = Reshape(dx, x.rank, x.dims);
}

static og_val over_space(og_val x, const char *kind)
{
    int axes[OG_MAX_RANK], n = axes_from(Rank(x), 2, axes);
    return Reduce(kind, x, n, axes, true);
}

static void global_average_expand(og_expand *e)
{
    e->y[0] = over_space(e->x[0], "ReduceMean");
}

static void global_max_expand(og_expand *e)
{
    e->y[0] = over_space(e->x[0], "ReduceMax");
}

/* GlobalLpPool: y = (Σ |x|ᵖ)^(1/p) */
static void global_lp_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t p = og_attr_int(e->node, "p", 2);
    if (p == 1 || p == 2)
        e->y[0] = over_space(x, p == 1 ? "ReduceL1" : "ReduceL2");
    else
        e->y[0] = Pow(over_space(Pow(Abs(x), Scalar(x, (double)p)), "ReduceSum"),
                      Scalar(x, 1.0 / (double)p));
}

/* LpPool: y = (Σ |x|ᵖ)^(1/p) over each window; what lies outside x adds nothing. Zeros are put
 * around x, as many as the last window needs, so that every window is whole: Σ = average ×
 * elements. */
static void lp_expand(og_expand *e)
{
    og_val x = e->x[0];
    int rank = Rank(x);
    double p = (double)og_attr_int(e->node, "p", 2), elements = 1;
    int64_t pads[2 * OG_MAX_RANK] = {0};
    og_window w;
    og_window_read(&w, e->node, og_type_of(x), NULL);
    for (int k = 0; k < w.n; k++) {
        int64_t end = (w.out[k] - 1) * w.strides[k] + og_window_span(&w, k) - w.in[k] - w.pads[k];
        pads[k + 2] = w.pads[k];
        pads[k + 2 + rank] = end > 0 ? end : 0;
        w.pads[k] = w.pads[k + w.n] = 0;
        elements *= (double)w.kernel[k];
    }
    og_val power = p == 1 ? Abs(x) : p == 2 ? Mul(x, x) : Pow(Abs(x), Scalar(x, p));
    og_val sum = Op("AveragePool", In(Op("Pad", In(power, og_const_ints(e->g, 2 * rank, pads)))),
                    WindowAttrs(&w));
    sum = Mul(sum, Scalar(sum, elements));
    e->y[0] = p == 1 ? sum : p == 2 ? Sqrt(sum) : Pow(sum, Scalar(sum, 1 / p));
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

const og_op og_ops_pool[] = {
    {"MaxPool", NULL, 1, 1, 1, 2, max_pool_infer, .grad = max_pool_grad, .saved = 2, .images_in = 1,
     .images_out = 3},
    {"AveragePool", NULL, 1, 1, 1, 1, average_pool_infer, .grad = average_pool_grad, .images_in = 1,
     .images_out = 1},
    {"MaxPoolGrad", OG_DOMAIN, 2, 2, 1, 1, max_pool_grad_infer, .expand = max_pool_grad_expand,
     .grad = max_pool_grad_grad, .images_in = 3, .images_out = 1},
    {"AveragePoolGrad", OG_DOMAIN, 1, 1, 1, 1, average_pool_grad_infer,
     .expand = average_pool_grad_expand, .grad = average_pool_grad_grad, .images_in = 1,
     .images_out = 1},
    {"GlobalAveragePool", NULL, 1, 1, 1, 1, global_infer, .expand = global_average_expand,
     .images_in = 1, .images_out = 1},
    {"GlobalMaxPool", NULL, 1, 1, 1, 1, global_infer, .expand = global_max_expand, .images_in = 1,
     .images_out = 1},
    {"LpPool", NULL, 1, 1, 1, 1, average_pool_infer, .expand = lp_expand,
     .precision = OG_PRECISION_FLOAT},
    {"MaxUnpool", NULL, 2, 3, 1, 1, max_unpool_infer, .expand = max_unpool_expand},
    {"GlobalLpPool", NULL, 1, 1, 1, 1, global_infer, .expand = global_lp_expand,
     .precision = OG_PRECISION_FLOAT},
    {0},
};
