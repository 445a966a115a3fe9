/* Conv, its gradients and ConvTranspose by oneDNN, float and bfloat16. Images that lie
 * channels-last are used as they lie. Otherwise, and always for weights, oneDNN chooses the layouts
 * it computes in, and what lies differently is reordered on the way in and out, through the
 * workspace; weights that seldom change, only when they have. ConvTranspose is the gradient with
 * regard to the data, plus a bias. An activation after a Conv is the primitive's. */
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/epilogue.h"

enum { X, W, Y, TENSORS };

typedef struct plan {
    og__conv_op op;
    og__dnnl dnnl;
    og__primitive conv;
    og__primitive reorder[TENSORS]; /* .primitive NULL: used as it lies */
    size_t offset[TENSORS];         /* of the reordered tensor in the workspace … */
    bool packed;           /* … but weights that were reordered before, in call->packed */
    size_t scratch_offset; /* shared by all primitives, which run one after the other */
} plan;

static og__conv_kind kind_of(og__conv_op op)
{
    return op == OG__CONV                ? OG__CONV_FORWARD
           : op == OG__CONV_GRAD_WEIGHTS ? OG__CONV_WEIGHTS
                                         : OG__CONV_DATA;
}

static int written(og__conv_op op)
{
    return op == OG__CONV ? Y : op == OG__CONV_GRAD_WEIGHTS ? W : X;
}

/* Do both images lie channels-last, and not row-major as well? */
static bool channels_last(const og_call *call, og__conv_op op)
{
    og__conv_tensors t = og__conv_tensors_of(call, op);
    return og_tensor_is_channels_last(t.x) && og_tensor_is_channels_last(t.y) &&
           !(og_tensor_is_dense(t.x) && og_tensor_is_dense(t.y));
}

/* The pads that oneDNN checks against the output's length: at the end only what windows reach. */
static void trim(og__conv *c)
{
    for (int a = 0; a < OG__SPATIAL; a++) {
        int64_t span = (c->kernel[a] - 1) * c->dilations[a] + 1;
        int64_t reach = (c->out[a] - 1) * c->strides[a] + span;
        c->ends[a] = reach - c->in[a] - c->begins[a];
    }
}

/* A 1 × 1 convolution of images that are not small is a product without windows, which the plain
 * kernel does as fast as oneDNN, and without reordering anything. */
static bool is_product(const og__conv *c, og__conv_op op, og_dtype dtype)
{
    bool plain = op != OG__CONV_GRAD_WEIGHTS && dtype == OG_FLOAT && c->group == 1;
    for (int a = 0; a < OG__SPATIAL; a++)
        plain = plain && c->kernel[a] == 1 && c->strides[a] == 1 && c->begins[a] == 0 &&
                c->ends[a] == 0;
    return plain && og__product(c->out, 0, OG__SPATIAL) >= 256;
}

/* oneDNN sums the gradients of many channels' small windows up several times slower from bfloat16
 * than from float: casts cost less. */
static bool is_slow(const og__conv *c, og__conv_op op, og_dtype dtype)
{
    return op == OG__CONV_GRAD_WEIGHTS && dtype == OG_BFLOAT16 && c->group > 1;
}

static int conv_threads(const og_call *call, const og__conv *c)
{
    int64_t window = og__product(c->kernel, 0, OG__SPATIAL) * c->c / c->group;
    return og__product_threads(call, c->n * c->m * og__product(c->out, 0, OG__SPATIAL) * window);
}

/* Descriptors of what a convolution works on. */
typedef struct layouts {
    og__md lies[TENSORS]; /* as the call has them */
    og__md used[TENSORS]; /* as the primitive wants them */
    og__md bias;          /* of the forward pass, if it has one */
} layouts;

static void free_layouts(layouts *l)
{
    for (int i = 0; i < TENSORS; i++) {
        og__md_free(&l->lies[i]);
        og__md_free(&l->used[i]);
    }
    og__md_free(&l->bias);
}

/* x: [n, c, in …]    w: [m, c / group, kernel …], with groups [group, m / group, …]    y: [n, m,
 * out …] */
