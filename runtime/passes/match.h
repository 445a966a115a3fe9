/* What passes that look for patterns share: who reads a value, and products and sums seen as lists,
 * however the file associates and orders them.
 *
 * A pattern is found from its last node backwards. Inner nodes are seen through only if nothing
 * else reads them, so that what is replaced disappears. */
#ifndef OG_PASSES_MATCH_H
#define OG_PASSES_MATCH_H

#include "runtime/passes/rewrite.h"

typedef struct og_match {
    const og_graph *g;
    int *uses;            /* by value: how many inputs of live nodes, outputs and states read it */
    bool *stateful;       /* by value: a gradient that reaches it may reach a state */
    bool fused_attention; /* the device has one kernel for all of it */
} og_match;

/* false when out of memory (the error is set in g). */
bool og_match_begin(og_match *m, og_graph *g, const bool *live);

/* The node of ONNX op `op` that makes `value`; NULL if another does. */
const og_node *og_match_node(const og_match *m, int value, const char *op);
/* The same, and only one reader. */
const og_node *og_match_inner(const og_match *m, int value, const char *op);
/* A floating-point constant of one element. */
bool og_match_constant(const og_match *m, int value, double *c);
/* Is c within float rounding of `expected`? */
bool og_match_close(double c, double expected);

/* value = scale · Π items: Mul, division by constants, and small whole powers seen through.
 * value = offset + Σ items: Add, and Sub of constants.
 * All items have value's type. Count of items, -1 if there are more than `max`. */
#define OG_MATCH_MAX 8
typedef struct og_match_list {
    int n, items[OG_MATCH_MAX];
    double constant; /* scale or offset */
} og_match_list;
bool og_match_product(const og_match *m, int value, og_match_list *list);
bool og_match_sum(const og_match *m, int value, og_match_list *list);
/* Remove one occurrence of item; false if it is not there. */
bool og_match_take(og_match_list *list, int item);

/* Normalization over the last axes, from `axis` on, by a root of a mean of squares.
 * og_match_mean: the input of a ReduceMean over such axes that keeps them; -1 if `value` is none.
 * og_match_normalized: value = x / √(mean(x²) + epsilon), also as a product with the reciprocal:
 * x; else -1. What the root is made of has no other reader. */
typedef struct og_match_norm {
    int axis;
    double epsilon;
} og_match_norm;
int og_match_mean(const og_match *m, int value, int *axis);
int og_match_normalized(const og_match *m, int value, og_match_norm *norm);
/* Are value's dims those of x from `axis` on, and its element type that of x? */
bool og_match_has_last_dims(const og_match *m, int value, int x, int axis);

/* ---- patterns: pattern_*.c --------------------------------------------------------------------
 * Does the pattern end in node n? Then its replacement is built in rw->to and n's outputs are set.
 */
typedef bool og__pattern_fn(const og_match *m, og_rewrite *rw, const og_node *n);
og__pattern_fn og__pattern_power, og__pattern_gelu, og__pattern_silu, og__pattern_layer_norm,
    og__pattern_rms_norm, og__pattern_scale, og__pattern_transpose, og__pattern_split,
    og__pattern_attention, og__pattern_pool, og__pattern_group_norm;

#endif
