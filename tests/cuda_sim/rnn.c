/* Recurrences: what cuDNN documents of its RNN API, held against each description and run, and the
 * steps themselves in plain loops. What cuDNN leaves open is another thing for every plan: the
 * order of the matrices among the weights, the gaps between them, the sizes of workspace and
 * reserve. The reserve knows what it is of: of one plan, of one x and y, and for one way back. */
#include <math.h>
#include <stdlib.h>

#include "kernels/cpu/internal.h"
#include "kernels/cuda/cache.h"
#include "tests/cuda_sim/internal.h"

enum { VECTOR = 16, WORKSPACE = 4211, MOST_GATES = 4, SPARE = 3 };

typedef const og_cuda_recurrence *recurrence;

int sim_recurrence_gates(recurrence r)
{
    return r->cell == OG_CUDA_LSTM ? 4 : r->cell == OG_CUDA_GRU ? 3 : 1;
}

int sim_recurrence_kept(recurrence r)
{
    return r->cell == OG_CUDA_LSTM ? 5 : r->cell == OG_CUDA_GRU ? 4 : 1;
}

/* ---- descriptions */

const char *sim_recurrence_wrong(recurrence r)
{
    bool half = r->dtype == OG_FLOAT16 || r->dtype == OG_BFLOAT16;
    if (r->T < 1 || r->B < 1 || r->I < 1 || r->H < 1)
        return "steps, sequences, features and hidden units must be at least 1";
    if (r->cell < OG_CUDA_LSTM || r->cell > OG_CUDA_RNN_RELU)
        return "no such cell";
    if (!half && r->dtype != OG_FLOAT)
        return "an element type that is none of float32, float16 and bfloat16";
    if (half != (r->arithmetic == OG_CUDA_HALF) || r->arithmetic == OG_CUDA_DOUBLE)
        return "an arithmetic that is not the element type's";
    return NULL;
}

/* In a random order, with a few elements nobody owns between them. */
void sim_recurrence_place(recurrence r, uint64_t *random, og_cuda_walk *plan)
{
    og_cuda_recurrence_sizes *s = &plan->sizes;
    int gates = sim_recurrence_gates(r), order[2 * OG_CUDA_MATRICES], n = 0;
    size_t at = 0, size = og__size(r->dtype);
    *plan = (og_cuda_walk){.recurrence = *r, .id = sim_random(random)};
    s->matrices = 2 * gates;
    for (int k = 0; k < 2 * gates; k++) {
        order[n++] = k;
        if (r->bias)
            order[n++] = OG_CUDA_MATRICES + k;
    }
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(sim_random(random) % (uint64_t)(i + 1)), other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    for (int i = 0; i < n; i++) {
        bool bias = order[i] >= OG_CUDA_MATRICES;
        int k = order[i] % OG_CUDA_MATRICES;
        at += size * (size_t)(sim_random(random) % (SPARE + 1));
        (bias ? s->bias : s->matrix)[k] = at;
        at += size * (size_t)(r->H * (bias ? 1 : k < gates ? r->I : r->H));
    }
    s->weights = at + size * (size_t)(sim_random(random) % SPARE);
    s->workspace = WORKSPACE + (size_t)(r->B * r->H) * size;
    if (r->training)
        s->reserve = sizeof(sim_reserve_head) +
                     (size_t)(r->T * r->B * r->H * sim_recurrence_kept(r)) * sizeof(float) +
                     (size_t)(sim_random(random) % VECTOR);
}

/* ---- runs */

static const char *common_wrong(const og_cuda_walk *plan, const og_cuda_recurrence_operands *o)
{
    const og_cuda_recurrence_sizes *s = &plan->sizes;
    bool lstm = plan->recurrence.cell == OG_CUDA_LSTM;
    if (!o->x || !o->y || !o->weights)
        return "x, y or the weights are missing";
    if (!o->workspace || o->workspace_bytes < s->workspace)
        return "the workspace is smaller than the plan needs";
    if (s->reserve && (!o->reserve || o->reserve_bytes < s->reserve))
        return "the reserve is smaller than the plan needs";
    if (((uintptr_t)o->workspace | (uintptr_t)o->reserve | (uintptr_t)o->weights) % 256 != 0)
        return "weights, workspace or reserve are not aligned to 256 bytes";
    if (!lstm && (o->c0 || o->c || o->dc || o->dc0))
        return "cells of what is no LSTM";
    const void *all[] = {o->x,  o->y,  o->h0, o->c0, o->h,   o->c,
                         o->dx, o->dy, o->dh, o->dc, o->dh0, o->dc0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((uintptr_t)all[i] % VECTOR != 0)
            return "a tensor is not aligned to 16 bytes";
    return NULL;
}

static void touch(og_cuda_range *ranges, int *n, const void *at, size_t bytes, bool write)
{
    if (at && bytes)
        ranges[(*n)++] = (og_cuda_range){at, bytes, write};
}

int sim_recurrence_ranges(const og_cuda_walk *plan, const og_cuda_recurrence_operands *o, bool back,
                          og_cuda_range *ranges)
{
    recurrence r = &plan->recurrence;
    size_t size = og__size(r->dtype), state = (size_t)(r->B * r->H) * size,
           x = (size_t)(r->T * r->B * r->I) * size, y = (size_t)r->T * state;
    int n = 0;
    touch(ranges, &n, o->x, x, false);
    touch(ranges, &n, o->y, y, !back);
    touch(ranges, &n, o->h0, state, false);
    touch(ranges, &n, o->c0, state, false);
    touch(ranges, &n, o->weights, plan->sizes.weights, false);
    touch(ranges, &n, o->workspace, plan->sizes.workspace, true);
    touch(ranges, &n, o->reserve, plan->sizes.reserve, true);
    touch(ranges, &n, back ? NULL : o->h, state, true);
    touch(ranges, &n, back ? NULL : o->c, state, true);
    if (!back)
        return n;
    touch(ranges, &n, o->dy, y, false);
    touch(ranges, &n, o->dh, state, false);
    touch(ranges, &n, o->dc, state, false);
    touch(ranges, &n, o->dx, x, true);
    touch(ranges, &n, o->dh0, state, true);
    touch(ranges, &n, o->dc0, state, true);
    touch(ranges, &n, o->dweights, plan->sizes.weights, true);
    return n;
}

const char *sim_recurrence_operands_wrong(const og_cuda_walk *plan,
                                          const og_cuda_recurrence_operands *o, bool back)
{
    og_cuda_range ranges[SIM_RECURRENCE_RANGES];
    const char *wrong = common_wrong(plan, o);
    if (wrong)
        return wrong;
    if (back && !plan->recurrence.training)
        return "gradients by a plan that is not for training";
    if (back && (!o->dy || !o->dx || !o->dweights))
        return "dy, dx or the weights' gradients are missing";
    if (back && (uintptr_t)o->dweights % 256 != 0)
        return "the weights' gradients are not aligned to 256 bytes";
    int n = sim_recurrence_ranges(plan, o, back, ranges);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const char *p = ranges[i].at, *q = ranges[j].at;
            if (i != j && ranges[i].write && p < q + ranges[j].bytes && q < p + ranges[i].bytes)
                return "what it writes overlaps what else it was given";
        }
    return NULL;
}
