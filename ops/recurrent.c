/* LSTM, GRU and RNN as ONNX has them: attributes, two directions, two layouts. Each direction is an
 * internal op where its cell is a usual one, and unrolled step by step where it is not
 * (recurrence.h).
 *
 * x [T, B, I], W [D, GH, I], R [D, GH, H], B [D, 2GH], sequence_lens [B], initial_h [D, B, H], for
 * LSTM initial_c [D, B, H] and P [D, 3H] → Y [T, D, B, H], Y_h [D, B, H], for LSTM Y_c. layout 1:
 * x [B, T, I], states [B, D, H], Y [B, T, D, H]. */
#include <stdio.h>
#include <strings.h>

#include "ops/recurrence.h"

enum { X, W, R, BIAS, LENS, H0, C0, PEEPHOLES }; /* inputs */

/* ---- activations */

/* alpha, beta: which an activation has; the numbers are what they are where the node gives none. */
static const struct {
    og__activation f;
    bool alpha, beta;
} activations[] = {
    {{"Sigmoid", 0, 0}, false, false},     {{"Tanh", 0, 0}, false, false},
    {{"Relu", 0, 0}, false, false},        {{"Affine", 1, 0}, true, true},
    {{"LeakyRelu", 0.01, 0}, true, false}, {{"ThresholdedRelu", 1, 0}, true, false},
    {{"ScaledTanh", 1, 1}, true, true},    {{"HardSigmoid", 0.2, 0.5}, true, true},
    {{"Elu", 1, 0}, true, false},          {{"Softsign", 0, 0}, false, false},
    {{"Softplus", 0, 0}, false, false},
};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };

static int find_activation(const char *name)
{
    for (int k = 0; k < ACTIVATIONS; k++)
        if (strcasecmp(activations[k].f.name, name) == 0)
            return k;
    return -1;
}

/* In one direction. */
static int activation_count(og__cell_kind kind)
{
    return kind == OG__LSTM ? 3 : kind == OG__GRU ? 2 : 1;
}

/* The next number of attribute `name`, of which `*used` are; `fallback` after the last. */
static double next_number(const og_node *n, const char *name, int *used, double fallback)
{
    const og_attr *a = og_node_attr(n, name);
    return a && a->kind == OG_ATTR_FLOATS && *used < a->n ? a->floats[(*used)++] : fallback;
}

/* f[D × activation_count]: activation_alpha and _beta go, in order, to those that have one. */
static void read_activations(const og_node *n, og__cell_kind kind, int directions,
                             og__activation *f)
{
    static const char *const usual[3][3] = {[OG__LSTM] = {"Sigmoid", "Tanh", "Tanh"},
                                            [OG__GRU] = {"Sigmoid", "Tanh"},
                                            [OG__RNN] = {"Tanh"}};
    const og_attr *names = og_node_attr(n, "activations");
    int each = activation_count(kind), alphas = 0, betas = 0;
    for (int k = 0; k < directions * each; k++) {
        const char *name = names && k < names->n ? names->strings[k] : usual[kind][k % each];
        int which = find_activation(name);
        f[k] = activations[which < 0 ? 0 : which].f;
        if (which >= 0 && activations[which].alpha)
            f[k].alpha = next_number(n, "activation_alpha", &alphas, f[k].alpha);
        if (which >= 0 && activations[which].beta)
            f[k].beta = next_number(n, "activation_beta", &betas, f[k].beta);
    }
}

/* ---- inference */

static int direction_count(const og_node *n)
{
    return strcmp(og_attr_string(n, "direction", "forward"), "bidirectional") == 0 ? 2 : 1;
}

static bool batch_first(const og_node *n)
{
    return og_attr_int(n, "layout", 0) != 0;
}

