/* Matrix products of bfloat16 on one thread, by the instruction that multiplies tiles (AMX-BF16:
 * tdpbf16ps adds 16 × 32 · 32 × 16 to 16 × 16 floats). og__has_matrix_tiles says whether the
 * processor has it; nothing here may run where it has not.
 *
 * A tile of A is 16 rows of 32 elements of k, a tile of B 16 rows of pairs of k for 16 columns.
 * Both are packed, so that a tile is 1 KiB without gaps: A by panels of 32 rows, B by panels of 32
 * columns, filled up with zeros. The inner kernel keeps 2 × 2 tiles of C in registers; what the one
 * before it has summed goes to C meanwhile, which the tiles' units do not notice. DEPTH of a
 * panel of B at a time stays in the first cache while all rows of a block of A, which stays in the
 * second, pass by. An element is summed in the order of k whatever the block it falls into, in
 * float, and rounded to less once. */
#include "kernels/cpu/bfloat_vectors.h"
#include "runtime/base/checked.h"

#if defined(__x86_64__)

enum { LINE = 64 /* bytes */, TILE = 16 * 32, PANEL = 32, GROUP = 64, DEPTH = 512 };
enum { AHEAD = 16 };            /* rows that are fetched before they are packed */
enum { BLOCK_BYTES = 1 << 20 }; /* of packed rows of A */
enum { STREAMED = 1 << 21 };    /* bytes of C that are too many for the second cache */

/* k filled up to whole tiles */
static int64_t filled(int64_t k)
{
    return (k + 31) / 32 * 32;
}

/* Rows of A, of m, that are packed at once. */
static int64_t block_rows(int64_t m, int64_t k)
{
    int64_t rows = BLOCK_BYTES / (2 * filled(og__max(k, 1))) / PANEL * PANEL;
    return og__max(PANEL, og__min((m + PANEL - 1) / PANEL * PANEL, rows));
}

static size_t packed_bytes(int64_t n, int64_t k)
{
    return (size_t)(og__gemm_packed_groups(n) * GROUP * filled(k)) * sizeof(uint16_t);
}

/* Packed rows of A, and sums as `panel` takes them. */
static size_t rows_bytes(const og__gemm *g)
{
    int64_t rows = block_rows(g->m, g->k);
    return (size_t)(rows * filled(g->k)) * sizeof(uint16_t) +
           (size_t)((rows + PANEL) * PANEL) * sizeof(float);
}

#define TARGET OG__TARGET(",avx512bf16,amx-tile,amx-bf16")
#define INLINE static inline __attribute__((always_inline)) TARGET

/* ---- packing */

/* 64 columns of B whose rows have no gaps, two rows at a time; panels are `panel` elements apart.
 */
INLINE void pack_rows(const uint16_t *b, int64_t row, int64_t k, uint16_t *to, int64_t panel)
{
    for (int64_t p = 0; p + 1 < k; p += 2) {
        for (int j = 0; j < GROUP; j += LINE / 2) {
            __builtin_prefetch(b + AHEAD * row + j);
            __builtin_prefetch(b + (AHEAD + 1) * row + j);
        }
        pair *tile = (pair *)(to + p / 32 * (2 * TILE) + p % 32 * LANES);
#pragma GCC unroll 4
        for (int j = 0; j < GROUP; j += LANES)
            *(pairs *)(tile + j / PANEL * panel / 2 + j % PANEL / LANES * (TILE / 2)) =
                interleave(*(const halves *)(b + j), *(const halves *)(b + row + j));
        b += 2 * row;
    }
}

/* One panel of B from `first` of k on, `columns` of which B has. */
static TARGET void pack_panel(const og__gemm *g, const uint16_t *b, int64_t columns, int64_t first,
                              uint16_t *to)
{
    for (int64_t p = first; p < g->k; p += 32)
        for (int64_t j = 0; j < PANEL; j += LANES) {
            pairs v[LANES];
            load_square(v, b + j * g->b_column + p * g->b_row, og__max(0, columns - j), g->k - p,
                        g->b_column, g->b_row);
            transpose(v);
            pair *tile = (pair *)(to + p * PANEL + j / LANES * TILE);
            for (int64_t i = 0; i < LANES; i++)
                *(pairs *)(tile + i * LANES) = v[i];
        }
}

