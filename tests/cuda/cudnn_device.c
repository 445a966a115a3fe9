/* The first card's description as cuDNN has it, JSON on stdout: plans can be made from it where
 * there is no card (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR). What is printed has been read back by
 * cuDNN. tools/gpu_check runs it. Exit status 77: there is no cuDNN, one that is too old, or no
 * card. */
#include <stdio.h>

#ifdef OG_HAS_CUDNN
#include "kernels/cuda/driver_cuda.h"
#endif

#if defined OG_HAS_CUDNN && CUDNN_VERSION >= 90800

#include <stdlib.h>

static const og__cudnn_library *cudnn;

static int check(cudnnStatus_t status, const char *what)
{
    char text[1024] = "";
    if (status == CUDNN_STATUS_SUCCESS)
        return 0;
    cudnn->cudnnGetLastErrorString(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", what, cudnn->cudnnGetErrorString(status), text);
    return 1;
}
#define CHECK(function, ...)                                \
    do {                                                    \
        if (check(cudnn->function(__VA_ARGS__), #function)) \
            return 1;                                       \
    } while (0)

/* From the card behind `handle`; malloc'd. */
static int describe(cudnnHandle_t handle, char **json, int64_t *length)
{
    cudnnBackendDescriptor_t device;
    int64_t got = 0;
    CHECK(cudnnBackendCreateDescriptor, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device);
    CHECK(cudnnBackendSetAttribute, device, CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, 1,
          &handle);
    CHECK(cudnnBackendFinalize, device);
    CHECK(cudnnBackendGetAttribute, device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
          CUDNN_TYPE_CHAR, 0, length, NULL);
    *json = calloc(1, (size_t)*length + 1);
    if (!*json)
        return 1;
    CHECK(cudnnBackendGetAttribute, device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
          CUDNN_TYPE_CHAR, *length, &got, *json);
    return 0;
}

static int read_back(const char *json, int64_t length)
{
    cudnnBackendDescriptor_t device;
    CHECK(cudnnBackendCreateDescriptor, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device);
    CHECK(cudnnBackendSetAttribute, device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
          CUDNN_TYPE_CHAR, length, json);
    CHECK(cudnnBackendFinalize, device);
    return 0;
}

int main(void)
{
    cudnnHandle_t handle = NULL;
    char *json = NULL;
    int64_t length = 0;
    const char *why;
    cudnn = og__open_cudnn(&why);
    if (!cudnn) {
        fprintf(stderr, "skipped: %s\n", why);
        return 77;
    }
    cudnnStatus_t created = cudnn->cudnnCreate(&handle);
    if (created != CUDNN_STATUS_SUCCESS) {
        fprintf(stderr, "skipped: no card: %s\n", cudnn->cudnnGetErrorString(created));
        return 77;
    }
    int status = describe(handle, &json, &length) || read_back(json, length);
    if (!status)
        puts(json);
    free(json);
    return status;
}

#else

int main(void)
{
#ifdef OG_HAS_CUDNN
    fprintf(stderr, "skipped: cuDNN describes cards from version 9.8 on; this build has %d.%d\n",
            CUDNN_MAJOR, CUDNN_MINOR);
#else
    fprintf(stderr, "skipped: this build has no cuDNN\n");
#endif
    return 77;
}

#endif
