/* A data set: fields checked once against what the model takes, then gathered batch by batch.
 * What a batch holds is a pure function of seed, epoch and its number, so any number of threads may
 * gather at once; they share a pool of scratch memory, and a list of what could not be read. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/data/dataset.h"
#include "runtime/data/mix.h"
#include "runtime/data/shuffle.h"

enum {
    GATHER = 256,     /* samples whose places are computed at once */
    MOST_TRIES = 100, /* samples that cannot be read, one after another */
    MOST_NOTED = 1000,
    MOST_LISTED = 10
};

/* A sample that could not be read. */
typedef struct unreadable {
    int64_t sample;
    char *text;
} unreadable;

struct og_dataset {
    og_dataset_options options;
    og_transforms transforms;
    int64_t samples;
    bool in_place; /* all fields are arrays, and no labels become probabilities */

    pthread_mutex_t lock; /* guards what follows */
    og__scratch *pool;
    double disk, decode;
    unreadable *noted;
    int64_t n_noted, n_unreadable;

    int n_fields;
    og__field fields[];
};

static void check_lengths(const og_field *fields, int n_fields, og_error *report)
{
    bool differ = false;
    for (int f = 1; f < n_fields; f++)
        differ |= og__field_samples(&fields[f]) != og__field_samples(&fields[0]);
    if (!differ)
        return;
    og_text list = {0};
    for (int f = 0; f < n_fields; f++)
        og_text_printf(&list, "%s\"%s\" %" PRId64, f ? ", " : "", fields[f].name,
                       og__field_samples(&fields[f]));
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
        if (!fields[f].name || (!fields[f].array && !fields[f].source)) {
            og_fail(error, OG_INVALID_ARGUMENT, "field %d of the data set has no %s", f,
                    fields[f].name ? "array" : "name");
            return NULL;
        }
    og_dataset *set = calloc(1, sizeof *set + (size_t)n_fields * sizeof *set->fields);
    if (!set) {
        og_fail_memory(error, sizeof *set + (size_t)n_fields * sizeof *set->fields, "a data set");
        return NULL;
    }
    pthread_mutex_init(&set->lock, NULL);
    set->options = *options;
    set->transforms = options->transforms ? *options->transforms : og_transforms_default();
    set->n_fields = n_fields;
    set->samples = og__field_samples(&fields[0]);
    set->in_place = true;
    check_lengths(fields, n_fields, &report);
    for (int f = 0; f < n_fields; f++) {
        og__field_check(&fields[f], &set->transforms, &set->fields[f], &report);
        set->in_place = set->in_place && fields[f].array && !fields[f].classes;
        set->fields[f].name = strdup(fields[f].name);
        if (!set->fields[f].name)
            og_fail_also(&report, OG_OUT_OF_MEMORY, "out of memory for a name");
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
    while (set->pool) {
        og__scratch *next = set->pool->next;
        og__scratch_free(set->pool);
        set->pool = next;
    }
    for (int64_t i = 0; i < set->n_noted; i++)
        free(set->noted[i].text);
    free(set->noted);
    for (int f = 0; f < set->n_fields; f++)
        free(set->fields[f].name);
    pthread_mutex_destroy(&set->lock);
    free(set);
}

static int64_t place_of(const og_dataset *set, int64_t epoch, int64_t position)
{
    int64_t place = position;
    if (set->options.shuffle)
        og__shuffle(set->options.seed, epoch, set->samples, position, 1, &place);
    return place;
}

const og__field *og__dataset_field(const og_dataset *set, int f)
{
    return &set->fields[f];
}

const og_transforms *og__dataset_transforms(const og_dataset *set)
{
    return &set->transforms;
}

int64_t og_dataset_sample(const og_dataset *set, int64_t epoch, int64_t position)
{
    return place_of(set, epoch, position);
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

/* ---- samples read one by one */

static og__scratch *take_scratch(const og_dataset *set)
{
    og_dataset *own = (og_dataset *)set; /* the pool alone changes, under its lock */
    pthread_mutex_lock(&own->lock);
    og__scratch *s = own->pool;
    if (s)
        own->pool = s->next;
    pthread_mutex_unlock(&own->lock);
    return s ? s : calloc(1, sizeof *s);
}

static void return_scratch(const og_dataset *set, og__scratch *s)
{
    og_dataset *own = (og_dataset *)set;
    pthread_mutex_lock(&own->lock);
    own->disk += s->disk;
    own->decode += s->decode;
    s->disk = s->decode = 0;
    s->next = own->pool;
    own->pool = s;
    pthread_mutex_unlock(&own->lock);
}

static const char *file_of(const og__field *f, int64_t row)
{
    int64_t first, count;
    const og_source *s = f->source && f->source->of ? f->source->of : f->source;
    if (!s || !s->files)
        return NULL;
    og__source_files(s, row, &first, &count);
    return count > 1 ? s->keys[row] : s->files[first];
}

/* "FOLDER/FILE: why" */
static void prefix_file(const og__field *f, int64_t row, og_error *why)
{
    const char *file = file_of(f, row);
    og_error_prefix(why, "%s%s%s", f->source ? f->source->path : f->name, file ? "/" : "",
                    file ? file : "");
}

/* Each sample is noted once. */
static void note_unreadable(const og_dataset *set, int64_t sample, const og__field *f, int64_t row,
                            og_error *why)
{
    prefix_file(f, row, why);
    og_dataset *own = (og_dataset *)set;
    pthread_mutex_lock(&own->lock);
    bool known = false;
    for (int64_t i = 0; i < own->n_noted && !known; i++)
        known = own->noted[i].sample == sample;
    if (!known && own->n_noted < MOST_NOTED) {
        unreadable *noted = realloc(own->noted, ((size_t)own->n_noted + 1) * sizeof *noted);
        char *text = strdup(og_error_text(why));
        if (noted) {
            noted[own->n_noted++] = (unreadable){sample, text};
            own->noted = noted;
        } else {
            free(text);
        }
    }
    own->n_unreadable += !known;
    pthread_mutex_unlock(&own->lock);
}

/* 1 at the label's place. */
static og_status deliver_class(const og__field *f, int64_t row, float *out, og_error *error)
{
    int64_t label;
    og__convert(&(og__conversion){f->conversion.from, OG_INT64, 1, 0}, &label,
                f->elements + (size_t)row * f->in_bytes, 1);
    if (label < 0 || label >= f->classes)
        return og_fail(error, OG_INVALID_DATA, "label %" PRId64 " is none of %" PRId64 " classes",
                       label, f->classes);
    memset(out, 0, f->out_bytes);
    out[label] = 1;
    return OG_OK;
}

static og_status deliver(const og_dataset *set, const og__field *f, int64_t epoch, int64_t sample,
                         void *out, og__scratch *scratch, og_error *error)
{
    int64_t row = f->rows ? f->rows[sample] : sample;
    if (f->classes)
        return deliver_class(f, row, out, error);
    if (f->array) {
        og__convert(&f->conversion, out, f->elements + (size_t)row * f->in_bytes, f->count);
        return OG_OK;
    }
    if (og_source_is_pictures(f->source))
        return og__deliver_pictures(
            f->source, row, &f->layout, f->rate, f->raw,
            &(og__moment){&set->transforms, set->options.augment, set->options.seed, epoch, sample},
            &f->conversion, out, scratch, error);
    return og__deliver_elements(f->source, row, f->rank - 1, f->dims + 1, &f->conversion,
                                f->check_finite, out, scratch, error);
}

/* All fields of one sample to place `at` of the batch. A failure that only the file is to blame for
 * is noted, and *read is false. */
static og_status deliver_sample(const og_dataset *set, int64_t epoch, int64_t sample, int64_t at,
                                void *const *buffers, og__scratch *scratch, bool *read,
                                og_error *error)
{
    *read = true;
    for (int f = 0; f < set->n_fields && *read; f++) {
        const og__field *field = &set->fields[f];
        og_error why = {0};
        char *out = (char *)buffers[f] + (size_t)at * field->out_bytes;
        og_status status = deliver(set, field, epoch, sample, out, scratch, &why);
        if (status == OG_OUT_OF_MEMORY || status == OG_UNSUPPORTED || field->classes ||
            set->options.strict) {
            if (status != OG_OK) {
                prefix_file(field, field->rows ? field->rows[sample] : sample, &why);
                return og_error_move(error, &why);
            }
        } else if (status != OG_OK) {
            *read = false;
            note_unreadable(set, sample, field, field->rows ? field->rows[sample] : sample, &why);
        }
        og_error_clear(&why);
    }
    return OG_OK;
}

static og_status all_unreadable(const og_dataset *set, og_error *error)
{
    return og_fail(error, OG_INVALID_DATA,
                   "%" PRId64 " samples that cannot be read, one after another; the first: %s",
                   set->n_unreadable, set->n_noted && set->noted[0].text ? set->noted[0].text : "");
}

static og_status read_batch(const og_dataset *set, int64_t epoch, int64_t first, int64_t wanted,
                            void *const *buffers, int64_t *samples, og_error *error)
{
    og__scratch *scratch = take_scratch(set);
    if (!scratch)
        return og_fail_memory(error, sizeof *scratch, "a batch");
    og_status status = OG_OK;
    *samples = 0;
    for (int64_t i = 0; i < wanted && status == OG_OK; i++) {
        bool read = false;
        int64_t tries = set->options.leave_out ? 1 : MOST_TRIES;
        tries = tries < set->samples ? tries : set->samples;
        /* What stands in for a sample is the next of the epoch that can be read. */
        for (int64_t k = 0; k < tries && !read && status == OG_OK; k++)
            status =
                deliver_sample(set, epoch, place_of(set, epoch, (first + i + k) % set->samples),
                               *samples, buffers, scratch, &read, error);
        if (read)
            ++*samples;
        else if (status == OG_OK && !set->options.leave_out)
            status = all_unreadable(set, error);
    }
    return_scratch(set, scratch);
    return status;
}

/* ---- arrays, all at once */

static void gather(const og__field *f, char *out, const int64_t *places, int n)
{
    for (int i = 0; i < n; i++)
        og__convert(&f->conversion, out + (size_t)i * f->out_bytes,
                    f->elements + (size_t)(f->rows ? f->rows[places[i]] : places[i]) * f->in_bytes,
                    f->count);
}

/* Samples first, first + 1 … in the epoch's order. */
static void gather_batch(const og_dataset *set, int64_t epoch, int64_t first, int64_t samples,
                         void *const *buffers)
{
    for (int64_t done = 0; done < samples; done += GATHER) {
        int64_t places[GATHER];
        int n = samples - done < GATHER ? (int)(samples - done) : GATHER;
        if (set->options.shuffle)
            og__shuffle(set->options.seed, epoch, set->samples, first + done, n, places);
        for (int i = 0; i < n && !set->options.shuffle; i++)
            places[i] = first + done + i;
        for (int f = 0; f < set->n_fields; f++)
            gather(&set->fields[f], (char *)buffers[f] + (size_t)done * set->fields[f].out_bytes,
                   places, n);
    }
}

/* Nothing between a sample and the next: one piece of every array. */
static bool is_contiguous(const og_dataset *set)
{
    for (int f = 0; f < set->n_fields; f++)
        if (set->fields[f].rows)
            return false;
    return !set->options.shuffle;
}

static void gather_contiguous(const og_dataset *set, int64_t first, int64_t samples,
                              void *const *buffers)
{
    for (int f = 0; f < set->n_fields; f++) {
        const og__field *from = &set->fields[f];
        const char *in = from->elements + (size_t)first * from->in_bytes;
        og__convert(&from->conversion, buffers[f], in, (size_t)samples * from->count);
        og__array_forget(from->array, in, (size_t)samples * from->in_bytes);
    }
}

/* mixup, of all floats, and cutmix, of pictures and the probabilities of classes: each sample with
 * the one that lies as far from the batch's other end. */
static void mix(const og_dataset *set, int64_t epoch, int64_t index, int64_t samples,
                void *const *buffers)
{
    og__mix m = og__mix_of(&set->transforms, set->options.seed, epoch, index);
    if (m.kind == OG__MIX_NONE)
        return;
    for (int f = 0; f < set->n_fields; f++) {
        const og__field *field = &set->fields[f];
        bool pictures = field->source && !field->array && og_source_is_pictures(field->source);
        size_t n = field->out_bytes / sizeof(float);
        if (field->conversion.to != OG_FLOAT)
            continue;
        if (m.kind == OG__MIX_BLEND || field->classes)
            og__mix_blend(m.share, samples, n, buffers[f]);
        else if (pictures)
            og__mix_cut(&m, &field->layout, samples, n, buffers[f]);
    }
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
    if (!set->in_place)
        OG_TRY(read_batch(set, epoch, first, *samples, buffers, samples, error));
    else if (is_contiguous(set))
        gather_contiguous(set, first, *samples, buffers);
    else
        gather_batch(set, epoch, first, *samples, buffers);
    if (set->options.augment && *samples > 1)
        mix(set, epoch, index, *samples, buffers);
    return OG_OK;
}

/* ---- what went on */

int64_t og_dataset_unreadable(const og_dataset *set, char **list)
{
    og_dataset *own = (og_dataset *)set;
    og_text text = {0};
    pthread_mutex_lock(&own->lock);
    int64_t n = own->n_unreadable;
    for (int64_t i = 0; i < own->n_noted && i < MOST_LISTED; i++)
        og_text_printf(&text, "%s    %s", i ? "\n" : "", own->noted[i].text);
    if (n > MOST_LISTED)
        og_text_printf(&text, "\n    and %" PRId64 " more", n - MOST_LISTED);
    pthread_mutex_unlock(&own->lock);
    *list = text.s;
    return n;
}

bool og_dataset_is_unreadable(const og_dataset *set, int64_t sample)
{
    og_dataset *own = (og_dataset *)set;
    bool found = false;
    pthread_mutex_lock(&own->lock);
    for (int64_t i = 0; i < own->n_noted && !found; i++)
        found = own->noted[i].sample == sample;
    pthread_mutex_unlock(&own->lock);
    return found;
}

void og_dataset_times(const og_dataset *set, double *disk, double *decode)
{
    og_dataset *own = (og_dataset *)set;
    pthread_mutex_lock(&own->lock);
    *disk = own->disk;
    *decode = own->decode;
    pthread_mutex_unlock(&own->lock);
}