static TARGET void pack(const og__gemm *g, const void *b, void *packed, int64_t first, int64_t last)
{
    int64_t panel = PANEL * filled(g->k);
    for (int64_t q = first; q < last; q++) {
        const uint16_t *from = (const uint16_t *)b + q * GROUP * g->b_column;
        uint16_t *to = (uint16_t *)packed + q * 2 * panel;
        int64_t columns = g->n - q * GROUP, done = 0; /* of k */
        if (g->b_column == 1 && columns >= GROUP) {
            done = g->k / 32 * 32;
            pack_rows(from, g->b_row, done, to, panel);
        }
        pack_panel(g, from, columns, done, to);
        pack_panel(g, from + PANEL * g->b_column, columns - PANEL, done, to + panel);
    }
}

/* A tile of A: 16 rows from `row` on of the m, 32 of k from p on. */
INLINE void pack_tile(const og__gemm *g, const uint16_t *a, int64_t m, int64_t row, int64_t p,
                      uint16_t *to)
{
    pairs v[LANES];
    load_square(v, a + row * g->a_row + p * g->a_column, m - row, g->k - p, g->a_row, g->a_column);
    for (int64_t r = 0; r < LANES; r++)
        *(pairs *)(to + r * 32) = v[r];
}

/* m rows of A, along what lies together: rows 16 at a time; of columns, in which 32 are a cache
 * line, the two tiles of a panel, and one panel after the other. */
static TARGET void pack_a(const og__gemm *g, const uint16_t *a, int64_t m, uint16_t *to)
{
    int64_t k = filled(g->k);
    if (g->a_row != 1) {
        for (int64_t i = 0; i < m; i += LANES) {
            int64_t tiles = m - i / PANEL * PANEL > LANES ? 2 : 1; /* of this panel */
            uint16_t *panel = to + i / PANEL * PANEL * k + i % PANEL / LANES * TILE;
            for (int64_t p = 0; p < k; p += 32)
                pack_tile(g, a, m, i, p, panel + p / 32 * tiles * TILE);
        }
        return;
    }
    for (int64_t p = 0; p < k; p += 32)
        for (int64_t i = 0; i < m; i += PANEL) {
            int64_t tiles = m - i > LANES ? 2 : 1;
            uint16_t *panel = to + i * k + p / 32 * tiles * TILE;
            for (int64_t t = 0; t < tiles; t++)
                pack_tile(g, a, m, i + t * LANES, p, panel + t * TILE);
        }
}

/* ---- the product */

/* All eight tiles are 16 rows of 64 bytes (Intel's manual, volume 1, 18.3). */
typedef struct tile_config {
    uint8_t palette, start_row, zero[14];
    uint16_t column_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config whole_tiles = {
    .palette = 1,
    .column_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

/* C, from its block on that a panel of B makes. */
typedef struct target {
    char *to;
    int64_t row; /* bytes */
    bool direct; /* sums go where they stay */
    bool past;   /* past the caches, which C would only empty */
} target;

/* 32 results of a row, `some` of which C has. Sums are never subnormal, which this conversion would
 * make 0. */
INLINE void store_halves(char *to, const float *from, __mmask32 some, bool past)
{
    __m512i x = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + LANES), _mm512_loadu_ps(from));
    if (past)
        _mm512_stream_si512((__m512i *)to, x);
    else
        _mm512_mask_storeu_epi16(to, some, x);
}

INLINE void store_floats(char *to, const float *from, __mmask16 some, bool add, bool past)
{
    __m512 x = _mm512_loadu_ps(from);
    if (add)
        x = _mm512_maskz_loadu_ps(some, to) + x;
    if (past)
        _mm512_stream_ps((float *)(void *)to, x);
    else
        _mm512_mask_storeu_ps(to, some, x);
}

