/* Frames of a video by FFmpeg. The frame shown at each wanted time is taken: without a rate, the
 * middles of equal parts of the clip; with one, so many a second. Where clips are padded, those
 * that end before are shorter. Decoding runs forward, and jumps
 * to a key frame where the next wanted time is far. Files are read through one function, so that
 * no file names another, and time at the disk is told from time decoding. */
#include "runtime/data/reader.h"

#ifndef OG_HAS_FFMPEG
og_status og__clip_length(const char *path, const og__want *want, og__scratch *s, int64_t *length,
                          og_error *error)
{
    *length = 0;
    return og__clip_decode(path, want, s, NULL, error);
}

og_status og__clip_decode(const char *path, const og__want *want, og__scratch *s,
                          og__sample *sample, og_error *error)
{
    (void)path;
    (void)want;
    (void)s;
    (void)sample;
    return og_fail(error, OG_UNSUPPORTED,
                   "this build reads no video; hint: install libavformat-dev, libavcodec-dev and "
                   "libswscale-dev (Debian) and build again");
}
#else
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/data/ffmpeg.h"

enum { READ_BYTES = 1 << 16 };
static const double far_seconds = 4; /* jump rather than decode what lies between */

typedef struct clip {
    int fd;
    int64_t at, size;
    og__scratch *scratch;
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *frame, *held; /* the newest decoded, and the one shown before it */
    bool drained;
    int64_t wanted; /* the time of the frame that is looked for, in the stream's units */
    int64_t newest; /* of those given to the decoder that are not behind it, the latest */
} clip;

static int read_bytes(void *user, uint8_t *buffer, int size)
{
    clip *c = user;
    double start = og__seconds_now();
    ssize_t n = pread(c->fd, buffer, (size_t)size, c->at);
    c->scratch->disk += og__seconds_now() - start;
    if (n < 0)
        return AVERROR(errno);
    c->at += n;
    return n == 0 ? AVERROR_EOF : (int)n;
}

static int64_t seek_bytes(void *user, int64_t offset, int whence)
{
    clip *c = user;
    if (whence == AVSEEK_SIZE)
        return c->size;
    whence &= ~AVSEEK_FORCE;
    int64_t to = whence == SEEK_SET   ? offset
                 : whence == SEEK_CUR ? c->at + offset
                                      : c->size + offset;
    if (to < 0)
        return AVERROR(EINVAL);
    return c->at = to;
}

static void close_clip(clip *c)
{
    og__ff.av_frame_free(&c->frame);
    og__ff.av_frame_free(&c->held);
    og__ff.av_packet_free(&c->packet);
    og__ff.avcodec_free_context(&c->codec);
    og__ff.avformat_close_input(&c->format);
    if (c->io)
        og__ff.av_freep(&c->io->buffer);
    og__ff.avio_context_free(&c->io);
    if (c->fd >= 0)
        close(c->fd);
}

static og_status open_file(clip *c, const char *path, og_error *error)
{
    struct stat info;
    c->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (c->fd < 0)
        return og_fail(error, OG_IO_ERROR, "cannot open: %s", strerror(errno));
    if (fstat(c->fd, &info) != 0 || !S_ISREG(info.st_mode))
        return og_fail(error, OG_IO_ERROR, "not a regular file");
    if (info.st_size == 0)
        return og_fail(error, OG_INVALID_DATA, "the file is empty");
    c->size = info.st_size;
    return OG_OK;
}

