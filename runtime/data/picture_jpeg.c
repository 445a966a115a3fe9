/* JPEG by libjpeg-turbo, decoded smaller where the part that is used stays large enough: its
 * inverse cosine transform makes ⅛ to ⅞ of the size at less than the whole's cost. */
#include "runtime/data/reader.h"

static bool takes(og__bytes file)
{
    return file.n > 3 && file.p[0] == 0xff && file.p[1] == 0xd8 && file.p[2] == 0xff;
}

#ifdef OG_HAS_JPEG
#include <string.h>
#include <turbojpeg.h>

/* The smallest of the library's factors that is at least `scale`. */
static tjscalingfactor choose_factor(double scale)
{
    int n = 0;
    const tjscalingfactor *all = tjGetScalingFactors(&n);
    tjscalingfactor best = {1, 1};
    for (int i = 0; all && i < n; i++) {
        double f = (double)all[i].num / all[i].denom;
        if (f >= scale && f <= 1 && f < (double)best.num / best.denom)
            best = all[i];
    }
    return best;
}

/* Pixels that are missing are damage; what other warnings tell is not. */
static bool is_damage(void *handle)
{
    return tjGetErrorCode(handle) != TJERR_WARNING || strstr(tjGetErrorStr2(handle), "Premature") ||
           strstr(tjGetErrorStr2(handle), "Corrupt");
}

/* A handle keeps the tables of the picture before, which one without tables would then use: what is
 * read must not depend on what was read before. */
static og_status decompress(tjhandle handle, og__bytes file, const og__want *want, og__scratch *s,
                            og__sample *sample, og_error *error)
{
    int width = 0, height = 0, subsampling = 0, space = 0;
    if (tjDecompressHeader3(handle, file.p, file.n, &width, &height, &subsampling, &space) != 0 ||
        width == 0)
        return og_fail(error, OG_INVALID_DATA, "damaged JPEG: %s", tjGetErrorStr2(handle));
    OG_TRY(og__check_picture_size(width, height, error));
    if (space == TJCS_CMYK || space == TJCS_YCCK)
        return og__ffmpeg_decoder.decode(file, want, s, sample, error);
    tjscalingfactor f =
        choose_factor(want->turned ? og__geometry_scale(want->geometry, height, width)
                                   : og__geometry_scale(want->geometry, width, height));
    width = TJSCALED(width, f);
    height = TJSCALED(height, f);
    OG_TRY(og__buffer_need(&s->sample, (size_t)width * (size_t)height * 3, "a picture", error));
    if (tjDecompress2(handle, file.p, file.n, s->sample.p, width, 0, height, TJPF_RGB, 0) != 0 &&
        is_damage(handle))
        return og_fail(error, OG_INVALID_DATA, "damaged JPEG: %s", tjGetErrorStr2(handle));
    *sample = (og__sample){s->sample.p, 4, {1, height, width, 3}};
    return OG_OK;
}

static og_status decode(og__bytes file, const og__want *want, og__scratch *s, og__sample *sample,
                        og_error *error)
{
    if (want->labels)
        return og_fail(error, OG_INVALID_DATA,
                       "a JPEG cannot hold labels exactly; save the label map as .png");
    tjhandle handle = tjInitDecompress();
    if (!handle)
        return og_fail_memory(error, 0, "a JPEG decoder");
    og_status status = decompress(handle, file, want, s, sample, error);
    tjDestroy(handle);
    return status;
}
#else
/* FFmpeg reads JPEG, too. */
static og_status decode(og__bytes file, const og__want *want, og__scratch *s, og__sample *sample,
                        og_error *error)
{
    og_error own = {0};
    og_status status = og__ffmpeg_decoder.decode(file, want, s, sample, &own);
    if (status == OG_UNSUPPORTED) {
        og_error_clear(&own);
        status = og_fail(error, OG_UNSUPPORTED,
                         "this build reads no JPEG; hint: install libturbojpeg0-dev (Debian) and "
                         "build again");
    }
    og_error_move(error, &own);
    og_error_clear(&own);
    return status;
}
#endif

const og__decoder og__jpeg_decoder = {"JPEG", takes, decode};
