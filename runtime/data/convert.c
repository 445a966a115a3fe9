/* Conversion in blocks: load into float, double or int64, scale, store. Each step is a plain loop
 * that the compiler turns into vector code. Through float where it is exact, through int64 from
 * integer to integer, else through double, so that every result is rounded once. */
#include "runtime/data/convert.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/base/half.h"

enum { BLOCK = 512 };

bool og__dtype_is_float(og_dtype dtype)
{
    return dtype == OG_FLOAT16 || dtype == OG_BFLOAT16 || dtype == OG_FLOAT || dtype == OG_DOUBLE;
}

bool og__convert_takes(og_dtype to)
{
    return og__dtype_is_float(to) || (to >= OG_UINT8 && to <= OG_INT64) || to == OG_BOOL ||
           to == OG_UINT32 || to == OG_UINT64;
}

/* ---- 16-bit floats */

/* x rounded to nearest even in a format of `fraction` stored bits and smallest normal exponent
 * `smallest`. With the quantum u = 2^(max(exponent of x, smallest) - fraction), q = x / u rounded
 * is the fraction with its leading bit, and the code is q plus one exponent step for each binade
 * above the smallest: carries included. */
static uint16_t narrow(double x, int fraction, int smallest, uint16_t infinity)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    uint16_t sign = (uint16_t)(bits >> 63 << 15);
    bits &= ~(UINT64_C(1) << 63);
    if (bits > UINT64_C(0x7ff) << 52) /* NaN, quiet */
        return (uint16_t)(sign | infinity | 1u << (fraction - 1));
    int exponent = (int)(bits >> 52) - 1023;
    if (exponent > 200)
        return sign | infinity;
    if (exponent < smallest)
        exponent = smallest;
    double inverse; /* 1 / u */
    uint64_t inverse_bits = (uint64_t)(1023 - exponent + fraction) << 52;
    memcpy(&inverse, &inverse_bits, 8);
    uint32_t code =
        (uint32_t)rint(fabs(x) * inverse) + ((uint32_t)(exponent - smallest) << fraction);
    return (uint16_t)(sign | (code < infinity ? code : infinity));
}

static uint16_t half_from_double(double x)
{
    return narrow(x, 10, -14, 0x7c00);
}

static uint16_t bfloat_from_double(double x)
{
    return narrow(x, 7, -126, 0x7f80);
}

/* ---- blocks */

/* One case of a switch: for i < n, block[i] = (T) value made of p[i]. */
#define LOAD(dtype, type, T, expression) \
    case dtype: {                        \
        const type *p = in;              \
        for (size_t i = 0; i < n; i++)   \
            block[i] = (T)(expression);  \
    } break;
#define LOAD_INTEGERS(T)               \
    LOAD(OG_UINT8, uint8_t, T, p[i])   \
    LOAD(OG_INT8, int8_t, T, p[i])     \
    LOAD(OG_UINT16, uint16_t, T, p[i]) \
    LOAD(OG_INT16, int16_t, T, p[i])   \
    LOAD(OG_INT32, int32_t, T, p[i])   \
    LOAD(OG_INT64, int64_t, T, p[i])   \
    LOAD(OG_UINT32, uint32_t, T, p[i]) \
    LOAD(OG_UINT64, uint64_t, T, p[i]) \
    LOAD(OG_BOOL, uint8_t, T, p[i] != 0)

static void load_double(double *block, og_dtype from, const void *in, size_t n)
{
    switch (from) {
        LOAD_INTEGERS(double)
        LOAD(OG_FLOAT, float, double, p[i])
        LOAD(OG_DOUBLE, double, double, p[i])
        LOAD(OG_FLOAT16, uint16_t, double, og_half_to_float(p[i]))
        LOAD(OG_BFLOAT16, uint16_t, double, og_bfloat_to_float(p[i]))
    default:
        break;
    }
}

/* Only from types whose every value is a float. */
static void load_float(float *block, og_dtype from, const void *in, size_t n)
{
    switch (from) {
        LOAD(OG_UINT8, uint8_t, float, p[i])
        LOAD(OG_INT8, int8_t, float, p[i])
        LOAD(OG_UINT16, uint16_t, float, p[i])
        LOAD(OG_INT16, int16_t, float, p[i])
        LOAD(OG_BOOL, uint8_t, float, p[i] != 0)
        LOAD(OG_FLOAT16, uint16_t, float, og_half_to_float(p[i]))
        LOAD(OG_BFLOAT16, uint16_t, float, og_bfloat_to_float(p[i]))
    default:
        break;
    }
}

/* uint64 keeps its bits. */
static void load_int(int64_t *block, og_dtype from, const void *in, size_t n)
{
    switch (from) {
        LOAD_INTEGERS(int64_t)
    default:
        break;
    }
}

#define STORE(dtype, type, expression) \
    case dtype: {                      \
        type *p = out;                 \
        for (size_t i = 0; i < n; i++) \
            p[i] = (type)(expression); \
    } break;
#define STORE_INTEGERS                   \
    STORE(OG_UINT8, uint8_t, block[i])   \
    STORE(OG_INT8, int8_t, block[i])     \
    STORE(OG_UINT16, uint16_t, block[i]) \
    STORE(OG_INT16, int16_t, block[i])   \
    STORE(OG_INT32, int32_t, block[i])   \
    STORE(OG_INT64, int64_t, block[i])   \
    STORE(OG_UINT32, uint32_t, block[i]) \
    STORE(OG_UINT64, uint64_t, block[i]) \
    STORE(OG_BOOL, uint8_t, block[i] != 0)

