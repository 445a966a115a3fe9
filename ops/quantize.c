/* Quantization and integer products, for inference: all are definitions. QuantizeLinear has no
 * gradient by definition (rounding has none, and ONNX defines no other); DequantizeLinear has one
 * for its scale. Integer products are computed in double, which is exact below 2⁵³. */
#include "ops/window_rules.h"

/* Whole numbers that an integer type holds; false for other types. */
static bool range_of(og_dtype dtype, double *low, double *high)
{
    int bits = og_dtype_bits(dtype);
    if (!og_dtype_is_int(dtype) || bits > 32)
        return false;
    bool has_sign = dtype == OG_INT4 || dtype == OG_INT8 || dtype == OG_INT16 || dtype == OG_INT32;
    *low = has_sign ? -ldexp(1, bits - 1) : 0;
    *high = ldexp(1, has_sign ? bits - 1 : bits) - 1;
    return true;
}

/* ---- scales that go with x */

/* The scale (or zero point) is one number, or a vector along `axis`, or with block_size > 0 has one
 * entry for that many neighbours along it. */
static bool need_scale(og_infer *i, int input, const char *what)
{
    const og_type *x = &i->x[0]->type, *s = &i->x[input]->type;
    int64_t block = og_attr_int(i->node, "block_size", 0);
    int axis;
    if (s->rank == 0 || (s->rank == 1 && s->dims[0] == 1))
        return true;
    if (!need_axis(i, og_attr_int(i->node, "axis", 1), x->rank, &axis))
        return false;
    bool fits = block ? s->rank == x->rank : s->rank == 1 && s->dims[0] == x->dims[axis];
    for (int k = 0; block && fits && k < x->rank; k++)
        fits =
            k == axis ? s->dims[k] == (x->dims[k] + block - 1) / block : s->dims[k] == x->dims[k];
    return fits || og_infer_error(i, "%s (input %d) is %s, which does not fit %s along axis %d",
                                  what, input, TypeText(i, s), TypeText(i, x), axis);
}

/* The scale in a shape that broadcasts to x. */
static og_val spread(const og_expand *e, og_val s)
{
    og_val x = e->x[0];
    int rank = Rank(x);
    int64_t block = og_attr_int(e->node, "block_size", 0), dims[OG_MAX_RANK];
    if (Count(s) == 1 && Rank(s) <= 1)
        return Reshape(s, 0, NULL);
    int axis = positive_axis(og_attr_int(e->node, "axis", 1), rank);
    if (block == 0) {
        for (int k = 0; k < rank; k++)
            dims[k] = k == axis ? Dim(s, 0) : 1;
        return Reshape(s, rank, dims);
    }
    og_val index = arange(e->g, Dim(x, axis), 0);
    return Op("Gather", In(s, Div(index, Scalar(index, (double)block))), I("axis", axis));
}

/* ---- QuantizeLinear */

static og_dtype quantized_type(const og_node *n, const og_value *zero)
{
    int64_t given = og_attr_int(n, "output_dtype", 0);
    return zero ? zero->type.dtype : given ? (og_dtype)given : OG_UINT8;
}

static bool quantize_infer(og_infer *i)
{
    if (!need_type_attr(i, "output_dtype") || !need_type_attr(i, "precision"))
        return false;
    i->y[0] = i->x[0]->type;
    i->y[0].dtype = quantized_type(i->node, present(i, 2) ? i->x[2] : NULL);
    if (og_dtype_bits(i->y[0].dtype) == 0 || og_dtype_bits(i->y[0].dtype) > 32)
        return og_infer_error(i, "the result is %s, expected a type of at most 32 bits",
                              og_dtype_name(i->y[0].dtype));
    return need_number(i, 0) && need_scale(i, 1, "y_scale") &&
           (!present(i, 2) || need_scale(i, 2, "y_zero_point"));
}

