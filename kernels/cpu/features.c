/* Which instructions the processor has, and the operating system lets it use. */
#include "kernels/cpu/features.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/cpu/internal.h"

static bool all(uint64_t bits, uint64_t wanted)
{
    return (bits & wanted) == wanted;
}

/* Intel's manual, volume 2, CPUID; the states of volume 1, 13.1: AVX 1 and 2, AVX-512 also 5 to 7,
 * AMX 17 and 18. */
og__features og__decode_features(const og__cpuid *c, const char *most)
{
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
    enum { BMI1 = 1 << 3, AVX2 = 1 << 5, BMI2 = 1 << 8 };
    const uint32_t avx512 =
        1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F DQ CD BW VL */
    const uint32_t amx = 1u << 22 | 1u << 24;                 /* of bfloat16, tiles */
    const uint64_t ymm = 0x6, zmm = 0xe6, tiles = 3 << 17;
    og__features f = {.level = 2};
    bool saves = all(c->ecx1, OSXSAVE);
    if (saves && all(c->xcr0, ymm) && all(c->ecx1, FMA | AVX | F16C) &&
        all(c->ebx7, BMI1 | AVX2 | BMI2))
        f.level = 3;
    if (f.level == 3 && all(c->xcr0, zmm) && all(c->ebx7, avx512))
        f.level = 4;
    f.bfloat16 = f.level == 4 && all(c->eax71, 1 << 5);
    f.matrix_tiles = f.bfloat16 && all(c->xcr0, tiles) && all(c->edx7, amx);
    if (most && most[0] >= '2' && most[0] <= '4' && !most[1]) {
        f.level = f.level < most[0] - '0' ? f.level : most[0] - '0';
        f.bfloat16 = f.matrix_tiles = false;
    }
    return f;
}

/* Linux saves the contents of tiles, 8 KiB, for processes that asked for it, all threads of them at
 * once (Documentation/arch/x86/xstate.rst). It may refuse: where a thread's signal stack is too
 * small for that, or a filter forbids the call. */
static bool may_use_tiles(void)
{
#if defined(__x86_64__) && defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static og__features detect(void)
{
    og__cpuid c = {0};
#if defined(__x86_64__)
    unsigned a, b, d, x;
    if (__get_cpuid(1, &a, &b, &x, &d))
        c.ecx1 = x;
    if (__get_cpuid_count(7, 0, &a, &b, &x, &d)) {
        c.ebx7 = b;
        c.edx7 = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &x, &d))
            c.eax71 = a;
    }
    if (c.ecx1 >> 27 & 1) { /* xgetbv exists */
        uint32_t low, high;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        c.xcr0 = (uint64_t)high << 32 | low;
    }
#endif
    og__features f = og__decode_features(&c, getenv("ONGRAD_MAX_LEVEL"));
    f.matrix_tiles = f.matrix_tiles && may_use_tiles();
    return f;
}

/* Asked by every kernel call, and cpuid is slow: kept once known. Threads that ask at the same time
 * store the same. */
static og__features features(void)
{
    static atomic_int known;
    int bits = atomic_load_explicit(&known, memory_order_relaxed);
    if (!bits) {
        og__features f = detect();
        bits = f.level | f.bfloat16 << 3 | f.matrix_tiles << 4;
        atomic_store_explicit(&known, bits, memory_order_relaxed);
    }
    return (og__features){bits & 7, bits >> 3 & 1, bits >> 4 & 1};
}

int og__simd_level(void)
{
    return features().level;
}

bool og__has_bfloat16(void)
{
    return features().bfloat16;
}

bool og__has_matrix_tiles(void)
{
    return features().matrix_tiles;
}
