/* Kernels that move, gather and scatter elements: every element of the output against the element of the input that
 * the op's definition names, for every element size and layout. */
#include "tests/kernels/strided.h"

static const og_dtype sizes[] = {OG_FLOAT, OG_UINT8, OG_DOUBLE, OG_FLOAT16, OG_COMPLEX128};

/* Is element `at` of y the element of x at `index`, or zero bytes where index is NULL? */
static void check_element(const og_tensor *y, int64_t at, const og_tensor *x, const int64_t *index)
{
    static const char zero[16];
    size_t size = og__size(y->type.dtype);
    const char *expected = index ? element_at(x, index) : zero, *value = (const char *)y->data + at * (int64_t)size;
    if (memcmp(value, expected, size) != 0) {
        test_failed(__FILE__, __LINE__);
        printf("element %lld differs\n", (long long)at);
    }
}

/* ---- copies in another shape -------------------------------------------------------------------------------- */

typedef struct shape_case {
    int rank;
    int64_t dims[5];
} shape_case;

static const shape_case shapes[] = {
    {0, {0}},           {1, {1}},         {1, {1000}},         {2, {3, 5}},        {2, {67, 130}},    {2, {1, 9}},
    {3, {4, 33, 65}},   {3, {2, 3, 1}},   {4, {3, 5, 17, 40}}, {4, {2, 64, 9, 3}}, {4, {2, 3, 80, 70}}, {2, {0, 4}},
    {5, {2, 3, 4, 5, 6}}, {2, {40000, 5}}, {2, {3, 70000}},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

TEST(copy)
{
    static const char *const ops[] = {"ai.ongrad::Copy", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"};
    uint64_t seed = 1;
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++) {
                kernel_call k = {.op = ops[(s + (size_t)d + (size_t)how) % 6], .nx = 1, .ny = 1};
                k.x[0] = laid_out(sizes[d], shapes[s].rank, shapes[s].dims, (layout)how, false, &seed);
                int64_t n = og__elements(&k.x[0]), index[OG_MAX_RANK];
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

TEST(transpose)
{
    uint64_t seed = 2;
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int d = 0; d < 5; d++)
            for (int repeat = 0; repeat < 8; repeat++) {
                const shape_case *c = &shapes[s];
                int64_t perm[5] = {0, 1, 2, 3, 4}, dims[5], index[OG_MAX_RANK] = {0}, from[OG_MAX_RANK] = {0};
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
                k.attrs[0] = (og_attr){.name = "perm", .kind = OG_ATTR_INTS, .n = c->rank, .ints = perm};
                k.x[0] = laid_out(sizes[d], c->rank, c->dims, repeat > 3 ? (layout)(repeat - 3) : DENSE, false, &seed);
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
        {{0, {0}}, {2, {3, 4}}},          {{1, {1}}, {1, {100}}},         {{1, {5}}, {3, {2, 3, 5}}},
        {{2, {4, 1}}, {2, {4, 300}}},     {{3, {1, 5, 1}}, {4, {2, 3, 5, 7}}}, {{2, {1, 40}}, {2, {900, 40}}},
        {{3, {3, 1, 2}}, {3, {3, 4, 2}}}, {{2, {1, 3}}, {2, {0, 3}}},
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
                        int64_t index[OG_MAX_RANK], from[OG_MAX_RANK];
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a < x->rank; a++)
                            from[a] = x->dims[a] == 1 ? 0 : index[a + y->rank - x->rank];
                        check_element(&k.y[0], i, &k.x[0], from);
                    }
                release_blocks();
            }
}

/* ---- Slice ------------------------------------------------------------------------------------------------------- */

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
                kernel_call k = {.op = "Slice", .nx = 5, .ny = 1}, g = {.op = "ai.ongrad::SliceGrad", .nx = 5, .ny = 1};
                int64_t index[OG_MAX_RANK], n = cases[c].n;
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

