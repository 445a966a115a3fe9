/* The mathematical functions of the C library, declared again with the `simd` attribute: in loops
 * the compiler then calls their vector versions, where the C library has them. NaN and infinities
 * keep their meaning, which -ffast-math would lose. For *_simd.c files. */
#ifndef OG_KERNELS_CPU_VECTOR_MATH_H
#define OG_KERNELS_CPU_VECTOR_MATH_H

#include <math.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR1(name)                                                 \
    extern __attribute__((simd("notinbranch"))) float name##f(float); \
    extern __attribute__((simd("notinbranch"))) double name(double)
#define VECTOR2(name)                                                        \
    extern __attribute__((simd("notinbranch"))) float name##f(float, float); \
    extern __attribute__((simd("notinbranch"))) double name(double, double)
#if __GLIBC_PREREQ(2, 22)
VECTOR1(exp);
VECTOR1(log);
VECTOR1(sin);
VECTOR1(cos);
VECTOR2(pow);
#endif
#if __GLIBC_PREREQ(2, 35)
VECTOR1(log1p);
VECTOR1(tanh);
VECTOR1(erf);
VECTOR1(tan);
VECTOR1(asin);
VECTOR1(acos);
VECTOR1(atan);
VECTOR1(sinh);
VECTOR1(cosh);
VECTOR1(asinh);
VECTOR1(acosh);
VECTOR1(atanh);
#endif
#endif

#endif
