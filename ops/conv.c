/* Convolution. x [N, C, D…], w [M, C / group, K…], y [N, M, O…]; the transposed form exchanges x
 * and y.
 *
 * One pair of internal ops closes the family under differentiation: ConvGradData(dy, w) is dx and
 * ConvGradWeights(x, dy) is dw, and the gradients of these are again Conv and each other.
 * ConvTranspose is ConvGradData by definition. */
#include "ops/window_rules.h"

/* ---- inference */

static int64_t group_of(const og_node *node)
{
    return og_attr_int(node, "group", 1);
}

/* Ranks of x and w, group, and attribute kernel_shape against w. */
static bool operands(og_infer *i, int x, int w)
{
    const og_type *tx = &i->x[x]->type, *tw = &i->x[w]->type;
    if (!need_float(i, x) || !need_same(i, x, w) || !need_rank_from(i, x, "input", 3) ||
        !need_rank(i, w, "weight", tx->rank))
        return false;
    int64_t group = group_of(i->node);
    if (group < 1 || tw->dims[0] % group != 0)
        return og_infer_error(
            i, "group is %" PRId64 ", expected a divisor of weight dim 0 (%" PRId64 ")", group,
            tw->dims[0]);
    const int64_t *shape;
    int n = og_attr_ints(i->node, "kernel_shape", &shape);
    for (int k = 0; k < n; k++)
        if (n != tx->rank - 2 || shape[k] != tw->dims[k + 2])
            return og_infer_error(i, "attribute kernel_shape differs from the weight %s",
                                  TypeText(i, tw));
    for (int k = 2; k < tw->rank; k++)
        if (tw->dims[k] < 1)
            return og_infer_error(i, "weight dim %d is 0", k);
    return true;
}

/* Weight dim 1 × group are the channels of the convolution's input x. */
static bool channels(og_infer *i, const og_type *x, const og_type *w)
{
    int64_t group = group_of(i->node);
    if (x->dims[1] % group != 0)
        return og_infer_error(
            i, "group is %" PRId64 ", expected a divisor of the input channels (%" PRId64 ")",
            group, x->dims[1]);
    return w->dims[1] == x->dims[1] / group ||
           og_infer_error(
               i, "weight dim 1 is %" PRId64 ", expected %" PRId64 " (input channels / group)",
               w->dims[1], x->dims[1] / group);
}

static bool conv_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *w = &i->x[1]->type;
    og_window win;
    if (!operands(i, 0, 1) || !channels(i, x, w) || !read_window(i, x, w->dims + 2, &win))
        return false;
    if (present(i, 2) && !(need_same(i, 0, 2) &&
                           need_vector(i, 2, "bias", w->dims[0], "one for each output channel")))
        return false;
    i->y[0] = *x;
    i->y[0].dims[1] = w->dims[0];
    memcpy(i->y[0].dims + 2, win.out, sizeof(int64_t) * (size_t)win.n);
    return true;
}

/* The type a convolution of x with w has; used to check the internal ops' operands. */
static bool need_conv_output(og_infer *i, int input, const og_type *x, const og_type *w)
{
    const og_type *dy = &i->x[input]->type;
    og_window win;
    if (!channels(i, x, w) || !read_window(i, x, w->dims + 2, &win))
        return false;
    bool fits = dy->rank == x->rank && dy->dims[0] == x->dims[0] && dy->dims[1] == w->dims[0];
    for (int k = 0; fits && k < win.n; k++)
        fits = dy->dims[k + 2] == win.out[k];
    return fits || og_infer_error(i, "%s is no output of a convolution of %s with %s",
                                  TypeText(i, dy), TypeText(i, x), TypeText(i, w));
}

static bool grad_data_infer(og_infer *i)
{
    return type_from_attr(i, "x_dims", i->x[0]->type.dtype, &i->y[0]) && operands(i, 0, 1) &&
           need_conv_output(i, 0, &i->y[0], &i->x[1]->type);
}

static bool grad_weights_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    return type_from_attr(i, "w_dims", x->dtype, &i->y[0]) && need_float(i, 0) &&
           need_same(i, 0, 1) && need_rank_from(i, 0, "x", 3) &&
           (i->y[0].rank == x->rank || og_infer_error(i, "w_dims has %d dims", i->y[0].rank)) &&
           need_conv_output(i, 1, x, &i->y[0]);
}

/* ---- forms */

static og_val conv(og_val x, og_val w, const og_window *win, int64_t group)
{
    return Op("Conv", In(x, w), WindowAttrs(win), I("group", group));
}

