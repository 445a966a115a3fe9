/* The parts of the real driver: driver_cuda.c on CUDA's driver interface, driver_nvrtc.c,
 * driver_cublas.c and, where cuDNN's headers are there (OG_HAS_CUDNN), driver_cudnn.c and
 * driver_cudnn_rnn.c, which only see each other here. Needs the toolkit's headers.
 *
 * Libraries are opened when a device is first asked for (driver_library.c), so that a program built
 * with CUDA starts as fast as one without, and on machines that have none. */
#ifndef OG_KERNELS_CUDA_DRIVER_CUDA_H
#define OG_KERNELS_CUDA_DRIVER_CUDA_H

#include <cublasLt.h>
#include <cuda.h>
#ifdef OG_HAS_CUDNN
#include <cudnn.h>
#endif
#include <nvrtc.h>

#include "kernels/cuda/driver.h"

/* Functions of the libraries; cuda.h's names stand for the versions that it declares. */
/* The formatter would indent each line of such a list further every time. */
/* clang-format off */
#define OG__CUDA_FUNCTIONS(X) \
    X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGetCount) X(cuDeviceGet) \
    X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDeviceTotalMem) X(cuDevicePrimaryCtxRetain) \
    X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuCtxSynchronize) X(cuMemGetInfo) \
    X(cuMemAlloc) X(cuMemFree) X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemcpyAsync) \
    X(cuMemsetD8Async) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamWaitEvent) \
    X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventSynchronize) \
    X(cuEventElapsedTime) X(cuLaunchKernel) \
    X(cuLaunchHostFunc) X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) \
    X(cuFuncGetAttribute) X(cuFuncSetAttribute) X(cuStreamBeginCapture) X(cuStreamEndCapture) \
    X(cuGraphInstantiateWithFlags) X(cuGraphDestroy) X(cuGraphExecDestroy) X(cuGraphLaunch)
#define OG__NVRTC_FUNCTIONS(X) \
    X(nvrtcVersion) X(nvrtcGetErrorString) X(nvrtcGetNumSupportedArchs) \
    X(nvrtcGetSupportedArchs) X(nvrtcCreateProgram) X(nvrtcDestroyProgram) \
    X(nvrtcCompileProgram) X(nvrtcGetProgramLogSize) X(nvrtcGetProgramLog) X(nvrtcGetCUBINSize) \
    X(nvrtcGetCUBIN) X(nvrtcGetPTXSize) X(nvrtcGetPTX)
#define OG__CUBLAS_FUNCTIONS(X) \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtGetStatusString) X(cublasLtMatmulDescCreate) \
    X(cublasLtMatmulDescDestroy) X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) \
    X(cublasLtMatrixLayoutDestroy) X(cublasLtMatrixLayoutSetAttribute) \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy) \
    X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic) \
    X(cublasLtMatmulAlgoCheck) X(cublasLtMatmul) X(cublasLtGetVersion)
#define OG__CUDNN_FUNCTIONS(X) \
    X(cudnnGetVersion) X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream) X(cudnnGetErrorString) \
    X(cudnnGetLastErrorString) X(cudnnBackendCreateDescriptor) X(cudnnBackendDestroyDescriptor) \
    X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute) X(cudnnBackendFinalize) \
    X(cudnnBackendExecute) X(cudnnCreateTensorDescriptor) X(cudnnDestroyTensorDescriptor) \
    X(cudnnSetTensorNdDescriptor) X(cudnnCreateRNNDataDescriptor) \
    X(cudnnDestroyRNNDataDescriptor) X(cudnnSetRNNDataDescriptor) X(cudnnCreateRNNDescriptor) \
    X(cudnnDestroyRNNDescriptor) X(cudnnSetRNNDescriptor_v8) X(cudnnGetRNNWeightSpaceSize) \
    X(cudnnGetRNNWeightParams) X(cudnnGetRNNTempSpaceSizes) X(cudnnRNNForward) \
    X(cudnnRNNBackwardData_v8) X(cudnnRNNBackwardWeights_v8)
/* clang-format on */

typedef struct og__cuda_library {
#define X(name) __typeof__(&name) name;
    OG__CUDA_FUNCTIONS(X)
} og__cuda_library;
typedef struct og__nvrtc_library {
    OG__NVRTC_FUNCTIONS(X)
} og__nvrtc_library;
typedef struct og__cublas_library {
    OG__CUBLAS_FUNCTIONS(X)
} og__cublas_library;
typedef struct og__cudnn_library {
#ifdef OG_HAS_CUDNN
    OG__CUDNN_FUNCTIONS(X)
#endif
#undef X
} og__cudnn_library;

