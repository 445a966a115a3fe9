/* Products of kernels, in the alignments that they need. */
#include "kernels/cuda/product_plan.h"

#include "kernels/cpu/internal.h"
#include "kernels/cuda/tuning.h"

og_cuda_product og__cuda_product_of(const og_device *device, og_dtype in, og_dtype out)
{
    bool half = in == OG_FLOAT16 || in == OG_BFLOAT16;
    bool hopper = og__cuda_of(device)->properties.sm >= 90;
    return (og_cuda_product){.batch = 1,
                             .a = in,
                             .b = in,
                             .c = out,
                             .d = out,
                             .bias = out,
                             .arithmetic = half                         ? OG_CUDA_HALF
                                           : in == OG_DOUBLE            ? OG_CUDA_DOUBLE
                                           : device->options.allow_tf32 ? OG_CUDA_TF32
                                                                        : OG_CUDA_FLOAT,
                             .deterministic = device->options.deterministic,
                             .workspace_limit = (size_t)(hopper ? 32 : 4) << 20};
}

og_status og__cuda_product_key(const og__cuda *cuda, const og_cuda_product *shape, og_text *key,
                               og_error *error)
{
    og__tuning_key(key, shape, cuda->properties.name, cuda->driver->product_library(cuda->card));
    return key->failed ? og_fail_memory(error, key->length, "a product's key") : OG_OK;
}

bool og__planned_as_known(const og__cuda *cuda, og__planned *p, const char *key)
{
    og_error refusal = {0};
    bool planned =
        og__tuning_read(key, &p->way) && p->way.workspace <= p->shape.workspace_limit &&
        cuda->driver->product_plan(cuda->card, &p->shape, &p->way, &p->plan, &refusal) == OG_OK;
    og_error_clear(&refusal);
    return planned;
}

/* By the first of the library's ways; *n: how many it has. */
static og_status plan_first(const og__cuda *cuda, og__planned *p, int most, int *n, og_error *error)
{
    og_cuda_way ways[OG__PRODUCT_WAYS];
    OG_TRY(cuda->driver->product_ways(cuda->card, &p->shape, ways, most, n, error));
    p->way = ways[0];
    return cuda->driver->product_plan(cuda->card, &p->shape, &p->way, &p->plan, error);
}

static og_status plan_one(og__cuda *cuda, const og_cuda_product *shape, size_t alignment,
                          og__planned *p, og_error *error)
{
    og_text key = {0};
    int n = 0;
    *p = (og__planned){.shape = *shape};
    p->shape.alignment = alignment;
    bool tunes = !shape->deterministic && og__tuning_keeps();
    og_status status = tunes ? og__cuda_product_key(cuda, &p->shape, &key, error) : OG_OK;
    if (status == OG_OK && !(tunes && og__planned_as_known(cuda, p, key.s))) {
        status = plan_first(cuda, p, tunes ? OG__PRODUCT_WAYS : 1, &n, error);
        if (status == OG_OK && n > 1) {
            p->since = &cuda->untimed;
            p->next = cuda->untimed;
            if (p->next)
                p->next->since = &p->next;
            cuda->untimed = p;
        }
    }
    og_text_free(&key);
    return status;
}

void og__planned_is_timed(og__planned *p)
{
    if (!p->since)
        return;
    *p->since = p->next;
    if (p->next)
        p->next->since = p->since;
    p->since = NULL;
}

/* On the card, for all products whose scalars are read there. */
static const struct {
    double wide;
    float narrow;
} ones = {1, 1};

static og_status make_ones(og__cuda *cuda, og_error *error)
{
    OG_TRY(cuda->driver->alloc(cuda->card, sizeof ones, &cuda->ones, error));
    if (!cuda->ones)
        return og_fail_memory(error, sizeof ones, "a product");
    return cuda->device.remote->upload(&cuda->device, cuda->ones, &ones, sizeof ones, error);
}

static const void *one_of(const og__cuda *cuda, const og_cuda_product *p)
{
    size_t at = p->arithmetic == OG_CUDA_DOUBLE ? 0 : offsetof(__typeof__(ones), narrow);
    return (const char *)cuda->ones + at;
}

og_status og__cuda_product_new(const og_device *device, const og_cuda_product *shape,
                               og__cuda_product *product, og_error *error)
{
    og__cuda *cuda = og__cuda_of(device);
    og_status status = OG_OK;
    size_t least =
        og__size(shape->a) < og__size(shape->d) ? og__size(shape->a) : og__size(shape->d);
    *product = (og__cuda_product){.shape = *shape};
    if (shape->scalars_on_device && !cuda->ones)
        OG_TRY(make_ones(cuda, error));
    if (shape->alignment == 0 || shape->alignment >= OG__PRODUCT_VECTOR)
        OG_TRY_CLEANUP(plan_one(cuda, shape, OG__PRODUCT_VECTOR, &product->aligned, error));
    og_cuda_product anywhere = *shape;
    anywhere.alignment = least;
    if (shape->alignment < OG__PRODUCT_VECTOR &&
        (shape->alignment > 0 || og__cuda_product_goes(device, &anywhere)))
        OG_TRY_CLEANUP(plan_one(cuda, shape, least, &product->any, error));
    size_t aligned = product->aligned.way.workspace, any = product->any.way.workspace;
    product->workspace = aligned > any ? aligned : any;
cleanup:
    if (status != OG_OK)
        og__cuda_product_free(device, product);
    return status;
}

og_status og__cuda_product_run(const og_device *device, const og__cuda_product *product,
                               const og_cuda_operands *operands, og_error *error)
{
    const og__cuda *cuda = og__cuda_of(device);
    uintptr_t all = (uintptr_t)operands->a | (uintptr_t)operands->b | (uintptr_t)operands->c |
                    (uintptr_t)operands->d;
    og_cuda_operands o = *operands;
    if (!o.alpha && product->shape.scalars_on_device)
        o.alpha = one_of(cuda, &product->shape);
    og_cuda_plan *plan = product->aligned.plan && all % OG__PRODUCT_VECTOR == 0
                             ? product->aligned.plan
                             : product->any.plan;
    if (!plan)
        return og_fail(error, OG_UNSUPPORTED,
                       "a product's operands lie at addresses that are no multiples of %d, which "
                       "cuBLASLt does not take for it",
                       OG__PRODUCT_VECTOR);
    return cuda->driver->product_run(cuda->card, plan, &o, error);
}

static void free_one(const og__cuda *cuda, og__planned *p)
{
    og__planned_is_timed(p);
    cuda->driver->product_free(cuda->card, p->plan);
}

void og__cuda_product_free(const og_device *device, og__cuda_product *product)
{
    free_one(og__cuda_of(device), &product->aligned);
    free_one(og__cuda_of(device), &product->any);
    *product = (og__cuda_product){0};
}
