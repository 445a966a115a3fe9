/* Writing a .npy file: version 1.0, C order. The file appears whole or not at all: it is written
 * under another name beside its place, flushed to the disk and renamed; on error that other file is
 * removed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/text.h"
#include "runtime/data/array.h"

static const char *npy_type(og_dtype dtype)
{
    switch (dtype) {
    case OG_FLOAT16:
        return "f2";
    case OG_FLOAT:
        return "f4";
    case OG_DOUBLE:
        return "f8";
    case OG_INT8:
        return "i1";
    case OG_INT16:
        return "i2";
    case OG_INT32:
        return "i4";
    case OG_INT64:
        return "i8";
    case OG_UINT8:
        return "u1";
    case OG_UINT16:
        return "u2";
    case OG_UINT32:
        return "u4";
    case OG_UINT64:
        return "u8";
    case OG_BOOL:
        return "b1";
    default:
        return NULL;
    }
}

/* Magic, version, length and dictionary, padded with spaces to a multiple of 64 bytes. */
static og_status make_header(const og_array *array, og_text *header, og_error *error)
{
    const char *type = npy_type(array->dtype);
    char order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
    og_text_addn(header, "\x93NUMPY\1\0\0\0", 10);
    og_text_printf(header, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                   type[1] == '1' ? '|' : order, type);
    for (int i = 0; i < array->rank; i++)
        og_text_printf(header, "%" PRId64 "%s", array->dims[i],
                       array->rank == 1      ? ","
                       : i + 1 < array->rank ? ", "
                                             : "");
    og_text_add(header, "), }");
    while ((header->length + 1) % 64 && !header->failed)
        og_text_add(header, " ");
    og_text_add(header, "\n");
    if (header->failed)
        return og_fail_memory(error, 256, "a .npy header");
    size_t length = header->length - 10;
    header->s[8] = (char)(length & 0xff);
    header->s[9] = (char)(length >> 8);
    return OG_OK;
}

static bool write_all(int fd, const void *data, size_t bytes)
{
    enum { MOST_AT_ONCE = 1 << 30 };
    const char *p = data;
    while (bytes) {
        ssize_t n = write(fd, p, bytes < MOST_AT_ONCE ? bytes : MOST_AT_ONCE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* A new file beside `path`; its name goes to *name. -1 on error. */
static int create_beside(const char *path, og_text *name)
{
    for (int i = 0; i < 100; i++) {
        name->length = 0;
        og_text_printf(name, "%s.%ld-%d.part", path, (long)getpid(), i);
        if (name->failed) {
            errno = ENOMEM;
            return -1;
        }
        int fd = open(name->s, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

og_status og_npy_write(const char *path, og_dtype dtype, int rank, const int64_t *dims,
                       const void *data, og_error *error)
{
    og_array array = {.dtype = dtype, .rank = rank};
    size_t bytes;
    if (!npy_type(dtype))
        return og_fail(error, OG_UNSUPPORTED,
                       "%s: .npy files cannot hold %s; hint: convert to float32 first", path,
                       og_dtype_name(dtype));
    if (rank < 0 || rank > OG_MAX_RANK)
        return og_fail(error, OG_INVALID_ARGUMENT, "%s: rank %d, expected 0 to %d", path, rank,
                       OG_MAX_RANK);
    for (int i = 0; i < rank; i++) {
        array.dims[i] = dims[i];
        if (dims[i] < 0)
            return og_fail(error, OG_INVALID_ARGUMENT, "%s: dim %d is %" PRId64, path, i, dims[i]);
    }
    OG_TRY(og__array_bytes(&array, &bytes, error));

    og_text header = {0}, name = {0};
    og_status status = OG_OK;
    int fd = -1;
    OG_TRY_CLEANUP(make_header(&array, &header, error));
    fd = create_beside(path, &name);
    if (fd < 0) {
        status = og_fail(error, OG_IO_ERROR, "%s: cannot write: %s", path, strerror(errno));
        goto cleanup;
    }
    bool written =
        write_all(fd, header.s, header.length) && write_all(fd, data, bytes) && fsync(fd) == 0;
    int cause = errno;
    if (close(fd) && written) {
        written = false;
        cause = errno;
    }
    if (written && rename(name.s, path)) {
        written = false;
        cause = errno;
    }
    if (!written) {
        unlink(name.s);
        status = og_fail(error, OG_IO_ERROR, "%s: cannot write %zu bytes: %s", path, bytes,
                         strerror(cause));
    }
cleanup:
    og_text_free(&header);
    og_text_free(&name);
    return status;
}
