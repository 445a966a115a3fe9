/* The mathematical functions of the C library, declared again with the `simd` attribute: in loops
 * the compiler then calls their vector versions, where the C library has them. NaN and infinities
 * keep their meaning, which -ffast-math would lose. For *_simd.c files. */
#ifndef OG_KERNELS_CPU_VECTOR_MATH_H
#define OG_KERNELS_CPU_VECTOR_MATH_H

#include <math.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR1(name)                                                 \
    extern __attribute__((simd("notinbranch"))) float name##f(float); \
    extern __attribute__((simd("notinbranch"))) double name(double)
#define VECTOR2(name)                                                        \
    extern __attribute__((simd("notinbranch"))) float name##f(float, float); \
    extern __attribute__((simd("notinbranch"))) double name(double, double)
#if __GLIBC_PREREQ(2, 22)
VECTOR1(exp);
VECTOR1(log);
VECTOR1(sin);
VECTOR1(cos);
VECTOR2(pow);
#endif
#if __GLIBC_PREREQ(2, 35)
VECTOR1(log1p);
VECTOR1(tanh);
VECTOR1(erf);
VECTOR1(tan);
VECTOR1(asin);
VECTOR1(acos);
VECTOR1(atan);
VECTOR1(sinh);
VECTOR1(cosh);
VECTOR1(asinh);
VECTOR1(acosh);
VECTOR1(atanh);
#endif
#endif

/* 2^k, and exp r - 1, without calls; x within ±88. k = round(x / ln 2) and r = x - k ln 2 in two
 * parts, |r| ≤ 0.35:
 *     exp x = 2^k exp r,   exp x - 1 = 2^k (exp r - 1) + (2^k - 1)
 * with the series of exp r up to r⁷ / 7!, whose rest is below float's precision. The second form
 * keeps its relative precision at 0. NaN stays NaN. */
static inline float og__exp_parts(float x, float *rest)
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

/* exp x for x up to 88; 0 where that would be subnormal. */
static inline float og__exp_float(float x)
{
    float rest, scale = og__exp_parts(x < -87.0f ? -87.0f : x, &rest);
    float y = scale + scale * rest;
    return x < -87.0f ? 0.0f : y;
}

/* erf x to a unit in the last place of float or two, without calls: for z = |x| up to 4, where it
 * is 1 in float,
 *     erf z = 1 - exp(z p(z)),   z p(z) ≈ log erfc z
 * p fitted to log(erfc z) / z on [0, 4] for the least relative error of erf, 4e-9. */
static inline float og__erf_float(float x)
{
    float z = fabsf(x), rest;
    z = z > 4.0f ? 4.0f : z;
    float p = 0x1.3696f6p-17f;
    p = p * z - 0x1.ed6c9ep-14f;
    p = p * z + 0x1.4bca0ap-11f;
    p = p * z - 0x1.b5006ap-10f;
    p = p * z + 0x1.5060b2p-13f;
    p = p * z + 0x1.39cdc6p-6f;
    p = p * z - 0x1.a4fa5ep-4f;
    p = p * z - 0x1.45f2fap-1f;
    p = p * z - 0x1.20dd76p+0f;
    float scale = og__exp_parts(z * p, &rest);
    return copysignf((1.0f - scale) - scale * rest, x);
}

#endif
