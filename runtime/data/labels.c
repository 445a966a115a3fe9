/* Labels that folders give, labels counted by other class names, and masks of lengths. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/reader.h"

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- class folders */

static const og__source_type folders = {"class folders", false, NULL};

/* Distinct first folders of the keys in order; n 0 where a key has none. */
static og_status find_classes(og_source *s, const og_source *of, og_error *error)
{
    const char **names = og_arena_array(s->arena, (size_t)of->samples, sizeof *names);
    if (!names)
        return og_fail_memory(error, (size_t)of->samples * sizeof *names, "classes");
    for (int64_t i = 0; i < of->samples; i++) {
        size_t n = strcspn(of->keys[i], "/");
        if (!of->keys[i][n])
            return OG_OK;
        names[i] = og_arena_strndup(s->arena, of->keys[i], n);
        if (!names[i])
            return og_fail_memory(error, n, "classes");
    }
    qsort(names, (size_t)of->samples, sizeof *names, by_text);
    int n = 0;
    for (int64_t i = 0; i < of->samples; i++)
        if (n == 0 || strcmp(names[n - 1], names[i]) != 0)
            names[n++] = names[i];
    s->classes = names;
    s->n_classes = n;
    return OG_OK;
}

static og_status make_labels(og_source *s, const og_source *of, og_error *error)
{
    og_array *a = s->array = calloc(1, sizeof *a);
    if (!a)
        return og_fail_memory(error, sizeof *a, "labels");
    a->dtype = s->dtype = OG_INT64;
    a->rank = s->rank = 1;
    a->dims[0] = s->dims[0] = s->samples = of->samples;
    OG_TRY(og__array_own(a, (size_t)of->samples * sizeof(int64_t), error));
    int64_t *labels = a->owned;
    for (int64_t i = 0; i < of->samples; i++) {
        char name[OG__PATH_BYTES];
        const char *p = name;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(of->keys[i], "/"), of->keys[i]);
        const char **found =
            bsearch(&p, s->classes, (size_t)s->n_classes, sizeof *s->classes, by_text);
        labels[i] = found ? found - s->classes : 0;
    }
    s->keys = og_arena_array(s->arena, (size_t)of->samples, sizeof *s->keys);
    for (int64_t i = 0; s->keys && i < of->samples; i++)
        if (!(s->keys[i] = og_arena_strdup(s->arena, of->keys[i])))
            s->keys = NULL;
    return s->keys ? OG_OK : og_fail_memory(error, 0, "names of samples");
}

og_source *og_source_of_folders(const og_source *of, og_error *error)
{
    if (!of->keys || !of->files || of->samples < 1)
        return NULL;
    og_source *s = og__source_new(&folders, of->path, error);
    if (!s)
        return NULL;
    if (find_classes(s, of, error) == OG_OK && s->n_classes > 1 &&
        make_labels(s, of, error) == OG_OK)
        return s;
    og_source_free(s);
    return NULL;
}

og_status og_source_set_classes(og_source *s, const char *const *classes, int n, og_error *error)
{
    int64_t *map = malloc(((size_t)s->n_classes + 1) * sizeof *map), *labels;
    const char **names = og_arena_array(s->arena, (size_t)n, sizeof *names);
    og_status status = OG_OK;
    if (!map || !names || !s->array || !s->array->owned || s->array->dtype != OG_INT64) {
        free(map);
        return og_fail(error, OG_INTERNAL, "no labels to be counted anew");
    }
    for (int i = 0; i < n; i++)
        if (!(names[i] = og_arena_strdup(s->arena, classes[i])))
            status = og_fail_memory(error, 0, "classes");
    for (int c = 0; c < s->n_classes && status == OG_OK; c++) {
        map[c] = -1;
        for (int i = 0; i < n; i++)
            if (!strcmp(s->classes[c], classes[i]))
                map[c] = i;
        if (map[c] < 0)
            status = og_fail(error, OG_INVALID_DATA,
                             "class \"%s\" is none of the %d that the model was trained with",
                             s->classes[c], n);
    }
    labels = s->array->owned;
    for (int64_t i = 0; i < s->samples && status == OG_OK; i++)
        labels[i] = map[labels[i]];
    free(map);
    if (status == OG_OK) {
        s->classes = names;
        s->n_classes = n;
    }
    return status;
}

/* ---- masks */

static og_status read_mask(const og_source *s, int64_t index, const og__want *want,
                           og__scratch *scratch, og__sample *sample, og_error *error)
{
    og__sample of;
    int64_t steps = s->dims[1], length;
    (void)want;
    if (s->of->type->length) {
        og__want clip = {.frames = steps, .rate = s->of->options.rate, .pads = s->of->pads};
        OG_TRY(s->of->type->length(s->of, index, &clip, scratch, &length, error));
    } else {
        OG_TRY(s->of->type->read(s->of, index, NULL, scratch, &of, error));
        length = of.rank ? of.dims[0] : 1;
    }
    OG_TRY(og__buffer_need(&scratch->rows, (size_t)steps * sizeof(float), "a mask", error));
    float *mask = scratch->rows.p;
    for (int64_t i = 0; i < steps; i++)
        mask[i] = i < length ? 1 : 0;
    *sample = (og__sample){.data = mask, .rank = 1, .dims = {steps}};
    return OG_OK;
}

static const og__source_type mask_type = {"mask", false, read_mask};

void og_source_pad(og_source *source)
{
    source->pads = true;
}

og_source *og_source_mask(const og_source *of, int64_t steps, og_error *error)
{
    og_source *s = og__source_new(&mask_type, of->path, error);
    if (!s)
        return NULL;
    s->of = of;
    s->samples = of->samples;
    s->dtype = OG_FLOAT;
    s->rank = 2;
    s->dims[0] = of->samples;
    s->dims[1] = steps;
    s->keys = of->keys;
    return s;
}