/* Part of C from sums [rows, PANEL]. */
INLINE void store(const og__gemm *g, const float *sums, int64_t rows, int64_t columns, target c)
{
    __mmask32 some = columns < PANEL ? (1u << columns) - 1 : ~0u;
    for (int64_t i = 0; i < rows; i++, sums += PANEL, c.to += c.row) {
        if (g->result == OG_BFLOAT16) {
            store_halves(c.to, sums, some, c.past);
        } else {
            store_floats(c.to, sums, (__mmask16)some, g->add, c.past);
            if (columns > LANES)
                store_floats(c.to + LINE, sums + LANES, (__mmask16)(some >> LANES), g->add, c.past);
        }
    }
}

/* Sums [rows, PANEL] on their way to C, which they take while the next kernel multiplies. */
typedef struct outgoing {
    const float *sums;
    int64_t rows, columns;
    target c;
} outgoing;

INLINE void send(const og__gemm *g, outgoing *o, int64_t most)
{
    int64_t n = og__min(most, o->rows);
    store(g, o->sums, n, o->columns, o->c);
    o->sums += n * PANEL;
    o->rows -= n;
    o->c.to += n * o->c.row;
}

/* What the kernel of one panel of A fetches of the next part of B, while it multiplies. */
typedef struct fetch {
    const char *from;
    int64_t lines; /* of each tile pair's 32 */
} fetch;

/* Where a kernel's 16 down × 16 wide tiles begin, and where they end; NULL: at 0. */
typedef struct place {
    const float *from;
    float *to;
    int64_t row; /* floats */
} place;

