/* Attention by blocks and its gradient, against scores written out one by one in double: sizes
 * that are and are not multiples of the blocks, masks that leave blocks out, rows that are masked
 * as a whole, operands that lie anyhow, and any number of threads. */
#include "tests/kernels/call.h"

/* float: sums of up to 300 products of numbers below 2, and the gradient's differences of them */
static const double FLOAT_TOLERANCE = 2e-5, DOUBLE_TOLERANCE = 1e-12;

typedef enum mask_kind {
    NO_MASK,
    CAUSAL,
    FINITE_CAUSAL,
    BANDS,
    PADDED,
    EMPTY_ROWS,
    LOWEST_ROWS
} mask_kind;

typedef struct shape {
    int64_t B, S, T, H, D, E;
    mask_kind mask;
    bool zero_nan;
} shape;

/* What is added to score (row, column) of sample b. */
static double mask_at(const shape *s, int64_t b, int64_t row, int64_t column)
{
    switch (s->mask) {
    case CAUSAL:
        return column <= row ? 0 : -INFINITY;
    case FINITE_CAUSAL:
        return column <= row ? 0.25 : -3e38;
    case BANDS: /* the middle of each row is closed: nothing before the end can be left out */
        return column % 97 > 5 && column < s->T - 1 ? -INFINITY : 0;
    case PADDED: /* differs from sample to sample */
        return column < s->T - 60 * (b + 1) || column == 0 ? 0 : -INFINITY;
    case EMPTY_ROWS:
        return row % 50 == 3 ? -INFINITY : 0;
    case LOWEST_ROWS: /* rows of the lowest number alone: all keys count alike */
        return row % 50 == 3 || column > row ? -3.4e38 : 0;
    default:
        return 0;
    }
}

typedef struct tensors {
    og_tensor q, k, v, mask, dy, y, top, log_sum, dq, dk, dv;
} tensors;

static tensors make(const shape *s, og_dtype dtype)
{
    uint64_t seed = 7;
    tensors t = {
        .q = test_filled(dtype, 4, (int64_t[]){s->B, s->S, s->H, s->D}, &seed),
        .k = test_filled(dtype, 4, (int64_t[]){s->B, s->T, s->H, s->D}, &seed),
        .v = test_filled(dtype, 4, (int64_t[]){s->B, s->T, s->H, s->E}, &seed),
        .mask = test_tensor(dtype, 4, (int64_t[]){s->B, 1, s->S, s->T}),
        .dy = test_filled(dtype, 4, (int64_t[]){s->B, s->S, s->H, s->E}, &seed),
        .y = test_tensor(dtype, 4, (int64_t[]){s->B, s->S, s->H, s->E}),
        .top = test_tensor(dtype, 3, (int64_t[]){s->B, s->H, s->S}),
        .log_sum = test_tensor(dtype, 3, (int64_t[]){s->B, s->H, s->S}),
        .dq = test_tensor(dtype, 4, (int64_t[]){s->B, s->S, s->H, s->D}),
        .dk = test_tensor(dtype, 4, (int64_t[]){s->B, s->T, s->H, s->D}),
        .dv = test_tensor(dtype, 4, (int64_t[]){s->B, s->T, s->H, s->E}),
    };
    for (int64_t i = 0; i < s->B * s->S * s->T; i++)
        og__store_double(t.mask.data, dtype, i,
                         mask_at(s, i / (s->S * s->T), i / s->T % s->S, i % s->T));
    return t;
}

static void release(tensors *t)
{
    og_tensor *all[] = {&t->q,   &t->k,       &t->v,  &t->mask, &t->dy, &t->y,
                        &t->top, &t->log_sum, &t->dq, &t->dk,   &t->dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->data);
}

static const double SCALE = 0.3;

static bool run(const shape *s, tensors *t, int threads)
{
    og_tensor none = {0};
    kernel_call forward = {
        .op = OG_DOMAIN "::AttentionHeads", .threads = threads, .nx = 4, .ny = 3, .n_attrs = 2};
    forward.attrs[0] = (og_attr){.name = "scale", .kind = OG_ATTR_FLOAT, .f = SCALE};
    forward.attrs[1] = (og_attr){.name = "zero_nan", .kind = OG_ATTR_INT, .i = s->zero_nan};
    kernel_call back = forward;
    back.op = OG_DOMAIN "::AttentionHeadsGrad";
    back.nx = 8;
    og_tensor x[] = {t->q, t->k, t->v, s->mask == NO_MASK ? none : t->mask};
    og_tensor y[] = {t->y, t->top, t->log_sum};
    og_tensor gx[] = {t->dy, t->q, t->k, t->v, t->y, t->top, t->log_sum, x[3]};
    og_tensor gy[] = {t->dq, t->dk, t->dv};
    memcpy(forward.x, x, sizeof x);
    memcpy(forward.y, y, sizeof y);
    memcpy(back.x, gx, sizeof gx);
    memcpy(back.y, gy, sizeof gy);
    return test_run(&forward) && test_run(&back);
}

