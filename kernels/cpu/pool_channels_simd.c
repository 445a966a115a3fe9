/* The loops of pooling channels-last. Compiled once for each instruction set. */
#include "kernels/cpu/pool.h"

/* v replaces b: larger, or NaN. */
#define WINS(v, b) ((v) > (b) || (v) != (v))

enum { STRIP = 16 };

/* `n` of STRIP channels, all of them where n is the constant STRIP. */
static inline void max_strip(float *y, int64_t *index, const float *x, const int32_t *taps, int t,
                             int64_t channels, int64_t first, int64_t plane, int n)
{
    float best[STRIP];
    int32_t at[STRIP];
    for (int l = 0; l < n; l++) {
        best[l] = -INFINITY;
        at[l] = -1;
    }
    for (int k = 0; k < t; k++) {
        const float *v = x + taps[k] * channels;
        for (int l = 0; l < n; l++) {
            bool win = WINS(v[l], best[l]) | (at[l] < 0);
            best[l] = win ? v[l] : best[l];
            at[l] = win ? taps[k] : at[l];
        }
    }
    for (int l = 0; l < n; l++)
        y[l] = best[l];
    for (int l = 0; index && l < n; l++)
        index[l] = at[l] < 0 ? -1 : first + l * plane + at[l];
}

static void max(float *y, int64_t *index, const float *x, const int32_t *taps, int n,
                int64_t channels, int64_t first, int64_t plane)
{
    int64_t c = 0;
    for (; c + STRIP <= channels; c += STRIP)
        max_strip(y + c, index ? index + c : NULL, x + c, taps, n, channels, first + c * plane,
                  plane, STRIP);
    if (c < channels)
        max_strip(y + c, index ? index + c : NULL, x + c, taps, n, channels, first + c * plane,
                  plane, (int)(channels - c));
}

static void average(float *restrict y, const float *x, const int32_t *taps, int n, int64_t channels,
                    float count)
{
    memset(y, 0, (size_t)channels * sizeof *y);
    for (int k = 0; k < n; k++) {
        const float *restrict v = x + taps[k] * channels;
        for (int64_t c = 0; c < channels; c++)
            y[c] += v[c];
    }
    for (int64_t c = 0; c < channels; c++)
        y[c] /= count;
}

static void spread(const float *restrict dy, float *dx, const int32_t *taps, int n,
                   int64_t channels, float count)
{
    for (int k = 0; k < n; k++) {
        float *restrict v = dx + taps[k] * channels;
        for (int64_t c = 0; c < channels; c++)
            v[c] += dy[c] / count;
    }
}

static const og__pool_channels_fns fns = {max, average, spread};

const og__pool_channels_fns *OG_SIMD(og__pool_channels_find)(void)
{
    return &fns;
}
