/* What is checked of a data set's fields once, before samples are read: shapes, element types, and
 * for arrays their values. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/data/dataset.h"

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

/* The shape of the array or source. */
static int shape_of(const og_field *f, int64_t dims[OG_MAX_RANK])
{
    if (!f->array)
        return og_source_dims(f->source, dims);
    memcpy(dims, og_array_dims(f->array), OG_MAX_RANK * sizeof *dims);
    return og_array_rank(f->array);
}

static og_dtype dtype_of(const og_field *f)
{
    return f->array ? og_array_dtype(f->array) : og_source_dtype(f->source);
}

int64_t og__field_samples(const og_field *f)
{
    int64_t dims[OG_MAX_RANK] = {0};
    shape_of(f, dims);
    return f->rows ? f->n_rows : dims[0];
}

/* A file a sample: its first axis is cropped or padded where nothing else differs. */
static bool match_lengths(const og_field *f, const int64_t *dims, int rank, int64_t *got)
{
    int64_t have[OG_MAX_RANK];
    if (f->array || rank != f->rank || rank < 2 || f->dims[1] < 1)
        return false;
    memcpy(have, dims, sizeof have);
    have[1] = f->dims[1];
    return match_axes(have + 1, rank - 1, f->dims + 1, f->rank - 1, got);
}

/* Also the delivered shape: to->rank, to->dims. */
static void check_shape(const og_field *f, og__field *to, og_error *report)
{
    int64_t dims[OG_MAX_RANK] = {0};
    int rank = shape_of(f, dims);
    if (f->rank < 1 || f->rank > OG_MAX_RANK) {
        finding(report, f, OG_INVALID_DATA,
                "the model takes rank %d, which has no axis for samples", f->rank);
        return;
    }
    to->rank = f->rank;
    to->dims[0] = og__field_samples(f);
    if (match_axes(dims + 1, rank ? rank - 1 : 0, f->dims + 1, f->rank - 1, to->dims + 1) ||
        match_lengths(f, dims, rank, to->dims + 1))
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
    og_dtype from = dtype_of(f);
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
    int64_t dims[OG_MAX_RANK] = {0};
    int rank = shape_of(f, dims);
    size_t n = 1, bytes;
    bool fits = true;
    for (int i = 1; i < rank; i++)
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

/* Labels that become probabilities: [N] of whole numbers to [N, classes]. */
static void check_classes(const og_field *f, og__field *to, og_error *report)
{
    if (f->array && og_array_rank(f->array) == 1 && !og__dtype_is_float(dtype_of(f)) &&
        f->rank == 2 && f->dims[1] == f->classes && f->dtype == OG_FLOAT) {
        to->rank = 2;
        to->dims[0] = og__field_samples(f);
        to->dims[1] = f->classes;
        return;
    }
    finding(report, f, OG_INVALID_DATA,
            "mixing samples needs one class label a sample, to become probabilities of %" PRId64
            " classes",
            f->classes);
}

static void check_pictures(const og_field *f, const og_transforms *transforms, og__field *to,
                           og_error *report)
{
    og_error own = {0};
    int64_t dims[OG_MAX_RANK] = {0};
    if (f->rank > 1 && f->rank <= OG_MAX_RANK)
        memcpy(dims, f->dims + 1, (size_t)(f->rank - 1) * sizeof *dims);
    if (!og__convert_takes(f->dtype))
        finding(report, f, OG_UNSUPPORTED, "the model takes %s, which pictures cannot give",
                og_dtype_name(f->dtype));
    else if (og__layout_of(f->rank - 1, dims, f->frames, transforms, &to->layout, &own) != OG_OK)
        finding(report, f, own.status, "%s", og_error_text(&own));
    og_error_clear(&own);
    to->rank = f->rank;
    to->dims[0] = og__field_samples(f);
    to->count = 1;
    for (int d = 1; d < f->rank && f->rank <= OG_MAX_RANK; d++) {
        to->dims[d] = dims[d - 1];
        if (dims[d - 1] > 0)
            to->count *= (size_t)dims[d - 1];
    }
}

void og__field_check(const og_field *from, const og_transforms *transforms, og__field *to,
                     og_error *report)
{
    int64_t elements = 0;
    to->array = from->array;
    to->source = from->source;
    to->rows = from->rows;
    to->rate = from->rate;
    to->raw = from->raw;
    to->classes = from->classes;
    to->check_finite = from->check_finite;
    to->conversion = (og__conversion){dtype_of(from), from->dtype, from->scale, from->shift};
    if (from->source && !from->array && og_source_is_pictures(from->source)) {
        check_pictures(from, transforms, to, report);
    } else if (from->classes) {
        check_classes(from, to, report);
        to->count = 1;
    } else {
        bool counted = count_elements(from, &elements, &to->count, report);
        check_shape(from, to, report);
        if (check_dtype(from, report) && counted && from->array)
            check_values(from, elements, report);
    }
    if (from->array)
        to->elements = og_array_data(from->array);
    size_t delivered = 1;
    for (int d = 1; d < to->rank; d++)
        delivered *= (size_t)(to->dims[d] > 0 ? to->dims[d] : 0);
    to->in_bytes = to->count * (size_t)og_dtype_bits(to->conversion.from) / 8;
    to->out_bytes = delivered * (size_t)og_dtype_bits(to->conversion.to) / 8;
}
