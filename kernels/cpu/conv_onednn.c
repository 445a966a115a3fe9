/* Conv, its gradients and ConvTranspose by oneDNN, float and bfloat16. oneDNN chooses the layouts
 * it computes in; what lies differently is reordered on the way in and out, through the workspace.
 * ConvTranspose is the gradient with regard to the data, plus a bias. */
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/onednn.h"

enum { X, W, Y, TENSORS };

typedef struct plan {
    og__conv_op op;
    og__dnnl dnnl;
    og__primitive conv;
    og__primitive reorder[TENSORS]; /* .primitive NULL: used as it lies */
    size_t offset[TENSORS];         /* of the reordered tensor */
    size_t scratch_offset;          /* shared by all primitives, which run one after the other */
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

/* Descriptors of the tensors as they lie (`plain`) and as oneDNN may choose (`any`); bias: as it
 * lies. */
static bool describe(const og__conv *c, og_dtype dtype, og__md plain[TENSORS], og__md any[TENSORS],
                     og__md *bias)
{
    int skip = OG__SPATIAL - c->spatial, spatial = c->spatial, grouped = c->group > 1;
    int64_t x[5] = {c->n, c->c}, w[6] = {c->group, c->m / c->group, c->c / c->group},
            y[5] = {c->n, c->m};
    for (int a = 0; a < spatial; a++) {
        x[2 + a] = c->in[skip + a];
        w[3 + a] = c->kernel[skip + a];
        y[2 + a] = c->out[skip + a];
    }
    const int64_t *dims[TENSORS] = {x, grouped ? w : w + 1, y};
    const int rank[TENSORS] = {spatial + 2, spatial + 2 + grouped, spatial + 2};
    bool ok = og__md_dense(bias, dtype, 1, &c->m);
    for (int i = 0; ok && i < TENSORS; i++)
        ok = og__md_dense(&plain[i], dtype, rank[i], dims[i]) &&
             og__md_any(&any[i], dtype, rank[i], dims[i]);
    return ok;
}

static og__conv_desc descriptor(const og__conv *c, og__conv_op op, const og__md md[TENSORS],
                                const og__md *bias, int64_t pads[2 * OG__SPATIAL])
{
    int skip = OG__SPATIAL - c->spatial;
    memcpy(pads, c->begins + skip, (size_t)c->spatial * sizeof *pads);
    memcpy(pads + c->spatial, c->ends + skip, (size_t)c->spatial * sizeof *pads);
    return (og__conv_desc){.kind = kind_of(op),
                           .x = og__md_get(&md[X]),
                           .w = og__md_get(&md[W]),
                           .y = og__md_get(&md[Y]),
                           .bias = bias ? og__md_get(bias) : NULL,
                           .spatial = c->spatial,
                           .strides = c->strides + skip,
                           .dilations = c->dilations + skip,
                           .pads = pads};
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

static int conv_threads(const og_call *call, const og__conv *c)
{
    int64_t window = og__product(c->kernel, 0, OG__SPATIAL) * c->c / c->group;
    return og__product_threads(call, c->n * c->m * og__product(c->out, 0, OG__SPATIAL) * window);
}

static bool supports(const og_call *call, og__conv_op op)
{
    og__conv c;
    og_dtype dtype = call->nx > 0 ? call->x[0].type.dtype : OG_UNDEFINED;
    if (!og__conv_of(call, op, &c) || !og__dnnl_dtype(dtype) || is_product(&c, op, dtype))
        return false;
    for (int i = 0; i < call->nx; i++)
        if (og__has(call->nx, call->x, i) && og__elements(&call->x[i]) == 0)
            return false;
    if (og__elements(&call->y[0]) == 0)
        return false;
    trim(&c);
    og__md plain[TENSORS] = {0}, any[TENSORS] = {0}, bias = {0};
    og__dnnl dnnl = {0};
    int64_t pads[2 * OG__SPATIAL];
    bool with_bias = op == OG__CONV && og__has(call->nx, call->x, 2);
    bool ok =
        og__dnnl_open(&dnnl, conv_threads(call, &c)) && describe(&c, dtype, plain, any, &bias);
    if (ok) {
        og__conv_desc desc = descriptor(&c, op, any, with_bias ? &bias : NULL, pads);
        ok = og__primitive_conv(&dnnl, NULL, &desc, NULL);
    }
    for (int i = 0; i < TENSORS; i++) {
        og__md_free(&plain[i]);
        og__md_free(&any[i]);
    }
    og__md_free(&bias);
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
    og__md plain[TENSORS] = {0}, any[TENSORS] = {0}, chosen[TENSORS] = {0}, bias = {0};
    int64_t pads[2 * OG__SPATIAL];
    bool with_bias = op == OG__CONV && og__has(call->nx, call->x, 2);
    bool ok = og__dnnl_open(&p->dnnl, conv_threads(call, c)) &&
              describe(c, call->x[0].type.dtype, plain, any, &bias);
    if (ok) {
        og__conv_desc desc = descriptor(c, op, any, with_bias ? &bias : NULL, pads);
        ok = og__primitive_conv(&p->dnnl, &p->conv, &desc, chosen);
    }
    size_t scratch = p->conv.scratch;
    for (int i = 0; ok && i < TENSORS; i++) {
        og__md_ref lies = og__md_get(&plain[i]), wanted = og__md_get(&chosen[i]);
        if (og__md_equal(lies, wanted))
            continue;
        bool out = i == written(op);
        p->offset[i] = call->workspace_bytes;
        call->workspace_bytes += og__md_bytes(wanted);
        ok = og__primitive_reorder(&p->dnnl, &p->reorder[i], out ? wanted : lies,
                                   out ? lies : wanted);
        if (p->reorder[i].scratch > scratch)
            scratch = p->reorder[i].scratch;
    }
    p->scratch_offset = call->workspace_bytes;
    call->workspace_bytes += scratch;
    for (int i = 0; i < TENSORS; i++) {
        og__md_free(&plain[i]);
        og__md_free(&any[i]);
        og__md_free(&chosen[i]);
    }
    og__md_free(&bias);
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

/* x: [n, channels, size] + bias[channel] */
static void add_bias(const og_call *call, const og_tensor *x, const og_tensor *bias)
{
    int64_t channels = x->type.dims[1], size = og__product(x->type.dims, 2, x->type.rank);
    int64_t rows = x->type.dims[0] * channels;
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
        if (p->reorder[i].primitive) {
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
#define ROW(op, function)                                                      \
    {                                                                          \
        op, "oneDNN", 0, function##_supports, function##_prepare, run, release \
    }

const og_kernel og_kernels_cpu_conv_onednn[] = {
    ROW("Conv", forward),
    ROW("ai.ongrad::ConvGradData", grad_data),
    ROW("ai.ongrad::ConvGradWeights", grad_weights),
    ROW("ConvTranspose", transpose),
    {NULL},
};
