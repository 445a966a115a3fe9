/* Attention and what comes with it: rotary positions, cache updates. All are definitions.
 *
 * Names: B batch, H heads of the queries, G heads of keys and values (H a multiple of G), S
 * queries, T keys (past and new), D elements a head. */
#include "ops/common.h"

/* ---- Attention */

/* Shapes of Q, K and V, whichever form they come in. */
typedef struct sizes {
    int64_t batch, heads, groups, queries, keys, past, depth, v_depth;
    bool flat; /* [B, S, H D] instead of [B, H, S, D] */
} sizes;

/* What of the node is wrong; NULL: nothing. */
static const char *read_sizes(const og_node *node, const og_type *q, const og_type *k,
                              const og_type *v, const og_type *past, sizes *s)
{
    *s = (sizes){.batch = q->dims[0], .flat = q->rank == 3};
    if ((q->rank != 3 && q->rank != 4) || k->rank != q->rank || v->rank != q->rank)
        return "Q, K and V must all have rank 3, or all rank 4";
    s->heads = s->flat ? og_attr_int(node, "q_num_heads", 0) : q->dims[1];
    s->groups = s->flat ? og_attr_int(node, "kv_num_heads", 0) : k->dims[1];
    if (s->heads < 1 || s->groups < 1 || s->heads % s->groups)
        return "q_num_heads must be a positive multiple of kv_num_heads, and both are needed for "
               "inputs of rank 3";
    if (s->flat && (q->dims[2] % s->heads || k->dims[2] % s->groups || v->dims[2] % s->groups))
        return "hidden sizes must be multiples of the numbers of heads";
    s->queries = q->dims[s->flat ? 1 : 2];
    s->keys = k->dims[s->flat ? 1 : 2];
    s->past = past ? past->dims[2] : 0;
    s->depth = s->flat ? q->dims[2] / s->heads : q->dims[3];
    s->v_depth = s->flat ? v->dims[2] / s->groups : v->dims[3];
    int64_t k_depth = s->flat ? k->dims[2] / s->groups : k->dims[3];
    if (k->dims[0] != s->batch || v->dims[0] != s->batch || v->dims[s->flat ? 1 : 2] != s->keys ||
        k_depth != s->depth || (!s->flat && v->dims[1] != s->groups))
        return "the shapes of Q, K and V do not fit each other";
    s->keys += s->past;
    return NULL;
}

static bool attention_infer(og_infer *i)
{
    const og_type *q = &i->x[0]->type;
    sizes s;
    if (!need_float(i, 0) || !need_same(i, 0, 1) || !need_rank_from(i, 0, "Q", 3))
        return false;
    bool past = present(i, 4) && present(i, 5);
    if (present(i, 4) != present(i, 5) || (past && !need_rank(i, 4, "past_key", 4)))
        return og_infer_error(i, "past_key and past_value must be given together, of rank 4");
    const char *wrong =
        read_sizes(i->node, q, &i->x[1]->type, &i->x[2]->type, past ? &i->x[4]->type : NULL, &s);
    if (wrong)
        return og_infer_error(i, "%s (Q is %s, K %s, V %s)", wrong, TypeText(i, q),
                              TypeText(i, &i->x[1]->type), TypeText(i, &i->x[2]->type));
    if (past)
        for (int k = 4; k < 6; k++) {
            int64_t last = k == 4 ? s.depth : s.v_depth;
            og_type expected = {q->dtype, 4, {s.batch, s.groups, s.past, last}};
            if (!og_type_equal(&i->x[k]->type, &expected))
                return og_infer_error(i, "input %d is %s, expected %s", k,
                                      TypeText(i, &i->x[k]->type), TypeText(i, &expected));
        }
    if (!need_type_attr(i, "softmax_precision"))
        return false;
    if (present(i, 6) && !need_vector(i, 6, "nonpad_kv_seqlen", s.batch, "one for each sample"))
        return false;
    og_type scores = {.dtype = q->dtype, .rank = 4, .dims = {s.batch, s.heads, s.queries, s.keys}};
    if (present(i, 3)) {
        og_type mask = i->x[3]->type, y = scores;
        if (mask.rank < 1 || mask.dims[mask.rank - 1] > s.keys)
            return og_infer_error(i, "attn_mask is %s, expected a last dim of at most %" PRId64,
                                  TypeText(i, &mask), s.keys);
        mask.dims[mask.rank - 1] = s.keys;
        if (!broadcast(i, &mask, &scores, &y) || !og_type_equal(&y, &scores))
            return og_infer_error(i, "attn_mask is %s, which does not broadcast to %s",
                                  TypeText(i, &i->x[3]->type), TypeText(i, &scores));
    }
    og_type y[4] = {*q, i->x[1]->type, i->x[2]->type, scores};
    y[0].dims[q->rank - 1] = s.flat ? s.heads * s.v_depth : s.v_depth;
    y[1] = (og_type){y[1].dtype, 4, {s.batch, s.groups, s.keys, s.depth}};
    y[2] = (og_type){y[2].dtype, 4, {s.batch, s.groups, s.keys, s.v_depth}};
    for (int k = 0; k < i->ny; k++)
        i->y[k] = y[k];
    return true;
}

