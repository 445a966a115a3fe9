#include "runtime/data/deliver.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- layout */

static bool is_channels(int64_t dim)
{
    return dim == 1 || dim == 3;
}

/* The axis of channels; -1: none. Behind the frames, before them, or last. */
static int channel_axis(int rank, const int64_t *dims)
{
    int spatial = rank - 3;
    if (rank < 3)
        return -1;
    if (is_channels(dims[spatial]))
        return spatial;
    if (rank == 4 && is_channels(dims[0]))
        return 0;
    if (is_channels(dims[rank - 1]))
        return rank - 1;
    return dims[spatial] < 0 ? spatial : -2;
}

static og_status not_pictures(int rank, const int64_t *dims, og_error *error)
{
    og_text text = {0};
    for (int d = 0; d < rank; d++)
        og_text_printf(&text, ", %" PRId64, dims[d]);
    og_fail(
        error, OG_INVALID_DATA,
        "the model takes [N%s], which is no shape of images ([N, 3, height, width], [N, height, "
        "width, 3]) or clips ([N, frames, 3, height, width], [N, 3, frames, height, width])",
        text.s ? text.s : "");
    og_text_free(&text);
    return OG_INVALID_DATA;
}

og_status og__layout_of(int rank, int64_t *dims, int64_t frames, const og_transforms *t,
                        og__layout *l, og_error *error)
{
    int channel = channel_axis(rank, dims), axes[4], n = 0;
    *l = (og__layout){.channels = 1};
    if (rank < 2 || rank > 4 || channel == -2 || (rank == 4 && channel < 0))
        return not_pictures(rank, dims, error);
    for (int d = 0; d < rank; d++)
        if (d != channel)
            axes[n++] = d;
    int y = axes[n - 2], x = axes[n - 1], time = n == 3 ? axes[0] : -1;
    if (channel >= 0 && dims[channel] < 0)
        dims[channel] = 3;
    bool known = t->resize == OG_RESIZE_EXACT;
    if (dims[y] < 0 && known)
        dims[y] = t->resize_to[0];
    if (dims[x] < 0 && known)
        dims[x] = t->resize_to[1];
    if (dims[y] < 0 || dims[x] < 0)
        return og_fail(error, OG_INVALID_DATA,
                       "the model does not say how large its pictures are; add --resize "
                       "HEIGHTxWIDTH");
    if (time >= 0 && dims[time] < 0)
        dims[time] = frames;
    if (time >= 0 && dims[time] < 1)
        return og_fail(error, OG_INVALID_DATA,
                       "the model does not say how many frames a clip has; add ,frames=N to the "
                       "path");
    if (time >= 0 && frames > 0 && dims[time] != frames)
        return og_fail(error, OG_INVALID_DATA,
                       "frames=%" PRId64 ", but the model takes clips of %" PRId64, frames,
                       dims[time]);
    OG_TRY(og__check_picture_size(dims[x], dims[y], error));
    int64_t step = 1, steps[4] = {0};
    for (int d = rank; d-- > 0; step *= dims[d])
        steps[d] = step;
    l->frames = time >= 0 ? dims[time] : 0;
    l->channels = channel >= 0 ? dims[channel] : 1;
    l->height = dims[y];
    l->width = dims[x];
    l->frame_step = time >= 0 ? steps[time] : 0;
    l->channel_step = channel >= 0 ? steps[channel] : 0;
    l->row_step = steps[y];
    l->column_step = steps[x];
    return OG_OK;
}

/* ---- pictures */

/* One frame, float [height, width, 3] of 0 to 255, to its place: (x / 255 - mean) / std. */
static void write_frame(const og__layout *l, const og_transforms *t, const float *frame, float *out)
{
    for (int64_t c = 0; c < l->channels; c++) {
        int from = (int)(t->bgr ? 2 - c : c);
        bool gray = l->channels == 1;
        double mean = gray ? (t->mean[0] + t->mean[1] + t->mean[2]) / 3 : t->mean[from],
               std = gray ? (t->std[0] + t->std[1] + t->std[2]) / 3 : t->std[from];
        const float a = (float)(1 / (255 * std)), b = (float)(-mean / std);
        for (int64_t y = 0; y < l->height; y++) {
            const float *p = frame + y * l->width * 3;
            float *to = out + c * l->channel_step + y * l->row_step;
            for (int64_t x = 0; x < l->width; x++) {
                float v = gray ? 0.299f * p[3 * x] + 0.587f * p[3 * x + 1] + 0.114f * p[3 * x + 2]
                               : p[3 * x + from];
                to[x * l->column_step] = v * a + b;
            }
        }
    }
}

/* The erased part becomes the mean color: 0 after normalization. */
static void erase(const og__layout *l, const double erased[4], float *out)
{
    int64_t y0 = (int64_t)(erased[0] * (double)l->height),
            x0 = (int64_t)(erased[1] * (double)l->width),
            y1 = (int64_t)((erased[0] + erased[2]) * (double)l->height),
            x1 = (int64_t)((erased[1] + erased[3]) * (double)l->width);
    for (int64_t c = 0; c < l->channels; c++)
        for (int64_t y = y0; y < y1 && y < l->height; y++)
            for (int64_t x = x0; x < x1 && x < l->width; x++)
                out[c * l->channel_step + y * l->row_step + x * l->column_step] = 0;
}