static og_val grad_data(og_val dy, og_val w, const og_type *x, const og_window *win, int64_t group)
{
    return Op(OG_DOMAIN "::ConvGradData", In(dy, w), WindowAttrs(win), I("group", group),
              Is("x_dims", x->rank, x->dims));
}

static og_val grad_weights(og_val x, og_val dy, const og_type *w, const og_window *win,
                           int64_t group)
{
    return Op(OG_DOMAIN "::ConvGradWeights", In(x, dy), WindowAttrs(win), I("group", group),
              Is("w_dims", w->rank, w->dims));
}

/* Bias: db[m] = Σ over all dims but channels of dy */
static og_val sum_but_channels(og_val dy)
{
    int axes[OG_MAX_RANK], n = axes_but(Rank(dy), 1, axes);
    return Reduce("ReduceSum", dy, n, axes, false);
}

/* ---- gradients */

/* Conv: y = x * w + b,  dx = ConvGradData(dy, w),  dw = ConvGradWeights(x, dy),  db = Σ dy */
static void conv_grad(og_grad *d)
{
    og_val x = d->x[0], w = d->x[1], dy = d->dy[0];
    og_window win;
    og_window_read(&win, d->node, og_type_of(x), og_type_of(w)->dims + 2);
    int64_t group = group_of(d->node);
    if (d->need[0])
        d->dx[0] = grad_data(dy, w, og_type_of(x), &win, group);
    if (d->need[1])
        d->dx[1] = grad_weights(x, dy, og_type_of(w), &win, group);
    if (d->nx > 2 && d->need[2])
        d->dx[2] = sum_but_channels(dy);
}

/* ConvGradData: y = ConvGradData(u, w) is linear in both, with ⟨y, v⟩ = ⟨u, v * w⟩ for every v:
 * du = dy * w,  dw = ConvGradWeights(dy, u) */
static void grad_data_grad(og_grad *d)
{
    og_val u = d->x[0], w = d->x[1], dy = d->dy[0];
    og_window win;
    og_window_read(&win, d->node, og_type_of(dy), og_type_of(w)->dims + 2);
    if (d->need[0])
        d->dx[0] = conv(dy, w, &win, group_of(d->node));
    if (d->need[1])
        d->dx[1] = grad_weights(dy, u, og_type_of(w), &win, group_of(d->node));
}

/* ConvGradWeights: y = ConvGradWeights(x, u), with ⟨y, v⟩ = ⟨u, x * v⟩ for every v:
 * dx = ConvGradData(u, dy),  du = x * dy */
static void grad_weights_grad(og_grad *d)
{
    og_val x = d->x[0], u = d->x[1], dy = d->dy[0];
    og_window win;
    og_window_read(&win, d->node, og_type_of(x), og_type_of(dy)->dims + 2);
    if (d->need[0])
        d->dx[0] = grad_data(u, dy, og_type_of(x), &win, group_of(d->node));
    if (d->need[1])
        d->dx[1] = conv(x, dy, &win, group_of(d->node));
}

/* ---- definitions */

/* ConvGradData: dx = ConvTranspose(dy, w); what the last window leaves over of x is output_padding
 */
static void grad_data_expand(og_expand *e)
{
    og_val dy = e->x[0], w = e->x[1];
    og_type x = {.dtype = DType(dy)};
    const int64_t *dims;
    x.rank = og_attr_ints(e->node, "x_dims", &dims);
    memcpy(x.dims, dims, sizeof(int64_t) * (size_t)x.rank);
    og_window win;
    int64_t rest[OG_MAX_RANK];
    og_window_read(&win, e->node, &x, og_type_of(w)->dims + 2);
    for (int k = 0; k < win.n; k++)
        rest[k] = win.in[k] + win.pads[k] + win.pads[k + win.n] - og_window_span(&win, k) -
                  win.strides[k] * (win.out[k] - 1);
    e->y[0] = Op("ConvTranspose", In(dy, w), WindowAttrs(&win), I("group", group_of(e->node)),
                 Is("output_padding", win.n, rest));
}

/* [N, group × c, D…] → [c, group × N, D…] */
static og_val channels_as_batch(og_val v, int64_t group)
{
    og_type t = *og_type_of(v);
    int64_t n = t.dims[0], c = t.dims[1] / group, space;
    if (!dims_product(t.dims, 2, t.rank, &space))
        return OG_NONE;
    og_val split = Reshape(v, 4, ((int64_t[]){n, group, c, space}));
    t.dims[0] = c;
    t.dims[1] = group * n;
    return Reshape(Transpose(split, ((int[]){2, 1, 0, 3})), t.rank, t.dims);
}