/* ---- Concat, Split ------------------------------------------------------------------------------------------------- */

TEST(concat_split)
{
    static const int64_t lengths[4] = {3, 1, 0, 40};
    uint64_t seed = 5;
    for (int axis = -3; axis < 3; axis++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS - 1; how++) {
                kernel_call k = {.op = "Concat", .nx = 4, .ny = 1, .n_attrs = 1};
                kernel_call s = {.op = "Split", .nx = 2, .ny = 4, .n_attrs = 1};
                int64_t dims[3] = {4, 5, 33}, index[OG_MAX_RANK];
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

/* ---- Pad ------------------------------------------------------------------------------------------------------------ */

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
    static const int64_t pads[][6] = {{0, 0, 0, 0, 0, 0}, {1, 2, 3, 0, 1, 4}, {2, 0, 20, 0, 3, 20},
                                      {-1, 2, -3, 1, -1, 2}, {0, 0, 5, 0, 0, -7}, {0, -4, 0, 0, 0, 0}};
    uint64_t seed = 6;
    for (size_t c = 0; c < sizeof pads / sizeof *pads; c++)
        for (int mode = 0; mode < 4; mode++)
            for (int d = 0; d < 5; d++)
                for (int how = 0; how < LAYOUTS; how++) {
                    static const int64_t dims[3] = {4, 6, 31}, axes[3] = {-1, 0, 1}; /* pads in axes' order */
                    int64_t out[3], begin[3], index[OG_MAX_RANK], value[1] = {1};
                    kernel_call k = {.op = "Pad", .nx = 4, .ny = 1, .n_attrs = 1};
                    k.attrs[0] = (og_attr){.name = "mode", .kind = OG_ATTR_STRING, .s = modes[mode]};
                    for (int i = 0; i < 3; i++) {
                        int a = og__axis(axes[i], 3);
                        begin[a] = pads[c][a];
                        out[a] = dims[a] + pads[c][a] + pads[c][a + 3];
                    }
                    int64_t list[6] = {pads[c][2], pads[c][0], pads[c][1], pads[c][5], pads[c][3], pads[c][4]};
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

/* ---- Tile, DepthToSpace, SpaceToDepth -------------------------------------------------------------------------------- */

TEST(tile)
{
    static const int64_t repeats[][3] = {{1, 1, 1}, {2, 3, 4}, {1, 5, 1}, {3, 1, 1}, {1, 1, 50}, {0, 1, 2}};
    uint64_t seed = 7;
    for (int c = 0; c < 6; c++)
        for (int d = 0; d < 5; d++)
            for (int how = 0; how < LAYOUTS; how++) {
                int64_t dims[3] = {3, 4, 17}, out[3], index[OG_MAX_RANK];
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
                    int64_t wide[4] = {2, 3, 5 * b, 8 * b}, deep[4] = {2, 3 * b * b, 5, 8}, index[OG_MAX_RANK], from[4];
                    kernel_call k = {.op = mode < 2 ? "DepthToSpace" : "SpaceToDepth", .nx = 1, .ny = 1, .n_attrs = 2};
                    k.attrs[0] = (og_attr){.name = "blocksize", .kind = OG_ATTR_INT, .i = b};
                    k.attrs[1] = (og_attr){.name = "mode", .kind = OG_ATTR_STRING, .s = mode == 1 ? "CRD" : "DCR"};
                    k.x[0] = laid_out(sizes[d], 4, mode < 2 ? deep : wide, (layout)how, false, &seed);
                    k.y[0] = output_of(sizes[d], 4, mode < 2 ? wide : deep);
                    TEST_CASE(case_text(k.op, &k.x[0].type, how));
                    if (test_run(&k))
                        for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                            index_of(&k.y[0].type, i, index);
                            from[0] = index[0];
                            if (mode < 2) {
                                int64_t p = index[2] % b, q = index[3] % b;
                                from[1] = mode ? index[1] * b * b + p * b + q : (p * b + q) * 3 + index[1];
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

/* ---- indices ------------------------------------------------------------------------------------------------------------ */

/* int64 (or int32) indices in -bound … bound - 1 */
static og_tensor random_indices(int rank, const int64_t *dims, int64_t bound, bool narrow, uint64_t *seed)
{
    og_tensor t = output_of(narrow ? OG_INT32 : OG_INT64, rank, dims);
    for (int64_t i = 0; i < og__elements(&t); i++)
        og__store_int(t.data, t.type.dtype, i, (int64_t)(test_random(seed) % (uint64_t)(2 * bound)) - bound);
    return t;
}

static int64_t index_value(const og_tensor *indices, int64_t at, int64_t bound)
{
    int64_t v = og__load_int(indices->data, indices->type.dtype, at);
    return v < 0 ? v + bound : v;
}

TEST(gather)
{
    static const int64_t dims[][3] = {{6, 5, 9}, {50, 1, 300}, {3, 40, 2}};
    uint64_t seed = 9;
    for (int c = 0; c < 3; c++)
        for (int axis = -3; axis < 3; axis++)
            for (int d = 0; d < 5; d++) {
                kernel_call k = {.op = "Gather", .nx = 2, .ny = 1, .n_attrs = 1};
                int at = og__axis(axis, 3), rank = 0;
                int64_t out[4], index[OG_MAX_RANK], from[3];
                k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
                k.x[0] = laid_out(sizes[d], 3, dims[c], DENSE, false, &seed);
                k.x[1] = random_indices(2, (int64_t[]){4, 7}, dims[c][at], d & 1, &seed);
                for (int a = 0; a < 3; a++) {
                    out[rank++] = a == at ? 4 : dims[c][a];
                    if (a == at)
                        out[rank++] = 7;
                }
                k.y[0] = output_of(sizes[d], 4, out);
                TEST_CASE(case_text("Gather", &k.x[0].type, axis));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a < 3; a++)
                            from[a] = a < at    ? index[a]
                                      : a == at ? index_value(&k.x[1], index[at] * 7 + index[at + 1], dims[c][at])
                                                : index[a + 1];
                        check_element(&k.y[0], i, &k.x[0], from);
                    }
                release_blocks();
            }
}

TEST(gather_gradient)
{
    static const int64_t dims[][3] = {{6, 5, 9}, {50, 1, 300}, {3, 40, 2}, {7, 1, 1}};
    uint64_t seed = 10;
    for (int c = 0; c < 4; c++)
        for (int axis = 0; axis < 3; axis++)
            for (int d = 0; d < 2; d++) {
                og_dtype dtype = d ? OG_DOUBLE : OG_FLOAT;
                kernel_call k = {.op = "ai.ongrad::GatherGrad", .nx = 2, .ny = 1, .n_attrs = 1};
                int64_t out[3], m = 90, inner = og__product(dims[c], axis + 1, 3), n = dims[c][axis];
                memcpy(out, dims[c], sizeof out);
                out[axis] = m;
                k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
                k.x[0] = laid_out(dtype, 3, out, DENSE, true, &seed);
                k.x[1] = random_indices(1, &m, n, d, &seed);
                k.y[0] = output_of(dtype, 3, dims[c]);
                double *dx = keep_block(calloc((size_t)og__elements(&k.y[0]), sizeof *dx));
                for (int64_t i = 0; i < og__elements(&k.x[0]); i++) {
                    int64_t o = i / inner / m, j = i / inner % m;
                    dx[(o * n + index_value(&k.x[1], j, n)) * inner + i % inner] += test_element(&k.x[0], i);
                }
                TEST_CASE(case_text("GatherGrad", &k.y[0].type, axis));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++)
                        CHECK_CLOSE(test_element(&k.y[0], i), dx[i], 1e-5);
                release_blocks();
            }
}

TEST(gather_elements)
{
    static const int64_t dims[3] = {6, 5, 70}, picked[3] = {4, 5, 30};
    uint64_t seed = 11;
    for (int axis = -3; axis < 3; axis++)
        for (int d = 0; d < 5; d++) {
            int at = og__axis(axis, 3);
            int64_t shape[3], index[OG_MAX_RANK];
            memcpy(shape, picked, sizeof shape);
            shape[at] = 300;
            kernel_call k = {.op = "GatherElements", .nx = 2, .ny = 1, .n_attrs = 1};
            k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
            k.x[0] = laid_out(sizes[d], 3, dims, DENSE, false, &seed);
            k.x[1] = random_indices(3, shape, dims[at], d & 1, &seed);
            k.y[0] = output_of(sizes[d], 3, shape);
            TEST_CASE(case_text("GatherElements", &k.x[0].type, axis));
            if (test_run(&k))
                for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                    index_of(&k.y[0].type, i, index);
                    index[at] = index_value(&k.x[1], i, dims[at]);
                    check_element(&k.y[0], i, &k.x[0], index);
                }
            release_blocks();
        }
}

TEST(gather_nd)
{
    static const int64_t dims[4] = {3, 4, 5, 6};
    uint64_t seed = 12;
    for (int batch = 0; batch < 3; batch++)
        for (int depth = 1; depth + batch <= 4; depth++)
            for (int d = 0; d < 5; d++) {
                kernel_call k = {.op = "GatherND", .nx = 2, .ny = 1, .n_attrs = 1};
                int64_t shape[5], out[8], index[OG_MAX_RANK], from[4];
                int rank = 0, out_rank = 0;
                for (int a = 0; a < batch; a++)
                    shape[rank++] = dims[a];
                shape[rank++] = 7;
                memcpy(out, shape, (size_t)rank * sizeof *out);
                out_rank = rank;
                shape[rank++] = depth;
                for (int a = batch + depth; a < 4; a++)
                    out[out_rank++] = dims[a];
                k.attrs[0] = (og_attr){.name = "batch_dims", .kind = OG_ATTR_INT, .i = batch};
                k.x[0] = laid_out(sizes[d], 4, dims, DENSE, false, &seed);
                k.x[1] = random_indices(rank, shape, 3, d & 1, &seed);
                k.y[0] = output_of(sizes[d], out_rank, out);
                TEST_CASE(case_text("GatherND", &k.y[0].type, batch));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        int64_t tuple = 0;
                        index_of(&k.y[0].type, i, index);
                        for (int a = 0; a <= batch; a++)
                            tuple = tuple * out[a] + index[a];
                        memcpy(from, index, (size_t)batch * sizeof *from);
                        for (int a = 0; a < depth; a++)
                            from[batch + a] = index_value(&k.x[1], tuple * depth + a, dims[batch + a]);
                        for (int a = batch + depth; a < 4; a++)
                            from[a] = index[a - depth + 1];
                        check_element(&k.y[0], i, &k.x[0], from);
                    }
                release_blocks();
            }
}

static double scattered(int reduction, double a, double b)
{
    switch (reduction) {
    case 0:
        return b;
    case 1:
        return a + b;
    case 2:
        return a * b;
    case 3:
        return fmax(a, b);
    default:
        return fmin(a, b);
    }
}
static const char *const reductions[] = {"none", "add", "mul", "max", "min"};

TEST(scatter)
{
    static const og_dtype dtypes[] = {OG_FLOAT, OG_DOUBLE, OG_INT32, OG_INT64};
    static const int64_t dims[3] = {6, 5, 70};
    uint64_t seed = 13;
    for (int r = 0; r < 5; r++)
        for (int d = 0; d < 4; d++)
            for (int mode = 0; mode < 6; mode++) { /* along axis 0, 1, 2; tuples of 1, 2, 3 */
                bool elements = mode < 3;
                int axis = mode, depth = mode - 2, rank = 3;
                int64_t shape[3] = {4, 5, 30}, tuples[2] = {20, depth}, updates[3] = {20}, index[OG_MAX_RANK];
                int64_t inner = og__product(dims, elements ? 3 : depth, 3);
                kernel_call k = {.op = elements ? "ScatterElements" : "ScatterND", .nx = 3, .ny = 1, .n_attrs = 2};
                k.attrs[0] = (og_attr){.name = "reduction", .kind = OG_ATTR_STRING, .s = reductions[r]};
                k.attrs[1] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
                k.x[0] = laid_out(dtypes[d], 3, dims, DENSE, true, &seed);
                k.x[1] = elements ? random_indices(3, shape, dims[axis], d & 1, &seed)
                                  : random_indices(2, tuples, 5, d & 1, &seed);
                for (int a = depth; !elements && a < 3; a++)
                    updates[1 + a - depth] = dims[a];
                if (!elements)
                    rank = 4 - depth;
                k.x[2] = laid_out(dtypes[d], rank, elements ? shape : updates, DENSE, true, &seed);
                k.y[0] = output_of(dtypes[d], 3, dims);
                int64_t n = og__elements(&k.x[0]);
                double *y = keep_block(calloc((size_t)n, sizeof *y));
                for (int64_t i = 0; i < n; i++)
                    y[i] = test_element(&k.x[0], i);
                for (int64_t i = 0; i < og__elements(&k.x[2]); i++) {
                    int64_t at = 0;
                    if (elements) {
                        index_of(&k.x[2].type, i, index);
                        index[axis] = index_value(&k.x[1], i, dims[axis]);
                        for (int a = 0; a < 3; a++)
                            at = at * dims[a] + index[a];
                    } else {
                        for (int a = 0; a < depth; a++)
                            at = at * dims[a] + index_value(&k.x[1], i / inner * depth + a, dims[a]);
                        at = at * inner + i % inner;
                    }
                    y[at] = scattered(r, y[at], test_element(&k.x[2], i));
                }
                TEST_CASE(case_text(k.op, &k.x[2].type, r));
                if (test_run(&k))
                    for (int64_t i = 0; i < n; i++)
                        CHECK_CLOSE(test_element(&k.y[0], i), y[i], 1e-5);
                release_blocks();
            }
}

TEST(bad_indices)
{
    uint64_t seed = 14;
    const int64_t indices[4] = {0, -3, 1, 3};
    kernel_call k = {.op = "Gather", .nx = 2, .ny = 1};
    k.x[0] = laid_out(OG_FLOAT, 2, (int64_t[]){3, 4}, DENSE, true, &seed);
    k.x[1] = ints_of(4, indices);
    k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){4, 4});
    check_fails(&k, "index 3 at position 3, expected -3 to 2");
    k.op = "GatherElements";
    k.x[1].type = og_type_make(OG_INT64, 2, (int64_t[]){1, 4});
    og_strides_dense(&k.x[1].type, k.x[1].strides);
    k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){1, 4});
    check_fails(&k, "index 3 at position 3");
    k.op = "ScatterElements";
    k.nx = 3;
    k.x[2] = laid_out(OG_FLOAT, 2, (int64_t[]){1, 4}, DENSE, true, &seed);
    k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){3, 4});
    check_fails(&k, "index 3 at position 3");
    k.op = "ScatterND";
    k.x[1].type = og_type_make(OG_INT64, 2, (int64_t[]){4, 1});
    k.x[2] = laid_out(OG_FLOAT, 2, (int64_t[]){4, 4}, DENSE, true, &seed);
    check_fails(&k, "index 3 at position 3");
    release_blocks();
}

