/* Descriptions of fusions, and their plans: nodes that are the same share one. */
#include "kernels/cuda/fusion.h"

#include <stdlib.h>
#include <string.h>

enum { VECTOR = 16 }; /* what driver.h says of addresses */
#define WORKSPACE_LIMIT ((size_t)64 << 20)

/* ---- a description */

void og__fusion_begin(og_cuda_fusion *f, const og_call *call, og_dtype dtype)
{
    const og_device_options *options = &call->device->options;
    memset(f, 0, sizeof *f); /* with what lies between members */
    f->arithmetic = dtype != OG_FLOAT     ? OG_CUDA_HALF
                    : options->allow_tf32 ? OG_CUDA_TF32
                                          : OG_CUDA_FLOAT;
    f->deterministic = options->deterministic;
    f->workspace_limit = WORKSPACE_LIMIT;
    f->n_tensors = 1;
}

static int add_tensor(og_cuda_fusion *f, og_dtype dtype, int rank, const int64_t *dims,
                      const int64_t *strides, og_cuda_place place)
{
    og_cuda_tensor *t = &f->tensors[f->n_tensors];
    int64_t step = 1;
    t->dtype = dtype;
    t->rank = rank;
    t->place = place;
    for (int a = rank - 1; a >= 0; a--) {
        t->dims[a] = dims[a];
        t->strides[a] = strides ? strides[a] : step;
        step *= dims[a];
    }
    return f->n_tensors++;
}

int og__fusion_memory(og_cuda_fusion *f, og_dtype dtype, int rank, const int64_t *dims,
                      const int64_t *strides)
{
    return add_tensor(f, dtype, rank, dims, strides, OG_CUDA_MEMORY);
}

int og__fusion_virtual(og_cuda_fusion *f, og_dtype dtype, int rank, const int64_t *dims,
                       const int64_t *strides)
{
    return add_tensor(f, dtype, rank, dims, strides, OG_CUDA_VIRTUAL);
}

int og__fusion_constant(og_cuda_fusion *f, int rank, float value)
{
    static const int64_t ones[OG_CUDA_DIMS] = {1, 1, 1, 1, 1};
    int t = add_tensor(f, OG_FLOAT, rank, ones, ones, OG_CUDA_CONSTANT);
    f->tensors[t].value = value;
    return t;
}

int og__fusion_image(og_cuda_fusion *f, og_dtype dtype, og_cuda_place place, int64_t n, int64_t c,
                     int spatial, const int64_t *dims)
{
    int64_t all[OG_CUDA_DIMS] = {n, c}, strides[OG_CUDA_DIMS] = {0, 1}, step = c;
    for (int a = spatial - 1; a >= 0; a--) {
        all[a + 2] = dims[a];
        strides[a + 2] = step;
        step *= dims[a];
    }
    strides[0] = step;
    return add_tensor(f, dtype, spatial + 2, all, strides, place);
}

og_cuda_operation *og__fusion_add(og_cuda_fusion *f, og_cuda_operation_kind kind)
{
    og_cuda_operation *o = &f->operations[f->n_operations++];
    o->kind = kind;
    return o;
}

void og__fusion_pointwise(og_cuda_fusion *f, og_cuda_mode mode, int x, int b, int t, int y)
{
    og_cuda_operation *o = og__fusion_add(f, OG_CUDA_POINTWISE);
    o->mode = mode;
    o->in[0] = x;
    o->in[1] = b;
    o->in[2] = t;
    o->out[0] = y;
}

/* ---- its plan */

const og__fusion *og__fusion_find(const og_call *call, const og_cuda_fusion *f)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_error error = {0};
    if (!cuda->driver->fusion_plan)
        return NULL;
    og__fusion *found = cuda->fusions;
    /* All of both is set. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    while (found && memcmp(&found->description, f, sizeof *f) != 0)
        found = found->next;
    if (found)
        return found->plan ? found : NULL;
    found = calloc(1, sizeof *found);
    if (!found)
        return NULL;
    memcpy(&found->description, f, sizeof *f);
    if (cuda->driver->fusion_plan(cuda->card, f, &found->plan, &found->workspace, &error) != OG_OK)
        found->why = strdup(og_error_text(&error));
    og_error_clear(&error);
    found->next = cuda->fusions;
    cuda->fusions = found;
    return found->plan ? found : NULL;
}

og_status og__fusion_prepare(og_call *call, const og_cuda_fusion *f, const og__fusion **fusion,
                             og__place *scratch, og_error *error)
{
    *fusion = og__fusion_find(call, f);
    if (!*fusion)
        return og_fail(error, OG_INTERNAL, "cuDNN has no plan for it any more");
    *scratch = og__cuda_book(call, (*fusion)->workspace);
    return OG_OK;
}

og_status og__fusion_run(const og_call *call, const og__fusion *fusion, void *const *memory,
                         void *workspace, size_t workspace_bytes, og_error *error)
{
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_cuda_fusion *f = &fusion->description;
    void *addresses[OG_CUDA_TENSORS] = {NULL};
    for (int i = 1; i < f->n_tensors; i++) {
        if (f->tensors[i].place != OG_CUDA_MEMORY)
            continue;
        addresses[i] = memory[i];
        if ((uintptr_t)memory[i] % VECTOR != 0)
            return og_fail(error, OG_INTERNAL, "a tensor at %p, not aligned to %d bytes", memory[i],
                           VECTOR);
    }
    return cuda->driver->fusion_run(cuda->card, fusion->plan, addresses, workspace, workspace_bytes,
                                    error);
}

void og__fusions_free(og__cuda *cuda)
{
    for (og__fusion *f = cuda->fusions, *next; f; f = next) {
        next = f->next;
        if (f->plan)
            cuda->driver->fusion_free(cuda->card, f->plan);
        free(f->why);
        free(f);
    }
    cuda->fusions = NULL;
}
