/* Convolutions of few pixels and many channels from bfloat16, such as the last ones of a network,
 * and their gradients, where images lie channels-last: one product with the matrix of windows
 * (conv.c has its definition), for all images at once,
 *
 *     y = col wᵀ       dw = dyᵀ col       dcol = dy w, added up to dx where windows overlap
 *
 * with y: [pixels, m], w: [m, c k], col: [pixels, c k], k the elements of a kernel. The matrix of
 * windows is small beside the weights then, which the product reads in order. Where pixels are
 * many, and without the processor's tiles, oneDNN is the faster one. */
#include <stdlib.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/matmul_bfloat.h"
#include "runtime/base/checked.h"

/* Pixels of all images for a channel that is written or read; channels; elements of a kernel. */
enum { MOST_PIXELS = 2, FEWEST_CHANNELS = 32, MOST_TAPS = 49 };

typedef struct plan {
    og__conv conv;
    og__bfloat_product product;
    int threads;
    int64_t pixels, taps;
    size_t matrix_bytes, row_bytes; /* of windows, before the product's workspace; zeros behind it,
                                       or the sums of one pixel for each thread */
} plan;

static og__matmul product_of(const og__conv *c, og__conv_op op)
{
    int64_t pixels = c->n * og__product(c->out, 0, OG__SPATIAL),
            windows = c->c * og__product(c->kernel, 0, OG__SPATIAL);
    og__matmul s = {.batch = {.n = 3, .rank = 1, .dims = {1}}};
    if (op == OG__CONV_GRAD_WEIGHTS) {
        s.m = c->m, s.n = windows, s.k = pixels;
        s.a_row = 1, s.a_column = c->m;
        s.b_row = windows, s.b_column = 1;
    } else if (op == OG__CONV) {
        s.m = pixels, s.n = c->m, s.k = windows;
        s.a_row = windows, s.a_column = 1;
        s.b_row = 1, s.b_column = windows;
    } else {
        s.m = pixels, s.n = windows, s.k = c->m;
        s.a_row = c->m, s.a_column = 1;
        s.b_row = windows, s.b_column = 1;
    }
    s.c_row = s.n;
    return s;
}

static bool supports(const og_call *call, og__conv_op op)
{
    og__conv c;
    if (!og__has_matrix_tiles() || !og__conv_of(call, op, &c) ||
        call->x[0].type.dtype != OG_BFLOAT16 || c.group != 1)
        return false;
    og__conv_tensors t = og__conv_tensors_of(call, op);
    int64_t taps = og__product(c.kernel, 0, OG__SPATIAL),
            pixels = c.n * og__product(c.out, 0, OG__SPATIAL);
    og__matmul s = product_of(&c, op);
    return !t.bias && taps <= MOST_TAPS && og__min(c.c, c.m) >= FEWEST_CHANNELS &&
           pixels <= MOST_PIXELS * c.m && og_tensor_is_channels_last(t.x) &&
           og_tensor_is_channels_last(t.y) && og_tensor_is_dense(t.w) && og__bfloat_worth_it(&s);
}

static og_status prepare(og_call *call, og__conv_op op, og_error *error)
{
    plan *p = malloc(sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    og__conv_of(call, op, &p->conv);
    const og__conv *c = &p->conv;
    og__matmul s = product_of(c, op);
    p->taps = og__product(c->kernel, 0, OG__SPATIAL);
    p->pixels = c->n * og__product(c->out, 0, OG__SPATIAL);
    bool data = op == OG__CONV_GRAD_DATA;
    p->threads = og__threads(call, p->pixels * c->c * p->taps);
    p->matrix_bytes = og_align_up(
        (size_t)(p->pixels * c->c * p->taps) * (data ? sizeof(float) : sizeof(uint16_t)), 256);
    p->row_bytes = og_align_up((size_t)c->c * sizeof(float), 256);
    call->workspace_bytes =
        p->matrix_bytes + p->row_bytes * (size_t)(data ? p->threads : 1) +
        og__bfloat_plan(&p->product, &s, data ? OG_FLOAT : call->y[0].type.dtype, call);
    call->state = p;
    return OG_OK;
}

/* ---- windows */

/* Splits an index into an image's number and places along the three axes. */
static int64_t split(int64_t at, const int64_t lengths[OG__SPATIAL], int64_t place[OG__SPATIAL])
{
    for (int a = OG__SPATIAL - 1; a >= 0; a--) {
        place[a] = at % lengths[a];
        at /= lengths[a];
    }
    return at;
}

/* The pixel of x that output pixel `at` of image `image` sees through a tap; -1: none, a pad. */
static int64_t seen(const og__conv *c, int64_t image, const int64_t at[OG__SPATIAL], int64_t tap)
{
    int64_t k[OG__SPATIAL], pixel = image;
    split(tap, c->kernel, k);
    for (int a = 0; a < OG__SPATIAL; a++) {
        int64_t i = at[a] * c->strides[a] + k[a] * c->dilations[a] - c->begins[a];
        if (i < 0 || i >= c->in[a])
            return -1;
        pixel = pixel * c->in[a] + i;
    }
    return pixel;
}

/* The output pixel that sees pixel `at` of x through a tap; -1: none does. */
static int64_t sees(const og__conv *c, int64_t image, const int64_t at[OG__SPATIAL], int64_t tap)
{
    int64_t k[OG__SPATIAL], pixel = image;
    split(tap, c->kernel, k);
    for (int a = 0; a < OG__SPATIAL; a++) {
        int64_t i = at[a] + c->begins[a] - k[a] * c->dilations[a];
        if (i < 0 || i % c->strides[a] != 0 || i / c->strides[a] >= c->out[a])
            return -1;
        pixel = pixel * c->out[a] + i / c->strides[a];
    }
    return pixel;
}

/* x: [pixels of x, c] → one row of col: [c, taps]; zeros: [c] */
static void gather(const plan *p, const uint16_t *x, const uint16_t *zeros, int64_t pixel,
                   uint16_t *row)
{
    const og__conv *c = &p->conv;
    const uint16_t *from[MOST_TAPS];
    int64_t at[OG__SPATIAL], image = split(pixel, c->out, at);
    for (int64_t k = 0; k < p->taps; k++) {
        int64_t i = seen(c, image, at, k);
        from[k] = i < 0 ? zeros : x + i * c->c;
    }
    for (int64_t i = 0; i < c->c; i++)
        for (int64_t k = 0; k < p->taps; k++)
            *row++ = from[k][i];
}

/* dcol: [pixels, c, taps] → the sums of one pixel of x: [c] */
static void add_up(const plan *p, const float *dcol, int64_t pixel, float *sums)
{
    const og__conv *c = &p->conv;
    const float *from[MOST_TAPS];
    int64_t at[OG__SPATIAL], image = split(pixel, c->in, at), n = 0;
    for (int64_t k = 0; k < p->taps; k++) {
        int64_t i = sees(c, image, at, k);
        if (i >= 0)
            from[n++] = dcol + i * c->c * p->taps + k;
    }
    for (int64_t i = 0; i < c->c; i++) {
        float sum = 0;
        for (int64_t k = 0; k < n; k++)
            sum += from[k][i * p->taps];
        sums[i] = sum;
    }
}

static void make_matrix(const plan *p, const og_call *call, const uint16_t *x)
{
    int64_t row = p->conv.c * p->taps;
    uint16_t *col = call->workspace, *zeros = col + p->matrix_bytes / sizeof(uint16_t);
    memset(zeros, 0, p->row_bytes);
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int64_t i = 0; i < p->pixels; i++)
        gather(p, x, zeros, i, col + i * row);
}

