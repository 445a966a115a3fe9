/* Cast to and from types of less than 16 bits that elementwise programs do not know: the four
 * float8 types, float4e2m1, int4 and uint4. Element by element through double, which holds every
 * value of every type but int64 exactly. Formats: ONNX's float8 and float4 pages (Micikevicius et
 * al. 2022; Noune et al. 2022; OCP MX 1.0). */
#include "kernels/cpu/elementwise.h"

/* A float of one sign bit, `exponent` and `mantissa` bits. */
typedef struct format {
    int exponent, mantissa, bias;
    double largest;
    uint8_t nan;        /* without its sign; 0: there is none */
    uint8_t infinity;   /* likewise */
    bool unsigned_zero; /* FNUZ: no negative zero; its pattern is the only NaN */
} format;

static bool find_format(og_dtype dtype, format *f)
{
    switch (dtype) {
    case OG_FLOAT8E4M3FN:
        *f = (format){4, 3, 7, 448, 0x7f, 0, false};
        return true;
    case OG_FLOAT8E4M3FNUZ:
        *f = (format){4, 3, 8, 240, 0x80, 0, true};
        return true;
    case OG_FLOAT8E5M2:
        *f = (format){5, 2, 15, 57344, 0x7e, 0x7c, false};
        return true;
    case OG_FLOAT8E5M2FNUZ:
        *f = (format){5, 2, 16, 57344, 0x80, 0, true};
        return true;
    case OG_FLOAT4E2M1:
        *f = (format){2, 1, 1, 6, 0, 0, false};
        return true;
    default:
        return false;
    }
}

static double decode(const format *f, unsigned bits)
{
    unsigned sign = bits >> (f->exponent + f->mantissa),
             rest = bits & ((1u << (f->exponent + f->mantissa)) - 1);
    if (f->unsigned_zero ? bits == f->nan
                         : f->nan && rest > f->infinity && (f->infinity || rest == f->nan))
        return sign ? -NAN : NAN;
    if (f->infinity && rest == f->infinity)
        return sign ? -INFINITY : INFINITY;
    int exponent = (int)(rest >> f->mantissa), fraction = (int)(rest & ((1u << f->mantissa) - 1));
    double v = exponent ? ldexp(fraction + (1 << f->mantissa), exponent - f->bias - f->mantissa)
                        : ldexp(fraction, 1 - f->bias - f->mantissa);
    return sign ? -v : v;
}

/* Rounds to nearest, ties to even. saturate: what is too large becomes the largest; else infinity,
 * or NaN where there is none. */
static unsigned encode(const format *f, double v, bool saturate)
{
    unsigned sign = signbit(v) && !f->unsigned_zero ? 1u << (f->exponent + f->mantissa) : 0;
    bool minus = signbit(v);
    double a = fabs(v), largest = f->largest;
    if (isnan(v))
        return f->nan ? f->nan | sign : 8; /* float4: as ml_dtypes, negative zero */
    int e = 1 - f->bias;                   /* the exponent of the smallest normal number */
    if (a > 0 && isfinite(a) && ilogb(a) > e)
        e = ilogb(a);
    double quantum = ldexp(1, e - f->mantissa),
           rounded = isfinite(a) ? nearbyint(a / quantum) * quantum : a;
    if (rounded > largest) {
        if (!saturate && f->nan)
            return (f->infinity ? f->infinity : f->nan) | sign;
        rounded = largest;
    }
    if (rounded == 0)
        return sign;
    e = ilogb(rounded);
    e = e < 1 - f->bias ? 1 - f->bias : e;
    unsigned significand =
        (unsigned)ldexp(rounded, f->mantissa - e); /* with the hidden bit, if normal */
    unsigned bits = significand + ((unsigned)(e + f->bias - 1) << f->mantissa);
    return bits | (minus ? 1u << (f->exponent + f->mantissa) : 0);
}

static bool is_four_bits(og_dtype dtype)
{
    return dtype == OG_INT4 || dtype == OG_UINT4 || dtype == OG_FLOAT4E2M1;
}

/* Two elements a byte, the first in the low half. */
static unsigned load_bits(const void *data, og_dtype dtype, int64_t i)
{
    const uint8_t *bytes = data;
    return is_four_bits(dtype) ? bytes[i / 2] >> (i % 2 * 4) & 15 : bytes[i];
}

static void store_bits(void *data, og_dtype dtype, int64_t i, unsigned bits)
{
    uint8_t *bytes = data;
    if (!is_four_bits(dtype))
        bytes[i] = (uint8_t)bits;
    else if (i % 2)
        bytes[i / 2] = (uint8_t)((bytes[i / 2] & 15) | bits << 4);
    else
        bytes[i / 2] = (uint8_t)(bits & 15);
}

static double load(const void *data, og_dtype dtype, int64_t i)
{
    format f;
    if (find_format(dtype, &f))
        return decode(&f, load_bits(data, dtype, i));
    if (!is_four_bits(dtype))
        return og__load_double(data, dtype, i);
    int bits = (int)load_bits(data, dtype, i);
    return dtype == OG_INT4 && bits > 7 ? bits - 16 : bits;
}

static void store(void *data, og_dtype dtype, int64_t i, double v, bool saturate)
{
    format f;
    if (find_format(dtype, &f))
        store_bits(data, dtype, i, encode(&f, v, saturate));
    else if (is_four_bits(dtype))
        store_bits(data, dtype, i, (unsigned)og__double_to_int(v) & 15);
    else
        og__store_double(data, dtype, i, v);
}

static bool is_narrow(og_dtype dtype)
{
    format f;
    return is_four_bits(dtype) || find_format(dtype, &f);
}

static bool supports_narrow(const og_call *call)
{
    og_dtype from = call->x[0].type.dtype, to = call->y[0].type.dtype;
    return (is_narrow(from) || og__elementwise_dtype(from)) &&
           (is_narrow(to) || og__elementwise_dtype(to));
}

/* Cast: x → y; attribute saturate (1), for float8 */
static og_status run_narrow(const og_call *call, og_error *error)
{
    (void)error;
    const og_tensor *x = &call->x[0], *y = &call->y[0];
    bool saturate = og_attr_int(call->node, "saturate", 1) != 0;
    int64_t n = og__elements(y);
    for (int64_t i = 0; i < n; i++) /* on one thread: two elements may share a byte */
        store(y->data, y->type.dtype, i, load(x->data, x->type.dtype, i), saturate);
    return OG_OK;
}

const og_kernel og_kernels_cpu_cast_narrow[] = {
    {"Cast", "narrow", OG_KERNEL_REFERENCE, supports_narrow, NULL, run_narrow, NULL},
    {NULL},
};
