/* Between the files of the fuse pass: groups of nodes that become one program (fuse.c), the
 * reductions they end in (fuse_reduce.c), and writing them (fuse_write.c). */
#ifndef OG_PASSES_FUSE_H
#define OG_PASSES_FUSE_H

#include "runtime/device/device.h"
#include "runtime/passes/rewrite.h"

#define OG__MAX_INSTRUCTIONS 48
#define OG__MAX_OPERANDS 24 /* inputs and outputs of a program */

typedef struct og__fuse {
    og_rewrite rw;
    const og_graph *g;
    const og_device *device;
    int n;            /* nodes */
    int words;        /* of a bit set over groups */
    int *group;       /* by node; a group's number is its first node's */
    int *last;        /* by group: its last member */
    int *count;       /* by group: members */
    int *fold;        /* by group: the member that reduces what the others compute; -1 */
    int *folded;      /* by group: the value it reduces … */
    uint32_t *axes;   /* … and over which axes of that value, a bit each */
    og_dtype *domain; /* by node: of its instruction; OG_UNDEFINED: not elementwise */
    uint64_t *reach;  /* by group */
    bool *emitted;    /* by group */
    bool recomputes;  /* some nodes compute forward values again */
} og__fuse;

/* What brings a value that was computed in float to the type it has; NONE: it has it. */
og_scalar og__fuse_rounding(og_dtype d);
/* The inputs of an elementwise node that its instruction reads: the first ones. */
int og__fuse_operands(const og_node *n);
/* The live node that makes a value; -1: none. */
int og__fuse_producer(const og__fuse *f, int value);
/* May two nodes be of one program? What is computed again for the backward pass must not become one
 * with what it was kept from, in the forward pass; nor what is computed once an update with what is
 * not. */
bool og__fuse_same_pass(const og__fuse *f, int a, int b);

/* Reductions join the groups whose values they reduce, where the device's kernel of programs does
 * that. */
void og__fuse_reductions(og__fuse *f);

/* A group as one node of the new graph, after those that it reads. */
void og__fuse_emit(og__fuse *f, int group);

#endif
