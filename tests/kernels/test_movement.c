/* Kernels that move elements: every element of the output against the element of the input that the
 * op's definition names, for every element size and layout. */
#include "tests/kernels/strided.h"

/* ---- copies in another shape */

typedef struct shape_case {
    int rank;
    int64_t dims[5];
} shape_case;

static const shape_case shapes[] = {
    {0, {0}},
    {1, {1}},
    {1, {1000}},
    {2, {3, 5}},
    {2, {67, 130}},
    {2, {1, 9}},
    {3, {4, 33, 65}},
    {3, {2, 3, 1}},
    {4, {3, 5, 17, 40}},
    {4, {2, 64, 9, 3}},
    {4, {2, 3, 80, 70}},
    {2, {0, 4}},
    {5, {2, 3, 4, 5, 6}},
    {2, {40000, 5}},
    {2, {3, 70000}},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

TEST(copy)
{
    static const char *const ops[] = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"};
    uint64_t seed = 1;
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++) {
                kernel_call k = {.op = ops[(s + (size_t)d + (size_t)how) % 5], .nx = 1, .ny = 1};
                k.x[0] =
                    laid_out(sizes[d], shapes[s].rank, shapes[s].dims, (layout)how, false, &seed);
                int64_t n = og__elements(&k.x[0]), index[OG_MAX_RANK] = {0};
                k.y[0] = output_of(sizes[d], 1, &n);
                TEST_CASE(case_text(k.op, &k.x[0].type, how));
                if (test_run(&k))
                    for (int64_t i = 0; i < n; i++) {
                        index_of(&k.x[0].type, i, index);
                        check_element(&k.y[0], i, &k.x[0], index);
                    }
                release_blocks();
            }
}

/* Copy: from any layout to any without gaps. */
TEST(copy_to_layout)
{
    uint64_t seed = 9;
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++)
                for (int to = DENSE; to <= REVERSED_AXES; to++) {
                    kernel_call k = {.op = "ai.ongrad::Copy", .nx = 1, .ny = 1};
                    const shape_case *c = &shapes[s];
                    k.x[0] = laid_out(sizes[d], c->rank, c->dims, (layout)how, false, &seed);
                    k.y[0] = laid_out(sizes[d], c->rank, c->dims, (layout)to, false, &seed);
                    TEST_CASE(case_text(k.op, &k.x[0].type, how));
                    int64_t n = og__elements(&k.x[0]), index[OG_MAX_RANK];
                    if (test_run(&k))
                        for (int64_t i = 0; i < n; i++) {
                            index_of(&k.x[0].type, i, index);
                            const char *y = element_at(&k.y[0], index);
                            CHECK_INT(memcmp(y, element_at(&k.x[0], index), og__size(sizes[d])), 0);
                        }
                    release_blocks();
                }
}

TEST(transpose)
{
    uint64_t seed = 2;
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int d = 0; d < 5; d++)
            for (int repeat = 0; repeat < 8; repeat++) {
                const shape_case *c = &shapes[s];
                int64_t perm[5] = {0, 1, 2, 3, 4}, dims[5], index[OG_MAX_RANK] = {0},
                        from[OG_MAX_RANK] = {0};
                for (int a = c->rank - 1; a > 0; a--) { /* a random order, twice the default one */
                    int other = (int)(test_random(&seed) % (uint64_t)(a + 1));
                    int64_t keep = perm[a];
                    perm[a] = perm[other];
                    perm[other] = keep;
                }
                for (int a = 0; repeat < 2 && a < c->rank; a++)
                    perm[a] = c->rank - 1 - a;
                for (int a = 0; a < c->rank; a++)
                    dims[a] = c->dims[perm[a]];
                kernel_call k = {.op = "Transpose", .nx = 1, .ny = 1, .n_attrs = repeat ? 1 : 0};
                k.attrs[0] =
                    (og_attr){.name = "perm", .kind = OG_ATTR_INTS, .n = c->rank, .ints = perm};
                k.x[0] = laid_out(sizes[d], c->rank, c->dims,
                                  repeat > 3 ? (layout)(repeat - 3) : DENSE, false, &seed);
                k.y[0] = output_of(sizes[d], c->rank, dims);
                TEST_CASE(case_text("Transpose", &k.x[0].type, repeat));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a < c->rank; a++)
                            from[perm[a]] = index[a];
                        check_element(&k.y[0], i, &k.x[0], from);
                    }
                release_blocks();
            }
}

