#include "runtime/data/mix.h"

#include <math.h>

/* Marsaglia and Tsang, A Simple Method for Generating Gamma Variables, 2000; for shapes below 1 by
 * a power of a uniform number. */
static double gamma_draw(og__draws *d, double shape)
{
    double boost = 1;
    if (shape < 1) {
        boost = pow(1 - og__draw(d), 1 / shape);
        shape += 1;
    }
    double a = shape - 1.0 / 3, c = 1 / sqrt(9 * a);
    for (int i = 0; i < 1000; i++) {
        double u = 1 - og__draw(d), v = og__draw(d), w = 1 - og__draw(d);
        double x = sqrt(-2 * log(u)) * cos(2 * M_PI * v), t = 1 + c * x;
        t = t * t * t;
        if (t > 0 && log(w) < 0.5 * x * x + a - a * t + a * log(t))
            return boost * a * t;
    }
    return boost * a;
}

static double beta_draw(og__draws *d, double alpha)
{
    double x = gamma_draw(d, alpha), y = gamma_draw(d, alpha);
    return x + y > 0 ? x / (x + y) : 0.5;
}

og__mix og__mix_of(const og_transforms *t, uint64_t seed, int64_t epoch, int64_t index)
{
    og__draws d = og__draws_of(seed, epoch, index, 3);
    og__mix m = {OG__MIX_NONE, 1, {0}};
    bool cuts = t->cutmix > 0 && (t->mixup <= 0 || og__draw(&d) < 0.5);
    if (t->mixup <= 0 && t->cutmix <= 0)
        return m;
    m.kind = cuts ? OG__MIX_CUT : OG__MIX_BLEND;
    m.share = beta_draw(&d, cuts ? t->cutmix : t->mixup);
    if (cuts) {
        double side = sqrt(1 - m.share), y = og__draw(&d), x = og__draw(&d);
        double y0 = fmax(0, y - side / 2), x0 = fmax(0, x - side / 2), y1 = fmin(1, y + side / 2),
               x1 = fmin(1, x + side / 2);
        m.cut[0] = y0;
        m.cut[1] = x0;
        m.cut[2] = y1 - y0;
        m.cut[3] = x1 - x0;
        m.share = 1 - m.cut[2] * m.cut[3];
    }
    return m;
}

void og__mix_blend(double share, int64_t samples, size_t n, float *x)
{
    const float a = (float)share, b = (float)(1 - share);
    for (int64_t i = 0, j = samples - 1; i < j; i++, j--)
        for (size_t k = 0; k < n; k++) {
            float p = x[(size_t)i * n + k], q = x[(size_t)j * n + k];
            x[(size_t)i * n + k] = a * p + b * q;
            x[(size_t)j * n + k] = a * q + b * p;
        }
}

void og__mix_cut(const og__mix *m, const og__layout *l, int64_t samples, size_t n, float *x)
{
    int64_t y0 = llrint(m->cut[0] * (double)l->height), x0 = llrint(m->cut[1] * (double)l->width),
            y1 = llrint((m->cut[0] + m->cut[2]) * (double)l->height),
            x1 = llrint((m->cut[1] + m->cut[3]) * (double)l->width),
            frames = l->frames ? l->frames : 1;
    for (int64_t i = 0, j = samples - 1; i < j; i++, j--)
        for (int64_t f = 0; f < frames; f++)
            for (int64_t c = 0; c < l->channels; c++)
                for (int64_t y = y0; y < y1; y++)
                    for (int64_t u = x0; u < x1; u++) {
                        size_t at = (size_t)(f * l->frame_step + c * l->channel_step +
                                             y * l->row_step + u * l->column_step);
                        float *p = &x[(size_t)i * n + at], *q = &x[(size_t)j * n + at], t = *p;
                        *p = *q;
                        *q = t;
                    }
}
