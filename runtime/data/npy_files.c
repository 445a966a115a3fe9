/* A folder of .npy files, one sample each. All have one element type and one shape, but that the
 * first axis may differ in length: the headers of all are read when the folder is opened. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/data/reader.h"

/* Of a .npy header: as much as its size is known from. */
enum { HEADER_BYTES = 1024 };

static og_status read_header(const char *path, og_array *array, og_error *error)
{
    uint8_t head[HEADER_BYTES];
    struct stat info = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        og_status status = og_fail(error, OG_IO_ERROR, "cannot open: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    ssize_t n = pread(fd, head, sizeof head, 0);
    close(fd);
    if (n < 0)
        return og_fail(error, OG_IO_ERROR, "cannot read: %s", strerror(errno));
    if (n == 0)
        return og_fail(error, OG_INVALID_DATA, "the file is empty");
    size_t length = 0, bytes = 0;
    og__bytes header = {head, (size_t)n};
    if (n < 6 || memcmp(head, "\x93NUMPY", 6) != 0)
        return og_fail(error, OG_INVALID_DATA, "not a .npy file");
    OG_TRY(og__npy_header_bytes(header, &length, error));
    return og__npy_header(header, (size_t)info.st_size, array, &bytes, error);
}

static bool same_shape(const og_array *a, const og_array *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int d = 1; same && d < a->rank; d++)
        same = a->dims[d] == b->dims[d];
    return same;
}

/* The first file that can be read says what all have to be; a file that is not like it is left to
 * be found when it is read. */
og_status og__npy_files_scan(og_source *s, og_error *error)
{
    og_array first = {0};
    og_error reason = {0};
    bool any = false;
    char path[OG__PATH_BYTES];
    for (int64_t i = 0; i < s->samples; i++) {
        og_array one = {0};
        og_error own = {0};
        OG_TRY(og__file_path(s, i, path, error));
        if (read_header(path, &one, &own) != OG_OK) {
            og_error_prefix(&own, "%s", path);
            og_error_move(&reason, &own);
        } else if (!any) {
            first = one;
            any = true;
        } else if (same_shape(&first, &one) && one.rank && one.dims[0] != first.dims[0]) {
            s->lengths_differ = true;
            if (one.dims[0] > first.dims[0])
                first.dims[0] = one.dims[0];
        }
        og_error_clear(&own);
    }
    if (!any)
        return og_error_move(error, &reason);
    og_error_clear(&reason);
    if (first.rank + 1 > OG_MAX_RANK)
        return og_fail(error, OG_INVALID_DATA, "arrays of rank %d, at most %d are read", first.rank,
                       OG_MAX_RANK - 1);
    s->dtype = first.dtype;
    s->rank = first.rank + 1;
    s->dims[0] = s->samples;
    memcpy(s->dims + 1, first.dims, (size_t)first.rank * sizeof *s->dims);
    return OG_OK;
}

static og_status check_like(const og_source *s, const og_array *one, og_error *error)
{
    bool same = one->dtype == s->dtype && one->rank == s->rank - 1;
    og_text have = {0};
    for (int d = s->lengths_differ ? 1 : 0; same && d < one->rank; d++)
        same = one->dims[d] == s->dims[d + 1];
    if (same)
        return OG_OK;
    for (int side = 0; side < 2; side++) {
        int rank = side ? s->rank - 1 : one->rank;
        const int64_t *dims = side ? s->dims + 1 : one->dims;
        og_text_printf(&have, "%s%s [", side ? ", the others have " : "its shape is ",
                       og_dtype_name(side ? s->dtype : one->dtype));
        for (int d = 0; d < rank; d++)
            og_text_printf(&have, "%s%" PRId64, d ? ", " : "", dims[d]);
        og_text_add(&have, "]");
    }
    og_status status = og_fail(error, OG_INVALID_DATA, "%s", have.s ? have.s : "another shape");
    og_text_free(&have);
    return status;
}

static og_status read_npy(const og_source *s, int64_t index, const og__want *want,
                          og__scratch *scratch, og__sample *sample, og_error *error)
{
    char path[OG__PATH_BYTES];
    og__bytes file = {0};
    size_t header = 0, bytes = 0;
    og_array one = {0};
    (void)want;
    OG_TRY(og__file_path(s, index, path, error));
    OG_TRY(og__read_file(path, scratch, &file, error));
    if (file.n < 6 || memcmp(file.p, "\x93NUMPY", 6) != 0)
        return og_fail(error, OG_INVALID_DATA, "not a .npy file");
    OG_TRY(og__npy_header_bytes(file, &header, error));
    OG_TRY(og__npy_header(file, file.n, &one, &bytes, error));
    OG_TRY(check_like(s, &one, error));
    OG_TRY(og__buffer_need(&scratch->sample, bytes + 1, "a sample", error));
    memcpy(scratch->sample.p, file.p + header, bytes); /* aligned */
    sample->data = scratch->sample.p;
    sample->rank = one.rank;
    memcpy(sample->dims, one.dims, sizeof sample->dims);
    return OG_OK;
}

const og__source_type og__npy_files = {"folder of .npy", false, read_npy};
