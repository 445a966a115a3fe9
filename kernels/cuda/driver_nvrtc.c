/* Source text to an image, by NVRTC, which needs no driver. Images are kept on disk under the hash
 * of the source, the architecture and NVRTC's version; a cache that cannot be read or written only
 * costs time. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/driver_cuda.h"

/* ---- the cache */

static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* The folder, made if it is not there; false: there is none. */
static bool find_folder(char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && cache[0] == '/' ? snprintf(path, size, "%s", cache)
            : home && home[0]        ? snprintf(path, size, "%s/.cache", home)
                                     : -1;
    if (n < 0 || (size_t)n + sizeof "/ongrad" > size)
        return false;
    (void)mkdir(path, 0700); /* each may be there already */
    memcpy(path + n, "/ongrad", sizeof "/ongrad");
    (void)mkdir(path, 0700);
    return access(path, W_OK | X_OK) == 0;
}

/* The whole file, NUL-terminated, malloc'd; NULL if it cannot be read. */
static char *read_image(const char *path)
{
    FILE *f = fopen(path, "re");
    struct stat s;
    char *image = NULL;
    if (!f)
        return NULL;
    if (fstat(fileno(f), &s) == 0 && s.st_size > 0) {
        size_t bytes = (size_t)s.st_size;
        image = malloc(bytes + 1);
        if (image && fread(image, 1, bytes, f) != bytes) {
            free(image);
            image = NULL;
        }
        if (image)
            image[bytes] = 0;
    }
    fclose(f);
    return image;
}

/* In one step, so that no other process sees half of it. */
static void write_image(const char *path, const char *image, size_t bytes)
{
    char temporary[1200];
    snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    FILE *f = fopen(temporary, "we");
    if (!f)
        return;
    bool ok = fwrite(image, 1, bytes, f) == bytes;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(temporary, path) != 0)
        (void)unlink(temporary);
}

/* ---- compiling */

/* The newest architecture that NVRTC knows and the card runs: itself, or an older one as text that
 * the driver translates. */
static og_status choose_architecture(const og__nvrtc_library *nvrtc, int sm, char option[64],
                                     bool *binary, og_error *error)
{
    int n = 0, best = 0, list[256];
    if (nvrtc->nvrtcGetNumSupportedArchs(&n) != NVRTC_SUCCESS || n < 1 ||
        n > (int)(sizeof list / sizeof *list) ||
        nvrtc->nvrtcGetSupportedArchs(list) != NVRTC_SUCCESS)
        return og_fail(error, OG_INTERNAL, "NVRTC does not say which architectures it knows");
    for (int i = 0; i < n; i++)
        if (list[i] <= sm && list[i] > best)
            best = list[i];
    if (best == 0)
        return og_fail(error, OG_UNSUPPORTED, "NVRTC knows no architecture up to sm_%d", sm);
    *binary = best == sm;
    snprintf(option, 64, "--gpu-architecture=%s_%d", *binary ? "sm" : "compute", best);
    return OG_OK;
}

static og_status fail_with_log(const og__nvrtc_library *nvrtc, nvrtcProgram program,
                               const char *name, nvrtcResult result, og_error *error)
{
    size_t bytes = 0;
    char *log = NULL;
    if (nvrtc->nvrtcGetProgramLogSize(program, &bytes) == NVRTC_SUCCESS && bytes > 1)
        log = malloc(bytes);
    if (log && nvrtc->nvrtcGetProgramLog(program, log) != NVRTC_SUCCESS)
        log[0] = 0;
    og_status status = og_fail(error, OG_INTERNAL, "NVRTC: kernel \"%s\": %s\n%.2000s", name,
                               nvrtc->nvrtcGetErrorString(result), log ? log : "");
    free(log);
    return status;
}

static og_status compile(const og__nvrtc_library *nvrtc, const char *name, const char *source,
                         const char *architecture, bool binary, char **image, size_t *bytes,
                         og_error *error)
{
    const char *options[] = {architecture, "--std=c++17", "--device-as-default-execution-space"};
    nvrtcProgram program = NULL;
    nvrtcResult result = nvrtc->nvrtcCreateProgram(&program, source, name, 0, NULL, NULL);
    if (result == NVRTC_SUCCESS)
        result = nvrtc->nvrtcCompileProgram(program, 3, options);
    if (result == NVRTC_SUCCESS)
        result = (binary ? nvrtc->nvrtcGetCUBINSize : nvrtc->nvrtcGetPTXSize)(program, bytes);
    if (result == NVRTC_SUCCESS)
        *image = malloc(*bytes + 1);
    if (*image)
        result = (binary ? nvrtc->nvrtcGetCUBIN : nvrtc->nvrtcGetPTX)(program, *image);
    og_status status = OG_OK;
    if (result != NVRTC_SUCCESS)
        status = fail_with_log(nvrtc, program, name, result, error);
    else if (!*image)
        status = og_fail_memory(error, *bytes, "a compiled kernel");
    if (program)
        nvrtc->nvrtcDestroyProgram(&program);
    if (status != OG_OK) {
        free(*image);
        *image = NULL;
    }
    return status;
}

og_status og__nvrtc_compile(const char *name, const char *source, int sm, char **image,
                            og_error *error)
{
    const char *why;
    const og__nvrtc_library *nvrtc = og__open_nvrtc(&why);
    char architecture[64], folder[1024], path[1100] = "";
    bool binary = false;
    int version[2] = {0, 0};
    size_t bytes = 0;
    *image = NULL;
    if (!nvrtc)
        return og_fail(error, OG_UNSUPPORTED, "kernels cannot be compiled: %s", why);
    OG_TRY(choose_architecture(nvrtc, sm, architecture, &binary, error));
    (void)nvrtc->nvrtcVersion(&version[0], &version[1]);
    if (find_folder(folder, sizeof folder)) {
        uint64_t key = hash(0xcbf29ce484222325u, source, strlen(source));
        key = hash(hash(key, architecture, strlen(architecture)), version, sizeof version);
        uint64_t check = hash(0x84222325cbf29ce4u, source, strlen(source));
        snprintf(path, sizeof path, "%s/%s-%d-%016llx%08llx", folder, name, sm,
                 (unsigned long long)key, (unsigned long long)(check & 0xffffffff));
        *image = read_image(path);
    }
    if (*image)
        return OG_OK;
    OG_TRY(compile(nvrtc, name, source, architecture, binary, image, &bytes, error));
    (*image)[bytes] = 0;
    if (path[0])
        write_image(path, *image, bytes);
    return OG_OK;
}
