/* BatchNormalizationTraining and its gradient as cuDNN's fusions: images [n, c, …] of 16-bit or
 * float32 elements, channels-last or dense, statistics and parameters in float32. cuDNN has engines
 * where a place's channels are a multiple of 16 bytes. The definition serves elsewhere, and for
 * float32 images in mixed precision: what the precision pass has left in float32 of what products
 * make are half ones cast, which its programs read and write as such (8 bytes an element and
 * normalization, with the activation, for 24 with casts apart). */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/fusion.h"

extern const og_cuda_image og_cuda_image_batch_norm;

enum { VECTOR = 16, THREADS = 256, LEAST_RANK = 4 };
/* Of a workspace: cuDNN turns dense images round in it. All that it takes: kernels are first asked
 * for dense images, before convolutions have theirs channels-last. */
#define DENSE_LIMIT ((size_t)1 << 36)

/* x, scale, bias → y, mean, var, rstd;  dy, x, scale, mean, rstd → dx, dscale, dbias */
enum { Y, MEAN, VAR, RSTD };

/* Tensors of the fusion, by inputs and outputs of the call; 0: var, which cuDNN does not give. */
typedef struct description {
    og_cuda_fusion fusion;
    int x[OG_CUDA_OPERANDS], y[OG_CUDA_OPERANDS];
} description;

typedef struct plan {
    const og__fusion *fusion;
    int x[OG_CUDA_OPERANDS], y[OG_CUDA_OPERANDS];
    og__place unwanted[OG_CUDA_OPERANDS]; /* results that the node does not have */
    og__place scratch;
    og_cuda_function *variance; /* NULL: not wanted */
} plan;

static bool is_gradient(const og_call *call)
{
    return call->nx == 5;
}

static bool is_wanted(const og_call *call, int k)
{
    return k < call->ny && call->y[k].type.dtype != OG_UNDEFINED;
}

/* ---- description */

/* [n, c, spatial …] of at least two spatial axes. */
static int dims_of(const og_type *type, int64_t *dims)
{
    int rank = 0;
    dims[rank++] = type->dims[0];
    dims[rank++] = type->dims[1];
    for (int a = type->rank; a < LEAST_RANK; a++)
        dims[rank++] = 1;
    for (int a = 2; a < type->rank; a++)
        dims[rank++] = type->dims[a];
    return rank;
}

static bool all_last(const og_call *call)
{
    return og_tensor_is_channels_last(&call->x[0]) && og_tensor_is_channels_last(&call->y[Y]) &&
           (!is_gradient(call) || og_tensor_is_channels_last(&call->x[1]));
}

/* An image of the call, or one number for each of its channels. */
static int add_image(description *d, const og_call *call, bool last)
{
    int64_t dims[OG_CUDA_DIMS];
    int rank = dims_of(&call->x[0].type, dims);
    og_dtype dtype = call->x[0].type.dtype;
    return last ? og__fusion_image(&d->fusion, dtype, OG_CUDA_MEMORY, dims[0], dims[1], rank - 2,
                                   dims + 2)
                : og__fusion_memory(&d->fusion, dtype, rank, dims, NULL);
}

static int add_channels(description *d, const og_call *call)
{
    static const int64_t ones[OG_CUDA_SPATIAL] = {1, 1, 1};
    int64_t dims[OG_CUDA_DIMS];
    int rank = dims_of(&call->x[0].type, dims);
    return og__fusion_image(&d->fusion, OG_FLOAT, OG_CUDA_MEMORY, 1, dims[1], rank - 2, ones);
}

