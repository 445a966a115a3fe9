/* GroupNormalization, InstanceNormalization and GroupNormalizationTraining, and the gradient
 * (group_norm.cu). Images lie dense or channels-last; statistics are float32, and parameters are,
 * or are of the images' type. In mixed precision float32 images are half ones cast, which the
 * definition's programs read and write as such, the activation with them: it serves there, as for
 * batch normalization. */
#include "kernels/cuda/group_norm.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/groupnorm.h"
#include "kernels/cuda/rows.h"

extern const og_cuda_image og_cuda_image_group_norm;

enum { WARP = 32, PIECE = 16, SHORT = 1024, FACTORS = 4 };
/* Elements of a part, places of one with channels last, parts of a sum. */
enum { PART = 8192, LEAST_PLACES = 64, MOST_PARTS = 128 };

/* A kernel by pieces of 16 bytes and by elements; wide NULL: pieces do not fit the image. */
typedef struct both {
    og_cuda_function *wide, *single;
} both;

typedef struct plan {
    og_group_arguments a; /* but for the pointers, warps, width, columns and blocks */
    both sums, apply;
    og_cuda_function *join, *parameters;
    og__place part_sums, factors;
} plan;

static bool is_gradient(const og_call *call)
{
    return call->nx == 5;
}

/* The image among the inputs that statistics are of. */
static const og_tensor *image_of(const og_call *call)
{
    return &call->x[is_gradient(call)];
}

static og_dtype parameter_type(const og_call *call)
{
    return call->x[1 + is_gradient(call)].type.dtype;
}

static bool is_of(int n, const og_tensor *t, int which, og_dtype dtype, int64_t elements)
{
    return !og__has(n, t, which) ||
           (t[which].type.dtype == dtype && og__elements(&t[which]) == elements);
}

static bool lie(const og_call *call, bool (*so)(const og_tensor *t))
{
    for (int i = 0, images = is_gradient(call) ? 2 : 1; i < images; i++)
        if (!so(&call->x[i]))
            return false;
    return !og__has(call->ny, call->y, 0) || so(&call->y[0]);
}

static bool supports(const og_call *call)
{
    const og_tensor *x = image_of(call);
    bool grad = is_gradient(call);
    og_dtype dtype = x->type.dtype, own = parameter_type(call);
    if (!og__cuda_rows_take(dtype) || (own != dtype && own != OG_FLOAT) || x->type.rank < 2 ||
        og__elements(x) == 0 || (dtype == OG_FLOAT && call->device->options.half != OG_UNDEFINED))
        return false;
    const og__groups g = og__groups_of(call->node, &x->type);
    if (g.groups < 1 || g.channels % g.groups || g.channels * g.spatial > INT_MAX / 2 ||
        g.samples * g.channels > INT_MAX / MOST_PARTS)
        return false;
    for (int i = 1; i < 3; i++)
        if (!is_of(call->nx, call->x, i + grad, i == 2 && grad ? OG_FLOAT : own,
                   i == 2 && grad ? g.samples * g.groups : g.channels) ||
            !is_of(call->ny, call->y, i, grad ? own : OG_FLOAT,
                   grad ? g.channels : g.samples * g.groups))
            return false;
    return is_of(call->nx, call->x, 4, OG_FLOAT, g.samples * g.groups) &&
           is_of(call->nx, call->x, 0, dtype, og__elements(x)) &&
           is_of(call->ny, call->y, 0, dtype, og__elements(x)) &&
           (lie(call, og_tensor_is_dense) ||
            (x->type.rank > 2 && lie(call, og_tensor_is_channels_last)));
}

/* ---- prepare */

static const char *type_name(og_dtype dtype)
{
    return dtype == OG_FLOAT ? "float" : dtype == OG_FLOAT16 ? "half" : "bfloat";
}

static og_status find(const og_call *call, const char *name, const char *type, int vec,
                      og_cuda_function **function, og_error *error)
{
    char text[64];
    snprintf(text, sizeof text, vec ? "og_group_%s_%s_%d" : "og_group_%s_%s", name, type, vec);
    return og__cuda_function(og__cuda_of(call->device), &og_cuda_image_group_norm, text, 0,
                             function, error);
}

