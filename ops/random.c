/* Random numbers, and Dropout.
 *
 * Every random number is a pure function: of the position (seed, update, micro-batch: a state of
 * the step), of the node (its `key`, which the pass that builds the training form deals out), and
 * of the element's index. So results depend neither on threads nor on layout, and a mask read again
 * is the same mask. The internal ops Random and KeepMask hold the generator; everything else is
 * defined by them. Attribute `seed` of the standard ops is not read: the session's seed decides. */
#include "ops/common.h"

/* ---- the generator: Threefry-2x32 with 20 rounds (Salmon et al., Parallel random numbers: as easy
 * as 1, 2, 3, 2011), in standard ops */

/* Words are int64 from 0 to 2³² − 1; no product below reaches 2⁶². */
static og_val wrap(og_val a)
{
    return Op("Mod", In(a, Scalar(a, 4294967296.0)));
}

static og_val rotate(og_val a, int by)
{
    og_val high = wrap(Mul(a, Scalar(a, (double)(1u << by))));
    return Add(high, Div(a, Scalar(a, (double)(1ull << (32 - by)))));
}

static void threefry(const og_val key[2], const og_val counter[2], og_val out[2])
{
    static const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    og_val parity = Scalar(key[0], 0x1BD11BDA);
    og_val keys[3] = {key[0], key[1],
                      Op("BitwiseXor", In(Op("BitwiseXor", In(key[0], key[1])), parity))};
    og_val a = wrap(Add(counter[0], keys[0])), b = wrap(Add(counter[1], keys[1]));
    for (int round = 0; round < 20; round++) {
        a = wrap(Add(a, b));
        b = Op("BitwiseXor", In(rotate(b, rotations[round % 8]), a));
        if (round % 4 == 3) {
            int s = round / 4 + 1;
            a = wrap(Add(a, keys[s % 3]));
            b = wrap(Add(b, Add(keys[(s + 1) % 3], Scalar(b, s))));
        }
    }
    out[0] = a;
    out[1] = b;
}

/* The low and the high word of an int64. */
static void words_of(og_val v, og_val words[2])
{
    words[0] = wrap(v);
    words[1] = wrap(Div(Sub(v, words[0]), Scalar(v, 4294967296.0)));
}

/* Words for n elements, int64 [n]: the block of elements 2b and 2b + 1 is
 *     threefry(k₂, b), k₂ = threefry(k₁, (micro, key)), k₁ = threefry(seed, update) */
static og_val random_words(og_graph *g, og_val position, int64_t key, int64_t n)
{
    og_val part[3], a[2], b[2], k[2];
    for (int i = 0; i < 3; i++)
        part[i] = Reshape(Slice(position, 0, i, 1), 0, NULL);
    words_of(part[0], a);
    words_of(part[1], b);
    threefry(a, b, k);
    b[0] = wrap(part[2]);
    b[1] = og_const_int(g, key);
    threefry(k, b, a);
    og_val pair[2];
    words_of(arange(g, (n + 1) / 2, 1), b);
    threefry(a, b, pair);
    og_val all = Reshape(concat_all(2, pair, 1), 1, ((int64_t[]){(n + 1) / 2 * 2}));
    return Slice(all, 0, 0, n);
}

static bool random_words_infer(og_infer *i, og_dtype dtype)
{
    return need_dtype(i, 0, OG_INT64) && need_vector(i, 0, "position", 3, "seed, update, micro") &&
           type_from_attr(i, "y_dims", dtype, &i->y[0]);
}

static bool uniform_infer(og_infer *i)
{
    return random_words_infer(i, OG_FLOAT);
}

/* Random: y = ⌊word / 2⁸⌋ 2⁻²⁴, from 0 to below 1 */
static void uniform_expand(og_expand *e)
{
    const int64_t *dims;
    int rank = og_attr_ints(e->node, "y_dims", &dims);
    int64_t n = 1;
    for (int k = 0; k < rank; k++)
        n *= dims[k];
    og_val words = random_words(e->g, e->x[0], og_attr_int(e->node, "key", 0), n);
    og_val y = Cast(Div(words, Scalar(words, 256)), OG_FLOAT);
    e->y[0] = Reshape(Mul(y, Scalar(y, 0x1p-24)), rank, dims);
}