static void describe(const og_call *call, description *d)
{
    int64_t dims[OG_CUDA_DIMS];
    int rank = dims_of(&call->x[0].type, dims), images = 1 + is_gradient(call),
        n = is_gradient(call) ? 3 : 4;
    bool last = all_last(call);
    og__fusion_begin(&d->fusion, call, call->x[0].type.dtype);
    memset(d->y, 0, sizeof d->y);
    if (!last)
        d->fusion.workspace_limit = DENSE_LIMIT;
    og_cuda_operation *o =
        og__fusion_add(&d->fusion, is_gradient(call) ? OG_CUDA_NORM_GRAD : OG_CUDA_NORM);
    for (int i = 0; i < call->nx; i++)
        o->in[i] = d->x[i] = i < images ? add_image(d, call, last) : add_channels(d, call);
    for (int k = 0, to = 0; k < n; k++) {
        if (!is_gradient(call) && k == VAR)
            continue;
        o->out[to++] = d->y[k] = k == Y ? add_image(d, call, last) : add_channels(d, call);
    }
    if (!is_gradient(call))
        o->in[3] = og__fusion_constant(&d->fusion, rank,
                                       (float)og_attr_float(call->node, "epsilon", 1e-5));
}

static bool supports(const og_call *call)
{
    const og_type *image = &call->x[0].type;
    int images = 1 + is_gradient(call);
    description d;
    if (!og__fusion_computes(image->dtype) || image->rank < 2 || image->rank > OG_CUDA_DIMS ||
        og__elements(&call->x[0]) == 0 || !is_wanted(call, Y) ||
        (image->dtype == OG_FLOAT && call->device->options.half != OG_UNDEFINED))
        return false;
    for (int i = 0; i < call->nx; i++)
        if (call->x[i].offset % VECTOR != 0 || (i >= images && call->x[i].type.dtype != OG_FLOAT))
            return false;
    describe(call, &d);
    return og__fusion_find(call, &d.fusion) != NULL;
}

/* ---- prepare */

static og_status prepare(og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_status status = OG_OK;
    description d;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a normalization");
    call->state = p;
    call->workspace_bytes = 0;
    describe(call, &d);
    memcpy(p->x, d.x, sizeof p->x);
    memcpy(p->y, d.y, sizeof p->y);
    OG_TRY_CLEANUP(og__fusion_prepare(call, &d.fusion, &p->fusion, &p->scratch, error));
    for (int k = 1; k < 4; k++)
        if (d.y[k] && !is_wanted(call, k))
            p->unwanted[k] = og__cuda_book(call, (size_t)call->x[0].type.dims[1] * sizeof(float));
    if (!is_gradient(call) && is_wanted(call, VAR))
        OG_TRY_CLEANUP(og__cuda_function(cuda, &og_cuda_image_batch_norm, "og_batch_norm_variance",
                                         0, &p->variance, error));
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

/* ---- run */

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    void *memory[OG_CUDA_TENSORS] = {NULL};
    for (int i = 0; i < call->nx; i++)
        memory[p->x[i]] = call->x[i].data;
    for (int k = 0; k < 4; k++)
        if (p->y[k])
            memory[p->y[k]] =
                is_wanted(call, k) ? call->y[k].data : og__cuda_at(call, p->unwanted[k]);
    OG_TRY(og__fusion_run(call, p->fusion, memory, og__cuda_at(call, p->scratch), p->scratch.bytes,
                          error));
    if (!p->variance)
        return OG_OK;
    int n = (int)call->x[0].type.dims[1];
    const og_variance_arguments arguments = {.rstd = memory[p->y[RSTD]],
                                             .var = call->y[VAR].data,
                                             .n = n,
                                             .epsilon =
                                                 (float)og_attr_float(call->node, "epsilon", 1e-5)};
    const og_cuda_range ranges[] = {{arguments.rstd, (size_t)n * sizeof(float), false},
                                    {arguments.var, (size_t)n * sizeof(float), true}};
    return og__cuda_launch(call, p->variance, (n + THREADS - 1) / THREADS, THREADS, 0, &arguments,
                           sizeof arguments, ranges, 2, error);
}

const og_kernel og_kernels_cuda_batch_norm_cudnn[] = {
    {"ai.ongrad::BatchNormalizationTraining", "cuDNN", OG_KERNEL_CHANNELS_LAST, supports, prepare,
     run, og__free_state},
    {"ai.ongrad::BatchNormalizationGrad", "cuDNN", OG_KERNEL_CHANNELS_LAST, supports, prepare, run,
     og__free_state},
    {NULL},
};
