/* TopK: x, k → values, indices (int64); attributes axis (-1), largest (1), sorted (1, always done).
 * The k best of a line are kept as a heap of indices, the worst on top, in the memory of the second
 * output (in the workspace where that is absent); sorting the heap leaves the best first. Equal
 * elements: the lower index first. A NaN counts as larger than any number. */
#include "kernels/cpu/iterate.h"

/* One line: x[at + i step], i < n; kept indices at heap[i step]. */
typedef struct line {
    const og_tensor *x;
    int64_t at, step;
    int64_t *heap;
    bool largest, real;
} line;

/* Does element a come before element b? */
static bool before(const line *l, int64_t a, int64_t b)
{
    og_dtype dtype = l->x->type.dtype;
    int64_t ia = l->at + a * l->step, ib = l->at + b * l->step;
    if (l->real) {
        double va = og__load_double(l->x->data, dtype, ia);
        double vb = og__load_double(l->x->data, dtype, ib);
        bool more = va > vb || (va != va && vb == vb), less = va < vb || (vb != vb && va == va);
        return more || less ? (l->largest ? more : less) : a < b;
    }
    int64_t va = og__load_int(l->x->data, dtype, ia), vb = og__load_int(l->x->data, dtype, ib);
    bool more = dtype == OG_UINT64 ? (uint64_t)va > (uint64_t)vb : va > vb;
    return va != vb ? more == l->largest : a < b;
}

/* Element `index` sinks from `place` in a heap of n. */
static void sink(const line *l, int64_t n, int64_t place, int64_t index)
{
    for (;;) {
        int64_t child = 2 * place + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(l, l->heap[child * l->step], l->heap[(child + 1) * l->step]))
            child++;
        if (!before(l, index, l->heap[child * l->step]))
            break;
        l->heap[place * l->step] = l->heap[child * l->step];
        place = child;
    }
    l->heap[place * l->step] = index;
}

static void best_of(const line *l, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        l->heap[i * l->step] = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sink(l, k, i, l->heap[i * l->step]);
    for (int64_t i = k; i < n; i++)
        if (before(l, i, l->heap[0]))
            sink(l, k, 0, i);
    for (int64_t last = k - 1; last > 0; last--) { /* the worst goes to the end */
        int64_t index = l->heap[last * l->step];
        l->heap[last * l->step] = l->heap[0];
        sink(l, last, 0, index);
    }
}

static bool supports_topk(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    return (og__is_real(dtype) || (og_dtype_is_int(dtype) && og__size(dtype))) &&
           call->x[0].type.rank > 0 && og__has(call->ny, call->y, 0);
}

static og_status prepare_topk(og_call *call, og_error *error)
{
    (void)error;
    bool given = og__has(call->ny, call->y, 1);
    call->workspace_bytes = given ? 0 : (size_t)og__elements(&call->y[0]) * sizeof(int64_t);
    return OG_OK;
}

static og_status run_topk(const og_call *call, og_error *error)
{
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int axis = og__axis(og_attr_int(call->node, "axis", -1), x->type.rank);
    int64_t n = x->type.dims[axis], k = y->type.dims[axis];
    int64_t outer = og__product(x->type.dims, 0, axis);
    int64_t inner = og__product(x->type.dims, axis + 1, x->type.rank);
    int64_t size = (int64_t)og__size(x->type.dtype);
    int64_t *indices = og__has(call->ny, call->y, 1) ? call->y[1].data : call->workspace;
    bool largest = og_attr_int(call->node, "largest", 1) != 0;
    if (k > n)
        return og__call_fail(call, error, OG_INVALID_DATA, "k is %lld for an axis of length %lld",
                             (long long)k, (long long)n);
    if (k == 0)
        return OG_OK;
#pragma omp parallel for num_threads(og__threads(call, outer *n *inner * 4)) schedule(static)
    for (int64_t i = 0; i < outer * inner; i++) {
        int64_t to = i / inner * k * inner + i % inner;
        line l = {.x = x,
                  .at = i / inner * n * inner + i % inner,
                  .step = inner,
                  .heap = indices + to,
                  .largest = largest,
                  .real = og__is_real(x->type.dtype)};
        best_of(&l, n, k);
        for (int64_t j = 0; j < k; j++)
            memcpy((char *)y->data + (to + j * inner) * size,
                   (const char *)x->data + (l.at + l.heap[j * inner] * inner) * size, (size_t)size);
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_topk[] = {
    {"TopK", "plain", OG_KERNEL_REFERENCE, supports_topk, prepare_topk, run_topk, NULL},
    {0},
};
