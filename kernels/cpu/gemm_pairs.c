/* Matrix products of bfloat16 on one thread (gemm_bfloat.h), by the instruction that adds the
 * products of two pairs to each of 16 floats (AVX512-BF16: vdpbf16ps). og__has_bfloat16 says
 * whether the processor has it; nothing here may run where it has not.
 *
 * Pairs are neighbours in k. Packed B: for each group of 64 columns, k / 2 rows of 64 pairs, filled
 * up with zeros. A is read row by row, where it lies if k is even and its rows have no gaps, else
 * from a copy. An inner kernel keeps 6 × 64 of C in registers over the whole of k, so that an
 * element is rounded to less than float only once, and never depends on how a product is cut. */
#include "kernels/cpu/bfloat_vectors.h"
#include "runtime/base/checked.h"

enum { COLUMNS = 64, ROWS = 6, BLOCK_BYTES = 384 << 10 };

#if defined(__x86_64__)
#define TARGET OG__TARGET(",avx512bf16")
#define DOTS(sum, a, b) \
    ((floats)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(__m512i)(a), (__m512bh)(__m512i)(b)))
#else
#define TARGET
#define HIGH(v) ((floats)((v)&0xffff0000u))
#define LOW(v) ((floats)((v) << 16))
#define DOTS(sum, a, b) ((sum) + HIGH(a) * HIGH(b) + LOW(a) * LOW(b))
#endif
#define INLINE static inline __attribute__((always_inline)) TARGET

static size_t packed_bytes(int64_t n, int64_t k)
{
    int64_t elements = og__gemm_packed_groups(n) * COLUMNS * ((k + 1) / 2 * 2);
    return og_align_up((size_t)elements * sizeof(uint16_t), 256);
}

/* ---- packing */

/* A whole column group of B whose rows have no gaps. */
INLINE void pack_rows(const uint16_t *b, int64_t row, int64_t pairs_of_rows, pair *to)
{
    for (int64_t p = 0; p < pairs_of_rows; p++) {
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; j += LANES)
            *(pairs *)(to + j) =
                interleave(*(const halves *)(b + j), *(const halves *)(b + row + j));
        b += 2 * row;
        to += COLUMNS;
    }
}

/* Column group of B: to[p][j], p < (k + 1) / 2, j < 64 */
static TARGET void pack_group(const og__gemm *g, const uint16_t *b, int64_t columns, pair *to)
{
    int64_t first = 0; /* of k, that is not packed yet */
    if (g->b_column == 1 && columns == COLUMNS) {
        pack_rows(b, g->b_row, g->k / 2, to);
        first = g->k / 2 * 2;
    }
    for (int64_t j = 0; j < COLUMNS; j += LANES)
        for (int64_t p = first; p < g->k; p += 2 * LANES) {
            pairs v[LANES];
            int64_t left = og__min(LANES, (g->k - p + 1) / 2);
            load_square(v, b + j * g->b_column + p * g->b_row, og__max(0, columns - j), g->k - p,
                        g->b_column, g->b_row);
            transpose(v);
            for (int64_t i = 0; i < left; i++)
                *(pairs *)(to + (p / 2 + i) * COLUMNS + j) = v[i];
        }
}

static TARGET void pack(const og__gemm *g, const void *b, void *packed, int64_t first, int64_t last)
{
    int64_t step = (g->k + 1) / 2 * COLUMNS;
    for (int64_t q = first; q < last; q++)
        pack_group(g, (const uint16_t *)b + q * COLUMNS * g->b_column,
                   og__min(COLUMNS, g->n - q * COLUMNS), (pair *)packed + q * step);
}

static bool in_place(const og__gemm *g)
{
    return g->a_column == 1 && g->k % 2 == 0;
}

/* Elements between rows of A's copy: no power of two, which would fall into one place of the cache.
 */
static int64_t copied_row(int64_t k)
{
    return (k + 2 * LANES - 1) / (2 * LANES) * (2 * LANES) + 2 * LANES;
}

/* Rows of A that stay in the cache while B passes by. */
static int64_t block_rows(int64_t k)
{
    int64_t rows = BLOCK_BYTES / (2 * og__max(1, k)) / ROWS * ROWS;
    return og__max(4 * ROWS, og__min(OG__GEMM_M, rows));
}

static size_t rows_bytes(const og__gemm *g)
{
    int64_t rows = (block_rows(g->k) + LANES - 1) / LANES * LANES;
    return in_place(g) ? 0 : og_align_up((size_t)(rows * copied_row(g->k)) * sizeof(uint16_t), 256);
}

static TARGET void copy_rows(const og__gemm *g, const uint16_t *a, int64_t m, uint16_t *to)
{
    int64_t row = copied_row(g->k);
    for (int64_t i = 0; i < m; i += LANES)
        for (int64_t p = 0; p < g->k; p += 2 * LANES) {
            pairs v[LANES];
            load_square(v, a + i * g->a_row + p * g->a_column, m - i, g->k - p, g->a_row,
                        g->a_column);
            for (int64_t r = 0; r < LANES; r++)
                *(pairs *)(to + (i + r) * row + p) = v[r];
        }
}

