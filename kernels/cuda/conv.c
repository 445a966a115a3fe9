/* Conv, ConvGradData and ConvGradWeights as products with windows (conv.cu), for images of any
 * layout, best channels-last. With windows as a matrix [images × places, taps × c], weights as
 * [m, taps × c] and images y as [images × places, m], for each group:
 *
 *     y = windows wᵀ + bias       dwindows = dy w, added up to dx where windows overlap
 *     dw = dyᵀ windows, summed in float32
 *
 * Windows of some images are in the workspace at a time; those of a 1 × 1 kernel are the image. */
#include "kernels/cuda/conv.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cuda/product_plan.h"

extern const og_cuda_image og_cuda_image_conv;

enum {
    THREADS = 256,
    BLOCKS_A_PROCESSOR = 16,
    VECTOR = 16,
    UNITS = 4 /* of 2, 4, 8 and 16 bytes */
};
#define MOST_WINDOWS ((int64_t)64 << 20) /* bytes, but for one image's */

typedef struct plan {
    og__conv conv;
    og__conv_op op;
    int64_t taps, c_group, m_group, places, inputs; /* inputs: places of an image x */
    int64_t chunk, row; /* images at a time; elements of a row of windows */
    bool direct;
    og__cuda_product products[2]; /* for a whole chunk, and for the last one */
    og__cuda_copier *w_copier, *y_copier, *dw_copier;
    og__place windows, weights, image, sums, scratch; /* image: y or dy channels-last */
    og_cuda_function *gather[UNITS], *sum_wide, *sum_single;
} plan;

static bool supports(const og_call *call)
{
    og__conv c;
    og__conv_op op = og__conv_op_of(call);
    if (!og__conv_of(call, op, &c) || (c.group == c.c && c.m == c.c && c.c > 1)) /* depthwise.c */
        return false;
    og__conv_tensors t = og__conv_tensors_of(call, op);
    og_dtype dtype = t.x->type.dtype;
    if ((dtype != OG_FLOAT && !og_dtype_is_half(dtype)) || (t.bias && c.group > 1) ||
        (op == OG__CONV_GRAD_WEIGHTS && t.w->type.dtype != OG_FLOAT))
        return false;
    int64_t most = 1;
    for (int a = 0; a < OG__SPATIAL; a++)
        most = og__max(most, og__max(c.in[a], c.out[a]) * c.strides[a] + c.begins[a] +
                                 c.kernel[a] * c.dilations[a]);
    return most < INT_MAX / 4 && og__elements(t.x) > 0 && og__elements(t.w) > 0 &&
           og__elements(t.y) > 0 && og__elements(t.x) / c.n < INT_MAX &&
           og__elements(t.y) / c.n < INT_MAX;
}

/* ---- prepare */

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    for (int i = 0; i < 2; i++)
        og__cuda_product_free(call->device, &p->products[i]);
    og__cuda_copier_free(p->w_copier);
    og__cuda_copier_free(p->y_copier);
    og__cuda_copier_free(p->dw_copier);
    free(p);
    call->state = NULL;
}

static og__place book(og_call *call, int64_t elements, og_dtype dtype)
{
    return og__cuda_book(call, (size_t)elements * og__size(dtype));
}

static bool is_last(const og_tensor *t)
{
    return og_tensor_is_channels_last(t);
}

/* A tensor [a, b, c] of these strides. */
static og_tensor view(og_dtype dtype, int64_t a, int64_t b, int64_t c, int64_t sa, int64_t sb,
                      int64_t sc)
{
    og_type type = og_type_make(dtype, 3, (int64_t[]){a, b, c});
    og_tensor t = og_tensor_dense(&type, NULL);
    t.strides[0] = sa;
    t.strides[1] = sb;
    t.strides[2] = sc;
    return t;
}

