/* Images read at positions that are computed: GridSample, DeformConv, RoiAlign, and AffineGrid,
 * which makes the positions. All are definitions around one sampler: at each position the elements
 * around it are gathered and weighted, so gradients flow into the image (by Gather's) and into the
 * positions (through the weights). */
#include "ops/window_rules.h"

/* ---- the sampler */

enum { MAX_TAPS = 4, MAX_SPACE = 3 };

/* Along one spatial dim: elements to read and their weights, both [B, P]. */
typedef struct taps {
    int n;
    og_val index[MAX_TAPS], weight[MAX_TAPS]; /* index: int64, inside the image */
} taps;

static og_val clamp(og_val x, double low, double high)
{
    return Min(Max(x, Scalar(x, low)), Scalar(x, high));
}

/* x [B, C, D…] → rows [B · D…, C] */
static og_val rows_of(og_val x)
{
    int rank = Rank(x), perm[OG_MAX_RANK];
    for (int k = 0; k < rank; k++)
        perm[k] = k == 0 ? 0 : k < rank - 1 ? k + 1 : 1;
    int64_t dims[2] = {Dim(x, 1) ? Count(x) / Dim(x, 1) : 0, Dim(x, 1)};
    return Reshape(Transpose(x, perm), 2, dims);
}

/* How the weighted elements of all taps become one. */
typedef enum combine { SUM, MOST } combine;

/* Σ (or max) over the taps of all dims of weight · x[base + index]: [B, P, C].
 * base: the row at which a sample's image begins, int64 [B, 1]; dims: the image's */
static og_val sample(og_val rows, og_val base, int n, const int64_t *dims, const taps *t,
                     combine how)
{
    int at[MAX_SPACE] = {0}, total = 1;
    og_val y = OG_NONE;
    for (int d = 0; d < n; d++)
        total *= t[d].n;
    for (int i = 0; i < total; i++) {
        og_val index = OG_NONE, weight = OG_NONE;
        for (int d = 0, rest = i; d < n; d++) {
            at[d] = rest % t[d].n;
            rest /= t[d].n;
            og_val k = t[d].index[at[d]], w = t[d].weight[at[d]];
            index = Has(index) ? Add(Mul(index, Scalar(index, (double)dims[d])), k) : k;
            weight = !Has(weight) ? w : Has(w) ? Mul(weight, w) : weight;
        }
        og_val part = Op("Gather", In(rows, Add(index, base)), I("axis", 0));
        if (Has(weight))
            part = Mul(part, Op("Unsqueeze", In(weight, og_const_ints(rows.g, 1, (int64_t[]){2}))));
        y = !Has(y) ? part : how == SUM ? Add(y, part) : Max(y, part);
    }
    return y;
}

/* Row of each sample's first element: b · Π dims, [B, 1] */
static og_val first_rows(og_graph *g, int64_t batch, int n, const int64_t *dims)
{
    og_val b = arange(g, batch, 1);
    for (int d = 0; d < n; d++)
        b = Mul(b, Scalar(b, (double)dims[d]));
    return b;
}

/* ---- GridSample */

typedef enum padding { ZEROS, BORDER, REFLECTION } padding;

/* Reflected at low and high until it lies between them. */
static og_val reflect(og_val x, double low, double high)
{
    double range = high - low;
    if (range <= 0)
        return Mul(x, Zero(x));
    og_val away = Op("Mod", In(Abs(Sub(x, Scalar(x, low))), Scalar(x, 2 * range)), I("fmod", 1));
    og_val inside = Sub(Scalar(x, range), Abs(Sub(away, Scalar(x, range))));
    return Add(inside, Scalar(x, low));
}

/* A tap at whole position `k`; what lies outside is zero or another element. */
static void add_tap(taps *t, og_val k, og_val weight, double length, double low, double high,
                    padding pad)
{
    if (pad == ZEROS) {
        og_val inside = And(GreaterOrEqual(k, Zero(k)), LessOrEqual(k, Scalar(k, length - 1)));
        og_val one = Cast(inside, DType(k));
        weight = Has(weight) ? Mul(weight, one) : one;
    } else if (pad == REFLECTION) {
        k = Floor(Max(reflect(k, low, high), Zero(k)));
    }
    t->index[t->n] = Cast(clamp(k, 0, length - 1), OG_INT64);
    t->weight[t->n++] = weight;
}

