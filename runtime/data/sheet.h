/* Pictures of what a model sees. */
#ifndef OG_DATA_SHEET_H
#define OG_DATA_SHEET_H

#include "runtime/data/data.h"

/* rgb: [height, width, 3]. */
og_status og_png_write(const char *path, const uint8_t *rgb, int64_t height, int64_t width,
                       og_error *error);
/* A PNG of a batch's samples, a row each: the pictures of all fields side by side. buffers: as
 * og_dataset_batch filled them. */
og_status og_sheet_write(const og_dataset *set, void *const *buffers, int64_t samples,
                         const char *path, og_error *error);

#endif
