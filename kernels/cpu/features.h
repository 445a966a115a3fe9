/* What the processor can do, as far as kernels ask. */
#ifndef OG_KERNELS_CPU_FEATURES_H
#define OG_KERNELS_CPU_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/* What cpuid and xgetbv say: registers of leaf 1, of leaf 7 and its subleaf 1, and the state that
 * the operating system saves. */
typedef struct og__cpuid {
    uint32_t ecx1, ebx7, edx7, eax71;
    uint64_t xcr0;
} og__cpuid;

typedef struct og__features {
    int level;         /* 2, 3 or 4 as the levels of x86-64 */
    bool bfloat16;     /* AVX512-BF16: dot products of pairs; only with level 4 */
    bool matrix_tiles; /* AMX-BF16: products of whole tiles; only with bfloat16 */
} og__features;

/* most: the level not to exceed, as ONGRAD_MAX_LEVEL names it: "2", "3", "4" (without the products
 * of bfloat16); NULL or anything else: none. */
og__features og__decode_features(const og__cpuid *cpuid, const char *most);

#endif
