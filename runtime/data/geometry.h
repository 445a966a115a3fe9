/* Which part of a picture is used, and how it is turned: the same for all pictures of a sample, and
 * all frames of a clip. What is random is a pure function of (seed, epoch, sample). */
#ifndef OG_DATA_GEOMETRY_H
#define OG_DATA_GEOMETRY_H

#include "runtime/data/transforms.h"

/* Random numbers in a fixed order, uniform in [0, 1). */
typedef struct og__draws {
    uint32_t key[2], count;
} og__draws;

og__draws og__draws_of(uint64_t seed, int64_t epoch, int64_t sample, uint32_t stream);
double og__draw(og__draws *draws);

typedef struct og__geometry {
    const og_transforms *transforms;
    bool augment;
    int64_t height, width; /* of what is delivered */
    og__draws draws;       /* of where a crop lies: begins anew for each picture */
    bool flip_x, flip_y;
    double start; /* of a clip with a rate: 0 its beginning … 1 the latest possible */
} og__geometry;

og__geometry og__geometry_of(const og_transforms *transforms, uint64_t seed, int64_t epoch,
                             int64_t sample, int64_t height, int64_t width);

/* A part of a picture, in its pixels. */
typedef struct og__rect {
    double x, y, width, height;
} og__rect;

og__rect og__geometry_part(const og__geometry *geometry, int64_t width, int64_t height);
/* How much smaller than width × height a picture may be decoded: 1, or less than 1. */
double og__geometry_scale(const og__geometry *geometry, int64_t width, int64_t height);

#endif