static bool keep_infer(og_infer *i)
{
    return random_words_infer(i, OG_BOOL) && need_float(i, 1) && need_scalar(i, 1, "ratio");
}

/* KeepMask: y = Random ≥ ratio */
static void keep_expand(og_expand *e)
{
    og_val u = og_ops_like(OG_HERE, OG_DOMAIN "::Random", 1, In(e->x[0]), e->node).y[0];
    og_val ratio = Reshape(e->x[1], 0, NULL);
    e->y[0] = GreaterOrEqual(to_dtype(u, DType(ratio)), ratio);
}

/* ---- Dropout */

/* Is the node surely the identity: not in training mode, or with ratio 0? Input 2 absent: not in
 * training mode. */
static bool drops_nothing(og_val ratio, og_val training)
{
    const og_value *r = Has(ratio) ? og_value_of(ratio) : NULL,
                   *t = Has(training) ? og_value_of(training) : NULL;
    return !t || (is_const(t) && og_value_double(t, 0) == 0) ||
           (r && is_const(r) && og_value_double(r, 0) == 0);
}

static og_val all_true(og_val x)
{
    og_type mask = *og_type_of(x);
    mask.dtype = OG_BOOL;
    return og_full(x.g, &mask, 1);
}

/* y = x, mask = true */
static bool dropout_resolve(og_resolve *r)
{
    og_val x = r->x[0].v;
    if (!Has(x) || !drops_nothing(r->nx > 1 ? r->x[1].v : OG_NONE, r->nx > 2 ? r->x[2].v : OG_NONE))
        return false;
    r->y[0] = (og_item){.v = Identity(x)};
    if (r->ny > 1)
        r->y[1] = (og_item){.v = all_true(x)};
    return true;
}

/* ratio may have any float type: opsets below 12 had it as an attribute. */
static bool dropout_infer(og_infer *i)
{
    if (!need_float(i, 0) || (present(i, 1) && !(need_float(i, 1) && need_scalar(i, 1, "ratio"))) ||
        (present(i, 2) && !(need_dtype(i, 2, OG_BOOL) && need_scalar(i, 2, "training_mode"))))
        return false;
    if (present(i, 1) && is_const(i->x[1])) {
        double ratio = og_value_double(i->x[1], 0);
        if (!(ratio >= 0 && ratio <= 1))
            return og_infer_error(i, "ratio is %g, expected 0 to 1", ratio);
    }
    for (int k = 0; k < i->ny; k++)
        i->y[k] = i->x[0]->type;
    if (i->ny > 1)
        i->y[1].dtype = OG_BOOL;
    return true;
}

/* mask = KeepMask(ratio), where training mode is not decided by data: or not training
 * y = mask ? x / (1 − ratio) : 0 */
static void dropout_expand(og_expand *e)
{
    og_val x = e->x[0], ratio = e->nx > 1 ? e->x[1] : OG_NONE,
           training = e->nx > 2 ? e->x[2] : OG_NONE;
    if (drops_nothing(ratio, training)) {
        e->y[0] = Identity(x);
        if (e->ny > 1)
            e->y[1] = all_true(x);
        return;
    }
    ratio = Has(ratio) ? Reshape(ratio, 0, NULL) : og_const_double(e->g, OG_FLOAT, 0.5);
    og_val mask = Op(OG_DOMAIN "::KeepMask", In(e->position, ratio), I("key", e->key),
                     Is("y_dims", Rank(x), og_type_of(x)->dims));
    og_val kept = Sub(One(ratio), ratio);
    if (!is_const(og_value_of(training))) {
        og_val on = Reshape(training, 0, NULL);
        mask = Or(mask, Not(on));
        kept = Where(on, kept, One(kept));
    }
    og_val scale = to_dtype(Reciprocal(kept), DType(x));
    if (is_const(og_value_of(ratio))) { /* a scalar constant, and no infinity for ratio 1 */
        double r = og_value_double(og_value_of(ratio), 0);
        scale = is_const(og_value_of(training)) ? Scalar(x, r < 1 ? 1 / (1 - r) : 0) : scale;
    }
    e->y[0] = Where(mask, Mul(x, scale), Zero(x));
    if (e->ny > 1)
        e->y[1] = mask;
}

