/* The loops of reductions, for every kind and element type. Real types are accumulated in double:
 * sums are exact to the last bit or two of a float whatever their length, and the order of
 * additions depends on shapes only. Compiled once for each instruction set. */
#include "kernels/cpu/reduce.h"

/* ---- combining two values: a is the accumulator, v what it takes in */

#define REAL_SUM(a, v) ((a) + (v))
#define REAL_SUM_SQUARE(a, v) ((a) + (v) * (v))
#define REAL_PROD(a, v) ((a) * (v))
#define REAL_MAX(a, v) ((v) > (a) || (v) != (v) ? (v) : (a))
#define REAL_MIN(a, v) ((v) < (a) || (v) != (v) ? (v) : (a))
/* Integers wrap. */
#define INT_SUM(a, v) (int64_t)((uint64_t)(a) + (uint64_t)(v))
#define INT_SUM_SQUARE(a, v) (int64_t)((uint64_t)(a) + (uint64_t)(v) * (uint64_t)(v))
#define INT_PROD(a, v) (int64_t)((uint64_t)(a) * (uint64_t)(v))
#define INT_MAX_OF(a, v) ((v) > (a) ? (v) : (a))
#define INT_MIN_OF(a, v) ((v) < (a) ? (v) : (a))

/* ---- accumulators */

/* JOIN: OP on two accumulators; FIRST: OP of nothing. */
#define ACCUMULATOR(NAME, A, JOIN, FIRST)                            \
    static void start_##NAME(void *acc, int64_t n)                   \
    {                                                                \
        for (int64_t i = 0; i < n; i++)                              \
            ((A *)acc)[i] = FIRST;                                   \
    }                                                                \
    static void join_##NAME(void *acc, const void *other, int64_t n) \
    {                                                                \
        A *restrict a = acc;                                         \
        const A *restrict b = other;                                 \
        for (int64_t i = 0; i < n; i++)                              \
            a[i] = JOIN(a[i], b[i]);                                 \
    }

ACCUMULATOR(sum_real, double, REAL_SUM, 0)
ACCUMULATOR(prod_real, double, REAL_PROD, 1)
ACCUMULATOR(max_real, double, REAL_MAX, -INFINITY)
ACCUMULATOR(min_real, double, REAL_MIN, INFINITY)
ACCUMULATOR(sum_int, int64_t, INT_SUM, 0)
ACCUMULATOR(prod_int, int64_t, INT_PROD, 1)
ACCUMULATOR(max_int, int64_t, INT_MAX_OF, INT64_MIN)
ACCUMULATOR(min_int, int64_t, INT_MIN_OF, INT64_MAX)
ACCUMULATOR(max_uint, uint64_t, INT_MAX_OF, 0)
ACCUMULATOR(min_uint, uint64_t, INT_MIN_OF, UINT64_MAX)

/* ---- loops over any type */

/* T: element, A: accumulator; LOAD: element to A; OP as above. */
#define COLUMNS(NAME, T, A, LOAD, OP)                                                         \
    static void NAME##_columns(void *acc, const void *data, int64_t rows, int64_t row_stride, \
                               int64_t columns, int64_t column_stride)                        \
    {                                                                                         \
        A *restrict a = acc;                                                                  \
        for (int64_t r = 0; r < rows; r++) {                                                  \
            const T *restrict x = (const T *)data + r * row_stride;                           \
            for (int64_t c = 0; c < columns; c++)                                             \
                a[c] = OP(a[c], LOAD(x[c * column_stride]));                                  \
        }                                                                                     \
    }

#define ROW(NAME, T, A, LOAD, OP)                                                  \
    static void NAME##_row(void *acc, const void *data, int64_t n, int64_t stride) \
    {                                                                              \
        const T *x = data;                                                         \
        A a = *(A *)acc;                                                           \
        for (int64_t i = 0; i < n; i++)                                            \
            a = OP(a, LOAD(x[i * stride]));                                        \
        *(A *)acc = a;                                                             \
    }

#define LOOPS(NAME, T, A, LOAD, OP) COLUMNS(NAME, T, A, LOAD, OP) ROW(NAME, T, A, LOAD, OP)

#define FINISH(SUFFIX, T, A, STORE)                                                   \
    static void finish_##SUFFIX(const void *acc, int64_t n, int64_t divisor, void *y, \
                                int64_t stride)                                       \
    {                                                                                 \
        const A *a = acc;                                                             \
        for (int64_t i = 0; i < n; i++)                                               \
            ((T *)y)[i * stride] = STORE(divisor == 1 ? a[i] : a[i] / (A)divisor);    \
    }

/* ---- float and double: vector rows, columns four rows at a time */

