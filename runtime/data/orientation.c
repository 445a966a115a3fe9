/* How a camera was held: EXIF's orientation of a JPEG, and the picture turned by it. Only this one
 * tag is read (Exif 2.3, 4.6.4 A), and what cannot be understood turns nothing. */
#include <string.h>

#include "runtime/data/reader.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };

static unsigned read_2(const uint8_t *p, bool big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
}

static uint32_t read_4(const uint8_t *p, bool big)
{
    uint32_t high = read_2(big ? p : p + 2, big), low = read_2(big ? p + 2 : p, big);
    return high << 16 | low;
}

/* The tag in the first directory of a TIFF structure of n bytes. */
static int find_tag(const uint8_t *p, size_t n)
{
    if (n < 8 || (memcmp(p, "MM\0*", 4) != 0 && memcmp(p, "II*\0", 4) != 0))
        return 1;
    bool big = *p == 'M';
    size_t at = read_4(p + 4, big);
    if (at > n - 2)
        return 1;
    size_t entries = read_2(p + at, big);
    for (at += 2; entries > 0 && n - at >= ENTRY_BYTES; entries--, at += ENTRY_BYTES) {
        if (read_2(p + at, big) != TAG_ORIENTATION)
            continue;
        unsigned value = read_2(p + at + 8, big);
        bool valid = read_2(p + at + 2, big) == TYPE_SHORT && value >= 1 && value <= 8;
        return valid ? (int)value : 1;
    }
    return 1;
}

int og__orientation(og__bytes file)
{
    static const uint8_t exif[6] = "Exif\0";
    size_t at = 2;
    if (file.n < 4 || file.p[0] != 0xff || file.p[1] != 0xd8)
        return 1;
    /* Segments are FF, marker, length of what follows; the picture begins with DA. */
    while (file.n - at >= 4 && file.p[at] == 0xff) {
        const uint8_t *segment = file.p + at;
        unsigned marker = segment[1], length = read_2(segment + 2, true);
        if (marker == 0xff) { /* may fill */
            at++;
            continue;
        }
        if (marker == 0xda || marker == 0xd9 || length < 2 || length > file.n - at - 2)
            return 1;
        if (marker == 0xe1 && length >= 2 + sizeof exif && !memcmp(segment + 4, exif, sizeof exif))
            return find_tag(segment + 4 + sizeof exif, length - 2 - sizeof exif);
        at += 2 + length;
    }
    return 1;
}

og_status og__turn(int orientation, og__scratch *s, og__sample *sample, og_error *error)
{
    int64_t h = sample->dims[1], w = sample->dims[2], last = h * w - 1, below = (h - 1) * w;
    /* The pixel that comes to [0, 0], and how far it is from there to that of [1, 0] and [0, 1]. */
    const int64_t from[9][3] = {{0, w, 1},      {0, w, 1},      {w - 1, w, -1},
                                {last, -w, -1}, {below, -w, 1}, {0, 1, w},
                                {below, 1, -w}, {last, -1, -w}, {w - 1, -1, w}};
    if (orientation <= 1)
        return OG_OK;
    int64_t height = orientation > 4 ? w : h, width = orientation > 4 ? h : w;
    OG_TRY(og__buffer_need(&s->file, (size_t)(height * width) * 3, "a picture", error));
    uint8_t *to = s->file.p;
    const uint8_t *data = sample->data;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++, to += 3)
            memcpy(to,
                   data + 3 * (from[orientation][0] + y * from[orientation][1] +
                               x * from[orientation][2]),
                   3);
    og__buffer turned = s->file; /* the file's bytes are not needed any more */
    s->file = s->sample;
    s->sample = turned;
    *sample = (og__sample){turned.p, 4, {1, height, width, 3}};
    return OG_OK;
}
