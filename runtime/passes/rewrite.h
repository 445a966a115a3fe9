/* What passes that drop or replace nodes share: walk one graph, write another.
 *
 *     og_rewrite rw;
 *     if (!og_rewrite_begin(&rw, from)) return NULL;
 *     for (each node n of from)
 *         if (rw.live[n->id]) { og_rewrite_copy(&rw, n) or build something and og_rewrite_set … }
 *     return og_rewrite_end(&rw);
 *
 * The new graph lives in the old one's arena: names, attributes and constants are shared. Inputs
 * and states come over in order even if unused, so that indices into them stay valid; constants
 * come over when first used. */
#ifndef OG_PASSES_REWRITE_H
#define OG_PASSES_REWRITE_H

#include "runtime/graph/op.h"

typedef struct og_rewrite {
    const og_graph *from;
    og_graph *to;
    int *map;        /* value of `from` → value of `to`; -1 = not (yet) there */
    bool *live;      /* by node of `from`: its outputs reach an output or a state's new value */
    og_val position; /* for definitions of random ops; absent: they cannot be expanded */
    int64_t next_key;
} og_rewrite;

/* false when out of memory (from's error is set). */
bool og_rewrite_begin(og_rewrite *rw, og_graph *from);
/* The new value for `id` (-1: none). */
og_val og_rewrite_value(og_rewrite *rw, int id);
void og_rewrite_set(og_rewrite *rw, int id, og_val v);
/* The node with its inputs mapped and its outputs' types kept; NULL on error. */
og_node *og_rewrite_copy(og_rewrite *rw, const og_node *n);
/* The node replaced by its definition, in the origin of the node. */
void og_rewrite_expand(og_rewrite *rw, const og_node *n);
/* The same by the row's form for evaluation. */
void og_rewrite_evaluate(og_rewrite *rw, const og_node *n);
/* Outputs and new state values are mapped; the finished graph (its error may be set), NULL when out
 * of memory. */
og_graph *og_rewrite_end(og_rewrite *rw);

/* Does the node show its first input's elements, all of them and in their order (Reshape …)? */
bool og_node_keeps_order(const og_graph *g, const og_node *n);
/* Is it a Transpose that swaps the last two axes and leaves the others? */
bool og_node_swaps_last(const og_graph *g, const og_node *n);

/* Which nodes are needed for outputs and states; in g's arena, NULL when out of memory. */
bool *og_graph_live(og_graph *g);

#endif
