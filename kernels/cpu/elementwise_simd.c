/* Tile loops of the elementwise interpreter: one function for each scalar instruction, domain and
 * choice of uniform operand, and the conversions from and to memory. Compiled once for each
 * instruction set (OG_SIMD).
 *
 * The loops are plain C that the compiler vectorizes, with the C library's vector functions
 * (vector_math.h). */
#include <limits.h>

#if OG_SIMD_LEVEL >= 3
#include <immintrin.h>
#endif

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/vector_math.h"

/* ---- instructions */

/* Integer arithmetic wraps, as processors do. */
#define WRAPS __attribute__((no_sanitize("undefined")))

/* One loop. DA, DB, DC: what declares operand a, b, c for element i. */
#define LOOP(fn, T, DA, DB, DC, expression)                                                     \
    static WRAPS void fn(void *vy, const void *va, const void *vb, const void *vc, double vimm, \
                         int64_t n)                                                             \
    {                                                                                           \
        T *y = vy;                                                                              \
        const T *pa = va, *pb = vb, *pc = vc;                                                   \
        T imm = (T)vimm;                                                                        \
        (void)pa, (void)pb, (void)pc, (void)imm;                                                \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                     \
        {                                                                                       \
            DA DB DC y[i] = (expression);                                                       \
        }                                                                                       \
    }
/* The operand is the same for all elements: read before the loop, for y may be the same memory. */
#define LOOP_UNIFORM(fn, T, u, DA, DB, DC, expression)                                          \
    static WRAPS void fn(void *vy, const void *va, const void *vb, const void *vc, double vimm, \
                         int64_t n)                                                             \
    {                                                                                           \
        T *y = vy;                                                                              \
        const T *pa = va, *pb = vb, *pc = vc;                                                   \
        const T u = *p##u;                                                                      \
        (void)pa, (void)pb, (void)pc, (void)vimm;                                               \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++)                                     \
        {                                                                                       \
            DA DB DC y[i] = (expression);                                                       \
        }                                                                                       \
    }
#define A(T) const T a = pa[i];
#define B(T) const T b = pb[i];
#define C(T) const T c = pc[i];

