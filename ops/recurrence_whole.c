/* One direction of LSTM, GRU and RNN for devices whose library has the walk as a whole, and its way
 * back as a whole, too: with x's and the weights' gradients. What the way back reads of the walk is
 * the walk's last output, the reserve: attribute reserve_bytes of bytes in which only the device's
 * kernels find anything. The way back may write there, so that it gives the reserve back as an
 * output of its own, which nobody reads.
 *
 * The definitions do without the reserve: the walk is the Direction op, and the way back is that
 * once more, with its gradient. Where both are expanded, equal nodes merge, and what is left is the
 * graph that the Direction op has. Passes put these ops in (og_op.whole); no model has them. */
#include <stdio.h>

#include "ops/recurrence.h"

/* Inputs and outputs of the way back; the walk's inputs come first. */
enum { X, W, R, BIAS, LENS, H0, C0, Y, DY, DH, DC, RESERVE, INPUTS };
enum { DX, DW, DR, DB, DH0, DC0, SPENT, OUTPUTS };

/* "WideGRUWhole", "WideGRUWholeGrad": the row of WideGRUDirection */
static const og_op *direction_row(const og_node *n)
{
    char name[64];
    int stem = (int)(strstr(n->op->name, "Whole") - n->op->name);
    snprintf(name, sizeof name, "%.*sDirection", stem, n->op->name);
    return og_op_find(OG_DOMAIN, name);
}

/* x, w, r, b, lens, h0[, c0] → y, h[, c], reserve */
static bool whole_infer(og_infer *i)
{
    og_infer walk = *i;
    int64_t bytes = og_attr_int(i->node, "reserve_bytes", 0);
    walk.ny = i->ny - 1;
    if (bytes < 0)
        return og_infer_error(i, "reserve_bytes is %" PRId64 ", expected 0 or more", bytes);
    if (present(i, LENS))
        return og_infer_error(i, "sequence_lens (input %d) is there: sequences are whole", LENS);
    i->y[walk.ny] = og_type_make(OG_UINT8, 1, &bytes);
    return direction_row(i->node)->infer(&walk);
}

/* x, w, r, b, lens, h0, c0, y, dy, dh, dc, reserve → dx, dw, dr, db, dh0, dc0, spent */
static bool whole_grad_infer(og_infer *i)
{
    if (!present(i, Y) || !present(i, RESERVE))
        return og_infer_error(i, "y or the reserve (inputs %d and %d) is absent", Y, RESERVE);
    if (!need_rank(i, X, "x", 3) || !need_rank(i, W, "w", 2) || !need_rank(i, R, "r", 2) ||
        !need_rank(i, Y, "y", 3) || !need_rank(i, RESERVE, "reserve", 1))
        return false;
    const og_type *x = &i->x[X]->type, *w = &i->x[W]->type, *r = &i->x[R]->type,
                  *y = &i->x[Y]->type;
    og_type b = og_type_make(y->dtype, 1, ((int64_t[]){2 * w->dims[0]})),
            state = og_type_make(y->dtype, 2, ((int64_t[]){x->dims[1], r->dims[1]}));
    const og_type types[OUTPUTS] = {*x, *w, *r, b, state, state, i->x[RESERVE]->type};
    memcpy(i->y, types, sizeof types);
    return true;
}

/* The Direction op with all its outputs, so that it is the same one for the walk and the way back.
 */
static og_outs direction(const og_node *n, const og_val *x, int nx)
{
    const og_op *row = direction_row(n);
    const char *activation = og_attr_string(n, "activation", NULL);
    char name[80];
    snprintf(name, sizeof name, "%s::%s", OG_DOMAIN, row->name);
    return Ops(name, row->max_out, ((og_vals){nx, x}), I("reverse", og_attr_int(n, "reverse", 0)),
               activation ? S("activation", activation) : (og_attr){0});
}

static void whole_expand(og_expand *e)
{
    int64_t bytes = og_attr_int(e->node, "reserve_bytes", 0);
    og_type reserve = og_type_make(OG_UINT8, 1, &bytes);
    og_outs walk = direction(e->node, e->x, e->nx);
    for (int k = 0; k + 1 < e->ny; k++)
        e->y[k] = walk.y[k];
    e->y[e->ny - 1] = og_full(e->g, &reserve, 0);
}

static og_val optional(int n, const og_val *x, int k)
{
    return k < n ? x[k] : OG_NONE;
}

