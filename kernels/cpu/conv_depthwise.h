/* Between the kernel of depthwise convolutions' weights and its loops (conv_depthwise_simd.c),
 * which exist once for each instruction set. */
#ifndef OG_KERNELS_CPU_CONV_DEPTHWISE_H
#define OG_KERNELS_CPU_CONV_DEPTHWISE_H

#include "kernels/cpu/conv.h"
#include "kernels/cpu/iterate.h"

/* Channels of a task. */
#define OG__DEPTHWISE_STRIP 64

/* sums[tap c + j] = Σ over the pixels p of images first … last - 1 of x[tap of p, j] dy[p, j], for
 * channels j of one strip, first_channel … first_channel + channels - 1
 *     x: [n, in …, c], dy: [n, out …, c] float, or bfloat16;    sums: [taps, c] float */
OG__BUILDS(void, og__depthwise_weights,
           (const og__conv *c, const void *x, const void *dy, bool halves, int64_t first,
            int64_t last, int64_t first_channel, int64_t channels, float *sums));

#endif
