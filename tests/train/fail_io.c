/* LD_PRELOAD: the N-th call (ONGRAD_FAIL_AT, from 1) of write, pwrite, fsync, rename, link,
 * ftruncate or close on files whose path holds ONGRAD_FAIL_IN fails: with ENOSPC writes, else with
 * EIO. With ONGRAD_FAIL_FOR=M so do the M - 1 after it. ONGRAD_FAIL_COUNT names a file that gets
 * the number of calls seen, at the process's end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;

static int is_of_interest(const char *path)
{
    const char *part = getenv("ONGRAD_FAIL_IN");
    return part && path && strstr(path, part) && !strstr(path, ".lock");
}

static int descriptor_is(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0 && is_of_interest(path);
}

static int fails(void)
{
    const char *at = getenv("ONGRAD_FAIL_AT"), *more = getenv("ONGRAD_FAIL_FOR");
    long first = at ? atol(at) : 0, count = more ? atol(more) : 1;
    calls++;
    return first > 0 && calls >= first && calls < first + count;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (descriptor_is(fd) && fails()) {
        if (size > 1) /* what a full disk does: a part goes */
            REAL("write", ssize_t(*)(int, const void *, size_t))(fd, bytes, size / 2);
        errno = ENOSPC;
        return -1;
    }
    return REAL("write", ssize_t(*)(int, const void *, size_t))(fd, bytes, size);
}

int fsync(int fd)
{
    if (descriptor_is(fd) && fails()) {
        errno = EIO;
        return -1;
    }
    return REAL("fsync", int (*)(int))(fd);
}

int rename(const char *from, const char *to)
{
    if (is_of_interest(to) && fails()) {
        errno = EIO;
        return -1;
    }
    return REAL("rename", int (*)(const char *, const char *))(from, to);
}

int link(const char *from, const char *to)
{
    if (is_of_interest(to) && fails()) {
        errno = EIO;
        return -1;
    }
    return REAL("link", int (*)(const char *, const char *))(from, to);
}

__attribute__((destructor)) static void say_count(void)
{
    const char *path = getenv("ONGRAD_FAIL_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", calls);
        fclose(file);
    }
}