/* [B, S, heads D] → [B, heads, S, D] */
static og_val split_heads(og_val x, int64_t heads)
{
    if (Rank(x) == 4)
        return x;
    OG_ASSUME(heads > 0);
    int64_t dims[4] = {Dim(x, 0), Dim(x, 1), heads, Dim(x, 2) / heads};
    return Transpose(Reshape(x, 4, dims), ((int[]){0, 2, 1, 3}));
}

/* [B, G, T, D] → [B, H, T, D]: each head H / G times */
static og_val repeat_heads(og_val x, int64_t heads)
{
    int64_t g = Dim(x, 1), one[5] = {Dim(x, 0), g, 1, Dim(x, 2), Dim(x, 3)},
            many[5] = {one[0], g, heads / g, one[3], one[4]},
            dims[4] = {one[0], heads, one[3], one[4]};
    return g == heads ? x
                      : Reshape(Op("Expand", In(Reshape(x, 5, one), og_const_ints(x.g, 5, many))),
                                4, dims);
}

/* 0 where allowed, −∞ elsewhere, in q's element type */
static og_val open_where(og_val allowed, og_val q)
{
    return Where(allowed, Zero(q), Scalar(q, -INFINITY));
}

static og_val plus(og_val a, og_val b)
{
    return !Has(a) ? b : !Has(b) ? a : Add(a, b);
}

/* attn_mask as a bias, with −∞ for the keys it is too short for */
static og_val mask_bias(og_val mask, og_val q, int64_t keys)
{
    if (DType(mask) == OG_BOOL)
        mask = open_where(mask, q);
    mask = to_dtype(mask, DType(q));
    int64_t missing = keys - Dim(mask, -1), pads[2 * OG_MAX_RANK] = {0};
    int rank = Rank(mask);
    pads[2 * rank - 1] = missing;
    return missing ? Op("Pad", In(mask, og_const_ints(q.g, 2 * rank, pads), Scalar(q, -INFINITY)))
                   : mask;
}

/* What is added to the scores, in a shape that broadcasts to theirs; none: nothing is masked.
 * *may_be_empty: there can be queries that may attend to no key. With p = offset + query:
 *     is_causal: key ≤ p;  windows: p − left ≤ key ≤ p + right;  nonpad_kv_seqlen: key < that */