static bool check_activations(og_infer *i, og__cell_kind kind)
{
    const og_attr *a = og_node_attr(i->node, "activations");
    int want = activation_count(kind) * direction_count(i->node);
    if (!a)
        return true;
    if (a->kind != OG_ATTR_STRINGS || a->n != want)
        return og_infer_error(i,
                              "attribute activations has %d entries, expected %d (%d for each "
                              "direction)",
                              a->n, want, activation_count(kind));
    for (int k = 0; k < a->n; k++)
        if (find_activation(a->strings[k]) < 0)
            return og_infer_error(i,
                                  "activation %d is \"%s\", expected Sigmoid, Tanh, Relu, Affine, "
                                  "LeakyRelu, ThresholdedRelu, ScaledTanh, HardSigmoid, Elu, "
                                  "Softsign or Softplus",
                                  k, a->strings[k]);
    return true;
}

static bool check_attributes(og_infer *i, og__cell_kind kind)
{
    const char *direction = og_attr_string(i->node, "direction", "forward");
    int64_t layout = og_attr_int(i->node, "layout", 0);
    double clip = og_attr_float(i->node, "clip", 0);
    if (strcmp(direction, "forward") != 0 && strcmp(direction, "reverse") != 0 &&
        strcmp(direction, "bidirectional") != 0)
        return og_infer_error(i, "direction is \"%s\", expected forward, reverse or bidirectional",
                              direction);
    if (layout != 0 && layout != 1)
        return og_infer_error(i, "layout is %" PRId64 ", expected 0 or 1", layout);
    if (!(clip >= 0))
        return og_infer_error(i, "clip is %g, expected a threshold above 0", clip);
    if (!og_node_attr(i->node, "hidden_size"))
        return og_infer_error(i, "attribute hidden_size is missing (R is %s)",
                              TypeText(i, &i->x[R]->type));
    return check_activations(i, kind);
}

/* Input k, where it is present, is x's element type with these dims. */
static bool need_shape(og_infer *i, int k, const char *what, int rank, const int64_t *dims,
                       const char *why)
{
    if (!present(i, k))
        return true;
    const og_type *t = &i->x[k]->type;
    og_type want = og_type_make(i->x[0]->type.dtype, rank, dims);
    return og_type_equal(t, &want) || og_infer_error(i, "%s (input %d) is %s, expected %s %s", what,
                                                     k, TypeText(i, t), TypeText(i, &want), why);
}

static bool all_zero(const og_value *v)
{
    for (int64_t k = 0, n = og_type_elements(&v->type); k < n; k++)
        if (og_value_double(v, k) != 0)
            return false;
    return true;
}

/* initial_h, initial_c: zeros for a batch that an export baked in are zeros for any batch. */
static bool need_state(og_infer *i, int k, const char *what, const int64_t *dims, int batch_axis)
{
    if (present(i, k) && is_const(i->x[k]) && i->x[k]->type.rank == 3) {
        int64_t freed[3] = {dims[0], dims[1], dims[2]};
        freed[batch_axis] = i->x[k]->type.dims[batch_axis];
        og_type baked = og_type_make(i->x[0]->type.dtype, 3, freed);
        if (og_type_equal(&i->x[k]->type, &baked) && all_zero(i->x[k]))
            return true;
    }
    return need_shape(i, k, what, 3, dims,
                      batch_axis ? "(directions, batch, hidden_size)"
                                 : "(batch, directions, hidden_size; layout 1)");
}

static bool check_lens(og_infer *i, int64_t T, int64_t B)
{
    if (!present(i, LENS))
        return true;
    const og_value *v = i->x[LENS];
    if (!need_dtype(i, LENS, OG_INT32) ||
        !need_vector(i, LENS, "sequence_lens", B, "one for each sequence of the batch"))
        return false;
    for (int64_t k = 0; is_const(v) && k < B; k++)
        if (og_value_double(v, k) < 0 || og_value_double(v, k) > (double)T)
            return og_infer_error(
                i, "sequence_lens [%" PRId64 "] is %g, expected 0 to %" PRId64 " (steps of x)", k,
                og_value_double(v, k), T);
    return true;
}

