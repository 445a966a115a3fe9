/* PNG, WebP, BMP, TIFF, PNM (and JPEG of unusual color spaces) by FFmpeg's decoders: the file's
 * bytes are one packet. */
#include "runtime/data/reader.h"

#include <string.h>

static const struct {
    const char *magic;
    int offset, length;
    int format;
} magics[] = {
    {"\x89PNG", 0, 4, 0}, {"WEBP", 8, 4, 1},  {"BM", 0, 2, 2},
    {"II*\0", 0, 4, 3},   {"MM\0*", 0, 4, 3}, {"P5", 0, 2, 4},
    {"P6", 0, 2, 5},      {"P4", 0, 2, 6},    {"\xff\xd8\xff", 0, 3, 7},
};

static int format_of(og__bytes file)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (file.n >= (size_t)(magics[i].offset + magics[i].length) &&
            !memcmp(file.p + magics[i].offset, magics[i].magic, (size_t)magics[i].length))
            return magics[i].format;
    return -1;
}

static bool takes(og__bytes file)
{
    return format_of(file) >= 0;
}

#ifdef OG_HAS_FFMPEG
#include "runtime/data/ffmpeg.h"

#include <libavutil/imgutils.h>

void og__scaler_free(void *scaler)
{
    if (scaler)
        og__ff.sws_freeContext(scaler);
}

og_status og__ffmpeg_fail(og_error *error, const char *what, int code)
{
    char reason[AV_ERROR_MAX_STRING_SIZE] = "";
    og__ff.av_strerror(code, reason, sizeof reason);
    return og_fail(error, code == AVERROR(ENOMEM) ? OG_OUT_OF_MEMORY : OG_INVALID_DATA, "%s: %s",
                   what, reason);
}

void og__ffmpeg_size(const og__want *want, int frame_width, int frame_height, int *width,
                     int *height)
{
    double scale = og__geometry_scale(want->geometry, frame_width, frame_height);
    *width = (int)(frame_width * scale + 0.999);
    *height = (int)(frame_height * scale + 0.999);
    *width = *width < 1 ? 1 : *width > frame_width ? frame_width : *width;
    *height = *height < 1 ? 1 : *height > frame_height ? frame_height : *height;
}

og_status og__ffmpeg_rgb(const AVFrame *frame, int width, int height, uint8_t *out, og__scratch *s,
                         og_error *error)
{
    uint8_t *planes[4] = {out};
    int pitch[4] = {3 * width}, flags = width < frame->width ? SWS_AREA : SWS_BILINEAR;
    s->scaler = og__ff.sws_getCachedContext(s->scaler, frame->width, frame->height, frame->format,
                                            width, height, AV_PIX_FMT_RGB24,
                                            flags | SWS_ACCURATE_RND, NULL, NULL, NULL);
    if (!s->scaler)
        return og_fail(error, OG_UNSUPPORTED, "pixels of a kind that is not read");
    int rows = og__ff.sws_scale(s->scaler, (const uint8_t *const *)frame->data, frame->linesize, 0,
                                frame->height, planes, pitch);
    return rows == height ? OG_OK : og_fail(error, OG_INVALID_DATA, "pixels that cannot be read");
}

/* Gray values or indices of a palette. */
static og_status take_labels(const AVFrame *frame, og__scratch *s, og__sample *sample,
                             og_error *error)
{
    if (frame->format != AV_PIX_FMT_PAL8 && frame->format != AV_PIX_FMT_GRAY8)
        return og_fail(error, OG_INVALID_DATA,
                       "labels are gray or palette pictures of 8 bits, one value a pixel");
    OG_TRY(og__buffer_need(&s->sample, (size_t)frame->width * (size_t)frame->height, "a picture",
                           error));
    for (int y = 0; y < frame->height; y++)
        memcpy((char *)s->sample.p + (size_t)y * (size_t)frame->width,
               frame->data[0] + (ptrdiff_t)y * frame->linesize[0], (size_t)frame->width);
    *sample = (og__sample){s->sample.p, 4, {1, frame->height, frame->width, 1}};
    return OG_OK;
}