/* For evaluation Dropout is off, however it was exported. */
static void dropout_evaluate(og_expand *e)
{
    e->y[0] = Identity(e->x[0]);
    if (e->ny > 1)
        e->y[1] = all_true(e->x[0]);
}

/* Below opset 12, ratio was an attribute, and the op as exported did nothing. */
static bool dropout_upgrade_12(og_draft *d)
{
    return og_draft_float_to_input(d, "ratio", 1);
}

/* ---- random tensors */

static bool need_dtype_attr(og_infer *i, og_dtype fallback, og_dtype *dtype)
{
    int64_t d = og_attr_int(i->node, "dtype", fallback);
    *dtype = (og_dtype)d;
    return (d > OG_UNDEFINED && d < OG_DTYPE_COUNT) ||
           og_infer_error(i, "attribute dtype is %" PRId64 ", expected an element type", d);
}

/* Attribute shape */
static bool random_infer(og_infer *i)
{
    og_dtype dtype;
    if (!need_dtype_attr(i, OG_FLOAT, &dtype) || !type_from_attr(i, "shape", dtype, &i->y[0]))
        return false;
    for (int k = 0; k < i->y[0].rank; k++)
        if (i->y[0].dims[k] < 0)
            return og_infer_error(i, "shape dim %d is %" PRId64 ", expected 0 or more", k,
                                  i->y[0].dims[k]);
    return og_dtype_is_float(dtype) ||
           og_infer_error(i, "dtype is %s, expected a floating point type", og_dtype_name(dtype));
}

/* The shape of the input */
static bool random_like_infer(og_infer *i)
{
    i->y[0] = i->x[0]->type;
    return need_dtype_attr(i, i->x[0]->type.dtype, &i->y[0].dtype);
}

/* x [batch, classes] logits, y [batch, sample_size] class numbers */
static bool multinomial_infer(og_infer *i)
{
    int64_t n = og_attr_int(i->node, "sample_size", 1);
    i->y[0] = i->x[0]->type;
    if (!need_float(i, 0) || !need_rank(i, 0, "input", 2) ||
        !need_dtype_attr(i, OG_INT32, &i->y[0].dtype))
        return false;
    i->y[0].dims[1] = n;
    return n > 0 || og_infer_error(i, "sample_size is %" PRId64 ", expected 1 or more", n);
}

static og_val uniform(const og_expand *e, int rank, const int64_t *dims)
{
    return Op(OG_DOMAIN "::Random", In(e->position), I("key", e->key), Is("y_dims", rank, dims));
}

/* The node's shape and element type. */
static og_type random_type(const og_expand *e)
{
    const int64_t *dims;
    int rank = og_attr_ints(e->node, "shape", &dims);
    og_type t =
        e->nx > 0 && Has(e->x[0]) ? *og_type_of(e->x[0]) : og_type_make(OG_FLOAT, rank, dims);
    t.dtype = (og_dtype)og_attr_int(e->node, "dtype", t.dtype);
    return t;
}

/* y = low + (high − low) u */
static void random_uniform_expand(og_expand *e)
{
    og_type t = random_type(e);
    double low = og_attr_float(e->node, "low", 0), high = og_attr_float(e->node, "high", 1);
    og_val u = to_dtype(uniform(e, t.rank, t.dims), t.dtype);
    e->y[0] = Add(Mul(u, Scalar(u, high - low)), Scalar(u, low));
}