static void whole_grad_expand(og_expand *e)
{
    const og_op *row = direction_row(e->node);
    int nx = (unsigned char)row->max_in, states = nx - H0;
    og_outs walk = direction(e->node, e->x, nx);
    if (!Has(walk.y[0]))
        return;
    og_val dy[OG_MAX_OUT], dx[C0 + 1];
    bool need[C0 + 1];
    for (int k = 0; k < row->max_out; k++)
        dy[k] = k <= states ? e->x[DY + k] : OG_NONE;
    for (int k = 0; k < nx; k++) {
        need[k] = Has(e->x[k]);
        dx[k] = OG_NONE;
    }
    og_grad d = {.g = e->g,
                 .node = og_value_of(walk.y[0])->producer,
                 .nx = nx,
                 .ny = row->max_out,
                 .x = e->x,
                 .y = walk.y,
                 .dy = dy,
                 .need = need,
                 .dx = dx};
    row->grad(&d);
    const og_val all[OUTPUTS] = {
        dx[X], dx[W], dx[R], dx[BIAS], dx[H0], nx > C0 ? dx[C0] : OG_NONE, e->x[RESERVE]};
    const int64_t B = Dim(e->x[X], 1), H = Dim(e->x[R], 1), biases = 2 * Dim(e->x[W], 0);
    for (int k = 0; k < e->ny; k++) {
        og_type none = k == DB ? og_type_make(DType(e->x[Y]), 1, &biases)
                               : og_type_make(DType(e->x[Y]), 2, ((int64_t[]){B, H}));
        e->y[k] = Has(all[k]) ? all[k] : og_full(e->g, &none, 0);
    }
}

/* What flows into output k: none where that is nothing. */
static og_val flowing(const og_grad *d, int k)
{
    og_val dy = optional(d->ny, d->dy, k);
    return is_zeros(dy) ? OG_NONE : dy;
}

static void whole_grad(og_grad *d)
{
    int states = d->ny - 2; /* y and the reserve are none */
    og_val in[INPUTS];
    char name[80];
    for (int k = X; k <= C0; k++)
        in[k] = optional(d->nx, d->x, k);
    in[Y] = d->y[0];
    in[DY] = flowing(d, 0);
    in[DH] = flowing(d, 1);
    in[DC] = states > 1 ? flowing(d, 2) : OG_NONE;
    in[RESERVE] = d->y[d->ny - 1];
    snprintf(name, sizeof name, "%s::%sGrad", OG_DOMAIN, d->node->op->name);
    const char *activation = og_attr_string(d->node, "activation", NULL);
    og_outs o = Ops(name, OUTPUTS, ((og_vals){INPUTS, in}),
                    I("reverse", og_attr_int(d->node, "reverse", 0)),
                    activation ? S("activation", activation) : (og_attr){0});
    static const int of[] = {DX, DW, DR, DB, -1, DH0, DC0}; /* by input */
    for (int k = 0; k < d->nx; k++)
        if (of[k] >= 0 && d->need[k])
            d->dx[k] = o.y[of[k]];
}

static double whole_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    return direction_row(n)->flops(n, x, y);
}

/* Products as long as the walk's, for what flows back and for the weights. */
static double whole_grad_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    return 2 * whole_flops(n, x, y);
}

#define WHOLE(name, in, out)                                                        \
    {name "Whole",                                                                  \
     OG_DOMAIN,                                                                     \
     3,                                                                             \
     in,                                                                            \
     out,                                                                           \
     out,                                                                           \
     whole_infer,                                                                   \
     .expand = whole_expand,                                                        \
     .grad = whole_grad,                                                            \
     .flops = whole_flops,                                                          \
     .saved = out,                                                                  \
     .precision = OG_PRECISION_FLOAT},                                              \
    {                                                                               \
        name "WholeGrad", OG_DOMAIN, 3, INPUTS, OUTPUTS, OUTPUTS, whole_grad_infer, \
            .expand = whole_grad_expand, .flops = whole_grad_flops,                 \
            .precision = OG_PRECISION_FLOAT                                         \
    }

const og_op og_ops_recurrence_whole[] = {
    WHOLE("LSTM", 7, 4),
    WHOLE("WideLSTM", 7, 4),
    WHOLE("GRU", 6, 3),
    WHOLE("WideGRU", 6, 3),
    WHOLE("RNN", 6, 3),
    WHOLE("WideRNN", 6, 3),
    {0},
};
