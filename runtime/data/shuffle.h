/* A permutation of 0 … n - 1 that is a pure function of (seed, epoch): any element of it is
 * computed alone, so that nothing is stored, cached or locked. */
#ifndef OG_DATA_SHUFFLE_H
#define OG_DATA_SHUFFLE_H

#include <stdint.h>

/* out[i] = the permutation at first + i, for i < count. 0 ≤ first, first + count ≤ n. */
void og__shuffle(uint64_t seed, int64_t epoch, int64_t n, int64_t first, int64_t count,
                 int64_t *out);

#endif