/* ---- the reference: one unit, [S, T] scores */

static double at(const og_tensor *t, int64_t b, int64_t i, int64_t h, int64_t j)
{
    const int64_t *s = t->strides;
    return og__load_double(t->data, t->type.dtype, b * s[0] + i * s[1] + h * s[2] + j * s[3]);
}

/* p and ds of a row; a row of -∞ alone has NaN, or zeros. */
static void reference_row(const shape *s, const tensors *t, int64_t b, int64_t h, int64_t row,
                          double *p, double *ds)
{
    double top = -INFINITY, sum = 0, delta = 0;
    for (int64_t c = 0; c < s->T; c++) {
        double dot = 0;
        for (int64_t d = 0; d < s->D; d++)
            dot += at(&t->q, b, row, h, d) * at(&t->k, b, c, h, d);
        p[c] = SCALE * dot + mask_at(s, b, row, c);
        if (t->q.type.dtype == OG_FLOAT) /* which cannot tell the lowest number and a score apart */
            p[c] = (double)(float)p[c];
        top = fmax(top, p[c]);
    }
    for (int64_t c = 0; c < s->T; c++)
        sum += p[c] = exp(p[c] - top);
    for (int64_t c = 0; c < s->T; c++) {
        p[c] = s->zero_nan && isnan(p[c]) ? 0 : p[c] / sum;
        p[c] = s->zero_nan && isnan(p[c]) ? 0 : p[c];
        ds[c] = 0;
        for (int64_t e = 0; e < s->E; e++)
            ds[c] += at(&t->dy, b, row, h, e) * at(&t->v, b, c, h, e);
        delta += p[c] * ds[c];
    }
    for (int64_t c = 0; c < s->T; c++)
        ds[c] = p[c] * (ds[c] - delta);
}

static bool close(double value, double expected, double tolerance)
{
    return (isnan(value) && isnan(expected)) ||
           fabs(value - expected) <= tolerance * fmax(1, fabs(expected));
}

static void compare_line(const char *what, const og_tensor *t, int64_t b, int64_t i, int64_t h,
                         const double *expected, int64_t n)
{
    double tolerance = t->type.dtype == OG_FLOAT ? FLOAT_TOLERANCE : DOUBLE_TOLERANCE;
    for (int64_t j = 0; j < n; j++)
        if (!CHECK(close(at(t, b, i, h, j), expected[j], tolerance))) {
            printf("      %s [%lld, %lld, %lld, %lld]: %.9g, expected %.9g\n", what, (long long)b,
                   (long long)i, (long long)h, (long long)j, at(t, b, i, h, j), expected[j]);
            return;
        }
}

static void compare_unit(const shape *s, const tensors *t, int64_t b, int64_t h)
{
    enum { WIDEST = 256 };
    double *p = calloc((size_t)(s->S * s->T), sizeof *p);
    double *ds = calloc((size_t)(s->S * s->T), sizeof *ds), line[WIDEST], other[WIDEST];
    for (int64_t i = 0; p && ds && i < s->S; i++) {
        double *pi = p + i * s->T, *di = ds + i * s->T;
        reference_row(s, t, b, h, i, pi, di);
        for (int64_t e = 0; e < s->E; e++) {
            line[e] = 0;
            for (int64_t c = 0; c < s->T; c++)
                line[e] += pi[c] * at(&t->v, b, c, h, e);
        }
        compare_line("y", &t->y, b, i, h, line, s->E);
        for (int64_t d = 0; d < s->D; d++) {
            line[d] = 0;
            for (int64_t c = 0; c < s->T; c++)
                line[d] += SCALE * di[c] * at(&t->k, b, c, h, d);
        }
        compare_line("dq", &t->dq, b, i, h, line, s->D);
    }
    for (int64_t c = 0; p && ds && c < s->T; c++) {
        memset(line, 0, sizeof line);
        memset(other, 0, sizeof other);
        for (int64_t i = 0; i < s->S; i++) {
            for (int64_t d = 0; d < s->D; d++)
                line[d] += SCALE * ds[i * s->T + c] * at(&t->q, b, i, h, d);
            for (int64_t e = 0; e < s->E; e++)
                other[e] += p[i * s->T + c] * at(&t->dy, b, i, h, e);
        }
        compare_line("dk", &t->dk, b, c, h, line, s->D);
        compare_line("dv", &t->dv, b, c, h, other, s->E);
    }
    free(p);
    free(ds);
}