static og_cuda_product describe(const og_call *call, const plan *p, const og__conv_tensors *t,
                                int64_t images)
{
    const og__conv *c = &p->conv;
    og_dtype in = t->x->type.dtype, out = call->y[0].type.dtype;
    int64_t k = p->taps * p->c_group, rows = images * p->places;
    og_cuda_product d = og__cuda_product_of(call->device, in, out);
    d.batch = c->group;
    /* column-major: what is written is [columns × rows] of the matrices above */
    switch (p->op) {
    case OG__CONV:
        d.m = p->m_group, d.n = rows, d.k = k;
        d.transpose_a = true, d.lda = k, d.stride_a = p->m_group * k; /* weights */
        d.ldb = p->row, d.stride_b = k;                               /* windows */
        d.ldd = c->m, d.stride_d = p->m_group;
        d.epilogue = t->bias ? OG_CUDA_BIAS : OG_CUDA_PLAIN;
        break;
    case OG__CONV_GRAD_DATA:
        d.m = k, d.n = rows, d.k = p->m_group;
        d.lda = k, d.stride_a = p->m_group * k; /* weights */
        d.ldb = c->m, d.stride_b = p->m_group;  /* dy */
        d.ldd = p->row, d.stride_d = k;
        break;
    default:
        d.m = k, d.n = p->m_group, d.k = rows;
        d.lda = p->row, d.stride_a = k;                              /* windows */
        d.transpose_b = true, d.ldb = c->m, d.stride_b = p->m_group; /* dy */
        d.ldd = k, d.stride_d = p->m_group * k;
        d.reads_c = true;
        break;
    }
    d.ldc = d.ldd;
    d.stride_c = d.stride_d;
    /* All lie at addresses of 256 bytes, but groups and images may begin anywhere in them. */
    d.alignment = og__size(in);
    return d;
}

static og_status find_functions(og__cuda *cuda, plan *p, og_dtype dtype, og_error *error)
{
    const char *type = dtype == OG_FLOAT ? "float" : dtype == OG_FLOAT16 ? "half" : "bfloat";
    char name[48];
    if (p->op != OG__CONV_GRAD_DATA) {
        for (int u = 0; u < UNITS; u++) {
            snprintf(name, sizeof name, "og_windows_%d", 2 << u);
            OG_TRY(og__cuda_function(cuda, &og_cuda_image_conv, name, 0, &p->gather[u], error));
        }
        return OG_OK;
    }
    snprintf(name, sizeof name, "og_windows_sum_%s_1", type);
    OG_TRY(og__cuda_function(cuda, &og_cuda_image_conv, name, 0, &p->sum_single, error));
    snprintf(name, sizeof name, "og_windows_sum_%s_%d", type, VECTOR / (int)og__size(dtype));
    return og__cuda_function(cuda, &og_cuda_image_conv, name, 0, &p->sum_wide, error);
}

/* What goes through the workspace. */
static og_status book_all(og_call *call, plan *p, const og__conv_tensors *t, og_error *error)
{
    const og__conv *c = &p->conv;
    og_dtype dtype = t->x->type.dtype;
    bool reorders = p->taps > 1 && p->c_group > 1;
    if (!p->direct)
        p->windows = book(call, p->chunk * p->places * p->row, dtype);
    if (!is_last(t->y)) {
        p->image = book(call, c->n * p->places * c->m, dtype);
        og_tensor from = p->op == OG__CONV
                             ? view(dtype, c->n, c->m, p->places, p->places * c->m, 1, c->m)
                             : view(dtype, c->n, p->places, c->m, p->places * c->m, 1, p->places);
        OG_TRY(og__cuda_copier_new(call, &from, &p->y_copier, error));
    }
    if (reorders && p->op != OG__CONV_GRAD_WEIGHTS) {
        og_tensor from = view(dtype, c->m, p->taps, p->c_group, p->taps * p->c_group, 1, p->taps);
        p->weights = book(call, og__elements(t->w), dtype);
        OG_TRY(og__cuda_copier_new(call, &from, &p->w_copier, error));
    }
    if (reorders && p->op == OG__CONV_GRAD_WEIGHTS) {
        og_tensor from =
            view(OG_FLOAT, c->m, p->c_group, p->taps, p->taps * p->c_group, 1, p->c_group);
        p->sums = book(call, og__elements(t->w), OG_FLOAT);
        OG_TRY(og__cuda_copier_new(call, &from, &p->dw_copier, error));
    }
    if (t->bias) /* where its address is no multiple of 16 */
        p->sums = book(call, c->m, dtype);
    return OG_OK;
}

