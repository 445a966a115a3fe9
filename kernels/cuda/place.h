/* Where what indices name lies in a tensor, for ops that read and write there (index.h finds it,
 * places.c makes these). Of a tuple of indices that is a slice, counted through the tensor; along
 * an axis it is an element. */
#ifndef OG_KERNELS_CUDA_PLACE_H
#define OG_KERNELS_CUDA_PLACE_H

#include "kernels/cuda/outside.h"

enum { OG_PLACES_AXES = 12 };

typedef struct og_places {
    const void *indices;
    int narrow; /* they are int32 */
    int depth;  /* indices of a tuple; 0: elements along an axis */
    /* of a tuple: bound of each of its indices. Along an axis: dims of the indices, and the data's
     * strides in elements, 0 along the axis */
    int rank;
    long long dims[OG_PLACES_AXES], strides[OG_PLACES_AXES];
    long long each, slices; /* of a tuple: tuples of a batch, and slices of one */
    long long n, step;      /* along an axis: its bound and its stride */
    og_outside *outside;    /* NULL: nobody hears of an index that is outside */
    unsigned int call;      /* for `outside`: of the axis; of a tuple's first index, the others */
} og_places;                /* following it */

/* keys [size]: place << 32 | position of each of `count` places, and all ones behind them and for
 * what is outside. */
typedef struct og_keys_arguments {
    og_places places;
    unsigned long long *keys;
    long long count, size;
} og_keys_arguments;

/* One step of a bitonic sort: runs of `sorted` keys are made, keys `apart` are compared. Or all
 * steps from `sorted`, `apart` on that stay within a block of OG_SORT_BLOCK keys, up to runs of
 * `until`. */
typedef struct og_sort_arguments {
    unsigned long long *keys;
    long long size, sorted, apart, until;
} og_sort_arguments;

#define OG_NO_PLACE 0xffffffffu /* of such a key */

enum { OG_SORT_BLOCK = 1024, OG_SORT_THREADS = 256 };

#endif
