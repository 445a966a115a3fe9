/* Source text to an image, by NVRTC, which needs no driver. Images are kept on disk (cache.h) under
 * the hash of the source, the architecture and NVRTC's version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cache.h"
#include "kernels/cuda/driver_cuda.h"

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
    /* A program uses little of the dialect: warnings would only hide errors. */
    const char *options[] = {architecture, "--std=c++17", "--device-as-default-execution-space",
                             "--disable-warnings"};
    nvrtcProgram program = NULL;
    nvrtcResult result = nvrtc->nvrtcCreateProgram(&program, source, name, 0, NULL, NULL);
    if (result == NVRTC_SUCCESS)
        result = nvrtc->nvrtcCompileProgram(program, 4, options);
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
    char architecture[64], file[160], path[OG__CACHE_PATH];
    bool binary = false;
    int version[2] = {0, 0};
    size_t bytes = 0, length = strlen(source);
    *image = NULL;
    if (!nvrtc)
        return og_fail(error, OG_UNSUPPORTED, "kernels cannot be compiled: %s", why);
    OG_TRY(choose_architecture(nvrtc, sm, architecture, &binary, error));
    (void)nvrtc->nvrtcVersion(&version[0], &version[1]);
    uint64_t key = og__cache_hash(OG__CACHE_HASH, source, length);
    key = og__cache_hash(key, architecture, strlen(architecture));
    key = og__cache_hash(key, version, sizeof version);
    uint64_t check = og__cache_hash(0x84222325cbf29ce4u, source, length);
    snprintf(file, sizeof file, "%.100s-%d-%016llx%08llx", name, sm, (unsigned long long)key,
             (unsigned long long)(check & 0xffffffff));
    bool kept = og__cache_path(path, file);
    *image = kept ? og__cache_read(path, &bytes) : NULL;
    if (*image)
        return OG_OK;
    OG_TRY(compile(nvrtc, name, source, architecture, binary, image, &bytes, error));
    (*image)[bytes] = 0;
    if (kept)
        og__cache_write(path, *image, bytes);
    return OG_OK;
}
