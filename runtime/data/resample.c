/* Resizing in two passes, rows first: the first pass runs along whole rows, which become vectors,
 * and leaves few rows to the second. */
#include "runtime/data/resample.h"

#include <math.h>
#include <string.h>

/* The weights with which outputs gather inputs: output i is the sum of weight[i × width + k] times
 * input first[i] + k. */
typedef struct taps {
    int64_t *first;
    float *weight;
    int width;
} taps;

static int taps_width(double scale)
{
    double support = scale > 1 ? scale : 1;
    return (int)ceil(2 * support) + 2;
}

/* Output i's middle lies at from + (i + ½) scale in the input's pixels. */
static void fill_taps(taps *t, double from, double scale, int64_t n_out, int64_t n_in, bool flip)
{
    double support = scale > 1 ? scale : 1;
    for (int64_t i = 0; i < n_out; i++) {
        double middle = from + ((double)i + 0.5) * scale, sum = 0;
        int64_t at = flip ? n_out - 1 - i : i;
        int64_t low = (int64_t)ceil(middle - support - 0.5),
                high = (int64_t)floor(middle + support - 0.5);
        low = low < 0 ? 0 : low > n_in - 1 ? n_in - 1 : low;
        high = high > n_in - 1 ? n_in - 1 : high < low ? low : high;
        float *w = t->weight + at * t->width;
        t->first[at] = low;
        memset(w, 0, (size_t)t->width * sizeof *w);
        for (int64_t k = low; k <= high && k - low < t->width; k++) {
            double away = fabs((double)k + 0.5 - middle) / support;
            w[k - low] = (float)(away < 1 ? 1 - away : 0);
            sum += (double)w[k - low];
        }
        if (sum <= 0) {
            w[0] = 1;
            sum = 1;
        }
        for (int k = 0; k < t->width; k++)
            w[k] = (float)((double)w[k] / sum);
    }
}

static og_status make_taps(og__scratch *s, taps *y, taps *x, int64_t height, int64_t width,
                           og_error *error)
{
    size_t firsts = (size_t)(height + width) * sizeof(int64_t),
           weights = ((size_t)height * (size_t)y->width + (size_t)width * (size_t)x->width) *
                     sizeof(float);
    OG_TRY(og__buffer_need(&s->taps, firsts + weights, "a picture's weights", error));
    y->first = s->taps.p;
    x->first = y->first + height;
    y->weight = (float *)(x->first + width);
    x->weight = y->weight + height * y->width;
    return OG_OK;
}

/* row[c] = Σ_k w[k] in[(first + k) × pitch + c] */
static void gather_row(const uint8_t *in, int64_t pitch, int64_t rows, const float *w, int n,
                       int64_t count, float *row)
{
    for (int64_t c = 0; c < count; c++)
        row[c] = 0;
    for (int k = 0; k < n && k < rows; k++) {
        const uint8_t *p = in + k * pitch;
        float a = w[k];
        if (a != 0)
            for (int64_t c = 0; c < count; c++)
                row[c] += a * (float)p[c];
    }
}

og_status og__resample(const uint8_t *in, int64_t in_height, int64_t in_width, og__rect part,
                       bool flip_x, bool flip_y, int64_t height, int64_t width, float *out,
                       og__scratch *s, og_error *error)
{
    double scale_y = part.height / (double)height, scale_x = part.width / (double)width;
    taps y = {.width = taps_width(scale_y)}, x = {.width = taps_width(scale_x)};
    OG_TRY(make_taps(s, &y, &x, height, width, error));
    fill_taps(&y, part.y, scale_y, height, in_height, flip_y);
    fill_taps(&x, part.x, scale_x, width, in_width, flip_x);
    /* Columns that some output reads, and a margin for taps that weigh nothing. */
    int64_t low = flip_x ? x.first[width - 1] : x.first[0],
            high = (flip_x ? x.first[0] : x.first[width - 1]) + x.width;
    high = high > in_width ? in_width : high;
    int64_t count = 3 * (high - low);
    size_t row_bytes = (size_t)(count + 3 * (int64_t)x.width) * sizeof(float);
    OG_TRY(og__buffer_need(&s->rows, row_bytes, "a row of a picture", error));
    float *row = s->rows.p;
    memset(row, 0, row_bytes);
    for (int64_t i = 0; i < height; i++) {
        gather_row(in + (y.first[i] * in_width + low) * 3, in_width * 3, in_height - y.first[i],
                   y.weight + i * y.width, y.width, count, row);
        float *to = out + i * width * 3;
        for (int64_t j = 0; j < width; j++) {
            const float *p = row + 3 * (x.first[j] - low), *w = x.weight + j * x.width;
            float r = 0, g = 0, b = 0;
            for (int k = 0; k < x.width; k++) {
                r += w[k] * p[3 * k];
                g += w[k] * p[3 * k + 1];
                b += w[k] * p[3 * k + 2];
            }
            to[3 * j] = r;
            to[3 * j + 1] = g;
            to[3 * j + 2] = b;
        }
    }
    return OG_OK;
}

static int64_t nearest(double from, double scale, int64_t i, int64_t n)
{
    int64_t k = (int64_t)floor(from + ((double)i + 0.5) * scale);
    return k < 0 ? 0 : k > n - 1 ? n - 1 : k;
}

void og__resample_nearest(const uint8_t *in, int64_t in_height, int64_t in_width, og__rect part,
                          bool flip_x, bool flip_y, int64_t height, int64_t width, uint8_t *out)
{
    for (int64_t i = 0; i < height; i++) {
        int64_t to_y = flip_y ? height - 1 - i : i,
                y = nearest(part.y, part.height / (double)height, i, in_height);
        for (int64_t j = 0; j < width; j++) {
            int64_t to_x = flip_x ? width - 1 - j : j,
                    x = nearest(part.x, part.width / (double)width, j, in_width);
            out[to_y * width + to_x] = in[y * in_width + x];
        }
    }
}
