/* Replacing a file in one step: bytes go to a new file in the same folder, are brought to the disk,
 * and only then take the name, so that a crash or a full disk leaves what was there. A path that is
 * a link replaces what the link points at. Devices and FIFOs are written directly. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/onnx/file.h"

enum { BUFFER = 1 << 18, ATTEMPTS = 100 };

static og_status io_error(og__sink *s, const char *doing)
{
    return og_fail(s->error, OG_IO_ERROR, "\"%s\" cannot be %s: %s", s->path, doing,
                   strerror(errno));
}

/* A file of its own beside s->path; the mode is what a new file gets, or that of the one replaced.
 */
static og_status open_temporary(og__sink *s, const struct stat *old)
{
    size_t n = strlen(s->path) + 48;
    s->temporary = malloc(n);
    if (!s->temporary)
        return og_fail_memory(s->error, n, "a file name");
    for (int i = 0; i < ATTEMPTS && s->fd < 0; i++) {
        snprintf(s->temporary, n, "%s.%ld-%d.tmp", s->path, (long)getpid(), i);
        s->fd = open(s->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (s->fd < 0 && errno != EEXIST)
            break;
    }
    if (s->fd < 0) {
        io_error(s, "written");
        free(s->temporary);
        s->temporary = NULL;
        return OG_IO_ERROR;
    }
    if (old && fchmod(s->fd, old->st_mode & 0777) != 0)
        return io_error(s, "given the old one's permissions");
    return OG_OK;
}

og_status og__sink_open(og__sink *s, const char *path, og_error *error)
{
    *s = (og__sink){.fd = -1, .error = error};
    struct stat old;
    bool exists = stat(path, &old) == 0;
    s->path = exists && S_ISREG(old.st_mode) ? realpath(path, NULL) : strdup(path);
    s->buffer = malloc(BUFFER);
    if (!s->path || !s->buffer)
        return og_fail_memory(error, BUFFER, "writing");
    if (!exists || S_ISREG(old.st_mode))
        return open_temporary(s, exists ? &old : NULL);
    s->fd = open(s->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return s->fd < 0 ? io_error(s, "written") : OG_OK;
}

static bool write_all(og__sink *s, const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t n = write(s->fd, bytes, size < INT_MAX ? size : INT_MAX / 4096 * 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            io_error(s, "written");
            return false;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static bool flush(og__sink *s)
{
    bool good = write_all(s, s->buffer, s->used);
    s->used = 0;
    return good;
}

bool og__sink_write(void *sink, const void *bytes, size_t size)
{
    og__sink *s = sink;
    s->written += size;
    if (size > BUFFER - s->used && !flush(s))
        return false;
    if (size >= BUFFER)
        return write_all(s, bytes, size);
    if (size)
        memcpy(s->buffer + s->used, bytes, size);
    s->used += size;
    return true;
}

og_status og__sink_finish(og__sink *s)
{
    if (!flush(s))
        return OG_IO_ERROR;
    if (s->temporary && fsync(s->fd) != 0)
        return io_error(s, "brought to the disk");
    int fd = s->fd;
    s->fd = -1;
    return close(fd) == 0 ? OG_OK : io_error(s, "closed");
}

/* The folder's entry is on the disk too; file systems that cannot say so are believed. */
static void sync_folder(const char *path)
{
    char *folder = og__path_folder(path);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

og_status og__sink_commit(og__sink *s)
{
    if (!s->temporary)
        return OG_OK;
    if (rename(s->temporary, s->path) != 0)
        return io_error(s, "replaced");
    free(s->temporary);
    s->temporary = NULL;
    sync_folder(s->path);
    return OG_OK;
}

void og__sink_abandon(og__sink *s)
{
    if (s->fd >= 0)
        close(s->fd);
    if (s->temporary)
        unlink(s->temporary);
    free(s->temporary);
    free(s->path);
    free(s->buffer);
    *s = (og__sink){.fd = -1};
}
