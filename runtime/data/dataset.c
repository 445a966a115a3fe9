/* A data set: fields checked once against what the model takes, then gathered batch by batch.
 * Immutable after og_dataset_new, so any number of threads may gather at once. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/base/text.h"
#include "runtime/data/array.h"
#include "runtime/data/convert.h"
#include "runtime/data/shuffle.h"

enum { GATHER = 256 }; /* samples whose places are computed at once */

typedef struct field {
    char *name;
    const og_array *array; /* not owned */
    const char *elements;  /* of the array */
    og__conversion conversion;
    int rank; /* as delivered; dims[0]: all samples */
    int64_t dims[OG_MAX_RANK];
    size_t count;               /* elements of one sample */
    size_t in_bytes, out_bytes; /* of one sample */
} field;

struct og_dataset {
    og_dataset_options options;
    int64_t samples;
    int n_fields;
    field fields[];
};

/* ---- checks: each adds its finding to the report */

/* "INPUT" (FILE): message */
static void finding(og_error *report, const og_field *f, og_status status, const char *format, ...)
    OG_PRINTF(4, 5);
static void finding(og_error *report, const og_field *f, og_status status, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    og_fail_also(report, status, "\"%s\"%s%s%s: %s", f->name, f->path ? " (" : "",
                 f->path ? f->path : "", f->path ? ")" : "", message);
}

static void add_dims(og_text *text, int rank, const int64_t *dims, bool any_first)
{
    og_text_add(text, "[");
    for (int i = 0; i < rank; i++) {
        og_text_add(text, i ? ", " : "");
        if (any_first && i == 0)
            og_text_add(text, "N");
        else if (dims[i] < 0)
            og_text_add(text, "any");
        else
            og_text_printf(text, "%" PRId64, dims[i]);
    }
    og_text_add(text, "]");
}

/* Axes of 1 are dropped from `have` or added to it until it is `want` (-1 there: any one axis of
 * the file); both without the sample axis. `got`: what want's entries turned out to be. false, got
 * unset, where they do not match. */
static bool match_axes(const int64_t *have, int n_have, const int64_t *want, int n_want,
                       int64_t *got)
{
    /* can[i][j]: have[i …] can become want[j …] */
    bool can[OG_MAX_RANK + 1][OG_MAX_RANK + 1] = {{false}};
    for (int i = n_have; i >= 0; i--)
        for (int j = n_want; j >= 0; j--)
            can[i][j] = (i == n_have && j == n_want) ||
                        (i < n_have && j < n_want && (want[j] < 0 || want[j] == have[i]) &&
                         can[i + 1][j + 1]) ||
                        (i < n_have && have[i] == 1 && can[i + 1][j]) ||
                        (j < n_want && want[j] == 1 && can[i][j + 1]);
    if (!can[0][0])
        return false;
    for (int i = 0, j = 0; j < n_want;) {
        if (i < n_have && (want[j] < 0 || want[j] == have[i]) && can[i + 1][j + 1])
            got[j++] = have[i++];
        else if (i < n_have && have[i] == 1 && can[i + 1][j])
            i++;
        else
            got[j++] = 1;
    }
    return true;
}

/* Also the delivered shape: to->rank, to->dims. */
static void check_shape(const og_field *f, field *to, og_error *report)
{
    const int64_t *dims = og_array_dims(f->array);
    int rank = og_array_rank(f->array);
    if (f->rank < 1 || f->rank > OG_MAX_RANK) {
        finding(report, f, OG_INVALID_DATA,
                "the model takes rank %d, which has no axis for samples", f->rank);
        return;
    }
    to->rank = f->rank;
    to->dims[0] = dims[0];
    if (match_axes(dims + 1, rank ? rank - 1 : 0, f->dims + 1, f->rank - 1, to->dims + 1))
        return;
    og_text have = {0}, want = {0};
    add_dims(&have, rank, dims, false);
    add_dims(&want, f->rank, f->dims, true);
    finding(report, f, OG_INVALID_DATA, "the file's shape is %s, the model takes %s",
            have.s ? have.s : "?", want.s ? want.s : "?");
    og_text_free(&have);
    og_text_free(&want);
}

static bool is_whole(double x)
{
    return x == rint(x) && fabs(x) <= 0x1p53;
}

static bool check_dtype(const og_field *f, og_error *report)
{
    og_dtype from = og_array_dtype(f->array);
    if (!og__convert_takes(f->dtype)) {
        finding(report, f, OG_UNSUPPORTED, "the model takes %s, which data files cannot give",
                og_dtype_name(f->dtype));
        return false;
    }
    if (og__dtype_is_float(from) && !og__dtype_is_float(f->dtype)) {
        finding(report, f, OG_INVALID_DATA,
                "the file holds %s, the model takes %s (class labels are whole numbers); "
                "hint: np.save(path, y.astype(np.int64))",
                og_dtype_name(from), og_dtype_name(f->dtype));
        return false;
    }
    if (!isfinite(f->scale) || !isfinite(f->shift) ||
        (!og__dtype_is_float(f->dtype) && (!is_whole(f->scale) || !is_whole(f->shift)))) {
        finding(report, f, OG_INVALID_DATA, "scale %g and shift %g, where %s needs %s", f->scale,
                f->shift, og_dtype_name(f->dtype),
                og__dtype_is_float(f->dtype) ? "finite numbers" : "whole numbers");
        return false;
    }
    return true;
}

