/* One direction of LSTM, GRU and RNN (recurrence.h): the internal ops that fast kernels compute,
 * their definitions step by step, and their gradients.
 *
 * The gradient of a walk is a walk back that gives the gradients of what the gates are made of,
 * dxw [T, B, GH]; those of x, W, r and b follow by products over all steps at once. */
#include "ops/recurrence.h"

#define INTERNAL(name) OG_DOMAIN "::" name

int og__cell_gates(og__cell_kind kind)
{
    return kind == OG__LSTM ? 4 : kind == OG__GRU ? 3 : 1;
}

static bool acts_as(const og__activation *f, const char *name)
{
    return strcmp(f->name, name) == 0;
}

bool og__cell_is_usual(const og__cell *c)
{
    if (c->clip > 0 || c->input_forget || c->reset_before || Has(c->peepholes))
        return false;
    if (c->kind == OG__RNN)
        return acts_as(&c->f[0], "Tanh") || acts_as(&c->f[0], "Relu");
    return acts_as(&c->f[0], "Sigmoid") && acts_as(&c->f[1], "Tanh") &&
           (c->kind == OG__GRU || acts_as(&c->f[2], "Tanh"));
}

/* ---- inference */

/* Input k is [dims…] where it is present. */
static bool need_dims(og_infer *i, int k, const char *what, int rank, const int64_t *dims)
{
    if (!present(i, k))
        return true;
    const og_type *t = &i->x[k]->type;
    og_type want = og_type_make(t->dtype, rank, dims);
    return og_type_equal(t, &want) || og_infer_error(i, "%s (input %d) is %s, expected %s", what, k,
                                                     TypeText(i, t), TypeText(i, &want));
}

/* Is it one of the ops of mixed precision? They read x, w and r in half and have dxw and dhr so;
 * all else is float32. */
static bool is_wide(const og_node *n)
{
    return strncmp(n->op->name, "Wide", 4) == 0;
}

/* x, w, r, b, lens, h0[, c0] → y, h[, c][, gates[, cells]] */
static bool direction_infer(og_infer *i, og__cell_kind kind)
{
    const og_type *x = &i->x[0]->type, *w = &i->x[1]->type;
    if (!need_float(i, 0) || !need_rank(i, 0, "x", 3) || !need_rank(i, 1, "w", 2) ||
        !need_same(i, 0, 1) || !need_same(i, 0, 2))
        return false;
    int64_t T = x->dims[0], B = x->dims[1], GH = w->dims[0], H = GH / og__cell_gates(kind);
    int64_t want[] = {GH, x->dims[2]}, r[] = {GH, H}, b[] = {2 * GH}, state[] = {B, H};
    if (!need_dims(i, 1, "w", 2, want) || !need_dims(i, 2, "r", 2, r) ||
        !need_dims(i, 3, "b", 1, b) || !need_dims(i, 4, "sequence_lens", 1, &B) ||
        !need_dims(i, 5, "h0", 2, state) || !need_dims(i, 6, "c0", 2, state))
        return false;
    og_dtype dtype = is_wide(i->node) ? OG_FLOAT : x->dtype;
    og_type y = og_type_make(dtype, 3, ((int64_t[]){T, B, H}));
    og_type h = og_type_make(dtype, 2, state);
    og_type saved = og_type_make(dtype, 3, ((int64_t[]){T, B, 4 * H}));
    og_type types[5] = {y, h, kind == OG__LSTM ? h : saved, saved, y};
    memcpy(i->y, types, sizeof(og_type) * (size_t)i->ny);
    return true;
}

static bool lstm_infer(og_infer *i)
{
    return direction_infer(i, OG__LSTM);
}

static bool gru_infer(og_infer *i)
{
    return direction_infer(i, OG__GRU);
}

static bool rnn_infer(og_infer *i)
{
    return direction_infer(i, OG__RNN);
}

/* r, gates, cells, dy, dh, dc, lens, c0 → dxw[, dh0, dc0] */
static bool lstm_grad_infer(og_infer *i)
{
    i->y[0] = i->x[1]->type;
    i->y[0].dtype = i->x[0]->type.dtype;
    for (int k = 1; k < i->ny; k++)
        i->y[k] = og_type_make(i->x[1]->type.dtype, 2, i->x[2]->type.dims + 1);
    return true;
}

