/* Windows of images for convolutions, and the sum of windows where they overlap: what turns a
 * convolution and its gradients into products (conv.c). Every element has one writer, which adds in
 * the order of the kernel's positions. */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/row.h"

OG_DEVICE og_bits128 og_zero_128(void)
{
    og_bits128 v;
    v.x = v.y = v.z = v.w = 0;
    return v;
}

/* Of window element i: c, then the kernel's position, then the group, then the output's place. */
#define WINDOWS(bytes, type, zero)                                                                 \
    OG_KERNEL(og_windows_##bytes, og_windows_arguments, p)                                         \
    {                                                                                              \
        const int taps = p.kernel[0] * p.kernel[1] * p.kernel[2],                                  \
                  places = p.out[0] * p.out[1] * p.out[2];                                         \
        const int64_t step = (int64_t)gridDim.x * blockDim.x,                                      \
                      total = p.images * places * p.group * taps * p.c_group;                      \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) {   \
            int64_t rest = i;                                                                      \
            const int c = (int)(rest % p.c_group);                                                 \
            rest /= p.c_group;                                                                     \
            int tap = (int)(rest % taps);                                                          \
            rest /= taps;                                                                          \
            const int g = (int)(rest % p.group);                                                   \
            rest /= p.group;                                                                       \
            int place = (int)(rest % places);                                                      \
            int64_t at = (p.first + rest / places) * p.n_stride +                                  \
                         ((int64_t)g * p.c_group + c) * p.c_stride;                                \
            int inside = 1;                                                                        \
            for (int a = 2; a >= 0; a--) {                                                         \
                const int x =                                                                      \
                    place % p.out[a] * p.step[a] + tap % p.kernel[a] * p.dilation[a] - p.begin[a]; \
                inside = inside && x >= 0 && x < p.in[a];                                          \
                at += x * p.stride[a];                                                             \
                place /= p.out[a];                                                                 \
                tap /= p.kernel[a];                                                                \
            }                                                                                      \
            type v = zero;                                                                         \
            if (inside)                                                                            \
                v = ((const type *)p.image)[at];                                                   \
            ((type *)p.windows)[i] = v;                                                            \
        }                                                                                          \
    }
WINDOWS(2, uint16_t, 0)
WINDOWS(4, uint32_t, 0)
WINDOWS(8, uint64_t, 0)
WINDOWS(16, og_bits128, og_zero_128())

/* Of an image's piece i: channels, then the place. */
#define WINDOWS_SUM(suffix, type, piece, vec, load, store)                                         \
    OG_KERNEL(og_windows_sum_##suffix, og_windows_arguments, p)                                    \
    {                                                                                              \
        const int taps = p.kernel[0] * p.kernel[1] * p.kernel[2],                                  \
                  pieces = p.group * p.c_group / vec;                                              \
        const int64_t step = (int64_t)gridDim.x * blockDim.x,                                      \
                      total = p.images * p.in[0] * p.in[1] * p.in[2] * pieces;                     \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) {   \
            int64_t rest = i / pieces, at = 0;                                                     \
            const int c = (int)(i % pieces) * vec, g = c / p.c_group;                              \
            int place[3];                                                                          \
            float sum[vec];                                                                        \
            OG_UNROLL for (int e = 0; e < vec; e++) sum[e] = 0;                                    \
            OG_UNROLL for (int a = 2; a >= 0; a--)                                                 \
            {                                                                                      \
                place[a] = (int)(rest % p.in[a]);                                                  \
                rest /= p.in[a];                                                                   \
                at += place[a] * p.stride[a];                                                      \
            }                                                                                      \
            at += (p.first + rest) * p.n_stride + c * p.c_stride;                                  \
            for (int tap = 0; tap < taps; tap++) {                                                 \
                int t = tap, inside = 1, size = 1, to = 0;                                         \
                OG_UNROLL for (int a = 2; a >= 0; a--)                                             \
                {                                                                                  \
                    const int x = place[a] + p.begin[a] - t % p.kernel[a] * p.dilation[a];         \
                    t /= p.kernel[a];                                                              \
                    inside = inside && x >= 0 && x % p.step[a] == 0 && x / p.step[a] < p.out[a];   \
                    to += x / p.step[a] * size;                                                    \
                    size *= p.out[a];                                                              \
                }                                                                                  \
                if (!inside)                                                                       \
                    continue;                                                                      \
                piece v;                                                                           \
                const type *from = (const type *)p.windows +                                       \
                                   (((rest * size + to) * p.group + g) * taps + tap) * p.c_group + \
                                   c % p.c_group;                                                  \
                OG_LOAD_PIECE(v, from, 0);                                                         \
                OG_UNROLL for (int e = 0; e < vec; e++) sum[e] += load(v.e[e]);                    \
            }                                                                                      \
            piece v;                                                                               \
            OG_UNROLL for (int e = 0; e < vec; e++) v.e[e] = store(sum[e]);                        \
            OG_STORE_PIECE(v, (type *)p.image + at, 0);                                            \
        }                                                                                          \
    }
OG_ROW_TYPES(WINDOWS_SUM)
