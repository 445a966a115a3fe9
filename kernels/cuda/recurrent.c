/* LSTMDirection, GRUDirection, RNNDirection, their gradients, and the Wide ones of mixed precision
 * (ops/recurrence.c), where recurrent_cudnn.c leaves them, by the driver's products and kernels of
 * steps (recurrent.cu):
 *
 *     forward: x Wᵀ of all steps at once; then for each step h Rᵀ, and the step
 *     back:    for each step, from the last one, the step back, and dh = dhr R
 *
 * All of it is recorded, so that a step costs two launches of a graph. x Wᵀ is written where gates
 * are kept (RNN: where y is) and h Rᵀ added to it there, which is also where the step writes.
 *
 * Wide ops have x, W and R in half and sums in float; the state is rounded to half for its product.
 * A sequence's length that is none gives NaN, and the processor's error to who next waits. */
#include "kernels/cuda/recurrent.h"

#include <limits.h>
#include <stdlib.h>

#include "kernels/cpu/recurrent.h"
#include "kernels/cuda/product_plan.h"

extern const og_cuda_image og_cuda_image_recurrent;

enum { THREADS = 128, MOST_RANGES = 12 };

typedef struct plan {
    og__recurrence of;
    og_dtype in; /* of what products multiply */
    og_operand type;
    int64_t width;          /* elements of a row of gates, or of y */
    og__cuda_product input; /* x Wᵀ */
    og__cuda_product step;  /* h Rᵀ, dhr R */
    og_cuda_function *cell, *to_operand;
    og__cuda_watch *watch; /* of lengths; NULL: all sequences are whole */
    /* gates and c where no output keeps them; hr: GRU's h Rᵀ; h, c: states, or their gradients;
     * operand: h in half */
    og__place gates, hr, h, c, operand, products; /* bytes 0: not used */
} plan;

static og__place book(og_call *call, int64_t elements, og_dtype dtype)
{
    return og__cuda_book(call, (size_t)elements * og__size(dtype));
}

static void *at(const og_call *call, og__place x)
{
    return x.bytes ? og__cuda_at(call, x) : NULL;
}

static bool usual_types(const og_call *call, const og_tensor *r)
{
    bool wide = strncmp(call->node->op->name, "Wide", 4) == 0;
    og_dtype dtype = r->type.dtype;
    return wide ? og_dtype_is_half(dtype) : dtype == OG_FLOAT;
}

static bool fits(const og__recurrence *r)
{
    return r->T >= 1 && r->T < INT_MAX && r->B >= 1 && r->H >= 1 && r->H < INT_MAX / 4 &&
           r->B < INT_MAX / r->H;
}

static bool lens_fit(const og_call *call, int which)
{
    return !og__has(call->nx, call->x, which) || call->x[which].type.dtype == OG_INT32;
}

static bool supports(const og_call *call)
{
    og__recurrence r = og__recurrence_of(call, false);
    return usual_types(call, &call->x[OG__WALK_R]) && lens_fit(call, OG__WALK_LENS) && fits(&r) &&
           r.I >= 1;
}

static bool supports_back(const og_call *call)
{
    og__recurrence r = og__recurrence_of(call, true);
    return usual_types(call, &call->x[0]) && lens_fit(call, og__back_places_of(r.unit).lens) &&
           fits(&r);
}

/* ---- prepare */

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    og__cuda_watch_free(og__cuda_of(call->device), p->watch);
    og__cuda_product_free(call->device, &p->input);
    og__cuda_product_free(call->device, &p->step);
    free(p);
    call->state = NULL;
}

static const char *cell_name(og__unit unit, bool back)
{
    switch (unit) {
    case OG__UNIT_LSTM:
        return back ? "og_lstm_back" : "og_lstm_step";
    case OG__UNIT_GRU:
        return back ? "og_gru_back" : "og_gru_step";
    default:
        return back ? "og_rnn_back" : "og_rnn_step";
    }
}

static og_status plan_new(og_call *call, bool back, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a recurrence");
    call->state = p;
    call->workspace_bytes = 0;
    p->of = og__recurrence_of(call, back);
    p->in = p->of.half ? p->of.half : p->of.dtype;
    p->type = p->in == OG_FLOAT16    ? OG_OPERAND_HALF
              : p->in == OG_BFLOAT16 ? OG_OPERAND_BFLOAT
                                     : OG_OPERAND_FLOAT;
    p->width = p->of.gates > 1 ? 4 * p->of.H : p->of.H;
    return og__cuda_function(og__cuda_of(call->device), &og_cuda_image_recurrent,
                             cell_name(p->of.unit, back), 0, &p->cell, error);
}

