/* Signals: windows, Fourier transforms, mel weights. Transforms are products with matrices of
 * cosines and sines, made when a plan is made: n² work for a length of n, and exact gradients. */
#include "ops/common.h"

enum { MAX_LENGTH = 8192 }; /* of a transform: its two matrices have MAX_LENGTH² elements */

/* ---- windows */

static bool window_infer(og_infer *i)
{
    int64_t n, dtype = og_attr_int(i->node, "output_datatype", OG_FLOAT);
    if (!need_int(i, 0, "size", &n))
        return false;
    if (n < 0 || dtype <= OG_UNDEFINED || dtype >= OG_DTYPE_COUNT || !is_number((og_dtype)dtype))
        return og_infer_error(i,
                              "size is %" PRId64 " and output_datatype %" PRId64
                              ", expected 0 or more and a numeric type",
                              n, dtype);
    i->y[0] = (og_type){.dtype = (og_dtype)dtype, .rank = 1, .dims = {n}};
    return true;
}

/* y[k] = a − b cos(2πk / N) + c cos(4πk / N), N = size, or size − 1 if not periodic */
static void cosines(og_expand *e, double a, double b, double c)
{
    int64_t n = 0;
    og_value_ints(og_value_of(e->x[0]), 1, &n);
    double length = og_attr_int(e->node, "periodic", 1) ? (double)n : (double)(n - 1);
    og_val k = Cast(arange(e->g, n, 0), OG_DOUBLE);
    og_val angle = Mul(k, Scalar(k, length > 0 ? 2 * M_PI / length : 0));
    og_val y = Sub(Scalar(k, a), Mul(Cos(angle), Scalar(k, b)));
    if (c != 0)
        y = Add(y, Mul(Cos(Mul(angle, Scalar(k, 2))), Scalar(k, c)));
    e->y[0] = Cast(y, og_attr_int(e->node, "output_datatype", OG_FLOAT));
}

static void hann_expand(og_expand *e)
{
    cosines(e, 0.5, 0.5, 0);
}

static void hamming_expand(og_expand *e)
{
    cosines(e, 25.0 / 46, 21.0 / 46, 0);
}

static void blackman_expand(og_expand *e)
{
    cosines(e, 0.42, 0.5, 0.08);
}

/* ---- DFT */

/* Axis (an input), or −2. */
static bool dft_axis(og_infer *i, int *axis)
{
    int64_t a = -2;
    const og_type *x = &i->x[0]->type;
    if (present(i, 2) && !need_int(i, 2, "axis", &a))
        return false;
    return need_axis(i, a, x->rank, axis) &&
           (*axis < x->rank - 1 ||
            og_infer_error(i, "axis is the last dim of %s, which holds real and imaginary parts",
                           TypeText(i, x)));
}

/* x [… n …, 1 or 2] → y [… m …, 2], or [… m …, 1] for the inverse of a one-sided transform */
static bool dft_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    bool inverse = og_attr_int(i->node, "inverse", 0) != 0,
         one = og_attr_int(i->node, "onesided", 0) != 0;
    int axis;
    if (!need_float(i, 0) || !need_rank_from(i, 0, "input", 2) || !dft_axis(i, &axis))
        return false;
    int64_t parts = x->dims[x->rank - 1],
            n = inverse && one ? 2 * (x->dims[axis] - 1) : x->dims[axis];
    if (present(i, 1) && !need_int(i, 1, "dft_length", &n))
        return false;
    if (parts != 1 && parts != 2)
        return og_infer_error(i, "the last dim of %s is %" PRId64 ", expected 1 or 2",
                              TypeText(i, x), parts);
    if (one && !inverse && parts != 1)
        return og_infer_error(i, "onesided is set, expected a real input");
    if (n < 1)
        return og_infer_error(i, "dft_length is %" PRId64 ", expected 1 or more", n);
    if (n > MAX_LENGTH)
        return og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                            "dft_length is %" PRId64 ", at most %d is supported", n, MAX_LENGTH);
    i->y[0] = *x;
    i->y[0].dims[axis] = one && !inverse ? n / 2 + 1 : n;
    i->y[0].dims[x->rank - 1] = one && inverse ? 1 : 2;
    return true;
}