/* "[3, 0, 17]": the place of element `index` */
static void add_index(og_text *text, const og_array *array, int64_t index)
{
    int64_t place[OG_MAX_RANK] = {0};
    for (int i = og_array_rank(array); i-- > 0;) {
        place[i] = index % og_array_dims(array)[i];
        index /= og_array_dims(array)[i];
    }
    add_dims(text, og_array_rank(array), place, false);
}

/* og__convert_check of the whole array, which may be larger than memory: what was read is given
 * back. */
static og__misfits check_stretches(const og_array *array, const og__conversion *c, int64_t elements)
{
    const int64_t stretch = 4 << 20;
    size_t size = (size_t)og_dtype_bits(c->from) / 8;
    og__misfits all = {0};
    for (int64_t at = 0; at < elements; at += stretch) {
        int64_t n = elements - at < stretch ? elements - at : stretch;
        const char *data = (const char *)og_array_data(array) + (size_t)at * size;
        og__misfits bad = og__convert_check(c, data, n);
        og__array_forget(array, data, (size_t)n * size);
        if (bad.count && !all.count)
            all = (og__misfits){.first = at + bad.first, .value = bad.value};
        all.count += bad.count;
    }
    return all;
}

/* Reads the whole array where its values matter: NaN and infinities if asked for, integers always
 * unless every value of the file's type fits. */
static void check_values(const og_field *f, int64_t elements, og_error *report)
{
    og__conversion c = {og_array_dtype(f->array), f->dtype, f->scale, f->shift};
    bool float_in = og__dtype_is_float(c.from), float_out = og__dtype_is_float(c.to);
    if (float_in ? !f->check_finite
                 : !og__convert_may_overflow(&c) || (float_out && !f->check_finite))
        return;
    og__misfits bad = check_stretches(f->array, &c, elements);
    if (bad.count == 0)
        return;
    og_text place = {0}, more = {0};
    add_index(&place, f->array, bad.first);
    if (bad.count > 1)
        og_text_printf(&more, " (and %" PRId64 " more like it)", bad.count - 1);
    if (!isfinite(bad.value))
        finding(report, f, OG_INVALID_DATA, "element %s is %s%s", place.s ? place.s : "",
                isnan(bad.value) ? "NaN"
                : bad.value > 0  ? "infinite"
                                 : "-infinite",
                more.s ? more.s : "");
    else
        finding(report, f, OG_INVALID_DATA, "element %s is %.17g, which %s cannot hold%s%s",
                place.s ? place.s : "", bad.value, og_dtype_name(c.to),
                c.scale == 1 && c.shift == 0 ? "" : " after scale and shift", more.s ? more.s : "");
    og_text_free(&place);
    og_text_free(&more);
}

/* Elements of a whole array and of one sample; false where it has none, which is a finding too. */
static bool count_elements(const og_field *f, int64_t *all, size_t *sample, og_error *report)
{
    const int64_t *dims = og_array_dims(f->array);
    size_t n = 1, bytes;
    bool fits = true;
    for (int i = 1; i < og_array_rank(f->array); i++)
        fits = fits && og_mul_size(n, (size_t)dims[i], &n);
    /* The file's own bytes fit; converted ones, up to 8 bytes an element, might not. */
    fits = fits && og_mul_size(n, 8, &bytes) && og_mul_size(bytes, (size_t)dims[0], &bytes) &&
           bytes <= PTRDIFF_MAX;
    if (!fits || n == 0 || dims[0] == 0) {
        finding(report, f, OG_INVALID_DATA, "the file has %s",
                !fits          ? "too many elements"
                : dims[0] == 0 ? "no samples"
                               : "samples of no elements");
        return false;
    }
    *sample = n;
    *all = (int64_t)n * dims[0];
    return true;
}

static void check_lengths(const og_field *fields, int n_fields, og_error *report)
{
    bool differ = false;
    for (int f = 1; f < n_fields; f++)
        differ |= og_array_dims(fields[f].array)[0] != og_array_dims(fields[0].array)[0];
    if (!differ)
        return;
    og_text list = {0};
    for (int f = 0; f < n_fields; f++)
        og_text_printf(&list, "%s\"%s\" %" PRId64, f ? ", " : "", fields[f].name,
                       og_array_dims(fields[f].array)[0]);
    og_fail_also(report, OG_INVALID_DATA, "the numbers of samples differ: %s",
                 list.s ? list.s : "");
    og_text_free(&list);
}

