/* The libraries, opened when they are first needed: by their names as the system finds them, then
 * in the toolkit's folder that was there when building. Their versions, and what CUDA says when a
 * call fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "kernels/cuda/driver_cuda.h"
#include "runtime/base/text.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x) /* of the name that a macro stands for */

static void *open_library(const char *name)
{
    char path[1024];
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library)
        return library;
    snprintf(path, sizeof path, OG_CUDA_LIBRARIES "/%s", name);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* One library: filled the first time. Addresses of functions are the same for every user. */
#define LIBRARY(kind, functions, file, missing)                      \
    static og__##kind##_library kind;                                \
    static const char *kind##_why;                                   \
    static void load_##kind(void)                                    \
    {                                                                \
        void *library = open_library(file);                          \
        kind##_why = library ? NULL : file " was not found" missing; \
        if (library) {                                               \
            functions(TAKE_##kind)                                   \
        }                                                            \
    }                                                                \
    const og__##kind##_library *og__open_##kind(const char **why)    \
    {                                                                \
        static pthread_once_t once = PTHREAD_ONCE_INIT;              \
        pthread_once(&once, load_##kind);                            \
        *why = kind##_why;                                           \
        return kind##_why ? NULL : &kind;                            \
    }
#define TAKE(kind, name)                                        \
    if (!(*(void **)&(kind).name = dlsym(library, TEXT(name)))) \
        kind##_why = "a library is too old: it has no " TEXT(name);
#define TAKE_cuda(name) TAKE(cuda, name)
#define TAKE_nvrtc(name) TAKE(nvrtc, name)
#define TAKE_cublas(name) TAKE(cublas, name)
#define TAKE_cudnn(name) TAKE(cudnn, name)

LIBRARY(cuda, OG__CUDA_FUNCTIONS, "libcuda.so.1", " (no NVIDIA driver is installed)")
LIBRARY(nvrtc, OG__NVRTC_FUNCTIONS, "libnvrtc.so." OG_CUDA_MAJOR, " (a part of the CUDA toolkit)")
LIBRARY(cublas, OG__CUBLAS_FUNCTIONS, "libcublasLt.so." OG_CUDA_MAJOR,
        " (a part of the CUDA toolkit)")
#ifdef OG_HAS_CUDNN
LIBRARY(cudnn, OG__CUDNN_FUNCTIONS, "libcudnn.so.9", " (NVIDIA's cuDNN)")
#endif

/* patch < 0: the library does not say one. */
static void add_version(og_text *out, const char *name, int major, int minor, int patch)
{
    og_text_printf(out, "%s%s %d.%d", out->length ? ", " : "", name, major, minor);
    if (patch >= 0)
        og_text_printf(out, ".%d", patch);
}

/* CUDA counts 1000 × major + 10 × minor; cuBLASLt and cuDNN 10000 × major + 100 × minor + patch. */
void og__cuda_libraries(char *text, size_t room)
{
    const char *why;
    const og__cuda_library *driver = og__open_cuda(&why);
    const og__nvrtc_library *compiler = og__open_nvrtc(&why);
    const og__cublas_library *products = og__open_cublas(&why);
    og_text out = {0};
    int v = 0, minor = 0;
    if (driver && driver->cuDriverGetVersion(&v) == CUDA_SUCCESS)
        add_version(&out, "CUDA driver", v / 1000, v % 1000 / 10, -1);
    if (compiler && compiler->nvrtcVersion(&v, &minor) == NVRTC_SUCCESS)
        add_version(&out, "NVRTC", v, minor, -1);
    if (products) {
        v = (int)products->cublasLtGetVersion();
        add_version(&out, "cuBLASLt", v / 10000, v / 100 % 100, v % 100);
    }
#ifdef OG_HAS_CUDNN
    const og__cudnn_library *fusions = og__open_cudnn(&why);
    if (fusions) {
        v = (int)fusions->cudnnGetVersion();
        add_version(&out, "cuDNN", v / 10000, v / 100 % 100, v % 100);
    }
#endif
    snprintf(text, room, "%s", out.s ? out.s : "");
    og_text_free(&out);
}

og_status og__cuda_check(og_cuda_card *card, CUresult result, const char *call, og_error *error)
{
    const char *name = NULL, *text = NULL;
    if (result == CUDA_SUCCESS)
        return OG_OK;
    card->cuda->cuGetErrorName(result, &name);
    card->cuda->cuGetErrorString(result, &text);
    return og_fail(error, result == CUDA_ERROR_OUT_OF_MEMORY ? OG_OUT_OF_MEMORY : OG_INTERNAL,
                   "CUDA: %s: %s (%s)", call, text ? text : "unknown error", name ? name : "?");
}
