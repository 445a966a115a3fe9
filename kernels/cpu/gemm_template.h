/* Included by gemm_simd.c with T, NAME, VECTOR and ROWS defined; no include guard.
 *
 * Packed A: for each group of ROWS rows, k columns of ROWS elements. Packed B: for each group of
 * COLUMNS columns, k rows of COLUMNS elements. Both are filled up with zeros. */

typedef T NAME(vector) __attribute__((vector_size(VECTOR)));
typedef T NAME(loose) __attribute__((vector_size(VECTOR), aligned(sizeof(T)), may_alias));
#define V NAME(vector)
#define LANES ((int64_t)(VECTOR / sizeof(T)))
#define COLUMNS (2 * LANES)

/* `count` (≤ group) × k elements into groups: to[p * group + i] = from[i * across + p * along]. */
static void NAME(pack_group)(T *to, const void *from, og_dtype dtype, int64_t group, int64_t count,
                             int64_t k, int64_t across, int64_t along)
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

/* c[i * row + j] (+)= Σp a[p * ROWS + i] b[p * COLUMNS + j] */
static void NAME(kernel)(int64_t k, const T *a, const T *b, T *c, int64_t row, bool add)
{
    V s[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
        s[i][0] = s[i][1] = (V){0};
    for (int64_t p = 0; p < k; p++) {
        V b0 = *(const NAME(loose) *)b, b1 = *(const NAME(loose) *)(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; i++) {
            s[i][0] += b0 * a[i];
            s[i][1] += b1 * a[i];
        }
        a += ROWS;
        b += COLUMNS;
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
        NAME(loose) *c0 = (NAME(loose) *)(c + i * row), *c1 = (NAME(loose) *)(c + i * row + LANES);
        *c0 = add ? (V)(*c0 + s[i][0]) : s[i][0];
        *c1 = add ? (V)(*c1 + s[i][1]) : s[i][1];
    }
}

/* One block: m ≤ OG__GEMM_M rows of packed A with n ≤ OG__GEMM_N columns of packed B. */
static void NAME(block)(int64_t m, int64_t n, int64_t k, const T *a, const T *b, T *c, int64_t row,
                        bool add)
{
    T edge[ROWS * COLUMNS];
    for (int64_t j = 0; j < n; j += COLUMNS)
        for (int64_t i = 0; i < m; i += ROWS) {
            const T *pa = a + i * k, *pb = b + j * k;
            int64_t rows = og__min(ROWS, m - i), columns = og__min(COLUMNS, n - j);
            if (rows == ROWS && columns == COLUMNS) {
                NAME(kernel)(k, pa, pb, c + i * row + j, row, add);
                continue;
            }
            NAME(kernel)(k, pa, pb, edge, COLUMNS, false);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t q = 0; q < columns; q++) {
                    T *to = c + (i + r) * row + j + q, value = edge[r * COLUMNS + q];
                    *to = add ? *to + value : value;
                }
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
                    for (int64_t q = 0; q < m; q += ROWS)
                        NAME(pack_group)
                    (pa + q * k, (const char *)a + ((i + q) * g->a_row + p * g->a_column) * size,
                     g->dtype, ROWS, og__min(ROWS, m - q), k, g->a_row, g->a_column);
                    char *to = (char *)c + (i * g->c_row + j) * size;
                    if (!half) {
                        NAME(block)(m, n, k, pa, pb, (T *)to, g->c_row, g->add || p > 0);
                        continue;
                    }
                    NAME(block)(m, n, k, pa, pb, pc, n, p > 0);
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
