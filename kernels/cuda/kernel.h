/* The dialect kernels are written in: C that nvcc, NVRTC and a C compiler take alike. The last is
 * how tests run them (tests/cuda_sim/), each thread of a block as a fiber.
 *
 * - A kernel is OG_KERNEL(name, argument struct, parameter) and a body; functions are OG_DEVICE.
 *   Names are unique in the library.
 * - Shared memory is OG_SHARED(type, name, count), or OG_SHARED_DYNAMIC(type, name), in a kernel's
 *   body; its contents are undefined at the start of each block.
 * - No C++, no inline assembly, no host headers; every thread of a block reaches every
 *   __syncthreads, every thread of a warp every shuffle and warp barrier (the mask is ~0u).
 * - 16-byte accesses go through og_bits128 at addresses that are multiples of 16.
 *
 * The same text stands in front of what is generated (elementwise.c). */
#ifndef OG_KERNELS_CUDA_KERNEL_H
#define OG_KERNELS_CUDA_KERNEL_H

#if defined(__CUDACC_RTC__)
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#else
#include <math.h>
#include <stdint.h>
#endif

#ifdef __CUDACC__

#define OG_KERNEL(name, arguments, parameter) \
    extern "C" __global__ void name(const __grid_constant__ arguments parameter)
#define OG_DEVICE static __device__ __forceinline__
#define OG_SHARED(type, name, count) __shared__ type name[count]
#define OG_SHARED_DYNAMIC(type, name)                   \
    extern __shared__ uint4 og_dynamic_shared_memory[]; \
    type *name = (type *)og_dynamic_shared_memory
#define OG_UNROLL _Pragma("unroll")

typedef uint4 og_bits128;
OG_DEVICE uint32_t og_bits_of_float(float v)
{
    return __float_as_uint(v);
}
OG_DEVICE float og_float_of_bits(uint32_t v)
{
    return __uint_as_float(v);
}
OG_DEVICE double og_double_of_bits(uint64_t v)
{
    return __longlong_as_double((long long)v);
}
/* float16 and bfloat16, held as their bits; to them to nearest, ties to even. */
OG_DEVICE float og_half_to_float(uint16_t h)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
OG_DEVICE uint16_t og_float_to_half(float f)
{
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}
OG_DEVICE float og_bfloat_to_float(uint16_t b)
{
    return __uint_as_float((uint32_t)b << 16);
}
OG_DEVICE uint16_t og_float_to_bfloat(float f)
{
    uint16_t b;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(b) : "f"(f));
    return b;
}

#else /* a C compiler: the simulated card runs it */

#include <string.h>

#include "runtime/base/half.h"

typedef struct og_dim3 {
    uint32_t x, y, z;
} og_dim3;
typedef struct og_bits128 {
    uint32_t x, y, z, w;
} __attribute__((aligned(16))) og_bits128;

/* What a card gives the thread that runs. */
typedef struct og_sim {
    og_dim3 thread, block, block_dim, grid_dim;
    /* All threads of the block, or of the warp, come this far before one goes on. */
    void (*block_barrier)(void);
    void (*warp_barrier)(void);
    /* What lane `from` of the warp gave; all of its lanes give something. */
    uint64_t (*exchange)(uint64_t value, uint32_t from);
    void (*gather)(uint64_t value, uint64_t values[32]); /* of all lanes */
    uint32_t (*ballot)(int predicate);
    /* The block's memory for one declaration; `site` tells them apart. NULL: the dynamic one. */
    void *(*shared)(const void *site, uint64_t bytes);
} og_sim;
extern og_sim *og_sim_card;

/* A kernel as the card finds it. */
typedef struct og_sim_kernel {
    const char *name;
    void (*run)(const void *arguments);
    uint64_t bytes; /* of the arguments */
} og_sim_kernel;

