/* Which images lie channels-last: the decision that the layout pass carries out. */
#ifndef OG_PASSES_CHANNELS_H
#define OG_PASSES_CHANNELS_H

#include "runtime/device/device.h"

typedef struct og__channels {
    bool *values; /* by value: lies channels-last where its node can choose */
    bool *nodes;  /* by node: reads and writes its images channels-last */
} og__channels;

/* Regions of the typed graph `g` that are faster channels-last; `live` by node. The lists are in
 * `arena`. False when out of memory. */
bool og__channels_find(const og_graph *g, const bool *live, const og_device *device,
                       og_arena *arena, og__channels *channels);
/* Is input (output) k of a node an image, which its kernels may want channels-last? An elementwise
 * node has images where its operands have the shape of its results. */
bool og__image_in(const og_graph *g, const og_node *n, int k);
bool og__image_out(const og_graph *g, const og_node *n, int k);

#endif