/* D = A Bᵀ of row-major [rows, k] and [columns, k], or A B of [rows, k] and [k, columns]; rows of D
 * are `width` apart. Column-major, B comes first. */
static og_status product_new(const og_call *call, const plan *p, int64_t rows, int64_t columns,
                             int64_t k, bool transposed, int64_t width, bool adds,
                             og__cuda_product *product, og_error *error)
{
    og_cuda_product d = og__cuda_product_of(call->device, p->in, p->of.dtype);
    d.m = columns;
    d.n = rows;
    d.k = d.ldb = k;
    d.transpose_a = transposed;
    d.lda = transposed ? k : columns;
    d.ldc = d.ldd = width;
    d.reads_c = adds;
    return og__cuda_product_new(call->device, &d, product, error);
}

static og_status prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    OG_TRY_CLEANUP(plan_new(call, false, error));
    plan *p = call->state;
    const og__recurrence *r = &p->of;
    int64_t GH = r->gates * r->H, units = r->B * r->H;
    bool gru = r->unit == OG__UNIT_GRU, lstm = r->unit == OG__UNIT_LSTM;
    OG_TRY_CLEANUP(
        product_new(call, p, r->T * r->B, GH, r->I, true, p->width, false, &p->input, error));
    OG_TRY_CLEANUP(
        product_new(call, p, r->B, GH, r->H, true, gru ? GH : p->width, !gru, &p->step, error));
    if (r->half)
        OG_TRY_CLEANUP(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_recurrent,
                                         "og_operand_of", 0, &p->to_operand, error));
    if (r->gates_out >= 0 && !og__has(call->ny, call->y, r->gates_out))
        p->gates = book(call, r->T * r->B * p->width, r->dtype);
    if (lstm && !og__has(call->ny, call->y, r->cells_out))
        p->c = book(call, units, r->dtype);
    if (gru)
        p->hr = book(call, r->B * GH, r->dtype);
    if (og__has(call->nx, call->x, OG__WALK_LENS)) {
        p->h = book(call, units, r->dtype);
        OG_TRY_CLEANUP(og__cuda_watch_new(call, og__bad_length, r->T, &p->watch, error));
    }
    if (r->half)
        p->operand = book(call, units, r->half);
    p->products = og__cuda_book(call, og__max(p->input.workspace, p->step.workspace));
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* Does the step back leave dh to which its product adds? Else the product's dh is all of it. */
static bool adds_dh(const og_call *call, const og__recurrence *r)
{
    return r->unit == OG__UNIT_GRU || og__has(call->nx, call->x, og__back_places_of(r->unit).lens);
}

static og_status prepare_back(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    OG_TRY_CLEANUP(plan_new(call, true, error));
    plan *p = call->state;
    const og__recurrence *r = &p->of;
    OG_TRY_CLEANUP(product_new(call, p, r->B, r->H, r->gates * r->H, false, r->H, adds_dh(call, r),
                               &p->step, error));
    p->h = book(call, r->B * r->H, r->dtype);
    if (r->unit == OG__UNIT_LSTM)
        p->c = book(call, r->B * r->H, r->dtype);
    p->products = og__cuda_book(call, p->step.workspace);
cleanup:
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

/* Where input or output `which` begins; NULL where it is absent. */
static void *data_of(int n, const og_tensor *t, int which)
{
    return which >= 0 && og__has(n, t, which) ? t[which].data : NULL;
}

/* Step t of [T, B, columns]; NULL of NULL. */
static void *step_of(const plan *p, const void *x, og_dtype dtype, int64_t t, int64_t columns)
{
    return x ? (char *)(uintptr_t)x + (size_t)(t * p->of.B * columns) * og__size(dtype) : NULL;
}

static og_status multiply(const og_call *call, const og__cuda_product *product, const void *a,
                          const void *b, void *d, og_error *error)
{
    const plan *p = call->state;
    const float one = 1, beta = product->shape.reads_c;
    const og_cuda_operands operands = {.a = b,
                                       .b = a,
                                       .c = d,
                                       .d = d,
                                       .alpha = &one,
                                       .beta = &beta,
                                       .workspace = at(call, p->products),
                                       .workspace_bytes = p->products.bytes};
    return og__cuda_product_run(call->device, product, &operands, error);
}

/* What a launch reads and writes. */
typedef struct ranges {
    og_cuda_range of[MOST_RANGES];
    int n;
} ranges;

static void touch(ranges *r, const void *memory, int64_t elements, size_t size, bool write)
{
    if (memory)
        r->of[r->n++] = (og_cuda_range){memory, (size_t)elements * size, write};
}

static og_status launch(const og_call *call, og_cuda_function *function, const void *arguments,
                        size_t bytes, const ranges *r, og_error *error)
{
    const plan *p = call->state;
    int64_t blocks = (p->of.B * p->of.H + THREADS - 1) / THREADS;
    return og__cuda_launch(call, function, blocks, THREADS, 0, arguments, bytes, r->of, r->n,
                           error);
}

static og_status copy(const og_call *call, void *to, const void *from, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    size_t bytes = (size_t)(p->of.B * p->of.H) * og__size(p->of.dtype);
    if (!to || to == from)
        return OG_OK;
    return cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, to, from, bytes, error);
}