/* cos or sin of 2πjk / n for j < rows, k < columns, row j times weight[j] (NULL: 1) */
static og_val turns(og_graph *g, int64_t rows, int64_t columns, int64_t n, bool sine,
                    const double *weight, og_dtype dtype)
{
    og_type t = {.dtype = OG_DOUBLE, .rank = 2, .dims = {rows, columns}};
    double *v = og_arena_array(g->arena, (size_t)(rows * columns) + 1, sizeof *v);
    if (!v) {
        og_fail_memory(&g->error, (size_t)(rows * columns) * sizeof *v, "a transform's matrix");
        return OG_NONE;
    }
    for (int64_t j = 0; j < rows; j++)
        for (int64_t k = 0; k < columns; k++) {
            double angle = 2 * M_PI * (double)(j * k % n) / (double)n;
            v[j * columns + k] = (sine ? sin(angle) : cos(angle)) * (weight ? weight[j] : 1);
        }
    return to_dtype(og_graph_add_const(g, "", &t, v), dtype);
}

/* x with length n along its last axis: cut, or zeros added */
static og_val fit(og_val x, int64_t n)
{
    int rank = Rank(x);
    int64_t have = Dim(x, -1), pads[2 * OG_MAX_RANK] = {0};
    if (have >= n)
        return have == n ? x : Slice(x, rank - 1, 0, n);
    pads[2 * rank - 1] = n - have;
    return Op("Pad", In(x, og_const_ints(x.g, 2 * rank, pads)));
}

/* y[k] = Σⱼ x[j] e^(∓2πi jk / n), the inverse divided by n. The inverse of a one-sided transform
 * counts each inner frequency twice, for its conjugate. */
static void dft_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_graph *g = e->g;
    og_dtype dtype = DType(x);
    int rank = Rank(x), perm[OG_MAX_RANK];
    int64_t axis = -2, n;
    bool inverse = og_attr_int(e->node, "inverse", 0) != 0,
         one = og_attr_int(e->node, "onesided", 0) != 0, real = Dim(x, -1) == 1;
    if (e->nx > 2 && Has(e->x[2]))
        og_value_ints(og_value_of(e->x[2]), 1, &axis);
    axis = positive_axis(axis, rank);
    n = inverse && one ? 2 * (Dim(x, (int)axis) - 1) : Dim(x, (int)axis);
    if (e->nx > 1 && Has(e->x[1]))
        og_value_ints(og_value_of(e->x[1]), 1, &n);
    /* parts first, the axis last */
    perm[0] = rank - 1;
    perm[rank - 1] = (int)axis;
    for (int k = 0, at = 1; k < rank - 1; k++)
        if (k != axis)
            perm[at++] = k;
    int64_t rows = one && inverse ? n / 2 + 1 : n, columns = one && !inverse ? n / 2 + 1 : n;
    og_val v = fit(Transpose(x, perm), rows);
    og_val re = Slice(v, 0, 0, 1), im = real ? OG_NONE : Slice(v, 0, 1, 1);
    double *weight = NULL;
    if (one && inverse && (weight = og_arena_array(g->arena, (size_t)rows, sizeof *weight)))
        for (int64_t j = 0; j < rows; j++)
            weight[j] = j == 0 || 2 * j == n ? 1 : 2;
    og_val c = turns(g, rows, columns, n, false, weight, dtype),
           s = turns(g, rows, columns, n, true, weight, dtype);
    og_val y_re = MatMul(re, c), y_im = OG_NONE;
    if (!real) /* e^(−iφ) (a + bi) = (a cos φ + b sin φ) + (b cos φ − a sin φ) i */
        y_re = inverse ? Sub(y_re, MatMul(im, s)) : Add(y_re, MatMul(im, s));
    if (!(one && inverse)) {
        og_val turned = MatMul(re, s);
        y_im = real      ? (inverse ? turned : Neg(turned))
               : inverse ? Add(MatMul(im, c), turned)
                         : Sub(MatMul(im, c), turned);
    }
    og_val y = Has(y_im) ? Op("Concat", In(y_re, y_im), I("axis", 0)) : y_re;
    if (inverse)
        y = Div(y, Scalar(y, (double)n));
    int back[OG_MAX_RANK];
    for (int k = 0; k < rank; k++)
        back[perm[k]] = k;
    e->y[0] = Transpose(y, back);
}

