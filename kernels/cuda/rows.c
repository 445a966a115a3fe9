/* Kernels over rows: which of them, and their grid. */
#include "kernels/cuda/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/internal.h"

enum { WARP = 32, WARPS = 4, SHORT = 1024, MOST_THREADS = 512, PIECE = 16 };

const char *og__cuda_element_name(og_dtype dtype)
{
    switch (dtype) {
    case OG_FLOAT:
        return "float";
    case OG_FLOAT16:
        return "half";
    case OG_BFLOAT16:
        return "bfloat";
    case OG_DOUBLE:
        return "double";
    case OG_INT8:
    case OG_UINT8:
        return "int8";
    case OG_INT16:
    case OG_UINT16:
        return "int16";
    case OG_INT32:
    case OG_UINT32:
        return "int32";
    case OG_INT64:
    case OG_UINT64:
        return "int64";
    default:
        return NULL;
    }
}

bool og__cuda_is_signed(og_dtype dtype)
{
    return dtype != OG_UINT8 && dtype != OG_UINT16 && dtype != OG_UINT32 && dtype != OG_UINT64;
}

bool og__cuda_rows_take(og_dtype dtype)
{
    return dtype == OG_FLOAT || dtype == OG_FLOAT16 || dtype == OG_BFLOAT16;
}

og_status og__cuda_rows_new(const og_call *call, const og_cuda_image *image, const char *name,
                            og_dtype dtype, int64_t rows, int64_t n, size_t shared,
                            og__cuda_rows **made, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    int64_t vec = PIECE / (int64_t)og__size(dtype);
    char text[96];
    const char *type = og__cuda_rows_take(dtype) ? og__cuda_element_name(dtype) : NULL;
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