static og_val bias_of(og_expand *e, const sizes *s, og_val q, bool *may_be_empty)
{
    og_graph *g = e->g;
    og_val mask = e->nx > 3 ? e->x[3] : OG_NONE, lengths = e->nx > 6 ? e->x[6] : OG_NONE;
    og_val bias = Has(mask) ? mask_bias(mask, q, s->keys) : OG_NONE;
    bool causal = og_attr_int(e->node, "is_causal", 0) != 0;
    int64_t left = og_attr_int(e->node, "left_window_size", -1),
            right = og_attr_int(e->node, "right_window_size", -1);
    og_val keys = arange(g, s->keys, 0);
    if (Has(lengths))
        lengths = Reshape(to_dtype(lengths, OG_INT64), 4, ((int64_t[]){s->batch, 1, 1, 1}));
    if (causal || left >= 0 || right >= 0) {
        og_val offset =
            Has(lengths) ? Sub(lengths, og_const_int(g, s->queries)) : og_const_int(g, s->past);
        og_val ahead = Sub(keys, Add(arange(g, s->queries, 1), offset)); /* key − p */
        og_val allowed = causal ? LessOrEqual(ahead, Zero(ahead)) : OG_NONE;
        if (right >= 0) {
            og_val near = LessOrEqual(ahead, Scalar(ahead, (double)right));
            allowed = Has(allowed) ? And(allowed, near) : near;
        }
        if (left >= 0) {
            og_val near = GreaterOrEqual(ahead, Scalar(ahead, (double)-left));
            allowed = Has(allowed) ? And(allowed, near) : near;
        }
        bias = plus(bias, open_where(allowed, q));
    }
    if (Has(lengths))
        bias = plus(bias, open_where(Less(keys, lengths), q));
    *may_be_empty = Has(mask) || Has(lengths) || left >= 0 || right >= 0;
    return bias;
}

/* Does AttentionHeads say what the node does? It has no cap, no precision but its input's, and
 * shows no scores. */
static bool is_plain(const og_expand *e)
{
    og_dtype dtype = DType(e->x[0]);
    int64_t precision = og_attr_int(e->node, "softmax_precision", 0);
    return (dtype == OG_FLOAT || dtype == OG_DOUBLE) && (!precision || precision == dtype) &&
           og_attr_float(e->node, "softcap", 0) <= 0 && (e->ny < 4 || !e->want[3]);
}

/* [B, H, S, D] → [B, S, H, D] and back */
static og_val swap_heads(og_val x)
{
    return Transpose(x, ((int[]){0, 2, 1, 3}));
}

/* With a bias of 0 for the queries that may attend to no key, and zeros for their y. */
static og_val plain_attention(og_expand *e, const sizes *s, og_val q, og_val k, og_val v)
{
    bool may_be_empty;
    og_val bias = bias_of(e, s, q, &may_be_empty), any = OG_NONE;
    if (may_be_empty) {
        any = Greater(Reduce("ReduceMax", bias, 1, (int[]){Rank(bias) - 1}, true),
                      Scalar(q, -INFINITY));
        bias = Where(any, bias, Zero(bias));
    }
    double scale = og_attr_float(e->node, "scale", 1 / sqrt((double)s->depth));
    og_val y = swap_heads(Op(OG_DOMAIN "::AttentionHeads",
                             In(swap_heads(q), swap_heads(repeat_heads(k, s->heads)),
                                swap_heads(repeat_heads(v, s->heads)), bias),
                             F("scale", scale)));
    return may_be_empty ? Where(any, y, Zero(y)) : y;
}

static og_val merge_heads(og_val y, const sizes *s)
{
    return s->flat ? Reshape(swap_heads(y), 3,
                             ((int64_t[]){s->batch, s->queries, s->heads * s->v_depth}))
                   : y;
}