TEST(reverse_sequence)
{
    static const int64_t lengths[4] = {5, 0, 1, 3};
    uint64_t seed = 15;
    for (int batch_axis = 0; batch_axis < 2; batch_axis++)
        for (int d = 0; d < 5; d++) {
            int64_t dims[3] = {batch_axis ? 5 : 4, batch_axis ? 4 : 5, 6}, index[OG_MAX_RANK];
            kernel_call k = {.op = "ReverseSequence", .nx = 2, .ny = 1, .n_attrs = 2};
            k.attrs[0] = (og_attr){.name = "batch_axis", .kind = OG_ATTR_INT, .i = batch_axis};
            k.attrs[1] = (og_attr){.name = "time_axis", .kind = OG_ATTR_INT, .i = 1 - batch_axis};
            k.x[0] = laid_out(sizes[d], 3, dims, DENSE, false, &seed);
            k.x[1] = ints_of(4, lengths);
            k.y[0] = output_of(sizes[d], 3, dims);
            if (test_run(&k))
                for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                    index_of(&k.y[0].type, i, index);
                    int64_t *t = &index[1 - batch_axis], n = lengths[index[batch_axis]];
                    *t = *t < n ? n - 1 - *t : *t;
                    check_element(&k.y[0], i, &k.x[0], index);
                }
            release_blocks();
        }
}