/* Below opset 20, the axis was an attribute, 1 by default. */
static bool dft_upgrade_20(og_draft *d)
{
    const og_attr *axis = og_draft_take(d, "axis");
    return og_draft_set_input(d, 2, og_const_int(d->g, axis ? axis->i : 1));
}

/* ---- STFT */

static bool stft_sizes(const og_value *const *x, int nx, int64_t *step, int64_t *length)
{
    const og_value *window = nx > 2 ? x[2] : NULL, *given = nx > 3 ? x[3] : NULL;
    *length = window ? window->type.dims[0] : x[0]->type.dims[1];
    return og_value_ints(x[1], 1, step) == 1 && (!given || og_value_ints(given, 1, length) == 1);
}

/* signal [B, n, 1 or 2], window [length] → [B, frames, length or length / 2 + 1, 2] */
static bool stft_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    int64_t step, length;
    if (!need_float(i, 0) || !need_rank(i, 0, "signal", 3))
        return false;
    if (present(i, 2) && !(need_same(i, 0, 2) && need_rank(i, 2, "window", 1)))
        return false;
    if (!stft_sizes(i->x, i->nx, &step, &length))
        return og_infer_error(i, "frame_step and frame_length must be constants");
    bool one = og_attr_int(i->node, "onesided", 1) != 0;
    if (step < 1 || length < 1 || length > x->dims[1] ||
        (present(i, 2) && i->x[2]->type.dims[0] != length))
        return og_infer_error(i, "frame_step is %" PRId64 " and frame_length %" PRId64 " for %s",
                              step, length, TypeText(i, x));
    if (length > MAX_LENGTH)
        return og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                            "frame_length is %" PRId64 ", at most %d is supported", length,
                            MAX_LENGTH);
    i->y[0] =
        (og_type){x->dtype,
                  4,
                  {x->dims[0], (x->dims[1] - length) / step + 1, one ? length / 2 + 1 : length, 2}};
    return true;
}

/* The DFT of each frame times the window. */
static void stft_expand(og_expand *e)
{
    const og_value *values[4] = {NULL};
    for (int k = 0; k < e->nx; k++)
        values[k] = Has(e->x[k]) ? og_value_of(e->x[k]) : NULL;
    og_val x = e->x[0];
    int64_t step, length;
    OG_ASSUME(values[0] && values[1]);
    stft_sizes(values, e->nx, &step, &length);
    int64_t frames = (Dim(x, 1) - length) / step + 1;
    og_val start = arange(e->g, frames, 1);
    og_val places = Add(Mul(start, Scalar(start, (double)step)), arange(e->g, length, 0));
    og_val v = Op("Gather", In(x, places), I("axis", 1)); /* [B, frames, length, parts] */
    if (values[2])
        v = Mul(v, Reshape(e->x[2], 2, ((int64_t[]){length, 1})));
    bool one = og_attr_int(e->node, "onesided", 1) != 0;
    if (one && Dim(v, 3) == 2) { /* the whole transform, of which half is kept */
        e->y[0] = Slice(Op("DFT", In(v, OG_NONE, og_const_int(e->g, 2))), 2, 0, length / 2 + 1);
        return;
    }
    e->y[0] = Op("DFT", In(v, OG_NONE, og_const_int(e->g, 2)), I("onesided", one));
}

/* ---- MelWeightMatrix */