/* y = softmax(cap(scale Q Kᵀ) + bias) V; a query that may attend to no key gives zeros */
static void attention_expand(og_expand *e)
{
    sizes s;
    bool past = e->nx > 5 && Has(e->x[4]);
    read_sizes(e->node, og_type_of(e->x[0]), og_type_of(e->x[1]), og_type_of(e->x[2]),
               past ? og_type_of(e->x[4]) : NULL, &s);
    og_val q = split_heads(e->x[0], s.heads), k = split_heads(e->x[1], s.groups),
           v = split_heads(e->x[2], s.groups);
    if (past) {
        k = Op("Concat", In(e->x[4], k), I("axis", 2));
        v = Op("Concat", In(e->x[5], v), I("axis", 2));
    }
    if (e->ny > 1)
        e->y[1] = Identity(k);
    if (e->ny > 2)
        e->y[2] = Identity(v);
    if (is_plain(e)) {
        e->y[0] = merge_heads(plain_attention(e, &s, q, k, v), &s);
        return;
    }
    /* Q and K are each scaled by the root, so that half precision does not overflow. */
    double root = sqrt(og_attr_float(e->node, "scale", 1 / sqrt((double)s.depth)));
    og_val raw =
        MatMul(Mul(q, Scalar(q, root)), SwapLast(repeat_heads(Mul(k, Scalar(k, root)), s.heads)));
    double cap = og_attr_float(e->node, "softcap", 0);
    og_val capped = cap > 0 ? Mul(Tanh(Div(raw, Scalar(raw, cap))), Scalar(raw, cap)) : raw;
    bool may_be_empty;
    og_val bias = bias_of(e, &s, q, &may_be_empty), biased = plus(capped, bias), any = OG_NONE;
    og_val logits = biased;
    if (may_be_empty) { /* decided by the bias, for scores may be infinite themselves */
        any = Greater(Reduce("ReduceMax", bias, 1, (int[]){Rank(bias) - 1}, true),
                      Scalar(q, -INFINITY));
        logits = Where(any, logits, Zero(logits));
    }
    int64_t precision = og_attr_int(e->node, "softmax_precision", 0);
    precision = precision ? precision : DType(q);
    og_val p =
        to_dtype(Op("Softmax", In(to_dtype(logits, (og_dtype)precision)), I("axis", -1)), DType(q));
    if (may_be_empty)
        p = Where(any, p, Zero(p));
    e->y[0] = merge_heads(MatMul(p, repeat_heads(v, s.heads)), &s);
    if (e->ny > 3) {
        og_val shown[4] = {raw, capped, biased, p};
        int64_t mode = og_attr_int(e->node, "qk_matmul_output_mode", 0);
        e->y[3] = Identity(shown[mode >= 0 && mode < 4 ? mode : 0]);
    }
}

/* ---- RotaryEmbedding */

static bool rotary_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *cos = &i->x[1]->type;
    int64_t heads = og_attr_int(i->node, "num_heads", 0),
            rotated = og_attr_int(i->node, "rotary_embedding_dim", 0);
    if (!need_float(i, 0) || !need_same(i, 0, 1) || !need_same(i, 0, 2) ||
        !need_rank_from(i, 0, "X", 3))
        return false;
    if (x->rank > 4 || (x->rank == 3 && (heads < 1 || x->dims[2] % heads)))
        return og_infer_error(i,
                              "X is %s with num_heads %" PRId64 ", expected rank 4, or rank 3 and "
                              "a number of heads that divides its last dim",
                              TypeText(i, x), heads);
    int64_t depth = x->rank == 3 ? x->dims[2] / heads : x->dims[3];
    rotated = rotated ? rotated : depth;
    bool by_id = present(i, 3);
    if (rotated < 0 || rotated > depth || rotated % 2 || cos->rank != (by_id ? 2 : 3) ||
        cos->dims[cos->rank - 1] != rotated / 2 || !og_type_equal(cos, &i->x[2]->type))
        return og_infer_error(
            i,
            "cos_cache is %s and sin_cache %s, expected rank %d and a last dim of "
            "%" PRId64,
            TypeText(i, cos), TypeText(i, &i->x[2]->type), by_id ? 2 : 3, rotated / 2);
    if (by_id && !(need_dtype(i, 3, OG_INT64) && need_rank(i, 3, "position_ids", 2)))
        return false;
    return same_as_x(i);
}

/* cos or sin of each token, [B, S, R / 2], as it broadcasts to the rotated halves */
static og_val angles(og_expand *e, int input, int head_axis)
{
    og_val a = e->x[input];
    if (e->nx > 3 && Has(e->x[3]))
        a = Op("Gather", In(a, e->x[3]), I("axis", 0));
    int64_t dims[4] = {Dim(a, 0), Dim(a, 1), Dim(a, 1), Dim(a, 2)};
    dims[head_axis] = 1;
    return Reshape(a, 4, dims);
}

/* (a, b) → (a cos − b sin, a sin + b cos) for pairs of elements: the two halves of the rotated
 * part, or with `interleaved` neighbours */
