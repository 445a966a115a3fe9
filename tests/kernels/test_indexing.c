/* Kernels that gather and scatter at indices, and those that make tensors from little: every
 * element of the output against the one that the op's definition names. */
#include "tests/kernels/strided.h"

/* ---- indices */

/* int64 (or int32) indices in -bound … bound - 1 */
static og_tensor random_indices(int rank, const int64_t *dims, int64_t bound, bool narrow,
                                uint64_t *seed)
{
    og_tensor t = output_of(narrow ? OG_INT32 : OG_INT64, rank, dims);
    for (int64_t i = 0; i < og__elements(&t); i++)
        og__store_int(t.data, t.type.dtype, i,
                      (int64_t)(test_random(seed) % (uint64_t)(2 * bound)) - bound);
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
                int64_t out[4], index[OG_MAX_RANK] = {0}, from[3] = {0};
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
                            from[a] = a < at ? index[a]
                                      : a == at
                                          ? index_value(&k.x[1], index[at] * 7 + index[at + 1],
                                                        dims[c][at])
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
                int64_t out[3], m = 90, inner = og__product(dims[c], axis + 1, 3),
                                n = dims[c][axis];
                memcpy(out, dims[c], sizeof out);
                out[axis] = m;
                k.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = axis};
                k.x[0] = laid_out(dtype, 3, out, DENSE, true, &seed);
                k.x[1] = random_indices(1, &m, n, d, &seed);
                k.y[0] = output_of(dtype, 3, dims[c]);
                double *dx = keep_block(calloc((size_t)og__elements(&k.y[0]), sizeof *dx));
                for (int64_t i = 0; i < og__elements(&k.x[0]); i++) {
                    int64_t o = i / inner / m, j = i / inner % m;
                    dx[(o * n + index_value(&k.x[1], j, n)) * inner + i % inner] +=
                        test_element(&k.x[0], i);
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
            int64_t shape[3], index[OG_MAX_RANK] = {0};
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
                int64_t shape[5], out[8], index[OG_MAX_RANK] = {0}, from[4] = {0};
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
                            from[batch + a] =
                                index_value(&k.x[1], tuple * depth + a, dims[batch + a]);
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
                int axis = elements ? mode : 0, depth = mode - 2, rank = 3;
                int64_t shape[3] = {4, 5, 30}, tuples[2] = {20, depth}, updates[3] = {20},
                        index[OG_MAX_RANK] = {0};
                int64_t inner = og__product(dims, elements ? 3 : depth, 3);
                kernel_call k = {.op = elements ? "ScatterElements" : "ScatterND",
                                 .nx = 3,
                                 .ny = 1,
                                 .n_attrs = 2};
                k.attrs[0] =
                    (og_attr){.name = "reduction", .kind = OG_ATTR_STRING, .s = reductions[r]};
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
                            at =
                                at * dims[a] + index_value(&k.x[1], i / inner * depth + a, dims[a]);
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
            int64_t dims[3] = {batch_axis ? 5 : 4, batch_axis ? 4 : 5, 6}, index[OG_MAX_RANK] = {0};
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

/* ---- creation */

TEST(one_hot)
{
    uint64_t seed = 16;
    for (int axis = -3; axis < 3; axis++)
        for (int d = 0; d < 5; d++) {
            int64_t out[3], index[OG_MAX_RANK] = {0}, depth = 6;
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
                    int64_t row = at == 0 ? index[1] : index[0],
                            column = at == 2 ? index[1] : index[2];
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
                int64_t index[OG_MAX_RANK] = {0};
                k.attrs[0] = (og_attr){.name = "upper", .kind = OG_ATTR_INT, .i = upper};
                k.x[0] = laid_out(sizes[d], 3, (int64_t[]){2, 5, 7}, DENSE, false, &seed);
                k.x[1] = scalar_int(shift == 8 ? INT64_MAX : shift == -8 ? INT64_MIN : shift);
                k.y[0] = output_of(sizes[d], 3, (int64_t[]){2, 5, 7});
                TEST_CASE(case_text("Trilu", &k.y[0].type, (int)shift));
                if (test_run(&k))
                    for (int64_t i = 0; i < og__elements(&k.y[0]); i++) {
                        index_of(&k.y[0].type, i, index);
                        bool kept =
                            upper ? index[2] >= index[1] + shift : index[2] <= index[1] + shift;
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
    TEST_ROW(gather),   TEST_ROW(gather_gradient), TEST_ROW(gather_elements),  TEST_ROW(gather_nd),
    TEST_ROW(scatter),  TEST_ROW(bad_indices),     TEST_ROW(reverse_sequence), TEST_ROW(one_hot),
    TEST_ROW(triangle), TEST_ROW(from_nothing),
};
TEST_MAIN(tests)
