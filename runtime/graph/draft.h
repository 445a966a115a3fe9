/* A node on its way in: what the loader read, edited by a row's upgrade steps into the op's newest
 * form, then added to the graph. Inputs are value ids of the graph; steps may add constants and
 * helper nodes to it. */
#ifndef OG_GRAPH_DRAFT_H
#define OG_GRAPH_DRAFT_H

#include "runtime/graph/op.h"

struct og_draft {
    og_graph *g;
    int opset;          /* of the model, for `domain` */
    const char *domain; /* "" = ONNX's own */
    const char *op;     /* a step may rename it: "Upsample" → "Resize" */
    const char *name;
    int n_in, n_out, n_attrs;
    int *in; /* room for at least 16 more than n_in */
    int *out;
    og_attr *attrs; /* room for at least 16 more than n_attrs */
};

/* The value attribute `name` had, or NULL; it is removed from the draft. */
const og_attr *og_draft_take(og_draft *d, const char *name);
/* Input `index` becomes `value`; absent ones are filled up before it. */
bool og_draft_set_input(og_draft *d, int index, og_val value);
bool og_draft_add_attr(og_draft *d, og_attr attr);
/* Attribute `name` (ints) moves to input `index` as an int64 constant; nothing happens where it is
 * absent. */
bool og_draft_ints_to_input(og_draft *d, const char *name, int index);
/* The same for a float attribute (a float scalar constant). */
bool og_draft_float_to_input(og_draft *d, const char *name, int index);
/* Set the graph's error, the node in front; returns false. */
bool og_draft_fail(og_draft *d, const char *format, ...) OG_PRINTF(2, 3);

/* Run the steps from d->opset on, look the op up, add the node (with its origin). NULL on error: an
 * op that does not exist is OG_UNSUPPORTED. */
og_node *og_draft_add(og_draft *d);

#endif
