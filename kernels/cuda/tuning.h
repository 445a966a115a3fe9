/* Which of a library's ways to compute a product was the fastest, kept on disk (cache.h). */
#ifndef OG_KERNELS_CUDA_TUNING_H
#define OG_KERNELS_CUDA_TUNING_H

#include "kernels/cuda/driver.h"
#include "runtime/base/text.h"

/* All that the fastest way depends on, as text. device: the card's name; library: its version. */
void og__tuning_key(og_text *key, const og_cuda_product *product, const char *device,
                    uint64_t library);
/* false: nothing is known of that key. */
bool og__tuning_read(const char *key, og_cuda_way *way);
void og__tuning_write(const char *key, const og_cuda_way *way);
/* Is there a place to keep choices in? */
bool og__tuning_keeps(void);
/* Of n ways, the library's favourite first, which took ms each (negative: it did not run), the
 * first one that none beats by more than timing varies; -1: none ran. */
int og__tuning_fastest(const float *ms, int n);

#endif
