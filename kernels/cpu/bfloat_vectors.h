/* What the products of bfloat16 share (gemm_bfloat.c, gemm_tiles.c): vectors of it and of its
 * pairs, neighbours in k, and how they get out of matrices of any strides. For processors with
 * AVX-512. */
#ifndef OG_KERNELS_CPU_BFLOAT_VECTORS_H
#define OG_KERNELS_CPU_BFLOAT_VECTORS_H

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/gemm_bfloat.h"

enum { LANES = 16 };

typedef uint16_t halves __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t pairs __attribute__((vector_size(64), aligned(2), may_alias));
typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t many_halves __attribute__((vector_size(64)));
typedef uint32_t pair __attribute__((aligned(2), may_alias));

#if defined(__x86_64__)
#define OG__AVX512 "avx512f,avx512bw,avx512dq,avx512vl"
#define OG__TARGET(more) __attribute__((target(OG__AVX512 more)))
#else
#define OG__TARGET(more)
#endif
#define OG__INLINE static inline __attribute__((always_inline, unused)) OG__TARGET("")

/* [a0 b0 a1 b1 …] */
OG__INLINE pairs interleave(halves a, halves b)
{
#if defined(__clang__)
    many_halves v =
        __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24,
                                9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return (pairs)v;
#else
    pairs wide_a = __builtin_convertvector(a, pairs), wide_b = __builtin_convertvector(b, pairs);
    return wide_a | wide_b << 16;
#endif
}

/* One stage of a transpose: elements at distance s of the diagonal change places in v[i], v[i + s].
 */
#define SWAP(s, first, second)                             \
    for (int i = 0; i < LANES; i++)                        \
        if (!(i & (s))) {                                  \
            pairs a = v[i], b = v[i + (s)];                \
            v[i] = OG__SHUFFLE(pairs, a, b, first);        \
            v[i + (s)] = OG__SHUFFLE(pairs, a, b, second); \
        }
#define LIST(...) __VA_ARGS__

/* 16 × 16 pairs: v[i][j] and v[j][i] change places. */
OG__INLINE void transpose(pairs v[LANES]){
#pragma GCC unroll 16
    SWAP(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
         LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#pragma GCC unroll 16
        SWAP(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
             LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
#pragma GCC unroll 16
            SWAP(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                 LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
#pragma GCC unroll 16
                SWAP(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                     LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))}

/* `count` neighbours, at most 16, then zeros. */
OG__INLINE halves load_halves(const uint16_t *from, int64_t count)
{
    if (count >= LANES)
        return *(const halves *)from;
    uint16_t some[LANES] = {0};
    for (int64_t i = 0; i < count; i++)
        some[i] = from[i];
    return *(const halves *)some;
}

/* `count` neighbours, at most 32, as pairs, then zeros. */
OG__INLINE pairs load_pairs(const uint16_t *from, int64_t count)
{
    if (count >= 2 * LANES)
        return *(const pairs *)from;
    uint16_t some[2 * LANES] = {0};
    for (int64_t i = 0; i < count; i++)
        some[i] = from[i];
    return *(const pairs *)some;
}

/* 16 × 16 pairs v[row][pair] of a matrix whose first `rows` rows have `k` elements; what it lacks
 * is zero. across, along: strides of rows and of k. */
OG__INLINE void load_square(pairs v[LANES], const uint16_t *x, int64_t rows, int64_t k,
                            int64_t across, int64_t along)
{
    if (along == 1) {
        for (int64_t i = 0; i < LANES; i++)
            v[i] = i < rows ? load_pairs(x + i * across, k) : (pairs){0};
    } else if (across == 1) {
        for (int64_t p = 0; p < LANES; p++) {
            halves even = 2 * p < k ? load_halves(x + 2 * p * along, rows) : (halves){0};
            halves odd = 2 * p + 1 < k ? load_halves(x + (2 * p + 1) * along, rows) : (halves){0};
            v[p] = interleave(even, odd);
        }
        transpose(v);
    } else {
        uint16_t some[LANES][2 * LANES] = {{0}};
        for (int64_t i = 0; i < og__min(rows, LANES); i++)
            for (int64_t p = 0; p < og__min(k, 2 * LANES); p++)
                some[i][p] = x[i * across + p * along];
        for (int i = 0; i < LANES; i++)
            v[i] = *(const pairs *)some[i];
    }
}

/* og_float_to_bfloat of 16 floats */
OG__INLINE halves to_halves(floats x)
{
    pairs bits = (pairs)x, quiet = bits >> 16 | 0x40;
    pairs rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    pairs nan = (pairs)((bits & 0x7fffffff) > 0x7f800000);
    return __builtin_convertvector((quiet & nan) | (rounded & ~nan), halves);
}

#endif