/* Keys' cubic convolution with a = −3/4: the weight at distance d, at most 1 or between 1 and 2
 * (Keys, Cubic convolution interpolation for digital image processing, 1981) */
static og_val cubic_near(og_val d)
{
    const double a = -0.75;
    og_val square = Mul(d, d);
    return Add(Mul(Sub(Mul(d, Scalar(d, a + 2)), Scalar(d, a + 3)), square), One(d));
}

static og_val cubic_far(og_val d)
{
    const double a = -0.75;
    og_val y = Sub(Mul(d, Scalar(d, a)), Scalar(d, 5 * a));
    y = Add(Mul(y, d), Scalar(d, 8 * a));
    return Sub(Mul(y, d), Scalar(d, 4 * a));
}

/* x: positions along a dim of that length, [B, P] in elements */
static void taps_at(taps *t, og_val x, char mode, double length, double low, double high,
                    padding pad)
{
    t->n = 0;
    if (mode == 'n')
        x = Round(x);
    if (pad != ZEROS) {
        og_val outside = Or(Less(x, Scalar(x, low)), Greater(x, Scalar(x, high)));
        og_val moved = pad == BORDER ? clamp(x, 0, length - 1) : reflect(x, low, high);
        x = Where(outside, moved, x);
    }
    if (mode == 'n') {
        add_tap(t, pad == REFLECTION ? Floor(Max(x, Zero(x))) : x, OG_NONE, length, low, high, pad);
        return;
    }
    og_val k = Floor(x), f = Sub(x, k), r = Sub(One(f), f);
    if (mode == 'l') {
        add_tap(t, k, r, length, low, high, pad);
        add_tap(t, Add(k, One(k)), f, length, low, high, pad);
        return;
    }
    add_tap(t, Sub(k, One(k)), cubic_far(Add(f, One(f))), length, low, high, pad);
    add_tap(t, k, cubic_near(f), length, low, high, pad);
    add_tap(t, Add(k, One(k)), cubic_near(r), length, low, high, pad);
    add_tap(t, Add(k, Scalar(k, 2)), cubic_far(Add(r, One(r))), length, low, high, pad);
}

static const char *const modes[] = {"linear", "nearest", "cubic", NULL};
static const char *const paddings[] = {"zeros", "border", "reflection", NULL};

static int choice(const og_node *n, const char *name, const char *const *known)
{
    const char *s = og_attr_string(n, name, known[0]);
    for (int k = 0; known[k]; k++)
        if (strcmp(s, known[k]) == 0)
            return k;
    return -1;
}

/* x [N, C, D…], grid [N, O…, n] → y [N, C, O…] */
static bool grid_sample_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *grid = &i->x[1]->type;
    int n = x->rank - 2;
    if (!need_float(i, 0) || !need_float(i, 1) || !need_rank_from(i, 0, "X", 3) ||
        !need_rank(i, 1, "grid", x->rank))
        return false;
    if (n > MAX_SPACE || grid->dims[0] != x->dims[0] || grid->dims[n + 1] != n)
        return og_infer_error(
            i, "grid is %s, expected [%" PRId64 ", …, %d] for %s (1 to %d spatial dims)",
            TypeText(i, grid), x->dims[0], n, TypeText(i, x), MAX_SPACE);
    if (choice(i->node, "mode", modes) < 0 || choice(i->node, "padding_mode", paddings) < 0)
        return og_infer_error(i,
                              "mode is \"%s\" and padding_mode \"%s\", expected linear, nearest or "
                              "cubic, and zeros, border or reflection",
                              og_attr_string(i->node, "mode", "linear"),
                              og_attr_string(i->node, "padding_mode", "zeros"));
    for (int k = 0; k < n; k++)
        if (x->dims[k + 2] < 1)
            return og_infer_error(i, "X is %s, expected no empty spatial dim", TypeText(i, x));
    i->y[0] = *x;
    memcpy(i->y[0].dims + 2, grid->dims + 1, sizeof(int64_t) * (size_t)n);
    return true;
}