typedef struct shapes {
    int rank[TENSORS];
    int64_t dims[TENSORS][OG_MAX_RANK];
} shapes;

static shapes shapes_of(const og__conv *c)
{
    int skip = OG__SPATIAL - c->spatial, lead = c->group > 1;
    shapes s = {.rank = {c->spatial + 2, c->spatial + 2 + lead, c->spatial + 2},
                .dims = {{c->n, c->c}, {c->group}, {c->n, c->m}}};
    s.dims[W][lead] = c->m / c->group;
    s.dims[W][lead + 1] = c->c / c->group;
    for (int a = 0; a < c->spatial; a++) {
        s.dims[X][2 + a] = c->in[skip + a];
        s.dims[W][2 + lead + a] = c->kernel[skip + a];
        s.dims[Y][2 + a] = c->out[skip + a];
    }
    return s;
}

static bool describe(og__md *md, og_dtype dtype, int rank, const int64_t *dims, bool last)
{
    og_type type = og_type_make(dtype, rank, dims);
    int64_t strides[OG_MAX_RANK];
    if (last)
        og_strides_channels_last(&type, strides);
    else
        og_strides_dense(&type, strides);
    return og__md_strided(md, dtype, rank, dims, strides);
}

/* Channels-last, oneDNN's first choice for the forward pass are weights that are slow to reorder;
 * blocks of 16 × 16 are not, and computed with at least as fast. */
static bool blocks_weights(const og__conv *c, og__conv_op op, og_dtype dtype)
{
    bool depthwise = c->group > 1 && c->group == c->c && c->group == c->m;
    return op == OG__CONV && dtype == OG_FLOAT && og__simd_level() == 4 && c->c % 16 == 0 &&
           c->m % 16 == 0 && (c->group == 1 || depthwise);
}

/* The steps of a Conv's program, which can be activations alone. */
static bool activations_of(const og_call *call, og__conv_op op, og__post *post)
{
    og__epilogue e;
    *post = (og__post){0};
    if (!call->node->program)
        return true;
    return op == OG__CONV && call->node->program->n_in == 1 && og__epilogue_of(call, 0, &e) &&
           og__epilogue_post(&e, call, 0, NULL, NULL, post);
}

/* The primitive with the given weights; `p` NULL: only whether there is one. */
static bool try_primitive(og__dnnl *dnnl, og__primitive *p, const og__conv *c, og__conv_op op,
                          const og__md md[TENSORS], const og__md *bias, const og__post *post,
                          og__md used[TENSORS])
{
    int skip = OG__SPATIAL - c->spatial;
    int64_t pads[2 * OG__SPATIAL];
    memcpy(pads, c->begins + skip, (size_t)c->spatial * sizeof *pads);
    memcpy(pads + c->spatial, c->ends + skip, (size_t)c->spatial * sizeof *pads);
    og__conv_desc desc = {.kind = kind_of(op),
                          .x = og__md_get(&md[X]),
                          .w = og__md_get(&md[W]),
                          .y = og__md_get(&md[Y]),
                          .bias = og__md_get(bias),
                          .spatial = c->spatial,
                          .strides = c->strides + skip,
                          .dilations = c->dilations + skip,
                          .pads = pads,
                          .post = post};
    return og__primitive_conv(dnnl, p, &desc, used);
}