/* n contiguous elements; `clause`: the accumulator's reduction. */
#define SIMD_LOOP(clause, STEP)                      \
    _Pragma(#clause) for (int64_t i = 0; i < n; i++) \
    {                                                \
        double v = (double)x[i];                     \
        STEP;                                        \
    }

/* A long row's memory is asked for before it is needed: the processor's own look ahead leaves it
 * idle between the lines of one stream. */
enum { STRIP = 1024, AHEAD = 2048 }; /* elements */

#define VECTOR_ROW(NAME, T, OP, clause)                                                 \
    static void NAME##_row(void *acc, const void *data, int64_t total, int64_t stride)  \
    {                                                                                   \
        const T *x = data;                                                              \
        double a = *(double *)acc;                                                      \
        for (int64_t at = 0; stride == 1 && at < total; at += STRIP, x += STRIP) {      \
            int64_t n = og__min(STRIP, total - at);                                     \
            for (int64_t i = 0; total - at >= AHEAD + STRIP && i < STRIP; i += LINE(T)) \
                __builtin_prefetch(x + AHEAD + i);                                      \
            SIMD_LOOP(clause, a = OP(a, v))                                             \
        }                                                                               \
        for (int64_t i = 0; stride != 1 && i < total; i++)                              \
            a = OP(a, (double)x[i * stride]);                                           \
        *(double *)acc = a;                                                             \
    }
#define LINE(T) (64 / (int64_t)sizeof(T))

/* Comparisons skip NaN, which is looked for beside them. */
#define VECTOR_ORDER_ROW(NAME, T, OP, COMPARE, clause)                             \
    static void NAME##_row(void *acc, const void *data, int64_t n, int64_t stride) \
    {                                                                              \
        const T *x = data;                                                         \
        double a = *(double *)acc;                                                 \
        if (stride == 1 && a == a) {                                               \
            int64_t missing = 0;                                                   \
            SIMD_LOOP(clause, a = v COMPARE a ? v : a; missing |= v != v)          \
            a = missing ? NAN : a;                                                 \
        } else {                                                                   \
            for (int64_t i = 0; i < n; i++)                                        \
                a = OP(a, (double)x[i * stride]);                                  \
        }                                                                          \
        *(double *)acc = a;                                                        \
    }

#define VECTOR_COLUMNS(NAME, T, OP)                                                           \
    static void NAME##_columns(void *acc, const void *data, int64_t rows, int64_t row_stride, \
                               int64_t columns, int64_t column_stride)                        \
    {                                                                                         \
        double *restrict a = acc;                                                             \
        int64_t r = 0;                                                                        \
        for (; column_stride == 1 && r + 4 <= rows; r += 4) {                                 \
            const T *restrict x0 = (const T *)data + r * row_stride;                          \
            const T *restrict x1 = x0 + row_stride, *restrict x2 = x1 + row_stride;           \
            const T *restrict x3 = x2 + row_stride;                                           \
            for (int64_t c = 0; c < columns; c++) {                                           \
                double v = a[c];                                                              \
                v = OP(v, (double)x0[c]);                                                     \
                v = OP(v, (double)x1[c]);                                                     \
                v = OP(v, (double)x2[c]);                                                     \
                a[c] = OP(v, (double)x3[c]);                                                  \
            }                                                                                 \
        }                                                                                     \
        for (; r < rows; r++) {                                                               \
            const T *restrict x0 = (const T *)data + r * row_stride;                          \
            for (int64_t c = 0; c < columns; c++)                                             \
                a[c] = OP(a[c], (double)x0[c * column_stride]);                               \
        }                                                                                     \
    }

/* ---- every kind for every type */

