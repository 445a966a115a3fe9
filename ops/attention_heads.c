/* Attention without a tensor of all scores: softmax(scale Q Kᵀ + mask) V as one op, whose gradient
 * computes the probabilities again, block by block, from each row's maximum and sum (Dao:
 * FlashAttention-2, 2023; algorithms 1 and 2). Patterns and Attention's definition make it.
 * Mixed precision makes the Wide ones of it where the device has kernels for them: q, k, v, y and
 * their gradients are half, the mask and what is kept beside y float32. Of the latter, top and
 * log_sum, only the sum is the same whatever kernel it comes from.
 *
 * keep, [B, H, S, T], are ones and zeros that probabilities are multiplied by, times attribute
 * keep_scale: dropout. Processors' kernels leave that to the definition.
 *
 * Names: B batch, H heads, S queries, T keys, D elements of a query, E of a value. Heads come
 * behind positions, as a projection leaves them. */
#include "ops/common.h"

static bool is_wide(const og_node *n)
{
    return strncmp(n->op->name, "Wide", 4) == 0;
}

/* Input `input` has q's type, or float32 in a wide op where it is none of an operand's. */
static bool need_element_type(og_infer *i, int input, bool operand, og_dtype dtype)
{
    og_dtype want = is_wide(i->node) && !operand ? OG_FLOAT : dtype;
    return !present(i, input) || i->x[input]->type.dtype == want ||
           og_infer_error(i, "input %d is %s, expected %s", input, TypeText(i, &i->x[input]->type),
                          og_dtype_name(want));
}

/* What q, k, v and the mask, from input `first` on, are not; the scores' type. */
static bool need_heads(og_infer *i, int first, int mask, og_type *scores)
{
    const og_type *q = &i->x[first]->type, *k = &i->x[first + 1]->type, *v = &i->x[first + 2]->type;
    for (int input = 0; input < i->nx; input++)
        if (!need_element_type(i, input,
                               input < first + 3 || input == mask + 1 || (first && input == 4),
                               q->dtype))
            return false;
    if (!need_float(i, first) || !need_rank(i, first, "q", 4) || !need_rank(i, first + 1, "k", 4) ||
        !need_rank(i, first + 2, "v", 4))
        return false;
    if (k->dims[0] != q->dims[0] || k->dims[2] != q->dims[2] || k->dims[3] != q->dims[3] ||
        v->dims[0] != q->dims[0] || v->dims[1] != k->dims[1] || v->dims[2] != q->dims[2])
        return og_infer_error(i,
                              "q is %s, k %s, v %s, expected [B, S, H, D], [B, T, H, D] and "
                              "[B, T, H, E]",
                              TypeText(i, q), TypeText(i, k), TypeText(i, v));
    *scores = (og_type){is_wide(i->node) ? OG_FLOAT : q->dtype,
                        4,
                        {q->dims[0], q->dims[2], q->dims[1], k->dims[1]}};
    if (present(i, mask)) {
        const og_type *m = &i->x[mask]->type;
        og_type y = *scores;
        if (m->rank < 1 || m->dims[m->rank - 1] != k->dims[1] || !broadcast(i, m, scores, &y) ||
            !og_type_equal(&y, scores))
            return og_infer_error(i,
                                  "mask is %s, which does not broadcast to %s with a last dim "
                                  "of its own",
                                  TypeText(i, m), TypeText(i, scores));
    }
    if (present(i, mask + 1)) {
        og_type keep = *scores;
        keep.dtype = q->dtype;
        if (!og_type_equal(&i->x[mask + 1]->type, &keep))
            return og_infer_error(i, "keep is %s, expected %s", TypeText(i, &i->x[mask + 1]->type),
                                  TypeText(i, &keep));
    }
    return true;
}

static bool heads_infer(og_infer *i)
{
    og_type scores;
    if (!need_heads(i, 0, 3, &scores))
        return false;
    i->y[0] = i->x[0]->type;
    i->y[0].dims[3] = i->x[2]->type.dims[3];
    for (int k = 1; k < i->ny; k++) {
        i->y[k] = scores;
        i->y[k].rank = 3;
    }
    return true;
}

/* [B, S, H, D] → [B, H, S, D] and back */
static og_val swap_heads(og_val x)
{
    return Transpose(x, ((int[]){0, 2, 1, 3}));
}

