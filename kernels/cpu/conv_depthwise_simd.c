/* Sums over pixels for the gradient of depthwise weights. Compiled once for each instruction set. A
 * row of pixels is summed in registers, a strip of channels at once, then added in memory. */
#include "kernels/cpu/conv_depthwise.h"

typedef float floats __attribute__((vector_size(64)));
typedef float floats_u __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t halves_u __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t bits __attribute__((vector_size(64)));

enum { LANES = 16 };

#define LOAD_FLOATS(p) (*(const floats_u *)(p))
#define LOAD_HALVES(p) ((floats)(__builtin_convertvector(*(const halves_u *)(p), bits) << 16))

/* sums[0 … channels - 1] += Σ x[i x_step] dy[i dy_step], i < n; dy_step elements between pixels */
#define ROW(name, T, LOAD, CONVERT)                                                             \
    static void row_##name(const T *x, int64_t x_step, const T *dy, int64_t dy_step, int64_t n, \
                           int64_t channels, float *sums)                                       \
    {                                                                                           \
        int64_t c = 0;                                                                          \
        for (; c + 4 * LANES <= channels; c += 4 * LANES) {                                     \
            floats s[4] = {{0}};                                                                \
            for (int64_t i = 0; i < n; i++)                                                     \
                for (int v = 0; v < 4; v++)                                                     \
                    s[v] += LOAD(x + i * x_step + c + v * LANES) *                              \
                            LOAD(dy + i * dy_step + c + v * LANES);                             \
            for (int v = 0; v < 4; v++)                                                         \
                *(floats_u *)(sums + c + v * LANES) += s[v];                                    \
        }                                                                                       \
        for (; c + LANES <= channels; c += LANES) {                                             \
            floats s = {0};                                                                     \
            for (int64_t i = 0; i < n; i++)                                                     \
                s += LOAD(x + i * x_step + c) * LOAD(dy + i * dy_step + c);                     \
            *(floats_u *)(sums + c) += s;                                                       \
        }                                                                                       \
        for (; c < channels; c++) {                                                             \
            float s = 0;                                                                        \
            for (int64_t i = 0; i < n; i++)                                                     \
                s += CONVERT(x[i * x_step + c]) * CONVERT(dy[i * dy_step + c]);                 \
            sums[c] += s;                                                                       \
        }                                                                                       \
    }
ROW(float, float, LOAD_FLOATS, )
ROW(half, uint16_t, LOAD_HALVES, og_bfloat_to_float)

/* The outputs of an axis whose window has this tap in the image: first … last - 1. */
static void valid(const og__conv *c, int axis, int64_t tap, int64_t *first, int64_t *last)
{
    int64_t shift = tap * c->dilations[axis] - c->begins[axis], stride = c->strides[axis];
    int64_t room = c->in[axis] - 1 - shift;
    *first = shift < 0 ? (-shift + stride - 1) / stride : 0;
    *last = room < 0 ? 0 : og__min(c->out[axis], room / stride + 1);
}

/* The row of x that tap `tap` of an axis reads for output `at`; -1: none. */
static int64_t row_of(const og__conv *c, int axis, int64_t at, int64_t tap)
{
    int64_t row = at * c->strides[axis] + tap * c->dilations[axis] - c->begins[axis];
    return row < c->in[axis] ? og__max(row, -1) : -1;
}

/* One row of outputs of an image with all taps; x and dy from the strip's first channel on. */
static void row_of_outputs(const og__conv *c, const void *x, const void *dy, bool halves,
                           int64_t image, int64_t od, int64_t oh, int64_t channels, float *sums)
{
    const int64_t *in = c->in, *out = c->out, *k = c->kernel;
    int64_t p = ((image * out[0] + od) * out[1] + oh) * out[2] * c->c;
    for (int64_t tap = 0; tap < k[0] * k[1]; tap++) {
        int64_t id = row_of(c, 0, od, tap / k[1]), ih = row_of(c, 1, oh, tap % k[1]);
        if (id < 0 || ih < 0)
            continue;
        for (int64_t kw = 0; kw < k[2]; kw++) {
            int64_t first, last;
            valid(c, 2, kw, &first, &last);
            int64_t iw = first * c->strides[2] + kw * c->dilations[2] - c->begins[2];
            int64_t from = (((image * in[0] + id) * in[1] + ih) * in[2] + iw) * c->c;
            float *to = sums + (tap * k[2] + kw) * c->c;
            if (halves && first < last)
                row_half((const uint16_t *)x + from, c->strides[2] * c->c,
                         (const uint16_t *)dy + p + first * c->c, c->c, last - first, channels, to);
            else if (first < last)
                row_float((const float *)x + from, c->strides[2] * c->c,
                          (const float *)dy + p + first * c->c, c->c, last - first, channels, to);
        }
    }
}

void OG_SIMD(og__depthwise_weights)(const og__conv *c, const void *x, const void *dy, bool halves,
                                    int64_t first, int64_t last, int64_t first_channel,
                                    int64_t channels, float *sums)
{
    size_t skip = (size_t)first_channel * (halves ? sizeof(uint16_t) : sizeof(float));
    sums += first_channel;
    for (int64_t tap = 0; tap < og__product(c->kernel, 0, OG__SPATIAL); tap++)
        memset(sums + tap * c->c, 0, (size_t)channels * sizeof *sums);
    for (int64_t image = first; image < last; image++)
        for (int64_t od = 0; od < c->out[0]; od++)
            for (int64_t oh = 0; oh < c->out[1]; oh++)
                row_of_outputs(c, (const char *)x + skip, (const char *)dy + skip, halves, image,
                               od, oh, channels, sums);
}
