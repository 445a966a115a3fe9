#include "runtime/data/geometry.h"

#include <math.h>

#include "runtime/base/random.h"

/* ---- draws */

og__draws og__draws_of(uint64_t seed, int64_t epoch, int64_t sample, uint32_t stream)
{
    og__draws d = {{0}, 0};
    og_random_key((int64_t)seed, epoch, (int64_t)stream + ((int64_t)1 << 24), sample, d.key);
    uint32_t high = (uint32_t)((uint64_t)sample >> 32), word[2];
    og_threefry(d.key, high, UINT32_MAX, word);
    d.key[0] = word[0];
    d.key[1] = word[1];
    return d;
}

double og__draw(og__draws *d)
{
    uint32_t word[2];
    og_threefry(d->key, d->count++, 0, word);
    return ((double)word[0] + (double)(word[1] >> 11) * 0x1p-21) * 0x1p-32;
}

/* ---- geometry */

og__geometry og__geometry_of(const og_transforms *t, uint64_t seed, int64_t epoch, int64_t sample,
                             int64_t height, int64_t width)
{
    og__geometry g = {.transforms = t,
                      .augment = true,
                      .height = height,
                      .width = width,
                      .draws = og__draws_of(seed, epoch, sample, 0),
                      .start = 0.5};
    og__draws d = og__draws_of(seed, epoch, sample, 1);
    g.flip_x = og__draw(&d) < t->hflip;
    g.flip_y = og__draw(&d) < t->vflip;
    g.start = og__draw(&d);
    return g;
}

/* Random resized crop, as torchvision's: an area and an aspect ratio (uniform in its logarithm)
 * until the part fits, at most ten times; then the middle, as much of it as has a ratio in range.
 */
static og__rect random_part(const og__geometry *g, double width, double height)
{
    const double *scale = g->transforms->crop_scale, low = 3.0 / 4, high = 4.0 / 3;
    og__draws d = g->draws;
    for (int i = 0; i < 10; i++) {
        double area = (scale[0] + (scale[1] - scale[0]) * og__draw(&d)) * width * height;
        double ratio = exp(log(low) + (log(high) - log(low)) * og__draw(&d));
        double w = sqrt(area * ratio), h = sqrt(area / ratio);
        double x = og__draw(&d), y = og__draw(&d);
        if (w <= width && h <= height)
            return (og__rect){x * (width - w), y * (height - h), w, h};
    }
    double ratio = width / height, w = width, h = height;
    if (ratio < low)
        h = w / low;
    else if (ratio > high)
        w = h * high;
    return (og__rect){(width - w) / 2, (height - h) / 2, w, h};
}

og__rect og__geometry_part(const og__geometry *g, int64_t width, int64_t height)
{
    const og_transforms *t = g->transforms;
    double w = (double)width, h = (double)height, scale_x, scale_y;
    if (g->augment && t->crop_scale[1] > 0)
        return random_part(g, w, h);
    switch (t->resize) {
    case OG_RESIZE_STRETCH:
        return (og__rect){0, 0, w, h};
    case OG_RESIZE_SHORTER:
        scale_x = scale_y = (double)t->resize_to[0] / fmin(w, h);
        break;
    case OG_RESIZE_EXACT:
        scale_x = (double)t->resize_to[1] / w;
        scale_y = (double)t->resize_to[0] / h;
        break;
    default:
        scale_x = scale_y = fmax((double)g->width / w, (double)g->height / h);
        break;
    }
    og__rect part = {0, 0, fmin(w, (double)g->width / scale_x),
                     fmin(h, (double)g->height / scale_y)};
    double at_x = 0.5, at_y = 0.5;
    if (g->augment && t->random_crop) {
        og__draws d = g->draws;
        at_x = og__draw(&d);
        at_y = og__draw(&d);
    }
    part.x = at_x * (w - part.width);
    part.y = at_y * (h - part.height);
    return part;
}

double og__geometry_scale(const og__geometry *g, int64_t width, int64_t height)
{
    og__rect part = og__geometry_part(g, width, height);
    double scale = fmax((double)g->width / part.width, (double)g->height / part.height);
    return scale < 1 ? scale : 1;
}
