/* ArgMax, ArgMin, CumSum and TopK (scan.cu). */
#include "kernels/cuda/scan.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/iterate.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_scan;

enum { WARP = 32, NEIGHBOURS_ALONG = 8 };

typedef struct scan {
    og_scan_arguments arguments; /* without addresses */
    og_cuda_function *function;
    int64_t blocks;
} scan;

static bool is(const og_call *call, const char *op)
{
    return strcmp(call->node->op->name, op) == 0;
}

/* false: it is computed while running, or none. */
static bool axis_of(const og_call *call, int *axis)
{
    int rank = call->x[0].type.rank;
    int64_t a = og_attr_int(call->node, "axis", is(call, "TopK") ? -1 : 0);
    if (is(call, "CumSum") && (!call->x[1].data || og__ints(&call->x[1], 1, &a) != 1))
        return false;
    *axis = og__axis(a, rank);
    return a >= -rank && a < rank;
}

/* Threads that share a line of n: at most one an element, and few where lines lie side by side. */
static int threads_along(int64_t n, bool neighbours)
{
    int along = 1, most = neighbours ? NEIGHBOURS_ALONG : OG_SCAN_THREADS;
    while (along < n && along < most)
        along *= 2;
    return along;
}

/* Without the kernel. false: axis or sizes are none that kernels take. */
static bool describe(const og_call *call, scan *s)
{
    const og_type *x = &call->x[0].type;
    int axis;
    if (!axis_of(call, &axis))
        return false;
    og_scan_arguments *a = &s->arguments;
    *s = (scan){.arguments = {.n = x->dims[axis],
                              .inner = og__product(x->dims, axis + 1, x->rank),
                              .is_signed = og__cuda_is_signed(x->dtype),
                              .least = is(call, "ArgMin") ||
                                       (is(call, "TopK") && !og_attr_int(call->node, "largest", 1)),
                              .last = og_attr_int(call->node, "select_last_index", 0) != 0,
                              .exclusive = og_attr_int(call->node, "exclusive", 0) != 0,
                              .reverse = og_attr_int(call->node, "reverse", 0) != 0}};
    a->lines = og__product(x->dims, 0, axis) * a->inner;
    a->k = is(call, "TopK") ? call->y[0].type.dims[axis] : 0;
    a->neighbours = a->inner >= WARP;
    a->along = threads_along(a->n, a->neighbours);
    int lanes = is(call, "TopK") ? 1 : OG_SCAN_THREADS / a->along;
    s->blocks = (a->lines + lanes - 1) / lanes;
    return a->n > 0 && a->lines > 0 && s->blocks < INT_MAX;
}

static bool supports(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    scan s;
    if (!og__cuda_element_name(dtype) || call->x[0].type.rank < 1 || !describe(call, &s))
        return false;
    if (is(call, "TopK"))
        return og_dtype_bits(dtype) <= 32 && s.arguments.n <= OG_SORT_LINE &&
               s.arguments.k <= s.arguments.n && og__has(call->ny, call->y, 0);
    return true;
}

static og_status prepare(og_call *call, og_error *error)
{
    scan *s = calloc(1, sizeof *s);
    if (!s)
        return og_fail_memory(error, sizeof *s, "a walk along lines");
    call->state = s;
    describe(call, s);
    char name[32];
    snprintf(name, sizeof name, "og_%s_%s",
             is(call, "TopK")     ? "topk"
             : is(call, "CumSum") ? "cumsum"
                                  : "arg",
             og__cuda_element_name(call->x[0].type.dtype));
    og_status status = og__cuda_function(og__cuda_of(call->device), &og_cuda_image_scan, name, 0,
                                         &s->function, error);
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

static og_status run(const og_call *call, og_error *error)
{
    const scan *s = call->state;
    const og_tensor *x = &call->x[0];
    bool indices = og__has(call->ny, call->y, 1);
    og_scan_arguments a = s->arguments;
    og_cuda_range ranges[3] = {og__cuda_range(x, false), og__cuda_range(&call->y[0], true)};
    a.x = x->data;
    a.y = call->y[0].data;
    if (indices) {
        a.at = call->y[1].data;
        ranges[2] = og__cuda_range(&call->y[1], true);
    }
    return og__cuda_launch(call, s->function, s->blocks, OG_SCAN_THREADS, 0, &a, sizeof a, ranges,
                           2 + indices, error);
}

#define SCAN(op)                                               \
    {                                                          \
        op, "lines", 0, supports, prepare, run, og__free_state \
    }

const og_kernel og_kernels_cuda_scan[] = {
    SCAN("ArgMax"), SCAN("ArgMin"), SCAN("CumSum"), SCAN("TopK"), {NULL},
};