#define MAKE_0(d, T, name, e) LOOP(name##_##d, T, , , , e)
#define MAKE_1(d, T, name, e) LOOP(name##_##d, T, A(T), , , e)
#define MAKE_2(d, T, name, e)                     \
    LOOP(name##_##d, T, A(T), B(T), , e)          \
    LOOP_UNIFORM(name##_b_##d, T, b, A(T), , , e) \
    LOOP_UNIFORM(name##_a_##d, T, a, , B(T), , e)
#define MAKE_3(d, T, name, e)                         \
    LOOP(name##_##d, T, A(T), B(T), C(T), e)          \
    LOOP_UNIFORM(name##_b_##d, T, b, A(T), , C(T), e) \
    LOOP_UNIFORM(name##_a_##d, T, a, , B(T), C(T), e) \
    LOOP_UNIFORM(name##_c_##d, T, c, A(T), B(T), , e)

#define ROUND(type, a) og_##type##_to_float(og_float_to_##type((float)(a)))
/* With vectors of 16 and fused multiplications it is half as long as the C library's. */
#if OG_SIMD_LEVEL == 4
#define erff og__erf_float
#endif
#define F(name) name##f
#define DIVIDE(a, b) ((a) / (b))
#define REMAINDER(a, b) og__remainder_float(a, b)
#define POWER(a, b) powf(a, b)
#define T float
#define X(name, arity, ints, e) MAKE_##arity(float, T, name, e)
#include "runtime/graph/scalar.def"
#undef X
#undef T
#undef F
#undef REMAINDER
#undef POWER
#undef erff

#define F(name) name
#define REMAINDER(a, b) og__remainder_double(a, b)
#define POWER(a, b) pow(a, b)
#define T double
#define X(name, arity, ints, e) MAKE_##arity(double, T, name, e)
#include "runtime/graph/scalar.def"
#undef X
#undef T
#undef F
#undef DIVIDE
#undef REMAINDER
#undef POWER

#define DIVIDE(a, b) og__divide_int(a, b)
#define REMAINDER(a, b) og__remainder_int(a, b)
#define POWER(a, b) og__power_int(a, b)
#define T int64_t
#define INT_0(name, arity, e)
#define INT_1(name, arity, e) MAKE_##arity(int, T, name, e)
#define X(name, arity, ints, e) INT_##ints(name, arity, e)
#include "runtime/graph/scalar.def"
#undef X
#undef T

/* ---- conversions */

static inline int64_t same(int64_t v)
{
    return v;
}
static inline float bool_byte(uint8_t v)
{
    return v != 0;
}

#define LOAD(d, T, M, name, convert)                                                         \
    static void load_##name##_##d(void *vto, const void *vfrom, int64_t stride, int64_t n)   \
    {                                                                                        \
        T *to = vto;                                                                         \
        const M *from = vfrom;                                                               \
        if (stride == 1) {                                                                   \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) to[i] = (T)convert(from[i]); \
        } else if (stride == 0) {                                                            \
            const T value = (T)convert(from[0]);                                             \
            for (int64_t i = 0; i < n; i++)                                                  \
                to[i] = value;                                                               \
        } else {                                                                             \
            for (int64_t i = 0; i < n; i++)                                                  \
                to[i] = (T)convert(from[i * stride]);                                        \
        }                                                                                    \
    }
#define STORE(d, T, M, name, convert)                                                    \
    static void store_##name##_##d(void *vto, const void *vfrom, int64_t n)              \
    {                                                                                    \
        M *to = vto;                                                                     \
        const T *from = vfrom;                                                           \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) to[i] = (M)convert(from[i]); \
    }

#define LOADS(d, T)                                    \
    LOAD(d, T, float, FLOAT, )                         \
    LOAD(d, T, double, DOUBLE, )                       \
    LOAD(d, T, uint16_t, FLOAT16, og_half_to_float)    \
    LOAD(d, T, uint16_t, BFLOAT16, og_bfloat_to_float) \
    LOAD_INTS(d, T)
#define LOAD_INTS(d, T)                  \
    LOAD(d, T, uint8_t, BOOL, bool_byte) \
    LOAD(d, T, uint8_t, UINT8, )         \
    LOAD(d, T, int8_t, INT8, )           \
    LOAD(d, T, uint16_t, UINT16, )       \
    LOAD(d, T, int16_t, INT16, )         \
    LOAD(d, T, uint32_t, UINT32, )       \
    LOAD(d, T, int32_t, INT32, )         \
    LOAD(d, T, uint64_t, UINT64, )       \
    LOAD(d, T, int64_t, INT64, )
#define STORES(d, T, to_int, to_uint64)                 \
    STORE(d, T, float, FLOAT, )                         \
    STORE(d, T, double, DOUBLE, )                       \
    STORE(d, T, uint16_t, FLOAT16, og_float_to_half)    \
    STORE(d, T, uint16_t, BFLOAT16, og_float_to_bfloat) \
    STORE(d, T, uint8_t, BOOL, 0 !=)                    \
    STORE(d, T, uint8_t, UINT8, to_int)                 \
    STORE(d, T, int8_t, INT8, to_int)                   \
    STORE(d, T, uint16_t, UINT16, to_int)               \
    STORE(d, T, int16_t, INT16, to_int)                 \
    STORE(d, T, uint32_t, UINT32, to_int)               \
    STORE(d, T, int32_t, INT32, to_int)                 \
    STORE(d, T, uint64_t, UINT64, to_uint64)            \
    STORE(d, T, int64_t, INT64, to_int)

static inline int64_t real_to_int(double v)
{
    return og__double_to_int(v);
}

LOADS(float, float)
STORES(float, float, real_to_int, og__double_to_uint64)
LOADS(double, double)
STORES(double, double, real_to_int, og__double_to_uint64)
LOAD_INTS(int, int64_t)
LOAD(int, int64_t, float, FLOAT, real_to_int)
LOAD(int, int64_t, double, DOUBLE, real_to_int)
static inline int64_t half_to_int(uint16_t v)
{
    return og__double_to_int(og_half_to_float(v));
}
static inline int64_t bfloat_to_int(uint16_t v)
{
    return og__double_to_int(og_bfloat_to_float(v));
}
LOAD(int, int64_t, uint16_t, FLOAT16, half_to_int)
LOAD(int, int64_t, uint16_t, BFLOAT16, bfloat_to_int)
STORES(int, int64_t, same, same)

/* float16 by the processor's own conversions, which the compiler does not find. */
#if OG_SIMD_LEVEL == 4
#define LANES 16
#define WIDEN(to, from) \
    _mm512_storeu_ps(to, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(from))))
#define NARROW(to, from) \
    _mm256_storeu_si256((void *)(to), _mm512_cvtps_ph(_mm512_loadu_ps(from), TO_NEAREST))
#elif OG_SIMD_LEVEL == 3
#define LANES 8
#define WIDEN(to, from) _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from))))
#define NARROW(to, from) \
    _mm_storeu_si128((void *)(to), _mm256_cvtps_ph(_mm256_loadu_ps(from), TO_NEAREST))
#endif
#ifdef LANES
#define TO_NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
static void load_float16(void *vto, const void *vfrom, int64_t stride, int64_t n)
{
    float *to = vto;
    const uint16_t *from = vfrom;
    int64_t i = 0;
    for (; stride == 1 && i + LANES <= n; i += LANES)
        WIDEN(to + i, from + i);
    load_FLOAT16_float(to + i, from + i * stride, stride, n - i);
}
static void store_float16(void *vto, const void *vfrom, int64_t n)
{
    uint16_t *to = vto;
    const float *from = vfrom;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        NARROW(to + i, from + i);
    store_FLOAT16_float(to + i, from + i, n - i);
}
#else
#define load_float16 load_FLOAT16_float
#define store_float16 store_FLOAT16_float
#endif

/* ---- bits */

/* Eight at a time, in a form that the compiler vectorizes. */
#define LOAD_BITS(d, T)                                                             \
    static void load_bits_##d(void *vto, const void *vfrom, int64_t bit, int64_t n) \
    {                                                                               \
        static const int bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};                   \
        T *to = vto;                                                                \
        const uint8_t *from = vfrom;                                                \
        int64_t i = 0;                                                              \
        for (; bit % 8 == 0 && i + 8 <= n; i += 8) {                                \
            int byte = from[(bit + i) / 8];                                         \
            for (int k = 0; k < 8; k++)                                             \
                to[i + k] = (byte & bits[k]) != 0;                                  \
        }                                                                           \
        for (; i < n; i++)                                                          \
            to[i] = from[(bit + i) / 8] >> (bit + i) % 8 & 1;                       \
    }
#define STORE_BITS(d, T)                                                \
    static void store_bits_##d(void *vto, const void *vfrom, int64_t n) \
    {                                                                   \
        static const int bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};       \
        uint8_t *to = vto;                                              \
        const T *from = vfrom;                                          \
        int64_t i = 0;                                                  \
        for (; i + 8 <= n; i += 8) {                                    \
            int byte = 0;                                               \
            for (int k = 0; k < 8; k++)                                 \
                byte |= from[i + k] != 0 ? bits[k] : 0;                 \
            to[i / 8] = (uint8_t)byte;                                  \
        }                                                               \
        if (i < n)                                                      \
            to[i / 8] = 0;                                              \
        for (; i < n; i++)                                              \
            to[i / 8] |= (uint8_t)((from[i] != 0) << i % 8);            \
    }
LOAD_BITS(float, float)
LOAD_BITS(double, double)
LOAD_BITS(int, int64_t)
STORE_BITS(float, float)
STORE_BITS(double, double)
STORE_BITS(int, int64_t)

#if OG_SIMD_LEVEL == 4
static inline void spread(float *to, const uint8_t *from)
{
    __mmask16 mask = (__mmask16)(from[0] | from[1] << 8);
    _mm512_storeu_ps(to, _mm512_maskz_mov_ps(mask, _mm512_set1_ps(1)));
}
static inline void collect(uint8_t *to, const float *from)
{
    __mmask16 mask = _mm512_cmp_ps_mask(_mm512_loadu_ps(from), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    to[0] = (uint8_t)mask;
    to[1] = (uint8_t)(mask >> 8);
}
#elif OG_SIMD_LEVEL == 3
static inline void spread(float *to, const uint8_t *from)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(*from), bit), bit);
    _mm256_storeu_ps(to, _mm256_and_ps(_mm256_castsi256_ps(set), _mm256_set1_ps(1)));
}
static inline void collect(uint8_t *to, const float *from)
{
    __m256 set = _mm256_cmp_ps(_mm256_loadu_ps(from), _mm256_setzero_ps(), _CMP_NEQ_UQ);
    *to = (uint8_t)_mm256_movemask_ps(set);
}
#endif
#ifdef LANES
static void load_float_bits(void *vto, const void *vfrom, int64_t bit, int64_t n)
{
    float *to = vto;
    const uint8_t *from = vfrom;
    int64_t i = 0;
    for (; bit % 8 == 0 && i + LANES <= n; i += LANES)
        spread(to + i, from + (bit + i) / 8);
    load_bits_float(to + i, from, bit + i, n - i);
}
static void store_float_bits(void *vto, const void *vfrom, int64_t n)
{
    uint8_t *to = vto;
    const float *from = vfrom;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        collect(to + i / 8, from + i);
    store_bits_float(to + i / 8, from + i, n - i);
}
#else
#define load_float_bits load_bits_float
#define store_float_bits store_bits_float
#endif

