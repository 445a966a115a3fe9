/* Rows that meet at places, joined without atomics: positions are sorted by their place (places.cu)
 * and cut into chunks of a fixed length. A thread joins a piece of the rows of one chunk, place by
 * place, in their order; what lies at a place that several chunks share is joined in a second step,
 * in an order that follows from the keys alone. So every row has one writer, its bits are always
 * the same, and one place that all rows have takes no longer than many places. */
#include "kernels/cuda/integer.h"
#include "kernels/cuda/place.h"
#include "kernels/cuda/row.h"
#include "kernels/cuda/scatter.h"

enum { AHEAD = 4 /* rows that are read before the first of them is joined */ };

OG_DEVICE float og_join_float(int reduction, float a, float b)
{
    return reduction == OG_SCATTER_ADD   ? a + b
           : reduction == OG_SCATTER_MUL ? a * b
           : reduction == OG_SCATTER_MAX ? og_max(a, b)
                                         : og_min(a, b);
}
OG_DEVICE double og_join_double(int reduction, double a, double b)
{
    return reduction == OG_SCATTER_ADD   ? a + b
           : reduction == OG_SCATTER_MUL ? a * b
           : a != a || b != b            ? a + b
           : reduction == OG_SCATTER_MAX ? (b > a ? b : a)
                                         : (b < a ? b : a);
}
/* Integers widened; those of 64 bits without a sign are ordered as such. */
OG_DEVICE int64_t og_join_int(int reduction, int64_t a, int64_t b, int is_signed)
{
    const int less = og_int_less(b, a, is_signed);
    return reduction == OG_SCATTER_ADD   ? og_int_add(a, b)
           : reduction == OG_SCATTER_MUL ? (int64_t)((uint64_t)a * (uint64_t)b)
           : reduction == OG_SCATTER_MAX ? (less ? a : b)
                                         : (less ? b : a);
}

/* The place of sorted key `at`. */
OG_DEVICE uint32_t og_key_place(const unsigned long long *keys, int64_t count, int64_t at)
{
    return at >= 0 && at < count ? (uint32_t)(keys[at] >> 32) : OG_NO_PLACE;
}

/* A row that stands for key `at`, any row where that has no place. */
OG_DEVICE int64_t og_key_row(const unsigned long long *keys, int64_t at)
{
    const unsigned long long key = keys[at];
    return (uint32_t)(key >> 32) == OG_NO_PLACE ? 0 : (int64_t)(key & 0xffffffffu);
}

/* load and join may use the kernel's arguments, p. */
#define WIDEN_8(v) og_widen_8(v, p.is_signed)
#define WIDEN_16(v) og_widen_16(v, p.is_signed)
#define WIDEN_32(v) og_widen_32(v, p.is_signed)
#define JOIN_FLOAT(a, b) og_join_float(p.reduction, a, b)
#define JOIN_DOUBLE(a, b) og_join_double(p.reduction, a, b)
#define JOIN_INT(a, b) og_join_int(p.reduction, a, b, p.is_signed)
OG_PIECE(og_double_1, double, double, 1)
OG_PIECE(og_int8_1, uint8_t, uint8_t, 1)
OG_PIECE(og_int32_1, uint32_t, uint32_t, 1)
OG_PIECE(og_int64_1, uint64_t, uint64_t, 1)

