/* Matrix products, and Det. MatMul is the one primitive: vectors, matrices and stacks of matrices
 * as in numpy. */
#include "ops/matmul.h"

#include "ops/common.h"

/* ---- MatMul */

/* y = a b: a [… m, k] (or [k]), b [… k, n] (or [k]), y [… m, n] without the dims a vector lacks */
static bool matmul_infer(og_infer *i)
{
    const og_type *a = &i->x[0]->type, *b = &i->x[1]->type;
    if (!need_number(i, 0) || !need_same(i, 0, 1) || !need_rank_from(i, 0, "A", 1) ||
        !need_rank_from(i, 1, "B", 1))
        return false;
    int k_axis = b->rank > 1 ? b->rank - 2 : 0;
    if (a->dims[a->rank - 1] != b->dims[k_axis])
        return og_infer_error(i,
                              "dim %d of %s is %" PRId64 ", expected %" PRId64
                              " (dim %d of %s, which it is multiplied with)",
                              a->rank - 1, TypeText(i, a), a->dims[a->rank - 1], b->dims[k_axis],
                              k_axis, TypeText(i, b));
    og_type batch_a = *a, batch_b = *b, y = {.dtype = a->dtype};
    batch_a.rank = a->rank > 2 ? a->rank - 2 : 0;
    batch_b.rank = b->rank > 2 ? b->rank - 2 : 0;
    if (!broadcast(i, &batch_a, &batch_b, &y))
        return false;
    if (a->rank > 1)
        y.dims[y.rank++] = a->dims[a->rank - 2];
    if (b->rank > 1)
        y.dims[y.rank++] = b->dims[b->rank - 1];
    i->y[0] = y;
    return true;
}

/* v, of any shape, as `matrix` with its leading dims multiplied out: [rows, cols] */
static og_val flat(og_val v, int64_t cols)
{
    int64_t rows = cols > 0 ? Count(v) / cols : 0;
    return Reshape(v, 2, ((int64_t[]){rows, cols}));
}

/* dA = dY Bᵀ,  dB = Aᵀ dY; stacks that were broadcast are summed by the pass. Where B is one matrix
 * for a stack of A, the stack is multiplied out first, so that dB is one large product. A vector
 * counts as [1, k] or [k, 1]. */
static void matmul_grad(og_grad *d)
{
    og_val a = d->x[0], b = d->x[1], dy = d->dy[0];
    bool vector_a = Rank(a) == 1, vector_b = Rank(b) == 1;
    int64_t k = Dim(a, -1), m = vector_a ? 1 : Dim(a, -2), n = vector_b ? 1 : Dim(b, -1);
    if (vector_a)
        a = Reshape(a, 2, ((int64_t[]){1, k}));
    if (vector_b)
        b = Reshape(b, 2, ((int64_t[]){k, 1}));
    og_type t = *og_type_of(d->dy[0]);
    t.rank -= !vector_a + !vector_b;
    t.dims[t.rank++] = m;
    t.dims[t.rank++] = n;
    dy = Reshape(dy, t.rank, t.dims);

    og_val da = OG_NONE, db = OG_NONE;
    if (Rank(b) == 2 && k > 0 && n > 0) {
        og_val dy2 = flat(dy, n);
        if (d->need[0])
            da = ReshapeLike(MatMul(dy2, SwapLast(b)), a);
        if (d->need[1])
            db = MatMul(SwapLast(flat(a, k)), dy2);
    } else {
        if (d->need[0])
            da = MatMul(dy, SwapLast(b));
        if (d->need[1])
            db = MatMul(SwapLast(a), dy);
    }
    if (d->need[0])
        d->dx[0] = vector_a ? ReshapeLike(SumTo(da, a), d->x[0]) : da;
    if (d->need[1])
        d->dx[1] = vector_b ? ReshapeLike(SumTo(db, b), d->x[1]) : db;
}

/* ---- Gemm */

/* y = alpha A' B' + beta C: A' [M, K], B' [K, N], C broadcasts to [M, N] */
static bool gemm_infer(og_infer *i)
{
    const og_type *a = &i->x[0]->type, *b = &i->x[1]->type;
    if (!need_number(i, 0) || !need_all_same(i) || !need_rank(i, 0, "A", 2) ||
        !need_rank(i, 1, "B", 2))
        return false;
    int ta = og_attr_int(i->node, "transA", 0) != 0, tb = og_attr_int(i->node, "transB", 0) != 0;
    int64_t k = a->dims[1 - ta];
    if (b->dims[tb] != k)
        return og_infer_error(i,
                              "dim %d of B is %" PRId64 ", expected %" PRId64
                              " (dim %d of A; transA %d, transB %d)",
                              tb, b->dims[tb], k, 1 - ta, ta, tb);
    og_type y = {.dtype = a->dtype, .rank = 2, .dims = {a->dims[ta], b->dims[1 - tb]}};
    if (present(i, 2) && !need_stretch(i, 2, "C", &y))
        return false;
    i->y[0] = y;
    return true;
}

