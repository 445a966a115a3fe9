/* float16 and bfloat16, held as their bits, to float and back. Back rounds to nearest, ties to
 * even. */
#ifndef OG_BASE_HALF_H
#define OG_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float og_bits_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static inline uint32_t og_float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}
static inline float og_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest >= 0x7c00) /* Inf, NaN */
        return og_bits_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x400)
        return og_bits_float(sign | ((rest << 13) + ((uint32_t)112 << 23)));
    float tiny = (float)rest * 0x1p-24f; /* subnormal or zero: exact */
    return sign ? -tiny : tiny;
}
/* Rounds to nearest, ties to even; overflows to Inf. */
static inline uint16_t og_float_to_half(float f)
{
    uint32_t bits = og_float_bits(f), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000) /* 65520 and above */
        return (uint16_t)(sign | 0x7c00);
    if (rest < 0x38800000) { /* below 2^-14: adding 0.5 aligns the last bit of a subnormal half */
        uint32_t aligned = og_float_bits(og_bits_float(rest) + 0.5f);
        return (uint16_t)(sign | (aligned - 0x3f000000));
    }
    uint32_t even = rest >> 13 & 1;
    return (uint16_t)(sign | (rest - ((uint32_t)112 << 23) + 0xfff + even) >> 13);
}
static inline float og_bfloat_to_float(uint16_t b)
{
    return og_bits_float((uint32_t)b << 16);
}
static inline uint16_t og_float_to_bfloat(float f)
{
    uint32_t bits = og_float_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
