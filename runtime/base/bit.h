/* The element type of bools that a plan keeps in a bit each (runtime/passes/bits.c): element i is
 * bit i % 8 of byte i / 8. It is none of ONNX's, so no file and no caller has it. */
#ifndef OG_BASE_BIT_H
#define OG_BASE_BIT_H

#include "runtime/ongrad.h"

#define OG_BIT ((og_dtype)OG_DTYPE_COUNT)

#endif