static void gemm_expand(og_expand *e)
{
    og_val a = e->x[0], b = e->x[1];
    double alpha = og_attr_float(e->node, "alpha", 1), beta = og_attr_float(e->node, "beta", 1);
    if (og_attr_int(e->node, "transA", 0))
        a = SwapLast(a);
    if (og_attr_int(e->node, "transB", 0))
        b = SwapLast(b);
    og_val y = MatMul(a, b);
    if (alpha != 1)
        y = Mul(y, Scalar(y, alpha));
    if (e->nx > 2 && Has(e->x[2]) && beta != 0)
        y = Add(y, beta == 1 ? e->x[2] : Mul(e->x[2], Scalar(y, beta)));
    e->y[0] = y;
}

/* 2 M N K for each matrix of the result: K is the last axis of a (of op(a) for Gemm). */
static double matmul_flops(const og_node *n, const og_value *const *x, const og_type *y)
{
    const og_type *a = &x[0]->type;
    int64_t k = og_attr_int(n, "transA", 0) ? a->dims[0] : a->dims[a->rank - 1];
    return 2.0 * (double)og_type_elements(y) * (double)k;
}

/* ---- Det */

enum { MAX_MATRIX = 5 }; /* of Det; the number of terms is its factorial */

/* x [*, n, n] → y [*] */
static bool det_infer(og_infer *i)
{
    const og_type *x = &i->x[0]->type;
    if (!need_float(i, 0) || !need_rank_from(i, 0, "X", 2))
        return false;
    int64_t n = x->dims[x->rank - 1];
    if (n < 1 || x->dims[x->rank - 2] != n)
        return og_infer_error(i, "X is %s, expected square matrices", TypeText(i, x));
    if (n > MAX_MATRIX)
        return og_node_fail(i->g, i->node, OG_UNSUPPORTED,
                            "X is %s; matrices of at most %d rows are supported", TypeText(i, x),
                            MAX_MATRIX);
    i->y[0] = *x;
    i->y[0].rank -= 2;
    return true;
}

/* The determinant of the columns that are not `used`, from row `row` on: Laplace's expansion. */
static og_val minor_of(og_val x, int n, int row, unsigned used)
{
    og_val sum = OG_NONE;
    int sign = 1;
    for (int k = 0; k < n; k++) {
        if (used >> k & 1)
            continue;
        og_val v = Slice(Slice(x, Rank(x) - 2, row, 1), Rank(x) - 1, k, 1);
        if (row + 1 < n)
            v = Mul(v, minor_of(x, n, row + 1, used | 1u << k));
        sum = !Has(sum) ? v : sign > 0 ? Add(sum, v) : Sub(sum, v);
        sign = -sign;
    }
    return sum;
}

static void det_expand(og_expand *e)
{
    og_val x = e->x[0];
    e->y[0] = Reshape(minor_of(x, (int)Dim(x, -1), 0, 0), Rank(x) - 2, og_type_of(x)->dims);
}

/* WideMatMul: MatMul of half operands with a float32 result; by definition rounded to half on the
 * way */
static bool wide_matmul_infer(og_infer *i)
{
    if (!matmul_infer(i))
        return false;
    i->y[0].dtype = OG_FLOAT;
    return true;
}

static void wide_matmul_expand(og_expand *e)
{
    e->y[0] = Cast(MatMul(e->x[0], e->x[1]), OG_FLOAT);
}

/* ---- MatMulEpilogue */

og_matmul_form og_matmul_form_of(const og_node *n)
{
    const char *form = og_attr_string(n, "form", "");
    for (int f = 0; f < OG_MATMUL_FORMS; f++)
        if (strcmp(form, og_matmul_form_names[f]) == 0)
            return f;
    return OG_MATMUL_FORMS;
}