/* y = saturate(round(v) + zero point) in `dtype`, v in a float type */
static og_val saturate(const og_expand *e, og_val v, og_val zero, og_dtype dtype)
{
    double low, high;
    if (!range_of(dtype, &low, &high)) {
        v = Has(zero) ? Add(v, Cast(zero, DType(v))) : v;
        return Op("Cast", In(v), I("to", dtype),
                  I("saturate", og_attr_int(e->node, "saturate", 1)));
    }
    v = Round(v);
    v = Has(zero) ? Add(v, Cast(zero, DType(v))) : v;
    return Cast(Min(Max(v, Scalar(v, low)), Scalar(v, high)), dtype);
}

/* v = x / scale, in attribute precision, else in the scale's type; half precision is divided in
 * float, for rounding follows */
static void quantize_expand(og_expand *e)
{
    og_val x = e->x[0], scale = spread(e, e->x[1]), zero = OG_NONE;
    int64_t precision = og_attr_int(e->node, "precision", 0);
    og_dtype wide = precision ? (og_dtype)precision : DType(scale);
    wide = og_dtype_is_float(wide) && og_dtype_bits(wide) >= 32 ? wide : OG_FLOAT;
    if (e->nx > 2 && Has(e->x[2]))
        zero = spread(e, Cast(e->x[2], wide));
    og_val v = Div(to_dtype(x, wide), to_dtype(scale, wide));
    e->y[0] =
        saturate(e, v, zero, quantized_type(e->node, Has(zero) ? og_value_of(e->x[2]) : NULL));
}

/* ---- DequantizeLinear */

static bool dequantize_infer(og_infer *i)
{
    int64_t given = og_attr_int(i->node, "output_dtype", 0);
    if (!need_type_attr(i, "output_dtype"))
        return false;
    i->y[0] = i->x[0]->type;
    i->y[0].dtype = given ? (og_dtype)given : i->x[1]->type.dtype;
    return need_number(i, 0) && need_float(i, 1) && need_scale(i, 1, "x_scale") &&
           (!present(i, 2) || need_scale(i, 2, "x_zero_point"));
}

/* y = (x − zero point) · scale */
static void dequantize_expand(og_expand *e)
{
    og_val scale = spread(e, e->x[1]);
    int64_t given = og_attr_int(e->node, "output_dtype", 0);
    og_dtype dtype = given ? (og_dtype)given : DType(scale), wide = DType(scale);
    wide = og_dtype_bits(wide) < 32 ? OG_FLOAT : wide;
    og_dtype difference = og_dtype_is_int(DType(e->x[0])) ? OG_DOUBLE : wide; /* exact for int32 */
    og_val x = to_dtype(e->x[0], difference);
    if (e->nx > 2 && Has(e->x[2]))
        x = Sub(x, spread(e, to_dtype(e->x[2], difference)));
    e->y[0] = to_dtype(Mul(to_dtype(x, wide), to_dtype(scale, wide)), dtype);
}

/* ---- DynamicQuantizeLinear */

static bool dynamic_infer(og_infer *i)
{
    if (!need_dtype(i, 0, OG_FLOAT))
        return false;
    const og_type types[3] = {i->x[0]->type, {.dtype = OG_FLOAT}, {.dtype = OG_UINT8}};
    for (int k = 0; k < i->ny; k++)
        i->y[k] = types[k];
    i->y[0].dtype = OG_UINT8;
    return true;
}

/* scale = (max(x, 0) − min(x, 0)) / 255, zero point = saturate(round(−min(x, 0) / scale)) */
static void dynamic_expand(og_expand *e)
{
    og_val x = e->x[0];
    og_val high = Max(Reduce("ReduceMax", x, 0, NULL, false), Zero(x)),
           low = Min(Reduce("ReduceMin", x, 0, NULL, false), Zero(x));
    og_val scale = Div(Sub(high, low), Scalar(x, 255));
    og_val zero = saturate(e, Div(Neg(low), scale), OG_NONE, OG_UINT8);
    e->y[0] = saturate(e, Div(x, scale), zero, OG_UINT8);
    if (e->ny > 1)
        e->y[1] = scale;
    if (e->ny > 2)
        e->y[2] = zero;
}

