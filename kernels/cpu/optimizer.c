/* AdamStep: each element is read and written once. Dense float and double; of float also the copy
 * in half precision. */
#include "kernels/cpu/optimizer.h"
#include "kernels/cpu/elementwise.h"

enum { PART = 16384 }; /* elements a task takes at a time */

static bool is_finite(const og_call *call)
{
    return *(const uint8_t *)call->x[4].data != 0;
}

static double scalar_of(const og_call *call, int input)
{
    return og__load_double(call->x[input].data, call->x[input].type.dtype, 0);
}

static void keep(const og_call *call, int out, int in)
{
    size_t bytes = (size_t)og__elements(&call->x[in]) * og__size(call->x[in].type.dtype);
    if (call->y[out].data != call->x[in].data)
        memcpy(call->y[out].data, call->x[in].data, bytes);
}

/* The copy of elements `at` … at + n - 1 of w, from where they lie now. */
static void copy(const og_call *call, const void *w, int64_t at, int64_t n)
{
    const og_tensor *y = &call->y[3];
    og__tile_ops_best()->store[OG__DOMAIN_FLOAT][y->type.dtype](
        (char *)y->data + at * (int64_t)og__size(y->type.dtype), w, n);
}

static og_status run_adam(const og_call *call, og_error *error)
{
    (void)error;
    const og_node *node = call->node;
    if (!is_finite(call)) {
        keep(call, 0, 0);
        keep(call, 1, 2);
        keep(call, 2, 3);
        if (call->ny > 3)
            copy(call, call->x[0].data, 0, og__elements(&call->x[0]));
        return OG_OK;
    }
    og__adam a = {.beta1 = og_attr_float(node, "beta1", 0.9),
                  .beta2 = og_attr_float(node, "beta2", 0.999),
                  .epsilon = og_attr_float(node, "epsilon", 1e-8),
                  .l2 = og_attr_float(node, "l2", 0),
                  .factor = scalar_of(call, 5),
                  .decay = scalar_of(call, 6),
                  .rate = scalar_of(call, 7),
                  .root = scalar_of(call, 8)};
    bool is_double = call->x[0].type.dtype == OG_DOUBLE;
    int64_t n = og__elements(&call->x[0]), parts = (n + PART - 1) / PART,
            size = (int64_t)og__size(call->x[0].type.dtype);
#pragma omp parallel for num_threads(og__threads(call, 8 * n)) schedule(static)
    for (int64_t i = 0; i < parts; i++) {
        int64_t at = i * PART * size;
        const char *in[4];
        char *out[3];
        for (int k = 0; k < 4; k++)
            in[k] = (const char *)call->x[k].data + at;
        for (int k = 0; k < 3; k++)
            out[k] = (char *)call->y[k].data + at;
        OG__PICK(og__adam_step)
        (&a, is_double, og__min(PART, n - i * PART), in[0], in[1], in[2], in[3], out[0], out[1],
         out[2]);
        if (call->ny > 3)
            copy(call, out[0], i * PART, og__min(PART, n - i * PART));
    }
    return OG_OK;
}

static bool supports(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    for (int i = 1; i < call->nx; i++)
        if (i != 4 && call->x[i].type.dtype != dtype)
            return false;
    return dtype == OG_FLOAT || (dtype == OG_DOUBLE && call->ny == 3);
}

const og_kernel og_kernels_cpu_optimizer[] = {
    {"ai.ongrad::AdamStep", "plain", OG_KERNEL_INPLACE | OG_KERNEL_REFERENCE, supports, NULL,
     run_adam, NULL},
    {0},
};