/* a bᵀ of heads, [B, H, S, T], a wide op's in float32 */
static og_val products_of(const og_node *node, og_val a, og_val b)
{
    og_val bt = Transpose(b, ((int[]){0, 2, 3, 1}));
    return is_wide(node) ? Op(OG_DOMAIN "::WideMatMul", In(swap_heads(a), bt))
                         : MatMul(swap_heads(a), bt);
}

/* x in another's type */
static og_val as(og_val x, og_val like)
{
    return DType(x) == DType(like) ? x : Cast(x, DType(like));
}

/* s = scale Q Kᵀ + mask: [B, H, S, T] */
static og_val scores_of(const og_node *node, og_val q, og_val k, og_val mask)
{
    double scale = og_attr_float(node, "scale", 1);
    og_val s = products_of(node, q, k);
    if (scale != 1)
        s = Mul(s, Scalar(s, scale));
    return Has(mask) ? Add(s, mask) : s;
}

static bool is_safe(const og_node *node)
{
    return og_attr_int(node, "zero_nan", 0) != 0;
}

static og_val without_nan(og_val p)
{
    return Where(Op("IsNaN", In(p)), Zero(p), p);
}

/* Some of p dropped, the others scaled. */
static og_val dropped(const og_node *node, og_val p, og_val keep)
{
    double scale = og_attr_float(node, "keep_scale", 1);
    return Has(keep) ? Mul(Mul(p, as(keep, p)), Scalar(p, scale)) : p;
}

/* [B, H, S] → [B, H, S, 1] */
static og_val column(og_val v)
{
    og_type t = *og_type_of(v);
    t.dims[t.rank++] = 1;
    return Reshape(v, t.rank, t.dims);
}

static og_val over_keys(const char *reduction, og_val s, bool keep)
{
    int last = 3;
    return Reduce(reduction, s, 1, &last, keep);
}

/* y = softmax(s) V,  top = max s,  log_sum = log Σ exp(s - top) */
static void heads_expand(og_expand *e)
{
    og_val s = scores_of(e->node, e->x[0], e->x[1], e->nx > 3 ? e->x[3] : OG_NONE);
    if (e->want[0]) {
        og_val p = Op("Softmax", In(s), I("axis", -1));
        if (is_safe(e->node))
            p = without_nan(p);
        p = dropped(e->node, p, e->nx > 4 ? e->x[4] : OG_NONE);
        e->y[0] = swap_heads(MatMul(as(p, e->x[2]), swap_heads(e->x[2])));
    }
    if (e->ny < 2 || !(e->want[1] || (e->ny > 2 && e->want[2])))
        return;
    e->y[1] = over_keys("ReduceMax", s, false);
    if (e->ny > 2)
        e->y[2] = Log(over_keys("ReduceSum", Exp(Sub(s, column(e->y[1]))), false));
}

/* p and ds, [B, H, S, T], of AttentionHeadsGrad's inputs:
 * p = exp(s - top - log_sum),  ds = p (dY Vᵀ - rowsum(dY Y)) */
static void probabilities(const og_node *node, const og_val *x, og_val mask, og_val keep, og_val *p,
                          og_val *ds)
{
    og_val s = scores_of(node, x[1], x[2], mask);
    og_val dy = as(swap_heads(x[0]), s), y = as(swap_heads(x[4]), s);
    *p = Exp(Sub(Sub(s, column(x[5])), column(x[6])));
    if (is_safe(node))
        *p = without_nan(*p);
    og_val dp = dropped(node, products_of(node, x[0], x[3]), keep);
    *ds = Mul(*p, Sub(dp, over_keys("ReduceSum", Mul(dy, y), true)));
}