/* ---- creation ------------------------------------------------------------------------------------------------------------ */

TEST(one_hot)
{
    uint64_t seed = 16;
    for (int axis = -3; axis < 3; axis++)
        for (int d = 0; d < 5; d++) {
            int64_t out[3], index[OG_MAX_RANK], depth = 6;
            int at = og__axis(axis, 3);
            for (int a = 0; a < 3; a++)
                out[a] = a == at ? depth : (a - (a > at)) ? 5 : 4;
            kernel_call k = {.op = "OneHot", .nx = 3, .ny = 1, .n_attrs = 1};
            k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
            k.x[0] = random_indices(2, (int64_t[]){4, 5}, 8, d & 1, &seed); /* some outside */
            k.x[1] = scalar_int(depth);
            k.x[2] = laid_out(sizes[d], 1, (int64_t[]){2}, DENSE, false, &seed);
            k.y[0] = output_of(sizes[d], 3, out);
            TEST_CASE(case_text("OneHot", &k.y[0].type, axis));
            if (test_run(&k))
                for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                    index_of(&k.y[0].type, i, index);
                    int64_t row = at == 0 ? index[1] : index[0], column = at == 2 ? index[1] : index[2];
                    int64_t v = index_value(&k.x[0], row * 5 + column, depth), on = v == index[at];
                    check_element(&k.y[0], i, &k.x[2], &on);
                }
            release_blocks();
        }
}

