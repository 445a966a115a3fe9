/* Samples of a batch mixed with each other: mixup (Zhang and others, 2018) and cutmix (Yun and
 * others, 2019). Sample i is mixed with sample n - 1 - i. */
#ifndef OG_DATA_MIX_H
#define OG_DATA_MIX_H

#include "runtime/data/deliver.h"

typedef struct og__mix {
    enum { OG__MIX_NONE, OG__MIX_BLEND, OG__MIX_CUT } kind;
    double share;  /* of the sample itself; the other has the rest */
    double cut[4]; /* y, x, height, width of what comes from the other, as shares */
} og__mix;

/* Drawn once a batch; where both are on, each batch takes one of them. */
og__mix og__mix_of(const og_transforms *transforms, uint64_t seed, int64_t epoch, int64_t index);
/* x_i ← share · x_i + (1 - share) · x_j; samples of n floats. */
void og__mix_blend(double share, int64_t samples, size_t n, float *x);
void og__mix_cut(const og__mix *mix, const og__layout *layout, int64_t samples, size_t n, float *x);

#endif