/* r, gates, y, dy, dh, lens, h0 → dxw, dhr[, dh0] */
static bool gru_grad_infer(og_infer *i)
{
    const og_type *y = &i->x[2]->type;
    i->y[0] = *y;
    i->y[0].dtype = i->x[0]->type.dtype;
    i->y[0].dims[2] = 3 * y->dims[2];
    i->y[1] = i->y[0];
    if (i->ny > 2)
        i->y[2] = og_type_make(y->dtype, 2, y->dims + 1);
    return true;
}

/* r, y, dy, dh, lens → dxw[, dh0] */
static bool rnn_grad_infer(og_infer *i)
{
    const og_type *y = &i->x[1]->type;
    i->y[0] = *y;
    i->y[0].dtype = i->x[0]->type.dtype;
    if (i->ny > 1)
        i->y[1] = og_type_make(y->dtype, 2, y->dims + 1);
    return true;
}

/* ---- parts and wholes */

og_val og__stack(int64_t n, const og_val *parts)
{
    og_val joined[64];
    while (n > 64) { /* few enough inputs for every reader of graphs */
        og_graph *g = parts[0].g;
        int64_t groups = (n + 63) / 64;
        og_val *next = og_arena_array(g->arena, (size_t)groups, sizeof *next);
        if (!next) {
            og_fail_memory(&g->error, (size_t)groups * sizeof *next, "a recurrence");
            return OG_NONE;
        }
        for (int64_t k = 0; k < groups; k++)
            next[k] = og__stack(k + 1 < groups ? 64 : n - 64 * k, parts + 64 * k);
        parts = next;
        n = groups;
    }
    for (int64_t k = 0; k < n; k++)
        joined[k] = parts[k];
    return n == 1 ? parts[0]
                  : og_ops(OG_HERE, "Concat", 1, (og_vals){(int)n, joined},
                           (og_attr[]){I("axis", 0), {0}})
                        .y[0];
}

/* x[t]: [B, n] */
static og_val step_of(og_val x, int64_t t)
{
    return Reshape(Slice(x, 0, t, 1), 2, ((int64_t[]){Dim(x, 1), Dim(x, 2)}));
}

/* x[first … first + n - 1] as a matrix, [nB, columns] */
static og_val steps_as_rows(og_val x, int64_t first, int64_t n)
{
    og_val part = n == Dim(x, 0) ? x : Slice(x, 0, first, n);
    return Reshape(part, 2, ((int64_t[]){n * Dim(x, 1), Dim(x, 2)}));
}

/* Columns of gate k. */
static og_val gate_of(og_val a, int k, int64_t H)
{
    return Slice(a, 1, k * H, H);
}

/* A walk over the steps: what stays the same, and where results go. */
typedef struct walk {
    og_graph *g;
    int64_t T, B, H;
    bool reverse;
    og_val lens;               /* int64 [B, 1], or absent */
    og_val *y, *gates, *cells; /* by step: [1, B, n] */
} walk;

static bool walk_begin(walk *w, og_val like, int64_t H, og_val lens, bool reverse)
{
    *w = (walk){.g = like.g, .H = H, .reverse = reverse};
    if (!Has(like) || like.g->error.status != OG_OK)
        return false;
    w->T = Dim(like, 0);
    w->B = Dim(like, 1);
    if (Has(lens))
        w->lens = Reshape(Cast(lens, OG_INT64), 2, ((int64_t[]){w->B, 1}));
    size_t n = (size_t)w->T + 1;
    w->y = og_arena_array(w->g->arena, n, sizeof(og_val));
    w->gates = og_arena_array(w->g->arena, n, sizeof(og_val));
    w->cells = og_arena_array(w->g->arena, n, sizeof(og_val));
    if (!w->y || !w->gates || !w->cells)
        og_fail_memory(&w->g->error, n * sizeof(og_val), "a recurrence");
    return w->y && w->gates && w->cells;
}

/* Step number k of the walk is time … */
static int64_t time_of(const walk *w, int64_t k)
{
    return w->reverse ? w->T - 1 - k : k;
}

/* `running` where step t lies within the sequence, `ended` after its end. */
static og_val within(const walk *w, int64_t t, og_val running, og_val ended)
{
    return Has(w->lens) ? Where(Greater(w->lens, og_const_int(w->g, t)), running, ended) : running;
}

static og_val as_step(og_val x)
{
    return Reshape(x, 3, ((int64_t[]){1, Dim(x, 0), Dim(x, 1)}));
}