/* The call's primitive and its layouts, which the caller frees, also on failure. */
static bool make_primitive(og__dnnl *dnnl, og__primitive *p, const og_call *call, const og__conv *c,
                           og__conv_op op, layouts *l)
{
    og_dtype dtype = call->x[0].type.dtype;
    og__conv_tensors t = og__conv_tensors_of(call, op);
    const og_tensor *const tensors[TENSORS] = {t.x, t.w, t.y};
    og__post post;
    bool last = channels_last(call, op), ok = activations_of(call, op, &post);
    shapes s = shapes_of(c);
    og__md md[TENSORS] = {0};
    for (int i = 0; ok && i < TENSORS; i++) {
        bool settled = last && i != W;
        og_dtype type = tensors[i]->type.dtype;
        ok = describe(&l->lies[i], type, s.rank[i], s.dims[i], settled) &&
             (settled ? og__md_copy(&md[i], og__md_get(&l->lies[i]))
                      : og__md_any(&md[i], type, s.rank[i], s.dims[i]));
    }
    if (ok && op == OG__CONV && og__has(call->nx, call->x, 2))
        ok = og__md_dense(&l->bias, dtype, 1, &c->m);
    if (ok) {
        og__md any = md[W], blocked = {0};
        bool done = false;
        if (last && blocks_weights(c, op, dtype) &&
            og__md_blocks(&blocked, s.rank[W], s.dims[W], c->group > 1)) {
            md[W] = blocked;
            done = try_primitive(dnnl, p, c, op, md, &l->bias, &post, l->used);
            md[W] = any;
        }
        og__md_free(&blocked);
        ok = done || try_primitive(dnnl, p, c, op, md, &l->bias, &post, l->used);
    }
    for (int i = 0; i < TENSORS; i++)
        og__md_free(&md[i]);
    return ok;
}

static bool supports(const og_call *call, og__conv_op op)
{
    og__conv c;
    og_dtype dtype = call->nx > 0 ? call->x[0].type.dtype : OG_UNDEFINED;
    bool last = channels_last(call, op);
    if (!og__conv_of(call, op, &c) || !og__dnnl_dtype(dtype) || is_slow(&c, op, dtype) ||
        (!last && is_product(&c, op, dtype)))
        return false;
    for (int i = 0; i < call->nx; i++)
        if (og__has(call->nx, call->x, i) && og__elements(&call->x[i]) == 0)
            return false;
    if (og__elements(&call->y[0]) == 0)
        return false;
    trim(&c);
    layouts l = {0};
    og__dnnl dnnl = {0};
    bool ok = og__dnnl_open(&dnnl, conv_threads(call, &c)) &&
              make_primitive(&dnnl, NULL, call, &c, op, &l);
    free_layouts(&l);
    og__dnnl_close(&dnnl);
    return ok;
}

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    og__primitive_free(&p->conv);
    for (int i = 0; i < TENSORS; i++)
        og__primitive_free(&p->reorder[i]);
    og__dnnl_close(&p->dnnl);
    free(p);
    call->state = NULL;
}

static bool build(plan *p, og_call *call, const og__conv *c, og__conv_op op)
{
    layouts l = {0};
    bool ok = og__dnnl_open(&p->dnnl, conv_threads(call, c)) &&
              make_primitive(&p->dnnl, &p->conv, call, c, op, &l);
    size_t scratch = p->conv.scratch;
    for (int i = 0; ok && i < TENSORS; i++) {
        og__md_ref lies = og__md_get(&l.lies[i]), wanted = og__md_get(&l.used[i]);
        if (og__md_equal(lies, wanted))
            continue;
        bool out = i == written(op);
        if (i == W && !out && call->steady >> 1 & 1) {
            p->packed = true;
            call->packed_bytes = og__md_bytes(wanted);
        } else {
            p->offset[i] = call->workspace_bytes;
            call->workspace_bytes += og__md_bytes(wanted);
        }
        ok = og__primitive_reorder(&p->dnnl, &p->reorder[i], out ? wanted : lies,
                                   out ? lies : wanted);
        if (p->reorder[i].scratch > scratch)
            scratch = p->reorder[i].scratch;
    }
    p->scratch_offset = call->workspace_bytes;
    call->workspace_bytes += scratch;
    free_layouts(&l);
    return ok;
}

static og_status prepare(og_call *call, og_error *error, og__conv_op op)
{
    og__conv c;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    p->op = op;
    call->state = p;
    call->workspace_bytes = 0;
    og__conv_of(call, op, &c);
    trim(&c);
    if (build(p, call, &c, op))
        return OG_OK;
    release(call);
    return og__dnnl_fail(call, error, "a convolution");
}

static bool reorder(plan *p, int i, void *from, void *to, void *scratch)
{
    return og__primitive_run(&p->dnnl, &p->reorder[i], 2, (const int[]){DNNL_ARG_FROM, DNNL_ARG_TO},
                             (void *[]){from, to}, scratch);
}