#define SCATTER(suffix, sums, piece, vec, load, store, join)                                       \
    /* To piece `at` of y. */                                                                      \
    OG_DEVICE void og_scatter_put_##suffix(const og_scatter_arguments p, int64_t at,               \
                                           const sums *sum)                                        \
    {                                                                                              \
        piece v;                                                                                   \
        if (p.onto)                                                                                \
            OG_LOAD_PIECE(v, p.y, at);                                                             \
        OG_UNROLL                                                                                  \
        for (int e = 0; e < vec; e++) {                                                            \
            if (p.onto)                                                                            \
                v.e[e] = store(join(load(v.e[e]), sum[e]));                                        \
            else                                                                                   \
                v.e[e] = store(sum[e]);                                                            \
        }                                                                                          \
        OG_STORE_PIECE(v, p.y, at);                                                                \
    }                                                                                              \
                                                                                                   \
    OG_KERNEL(og_scatter_chunks_##suffix, og_scatter_arguments, p)                                 \
    {                                                                                              \
        const int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;                     \
        const int64_t column = thread % p.pieces, unit = thread / p.pieces;                        \
        const int64_t first = unit % p.chunks * OG_SCATTER_CHUNK, o = unit / p.chunks;             \
        const int64_t last =                                                                       \
            first + OG_SCATTER_CHUNK < p.count ? first + OG_SCATTER_CHUNK : p.count;               \
        if (o >= p.outer)                                                                          \
            return;                                                                                \
        uint32_t place = og_key_place(p.keys, p.count, first);                                     \
        int before = og_key_place(p.keys, p.count, first - 1) == place, fresh = 1;                 \
        sums sum[vec] = {0};                                                                       \
        for (int64_t base = first; base < last && place != OG_NO_PLACE; base += AHEAD) {           \
            piece ahead[AHEAD];                                                                    \
            OG_UNROLL                                                                              \
            for (int j = 0; j < AHEAD; j++) {                                                      \
                const int64_t row = og_key_row(p.keys, base + j < last ? base + j : last - 1);     \
                OG_LOAD_PIECE(ahead[j], p.u, (o * p.count + row) * p.pieces + column);             \
            }                                                                                      \
            OG_UNROLL                                                                              \
            for (int j = 0; j < AHEAD; j++) {                                                      \
                if (base + j < last && place != OG_NO_PLACE) {                                     \
                    OG_UNROLL                                                                      \
                    for (int e = 0; e < vec; e++)                                                  \
                        sum[e] = fresh ? load(ahead[j].e[e]) : join(sum[e], load(ahead[j].e[e]));  \
                    fresh = 0;                                                                     \
                    const uint32_t next = og_key_place(p.keys, p.count, base + j + 1);             \
                    if (next != place || base + j + 1 == last) {                                   \
                        if (before || next == place) {                                             \
                            sums *part = (sums *)p.partial +                                       \
                                         ((unit * 2 + !before) * p.pieces + column) * vec;         \
                            OG_UNROLL                                                              \
                            for (int e = 0; e < vec; e++)                                          \
                                part[e] = sum[e];                                                  \
                        } else {                                                                   \
                            og_scatter_put_##suffix(p, (o * p.n + place) * p.pieces + column,      \
                                                    sum);                                          \
                        }                                                                          \
                        place = next;                                                              \
                        before = 0;                                                                \
                        fresh = 1;                                                                 \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* A block is of the place that begins in a chunk and goes on behind it. */                    \
    OG_KERNEL(og_scatter_join_##suffix, og_scatter_arguments, p)                                   \
    {                                                                                              \
        OG_SHARED(sums, shared, OG_SCATTER_GROUPS *OG_SCATTER_LANES *vec);                         \
        const int64_t blocks = (p.pieces + OG_SCATTER_LANES - 1) / OG_SCATTER_LANES;               \
        const int lane = (int)threadIdx.x % OG_SCATTER_LANES,                                      \
                  group = (int)threadIdx.x / OG_SCATTER_LANES;                                     \
        const int64_t column = (int64_t)blockIdx.x % blocks * OG_SCATTER_LANES + lane,             \
                      unit = (int64_t)blockIdx.x / blocks;                                         \
        const int64_t chunk = unit % p.chunks, o = unit / p.chunks;                                \
        const int64_t first = chunk * OG_SCATTER_CHUNK, end = first + OG_SCATTER_CHUNK;            \
        const uint32_t place = og_key_place(p.keys, p.count, end - 1);                             \
        if (place == OG_NO_PLACE || og_key_place(p.keys, p.count, end) != place ||                 \
            og_key_place(p.keys, p.count, first - 1) == place)                                     \
            return;                                                                                \
        int64_t to = chunk + 1, most = p.chunks - 1;                                               \
        while (to < most) { /* the last chunk that begins with the place */                        \
            const int64_t middle = to + (most - to + 1) / 2;                                       \
            if (og_key_place(p.keys, p.count, middle * OG_SCATTER_CHUNK) == place)                 \
                to = middle;                                                                       \
            else                                                                                   \
                most = middle - 1;                                                                 \
        }                                                                                          \
        const int64_t parts = to - chunk + 1;                                                      \
        const int groups = parts < OG_SCATTER_GROUPS ? (int)parts : OG_SCATTER_GROUPS;             \
        sums sum[vec] = {0};                                                                       \
        for (int64_t j = group; j < parts && column < p.pieces; j += OG_SCATTER_GROUPS) {          \
            const sums *part =                                                                     \
                (const sums *)p.partial + (((unit + j) * 2 + (j == 0)) * p.pieces + column) * vec; \
            OG_UNROLL                                                                              \
            for (int e = 0; e < vec; e++)                                                          \
                sum[e] = j == group ? part[e] : join(sum[e], part[e]);                             \
        }                                                                                          \
        if (group < groups && column < p.pieces) {                                                 \
            OG_UNROLL                                                                              \
            for (int e = 0; e < vec; e++)                                                          \
                shared[(group * OG_SCATTER_LANES + lane) * vec + e] = sum[e];                      \
        }                                                                                          \
        __syncthreads();                                                                           \
        if (group > 0 || column >= p.pieces)                                                       \
            return;                                                                                \
        for (int g = 1; g < groups; g++) {                                                         \
            OG_UNROLL                                                                              \
            for (int e = 0; e < vec; e++)                                                          \
                sum[e] = join(sum[e], shared[(g * OG_SCATTER_LANES + lane) * vec + e]);            \
        }                                                                                          \
        og_scatter_put_##suffix(p, (o * p.n + place) * p.pieces + column, sum);                    \
    }
#define SCATTER_ROWS(suffix, type, piece, vec, load, store) \
    SCATTER(suffix, float, piece, vec, load, store, JOIN_FLOAT)
OG_ROW_TYPES(SCATTER_ROWS)
SCATTER(double_1, double, og_double_1, 1, , , JOIN_DOUBLE)
SCATTER(int8_1, int64_t, og_int8_1, 1, WIDEN_8, (uint8_t), JOIN_INT)
SCATTER(int16_1, int64_t, og_half_1, 1, WIDEN_16, (uint16_t), JOIN_INT)
SCATTER(int32_1, int64_t, og_int32_1, 1, WIDEN_32, (uint32_t), JOIN_INT)
SCATTER(int64_1, int64_t, og_int64_1, 1, (int64_t), (uint64_t), JOIN_INT)

/* ---- the last row of each place */

#define OVERWRITE(bytes, type)                                                                   \
    OG_KERNEL(og_overwrite_##bytes, og_overwrite_arguments, p)                                   \
    {                                                                                            \
        const int64_t step = (int64_t)gridDim.x * blockDim.x, total = p.count * p.run;           \
        for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) { \
            const int64_t at = i / p.run, column = i % p.run;                                    \
            const uint32_t place = og_key_place(p.keys, p.count, at);                            \
            if (place != OG_NO_PLACE && og_key_place(p.keys, p.count, at + 1) != place)          \
                ((type *)p.y)[place * p.run + column] =                                          \
                    ((const type *)p.u)[og_key_row(p.keys, at) * p.run + column];                \
        }                                                                                        \
    }
OVERWRITE(1, uint8_t)
OVERWRITE(2, uint16_t)
OVERWRITE(4, uint32_t)
OVERWRITE(8, uint64_t)
OVERWRITE(16, og_bits128)
