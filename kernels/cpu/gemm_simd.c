/* The blocked matrix product of gemm.h, for float (also for halves) and double. Compiled once for
 * each instruction set: the inner kernel keeps ROWS × 2 vectors of C in registers. */
#include "kernels/cpu/gemm.h"

#if OG_SIMD_LEVEL == 4
#define VECTOR 64
#define ROWS 12
#elif OG_SIMD_LEVEL == 3
#define VECTOR 32
#define ROWS 6
#else
#define VECTOR 16
#define ROWS 4
#endif

#define T float
#define NAME(name) name##_float
#include "kernels/cpu/gemm_template.h"
#undef T
#undef NAME

#define T double
#define NAME(name) name##_double
#include "kernels/cpu/gemm_template.h"
#undef T
#undef NAME

void OG_SIMD(og__gemm_float)(const og__gemm *g, const void *a, const void *b, void *c,
                             void *workspace)
{
    gemm_float(g, a, b, c, workspace);
}

void OG_SIMD(og__gemm_double)(const og__gemm *g, const void *a, const void *b, void *c,
                              void *workspace)
{
    gemm_double(g, a, b, c, workspace);
}

void OG_SIMD(og__gemm_pack)(const og__gemm *g, const void *b, void *packed, int64_t first,
                            int64_t last)
{
    if (g->dtype == OG_DOUBLE)
        pack_b_double(g, b, packed, first, last);
    else
        pack_b_float(g, b, packed, first, last);
}

void OG_SIMD(og__gemm_packed)(const og__gemm *g, const void *a, const void *packed, void *c,
                              void *workspace)
{
    if (g->dtype == OG_DOUBLE)
        gemm_packed_double(g, a, packed, c, workspace);
    else
        gemm_packed_float(g, a, packed, c, workspace);
}
