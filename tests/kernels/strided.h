/* Tensors of every layout a kernel may meet, for tests that compare element by element. Blocks live
 * until release_blocks(). */
#ifndef OG_TESTS_KERNELS_STRIDED_H
#define OG_TESTS_KERNELS_STRIDED_H

#include "tests/kernels/call.h"

static void *blocks[64];
static int n_blocks;

__attribute__((unused)) static void release_blocks(void)
{
    while (n_blocks)
        free(blocks[--n_blocks]);
}

static void *keep_block(void *block)
{
    blocks[n_blocks++] = block;
    return block;
}

/* How a tensor lies in memory. */
typedef enum layout { DENSE, REVERSED_AXES, EVERY_OTHER, BACKWARDS, BROADCAST, LAYOUTS } layout;

/* Random bytes for data movement; numbers in (-1, 1) or small integers with `numbers`. */
__attribute__((unused)) static og_tensor laid_out(og_dtype dtype, int rank, const int64_t *dims,
                                                  layout how, bool numbers, uint64_t *seed)
{
    og_type type = {.dtype = dtype, .rank = rank};
    memcpy(type.dims, dims, (size_t)rank * sizeof *dims);
    og_tensor t = og_tensor_dense(&type, NULL);
    int64_t n = og__elements(&t), size = (int64_t)og__size(dtype), step = 1, all = n * 2;
    if (how == REVERSED_AXES)
        for (int a = 0; a < rank; a++) {
            t.strides[a] = step;
            step *= dims[a];
        }
    for (int a = 0; how == EVERY_OTHER && a < rank; a++)
        t.strides[a] *= 2;
    char *data = keep_block(malloc((size_t)(all * size) + 1)); /* + 1: never NULL */
    for (int64_t i = 0; i < all; i++) {
        if (numbers && og__is_real(dtype))
            og__store_double(data, dtype, i, test_uniform(seed));
        else if (numbers)
            og__store_int(data, dtype, i,
                          (int64_t)(test_random(seed) % 7) -
                              (dtype == OG_INT8 || dtype == OG_INT32 || dtype == OG_INT64 ? 3 : 0));
        else
            for (int64_t b = 0; b < size; b++)
                data[i * size + b] = (char)test_random(seed);
    }
    t.data = data;
    if (how == BACKWARDS && rank && n) {
        t.data = data + (dims[rank - 1] - 1) * t.strides[rank - 1] * size;
        t.strides[rank - 1] = -t.strides[rank - 1];
    }
    if (how == BROADCAST && rank)
        t.strides[rank / 2] = 0;
    return t;
}

__attribute__((unused)) static og_tensor output_of(og_dtype dtype, int rank, const int64_t *dims)
{
    og_tensor t = test_tensor(dtype, rank, dims);
    keep_block(t.data);
    memset(t.data, 0xee, (size_t)og__elements(&t) * og__size(dtype));
    return t;
}

__attribute__((unused)) static og_tensor ints_of(int n, const int64_t *ints)
{
    og_tensor t = test_tensor(OG_INT64, 1, (int64_t[]){n});
    keep_block(t.data);
    if (n)
        memcpy(t.data, ints, (size_t)n * sizeof *ints);
    return t;
}

__attribute__((unused)) static og_tensor scalar_int(int64_t value)
{
    og_tensor t = ints_of(1, &value);
    t.type.rank = 0;
    return t;
}

/* The row-major position `at` of a shape as an index. */
__attribute__((unused)) static void index_of(const og_type *t, int64_t at, int64_t *index)
{
    for (int a = t->rank - 1; a >= 0; a--) {
        index[a] = at % t->dims[a];
        at /= t->dims[a];
    }
}

__attribute__((unused)) static const char *element_at(const og_tensor *t, const int64_t *index)
{
    int64_t offset = 0;
    for (int a = 0; a < t->type.rank; a++)
        offset += index[a] * t->strides[a];
    return (const char *)t->data + offset * (int64_t)og__size(t->type.dtype);
}

/* A type of each element size. */
__attribute__((unused)) static const og_dtype sizes[] = {OG_FLOAT, OG_UINT8, OG_DOUBLE, OG_FLOAT16,
                                                         OG_COMPLEX128};

/* Is element `at` of y the element of x at `index`, or zero bytes where index is NULL? */
__attribute__((unused)) static void check_element(const og_tensor *y, int64_t at,
                                                  const og_tensor *x, const int64_t *index)
{
    static const char zero[16];
    size_t size = og__size(y->type.dtype);
    const char *expected = index ? element_at(x, index) : zero,
               *value = (const char *)y->data + at * (int64_t)size;
    if (memcmp(value, expected, size) != 0) {
        test_failed(__FILE__, __LINE__);
        printf("element %lld differs\n", (long long)at);
    }
}

/* "op, float32, [2, 3], layout 1" */
__attribute__((unused)) static const char *case_text(const char *op, const og_type *t, int how)
{
    static char text[256];
    char type[160];
    snprintf(text, sizeof text, "%s, %s, layout %d", op, og_type_text(type, NULL, t), how);
    return text;
}

/* Runs the call, which must fail with OG_INVALID_DATA and a text that contains `part`. */
__attribute__((unused)) static void check_fails(kernel_call *c, const char *part)
{
    og_op op = {.name = c->op};
    og_node node = {.op = &op,
                    .name = "n",
                    .attrs = c->attrs,
                    .n_attrs = c->n_attrs,
                    .n_in = c->nx,
                    .n_out = c->ny};
    og_call call = {.node = &node, .nx = c->nx, .ny = c->ny, .x = c->x, .y = c->y};
    og_error error = {0};
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (!strcmp(k->op, c->op) && !strcmp(k->name, "plain")) {
                if (k->prepare)
                    CHECK_INT(k->prepare(&call, &error), OG_OK);
                call.workspace = keep_block(malloc(call.workspace_bytes + 1));
                CHECK_INT(k->run(&call, &error), OG_INVALID_DATA);
            }
    CHECK_TEXT(og_error_text(&error), part);
    CHECK_TEXT(og_error_text(&error), c->op);
    og_error_clear(&error);
}

#endif
