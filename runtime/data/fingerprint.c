/* What data looks like in 64 bits, to see whether a later run reads the same: shape, type, names,
 * the sizes of all files, and samples of what arrays and files hold. Times of files do not count,
 * nor does where they lie. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/checksum.h"
#include "runtime/data/reader.h"

enum { STRETCHES = 64, STRETCH = 4096, LOOKED_INTO = 1024 };

static void add_shape(og_checksum *sum, og_dtype dtype, int rank, const int64_t *dims)
{
    int32_t known[] = {(int32_t)dtype, rank};
    og_checksum_add(sum, known, sizeof known);
    og_checksum_add(sum, dims, (size_t)rank * sizeof *dims);
}

/* Of 256 KiB spread over the whole. */
static void add_elements(og_checksum *sum, const og_array *array)
{
    const char *data = og_array_data(array);
    size_t bytes = (size_t)og_dtype_bits(og_array_dtype(array)) / 8;
    for (int i = 0; i < og_array_rank(array); i++)
        bytes *= (size_t)og_array_dims(array)[i];
    size_t step = bytes / STRETCHES > STRETCH ? bytes / STRETCHES : STRETCH;
    for (size_t at = 0; at < bytes; at += step)
        og_checksum_add(sum, data + at, bytes - at < STRETCH ? bytes - at : STRETCH);
}

/* The size, and so many stretches of the content, each in the middle of its share. What cannot be
 * read is told of when it is wanted. */
static void add_file(og_checksum *sum, const char *path, int stretches)
{
    char buffer[STRETCH];
    struct stat info;
    int fd = stretches ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if ((fd < 0 ? stat(path, &info) : fstat(fd, &info)) == 0) {
        int64_t size = info.st_size, share = stretches ? size / stretches : 0;
        og_checksum_add(sum, &size, sizeof size);
        for (int i = 0; fd >= 0 && i < stretches; i++) {
            int64_t at = i * share + share / 2 - STRETCH / 2;
            ssize_t n = pread(fd, buffer, sizeof buffer, at > 0 ? at : 0);
            if (n > 0)
                og_checksum_add(sum, buffer, (size_t)n);
        }
    }
    if (fd >= 0)
        close(fd);
}

/* All files in their order; so many of them, spread over all, are looked into. */
static void add_files(og_checksum *sum, const og_source *s)
{
    char path[OG__PATH_BYTES];
    og_error ignored = {0};
    int64_t first = 0, count = 0, n = 0;
    for (int64_t i = 0; i < s->samples; i++) {
        og__source_files(s, i, &first, &count);
        n = first + count > n ? first + count : n;
    }
    int64_t step = n / LOOKED_INTO + 1;
    for (int64_t i = 0; i < n; i++) {
        og_checksum_add(sum, s->files[i], strlen(s->files[i]) + 1);
        if (og__file_path(s, i, path, &ignored) == OG_OK)
            add_file(sum, path, i % step == 0);
    }
    og_error_clear(&ignored);
}

uint64_t og_source_fingerprint(const og_source *s)
{
    og_checksum sum = og_checksum_start();
    const og_array *array = og_source_array(s);
    int64_t dims[OG_MAX_RANK];
    int rank = og_source_dims(s, dims);
    add_shape(&sum, og_source_dtype(s), rank, dims);
    for (int64_t i = 0; i < s->samples; i++) {
        const char *key = og_source_key(s, i);
        if (key)
            og_checksum_add(&sum, key, strlen(key) + 1);
    }
    if (array)
        add_elements(&sum, array);
    else if (s->files)
        add_files(&sum, s);
    else if (s->path)
        add_file(&sum, s->path, STRETCHES);
    return og_checksum_value(&sum);
}