/* ---- integer products */

/* A zero point of a matrix's rows or columns: a vector becomes a column (of the left operand) or
 * stays a row. */
static og_val matrix_zero(og_val zero, bool left)
{
    if (Rank(zero) == 1 && Dim(zero, 0) == 1)
        return Reshape(zero, 0, NULL);
    return left && Rank(zero) == 1 ? Reshape(zero, 2, ((int64_t[]){Dim(zero, 0), 1})) : zero;
}

static og_val centred(og_val x, og_val zero)
{
    x = Cast(x, OG_DOUBLE);
    return Has(zero) ? Sub(x, Cast(zero, OG_DOUBLE)) : x;
}

static bool product_types(og_infer *i, int a, int b)
{
    return (og_dtype_bits(i->x[a]->type.dtype) == 8 && og_dtype_bits(i->x[b]->type.dtype) == 8) ||
           og_infer_error(i, "the operands are %s and %s, expected 8-bit types",
                          TypeText(i, &i->x[a]->type), TypeText(i, &i->x[b]->type));
}

/* The shape of MatMul's result. */
static bool matmul_shape(og_infer *i, int a, int b, og_dtype dtype)
{
    og_type ta = i->x[a]->type, tb = i->x[b]->type;
    if (ta.rank < 2 || tb.rank < 2 || ta.dims[ta.rank - 1] != tb.dims[tb.rank - 2])
        return og_infer_error(i, "%s and %s do not multiply", TypeText(i, &ta), TypeText(i, &tb));
    int64_t rows = ta.dims[ta.rank - 2], columns = tb.dims[tb.rank - 1];
    ta.rank -= 2;
    tb.rank -= 2;
    og_type y = {.dtype = dtype};
    if (!broadcast(i, &ta, &tb, &y))
        return false;
    y.dims[y.rank++] = rows;
    y.dims[y.rank++] = columns;
    i->y[0] = y;
    return true;
}

static bool matmul_integer_infer(og_infer *i)
{
    return product_types(i, 0, 1) && matmul_shape(i, 0, 1, OG_INT32);
}

static void matmul_integer_expand(og_expand *e)
{
    og_val za = e->nx > 2 && Has(e->x[2]) ? matrix_zero(e->x[2], true) : OG_NONE,
           zb = e->nx > 3 && Has(e->x[3]) ? matrix_zero(e->x[3], false) : OG_NONE;
    e->y[0] = Cast(MatMul(centred(e->x[0], za), centred(e->x[1], zb)), OG_INT32);
}

static bool qlinear_matmul_infer(og_infer *i)
{
    return product_types(i, 0, 3) && matmul_shape(i, 0, 3, i->x[7]->type.dtype);
}

/* y = saturate(round(Σ (a − za) (b − zb) · sa sb / sy) + zy) */
static og_val requantize(const og_expand *e, og_val sum, og_val scale, og_val y_scale, og_val zero)
{
    return saturate(e, Div(Mul(sum, scale), Cast(y_scale, OG_DOUBLE)), zero, DType(zero));
}

static void qlinear_matmul_expand(og_expand *e)
{
    const og_val *x = e->x;
    og_val sum =
        MatMul(centred(x[0], matrix_zero(x[2], true)), centred(x[3], matrix_zero(x[5], false)));
    og_val scale =
        Mul(Cast(matrix_zero(x[1], true), OG_DOUBLE), Cast(matrix_zero(x[4], false), OG_DOUBLE));
    e->y[0] = requantize(e, sum, scale, matrix_zero(x[6], true), matrix_zero(x[7], true));
}

