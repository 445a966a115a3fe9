/* What preparing an elementwise program (elementwise_plan.c) leaves for its runs (elementwise.c).
 */
#ifndef OG_KERNELS_CPU_ELEMENTWISE_PLAN_H
#define OG_KERNELS_CPU_ELEMENTWISE_PLAN_H

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/fold.h"

static const og_dtype og__domain_dtype[OG__DOMAIN_COUNT] = {OG_FLOAT, OG_DOUBLE, OG_INT64};

typedef struct og__tile_input {
    og_dtype dtype;
    int rank; /* of the iteration space as this input sees it, collapsed */
    int64_t dims[OG_MAX_RANK], strides[OG_MAX_RANK];
    int64_t low, high; /* the elements it spans, relative to its first */
    bool uniform;
    bool copied; /* also stored to an output: never read in place, for another output may overwrite
                    it */
    int first_use, last_use; /* steps */
    int slot;
} og__tile_input;

typedef struct og__tile_step {
    og__tile_fn *fn;
    int16_t a, b, c; /* values; 0 where there is none */
    int16_t value;
    int slot;
    int output; /* that may be written instead of the slot; -1 */
    double imm;
} og__tile_step;

/* What prepare leaves. Values are numbered as the program's operands. One allocation. */
typedef struct og__tile_plan {
    og__domain domain;
    size_t size; /* of an element of the domain */
    int n_in, n_values, n_out, n_uniform_steps, n_steps, n_slots, threads;
    int64_t total, tile;
    const og__tile_ops *ops;
    og__tile_input *inputs;
    og__tile_step *uniform_steps, *steps; /* run once; run for every tile */
    int *expanded; /* by value: the slot that holds a uniform value as a whole tile; -1 */
    bool *uniform; /* by value */
    int16_t *out;
    og_dtype *out_dtype;
    int folded;        /* the value that is reduced; -1 */
    int folded_output; /* the output of the domain's type that it is, too; -1 */
    og__fold fold;
    /* The workspace: */
    size_t uniform_bytes; /* first a vector for each value */
    size_t thread_bytes;  /* then for each thread: slots, and a pointer for each value */
    size_t fold_offset;   /* then accumulators */
} og__tile_plan;

#endif
