/* What the kernels of group and instance normalization share: x [N, C, spatial …] or [N, C], its
 * channels in groups that each sample normalizes by itself. */
#ifndef OG_KERNELS_CPU_GROUPNORM_H
#define OG_KERNELS_CPU_GROUPNORM_H

#include "kernels/cpu/normalization.h"

typedef struct og__groups {
    int64_t samples, channels, groups, each, spatial; /* each: channels of a group */
    double epsilon;
} og__groups;

/* Groups of `node` over an image of type x; InstanceNormalization has groups of one channel. */
og__groups og__groups_of(const og_node *node, const og_type *x);

/* rstd from a biased variance, rounded to float where x is, as whoever computes y again has it. */
double og__groups_rstd(const og__groups *g, double var, og_dtype dtype);

/* sums [N, parts, 2, C]: Σ dy and Σ dy (x - mean) of parts of samples, of which part 0 now holds
 * those of all. Stores dscale [C] and dbias [C] where they are wanted. */
void og__groups_parameters(const og_call *call, const og__groups *g, int64_t parts,
                           const double *sums);

#endif