static bool mel_infer(og_infer *i)
{
    int64_t dtype = og_attr_int(i->node, "output_datatype", OG_FLOAT), bins, length, rate;
    for (int k = 0; k < 5; k++)
        if (!is_const(i->x[k]) || og_type_elements(&i->x[k]->type) != 1)
            return og_infer_error(i, "input %d must be a constant number", k);
    if (!need_int(i, 0, "num_mel_bins", &bins) || !need_int(i, 1, "dft_length", &length) ||
        !need_int(i, 2, "sample_rate", &rate))
        return false;
    double low = og_value_double(i->x[3], 0), high = og_value_double(i->x[4], 0);
    if (bins < 1 || bins > 1 << 20 || length < 1 || length > 1 << 24 || rate < 1 ||
        !(low >= 0 && high > low && high <= (double)rate / 2))
        return og_infer_error(
            i, "%" PRId64 " bins from %g to %g Hz do not fit %" PRId64 " points at %" PRId64 " Hz",
            bins, low, high, length, rate);
    if (dtype <= OG_UNDEFINED || dtype >= OG_DTYPE_COUNT)
        return og_infer_error(i, "attribute output_datatype is %" PRId64, dtype);
    i->y[0] = (og_type){(og_dtype)dtype, 2, {length / 2 + 1, bins}};
    return true;
}

/* Triangles whose corners are evenly spaced in mel = 2595 log₁₀(1 + f / 700). */
static void mel_expand(og_expand *e)
{
    double in[5];
    for (int k = 0; k < 5; k++)
        in[k] = og_value_double(og_value_of(e->x[k]), 0);
    int64_t bins = (int64_t)in[0], rows = (int64_t)in[1] / 2 + 1;
    og_type t = {OG_DOUBLE, 2, {rows, bins}};
    double *y = og_arena_array(e->g->arena, (size_t)(rows * bins) + 1, sizeof *y);
    int64_t *corner = og_arena_array(e->g->arena, (size_t)bins + 2, sizeof *corner);
    if (!y || !corner) {
        og_fail_memory(&e->g->error, (size_t)(rows * bins) * sizeof *y, "mel weights");
        return;
    }
    double low = 2595 * log10(1 + in[3] / 700), high = 2595 * log10(1 + in[4] / 700);
    for (int64_t k = 0; k < bins + 2; k++) {
        double mel = low + (high - low) / (double)(bins + 2) * (double)k;
        double hertz = 700 * (pow(10, mel / 2595) - 1);
        corner[k] = (int64_t)floor((in[1] + 1) * hertz / in[2]);
        corner[k] = corner[k] < rows - 1 ? corner[k] : rows - 1;
    }
    for (int64_t b = 0; b < bins; b++) {
        int64_t left = corner[b], middle = corner[b + 1], right = corner[b + 2];
        if (middle == left)
            y[middle * bins + b] = 1;
        for (int64_t j = left; middle > left && j <= middle; j++)
            y[j * bins + b] = (double)(j - left) / (double)(middle - left);
        for (int64_t j = middle; j < right; j++)
            y[j * bins + b] = (double)(right - j) / (double)(right - middle);
    }
    e->y[0] = to_dtype(og_graph_add_const(e->g, "", &t, y),
                       (og_dtype)og_attr_int(e->node, "output_datatype", OG_FLOAT));
}

const og_op og_ops_signal[] = {
    {"HannWindow", NULL, 1, 1, 1, 1, window_infer, .expand = hann_expand, .diff = OG_DIFF_ZERO},
    {"HammingWindow", NULL, 1, 1, 1, 1, window_infer, .expand = hamming_expand,
     .diff = OG_DIFF_ZERO},
    {"BlackmanWindow", NULL, 1, 1, 1, 1, window_infer, .expand = blackman_expand,
     .diff = OG_DIFF_ZERO},
    {"DFT", NULL, 1, 3, 1, 1, dft_infer, .expand = dft_expand, .precision = OG_PRECISION_FLOAT,
     .upgrade = {{20, dft_upgrade_20}}},
    {"STFT", NULL, 2, 4, 1, 1, stft_infer, .expand = stft_expand, .precision = OG_PRECISION_FLOAT},
    {"MelWeightMatrix", NULL, 5, 5, 1, 1, mel_infer, .expand = mel_expand, .diff = OG_DIFF_ZERO},
    {0},
};