static og_status find_both(const og_call *call, const char *name, bool wide, both *found,
                           og_error *error)
{
    og_dtype dtype = call->x[0].type.dtype;
    OG_TRY(find(call, name, type_name(dtype), 1, &found->single, error));
    return wide ? find(call, name, type_name(dtype), PIECE / (int)og__size(dtype), &found->wide,
                       error)
                : OG_OK;
}

/* Parts of `length` elements or places, whole pieces but for the last. */
static void cut(og_group_arguments *a, int64_t length, int64_t part)
{
    int64_t parts = og__max(1, og__min(MOST_PARTS, length / part)),
            chunk = (length + parts - 1) / parts;
    a->length = (int)length;
    a->chunk = (int)((chunk + PIECE - 1) / PIECE * PIECE);
    a->parts = (a->length + a->chunk - 1) / a->chunk;
}

static og_status prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    bool grad = is_gradient(call), last = !lie(call, og_tensor_is_dense);
    const og__groups g = og__groups_of(call->node, &image_of(call)->type);
    const char *type = type_name(parameter_type(call));
    int64_t vec = PIECE / (int64_t)og__size(call->x[0].type.dtype);
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a normalization");
    call->state = p;
    og_group_arguments *a = &p->a;
    *a = (og_group_arguments){.n = g.samples,
                              .c = (int)g.channels,
                              .groups = (int)g.groups,
                              .each = (int)g.each,
                              .space = (int)g.spatial,
                              .last = last,
                              .epsilon = (float)g.epsilon};
    if (last)
        cut(a, g.spatial, og__max(LEAST_PLACES, PART / og__min(g.channels, WARP)));
    else
        cut(a, grad ? g.spatial : g.each * g.spatial, PART);
    int64_t sums = g.samples * (last || grad ? g.channels : g.groups) * a->parts;
    p->part_sums = og__cuda_book(call, (size_t)(2 * sums) * sizeof(float));
    p->factors = og__cuda_book(call, (size_t)(FACTORS * a->n * a->c) * sizeof(float));
    const char *name = !grad  ? last ? "moments_last" : "moments"
                       : last ? "grad_sums_last"
                              : "grad_sums";
    OG_TRY_CLEANUP(find_both(call, name, (last ? a->c : a->length) % vec == 0, &p->sums, error));
    OG_TRY_CLEANUP(find_both(call, "apply", (last ? a->c : g.channels * g.spatial) % vec == 0,
                             &p->apply, error));
    OG_TRY_CLEANUP(find(call, grad ? "grad_join" : "join", type, 0, &p->join, error));
    if (grad)
        OG_TRY_CLEANUP(find(call, "parameters", type, 0, &p->parameters, error));
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

/* ---- run */

static void *data_of(int n, const og_tensor *t, int which)
{
    return og__has(n, t, which) ? t[which].data : NULL;
}

typedef struct ranges {
    og_cuda_range all[8];
    int n;
} ranges;

static void reads(ranges *r, const og_call *call, int input)
{
    r->all[r->n++] = og__cuda_range(&call->x[input], false);
}

static void writes(ranges *r, const og_call *call, int output)
{
    if (og__has(call->ny, call->y, output))
        r->all[r->n++] = og__cuda_range(&call->y[output], true);
}

static void uses(ranges *r, const og_call *call, og__place place, bool write)
{
    r->all[r->n++] = (og_cuda_range){og__cuda_at(call, place), place.bytes, write};
}

static og_status launch(const og_call *call, og_cuda_function *f, int64_t blocks, int threads,
                        const og_group_arguments *a, const ranges *r, og_error *error)
{
    return og__cuda_launch(call, f, blocks, threads, 0, a, sizeof *a, r->all, r->n, error);
}