TEST(triangle)
{
    uint64_t seed = 17;
    for (int upper = 0; upper < 2; upper++)
        for (int64_t shift = -8; shift < 9; shift++)
            for (int d = 0; d < 5; d++) {
                kernel_call k = {.op = "Trilu", .nx = 2, .ny = 1, .n_attrs = 1};
                int64_t index[OG_MAX_RANK];
                k.attrs[0] = (og_attr){.name = "upper", .kind = OG_ATTR_INT, .i = upper};
                k.x[0] = laid_out(sizes[d], 3, (int64_t[]){2, 5, 7}, DENSE, false, &seed);
                k.x[1] = scalar_int(shift == 8 ? INT64_MAX : shift == -8 ? INT64_MIN : shift);
                k.y[0] = output_of(sizes[d], 3, (int64_t[]){2, 5, 7});
                TEST_CASE(case_text("Trilu", &k.y[0].type, (int)shift));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        index_of(&k.y[0].type, i, index);
                        bool kept = upper ? index[2] >= index[1] + shift : index[2] <= index[1] + shift;
                        check_element(&k.y[0], i, &k.x[0], kept ? index : NULL);
                    }
                release_blocks();
            }
    for (int64_t shift = -6; shift < 7; shift++) {
        kernel_call k = {.op = "EyeLike", .nx = 1, .ny = 1, .n_attrs = 1};
        k.attrs[0] = (og_attr){.name = "k", .kind = OG_ATTR_INT, .i = shift};
        k.x[0] = laid_out(OG_FLOAT, 2, (int64_t[]){4, 5}, DENSE, true, &seed);
        k.y[0] = output_of(OG_DOUBLE, 2, (int64_t[]){4, 5});
        if (test_run(&k))
            for (int i = 0; i < 20; i++)
                CHECK_CLOSE(((double *)k.y[0].data)[i], i % 5 == i / 5 + shift, 0);
        release_blocks();
    }
}

