/* Places that indices name, and positions sorted by them (places.cu). */
#include "kernels/cuda/places.h"

#include <string.h>

#include "kernels/cpu/indexing.h"

extern const og_cuda_image og_cuda_image_places;

enum { THREADS = 256, MOST_POSITIONS = 1 << 30 };

bool og__cuda_has_indices(const og_call *call)
{
    og_dtype dtype = call->x[1].type.dtype;
    return dtype == OG_INT64 || dtype == OG_INT32;
}

og__cuda_places og__cuda_places_along(const og_call *call, const og_type *data, int axis)
{
    const og_type *indices = &call->x[1].type;
    og__cuda_places p = {.count = og__elements(&call->x[1]),
                         .n = og_type_elements(data),
                         .inner = 1,
                         .of = {.rank = data->rank, .n = data->dims[axis]}};
    int64_t strides[OG_MAX_RANK];
    og_strides_dense(data, strides);
    for (int a = 0; a < data->rank; a++) {
        p.of.dims[a] = indices->dims[a];
        p.of.strides[a] = a == axis ? 0 : strides[a];
    }
    p.of.step = strides[axis];
    return p;
}

og__cuda_places og__cuda_places_of_tuples(const og_call *call, const og_type *data, int batch_dims)
{
    const og_type *indices = &call->x[1].type;
    int depth = (int)indices->dims[indices->rank - 1], end = batch_dims + depth;
    int64_t batches = og__product(data->dims, 0, batch_dims);
    og__cuda_places p = {.count = og__product(indices->dims, 0, indices->rank - 1),
                         .n = og__product(data->dims, 0, end),
                         .inner = og__product(data->dims, end, data->rank),
                         .of = {.depth = depth}};
    for (int k = 0; k < depth; k++)
        p.of.dims[k] = data->dims[batch_dims + k];
    p.of.each = og__max(1, batches ? p.count / batches : 0);
    p.of.slices = og__product(data->dims, batch_dims, end);
    return p;
}

og_status og__cuda_places_watch(const og_call *call, og__cuda_places *p, og_error *error)
{
    int n = p->of.depth ? p->of.depth : 1;
    while (p->n_watches < n) { /* their numbers follow each other */
        int64_t bound = p->of.depth ? p->of.dims[p->n_watches] : p->of.n;
        OG_TRY(og__cuda_watch_new(call, og__bad_index, bound, &p->watches[p->n_watches], error));
        p->n_watches++;
    }
    return OG_OK;
}

void og__cuda_places_unwatch(const og_call *call, og__cuda_places *p)
{
    while (p->n_watches > 0)
        og__cuda_watch_free(og__cuda_of(call->device), p->watches[--p->n_watches]);
}

og_places og__cuda_places_at(const og_call *call, const og__cuda_places *p)
{
    og_places of = p->of;
    of.indices = call->x[1].data;
    of.narrow = call->x[1].type.dtype == OG_INT32;
    if (p->n_watches) {
        of.outside = og__cuda_of(call->device)->outside;
        of.call = og__cuda_watch_number(p->watches[0]);
    }
    return of;
}

/* ---- sorting */

bool og__cuda_order_takes(int64_t count, int64_t places)
{
    return count <= MOST_POSITIONS && places < OG_NO_PLACE;
}

og_status og__cuda_order_prepare(og_call *call, int64_t count, og__cuda_order *o, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    const struct {
        const char *name;
        og_cuda_function **function;
    } functions[] = {
        {"og_place_keys", &o->make}, {"og_sort_step", &o->step}, {"og_sort_block", &o->block}};
    *o = (og__cuda_order){.count = count, .size = 2};
    while (o->size < count)
        o->size *= 2;
    for (int i = 0; i < 3; i++)
        OG_TRY(og__cuda_function(cuda, &og_cuda_image_places, functions[i].name, 0,
                                 functions[i].function, error));
    o->keys = og__cuda_book(call, (size_t)o->size * sizeof(uint64_t));
    return OG_OK;
}

og_cuda_range og__cuda_order_range(const og_call *call, const og__cuda_order *o)
{
    return (og_cuda_range){og__cuda_at(call, o->keys), o->keys.bytes, false};
}

static og_status sort(const og_call *call, const og__cuda_order *o, og_error *error)
{
    og_cuda_range range = og__cuda_order_range(call, o);
    int64_t pairs = o->size / 2, within = og__min(o->size, OG_SORT_BLOCK),
            blocks = o->size / within;
    og_sort_arguments s = {.keys = (unsigned long long *)(uintptr_t)range.at, .size = o->size};
    range.write = true;
    s.sorted = 2;
    s.apart = 1;
    s.until = within;
    OG_TRY(og__cuda_launch(call, o->block, blocks, OG_SORT_THREADS, 0, &s, sizeof s, &range, 1,
                           error));
    for (s.sorted = 2 * within; s.sorted <= o->size; s.sorted *= 2) {
        for (s.apart = s.sorted / 2; s.apart >= within; s.apart /= 2)
            OG_TRY(og__cuda_launch(call, o->step, (pairs + THREADS - 1) / THREADS, THREADS, 0, &s,
                                   sizeof s, &range, 1, error));
        s.until = s.sorted;
        OG_TRY(og__cuda_launch(call, o->block, blocks, OG_SORT_THREADS, 0, &s, sizeof s, &range, 1,
                               error));
    }
    return OG_OK;
}

og_status og__cuda_order_run(const og_call *call, const og__cuda_order *o, const og_places *places,
                             og_error *error)
{
    og_cuda_range keys = og__cuda_order_range(call, o);
    const og_keys_arguments k = {.places = *places,
                                 .keys = (unsigned long long *)(uintptr_t)keys.at,
                                 .count = o->count,
                                 .size = o->size};
    const og_cuda_range ranges[] = {{keys.at, keys.bytes, true},
                                    og__cuda_range(&call->x[1], false),
                                    {places->outside, sizeof *places->outside, true}};
    OG_TRY(og__cuda_launch(call, o->make, (o->size + THREADS - 1) / THREADS, THREADS, 0, &k,
                           sizeof k, ranges, 2 + (places->outside != NULL), error));
    return sort(call, o, error);
}