/* ConvGradWeights: dw[m, c, k] = Σ x[n, c, o stride + k dilation - pad] dy[n, m, o] over n and o: a
 * convolution with the images as channels, x's channels as images and dy as the weight, in which
 * strides and dilations change places. Its windows may fit more often than w has elements. */
static void grad_weights_expand(og_expand *e)
{
    og_val x = e->x[0], dy = e->x[1];
    const int64_t *w_dims;
    int rank = og_attr_ints(e->node, "w_dims", &w_dims), swap[OG_MAX_RANK];
    int64_t group = group_of(e->node);
    og_window win;
    og_window_read(&win, e->node, og_type_of(x), w_dims + 2);
    og_val dw =
        Op("Conv", In(channels_as_batch(x, group), channels_as_batch(dy, 1)),
           Is("kernel_shape", win.n, win.out), Is("strides", win.n, win.dilations),
           Is("dilations", win.n, win.strides), Is("pads", 2 * win.n, win.pads), I("group", group));
    for (int k = 2; k < rank; k++)
        if (Dim(dw, k) > w_dims[k])
            dw = Slice(dw, k, 0, w_dims[k]);
    for (int k = 0; k < rank; k++)
        swap[k] = k < 2 ? 1 - k : k;
    e->y[0] = Transpose(dw, swap);
}

/* ---- ConvTranspose */

/* Geometry of the convolution that ConvTranspose is the gradient of: win->in is the shape of y,
 * win->out that of x. y = stride (x - 1) + output_padding + span - pads Attribute output_shape
 * gives y instead, and auto_pad how pads are split. A negative sum of pads is taken as
 * output_padding. False: an attribute does not fit, win->bad names it. */
static bool transposed_window(og_window *win, const og_node *node, const og_type *x,
                              const og_type *w)
{
    memset(win, 0, sizeof *win);
    int n = win->n = x->rank - 2;
    memcpy(win->out, x->dims + 2, sizeof(int64_t) * (size_t)n);
    memcpy(win->kernel, w->dims + 2, sizeof(int64_t) * (size_t)n);
    const char *pad = og_attr_string(node, "auto_pad", "NOTSET");
    bool upper = strcmp(pad, "SAME_UPPER") == 0, same = upper || strcmp(pad, "SAME_LOWER") == 0;
    int64_t extra[OG_MAX_RANK], shape[OG_MAX_RANK];
    bool shaped = og_node_attr(node, "output_shape") != NULL || same;
    if (!og_window_list(win, node, "strides", n, 1, 1, win->strides) ||
        !og_window_list(win, node, "dilations", n, 1, 1, win->dilations) ||
        !og_window_list(win, node, "output_padding", n, 0, 0, extra) ||
        !og_window_list(win, node, "output_shape", n, 0, 0, shape) ||
        (!same && !og_window_list(win, node, "pads", 2 * n, 0, 0, win->pads)))
        return false;
    for (int k = 0; k < n; k++) {
        if (win->out[k] > OG_WINDOW_MAX) {
            win->bad = "strides";
            return false;
        }
        int64_t full = win->strides[k] * (win->out[k] - 1) + extra[k] + og_window_span(win, k);
        if (shaped) {
            int64_t want = shape[k] ? shape[k] : win->out[k] * win->strides[k];
            int64_t total = full > want ? full - want : 0;
            win->pads[k] = upper ? total / 2 : total - total / 2;
            win->pads[k + n] = total - win->pads[k];
            win->in[k] = want;
        } else {
            win->in[k] = full - win->pads[k] - win->pads[k + n];
        }
        int64_t room = win->in[k] + win->pads[k] + win->pads[k + n] - og_window_span(win, k);
        if (win->in[k] < 1 || room < 0 || room / win->strides[k] + 1 != win->out[k]) {
            win->bad = shaped ? "output_shape" : extra[k] ? "output_padding" : "pads";
            return false;
        }
    }
    return true;
}

/* y [N, M, …]: M = weight dim 1 × group, w [C, M / group, K…] */
static bool transpose_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *w = &i->x[1]->type;
    og_window win;
    if (!operands(i, 0, 1))
        return false;
    if (w->dims[0] != x->dims[1])
        return og_infer_error(i,
                              "weight dim 0 is %" PRId64 ", expected %" PRId64 " (input channels)",
                              w->dims[0], x->dims[1]);
    if (!transposed_window(&win, i->node, x, w))
        return og_infer_error(i, "attribute %s does not fit the input %s and the weight %s",
                              win.bad, TypeText(i, x), TypeText(i, w));
    i->y[0] = *x;
    if (__builtin_mul_overflow(w->dims[1], group_of(i->node), &i->y[0].dims[1]))
        return og_infer_error(i, "group is too large");
    memcpy(i->y[0].dims + 2, win.in, sizeof(int64_t) * (size_t)win.n);
    return !present(i, 2) || (need_same(i, 0, 2) && need_vector(i, 2, "bias", i->y[0].dims[1],
                                                                "one for each output channel"));
}

