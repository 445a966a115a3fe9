/* Cross entropy of rows of scores with labels, and its gradient: each row is read once more than it
 * is written, and nothing of its size is kept. Dense float and double. */
#include "kernels/cpu/indexing.h"
#include "kernels/cpu/softmax.h"

static bool supports(const og_call *call, int x, int labels)
{
    og_dtype dtype = call->x[x].type.dtype, index = call->x[labels].type.dtype;
    return (dtype == OG_FLOAT || dtype == OG_DOUBLE) && (index == OG_INT64 || index == OG_INT32);
}

/* The label of row r as 0 … n - 1. */
static int64_t label_of(const og_tensor *labels, int64_t r, int64_t n)
{
    int64_t label = og__load_int(labels->data, labels->type.dtype, r);
    return label < 0 ? label + n : label;
}

static og_status check_labels(const og_call *call, const og_tensor *labels, int64_t n,
                              og_error *error)
{
    for (int64_t r = 0; r < og__elements(labels); r++) {
        int64_t label = og__load_int(labels->data, labels->type.dtype, r);
        if (label < -n || label >= n)
            return og__bad_index(call, error, r, label, n);
    }
    return OG_OK;
}

static bool supports_loss(const og_call *call)
{
    return supports(call, 0, 1);
}

/* SoftmaxCrossEntropy: x [rows, n], labels [rows] → loss, lse [rows].
 * With m = max x, s = Σ exp(x - m): loss = ln s - (x[label] - m), exact where it is small; lse = m
 * + ln s */
static og_status run_loss(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *labels = &call->x[1];
    og_dtype dtype = x->type.dtype;
    int64_t rows = x->type.dims[0], n = x->type.dims[1], size = (int64_t)og__size(dtype);
    OG_TRY(check_labels(call, labels, n, error));
#pragma omp parallel for num_threads(og__threads(call, rows *n * 4)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const char *row = (const char *)x->data + r * n * size;
        double most, sum = OG__PICK(og__softmax_sum)(dtype == OG_DOUBLE, row, n, &most);
        double picked = og__load_double(row, dtype, label_of(labels, r, n));
        og__store_double(call->y[0].data, dtype, r, log(sum) - (picked - most));
        if (og__has(call->ny, call->y, 1))
            ((double *)call->y[1].data)[r] = most + log(sum);
    }
    return OG_OK;
}

static bool supports_grad(const og_call *call)
{
    return supports(call, 1, 2);
}

/* SoftmaxCrossEntropyGrad: dloss, x [rows, n], labels, lse, dlse → dx [rows, n].
 * dx = (dloss + dlse) exp(x - lse), less dloss at the label */
static og_status run_grad(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[1], *labels = &call->x[2];
    og_dtype dtype = x->type.dtype;
    int64_t rows = x->type.dims[0], n = x->type.dims[1], size = (int64_t)og__size(dtype);
    OG_TRY(check_labels(call, labels, n, error));
#pragma omp parallel for num_threads(og__threads(call, rows *n * 4)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        char *dx = (char *)call->y[0].data + r * n * size;
        double dloss = og__load_double(call->x[0].data, dtype, r), g = dloss;
        if (og__has(call->nx, call->x, 4))
            g += ((const double *)call->x[4].data)[r];
        if (g == 0)
            memset(dx, 0, (size_t)(n * size));
        else
            OG__PICK(og__softmax_scaled)
        (dtype == OG_DOUBLE, (const char *)x->data + r * n * size, dx, n,
         ((const double *)call->x[3].data)[r], g);
        int64_t label = label_of(labels, r, n);
        og__store_double(dx, dtype, label, og__load_double(dx, dtype, label) - dloss);
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_cross_entropy[] = {
    {"ai.ongrad::SoftmaxCrossEntropy", "plain", OG_KERNEL_REFERENCE, supports_loss, NULL, run_loss,
     NULL},
    {"ai.ongrad::SoftmaxCrossEntropyGrad", "plain", OG_KERNEL_REFERENCE | OG_KERNEL_INPLACE,
     supports_grad, NULL, run_grad, NULL},
    {0},
};
