/* Between the interpreter of elementwise programs (elementwise.c) and its tile loops
 * (elementwise_simd.c), which exist once for each instruction set. */
#ifndef OG_KERNELS_CPU_ELEMENTWISE_H
#define OG_KERNELS_CPU_ELEMENTWISE_H

#include "kernels/cpu/internal.h"

/* Tiles are computed in whole groups of this many elements. */
#define OG__LANES 16

typedef enum og__domain {
    OG__DOMAIN_FLOAT,
    OG__DOMAIN_DOUBLE,
    OG__DOMAIN_INT,
    OG__DOMAIN_COUNT
} og__domain;

/* Which operand is one element for the whole tile; the others are n elements. */
typedef enum og__variant {
    OG__VECTORS,
    OG__UNIFORM_B,
    OG__UNIFORM_A,
    OG__UNIFORM_C,
    OG__VARIANT_COUNT
} og__variant;

/* One instruction over n elements, n a multiple of OG__LANES. y may be the same as an operand. */
typedef void og__tile_fn(void *y, const void *a, const void *b, const void *c, double imm,
                         int64_t n);
/* n elements of memory, `stride` elements apart, to n consecutive ones of the domain's type. */
typedef void og__load_fn(void *to, const void *from, int64_t stride, int64_t n);
/* The other way, to consecutive elements. Conversions: DESIGN's Cast (internal.h, og__store_…). */
typedef void og__store_fn(void *to, const void *from, int64_t n);
/* Bits `bit` … bit + n - 1 of memory (OG_BIT) to 0 or 1; n elements to bits from a byte's first on,
 * those behind them in the last byte 0. */
typedef void og__load_bits_fn(void *to, const void *from, int64_t bit, int64_t n);
typedef void og__store_bits_fn(void *to, const void *from, int64_t n);

typedef struct og__tile_ops {
    og__tile_fn
        *op[OG__DOMAIN_COUNT][OG__VARIANT_COUNT][OG_SCALAR_COUNT]; /* NULL where there is none */
    og__load_fn *load[OG__DOMAIN_COUNT][OG_DTYPE_COUNT];
    og__store_fn *store[OG__DOMAIN_COUNT][OG_DTYPE_COUNT];
    og__load_bits_fn *load_bits[OG__DOMAIN_COUNT];
    og__store_bits_fn *store_bits[OG__DOMAIN_COUNT];
} og__tile_ops;

extern const og__tile_ops og__tile_ops_v2;
#if defined(__x86_64__)
extern const og__tile_ops og__tile_ops_v3, og__tile_ops_v4;
#endif

/* The best tile loops for the processor this runs on. */
const og__tile_ops *og__tile_ops_best(void);

/* Prepare `call` as `program` instead of its node's own (Cast and the single scalar ops). The
 * program is copied. */
og_status og__elementwise_prepare(og_call *call, const og_program *program, og_error *error);
og_status og__elementwise_run(const og_call *call, og_error *error);
/* The axes of y, which has no gaps, in the order in which it is row-major. */
void og__output_order(const og_tensor *y, int *order);

/* scalar.c, cast.c: the calls that are programs, and as which; for every device. */
bool og__fused_supports(const og_call *call);
bool og__scalar_supports(const og_call *call);
bool og__cast_supports(const og_call *call);
/* instr and out are one allocation, the caller's, at program->instr. */
og_status og__scalar_program(const og_call *call, og_program *program, og_error *error);
og_program og__cast_program(const og_call *call);
/* Can the reduction that the program ends in be done as the call's tensors lie? */
bool og__elementwise_folds(const og_call *call, const og_program *program);
/* Do the call's bits lie as its elements are walked, and begin a tile of outputs at whole bytes? */
bool og__elementwise_bits(const og_call *call, const og_program *program);
/* Can elements of this type be loaded and stored? */
bool og__elementwise_dtype(og_dtype dtype);

#endif
