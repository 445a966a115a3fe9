/* Attention written out, as exporters write scaled_dot_product_attention and transformers their
 * own: s = Q Kᵀ, Q or Kᵀ or s scaled by constants, + mask,  y = softmax(s) V becomes
 * AttentionHeads, which never holds all of s. Q [B, H, S, D], or [B H, S, D]; Kᵀ may be made in any
 * way. PyTorch's newer exporter replaces NaN in the softmax by zeros (rows of -∞ alone).
 * Where(allowed, s, -∞) is a mask of 0 and -∞. A mask that is trained, or anything between softmax
 * and the second product (dropout, but where the device's kernel does it) leaves the nodes as they
 * are; so do few keys, whose scores take little memory and are computed once, not twice. */
#include <math.h>

#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* From so many keys on it is no slower; with a mask, which may leave out half of the scores, from
 * fewer on (measured on a CPU with heads of 32 and 64). Where a device has one kernel for all of
 * it, which replaces some that each wait for the one before, from almost none on. */
enum { FEWEST_KEYS = 256, FEWEST_MASKED_KEYS = 128, FEWEST_FUSED_KEYS = 16 };

typedef struct attention {
    int q, kt, v; /* values of the graph that is read */
    int mask;     /* added to the scores; -1: none */
    int allowed;  /* or a condition, -1: none … */
    bool inverse; /* … that is true where scores are -∞ */
    double scale;
    bool zero_nan;
    const og_node *dropout; /* of the probabilities; NULL: none */
} attention;

static const og_type *type_of(const og_match *m, int value)
{
    return &m->g->values[value]->type;
}

/* The softmax over the last axis that makes the probabilities `p`. */
static const og_node *softmax_of(const og_match *m, int p, bool *zero_nan)
{
    const og_node *where = og_match_inner(m, p, "Where");
    double zero;
    *zero_nan = where != NULL;
    if (where) {
        const og_node *nan = og_match_inner(m, where->in[0], "IsNaN");
        if (!nan || nan->in[0] != where->in[2] || m->uses[where->in[2]] != 2 ||
            !og_match_constant(m, where->in[1], &zero) || zero != 0)
            return NULL;
        p = where->in[2];
    } else if (m->uses[p] != 1) {
        return NULL;
    }
    const og_node *softmax = og_match_node(m, p, "Softmax");
    if (!softmax)
        return NULL;
    int64_t axis = og_attr_int(softmax, "axis", -1);
    return axis == -1 || axis == type_of(m, p)->rank - 1 ? softmax : NULL;
}

/* Dropout in training mode of what another makes alone, where the device's kernel can do it: what
 * it drops from, else `p`. */
static int before_dropout(const og_match *m, int p, attention *a)
{
    const og_node *n = m->fused_attention ? og_match_inner(m, p, "Dropout") : NULL;
    const og_value *training = n && n->n_in > 2 ? og_graph_value(m->g, n->in[2]) : NULL;
    double ratio = 0.5;
    a->dropout = NULL;
    if (!training || training->kind != OG_VALUE_CONST || og_value_double(training, 0) == 0 ||
        (n->n_out > 1 && n->out[1] >= 0 && m->uses[n->out[1]] > 0) ||
        (n->in[1] >= 0 && !og_match_constant(m, n->in[1], &ratio)) || ratio >= 1 ||
        type_of(m, p)->rank != 4)
        return p;
    a->dropout = n;
    return n->in[0];
}

/* value = factor · operand of the same type: the operand, and the factor multiplied to *scale. */
static int unscaled(const og_match *m, int value, double *scale)
{
    const og_node *mul = og_match_inner(m, value, "Mul"), *div = og_match_inner(m, value, "Div");
    double c;
    for (int k = 0; mul && k < 2; k++)
        if (og_match_constant(m, mul->in[k], &c) &&
            og_type_equal(type_of(m, mul->in[1 - k]), type_of(m, value))) {
            *scale *= c;
            return unscaled(m, mul->in[1 - k], scale);
        }
    if (div && og_match_constant(m, div->in[1], &c) && c != 0 &&
        og_type_equal(type_of(m, div->in[0]), type_of(m, value))) {
        *scale /= c;
        return unscaled(m, div->in[0], scale);
    }
    return value;
}

/* value = scale Q Kᵀ of the scores' type? */
static bool is_product(const og_match *m, int value, const og_type *scores, attention *a)
{
    a->scale = 1;
    const og_node *product = og_match_inner(m, unscaled(m, value, &a->scale), "MatMul");
    if (!product || !og_type_equal(type_of(m, value), scores))
        return false;
    a->q = unscaled(m, product->in[0], &a->scale);
    a->kt = unscaled(m, product->in[1], &a->scale);
    return true;
}

static bool is_minus_infinity(const og_match *m, int value)
{
    double c;
    return og_match_constant(m, value, &c) && isinf(c) && c < 0;
}

/* The scores that softmax reads: a product, and perhaps what masks it. */
static bool is_scores(const og_match *m, int value, attention *a)
{
    const og_type *scores = type_of(m, value);
    a->mask = a->allowed = -1;
    if (is_product(m, value, scores, a))
        return true;
    const og_node *add = og_match_inner(m, value, "Add"),
                  *where = og_match_inner(m, value, "Where");
    for (int k = 0; add && k < 2; k++)
        if (is_product(m, add->in[k], scores, a)) {
            a->mask = add->in[1 - k];
            return true;
        }
    for (int k = 1; where && k < 3; k++)
        if (is_minus_infinity(m, where->in[3 - k]) && is_product(m, where->in[k], scores, a)) {
            a->allowed = where->in[0];
            a->inverse = k == 2;
            return true;
        }
    return false;
}

