/* Mapping regular files; see file.h. */
#include "runtime/onnx/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/checked.h"

/* Reading a page of a mapped file brings those around it, too: Linux takes 64 KiB at once. A
 * multiple of any page size. */
#define FAULT_AROUND ((size_t)64 << 10)

static og_status map_descriptor(int fd, const char *path, const char *what, size_t limit,
                                og__file *file, og_error *error)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return og_fail(error, OG_IO_ERROR, "%s \"%s\": %s", what, path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return og_fail(error, OG_IO_ERROR, "%s \"%s\" is not a regular file", what, path);
    if ((uint64_t)s.st_size > limit)
        return og_fail(error, OG_INVALID_MODEL,
                       "%s \"%s\" has %lld bytes, at most %zu are possible", what, path,
                       (long long)s.st_size, limit);
    if (s.st_size == 0)
        return OG_OK;
    void *data = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return og_fail(error, OG_IO_ERROR, "%s \"%s\" cannot be mapped: %s", what, path,
                       strerror(errno));
    *file = (og__file){data, (size_t)s.st_size};
    return OG_OK;
}

og_status og__file_map(const char *path, const char *what, size_t limit, og__file *file,
                       og_error *error)
{
    *file = (og__file){0};
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not block us */
    if (fd < 0)
        return og_fail(error, OG_IO_ERROR, "%s \"%s\" cannot be opened: %s", what, path,
                       strerror(errno));
    og_status status = map_descriptor(fd, path, what, limit, file, error);
    close(fd);
    return status;
}

void og__file_unmap(og__file *file)
{
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->size);
    *file = (og__file){0};
}

void og__file_forget(const og__file *file, const void *data, size_t bytes)
{
    size_t at = (size_t)((uintptr_t)data - (uintptr_t)file->data);
    if (!file->data || bytes == 0 || at >= file->size)
        return;
    size_t first = at / FAULT_AROUND * FAULT_AROUND;
    size_t end = bytes < file->size - at ? at + bytes : file->size;
    end = og_align_up(end, FAULT_AROUND);
    if (end > file->size)
        end = file->size;
    /* A refusal only costs memory. */
    (void)madvise((void *)((uintptr_t)file->data + first), end - first, MADV_DONTNEED);
}

char *og__path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

const char *og__path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
