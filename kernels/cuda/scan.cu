/* Ops that walk lines and keep the order of elements: ArgMax, ArgMin, CumSum and TopK. Several
 * threads share a line; who does what, and so every bit, depends on shapes alone. Real types are
 * compared and summed in double, integers in 64 bits, as the processor does. */
#include "kernels/cuda/integer.h"
#include "kernels/cuda/scan.h"

/* Which line a thread is of, and which of the line's threads. */
typedef struct og_scan_place {
    int64_t line, start; /* start: of its elements, `inner` apart */
    int lane, j, lanes;
} og_scan_place;

OG_DEVICE og_scan_place og_scan_find(const og_scan_arguments *p)
{
    og_scan_place s;
    s.lanes = OG_SCAN_THREADS / p->along;
    s.lane = p->neighbours ? (int)threadIdx.x % s.lanes : (int)threadIdx.x / p->along;
    s.j = p->neighbours ? (int)threadIdx.x / s.lanes : (int)threadIdx.x % p->along;
    s.line = (int64_t)blockIdx.x * s.lanes + s.lane;
    s.start = s.line / p->inner * p->n * p->inner + s.line % p->inner;
    return s;
}

/* ---- ArgMax, ArgMin */

/* Is a, at index i, the one to take rather than b at j? A NaN is before any number. An index below
 * 0 is of no element. */
#define BEFORE(name, type, is_less)                                                       \
    OG_DEVICE int og_before_##name(const og_scan_arguments *p, type a, int64_t i, type b, \
                                   int64_t j)                                             \
    {                                                                                     \
        const int nan_a = a != a, nan_b = b != b;                                         \
        if (i < 0 || j < 0)                                                               \
            return j < 0;                                                                 \
        if (nan_a != nan_b)                                                               \
            return nan_a;                                                                 \
        if (nan_a || a == b)                                                              \
            return p->last ? i > j : i < j;                                               \
        return p->least ? is_less(a, b) : is_less(b, a);                                  \
    }
#define REAL_LESS(a, b) ((a) < (b))
#define INT_LESS(a, b) og_int_less(a, b, p->is_signed)
BEFORE(real, double, REAL_LESS)
BEFORE(int, int64_t, INT_LESS)