/* A coordinate from −1 to 1 spans the image: from the middles of its outer elements if
 * align_corners, else from its edges. */
static void grid_sample_expand(og_expand *e)
{
    og_val x = e->x[0], grid = e->x[1];
    og_type image = *og_type_of(x), y = *og_type_of(grid);
    int n = image.rank - 2, perm[OG_MAX_RANK];
    bool align = og_attr_int(e->node, "align_corners", 0) != 0;
    padding pad = (padding)choice(e->node, "padding_mode", paddings);
    int known = choice(e->node, "mode", modes);
    OG_ASSUME(known >= 0);
    char mode = modes[known][0];
    int64_t positions = 1;
    for (int k = 0; k < n; k++)
        positions *= y.dims[k + 1];
    taps t[MAX_SPACE];
    for (int d = 0; d < n; d++) {
        double length = (double)image.dims[d + 2];
        og_val g =
            Reshape(Slice(grid, n + 1, n - 1 - d, 1), 2, ((int64_t[]){y.dims[0], positions}));
        g = Add(to_dtype(g, DType(x)), One(x));
        og_val at = align ? Mul(g, Scalar(g, (length - 1) / 2))
                          : Div(Sub(Mul(g, Scalar(g, length)), One(g)), Scalar(g, 2));
        taps_at(&t[d], at, mode, length, align ? 0 : -0.5, align ? length - 1 : length - 0.5, pad);
    }
    og_val v = sample(rows_of(x), first_rows(e->g, image.dims[0], n, image.dims + 2), n,
                      image.dims + 2, t, SUM);
    y.dims[n + 1] = image.dims[1];
    for (int k = 0; k < image.rank; k++)
        perm[k] = k == 0 ? 0 : k == 1 ? n + 1 : k - 1;
    e->y[0] = Transpose(Reshape(v, image.rank, y.dims), perm);
}

/* Opset 20 renamed the modes. */
static bool grid_sample_upgrade_20(og_draft *d)
{
    const og_attr *mode = og_draft_take(d, "mode");
    const char *s = mode && mode->s ? mode->s : "bilinear";
    return og_draft_add_attr(d, S("mode", strcmp(s, "bilinear") == 0  ? "linear"
                                          : strcmp(s, "bicubic") == 0 ? "cubic"
                                                                      : s));
}

/* ---- AffineGrid */

/* theta [N, n, n + 1], size [N, C, D…] → grid [N, D…, n] */
static bool affine_grid_infer(og_infer *i)
{
    const og_type *theta = &i->x[0]->type;
    int64_t size[OG_MAX_RANK];
    int rank = 0;
    if (!need_float(i, 0) || !need_rank(i, 0, "theta", 3) ||
        !need_ints(i, 1, "size", OG_MAX_RANK, size, &rank))
        return false;
    int n = rank - 2;
    if ((n != 2 && n != 3) || theta->dims[0] != size[0] || theta->dims[1] != n ||
        theta->dims[2] != n + 1)
        return og_infer_error(i,
                              "theta is %s and size has %d dims, expected [N, 2, 3] and 4, or "
                              "[N, 3, 4] and 5",
                              TypeText(i, theta), rank);
    og_type y = {.dtype = theta->dtype, .rank = rank, .dims = {size[0]}};
    int64_t positions = 1;
    for (int k = 0; k < n; k++)
        if (size[k + 2] < 1 || __builtin_mul_overflow(positions, size[k + 2], &positions))
            return og_infer_error(i, "size %d is %" PRId64 ", expected 1 or more", k + 2,
                                  size[k + 2]);
    for (int k = 0; k < n; k++)
        y.dims[k + 1] = size[k + 2];
    y.dims[n + 1] = n;
    i->y[0] = y;
    return true;
}

