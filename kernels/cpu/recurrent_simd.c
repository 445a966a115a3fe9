/* One step of LSTM, GRU and RNN over the hidden units of one sequence, forward and back. Compiled
 * once for each instruction set. */
#include "kernels/cpu/recurrent.h"
#include "kernels/cpu/vector_math.h"

#define T float
#define NAME(name) name##_float
#define F(name) name##f
#include "kernels/cpu/recurrent_template.h"
#undef T
#undef NAME
#undef F

#define T double
#define NAME(name) name##_double
#define F(name) name
#include "kernels/cpu/recurrent_template.h"
#undef T
#undef NAME
#undef F

const og__unit_fns *OG_SIMD(og__unit_find)(og_dtype dtype, og__unit unit)
{
    return dtype == OG_DOUBLE ? &fns_double[unit] : &fns_float[unit];
}