/* ---- the product */

/* c[i * row + j] (+)= Σp a[i][p] · b[p][j] over pairs p < k, for i < rows and j < 16 wide, both
 * known when this is compiled. a_row in elements. */
INLINE void kernel(int rows, int wide, int64_t k, const uint16_t *a, int64_t a_row, const pair *b,
                   float *c, int64_t row, bool add)
{
    floats s[ROWS][COLUMNS / LANES];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            s[i][v] = (floats){0};
    for (int64_t p = 0; p < k; p++) {
        pairs column[COLUMNS / LANES];
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            column[v] = *(const pairs *)(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            pairs x = (pairs){0} + *(const pair *)(const void *)(a + i * a_row);
#pragma GCC unroll 4
            for (int v = 0; v < wide; v++)
                s[i][v] = DOTS(s[i][v], x, column[v]);
        }
        a += 2;
        b += COLUMNS;
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++) {
            floats *to = (floats *)(c + i * row + v * LANES);
            *to = add ? (floats)(*to + s[i][v]) : s[i][v];
        }
}

static TARGET void kernel_of(int64_t rows, int64_t columns, int64_t k, const uint16_t *a,
                             int64_t a_row, const pair *b, float *c, int64_t row, bool add)
{
#define KERNEL(n)                                      \
    case n:                                            \
        if (columns > 2 * LANES)                       \
            kernel(n, 4, k, a, a_row, b, c, row, add); \
        else if (columns > LANES)                      \
            kernel(n, 2, k, a, a_row, b, c, row, add); \
        else                                           \
            kernel(n, 1, k, a, a_row, b, c, row, add); \
        return;
    switch (rows) {
        KERNEL(1)
        KERNEL(2)
        KERNEL(3)
        KERNEL(4)
        KERNEL(5)
        KERNEL(6)
    default:
        return;
    }
#undef KERNEL
}

/* Part of C through a tile of its own: what is not whole, or not float. */
static TARGET void store_tile(const og__gemm *g, const float *tile, int64_t rows, int64_t columns,
                              char *c)
{
    for (int64_t i = 0; i < rows; i++) {
        const float *from = tile + i * COLUMNS;
        if (g->result == OG_BFLOAT16) {
            uint16_t *to = (uint16_t *)(void *)c + i * g->c_row, last[LANES];
            int64_t j = 0;
            for (; j + LANES <= columns; j += LANES)
                *(halves *)(to + j) = to_halves(*(const floats *)(from + j));
            if (j < columns) {
                *(halves *)last = to_halves(*(const floats *)(from + j));
                memcpy(to + j, last, (size_t)(columns - j) * sizeof *to);
            }
        } else {
            float *to = (float *)(void *)c + i * g->c_row;
            for (int64_t j = 0; j < columns; j++)
                to[j] = g->add ? to[j] + from[j] : from[j];
        }
    }
}

/* m rows of A with all columns of B. */
static TARGET void block(const og__gemm *g, int64_t m, const uint16_t *a, int64_t a_row,
                         const pair *packed, char *c)
{
    _Alignas(64) float tile[ROWS * COLUMNS] = {0};
    int64_t k = (g->k + 1) / 2, size = (int64_t)og__size(g->result);
    int64_t groups = (m + ROWS - 1) / ROWS, step = (m + groups - 1) / groups;
    for (int64_t j = 0; j < g->n; j += COLUMNS) {
        int64_t columns = og__min(COLUMNS, g->n - j);
        bool direct = columns == COLUMNS && g->result == OG_FLOAT;
        for (int64_t i = 0; i < m; i += step) {
            int64_t rows = og__min(step, m - i);
            char *to = c + (i * g->c_row + j) * size;
            kernel_of(rows, columns, k, a + i * a_row, a_row, packed + j * k,
                      direct ? (float *)(void *)to : tile, direct ? g->c_row : COLUMNS,
                      direct && g->add);
            if (!direct)
                store_tile(g, tile, rows, columns, to);
        }
    }
}

static TARGET void multiply(const og__gemm *g, const void *a, const void *packed, void *c,
                            void *workspace)
{
    int64_t most = block_rows(g->k), size = (int64_t)og__size(g->result);
    for (int64_t i = 0; i < g->m; i += most) {
        int64_t m = og__min(most, g->m - i);
        const uint16_t *rows = (const uint16_t *)a + i * g->a_row;
        char *to = (char *)c + i * g->c_row * size;
        if (in_place(g)) {
            block(g, m, rows, g->a_row, packed, to);
            continue;
        }
        copy_rows(g, rows, m, workspace);
        block(g, m, workspace, copied_row(g->k), packed, to);
    }
}

const og__gemm_fns og__gemm_pairs = {packed_bytes, rows_bytes, pack, multiply};
