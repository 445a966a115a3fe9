/* The builder: gradients, losses, optimizers, definitions and models are all written with it.
 *
 *     Mul(dy, Sub(One(y), Mul(y, y)))
 *     Op("HardSigmoid", In(x), F("alpha", 1.0 / 6), F("beta", 0.5))
 *
 * Each call adds one node to the graph its operands carry, infers its type and returns its first
 * output. An error sticks to the graph; calls after it return a null value, and read nothing from
 * null operands. The short names are macros over og_…, which note the source line; include this
 * file only where graphs are built. */
#ifndef OG_GRAPH_BUILD_H
#define OG_GRAPH_BUILD_H

#include "runtime/graph/op.h"

typedef struct og_site {
    const char *file;
    int line;
} og_site;
#define OG_HERE ((og_site){__FILE__, __LINE__})

typedef struct og_vals {
    int n;
    const og_val *v;
} og_vals;

#define OG_MAX_OUT 8
typedef struct og_outs {
    og_val y[OG_MAX_OUT];
} og_outs;

/* ---- any op */

/* Inputs; OG_NONE for an absent one. */
#define OG_NONE ((og_val){0, -1})
#define In(...) \
    ((og_vals){(int)(sizeof((og_val[]){__VA_ARGS__}) / sizeof(og_val)), (og_val[]){__VA_ARGS__}})
/* Attributes: float, int, ints, string. */
#define F(key, value) ((og_attr){.name = (key), .kind = OG_ATTR_FLOAT, .f = (value)})
#define I(key, value) ((og_attr){.name = (key), .kind = OG_ATTR_INT, .i = (value)})
#define S(key, value) ((og_attr){.name = (key), .kind = OG_ATTR_STRING, .s = (value)})
#define Is(key, count, list) \
    ((og_attr){.name = (key), .kind = OG_ATTR_INTS, .n = (count), .ints = (list)})
/* Op("Name", In(…), attributes …): the first output. "ai.ongrad::Name" names an internal op. Lists
 * in attributes are copied. At least one input must be present, for it carries the graph. */
#define Op(op, in, ...) Ops(op, 1, in, ##__VA_ARGS__).y[0]
/* The same with n_out outputs (at most OG_MAX_OUT). */
#define Ops(op, n_out, in, ...) \
    og_ops(OG_HERE, op, n_out, in, (og_attr[OG_MOST_ATTRS + 1]){__VA_ARGS__})
#define OG_MOST_ATTRS 15 /* in one call */
og_outs og_ops(og_site site, const char *op, int n_out, og_vals in, const og_attr *attrs);
/* As og_ops, copying all attributes of `like` (definitions that pass them through). */
og_outs og_ops_like(og_site site, const char *op, int n_out, og_vals in, const og_node *like);

/* ---- primitives */

/* clang-format off */
#define OG_UNARY(B)                                                                                \
    B(Neg) B(Abs) B(Reciprocal) B(Sqrt) B(Exp) B(Log) B(Log1p) B(Tanh) B(Sigmoid) B(Erf) B(Relu)   \
    B(Sin) B(Cos) B(Floor) B(Ceil) B(Round) B(Sign) B(Not) B(Identity)
#define OG_BINARY(B)                                                                               \
    B(Add) B(Sub) B(Mul) B(Div) B(Pow) B(Min) B(Max) B(Equal) B(Less) B(LessOrEqual) B(Greater)    \
    B(GreaterOrEqual) B(And) B(Or) B(MatMul)
/* clang-format on */
#define B(name) og_val og_##name(og_site site, og_val a);
OG_UNARY(B)
#undef B
#define B(name) og_val og_##name(og_site site, og_val a, og_val b);
OG_BINARY(B)
#undef B

