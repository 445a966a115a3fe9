/* Opening an array: the file is mapped, its first bytes decide the reader. The map is kept only
 * where elements are used in place. A file that is cut short while it is mapped raises SIGBUS, as
 * for every program that maps files. */
#include "runtime/data/array.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/checked.h"

/* What Linux maps at once of a file that is touched: less than this is not worth a call. */
#define FAULT_AROUND ((size_t)64 << 10)

og_status og__array_bytes(const og_array *array, size_t *bytes, og_error *error)
{
    size_t n = (size_t)og_dtype_bits(array->dtype) / 8;
    bool empty = false, fits = true;
    for (int i = 0; i < array->rank; i++) {
        if (array->dims[i] == 0)
            empty = true;
        else if (fits)
            fits =
                (uint64_t)array->dims[i] <= SIZE_MAX && og_mul_size(n, (size_t)array->dims[i], &n);
    }
    if (!fits || n > PTRDIFF_MAX)
        return og_fail(error, OG_INVALID_DATA, "the shape in the header overflows: %d dims of %s",
                       array->rank, og_dtype_name(array->dtype));
    *bytes = empty ? 0 : n;
    return OG_OK;
}

og_status og__array_own(og_array *array, size_t bytes, og_error *error)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && bytes / (size_t)page > (size_t)pages)
        return og_fail(error, OG_OUT_OF_MEMORY,
                       "the array unpacks to %zu bytes, more than this machine's memory; "
                       "hint: save it as .npy, which is read in place",
                       bytes);
    array->owned = malloc(bytes ? bytes : 1);
    if (!array->owned)
        return og_fail_memory(error, bytes, "an array");
    array->data = array->owned;
    return OG_OK;
}

og_status og__array_place(og_array *array, const uint8_t *data, size_t bytes, og_error *error)
{
    size_t element = (size_t)og_dtype_bits(array->dtype) / 8;
    if ((uintptr_t)data % element == 0) {
        array->data = data;
        return OG_OK;
    }
    OG_TRY(og__array_own(array, bytes, error));
    memcpy(array->owned, data, bytes);
    return OG_OK;
}

void og__array_forget(const og_array *array, const void *data, size_t bytes)
{
    size_t at = (size_t)((uintptr_t)data - (uintptr_t)array->map);
    if (!array->map || bytes < FAULT_AROUND || at >= array->map_bytes)
        return;
    size_t first = at / FAULT_AROUND * FAULT_AROUND;
    /* A refusal only costs memory. */
    (void)madvise((char *)array->map + first, at - first + bytes, MADV_DONTNEED);
}

/* ---- files */

static og_status map_file(const char *path, og_array *array, og_error *error)
{
    og_status status = OG_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not hang */
    if (fd < 0)
        return og_fail(error, OG_IO_ERROR, "cannot open: %s", strerror(errno));
    struct stat info;
    if (fstat(fd, &info))
        status = og_fail(error, OG_IO_ERROR, "cannot read: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = og_fail(error, OG_INVALID_DATA, "%s, where an array file is needed",
                         S_ISDIR(info.st_mode) ? "a folder" : "not a regular file");
    else if (info.st_size == 0)
        status = og_fail(error, OG_INVALID_DATA, "the file is empty");
    else if ((uint64_t)info.st_size > PTRDIFF_MAX)
        status = og_fail(error, OG_UNSUPPORTED, "too large to map");
    if (status == OG_OK) {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            status = og_fail(error, OG_IO_ERROR, "cannot map: %s", strerror(errno));
        } else {
            array->map = map;
            array->map_bytes = (size_t)info.st_size;
        }
    }
    close(fd);
    return status;
}

static void unmap_file(og_array *array)
{
    if (array->map)
        munmap(array->map, array->map_bytes);
    array->map = NULL;
    array->map_bytes = 0;
}

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* FILE or FILE:NAME, in fresh memory. The whole is a file if such a file exists; else the longest
 * part before a colon that is one. *member: the name behind that colon, NULL if there is none. */
static char *split_member(const char *path, const char **member)
{
    *member = NULL;
    char *file = strdup(path);
    if (!file || exists(file))
        return file;
    for (size_t i = strlen(file); i-- > 0;) {
        if (path[i] != ':')
            continue;
        file[i] = '\0';
        if (exists(file)) {
            *member = path + i + 1;
            return file;
        }
        file[i] = ':';
    }
    return file;
}

/* ---- the format, from the first bytes */

static og_status read_array(og_array *array, const char *member, og_error *error)
{
    og__bytes file = {array->map, array->map_bytes};
    const uint8_t *p = file.p;
    if (file.n >= 4 && p[0] == 'P' && p[1] == 'K' &&
        ((p[2] == 3 && p[3] == 4) || (p[2] == 5 && p[3] == 6)))
        return og__npz_open(file, member, array, error);
    if (og__is_safetensors(file))
        return og__safetensors_open(file, member, array, error);
    if (member)
        return og_fail(error, OG_INVALID_DATA,
                       "\"%s\" names a member, but only .npz and .safetensors files have members",
                       member);
    if (file.n >= 6 && !memcmp(p, "\x93NUMPY", 6))
        return og__npy_open(file, array, error);
    if (file.n >= 2 && p[0] == 0x1f && p[1] == 0x8b)
        return og__idx_gz_open(file, array, error);
    if (file.n >= 4 && p[0] == 0 && p[1] == 0)
        return og__idx_open(file, array, error);
    return og_fail(error, OG_INVALID_DATA,
                   "not an array file: .npy, .npz, IDX, gzipped IDX, .safetensors and .csv are "
                   "read%s",
                   file.n < 8 ? " (the file is shorter than any header)" : "");
}

og_array *og_array_open(const char *path, og_error *error)
{
    og_error own = {0};
    const char *member;
    char *file = split_member(path, &member);
    og_array *array = calloc(1, sizeof *array);
    if (!file || !array) {
        og_fail_memory(&own, sizeof *array, "an array file");
    } else if (map_file(file, array, &own) == OG_OK && read_array(array, member, &own) == OG_OK) {
        if (array->rank == 0)
            array->dims[0] = 1;
        if (array->owned)
            unmap_file(array);
    }
    free(file);
    if (own.status != OG_OK) {
        og_error_prefix(&own, "%s", path);
        og_error_move(error, &own);
        og_error_clear(&own);
        og_array_free(array);
        return NULL;
    }
    return array;
}

og_array *og__array_open_bare(const char *path, og_dtype dtype, og_error *error)
{
    og_array *array = calloc(1, sizeof *array);
    if (!array) {
        og_fail_memory(error, sizeof *array, "an array file");
        return NULL;
    }
    size_t element = (size_t)og_dtype_bits(dtype) / 8;
    if (map_file(path, array, error) != OG_OK) {
        og_array_free(array);
        return NULL;
    }
    if (array->map_bytes % element) {
        og_fail(error, OG_INVALID_DATA, "%zu bytes are no whole number of %s", array->map_bytes,
                og_dtype_name(dtype));
        og_array_free(array);
        return NULL;
    }
    array->dtype = dtype;
    array->rank = 1;
    array->dims[0] = (int64_t)(array->map_bytes / element);
    array->data = array->map;
    return array;
}

void og_array_free(og_array *array)
{
    if (!array)
        return;
    unmap_file(array);
    free(array->owned);
    free(array);
}

og_dtype og_array_dtype(const og_array *array)
{
    return array->dtype;
}

int og_array_rank(const og_array *array)
{
    return array->rank;
}

const int64_t *og_array_dims(const og_array *array)
{
    return array->dims;
}

const void *og_array_data(const og_array *array)
{
    return array->data;
}
