/* Max and average pooling and their gradients: a thread an element, of y forward and of dx back, so
 * that each has one writer, in float32 whatever the elements are. */
#include "kernels/cuda/image.h"
#include "kernels/cuda/pool.h"

/* How many elements count along an axis in the window of output `at`. */
OG_DEVICE int og_pool_count(og_pool_arguments p, int axis, int at)
{
    int count = 0;
    const int low = p.include_pad ? -p.shape.begin[axis] : 0,
              high = p.shape.in[axis] + (p.include_pad ? p.shape.end[axis] : 0);
    for (int tap = 0; tap < p.shape.kernel[axis]; tap++) {
        const int x = og_image_input(p.shape, axis, at, tap);
        count += x >= low && x < high;
    }
    return count;
}

#define POOLS(name, type, load, store)                                                             \
    OG_KERNEL(og_pool_max_##name, og_pool_arguments, p)                                            \
    {                                                                                              \
        OG_EACH(p.shape.n *p.shape.c *OG_PLACES(p.shape.out))                                      \
        {                                                                                          \
            const og_image_at at = og_image_find(p.shape, i, p.shape.out);                         \
            float best = -INFINITY;                                                                \
            int64_t index = -1;                                                                    \
            int number = 0, place = 0, t[3];                                                       \
            OG_EACH_TAP(p.shape, t)                                                                \
            {                                                                                      \
                int x[3], inside = 1;                                                              \
                for (int a = 0; a < 3; a++) {                                                      \
                    x[a] = og_image_input(p.shape, a, at.place[a], t[a]);                          \
                    inside = inside && x[a] >= 0 && x[a] < p.shape.in[a];                          \
                }                                                                                  \
                if (inside) {                                                                      \
                    const float v = load((                                                         \
                        (const type *)                                                             \
                            p.x)[og_image_lies(p.shape, at.plane, x[0], x[1], x[2], p.shape.in)]); \
                    if (index < 0 || (best == best && (v > best || v != v))) {                     \
                        best = v;                                                                  \
                        place = number;                                                            \
                        index = at.plane * OG_PLACES(p.shape.in) +                                 \
                                ((int64_t)x[0] * p.shape.in[1] + x[1]) * p.shape.in[2] + x[2];     \
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
        OG_EACH(p.shape.n *p.shape.c *OG_PLACES(p.shape.in))                                       \
        {                                                                                          \
            const og_image_at at = og_image_find(p.shape, i, p.shape.in);                          \
            float sum = 0;                                                                         \
            int number = 0, t[3];                                                                  \
            OG_EACH_TAP(p.shape, t)                                                                \
            {                                                                                      \
                int o[3];                                                                          \
                for (int a = 0; a < 3; a++)                                                        \
                    o[a] = og_image_output(p.shape, a, at.place[a], t[a]);                         \
                if (o[0] >= 0 && o[1] >= 0 && o[2] >= 0) {                                         \
                    const int64_t from =                                                           \
                        og_image_lies(p.shape, at.plane, o[0], o[1], o[2], p.shape.out);           \
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
        OG_EACH(p.shape.n *p.shape.c *OG_PLACES(p.shape.out))                                      \
        {                                                                                          \
            const og_image_at at = og_image_find(p.shape, i, p.shape.out);                         \
            float sum = 0, count = 1;                                                              \
            int t[3];                                                                              \
            for (int a = 0; a < 3; a++)                                                            \
                count *= (float)og_pool_count(p, a, at.place[a]);                                  \
            OG_EACH_TAP(p.shape, t)                                                                \
            {                                                                                      \
                int x[3], inside = 1;                                                              \
                for (int a = 0; a < 3; a++) {                                                      \
                    x[a] = og_image_input(p.shape, a, at.place[a], t[a]);                          \
                    inside = inside && x[a] >= 0 && x[a] < p.shape.in[a];                          \
                }                                                                                  \
                if (inside)                                                                        \
                    sum += load((                                                                  \
                        (const type *)                                                             \
                            p.x)[og_image_lies(p.shape, at.plane, x[0], x[1], x[2], p.shape.in)]); \
            }                                                                                      \
            ((type *)p.y)[i] = store(sum / count);                                                 \
        }                                                                                          \
    }                                                                                              \
    OG_KERNEL(og_pool_average_grad_##name, og_pool_arguments, p)                                   \
    {                                                                                              \
        OG_EACH(p.shape.n *p.shape.c *OG_PLACES(p.shape.in))                                       \
        {                                                                                          \
            const og_image_at at = og_image_find(p.shape, i, p.shape.in);                          \
            float sum = 0;                                                                         \
            int t[3];                                                                              \
            OG_EACH_TAP(p.shape, t)                                                                \
            {                                                                                      \
                int o[3], inside = 1;                                                              \
                float count = 1;                                                                   \
                for (int a = 0; a < 3; a++) {                                                      \
                    o[a] = og_image_output(p.shape, a, at.place[a], t[a]);                         \
                    inside = inside && o[a] >= 0;                                                  \
                }                                                                                  \
                if (!inside)                                                                       \
                    continue;                                                                      \
                for (int a = 0; a < 3; a++)                                                        \
                    count *= (float)og_pool_count(p, a, o[a]);                                     \
                sum += load(((const type *)p.y)[og_image_lies(p.shape, at.plane, o[0], o[1], o[2], \
                                                              p.shape.out)]) /                     \
                       count;                                                                      \
            }                                                                                      \
            ((type *)p.x)[i] = store(sum);                                                         \
        }                                                                                          \
    }
POOLS(float, float, , )
POOLS(half, uint16_t, og_half_to_float, og_float_to_half)
POOLS(bfloat, uint16_t, og_bfloat_to_float, og_float_to_bfloat)