#define OG_KERNEL(kernel, type, parameter)                                              \
    static void kernel##_body(const type parameter);                                    \
    static void kernel##_run(const void *arguments)                                     \
    {                                                                                   \
        type copy;                                                                      \
        memcpy(&copy, arguments, sizeof copy);                                          \
        kernel##_body(copy);                                                            \
    }                                                                                   \
    extern const og_sim_kernel og_sim_kernel_##kernel;                                  \
    const og_sim_kernel og_sim_kernel_##kernel                                          \
        __attribute__((visibility("default"))) = {#kernel, kernel##_run, sizeof(type)}; \
    static const og_sim_kernel *const og_sim_entry_##kernel                             \
        __attribute__((section("og_sim_kernels"), used)) = &og_sim_kernel_##kernel;     \
    static void kernel##_body(const type parameter)
#define OG_DEVICE static inline
#define OG_SHARED(type, name, count) \
    static const char name##_site;   \
    type *const name = (type *)og_sim_card->shared(&name##_site, sizeof(type) * (count))
#define OG_SHARED_DYNAMIC(type, name) type *const name = (type *)og_sim_card->shared(0, 0)
#define OG_UNROLL

/* Threads take turns, so that these are atomic. */
OG_DEVICE unsigned int atomicCAS(unsigned int *at, unsigned int was, unsigned int becomes)
{
    unsigned int old = *at;
    if (old == was)
        *at = becomes;
    return old;
}
OG_DEVICE unsigned long long atomicMax(unsigned long long *at, unsigned long long v)
{
    unsigned long long old = *at;
    if (v > old)
        *at = v;
    return old;
}

#define threadIdx (og_sim_card->thread)
#define blockIdx (og_sim_card->block)
#define blockDim (og_sim_card->block_dim)
#define gridDim (og_sim_card->grid_dim)
#define __syncthreads() og_sim_card->block_barrier()
#define __syncwarp() og_sim_card->warp_barrier()
#define __ballot_sync(mask, predicate) ((void)(mask), og_sim_card->ballot(predicate))

OG_DEVICE uint32_t og_bits_of_float(float v)
{
    return og_float_bits(v);
}
OG_DEVICE float og_float_of_bits(uint32_t v)
{
    return og_bits_float(v);
}
OG_DEVICE double og_double_of_bits(uint64_t v)
{
    double d;
    memcpy(&d, &v, sizeof d);
    return d;
}

OG_DEVICE uint32_t og_sim_lane(void)
{
    return threadIdx.x % 32;
}
#define OG_SIM_SHUFFLE(type, name)                                  \
    OG_DEVICE type og_sim_shuffle_##name(type value, uint32_t from) \
    {                                                               \
        uint64_t bits = 0;                                          \
        memcpy(&bits, &value, sizeof value);                        \
        bits = og_sim_card->exchange(bits, from % 32);              \
        memcpy(&value, &bits, sizeof value);                        \
        return value;                                               \
    }
OG_SIM_SHUFFLE(float, float)
OG_SIM_SHUFFLE(double, double)
OG_SIM_SHUFFLE(int32_t, int)
OG_SIM_SHUFFLE(uint32_t, uint)
OG_SIM_SHUFFLE(int64_t, long)
#define OG_SIM_SHUFFLE_OF(v)                  \
    _Generic((v), float                       \
             : og_sim_shuffle_float, double   \
             : og_sim_shuffle_double, int32_t \
             : og_sim_shuffle_int, uint32_t   \
             : og_sim_shuffle_uint, int64_t   \
             : og_sim_shuffle_long)
#define __shfl_sync(mask, v, lane) OG_SIM_SHUFFLE_OF(v)(v, (uint32_t)(lane))
#define __shfl_xor_sync(mask, v, lanes) OG_SIM_SHUFFLE_OF(v)(v, og_sim_lane() ^ (uint32_t)(lanes))
/* A lane that would read behind the warp's end keeps its own. */
#define __shfl_down_sync(mask, v, delta) \
    OG_SIM_SHUFFLE_OF(v)                 \
    (v, og_sim_lane() + (uint32_t)(delta) < 32 ? og_sim_lane() + (uint32_t)(delta) : og_sim_lane())
#endif

/* ---- sums and maxima, in one fixed order */

/* The greater one; NaN if one is. */
OG_DEVICE float og_max(float a, float b)
{
    return a != a ? a : b > a || b != b ? b : a;
}
OG_DEVICE float og_min(float a, float b)
{
    return a != a ? a : b < a || b != b ? b : a;
}
OG_DEVICE float og_plus(float a, float b)
{
    return a + b;
}
/* v of all lanes of a warp joined by `join`, a pair of lanes at a time: those 16 apart, 8 … The
 * simulated card lets lanes wait for each other once and does the same. */
#ifdef __CUDACC__
#define OG_WARP_JOIN(name, type, join)                         \
    OG_DEVICE type name(type v)                                \
    {                                                          \
        for (int lanes = 16; lanes; lanes >>= 1)               \
            v = join(v, (type)__shfl_xor_sync(~0u, v, lanes)); \
        return v;                                              \
    }
#else
#define OG_WARP_JOIN(name, type, join)                  \
    OG_DEVICE type name(type v)                         \
    {                                                   \
        uint64_t bits = 0, all[32];                     \
        type of[32], next[32];                          \
        memcpy(&bits, &v, sizeof v);                    \
        og_sim_card->gather(bits, all);                 \
        for (int i = 0; i < 32; i++)                    \
            memcpy(&of[i], &all[i], sizeof v);          \
        for (uint32_t lanes = 16; lanes; lanes >>= 1) { \
            for (uint32_t i = 0; i < 32; i++)           \
                next[i] = join(of[i], of[i ^ lanes]);   \
            memcpy(of, next, sizeof of);                \
        }                                               \
        return of[og_sim_lane()];                       \
    }
#endif
OG_WARP_JOIN(og_warp_sum, float, og_plus)
OG_WARP_JOIN(og_warp_max, float, og_max)
OG_WARP_JOIN(og_warp_min, float, og_min)
/* Of all threads of a one-dimensional block of whole warps; every thread gets the result. scratch:
 * 32 floats of shared memory, free again when it returns. */
OG_DEVICE float og_block_sum(float v, float *scratch)
{
    v = og_warp_sum(v);
    if (threadIdx.x % 32 == 0)
        scratch[threadIdx.x / 32] = v;
    __syncthreads();
    v = og_warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : 0.0f);
    __syncthreads();
    return v;
}
OG_DEVICE float og_block_max(float v, float *scratch)
{
    v = og_warp_max(v);
    if (threadIdx.x % 32 == 0)
        scratch[threadIdx.x / 32] = v;
    __syncthreads();
    v = og_warp_max(scratch[threadIdx.x % 32 < blockDim.x / 32 ? threadIdx.x % 32 : 0]);
    __syncthreads();
    return v;
}

#endif