static bool recurrent_infer(og_infer *i, og__cell_kind kind)
{
    const og_type *x = &i->x[X]->type;
    if (!need_float(i, X) || !need_rank(i, X, "X", 3) || !need_rank(i, W, "W", 3) ||
        !need_rank(i, R, "R", 3) || !check_attributes(i, kind))
        return false;
    bool swapped = batch_first(i->node);
    int64_t T = x->dims[swapped], B = x->dims[!swapped], I = x->dims[2];
    int64_t D = direction_count(i->node), H = og_attr_int(i->node, "hidden_size", 0), GH;
    if (H < 1 || __builtin_mul_overflow(H, (int64_t)2 * og__cell_gates(kind), &GH))
        return og_infer_error(i, "hidden_size is %" PRId64 ", expected 1 or more", H);
    GH /= 2;
    if (T < 1)
        return og_infer_error(i, "X (input 0) is %s: no steps", TypeText(i, x));
    static const char *const gates[] = {"(directions, 4 hidden_size", "(directions, 3 hidden_size",
                                        "(directions, hidden_size"};
    char w_why[64], r_why[64];
    snprintf(w_why, sizeof w_why, "%s, columns of X)", gates[kind]);
    snprintf(r_why, sizeof r_why, "%s, hidden_size)", gates[kind]);
    int64_t w[] = {D, GH, I}, r[] = {D, GH, H}, b[] = {D, 2 * GH}, p[] = {D, 3 * H};
    int64_t state[] = {swapped ? B : D, swapped ? D : B, H};
    if (!need_shape(i, W, "W", 3, w, w_why) || !need_shape(i, R, "R", 3, r, r_why) ||
        !need_shape(i, BIAS, "B", 2, b, "(directions, biases of W, then of R)") ||
        !check_lens(i, T, B) || !need_state(i, H0, "initial_h", state, !swapped) ||
        !need_state(i, C0, "initial_c", state, !swapped) ||
        !need_shape(i, PEEPHOLES, "P", 2, p, "(directions, 3 hidden_size)"))
        return false;
    int64_t y[] = {swapped ? B : T, swapped ? T : D, swapped ? D : B, H};
    for (int k = 0; k < i->ny; k++)
        i->y[k] = k ? og_type_make(x->dtype, 3, state) : og_type_make(x->dtype, 4, y);
    return true;
}

static bool lstm_infer(og_infer *i)
{
    return recurrent_infer(i, OG__LSTM);
}

static bool gru_infer(og_infer *i)
{
    return recurrent_infer(i, OG__GRU);
}

static bool rnn_infer(og_infer *i)
{
    return recurrent_infer(i, OG__RNN);
}

/* ---- definition */

/* 0 throughout, and known to be: exporters write out initial states. */
static bool no_state(og_val v)
{
    const og_value *value = og_value_of(v);
    return is_const(value) ? all_zero(value) : is_zeros(v);
}

/* Sequences that all have every step need no lens. */
static bool all_whole(og_val lens, int64_t T)
{
    const og_value *value = og_value_of(lens);
    for (int64_t k = 0, n = Count(lens); k < n; k++)
        if (!is_const(value) || og_value_double(value, k) != (double)T)
            return false;
    return true;
}

/* Input k in parts, one a direction, each without the axis of directions (the first, or `axis`). */
static void by_direction(const og_expand *e, int k, int axis, int directions, og_val *parts)
{
    og_val v = k < e->nx ? e->x[k] : OG_NONE;
    bool state = k == H0 || k == C0 || k == PEEPHOLES;
    parts[0] = parts[1] = OG_NONE;
    if (!Has(v) || (state && no_state(v)))
        return;
    if (directions == 2) {
        og_outs halves = Ops("Split", 2, In(v), I("axis", axis));
        parts[0] = halves.y[0];
        parts[1] = halves.y[1];
    } else {
        parts[0] = v;
    }
    for (int d = 0; d < directions; d++) {
        int64_t dims[OG_MAX_RANK];
        int rank = 0;
        for (int a = 0; a < Rank(v); a++)
            if (a != axis)
                dims[rank++] = Dim(v, a);
        parts[d] = Reshape(parts[d], rank, dims);
    }
}

