/* Arithmetic of the scalar instructions that differs between domains, and conversions to integers.
 * No includes but the C library's: the text also stands in front of CUDA kernels that are made when
 * planning (kernels/cuda/elementwise.c). */
#ifndef OG_KERNELS_CPU_ARITHMETIC_H
#define OG_KERNELS_CPU_ARITHMETIC_H

#ifndef __CUDACC_RTC__ /* which has both without */
#include <math.h>
#include <stdint.h>
#endif

/* Integers: towards zero; by zero gives 0; the one overflow wraps. */
static inline int64_t og__divide_int(int64_t a, int64_t b)
{
    return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}
/* The sign follows the divisor. */
static inline int64_t og__remainder_int(int64_t a, int64_t b)
{
    if (b == 0 || b == -1)
        return 0;
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static inline int64_t og__power_int(int64_t a, int64_t b)
{
    if (b < 0)
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    uint64_t result = 1, base = (uint64_t)a;
    for (uint64_t e = (uint64_t)b; e; e >>= 1, base *= base)
        if (e & 1)
            result *= base;
    return (int64_t)result;
}
static inline float og__remainder_float(float a, float b)
{
    float r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static inline double og__remainder_double(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* As C's conversion where that is defined; NaN gives 0, values out of range the nearest end. */
static inline int64_t og__double_to_int(double v)
{
    if (v >= 0x1p63)
        return 0x7fffffffffffffff;
    if (v <= -0x1p63)
        return -0x7fffffffffffffff - 1;
    return v == v ? (int64_t)v : 0;
}
static inline uint64_t og__double_to_uint64(double v)
{
    return v >= 0x1p63 && v < 0x1p64 ? (uint64_t)v : (uint64_t)og__double_to_int(v);
}

#endif