static og_status launch_step(const og_call *call, const og_step_arguments *a, og_error *error)
{
    const plan *p = call->state;
    const size_t size = sizeof(float);
    int64_t n = a->n, GH = p->of.gates * p->of.H;
    ranges r = {.n = 0};
    touch(&r, a->gates, p->of.B * p->width, size, true);
    touch(&r, a->hr, p->of.B * GH, size, false);
    touch(&r, a->bias, 2 * GH, size, false);
    touch(&r, a->h_before, n, size, false);
    touch(&r, a->c_before, n, size, false);
    touch(&r, a->lens, p->of.B, sizeof(int32_t), false);
    touch(&r, a->outside, 1, sizeof *a->outside, true);
    touch(&r, a->h, n, size, true);
    touch(&r, a->c, n, size, true);
    touch(&r, a->y, n, size, true);
    touch(&r, a->operand, n, og__size(p->in), true);
    return launch(call, p->cell, a, sizeof *a, &r, error);
}

/* h0 in half, as the first step's product takes it */
static og_status round_first(const og_call *call, const void *h0, og_error *error)
{
    const plan *p = call->state;
    const og_operand_arguments a = {h0, at(call, p->operand), p->of.B * p->of.H, p->type};
    ranges r = {.n = 0};
    touch(&r, a.from, a.n, sizeof(float), false);
    touch(&r, a.to, a.n, og__size(p->in), true);
    return launch(call, p->to_operand, &a, sizeof a, &r, error);
}

/* x, w, r, b, lens, h0[, c0] → y, h[, c][, gates[, cells]] */
static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__recurrence *s = &p->of;
    bool gru = s->unit == OG__UNIT_GRU, lstm = s->unit == OG__UNIT_LSTM;
    const void *h0 = data_of(call->nx, call->x, OG__WALK_H0);
    char *y = call->y[0].data, *cells = data_of(call->ny, call->y, s->cells_out);
    char *gates = s->gates_out < 0 ? y
                  : p->gates.bytes ? at(call, p->gates)
                                   : data_of(call->ny, call->y, s->gates_out);
    og_step_arguments a = {.bias = data_of(call->nx, call->x, OG__WALK_B),
                           .h_before = h0,
                           .c_before = lstm ? data_of(call->nx, call->x, OG__WALK_C0) : NULL,
                           .h = at(call, p->h),
                           .operand = at(call, p->operand),
                           .lens = data_of(call->nx, call->x, OG__WALK_LENS),
                           .outside = p->watch ? og__cuda_of(call->device)->outside : NULL,
                           .call = p->watch ? og__cuda_watch_number(p->watch) : 0,
                           .n = s->B * s->H,
                           .H = (int)s->H,
                           .T = (int)s->T,
                           .type = p->type,
                           .relu = s->unit == OG__UNIT_RELU};
    OG_TRY(multiply(call, &p->input, call->x[OG__WALK_X].data, call->x[OG__WALK_W].data, gates,
                    error));
    if (h0 && s->half)
        OG_TRY(round_first(call, h0, error));
    for (int64_t k = 0; k < s->T; k++) {
        int64_t t = og__recurrence_time(s, k);
        a.t = (int)t;
        a.gates = step_of(p, gates, s->dtype, t, p->width);
        a.y = step_of(p, y, s->dtype, t, s->H);
        a.c = !lstm ? NULL : cells ? step_of(p, cells, s->dtype, t, s->H) : at(call, p->c);
        if (a.h_before) {
            void *to = gru ? at(call, p->hr) : a.gates;
            const void *h = s->half ? at(call, p->operand) : a.h_before;
            OG_TRY(multiply(call, &p->step, h, call->x[OG__WALK_R].data, to, error));
            a.hr = gru ? to : NULL;
        }
        OG_TRY(launch_step(call, &a, error));
        a.h_before = a.h ? a.h : a.y;
        a.c_before = a.c;
    }
    OG_TRY(copy(call, data_of(call->ny, call->y, 1), a.h_before, error));
    return lstm ? copy(call, data_of(call->ny, call->y, 2), a.c_before, error) : OG_OK;
}

