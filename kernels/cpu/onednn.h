/* The part of oneDNN used here, the same for 2.6 and 3.x: descriptors of memory, and primitives
 * prepared once with their arguments. Nothing is shared between prepared kernels: each owns its
 * engine and stream.
 *
 * Every function that can fail returns false; og__dnnl_fail then says so. Objects are
 * zero-initialized by their owner, and may be freed in that state and more than once. */
#ifndef OG_KERNELS_CPU_ONEDNN_H
#define OG_KERNELS_CPU_ONEDNN_H

#include <dnnl.h>

#include "kernels/cpu/iterate.h"

/* ---- memory descriptors */

#if DNNL_VERSION_MAJOR >= 3
typedef struct og__md {
    dnnl_memory_desc_t desc; /* owned; NULL: none */
} og__md;
typedef const_dnnl_memory_desc_t og__md_ref;
#else
typedef struct og__md {
    dnnl_memory_desc_t desc; /* ndims 0: none */
} og__md;
typedef const dnnl_memory_desc_t *og__md_ref;
#endif

og__md_ref og__md_get(const og__md *md);
bool og__md_strided(og__md *md, og_dtype dtype, int rank, const int64_t *dims,
                    const int64_t *strides);
bool og__md_dense(og__md *md, og_dtype dtype, int rank, const int64_t *dims);
/* Whatever layout a primitive likes best. */
bool og__md_any(og__md *md, og_dtype dtype, int rank, const int64_t *dims);
/* A convolution's float weights in blocks of 16 output by 16 input channels, both multiples of 16;
 * `depthwise`: with a leading group axis, in blocks of 16 groups. */
bool og__md_blocks(og__md *md, int rank, const int64_t *dims, bool depthwise);
bool og__md_copy(og__md *md, og__md_ref from);
bool og__md_equal(og__md_ref a, og__md_ref b);
/* Bytes, a multiple of 256. */
size_t og__md_bytes(og__md_ref md);
void og__md_free(og__md *md);
/* float, and bfloat16 where oneDNN computes with it. */
bool og__dnnl_dtype(og_dtype dtype);

/* ---- engines */

typedef struct og__dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads; /* primitives are made for and run with that many */
} og__dnnl;
bool og__dnnl_open(og__dnnl *d, int threads);
void og__dnnl_close(og__dnnl *d);
/* NODE: oneDNN refused WHAT. Returns OG_INTERNAL. */
og_status og__dnnl_fail(const og_call *call, og_error *error, const char *what);

/* ---- primitives */

#define OG__DNNL_ARGS 8
typedef struct og__primitive {
    dnnl_primitive_t primitive; /* NULL: none */
    int n;
    dnnl_exec_arg_t args[OG__DNNL_ARGS]; /* memories owned */
    void *handles[OG__DNNL_ARGS];        /* what each points at */
    size_t scratch;                      /* bytes of scratchpad, a multiple of 256 */
} og__primitive;

/* What a product goes through before it is written, step after step: something is added, or an
 * activation. */
#define OG__POST_STEPS 3
typedef struct og__post {
    int n;
    struct {
        og__md add; /* owned; what is added has results' rank, and their dims or 1; none: … */
        og_scalar scalar; /* … an activation */
        bool row;         /* it is one row for all */
    } steps[OG__POST_STEPS];
} og__post;
void og__post_free(og__post *post);
/* The argument of what step i adds; row_first: step 0 adds a row. */
int og__post_arg(int i, bool row_first);
/* Is there a step for it that gives what our own loops give, up to rounding, NaN and infinities
 * included? */
bool og__dnnl_activation(og_scalar scalar);

typedef enum og__conv_kind { OG__CONV_FORWARD, OG__CONV_DATA, OG__CONV_WEIGHTS } og__conv_kind;

/* Descriptors of what a convolution reads and writes: x: [N, C, …], w: [M, C / group, …] or with a
 * leading group axis, y: [N, M, …]; bias: [M] or NULL (forward only). `dilations` as in ONNX (1 =
 * none). */
typedef struct og__conv_desc {
    og__conv_kind kind;
    og__md_ref x, w, bias, y;
    int spatial;
    const int64_t *strides, *dilations, *pads; /* pads: begins, then ends */
    const og__post *post;                      /* activations; NULL: none (forward only) */
} og__conv_desc;

/* `p` NULL: only ask whether it is possible. `chosen`: for og__md_any descriptors, the layouts
 * decided on (x, w, y); may be NULL. */
bool og__primitive_conv(og__dnnl *d, og__primitive *p, const og__conv_desc *conv, og__md chosen[3]);
/* y = a b, through `post`; of rank 2, or 3 with a batch axis. */
bool og__primitive_matmul(og__dnnl *d, og__primitive *p, og__md_ref a, og__md_ref b, og__md_ref y,
                          const og__post *post);
/* The layout in which b, of og__md_any, is read fastest where a and y lie as they do. */
bool og__matmul_layout(og__dnnl *d, og__md_ref a, og__md_ref b, og__md_ref y, const og__post *post,
                       og__md *chosen);
/* Copy from one layout to another: arguments DNNL_ARG_FROM, DNNL_ARG_TO. */
bool og__primitive_reorder(og__dnnl *d, og__primitive *p, og__md_ref from, og__md_ref to);
/* The scratchpad follows as argument DNNL_ARG_SCRATCHPAD where there is one. */
bool og__primitive_run(const og__dnnl *d, og__primitive *p, int n, const int *args,
                       void *const *data, void *scratch);
void og__primitive_free(og__primitive *p);

#endif