/* A mask that is learned gets Σ ds, for which all scores are computed. */
static void heads_grad(og_grad *d)
{
    og_val mask = d->nx > 3 ? d->x[3] : OG_NONE;
    og_val keep = d->nx > 4 ? d->x[4] : OG_NONE;
    og_val x[9] = {d->dy[0], d->x[0], d->x[1], d->x[2], d->y[0], d->y[1], d->y[2], mask, keep};
    og_vals in = {Has(keep) ? 9 : Has(mask) ? 8 : 7, x};
    if (d->need[0] || d->need[1] || d->need[2]) {
        const char *op = is_wide(d->node) ? OG_DOMAIN "::WideAttentionHeadsGrad"
                                          : OG_DOMAIN "::AttentionHeadsGrad";
        og_outs g = og_ops_like(OG_HERE, op, 3, in, d->node);
        for (int k = 0; k < 3; k++)
            d->dx[k] = g.y[k];
    }
    og_val p;
    if (Has(mask) && d->need[3])
        probabilities(d->node, x, mask, keep, &p, &d->dx[3]);
}

static bool heads_grad_infer(og_infer *i)
{
    og_type scores;
    if (!need_heads(i, 1, 7, &scores))
        return false;
    og_type y = i->x[1]->type;
    y.dims[3] = i->x[3]->type.dims[3];
    scores.rank = 3;
    if (!og_type_equal(&i->x[0]->type, &y) || !og_type_equal(&i->x[4]->type, &y) ||
        !og_type_equal(&i->x[5]->type, &scores) || !og_type_equal(&i->x[6]->type, &scores))
        return og_infer_error(i, "dy %s, y %s, top %s, log_sum %s do not belong together",
                              TypeText(i, &i->x[0]->type), TypeText(i, &i->x[4]->type),
                              TypeText(i, &i->x[5]->type), TypeText(i, &i->x[6]->type));
    for (int k = 0; k < i->ny; k++)
        i->y[k] = i->x[k + 1]->type;
    return true;
}

/* dQ = scale dS K,  dK = scale dSᵀ Q,  dV = Pᵀ dY */
static void heads_grad_expand(og_expand *e)
{
    og_val p, ds;
    og_val keep = e->nx > 8 ? e->x[8] : OG_NONE;
    probabilities(e->node, e->x, e->nx > 7 ? e->x[7] : OG_NONE, keep, &p, &ds);
    ds = as(Mul(ds, Scalar(ds, og_attr_float(e->node, "scale", 1))), e->x[1]);
    p = as(dropped(e->node, p, keep), e->x[0]);
    e->y[0] = swap_heads(MatMul(ds, swap_heads(e->x[2])));
    if (e->ny > 1)
        e->y[1] = swap_heads(MatMul(SwapLast(ds), swap_heads(e->x[1])));
    if (e->ny > 2)
        e->y[2] = swap_heads(MatMul(SwapLast(p), swap_heads(e->x[0])));
}

/* B H S T, from q [B, S, H, D] and k [B, T, H, D] */
static double pairs(const og_type *q, const og_type *k)
{
    return (double)og_type_elements(q) / (double)(q->dims[3] ? q->dims[3] : 1) * (double)k->dims[1];
}

static double heads_flops(const og_node *node, const og_value *const *x, const og_type *y)
{
    (void)node;
    return 2 * pairs(&x[0]->type, &x[1]->type) * (double)(x[0]->type.dims[3] + y[0].dims[3]);
}

static double heads_grad_flops(const og_node *node, const og_value *const *x, const og_type *y)
{
    (void)node;
    (void)y;
    return 2 * pairs(&x[1]->type, &x[2]->type) *
           (double)(3 * x[1]->type.dims[3] + 2 * x[3]->type.dims[3]);
}

#define HEADS(name, ...)                                                                       \
    {                                                                                          \
        name, OG_DOMAIN, 3, 5, 1, 3, heads_infer, .expand = heads_expand, .grad = heads_grad,  \
                                                  .saved = 3, .flops = heads_flops,            \
                                                  .precision = OG_PRECISION_FLOAT, __VA_ARGS__ \
    }
#define HEADS_GRAD(name)                                                               \
    {                                                                                  \
        name, OG_DOMAIN, 7, 9, 1, 3, heads_grad_infer, .expand = heads_grad_expand,    \
                                                       .flops = heads_grad_flops,      \
                                                       .precision = OG_PRECISION_FLOAT \
    }

const og_op og_ops_attention_heads[] = {
    HEADS("AttentionHeads", .wide = "WideAttentionHeads"),
    HEADS_GRAD("AttentionHeadsGrad"),
    HEADS("WideAttentionHeads", .half_in = 7 | 1 << 4),
    HEADS_GRAD("WideAttentionHeadsGrad"),
    {0},
};