/* grid = base thetaᵀ, base rows (x, y, 1) with x, y from −1 to 1 */
static void affine_grid_expand(og_expand *e)
{
    og_val theta = e->x[0];
    int64_t size[OG_MAX_RANK] = {0};
    int rank = og_value_ints(og_value_of(e->x[1]), OG_MAX_RANK, size), n = rank - 2;
    bool align = og_attr_int(e->node, "align_corners", 0) != 0;
    og_val parts[MAX_SPACE + 1];
    og_type plane = {.dtype = DType(theta), .rank = n};
    int64_t count = 1, dims[OG_MAX_RANK];
    for (int k = 0; k < n; k++) {
        plane.dims[k] = size[k + 2];
        count *= size[k + 2];
    }
    for (int k = 0; k <= n; k++) {
        int d = n - 1 - k; /* the last dim comes first */
        og_val v = One(theta);
        if (d >= 0) {
            double length = (double)plane.dims[d];
            v = Cast(arange(e->g, plane.dims[d], n - 1 - d), DType(theta));
            v = align ? Mul(v, Scalar(v, length > 1 ? 2 / (length - 1) : 0))
                      : Div(Add(Mul(v, Scalar(v, 2)), One(v)), Scalar(v, length));
            v = Sub(v, One(v));
        }
        v = Op("Expand", In(v, og_const_ints(e->g, n, plane.dims)));
        parts[k] = Reshape(v, 2, ((int64_t[]){count, 1}));
    }
    og_val base = concat_all(n + 1, parts, 1);
    dims[0] = size[0];
    memcpy(dims + 1, plane.dims, sizeof(int64_t) * (size_t)n);
    dims[n + 1] = n;
    e->y[0] = Reshape(MatMul(base, SwapLast(theta)), rank, dims);
}

/* ---- RoiAlign */

/* x [N, C, H, W], rois [R, 4] as x1 y1 x2 y2, batch_indices [R] → y [R, C, oh, ow] */
static bool roi_align_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *rois = &i->x[1]->type;
    if (!need_float(i, 0) || !need_same(i, 0, 1) || !need_rank(i, 0, "X", 4) ||
        !need_rank(i, 1, "rois", 2) || !need_dtype(i, 2, OG_INT64) ||
        !need_vector(i, 2, "batch_indices", rois->dims[0], "one for each roi"))
        return false;
    int64_t oh = og_attr_int(i->node, "output_height", 1),
            ow = og_attr_int(i->node, "output_width", 1);
    if (rois->dims[1] != 4 || oh < 1 || ow < 1)
        return og_infer_error(i, "rois are %s for an output of %" PRId64 " × %" PRId64,
                              TypeText(i, rois), oh, ow);
    if (og_attr_int(i->node, "sampling_ratio", 0) < 1)
        return og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                            "sampling_ratio is 0: a number of samples that depends on each roi is "
                            "not supported, expected 1 or more");
    i->y[0] = (og_type){x->dtype, 4, {rois->dims[0], x->dims[1], oh, ow}};
    return true;
}

/* Sample points of one dim: start + (bin + (k + 1/2) / ratio) size / bins, [R, bins · ratio] */
static og_val roi_points(og_expand *e, int from, int to, int64_t bins, int64_t ratio)
{
    og_val rois = e->x[1];
    bool half = strcmp(og_attr_string(e->node, "coordinate_transformation_mode", "half_pixel"),
                       "half_pixel") == 0;
    double scale = og_attr_float(e->node, "spatial_scale", 1);
    og_val start = Mul(Slice(rois, 1, from, 1), Scalar(rois, scale)),
           end = Mul(Slice(rois, 1, to, 1), Scalar(rois, scale));
    if (half)
        start = Sub(start, Scalar(start, 0.5)), end = Sub(end, Scalar(end, 0.5));
    og_val size = Sub(end, start);
    if (!half)
        size = Max(size, One(size));
    og_val k = Cast(arange(e->g, bins * ratio, 0), DType(rois));
    k = Div(Add(k, Scalar(k, 0.5)), Scalar(k, (double)ratio));
    return Add(start, Mul(Div(size, Scalar(size, (double)bins)), k));
}

