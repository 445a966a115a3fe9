/* Between the recurrent kernels and their loops over hidden units (recurrent_simd.c), which exist
 * once for each instruction set. All arrays are of T, float or double, with H elements or, where
 * marked, H for each gate: i o f c of LSTM, z r n of GRU, one of RNN. */
#ifndef OG_KERNELS_CPU_RECURRENT_H
#define OG_KERNELS_CPU_RECURRENT_H

#include "kernels/cpu/iterate.h"

typedef enum og__unit { OG__UNIT_LSTM, OG__UNIT_GRU, OG__UNIT_TANH, OG__UNIT_RELU } og__unit;

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
