/* Opening a source, and what its readers share. A path with `:` or a file's first bytes choose the
 * reader of a file (array.c); a folder goes by the names in it (folder.c). */
#include "runtime/data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/data/convert.h"
#include "runtime/data/reader.h"

double og__seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- scratch */

og_status og__buffer_need(og__buffer *buffer, size_t bytes, const char *what, og_error *error)
{
    if (bytes <= buffer->bytes)
        return OG_OK;
    free(buffer->p);
    *buffer = (og__buffer){malloc(bytes), bytes};
    if (buffer->p)
        return OG_OK;
    buffer->bytes = 0;
    return og_fail_memory(error, bytes, what);
}

void og__scratch_free(og__scratch *s)
{
    if (!s)
        return;
    og__scaler_free(s->scaler);
    free(s->file.p);
    free(s->sample.p);
    free(s->rows.p);
    free(s->pixels.p);
    free(s->taps.p);
    free(s->work.p);
    free(s);
}

static og_status read_whole(int fd, og__scratch *s, og__bytes *bytes, og_error *error)
{
    struct stat info;
    if (fstat(fd, &info) || !S_ISREG(info.st_mode))
        return og_fail(error, OG_IO_ERROR, "not a regular file");
    if (info.st_size == 0)
        return og_fail(error, OG_INVALID_DATA, "the file is empty");
    if (info.st_size > (off_t)1 << 31)
        return og_fail(error, OG_UNSUPPORTED, "%lld bytes, too large for one sample",
                       (long long)info.st_size);
    size_t size = (size_t)info.st_size, done = 0;
    OG_TRY(og__buffer_need(&s->file, size, "a file", error));
    while (done < size) {
        ssize_t n = read(fd, (char *)s->file.p + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return og_fail(error, OG_IO_ERROR, "cannot read: %s", strerror(errno));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *bytes = (og__bytes){s->file.p, done};
    return OG_OK;
}

og_status og__read_file(const char *path, og__scratch *s, og__bytes *bytes, og_error *error)
{
    double start = og__seconds_now();
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not hang */
    og_status status = fd < 0 ? og_fail(error, OG_IO_ERROR, "cannot open: %s", strerror(errno))
                              : read_whole(fd, s, bytes, error);
    if (fd >= 0)
        close(fd);
    s->disk += og__seconds_now() - start;
    return status;
}

/* ---- the source */

og_source *og__source_new(const og__source_type *type, const char *path, og_error *error)
{
    og_source *source = calloc(1, sizeof *source);
    if (source)
        source->arena = og_arena_new();
    if (source && source->arena)
        source->path = og_arena_strdup(source->arena, path);
    if (!source || !source->path) {
        og_fail_memory(error, sizeof *source, "a source of data");
        og_source_free(source);
        return NULL;
    }
    source->type = type;
    return source;
}

void og_source_free(og_source *source)
{
    if (!source)
        return;
    og_array_free(source->array);
    og_arena_free(source->arena);
    og_text_free(&source->note);
    free(source->first);
    free(source);
}

static og_status read_array_row(const og_source *source, int64_t index, const og__want *want,
                                og__scratch *scratch, og__sample *sample, og_error *error)
{
    (void)want;
    (void)scratch;
    (void)error;
    int64_t n = 1;
    sample->rank = source->rank ? source->rank - 1 : 0;
    for (int d = 0; d < sample->rank; d++)
        n *= sample->dims[d] = source->dims[d + 1];
    size_t bytes = (size_t)n * (size_t)og_dtype_bits(source->dtype) / 8;
    sample->data = (const char *)og_array_data(source->array) + (size_t)index * bytes;
    return OG_OK;
}

static const og__source_type array_source = {"array", false, read_array_row};

og_source *og__array_source(const char *path, og_array *array, og_error *error)
{
    og_source *source = og__source_new(&array_source, path, error);
    if (!source) {
        og_array_free(array);
        return NULL;
    }
    source->array = array;
    source->dtype = array->dtype;
    source->rank = array->rank;
    memcpy(source->dims, array->dims, sizeof source->dims);
    source->samples = array->dims[0];
    return source;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n > m && !strcmp(path + n - m, ending);
}

og_source *og_source_open(const char *path, const og_source_options *options, og_error *error)
{
    struct stat info;
    og_error own = {0};
    og_source *source = NULL;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        source = og__folder_open(path, options, &own);
    } else if (options->seq_len) {
        source = og__tokens_open(path, options, &own);
    } else if (exists && (ends_in(path, ".csv") || ends_in(path, ".tsv"))) {
        source = og__csv_open(path, options, &own);
    } else {
        og_array *array = og_array_open(path, error);
        return array ? og__array_source(path, array, error) : NULL;
    }
    if (!source) {
        og_error_prefix(&own, "%s", path);
        og_error_move(error, &own);
    }
    og_error_clear(&own);
    return source;
}

void og__source_files(const og_source *source, int64_t i, int64_t *first, int64_t *count)
{
    *first = source->first ? source->first[i] : i;
    *count = source->first ? source->first[i + 1] - source->first[i] : 1;
}

og_status og__file_path(const og_source *source, int64_t file, char buffer[OG__PATH_BYTES],
                        og_error *error)
{
    size_t n = strlen(source->path), m = strlen(source->files[file]);
    if (n + m + 2 > OG__PATH_BYTES)
        return og_fail(error, OG_INVALID_DATA, "a path of %zu characters is too long", n + m + 1);
    memcpy(buffer, source->path, n);
    buffer[n] = '/';
    memcpy(buffer + n + 1, source->files[file], m + 1);
    return OG_OK;
}

/* ---- what a source says of itself */

int64_t og_source_samples(const og_source *source)
{
    return source->samples;
}

og_dtype og_source_dtype(const og_source *source)
{
    return source->dtype;
}

int og_source_dims(const og_source *source, int64_t dims[OG_MAX_RANK])
{
    memcpy(dims, source->dims, sizeof source->dims);
    return source->rank;
}

const char *og_source_key(const og_source *source, int64_t index)
{
    return source->keys ? source->keys[index] : NULL;
}

const char *const *og_source_classes(const og_source *source, int *n)
{
    *n = source->n_classes;
    return source->classes;
}

const char *og_source_columns(const og_source *source)
{
    return source->columns;
}

const og_array *og_source_array(const og_source *source)
{
    return source->array;
}

bool og_source_holds_floats(const og_source *source)
{
    return !source->type->pictures && og__dtype_is_float(source->dtype);
}

bool og_source_is_pictures(const og_source *source)
{
    return source->type->pictures;
}

bool og_source_has_lengths(const og_source *source)
{
    return source->lengths_differ;
}

const char *og_source_kind(const og_source *source)
{
    return source->type->name;
}

const char *og_source_note(const og_source *source)
{
    return source->note.s ? source->note.s : "";
}