/* c.to = c.from + a b over `tiles` tiles of k, while what is outgoing leaves. */
INLINE void kernel(int down, int wide, int64_t tiles, const uint16_t *a, const uint16_t *b, place c,
                   fetch next, const og__gemm *g, outgoing *o)
{
    int64_t row = c.row, bytes = row * (int64_t)sizeof(float);
    int64_t each = (o->rows + tiles - 1) / tiles;
    __asm__ volatile("" ::: "memory"); /* tiles are read from memory behind the compiler's back */
    if (c.from) {
        _tile_loadd(0, c.from, bytes);
        if (wide > 1)
            _tile_loadd(1, c.from + LANES, bytes);
        if (down > 1)
            _tile_loadd(2, c.from + LANES * row, bytes);
        if (down > 1 && wide > 1)
            _tile_loadd(3, c.from + LANES * row + LANES, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t p = 0; p < tiles; p++) {
        _tile_loadd(6, b, LINE);
        if (wide > 1)
            _tile_loadd(7, b + TILE, LINE);
        _tile_stream_loadd(4, a, LINE);
        _tile_dpbf16ps(0, 4, 6);
        if (wide > 1)
            _tile_dpbf16ps(1, 4, 7);
        if (down > 1) {
            _tile_stream_loadd(5, a + TILE, LINE);
            _tile_dpbf16ps(2, 5, 6);
            if (wide > 1)
                _tile_dpbf16ps(3, 5, 7);
        }
        for (int64_t l = 0; l < next.lines; l++)
            __builtin_prefetch(next.from + l * LINE, 0, 2);
        next.from += 2 * TILE * sizeof(uint16_t);
        send(g, o, each);
        a += down * TILE;
        b += 2 * TILE;
    }
    _tile_stored(0, c.to, bytes);
    if (wide > 1)
        _tile_stored(1, c.to + LANES, bytes);
    if (down > 1)
        _tile_stored(2, c.to + LANES * row, bytes);
    if (down > 1 && wide > 1)
        _tile_stored(3, c.to + LANES * row + LANES, bytes);
}

static TARGET void kernel_of(int64_t rows, int64_t columns, int64_t tiles, const uint16_t *a,
                             const uint16_t *b, place c, fetch next, const og__gemm *g, outgoing *o)
{
    if (rows > LANES && columns > LANES)
        kernel(2, 2, tiles, a, b, c, next, g, o);
    else if (rows > LANES)
        kernel(2, 1, tiles, a, b, c, next, g, o);
    else if (columns > LANES)
        kernel(1, 2, tiles, a, b, c, next, g, o);
    else
        kernel(1, 1, tiles, a, b, c, next, g, o);
}

static target target_of(const og__gemm *g, char *c, int64_t columns)
{
    target t = {c, g->c_row * (int64_t)og__size(g->result), false, false};
    bool whole = columns >= PANEL && !g->add;
    t.past = whole && g->m * t.row >= STREAMED && (uintptr_t)c % LINE == 0 && t.row % LINE == 0;
    t.direct = whole && g->result == OG_FLOAT && g->k <= DEPTH && !t.past;
    return t;
}

/* Of k, in parts of at most DEPTH that are about equal. */
static int64_t depth_of(int64_t k)
{
    int64_t parts = og__max(1, (k + DEPTH - 1) / DEPTH);
    return filled((k + parts - 1) / parts);
}

/* m packed rows of A with one panel of B, `columns` of which C has. sums: of all rows, then
 * those of one panel of A. more: another panel of B follows it. */
static TARGET void panel(const og__gemm *g, int64_t m, const uint16_t *a, const uint16_t *b,
                         int64_t columns, target c, float *sums, bool more, outgoing *o)
{
    int64_t k = filled(g->k), panels = (m + PANEL - 1) / PANEL, most = depth_of(k);
    for (int64_t p = 0; p < k; p += most) {
        int64_t depth = og__min(most, k - p);
        const uint16_t *part = b + p * PANEL, *after = part + depth * PANEL;
        for (int64_t i = 0; i < m; i += PANEL) {
            int64_t rows = og__min(PANEL, m - i), q = i / PANEL;
            int64_t first = PANEL * q / panels, end = PANEL * (q + 1) / panels;
            fetch next = {(const char *)after + first * LINE,
                          more || p + depth < k ? end - first : 0};
            bool direct = c.direct && rows % LANES == 0, last = p + depth == k;
            float *sum = sums + i * PANEL;
            place at = {p > 0 ? sum : NULL, sum, PANEL};
            target to = c;
            to.to += i * c.row;
            if (direct)
                at = (place){NULL, (float *)(void *)to.to, g->c_row};
            else if (last)
                at.to = sums + panels * PANEL * PANEL;
            kernel_of(rows, columns, depth / 32, a + i * k + p * (rows > LANES ? PANEL : LANES),
                      part, at, next, g, o);
            if (!direct && last)
                *o = (outgoing){at.to, rows, columns, to};
        }
    }
}

static TARGET void multiply(const og__gemm *g, const void *a, const void *packed, void *c,
                            void *workspace)
{
    int64_t most = block_rows(g->m, g->k), size = (int64_t)og__size(g->result);
    uint16_t *rows = workspace;
    float *sums = (float *)(void *)(rows + most * filled(g->k));
    outgoing o = {0};
    _tile_loadconfig(&whole_tiles);
    for (int64_t i = 0; i < g->m; i += most) {
        int64_t m = og__min(most, g->m - i);
        pack_a(g, (const uint16_t *)a + i * g->a_row, m, rows);
        for (int64_t j = 0; j < g->n; j += PANEL) {
            int64_t columns = og__min(PANEL, g->n - j);
            target to = target_of(g, (char *)c + (i * g->c_row + j) * size, columns);
            panel(g, m, rows, (const uint16_t *)packed + j * filled(g->k), columns, to, sums,
                  j + PANEL < g->n, &o);
        }
    }
    send(g, &o, PANEL);
    _tile_release();
    _mm_sfence(); /* what went past the caches is there when the call is over */
}

const og__gemm_fns og__gemm_tiles = {packed_bytes, rows_bytes, pack, multiply};

#else

const og__gemm_fns og__gemm_tiles = {0};

#endif