TEST(expand)
{
    static const struct {
        shape_case x, y;
    } cases[] = {
        {{0, {0}}, {2, {3, 4}}},
        {{1, {1}}, {1, {100}}},
        {{1, {5}}, {3, {2, 3, 5}}},
        {{2, {4, 1}}, {2, {4, 300}}},
        {{3, {1, 5, 1}}, {4, {2, 3, 5, 7}}},
        {{2, {1, 40}}, {2, {900, 40}}},
        {{3, {3, 1, 2}}, {3, {3, 4, 2}}},
        {{2, {1, 3}}, {2, {0, 3}}},
    };
    uint64_t seed = 3;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++) {
                const shape_case *x = &cases[c].x, *y = &cases[c].y;
                kernel_call k = {.op = "Expand", .nx = 2, .ny = 1};
                k.x[0] = laid_out(sizes[d], x->rank, x->dims, (layout)how, false, &seed);
                k.x[1] = ints_of(y->rank, y->dims);
                k.y[0] = output_of(sizes[d], y->rank, y->dims);
                TEST_CASE(case_text("Expand", &k.y[0].type, how));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        int64_t index[OG_MAX_RANK] = {0}, from[OG_MAX_RANK] = {0};
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a < x->rank; a++)
                            from[a] = x->dims[a] == 1 ? 0 : index[a + y->rank - x->rank];
                        check_element(&k.y[0], i, &k.x[0], from);
                    }
                release_blocks();
            }
}

/* ---- Slice */

TEST(slice)
{
    static const struct {
        int n;
        int64_t starts[3], ends[3], axes[3], steps[3];
        int64_t first[3], length[3], step[3]; /* of each axis of [7, 20, 33] */
    } cases[] = {
        {1, {1}, {5}, {0}, {1}, {1, 0, 0}, {4, 20, 33}, {1, 1, 1}},
        {2, {-5, 2}, {INT64_MAX, -3}, {-1, 0}, {1, 1}, {2, 0, 28}, {2, 20, 5}, {1, 1, 1}},
        {3, {0, 3, 1}, {7, 19, 33}, {0, 1, 2}, {2, 5, 3}, {0, 3, 1}, {4, 4, 11}, {2, 5, 3}},
        {2, {-1, 100}, {INT64_MIN, 2}, {2, 1}, {-1, -4}, {0, 19, 32}, {7, 5, 33}, {1, -4, -1}},
        {1, {5}, {2}, {1}, {1}, {0, 5, 0}, {7, 0, 33}, {1, 1, 1}},
        {0, {0}, {0}, {0}, {0}, {0, 0, 0}, {7, 20, 33}, {1, 1, 1}},
        {1, {3}, {INT64_MAX}, {1}, {INT64_MAX}, {0, 3, 0}, {7, 1, 33}, {1, 1, 1}},
    };
    static const int64_t whole[3] = {7, 20, 33};
    uint64_t seed = 4;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++) {
                kernel_call k = {.op = "Slice", .nx = 5, .ny = 1},
                            g = {.op = "ai.ongrad::SliceGrad", .nx = 5, .ny = 1};
                int64_t index[OG_MAX_RANK] = {0}, n = cases[c].n;
                k.x[0] = laid_out(sizes[d], 3, whole, (layout)how, false, &seed);
                k.x[1] = ints_of((int)n, cases[c].starts);
                k.x[2] = ints_of((int)n, cases[c].ends);
                k.x[3] = ints_of((int)n, cases[c].axes);
                k.x[4] = ints_of((int)n, cases[c].steps);
                k.y[0] = output_of(sizes[d], 3, cases[c].length);
                memcpy(g.x, k.x, sizeof g.x);
                g.x[0] = laid_out(sizes[d], 3, cases[c].length, (layout)how, false, &seed);
                g.y[0] = output_of(sizes[d], 3, whole);
                TEST_CASE(case_text("Slice", &k.y[0].type, how));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a < 3; a++)
                            index[a] = cases[c].first[a] + index[a] * cases[c].step[a];
                        check_element(&k.y[0], i, &k.x[0], index);
                    }
                if (test_run(&g))
                    for (int64_t i = 0; i < og__elements(&g.y[0]); i++) {
                        bool inside = true;
                        index_of(&g.y[0].type, i, index);
                        for (int a = 0; a < 3; a++) {
                            index[a] -= cases[c].first[a];
                            inside = inside && index[a] % cases[c].step[a] == 0;
                            index[a] /= cases[c].step[a];
                            inside = inside && index[a] >= 0 && index[a] < cases[c].length[a];
                        }
                        check_element(&g.y[0], i, &g.x[0], inside ? index : NULL);
                    }
                release_blocks();
            }
}

