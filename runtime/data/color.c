/* Color changes, in the order brightness, contrast, saturation, hue, gray, blur: the ranges are
 * those of torchvision's ColorJitter, RandomGrayscale, GaussianBlur and RandomErasing. */
#include <math.h>
#include <string.h>

#include "runtime/data/resample.h"

/* ITU-R BT.601 */
static const float luma[3] = {0.299f, 0.587f, 0.114f};

static double factor(og__draws *d, double range)
{
    double u = og__draw(d);
    return range > 0 ? fmax(0, 1 - range) + u * (1 + range - fmax(0, 1 - range)) : 1;
}

/* An area of 2 to 33 % with sides of a ratio of 0.3 to 3.3. */
static void draw_erased(og__draws *d, double erased[4])
{
    for (int i = 0; i < 10; i++) {
        double area = 0.02 + 0.31 * og__draw(d);
        double ratio = exp(log(0.3) + (log(3.3) - log(0.3)) * og__draw(d));
        double h = sqrt(area * ratio), w = sqrt(area / ratio), y = og__draw(d), x = og__draw(d);
        if (h < 1 && w < 1) {
            erased[0] = y * (1 - h);
            erased[1] = x * (1 - w);
            erased[2] = h;
            erased[3] = w;
            return;
        }
    }
}

og__color_change og__color_change_of(const og_transforms *t, uint64_t seed, int64_t epoch,
                                     int64_t sample)
{
    og__draws d = og__draws_of(seed, epoch, sample, 2);
    og__color_change c = {0};
    c.brightness = factor(&d, t->jitter[0]);
    c.contrast = factor(&d, t->jitter[1]);
    c.saturation = factor(&d, t->jitter[2]);
    double hue = og__draw(&d);
    c.hue = t->jitter[3] > 0 ? (2 * hue - 1) * t->jitter[3] : 0;
    c.gray = og__draw(&d) < t->grayscale;
    double blurs = og__draw(&d), sigma = og__draw(&d);
    c.blur = blurs < t->blur ? 0.1 + 1.9 * sigma : 0;
    if (og__draw(&d) < t->erasing)
        draw_erased(&d, c.erased);
    return c;
}

static float clamp(float x)
{
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

static float luma_of(const float *p)
{
    return luma[0] * p[0] + luma[1] * p[1] + luma[2] * p[2];
}

static void scale_all(float *image, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++)
        image[i] = clamp(image[i] * by);
}

/* Towards the mean gray of the picture. */
static void change_contrast(float *image, int64_t pixels, float by)
{
    double sum = 0;
    for (int64_t i = 0; i < pixels; i++)
        sum += (double)luma_of(image + 3 * i);
    float mean = (float)(sum / (double)pixels);
    for (int64_t i = 0; i < 3 * pixels; i++)
        image[i] = clamp(mean + by * (image[i] - mean));
}

/* Towards each pixel's gray. */
static void change_saturation(float *image, int64_t pixels, float by)
{
    for (int64_t i = 0; i < pixels; i++) {
        float gray = luma_of(image + 3 * i);
        for (int c = 0; c < 3; c++)
            image[3 * i + c] = clamp(gray + by * (image[3 * i + c] - gray));
    }
}

/* A turn about the gray axis of the RGB cube (Rodrigues' formula). */
static void turn_hue(float *image, int64_t pixels, double turn)
{
    double s = sin(2 * M_PI * turn), c = cos(2 * M_PI * turn), k = (1 - c) / 3, r = s / sqrt(3);
    const float same = (float)(c + k), next = (float)(k - r), other = (float)(k + r);
    for (int64_t i = 0; i < pixels; i++) {
        float *p = image + 3 * i, a = p[0], b = p[1], d = p[2];
        p[0] = clamp(same * a + next * b + other * d);
        p[1] = clamp(other * a + same * b + next * d);
        p[2] = clamp(next * a + other * b + same * d);
    }
}

/* One pass of the blur from `in` to `out`; step: of neighbours, in pixels; borders repeat. */
static void blur_pass(const float *in, float *out, int64_t height, int64_t width, bool rows,
                      const float *weight, int radius)
{
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            float sum[3] = {0};
            for (int k = -radius; k <= radius; k++) {
                int64_t u = rows ? x : x + k, v = rows ? y + k : y;
                u = u < 0 ? 0 : u > width - 1 ? width - 1 : u;
                v = v < 0 ? 0 : v > height - 1 ? height - 1 : v;
                const float *p = in + 3 * (v * width + u);
                for (int c = 0; c < 3; c++)
                    sum[c] += weight[k + radius] * p[c];
            }
            memcpy(out + 3 * (y * width + x), sum, sizeof sum);
        }
}

static void blur(float *image, float *tmp, int64_t height, int64_t width, double sigma)
{
    enum { MOST = 6 };
    float weight[2 * MOST + 1] = {0};
    int radius = (int)ceil(3 * sigma);
    double sum = 0;
    radius = radius > MOST ? MOST : radius;
    for (int k = -radius; k <= radius; k++)
        sum += (double)(weight[k + radius] = (float)exp(-(double)(k * k) / (2 * sigma * sigma)));
    for (int k = 0; k <= 2 * radius; k++)
        weight[k] = (float)((double)weight[k] / sum);
    blur_pass(image, tmp, height, width, true, weight, radius);
    blur_pass(tmp, image, height, width, false, weight, radius);
}

void og__color_apply(const og__color_change *c, int64_t height, int64_t width, float *image,
                     float *tmp)
{
    int64_t pixels = height * width;
    if (c->brightness != 1)
        scale_all(image, 3 * pixels, (float)c->brightness);
    if (c->contrast != 1)
        change_contrast(image, pixels, (float)c->contrast);
    if (c->saturation != 1)
        change_saturation(image, pixels, (float)c->saturation);
    if (c->hue != 0)
        turn_hue(image, pixels, c->hue);
    if (c->gray)
        change_saturation(image, pixels, 0);
    if (c->blur > 0)
        blur(image, tmp, height, width, c->blur);
}