static og_status take_picture(const AVFrame *frame, const og__want *want, og__scratch *s,
                              og__sample *sample, og_error *error)
{
    int width = frame->width, height = frame->height;
    OG_TRY(og__check_picture_size(width, height, error));
    if (want->labels)
        return take_labels(frame, s, sample, error);
    OG_TRY(
        og__buffer_need(&s->sample, (size_t)width * (size_t)height * 3 + 64, "a picture", error));
    OG_TRY(og__ffmpeg_rgb(frame, width, height, s->sample.p, s, error));
    *sample = (og__sample){s->sample.p, 4, {1, height, width, 3}};
    return OG_OK;
}

/* packet: refers to the file's bytes, which it needs followed by zeros. */
static int decode_packet(AVCodecContext *codec, AVPacket *packet, AVFrame *frame)
{
    int code = og__ff.avcodec_send_packet(codec, packet);
    if (code == 0)
        code = og__ff.avcodec_send_packet(codec, NULL);
    return code == 0 ? og__ff.avcodec_receive_frame(codec, frame) : code;
}

static og_status decode(og__bytes file, const og__want *want, og__scratch *s, og__sample *sample,
                        og_error *error)
{
    static const enum AVCodecID ids[] = {AV_CODEC_ID_PNG,  AV_CODEC_ID_WEBP, AV_CODEC_ID_BMP,
                                         AV_CODEC_ID_TIFF, AV_CODEC_ID_PGM,  AV_CODEC_ID_PPM,
                                         AV_CODEC_ID_PBM,  AV_CODEC_ID_MJPEG};
    OG_TRY(og__ffmpeg_open(error));
    const AVCodec *kind = og__ff.avcodec_find_decoder(ids[format_of(file)]);
    if (!kind)
        return og_fail(error, OG_UNSUPPORTED, "this FFmpeg has no decoder for it");
    AVCodecContext *codec = og__ff.avcodec_alloc_context3(kind);
    AVPacket *packet = og__ff.av_packet_alloc();
    AVFrame *frame = og__ff.av_frame_alloc();
    og_status status = OG_OK;
    if (!codec || !packet || !frame || og__ff.av_new_packet(packet, (int)file.n) != 0) {
        status = og_fail_memory(error, file.n, "a picture");
    } else {
        memcpy(packet->data, file.p, file.n);
        codec->thread_count = 1;
        if (kind->id == AV_CODEC_ID_PNG) /* TIFF's decoder takes unknown tags for errors then */
            codec->err_recognition = AV_EF_EXPLODE | AV_EF_CRCCHECK;
        codec->max_pixels = (int64_t)1 << 28;
        int code = og__ff.avcodec_open2(codec, kind, NULL);
        if (code == 0)
            code = decode_packet(codec, packet, frame);
        status = code == 0 ? take_picture(frame, want, s, sample, error)
                           : og__ffmpeg_fail(error, "damaged picture", code);
    }
    og__ff.av_frame_free(&frame);
    og__ff.av_packet_free(&packet);
    og__ff.avcodec_free_context(&codec);
    return status;
}
#else
void og__scaler_free(void *scaler)
{
    (void)scaler;
}

static og_status decode(og__bytes file, const og__want *want, og__scratch *s, og__sample *sample,
                        og_error *error)
{
    (void)file;
    (void)want;
    (void)s;
    (void)sample;
    return og_fail(error, OG_UNSUPPORTED,
                   "this build reads no PNG, WebP, BMP or TIFF; hint: install libavcodec-dev, "
                   "libavformat-dev and libswscale-dev (Debian) and build again");
}
#endif

const og__decoder og__ffmpeg_decoder = {"FFmpeg", takes, decode};