static og_status open_format(clip *c, og_error *error)
{
    uint8_t *buffer = og__ff.av_malloc(READ_BYTES);
    AVDictionary *options = NULL;
    c->io = buffer
                ? og__ff.avio_alloc_context(buffer, READ_BYTES, 0, c, read_bytes, NULL, seek_bytes)
                : NULL;
    c->format = og__ff.avformat_alloc_context();
    if (!c->io || !c->format) {
        if (!c->io)
            og__ff.av_free(buffer);
        return og_fail_memory(error, READ_BYTES, "a video");
    }
    c->format->pb = c->io;
    /* Containers that hold their streams themselves: no playlists. */
    og__ff.av_dict_set(
        &options, "format_whitelist",
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,gif,flv,asf,ogg,"
        "h264,hevc,m4v,mjpeg,nut",
        0);
    og__ff.av_dict_set(&options, "protocol_whitelist", "", 0);
    int code = og__ff.avformat_open_input(&c->format, NULL, NULL, &options);
    og__ff.av_dict_free(&options);
    if (code == 0)
        code = og__ff.avformat_find_stream_info(c->format, NULL);
    return code < 0 ? og__ffmpeg_fail(error, "not a video, or damaged", code) : OG_OK;
}

static og_status open_codec(clip *c, og_error *error)
{
    const AVCodec *kind = NULL;
    int index = og__ff.av_find_best_stream(c->format, AVMEDIA_TYPE_VIDEO, -1, -1, &kind, 0);
    if (index < 0 || !kind)
        return og_fail(error, OG_INVALID_DATA, "no video in it that can be decoded");
    for (unsigned i = 0; i < c->format->nb_streams; i++)
        if ((int)i != index)
            c->format->streams[i]->discard = AVDISCARD_ALL;
    c->stream = c->format->streams[index];
    c->codec = og__ff.avcodec_alloc_context3(kind);
    c->packet = og__ff.av_packet_alloc();
    c->frame = og__ff.av_frame_alloc();
    c->held = og__ff.av_frame_alloc();
    if (!c->codec || !c->packet || !c->frame || !c->held ||
        og__ff.avcodec_parameters_to_context(c->codec, c->stream->codecpar) < 0)
        return og_fail_memory(error, sizeof *c->codec, "a video");
    c->codec->thread_count = 1; /* samples are what runs in parallel */
    c->codec->max_pixels = (int64_t)1 << 28;
    c->codec->pkt_timebase = c->stream->time_base;
    int code = og__ff.avcodec_open2(c->codec, kind, NULL);
    return code < 0 ? og__ffmpeg_fail(error, "cannot decode it", code) : OG_OK;
}

/* A frame that another one is shown after, not behind the wanted time, is not the one: where no
 * other is made from it, the decoder need not make it. */
static void choose_skipping(clip *c)
{
    int64_t pts = c->packet->pts;
    bool known = pts != AV_NOPTS_VALUE;
    c->codec->skip_frame =
        known && c->newest > pts && pts <= c->wanted ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
    if (known && pts <= c->wanted && pts > c->newest)
        c->newest = pts;
}

/* The next frame in c->frame: 1, 0 at the end, else an error of FFmpeg. */
static int next_frame(clip *c)
{
    for (;;) {
        int code = og__ff.avcodec_receive_frame(c->codec, c->frame);
        if (code == 0)
            return 1;
        if (code == AVERROR_EOF)
            return 0;
        if (code != AVERROR(EAGAIN))
            return code;
        code = og__ff.av_read_frame(c->format, c->packet);
        if (code == 0 && c->packet->stream_index != c->stream->index) {
            og__ff.av_packet_unref(c->packet);
            continue;
        }
        if (code < 0) {
            if (c->drained)
                return code == AVERROR_EOF ? 0 : code;
            c->drained = true;
            code = og__ff.avcodec_send_packet(c->codec, NULL);
        } else {
            choose_skipping(c);
            code = og__ff.avcodec_send_packet(c->codec, c->packet);
            og__ff.av_packet_unref(c->packet);
        }
        if (code < 0 && code != AVERROR(EAGAIN) && code != AVERROR_INVALIDDATA)
            return code;
    }
}

static double seconds_of(const clip *c, const AVFrame *frame)
{
    int64_t pts = frame->best_effort_timestamp;
    double begin = c->stream->start_time == AV_NOPTS_VALUE
                       ? 0
                       : (double)c->stream->start_time * av_q2d(c->stream->time_base);
    return pts == AV_NOPTS_VALUE ? NAN : (double)pts * av_q2d(c->stream->time_base) - begin;
}

