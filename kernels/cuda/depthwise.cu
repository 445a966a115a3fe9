/* Convolutions in which every channel has a kernel of its own, and their gradients: a thread a
 * piece of y or dx, 16 bytes of channels where these lie last, in float32 whatever the elements
 * are. dw adds up places by several threads for each piece, in parts whose number depends on shapes
 * alone, then the parts. */
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/image.h"
#include "kernels/cuda/row.h"

#define DEPTHWISE(suffix, type, piece, vec, load, store)                                           \
    OG_DEVICE void og_depthwise_add_##suffix(float sum[vec], const void *w, int64_t weight,        \
                                             const void *x, int64_t at)                            \
    {                                                                                              \
        piece a, b;                                                                                \
        OG_LOAD_PIECE(a, w, weight);                                                               \
        OG_LOAD_PIECE(b, x, at);                                                                   \
        OG_UNROLL                                                                                  \
        for (int e = 0; e < vec; e++)                                                              \
            sum[e] += load(a.e[e]) * load(b.e[e]);                                                 \
    }                                                                                              \
    OG_DEVICE void og_depthwise_put_##suffix(const float sum[vec], void *y, int64_t at)            \
    {                                                                                              \
        piece v;                                                                                   \
        OG_UNROLL                                                                                  \
        for (int e = 0; e < vec; e++)                                                              \
            v.e[e] = store(sum[e]);                                                                \
        OG_STORE_PIECE(v, y, at);                                                                  \
    }                                                                                              \
    OG_KERNEL(og_depthwise_##suffix, og_depthwise_arguments, p)                                    \
    {                                                                                              \
        const og_image_shape s = p.shape;                                                          \
        OG_EACH(s.n *s.c *OG_PLACES(s.out))                                                        \
        {                                                                                          \
            const og_image_at at = og_image_find(s, i, s.out);                                     \
            int64_t weight = at.plane % s.c * p.w_channel;                                         \
            float sum[vec] = {0};                                                                  \
            int t[3];                                                                              \
            if (p.bias) {                                                                          \
                piece b;                                                                           \
                OG_LOAD_PIECE(b, p.bias, at.plane % s.c);                                          \
                OG_UNROLL                                                                          \
                for (int e = 0; e < vec; e++)                                                      \
                    sum[e] = load(b.e[e]);                                                         \
            }                                                                                      \
            OG_EACH_TAP(s, t)                                                                      \
            {                                                                                      \
                int x[3], inside = 1;                                                              \
                for (int a = 0; a < 3; a++) {                                                      \
                    x[a] = og_image_input(s, a, at.place[a], t[a]);                                \
                    inside = inside && x[a] >= 0 && x[a] < s.in[a];                                \
                }                                                                                  \
                if (inside)                                                                        \
                    og_depthwise_add_##suffix(sum, p.w, weight, p.x,                               \
                                              og_image_lies(s, at.plane, x[0], x[1], x[2], s.in)); \
                weight += p.w_tap;                                                                 \
            }                                                                                      \
            og_depthwise_put_##suffix(sum, p.y, i);                                                \
        }                                                                                          \
    }                                                                                              \
    OG_KERNEL(og_depthwise_data_##suffix, og_depthwise_arguments, p)                               \
    {                                                                                              \
        const og_image_shape s = p.shape;                                                          \
        OG_EACH(s.n *s.c *OG_PLACES(s.in))                                                         \
        {                                                                                          \
            const og_image_at at = og_image_find(s, i, s.in);                                      \
            int64_t weight = at.plane % s.c * p.w_channel;                                         \
            float sum[vec] = {0};                                                                  \
            int t[3];                                                                              \
            OG_EACH_TAP(s, t)                                                                      \
            {                                                                                      \
                int o[3];                                                                          \
                for (int a = 0; a < 3; a++)                                                        \
                    o[a] = og_image_output(s, a, at.place[a], t[a]);                               \
                if (o[0] >= 0 && o[1] >= 0 && o[2] >= 0)                                           \
                    og_depthwise_add_##suffix(                                                     \
                        sum, p.w, weight, p.y,                                                     \
                        og_image_lies(s, at.plane, o[0], o[1], o[2], s.out));                      \
                weight += p.w_tap;                                                                 \
            }                                                                                      \
            og_depthwise_put_##suffix(sum, p.x, i);                                                \
        }                                                                                          \
    }                                                                                              \
    OG_KERNEL(og_depthwise_weights_##suffix, og_depthwise_arguments, p)                            \
    {                                                                                              \
        OG_SHARED(float, scratch, OG_DEPTHWISE_THREADS *vec);                                      \
        const og_image_shape s = p.shape;                                                          \
        const int taps = s.kernel[0] * s.kernel[1] * s.kernel[2];                                  \
        const int lane = (int)threadIdx.x % p.lanes, first = (int)threadIdx.x / p.lanes;           \
        const int down = OG_DEPTHWISE_THREADS / p.lanes;                                           \
        const int tap = (int)blockIdx.x % taps, part = (int)blockIdx.x / taps % p.parts;           \
        const int64_t c = (int64_t)((int)blockIdx.x / taps / p.parts) * p.lanes + lane;            \
        const int t[3] = {tap / s.kernel[2] / s.kernel[1], tap / s.kernel[2] % s.kernel[1],        \
                          tap % s.kernel[2]};                                                      \
        const int64_t places = OG_PLACES(s.out), rows = s.n * places;                              \
        const int64_t each = (rows + p.parts - 1) / p.parts;                                       \
        float sum[vec] = {0};                                                                      \
        for (int64_t r = part * each + first; c < s.c && r < rows && r < (part + 1) * each;        \
             r += down) {                                                                          \
            const int64_t plane = r / places * s.c + c;                                            \
            const int place = (int)(r % places);                                                   \
            const int o[3] = {place / s.out[2] / s.out[1], place / s.out[2] % s.out[1],            \
                              place % s.out[2]};                                                   \
            int x[3], inside = 1;                                                                  \
            for (int a = 0; a < 3; a++) {                                                          \
                x[a] = og_image_input(s, a, o[a], t[a]);                                           \
                inside = inside && x[a] >= 0 && x[a] < s.in[a];                                    \
            }                                                                                      \
            if (inside)                                                                            \
                og_depthwise_add_##suffix(sum, p.x,                                                \
                                          og_image_lies(s, plane, x[0], x[1], x[2], s.in), p.y,    \
                                          og_image_lies(s, plane, o[0], o[1], o[2], s.out));       \
        }                                                                                          \
        OG_UNROLL                                                                                  \
        for (int e = 0; e < vec; e++)                                                              \
            scratch[e * OG_DEPTHWISE_THREADS + threadIdx.x] = sum[e];                              \
        __syncthreads();                                                                           \
        if (first != 0 || c >= s.c)                                                                \
            return;                                                                                \
        OG_UNROLL                                                                                  \
        for (int e = 0; e < vec; e++) {                                                            \
            for (int j = 1; j < down; j++)                                                         \
                sum[e] += scratch[e * OG_DEPTHWISE_THREADS + j * p.lanes + lane];                  \
            p.sums[(((int64_t)part * s.c + c) * vec + e) * taps + tap] = sum[e];                   \
        }                                                                                          \
    }
OG_ROW_TYPES(DEPTHWISE)

OG_KERNEL(og_depthwise_join, og_depthwise_arguments, p)
{
    const int64_t n = p.shape.c * p.shape.kernel[0] * p.shape.kernel[1] * p.shape.kernel[2];
    OG_EACH(n)
    {
        float sum = 0;
        for (int part = 0; part < p.parts; part++)
            sum += p.sums[part * n + i];
        ((float *)p.w)[i] = sum;
    }
}
