/* Fused elementwise programs: what the op `Fused` runs once for every element of an iteration
 * space.
 *
 * A program is a list of scalar instructions in SSA form. An operand is a number:
 *     0 … n_in - 1                 an input of the node, broadcast to the iteration space
 *     n_in … n_in + n_instr - 1    the result of an earlier instruction
 *
 * Constants of one element are inputs like any other, or an instruction OG_SCALAR_Const with its
 * value in imm. Everything is computed in one domain: float (also for half inputs), double, or
 * int64 (all integer types); bool inputs are 0 or 1, and results of comparisons are 0 or 1. Inputs
 * convert on load, outputs on store. */
#ifndef OG_GRAPH_PROGRAM_H
#define OG_GRAPH_PROGRAM_H

#include "runtime/graph/graph.h"

typedef enum og_scalar {
    OG_SCALAR_NONE = 0,
#define X(name, arity, ints, expression) OG_SCALAR_##name,
#include "runtime/graph/scalar.def"
#undef X
    OG_SCALAR_COUNT
} og_scalar;

typedef struct og_instr {
    og_scalar op;
    int16_t a, b, c; /* operands; -1 = none */
    double imm;      /* OG_SCALAR_Const */
} og_instr;

/* Reductions that a program may end in; an op's row names its own (og_op.fold). */
typedef enum og_fold {
    OG_FOLD_NONE = 0,
    OG_FOLD_SUM,
    OG_FOLD_MEAN,
    OG_FOLD_SUM_SQUARE,
    OG_FOLD_PROD,
    OG_FOLD_MAX, /* NaN if any element is */
    OG_FOLD_MIN,
    OG_FOLD_COUNT
} og_fold;

/* A product may carry one, too: operand 0 is then its result, the others are the node's last inputs
 * and no inputs of its op; the node's first output is the program's one.
 *
 * iteration space = the type of the node's first output; every output has that shape, but for the
 * one that a reduction adds: where `fold` is set, the node's last output, beside the n_out, is
 * operand `folded` reduced over some axes of `space`. It has an element for each index of the other
 * axes, in their order. The axes that are kept follow one another, axes of one element aside. */
typedef struct og_program {
    og_dtype domain; /* OG_FLOAT, OG_DOUBLE or OG_INT64 */
    int n_in, n_instr, n_out;
    const og_instr *instr;
    const int16_t *out; /* n_out operands; stored after all instructions of a tile have run */
    og_fold fold;
    int16_t folded;
    uint32_t folded_axes; /* bit a: axis a is reduced */
    og_type space;        /* of operand `folded`; set where `fold` is */
} og_program;

/* "Tanh"; its number of operands; whether it exists for integers. */
const char *og_scalar_name(og_scalar s);
int og_scalar_arity(og_scalar s);
bool og_scalar_has_int(og_scalar s);
/* How many of the inputs of a node that carries a program beside its op are the op's own; all of
 * them where it has no program. */
int og_own_inputs(const og_node *n);
/* "Sum" */
const char *og_fold_name(og_fold fold);

#endif