static og_status run_sums(const og_call *call, const plan *p, og_group_arguments a, og_error *error)
{
    bool grad = is_gradient(call);
    ranges r = {0};
    bool wide = p->sums.wide && ((uintptr_t)a.x | (uintptr_t)a.dy) % PIECE == 0;
    int vec = wide ? PIECE / (int)og__size(call->x[0].type.dtype) : 1, threads = OG_GROUP_THREADS;
    int64_t blocks;
    if (a.last) {
        int pieces = a.c / vec;
        for (a.width = 1; a.width < pieces && a.width < WARP; a.width *= 2)
            ;
        a.columns = (pieces + a.width - 1) / a.width;
        blocks = a.n * a.parts * a.columns;
    } else {
        int64_t parts = a.n * (grad ? a.c : a.groups) * a.parts;
        a.warps = a.chunk <= SHORT;
        blocks =
            a.warps ? (parts + OG_GROUP_THREADS / WARP - 1) / (OG_GROUP_THREADS / WARP) : parts;
    }
    reads(&r, call, 0);
    if (grad) {
        reads(&r, call, 1);
        reads(&r, call, 3);
    }
    uses(&r, call, p->part_sums, true);
    return launch(call, wide ? p->sums.wide : p->sums.single, blocks, threads, &a, &r, error);
}

static og_status run_image(const og_call *call, const plan *p, og_group_arguments a,
                           og_error *error)
{
    bool grad = is_gradient(call);
    ranges join = {0}, apply = {0};
    uses(&join, call, p->part_sums, false);
    uses(&join, call, p->factors, true);
    for (int i = 1; i < 3; i++) {
        reads(&join, call, grad ? i + 2 : i);
        if (!grad)
            writes(&join, call, i);
    }
    if (grad)
        reads(&join, call, 2);
    OG_TRY(launch(call, p->join, (a.n * a.groups * WARP + OG_GROUP_THREADS - 1) / OG_GROUP_THREADS,
                  OG_GROUP_THREADS, &a, &join, error));
    if (!a.out)
        return OG_OK;
    bool wide = p->apply.wide && ((uintptr_t)a.x | (uintptr_t)a.dy | (uintptr_t)a.out) % PIECE == 0;
    int vec = wide ? PIECE / (int)og__size(call->x[0].type.dtype) : 1;
    a.blocks = (a.c * a.space / vec + OG_GROUP_PIECES - 1) / OG_GROUP_PIECES;
    reads(&apply, call, 0);
    if (grad)
        reads(&apply, call, 1);
    uses(&apply, call, p->factors, false);
    writes(&apply, call, 0);
    return launch(call, wide ? p->apply.wide : p->apply.single, a.n * a.blocks, OG_GROUP_THREADS,
                  &a, &apply, error);
}

static og_group_arguments arguments_of(const og_call *call, const plan *p)
{
    og_group_arguments a = p->a;
    bool grad = is_gradient(call);
    a.x = image_of(call)->data;
    a.out = data_of(call->ny, call->y, 0);
    a.sums = (float *)og__cuda_at(call, p->part_sums);
    a.factors = (float *)og__cuda_at(call, p->factors);
    a.scale = call->x[1 + grad].data;
    if (grad) {
        a.dy = call->x[0].data;
        a.mean = call->x[3].data;
        a.rstd = call->x[4].data;
        a.dscale = data_of(call->ny, call->y, 1);
        a.dbias = data_of(call->ny, call->y, 2);
    } else {
        a.bias = call->x[2].data;
        a.mean = data_of(call->ny, call->y, 1);
        a.rstd = data_of(call->ny, call->y, 2);
    }
    return a;
}

/* x, scale, bias → y, mean, rstd;  dy, x, scale, mean, rstd → dx, dscale, dbias */
static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og_group_arguments a = arguments_of(call, p);
    OG_TRY(run_sums(call, p, a, error));
    if (!is_gradient(call) || a.out)
        OG_TRY(run_image(call, p, a, error));
    if (!a.dscale && !a.dbias)
        return OG_OK;
    ranges r = {0};
    uses(&r, call, p->part_sums, false);
    reads(&r, call, 4);
    writes(&r, call, 1);
    writes(&r, call, 2);
    return launch(call, p->parameters, (a.c + WARP - 1) / WARP, OG_GROUP_THREADS, &a, &r, error);
}

#define GROUPS(op)                                                                    \
    {                                                                                 \
        op, "groups", OG_KERNEL_CHANNELS_LAST, supports, prepare, run, og__free_state \
    }

const og_kernel og_kernels_cuda_group_norm[] = {
    GROUPS("GroupNormalization"),
    GROUPS("InstanceNormalization"),
    GROUPS("ai.ongrad::GroupNormalizationTraining"),
    GROUPS("ai.ongrad::GroupNormalizationGrad"),
    {NULL},
};