static og_status prepare(og_call *call, og_error *error)
{
    og__cuda *cuda = og__cuda_of(call->device);
    og_status status = OG_OK;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    call->state = p;
    call->workspace_bytes = 0;
    p->op = og__conv_op_of(call);
    og__conv *c = &p->conv;
    og__conv_of(call, p->op, c);
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    p->taps = og__product(c->kernel, 0, OG__SPATIAL);
    p->places = og__product(c->out, 0, OG__SPATIAL);
    p->inputs = og__product(c->in, 0, OG__SPATIAL);
    p->c_group = c->c / c->group;
    p->m_group = c->m / c->group;
    p->row = c->group * p->taps * p->c_group;
    p->direct = p->taps == 1 && is_last(t.x) && p->places == p->inputs;
    for (int a = 0; a < OG__SPATIAL; a++)
        p->direct = p->direct && c->strides[a] == 1 && c->begins[a] == 0 && c->ends[a] == 0;
    int64_t image_bytes = p->places * p->row * (int64_t)og__size(t.x->type.dtype);
    p->chunk = p->direct ? c->n : og__max(1, og__min(c->n, MOST_WINDOWS / image_bytes));
    OG_TRY_CLEANUP(book_all(call, p, &t, error));
    OG_TRY_CLEANUP(find_functions(cuda, p, t.x->type.dtype, error));
    int64_t last = c->n % p->chunk;
    size_t most = 0;
    for (int i = 0; i < 1 + (last > 0); i++) {
        og_cuda_product d = describe(call, p, &t, i ? last : p->chunk);
        OG_TRY_CLEANUP(og__cuda_product_new(call->device, &d, &p->products[i], error));
        most = p->products[i].workspace > most ? p->products[i].workspace : most;
    }
    p->scratch = book(call, (int64_t)most, OG_UINT8);
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

static og_windows_arguments windows_of(const og_call *call, const plan *p, const og_tensor *x,
                                       int64_t first, int64_t images)
{
    const og__conv *c = &p->conv;
    og_windows_arguments w = {.image = x->data,
                              .windows = og__cuda_at(call, p->windows),
                              .first = first,
                              .images = images,
                              .n_stride = x->strides[0],
                              .c_stride = x->strides[1],
                              .group = (int)c->group,
                              .c_group = (int)p->c_group};
    for (int a = 0; a < OG__SPATIAL; a++) {
        int axis = a - (OG__SPATIAL - c->spatial);
        w.stride[a] = axis < 0 ? 0 : x->strides[axis + 2];
        w.in[a] = (int)c->in[a];
        w.out[a] = (int)c->out[a];
        w.kernel[a] = (int)c->kernel[a];
        w.step[a] = (int)c->strides[a];
        w.dilation[a] = (int)c->dilations[a];
        w.begin[a] = (int)c->begins[a];
    }
    return w;
}

static int64_t blocks_for(const og_call *call, int64_t items)
{
    int64_t all = (items + THREADS - 1) / THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    return og__min(all, most);
}

static og_status gather(const og_call *call, const plan *p, const og_tensor *x, int64_t first,
                        int64_t images, og_error *error)
{
    og_windows_arguments w = windows_of(call, p, x, first, images);
    int64_t size = (int64_t)og__size(x->type.dtype), unit = size;
    if (w.c_stride == 1) { /* channels together: as many as everything is a multiple of */
        uint64_t all =
            (uint64_t)(p->c_group * size) | (uintptr_t)x->data | (uint64_t)(w.n_stride * size);
        for (int a = 0; a < OG__SPATIAL; a++)
            all |= (uint64_t)(w.stride[a] * size);
        while (unit < VECTOR && all % (uint64_t)(2 * unit) == 0)
            unit *= 2;
        w.n_stride = w.n_stride * size / unit;
        w.c_group = (int)(w.c_group * size / unit);
        for (int a = 0; a < OG__SPATIAL; a++)
            w.stride[a] = w.stride[a] * size / unit;
    }
    const og_cuda_range ranges[] = {og__cuda_range(x, false), {w.windows, p->windows.bytes, true}};
    int u = unit == 2 ? 0 : unit == 4 ? 1 : unit == 8 ? 2 : 3;
    return og__cuda_launch(call, p->gather[u],
                           blocks_for(call, images * p->places * p->row * size / unit), THREADS, 0,
                           &w, sizeof w, ranges, 2, error);
}

static og_status sum_up(const og_call *call, const plan *p, const og_tensor *x, int64_t first,
                        int64_t images, og_error *error)
{
    og_windows_arguments w = windows_of(call, p, x, first, images);
    int64_t size = (int64_t)og__size(x->type.dtype), vec = VECTOR / size;
    bool wide = w.c_stride == 1 && p->c_group % vec == 0 && (uintptr_t)x->data % VECTOR == 0;
    const og_cuda_range ranges[] = {og__cuda_range(x, true), {w.windows, p->windows.bytes, false}};
    return og__cuda_launch(call, wide ? p->sum_wide : p->sum_single,
                           blocks_for(call, images * p->inputs * p->conv.c / (wide ? vec : 1)),
                           THREADS, 0, &w, sizeof w, ranges, 2, error);
}

/* y or dy as a matrix; of the image `first`. */
static char *image_at(const og_call *call, const plan *p, const og_tensor *y, int64_t first)
{
    char *base = p->image.bytes ? og__cuda_at(call, p->image) : y->data;
    return base + first * p->places * p->conv.m * (int64_t)og__size(y->type.dtype);
}

static og_status product(const og_call *call, const plan *p, const og__conv_tensors *t,
                         const char *weights, const char *bias, int64_t first, int64_t images,
                         og_error *error)
{
    const float one = 1, beta = first > 0;
    int64_t size = (int64_t)og__size(t->x->type.dtype);
    char *windows = p->direct ? (char *)t->x->data + first * p->places * p->row * size
                              : og__cuda_at(call, p->windows),
         *image = image_at(call, p, t->y, first),
         *sums = p->op == OG__CONV_GRAD_WEIGHTS && p->sums.bytes ? og__cuda_at(call, p->sums)
                                                                 : t->w->data;
    og_cuda_operands o = {.bias = (void *)(uintptr_t)bias,
                          .alpha = &one,
                          .beta = &beta,
                          .workspace = og__cuda_at(call, p->scratch),
                          .workspace_bytes = p->scratch.bytes};
    o.a = p->op == OG__CONV_GRAD_WEIGHTS ? windows : weights;
    o.b = p->op == OG__CONV ? windows : image;
    o.d = p->op == OG__CONV ? image : p->op == OG__CONV_GRAD_DATA ? windows : sums;
    o.c = o.d;
    return og__cuda_product_run(call->device, &p->products[images < p->chunk], &o, error);
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    const char *weights = t.w->data, *bias = t.bias ? t.bias->data : NULL;
    if (p->w_copier) {
        OG_TRY(og__cuda_copier_run(call, p->w_copier, t.w, og__cuda_at(call, p->weights), error));
        weights = og__cuda_at(call, p->weights);
    }
    if (bias && (uintptr_t)bias % VECTOR != 0) {
        OG_TRY(cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, og__cuda_at(call, p->sums), bias,
                                  p->sums.bytes, error));
        bias = og__cuda_at(call, p->sums);
    }
    if (p->y_copier && p->op != OG__CONV)
        OG_TRY(og__cuda_copier_run(call, p->y_copier, t.y, og__cuda_at(call, p->image), error));
    for (int64_t first = 0; first < p->conv.n; first += p->chunk) {
        int64_t images = og__min(p->chunk, p->conv.n - first);
        if (!p->direct && p->op != OG__CONV_GRAD_DATA)
            OG_TRY(gather(call, p, t.x, first, images, error));
        OG_TRY(product(call, p, &t, weights, bias, first, images, error));
        if (!p->direct && p->op == OG__CONV_GRAD_DATA)
            OG_TRY(sum_up(call, p, t.x, first, images, error));
    }
    og_tensor from = {.data = NULL};
    if (p->y_copier && p->op == OG__CONV) {
        from = view(t.y->type.dtype, p->conv.n, p->conv.m, p->places, p->places * p->conv.m, 1,
                    p->conv.m);
        from.data = og__cuda_at(call, p->image);
        OG_TRY(og__cuda_copier_run(call, p->y_copier, &from, t.y->data, error));
    }
    if (p->dw_copier) {
        from = view(OG_FLOAT, p->conv.m, p->c_group, p->taps, p->taps * p->c_group, 1, p->c_group);
        from.data = og__cuda_at(call, p->sums);
        OG_TRY(og__cuda_copier_run(call, p->dw_copier, &from, t.w->data, error));
    }
    return OG_OK;
}

#define FLAGS (OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST)

const og_kernel og_kernels_cuda_conv[] = {
    {"Conv", "windows", FLAGS, supports, prepare, run, release},
    {"ai.ongrad::ConvGradData", "windows", FLAGS, supports, prepare, run, release},
    {"ai.ongrad::ConvGradWeights", "windows", FLAGS, supports, prepare, run, release},
    {"ai.ongrad::WideConvGradWeights", "windows", FLAGS, supports, prepare, run, release},
    {NULL},
};