static void store_double(void *out, og_dtype to, const double *block, size_t n)
{
    switch (to) {
        STORE_INTEGERS
        STORE(OG_FLOAT, float, block[i])
        STORE(OG_DOUBLE, double, block[i])
        STORE(OG_FLOAT16, uint16_t, half_from_double(block[i]))
        STORE(OG_BFLOAT16, uint16_t, bfloat_from_double(block[i]))
    default:
        break;
    }
}

static void store_int(void *out, og_dtype to, const int64_t *block, size_t n)
{
    switch (to) {
        STORE_INTEGERS
    default:
        break;
    }
}

/* ---- the conversion */

static bool is_unit(const og__conversion *c)
{
    return c->scale == 1 && c->shift == 0;
}

static bool fits_float(og_dtype from)
{
    return from == OG_UINT8 || from == OG_INT8 || from == OG_UINT16 || from == OG_INT16 ||
           from == OG_BOOL || from == OG_FLOAT16 || from == OG_BFLOAT16;
}

void og__convert(const og__conversion *c, void *out, const void *in, size_t n)
{
    size_t from_bytes = (size_t)og_dtype_bits(c->from) / 8,
           to_bytes = (size_t)og_dtype_bits(c->to) / 8;
    if (is_unit(c) && c->from == c->to && c->from != OG_BOOL) {
        if (n)
            memcpy(out, in, n * to_bytes);
        return;
    }
    if (is_unit(c) && c->to == OG_FLOAT && fits_float(c->from)) {
        load_float(out, c->from, in, n);
        return;
    }
    bool integers = is_unit(c) && !og__dtype_is_float(c->from) && !og__dtype_is_float(c->to);
    for (size_t done = 0; done < n; done += BLOCK) {
        size_t m = n - done < BLOCK ? n - done : BLOCK;
        const char *source = (const char *)in + done * from_bytes;
        char *target = (char *)out + done * to_bytes;
        if (integers) {
            int64_t block[BLOCK];
            load_int(block, c->from, source, m);
            store_int(target, c->to, block, m);
        } else {
            double block[BLOCK];
            load_double(block, c->from, source, m);
            if (!is_unit(c))
                for (size_t i = 0; i < m; i++)
                    block[i] = block[i] * c->scale + c->shift;
            store_double(target, c->to, block, m);
        }
    }
}

/* ---- ranges */

void og__convert_range(og_dtype to, double *low, double *high)
{
    *low = 0;
    switch (to) {
    case OG_BOOL:
        *high = 1;
        return;
    case OG_UINT8:
        *high = UINT8_MAX;
        return;
    case OG_UINT16:
        *high = UINT16_MAX;
        return;
    case OG_UINT32:
        *high = UINT32_MAX;
        return;
    case OG_UINT64:
        *high = 0x1.fffffffffffffp63; /* the largest double below 2^64 */
        return;
    case OG_INT8:
        *low = INT8_MIN;
        *high = INT8_MAX;
        return;
    case OG_INT16:
        *low = INT16_MIN;
        *high = INT16_MAX;
        return;
    case OG_INT32:
        *low = INT32_MIN;
        *high = INT32_MAX;
        return;
    case OG_INT64:
        *low = -0x1p63;
        *high = 0x1.fffffffffffffp62;
        return;
    /* Below the largest value plus half a unit in its last place, which rounds to infinity. */
    case OG_FLOAT16:
        *high = nextafter(0x1.ffep15, 0);
        break;
    case OG_BFLOAT16:
        *high = nextafter(0x1.ffp127, 0);
        break;
    case OG_FLOAT:
        *high = nextafter(0x1.ffffffp127, 0);
        break;
    default:
        *high = DBL_MAX;
        break;
    }
    *low = -*high;
}

bool og__convert_may_overflow(const og__conversion *c)
{
    if (is_unit(c) && c->from == c->to)
        return false;
    double low, high, from_low, from_high;
    og__convert_range(c->to, &low, &high);
    og__convert_range(c->from, &from_low, &from_high);
    if (c->from == OG_INT64 ||
        c->from == OG_UINT64) /* the largest, as a double, is the next power of two */
        from_high = c->from == OG_INT64 ? 0x1p63 : 0x1p64;
    double a = from_low * c->scale + c->shift, b = from_high * c->scale + c->shift;
    return !(fmin(a, b) >= low && fmax(a, b) <= high);
}

og__misfits og__convert_check(const og__conversion *c, const void *in, int64_t n)
{
    og__misfits found = {.first = -1};
    size_t bytes = (size_t)og_dtype_bits(c->from) / 8;
    double low, high;
    og__convert_range(c->to, &low, &high);
    double block[BLOCK] = {0};
    for (int64_t done = 0; done < n; done += BLOCK) {
        size_t m = n - done < BLOCK ? (size_t)(n - done) : BLOCK;
        int bad = 0;
        load_double(block, c->from, (const char *)in + (size_t)done * bytes, m);
        for (size_t i = 0; i < m; i++) {
            double y = block[i] * c->scale + c->shift;
            bad += !(y >= low && y <= high);
        }
        if (bad && found.count == 0)
            for (size_t i = 0; i < m && found.first < 0; i++) {
                double y = block[i] * c->scale + c->shift;
                if (!(y >= low && y <= high)) {
                    found.first = done + (int64_t)i;
                    found.value = block[i];
                }
            }
        found.count += bad;
    }
    return found;
}
