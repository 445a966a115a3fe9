/* Gather, GatherElements and GatherND (gather.cu). What writes at indices is in scatter.c. */
#include "kernels/cuda/gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/indexing.h"
#include "kernels/cuda/places.h"

extern const og_cuda_image og_cuda_image_gather;

enum { THREADS = 256, BLOCKS_A_PROCESSOR = 16, WIDTHS = 5 };

/* A tensor as [outer, n, inner] around the axis of the node. */
typedef struct shape {
    int64_t outer, n, inner, count;
} shape;

static shape shape_of(const og_call *call, const og_type *t)
{
    int axis = og__axis(og_attr_int(call->node, "axis", 0), t->rank);
    return (shape){og__product(t->dims, 0, axis), t->dims[axis],
                   og__product(t->dims, axis + 1, t->rank), og__elements(&call->x[1])};
}

/* Kernels og_<name>_<bytes of a unit>. */
static og_status find_widths(const og_call *call, const char *name,
                             og_cuda_function *functions[WIDTHS], og_error *error)
{
    for (int w = 0; w < WIDTHS; w++) {
        char text[32];
        snprintf(text, sizeof text, "og_%s_%d", name, 1 << w);
        OG_TRY(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_gather, text, 0,
                                 &functions[w], error));
    }
    return OG_OK;
}

/* The widest unit for runs of so many bytes: its logarithm. */
static int width_of(int64_t run, uintptr_t addresses)
{
    int w = WIDTHS - 1;
    while (((uint64_t)run | addresses) % ((uint64_t)1 << w) != 0)
        w--;
    return w;
}

static int64_t blocks_for(const og_call *call, int64_t units)
{
    int64_t most =
        (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    return og__min((units + THREADS - 1) / THREADS, most);
}

/* ---- Gather: x, indices → y */

typedef struct gather {
    shape shape;
    og__cuda_watch *watch;
    og_cuda_function *functions[WIDTHS];
} gather;

static bool gather_supports(const og_call *call)
{
    return og__cuda_has_indices(call) && call->x[0].type.rank > 0 &&
           og__size(call->x[0].type.dtype) > 0;
}

static void gather_release(og_call *call)
{
    gather *g = call->state;
    if (g)
        og__cuda_watch_free(og__cuda_of(call->device), g->watch);
    og__free_state(call);
}

static og_status gather_prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    gather *g = calloc(1, sizeof *g);
    if (!g)
        return og_fail_memory(error, sizeof *g, "Gather");
    call->state = g;
    g->shape = shape_of(call, &call->x[0].type);
    OG_TRY_CLEANUP(og__cuda_watch_new(call, og__bad_index, g->shape.n, &g->watch, error));
    OG_TRY_CLEANUP(find_widths(call, "gather", g->functions, error));
cleanup:
    if (status != OG_OK)
        gather_release(call);
    return status;
}

static og_status gather_run(const og_call *call, og_error *error)
{
    const gather *g = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *x = &call->x[0], *indices = &call->x[1], *y = &call->y[0];
    int64_t run = g->shape.inner * (int64_t)og__size(x->type.dtype);
    int w = width_of(run, (uintptr_t)x->data | (uintptr_t)y->data);
    const og_gather_arguments arguments = {.y = y->data,
                                           .x = x->data,
                                           .indices = indices->data,
                                           .outer = g->shape.outer,
                                           .n = g->shape.n,
                                           .count = g->shape.count,
                                           .run = run >> w,
                                           .outside = cuda->outside,
                                           .call = og__cuda_watch_number(g->watch),
                                           .narrow = indices->type.dtype == OG_INT32};
    const og_cuda_range ranges[] = {og__cuda_range(x, false),
                                    og__cuda_range(indices, false),
                                    og__cuda_range(y, true),
                                    {cuda->outside, sizeof *cuda->outside, true}};
    int64_t total = arguments.outer * arguments.count * arguments.run;
    if (total == 0)
        return OG_OK;
    return og__cuda_launch(call, g->functions[w], blocks_for(call, total), THREADS, 0, &arguments,
                           sizeof arguments, ranges, 4, error);
}

/* ---- GatherElements, GatherND: x, indices → y, at places */

typedef struct take {
    og__cuda_places places;
    og_cuda_function *functions[WIDTHS];
} take;

static bool along_axis(const og_call *call)
{
    return strcmp(call->node->op->name, "GatherElements") == 0;
}

static og__cuda_places places_of(const og_call *call)
{
    const og_type *x = &call->x[0].type;
    return along_axis(call)
               ? og__cuda_places_along(call, x,
                                       og__axis(og_attr_int(call->node, "axis", 0), x->rank))
               : og__cuda_places_of_tuples(call, x, (int)og_attr_int(call->node, "batch_dims", 0));
}

static bool take_supports(const og_call *call)
{
    return og__cuda_has_indices(call) && call->x[0].type.rank > 0 &&
           og__size(call->x[0].type.dtype) > 0;
}

static void take_release(og_call *call)
{
    take *t = call->state;
    if (t)
        og__cuda_places_unwatch(call, &t->places);
    og__free_state(call);
}

static og_status take_prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    take *t = calloc(1, sizeof *t);
    if (!t)
        return og_fail_memory(error, sizeof *t, "elements at indices");
    call->state = t;
    t->places = places_of(call);
    OG_TRY_CLEANUP(og__cuda_places_watch(call, &t->places, error));
    OG_TRY_CLEANUP(find_widths(call, "take", t->functions, error));
cleanup:
    if (status != OG_OK)
        take_release(call);
    return status;
}

static og_status take_run(const og_call *call, og_error *error)
{
    const take *t = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    int64_t run = t->places.inner * (int64_t)og__size(x->type.dtype);
    int w = width_of(run, (uintptr_t)x->data | (uintptr_t)y->data);
    const og_take_arguments arguments = {.places = og__cuda_places_at(call, &t->places),
                                         .y = y->data,
                                         .x = x->data,
                                         .count = t->places.count,
                                         .run = run >> w};
    const og_cuda_range ranges[] = {og__cuda_range(x, false),
                                    og__cuda_range(&call->x[1], false),
                                    og__cuda_range(y, true),
                                    {cuda->outside, sizeof *cuda->outside, true}};
    if (arguments.count * run == 0)
        return OG_OK;
    return og__cuda_launch(call, t->functions[w], blocks_for(call, arguments.count * arguments.run),
                           THREADS, 0, &arguments, sizeof arguments, ranges, 4, error);
}

const og_kernel og_kernels_cuda_gather[] = {
    {"Gather", "rows", 0, gather_supports, gather_prepare, gather_run, gather_release},
    {"GatherElements", "places", 0, take_supports, take_prepare, take_run, take_release},
    {"GatherND", "places", 0, take_supports, take_prepare, take_run, take_release},
    {NULL},
};