/* ---- the table */

#define TYPES(f, d, float16)                                                                    \
    {                                                                                           \
        [OG_FLOAT] = f##_FLOAT_##d, [OG_DOUBLE] = f##_DOUBLE_##d, [OG_FLOAT16] = float16,       \
        [OG_BFLOAT16] = f##_BFLOAT16_##d, [OG_BOOL] = f##_BOOL_##d, [OG_UINT8] = f##_UINT8_##d, \
        [OG_INT8] = f##_INT8_##d, [OG_UINT16] = f##_UINT16_##d, [OG_INT16] = f##_INT16_##d,     \
        [OG_UINT32] = f##_UINT32_##d, [OG_INT32] = f##_INT32_##d, [OG_UINT64] = f##_UINT64_##d, \
        [OG_INT64] = f##_INT64_##d                                                              \
    }

#define PICK_0(d, name, suffix)
#define PICK_1(d, name, suffix) [OG_SCALAR_##name] = name##suffix##_##d,
/* Which variants an arity has. */
#define HAS_B_0 0
#define HAS_B_1 0
#define HAS_B_2 1
#define HAS_B_3 1
#define HAS_C_0 0
#define HAS_C_1 0
#define HAS_C_2 0
#define HAS_C_3 1
#define CHOOSE(has, d, name, suffix) CHOOSE_(has, d, name, suffix)
#define CHOOSE_(has, d, name, suffix) PICK_##has(d, name, suffix)
#define BOTH_00 0
#define BOTH_01 0
#define BOTH_10 0
#define BOTH_11 1
#define BOTH(p, q) BOTH_(p, q)
#define BOTH_(p, q) BOTH_##p##q