/* ---- the data set */

og_dataset *og_dataset_new(const og_field *fields, int n_fields, const og_dataset_options *options,
                           og_error *error)
{
    og_error report = {0};
    if (n_fields < 1) {
        og_fail(error, OG_INVALID_ARGUMENT, "a data set needs at least one field");
        return NULL;
    }
    for (int f = 0; f < n_fields; f++)
        if (!fields[f].name || !fields[f].array) {
            og_fail(error, OG_INVALID_ARGUMENT, "field %d of the data set has no %s", f,
                    fields[f].name ? "array" : "name");
            return NULL;
        }
    og_dataset *set = calloc(1, sizeof *set + (size_t)n_fields * sizeof *set->fields);
    if (!set) {
        og_fail_memory(error, sizeof *set + (size_t)n_fields * sizeof *set->fields, "a data set");
        return NULL;
    }
    set->options = *options;
    set->n_fields = n_fields;
    set->samples = og_array_dims(fields[0].array)[0];
    check_lengths(fields, n_fields, &report);
    for (int f = 0; f < n_fields; f++) {
        const og_field *from = &fields[f];
        field *to = &set->fields[f];
        int64_t elements = 0;
        bool counted = count_elements(from, &elements, &to->count, &report);
        check_shape(from, to, &report);
        if (check_dtype(from, &report) && counted)
            check_values(from, elements, &report);
        to->name = strdup(from->name);
        if (!to->name)
            og_fail_also(&report, OG_OUT_OF_MEMORY, "out of memory for a name");
        to->array = from->array;
        to->elements = og_array_data(from->array);
        to->conversion =
            (og__conversion){og_array_dtype(from->array), from->dtype, from->scale, from->shift};
        to->in_bytes = to->count * (size_t)og_dtype_bits(to->conversion.from) / 8;
        to->out_bytes = to->count * (size_t)og_dtype_bits(to->conversion.to) / 8;
    }
    if (report.status != OG_OK) {
        og_error_move(error, &report);
        og_dataset_free(set);
        return NULL;
    }
    return set;
}

void og_dataset_free(og_dataset *set)
{
    if (!set)
        return;
    for (int f = 0; f < set->n_fields; f++)
        free(set->fields[f].name);
    free(set);
}

int64_t og_dataset_samples(const og_dataset *set)
{
    return set->samples;
}

int og_dataset_fields(const og_dataset *set)
{
    return set->n_fields;
}

int64_t og_dataset_batches(const og_dataset *set, int64_t batch_size)
{
    if (batch_size < 1)
        return 0;
    int64_t whole = set->samples / batch_size, rest = set->samples % batch_size;
    return whole + (rest && !set->options.drop_last);
}

int og_dataset_dims(const og_dataset *set, int f, int64_t dims[OG_MAX_RANK])
{
    memcpy(dims, set->fields[f].dims, sizeof set->fields[f].dims);
    return set->fields[f].rank;
}

size_t og_dataset_sample_bytes(const og_dataset *set, int f)
{
    return set->fields[f].out_bytes;
}

static void gather(const field *f, char *out, const int64_t *places, int n)
{
    for (int i = 0; i < n; i++)
        og__convert(&f->conversion, out + (size_t)i * f->out_bytes,
                    f->elements + (size_t)places[i] * f->in_bytes, f->count);
}

og_status og_dataset_batch(const og_dataset *set, int64_t epoch, int64_t index, int64_t batch_size,
                           void *const *buffers, int64_t *samples, og_error *error)
{
    int64_t batches = og_dataset_batches(set, batch_size);
    if (epoch < 0 || index < 0 || index >= batches)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "batch %" PRId64 " of epoch %" PRId64 ", but an epoch has %" PRId64
                       " batches of %" PRId64 " samples",
                       index, epoch, batches, batch_size);
    int64_t first = index * batch_size, left = set->samples - first;
    *samples = left < batch_size ? left : batch_size;
    if (!set->options.shuffle) {
        for (int f = 0; f < set->n_fields; f++) {
            const field *from = &set->fields[f];
            const char *in = from->elements + (size_t)first * from->in_bytes;
            og__convert(&from->conversion, buffers[f], in, (size_t)*samples * from->count);
            og__array_forget(from->array, in, (size_t)*samples * from->in_bytes);
        }
        return OG_OK;
    }
    for (int64_t done = 0; done < *samples; done += GATHER) {
        int64_t places[GATHER];
        int n = *samples - done < GATHER ? (int)(*samples - done) : GATHER;
        og__shuffle(set->options.seed, epoch, set->samples, first + done, n, places);
        for (int f = 0; f < set->n_fields; f++)
            gather(&set->fields[f], (char *)buffers[f] + (size_t)done * set->fields[f].out_bytes,
                   places, n);
    }
    return OG_OK;
}
