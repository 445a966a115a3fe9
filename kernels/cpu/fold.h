/* The reduction at the end of an elementwise program (elementwise.c): which elements go into which
 * accumulator. The loops are those of the Reduce ops (reduce.h). */
#ifndef OG_KERNELS_CPU_FOLD_H
#define OG_KERNELS_CPU_FOLD_H

#include "kernels/cpu/reduce.h"

/* In the order in which they lie, the elements are [outer, rows, kept, line], reduced over rows and
 * lines to [outer, kept]. They are cut into parts, by shapes alone: some whole outer indices, or
 * pieces of one, whose accumulators are joined in order, or blocks of one's many columns. A part
 * takes in its elements in order, so results do not depend on the number of threads. */
typedef struct og__fold {
    const og__reduce_fns *fns, *out; /* of the domain's type; of the output's, to finish */
    int64_t outer, rows, kept, line;
    int64_t groups;        /* outer indices of a part; 1 where they are cut into pieces */
    int64_t pieces, piece; /* of an outer index, and how many elements one has */
    int64_t blocks, block; /* of an outer index, and how many columns one has */
    int64_t parts, divisor;
    og__space y; /* the kept axes in the order in which they lie: strides of the output */
} og__fold;

/* For a program that ends in a reduction to y, dense; order: the axes of its space as elements lie.
 * False where kept and reduced axes lie mixed in another way, or elements are no numbers of the
 * program's domain. */
bool og__fold_plan(og__fold *f, const og_program *program, const og_tensor *y, const int *order);
/* Bytes of all parts' accumulators. */
size_t og__fold_bytes(const og__fold *f);
/* The elements of a part lie in so many runs: begin … end - 1. */
int64_t og__fold_runs(const og__fold *f);
void og__fold_range(const og__fold *f, int64_t part, int64_t run, int64_t *begin, int64_t *end);
/* A part's accumulators before it takes in anything. */
void og__fold_start(const og__fold *f, void *all, int64_t part);
/* How many elements are best taken in together, at most `most`. */
int64_t og__fold_together(const og__fold *f, int64_t most);
/* The part takes in elements at … at + n - 1, of `size` bytes each, which follow
 * one another from `data` on. */
void og__fold_take(const og__fold *f, void *all, int64_t part, int64_t at, int64_t n,
                   const void *data, size_t size);
/* After all parts: y from the accumulators, which are used up. */
void og__fold_finish(const og__fold *f, void *all, const og_tensor *y);

#endif
