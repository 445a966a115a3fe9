/* Samples that are pictures: an image, a video, or a folder of images. What decodes an image is
 * chosen by its first bytes, the first decoder that takes them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/data/reader.h"

/* More pixels than any camera has; 65535 × 65535 claimed by a few bytes is no picture. */
enum { MOST_SIDE = 1 << 16, MOST_PIXELS = 1 << 28 };

static const og__decoder *const decoders[] = {&og__jpeg_decoder, &og__ffmpeg_decoder};

og_status og__check_picture_size(int64_t width, int64_t height, og_error *error)
{
    if (width >= 1 && height >= 1 && width <= MOST_SIDE && height <= MOST_SIDE &&
        width * height <= MOST_PIXELS)
        return OG_OK;
    return og_fail(error, OG_INVALID_DATA, "a picture of %" PRId64 " x %" PRId64 " pixels", width,
                   height);
}

static bool is_video(const char *file)
{
    static const char *const images[] = {"jpg", "jpeg", "png", "webp", "bmp",
                                         "tif", "tiff", "ppm", "pgm"};
    const char *dot = strrchr(file, '.');
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        if (!strcasecmp(dot + 1, images[i]))
            return false;
    return true;
}

static og_status decode_image(const og_source *s, int64_t file, const og__want *want,
                              og__scratch *scratch, og__sample *sample, og_error *error)
{
    char path[OG__PATH_BYTES];
    og__bytes bytes = {0};
    og_error own = {0};
    OG_TRY(og__file_path(s, file, path, error));
    og_status status = og__read_file(path, scratch, &bytes, &own);
    const og__decoder *decoder = NULL;
    for (size_t i = 0; status == OG_OK && i < sizeof decoders / sizeof *decoders && !decoder; i++)
        if (decoders[i]->takes(bytes))
            decoder = decoders[i];
    double start = og__seconds_now();
    int orientation = status == OG_OK ? og__orientation(bytes) : 1;
    og__want upright = *want;
    upright.turned = orientation > 4;
    if (decoder)
        status = decoder->decode(bytes, &upright, scratch, sample, &own);
    else if (status == OG_OK)
        status = og_fail(&own, OG_INVALID_DATA,
                         "not an image: JPEG, PNG, WebP, BMP, TIFF and PNM are read");
    if (status == OG_OK)
        status = og__turn(orientation, scratch, sample, &own);
    scratch->decode += og__seconds_now() - start;
    if (status != OG_OK && s->first)
        og_error_prefix(&own, "%s", s->files[file]);
    og_error_move(error, &own);
    og_error_clear(&own);
    return status;
}

static og_status decode_video(const og_source *s, int64_t file, const og__want *want,
                              og__scratch *scratch, og__sample *sample, og_error *error)
{
    char path[OG__PATH_BYTES];
    OG_TRY(og__file_path(s, file, path, error));
    double start = og__seconds_now(), disk = scratch->disk;
    og_status status = og__clip_decode(path, want, scratch, sample, error);
    scratch->decode += og__seconds_now() - start - (scratch->disk - disk);
    return status;
}

/* `count` images as the frames of a clip: spread evenly, or where there are fewer, repeated, or all
 * there are. Frames of other sizes than the first are errors. */
static og_status decode_frames(const og_source *s, int64_t first, int64_t count,
                               const og__want *want, og__scratch *scratch, og__sample *sample,
                               og_error *error)
{
    og__want one = *want;
    one.frames = 0;
    size_t bytes = 0;
    int64_t frames = want->pads && count < want->frames ? count : want->frames;
    for (int64_t k = 0; k < frames; k++) {
        int64_t at = (2 * k + 1) * count / (2 * frames);
        OG_TRY(decode_image(s, first + at, &one, scratch, sample, error));
        size_t frame = (size_t)(sample->dims[1] * sample->dims[2] * sample->dims[3]);
        if (k == 0) {
            bytes = frame;
            OG_TRY(og__buffer_need(&scratch->pixels, bytes * (size_t)frames, "a clip", error));
        } else if (frame != bytes) {
            return og_fail(error, OG_INVALID_DATA,
                           "%s is %" PRId64 " x %" PRId64 ", not the size of the frames before",
                           s->files[first + at], sample->dims[2], sample->dims[1]);
        }
        memcpy((char *)scratch->pixels.p + (size_t)k * bytes, sample->data, bytes);
    }
    sample->data = scratch->pixels.p;
    sample->dims[0] = frames;
    return OG_OK;
}

static og_status read_pictures(const og_source *s, int64_t index, const og__want *want,
                               og__scratch *scratch, og__sample *sample, og_error *error)
{
    int64_t first, count;
    og__source_files(s, index, &first, &count);
    if (count == 1 && is_video(s->files[first])) {
        og__want frame = *want;
        frame.frames = want->frames ? want->frames : 1; /* an image of a video: its middle */
        return decode_video(s, first, &frame, scratch, sample, error);
    }
    if (want->frames > 0)
        return decode_frames(s, first, count, want, scratch, sample, error);
    return decode_image(s, first + count / 2, want, scratch, sample, error);
}

static og_status count_frames(const og_source *s, int64_t index, const og__want *want,
                              og__scratch *scratch, int64_t *length, og_error *error)
{
    char path[OG__PATH_BYTES];
    int64_t first, count;
    og__source_files(s, index, &first, &count);
    *length = want->pads && count < want->frames ? count : want->frames;
    if (count > 1 || !is_video(s->files[first]))
        return OG_OK;
    OG_TRY(og__file_path(s, first, path, error));
    return og__clip_length(path, want, scratch, length, error);
}

const og__source_type og__picture_files = {"pictures", true, read_pictures, count_frames};