/* How long the held frame is shown. */
static double frame_seconds(const clip *c)
{
    AVRational fps = c->stream->avg_frame_rate;
    double shown = c->held->pkt_duration > 0
                       ? (double)c->held->pkt_duration * av_q2d(c->stream->time_base)
                       : 0;
    return fps.num > 0 && fps.den > 0 ? fmax(shown, 1 / av_q2d(fps)) : shown;
}

/* Seconds from the first frame to the end of the last; 0: the file does not say. */
static double duration_of(const clip *c)
{
    AVRational fps = c->stream->avg_frame_rate;
    if (c->stream->nb_frames > 0 && fps.num > 0 && fps.den > 0)
        return (double)c->stream->nb_frames / av_q2d(fps);
    if (c->stream->duration > 0)
        return (double)c->stream->duration * av_q2d(c->stream->time_base);
    return c->format->duration > 0 ? (double)c->format->duration / AV_TIME_BASE : 0;
}

static int64_t pts_of(const clip *c, double seconds)
{
    int64_t begin = c->stream->start_time == AV_NOPTS_VALUE ? 0 : c->stream->start_time;
    return begin + (int64_t)(seconds / av_q2d(c->stream->time_base));
}

/* Is there a key frame between what is held and that time? */
static bool key_frame_between(const clip *c, double held, double seconds)
{
    const AVIndexEntry *entry = og__ff.avformat_index_get_entry_from_timestamp(
        c->stream, pts_of(c, seconds), AVSEEK_FLAG_BACKWARD);
    return entry && entry->timestamp > pts_of(c, held);
}

/* Forget what was decoded and go on from the key frame at or before that time. */
static bool jump(clip *c, double seconds)
{
    if (og__ff.av_seek_frame(c->format, c->stream->index, pts_of(c, seconds),
                             AVSEEK_FLAG_BACKWARD) < 0)
        return false;
    og__ff.avcodec_flush_buffers(c->codec);
    c->drained = false;
    c->newest = INT64_MIN;
    return true;
}

/* Counts frames by decoding none, where the file does not say how long it is. */
static double measure(clip *c)
{
    double last = 0, step = 0.04;
    while (og__ff.av_read_frame(c->format, c->packet) == 0) {
        int64_t pts = c->packet->pts != AV_NOPTS_VALUE ? c->packet->pts : c->packet->dts;
        if (c->packet->stream_index == c->stream->index && pts != AV_NOPTS_VALUE) {
            double at = (double)(pts - pts_of(c, 0)) * av_q2d(c->stream->time_base);
            if (c->packet->duration > 0)
                step = (double)c->packet->duration * av_q2d(c->stream->time_base);
            last = at > last ? at : last;
        }
        og__ff.av_packet_unref(c->packet);
    }
    return jump(c, 0) ? last + step : 0;
}

/* The frame that is shown at `seconds`, in c->held: true; false at the end of what can be decoded.
 */
static bool show(clip *c, double seconds, double *held, int *code)
{
    c->wanted = pts_of(c, seconds);
    for (;;) {
        double at = c->frame->width ? seconds_of(c, c->frame) : NAN;
        if (c->frame->width && (isnan(at) || at <= seconds + 1e-6 || !c->held->width)) {
            og__ff.av_frame_unref(c->held);
            og__ff.av_frame_move_ref(c->held, c->frame);
            *held = at;
        } else if (c->frame->width) {
            return true; /* the next one is later */
        }
        *code = next_frame(c);
        if (*code <= 0)
            return false;
    }
}

static og_status take_frame(clip *c, const og__want *want, int64_t k, int *width, int *height,
                            og_error *error)
{
    const AVFrame *f = c->held;
    OG_TRY(og__check_picture_size(f->width, f->height, error));
    if (k == 0) {
        og__ffmpeg_size(want, f->width, f->height, width, height);
        size_t bytes = (size_t)*width * (size_t)*height * 3 * (size_t)want->frames + 64;
        if (bytes > (size_t)1 << 32)
            return og_fail(error, OG_INVALID_DATA, "%lld frames of %d x %d pixels",
                           (long long)want->frames, *width, *height);
        OG_TRY(og__buffer_need(&c->scratch->sample, bytes, "a clip", error));
    }
    uint8_t *out =
        (uint8_t *)c->scratch->sample.p + (size_t)k * (size_t)*width * (size_t)*height * 3;
    return og__ffmpeg_rgb(f, *width, *height, out, c->scratch, error);
}

