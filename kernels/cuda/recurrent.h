/* Arguments of the kernels in recurrent.cu: one step of a walk over [T, B, …], of all its B
 * sequences, or the same step walked back. Arrays are [B, H] float where nothing else is said. */
#ifndef OG_KERNELS_CUDA_RECURRENT_H
#define OG_KERNELS_CUDA_RECURRENT_H

#include "kernels/cuda/outside.h"

/* How products take what steps make. */
typedef enum og_operand { OG_OPERAND_FLOAT, OG_OPERAND_HALF, OG_OPERAND_BFLOAT } og_operand;

/* lens: [B]; the sequences' lengths, NULL where all are whole. One that is none is said to
 * `outside`, and gives NaN. */
typedef struct og_step_arguments {
    float *gates;      /* in: x Wᵀ, and but for GRU h Rᵀ added; out: LSTM, GRU [B, 4H], RNN y */
    const float *hr;   /* GRU: h Rᵀ [B, 3H]; NULL: zeros */
    const float *bias; /* by gate, of x Wᵀ, then of h Rᵀ; NULL: zeros */
    const float *h_before, *c_before; /* NULL: zeros */
    float *h, *c, *y;                 /* out; h and c after a sequence's end as before; h NULL: y
                                         serves; c of LSTM */
    void *operand;                    /* out: h as products take it, or NULL */
    const int *lens;
    og_outside *outside;
    long long n; /* B H */
    int H, t, T;
    og_operand type;
    int relu; /* RNN */
    unsigned int call;
} og_step_arguments;

typedef struct og_back_arguments {
    const float *gates, *c, *y; /* of this step: LSTM, GRU; LSTM; RNN */
    /* c or h of the step before in the walk, and what a sequence's first step has. NULL: zeros */
    const float *before, *first;
    const float *dy, *dh, *dc; /* NULL: zeros */
    float *dh_out;             /* what goes back past R; NULL: nothing does */
    float *dc_out;             /* LSTM */
    void *dxw, *dhr;           /* [B, gates H], as products take them; dhr of GRU */
    const int *lens;
    long long n;
    int H, t, t_before; /* t_before -1: it is the walk's first step */
    og_operand type;
    int relu;
} og_back_arguments;

typedef struct og_operand_arguments {
    const float *from;
    void *to;
    long long n;
    og_operand type;
} og_operand_arguments;

#endif