const og__tile_ops OG_SIMD(og__tile_ops) = {
    .op =
        {
            [OG__DOMAIN_FLOAT] =
                {
                    [OG__VECTORS] =
                        {
#define X(name, arity, ints, e) PICK_1(float, name, )
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_B] =
                        {
#define X(name, arity, ints, e) CHOOSE(HAS_B_##arity, float, name, _b)
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_A] =
                        {
#define X(name, arity, ints, e) CHOOSE(HAS_B_##arity, float, name, _a)
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_C] =
                        {
#define X(name, arity, ints, e) CHOOSE(HAS_C_##arity, float, name, _c)
#include "runtime/graph/scalar.def"
#undef X
                        },
                },
            [OG__DOMAIN_DOUBLE] =
                {
                    [OG__VECTORS] =
                        {
#define X(name, arity, ints, e) PICK_1(double, name, )
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_B] =
                        {
#define X(name, arity, ints, e) CHOOSE(HAS_B_##arity, double, name, _b)
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_A] =
                        {
#define X(name, arity, ints, e) CHOOSE(HAS_B_##arity, double, name, _a)
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_C] =
                        {
#define X(name, arity, ints, e) CHOOSE(HAS_C_##arity, double, name, _c)
#include "runtime/graph/scalar.def"
#undef X
                        },
                },
            [OG__DOMAIN_INT] =
                {
                    [OG__VECTORS] =
                        {
#define X(name, arity, ints, e) PICK_##ints(int, name, )
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_B] =
                        {
#define X(name, arity, ints, e) CHOOSE(BOTH(ints, HAS_B_##arity), int, name, _b)
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_A] =
                        {
#define X(name, arity, ints, e) CHOOSE(BOTH(ints, HAS_B_##arity), int, name, _a)
#include "runtime/graph/scalar.def"
#undef X
                        },
                    [OG__UNIFORM_C] =
                        {
#define X(name, arity, ints, e) CHOOSE(BOTH(ints, HAS_C_##arity), int, name, _c)
#include "runtime/graph/scalar.def"
#undef X
                        },
                },
        },
    .load = {TYPES(load, float, load_float16), TYPES(load, double, load_FLOAT16_double),
             TYPES(load, int, load_FLOAT16_int)},
    .store = {TYPES(store, float, store_float16), TYPES(store, double, store_FLOAT16_double),
              TYPES(store, int, store_FLOAT16_int)},
    .load_bits = {load_float_bits, load_bits_double, load_bits_int},
    .store_bits = {store_float_bits, store_bits_double, store_bits_int},
};
