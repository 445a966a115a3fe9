/* A contact sheet: what a model sees of some samples, as one picture. A row is a sample; beside
 * each other stand the pictures of its fields, of clips up to four frames. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/base/checked.h"
#include "runtime/data/dataset.h"
#include "runtime/data/sheet.h"

enum { CELL = 128, GAP = 4, MOST_FRAMES = 4 };

/* ---- PNG (W3C recommendation, 2003): 8 bits RGB, one zlib stream */

static void put_be(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static bool write_chunk(FILE *file, const char *type, const uint8_t *data, size_t n)
{
    uint8_t head[8], tail[4];
    put_be(head, (uint32_t)n);
    memcpy(head + 4, type, 4);
    uLong crc = crc32_z(crc32_z(0, head + 4, 4), data, n);
    put_be(tail, (uint32_t)crc);
    return fwrite(head, 1, 8, file) == 8 && fwrite(data, 1, n, file) == n &&
           fwrite(tail, 1, 4, file) == 4;
}

og_status og_png_write(const char *path, const uint8_t *rgb, int64_t height, int64_t width,
                       og_error *error)
{
    size_t row = 3 * (size_t)width + 1, raw_bytes;
    if (height < 1 || width < 1 || !og_mul_size(row, (size_t)height, &raw_bytes))
        return og_fail(error, OG_INVALID_ARGUMENT, "an empty picture");
    uLongf packed_bytes = compressBound(raw_bytes);
    uint8_t *raw = malloc(raw_bytes), *packed = malloc(packed_bytes), head[13] = {0};
    FILE *file = raw && packed ? fopen(path, "wbe") : NULL;
    og_status status = OG_OK;
    if (!raw || !packed) {
        status = og_fail_memory(error, raw_bytes, "a picture");
    } else if (!file) {
        status = og_fail(error, OG_IO_ERROR, "cannot write %s", path);
    } else {
        for (int64_t y = 0; y < height; y++) { /* each row begins with its filter, 0: none */
            raw[(size_t)y * row] = 0;
            memcpy(raw + (size_t)y * row + 1, rgb + (size_t)y * (row - 1), row - 1);
        }
        put_be(head, (uint32_t)width);
        put_be(head + 4, (uint32_t)height);
        head[8] = 8;
        head[9] = 2; /* RGB */
        bool ok = compress2(packed, &packed_bytes, raw, raw_bytes, 6) == Z_OK &&
                  fwrite("\x89PNG\r\n\x1a\n", 1, 8, file) == 8 &&
                  write_chunk(file, "IHDR", head, sizeof head) &&
                  write_chunk(file, "IDAT", packed, packed_bytes) &&
                  write_chunk(file, "IEND", head, 0);
        if (fclose(file) != 0 || !ok)
            status = og_fail(error, OG_IO_ERROR, "cannot write %s", path);
    }
    free(raw);
    free(packed);
    return status;
}

/* ---- cells */

typedef struct sheet {
    uint8_t *rgb;
    int64_t height, width;
} sheet;

static uint8_t to_byte(double x)
{
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x + 0.5);
}

/* A frame as delivered back to pixels: uint8 [height, width, 3]. */
static void to_pixels(const og__field *f, const og_transforms *t, const float *frame, uint8_t *out)
{
    const og__layout *l = &f->layout;
    for (int64_t y = 0; y < l->height; y++)
        for (int64_t x = 0; x < l->width; x++)
            for (int c = 0; c < 3; c++) {
                bool gray = l->channels == 1;
                int from = gray ? 0 : t->bgr ? 2 - c : c;
                double mean = gray ? (t->mean[0] + t->mean[1] + t->mean[2]) / 3 : t->mean[c],
                       std = gray ? (t->std[0] + t->std[1] + t->std[2]) / 3 : t->std[c];
                double v =
                    (double)frame[from * l->channel_step + y * l->row_step + x * l->column_step];
                v = f->conversion.scale != 0 ? (v - f->conversion.shift) / f->conversion.scale : v;
                out[3 * (y * l->width + x) + c] = to_byte(255 * (v * std + mean));
            }
}

