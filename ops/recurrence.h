/* One direction of a recurrence: what ONNX's LSTM, GRU and RNN (recurrent.c) are made of, and what
 * the internal ops of recurrence.c compute.
 *
 * T steps, B sequences, I features, H hidden units; G gates: LSTM 4 (i o f c), GRU 3 (z r h),
 * RNN 1. b holds the biases that go with w, then those that go with r. Sequence k has lens[k]
 * steps: in those after it the state stays as it is and y is 0. `reverse` walks from the last step
 * to the first, so that a shorter sequence begins at its own end. */
#ifndef OG_OPS_RECURRENCE_H
#define OG_OPS_RECURRENCE_H

#include "ops/common.h"

typedef enum og__cell_kind { OG__LSTM, OG__GRU, OG__RNN } og__cell_kind;

typedef struct og__activation {
    const char *name; /* as ONNX writes it */
    double alpha, beta;
} og__activation;

/* How a step computes. */
typedef struct og__cell {
    og__cell_kind kind;
    og__activation f[3]; /* LSTM: f g h, GRU: f g, RNN: f */
    double clip;         /* of what activations get; 0: none */
    bool input_forget;   /* LSTM: f = 1 - i */
    bool reset_before;   /* GRU: h' sees (r ⊙ h) R, not r ⊙ (h R) */
    og_val peepholes;    /* LSTM: [3H], i o f; or none */
} og__cell;

typedef struct og__direction {
    og_val x;      /* [T, B, I] */
    og_val w, r;   /* [GH, I], [GH, H] */
    og_val b;      /* [2GH], or absent */
    og_val lens;   /* int32 [B], or absent */
    og_val h0, c0; /* [B, H]; absent: zeros */
    bool reverse;
} og__direction;

typedef struct og__states {
    og_val y;     /* [T, B, H] */
    og_val h, c;  /* the last ones, [B, H]; c only of LSTM */
    og_val gates; /* after activation: LSTM [T, B, 4H]; GRU [T, B, 4H], z r h' and h Rᵀ + b of
                     the last gate; zeros after a sequence's end */
    og_val cells; /* LSTM: [T, B, H] */
} og__states;

int og__cell_gates(og__cell_kind kind);
/* Is the cell one that an internal op computes: default activations (RNN: Tanh or Relu), no clip,
 * peepholes or input_forget, GRU's reset after the product? */
bool og__cell_is_usual(const og__cell *cell);
/* By the internal op; usual cells only. gates and cells are not set. */
og__states og__recurrence(const og__cell *cell, const og__direction *d);
/* Step by step in simple ops; any cell. gates and cells are set for usual cells only. */
og__states og__recurrence_unroll(const og__cell *cell, const og__direction *d);

/* [n][…] joined along axis 0; n at least 1. */
og_val og__stack(int64_t n, const og_val *parts);

#endif
