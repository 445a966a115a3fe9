/* Data movement of the card against the processor's: copies between layouts, and each op that is
 * made of them. */
#include "tests/cuda/call.h"

static const closeness to_the_bit = {0, 0};

TEST(copies)
{
    static const og_dtype some[] = {OG_UINT8, OG_FLOAT16, OG_FLOAT, OG_DOUBLE, OG_COMPLEX128};
    const int64_t dims[] = {3, 4, 5, 6};
    og_device *d = open_device(1);
    for (int t = 0; t < 5; t++)
        for (int how = 0; how < 4; how++) {
            kernel_call c = {.op = "ai.ongrad::Copy", .nx = 1, .ny = 1};
            c.x[0] = test_tensor(some[t], 4, dims);
            c.y[0] = test_tensor(some[t], 4, dims);
            for (size_t b = 0; b < (size_t)og__elements(&c.x[0]) * og__size(some[t]); b++)
                ((unsigned char *)c.x[0].data)[b] = (unsigned char)(b * 11);
            if (how == 1)
                og_strides_channels_last(&c.x[0].type, c.x[0].strides);
            if (how == 2)
                og_strides_channels_last(&c.y[0].type, c.y[0].strides);
            void *block = c.x[0].data;
            if (how == 3) { /* backwards */
                c.x[0].data = (char *)block + 5 * og__size(some[t]);
                c.x[0].strides[3] = -1;
            }
            same_on_card(d, &c, "moves", how == 0, 0, to_the_bit);
            c.x[0].data = block;
            test_free_tensors(&c);
        }
    close_device(d);
}

static og_tensor counted(og_dtype dtype, int rank, const int64_t *dims)
{
    og_tensor t = test_tensor(dtype, rank, dims);
    for (int64_t i = 0; i < og__elements(&t); i++)
        og__store_int(t.data, dtype, i, i % 113 - 50);
    return t;
}

static og_tensor list(int n, const int64_t *values)
{
    og_tensor t = test_tensor(OG_INT64, 1, (int64_t[]){n});
    memcpy(t.data, values, (size_t)n * sizeof *values);
    return t;
}

static void check(og_device *d, kernel_call *c, int shift)
{
    TEST_CASE(c->op);
    same_on_card(d, c, "moves", shift, ~1u, to_the_bit);
    test_free_tensors(c);
}

/* Long enough for tiles, with remainders on both sides; rows of elements and of pieces of 16 bytes.
 */
TEST(transposes)
{
    static const og_dtype types[] = {OG_UINT8, OG_FLOAT16, OG_FLOAT, OG_INT64};
    static const int64_t perms[][4] = {{0, 1, 3, 2}, {3, 2, 1, 0}, {0, 2, 1, 3}, {2, 3, 0, 1}};
    const int64_t dims[] = {2, 37, 3, 40};
    og_device *d = open_device(2);
    for (int t = 0; t < 4; t++)
        for (int p = 0; p < 4; p++) {
            kernel_call c = {.op = "Transpose", .nx = 1, .ny = 1, .n_attrs = 1};
            int64_t out[4];
            for (int a = 0; a < 4; a++)
                out[a] = dims[perms[p][a]];
            c.attrs[0] = (og_attr){.name = "perm", .kind = OG_ATTR_INTS, .n = 4, .ints = perms[p]};
            c.x[0] = counted(types[t], 4, dims);
            c.y[0] = test_tensor(types[t], 4, out);
            check(d, &c, p % 2);
        }
    close_device(d);
}