static og_status put_cell(sheet *s, int64_t row, int64_t column, const og__layout *l,
                          const uint8_t *pixels, og__scratch *scratch, og_error *error)
{
    float *cell = malloc(sizeof(float) * 3 * CELL * CELL);
    double size = (double)CELL / (double)(l->height > l->width ? l->height : l->width);
    int64_t height = (int64_t)fmax(1, (double)l->height * size),
            width = (int64_t)fmax(1, (double)l->width * size);
    if (!cell)
        return og_fail_memory(error, sizeof(float) * 3 * CELL * CELL, "a contact sheet");
    og__rect all = {0, 0, (double)l->width, (double)l->height};
    og_status status = og__resample(pixels, l->height, l->width, all, false, false, height, width,
                                    cell, scratch, error);
    for (int64_t y = 0; y < height && status == OG_OK; y++) {
        int64_t at = (GAP + row * (CELL + GAP) + y) * s->width + GAP + column * (CELL + GAP);
        for (int64_t k = 0; k < 3 * width; k++)
            s->rgb[3 * at + k] = to_byte((double)cell[y * width * 3 + k]);
    }
    free(cell);
    return status;
}

static bool is_shown(const og__field *f)
{
    return f->source && !f->array && og_source_is_pictures(f->source) && !f->raw &&
           f->conversion.to == OG_FLOAT;
}

static int64_t frames_shown(const og__field *f)
{
    int64_t n = f->layout.frames ? f->layout.frames : 1;
    return n < MOST_FRAMES ? n : MOST_FRAMES;
}

static og_status fill(sheet *s, const og_dataset *set, void *const *buffers, int64_t samples,
                      og__scratch *scratch, og_error *error)
{
    int64_t column = 0;
    for (int i = 0; i < og_dataset_fields(set); i++) {
        const og__field *f = og__dataset_field(set, i);
        if (!is_shown(f))
            continue;
        const og__layout *l = &f->layout;
        int64_t shown = frames_shown(f), frames = l->frames ? l->frames : 1;
        uint8_t *pixels = malloc((size_t)(l->height * l->width * 3));
        if (!pixels)
            return og_fail_memory(error, (size_t)(l->height * l->width * 3), "a contact sheet");
        og_status status = OG_OK;
        for (int64_t n = 0; n < samples; n++)
            for (int64_t k = 0; k < shown && status == OG_OK; k++) {
                const float *frame = (const float *)((char *)buffers[i] + (size_t)n * f->out_bytes);
                frame += (shown > 1 ? k * (frames - 1) / (shown - 1) : 0) * l->frame_step;
                to_pixels(f, og__dataset_transforms(set), frame, pixels);
                status = put_cell(s, n, column + k, l, pixels, scratch, error);
            }
        free(pixels);
        OG_TRY(status);
        column += shown;
    }
    return OG_OK;
}

static int64_t count_columns(const og_dataset *set)
{
    int64_t n = 0;
    for (int i = 0; i < og_dataset_fields(set); i++)
        n += is_shown(og__dataset_field(set, i)) ? frames_shown(og__dataset_field(set, i)) : 0;
    return n;
}

og_status og_sheet_write(const og_dataset *set, void *const *buffers, int64_t samples,
                         const char *path, og_error *error)
{
    int64_t columns = count_columns(set);
    if (columns < 1 || samples < 1)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "a contact sheet needs pictures, and no input reads them");
    sheet s = {.height = GAP + samples * (CELL + GAP), .width = GAP + columns * (CELL + GAP)};
    s.rgb = malloc((size_t)(s.height * s.width * 3));
    og__scratch *scratch = calloc(1, sizeof *scratch);
    og_status status = OG_OK;
    if (!s.rgb || !scratch) {
        status = og_fail_memory(error, (size_t)(s.height * s.width * 3), "a contact sheet");
    } else {
        memset(s.rgb, 32, (size_t)(s.height * s.width * 3));
        status = fill(&s, set, buffers, samples, scratch, error);
    }
    if (status == OG_OK)
        status = og_png_write(path, s.rgb, s.height, s.width, error);
    og__scratch_free(scratch);
    free(s.rgb);
    return status;
}
