/* One step of LSTM, GRU and RNN over the hidden units of one sequence, forward and back. Compiled
 * once for each instruction set.
 *
 * In float, sigmoid and tanh are made of og__exp_parts (vector_math.h), without calls; tanh keeps
 * its relative precision at 0. NaN stays NaN. */
#include "kernels/cpu/recurrent.h"
#include "kernels/cpu/vector_math.h"

/* 1 / (1 + exp -x), 0 where that is subnormal */
static inline float sigmoid_float(float x)
{
    float a = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x, rest, scale = og__exp_parts(-a, &rest);
    float y = 1.0f / (1.0f + (scale + scale * rest));
    return x < -87.0f ? 0.0f : y;
}

/* t / (t + 2),  t = exp 2x - 1; ±1 from where no float lies between */
static inline float tanh_float(float x)
{
    float a = x < -9.5f ? -9.5f : x > 9.5f ? 9.5f : x, rest, scale = og__exp_parts(2 * a, &rest);
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
