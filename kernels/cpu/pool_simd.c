/* The loops of pooling, along one line of outputs. Compiled once for each instruction set. */
#include "kernels/cpu/pool.h"

/* A loop with the steps 1 and 2 as constants, so that they become vector loads and shuffles. */
#define STEPPED(BODY)                     \
    const int32_t m = (int32_t)n;         \
    if (step == 1) {                      \
        const int32_t by = 1;             \
        for (int32_t i = 0; i < m; i++) { \
            BODY                          \
        }                                 \
    } else if (step == 2) {               \
        const int32_t by = 2;             \
        for (int32_t i = 0; i < m; i++) { \
            BODY                          \
        }                                 \
    } else {                              \
        const int32_t by = (int32_t)step; \
        for (int32_t i = 0; i < m; i++) { \
            BODY                          \
        }                                 \
    }

/* v replaces b: larger, or NaN. */
#define WINS(v, b) ((v) > (b) || (v) != (v))

#if OG_SIMD_LEVEL == 4
enum { LANES = 16 };
#elif OG_SIMD_LEVEL == 3
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

/* What og__pool_line says of output i and the element at offset w of row r. */
#define NUMBER(line, r, i, w)                                                \
    ((line)->numbers[r] + (line)->number_start + (i) * (line)->number_step + \
     (w) * (line)->number_unit)

/* LANES outputs from `first` on, whose windows lie inside. */
#define MAX_LANES(T, LOWEST)                                                                  \
    static void max_lanes_##T(T *best, int32_t *index, const T *x, const og__pool_line *line, \
                              int32_t first)                                                  \
    {                                                                                         \
        T b[LANES];                                                                           \
        int32_t k[LANES];                                                                     \
        for (int l = 0; l < LANES; l++) {                                                     \
            b[l] = LOWEST;                                                                    \
            k[l] = -1;                                                                        \
        }                                                                                     \
        for (int32_t r = 0; r < line->n_rows; r++)                                            \
            for (int32_t w = 0; w < line->kernel; w++) {                                      \
                int32_t at =                                                                  \
                    line->rows[r] + line->start + first * line->step + w * line->dilation;    \
                int32_t number = NUMBER(line, r, first, w);                                   \
                for (int l = 0; l < LANES; l++) {                                             \
                    T v = x[at + l * line->step];                                             \
                    bool win = WINS(v, b[l]) | (k[l] < 0);                                    \
                    b[l] = win ? v : b[l];                                                    \
                    k[l] = win ? number + l * line->number_step : k[l];                       \
                }                                                                             \
            }                                                                                 \
        memcpy(best + first, b, sizeof b);                                                    \
        memcpy(index + first, k, sizeof k);                                                   \
    }
MAX_LANES(double, -INFINITY)
MAX_LANES(int8_t, INT8_MIN)
MAX_LANES(uint8_t, 0)

/* The same for float with the accumulators in registers. Every other element comes from two loads,
 * the second one ending at the last element needed. */
typedef float floats __attribute__((vector_size(LANES * 4)));
typedef int32_t ints __attribute__((vector_size(LANES * 4)));
typedef float floats_u __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ints_u __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#if OG_SIMD_LEVEL == 4
#define LANE_NUMBERS                                         \
    {                                                        \
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 \
    }
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31
#elif OG_SIMD_LEVEL == 3
#define LANE_NUMBERS           \
    {                          \
        0, 1, 2, 3, 4, 5, 6, 7 \
    }
#define EVENS 0, 2, 4, 6, 9, 11, 13, 15
#else
#define LANE_NUMBERS \
    {                \
        0, 1, 2, 3   \
    }
#define EVENS 0, 2, 5, 7
#endif

static inline floats load_lanes(const float *x, int32_t step)
{
    if (step == 1)
        return *(const floats_u *)x;
    if (step == 2)
        return OG__SHUFFLE(ints, *(const floats_u *)x, *(const floats_u *)(x + LANES - 1), EVENS);
    floats v = {0};
    for (int l = 0; l < LANES; l++)
        v[l] = x[l * step];
    return v;
}

static void max_lanes_float(float *best, int32_t *index, const float *x, const og__pool_line *line,
                            int32_t first)
{
    const ints lane = LANE_NUMBERS;
    floats b = (floats){0} - INFINITY;
    ints k = (ints){0} - 1, steps = lane * line->number_step;
    for (int32_t r = 0; r < line->n_rows; r++)
        for (int32_t w = 0; w < line->kernel; w++) {
            int32_t at = line->rows[r] + line->start + first * line->step + w * line->dilation;
            floats v = load_lanes(x + at, line->step);
            ints nan = v != v; /* NOLINT(misc-redundant-expression): only a NaN is unlike itself */
            ints win = (v > b) | nan | (k < 0);
            b = (floats)(((ints)v & win) | ((ints)b & ~win));
            k = ((steps + NUMBER(line, r, first, w)) & win) | (k & ~win);
        }
    *(floats_u *)(best + first) = b;
    *(ints_u *)(index + first) = k;
}