static const shape shapes[] = {
    {2, 5, 7, 3, 4, 6, NO_MASK, false},           {1, 1, 1, 1, 1, 1, NO_MASK, false},
    {1, 48, 128, 2, 32, 32, NO_MASK, false},      {1, 97, 129, 1, 64, 64, NO_MASK, false},
    {1, 130, 300, 2, 65, 33, NO_MASK, false},     {2, 256, 256, 1, 32, 32, CAUSAL, false},
    {1, 150, 150, 2, 16, 17, CAUSAL, true},       {1, 49, 300, 1, 8, 8, CAUSAL, false},
    {1, 300, 130, 1, 8, 8, CAUSAL, false},        {1, 200, 200, 1, 128, 128, FINITE_CAUSAL, false},
    {1, 100, 290, 1, 24, 24, BANDS, false},       {3, 60, 270, 2, 16, 16, PADDED, false},
    {1, 110, 140, 2, 16, 16, EMPTY_ROWS, false},  {1, 110, 140, 2, 16, 16, EMPTY_ROWS, true},
    {1, 110, 140, 2, 16, 16, LOWEST_ROWS, false},
};

/* Rows of -∞ alone give NaN, and NaN in every gradient they reach, as the nodes do; zero_nan: zeros
 * and no gradient, as PyTorch. */
TEST(reference)
{
    char text[64];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        for (int k = 0; k < 2; k++) {
            snprintf(text, sizeof text, "%s, shapes[%d]", k ? "double" : "float", (int)i);
            TEST_CASE(text);
            if (k && s->mask == LOWEST_ROWS) /* double tells such scores apart */
                continue;
            tensors t = make(s, k ? OG_DOUBLE : OG_FLOAT);
            if (run(s, &t, 2))
                for (int64_t u = 0; u < s->B * s->H; u++)
                    compare_unit(s, &t, u / s->H, u % s->H);
            release(&t);
        }
    }
    TEST_CASE("");
}

static bool same_bytes(const og_tensor *a, const og_tensor *b)
{
    return memcmp(a->data, b->data, (size_t)og__elements(a) * og__size(a->type.dtype)) == 0;
}

TEST(threads)
{
    shape s = {2, 200, 260, 3, 32, 48, CAUSAL, false};
    tensors one = make(&s, OG_FLOAT), many = make(&s, OG_FLOAT);
    if (run(&s, &one, 1) && run(&s, &many, 7)) {
        CHECK(same_bytes(&one.y, &many.y));
        CHECK(same_bytes(&one.log_sum, &many.log_sum));
        CHECK(same_bytes(&one.dq, &many.dq));
        CHECK(same_bytes(&one.dk, &many.dk));
        CHECK(same_bytes(&one.dv, &many.dv));
    }
    release(&one);
    release(&many);
}

/* The elements of t with its axes in memory in another order. */
static og_tensor scattered(const og_tensor *t, const int *order)
{
    og_tensor y = test_tensor(t->type.dtype, 4, t->type.dims);
    int64_t step = 1;
    for (int k = 3; k >= 0; k--) {
        y.strides[order[k]] = step;
        step *= t->type.dims[order[k]];
    }
    const int64_t *n = t->type.dims, *s = y.strides;
    for (int64_t i = 0; i < og__elements(t); i++) {
        int64_t to = i / (n[1] * n[2] * n[3]) * s[0] + i / (n[2] * n[3]) % n[1] * s[1] +
                     i / n[3] % n[2] * s[2] + i % n[3] * s[3];
        og__store_double(y.data, t->type.dtype, to, test_element(t, i));
    }
    return y;
}

TEST(any_strides)
{
    static const int orders[][4] = {{0, 2, 1, 3}, {0, 2, 3, 1}, {3, 1, 0, 2}};
    shape s = {2, 60, 140, 2, 20, 12, CAUSAL, false};
    tensors dense = make(&s, OG_FLOAT);
    CHECK(run(&s, &dense, 2));
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        tensors t = make(&s, OG_FLOAT);
        og_tensor *all[] = {&t.q, &t.k, &t.v, &t.dy};
        for (int i = 0; i < 4; i++) {
            og_tensor moved = scattered(all[i], orders[k]);
            free(all[i]->data);
            *all[i] = moved;
        }
        if (run(&s, &t, 2)) {
            CHECK(same_bytes(&dense.y, &t.y));
            CHECK(same_bytes(&dense.dq, &t.dq));
            CHECK(same_bytes(&dense.dk, &t.dk));
            CHECK(same_bytes(&dense.dv, &t.dv));
        }
        release(&t);
    }
    release(&dense);
}

static const og_test tests[] = {TEST_ROW(reference), TEST_ROW(threads), TEST_ROW(any_strides)};
TEST_MAIN(tests)