/* ---- Concat, Split */

TEST(concat_split)
{
    static const int64_t lengths[4] = {3, 1, 0, 40};
    uint64_t seed = 5;
    for (int axis = -3; axis < 3; axis++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS - 1; how++) {
                kernel_call k = {.op = "Concat", .nx = 4, .ny = 1, .n_attrs = 1};
                kernel_call s = {.op = "Split", .nx = 2, .ny = 4, .n_attrs = 1};
                int64_t dims[3] = {4, 5, 33}, index[OG_MAX_RANK] = {0};
                int at = og__axis(axis, 3);
                k.attrs[0] = s.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
                dims[at] = 44;
                k.y[0] = output_of(sizes[d], 3, dims);
                s.x[0] = laid_out(sizes[d], 3, dims, (layout)how, false, &seed);
                s.x[1] = ints_of(4, lengths);
                for (int i = 0; i < 4; i++) {
                    dims[at] = lengths[i];
                    k.x[i] = laid_out(sizes[d], 3, dims, (layout)how, false, &seed);
                    if (i != 1) /* one output is not wanted */
                        s.y[i] = output_of(sizes[d], 3, dims);
                }
                TEST_CASE(case_text("Concat, Split", &k.y[0].type, how));
                bool ran = test_run(&k), split = test_run(&s);
                for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                    int part = 0;
                    index_of(&k.y[0].type, i, index);
                    int64_t position = index[at];
                    while (index[at] >= lengths[part])
                        index[at] -= lengths[part++];
                    if (ran)
                        check_element(&k.y[0], i, &k.x[part], index);
                    if (!split || part == 1)
                        continue;
                    const char *value = element_at(&s.y[part], index);
                    index[at] = position;
                    CHECK(memcmp(value, element_at(&s.x[0], index), og__size(sizes[d])) == 0);
                }
                release_blocks();
            }
}

/* ---- Pad */

/* The definition, by walking: bounce, stop or jump at the ends. */
static int64_t pad_source(int mode, int64_t i, int64_t n)
{
    while (i < 0 || i >= n) {
        if (mode == 2)
            return i < 0 ? 0 : n - 1;
        if (mode == 3)
            i += i < 0 ? n : -n;
        else if (n == 1)
            return 0;
        else
            i = i < 0 ? -i : 2 * (n - 1) - i;
    }
    return i;
}

TEST(pad)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    static const int64_t pads[][6] = {{0, 0, 0, 0, 0, 0},   {1, 2, 3, 0, 1, 4},
                                      {2, 0, 20, 0, 3, 20}, {-1, 2, -3, 1, -1, 2},
                                      {0, 0, 5, 0, 0, -7},  {0, -4, 0, 0, 0, 0}};
    uint64_t seed = 6;
    for (size_t c = 0; c < sizeof pads / sizeof *pads; c++)
        for (int mode = 0; mode < 4; mode++)
            for (int d = 0; d < 5; d++)
                for (int how = 0; how < LAYOUTS; how++) {
                    static const int64_t dims[3] = {4, 6, 31},
                                         axes[3] = {-1, 0, 1}; /* pads in axes' order */
                    int64_t out[3], begin[3], index[OG_MAX_RANK] = {0}, value[1] = {1};
                    kernel_call k = {.op = "Pad", .nx = 4, .ny = 1, .n_attrs = 1};
                    k.attrs[0] =
                        (og_attr){.name = "mode", .kind = OG_ATTR_STRING, .s = modes[mode]};
                    for (int i = 0; i < 3; i++) {
                        int a = og__axis(axes[i], 3);
                        begin[a] = pads[c][a];
                        out[a] = dims[a] + pads[c][a] + pads[c][a + 3];
                    }
                    int64_t list[6] = {pads[c][2], pads[c][0], pads[c][1],
                                       pads[c][5], pads[c][3], pads[c][4]};
                    k.x[0] = laid_out(sizes[d], 3, dims, (layout)how, false, &seed);
                    k.x[1] = ints_of(6, list);
                    k.x[2] = laid_out(sizes[d], 0, value, DENSE, false, &seed);
                    k.x[3] = ints_of(3, axes);
                    k.y[0] = output_of(sizes[d], 3, out);
                    TEST_CASE(case_text(modes[mode], &k.y[0].type, (int)c));
                    if (test_run(&k))
                        for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                            bool inside = true;
                            index_of(&k.y[0].type, i, index);
                            for (int a = 0; a < 3; a++) {
                                index[a] -= begin[a];
                                inside = inside && index[a] >= 0 && index[a] < dims[a];
                                index[a] = mode ? pad_source(mode, index[a], dims[a]) : index[a];
                            }
                            check_element(&k.y[0], i, inside || mode ? &k.x[0] : &k.x[2], index);
                        }
                    release_blocks();
                }
}