#define Neg(a) og_Neg(OG_HERE, a)
#define Abs(a) og_Abs(OG_HERE, a)
#define Reciprocal(a) og_Reciprocal(OG_HERE, a)
#define Sqrt(a) og_Sqrt(OG_HERE, a)
#define Exp(a) og_Exp(OG_HERE, a)
#define Log(a) og_Log(OG_HERE, a)
#define Log1p(a) og_Log1p(OG_HERE, a)
#define Tanh(a) og_Tanh(OG_HERE, a)
#define Sigmoid(a) og_Sigmoid(OG_HERE, a)
#define Erf(a) og_Erf(OG_HERE, a)
#define Relu(a) og_Relu(OG_HERE, a)
#define Sin(a) og_Sin(OG_HERE, a)
#define Cos(a) og_Cos(OG_HERE, a)
#define Floor(a) og_Floor(OG_HERE, a)
#define Ceil(a) og_Ceil(OG_HERE, a)
#define Round(a) og_Round(OG_HERE, a)
#define Sign(a) og_Sign(OG_HERE, a)
#define Not(a) og_Not(OG_HERE, a)
#define Identity(a) og_Identity(OG_HERE, a)
#define IsFinite(a) Op(OG_DOMAIN "::IsFinite", In(a))
#define Add(a, b) og_Add(OG_HERE, a, b)
#define Sub(a, b) og_Sub(OG_HERE, a, b)
#define Mul(a, b) og_Mul(OG_HERE, a, b)
#define Div(a, b) og_Div(OG_HERE, a, b)
#define Pow(a, b) og_Pow(OG_HERE, a, b)
#define Min(a, b) og_Min(OG_HERE, a, b)
#define Max(a, b) og_Max(OG_HERE, a, b)
#define Equal(a, b) og_Equal(OG_HERE, a, b)
#define Less(a, b) og_Less(OG_HERE, a, b)
#define LessOrEqual(a, b) og_LessOrEqual(OG_HERE, a, b)
#define Greater(a, b) og_Greater(OG_HERE, a, b)
#define GreaterOrEqual(a, b) og_GreaterOrEqual(OG_HERE, a, b)
#define And(a, b) og_And(OG_HERE, a, b)
#define Or(a, b) og_Or(OG_HERE, a, b)
#define MatMul(a, b) og_MatMul(OG_HERE, a, b)
#define Where(condition, a, b) Op("Where", In(condition, a, b))
#define Cast(a, dtype) Op("Cast", In(a), I("to", dtype))

/* ---- constants */

/* A scalar of x's element type. */
og_val og_scalar_like(og_val x, double value);
#define Scalar(x, value) og_scalar_like(x, value)
#define One(x) og_scalar_like(x, 1)
#define Zero(x) og_scalar_like(x, 0)
/* Constants in graph g; elements are copied. */
og_val og_const_copy(og_graph *g, const og_type *type, const void *data);
og_val og_const_double(og_graph *g, og_dtype dtype, double value); /* a scalar; any numeric dtype */
og_val og_const_ints(og_graph *g, int n, const int64_t *ints);     /* int64 [n] */
og_val og_const_int(og_graph *g, int64_t value);                   /* int64 scalar */
/* `value` everywhere, of type `type`: a constant scalar expanded (costs no memory). */
og_val og_full(og_graph *g, const og_type *type, double value);

/* ---- shapes: all static, from the types already inferred */

bool Has(og_val v);
og_dtype DType(og_val v);
int Rank(og_val v);
int64_t Dim(og_val v, int axis); /* axis may be negative */
int64_t Count(og_val v);         /* elements */
og_val og_reshape(og_site site, og_val x, int rank, const int64_t *dims);
og_val og_reshape_like(og_site site, og_val x, og_val like);
og_val og_expand_like(og_site site, og_val x, og_val like);   /* Expand to like's shape */
og_val og_transpose(og_site site, og_val x, const int *perm); /* perm: Rank(x) entries */
og_val og_swap_last(og_site site, og_val x);                  /* the last two axes swapped */
#define Reshape(x, rank, dims) og_reshape(OG_HERE, x, rank, dims)
#define ReshapeLike(x, like) og_reshape_like(OG_HERE, x, like)
#define ExpandLike(x, like) og_expand_like(OG_HERE, x, like)
#define Transpose(x, perm) og_transpose(OG_HERE, x, perm)
#define SwapLast(x) og_swap_last(OG_HERE, x)
/* Reductions over `n` axes (n 0: all axes). kind: "ReduceSum", "ReduceMean", "ReduceMax", … */
og_val og_reduce(og_site site, const char *kind, og_val x, int n, const int *axes, bool keep);
#define Reduce(kind, x, n, axes, keep) og_reduce(OG_HERE, kind, x, n, axes, keep)
/* Sum over the axes that broadcasting added or stretched, so that the result has like's shape. */
og_val og_sum_to(og_site site, og_val x, const og_type *like);
#define SumTo(x, like) og_sum_to(OG_HERE, x, og_type_of(like))
/* x [start : start + length] along an axis. */
og_val og_slice(og_site site, og_val x, int axis, int64_t start, int64_t length);
#define Slice(x, axis, start, length) og_slice(OG_HERE, x, axis, start, length)

/* Elements of a constant integer value (int64 or int32, rank 0 or 1) as int64: their count, -1 if
 * `v` is not such a constant or has more than `max`. */
int og_value_ints(const og_value *v, int max, int64_t *ints);
/* Element i of a constant numeric value as double. */
double og_value_double(const og_value *v, int64_t i);

#endif
