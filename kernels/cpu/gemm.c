/* Choosing the build of the blocked matrix product, and its workspace (gemm.h). */
#include "kernels/cpu/gemm.h"
#include "runtime/base/checked.h"

size_t og__gemm_bytes(og_dtype dtype, int64_t m, int64_t n, int64_t k)
{
    size_t size = dtype == OG_DOUBLE ? 8 : 4;
    size_t n_block = (size_t)og__min(n, OG__GEMM_N), k_block = (size_t)og__min(k, OG__GEMM_K);
    size_t elements = OG__GEMM_M * OG__GEMM_K + (n_block + 64) * k_block;
    if (og__size(dtype) == 2)
        elements += (size_t)og__min(m, OG__GEMM_M) * n_block;
    return og_align_up(elements * size, 256);
}

size_t og__gemm_packed_bytes(og_dtype dtype, int64_t n, int64_t k)
{
    size_t elements = (size_t)(og__gemm_packed_groups(n) * 64 * k);
    return og_align_up(elements * og__size(dtype), 256);
}

size_t og__gemm_rows_bytes(og_dtype dtype)
{
    return OG__GEMM_M * OG__GEMM_K * og__size(dtype);
}

void og__gemm_run(const og__gemm *g, const void *a, const void *b, void *c, void *workspace)
{
    if (g->k == 0) {
        size_t size = og__size(g->dtype);
        for (int64_t i = 0; i < g->m && !g->add; i++)
            memset((char *)c + (size_t)(i * g->c_row) * size, 0, (size_t)g->n * size);
        return;
    }
    if (g->dtype == OG_DOUBLE)
        OG__PICK(og__gemm_double)(g, a, b, c, workspace);
    else
        OG__PICK(og__gemm_float)(g, a, b, c, workspace);
}
