/* The tables behind the public names: version, statuses, element types. */
#include "runtime/base/bit.h"

#ifndef OG_VERSION
#error "OG_VERSION comes from the build"
#endif

static const char *const status_names[] = {
    [OG_OK] = "ok",
    [OG_INVALID_ARGUMENT] = "invalid argument",
    [OG_INVALID_MODEL] = "invalid model",
    [OG_UNSUPPORTED] = "unsupported",
    [OG_INVALID_DATA] = "invalid data",
    [OG_IO_ERROR] = "input/output error",
    [OG_OUT_OF_MEMORY] = "out of memory",
    [OG_NON_FINITE] = "non-finite value",
    [OG_CANCELLED] = "cancelled",
    [OG_INTERNAL] = "internal error",
};

static const struct {
    const char *name;
    int bits;
} dtypes[OG_BIT + 1] = {
    [OG_UNDEFINED] = {"undefined", 0},
    [OG_FLOAT] = {"float32", 32},
    [OG_UINT8] = {"uint8", 8},
    [OG_INT8] = {"int8", 8},
    [OG_UINT16] = {"uint16", 16},
    [OG_INT16] = {"int16", 16},
    [OG_INT32] = {"int32", 32},
    [OG_INT64] = {"int64", 64},
    [OG_STRING] = {"string", 0},
    [OG_BOOL] = {"bool", 8},
    [OG_FLOAT16] = {"float16", 16},
    [OG_DOUBLE] = {"float64", 64},
    [OG_UINT32] = {"uint32", 32},
    [OG_UINT64] = {"uint64", 64},
    [OG_COMPLEX64] = {"complex64", 64},
    [OG_COMPLEX128] = {"complex128", 128},
    [OG_BFLOAT16] = {"bfloat16", 16},
    [OG_FLOAT8E4M3FN] = {"float8e4m3fn", 8},
    [OG_FLOAT8E4M3FNUZ] = {"float8e4m3fnuz", 8},
    [OG_FLOAT8E5M2] = {"float8e5m2", 8},
    [OG_FLOAT8E5M2FNUZ] = {"float8e5m2fnuz", 8},
    [OG_UINT4] = {"uint4", 4},
    [OG_INT4] = {"int4", 4},
    [OG_FLOAT4E2M1] = {"float4e2m1", 4},
    [OG_BIT] = {"bit", 1},
};

const char *og_version(void)
{
    return OG_VERSION;
}

const char *og_status_name(og_status status)
{
    size_t i = (size_t)status;
    return i < sizeof status_names / sizeof *status_names ? status_names[i] : "unknown status";
}

const char *og_dtype_name(og_dtype dtype)
{
    return (size_t)dtype <= OG_BIT ? dtypes[dtype].name : "unknown type";
}

int og_dtype_bits(og_dtype dtype)
{
    return (size_t)dtype <= OG_BIT ? dtypes[dtype].bits : 0;
}
