/* Included by gemm_simd.c with T, NAME, VECTOR and ROWS defined; no include guard.
 *
 * Packed A: for each group of at most ROWS rows, k columns of that many elements; m rows are split
 * evenly. Packed B: for each group of COLUMNS columns, k rows of COLUMNS elements, filled up with
 * zeros. */

typedef T NAME(vector) __attribute__((vector_size(VECTOR)));
typedef T NAME(loose) __attribute__((vector_size(VECTOR), aligned(sizeof(T)), may_alias));
#define V NAME(vector)
#define LANES ((int64_t)(VECTOR / sizeof(T)))
#define COLUMNS (2 * LANES)

/* `count` (≤ group) × k elements into groups: to[p * group + i] = from[i * across + p * along]. */
static inline __attribute__((always_inline)) void NAME(pack_group)(T *to, const void *from,
                                                                   og_dtype dtype, int64_t group,
                                                                   int64_t count, int64_t k,
                                                                   int64_t across, int64_t along)
{
    if (dtype == OG_FLOAT16 || dtype == OG_BFLOAT16) {
        const uint16_t *h = from;
        for (int64_t p = 0; p < k; p++)
            for (int64_t i = 0; i < group; i++)
                to[p * group + i] = i >= count ? 0
                                    : dtype == OG_FLOAT16
                                        ? (T)og_half_to_float(h[i * across + p * along])
                                        : (T)og_bfloat_to_float(h[i * across + p * along]);
        return;
    }
    const T *x = from;
    if (count < group)
        memset(to, 0, (size_t)(group * k) * sizeof(T));
    if (across == 1 && count == group) {
        for (int64_t p = 0; p < k; p++)
            memcpy(to + p * group, x + p * along, (size_t)group * sizeof(T));
    } else {
        for (int64_t p0 = 0; p0 < k; p0 += 16)
            for (int64_t i = 0; i < count; i++)
                for (int64_t p = p0; p < og__min(k, p0 + 16); p++)
                    to[p * group + i] = x[i * across + p * along];
    }
}

/* c[i * row + j] (+)= Σp a[i * a_row + p * a_column] b[p * COLUMNS + j] for i < rows, which is
 * known when this is compiled */
static inline __attribute__((always_inline)) void NAME(kernel)(int rows, int64_t k, const T *a,
                                                               int64_t a_row, int64_t a_column,
                                                               const T *b, T *c, int64_t row,
                                                               bool add)
{
    V s[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        s[i][0] = s[i][1] = (V){0};
    for (int64_t p = 0; p < k; p++) {
        V b0 = *(const NAME(loose) *)b, b1 = *(const NAME(loose) *)(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            s[i][0] += b0 * a[i * a_row];
            s[i][1] += b1 * a[i * a_row];
        }
        a += a_column;
        b += COLUMNS;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        NAME(loose) *c0 = (NAME(loose) *)(c + i * row), *c1 = (NAME(loose) *)(c + i * row + LANES);
        *c0 = add ? (V)(*c0 + s[i][0]) : s[i][0];
        *c1 = add ? (V)(*c1 + s[i][1]) : s[i][1];
    }
}

/* The kernel for 1 … ROWS rows. a_row 1: packed; else columns of A are neighbours. */
static void NAME(kernel_of)(int64_t rows, int64_t k, const T *a, int64_t a_row, const T *b, T *c,
                            int64_t row, bool add)
{
#define KERNEL(n)                                            \
    case n:                                                  \
        if (a_row == 1)                                      \
            NAME(kernel)(n, k, a, 1, n, b, c, row, add);     \
        else                                                 \
            NAME(kernel)(n, k, a, a_row, 1, b, c, row, add); \
        return;
    switch (rows) {
        KERNEL(1)
        KERNEL(2)
        KERNEL(3)
        KERNEL(4)
#if ROWS > 4
        KERNEL(5)
        KERNEL(6)
#endif
#if ROWS > 6
        KERNEL(7)
        KERNEL(8)
        KERNEL(9)
        KERNEL(10)
        KERNEL(11)
        KERNEL(12)
#endif
    default:
        return;
    }
#undef KERNEL
}

/* Rows of a group, of the last one perhaps fewer: as even as they can be. */
static int64_t NAME(group_rows)(int64_t m)
{
    int64_t groups = (m + ROWS - 1) / ROWS;
    return (m + groups - 1) / groups;
}

/* m ≤ OG__GEMM_M rows and k ≤ OG__GEMM_K columns of A, packed. */
static void NAME(pack_rows)(const og__gemm *g, T *pa, const char *a, int64_t m, int64_t k)
{
    int64_t rows = NAME(group_rows)(m), size = (int64_t)og__size(g->dtype);
    for (int64_t i = 0; i < m; i += rows) {
        int64_t count = og__min(rows, m - i);
        const char *from = a + i * g->a_row * size;
        if (count == ROWS) /* a constant: unrolled */
            NAME(pack_group)(pa + i * k, from, g->dtype, ROWS, ROWS, k, g->a_row, g->a_column);
        else
            NAME(pack_group)(pa + i * k, from, g->dtype, count, count, k, g->a_row, g->a_column);
    }
}

/* One block: m ≤ OG__GEMM_M rows of A (a_row as above) with n columns of B, packed `depth` ≥ k
 * deep. */
static void NAME(block)(int64_t m, int64_t n, int64_t k, const T *a, int64_t a_row, const T *b,
                        int64_t depth, T *c, int64_t row, bool add)
{
    T edge[ROWS * COLUMNS];
    int64_t group = NAME(group_rows)(m);
    for (int64_t j = 0; j < n; j += COLUMNS)
        for (int64_t i = 0; i < m; i += group) {
            const T *pa = a + i * (a_row == 1 ? k : a_row), *pb = b + j * depth;
            int64_t rows = og__min(group, m - i), columns = og__min(COLUMNS, n - j);
            if (columns == COLUMNS) {
                NAME(kernel_of)(rows, k, pa, a_row, pb, c + i * row + j, row, add);
                continue;
            }
            NAME(kernel_of)(rows, k, pa, a_row, pb, edge, COLUMNS, false);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t q = 0; q < columns; q++) {
                    T *to = c + (i + r) * row + j + q, value = edge[r * COLUMNS + q];
                    *to = add ? *to + value : value;
                }
        }
}

