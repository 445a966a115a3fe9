/* Resize, by its definition: each axis in turn is a weighted sum of gathered elements, whose places
 * and weights are known when the shape is. Nearest takes one element, linear two, cubic four, and
 * with antialias more, as a product with a matrix. Where nearest repeats each element equally
 * often, it is an Expand instead. */
#include "ops/common.h"

/* ---- how large */

typedef struct scaling {
    double scale[OG_MAX_RANK];
    int64_t out[OG_MAX_RANK];
    bool crop; /* to start … end of each dim, as fractions: */
    double start[OG_MAX_RANK],
        end[OG_MAX_RANK]; /* coordinate_transformation_mode tf_crop_and_resize */
} scaling;

/* Input `k` if it is there and not an empty list, which stood for absent in opset 11. */
static const og_value *list_input(const og_value *const *x, int nx, int k)
{
    return k < nx && x[k] && og_type_elements(&x[k]->type) > 0 ? x[k] : NULL;
}

/* One factor for all axes, so that none is larger (not_larger) or smaller (not_smaller) than its
 * size; *sizes adjusted. */
static void keep_aspect(bool not_larger, const og_type *x, int n, const int *axes, int64_t *sizes)
{
    double factor = 0;
    for (int k = 0; k < n; k++) {
        double f = (double)sizes[k] / (double)x->dims[axes[k]];
        if (k == 0 || (not_larger ? f < factor : f > factor))
            factor = f;
    }
    for (int k = 0; k < n; k++)
        sizes[k] = (int64_t)floor(factor * (double)x->dims[axes[k]] + 0.5);
}

/* NULL, or what is wrong. in: the node's inputs, constants from input 2 on. */
static const char *read_scaling(const og_node *node, const og_value *const *in, int nx,
                                const og_type *x, scaling *s)
{
    const og_value *scales = list_input(in, nx, 2), *sizes = list_input(in, nx, 3);
    const char *policy = og_attr_string(node, "keep_aspect_ratio_policy", "stretch");
    int axes[OG_MAX_RANK], n = x->rank;
    int64_t list[OG_MAX_RANK];
    const int64_t *given;
    int n_axes = og_attr_ints(node, "axes", &given);
    s->crop = strcmp(og_attr_string(node, "coordinate_transformation_mode", ""),
                     "tf_crop_and_resize") == 0;
    for (int k = 0; k < x->rank; k++) {
        s->scale[k] = s->end[k] = 1;
        s->start[k] = 0;
        s->out[k] = x->dims[k];
        axes[k] = k;
    }
    if (n_axes > x->rank)
        return "axes has more entries than there are dims";
    for (int k = 0; k < n_axes; k++) {
        if (given[k] < -x->rank || given[k] >= x->rank)
            return "axes names a dim that does not exist";
        axes[k] = positive_axis(given[k], x->rank);
    }
    n = n_axes ? n_axes : n;
    if (!scales == !sizes)
        return "exactly one of scales and sizes is expected";
    if (!is_const(scales ? scales : sizes))
        return "scales or sizes are computed while running; they must be constants";
    if (scales &&
        (scales->type.rank != 1 || scales->type.dims[0] != n || scales->type.dtype != OG_FLOAT))
        return "scales is not a float32 list of one entry for each axis";
    if (sizes && og_value_ints(sizes, OG_MAX_RANK, list) != n)
        return "sizes is not an int64 list of one entry for each axis";
    for (int k = 0; k < n; k++)
        if (x->dims[axes[k]] < 1)
            return "the input is empty";
    const og_value *roi = s->crop ? list_input(in, nx, 1) : NULL;
    if (s->crop && (!roi || !is_const(roi) || !og_dtype_is_float(roi->type.dtype) ||
                    roi->type.rank != 1 || roi->type.dims[0] != 2 * n))
        return "roi is not a constant list of floats, a start and an end for each axis";
    for (int k = 0; s->crop && k < n; k++) {
        s->start[axes[k]] = og_value_double(roi, k);
        s->end[axes[k]] = og_value_double(roi, k + n);
    }
    if (sizes && strcmp(policy, "stretch") != 0)
        keep_aspect(strcmp(policy, "not_larger") == 0, x, n, axes, list);
    for (int k = 0; k < n; k++) {
        double dim = (double)x->dims[axes[k]];
        double scale = scales ? og_value_double(scales, k) : (double)list[k] / dim;
        double part = s->end[axes[k]] - s->start[axes[k]];
        double out = scales ? floor(dim * part * scale) : (double)list[k];
        if (!(scale > 0) || !(out >= 1 && out < 9e15))
            return "a scale or size is not positive";
        s->scale[axes[k]] = scale;
        s->out[axes[k]] = (int64_t)out;
    }
    return NULL;
}

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static bool resize_infer(og_infer *i)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const transforms[] = {"half_pixel",
                                             "pytorch_half_pixel",
                                             "half_pixel_symmetric",
                                             "align_corners",
                                             "asymmetric",
                                             "tf_crop_and_resize",
                                             NULL};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil", NULL};
    const char *mode = og_attr_string(i->node, "mode", "nearest");
    const char *transform = og_attr_string(i->node, "coordinate_transformation_mode", "half_pixel");
    const char *rounding = og_attr_string(i->node, "nearest_mode", "round_prefer_floor");
    if (!is_one_of(mode, modes))
        return og_infer_error(i, "mode is \"%s\", expected nearest, linear or cubic", mode);
    if (!is_one_of(transform, transforms))
        return og_infer_error(i, "coordinate_transformation_mode is \"%s\"", transform);
    if (!is_one_of(rounding, roundings))
        return og_infer_error(i, "nearest_mode is \"%s\"", rounding);
    if (strcmp(mode, "nearest") != 0 && !need_float(i, 0))
        return false;
    scaling s;
    const char *bad = read_scaling(i->node, i->x, i->nx, &i->x[0]->type, &s);
    if (bad)
        return og_infer_error(i, "%s (the input is %s)", bad, TypeText(i, &i->x[0]->type));
    i->y[0] = i->x[0]->type;
    memcpy(i->y[0].dims, s.out, sizeof(int64_t) * (size_t)i->y[0].rank);
    return true;
}

