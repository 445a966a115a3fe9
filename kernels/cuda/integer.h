/* Integers as kernels compute with them: widened to 64 bits, whether they have a sign or not. */
#ifndef OG_KERNELS_CUDA_INTEGER_H
#define OG_KERNELS_CUDA_INTEGER_H

#include "kernels/cuda/kernel.h"

OG_DEVICE int64_t og_widen_8(uint8_t v, int is_signed)
{
    return is_signed ? (int64_t)(int8_t)v : (int64_t)v;
}
OG_DEVICE int64_t og_widen_16(uint16_t v, int is_signed)
{
    return is_signed ? (int64_t)(int16_t)v : (int64_t)v;
}
OG_DEVICE int64_t og_widen_32(uint32_t v, int is_signed)
{
    return is_signed ? (int64_t)(int32_t)v : (int64_t)v;
}
OG_DEVICE int64_t og_widen_64(uint64_t v, int is_signed)
{
    (void)is_signed;
    return (int64_t)v;
}
/* Is a below b? */
OG_DEVICE int og_int_less(int64_t a, int64_t b, int is_signed)
{
    return is_signed ? a < b : (uint64_t)a < (uint64_t)b;
}
/* Modulo 2⁶⁴. */
OG_DEVICE int64_t og_int_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

#endif
