/* What happens to pictures between their file and the model, in this order: a part is cut out and
 * resized (resize, crops), mirrored (hflip, vflip), changed in color (color_jitter, grayscale,
 * blur), scaled (normalize), and erased in places (random_erasing). What is random happens in
 * training alone. */
#ifndef OG_DATA_TRANSFORMS_H
#define OG_DATA_TRANSFORMS_H

#include "runtime/base/status.h"

typedef enum og_resize {
    OG_RESIZE_COVER,   /* the shorter side to the model's, the middle of the longer */
    OG_RESIZE_STRETCH, /* the whole picture, whatever its aspect ratio */
    OG_RESIZE_SHORTER, /* the shorter side to resize_to[0] pixels, then a crop */
    OG_RESIZE_EXACT    /* to resize_to[0] × resize_to[1], then a crop */
} og_resize;

typedef struct og_transforms {
    og_resize resize;
    int64_t resize_to[2]; /* height, width */
    bool random_crop;     /* a crop lies anywhere; else in the middle */
    double crop_scale[2]; /* random resized crop: share of the area, from … to; 0, 0: none */
    double hflip, vflip;  /* probabilities */
    double jitter[4];     /* brightness, contrast, saturation, hue: torchvision's ranges */
    double grayscale, blur, erasing; /* probabilities */
    double mixup, cutmix;            /* alpha of the Beta distribution; 0: off */
    double mean[3], std[3];          /* (x / 255 - mean) / std, red first */
    bool bgr;                        /* blue first is what the model takes */
} og_transforms;

/* No change but scaling to 0 … 1. */
og_transforms og_transforms_default(void);
/* Options by name: "resize" "256", "hflip" "0.5" …; the values are those of `ongrad train --help`.
 * A value that does not parse: OG_INVALID_ARGUMENT. */
og_status og_transforms_set(og_transforms *transforms, const char *name, const char *value,
                            og_error *error);
/* What og_transforms_set takes; NULL past the end. */
const char *og_transforms_name(int index);

#endif