/* ---- where from */

/* The place in the input, as a real number, that element k of the output comes from. */
static double source(const char *transform, int64_t k, int64_t in, int64_t out, double scale)
{
    double at = (double)k, length = scale * (double)in;
    if (strcmp(transform, "align_corners") == 0)
        return out > 1 && length != 1 ? at * (double)(in - 1) / (length - 1) : 0;
    if (strcmp(transform, "asymmetric") == 0)
        return at / scale;
    if (strcmp(transform, "pytorch_half_pixel") == 0 && out <= 1)
        return 0;
    double shift = 0;
    if (strcmp(transform, "half_pixel_symmetric") == 0)
        shift = (double)in / 2 * (1 - (double)out / length);
    return shift + (at + 0.5) / scale - 0.5;
}

static int64_t nearest(const char *rounding, double at)
{
    if (strcmp(rounding, "round_prefer_ceil") == 0)
        return (int64_t)floor(at + 0.5);
    if (strcmp(rounding, "floor") == 0)
        return (int64_t)floor(at);
    return (int64_t)ceil(strcmp(rounding, "ceil") == 0 ? at : at - 0.5);
}

/* Keys' cubic convolution kernel at distance t from the place (1981), coefficient a. */
static double cubic(double t, double a)
{
    t = fabs(t);
    if (t < 1)
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

typedef struct taps {
    int64_t n;      /* elements summed for each output element */
    int64_t *index; /* [n, out] */
    double *weight; /* [n, out] */
    double *inside; /* [out]: 0 where the crop lies outside of the input; NULL: nowhere */
} taps;

static void *new_list(const og_expand *e, int64_t n, size_t size)
{
    void *list = og_arena_array(e->g->arena, (size_t)(n > 0 ? n : 1), size);
    if (!list)
        og_fail_memory(&e->g->error, (size_t)n * size, "indices");
    return list;
}

/* Weights of element k's taps around place `at`. reach: how far the filter goes, 0 for nearest;
 * shrink: the factor on distances that antialiasing stretches the filter by, else 1. */
static void fill_taps(const og_expand *e, taps *t, int64_t k, int64_t in, int64_t out, double at,
                      int reach, double shrink)
{
    const char *rounding = og_attr_string(e->node, "nearest_mode", "round_prefer_floor");
    double a = og_attr_float(e->node, "cubic_coeff_a", -0.75), sum = 0;
    bool inside_only = og_attr_int(e->node, "exclude_outside", 0) != 0;
    int64_t first = reach ? (int64_t)floor(at) - (t->n / 2 - 1) : nearest(rounding, at);
    for (int64_t j = 0; j < t->n; j++) {
        int64_t index = first + j;
        double distance = (at - (double)index) * shrink;
        double w = reach == 0 ? 1 : reach == 1 ? fmax(0, 1 - fabs(distance)) : cubic(distance, a);
        bool outside = index < 0 || index >= in;
        t->weight[j * out + k] = outside && inside_only ? 0 : w;
        t->index[j * out + k] = index < 0 ? 0 : index >= in ? in - 1 : index;
        sum += t->weight[j * out + k];
    }
    for (int64_t j = 0; (inside_only || shrink < 1) && sum != 0 && j < t->n; j++)
        t->weight[j * out + k] /= sum;
}

static bool make_taps(const og_expand *e, const scaling *s, int a, int64_t in, taps *t)
{
    const char *mode = og_attr_string(e->node, "mode", "nearest");
    const char *transform = og_attr_string(e->node, "coordinate_transformation_mode", "half_pixel");
    int reach = strcmp(mode, "nearest") == 0 ? 0 : strcmp(mode, "linear") == 0 ? 1 : 2;
    bool stretch = reach && og_attr_int(e->node, "antialias", 0) && s->scale[a] < 1;
    double shrink = stretch ? s->scale[a] : 1;
    int64_t out = s->out[a];
    int64_t entries;
    double span = reach ? ceil(reach / shrink)
                        : 0; /* at most 2 in, unless the crop is larger than the input */
    if (span > 4 * (double)in + 4) {
        og_fail(&e->g->error, OG_UNSUPPORTED,
                "Resize: scale %g with antialias of %" PRId64 " elements", shrink, in);
        return false;
    }
    t->n = reach ? 2 * (int64_t)span : 1;
    t->inside = NULL;
    if (__builtin_mul_overflow(t->n, out, &entries))
        entries = INT64_MAX; /* is refused */
    t->index = new_list(e, entries, sizeof(int64_t));
    t->weight = new_list(e, entries, sizeof(double));
    if (!t->index || !t->weight || (s->crop && !(t->inside = new_list(e, out, sizeof(double)))))
        return false;
    for (int64_t k = 0; k < out; k++) {
        double last = (double)(in - 1), at;
        if (s->crop && out > 1)
            at = last * (s->start[a] + (double)k * (s->end[a] - s->start[a]) / (double)(out - 1));
        else
            at = s->crop ? last * (s->start[a] + s->end[a]) / 2
                         : source(transform, k, in, out, s->scale[a]);
        if (s->crop)
            t->inside[k] = at >= 0 && at <= last;
        fill_taps(e, t, k, in, out, fmin(fmax(at, -1e15), 1e15), reach, shrink);
    }
    return true;
}

/* Is element k taken from k / times, for a whole number of times? 0: no. */
static int64_t repeats(const taps *t, int64_t in, int64_t out)
{
    if (t->n != 1 || t->inside || out % in != 0)
        return 0;
    for (int64_t k = 0; k < out; k++)
        if (t->index[k] != k / (out / in))
            return 0;
    return out / in;
}

/* ---- definition */

/* Axis a of x, each element `times` times */
static og_val repeat(og_val x, int a, int64_t times)
{
    int rank = Rank(x);
    int64_t one[OG_MAX_RANK + 1], many[OG_MAX_RANK + 1], dims[OG_MAX_RANK];
    for (int k = 0; k < rank; k++) {
        dims[k] = Dim(x, k) * (k == a ? times : 1);
        one[k + (k > a)] = many[k + (k > a)] = Dim(x, k);
    }
    one[a + 1] = 1;
    many[a + 1] = times;
    og_val column = Reshape(x, rank + 1, one);
    return Reshape(Op("Expand", In(column, og_const_ints(x.g, rank + 1, many))), rank, dims);
}

/* `rows` × `columns` numbers as a constant of x's type, of shape [rows, columns], or [rows, 1, …]
 * with `after` ones if columns is 1 */
static og_val constant(og_val x, const double *w, int64_t rows, int64_t columns, int after)
{
    og_type t = {.dtype = DType(x) == OG_DOUBLE ? OG_DOUBLE : OG_FLOAT,
                 .rank = 1 + after,
                 .dims = {rows, columns}};
    for (int k = 2; k <= after; k++)
        t.dims[k] = 1;
    if (t.dtype == OG_DOUBLE)
        return og_const_copy(x.g, &t, w);
    float *f = og_arena_array(x.g->arena, (size_t)(rows * columns), sizeof *f);
    if (!f) {
        og_fail_memory(&x.g->error, (size_t)(rows * columns) * sizeof *f, "weights");
        return OG_NONE;
    }
    for (int64_t k = 0; k < rows * columns; k++)
        f[k] = (float)w[k];
    return to_dtype(og_graph_add_const(x.g, "", &t, f), DType(x));
}

/* Axis a of x times the matrix [in, out] of all weights */
static og_val by_matrix(const og_expand *e, og_val x, int a, int64_t out, const taps *t)
{
    int64_t in = Dim(x, a), entries;
    int perm[OG_MAX_RANK];
    double *w = __builtin_mul_overflow(in, out, &entries) ? NULL : new_list(e, entries, sizeof *w);
    if (!w)
        return OG_NONE;
    for (int64_t j = 0; j < t->n; j++)
        for (int64_t k = 0; k < out; k++)
            w[t->index[j * out + k] * out + k] += t->weight[j * out + k];
    for (int k = 0; k < Rank(x); k++)
        perm[k] = k == a ? Rank(x) - 1 : k == Rank(x) - 1 ? a : k;
    return Transpose(MatMul(Transpose(x, perm), constant(x, w, in, out, 1)), perm);
}

/* The sum of the taps, each a Gather */
static og_val by_gather(const og_expand *e, og_val x, int a, int64_t out, const taps *t)
{
    og_val y = OG_NONE;
    for (int64_t j = 0; j < t->n; j++) {
        og_type list = {.dtype = OG_INT64, .rank = 1, .dims = {out}};
        og_val index = og_graph_add_const(e->g, "", &list, t->index + j * out);
        og_val part = Op("Gather", In(x, index), I("axis", a));
        if (t->n > 1)
            part = Mul(part, constant(x, t->weight + j * out, out, 1, Rank(x) - 1 - a));
        y = j ? Add(y, part) : part;
    }
    return y;
}

static og_val resize_axis(const og_expand *e, og_val x, int a, const scaling *s)
{
    taps t;
    int64_t out = s->out[a];
    if (!Has(x) || !make_taps(e, s, a, Dim(x, a), &t))
        return OG_NONE;
    int64_t times = repeats(&t, Dim(x, a), out);
    if (times && Rank(x) < OG_MAX_RANK)
        return times == 1 ? x : repeat(x, a, times);
    og_val y = t.n > 4 ? by_matrix(e, x, a, out, &t) : by_gather(e, x, a, out, &t);
    if (!t.inside || !Has(y))
        return y;
    og_val inside = Cast(constant(y, t.inside, out, 1, Rank(y) - 1 - a), OG_BOOL);
    return Where(inside, y, Scalar(y, og_attr_float(e->node, "extrapolation_value", 0)));
}

static void resize_expand(og_expand *e)
{
    og_val y = e->x[0];
    const og_value *values[4] = {NULL};
    scaling s;
    for (int k = 0; k < e->nx; k++)
        values[k] = Has(e->x[k]) ? og_value_of(e->x[k]) : NULL;
    if (read_scaling(e->node, values, e->nx, og_type_of(y), &s))
        return;
    for (int a = Rank(e->x[0]) - 1; a >= 0; a--)
        if (s.scale[a] != 1 || s.out[a] != Dim(e->x[0], a) || s.start[a] != 0 || s.end[a] != 1)
            y = resize_axis(e, y, a, &s);
    e->y[0] = y.id == e->x[0].id ? Identity(y) : y;
}

/* ---- upgrades */

/* Opset 10: inputs x, scales; places are k / scale, rounded down. */
static bool resize_upgrade_11(og_draft *d)
{
    og_val scales = og_val_of(d->g, d->n_in > 1 ? d->in[1] : -1);
    return og_draft_set_input(d, 2, scales) && og_draft_set_input(d, 1, OG_NONE) &&
           og_draft_add_attr(d, S("coordinate_transformation_mode", "asymmetric")) &&
           og_draft_add_attr(d, S("nearest_mode", "floor"));
}

/* Upsample below opset 9 had scales as an attribute. */
static bool upsample_upgrade_9(og_draft *d)
{
    const og_attr *a = og_draft_take(d, "scales");
    float scales[OG_MAX_RANK];
    if (!a || a->kind != OG_ATTR_FLOATS || a->n > OG_MAX_RANK)
        return og_draft_fail(d, "attribute scales is missing or no list of floats");
    for (int k = 0; k < a->n; k++)
        scales[k] = (float)a->floats[k];
    og_type t = {.dtype = OG_FLOAT, .rank = 1, .dims = {a->n}};
    return og_draft_set_input(d, 1, og_const_copy(d->g, &t, scales));
}

/* Upsample became Resize in opset 10. */
static bool upsample_upgrade_10(og_draft *d)
{
    d->op = "Resize";
    return true;
}

static bool upsample_infer(og_infer *i)
{
    return og_infer_error(i, "left ONNX in opset 10, expected Resize");
}

const og_op og_ops_resize[] = {
    {"Resize", NULL, 1, 4, 1, 1, resize_infer, .expand = resize_expand,
     .upgrade = {{11, resize_upgrade_11}}},
    {"Upsample", NULL, 1, 2, 1, 1, upsample_infer, .diff = OG_DIFF_NEVER,
     .upgrade = {{9, upsample_upgrade_9}, {10, upsample_upgrade_10}}},
    {0},
};