/* ConvTranspose: y = ConvGradData(x, w) + b */
static void transpose_expand(og_expand *e)
{
    og_val x = e->x[0], w = e->x[1];
    og_window win;
    transposed_window(&win, e->node, og_type_of(x), og_type_of(w));
    og_type y = *og_type_of(x);
    y.dims[1] = Dim(w, 1) * group_of(e->node);
    memcpy(y.dims + 2, win.in, sizeof(int64_t) * (size_t)win.n);
    e->y[0] = grad_data(x, w, &y, &win, group_of(e->node));
    if (e->nx > 2 && Has(e->x[2]))
        e->y[0] = Add(e->y[0], per_channel(e->x[2], y.rank));
}

/* Twice the weight's elements for each window: `windows` is the tensor with one element a window
 * and output channel. */
static double window_flops(const og_type *windows, const og_type *w)
{
    return w->dims[0] ? 2.0 * (double)og_type_elements(windows) * (double)og_type_elements(w) /
                            (double)w->dims[0]
                      : 0;
}

static double conv_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    (void)n;
    return window_flops(&y[0], &x[1]->type);
}

static double grad_data_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    (void)n;
    (void)y;
    return window_flops(&x[0]->type, &x[1]->type);
}

static double grad_weights_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    (void)n;
    return window_flops(&x[1]->type, &y[0]);
}

/* WideConv, WideConvGradData, WideConvGradWeights: of half tensors, with a float32 result; by
 * definition rounded to half on the way */
static bool widened(og_infer *i, bool inferred)
{
    if (inferred)
        i->y[0].dtype = OG_FLOAT;
    return inferred;
}

static bool wide_conv_infer(og_infer *i)
{
    return widened(i, conv_infer(i));
}

static bool wide_grad_data_infer(og_infer *i)
{
    return widened(i, grad_data_infer(i));
}

static bool wide_grad_weights_infer(og_infer *i)
{
    return widened(i, grad_weights_infer(i));
}

static void expand_as(og_expand *e, const char *op)
{
    e->y[0] = Cast(og_ops_like(OG_HERE, op, 1, In(e->x[0], e->x[1]), e->node).y[0], OG_FLOAT);
}

static void wide_conv_expand(og_expand *e)
{
    expand_as(e, "Conv");
}

static void wide_grad_data_expand(og_expand *e)
{
    expand_as(e, OG_DOMAIN "::ConvGradData");
}

static void wide_grad_weights_expand(og_expand *e)
{
    expand_as(e, OG_DOMAIN "::ConvGradWeights");
}

const og_op og_ops_conv[] = {
    {"Conv", NULL, 2, 3, 1, 1, conv_infer, .grad = conv_grad, .flops = conv_flops,
     .precision = OG_PRECISION_HALF, .wide = "WideConv", .images_in = 1, .images_out = 1},
    {"ConvTranspose", NULL, 2, 3, 1, 1, transpose_infer, .expand = transpose_expand,
     .flops = grad_data_flops, .precision = OG_PRECISION_HALF, .images_in = 1, .images_out = 1},
    {"ConvGradData", OG_DOMAIN, 2, 2, 1, 1, grad_data_infer, .expand = grad_data_expand,
     .grad = grad_data_grad, .flops = grad_data_flops, .precision = OG_PRECISION_HALF,
     .wide = "WideConvGradData", .images_in = 1, .images_out = 1},
    {"ConvGradWeights", OG_DOMAIN, 2, 2, 1, 1, grad_weights_infer, .expand = grad_weights_expand,
     .grad = grad_weights_grad, .flops = grad_weights_flops, .precision = OG_PRECISION_HALF,
     .wide = "WideConvGradWeights", .images_in = 3},
    {"WideConv", OG_DOMAIN, 2, 2, 1, 1, wide_conv_infer, .expand = wide_conv_expand,
     .flops = conv_flops, .images_in = 1, .images_out = 1},
    {"WideConvGradData", OG_DOMAIN, 2, 2, 1, 1, wide_grad_data_infer,
     .expand = wide_grad_data_expand, .flops = grad_data_flops, .images_in = 1, .images_out = 1},
    {"WideConvGradWeights", OG_DOMAIN, 2, 2, 1, 1, wide_grad_weights_infer,
     .expand = wide_grad_weights_expand, .flops = grad_weights_flops, .images_in = 3},
    {0},
};