static og_status launch_back(const og_call *call, const og_back_arguments *a, og_error *error)
{
    const plan *p = call->state;
    const size_t size = sizeof(float), half = og__size(p->in);
    int64_t n = a->n;
    ranges r = {.n = 0};
    touch(&r, a->gates, p->of.B * p->width, size, false);
    touch(&r, a->c, n, size, false);
    touch(&r, a->y, n, size, false);
    touch(&r, a->before, n, size, false);
    touch(&r, a->first, n, size, false);
    touch(&r, a->dy, n, size, false);
    touch(&r, a->lens, p->of.B, sizeof(int32_t), false);
    touch(&r, a->dh, n, size, false);
    touch(&r, a->dc, n, size, false);
    touch(&r, a->dh_out, n, size, true);
    touch(&r, a->dc_out, n, size, true);
    touch(&r, a->dxw, n * p->of.gates, half, true);
    touch(&r, a->dhr, n * p->of.gates, half, true);
    return launch(call, p->cell, a, sizeof *a, &r, error);
}

/* r, what the walk kept, dy and the last states' gradients, lens, first states → dxw[, dhr][, the
 * first states' gradients] */
static og_status run_back(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__recurrence *s = &p->of;
    og__back_places w = og__back_places_of(s->unit);
    bool gru = s->unit == OG__UNIT_GRU, lstm = s->unit == OG__UNIT_LSTM;
    const void *gates = data_of(call->nx, call->x, w.gates), *y = data_of(call->nx, call->x, w.y),
               *cells = data_of(call->nx, call->x, w.cells), *states = lstm ? cells : y,
               *dy = data_of(call->nx, call->x, w.dy);
    void *dh0 = data_of(call->ny, call->y, w.dh0);
    og_back_arguments a = {.first = data_of(call->nx, call->x, lstm ? w.c0 : w.h0),
                           .dh = data_of(call->nx, call->x, w.dh),
                           .dc = data_of(call->nx, call->x, w.dc),
                           .dh_out = adds_dh(call, s) ? at(call, p->h) : NULL,
                           .dc_out = at(call, p->c),
                           .lens = data_of(call->nx, call->x, w.lens),
                           .n = s->B * s->H,
                           .H = (int)s->H,
                           .type = p->type,
                           .relu = s->unit == OG__UNIT_RELU};
    for (int64_t k = s->T - 1; k >= 0; k--) {
        int64_t t = og__recurrence_time(s, k);
        a.t = (int)t;
        a.t_before = k > 0 ? (int)og__recurrence_time(s, k - 1) : -1;
        a.gates = step_of(p, gates, s->dtype, t, p->width);
        a.c = step_of(p, cells, s->dtype, t, s->H);
        a.y = gru ? NULL : step_of(p, y, s->dtype, t, s->H);
        a.before = k > 0 && (lstm || gru) ? step_of(p, states, s->dtype, a.t_before, s->H) : NULL;
        a.dy = step_of(p, dy, s->dtype, t, s->H);
        a.dxw = step_of(p, call->y[0].data, p->in, t, s->gates * s->H);
        a.dhr = gru ? step_of(p, call->y[w.dhr].data, p->in, t, s->gates * s->H) : NULL;
        OG_TRY(launch_back(call, &a, error));
        a.dh = at(call, p->h);
        a.dc = a.dc_out;
        if (k > 0 || dh0)
            OG_TRY(multiply(call, &p->step, gru ? a.dhr : a.dxw, call->x[0].data, at(call, p->h),
                            error));
    }
    OG_TRY(copy(call, dh0, at(call, p->h), error));
    return copy(call, data_of(call->ny, call->y, w.dc0), a.dc, error);
}

/* A step's outputs of the gradient may take its inputs' places, which the same thread has read.
 * First states' gradients are written when all is done. */
#define WALK(op)                                                                           \
    {OG_DOMAIN "::" op, "steps", 0, supports, prepare, run, release},                      \
    {                                                                                      \
        OG_DOMAIN "::" op "Grad", "steps", OG_KERNEL_INPLACE, supports_back, prepare_back, \
            run_back, release                                                              \
    }

const og_kernel og_kernels_cuda_recurrent[] = {
    WALK("LSTMDirection"),
    WALK("WideLSTMDirection"),
    WALK("GRUDirection"),
    WALK("WideGRUDirection"),
    WALK("RNNDirection"),
    WALK("WideRNNDirection"),
    {NULL},
};