/* Q, Kᵀ and V of one rank with the same leading dims, enough keys, and a mask with a last dim of
 * its own. */
static bool fits(const og_match *m, const attention *a)
{
    const og_type *q = type_of(m, a->q), *kt = type_of(m, a->kt), *v = type_of(m, a->v);
    int rank = q->rank;
    if ((rank != 3 && rank != 4) || kt->rank != rank || v->rank != rank ||
        !(q->dtype == OG_FLOAT || q->dtype == OG_DOUBLE))
        return false;
    for (int k = 0; k < rank; k++)
        if (q->dims[k] < 1 || v->dims[k] < 1 || kt->dims[k] < 1 ||
            (k < rank - 2 && (kt->dims[k] != q->dims[k] || v->dims[k] != q->dims[k])))
            return false;
    int extra = a->mask >= 0 ? a->mask : a->allowed;
    if (kt->dims[rank - 1] < (m->fused_attention ? FEWEST_FUSED_KEYS
                              : extra < 0        ? FEWEST_KEYS
                                                 : FEWEST_MASKED_KEYS))
        return false;
    if (extra < 0)
        return true;
    const og_type *t = type_of(m, extra);
    return t->rank >= 1 && t->rank <= rank && t->dims[t->rank - 1] == kt->dims[rank - 1];
}

/* [B, H, S, D] → [B, S, H, D] and back. Of rank 3, [N, S, D]: N heads where the model has made it
 * of [S, N, D], which then stays as it lies; else N samples of one head. */
static og_val swap_heads(og_val x, bool samples)
{
    og_type t = *og_type_of(x);
    if (t.rank == 4)
        return Transpose(x, ((int[]){0, 2, 1, 3}));
    if (samples)
        return Reshape(x, 4, ((int64_t[]){t.dims[0], t.dims[1], 1, t.dims[2]}));
    og_val y = Transpose(x, ((int[]){1, 0, 2}));
    return Reshape(y, 4, ((int64_t[]){1, t.dims[1], t.dims[0], t.dims[2]}));
}

static og_val swap_back(og_val y, int rank, bool samples)
{
    og_type t = *og_type_of(y);
    if (rank == 4)
        return Transpose(y, ((int[]){0, 2, 1, 3}));
    if (samples)
        return Reshape(y, 3, ((int64_t[]){t.dims[0], t.dims[1], t.dims[3]}));
    og_val x = Reshape(y, 3, ((int64_t[]){t.dims[1], t.dims[2], t.dims[3]}));
    return Transpose(x, ((int[]){1, 0, 2}));
}

/* A rank 3 mask [N, S, T] beside the four axes [B, H, S, T]. */
static og_val mask_of(og_rewrite *rw, const attention *a, og_val q, bool samples)
{
    og_val mask = og_rewrite_value(rw, a->mask >= 0 ? a->mask : a->allowed);
    if (!Has(mask))
        return OG_NONE;
    if (a->allowed >= 0) {
        og_val open = Zero(q), shut = Scalar(q, -INFINITY);
        mask = a->inverse ? Where(mask, shut, open) : Where(mask, open, shut);
    }
    og_type t = *og_type_of(mask);
    if (Rank(q) == 3 && t.rank == 3 && samples)
        mask = Reshape(mask, 4, ((int64_t[]){t.dims[0], 1, t.dims[1], t.dims[2]}));
    return mask;
}

/* Ones where Dropout keeps, and what it multiplies by. */
static og_val keep_of(og_rewrite *rw, const og_match *m, const attention *a, double *scale)
{
    double ratio = 0.5;
    *scale = 1;
    if (!a->dropout)
        return OG_NONE;
    const og_node *n = a->dropout;
    og_match_constant(m, n->in[1], &ratio);
    *scale = 1 / (1 - ratio);
    og_outs y = Ops("Dropout", 2,
                    In(og_rewrite_value(rw, n->in[0]), og_rewrite_value(rw, n->in[1]),
                       og_rewrite_value(rw, n->in[2])));
    return Cast(y.y[1], type_of(m, n->in[0])->dtype);
}

bool og__pattern_attention(const og_match *m, og_rewrite *rw, const og_node *n)
{
    attention a = {0};
    if (!og_op_is(n->op, NULL, "MatMul"))
        return false;
    const og_node *softmax = softmax_of(m, before_dropout(m, n->in[0], &a), &a.zero_nan);
    a.v = n->in[1];
    if (!softmax || !is_scores(m, softmax->in[0], &a) || !fits(m, &a) ||
        (a.mask >= 0 && m->stateful[a.mask]))
        return false;
    og_val q = og_rewrite_value(rw, a.q), kt = og_rewrite_value(rw, a.kt),
           v = og_rewrite_value(rw, a.v);
    int rank = Rank(q);
    bool samples = rank == 3 && !og_match_node(m, a.q, "Transpose");
    double keep_scale;
    og_val mask = mask_of(rw, &a, q, samples), keep = keep_of(rw, m, &a, &keep_scale);
    og_val y = Op(OG_DOMAIN "::AttentionHeads",
                  In(swap_heads(q, samples), swap_heads(SwapLast(kt), samples),
                     swap_heads(v, samples), mask, keep),
                  F("scale", a.scale), I("zero_nan", a.zero_nan), F("keep_scale", keep_scale));
    og_rewrite_set(rw, n->out[0], swap_back(y, rank, samples));
    return true;
}
