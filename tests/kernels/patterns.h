/* Shapes of an elementwise op's three inputs and its output: every way of broadcasting, and axes
 * that lie otherwise. */
#ifndef OG_TESTS_KERNELS_PATTERNS_H
#define OG_TESTS_KERNELS_PATTERNS_H

#include "tests/kernels/call.h"

typedef struct pattern {
    const char *name;
    int ry, rank[3];
    int64_t y[4], x[3][4];
    int transposed; /* bit i: input i lies with its first and last axis swapped */
} pattern;

static const pattern patterns[] = {
    {"scalars", 0, {0, 0, 0}, {0}},
    {"one element", 2, {2, 1, 0}, {1, 1}, {{1, 1}, {1}}},
    {"same", 2, {2, 2, 2}, {33, 70}, {{33, 70}, {33, 70}, {33, 70}}},
    {"bias", 2, {2, 1, 0}, {33, 70}, {{33, 70}, {70}}},
    {"long bias", 2, {1, 2, 1}, {5, 3000}, {{3000}, {5, 3000}, {1}}},
    {"column", 2, {2, 2, 2}, {33, 70}, {{33, 70}, {33, 1}, {1, 70}}},
    {"outer", 2, {2, 2, 0}, {33, 70}, {{33, 1}, {1, 70}}},
    {"channels", 4, {4, 3, 4}, {3, 5, 7, 9}, {{3, 5, 7, 9}, {5, 1, 1}, {1, 5, 1, 9}}},
    {"short rows", 3, {3, 2, 1}, {50, 20, 3}, {{50, 20, 3}, {20, 1}, {3}}},
    {"transposed", 2, {2, 2, 2}, {40, 60}, {{40, 60}, {40, 60}, {40, 60}}, 1},
    {"all transposed", 3, {3, 3, 2}, {10, 6, 40}, {{10, 6, 40}, {10, 1, 40}, {6, 40}}, 7},
    {"empty", 2, {2, 1, 0}, {0, 70}, {{0, 70}, {70}}},
};

static og_tensor pattern_input(const pattern *p, int i, og_dtype dtype, uint64_t *seed)
{
    int rank = p->rank[i];
    int64_t dims[4] = {0};
    memcpy(dims, p->x[i], sizeof dims);
    bool swap = p->transposed >> i & 1 && rank > 1;
    if (swap) {
        dims[0] = p->x[i][rank - 1];
        dims[rank - 1] = p->x[i][0];
    }
    og_tensor t = test_tensor(dtype, rank, dims);
    for (int64_t e = 0; e < og__elements(&t); e++)
        og__store_double(t.data, dtype, e,
                         og__is_real(dtype) ? test_uniform(seed) : (double)(test_random(seed) % 3));
    if (swap) {
        int64_t s = t.strides[0];
        t.strides[0] = t.strides[rank - 1];
        t.strides[rank - 1] = s;
        memcpy(t.type.dims, p->x[i], sizeof dims);
    }
    return t;
}

#endif
