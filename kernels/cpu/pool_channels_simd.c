/* The loops of pooling channels-last. Compiled once for each instruction set. */
#include "kernels/cpu/pool.h"

/* v replaces b: larger, or NaN. */
#define WINS(v, b) ((v) > (b) || (v) != (v))

enum { STRIP = 16 };
typedef float floats __attribute__((vector_size(STRIP * 4)));
typedef int32_t ints __attribute__((vector_size(STRIP * 4)));
typedef float floats_u __attribute__((vector_size(STRIP * 4), aligned(4), may_alias));
typedef int32_t ints_u __attribute__((vector_size(STRIP * 4), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(STRIP)));
typedef uint8_t bytes_u __attribute__((vector_size(STRIP), aligned(1), may_alias));

static void put_index(int64_t *index, const int32_t *at, int n, int64_t first, int64_t plane)
{
    for (int l = 0; l < n; l++)
        index[l] = at[l] < 0 ? -1 : first + l * plane + at[l];
}

static void max(float *y, int64_t *index, const float *x, const int32_t *taps, int n,
                int64_t channels, int64_t first, int64_t plane)
{
    int64_t c = 0;
    int32_t places[STRIP];
    for (; c + STRIP <= channels; c += STRIP) {
        floats best = (floats){0} - INFINITY;
        ints at = (ints){0} - 1;
        for (int k = 0; k < n; k++) {
            floats v = *(const floats_u *)(x + taps[k] * channels + c);
            ints nan = v != v; /* NOLINT(misc-redundant-expression): only a NaN is unlike itself */
            ints win = (v > best) | nan | (at < 0);
            best = (floats)(((ints)v & win) | ((ints)best & ~win));
            at = (((ints){0} + taps[k]) & win) | (at & ~win);
        }
        *(floats_u *)(y + c) = best;
        *(ints_u *)places = at;
        if (index)
            put_index(index + c, places, STRIP, first + c * plane, plane);
    }
    for (; c < channels; c++) {
        float best = -INFINITY;
        places[0] = -1;
        for (int k = 0; k < n; k++) {
            float v = x[taps[k] * channels + c];
            if (WINS(v, best) || places[0] < 0) {
                best = v;
                places[0] = taps[k];
            }
        }
        y[c] = best;
        if (index)
            put_index(index + c, places, 1, first + c * plane, plane);
    }
}

/* Tap k's number wins in every channel where its element does. */
static void max_place(float *y, uint8_t *place, const float *x, const int32_t *taps,
                      const uint8_t *numbers, int n, int64_t channels)
{
    int64_t c = 0;
    for (; c + STRIP <= channels; c += STRIP) {
        floats best = (floats){0} - INFINITY;
        ints at = (ints){0} + (n ? numbers[0] : 0);
        for (int k = 0; k < n; k++) {
            floats v = *(const floats_u *)(x + taps[k] * channels + c);
            ints nan = v != v; /* NOLINT(misc-redundant-expression): only a NaN is unlike itself */
            ints win = (v > best) | nan;
            best = (floats)(((ints)v & win) | ((ints)best & ~win));
            at = (((ints){0} + numbers[k]) & win) | (at & ~win);
        }
        *(floats_u *)(y + c) = best;
        *(bytes_u *)(place + c) = __builtin_convertvector(at, bytes);
    }
    for (; c < channels; c++) {
        float best = -INFINITY;
        uint8_t at = n ? numbers[0] : 0;
        for (int k = 0; k < n; k++) {
            float v = x[taps[k] * channels + c];
            if (WINS(v, best)) {
                best = v;
                at = numbers[k];
            }
        }
        y[c] = best;
        place[c] = at;
    }
}

static void choose(const float *restrict dy, const uint8_t *restrict place, float *dx,
                   const int32_t *taps, const uint8_t *numbers, int n, int64_t channels)
{
    for (int k = 0; k < n; k++) {
        float *restrict v = dx + taps[k] * channels;
        const uint8_t number = numbers[k];
        for (int64_t c = 0; c < channels; c++)
            v[c] += place[c] == number ? dy[c] : 0;
    }
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

static const og__pool_channels_fns fns = {max, max_place, choose, average, spread};

const og__pool_channels_fns *OG_SIMD(og__pool_channels_find)(void)
{
    return &fns;
}