TEST(ops_made_of_copies)
{
    const int64_t x[] = {6, 10, 8};
    og_device *d = open_device(3);
    for (int shift = 0; shift < 2; shift++) {
        kernel_call c = {.op = "Slice", .nx = 5, .ny = 1};
        c.x[0] = counted(OG_FLOAT, 3, x);
        c.x[1] = list(2, (int64_t[]){1, -1});
        c.x[2] = list(2, (int64_t[]){5, -9});
        c.x[3] = list(2, (int64_t[]){0, 1});
        c.x[4] = list(2, (int64_t[]){2, -3});
        c.y[0] = test_tensor(OG_FLOAT, 3, (int64_t[]){2, 3, 8});
        check(d, &c, shift);

        c = (kernel_call){.op = "ai.ongrad::SliceGrad", .nx = 5, .ny = 1};
        c.x[0] = counted(OG_FLOAT, 3, (int64_t[]){2, 3, 8});
        c.x[1] = list(2, (int64_t[]){1, -1});
        c.x[2] = list(2, (int64_t[]){5, -9});
        c.x[3] = list(2, (int64_t[]){0, 1});
        c.x[4] = list(2, (int64_t[]){2, -3});
        c.y[0] = test_tensor(OG_FLOAT, 3, x);
        check(d, &c, shift);

        c = (kernel_call){.op = "Concat", .nx = 3, .ny = 1, .n_attrs = 1};
        c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = 1};
        for (int i = 0; i < 3; i++)
            c.x[i] = counted(OG_FLOAT16, 3, (int64_t[]){4, 3 * i, 5});
        c.y[0] = test_tensor(OG_FLOAT16, 3, (int64_t[]){4, 9, 5});
        TEST_CASE(c.op);
        same_on_card(d, &c, "moves", shift, 0, to_the_bit);
        test_free_tensors(&c);

        c = (kernel_call){.op = "Split", .nx = 1, .ny = 2, .n_attrs = 1};
        c.attrs[0] = (og_attr){.name = "axis", .kind = OG_ATTR_INT, .i = 1};
        c.x[0] = counted(OG_DOUBLE, 3, x);
        c.y[0] = c.y[1] = (og_tensor){0};
        for (int i = 0; i < 2; i++)
            c.y[i] = test_tensor(OG_DOUBLE, 3, (int64_t[]){6, 5, 8});
        check(d, &c, shift);

        c = (kernel_call){.op = "Expand", .nx = 2, .ny = 1};
        c.x[0] = counted(OG_FLOAT, 3, (int64_t[]){6, 1, 8});
        c.x[1] = list(3, x);
        c.y[0] = test_tensor(OG_FLOAT, 3, x);
        check(d, &c, shift);

        c = (kernel_call){.op = "Tile", .nx = 2, .ny = 1};
        c.x[0] = counted(OG_UINT8, 2, (int64_t[]){3, 5});
        c.x[1] = list(2, (int64_t[]){2, 3});
        c.y[0] = test_tensor(OG_UINT8, 2, (int64_t[]){6, 15});
        check(d, &c, shift);

        c = (kernel_call){.op = "DepthToSpace", .nx = 1, .ny = 1, .n_attrs = 1};
        c.attrs[0] = (og_attr){.name = "blocksize", .kind = OG_ATTR_INT, .i = 2};
        c.x[0] = counted(OG_FLOAT, 4, (int64_t[]){2, 8, 3, 5});
        c.y[0] = test_tensor(OG_FLOAT, 4, (int64_t[]){2, 2, 6, 10});
        check(d, &c, shift);

        /* a border of values, one axis cut */
        for (int value = 0; value < 3; value++) {
            c = (kernel_call){.op = "Pad", .nx = 2 + (value > 0), .ny = 1};
            c.x[0] = counted(OG_FLOAT, 2, (int64_t[]){5, 9});
            c.x[1] = list(4, (int64_t[]){2, -3, 1, 4});
            c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){8, 10});
            if (value) {
                c.x[2] = test_tensor(OG_FLOAT, 0, NULL);
                *(float *)c.x[2].data = value == 1 ? -INFINITY : 0;
            }
            check(d, &c, shift);
        }
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(copies), TEST_ROW(transposes),
                                TEST_ROW(ops_made_of_copies)};
TEST_MAIN(tests)
