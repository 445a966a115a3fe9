/* Small results from where they lie on the card to pinned memory of the host, in one launch instead
 * of a copy each. */
#include "kernels/cuda/collect.h"
#include "kernels/cuda/kernel.h"

OG_KERNEL(og_collect, og_collect_arguments, p)
{
    const int i = (int)threadIdx.x;
    if (i >= p.n)
        return;
    for (int b = 0; b < p.bytes[i]; b++)
        ((char *)p.to[i])[b] = ((const char *)p.from[i])[b];
}
