/* One step of LSTM, GRU and RNN over the hidden units of one sequence, forward and back. Compiled
 * once for each instruction set.
 *
 * In float, exp and tanh are computed here, without calls: with k = round(x / ln 2) and
 * r = x - k ln 2 (in two parts), |r| ≤ 0.35,
 *     exp x = 2^k exp r,   exp x - 1 = 2^k (exp r - 1) + (2^k - 1)
 * and the series of exp r up to r⁷ / 7!, whose rest is below float's precision. The second form
 * keeps its relative precision at 0, and with it tanh. NaN stays NaN. */
#include "kernels/cpu/recurrent.h"
#include "kernels/cpu/vector_math.h"

/* 2^k, and exp r - 1; x within ±88 */
static inline float exp_parts(float x, float *rest)
{
    const float magic = 0x1.8p23f; /* adding it rounds to an integer in the low bits */
    float z = x * 0x1.715476p0f + magic, k = z - magic;
    float r = x - k * 0x1.62e4p-1f - k * 0x1.7f7d1cp-20f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    *rest = r + r * r * p;
    union {
        float f;
        uint32_t u;
    } bits = {.f = z};
    bits.u = (bits.u << 23) + 0x3f800000u;
    return bits.f;
}

/* 1 / (1 + exp -x), 0 where that is subnormal */
static inline float sigmoid_float(float x)
{
    float a = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x, rest, scale = exp_parts(-a, &rest);
    float y = 1.0f / (1.0f + (scale + scale * rest));
    return x < -87.0f ? 0.0f : y;
}

/* t / (t + 2),  t = exp 2x - 1; ±1 from where no float lies between */
static inline float tanh_float(float x)
{
    float a = x < -9.5f ? -9.5f : x > 9.5f ? 9.5f : x, rest, scale = exp_parts(2 * a, &rest);
    float t = scale * rest + (scale - 1.0f);
    return t / (t + 2.0f);
}

static inline double sigmoid_double(double x)
{
    return 1 / (1 + exp(-x));
}

static inline double tanh_double(double x)
{
    return tanh(x);
}

#define T float
#define NAME(name) name##_float
#include "kernels/cpu/recurrent_template.h"
#undef T
#undef NAME

#define T double
#define NAME(name) name##_double
#include "kernels/cpu/recurrent_template.h"
#undef T
#undef NAME

const og__unit_fns *OG_SIMD(og__unit_find)(og_dtype dtype, og__unit unit)
{
    return dtype == OG_DOUBLE ? &fns_double[unit] : &fns_float[unit];
}
