/* Running one kernel on hand-made tensors: finds it by op and kernel name, checks `supports`,
 * prepares it, gives it a workspace full of NaN between guards, runs it and releases it. Tensors
 * come from malloc'd blocks of the exact size, so that the sanitizers see a step outside. */
#ifndef OG_TESTS_KERNELS_CALL_H
#define OG_TESTS_KERNELS_CALL_H

#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/internal.h"
#include "runtime/base/checked.h"
#include "tests/test.h"

#define CALL_MAX 16

typedef struct kernel_call {
    const char *op;     /* "Conv", "ai.ongrad::Fused" */
    const char *kernel; /* its name; NULL: the first that supports the call */
    int threads;
    int n_attrs, nx, ny;
    og_attr attrs[12];
    og_tensor x[CALL_MAX], y[CALL_MAX];
    const og_program *program;
    og_scalar scalar;
} kernel_call;

__attribute__((unused)) static uint64_t test_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in (-1, 1). */
__attribute__((unused)) static double test_uniform(uint64_t *state)
{
    return (double)(int64_t)(test_random(state) >> 11) * 0x1p-52 - 1;
}

/* A dense tensor of malloc'd elements. */
__attribute__((unused)) static og_tensor test_tensor(og_dtype dtype, int rank, const int64_t *dims)
{
    og_type type = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++)
        type.dims[i] = dims[i];
    og_tensor t = og_tensor_dense(&type, NULL);
    t.data = calloc((size_t)og__elements(&t) + 1, og__size(dtype));
    return t;
}

/* The same filled with numbers in (-1, 1). */
__attribute__((unused)) static og_tensor test_filled(og_dtype dtype, int rank, const int64_t *dims,
                                                     uint64_t *seed)
{
    og_tensor t = test_tensor(dtype, rank, dims);
    for (int64_t i = 0; i < og__elements(&t); i++)
        og__store_double(t.data, dtype, i, test_uniform(seed));
    return t;
}

/* Element at a row-major position of a tensor of any strides. */
__attribute__((unused)) static double test_element(const og_tensor *t, int64_t at)
{
    int64_t offset = 0;
    for (int a = t->type.rank - 1; a >= 0; a--) {
        offset += at % t->type.dims[a] * t->strides[a];
        at /= t->type.dims[a];
    }
    return og__load_double(t->data, t->type.dtype, offset);
}

/* A dense copy as another type. */
__attribute__((unused)) static og_tensor test_convert(const og_tensor *t, og_dtype dtype)
{
    og_tensor copy = test_tensor(dtype, t->type.rank, t->type.dims);
    for (int64_t i = 0; i < og__elements(t); i++)
        og__store_double(copy.data, dtype, i, test_element(t, i));
    return copy;
}

/* The same elements as another tensor's, channels-last. */
__attribute__((unused)) static og_tensor test_channels_last(const og_tensor *t)
{
    og_tensor copy = test_tensor(t->type.dtype, t->type.rank, t->type.dims);
    size_t size = og__size(t->type.dtype);
    og_strides_channels_last(&t->type, copy.strides);
    for (int64_t i = 0; i < og__elements(t); i++) {
        int64_t to = 0, from = 0, at = i;
        for (int a = t->type.rank - 1; a >= 0; a--) {
            to += at % t->type.dims[a] * copy.strides[a];
            from += at % t->type.dims[a] * t->strides[a];
            at /= t->type.dims[a];
        }
        memcpy((char *)copy.data + (size_t)to * size, (const char *)t->data + (size_t)from * size,
               size);
    }
    return copy;
}

static bool test_names_row(const char *kernel_op, const char *op)
{
    return strcmp(kernel_op, op) == 0;
}

/* Does the kernel exist in this build? */
__attribute__((unused)) static bool test_has_kernel(const char *op, const char *kernel)
{
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (test_names_row(k->op, op) && !strcmp(k->name, kernel))
                return true;
    return false;
}

/* A node as the call's. It points into itself. */
typedef struct kernel_node {
    og_op op;
    og_node node;
    int in[CALL_MAX], out[CALL_MAX];
} kernel_node;

__attribute__((unused)) static void test_node(kernel_node *n, const kernel_call *c)
{
    static const og_origin origin = {.node = "n", .op = "", .file = ""};
    const char *colons = strstr(c->op, "::");
    const char *name = colons ? colons + 2 : c->op, *domain = colons ? OG_DOMAIN : NULL;
    const og_op *row = og_op_find(domain, name);
    n->op = (og_op){.name = name,
                    .domain = domain,
                    .scalar = c->scalar,
                    .fold = row ? row->fold : OG_FOLD_NONE,
                    .images_in = row ? row->images_in : 0,
                    .images_out = row ? row->images_out : 0};
    for (int i = 0; i < CALL_MAX; i++) {
        n->in[i] = i < c->nx && c->x[i].type.dtype != OG_UNDEFINED ? i : -1;
        n->out[i] = i < c->ny && c->y[i].type.dtype != OG_UNDEFINED ? i : -1;
    }
    n->node = (og_node){.op = &n->op,
                        .name = "n",
                        .attrs = c->attrs,
                        .n_attrs = c->n_attrs,
                        .in = n->in,
                        .n_in = c->nx,
                        .out = n->out,
                        .n_out = c->ny,
                        .origin = &origin,
                        .program = c->program};
}

/* Runs the call; false, after a failed check, if no kernel takes it or it fails. */
__attribute__((unused)) static bool test_run(kernel_call *c)
{
    kernel_node n;
    test_node(&n, c);
    og_device *device = og_cpu_device_new(c->threads ? c->threads : 2);
    og_call call = {
        .node = &n.node, .device = device, .nx = c->nx, .ny = c->ny, .x = c->x, .y = c->y};
    og_error error = {0};
    const og_kernel *kernel = NULL;
    for (const og_kernel_table *t = og_cpu_kernel_tables; t->family && !kernel; t++)
        for (const og_kernel *k = t->kernels; k->op && !kernel; k++)
            if (test_names_row(k->op, c->op) && (!c->kernel || !strcmp(k->name, c->kernel)) &&
                (!c->program || k->flags & OG_KERNEL_PROGRAM) &&
                (!k->supports || k->supports(&call)))
                kernel = k;
    bool ok = CHECK(kernel != NULL);
    if (ok && kernel->prepare)
        ok = CHECK_INT(kernel->prepare(&call, &error), OG_OK);
    if (ok) {
        enum { GUARD = 256 };
        size_t bytes = og_align_up(call.workspace_bytes, 256);
        unsigned char *block = aligned_alloc(256, bytes + 2 * GUARD);
        memset(block, 0xff, bytes + 2 * GUARD);
        call.workspace = block + GUARD;
        ok = CHECK_INT(kernel->run(&call, &error), OG_OK);
        bool untouched = true;
        for (size_t i = 0; i < GUARD; i++)
            untouched = untouched && block[i] == 0xff && block[GUARD + bytes + i] == 0xff;
        CHECK(untouched);
        if (kernel->release)
            kernel->release(&call);
        free(block);
    }
    if (!ok)
        printf("    %s\n", og_error_text(&error));
    og_error_clear(&error);
    device->destroy(device);
    return ok;
}

__attribute__((unused)) static void test_free_tensors(kernel_call *c)
{
    for (int i = 0; i < c->nx; i++)
        free(c->x[i].data);
    for (int i = 0; i < c->ny; i++)
        free(c->y[i].data);
}

#endif