static og_val zeros(const walk *w, og_val like, int64_t n)
{
    og_type t = og_type_make(DType(like), 2, ((int64_t[]){w->B, n}));
    return og_full(w->g, &t, 0);
}

/* ---- the definition, forward */

static og_val clipped(const og__cell *c, og_val x)
{
    return c->clip > 0 ? Max(Min(x, Scalar(x, c->clip)), Scalar(x, -c->clip)) : x;
}

/* f[which](x). What the gates' activations get is clipped; the cell state, which LSTM's third gets,
 * is not: the engines that run these models read the standard that way. */
static og_val activate(const og__cell *c, int which, og_val x)
{
    const og__activation *f = &c->f[which];
    x = which < 2 ? clipped(c, x) : x;
    if (acts_as(f, "Tanh"))
        return Tanh(x);
    if (acts_as(f, "Sigmoid"))
        return Sigmoid(x);
    if (acts_as(f, "Affine"))
        return Add(Mul(x, Scalar(x, f->alpha)), Scalar(x, f->beta));
    if (acts_as(f, "ScaledTanh"))
        return Mul(Tanh(Mul(x, Scalar(x, f->beta))), Scalar(x, f->alpha));
    if (acts_as(f, "HardSigmoid"))
        return Op("HardSigmoid", In(x), F("alpha", f->alpha), F("beta", f->beta));
    if (acts_as(f, "LeakyRelu") || acts_as(f, "ThresholdedRelu") || acts_as(f, "Elu"))
        return Op(f->name, In(x), F("alpha", f->alpha));
    return Op(f->name, In(x)); /* Relu, Softsign, Softplus */
}

/* Operands of every step: rt [H, GH], the two biases or none */
typedef struct weights {
    og_val rt, wb, rb;
} weights;

static weights weights_of(const og__direction *d)
{
    weights w = {.rt = SwapLast(d->r)};
    int64_t GH = Dim(d->r, 0);
    if (Has(d->b)) {
        w.wb = Slice(d->b, 0, 0, GH);
        w.rb = Slice(d->b, 0, GH, GH);
    }
    return w;
}

static og_val plus(og_val a, og_val b)
{
    return Has(b) ? Add(a, b) : a;
}

/* i = f(a_i + P_i ⊙ c),  f = f(a_f + P_f ⊙ c),  c' = f ⊙ c + i ⊙ g(a_c),
 * o = f(a_o + P_o ⊙ c'),  h' = o ⊙ h(c')   with a = xw + b_w + h rᵀ + b_r
 * (Hochreiter and Schmidhuber 1997; Gers et al. 2000; ONNX's LSTM) */
static void lstm_step(const og__cell *c, walk *w, int64_t t, og_val a, og_val *h, og_val *cell)
{
    int64_t H = w->H;
    og_val peep[3] = {OG_NONE, OG_NONE, OG_NONE}; /* i o f */
    for (int k = 0; k < 3 && Has(c->peepholes); k++)
        peep[k] = Slice(c->peepholes, 0, k * H, H);
    og_val ai = gate_of(a, 0, H), ao = gate_of(a, 1, H), af = gate_of(a, 2, H);
    if (Has(peep[0])) {
        ai = Add(ai, Mul(peep[0], *cell));
        af = Add(af, Mul(peep[2], *cell));
    }
    og_val i = activate(c, 0, ai);
    og_val f = c->input_forget ? Sub(One(i), i) : activate(c, 0, af);
    og_val g = activate(c, 1, gate_of(a, 3, H));
    og_val next = Add(Mul(f, *cell), Mul(i, g));
    if (Has(peep[1]))
        ao = Add(ao, Mul(peep[1], next));
    og_val o = activate(c, 0, ao), out = Mul(o, activate(c, 2, next));
    og_val gates = Op("Concat", In(i, o, f, g), I("axis", 1));
    *cell = within(w, t, next, *cell);
    *h = within(w, t, out, *h);
    w->y[t] = as_step(within(w, t, out, zeros(w, out, H)));
    w->gates[t] = as_step(within(w, t, gates, zeros(w, gates, 4 * H)));
    w->cells[t] = as_step(*cell);
}

/* z = f(a_z),  r = f(a_r),  h' = (1 - z) ⊙ n + z ⊙ h   with a = xw + b_w + h rᵀ + b_r and
 * n = g(xw_h + b_wh + r ⊙ (h r_hᵀ + b_rh)), or g(xw_h + b_wh + (r ⊙ h) r_hᵀ + b_rh) where the reset
 * comes before the product (Cho et al. 2014; ONNX's GRU) */
