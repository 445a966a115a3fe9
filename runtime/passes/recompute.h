/* What the files of the recompute pass share. */
#ifndef OG_PASSES_RECOMPUTE_H
#define OG_PASSES_RECOMPUTE_H

#include "runtime/passes/passes.h"

/* Which values the backward pass finds, and which it computes again. By node or value of `g`. */
typedef struct og__choice {
    const og_graph *g;
    og_recompute *r;
    bool *live;       /* nodes, but those that are hoisted: what they make is always there */
    bool *backward;   /* nodes: gradients and sums over micro-batches */
    bool *forward;    /* values: a live forward node makes them */
    bool *read;       /* values: forward ones that a backward node reads */
    bool *stored;     /* values: of `read`, by a node that is not elementwise and no view */
    bool *written;    /* values: in memory in any case, for the forward pass */
    bool *keep;       /* values: found in the backward pass; read and not kept: computed again */
    bool *early;      /* nodes: backward ones that run right after the forward nodes they read */
    bool *checkpoint; /* values: what passes a cut */
} og__choice;

/* recompute_choose.c. false when out of memory; everything is in g's arena. */
bool og__choose(og__choice *c, og_graph *g, og_recompute *r);
/* recompute_cuts.c: marks checkpoints. */
bool og__find_cuts(og__choice *c);

/* Elementwise, or a copy at most. */
bool og__is_cheap(const og_node *n);
bool og__is_elementwise(const og_node *n);
/* Can output 0 be computed from the inputs and the other outputs, all of one type? */
bool og__can_replay(const og_graph *g, const og_node *n);
/* Estimated seconds of one run; views take none. */
double og__node_seconds(const og_graph *g, const og_node *n);
/* Of its run in the backward pass, where elementwise nodes are part of the programs that read them.
 */
double og__again_seconds(const og__choice *c, const og_node *n);
double og__write_seconds(const og_graph *g, int value);
/* Of all that is live in the graph. */
double og__graph_seconds(const og_graph *g, const bool *live);
uint64_t og__value_bytes(const og_graph *g, int value);

#endif
