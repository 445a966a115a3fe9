/* What ops that read and write at places share (place.h is the kernels' half): which places, who
 * hears of an index that is outside, and positions sorted by place. */
#ifndef OG_KERNELS_CUDA_PLACES_H
#define OG_KERNELS_CUDA_PLACES_H

#include "kernels/cuda/internal.h"
#include "kernels/cuda/place.h"

/* The places that x[1] of a call names in `data`. */
typedef struct og__cuda_places {
    og_places of;            /* without the address of the indices, which og__cuda_places_at adds */
    int64_t count, n, inner; /* places named, of how many, and elements of each */
    og__cuda_watch *watches[OG_PLACES_AXES];
    int n_watches;
} og__cuda_places;

/* int64 or int32 indices. */
bool og__cuda_has_indices(const og_call *call);
/* Elements along an axis; slices that tuples of indices name behind batch_dims axes. */
og__cuda_places og__cuda_places_along(const og_call *call, const og_type *data, int axis);
og__cuda_places og__cuda_places_of_tuples(const og_call *call, const og_type *data, int batch_dims);
/* Indices outside are said from here on, and otherwise passed over in silence. `unwatch` also where
 * this failed. */
og_status og__cuda_places_watch(const og_call *call, og__cuda_places *places, og_error *error);
void og__cuda_places_unwatch(const og_call *call, og__cuda_places *places);
/* As kernels find them in a run. */
og_places og__cuda_places_at(const og_call *call, const og__cuda_places *places);

/* Positions sorted by place, in the call's workspace: keys as place.h has them. */
typedef struct og__cuda_order {
    int64_t count, size;
    og__place keys;
    og_cuda_function *make, *step, *block;
} og__cuda_order;

/* So many positions, of so many places? */
bool og__cuda_order_takes(int64_t count, int64_t places);
og_status og__cuda_order_prepare(og_call *call, int64_t count, og__cuda_order *order,
                                 og_error *error);
og_status og__cuda_order_run(const og_call *call, const og__cuda_order *order,
                             const og_places *places, og_error *error);
/* The keys, once they are sorted. */
og_cuda_range og__cuda_order_range(const og_call *call, const og__cuda_order *order);

#endif