/* Groups `first` … `last` - 1 of og__gemm_packed_groups, each column group whole. */
static void NAME(pack_b)(const og__gemm *g, const T *b, T *packed, int64_t first, int64_t last)
{
    int64_t wide = (g->n + 63) / 64 * 64;
    for (int64_t q = first * 64; q < og__min(g->n, last * 64); q += COLUMNS)
        for (int64_t p = 0; p < g->k; p += OG__GEMM_K) {
            int64_t k = og__min(OG__GEMM_K, g->k - p);
            NAME(pack_group)
            (packed + p * wide + q * k, b + p * g->b_row + q * g->b_column, g->dtype, COLUMNS,
             og__min(COLUMNS, g->n - q), k, g->b_column, g->b_row);
        }
}

/* A few rows of A are read where they lie; many would fall into the same places of the cache. */
static void NAME(gemm_packed)(const og__gemm *g, const T *a, const T *packed, T *c, T *pa)
{
    bool in_place = g->m <= OG__GEMM_M / 2 && g->a_column == 1 && g->a_row > 1;
    int64_t wide = (g->n + 63) / 64 * 64;
    for (int64_t i = 0; i < g->m; i += OG__GEMM_M)
        for (int64_t p = 0; p < g->k; p += OG__GEMM_K) {
            int64_t m = og__min(OG__GEMM_M, g->m - i), k = og__min(OG__GEMM_K, g->k - p);
            const T *at = a + i * g->a_row + p * g->a_column;
            int64_t depth = g->packed_k ? g->packed_k : k;
            if (in_place) {
                NAME(block)
                (m, g->n, k, at, g->a_row, packed + p * wide, depth, c + i * g->c_row, g->c_row,
                 g->add || p > 0);
                continue;
            }
            NAME(pack_rows)(g, pa, (const char *)at, m, k);
            NAME(block)
            (m, g->n, k, pa, 1, packed + p * wide, depth, c + i * g->c_row, g->c_row,
             g->add || p > 0);
        }
}

/* Workspace: packed A, packed B, and for halves a block of C. */
static void NAME(gemm)(const og__gemm *g, const void *a, const void *b, void *c, void *workspace)
{
    T *pa = workspace, *pb = pa + OG__GEMM_M * OG__GEMM_K;
    int64_t size = (int64_t)og__size(g->dtype), n_block = og__min(g->n, OG__GEMM_N);
    bool half = size == 2;
    int64_t k_block = og__min(g->k, OG__GEMM_K);
    T *pc = pb + (n_block + 64) * k_block;
    for (int64_t j = 0; j < g->n; j += OG__GEMM_N) {
        int64_t n = og__min(OG__GEMM_N, g->n - j);
        /* With halves a block of C must be complete before the next is begun: B is packed again for
         * each. */
        int64_t i_step = half ? OG__GEMM_M : g->m;
        for (int64_t i0 = 0; i0 < g->m; i0 += i_step)
            for (int64_t p = 0; p < g->k; p += OG__GEMM_K) {
                int64_t k = og__min(OG__GEMM_K, g->k - p);
                for (int64_t q = 0; q < n; q += COLUMNS)
                    NAME(pack_group)
                (pb + q * k, (const char *)b + (p * g->b_row + (j + q) * g->b_column) * size,
                 g->dtype, COLUMNS, og__min(COLUMNS, n - q), k, g->b_column, g->b_row);
                for (int64_t i = i0; i < og__min(g->m, i0 + i_step); i += OG__GEMM_M) {
                    int64_t m = og__min(OG__GEMM_M, g->m - i);
                    NAME(pack_rows)
                    (g, pa, (const char *)a + (i * g->a_row + p * g->a_column) * size, m, k);
                    char *to = (char *)c + (i * g->c_row + j) * size;
                    if (!half) {
                        NAME(block)(m, n, k, pa, 1, pb, k, (T *)to, g->c_row, g->add || p > 0);
                        continue;
                    }
                    NAME(block)(m, n, k, pa, 1, pb, k, pc, n, p > 0);
                    for (int64_t r = 0; p + k == g->k && r < m; r++)
                        for (int64_t q = 0; q < n; q++) {
                            double sum = (double)pc[r * n + q];
                            if (g->add)
                                sum += og__load_double(to, g->dtype, r * g->c_row + q);
                            og__store_double(to, g->dtype, r * g->c_row + q, sum);
                        }
                }
            }
    }
}
#undef V
#undef LANES
#undef COLUMNS