static og_status deliver_labels(const og__sample *s, const og__geometry *g, const og__layout *l,
                                const og__conversion *c, void *out, og__scratch *scratch,
                                og_error *error)
{
    size_t n = (size_t)(l->height * l->width);
    OG_TRY(og__buffer_need(&scratch->rows, n, "labels", error));
    og__rect part = og__geometry_part(g, s->dims[2], s->dims[1]);
    og__resample_nearest(s->data, s->dims[1], s->dims[2], part, g->flip_x, g->flip_y, l->height,
                         l->width, scratch->rows.p);
    og__convert(&(og__conversion){OG_UINT8, c->to, 1, 0}, out, scratch->rows.p, n);
    return OG_OK;
}

og_status og__deliver_pictures(const og_source *source, int64_t row, const og__layout *l,
                               double rate, bool raw, const og__moment *m, const og__conversion *c,
                               void *out, og__scratch *scratch, og_error *error)
{
    og__geometry g = {
        .transforms = m->transforms, .height = l->height, .width = l->width, .start = 0.5};
    og__color_change change = {.brightness = 1, .contrast = 1, .saturation = 1};
    if (m->augment) {
        g = og__geometry_of(m->transforms, m->seed, m->epoch, m->sample, l->height, l->width);
        change = og__color_change_of(m->transforms, m->seed, m->epoch, m->sample);
    }
    og__want want = {
        .frames = l->frames, .rate = rate, .geometry = &g, .pads = source->pads, .labels = raw};
    og__sample s = {0};
    OG_TRY(source->type->read(source, row, &want, scratch, &s, error));
    double start = og__seconds_now();
    if (raw)
        return deliver_labels(&s, &g, l, c, out, scratch, error);
    int64_t height = s.dims[1], width = s.dims[2], pixels = l->height * l->width,
            frames = l->frames ? l->frames : 1;
    const uint8_t *in = s.data;
    bool direct = c->to == OG_FLOAT && c->scale == 1 && c->shift == 0;
    /* Two frames to work in; where elements are converted, room for all of them. Clips of images
     * lie in `pixels` already. */
    size_t work = 6 * (size_t)pixels, all = (size_t)(frames * pixels * l->channels);
    OG_TRY(og__buffer_need(&scratch->work, (work + (direct ? 0 : all)) * sizeof(float), "a picture",
                           error));
    float *frame = scratch->work.p, *to = direct ? out : frame + work;
    og__rect part = og__geometry_part(&g, width, height);
    const double whole[4] = {0, 0, 1, 1};
    for (int64_t k = s.dims[0]; k < frames; k++)
        erase(l, whole, to + k * l->frame_step);
    for (int64_t k = 0; k < frames && k < s.dims[0]; k++) {
        OG_TRY(og__resample(in + k * height * width * 3, height, width, part, g.flip_x, g.flip_y,
                            l->height, l->width, frame, scratch, error));
        og__color_apply(&change, l->height, l->width, frame, frame + 3 * pixels);
        write_frame(l, m->transforms, frame, to + k * l->frame_step);
        if (change.erased[2] > 0)
            erase(l, change.erased, to + k * l->frame_step);
    }
    if (!direct)
        og__convert(&(og__conversion){OG_FLOAT, c->to, c->scale, c->shift}, out, to, all);
    scratch->decode += og__seconds_now() - start;
    return OG_OK;
}

/* ---- elements */

static og_status check_elements(const og__conversion *c, const void *data, size_t n,
                                og_error *error)
{
    og__misfits bad = og__convert_check(c, data, (int64_t)n);
    if (bad.count == 0)
        return OG_OK;
    return og_fail(error, OG_INVALID_DATA, "element %" PRId64 " is %g (and %" PRId64 " like it)",
                   bad.first, bad.value, bad.count - 1);
}

og_status og__deliver_elements(const og_source *source, int64_t row, int rank, const int64_t *dims,
                               const og__conversion *c, bool check_finite, void *out,
                               og__scratch *scratch, og_error *error)
{
    og__sample s = {0};
    OG_TRY(source->type->read(source, row, NULL, scratch, &s, error));
    size_t have = 1, want = 1;
    for (int d = 0; d < s.rank; d++)
        have *= (size_t)s.dims[d];
    for (int d = 0; d < rank; d++)
        want *= (size_t)dims[d];
    /* Axes of 1 apart, only the first one differs: whole steps are cropped or added. */
    size_t n = have < want ? have : want, out_bytes = (size_t)og_dtype_bits(c->to) / 8;
    if (check_finite)
        OG_TRY(check_elements(c, s.data, n, error));
    og__convert(c, out, s.data, n);
    memset((char *)out + n * out_bytes, 0, (want - n) * out_bytes);
    return OG_OK;
}