#define REAL_KINDS(SUFFIX, T)                                                      \
    VECTOR_COLUMNS(sum_##SUFFIX, T, REAL_SUM)                                      \
    VECTOR_COLUMNS(sum_square_##SUFFIX, T, REAL_SUM_SQUARE)                        \
    VECTOR_COLUMNS(prod_##SUFFIX, T, REAL_PROD)                                    \
    VECTOR_COLUMNS(max_##SUFFIX, T, REAL_MAX)                                      \
    VECTOR_COLUMNS(min_##SUFFIX, T, REAL_MIN)                                      \
    VECTOR_ROW(sum_##SUFFIX, T, REAL_SUM, omp simd reduction(+ : a))               \
    VECTOR_ROW(sum_square_##SUFFIX, T, REAL_SUM_SQUARE, omp simd reduction(+ : a)) \
    VECTOR_ROW(prod_##SUFFIX, T, REAL_PROD, omp simd reduction(* : a))             \
    VECTOR_ORDER_ROW(max_##SUFFIX, T, REAL_MAX, >,                                 \
                     omp simd reduction(max                                        \
                                        : a) reduction(|                           \
                                                       : missing))                 \
    VECTOR_ORDER_ROW(min_##SUFFIX, T, REAL_MIN, <,                                 \
                     omp simd reduction(min                                        \
                                        : a) reduction(|                           \
                                                       : missing))                 \
    FINISH(SUFFIX, T, double, (T))

#define HALF_KINDS(SUFFIX, LOAD, STORE)                                 \
    LOOPS(sum_##SUFFIX, uint16_t, double, LOAD, REAL_SUM)               \
    LOOPS(sum_square_##SUFFIX, uint16_t, double, LOAD, REAL_SUM_SQUARE) \
    LOOPS(prod_##SUFFIX, uint16_t, double, LOAD, REAL_PROD)             \
    LOOPS(max_##SUFFIX, uint16_t, double, LOAD, REAL_MAX)               \
    LOOPS(min_##SUFFIX, uint16_t, double, LOAD, REAL_MIN)               \
    FINISH(SUFFIX, uint16_t, double, STORE)

#define INT_ORDER(SUFFIX, T, A)                \
    LOOPS(max_##SUFFIX, T, A, (A), INT_MAX_OF) \
    LOOPS(min_##SUFFIX, T, A, (A), INT_MIN_OF) \
    FINISH(SUFFIX, T, A, (T))
#define INT_KINDS(SUFFIX, T, A)                           \
    LOOPS(sum_##SUFFIX, T, A, (A), INT_SUM)               \
    LOOPS(sum_square_##SUFFIX, T, A, (A), INT_SUM_SQUARE) \
    LOOPS(prod_##SUFFIX, T, A, (A), INT_PROD)             \
    INT_ORDER(SUFFIX, T, A)

static inline double load_half(uint16_t v)
{
    return og_half_to_float(v);
}
static inline double load_bfloat(uint16_t v)
{
    return og_bfloat_to_float(v);
}
static inline uint16_t store_half(double v)
{
    return og_float_to_half((float)v);
}
static inline uint16_t store_bfloat(double v)
{
    return og_float_to_bfloat((float)v);
}

REAL_KINDS(float, float)
REAL_KINDS(double, double)
HALF_KINDS(half, load_half, store_half)
HALF_KINDS(bfloat, load_bfloat, store_bfloat)
INT_ORDER(u8, uint8_t, int64_t)
INT_ORDER(i8, int8_t, int64_t)
INT_KINDS(u32, uint32_t, int64_t)
INT_KINDS(i32, int32_t, int64_t)
INT_KINDS(u64, uint64_t, uint64_t)
INT_KINDS(i64, int64_t, int64_t)

#define FNS(NAME, SUFFIX, ACC)                                                                     \
    {                                                                                              \
        start_##ACC, NAME##_##SUFFIX##_row, NAME##_##SUFFIX##_columns, join_##ACC, finish_##SUFFIX \
    }
#define REALS(SUFFIX)                                                                              \
    {                                                                                              \
        [OG_FOLD_SUM] = FNS(sum, SUFFIX, sum_real),                                                \
        [OG_FOLD_SUM_SQUARE] = FNS(sum_square, SUFFIX, sum_real),                                  \
        [OG_FOLD_PROD] = FNS(prod, SUFFIX, prod_real), [OG_FOLD_MAX] = FNS(max, SUFFIX, max_real), \
        [OG_FOLD_MIN] = FNS(min, SUFFIX, min_real)                                                 \
    }
#define INTS(SUFFIX, ORDER)                                      \
    {                                                            \
        [OG_FOLD_SUM] = FNS(sum, SUFFIX, sum_int),               \
        [OG_FOLD_SUM_SQUARE] = FNS(sum_square, SUFFIX, sum_int), \
        [OG_FOLD_PROD] = FNS(prod, SUFFIX, prod_int),            \
        [OG_FOLD_MAX] = FNS(max, SUFFIX, max_##ORDER),           \
        [OG_FOLD_MIN] = FNS(min, SUFFIX, min_##ORDER)            \
    }
#define ORDERS(SUFFIX)                                                                       \
    {                                                                                        \
        [OG_FOLD_MAX] = FNS(max, SUFFIX, max_int), [OG_FOLD_MIN] = FNS(min, SUFFIX, min_int) \
    }

static const og__reduce_fns table[OG_DTYPE_COUNT][OG_FOLD_COUNT] = {
    [OG_FLOAT] = REALS(float),     [OG_DOUBLE] = REALS(double),  [OG_FLOAT16] = REALS(half),
    [OG_BFLOAT16] = REALS(bfloat), [OG_UINT32] = INTS(u32, int), [OG_INT32] = INTS(i32, int),
    [OG_UINT64] = INTS(u64, uint), [OG_INT64] = INTS(i64, int),  [OG_BOOL] = ORDERS(u8),
    [OG_UINT8] = ORDERS(u8),       [OG_INT8] = ORDERS(i8),
};

const og__reduce_fns *OG_SIMD(og__reduce_find)(og_fold kind, og_dtype dtype)
{
    if (kind == OG_FOLD_MEAN)
        kind = OG_FOLD_SUM;
    if (dtype <= OG_UNDEFINED || dtype >= OG_DTYPE_COUNT || !table[dtype][kind].start)
        return NULL;
    return &table[dtype][kind];
}
