/* Convolutions in which every channel has a kernel of its own, and their gradients: a thread an
 * element of y or dx, in float32 whatever the elements are. dw adds up places by eight threads for
 * each of 32 channels, in parts whose number depends on shapes alone, then the parts. */
#include "kernels/cuda/depthwise.h"
#include "kernels/cuda/image.h"

#define DEPTHWISE(name, type, load, store)                                                        \
    OG_KERNEL(og_depthwise_##name, og_depthwise_arguments, p)                                     \
    {                                                                                             \
        const og_image_shape s = p.shape;                                                         \
        const int taps = s.kernel[0] * s.kernel[1] * s.kernel[2];                                 \
        OG_EACH(s.n *s.c *OG_PLACES(s.out))                                                       \
        {                                                                                         \
            const og_image_at at = og_image_find(s, i, s.out);                                    \
            const int64_t c = at.plane % s.c;                                                     \
            const type *w = (const type *)p.w + c * taps;                                         \
            float sum = p.bias ? load(((const type *)p.bias)[c]) : 0.0f;                          \
            int t[3];                                                                             \
            OG_EACH_TAP(s, t)                                                                     \
            {                                                                                     \
                int x[3], inside = 1;                                                             \
                for (int a = 0; a < 3; a++) {                                                     \
                    x[a] = og_image_input(s, a, at.place[a], t[a]);                               \
                    inside = inside && x[a] >= 0 && x[a] < s.in[a];                               \
                }                                                                                 \
                const float v = load(*w++);                                                       \
                if (inside)                                                                       \
                    sum +=                                                                        \
                        v * load(((const type *)                                                  \
                                      p.x)[og_image_lies(s, at.plane, x[0], x[1], x[2], s.in)]);  \
            }                                                                                     \
            ((type *)p.y)[i] = store(sum);                                                        \
        }                                                                                         \
    }                                                                                             \
    OG_KERNEL(og_depthwise_data_##name, og_depthwise_arguments, p)                                \
    {                                                                                             \
        const og_image_shape s = p.shape;                                                         \
        const int taps = s.kernel[0] * s.kernel[1] * s.kernel[2];                                 \
        OG_EACH(s.n *s.c *OG_PLACES(s.in))                                                        \
        {                                                                                         \
            const og_image_at at = og_image_find(s, i, s.in);                                     \
            const type *w = (const type *)p.w + at.plane % s.c * taps;                            \
            float sum = 0;                                                                        \
            int t[3];                                                                             \
            OG_EACH_TAP(s, t)                                                                     \
            {                                                                                     \
                int o[3];                                                                         \
                for (int a = 0; a < 3; a++)                                                       \
                    o[a] = og_image_output(s, a, at.place[a], t[a]);                              \
                const float v = load(*w++);                                                       \
                if (o[0] >= 0 && o[1] >= 0 && o[2] >= 0)                                          \
                    sum +=                                                                        \
                        v * load(((const type *)                                                  \
                                      p.y)[og_image_lies(s, at.plane, o[0], o[1], o[2], s.out)]); \
            }                                                                                     \
            ((type *)p.x)[i] = store(sum);                                                        \
        }                                                                                         \
    }                                                                                             \
    OG_KERNEL(og_depthwise_weights_##name, og_depthwise_arguments, p)                             \
    {                                                                                             \
        OG_SHARED(float, scratch, OG_DEPTHWISE_THREADS);                                          \
        const og_image_shape s = p.shape;                                                         \
        const int taps = s.kernel[0] * s.kernel[1] * s.kernel[2];                                 \
        const int lane = (int)threadIdx.x % OG_DEPTHWISE_CHANNELS;                                \
        const int first = (int)threadIdx.x / OG_DEPTHWISE_CHANNELS;                               \
        const int down = OG_DEPTHWISE_THREADS / OG_DEPTHWISE_CHANNELS;                            \
        const int tap = (int)blockIdx.x % taps, part = (int)blockIdx.x / taps % p.parts;          \
        const int64_t c =                                                                         \
            (int64_t)((int)blockIdx.x / taps / p.parts) * OG_DEPTHWISE_CHANNELS + lane;           \
        const int t[3] = {tap / s.kernel[2] / s.kernel[1], tap / s.kernel[2] % s.kernel[1],       \
                          tap % s.kernel[2]};                                                     \
        const int64_t places = OG_PLACES(s.out), rows = s.n * places;                             \
        const int64_t each = (rows + p.parts - 1) / p.parts;                                      \
        float sum = 0;                                                                            \
        for (int64_t r = part * each + first; c < s.c && r < rows && r < (part + 1) * each;       \
             r += down) {                                                                         \
            const int64_t plane = r / places * s.c + c;                                           \
            const int place = (int)(r % places);                                                  \
            const int o[3] = {place / s.out[2] / s.out[1], place / s.out[2] % s.out[1],           \
                              place % s.out[2]};                                                  \
            int x[3], inside = 1;                                                                 \
            for (int a = 0; a < 3; a++) {                                                         \
                x[a] = og_image_input(s, a, o[a], t[a]);                                          \
                inside = inside && x[a] >= 0 && x[a] < s.in[a];                                   \
            }                                                                                     \
            if (inside)                                                                           \
                sum +=                                                                            \
                    load(((const type *)p.x)[og_image_lies(s, plane, x[0], x[1], x[2], s.in)]) *  \
                    load(((const type *)p.y)[og_image_lies(s, plane, o[0], o[1], o[2], s.out)]);  \
        }                                                                                         \
        scratch[threadIdx.x] = sum;                                                               \
        __syncthreads();                                                                          \
        if (first != 0 || c >= s.c)                                                               \
            return;                                                                               \
        for (int j = 1; j < down; j++)                                                            \
            sum += scratch[j * OG_DEPTHWISE_CHANNELS + lane];                                     \
        p.sums[((int64_t)part * s.c + c) * taps + tap] = sum;                                     \
    }
DEPTHWISE(float, float, , )
DEPTHWISE(half, uint16_t, og_half_to_float, og_float_to_half)
DEPTHWISE(bfloat, uint16_t, og_bfloat_to_float, og_float_to_bfloat)

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