static void rotary_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_type t = *og_type_of(x);
    int64_t heads = og_attr_int(e->node, "num_heads", 0);
    int head_axis = t.rank == 3 ? 2 : 1;
    if (t.rank == 3)
        x = Reshape(x, 4, ((int64_t[]){t.dims[0], t.dims[1], heads, t.dims[2] / heads}));
    int64_t depth = Dim(x, 3), r = og_attr_int(e->node, "rotary_embedding_dim", 0), half;
    r = r ? r : depth;
    half = r / 2;
    bool interleaved = og_attr_int(e->node, "interleaved", 0) != 0;
    og_val part = r < depth ? Slice(x, 3, 0, r) : x, a, b;
    int64_t pairs[5] = {Dim(x, 0), Dim(x, 1), Dim(x, 2), interleaved ? half : 2,
                        interleaved ? 2 : half},
            flat[4] = {pairs[0], pairs[1], pairs[2], half};
    int axis = interleaved ? 4 : 3;
    part = Reshape(part, 5, pairs);
    a = Reshape(Slice(part, axis, 0, 1), 4, flat);
    b = Reshape(Slice(part, axis, 1, 1), 4, flat);
    og_val c = angles(e, 1, head_axis), s = angles(e, 2, head_axis);
    og_val turned[2] = {Sub(Mul(c, a), Mul(s, b)), Add(Mul(s, a), Mul(c, b))};
    pairs[axis] = 1;
    for (int k = 0; k < 2; k++)
        turned[k] = Reshape(turned[k], 5, pairs);
    flat[3] = r;
    og_val y = Reshape(Op("Concat", In(turned[0], turned[1]), I("axis", axis)), 4, flat);
    if (r < depth)
        y = Op("Concat", In(y, Slice(x, 3, r, depth - r)), I("axis", 3));
    e->y[0] = Reshape(y, t.rank, t.dims);
}

/* ---- TensorScatter */

static bool tensor_scatter_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *u = &i->x[1]->type;
    int axis;
    if (!need_same(i, 0, 1) || !need_rank(i, 1, "update", x->rank) ||
        !need_axis(i, og_attr_int(i->node, "axis", -2), x->rank, &axis))
        return false;
    for (int k = 0; k < x->rank; k++)
        if (axis == 0 || (k == axis ? u->dims[k] > x->dims[k] : u->dims[k] != x->dims[k]))
            return og_infer_error(i, "update is %s along axis %d, which does not fit the cache %s",
                                  TypeText(i, u), axis, TypeText(i, x));
    if (present(i, 2) && !(need_dtype(i, 2, OG_INT64) &&
                           need_vector(i, 2, "write_indices", x->dims[0], "one for each sample")))
        return false;
    return same_as_x(i);
}

/* y[b, …, start[b] + t, …] = update[b, …, t, …], else the cache; circular: modulo its length */
static void tensor_scatter_expand(og_expand *e)
{
    og_val x = e->x[0], u = e->x[1], at;
    int rank = Rank(x), axis = positive_axis(og_attr_int(e->node, "axis", -2), rank);
    int64_t dims[OG_MAX_RANK];
    at = arange(e->g, Dim(u, axis), rank - 1 - axis);
    if (e->nx > 2 && Has(e->x[2])) {
        for (int k = 0; k < rank; k++)
            dims[k] = k == 0 ? Dim(x, 0) : 1;
        at = Add(at, Reshape(e->x[2], rank, dims));
    }
    if (strcmp(og_attr_string(e->node, "mode", "linear"), "circular") == 0)
        at = Op("Mod", In(at, Scalar(at, (double)Dim(x, axis))));
    at = Op("Expand", In(at, og_const_ints(e->g, rank, og_type_of(u)->dims)));
    e->y[0] = Op("ScatterElements", In(x, at, u), I("axis", axis));
}

/* ---- CausalConvWithState */