/* Positions at most one element outside are moved inside; farther ones count as 0. */
static void roi_taps(taps *t, og_val x, double length)
{
    og_val inside =
        Cast(And(GreaterOrEqual(x, Scalar(x, -1)), LessOrEqual(x, Scalar(x, length))), DType(x));
    x = clamp(x, 0, length - 1);
    og_val k = Floor(x), f = Sub(x, k);
    t->n = 2;
    t->index[0] = Cast(k, OG_INT64);
    t->index[1] = Cast(Min(Add(k, One(k)), Scalar(k, length - 1)), OG_INT64);
    t->weight[0] = Mul(inside, Sub(One(f), f));
    t->weight[1] = Mul(inside, f);
}

/* y = the mean of a bin's samples; mode max: the largest weighted element (as ONNX has it, each of
 * the four around a sample counts for itself) */
static void roi_align_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t oh = og_attr_int(e->node, "output_height", 1),
            ow = og_attr_int(e->node, "output_width", 1),
            ratio = og_attr_int(e->node, "sampling_ratio", 0), r = Dim(e->x[1], 0), h = oh * ratio,
            w = ow * ratio;
    bool most = strcmp(og_attr_string(e->node, "mode", "avg"), "max") == 0;
    og_val at[2] = {roi_points(e, 1, 3, oh, ratio), roi_points(e, 0, 2, ow, ratio)};
    taps t[2];
    at[0] = Op("Expand", In(Reshape(at[0], 3, ((int64_t[]){r, h, 1})),
                            og_const_ints(e->g, 3, (int64_t[]){r, h, w})));
    at[1] = Op("Expand", In(Reshape(at[1], 3, ((int64_t[]){r, 1, w})),
                            og_const_ints(e->g, 3, (int64_t[]){r, h, w})));
    for (int d = 0; d < 2; d++)
        roi_taps(&t[d], Reshape(at[d], 2, ((int64_t[]){r, h * w})), (double)Dim(x, d + 2));
    og_val base = Mul(e->x[2], Scalar(e->x[2], (double)(Dim(x, 2) * Dim(x, 3))));
    og_val v = sample(rows_of(x), Reshape(base, 2, ((int64_t[]){r, 1})), 2, og_type_of(x)->dims + 2,
                      t, most ? MOST : SUM);
    v = Reshape(v, 6, ((int64_t[]){r, oh, ratio, ow, ratio, Dim(x, 1)}));
    v = Reduce(most ? "ReduceMax" : "ReduceMean", v, 2, ((int[]){2, 4}), false);
    e->y[0] = Transpose(v, ((int[]){0, 3, 1, 2}));
}

/* Opset 16 moved the coordinates by half an element, unless told otherwise. */
static bool roi_align_upgrade_16(og_draft *d)
{
    return og_draft_add_attr(d, S("coordinate_transformation_mode", "output_half_pixel"));
}

/* ---- DeformConv */

/* x [N, C, H, W], w [M, C / group, kh, kw], offset [N, offset_group · kh · kw · 2, oh, ow],
 * bias [M], mask [N, offset_group · kh · kw, oh, ow] */
static bool deform_conv_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *w = &i->x[1]->type, *offset = &i->x[2]->type;
    int64_t group = og_attr_int(i->node, "group", 1),
            groups = og_attr_int(i->node, "offset_group", 1);
    og_window win;
    if (!need_float(i, 0) || !need_all_same(i))
        return false;
    if (x->rank != 4)
        return og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                            "X is %s; only two spatial dims are supported", TypeText(i, x));
    if (!need_rank(i, 1, "W", 4) || !need_rank(i, 2, "offset", 4) ||
        !read_window(i, x, w->dims + 2, &win))
        return false;
    int64_t k = win.kernel[0] * win.kernel[1];
    if (group < 1 || groups < 1 || x->dims[1] % groups || w->dims[0] % group ||
        w->dims[1] * group != x->dims[1])
        return og_infer_error(
            i, "group %" PRId64 " and offset_group %" PRId64 " do not fit X %s and W %s", group,
            groups, TypeText(i, x), TypeText(i, w));
    og_type expected = {x->dtype, 4, {x->dims[0], groups * k * 2, win.out[0], win.out[1]}};
    if (!og_type_equal(offset, &expected))
        return og_infer_error(i, "offset is %s, expected %s", TypeText(i, offset),
                              TypeText(i, &expected));
    expected.dims[1] = groups * k;
    if (present(i, 4) && !og_type_equal(&i->x[4]->type, &expected))
        return og_infer_error(i, "mask is %s, expected %s", TypeText(i, &i->x[4]->type),
                              TypeText(i, &expected));
    if (present(i, 3) && !need_vector(i, 3, "B", w->dims[0], "one for each output channel"))
        return false;
    expected.dims[1] = w->dims[0];
    i->y[0] = expected;
    return true;
}

