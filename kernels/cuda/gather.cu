/* Gather, and its gradient without atomics: positions are sorted by their index (a bitonic sort of
 * keys that are all different), and whoever stands at the first key of an index adds up its rows,
 * in the order of positions. So every row of dx has one writer, and its bits are always the same.
 */
#include "kernels/cuda/gather.h"
#include "kernels/cuda/index.h"

/* Of element `at` of the run that index i names; the first of them says it where there is none. */
OG_DEVICE int64_t og_gather_index(og_gather_arguments p, int64_t i, int64_t at)
{
    const int64_t index = og_index_of(p.indices, i, p.n, p.narrow);
    if (index < 0 && at == 0)
        og_say_outside(p.outside, p.call, p.indices, i, p.narrow);
    return index;
}

OG_DEVICE og_bits128 og_ones_128(void)
{
    og_bits128 v;
    v.x = v.y = v.z = v.w = ~0u;
    return v;
}

#define GATHER(bytes, type, ones)                                                                \
    OG_KERNEL(og_gather_##bytes, og_gather_arguments, p)                                         \
    {                                                                                            \
        const int64_t step = (int64_t)gridDim.x * blockDim.x, total = p.outer * p.count * p.run; \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) { \
            const int64_t at = i % p.run, row = i / p.run;                                       \
            const int64_t index = og_gather_index(p, row % p.count, at);                         \
            ((type *)p.y)[i] =                                                                   \
                index < 0 ? (type)ones                                                           \
                          : ((const type *)p.x)[(row / p.count * p.n + index) * p.run + at];     \
        }                                                                                        \
    }
GATHER(1, uint8_t, ~0u)
GATHER(2, uint16_t, ~0u)
GATHER(4, uint32_t, ~0u)
GATHER(8, uint64_t, ~(uint64_t)0)

OG_KERNEL(og_gather_16, og_gather_arguments, p)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x, total = p.outer * p.count * p.run;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) {
        const int64_t at = i % p.run, row = i / p.run;
        const int64_t index = og_gather_index(p, row % p.count, at);
        og_bits128 v = og_ones_128();
        if (index >= 0)
            v = ((const og_bits128 *)p.x)[(row / p.count * p.n + index) * p.run + at];
        ((og_bits128 *)p.y)[i] = v;
    }
}

/* ---- sorting */

OG_KERNEL(og_gather_keys, og_keys_arguments, p)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.size)
        return;
    const int64_t index = i < p.count ? og_index_of(p.indices, i, p.n, p.narrow) : -1;
    p.keys[i] = index < 0 ? ~(unsigned long long)0
                          : (unsigned long long)index << 32 | (unsigned long long)i;
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

/* ---- the gradient */

#define GATHER_GRAD(name, type, load, store)                                                    \
    OG_KERNEL(og_gather_grad_##name, og_gather_grad_arguments, p)                               \
    {                                                                                           \
        const int64_t column =                                                                  \
            (int64_t)((int)blockIdx.x % p.column_blocks) * blockDim.x + threadIdx.x;            \
        const int64_t unit = (int64_t)blockIdx.x / p.column_blocks;                             \
        const int64_t at = unit % p.count, o = unit / p.count;                                  \
        const unsigned long long key = p.keys[at], none = ~(unsigned long long)0;               \
        const unsigned long long index = key >> 32;                                             \
        if (key == none || column >= p.inner || (at > 0 && p.keys[at - 1] >> 32 == index))      \
            return;                                                                             \
        const type *dy = (const type *)p.dy + o * p.count * p.inner + column;                   \
        float sum = 0;                                                                          \
        for (int64_t i = at; i < p.count && p.keys[i] != none && p.keys[i] >> 32 == index; i++) \
            sum += load(dy[(int64_t)(p.keys[i] & 0xffffffffu) * p.inner]);                      \
        ((type *)p.dx)[(o * p.n + (int64_t)index) * p.inner + column] = store(sum);             \
    }
GATHER_GRAD(float, float, , )
GATHER_GRAD(half, uint16_t, og_half_to_float, og_float_to_half)
GATHER_GRAD(bfloat, uint16_t, og_bfloat_to_float, og_float_to_bfloat)
