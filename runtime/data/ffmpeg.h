/* What the files that use FFmpeg's libraries share. */
#ifndef OG_DATA_FFMPEG_H
#define OG_DATA_FFMPEG_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>

#include "runtime/data/reader.h"

/* "WHAT: FFmpeg's reason" */
og_status og__ffmpeg_fail(og_error *error, const char *what, int code);
/* The frame's pixels as uint8 [height, width, 3], red first, at `out`; width, height: of the
 * result, at most the frame's. */
og_status og__ffmpeg_rgb(const AVFrame *frame, int width, int height, uint8_t *out, og__scratch *s,
                         og_error *error);
/* Sizes for a frame that may be made smaller than it is. */
void og__ffmpeg_size(const og__want *want, int frame_width, int frame_height, int *width,
                     int *height);

#endif
