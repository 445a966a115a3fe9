/* Kernels over rows: which of them, and their grid. */
#include "kernels/cuda/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/internal.h"

enum { WARP = 32, WARPS = 4, SHORT = 1024, MOST_THREADS = 512, PIECE = 16 };

static const char *type_name(og_dtype dtype)
{
    return dtype == OG_FLOAT      ? "float"
           : dtype == OG_FLOAT16  ? "half"
           : dtype == OG_BFLOAT16 ? "bfloat"
                                  : NULL;
}

bool og__cuda_rows_take(og_dtype dtype)
{
    return type_name(dtype) != NULL;
}

og_status og__cuda_rows_new(const og_call *call, const og_cuda_image *image, const char *name,
                            og_dtype dtype, int64_t rows, int64_t n, size_t shared,
                            og__cuda_rows **made, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    int64_t vec = PIECE / (int64_t)og__size(dtype);
    char text[96];
    const char *type = type_name(dtype);
    og__cuda_rows *r = type ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return og_fail_memory(error, sizeof *r, "a kernel over rows");
    *r = (og__cuda_rows){.rows = rows, .n = (int)n, .warps = n <= SHORT, .threads = WARPS * WARP};
    while (!r->warps && r->threads < n / vec && r->threads < MOST_THREADS)
        r->threads *= 2;
    snprintf(text, sizeof text, "og_%s_%s_1", name, type);
    og_status status = og__cuda_function(cuda, image, text, shared, &r->single, error);
    snprintf(text, sizeof text, "og_%s_%s_%d", name, type, (int)vec);
    if (status == OG_OK && n % vec == 0)
        status = og__cuda_function(cuda, image, text, shared, &r->wide, error);
    if (status != OG_OK) {
        free(r);
        return status;
    }
    *made = r;
    return OG_OK;
}

og_cuda_function *og__cuda_rows_function(const og__cuda_rows *r, uintptr_t addresses)
{
    return r->wide && addresses % PIECE == 0 ? r->wide : r->single;
}

int64_t og__cuda_rows_blocks(const og__cuda_rows *r)
{
    return r->warps ? (r->rows + WARPS - 1) / WARPS : r->rows;
}
