/* libcuda.so.1 with nothing behind it: what cuDNN looks up in NVIDIA's driver library before it
 * plans. Every function says that all went well, but that there is no device. Not part of the
 * simulated card: plans without a card (cudnn.c) are made over it. */
#include <stdint.h>
#include <string.h>

enum { SUCCESS = 0, NO_DEVICE = 100, VERSION = 13000 };

#define EXPORT __attribute__((visibility("default"), used))
#define NOTHING(name)      \
    EXPORT int name(void); \
    int name(void)         \
    {                      \
        return SUCCESS;    \
    }
#define HANDLE(name)                \
    EXPORT int name(void **handle); \
    int name(void **handle)         \
    {                               \
        *handle = place;            \
        return SUCCESS;             \
    }
#define TEXT(name)                                 \
    EXPORT int name(int error, const char **text); \
    int name(int error, const char **text)         \
    {                                              \
        (void)error;                               \
        *text = "no driver";                       \
        return SUCCESS;                            \
    }
#define NUMBER(name, value)       \
    EXPORT int name(int *number); \
    int name(int *number)         \
    {                             \
        *number = (value);        \
        return SUCCESS;           \
    }

static char place[64]; /* what handles point at */

/* clang-format off */
NUMBER(cuDriverGetVersion, VERSION) NUMBER(cuDeviceGetCount, 0) NUMBER(cuKernelGetAttribute, 0)
HANDLE(cuCtxGetCurrent) HANDLE(cuLibraryLoadData) HANDLE(cuLibraryLoadFromFile)
HANDLE(cuLibraryGetKernel)
TEXT(cuGetErrorName) TEXT(cuGetErrorString)
NOTHING(cuCtxGetLimit) NOTHING(cuCtxPopCurrent) NOTHING(cuCtxPushCurrent) NOTHING(cuDeviceGet)
NOTHING(cuKernelSetAttribute) NOTHING(cuLaunchCooperativeKernel) NOTHING(cuLaunchKernel)
NOTHING(cuLaunchKernelEx) NOTHING(cuLibraryUnload) NOTHING(cuLinkAddData)
NOTHING(cuLinkComplete) NOTHING(cuLinkCreate) NOTHING(cuLinkDestroy)
NOTHING(cuOccupancyMaxPotentialClusterSize) NOTHING(cuStreamGetCtx)
    /* clang-format on */

    EXPORT int cuInit(unsigned flags);
int cuInit(unsigned flags)
{
    (void)flags;
    return NO_DEVICE;
}

static int nothing(void)
{
    return SUCCESS;
}

EXPORT int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                               int *status);
int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status)
{
    void *found = (void *)(uintptr_t)nothing;
    (void)version;
    (void)flags;
    if (strcmp(name, "cuInit") == 0)
        found = (void *)(uintptr_t)cuInit;
    else if (strcmp(name, "cuDriverGetVersion") == 0)
        found = (void *)(uintptr_t)cuDriverGetVersion;
    else if (strncmp(name, "cuGetProcAddress", 16) == 0)
        found = (void *)(uintptr_t)cuGetProcAddress_v2;
    *function = found;
    if (status)
        *status = SUCCESS;
    return SUCCESS;
}

EXPORT int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags);
int cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