static bool conv_shape(og_infer *i, int x, int w, og_dtype dtype)
{
    const og_type *tx = &i->x[x]->type, *tw = &i->x[w]->type;
    og_window win;
    if (!product_types(i, x, w) || !need_rank_from(i, x, "input", 3) ||
        !need_rank(i, w, "weight", tx->rank) || !read_window(i, tx, tw->dims + 2, &win))
        return false;
    int64_t group = og_attr_int(i->node, "group", 1);
    if (group < 1 || tw->dims[1] * group != tx->dims[1] || tw->dims[0] % group)
        return og_infer_error(i, "group %" PRId64 " does not fit %s and %s", group, TypeText(i, tx),
                              TypeText(i, tw));
    i->y[0] = *tx;
    i->y[0].dtype = dtype;
    i->y[0].dims[1] = tw->dims[0];
    memcpy(i->y[0].dims + 2, win.out, sizeof(int64_t) * (size_t)win.n);
    return true;
}

static bool conv_integer_infer(og_infer *i)
{
    return conv_shape(i, 0, 1, OG_INT32);
}

/* A number a filter: [M] as [M, 1, 1 …] in front of w's dims, or of y's without the batch. */
static og_val per_filter(og_val v, int rank)
{
    int64_t dims[OG_MAX_RANK] = {Dim(v, 0)};
    if (Rank(v) == 0 || Count(v) == 1)
        return Reshape(v, 0, NULL);
    for (int k = 1; k < rank; k++)
        dims[k] = 1;
    return Reshape(v, rank, dims);
}

static og_val integer_conv(og_expand *e, og_val x, og_val zx, og_val w, og_val zw)
{
    zw = Has(zw) ? per_filter(zw, Rank(w)) : zw;
    zx = Has(zx) ? Reshape(zx, 0, NULL) : zx;
    return og_ops_like(OG_HERE, "Conv", 1, In(centred(x, zx), centred(w, zw)), e->node).y[0];
}

static void conv_integer_expand(og_expand *e)
{
    e->y[0] = Cast(integer_conv(e, e->x[0], e->nx > 2 ? e->x[2] : OG_NONE, e->x[1],
                                e->nx > 3 ? e->x[3] : OG_NONE),
                   OG_INT32);
}

static bool qlinear_conv_infer(og_infer *i)
{
    return conv_shape(i, 0, 3, i->x[7]->type.dtype);
}

static void qlinear_conv_expand(og_expand *e)
{
    const og_val *x = e->x;
    og_val sum = integer_conv(e, x[0], x[2], x[3], x[5]);
    int rank = Rank(sum) - 1;
    if (e->nx > 8 && Has(x[8]))
        sum = Add(sum, per_filter(Cast(x[8], OG_DOUBLE), rank));
    og_val scale =
        Mul(Cast(Reshape(x[1], 0, NULL), OG_DOUBLE), per_filter(Cast(x[4], OG_DOUBLE), rank));
    e->y[0] = requantize(e, sum, scale, Reshape(x[6], 0, NULL), Reshape(x[7], 0, NULL));
}

#define NEVER .diff = OG_DIFF_NEVER

const og_op og_ops_quantize[] = {
    {"QuantizeLinear", NULL, 2, 3, 1, 1, quantize_infer, .expand = quantize_expand, NEVER},
    {"DequantizeLinear", NULL, 2, 3, 1, 1, dequantize_infer, .expand = dequantize_expand},
    {"DynamicQuantizeLinear", NULL, 1, 1, 1, 3, dynamic_infer, .expand = dynamic_expand, NEVER},
    {"MatMulInteger", NULL, 2, 4, 1, 1, matmul_integer_infer, .expand = matmul_integer_expand,
     NEVER},
    {"QLinearMatMul", NULL, 8, 8, 1, 1, qlinear_matmul_infer, .expand = qlinear_matmul_expand,
     NEVER},
    {"ConvInteger", NULL, 2, 4, 1, 1, conv_integer_infer, .expand = conv_integer_expand, NEVER},
    {"QLinearConv", NULL, 8, 9, 1, 1, qlinear_conv_infer, .expand = qlinear_conv_expand, NEVER},
    {0},
};
