/* Element types: from what files hold to what models take. */
#ifndef OG_DATA_CONVERT_H
#define OG_DATA_CONVERT_H

#include "runtime/ongrad.h"

/* Types that elements can be converted to: float16, bfloat16, float32, float64, integers of 8 to 64
 * bits, bool. */
bool og__convert_takes(og_dtype to);
bool og__dtype_is_float(og_dtype dtype);

/* How one field's elements change: x' = x × scale + shift, rounded to the nearest `to`. */
typedef struct og__conversion {
    og_dtype from, to;
    double scale, shift;
} og__conversion;

/* n elements. Integers and bool keep their value where scale, shift is 1, 0; to bool, not zero is
 * true. */
void og__convert(const og__conversion *c, void *out, const void *in, size_t n);

/* The values of `to` that a result may have: finite ones after rounding. */
void og__convert_range(og_dtype to, double *low, double *high);
/* Can a finite element of `from` leave that range? */
bool og__convert_may_overflow(const og__conversion *c);

/* Elements whose result is not a number of that range (NaN included): how many, and the first. */
typedef struct og__misfits {
    int64_t count;
    int64_t first; /* index of the element */
    double value;  /* of the first, before scale and shift */
} og__misfits;
og__misfits og__convert_check(const og__conversion *c, const void *in, int64_t n);

#endif
