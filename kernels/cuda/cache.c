/* The cache on disk (cache.h): a file is a head, which says how long the rest is and what it hashes
 * to, and the rest. */
#define _GNU_SOURCE
#include "kernels/cuda/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct head {
    char magic[8];
    uint64_t bytes, hash;
} head;

static const char magic[8] = "ongrad1";

uint64_t og__cache_hash(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static head head_of(const void *data, size_t bytes)
{
    head h = {.bytes = bytes, .hash = og__cache_hash(OG__CACHE_HASH, data, bytes)};
    memcpy(h.magic, magic, sizeof magic);
    return h;
}

bool og__cache_path(char path[OG__CACHE_PATH], const char *name)
{
    const size_t size = OG__CACHE_PATH - 32; /* room for the end of a temporary name */
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && cache[0] == '/' ? snprintf(path, size, "%s", cache)
            : home && home[0]        ? snprintf(path, size, "%s/.cache", home)
                                     : -1;
    if (n < 0 || (size_t)n + sizeof "/ongrad/" + strlen(name) > size)
        return false;
    (void)mkdir(path, 0700); /* each may be there already */
    memcpy(path + n, "/ongrad", sizeof "/ongrad");
    (void)mkdir(path, 0700);
    if (access(path, W_OK | X_OK) != 0)
        return false;
    snprintf(path + n, size - (size_t)n, "/ongrad/%s", name);
    return true;
}

static void *read_rest(FILE *f, size_t *bytes)
{
    struct stat s;
    head said;
    if (fstat(fileno(f), &s) != 0 || s.st_size < (off_t)sizeof said ||
        fread(&said, sizeof said, 1, f) != 1 || said.bytes != (uint64_t)s.st_size - sizeof said)
        return NULL;
    size_t n = (size_t)said.bytes;
    char *data = malloc(n + 1);
    if (!data)
        return NULL;
    data[n] = 0;
    bool whole = fread(data, 1, n, f) == n;
    const head h = head_of(data, n);
    if (!whole || memcmp(&h, &said, sizeof h) != 0) {
        free(data);
        return NULL;
    }
    *bytes = n;
    return data;
}

void *og__cache_read(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    void *data = read_rest(f, bytes);
    fclose(f);
    return data;
}

void og__cache_write(const char *path, const void *data, size_t bytes)
{
    char temporary[OG__CACHE_PATH];
    const head h = head_of(data, bytes);
    snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    FILE *f = fopen(temporary, "we");
    if (!f)
        return;
    bool ok = fwrite(&h, sizeof h, 1, f) == 1 && fwrite(data, 1, bytes, f) == bytes;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(temporary, path) != 0)
        (void)unlink(temporary);
}