static void sum_windows(const plan *p, const og_call *call, og_tensor *dx)
{
    const og__conv *c = &p->conv;
    int64_t pixels = c->n * og__product(c->in, 0, OG__SPATIAL);
    const float *dcol = call->workspace;
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int t = 0; t < p->threads; t++) {
        float *sums =
            (float *)(void *)((char *)call->workspace + p->matrix_bytes + (size_t)t * p->row_bytes);
        for (int64_t i = pixels * t / p->threads; i < pixels * (t + 1) / p->threads; i++) {
            bool wide = dx->type.dtype == OG_FLOAT;
            float *to = wide ? (float *)dx->data + i * c->c : sums;
            add_up(p, dcol, i, to);
            for (int64_t k = 0; !wide && k < c->c; k++)
                ((uint16_t *)dx->data)[i * c->c + k] = og_float_to_bfloat(sums[k]);
        }
    }
}

/* ---- the calls */

static void *product_workspace(const plan *p, const og_call *call, int rows)
{
    return (char *)call->workspace + p->matrix_bytes + p->row_bytes * (size_t)rows;
}

/* x, w → y */
static og_status run_forward(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    make_matrix(p, call, call->x[0].data);
    og__bfloat_run(&p->product, call, call->workspace, call->x[1].data, call->y[0].data,
                   product_workspace(p, call, 1));
    return OG_OK;
}

/* x, dy → dw */
static og_status run_grad_weights(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    make_matrix(p, call, call->x[0].data);
    og__bfloat_run(&p->product, call, call->x[1].data, call->workspace, call->y[0].data,
                   product_workspace(p, call, 1));
    return OG_OK;
}

/* dy, w → dx */
static og_status run_grad_data(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    og__bfloat_run(&p->product, call, call->x[0].data, call->x[1].data, call->workspace,
                   product_workspace(p, call, p->threads));
    sum_windows(p, call, &call->y[0]);
    return OG_OK;
}

#define OP(name, OP)                                                \
    static bool supports_##name(const og_call *call)                \
    {                                                               \
        return supports(call, OP);                                  \
    }                                                               \
    static og_status prepare_##name(og_call *call, og_error *error) \
    {                                                               \
        return prepare(call, OP, error);                            \
    }
OP(forward, OG__CONV)
OP(grad_data, OG__CONV_GRAD_DATA)
OP(grad_weights, OG__CONV_GRAD_WEIGHTS)

#define FLAGS (OG_KERNEL_CHANNELS_LAST | OG_KERNEL_PREFERS_CHANNELS_LAST)
#define ROW(op, name)                                                                    \
    {                                                                                    \
        op, "matrix", FLAGS, supports_##name, prepare_##name, run_##name, og__free_state \
    }

const og_kernel og_kernels_cpu_conv_matrix_bfloat[] = {
    ROW("Conv", forward),
    ROW("ai.ongrad::WideConv", forward),
    ROW("ai.ongrad::ConvGradData", grad_data),
    ROW("ai.ongrad::WideConvGradData", grad_data),
    ROW("ai.ongrad::ConvGradWeights", grad_weights),
    ROW("ai.ongrad::WideConvGradWeights", grad_weights),
    {NULL},
};