#define MAX(T, LOWEST)                                                                        \
    static void max_one_##T(T *best, int32_t *index, const T *x, const og__pool_line *line,   \
                            int32_t i)                                                        \
    {                                                                                         \
        T b = LOWEST;                                                                         \
        int32_t k = -1, column = line->start + i * line->step;                                \
        for (int32_t r = 0; r < line->n_rows; r++)                                            \
            for (int32_t w = 0; w < line->kernel; w++) {                                      \
                int32_t at = column + w * line->dilation;                                     \
                if (at < 0 || at >= line->width)                                              \
                    continue;                                                                 \
                T v = x[line->rows[r] + at];                                                  \
                if (WINS(v, b) || k < 0) {                                                    \
                    b = v;                                                                    \
                    k = NUMBER(line, r, i, w);                                                \
                }                                                                             \
            }                                                                                 \
        best[i] = b;                                                                          \
        index[i] = k;                                                                         \
    }                                                                                         \
    static void max_##T(void *best, int32_t *index, const void *x, const og__pool_line *line) \
    {                                                                                         \
        int32_t first = line->inner_first, last = line->inner_last;                           \
        if (last - first < LANES) /* too few for vectors */                                   \
            first = last = line->n;                                                           \
        for (int32_t i = 0; i < first; i++)                                                   \
            max_one_##T(best, index, x, line, i);                                             \
        for (int32_t i = first; i < last;                                                     \
             i += LANES) /* the last group may overlap the one before */                      \
            max_lanes_##T(best, index, x, line, i + LANES <= last ? i : last - LANES);        \
        for (int32_t i = last; i < line->n; i++)                                              \
            max_one_##T(best, index, x, line, i);                                             \
    }                                                                                         \
    static void max_2x2_##T(void *best, int32_t *restrict index, const void *from, int64_t n, \
                            int64_t below, int32_t at, bool places)                           \
    {                                                                                         \
        T *restrict y = best;                                                                 \
        const T *restrict x = from, *restrict z = x + below;                                  \
        if (!index) {                                                                         \
            for (int64_t i = 0; i < n; i++) {                                                 \
                T a = x[2 * i], b = x[2 * i + 1], c = z[2 * i], d = z[2 * i + 1];             \
                a = WINS(b, a) ? b : a;                                                       \
                a = WINS(c, a) ? c : a;                                                       \
                y[i] = WINS(d, a) ? d : a;                                                    \
            }                                                                                 \
            return;                                                                           \
        }                                                                                     \
        const int32_t m = (int32_t)n, down = places ? 2 : (int32_t)below;                     \
        const int32_t base = places ? 0 : at, by = places ? 0 : 2;                            \
        for (int32_t i = 0; i < m; i++) {                                                     \
            T a = x[2 * i], b = x[2 * i + 1], c = z[2 * i], d = z[2 * i + 1];                 \
            int32_t k = base + by * i, l = k;                                                 \
            l = WINS(b, a) ? k + 1 : l;                                                       \
            a = WINS(b, a) ? b : a;                                                           \
            l = WINS(c, a) ? k + down : l;                                                    \
            a = WINS(c, a) ? c : a;                                                           \
            l = WINS(d, a) ? k + down + 1 : l;                                                \
            y[i] = WINS(d, a) ? d : a;                                                        \
            index[i] = l;                                                                     \
        }                                                                                     \
    }

#define SUM(T)                                                                              \
    static void add_##T(void *to, const void *from, int64_t n, int64_t step)                \
    {                                                                                       \
        T *restrict y = to;                                                                 \
        const T *restrict x = from;                                                         \
        STEPPED(y[i] += x[i * by];)                                                         \
    }                                                                                       \
    static void spread_##T(void *to, const void *from, int64_t n, int64_t step)             \
    {                                                                                       \
        T *restrict y = to;                                                                 \
        const T *restrict x = from;                                                         \
        STEPPED(y[i * by] += x[i];)                                                         \
    }                                                                                       \
    static void divide_##T(void *to, const void *from, const int32_t *restrict count,       \
                           double others, int64_t n)                                        \
    {                                                                                       \
        T *y = to;                                                                          \
        const T *x = from;                                                                  \
        for (int64_t i = 0; i < n; i++)                                                     \
            y[i] = x[i] / ((T)count[i] * (T)others);                                        \
    }                                                                                       \
    static void scatter_##T(void *to, const void *from, const int32_t *at, int64_t n)       \
    {                                                                                       \
        T *y = to;                                                                          \
        const T *x = from;                                                                  \
        for (int64_t i = 0; i < n; i++)                                                     \
            if (at[i] >= 0)                                                                 \
                y[at[i]] += x[i];                                                           \
    }                                                                                       \
    static void spread_2x2_##T(void *to, const void *from, const uint8_t *place, int64_t n, \
                               int64_t below)                                               \
    {                                                                                       \
        T *restrict y = to, *restrict z = y + below;                                        \
        const T *restrict x = from;                                                         \
        for (int64_t i = 0; i < n; i++) {                                                   \
            y[2 * i] = place[i] == 0 ? x[i] : 0;                                            \
            y[2 * i + 1] = place[i] == 1 ? x[i] : 0;                                        \
        }                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                   \
            z[2 * i] = place[i] == 2 ? x[i] : 0;                                            \
            z[2 * i + 1] = place[i] == 3 ? x[i] : 0;                                        \
        }                                                                                   \
    }

MAX(float, -INFINITY)
MAX(double, -INFINITY)
MAX(int8_t, INT8_MIN)
MAX(uint8_t, 0)
SUM(float)
SUM(double)

#define FNS(T)                                                                             \
    {                                                                                      \
        max_##T, max_2x2_##T, add_##T, spread_##T, divide_##T, scatter_##T, spread_2x2_##T \
    }
static const og__pool_fns float_fns = FNS(float), double_fns = FNS(double);
static const og__pool_fns int8_fns = {max_int8_t, max_2x2_int8_t};
static const og__pool_fns uint8_fns = {max_uint8_t, max_2x2_uint8_t};

const og__pool_fns *OG_SIMD(og__pool_find)(og_dtype dtype)
{
    return dtype == OG_FLOAT    ? &float_fns
           : dtype == OG_DOUBLE ? &double_fns
           : dtype == OG_INT8   ? &int8_fns
           : dtype == OG_UINT8  ? &uint8_fns
                                : NULL;
}
