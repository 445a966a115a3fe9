/* Pooling: windows over the spatial dims of x [N, C, D…]. Global pooling is a reduction. MaxPool is
 * in max_pool.c. */
#include "ops/window_rules.h"

/* ---- inference */

static bool average_pool_infer(og_infer *i)
{
    return need_float(i, 0) && pool_infer(i);
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

/* ---- definitions */

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

const og_op og_ops_pool[] = {
    {"AveragePool", NULL, 1, 1, 1, 1, average_pool_infer, .grad = average_pool_grad, .images_in = 1,
     .images_out = 1},
    {"AveragePoolGrad", OG_DOMAIN, 1, 1, 1, 1, average_pool_grad_infer,
     .expand = average_pool_grad_expand, .grad = average_pool_grad_grad, .images_in = 1,
     .images_out = 1},
    {"GlobalAveragePool", NULL, 1, 1, 1, 1, global_infer, .expand = global_average_expand,
     .images_in = 1, .images_out = 1},
    {"GlobalMaxPool", NULL, 1, 1, 1, 1, global_infer, .expand = global_max_expand, .images_in = 1,
     .images_out = 1},
    {"LpPool", NULL, 1, 1, 1, 1, average_pool_infer, .expand = lp_expand,
     .precision = OG_PRECISION_FLOAT},
    {"GlobalLpPool", NULL, 1, 1, 1, 1, global_infer, .expand = global_lp_expand,
     .precision = OG_PRECISION_FLOAT},
    {0},
};
