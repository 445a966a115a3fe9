/* A matrix product of a kernel of this folder: planned for addresses that are multiples of 16, for
 * any, or for both, of which a run takes what fits its operands.
 *
 * Each is planned by the fastest of the library's ways, if that is known (tuning.h), else by the
 * library's own first; product_time.c finds out what is not known of the plans there are. */
#ifndef OG_KERNELS_CUDA_PRODUCT_PLAN_H
#define OG_KERNELS_CUDA_PRODUCT_PLAN_H

#include "kernels/cuda/internal.h"
#include "runtime/base/text.h"

enum { OG__PRODUCT_VECTOR = 16 }; /* what wide accesses need; no product asks for more */

/* For one alignment. It stays where it is while it is planned. */
typedef struct og__planned {
    og_cuda_product shape;
    og_cuda_way way;
    og_cuda_plan *plan;                /* NULL: it is not planned */
    struct og__planned *next, **since; /* among og__cuda.untimed; since NULL: it is none of them */
} og__planned;

typedef struct og__cuda_product {
    og_cuda_product shape;
    og__planned aligned, any;
    size_t workspace; /* bytes of each run */
} og__cuda_product;

/* One product (batch 1) of operands of `in` whose sums are written as `out`, by the device's
 * options; m, n, k, leading dimensions and what else is wanted are the caller's to fill in. */
og_cuda_product og__cuda_product_of(const og_device *device, og_dtype in, og_dtype out);
/* How a product reads a row-major matrix of rows × columns, whose neighbouring elements lie `row`
 * and `column` apart: as it is, or transposed, with a leading dimension. False: in no way. */
bool og__cuda_product_reads(int64_t rows, int64_t columns, int64_t row, int64_t column,
                            bool *transpose, int64_t *ld);
/* Does the library have a way to do it? It is asked once for each description; alignment 0: at
 * multiples of 16. */
bool og__cuda_product_goes(const og_device *device, const og_cuda_product *shape);
void og__cuda_answers_free(og__cuda *cuda);
/* Plans `shape`, whose alignment is known, or 0: addresses may be anything, if the library takes
 * that. On failure the product is as freed. */
og_status og__cuda_product_new(const og_device *device, const og_cuda_product *shape,
                               og__cuda_product *product, og_error *error);
/* alpha NULL, with scalars_on_device: 1. */
og_status og__cuda_product_run(const og_device *device, const og__cuda_product *product,
                               const og_cuda_operands *operands, og_error *error);
/* NULLs are nothing to free; the product is all zeros afterwards. */
void og__cuda_product_free(const og_device *device, og__cuda_product *product);

enum { OG__PRODUCT_WAYS = 8 }; /* that are asked for */
/* What the fastest way of a product is kept under. */
og_status og__cuda_product_key(const og__cuda *cuda, const og_cuda_product *shape, og_text *key,
                               og_error *error);
/* Plans p->shape by the way kept under that key; false: there is none that the library takes. */
bool og__planned_as_known(const og__cuda *cuda, og__planned *p, const char *key);
/* Takes it from og__cuda.untimed, if it is there. */
void og__planned_is_timed(og__planned *planned);

#endif
