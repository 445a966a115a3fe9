/* Transforms from text. */
#include "runtime/data/transforms.h"

#include "runtime/base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

og_transforms og_transforms_default(void)
{
    return (og_transforms){.std = {1, 1, 1}};
}

/* Up to `most` numbers with commas between; how many, -1: something else. */
static int numbers(const char *text, double *values, int most)
{
    for (int n = 0; n < most; text++) {
        char *end;
        values[n] = strtod(text, &end);
        if (end == text || !isfinite(values[n]))
            return -1;
        text = end;
        n++;
        if (!*text)
            return n;
        if (*text != ',')
            return -1;
    }
    return -1;
}

static og_status expected(og_error *error, const char *name, const char *value, const char *what)
{
    char nearest[OG_NEAREST];
    return og_fail(error, OG_INVALID_ARGUMENT, "--%s is \"%s\", expected %s%s", name, value, what,
                   og_did_you_mean(nearest, value, what));
}

static og_status set_resize(og_transforms *t, const char *value, og_error *error)
{
    char *end;
    if (!strcmp(value, "cover") || !strcmp(value, "stretch")) {
        t->resize = *value == 'c' ? OG_RESIZE_COVER : OG_RESIZE_STRETCH;
        return OG_OK;
    }
    long height = strtol(value, &end, 10), width = height;
    bool exact = *end == 'x';
    if (exact)
        width = strtol(end + 1, &end, 10);
    if (*end || height < 1 || width < 1 || height > 1 << 15 || width > 1 << 15)
        return expected(error, "resize", value,
                        "cover, stretch, N (the shorter side) or HEIGHTxWIDTH");
    t->resize = exact ? OG_RESIZE_EXACT : OG_RESIZE_SHORTER;
    t->resize_to[0] = height;
    t->resize_to[1] = width;
    return OG_OK;
}

static og_status set_crop(og_transforms *t, const char *value, og_error *error)
{
    if (!strcmp(value, "center") || !strcmp(value, "random")) {
        t->random_crop = *value == 'r';
        return OG_OK;
    }
    return expected(error, "crop", value, "center or random");
}

static og_status set_random_resized(og_transforms *t, const char *value, og_error *error)
{
    double v[2];
    if (!strcmp(value, "off")) {
        t->crop_scale[0] = t->crop_scale[1] = 0;
        return OG_OK;
    }
    if (!strcmp(value, "on")) {
        t->crop_scale[0] = 0.08; /* torchvision's */
        t->crop_scale[1] = 1;
        return OG_OK;
    }
    if (numbers(value, v, 2) != 2 || v[0] <= 0 || v[1] < v[0] || v[1] > 1)
        return expected(error, "random_resized_crop", value,
                        "on, off or LEAST,MOST, shares of the area such as 0.08,1");
    t->crop_scale[0] = v[0];
    t->crop_scale[1] = v[1];
    return OG_OK;
}

static og_status set_jitter(og_transforms *t, const char *value, og_error *error)
{
    double v[4] = {0};
    int n = numbers(value, v, 4);
    bool ok = n > 0;
    for (int i = 0; i < 4 && ok; i++)
        ok = v[i] >= 0 && v[i] <= (i == 3 ? 0.5 : 1);
    if (!ok)
        return expected(error, "color_jitter", value,
                        "BRIGHTNESS[,CONTRAST[,SATURATION[,HUE]]] from 0 to 1, hue to 0.5");
    memcpy(t->jitter, v, sizeof v);
    return OG_OK;
}

static og_status set_probability(double *p, const char *name, const char *value, og_error *error)
{
    double v;
    if (numbers(value, &v, 1) != 1 || v < 0 || v > 1)
        return expected(error, name, value, "a probability from 0 to 1");
    *p = v;
    return OG_OK;
}