/* x [B, C, L], w [C, 1, K], past and present state [B, C, K − 1] */
static bool causal_conv_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type, *w = &i->x[1]->type;
    if (!need_float(i, 0) || !need_same(i, 0, 1) || !need_rank(i, 0, "input", 3) ||
        !need_rank(i, 1, "weight", 3))
        return false;
    if (w->dims[0] != x->dims[1] || w->dims[1] != 1 || w->dims[2] < 1)
        return og_infer_error(i, "weight is %s, expected [%" PRId64 ", 1, k]", TypeText(i, w),
                              x->dims[1]);
    og_type state = *x;
    state.dims[2] = w->dims[2] - 1;
    if (present(i, 3) && !og_type_equal(&i->x[3]->type, &state))
        return og_infer_error(i, "past_state is %s, expected %s", TypeText(i, &i->x[3]->type),
                              TypeText(i, &state));
    const char *activation = og_attr_string(i->node, "activation", "none");
    if (strcmp(activation, "none") != 0 && strcmp(activation, "silu") != 0 &&
        strcmp(activation, "swish") != 0)
        return og_infer_error(i, "activation is \"%s\", expected none, silu or swish", activation);
    i->y[0] = *x;
    if (i->ny > 1)
        i->y[1] = state;
    return true;
}

/* y = act(conv([state, x], w) + b);  state' = the last K − 1 of [state, x] */
static void causal_conv_expand(og_expand *e)
{
    og_val x = e->x[0], w = e->x[1], bias = e->nx > 2 ? e->x[2] : OG_NONE;
    int64_t channels = Dim(x, 1), k = Dim(w, 2);
    og_type state = *og_type_of(x);
    state.dims[2] = k - 1;
    og_val past = e->nx > 3 && Has(e->x[3]) ? e->x[3] : og_full(e->g, &state, 0);
    og_val all = k > 1 ? Op("Concat", In(past, x), I("axis", 2)) : x;
    og_val y = Op("Conv", In(all, w, bias), I("group", channels));
    if (strcmp(og_attr_string(e->node, "activation", "none"), "none") != 0)
        y = Mul(y, Sigmoid(y));
    e->y[0] = y;
    if (e->ny > 1)
        e->y[1] = Slice(all, 2, Dim(all, 2) - (k - 1), k - 1);
}

/* ---- LinearAttention */

static bool linear_attention_infer(og_infer *i)
{
    const og_type *q = &i->x[0]->type, *k = &i->x[1]->type, *v = &i->x[2]->type;
    int64_t heads = og_attr_int(i->node, "q_num_heads", 0),
            groups = og_attr_int(i->node, "kv_num_heads", 0);
    if (!need_float(i, 0) || !need_rank(i, 0, "query", 3) || !need_rank(i, 1, "key", 3) ||
        !need_rank(i, 2, "value", 3))
        return false;
    if (groups < 1 || heads < 1 || heads % groups || q->dims[2] % heads || k->dims[2] % groups ||
        v->dims[2] % groups || k->dims[2] / groups != q->dims[2] / heads)
        return og_infer_error(
            i, "%" PRId64 " heads of queries and %" PRId64 " of keys do not fit %s, %s and %s",
            heads, groups, TypeText(i, q), TypeText(i, k), TypeText(i, v));
    if (q->dims[1] < 1 || k->dims[1] != q->dims[1] || v->dims[1] != q->dims[1])
        return og_infer_error(i, "%s, %s and %s must have the same number of steps, at least 1",
                              TypeText(i, q), TypeText(i, k), TypeText(i, v));
    const char *rule = og_attr_string(i->node, "update_rule", "gated_delta");
    bool delta = strstr(rule, "delta") != NULL, gated = strncmp(rule, "gated", 5) == 0;
    if ((gated && !present(i, 4)) || (delta && !present(i, 5)))
        return og_infer_error(i, "update_rule %s needs decay (input 4) or beta (input 5)", rule);
    i->y[0] = *q;
    i->y[0].dims[2] = heads * (v->dims[2] / groups);
    if (i->ny > 1)
        i->y[1] = (og_type){present(i, 3) ? i->x[3]->type.dtype : q->dtype,
                            4,
                            {q->dims[0], groups, q->dims[2] / heads, v->dims[2] / groups}};
    return true;
}

