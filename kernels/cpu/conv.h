/* What the convolution kernels share: the geometry of a call, from its types and attributes. */
#ifndef OG_KERNELS_CPU_CONV_H
#define OG_KERNELS_CPU_CONV_H

#include "kernels/cpu/internal.h"

#define OG__SPATIAL 3

/* The convolution y = x ∗ w that a call is, or whose gradient it is:
 *     x: [n, c, in …]    w: [m, c / group, kernel …]    y: [n, m, out …]
 * Always three spatial axes; those the tensors lack come first and have length 1. */
typedef struct og__conv {
    int spatial; /* axes the tensors have */
    int64_t n, c, m, group;
    int64_t in[OG__SPATIAL], out[OG__SPATIAL], kernel[OG__SPATIAL];
    int64_t strides[OG__SPATIAL], dilations[OG__SPATIAL];
    int64_t begins[OG__SPATIAL], ends[OG__SPATIAL]; /* pads */
} og__conv;

typedef enum og__conv_op {
    OG__CONV,
    OG__CONV_GRAD_DATA,
    OG__CONV_GRAD_WEIGHTS,
    OG__CONV_TRANSPOSE
} og__conv_op;

/* Which it is, by the name of the op; the rows of Conv's family. */
og__conv_op og__conv_op_of(const og_call *call);

/* The tensors of the convolution among those of the call; which of them is written depends on the
 * op. */
typedef struct og__conv_tensors {
    const og_tensor *x, *w, *y, *bias; /* bias: NULL if absent */
} og__conv_tensors;
og__conv_tensors og__conv_tensors_of(const og_call *call, og__conv_op op);

/* False if this is not a convolution of 1 to 3 spatial axes whose shapes fit and whose tensors are
 * of one type; but what is written may be float32. */
bool og__conv_of(const og_call *call, og__conv_op op, og__conv *conv);

#endif
