/* MaxPool, MaxPoolTraining, AveragePool and their gradients as cuDNN's fusions, for images of
 * 16-bit or float32 elements that lie channels-last, a place's channels a multiple of 16 bytes.
 * cuDNN's index of a largest element is what the op keeps of it: its place in the window, padding
 * counted, so that a pair need not be computed by one family. It is an int8: larger windows are
 * left to pool.c, as are windows with gaps, MaxPool's indices in the whole image and what cuDNN
 * refuses. */
#include <stdlib.h>

#include "kernels/cuda/fusion.h"
#include "kernels/cuda/pool_call.h"

enum { VECTOR = 16, MOST_PLACES = 128, AXES = 3 };

typedef struct description {
    og__pool_shape shape;
    int64_t ends[AXES]; /* padding, with what ceil_mode adds */
    og_cuda_fusion fusion;
    int large, small, found; /* tensors of the fusion; found 0: none */
} description;

typedef struct plan {
    const og__fusion *fusion;
    int large, small, found;
    og__place scratch;
} plan;

/* ---- description */

/* What cuDNN pads with behind: as far as the last window reaches. False where it is not defined for
 * such windows, or counts other elements than the op. */
static bool pad(const og__pool_call *p, description *d)
{
    const og__pool_shape *g = &d->shape;
    for (int a = 0; a < AXES; a++) {
        int64_t reach = (g->out[a] - 1) * g->stride[a] + g->kernel[a] - g->in[a] - g->pad[a];
        d->ends[a] = og__max(g->pad_end[a], reach);
        if (g->dilation[a] != 1 || g->pad[a] >= g->kernel[a] || d->ends[a] >= g->kernel[a] ||
            (!p->max && g->include_pad && d->ends[a] > g->pad_end[a]))
            return false;
    }
    return true;
}

static int add_image(description *d, const og_tensor *t, og_dtype dtype, int first,
                     const int64_t *dims)
{
    return og__fusion_image(&d->fusion, dtype, OG_CUDA_MEMORY, t->type.dims[0], t->type.dims[1],
                            AXES - first, dims + first);
}

static void describe(const og_call *call, const og__pool_call *p, description *d)
{
    const og__pool_shape *g = &d->shape;
    og_dtype dtype = p->large->type.dtype;
    int first = p->large->type.rank == AXES + 2 ? 0 : 1; /* cuDNN has at least two spatial axes */
    og__fusion_begin(&d->fusion, call, dtype);
    d->large = add_image(d, p->large, dtype, first, g->in);
    d->small = add_image(d, p->small, dtype, first, g->out);
    d->found = p->found ? add_image(d, p->found, OG_INT8, first, g->out) : 0;
    og_cuda_operation *o =
        og__fusion_add(&d->fusion, p->gradient ? OG_CUDA_POOL_GRAD : OG_CUDA_POOL);
    o->mode = p->max ? OG_CUDA_MAXIMUM : g->include_pad ? OG_CUDA_AVERAGE_PADDED : OG_CUDA_AVERAGE;
    o->in[0] = p->gradient ? d->small : d->large;
    o->out[0] = p->gradient ? d->large : d->small;
    if (p->found)
        (p->gradient ? o->in : o->out)[1] = d->found;
    for (int a = first; a < AXES; a++) {
        o->begins[a - first] = g->pad[a];
        o->ends[a - first] = d->ends[a];
        o->steps[a - first] = g->stride[a];
        o->window[a - first] = g->kernel[a];
    }
}

static bool takes(const og_tensor *t)
{
    og_dtype dtype = t->type.dtype;
    return og__fusion_computes(dtype) && og_tensor_is_channels_last(t) && og__elements(t) > 0 &&
           t->type.dims[1] * (int64_t)og__size(dtype) % VECTOR == 0;
}

static bool supports(const og_call *call)
{
    og__pool_call p = og__pool_call_of(call);
    description d;
    if (!og__has(call->ny, call->y, 0) || !takes(p.large) || !takes(p.small) ||
        p.small->type.dtype != p.large->type.dtype ||
        !og__pool_read(call, &p.large->type, &p.small->type, &d.shape) || !pad(&p, &d))
        return false;
    if (p.found && (p.found->type.dtype != OG_UINT8 || !og_tensor_is_channels_last(p.found) ||
                    og__product(d.shape.kernel, 0, AXES) > MOST_PLACES))
        return false;
    for (int i = 0; i < call->nx; i++)
        if (call->x[i].offset % VECTOR != 0)
            return false;
    describe(call, &p, &d);
    return og__fusion_find(call, &d.fusion) != NULL;
}

/* ---- prepare and run */

static og_status prepare(og_call *call, og_error *error)
{
    og__pool_call pool = og__pool_call_of(call);
    description d;
    og_status status = OG_OK;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a pooling");
    call->state = p;
    call->workspace_bytes = 0;
    if (!og__pool_read(call, &pool.large->type, &pool.small->type, &d.shape) || !pad(&pool, &d)) {
        status = og_fail(error, OG_INTERNAL, "cuDNN was not asked for this pooling");
        goto cleanup;
    }
    describe(call, &pool, &d);
    p->large = d.large, p->small = d.small, p->found = d.found;
    OG_TRY_CLEANUP(og__fusion_prepare(call, &d.fusion, &p->fusion, &p->scratch, error));
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    og__pool_call pool = og__pool_call_of(call);
    void *memory[OG_CUDA_TENSORS] = {NULL};
    memory[p->large] = pool.large->data;
    memory[p->small] = pool.small->data;
    if (p->found)
        memory[p->found] = pool.found->data;
    return og__fusion_run(call, p->fusion, memory, og__cuda_at(call, p->scratch), p->scratch.bytes,
                          error);
}

#define ROW(op)                                                                      \
    {                                                                                \
        op, "cuDNN", OG_KERNEL_CHANNELS_LAST, supports, prepare, run, og__free_state \
    }

const og_kernel og_kernels_cuda_pool_cudnn[] = {
    ROW("MaxPool"),     ROW("ai.ongrad::MaxPoolTraining"), ROW("ai.ongrad::MaxPoolGrad"),
    ROW("AveragePool"), ROW("ai.ongrad::AveragePoolGrad"), {NULL},
};
