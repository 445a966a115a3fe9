/* The loops of pooling, along one line of outputs. Compiled once for each instruction set. */
#include "kernels/cpu/pool.h"

/* A loop with the steps 1 and 2 as constants, so that they become vector loads and shuffles. */
#define STEPPED(BODY)                                                                              \
    if (step == 1) {                                                                               \
        const int64_t by = 1;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                          \
            BODY                                                                                   \
        }                                                                                          \
    } else if (step == 2) {                                                                        \
        const int64_t by = 2;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                          \
            BODY                                                                                   \
        }                                                                                          \
    } else {                                                                                       \
        const int64_t by = step;                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                          \
            BODY                                                                                   \
        }                                                                                          \
    }

/* v replaces b: larger, or NaN. */
#define WINS(v, b) ((v) > (b) || (v) != (v))

#define MAX(T, LOWEST)                                                                             \
    static void lowest_##T(void *best, int64_t n)                                                  \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                            \
            ((T *)best)[i] = LOWEST;                                                               \
    }                                                                                              \
    static void max_##T(void *best, const void *from, int64_t n, int64_t step)                     \
    {                                                                                              \
        T *restrict b = best;                                                                      \
        const T *restrict x = from;                                                                \
        STEPPED(T v = x[i * by]; b[i] = WINS(v, b[i]) ? v : b[i];)                                 \
    }                                                                                              \
    static void max_index_##T(void *best, int32_t *restrict index, const void *from, int64_t n,    \
                              int64_t step, int32_t at)                                            \
    {                                                                                              \
        T *restrict b = best;                                                                      \
        const T *restrict x = from;                                                                \
        STEPPED(T v = x[i * by]; int32_t k = index[i]; bool win = WINS(v, b[i]) | (k < 0);         \
                b[i] = win ? v : b[i]; index[i] = win ? at + (int32_t)(i * by) : k;)               \
    }                                                                                              \
    static void max_2x2_##T(void *best, int32_t *restrict index, const void *from, int64_t n,      \
                            int64_t below, int32_t at)                                             \
    {                                                                                              \
        T *restrict y = best;                                                                      \
        const T *restrict x = from, *restrict z = x + below;                                       \
        if (!index) {                                                                              \
            for (int64_t i = 0; i < n; i++) {                                                      \
                T a = x[2 * i], b = x[2 * i + 1], c = z[2 * i], d = z[2 * i + 1];                  \
                a = WINS(b, a) ? b : a;                                                            \
                a = WINS(c, a) ? c : a;                                                            \
                y[i] = WINS(d, a) ? d : a;                                                         \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                          \
            T a = x[2 * i], b = x[2 * i + 1], c = z[2 * i], d = z[2 * i + 1];                      \
            int32_t k = at + (int32_t)(2 * i), l = k, down = (int32_t)below;                       \
            l = WINS(b, a) ? k + 1 : l;                                                            \
            a = WINS(b, a) ? b : a;                                                                \
            l = WINS(c, a) ? k + down : l;                                                         \
            a = WINS(c, a) ? c : a;                                                                \
            l = WINS(d, a) ? k + down + 1 : l;                                                     \
            y[i] = WINS(d, a) ? d : a;                                                             \
            index[i] = l;                                                                          \
        }                                                                                          \
    }

#define SUM(T)                                                                                     \
    static void add_##T(void *to, const void *from, int64_t n, int64_t step)                       \
    {                                                                                              \
        T *restrict y = to;                                                                        \
        const T *restrict x = from;                                                                \
        STEPPED(y[i] += x[i * by];)                                                                \
    }                                                                                              \
    static void spread_##T(void *to, const void *from, int64_t n, int64_t step)                    \
    {                                                                                              \
        T *restrict y = to;                                                                        \
        const T *restrict x = from;                                                                \
        STEPPED(y[i * by] += x[i];)                                                                \
    }                                                                                              \
    static void divide_##T(void *to, const void *from, const int32_t *restrict count,              \
                           double others, int64_t n)                                               \
    {                                                                                              \
        T *y = to;                                                                                 \
        const T *x = from;                                                                         \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] = x[i] / ((T)count[i] * (T)others);                                               \
    }

MAX(float, -INFINITY)
MAX(double, -INFINITY)
MAX(int8_t, INT8_MIN)
MAX(uint8_t, 0)
SUM(float)
SUM(double)

static const og__pool_fns float_fns = {lowest_float, max_float,    max_index_float, max_2x2_float,
                                       add_float,    spread_float, divide_float};
static const og__pool_fns double_fns = {lowest_double, max_double,    max_index_double, max_2x2_double,
                                        add_double,    spread_double, divide_double};
static const og__pool_fns int8_fns = {lowest_int8_t, max_int8_t, max_index_int8_t, max_2x2_int8_t};
static const og__pool_fns uint8_fns = {lowest_uint8_t, max_uint8_t, max_index_uint8_t, max_2x2_uint8_t};

const og__pool_fns *OG_SIMD(og__pool_find)(og_dtype dtype)
{
    return dtype == OG_FLOAT    ? &float_fns
           : dtype == OG_DOUBLE ? &double_fns
           : dtype == OG_INT8   ? &int8_fns
           : dtype == OG_UINT8  ? &uint8_fns
                                : NULL;
}