/* Step t of [B, T, G n] as [B, G, rows, columns]. */
static og_val step_of(og_val x, int64_t t, int64_t groups, bool column)
{
    int64_t n = Dim(x, 2) / groups;
    return Reshape(Slice(x, 1, t, 1), 4,
                   ((int64_t[]){Dim(x, 0), groups, column ? n : 1, column ? 1 : n}));
}

/* S ← exp(g) S;  S ← S + k (β (v − kᵀ S)), or + k v without delta;  o = scale qᵀ S, step by step;
 * in float32 at least, for the state sums over all steps */
static void linear_attention_expand(og_expand *e)
{
    og_dtype given = DType(e->x[0]), wide = og_dtype_bits(given) < 32 ? OG_FLOAT : given;
    og_val q = to_dtype(e->x[0], wide), k = to_dtype(e->x[1], wide), v = to_dtype(e->x[2], wide),
           decay = e->nx > 4 ? e->x[4] : OG_NONE, beta = e->nx > 5 ? e->x[5] : OG_NONE;
    int64_t heads = og_attr_int(e->node, "q_num_heads", 0),
            groups = og_attr_int(e->node, "kv_num_heads", 0), steps = Dim(q, 1), b = Dim(q, 0);
    const char *rule = og_attr_string(e->node, "update_rule", "gated_delta");
    bool delta = strstr(rule, "delta") != NULL, gated = strncmp(rule, "gated", 5) == 0;
    int64_t d_k = Dim(q, 2) / heads, d_v = Dim(v, 2) / groups;
    double scale = og_attr_float(e->node, "scale", 0);
    scale = scale != 0 ? scale : 1 / sqrt((double)d_k);
    og_type state = {DType(q), 4, {b, groups, d_k, d_v}};
    og_val s = e->nx > 3 && Has(e->x[3]) ? e->x[3] : og_full(e->g, &state, 0);
    og_dtype past_dtype = e->nx > 3 && Has(e->x[3]) ? DType(s) : given;
    og_val *y = og_arena_array(e->g->arena, (size_t)steps + 1, sizeof *y);
    if (!y) {
        og_fail_memory(&e->g->error, (size_t)steps * sizeof *y, "linear attention");
        return;
    }
    s = to_dtype(s, DType(q));
    for (int64_t t = 0; t < steps; t++) {
        og_val kt = step_of(k, t, groups, true), vt = step_of(v, t, groups, false);
        if (gated)
            s = Mul(s, Exp(to_dtype(step_of(decay, t, groups, true), DType(q))));
        if (delta) {
            og_val rate = Dim(beta, 2) == 1
                              ? Reshape(Slice(beta, 1, t, 1), 4, ((int64_t[]){b, 1, 1, 1}))
                              : step_of(beta, t, groups, true);
            vt = Mul(to_dtype(rate, DType(q)), Sub(vt, MatMul(SwapLast(kt), s)));
        }
        s = Add(s, Mul(kt, vt));
        og_val qt = step_of(q, t, heads, false);
        og_val o = MatMul(qt, repeat_heads(s, heads));
        y[t] = Reshape(Mul(o, Scalar(o, scale)), 3, ((int64_t[]){b, 1, heads * d_v}));
    }
    e->y[0] = to_dtype(concat_all((int)steps, y, 1), given);
    if (e->ny > 1)
        e->y[1] = to_dtype(Identity(s), past_dtype);
}

const og_op og_ops_attention[] = {
    {"Attention", NULL, 3, 7, 1, 4, attention_infer, .expand = attention_expand},
    {"RotaryEmbedding", NULL, 3, 4, 1, 1, rotary_infer, .expand = rotary_expand},
    {"TensorScatter", NULL, 2, 3, 1, 1, tensor_scatter_infer, .expand = tensor_scatter_expand},
    {"CausalConvWithState", NULL, 2, 4, 1, 2, causal_conv_infer, .expand = causal_conv_expand},
    {"LinearAttention", NULL, 3, 6, 1, 2, linear_attention_infer,
     .expand = linear_attention_expand},
    {0},
};
