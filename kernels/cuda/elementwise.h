/* Between the writer of elementwise kernels (elementwise_text.c) and their launcher
 * (elementwise.c).
 */
#ifndef OG_KERNELS_CUDA_ELEMENTWISE_H
#define OG_KERNELS_CUDA_ELEMENTWISE_H

#include "runtime/base/text.h"
#include "runtime/device/device.h"

/* A program over an iteration space: axes as the outputs lie, the last one fastest, collapsed
 * together for all inputs. Outputs lie without gaps in that order. */
typedef struct og__loop {
    og_program program;
    int rank;
    int64_t dims[OG_MAX_RANK + 1];
    int64_t (*strides)[OG_MAX_RANK + 1]; /* by input, in elements */
    og_dtype *types;                     /* by input, then by output */
    int64_t total;                       /* elements of the space */
    int width; /* elements that a thread computes at once; 1: no wide accesses */
} og__loop;

/* The names of the two kernels of a text: with accesses of `width` elements, and one by one. Their
 * arguments are the addresses of inputs and outputs. */
#define OG__LOOP_WIDE "og_elementwise_wide"
#define OG__LOOP_SINGLE "og_elementwise_single"

/* Does the wide kernel read input i `width` elements at a time? */
bool og__loop_reads_wide(const og__loop *loop, int i);
/* The width that the loop allows: 1, 2, 4 or 8. */
int og__loop_width(const og__loop *loop);
/* Pieces of text that other writers share (fold_text.c). What stands in front of all kernels: T,
 * the type I of positions, the program, whose last result is what is folded, if anything is. */
void og__loop_begin(const og__loop *loop, og_text *text);
/* Where the element of index i0, i1 … lies in each input: o0, o1 … */
void og__loop_addresses(const og__loop *loop, og_text *text, const char *indent);
/* A group of `width` elements, of which the first lies at o0, o1 … of the inputs and i of the
 * outputs, addresses in p.x and p.y: computed and written. take: statements behind each, element e
 * of it, y its results; NULL: none. */
void og__loop_group(const og__loop *loop, og_text *text, const char *take);
/* The type of elements in memory, and what converts a value to it, put in front of it in
 * parentheses that are not closed. */
const char *og__text_type(og_dtype dtype);
const char *og__text_stores(og_dtype dtype, og_dtype domain);
/* Append the kernels' text, to be put behind kernel.h and arithmetic.h. */
void og__loop_write(const og__loop *loop, og_text *text);

#endif
