/* Softmax, LogSoftmax: x → y over attribute axis (default -1); FlattenedSoftmax,
 * FlattenedLogSoftmax: over all axes from attribute axis (default 1) on, as in opsets below 13.
 * Dense float and double. */
#include "kernels/cpu/softmax.h"

static og_status run_softmax(const og_call *call, og_error *error)
{
    (void)error;
    const og_type *t = &call->x[0].type;
    const char *name = call->node->op->name;
    bool logarithm = strstr(name, "Log") != NULL, flattened = strncmp(name, "Flattened", 9) == 0;
    int axis = og__axis(og_attr_int(call->node, "axis", flattened ? 1 : -1), t->rank);
    int64_t outer = og__product(t->dims, 0, axis);
    int64_t n = flattened ? og__product(t->dims, axis, t->rank) : t->rank ? t->dims[axis] : 1;
    int64_t inner = flattened || !t->rank ? 1 : og__product(t->dims, axis + 1, t->rank);
    if (t->rank == 0)
        outer = 1;
    int64_t width = og__min(inner, OG__SOFTMAX_COLUMNS);
    int64_t blocks = width ? (inner + width - 1) / width : 0, size = (int64_t)og__size(t->dtype);
    if (n == 0)
        return OG_OK;
#pragma omp parallel for num_threads(og__threads(call, outer *n *inner * 4)) schedule(static)
    for (int64_t i = 0; i < outer * blocks; i++) {
        int64_t first = i % blocks * width, at = (i / blocks * n * inner + first) * size;
        OG__PICK(og__softmax_block)
        (t->dtype == OG_DOUBLE, (const char *)call->x[0].data + at, (char *)call->y[0].data + at, n,
         inner, og__min(width, inner - first), logarithm);
    }
    return OG_OK;
}

#define SOFTMAX(op)                                                                   \
    {                                                                                 \
        op, "plain", OG_KERNEL_REFERENCE, og__supports_float, NULL, run_softmax, NULL \
    }

const og_kernel og_kernels_cpu_softmax[] = {
    SOFTMAX("Softmax"),
    SOFTMAX("LogSoftmax"),
    SOFTMAX("ai.ongrad::FlattenedSoftmax"),
    SOFTMAX("ai.ongrad::FlattenedLogSoftmax"),
    {0},
};
