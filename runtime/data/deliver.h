/* From a sample as a file holds it to a sample as the model takes it. */
#ifndef OG_DATA_DELIVER_H
#define OG_DATA_DELIVER_H

#include "runtime/data/convert.h"
#include "runtime/data/resample.h"

/* Where the axes of pictures lie in what is delivered: [C, H, W], [H, W, C], [H, W], with frames
 * before all, or behind the channels. Strides in elements. */
typedef struct og__layout {
    int64_t frames, channels, height, width; /* frames 0: an image */
    int64_t frame_step, channel_step, row_step, column_step;
} og__layout;

/* dims: of one sample; -1: not known, and taken from `frames` and the size asked for by
 * transforms. What is found is written to dims. */
og_status og__layout_of(int rank, int64_t *dims, int64_t frames, const og_transforms *transforms,
                        og__layout *layout, og_error *error);

/* The random numbers of one sample of an epoch. */
typedef struct og__moment {
    const og_transforms *transforms;
    bool augment;
    uint64_t seed;
    int64_t epoch, sample;
} og__moment;

/* Sample `row` of pictures, as `c->to` at out. */
og_status og__deliver_pictures(const og_source *source, int64_t row, const og__layout *layout,
                               double rate, bool raw, const og__moment *moment,
                               const og__conversion *c, void *out, og__scratch *scratch,
                               og_error *error);
/* Sample `row` of another source; dims: as delivered, without the sample axis. A first axis that
 * is longer is cropped, a shorter one filled with zeros. */
og_status og__deliver_elements(const og_source *source, int64_t row, int rank, const int64_t *dims,
                               const og__conversion *c, bool check_finite, void *out,
                               og__scratch *scratch, og_error *error);

#endif