/* Opened once for the program; NULL, with the reason in *why, where they are not there. */
const og__cuda_library *og__open_cuda(const char **why);
const og__nvrtc_library *og__open_nvrtc(const char **why);
const og__cublas_library *og__open_cublas(const char **why);
const og__cudnn_library *og__open_cudnn(const char **why);

/* Bytes of a card that are left to what comes later: modules and libraries' kernels are loaded when
 * they are first used, recordings take some. On a card that nobody else uses memory_fraction leaves
 * more. */
#define OG__CUDA_LATER ((size_t)512 << 20)

struct og_cuda_card {
    const og__cuda_library *cuda;
    CUdevice device;
    CUcontext context;
    CUstream streams[OG_CUDA_STREAMS];
    og_cuda_properties properties;
    og_cuda_module *modules;
    bool recording;
    const og__cublas_library *cublas; /* NULL before the first product */
    cublasLtHandle_t handle;
#ifdef OG_HAS_CUDNN
    cudnnHandle_t cudnn; /* NULL before the first fusion or recurrence */
#endif
};

/* driver_library.c: the table's member; opens them all. */
void og__cuda_libraries(char *text, size_t room);
/* driver_library.c: OG_OK, or `call` and CUDA's text in *error. */
og_status og__cuda_check(og_cuda_card *card, CUresult result, const char *call, og_error *error);

/* driver_nvrtc.c: the source as an image that cuModuleLoadData takes; malloc'd. Compiled images are
 * kept in $XDG_CACHE_HOME/ongrad (or ~/.cache/ongrad). sm: the card's. */
og_status og__nvrtc_compile(const char *name, const char *source, int sm, char **image,
                            og_error *error);

/* driver_cublas.c: members of the table. */
uint64_t og__cublas_version(og_cuda_card *card);
og_status og__cublas_ways(og_cuda_card *card, const og_cuda_product *product, og_cuda_way *ways,
                          int most, int *n, og_error *error);
og_status og__cublas_plan(og_cuda_card *card, const og_cuda_product *product,
                          const og_cuda_way *way, og_cuda_plan **plan, og_error *error);
og_status og__cublas_run(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *operands,
                         og_error *error);
og_status og__cublas_time(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *operands,
                          int runs, float *ms, og_error *error);
void og__cublas_free(og_cuda_card *card, og_cuda_plan *plan);

#ifdef OG_HAS_CUDNN
/* driver_cudnn.c: OG_OK, or `what` and cuDNN's text in *error; OG_UNSUPPORTED but where memory is
 * short. And the library with the card's handle, made when it is first asked for. */
og_status og__cudnn_check(const og__cudnn_library *cudnn, cudnnStatus_t status, const char *what,
                          og_error *error);
og_status og__cudnn_enter(og_cuda_card *card, const og__cudnn_library **cudnn, og_error *error);

/* driver_cudnn.c: members of the table; `close` before the card goes. */
og_status og__cudnn_plan(og_cuda_card *card, const og_cuda_fusion *fusion, og_cuda_fused **plan,
                         size_t *workspace, og_error *error);
og_status og__cudnn_run(og_cuda_card *card, og_cuda_fused *plan, void *const *memory,
                        void *workspace, size_t workspace_bytes, og_error *error);
void og__cudnn_free(og_cuda_card *card, og_cuda_fused *plan);
void og__cudnn_close(og_cuda_card *card);
/* What planning put off, and the first run does: compiles the engine's kernel, if it needs that. */
og_status og__cudnn_compile(og_cuda_fused *plan, og_error *error);

/* driver_cudnn_rnn.c: members of the table. */
og_status og__cudnn_rnn_plan(og_cuda_card *card, const og_cuda_recurrence *recurrence,
                             og_cuda_walk **plan, og_cuda_recurrence_sizes *sizes, og_error *error);
og_status og__cudnn_rnn_run(og_cuda_card *card, og_cuda_walk *plan,
                            const og_cuda_recurrence_operands *operands, og_error *error);
og_status og__cudnn_rnn_back(og_cuda_card *card, og_cuda_walk *plan,
                             const og_cuda_recurrence_operands *operands, og_error *error);
void og__cudnn_rnn_free(og_cuda_card *card, og_cuda_walk *plan);

/* Without a card: plans for the device that a description in cuDNN's JSON names (needs a driver
 * library, whose functions need not do anything). The plan is freed with card NULL. */
og_status og__cudnn_plan_without(const char *device, const og_cuda_fusion *fusion,
                                 og_cuda_fused **plan, size_t *workspace, og_error *error);
#endif

#endif