/* ---- Tile, DepthToSpace, SpaceToDepth */

TEST(tile)
{
    static const int64_t repeats[][3] = {{1, 1, 1}, {2, 3, 4},  {1, 5, 1},
                                         {3, 1, 1}, {1, 1, 50}, {0, 1, 2}};
    uint64_t seed = 7;
    for (int c = 0; c < 6; c++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++) {
                int64_t dims[3] = {3, 4, 17}, out[3], index[OG_MAX_RANK] = {0};
                for (int a = 0; a < 3; a++)
                    out[a] = dims[a] * repeats[c][a];
                kernel_call k = {.op = "Tile", .nx = 2, .ny = 1};
                k.x[0] = laid_out(sizes[d], 3, dims, (layout)how, false, &seed);
                k.x[1] = ints_of(3, repeats[c]);
                k.y[0] = output_of(sizes[d], 3, out);
                TEST_CASE(case_text("Tile", &k.y[0].type, how));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a < 3; a++)
                            index[a] %= dims[a];
                        check_element(&k.y[0], i, &k.x[0], index);
                    }
                release_blocks();
            }
}

TEST(depth_space)
{
    uint64_t seed = 8;
    for (int mode = 0; mode < 3; mode++) /* to space: DCR, CRD; to depth */
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS - 1; how++)
                for (int64_t b = 1; b < 4; b++) {
                    int64_t wide[4] = {2, 3, 5 * b, 8 * b}, deep[4] = {2, 3 * b * b, 5, 8},
                            index[OG_MAX_RANK] = {0}, from[4] = {0};
                    kernel_call k = {.op = mode < 2 ? "DepthToSpace" : "SpaceToDepth",
                                     .nx = 1,
                                     .ny = 1,
                                     .n_attrs = 2};
                    k.attrs[0] = (og_attr){.name = "blocksize", .kind = OG_ATTR_INT, .i = b};
                    k.attrs[1] = (og_attr){
                        .name = "mode", .kind = OG_ATTR_STRING, .s = mode == 1 ? "CRD" : "DCR"};
                    k.x[0] =
                        laid_out(sizes[d], 4, mode < 2 ? deep : wide, (layout)how, false, &seed);
                    k.y[0] = output_of(sizes[d], 4, mode < 2 ? wide : deep);
                    TEST_CASE(case_text(k.op, &k.x[0].type, how));
                    if (test_run(&k))
                        for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                            index_of(&k.y[0].type, i, index);
                            from[0] = index[0];
                            if (mode < 2) {
                                int64_t p = index[2] % b, q = index[3] % b;
                                from[1] = mode ? index[1] * b * b + p * b + q
                                               : (p * b + q) * 3 + index[1];
                                from[2] = index[2] / b;
                                from[3] = index[3] / b;
                            } else {
                                int64_t block = index[1] / 3;
                                from[1] = index[1] % 3;
                                from[2] = index[2] * b + block / b;
                                from[3] = index[3] * b + block % b;
                            }
                            check_element(&k.y[0], i, &k.x[0], from);
                        }
                    release_blocks();
                }
}

static const og_test tests[] = {
    TEST_ROW(copy),   TEST_ROW(copy_to_layout), TEST_ROW(transpose),
    TEST_ROW(expand), TEST_ROW(slice),          TEST_ROW(concat_split),
    TEST_ROW(pad),    TEST_ROW(tile),           TEST_ROW(depth_space),
};
TEST_MAIN(tests)