/* [n…] of each direction → [n…] with an axis of directions at `axis` */
static og_val over_directions(int directions, const og_val *parts, int axis)
{
    og_val with[2];
    for (int d = 0; d < directions; d++) {
        int64_t dims[OG_MAX_RANK];
        int rank = 0;
        for (int a = 0; a <= Rank(parts[d]); a++)
            dims[rank++] = a == axis ? 1 : Dim(parts[d], a < axis ? a : a - 1);
        with[d] = Reshape(parts[d], rank, dims);
    }
    return directions == 1 ? with[0] : Op("Concat", In(with[0], with[1]), I("axis", axis));
}

/* Each direction by itself */
static void recurrent_expand(og_expand *e, og__cell_kind kind)
{
    og_val x = e->x[X], parts[8][2], y[2], h[2], c[2];
    bool swapped = batch_first(e->node);
    if (swapped)
        x = Transpose(x, ((int[]){1, 0, 2}));
    int D = direction_count(e->node), each = activation_count(kind);
    bool first_reverse = strcmp(og_attr_string(e->node, "direction", "forward"), "reverse") == 0;
    og__activation f[6];
    read_activations(e->node, kind, D, f);
    og_val lens =
        e->nx > LENS && Has(e->x[LENS]) && !all_whole(e->x[LENS], Dim(x, 0)) ? e->x[LENS] : OG_NONE;
    for (int k = W; k <= PEEPHOLES; k++)
        if (k != LENS)
            by_direction(e, k, swapped && (k == H0 || k == C0) ? 1 : 0, D, parts[k]);
    for (int d = 0; d < D; d++) {
        og__cell cell = {.kind = kind,
                         .clip = og_attr_float(e->node, "clip", 0),
                         .input_forget = og_attr_int(e->node, "input_forget", 0) != 0,
                         .reset_before =
                             kind == OG__GRU && !og_attr_int(e->node, "linear_before_reset", 0),
                         .peepholes = kind == OG__LSTM ? parts[PEEPHOLES][d] : OG_NONE};
        memcpy(cell.f, f + d * each, sizeof *f * (size_t)each);
        og__direction s = {.x = x,
                           .w = parts[W][d],
                           .r = parts[R][d],
                           .b = parts[BIAS][d],
                           .lens = lens,
                           .h0 = parts[H0][d],
                           .c0 = kind == OG__LSTM ? parts[C0][d] : OG_NONE,
                           .reverse = d == 1 || first_reverse};
        og__states states =
            og__cell_is_usual(&cell) ? og__recurrence(&cell, &s) : og__recurrence_unroll(&cell, &s);
        y[d] = states.y;
        h[d] = states.h;
        c[d] = states.c;
    }
    e->y[0] = over_directions(D, y, 1);
    if (swapped)
        e->y[0] = Transpose(e->y[0], ((int[]){2, 0, 1, 3}));
    if (e->ny > 1)
        e->y[1] = over_directions(D, h, swapped ? 1 : 0);
    if (e->ny > 2)
        e->y[2] = over_directions(D, c, swapped ? 1 : 0);
}

static void lstm_expand(og_expand *e)
{
    recurrent_expand(e, OG__LSTM);
}

static void gru_expand(og_expand *e)
{
    recurrent_expand(e, OG__GRU);
}

static void rnn_expand(og_expand *e)
{
    recurrent_expand(e, OG__RNN);
}

/* Each direction: T B GH products of length I, and of length H. */
static double recurrent_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    (void)n, (void)y;
    const og_type *w = &x[W]->type, *r = &x[R]->type, *t = &x[X]->type;
    return 2.0 * (double)t->dims[0] * (double)t->dims[1] * (double)w->dims[0] * (double)w->dims[1] *
           (double)(w->dims[2] + r->dims[2]);
}

/* Opset 14 added layout, and layout 0 is what the op was before. */
#define ROW(op, n, outputs, name)                                                               \
    {                                                                                           \
        op, NULL, 3, n, 0, outputs, name##_infer,                                               \
            .expand = name##_expand, .flops = recurrent_flops, .precision = OG_PRECISION_FLOAT, \
    }

const og_op og_ops_recurrent[] = {
    ROW("LSTM", 8, 3, lstm),
    ROW("GRU", 6, 2, gru),
    ROW("RNN", 6, 2, rnn),
    {0},
};
