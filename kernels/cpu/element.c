/* Elements of any type, and iteration over strided tensors (internal.h). */
#include "kernels/cpu/internal.h"

double og__load_double(const void *data, og_dtype dtype, int64_t i)
{
    switch (dtype) {
    case OG_FLOAT:
        return ((const float *)data)[i];
    case OG_DOUBLE:
        return ((const double *)data)[i];
    case OG_FLOAT16:
        return og_half_to_float(((const uint16_t *)data)[i]);
    case OG_BFLOAT16:
        return og_bfloat_to_float(((const uint16_t *)data)[i]);
    case OG_UINT64:
        return (double)((const uint64_t *)data)[i];
    default:
        return (double)og__load_int(data, dtype, i);
    }
}

int64_t og__load_int(const void *data, og_dtype dtype, int64_t i)
{
    switch (dtype) {
    case OG_BOOL:
        return ((const uint8_t *)data)[i] != 0;
    case OG_UINT8:
        return ((const uint8_t *)data)[i];
    case OG_INT8:
        return ((const int8_t *)data)[i];
    case OG_UINT16:
        return ((const uint16_t *)data)[i];
    case OG_INT16:
        return ((const int16_t *)data)[i];
    case OG_UINT32:
        return ((const uint32_t *)data)[i];
    case OG_INT32:
        return ((const int32_t *)data)[i];
    case OG_UINT64:
    case OG_INT64:
        return ((const int64_t *)data)[i];
    case OG_FLOAT:
    case OG_DOUBLE:
    case OG_FLOAT16:
    case OG_BFLOAT16:
        return og__double_to_int(og__load_double(data, dtype, i));
    default:
        return 0;
    }
}

void og__store_double(void *data, og_dtype dtype, int64_t i, double value)
{
    switch (dtype) {
    case OG_FLOAT:
        ((float *)data)[i] = (float)value;
        break;
    case OG_DOUBLE:
        ((double *)data)[i] = value;
        break;
    case OG_FLOAT16:
        ((uint16_t *)data)[i] = og_float_to_half((float)value);
        break;
    case OG_BFLOAT16:
        ((uint16_t *)data)[i] = og_float_to_bfloat((float)value);
        break;
    case OG_BOOL:
        ((uint8_t *)data)[i] = value != 0;
        break;
    case OG_UINT64:
        ((uint64_t *)data)[i] = value >= 0x1p63 && value < 0x1p64
                                    ? (uint64_t)value
                                    : (uint64_t)og__double_to_int(value);
        break;
    default:
        og__store_int(data, dtype, i, og__double_to_int(value));
    }
}

void og__store_int(void *data, og_dtype dtype, int64_t i, int64_t value)
{
    switch (dtype) {
    case OG_BOOL:
        ((uint8_t *)data)[i] = value != 0;
        break;
    case OG_UINT8:
    case OG_INT8:
        ((uint8_t *)data)[i] = (uint8_t)value;
        break;
    case OG_UINT16:
    case OG_INT16:
        ((uint16_t *)data)[i] = (uint16_t)value;
        break;
    case OG_UINT32:
    case OG_INT32:
        ((uint32_t *)data)[i] = (uint32_t)value;
        break;
    case OG_UINT64:
    case OG_INT64:
        ((int64_t *)data)[i] = value;
        break;
    case OG_FLOAT: /* directly: through double would round twice */
        ((float *)data)[i] = (float)value;
        break;
    case OG_DOUBLE:
    case OG_FLOAT16:
    case OG_BFLOAT16:
        og__store_double(data, dtype, i, (double)value);
        break;
    default:
        break;
    }
}

void og__broadcast_strides(const og_tensor *t, const og_type *to, int64_t *strides)
{
    int shift = to->rank - t->type.rank;
    for (int a = 0; a < to->rank; a++)
        strides[a] = a < shift || t->type.dims[a - shift] == 1 ? 0 : t->strides[a - shift];
}

void og__collapse(int *rank, int64_t *dims, int n, int64_t (*strides)[OG_MAX_RANK])
{
    int kept = 0;
    for (int a = 0; a < *rank; a++) {
        if (dims[a] == 1)
            continue;
        bool merge = kept > 0;
        for (int o = 0; merge && o < n; o++)
            merge = strides[o][kept - 1] == strides[o][a] * dims[a];
        if (merge) {
            dims[kept - 1] *= dims[a];
        } else {
            dims[kept++] = dims[a];
        }
        for (int o = 0; o < n; o++)
            strides[o][kept - 1] = strides[o][a];
    }
    if (kept == 0) {
        dims[0] = 1;
        for (int o = 0; o < n; o++)
            strides[o][0] = 0;
        kept = 1;
    }
    *rank = kept;
}

void og__seek(const og__space *space, int axes, int64_t at, og__cursor *cursor)
{
    memset(cursor->offset, 0, sizeof cursor->offset);
    for (int a = axes - 1; a >= 0; a--) {
        cursor->index[a] = at % space->dims[a];
        at /= space->dims[a];
        for (int o = 0; o < space->n; o++)
            cursor->offset[o] += cursor->index[a] * space->strides[o][a];
    }
}
