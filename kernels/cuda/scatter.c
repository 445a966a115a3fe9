/* GatherGrad, ScatterElements and ScatterND (scatter.cu). */
#include "kernels/cuda/scatter.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/indexing.h"
#include "kernels/cuda/places.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_scatter;

enum {
    THREADS = 256,
    BLOCKS_A_PROCESSOR = 16,
    WIDTHS = 5,
    WIDEST = 16,
    OVERWRITES = -1,
    NONE = -2
};

typedef struct scatter {
    og__cuda_places places;
    og__cuda_order order;
    og__place partial;
    int64_t outer, inner, chunks; /* y [outer, places.n, inner] */
    int reduction;
    bool onto;
    og_cuda_function *overwrite[WIDTHS];
    struct {
        og_cuda_function *chunks, *join;
    } single, wide; /* of pieces of 16 bytes; NULL: rows are not made of them */
} scatter;

/* ---- what a call is */

static bool is_gradient(const og_call *call)
{
    return strcmp(call->node->op->name, "GatherGrad") == 0;
}

/* The rows that are written. */
static const og_tensor *updates(const og_call *call)
{
    return is_gradient(call) ? &call->x[0] : &call->x[2];
}

static int reduction_of(const og_call *call)
{
    static const struct {
        const char *name;
        int reduction;
    } known[] = {{"none", OVERWRITES},
                 {"add", OG_SCATTER_ADD},
                 {"mul", OG_SCATTER_MUL},
                 {"max", OG_SCATTER_MAX},
                 {"min", OG_SCATTER_MIN}};
    const char *name = is_gradient(call) ? "add" : og_attr_string(call->node, "reduction", "none");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].reduction;
    return NONE;
}

/* Without functions, and without what lies in the workspace. */
static scatter describe(const og_call *call)
{
    const og_type *y = &call->y[0].type;
    const char *name = call->node->op->name;
    int axis = og__axis(og_attr_int(call->node, "axis", 0), y->rank);
    scatter s = {.outer = 1, .reduction = reduction_of(call), .onto = !is_gradient(call)};
    if (is_gradient(call)) { /* indices are tuples of one each */
        s.outer = og__product(y->dims, 0, axis);
        s.places.count = og__elements(&call->x[1]);
        s.places.n = y->dims[axis];
        s.places.inner = og__product(y->dims, axis + 1, y->rank);
        s.places.of.depth = 1;
        s.places.of.dims[0] = y->dims[axis];
        s.places.of.each = og__max(1, s.places.count);
    } else if (strcmp(name, "ScatterElements") == 0) {
        s.places = og__cuda_places_along(call, y, axis);
    } else {
        s.places = og__cuda_places_of_tuples(call, y, 0);
    }
    s.inner = s.places.inner;
    s.chunks = (s.places.count + OG_SCATTER_CHUNK - 1) / OG_SCATTER_CHUNK;
    return s;
}

static bool supports(const og_call *call)
{
    const og_type *y = &call->y[0].type;
    int64_t units, blocks;
    if (!og__cuda_has_indices(call) || y->rank < 1 || og__size(y->dtype) == 0 ||
        updates(call)->type.dtype != y->dtype)
        return false;
    scatter s = describe(call);
    if (s.reduction == NONE || (s.reduction != OVERWRITES && !og__cuda_element_name(y->dtype)) ||
        (is_gradient(call) && !og__is_real(y->dtype)))
        return false;
    return og__cuda_order_takes(s.places.count, s.places.n) &&
           !__builtin_mul_overflow(s.outer * s.chunks, s.inner, &units) &&
           units / THREADS < INT_MAX &&
           !__builtin_mul_overflow(s.outer * s.chunks, s.inner / OG_SCATTER_LANES + 1, &blocks) &&
           blocks < INT_MAX;
}

/* ---- prepare */

static void release(og_call *call)
{
    scatter *s = call->state;
    if (s)
        og__cuda_places_unwatch(call, &s->places);
    og__free_state(call);
}

static og_status find(const og_call *call, const char *name, const char *suffix,
                      og_cuda_function **function, og_error *error)
{
    char text[48];
    snprintf(text, sizeof text, "og_%s_%s", name, suffix);
    return og__cuda_function(og__cuda_of(call->device), &og_cuda_image_scatter, text, 0, function,
                             error);
}

static og_status find_joiners(og_call *call, scatter *s, og_error *error)
{
    og_dtype dtype = call->y[0].type.dtype;
    size_t sum = og__cuda_rows_take(dtype) ? sizeof(float) : sizeof(double);
    int vec = WIDEST / (int)og__size(dtype);
    char end[16];
    snprintf(end, sizeof end, "%s_1", og__cuda_element_name(dtype));
    OG_TRY(find(call, "scatter_chunks", end, &s->single.chunks, error));
    OG_TRY(find(call, "scatter_join", end, &s->single.join, error));
    if (og__cuda_rows_take(dtype) && s->inner % vec == 0) {
        snprintf(end, sizeof end, "%s_%d", og__cuda_element_name(dtype), vec);
        OG_TRY(find(call, "scatter_chunks", end, &s->wide.chunks, error));
        OG_TRY(find(call, "scatter_join", end, &s->wide.join, error));
    }
    if (s->chunks > 1)
        s->partial = og__cuda_book(call, (size_t)(s->outer * s->chunks * 2 * s->inner) * sum);
    return OG_OK;
}

