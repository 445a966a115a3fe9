/* Recurrences (driver.h) for kernels: their plans, each made once for a device. */
#ifndef OG_KERNELS_CUDA_WALK_PLAN_H
#define OG_KERNELS_CUDA_WALK_PLAN_H

#include "kernels/cuda/internal.h"

typedef struct og__walk {
    struct og__walk *next;
    og_cuda_recurrence description;
    og_cuda_walk *plan; /* NULL: there is none */
    og_cuda_recurrence_sizes sizes;
} og__walk;

/* The plan of a description, made when it is first asked for and kept as long as the device; NULL
 * where the library has none, or is not there. */
const og__walk *og__walk_find(const og_device *device, const og_cuda_recurrence *r);
void og__walks_free(og__cuda *cuda);

#endif
