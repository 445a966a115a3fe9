/* Max and average pooling and their gradients: a thread an element, of y forward and of dx back, so
 * that each has one writer, in float32 whatever the elements are. */
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/pool.h"

/* Which image element i of a side is, and where in it. */
typedef struct og_pool_at {
    int64_t plane; /* n × c */
    int place[3];
} og_pool_at;

OG_DEVICE og_pool_at og_pool_find(og_pool_arguments p, int64_t i, const int dims[3])
{
    og_pool_at at;
    const int64_t places = (int64_t)dims[0] * dims[1] * dims[2];
    int64_t rest;
    if (p.channels_last) {
        const int64_t c = i % p.c, all = i / p.c;
        at.plane = all / places * p.c + c;
        rest = all % places;
    } else {
        at.plane = i / places;
        rest = i % places;
    }
    at.place[2] = (int)(rest % dims[2]);
    rest /= dims[2];
    at.place[1] = (int)(rest % dims[1]);
    at.place[0] = (int)(rest / dims[1]);
    return at;
}

/* Where the element at a place of a plane lies. */
OG_DEVICE int64_t og_pool_lies(og_pool_arguments p, int64_t plane, int a, int b, int c,
                               const int dims[3])
{
    const int64_t place = ((int64_t)a * dims[1] + b) * dims[2] + c,
                  places = (int64_t)dims[0] * dims[1] * dims[2];
    return p.channels_last ? (plane / p.c * places + place) * p.c + plane % p.c
                           : plane * places + place;
}

/* The input place that output `at` reads at `tap` along an axis. */
OG_DEVICE int og_pool_input(og_pool_arguments p, int axis, int at, int tap)
{
    return at * p.step[axis] - p.begin[axis] + tap * p.dilation[axis];
}

/* How many elements count along an axis in the window of output `at`. */
OG_DEVICE int og_pool_count(og_pool_arguments p, int axis, int at)
{
    int count = 0;
    const int low = p.include_pad ? -p.begin[axis] : 0,
              high = p.in[axis] + (p.include_pad ? p.end[axis] : 0);
    for (int tap = 0; tap < p.kernel[axis]; tap++) {
        const int x = og_pool_input(p, axis, at, tap);
        count += x >= low && x < high;
    }
    return count;
}

/* The output that reads input place x at `tap`; -1: none. */
OG_DEVICE int og_pool_output(og_pool_arguments p, int axis, int x, int tap)
{
    const int at = x + p.begin[axis] - tap * p.dilation[axis];
    return at < 0 || at % p.step[axis] != 0 || at / p.step[axis] >= p.out[axis] ? -1
                                                                                : at / p.step[axis];
}

#define EACH(total)                                        \
    const int64_t step_ = (int64_t)gridDim.x * blockDim.x; \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (total); i += step_)
#define PLACES(dims) ((int64_t)(dims)[0] * (dims)[1] * (dims)[2])
/* The taps t[0 … 2] of a window. */
#define EACH_TAP(t)                                \
    for (t[0] = 0; t[0] < p.kernel[0]; t[0]++)     \
        for (t[1] = 0; t[1] < p.kernel[1]; t[1]++) \
            for (t[2] = 0; t[2] < p.kernel[2]; t[2]++)