static og_status prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    scatter *s = calloc(1, sizeof *s);
    if (!s)
        return og_fail_memory(error, sizeof *s, "rows at indices");
    *s = describe(call);
    call->state = s;
    if (!is_gradient(call)) /* of a gradient the op itself has said it */
        OG_TRY_CLEANUP(og__cuda_places_watch(call, &s->places, error));
    OG_TRY_CLEANUP(og__cuda_order_prepare(call, s->places.count, &s->order, error));
    if (s->reduction != OVERWRITES)
        OG_TRY_CLEANUP(find_joiners(call, s, error));
    for (int w = 0; w < WIDTHS && s->reduction == OVERWRITES; w++) {
        char bytes[8];
        snprintf(bytes, sizeof bytes, "%d", 1 << w);
        OG_TRY_CLEANUP(find(call, "overwrite", bytes, &s->overwrite[w], error));
    }
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

static og_status overwrite(const og_call *call, const scatter *s, og_error *error)
{
    const og_tensor *u = updates(call), *y = &call->y[0];
    int64_t run = s->inner * (int64_t)og__size(y->type.dtype),
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    int w = WIDTHS - 1;
    while (((uint64_t)run | (uintptr_t)u->data | (uintptr_t)y->data) % ((uint64_t)1 << w) != 0)
        w--;
    const og_cuda_range ranges[] = {og__cuda_order_range(call, &s->order), og__cuda_range(u, false),
                                    og__cuda_range(y, true)};
    const og_overwrite_arguments o = {.u = u->data,
                                      .y = y->data,
                                      .keys = ranges[0].at,
                                      .count = s->places.count,
                                      .run = run >> w};
    int64_t blocks = (o.count * o.run + THREADS - 1) / THREADS;
    return og__cuda_launch(call, s->overwrite[w], og__min(blocks, most), THREADS, 0, &o, sizeof o,
                           ranges, 3, error);
}

static og_status join(const og_call *call, const scatter *s, og_error *error)
{
    const og_tensor *u = updates(call), *y = &call->y[0];
    bool wide = s->wide.chunks && ((uintptr_t)u->data | (uintptr_t)y->data) % WIDEST == 0;
    og_cuda_range ranges[] = {og__cuda_order_range(call, &s->order),
                              og__cuda_range(u, false),
                              og__cuda_range(y, true),
                              {og__cuda_at(call, s->partial), s->partial.bytes, true}};
    const og_scatter_arguments a = {
        .u = u->data,
        .y = y->data,
        .keys = ranges[0].at,
        .partial = og__cuda_at(call, s->partial),
        .outer = s->outer,
        .count = s->places.count,
        .n = s->places.n,
        .pieces = wide ? s->inner * (int64_t)og__size(y->type.dtype) / WIDEST : s->inner,
        .chunks = s->chunks,
        .reduction = s->reduction,
        .onto = s->onto,
        .is_signed = og__cuda_is_signed(y->type.dtype)};
    int64_t units = a.outer * a.chunks;
    OG_TRY(og__cuda_launch(call, wide ? s->wide.chunks : s->single.chunks,
                           (units * a.pieces + THREADS - 1) / THREADS, THREADS, 0, &a, sizeof a,
                           ranges, 3 + (s->chunks > 1), error));
    ranges[3].write = false;
    return s->chunks == 1
               ? OG_OK
               : og__cuda_launch(call, wide ? s->wide.join : s->single.join,
                                 units * ((a.pieces + OG_SCATTER_LANES - 1) / OG_SCATTER_LANES),
                                 OG_SCATTER_LANES * OG_SCATTER_GROUPS, 0, &a, sizeof a, ranges, 4,
                                 error);
}

static og_status run(const og_call *call, og_error *error)
{
    const scatter *s = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *y = &call->y[0];
    size_t bytes = og__cuda_range(y, true).bytes;
    if (bytes && !s->onto)
        OG_TRY(cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, y->data, 0, bytes, error));
    if (bytes && s->onto)
        OG_TRY(cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, y->data, call->x[0].data, bytes,
                                  error));
    if (s->outer * s->places.count * s->inner == 0)
        return OG_OK;
    const og_places places = og__cuda_places_at(call, &s->places);
    OG_TRY(og__cuda_order_run(call, &s->order, &places, error));
    return s->reduction == OVERWRITES ? overwrite(call, s, error) : join(call, s, error);
}

#define SORTED(op)                                       \
    {                                                    \
        op, "sorted", 0, supports, prepare, run, release \
    }

const og_kernel og_kernels_cuda_scatter[] = {
    SORTED("ai.ongrad::GatherGrad"),
    SORTED("ScatterElements"),
    SORTED("ScatterND"),
    {NULL},
};