/* The third input of forms that have one: a bias [n], or x as y. */
static bool epilogue_operand(og_infer *i, og_matmul_form form, const og_type *y)
{
    bool has = form < OG_MATMUL_SUM_A, bias = form < OG_MATMUL_RELU_GRAD;
    if (present(i, 2) != has)
        return og_infer_error(i, "form %s takes %d inputs", og_matmul_form_names[form],
                              has ? 3 : 2);
    if (!has)
        return true;
    const og_type *t = &i->x[2]->type;
    og_type wanted = *y;
    if (bias)
        wanted = og_type_make(y->dtype, 1, &y->dims[y->rank - 1]);
    return og_type_equal(t, &wanted) ||
           og_infer_error(i, "input 2 is %s, expected %s", TypeText(i, t), TypeText(i, &wanted));
}

static bool matmul_epilogue_infer(og_infer *i)
{
    og_matmul_form form = og_matmul_form_of(i->node);
    bool wide = og_attr_int(i->node, "wide", 0) != 0;
    if (form == OG_MATMUL_FORMS)
        return og_infer_error(i, "attribute form is %s, which there is not",
                              og_attr_string(i->node, "form", "\"\""));
    if (!need_float(i, 0) || !need_rank_from(i, 0, "A", 2) || !need_rank(i, 1, "B", 2) ||
        (form == OG_MATMUL_SUM_A && !need_rank(i, 0, "A", 2)) || !matmul_infer(i))
        return false;
    og_type *y = &i->y[0];
    if (wide)
        y->dtype = OG_FLOAT;
    if (!epilogue_operand(i, form, y))
        return false;
    if (i->ny < 2)
        return true;
    if (form < OG_MATMUL_GELU)
        return og_infer_error(i, "form %s has one output", og_matmul_form_names[form]);
    int axis = form == OG_MATMUL_SUM_A ? y->rank - 2 : y->rank - 1;
    i->y[1] = form == OG_MATMUL_GELU ? *y : og_type_make(y->dtype, 1, &y->dims[axis]);
    return true;
}

/* Σ over all axes but `axis`, in y's type. */
static og_val sum_beside(og_val v, int axis, og_dtype dtype)
{
    int axes[OG_MAX_RANK], n = 0;
    for (int a = 0; a < Rank(v); a++)
        if (a != axis)
            axes[n++] = a;
    return Reduce("ReduceSum", DType(v) == dtype ? v : Cast(v, dtype), n, axes, false);
}

static void matmul_epilogue_expand(og_expand *e)
{
    og_matmul_form form = og_matmul_form_of(e->node);
    og_val a = e->x[0], b = e->x[1], x = e->nx > 2 ? e->x[2] : OG_NONE;
    bool wide = og_attr_int(e->node, "wide", 0) && DType(a) != OG_FLOAT;
    og_val y = wide ? Op(OG_DOMAIN "::WideMatMul", In(a, b)) : MatMul(a, b), sum;
    switch (form) {
    case OG_MATMUL_BIAS:
    case OG_MATMUL_RELU:
    case OG_MATMUL_GELU:
        sum = Add(y, x);
        y = form == OG_MATMUL_RELU   ? Relu(sum)
            : form == OG_MATMUL_GELU ? Op(OG_DOMAIN "::GeluTanh", In(sum))
                                     : sum;
        break;
    case OG_MATMUL_RELU_GRAD:
        y = Where(Greater(x, Zero(x)), y, Zero(y));
        sum = sum_beside(y, Rank(y) - 1, DType(y));
        break;
    case OG_MATMUL_GELU_GRAD:
        y = Op(OG_DOMAIN "::GeluTanhGrad", In(y, x));
        sum = sum_beside(y, Rank(y) - 1, DType(y));
        break;
    case OG_MATMUL_SUM_A:
        sum = sum_beside(a, 0, DType(y));
        break;
    default:
        sum = sum_beside(b, 1, DType(y));
        break;
    }
    e->y[0] = y;
    if (e->ny > 1)
        e->y[1] = sum;
}

const og_op og_ops_matmul[] = {
    {"MatMul", NULL, 2, 2, 1, 1, matmul_infer, .grad = matmul_grad, .flops = matmul_flops,
     .precision = OG_PRECISION_HALF, .wide = "WideMatMul"},
    {"WideMatMul", OG_DOMAIN, 2, 2, 1, 1, wide_matmul_infer, .expand = wide_matmul_expand,
     .flops = matmul_flops},
    {"MatMulEpilogue", OG_DOMAIN, 2, 3, 1, 2, matmul_epilogue_infer,
     .expand = matmul_epilogue_expand, .flops = matmul_flops},
    {"Gemm", NULL, 2, 3, 1, 1, gemm_infer, .expand = gemm_expand, .flops = matmul_flops,
     .precision = OG_PRECISION_HALF},
    {"Det", NULL, 1, 1, 1, 1, det_infer, .expand = det_expand, .precision = OG_PRECISION_FLOAT},
    {0},
};
