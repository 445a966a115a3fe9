/* Products of bfloat16 (gemm.h) by the best instruction that the processor has for them. */
#include "kernels/cpu/gemm_bfloat.h"

static const og__gemm_fns *best(void)
{
    return og__has_matrix_tiles() ? &og__gemm_tiles : &og__gemm_pairs;
}

size_t og__gemm_bfloat_bytes(int64_t n, int64_t k)
{
    return best()->bytes(n, k);
}

size_t og__gemm_bfloat_rows_bytes(const og__gemm *g)
{
    return best()->rows_bytes(g);
}

void og__gemm_bfloat_pack(const og__gemm *g, const void *b, void *packed, int64_t first,
                          int64_t last)
{
    best()->pack(g, b, packed, first, last);
}

void og__gemm_bfloat_packed(const og__gemm *g, const void *a, const void *packed, void *c,
                            void *workspace)
{
    best()->packed(g, a, packed, c, workspace);
}