/* How many of the wanted frames a clip of that many seconds has: those that begin before its end,
 * or without a rate each of its own once. */
static int64_t frames_of(const clip *c, const og__want *want, double duration)
{
    double rate = want->rate > 0 ? want->rate : av_q2d(c->stream->avg_frame_rate);
    bool known =
        want->rate > 0 || (c->stream->avg_frame_rate.num > 0 && c->stream->avg_frame_rate.den > 0);
    if (!want->pads || !known || duration <= 0 || duration * rate >= (double)want->frames)
        return want->frames;
    int64_t n = (int64_t)(want->rate > 0 ? ceil(duration * rate - 0.5) : rint(duration * rate));
    return n < 1 ? 1 : n;
}

static og_status decode_all(clip *c, const og__want *want, og__sample *sample, og_error *error)
{
    double duration = duration_of(c), held = 0, from = 0, step;
    int width = 0, height = 0, code = 1;
    if (duration <= 0)
        duration = measure(c);
    int64_t frames = frames_of(c, want, duration);
    step = duration / (double)frames;
    if (want->rate > 0) {
        step = 1 / want->rate;
        from = fmax(0, (duration - step * (double)want->frames) * want->geometry->start);
    }
    bool ended = false;
    for (int64_t k = 0; k < frames; k++) {
        double at = from + ((double)k + 0.5) * step;
        if (!ended && at - held > far_seconds && key_frame_between(c, held, at) && jump(c, at)) {
            og__ff.av_frame_unref(c->frame);
            og__ff.av_frame_unref(c->held);
        }
        if (!ended)
            ended = !show(c, at, &held, &code);
        if (!c->held->width)
            return code < 0 ? og__ffmpeg_fail(error, "damaged video", code)
                            : og_fail(error, OG_INVALID_DATA, "no frame of it can be decoded");
        /* A tenth of the clip may be less than what the file says. */
        if (ended && at < duration && at - held > frame_seconds(c) + 0.1 * duration)
            return og_fail(error, OG_INVALID_DATA, "cut off: %.2f s of %.2f s can be decoded", held,
                           duration);
        OG_TRY(take_frame(c, want, k, &width, &height, error));
    }
    *sample = (og__sample){c->scratch->sample.p, 4, {frames, height, width, 3}};
    return OG_OK;
}

/* Also after an error there is something to close. */
static og_status open_clip(clip *c, const char *path, og_error *error)
{
    OG_TRY(open_file(c, path, error));
    OG_TRY(open_format(c, error));
    return open_codec(c, error);
}

og_status og__clip_length(const char *path, const og__want *want, og__scratch *scratch,
                          int64_t *length, og_error *error)
{
    clip c = {.fd = -1, .scratch = scratch, .newest = INT64_MIN};
    OG_TRY(og__ffmpeg_open(error));
    og_status status = open_clip(&c, path, error);
    if (status == OG_OK) {
        double duration = duration_of(&c);
        *length = frames_of(&c, want, duration > 0 ? duration : measure(&c));
    }
    close_clip(&c);
    return status;
}

og_status og__clip_decode(const char *path, const og__want *want, og__scratch *scratch,
                          og__sample *sample, og_error *error)
{
    clip c = {.fd = -1, .scratch = scratch, .newest = INT64_MIN};
    if (want->labels)
        return og_fail(error, OG_INVALID_DATA, "a video cannot hold labels");
    OG_TRY(og__ffmpeg_open(error));
    og_status status = open_clip(&c, path, error);
    if (status == OG_OK)
        status = decode_all(&c, want, sample, error);
    close_clip(&c);
    return status;
}
#endif
