/* One direction of a recurrence as kernels of every device see it (recurrent_shape.c); and between
 * the processor's kernels and their loops over hidden units (recurrent_simd.c), which exist once
 * for each instruction set. Gates are i o f c of LSTM, z r n of GRU, one of RNN. */
#ifndef OG_KERNELS_CPU_RECURRENT_H
#define OG_KERNELS_CPU_RECURRENT_H

#include "kernels/cpu/iterate.h"

typedef enum og__unit { OG__UNIT_LSTM, OG__UNIT_GRU, OG__UNIT_TANH, OG__UNIT_RELU } og__unit;

/* Inputs of the walk, as ops/recurrence.c lists them. */
enum { OG__WALK_X, OG__WALK_W, OG__WALK_R, OG__WALK_B, OG__WALK_LENS, OG__WALK_H0, OG__WALK_C0 };

/* What is computed, of the walk or the walk back. */
typedef struct og__recurrence {
    og__unit unit;
    og_dtype dtype;           /* of states and sums, and all that is not half */
    og_dtype half;            /* of x and the weights; OG_UNDEFINED: as the others */
    int64_t T, B, I, H;       /* steps, sequences, features (0 going back), hidden units */
    int64_t gates;            /* of a unit */
    bool reverse;             /* from the last step to the first */
    int gates_out, cells_out; /* outputs of the walk; -1: the op has none */
} og__recurrence;

/* Inputs of the walk back (-1: not at all; r is 0), and its outputs (dxw is 0; dhr 0: the same). */
typedef struct og__back_places {
    int gates, cells, y, dy, dh, dc, lens, h0, c0;
    int dhr, dh0, dc0;
} og__back_places;

og__recurrence og__recurrence_of(const og_call *call, bool back);
og__back_places og__back_places_of(og__unit unit);
/* Where step number k of the walk is in time. */
int64_t og__recurrence_time(const og__recurrence *r, int64_t k);
/* The error of sequence k whose length is none of 0 … T. */
og_status og__bad_length(const og_call *call, og_error *error, int64_t k, int64_t length,
                         int64_t T);

/* ---- the loops: all arrays are of T, float or double, with H elements or, where marked, H for
 * each gate */

/* One step of one sequence. */
typedef struct og__unit_step {
    int64_t H;
    const void *xw, *hr; /* by gate: x Wᵀ and h Rᵀ; but of GRU, hr is their sum */
    const void *bias;    /* by gate, both biases added; of GRU's n that of xw, then that of hr */
    void *gates;         /* out: LSTM and GRU [4H], as the internal ops have them */
    void *h, *c;         /* in, out; c of LSTM */
    void *y;             /* out: h again */
} og__unit_step;

/* The same step walked back. */
typedef struct og__unit_back {
    int64_t H;
    const void *gates;        /* LSTM, GRU */
    const void *c, *c_before; /* LSTM */
    const void *y;            /* RNN */
    const void *h_before;     /* GRU */
    const void *dy;
    void *dh, *dc; /* in: from the step after; out: to the one before, dh without its share through
                      h Rᵀ */
    void *dxw, *dhr; /* out, by gate; dhr of GRU. dxw may be gates (LSTM), y or dy (RNN) */
} og__unit_back;

typedef struct og__unit_fns {
    void (*step)(const og__unit_step *s);
    void (*back)(const og__unit_back *b);
} og__unit_fns;

OG__BUILDS(const og__unit_fns *, og__unit_find, (og_dtype dtype, og__unit unit));

#endif