TEST(from_nothing)
{
    const float seven = 7;
    const og_const value = {.type = {.dtype = OG_FLOAT, .rank = 1, .dims = {1}}, .data = &seven};
    kernel_call k = {.op = "ConstantOfShape", .nx = 1, .ny = 1};
    k.attrs[0] = (og_attr){.name = "value", .kind = OG_ATTR_TENSOR, .t = &value};
    for (k.n_attrs = 0; k.n_attrs < 2; k.n_attrs++) {
        k.x[0] = ints_of(2, (int64_t[]){300, 200});
        k.y[0] = output_of(OG_FLOAT, 2, (int64_t[]){300, 200});
        if (test_run(&k))
            for (int i = 0; i < 60000; i++)
                CHECK(((float *)k.y[0].data)[i] == (k.n_attrs ? 7 : 0));
    }
    k = (kernel_call){.op = "Range", .nx = 3, .ny = 1};
    k.x[0] = scalar_int(10);
    k.x[1] = scalar_int(-2);
    k.x[2] = scalar_int(-3);
    k.y[0] = output_of(OG_INT64, 1, (int64_t[]){4});
    if (test_run(&k))
        for (int i = 0; i < 4; i++)
            CHECK_INT(((int64_t *)k.y[0].data)[i], 10 - 3 * i);
    for (int i = 0; i < 3; i++) {
        k.x[i] = output_of(OG_FLOAT, 0, NULL);
        *(float *)k.x[i].data = i == 2 ? 0.25f : 1;
    }
    k.y[0] = output_of(OG_FLOAT, 1, (int64_t[]){5});
    if (test_run(&k))
        for (int i = 0; i < 5; i++)
            CHECK_CLOSE(((float *)k.y[0].data)[i], 1 + 0.25 * i, 0);
    k = (kernel_call){.op = "Shape", .nx = 1, .ny = 1, .n_attrs = 2};
    k.attrs[0] = (og_attr){.name = "start", .kind = OG_ATTR_INT, .i = -2};
    k.attrs[1] = (og_attr){.name = "end", .kind = OG_ATTR_INT, .i = 3};
    k.x[0] = output_of(OG_FLOAT, 4, (int64_t[]){2, 3, 4, 5});
    k.y[0] = output_of(OG_INT64, 1, (int64_t[]){1});
    if (test_run(&k))
        CHECK_INT(*(int64_t *)k.y[0].data, 4);
    k.op = "Size";
    k.y[0] = output_of(OG_INT64, 0, NULL);
    if (test_run(&k))
        CHECK_INT(*(int64_t *)k.y[0].data, 120);
    release_blocks();
}

static const og_test tests[] = {
    TEST_ROW(copy),     TEST_ROW(transpose),       TEST_ROW(expand),          TEST_ROW(slice),
    TEST_ROW(concat_split), TEST_ROW(pad),         TEST_ROW(tile),            TEST_ROW(depth_space),
    TEST_ROW(gather),   TEST_ROW(gather_gradient), TEST_ROW(gather_elements), TEST_ROW(gather_nd),
    TEST_ROW(scatter),  TEST_ROW(bad_indices),     TEST_ROW(reverse_sequence), TEST_ROW(one_hot),
    TEST_ROW(triangle), TEST_ROW(from_nothing),
};
TEST_MAIN(tests)