static og_status pack(const og_call *call, og_error *error)
{
    plan *p = call->state;
    void *scratch = (char *)call->workspace + p->scratch_offset;
    return reorder(p, W, call->x[1].data, call->packed, scratch)
               ? OG_OK
               : og__dnnl_fail(call, error, "to reorder weights");
}

/* x: [n, channels, size] + bias[channel]; channels-last it is [n size, channels, 1] */
static void add_bias(const og_call *call, const og_tensor *x, const og_tensor *bias)
{
    int64_t channels = x->type.dims[1], size = og__product(x->type.dims, 2, x->type.rank);
    int64_t rows = x->type.dims[0] * channels;
    if (!og_tensor_is_dense(x)) {
        rows *= size;
        size = 1;
    }
    og_dtype dtype = x->type.dtype;
#pragma omp parallel for num_threads(og__threads(call, rows *size)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float b = (float)og__load_double(bias->data, dtype, r % channels);
        if (dtype == OG_FLOAT) {
            float *y = (float *)x->data + r * size;
            for (int64_t i = 0; i < size; i++)
                y[i] += b;
        } else {
            uint16_t *y = (uint16_t *)x->data + r * size;
            for (int64_t i = 0; i < size; i++)
                y[i] = og_float_to_bfloat(og_bfloat_to_float(y[i]) + b);
        }
    }
}

static og_status run(const og_call *call, og_error *error)
{
    static const int args[3][4] = {
        [OG__CONV_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
        [OG__CONV_DATA] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_BIAS},
        [OG__CONV_WEIGHTS] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST,
                              DNNL_ARG_BIAS}};
    plan *p = call->state;
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    char *workspace = call->workspace;
    void *scratch = workspace + p->scratch_offset;
    void *lies[TENSORS] = {t.x->data, t.w->data, t.y->data};
    void *data[TENSORS + 1] = {lies[X], lies[W], lies[Y], t.bias ? t.bias->data : NULL};
    int out = written(p->op);
    bool ok = true;
    for (int i = 0; i < TENSORS; i++)
        if (i == W && p->packed) {
            data[W] = call->packed;
        } else if (p->reorder[i].primitive) {
            data[i] = workspace + p->offset[i];
            if (i != out)
                ok = ok && reorder(p, i, lies[i], data[i], scratch);
        }
    ok = ok && og__primitive_run(&p->dnnl, &p->conv, 4, args[kind_of(p->op)], data, scratch);
    if (p->reorder[out].primitive)
        ok = ok && reorder(p, out, data[out], lies[out], scratch);
    if (!ok)
        return og__dnnl_fail(call, error, "to run a convolution");
    if (p->op == OG__CONV_TRANSPOSE && t.bias)
        add_bias(call, t.x, t.bias);
    return OG_OK;
}

#define OP(function, op)                                                \
    static bool function##_supports(const og_call *call)                \
    {                                                                   \
        return supports(call, op);                                      \
    }                                                                   \
    static og_status function##_prepare(og_call *call, og_error *error) \
    {                                                                   \
        return prepare(call, error, op);                                \
    }
OP(forward, OG__CONV)
OP(grad_data, OG__CONV_GRAD_DATA)
OP(grad_weights, OG__CONV_GRAD_WEIGHTS)
OP(transpose, OG__CONV_TRANSPOSE)
#define ROW(op, function)                                                                  \
    {                                                                                      \
        op, "oneDNN",                                                                      \
            OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST | OG_KERNEL_PROGRAM, \
            function##_supports, function##_prepare, run, release, pack                    \
    }

const og_kernel og_kernels_cpu_conv_onednn[] = {
    ROW("Conv", forward),
    ROW("ai.ongrad::WideConv", forward),
    ROW("ai.ongrad::ConvGradData", grad_data),
    ROW("ai.ongrad::WideConvGradData", grad_data),
    ROW("ai.ongrad::ConvGradWeights", grad_weights),
    ROW("ai.ongrad::WideConvGradWeights", grad_weights),
    ROW("ConvTranspose", transpose),
    {NULL},
};