#define ARG(name, type, sums, kind, load)                                                         \
    OG_KERNEL(og_arg_##name, og_scan_arguments, p)                                                \
    {                                                                                             \
        OG_SHARED(sums, values, OG_SCAN_THREADS);                                                 \
        OG_SHARED(int64_t, indices, OG_SCAN_THREADS);                                             \
        const og_scan_place s = og_scan_find(&p);                                                 \
        const int at = s.j * s.lanes + s.lane;                                                    \
        sums best = 0;                                                                            \
        int64_t index = -1;                                                                       \
        for (int64_t k = s.j; k < p.n && s.line < p.lines; k += p.along) {                        \
            const sums v = load(((const type *)p.x)[s.start + k * p.inner]);                      \
            if (og_before_##kind(&p, v, k, best, index)) {                                        \
                best = v;                                                                         \
                index = k;                                                                        \
            }                                                                                     \
        }                                                                                         \
        for (int half = p.along / 2; half > 0; half /= 2) {                                       \
            values[at] = best;                                                                    \
            indices[at] = index;                                                                  \
            __syncthreads();                                                                      \
            const int other = at + half * s.lanes;                                                \
            if (s.j < half && og_before_##kind(&p, values[other], indices[other], best, index)) { \
                best = values[other];                                                             \
                index = indices[other];                                                           \
            }                                                                                     \
            __syncthreads();                                                                      \
        }                                                                                         \
        if (s.j == 0 && s.line < p.lines)                                                         \
            ((int64_t *)p.y)[s.line] = index;                                                     \
    }

/* ---- CumSum */

/* A thread adds up neighbours, the threads of a line their sums, and what came before is carried.
 */
#define CUMSUM(name, type, sums, add, load, store)                                           \
    OG_KERNEL(og_cumsum_##name, og_scan_arguments, p)                                        \
    {                                                                                        \
        OG_SHARED(sums, totals, OG_SCAN_THREADS);                                            \
        const og_scan_place s = og_scan_find(&p);                                            \
        const int at = s.j * s.lanes + s.lane;                                               \
        sums carry = 0;                                                                      \
        for (int64_t base = 0; base < p.n; base += (int64_t)p.along * OG_SCAN_ITEMS) {       \
            sums sum[OG_SCAN_ITEMS], total = 0, before[OG_SCAN_ITEMS];                       \
            OG_UNROLL                                                                        \
            for (int i = 0; i < OG_SCAN_ITEMS; i++) {                                        \
                const int64_t k = base + s.j * OG_SCAN_ITEMS + i,                            \
                              from = p.reverse ? p.n - 1 - k : k;                            \
                before[i] = total;                                                           \
                if (k < p.n && s.line < p.lines)                                             \
                    total = add(total, load(((const type *)p.x)[s.start + from * p.inner])); \
                sum[i] = total;                                                              \
            }                                                                                \
            totals[at] = total;                                                              \
            __syncthreads();                                                                 \
            for (int apart = 1; apart < p.along; apart *= 2) {                               \
                const sums other = s.j >= apart ? totals[at - apart * s.lanes] : 0;          \
                __syncthreads();                                                             \
                totals[at] = add(totals[at], other);                                         \
                __syncthreads();                                                             \
            }                                                                                \
            const sums earlier = add(carry, s.j > 0 ? totals[at - s.lanes] : 0);             \
            OG_UNROLL                                                                        \
            for (int i = 0; i < OG_SCAN_ITEMS; i++) {                                        \
                const int64_t k = base + s.j * OG_SCAN_ITEMS + i,                            \
                              to = p.reverse ? p.n - 1 - k : k;                              \
                if (k < p.n && s.line < p.lines)                                             \
                    ((type *)p.y)[s.start + to * p.inner] =                                  \
                        store(add(earlier, p.exclusive ? before[i] : sum[i]));               \
            }                                                                                \
            carry = add(carry, totals[(p.along - 1) * s.lanes + s.lane]);                    \
            __syncthreads();                                                                 \
        }                                                                                    \
    }

#define REAL_ADD(a, b) ((a) + (b))
#define INT_ADD(a, b) og_int_add(a, b)
#define TO_HALF(v) og_float_to_half((float)(v))
#define TO_BFLOAT(v) og_float_to_bfloat((float)(v))
#define WIDEN_8(v) og_widen_8(v, p.is_signed)
#define WIDEN_16(v) og_widen_16(v, p.is_signed)
#define WIDEN_32(v) og_widen_32(v, p.is_signed)
#define WIDEN_64(v) og_widen_64(v, p.is_signed)
#define SCANS(name, type, sums, kind, add, load, store) \
    ARG(name, type, sums, kind, load)                   \
    CUMSUM(name, type, sums, add, load, store)
SCANS(float, float, double, real, REAL_ADD, (double), (float))
SCANS(double, double, double, real, REAL_ADD, , )
SCANS(half, uint16_t, double, real, REAL_ADD, og_half_to_float, TO_HALF)
SCANS(bfloat, uint16_t, double, real, REAL_ADD, og_bfloat_to_float, TO_BFLOAT)
SCANS(int8, uint8_t, int64_t, int, INT_ADD, WIDEN_8, (uint8_t))
SCANS(int16, uint16_t, int64_t, int, INT_ADD, WIDEN_16, (uint16_t))
SCANS(int32, uint32_t, int64_t, int, INT_ADD, WIDEN_32, (uint32_t))
SCANS(int64, uint64_t, int64_t, int, INT_ADD, WIDEN_64, (uint64_t))

/* ---- TopK */

/* The order of numbers as that of 32 bits: NaN the largest, both zeros one. */
OG_DEVICE uint32_t og_order_real(float v)
{
    const uint32_t bits = og_bits_of_float(v == 0.0f ? 0.0f : v);
    return v != v ? ~0u : bits >> 31 ? ~bits : bits | 0x80000000u;
}
OG_DEVICE uint32_t og_order_int(int64_t v, int is_signed)
{
    return (uint32_t)(is_signed ? v + 0x80000000ll : v);
}

/* A block sorts a line, as keys whose lower half is the index: the first of equals comes first.
 * What is behind the line comes last. */
#define TOPK(name, type, order)                                                                  \
    OG_KERNEL(og_topk_##name, og_scan_arguments, p)                                              \
    {                                                                                            \
        OG_SHARED(uint64_t, keys, OG_SORT_LINE);                                                 \
        const int64_t line = blockIdx.x;                                                         \
        const int64_t x = line / p.inner * p.n * p.inner + line % p.inner;                       \
        const int64_t y = line / p.inner * p.k * p.inner + line % p.inner;                       \
        int size = 2;                                                                            \
        while (size < p.n)                                                                       \
            size *= 2;                                                                           \
        for (int i = (int)threadIdx.x; i < size; i += OG_SCAN_THREADS) {                         \
            const uint32_t rank = i < p.n ? order(((const type *)p.x)[x + i * p.inner]) : 0;     \
            keys[i] =                                                                            \
                i < p.n ? (uint64_t)(p.least ? rank : ~rank) << 32 | (uint64_t)i : ~(uint64_t)0; \
        }                                                                                        \
        for (int sorted = 2; sorted <= size; sorted *= 2)                                        \
            for (int apart = sorted / 2; apart > 0; apart /= 2) {                                \
                __syncthreads();                                                                 \
                for (int i = (int)threadIdx.x; i < size / 2; i += OG_SCAN_THREADS) {             \
                    const int a = i / apart * apart * 2 + i % apart, b = a + apart;              \
                    const uint64_t u = keys[a], v = keys[b];                                     \
                    if ((u > v) == ((a & sorted) == 0)) {                                        \
                        keys[a] = v;                                                             \
                        keys[b] = u;                                                             \
                    }                                                                            \
                }                                                                                \
            }                                                                                    \
        __syncthreads();                                                                         \
        for (int i = (int)threadIdx.x; i < p.k; i += OG_SCAN_THREADS) {                          \
            const int64_t index = (int64_t)(uint32_t)keys[i];                                    \
            ((type *)p.y)[y + i * p.inner] = ((const type *)p.x)[x + index * p.inner];           \
            if (p.at)                                                                            \
                p.at[y + i * p.inner] = index;                                                   \
        }                                                                                        \
    }
#define OF_FLOAT(v) og_order_real(v)
#define OF_HALF(v) og_order_real(og_half_to_float(v))
#define OF_BFLOAT(v) og_order_real(og_bfloat_to_float(v))
#define OF_8(v) og_order_int(WIDEN_8(v), p.is_signed)
#define OF_16(v) og_order_int(WIDEN_16(v), p.is_signed)
#define OF_32(v) og_order_int(WIDEN_32(v), p.is_signed)
TOPK(float, float, OF_FLOAT)
TOPK(half, uint16_t, OF_HALF)
TOPK(bfloat, uint16_t, OF_BFLOAT)
TOPK(int8, uint8_t, OF_8)
TOPK(int16, uint16_t, OF_16)
TOPK(int32, uint32_t, OF_32)