static og_status set_alpha(double *alpha, const char *name, const char *value, og_error *error)
{
    double v;
    if (numbers(value, &v, 1) != 1 || v < 0)
        return expected(error, name, value, "a number of at least 0 (0: off)");
    *alpha = v;
    return OG_OK;
}

/* MEAN/STD: one number each or three, as of pixels from 0 to 1. */
static bool read_mean_std(const char *value, double mean[3], double std[3])
{
    char text[256];
    const char *slash = strchr(value, '/');
    if (!slash || (size_t)(slash - value) >= sizeof text)
        return false;
    memcpy(text, value, (size_t)(slash - value));
    text[slash - value] = '\0';
    int n = numbers(text, mean, 3), m = numbers(slash + 1, std, 3);
    for (int i = 1; i < 3 && n == 1; i++)
        mean[i] = mean[0];
    for (int i = 1; i < 3 && m == 1; i++)
        std[i] = std[0];
    return (n == 1 || n == 3) && (m == 1 || m == 3) && std[0] > 0 && std[1] > 0 && std[2] > 0;
}

static og_status set_normalize(og_transforms *t, const char *value, og_error *error)
{
    static const struct {
        const char *name;
        double mean[3], std[3];
    } known[] = {
        {"imagenet", {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}},
        {"half", {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}},
        {"unit", {0, 0, 0}, {1, 1, 1}},
        {"none", {0, 0, 0}, {1 / 255.0, 1 / 255.0, 1 / 255.0}},
    };
    double mean[3], std[3];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(value, known[i].name)) {
            memcpy(t->mean, known[i].mean, sizeof t->mean);
            memcpy(t->std, known[i].std, sizeof t->std);
            return OG_OK;
        }
    if (!read_mean_std(value, mean, std))
        return expected(error, "normalize", value,
                        "imagenet, half, unit, none or MEAN/STD, one number each or three "
                        "(0.5,0.5,0.5/0.2,0.2,0.2)");
    memcpy(t->mean, mean, sizeof mean);
    memcpy(t->std, std, sizeof std);
    return OG_OK;
}

static og_status set_color(og_transforms *t, const char *value, og_error *error)
{
    if (strcmp(value, "rgb") != 0 && strcmp(value, "bgr") != 0)
        return expected(error, "color", value, "rgb or bgr");
    t->bgr = *value == 'b';
    return OG_OK;
}

static const char *const names[] = {
    "resize",    "crop", "random_resized_crop", "hflip", "vflip",  "color_jitter",
    "grayscale", "blur", "random_erasing",      "mixup", "cutmix", "normalize",
    "color"};

const char *og_transforms_name(int index)
{
    return index >= 0 && index < (int)(sizeof names / sizeof *names) ? names[index] : NULL;
}

og_status og_transforms_set(og_transforms *t, const char *name, const char *value, og_error *error)
{
    if (!strcmp(name, "resize"))
        return set_resize(t, value, error);
    if (!strcmp(name, "crop"))
        return set_crop(t, value, error);
    if (!strcmp(name, "random_resized_crop"))
        return set_random_resized(t, value, error);
    if (!strcmp(name, "color_jitter"))
        return set_jitter(t, value, error);
    if (!strcmp(name, "normalize"))
        return set_normalize(t, value, error);
    if (!strcmp(name, "color"))
        return set_color(t, value, error);
    const struct {
        const char *name;
        double *value;
        bool alpha;
    } single[] = {{"hflip", &t->hflip, false},
                  {"vflip", &t->vflip, false},
                  {"grayscale", &t->grayscale, false},
                  {"blur", &t->blur, false},
                  {"random_erasing", &t->erasing, false},
                  {"mixup", &t->mixup, true},
                  {"cutmix", &t->cutmix, true}};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (!strcmp(name, single[i].name))
            return single[i].alpha ? set_alpha(single[i].value, name, value, error)
                                   : set_probability(single[i].value, name, value, error);
    return og_fail(error, OG_INVALID_ARGUMENT, "no transform is called \"%s\"", name);
}