/* y = mean + scale √(−2 ln(1 − u)) cos 2πv (Box and Muller, 1958) */
static void random_normal_expand(og_expand *e)
{
    og_type t = random_type(e), one = {.dtype = OG_FLOAT, .rank = 1};
    one.dims[0] = og_type_elements(&t);
    og_val two = uniform(e, 2, ((int64_t[]){2, one.dims[0]}));
    og_val u = Reshape(Slice(two, 0, 0, 1), t.rank, t.dims),
           v = Reshape(Slice(two, 0, 1, 1), t.rank, t.dims);
    og_val radius = Sqrt(Mul(Scalar(u, -2), Log(Sub(One(u), u))));
    og_val y = to_dtype(Mul(radius, Cos(Mul(v, Scalar(v, 2 * M_PI)))), t.dtype);
    e->y[0] = Add(Mul(y, Scalar(y, og_attr_float(e->node, "scale", 1))),
                  Scalar(y, og_attr_float(e->node, "mean", 0)));
}

/* y = u < x */
static void bernoulli_expand(og_expand *e)
{
    og_type t = random_type(e);
    og_val x = e->x[0], u = to_dtype(uniform(e, t.rank, t.dims), DType(x));
    e->y[0] = Cast(Less(u, x), t.dtype);
}

/* y = how many classes the cumulative probability leaves below u */
static void multinomial_expand(og_expand *e)
{
    og_val x = e->x[0];
    int64_t batch = Dim(x, 0), classes = Dim(x, 1), n = og_attr_int(e->node, "sample_size", 1);
    og_val below = Op("CumSum", In(Op("Softmax", In(x), I("axis", -1)), og_const_int(e->g, 1)));
    below = Reshape(below, 3, ((int64_t[]){batch, 1, classes}));
    og_val u = to_dtype(uniform(e, 3, (int64_t[]){batch, n, 1}), DType(x));
    og_val count = Reduce("ReduceSum", Cast(LessOrEqual(below, u), OG_INT64), 1, (int[]){2}, false);
    e->y[0] = to_dtype(Min(count, Scalar(count, (double)(classes - 1))),
                       (og_dtype)og_attr_int(e->node, "dtype", OG_INT32));
}

#define RANDOM .diff = OG_DIFF_ZERO, .flags = OG_RANDOM

const og_op og_ops_random[] = {
    {"Dropout", NULL, 1, 3, 1, 2, dropout_infer, .resolve = dropout_resolve,
     .expand = dropout_expand, .evaluate = dropout_evaluate, .flags = OG_RANDOM,
     .upgrade = {{12, dropout_upgrade_12}}},
    {"RandomNormal", NULL, 0, 1, 1, 1, random_infer, .expand = random_normal_expand, RANDOM},
    {"RandomUniform", NULL, 0, 1, 1, 1, random_infer, .expand = random_uniform_expand, RANDOM},
    {"RandomNormalLike", NULL, 1, 1, 1, 1, random_like_infer, .expand = random_normal_expand,
     .type_only = 1 << 0, RANDOM},
    {"RandomUniformLike", NULL, 1, 1, 1, 1, random_like_infer, .expand = random_uniform_expand,
     .type_only = 1 << 0, RANDOM},
    {"Bernoulli", NULL, 1, 1, 1, 1, random_like_infer, .expand = bernoulli_expand, RANDOM},
    {"Multinomial", NULL, 1, 1, 1, 1, multinomial_infer, .expand = multinomial_expand, RANDOM},
    {"Random", OG_DOMAIN, 1, 1, 1, 1, uniform_infer, .expand = uniform_expand, .diff = OG_DIFF_ZERO,
     .flags = OG_CHEAP},
    {"KeepMask", OG_DOMAIN, 2, 2, 1, 1, keep_infer, .expand = keep_expand, .diff = OG_DIFF_ZERO,
     .flags = OG_CHEAP},
    {0},
};
