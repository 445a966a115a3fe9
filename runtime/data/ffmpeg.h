/* What the files that use FFmpeg's libraries share. The libraries are opened when the first picture
 * or clip needs them (ffmpeg_open.c): linked, the hundred others that they need would take a fifth
 * of a second and 25 MB of every run. */
#ifndef OG_DATA_FFMPEG_H
#define OG_DATA_FFMPEG_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>

#include "runtime/data/reader.h"

/* The formatter would indent each line of such a list further every time. */
/* clang-format off */
#define OG__FFMPEG_AVUTIL(X) \
    X(av_dict_free) X(av_dict_set) X(av_frame_alloc) X(av_frame_free) X(av_frame_move_ref) \
    X(av_frame_unref) X(av_free) X(av_freep) X(av_log_set_level) X(av_malloc) X(av_strerror)
#define OG__FFMPEG_AVCODEC(X) \
    X(av_new_packet) X(av_packet_alloc) X(av_packet_free) X(av_packet_unref) \
    X(avcodec_alloc_context3) X(avcodec_find_decoder) X(avcodec_flush_buffers) \
    X(avcodec_free_context) X(avcodec_open2) X(avcodec_parameters_to_context) \
    X(avcodec_receive_frame) X(avcodec_send_packet)
#define OG__FFMPEG_AVFORMAT(X) \
    X(av_find_best_stream) X(av_read_frame) X(av_seek_frame) X(avformat_alloc_context) \
    X(avformat_close_input) X(avformat_find_stream_info) \
    X(avformat_index_get_entry_from_timestamp) X(avformat_open_input) X(avio_alloc_context) \
    X(avio_context_free)
#define OG__FFMPEG_SWSCALE(X) \
    X(sws_freeContext) X(sws_getCachedContext) X(sws_scale)
/* clang-format on */

/* Their functions, once og__ffmpeg_open was OG_OK. */
typedef struct og__ffmpeg {
#define OG__FFMPEG_FUNCTION(name) __typeof__(name) *name;
    OG__FFMPEG_AVUTIL(OG__FFMPEG_FUNCTION)
    OG__FFMPEG_AVCODEC(OG__FFMPEG_FUNCTION)
    OG__FFMPEG_AVFORMAT(OG__FFMPEG_FUNCTION)
    OG__FFMPEG_SWSCALE(OG__FFMPEG_FUNCTION)
#undef OG__FFMPEG_FUNCTION
} og__ffmpeg;
extern og__ffmpeg og__ff;
/* From any thread, any number of times. */
og_status og__ffmpeg_open(og_error *error);

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
