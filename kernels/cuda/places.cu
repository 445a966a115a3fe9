/* Positions sorted by the place that their indices name, and at one place in their order: a bitonic
 * sort of keys that are all different. */
#include "kernels/cuda/index.h"
#include "kernels/cuda/kernel.h"

OG_KERNEL(og_place_keys, og_keys_arguments, p)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.size)
        return;
    const int64_t place = i < p.count ? og_place_of(&p.places, i) : -1;
    p.keys[i] = place < 0 ? ~(unsigned long long)0
                          : (unsigned long long)place << 32 | (unsigned long long)i;
}

/* Of pair i of keys `apart` within runs of 2 × apart: the first, and whether the smaller comes
 * first. */
OG_DEVICE int64_t og_pair_of(int64_t i, int64_t apart)
{
    return i / apart * apart * 2 + i % apart;
}

OG_KERNEL(og_sort_step, og_sort_arguments, p)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.size / 2)
        return;
    const int64_t a = og_pair_of(i, p.apart), b = a + p.apart;
    const unsigned long long x = p.keys[a], y = p.keys[b];
    if ((x > y) == ((a & p.sorted) == 0)) {
        p.keys[a] = y;
        p.keys[b] = x;
    }
}

OG_KERNEL(og_sort_block, og_sort_arguments, p)
{
    OG_SHARED(unsigned long long, keys, OG_SORT_BLOCK);
    const int n = (int)(p.size < OG_SORT_BLOCK ? p.size : OG_SORT_BLOCK);
    const int64_t first = (int64_t)blockIdx.x * n;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        keys[i] = p.keys[first + i];
    int64_t apart = p.apart;
    for (int64_t sorted = p.sorted; sorted <= p.until; sorted *= 2) {
        for (; apart > 0; apart /= 2) {
            __syncthreads();
            for (int i = (int)threadIdx.x; i < n / 2; i += (int)blockDim.x) {
                const int64_t a = og_pair_of(i, apart), b = a + apart;
                const unsigned long long x = keys[a], y = keys[b];
                if ((x > y) == (((first + a) & sorted) == 0)) {
                    keys[a] = y;
                    keys[b] = x;
                }
            }
        }
        apart = sorted;
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        p.keys[first + i] = keys[i];
}