static void gru_step(const og__cell *c, walk *w, int64_t t, og_val xw, og_val hr, const weights *k,
                     og_val *h)
{
    int64_t H = w->H;
    og_val z = activate(c, 0, Add(gate_of(xw, 0, H), gate_of(hr, 0, H)));
    og_val r = activate(c, 0, Add(gate_of(xw, 1, H), gate_of(hr, 1, H)));
    og_val q = gate_of(hr, 2, H), reset;
    if (c->reset_before)
        reset = plus(MatMul(Mul(r, *h), gate_of(k->rt, 2, H)),
                     Has(k->rb) ? Slice(k->rb, 0, 2 * H, H) : OG_NONE);
    else
        reset = Mul(r, q);
    og_val n = activate(c, 1, Add(gate_of(xw, 2, H), reset));
    og_val out = Add(Mul(Sub(One(z), z), n), Mul(z, *h));
    og_val gates = Op("Concat", In(z, r, n, q), I("axis", 1));
    *h = within(w, t, out, *h);
    w->y[t] = as_step(within(w, t, out, zeros(w, out, H)));
    w->gates[t] = as_step(within(w, t, gates, zeros(w, gates, 4 * H)));
}

/* h' = f(xw + b_w + h rᵀ + b_r) */
static void rnn_step(const og__cell *c, walk *w, int64_t t, og_val a, og_val *h)
{
    og_val out = activate(c, 0, a);
    *h = within(w, t, out, *h);
    w->y[t] = as_step(within(w, t, out, zeros(w, out, w->H)));
}

og__states og__recurrence_unroll(const og__cell *c, const og__direction *d)
{
    walk w;
    og__states s = {.y = OG_NONE, .h = OG_NONE, .c = OG_NONE, .gates = OG_NONE, .cells = OG_NONE};
    if (!walk_begin(&w, d->x, Dim(d->r, 1), d->lens, d->reverse))
        return s;
    weights k = weights_of(d);
    og_val xw = plus(MatMul(steps_as_rows(d->x, 0, w.T), SwapLast(d->w)), k.wb);
    xw = Reshape(xw, 3, ((int64_t[]){w.T, w.B, Dim(d->w, 0)}));
    s.h = Has(d->h0) ? d->h0 : zeros(&w, xw, w.H);
    s.c = Has(d->c0) ? d->c0 : zeros(&w, xw, w.H);
    for (int64_t i = 0; i < w.T && w.g->error.status == OG_OK; i++) {
        int64_t t = time_of(&w, i);
        og_val x = step_of(xw, t), hr = plus(MatMul(s.h, k.rt), k.rb);
        if (c->kind == OG__LSTM)
            lstm_step(c, &w, t, Add(x, hr), &s.h, &s.c);
        else if (c->kind == OG__GRU)
            gru_step(c, &w, t, x, hr, &k, &s.h);
        else
            rnn_step(c, &w, t, Add(x, hr), &s.h);
    }
    s.y = og__stack(w.T, w.y);
    if (c->kind != OG__RNN && og__cell_is_usual(c))
        s.gates = og__stack(w.T, w.gates);
    if (c->kind == OG__LSTM)
        s.cells = og__stack(w.T, w.cells);
    return s;
}

/* ---- the internal ops */

og__states og__recurrence(const og__cell *c, const og__direction *d)
{
    og_attr reverse = I("reverse", d->reverse), none = {0};
    bool relu = c->kind == OG__RNN && acts_as(&c->f[0], "Relu");
    og_vals in = In(d->x, d->w, d->r, d->b, d->lens, d->h0, d->c0);
    og_outs o;
    if (c->kind == OG__LSTM) {
        o = Ops(INTERNAL("LSTMDirection"), 3, in, reverse);
        return (og__states){.y = o.y[0], .h = o.y[1], .c = o.y[2]};
    }
    in.n = 6;
    if (c->kind == OG__GRU)
        o = Ops(INTERNAL("GRUDirection"), 2, in, reverse);
    else
        o = Ops(INTERNAL("RNNDirection"), 2, in, reverse, relu ? S("activation", "Relu") : none);
    return (og__states){.y = o.y[0], .h = o.y[1], .c = OG_NONE};
}

static og_val optional(int n, const og_val *x, int k)
{
    return k < n ? x[k] : OG_NONE;
}

