/* Pictures resized, changed in color, and written as the model takes them. */
#ifndef OG_DATA_RESAMPLE_H
#define OG_DATA_RESAMPLE_H

#include "runtime/data/reader.h"

/* The part `part` of `in` (uint8 [in_height, in_width, 3]) as out (float [height, width, 3], 0 to
 * 255), mirrored where asked: a triangle filter, as wide as the part is reduced, as PIL and
 * torchvision with antialias do. scratch: rows and taps are used. */
og_status og__resample(const uint8_t *in, int64_t in_height, int64_t in_width, og__rect part,
                       bool flip_x, bool flip_y, int64_t height, int64_t width, float *out,
                       og__scratch *scratch, og_error *error);
/* The same of labels (uint8 [in_height, in_width]), the nearest one each; out: uint8. */
void og__resample_nearest(const uint8_t *in, int64_t in_height, int64_t in_width, og__rect part,
                          bool flip_x, bool flip_y, int64_t height, int64_t width, uint8_t *out);

/* What changes colors, drawn once a sample so that it is the same for all frames. */
typedef struct og__color_change {
    double brightness, contrast, saturation; /* factors; 1: none */
    double hue;                              /* of a turn; 0: none */
    bool gray;
    double blur;      /* sigma in pixels; 0: none */
    double erased[4]; /* y, x, height, width as shares; height 0: nothing */
} og__color_change;

og__color_change og__color_change_of(const og_transforms *transforms, uint64_t seed, int64_t epoch,
                                     int64_t sample);
/* In place: image float [height, width, 3], 0 to 255. tmp: as many floats. */
void og__color_apply(const og__color_change *change, int64_t height, int64_t width, float *image,
                     float *tmp);

#endif