#define POOLS(name, type, load, store)                                                             \
    OG_KERNEL(og_pool_max_##name, og_pool_arguments, p)                                            \
    {                                                                                              \
        EACH(p.n *p.c *PLACES(p.out))                                                              \
        {                                                                                          \
            const og_pool_at at = og_pool_find(p, i, p.out);                                       \
            float best = -INFINITY;                                                                \
            int64_t index = -1;                                                                    \
            int number = 0, place = 0, t[3];                                                       \
            EACH_TAP(t)                                                                            \
            {                                                                                      \
                int x[3], inside = 1;                                                              \
                for (int a = 0; a < 3; a++) {                                                      \
                    x[a] = og_pool_input(p, a, at.place[a], t[a]);                                 \
                    inside = inside && x[a] >= 0 && x[a] < p.in[a];                                \
                }                                                                                  \
                if (inside) {                                                                      \
                    const float v = load(                                                          \
                        ((const type *)p.x)[og_pool_lies(p, at.plane, x[0], x[1], x[2], p.in)]);   \
                    if (index < 0 || (best == best && (v > best || v != v))) {                     \
                        best = v;                                                                  \
                        place = number;                                                            \
                        index = at.plane * PLACES(p.in) +                                          \
                                ((int64_t)x[0] * p.in[1] + x[1]) * p.in[2] + x[2];                 \
                    }                                                                              \
                }                                                                                  \
                number++;                                                                          \
            }                                                                                      \
            ((type *)p.y)[i] = store(best);                                                        \
            if (p.found_bytes == 1)                                                                \
                ((uint8_t *)p.found)[i] = (uint8_t)place;                                          \
            else if (p.found_bytes == 4)                                                           \
                ((int32_t *)p.found)[i] = place;                                                   \
            else if (p.found_bytes == 8)                                                           \
                ((int64_t *)p.found)[i] = index;                                                   \
        }                                                                                          \
    }                                                                                              \
    OG_KERNEL(og_pool_max_grad_##name, og_pool_arguments, p)                                       \
    {                                                                                              \
        EACH(p.n *p.c *PLACES(p.in))                                                               \
        {                                                                                          \
            const og_pool_at at = og_pool_find(p, i, p.in);                                        \
            float sum = 0;                                                                         \
            int number = 0, t[3];                                                                  \
            EACH_TAP(t)                                                                            \
            {                                                                                      \
                int o[3];                                                                          \
                for (int a = 0; a < 3; a++)                                                        \
                    o[a] = og_pool_output(p, a, at.place[a], t[a]);                                \
                if (o[0] >= 0 && o[1] >= 0 && o[2] >= 0) {                                         \
                    const int64_t from = og_pool_lies(p, at.plane, o[0], o[1], o[2], p.out);       \
                    const int place = p.found_bytes == 1 ? (int)((const uint8_t *)p.found)[from]   \
                                                         : ((const int32_t *)p.found)[from];       \
                    if (place == number)                                                           \
                        sum += load(((const type *)p.y)[from]);                                    \
                }                                                                                  \
                number++;                                                                          \
            }                                                                                      \
            ((type *)p.x)[i] = store(sum);                                                         \
        }                                                                                          \
    }                                                                                              \
    OG_KERNEL(og_pool_average_##name, og_pool_arguments, p)                                        \
    {                                                                                              \
        EACH(p.n *p.c *PLACES(p.out))                                                              \
        {                                                                                          \
            const og_pool_at at = og_pool_find(p, i, p.out);                                       \
            float sum = 0, count = 1;                                                              \
            int t[3];                                                                              \
            for (int a = 0; a < 3; a++)                                                            \
                count *= (float)og_pool_count(p, a, at.place[a]);                                  \
            EACH_TAP(t)                                                                            \
            {                                                                                      \
                int x[3], inside = 1;                                                              \
                for (int a = 0; a < 3; a++) {                                                      \
                    x[a] = og_pool_input(p, a, at.place[a], t[a]);                                 \
                    inside = inside && x[a] >= 0 && x[a] < p.in[a];                                \
                }                                                                                  \
                if (inside)                                                                        \
                    sum += load(                                                                   \
                        ((const type *)p.x)[og_pool_lies(p, at.plane, x[0], x[1], x[2], p.in)]);   \
            }                                                                                      \
            ((type *)p.y)[i] = store(sum / count);                                                 \
        }                                                                                          \
    }                                                                                              \
    OG_KERNEL(og_pool_average_grad_##name, og_pool_arguments, p)                                   \
    {                                                                                              \
        EACH(p.n *p.c *PLACES(p.in))                                                               \
        {                                                                                          \
            const og_pool_at at = og_pool_find(p, i, p.in);                                        \
            float sum = 0;                                                                         \
            int t[3];                                                                              \
            EACH_TAP(t)                                                                            \
            {                                                                                      \
                int o[3], inside = 1;                                                              \
                float count = 1;                                                                   \
                for (int a = 0; a < 3; a++) {                                                      \
                    o[a] = og_pool_output(p, a, at.place[a], t[a]);                                \
                    inside = inside && o[a] >= 0;                                                  \
                }                                                                                  \
                if (!inside)                                                                       \
                    continue;                                                                      \
                for (int a = 0; a < 3; a++)                                                        \
                    count *= (float)og_pool_count(p, a, o[a]);                                     \
                sum +=                                                                             \
                    load(                                                                          \
                        ((const type *)p.y)[og_pool_lies(p, at.plane, o[0], o[1], o[2], p.out)]) / \
                    count;                                                                         \
            }                                                                                      \
            ((type *)p.x)[i] = store(sum);                                                         \
        }                                                                                          \
    }
POOLS(float, float, , )
POOLS(half, uint16_t, og_half_to_float, og_float_to_half)
POOLS(bfloat, uint16_t, og_bfloat_to_float, og_float_to_bfloat)