static og_val otherwise(og_val v, og_val fallback)
{
    return Has(v) ? v : fallback;
}

static bool is_reverse(const og_node *n)
{
    return og_attr_int(n, "reverse", 0) != 0;
}

static og_val in_float(const og_node *n, og_val x)
{
    return is_wide(n) ? Cast(x, OG_FLOAT) : x;
}

static og_val in_type_of(og_val x, og_val like)
{
    return DType(x) == DType(like) ? x : Cast(x, DType(like));
}

static og__direction direction_of(const og_node *n, int nx, const og_val *x)
{
    return (og__direction){.x = x[0],
                           .w = x[1],
                           .r = x[2],
                           .b = optional(nx, x, 3),
                           .lens = optional(nx, x, 4),
                           .h0 = optional(nx, x, 5),
                           .c0 = optional(nx, x, 6),
                           .reverse = is_reverse(n)};
}

static og__states expand_direction(og_expand *e, og__cell_kind kind)
{
    og__direction d = direction_of(e->node, e->nx, e->x);
    d.x = in_float(e->node, d.x);
    d.w = in_float(e->node, d.w);
    d.r = in_float(e->node, d.r);
    og__cell c = {.kind = kind, .f = {{"Sigmoid"}, {"Tanh"}, {"Tanh"}}, .peepholes = OG_NONE};
    if (kind == OG__RNN)
        c.f[0].name = og_attr_string(e->node, "activation", "Tanh");
    return og__recurrence_unroll(&c, &d);
}

