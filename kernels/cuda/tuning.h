/* Which of a library's ways to compute a product was the fastest, kept on disk (cache.h). */
#ifndef OG_KERNELS_CUDA_TUNING_H
#define OG_KERNELS_CUDA_TUNING_H

#include "kernels/cuda/driver.h"
#include "runtime/base/text.h"

enum { OG__ALGORITHM_BYTES = 64 };

typedef struct og__choice {
    unsigned char algorithm[OG__ALGORITHM_BYTES]; /* the library's own form of it */
    uint64_t workspace;                           /* bytes */
} og__choice;

/* All that the fastest way depends on, as text. device: the card's name; library: its version. */
void og__tuning_key(og_text *key, const og_cuda_product *product, const char *device,
                    uint64_t library);
/* false: nothing is known of that key. */
bool og__tuning_read(const char *key, og__choice *choice);
void og__tuning_write(const char *key, const og__choice *choice);
/* Is there a place to keep choices in? */
bool og__tuning_keeps(void);
/* Of n ways, the library's favourite first, which took ms each (negative: it did not run), the
 * first one that none beats by more than timing varies; -1: none ran. */
int og__tuning_fastest(const float *ms, int n);

#endif