/* Where the windows' elements lie without offsets, along spatial dim d: [kh, kw, oh, ow] */
static og_val window_places(og_graph *g, const og_window *w, int d, og_dtype dtype)
{
    og_val k = arange(g, w->kernel[d], 3 - d), o = arange(g, w->out[d], 1 - d);
    k = Mul(k, Scalar(k, (double)w->dilations[d]));
    o = Sub(Mul(o, Scalar(o, (double)w->strides[d])), Scalar(o, (double)w->pads[d]));
    int64_t dims[4] = {w->kernel[0], w->kernel[1], w->out[0], w->out[1]};
    return Cast(Op("Expand", In(Add(k, o), og_const_ints(g, 4, dims))), dtype);
}

/* y = W · columns, the columns sampled linearly at the windows' places plus offset */
static void deform_conv_expand(og_expand *e)
{
    og_val x = e->x[0], w = e->x[1], bias = e->nx > 3 ? e->x[3] : OG_NONE,
           mask = e->nx > 4 ? e->x[4] : OG_NONE;
    int64_t group = og_attr_int(e->node, "group", 1),
            groups = og_attr_int(e->node, "offset_group", 1);
    og_window win;
    og_window_read(&win, e->node, og_type_of(x), og_type_of(w)->dims + 2);
    int64_t k = win.kernel[0] * win.kernel[1], o = win.out[0] * win.out[1], n = Dim(x, 0),
            c = Dim(x, 1), m = Dim(w, 0), b = n * groups, part = c / groups;
    og_val offset = Reshape(e->x[2], 4, ((int64_t[]){b, k, 2, o}));
    taps t[2];
    for (int d = 0; d < 2; d++) {
        double length = (double)win.in[d];
        og_val at = Reshape(Slice(offset, 2, d, 1), 2, ((int64_t[]){b, k * o}));
        og_val place = Reshape(window_places(e->g, &win, d, DType(x)), 2, ((int64_t[]){1, k * o}));
        taps_at(&t[d], Add(at, place), 'l', length, 0, length - 1, ZEROS);
    }
    og_val image = Reshape(x, 4, ((int64_t[]){b, part, win.in[0], win.in[1]}));
    og_val v = sample(rows_of(image), first_rows(e->g, b, 2, win.in), 2, win.in, t, SUM);
    if (Has(mask))
        v = Mul(v, Reshape(mask, 3, ((int64_t[]){b, k * o, 1})));
    v = Reshape(v, 5, ((int64_t[]){n, groups, k, o, part}));
    v = Reshape(Transpose(v, ((int[]){0, 1, 4, 2, 3})), 4,
                ((int64_t[]){n, group, c / group * k, o}));
    og_val y = MatMul(Reshape(w, 3, ((int64_t[]){group, m / group, c / group * k})), v);
    y = Reshape(y, 4, ((int64_t[]){n, m, win.out[0], win.out[1]}));
    e->y[0] = Has(bias) ? Add(y, per_channel(bias, 4)) : y;
}

const og_op og_ops_sampling[] = {
    {"GridSample", NULL, 2, 2, 1, 1, grid_sample_infer, .expand = grid_sample_expand,
     .upgrade = {{20, grid_sample_upgrade_20}}},
    {"AffineGrid", NULL, 2, 2, 1, 1, affine_grid_infer, .expand = affine_grid_expand},
    {"RoiAlign", NULL, 3, 3, 1, 1, roi_align_infer, .expand = roi_align_expand,
     .upgrade = {{16, roi_align_upgrade_16}}},
    {"DeformConv", NULL, 3, 5, 1, 1, deform_conv_infer, .expand = deform_conv_expand},
    {0},
};