static void lstm_expand(og_expand *e)
{
    og__states s = expand_direction(e, OG__LSTM);
    og_val outputs[] = {s.y, s.h, s.c, s.gates, s.cells};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

static void gru_expand(og_expand *e)
{
    og__states s = expand_direction(e, OG__GRU);
    og_val outputs[] = {s.y, s.h, s.gates};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

static void rnn_expand(og_expand *e)
{
    og__states s = expand_direction(e, OG__RNN);
    og_val outputs[] = {s.y, s.h};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* ---- the definition, backward */

/* dh of step t: what comes through y and from the next step. */
static og_val arriving(og_val dy, int64_t t, og_val dh)
{
    return Has(dy) ? Add(step_of(dy, t), dh) : dh;
}

/* s (1 - s): the slope of the logistic function at s */
static og_val logistic_slope(og_val s)
{
    return Mul(s, Sub(One(s), s));
}

/* (1 - y)(1 + y): the slope of tanh at y, with less cancellation than 1 - y² */
static og_val tanh_slope(og_val y)
{
    return Mul(Sub(One(y), y), Add(One(y), y));
}

/* From a step's gradient of the gates, da [B, n], to the state before: dh' = da r + rest, or, after
 * a sequence's end, dh itself; da is 0 there. */
static og_val leave(walk *w, int64_t t, og_val da, og_val r, og_val rest, og_val *dh)
{
    og_val before = MatMul(da, r);
    *dh = within(w, t, plus(before, rest), *dh);
    return as_step(within(w, t, da, zeros(w, da, Dim(da, 1))));
}

/* dc = dc' + dh o (1 - tanh² c),  di = dc g,  df = dc c₋,  dg = dc i,  do = dh tanh c,  and each
 * times the slope of its activation; dc₋ = dc f */
static void lstm_grad_expand(og_expand *e)
{
    og_val r = in_float(e->node, e->x[0]), gates = e->x[1], cells = e->x[2],
           dy = optional(e->nx, e->x, 3), c0 = optional(e->nx, e->x, 7);
    walk w;
    if (!walk_begin(&w, gates, Dim(r, 1), optional(e->nx, e->x, 6), is_reverse(e->node)))
        return;
    int64_t H = w.H;
    og_val none = zeros(&w, gates, H);
    og_val carry = otherwise(optional(e->nx, e->x, 4), none);
    og_val dc_carry = otherwise(optional(e->nx, e->x, 5), none);
    for (int64_t k = w.T - 1; k >= 0 && w.g->error.status == OG_OK; k--) {
        int64_t t = time_of(&w, k);
        og_val a = step_of(gates, t), c = step_of(cells, t);
        og_val before = k > 0 ? step_of(cells, time_of(&w, k - 1)) : otherwise(c0, none);
        og_val i = gate_of(a, 0, H), o = gate_of(a, 1, H), f = gate_of(a, 2, H),
               g = gate_of(a, 3, H), tanh_c = Tanh(c);
        og_val dh = arriving(dy, t, carry);
        og_val dc = Add(dc_carry, Mul(Mul(dh, o), tanh_slope(tanh_c)));
        og_val di = Mul(Mul(dc, g), logistic_slope(i));
        og_val d_o = Mul(Mul(dh, tanh_c), logistic_slope(o));
        og_val df = Mul(Mul(dc, before), logistic_slope(f));
        og_val dg = Mul(Mul(dc, i), tanh_slope(g));
        og_val da = Op("Concat", In(di, d_o, df, dg), I("axis", 1));
        dc_carry = within(&w, t, Mul(dc, f), dc_carry);
        w.y[t] = leave(&w, t, da, r, OG_NONE, &carry);
    }
    og_val outputs[] = {in_type_of(og__stack(w.T, w.y), e->x[0]), carry, dc_carry};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* The state that step k of the walk began with: y of the step before, h0 where the sequence began.
 */
static og_val state_before(const walk *w, og_val y, og_val h0, int64_t k)
{
    og_val first = Has(h0) ? h0 : zeros(w, y, w->H);
    if (k == 0)
        return first;
    int64_t t = time_of(w, k - 1);
    return w->reverse ? within(w, t, step_of(y, t), first) : step_of(y, t);
}

/* dn = dh (1 - z) (1 - n²),  dz = dh (h₋ - n) z (1 - z),  dr = dn q r (1 - r),  dq = dn r;
 * dxw = (dz, dr, dn), what h₋ rᵀ gets: dhr = (dz, dr, dq);  dh₋ = dhr r + dh z */
static void gru_grad_expand(og_expand *e)
{
    og_val weight = in_float(e->node, e->x[0]), gates = e->x[1], y = e->x[2],
           dy = optional(e->nx, e->x, 3), h0 = optional(e->nx, e->x, 6);
    walk w;
    if (!walk_begin(&w, gates, Dim(weight, 1), optional(e->nx, e->x, 5), is_reverse(e->node)))
        return;
    int64_t H = w.H;
    og_val carry = otherwise(optional(e->nx, e->x, 4), zeros(&w, gates, H));
    for (int64_t k = w.T - 1; k >= 0 && w.g->error.status == OG_OK; k--) {
        int64_t t = time_of(&w, k);
        og_val a = step_of(gates, t), before = state_before(&w, y, h0, k);
        og_val z = gate_of(a, 0, H), r = gate_of(a, 1, H), n = gate_of(a, 2, H),
               q = gate_of(a, 3, H);
        og_val dh = arriving(dy, t, carry);
        og_val dn = Mul(Mul(dh, Sub(One(z), z)), tanh_slope(n));
        og_val dz = Mul(Mul(dh, Sub(before, n)), logistic_slope(z));
        og_val dr = Mul(Mul(dn, q), logistic_slope(r));
        og_val dx = Op("Concat", In(dz, dr, dn), I("axis", 1));
        og_val dhr = Op("Concat", In(dz, dr, Mul(dn, r)), I("axis", 1));
        w.y[t] = as_step(within(&w, t, dx, zeros(&w, dx, 3 * H)));
        w.gates[t] = leave(&w, t, dhr, weight, Mul(dh, z), &carry);
    }
    og_val outputs[] = {in_type_of(og__stack(w.T, w.y), e->x[0]),
                        in_type_of(og__stack(w.T, w.gates), e->x[0]), carry};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* da = dh (1 - y²), or dh where y > 0 */
static void rnn_grad_expand(og_expand *e)
{
    og_val r = in_float(e->node, e->x[0]), y = e->x[1], dy = optional(e->nx, e->x, 2);
    bool relu = strcmp(og_attr_string(e->node, "activation", "Tanh"), "Relu") == 0;
    walk w;
    if (!walk_begin(&w, y, Dim(r, 1), optional(e->nx, e->x, 4), is_reverse(e->node)))
        return;
    og_val carry = otherwise(optional(e->nx, e->x, 3), zeros(&w, y, w.H));
    for (int64_t k = w.T - 1; k >= 0 && w.g->error.status == OG_OK; k--) {
        int64_t t = time_of(&w, k);
        og_val h = step_of(y, t), dh = arriving(dy, t, carry);
        og_val da = relu ? Where(Greater(h, Zero(h)), dh, Zero(dh)) : Mul(dh, tanh_slope(h));
        w.y[t] = leave(&w, t, da, r, OG_NONE, &carry);
    }
    og_val outputs[] = {in_type_of(og__stack(w.T, w.y), e->x[0]), carry};
    for (int k = 0; k < e->ny; k++)
        e->y[k] = outputs[k];
}

/* ---- gradients */

/* What flows into output k: none where that is nothing. */
static og_val flowing(const og_grad *d, int k)
{
    og_val dy = optional(d->ny, d->dy, k);
    return is_zeros(dy) ? OG_NONE : dy;
}

/* [T, B, H]: the states that the steps of a walk in reverse began with: y of the step after in
 * time, h0 where that is past the sequence's end. */
static og_val reverse_states_before(const og__direction *s, og_val y, og_val h0)
{
    int64_t T = Dim(y, 0), B = Dim(y, 1), H = Dim(y, 2);
    og_type last = og_type_make(DType(y), 3, ((int64_t[]){1, B, H}));
    og_val after = og_full(y.g, &last, 0); /* replaced by h0 */
    if (T > 1)
        after = Op("Concat", In(Slice(y, 0, 1, T - 1), after), I("axis", 0));
    og_val lens = Reshape(Cast(s->lens, OG_INT64), 3, ((int64_t[]){1, B, 1}));
    og_val next = Add(arange(y.g, T, 2), og_const_int(y.g, 1)); /* [T, 1, 1] */
    return Where(Less(next, lens), after, h0);
}

/* dr = Σ dhr_tᵀ h_t₋ over the steps, h_t₋ the state that step t began with: y of the step before
 * it, and h0. Where sequences end early dhr is 0; walked in reverse, they begin there with h0. */
static og_val weights_grad(const og_grad *d, const og__direction *s, og_val dhr)
{
    og_val y = in_type_of(d->y[0], dhr), h0 = Has(s->h0) ? in_type_of(s->h0, dhr) : OG_NONE;
    int64_t T = Dim(y, 0), first = s->reverse ? T - 1 : 0;
    if (s->reverse && Has(s->lens) && Has(s->h0))
        return MatMul(SwapLast(steps_as_rows(dhr, 0, T)),
                      steps_as_rows(reverse_states_before(s, y, h0), 0, T));
    og_val dr = OG_NONE;
    if (T > 1)
        dr = MatMul(SwapLast(steps_as_rows(dhr, s->reverse ? 0 : 1, T - 1)),
                    steps_as_rows(y, s->reverse ? 1 : 0, T - 1));
    if (Has(s->h0)) {
        og_val begun = MatMul(SwapLast(steps_as_rows(dhr, first, 1)), h0);
        dr = Has(dr) ? Add(dr, begun) : begun;
    }
    return Has(dr) ? dr : zeros_like(s->r);
}

/* dx, dw, dr and db from the walk back. dxw: what x wᵀ gets; dhr: what h rᵀ gets, the same but in a
 * GRU. */
static void shared_grads(og_grad *d, const og__direction *s, og_val dxw, og_val dhr)
{
    const int over[] = {0, 1};
    int64_t T = Dim(dxw, 0);
    og_val rows = steps_as_rows(dxw, 0, T);
    if (d->need[0])
        d->dx[0] = ReshapeLike(MatMul(rows, s->w), s->x);
    if (d->need[1])
        d->dx[1] = MatMul(SwapLast(rows), steps_as_rows(s->x, 0, T));
    if (d->need[2])
        d->dx[2] = weights_grad(d, s, dhr);
    if (Has(s->b) && d->need[3]) {
        og_val dwb = Reduce("ReduceSum", in_type_of(dxw, s->b), 2, over, false), drb = dwb;
        if (dhr.id != dxw.id)
            drb = Reduce("ReduceSum", in_type_of(dhr, s->b), 2, over, false);
        d->dx[3] = Op("Concat", In(dwb, drb), I("axis", 0));
    }
}

static bool needs(const og_grad *d, int k)
{
    return k < d->nx && d->need[k];
}

static void lstm_grad(og_grad *d)
{
    og__direction s = direction_of(d->node, d->nx, d->x);
    bool states = needs(d, 5) || needs(d, 6);
    og_outs o =
        Ops(is_wide(d->node) ? INTERNAL("WideLSTMDirectionGrad") : INTERNAL("LSTMDirectionGrad"),
            states ? 3 : 1,
            In(s.r, d->y[3], d->y[4], flowing(d, 0), flowing(d, 1), flowing(d, 2), s.lens, s.c0),
            I("reverse", s.reverse));
    shared_grads(d, &s, o.y[0], o.y[0]);
    if (states) {
        if (needs(d, 5))
            d->dx[5] = o.y[1];
        if (needs(d, 6))
            d->dx[6] = o.y[2];
    }
}

static void gru_grad(og_grad *d)
{
    og__direction s = direction_of(d->node, d->nx, d->x);
    og_outs o = Ops(
        is_wide(d->node) ? INTERNAL("WideGRUDirectionGrad") : INTERNAL("GRUDirectionGrad"),
        needs(d, 5) ? 3 : 2, In(s.r, d->y[2], d->y[0], flowing(d, 0), flowing(d, 1), s.lens, s.h0),
        I("reverse", s.reverse));
    shared_grads(d, &s, o.y[0], o.y[1]);
    if (needs(d, 5))
        d->dx[5] = o.y[2];
}

static void rnn_grad(og_grad *d)
{
    og__direction s = direction_of(d->node, d->nx, d->x);
    og_outs o = Ops(
        is_wide(d->node) ? INTERNAL("WideRNNDirectionGrad") : INTERNAL("RNNDirectionGrad"),
        needs(d, 5) ? 2 : 1, In(s.r, d->y[0], flowing(d, 0), flowing(d, 1), s.lens),
        I("reverse", s.reverse), S("activation", og_attr_string(d->node, "activation", "Tanh")));
    shared_grads(d, &s, o.y[0], o.y[0]);
    if (needs(d, 5))
        d->dx[5] = o.y[1];
}

static double direction_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    (void)n, (void)y;
    const og_type *steps = &x[0]->type, *w = &x[1]->type;
    double rows = (double)steps->dims[0] * (double)steps->dims[1];
    return 2 * rows * (double)w->dims[0] * (double)(w->dims[1] + x[2]->type.dims[1]);
}

/* The walk back multiplies as much as the walk did. */
static double grad_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    (void)n;
    return 2.0 * (double)og_type_elements(&y[0]) * (double)x[0]->type.dims[1];
}

/* The Wide ones are those of mixed precision. */
#define FLOAT .precision = OG_PRECISION_FLOAT
#define DIRECTION(name, in, out, unit, kept)                                                       \
    {name "Direction",                                                                             \
     OG_DOMAIN,                                                                                    \
     3,                                                                                            \
     in,                                                                                           \
     1,                                                                                            \
     out,                                                                                          \
     unit##_infer,                                                                                 \
     .expand = unit##_expand,                                                                      \
     .grad = unit##_grad,                                                                          \
     .flops = direction_flops,                                                                     \
     .saved = kept,                                                                                \
     FLOAT,                                                                                        \
     .wide = "Wide" name "Direction",                                                              \
     .whole = name "Whole"},                                                                       \
    {                                                                                              \
        "Wide" name "Direction", OG_DOMAIN, 3, in, 1, out, unit##_infer,                           \
            .expand = unit##_expand, .grad = unit##_grad, .flops = direction_flops, .saved = kept, \
            FLOAT, .half_in = 7, .whole = "Wide" name "Whole"                                      \
    }
#define BACK(name, least, in, least_out, out, unit)                                           \
    {name "DirectionGrad",                                                                    \
     OG_DOMAIN,                                                                               \
     least,                                                                                   \
     in,                                                                                      \
     least_out,                                                                               \
     out,                                                                                     \
     unit##_grad_infer,                                                                       \
     .expand = unit##_grad_expand,                                                            \
     .flops = grad_flops,                                                                     \
     FLOAT},                                                                                  \
    {                                                                                         \
        "Wide" name "DirectionGrad", OG_DOMAIN, least, in, least_out, out, unit##_grad_infer, \
            .expand = unit##_grad_expand, .flops = grad_flops, FLOAT                          \
    }

const og_op og_ops_recurrence[] = {
    DIRECTION("LSTM", 7, 5, lstm, 5),
    BACK("LSTM", 3, 8, 1, 3, lstm),
    DIRECTION("GRU", 6, 3, gru, 3),
    BACK("GRU", 3, 7, 2, 3, gru),
    DIRECTION("RNN", 6, 2, rnn, 1),
    BACK("RNN", 2, 5, 1, 2, rnn),
    {0},
};
