/* LSTMDirection, GRUDirection, RNNDirection and their gradients, float and double, and the Wide
 * ones of mixed precision.
 *
 * Sequences do not depend on each other: a task walks all steps of a block of sequences by itself,
 * so that no step waits for another thread. A step is products with the weights, which are packed
 * once a call, and a loop over the hidden units; what a step makes for the next stays in the cache.
 * The gradients of x and of the weights are products over all steps at once, nodes of their own.
 *
 * Wide ops read x and the weights in half and compute in float. Where the processor multiplies
 * bfloat16, the state is rounded to it for its product; elsewhere x and the weights are widened. */
#include <stdlib.h>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/recurrent.h"

enum { MOST_ROWS = 48 }; /* sequences of a task: what a step touches stays in the cache */

typedef struct plan {
    og__recurrence of;
    bool dots;           /* half is multiplied as it is */
    int64_t rows, tasks; /* sequences of a task */
    int threads;
    og__gemm product, input; /* of one task and step: with R, and with W; m is set as it runs */
    size_t size;             /* of an element */
    /* Of the workspace, multiples of 256: R and W packed, biases, weights widened, and for each
     * thread, of which og__gemm takes rows_bytes. */
    size_t product_bytes, input_bytes, shared_bytes, wide_bytes, thread_bytes, rows_bytes;
} plan;

/* A thread's part of the workspace. [rows, …] */
typedef struct scratch {
    char *product, *input; /* [rows, gates H]: h Rᵀ, x Wᵀ */
    char *h, *c;           /* [rows, H]: the state, or its gradient */
    char *gates;           /* [4H]: where gates go that nobody keeps */
    char *operand;         /* [rows, H or I]: the state rounded to half, or x widened */
    char *rows;            /* og__gemm's */
} scratch;

static size_t aligned(int64_t elements, size_t size)
{
    return ((size_t)elements * size + 255) / 256 * 256;
}

/* Packed weights of a product [k, n], and what else og__gemm needs for `product`. */
static size_t packed_bytes(const plan *p, const og__gemm *product)
{
    return p->dots ? og__gemm_bfloat_bytes(product->n, product->k)
                   : og__gemm_packed_bytes(p->of.dtype, product->n, product->k);
}

static size_t gemm_bytes(const plan *p, const og__gemm *product)
{
    return p->dots ? og__gemm_bfloat_rows_bytes(product)
                   : aligned(1, og__gemm_rows_bytes(p->of.dtype));
}

static void plan_workspace(plan *p, og_call *call, bool back)
{
    int64_t GH = p->of.gates * p->of.H, widest = og__max(p->of.H, p->of.I);
    p->product_bytes = packed_bytes(p, &p->product);
    p->input_bytes = back ? 0 : packed_bytes(p, &p->input);
    p->shared_bytes = aligned(4 * p->of.H, p->size); /* biases; going back, a row of zeros */
    p->wide_bytes = p->of.half && !p->dots ? aligned(GH * widest, p->size) : 0;
    p->rows_bytes = gemm_bytes(p, &p->product);
    if (!back && gemm_bytes(p, &p->input) > p->rows_bytes)
        p->rows_bytes = gemm_bytes(p, &p->input);
    p->thread_bytes = 2 * aligned(p->rows * GH, p->size) + 2 * aligned(p->rows * p->of.H, p->size) +
                      aligned(4 * p->of.H, p->size) +
                      (p->of.half ? aligned(p->rows * widest, p->size) : 0) + p->rows_bytes;
    call->workspace_bytes = p->product_bytes + p->input_bytes + p->shared_bytes + p->wide_bytes +
                            (size_t)p->threads * p->thread_bytes;
}

/* back: with R itself; else with Rᵀ, and with the transpose of W, input 1. */
static og_status plan_new(og_call *call, og_error *error, bool back)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a recurrence");
    p->of = og__recurrence_of(call, back);
    p->dots = p->of.half == OG_BFLOAT16 && og__has_bfloat16();
    p->size = og__size(p->of.dtype);
    int64_t GH = p->of.gates * p->of.H;
    p->threads = (int)og__max(
        1,
        og__min(p->of.B, og__product_threads(call, p->of.T * p->of.B * GH * (p->of.H + p->of.I))));
    p->rows = og__max(1, og__min(MOST_ROWS, (p->of.B + p->threads - 1) / p->threads));
    p->tasks = (p->of.B + p->rows - 1) / p->rows;
    p->product = (og__gemm){.dtype = p->dots ? p->of.half : p->of.dtype,
                            .result = p->of.dtype,
                            .m = p->rows,
                            .n = back ? p->of.H : GH,
                            .k = back ? GH : p->of.H,
                            .a_row = back ? GH : p->of.H,
                            .a_column = 1,
                            .b_row = back ? p->of.H : 1,
                            .b_column = back ? 1 : p->of.H,
                            .c_row = back ? p->of.H : GH,
                            .add = back || p->of.unit != OG__UNIT_GRU};
    p->input = p->product;
    p->input.k = p->input.a_row = p->input.b_column = p->of.I;
    p->input.add = false;
    plan_workspace(p, call, back);
    call->state = p;
    return OG_OK;
}

static char *shared_part(const plan *p, const og_call *call)
{
    return (char *)call->workspace + p->product_bytes + p->input_bytes;
}

static scratch scratch_of(const plan *p, const og_call *call, int thread)
{
    scratch s;
    s.product =
        shared_part(p, call) + p->shared_bytes + p->wide_bytes + (size_t)thread * p->thread_bytes;
    s.input = s.product + aligned(p->rows * p->of.gates * p->of.H, p->size);
    s.h = s.input + aligned(p->rows * p->of.gates * p->of.H, p->size);
    s.c = s.h + aligned(p->rows * p->of.H, p->size);
    s.gates = s.c + aligned(p->rows * p->of.H, p->size);
    s.operand = s.gates + aligned(4 * p->of.H, p->size);
    s.rows = s.product + p->thread_bytes - p->rows_bytes;
    return s;
}

static void *packed_input(const plan *p, const og_call *call)
{
    return (char *)call->workspace + p->product_bytes;
}

/* n halves as floats, and back */
static void widen(const plan *p, void *to, const void *from, int64_t n)
{
    og__tile_ops_best()->load[OG__DOMAIN_FLOAT][p->of.half](to, from, 1, n);
}

static void narrow(const plan *p, void *to, const void *from, int64_t n)
{
    og__tile_ops_best()->store[OG__DOMAIN_FLOAT][p->of.half](to, from, n);
}

static void pack(const og_call *call, const og__gemm *product, const void *weights, void *packed)
{
    const plan *p = call->state;
    int64_t groups = og__gemm_packed_groups(product->n);
    if (p->of.half && !p->dots) {
        char *wide = shared_part(p, call) + p->shared_bytes;
        widen(p, wide, weights, product->n * product->k);
        weights = wide;
    }
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int64_t i = 0; i < groups; i++)
        if (p->dots)
            og__gemm_bfloat_pack(product, weights, packed, i, i + 1);
        else
            OG__PICK(og__gemm_pack)(product, weights, packed, i, i + 1);
}

/* a in the type that is multiplied */
static void multiply(const plan *p, const og__gemm *g, const void *a, const void *packed, void *c,
                     const scratch *s)
{
    if (p->dots)
        og__gemm_bfloat_packed(g, a, packed, c, s->rows);
    else
        OG__PICK(og__gemm_packed)(g, a, packed, c, s->rows);
}

/* Row `row` of a [rows…, n] tensor; NULL where it is absent. */
static char *row_of(const plan *p, int n, const og_tensor *t, int which, int64_t row,
                    int64_t columns)
{
    return og__has(n, t, which) ? (char *)t[which].data + (size_t)(row * columns) * p->size : NULL;
}

/* Row `row` of [rows…, n] in the type of x and the weights. */
static char *steps_of(const plan *p, const og_tensor *t, int64_t row, int64_t columns)
{
    size_t size = p->of.half ? og__size(p->of.half) : p->size;
    return (char *)t->data + (size_t)(row * columns) * size;
}

/* n elements from `from`, or zeros. */
static void copy_or_zero(const plan *p, char *to, const char *from, int64_t n)
{
    if (from)
        memcpy(to, from, (size_t)n * p->size);
    else
        memset(to, 0, (size_t)n * p->size);
}

/* The sequences' lengths, NULL where all are whole; an error where one is no length. */
static og_status lens_of(const plan *p, const og_call *call, int which, const int32_t **lens,
                         og_error *error)
{
    *lens = og__has(call->nx, call->x, which) ? call->x[which].data : NULL;
    for (int64_t k = 0; *lens && k < p->of.B; k++)
        if ((*lens)[k] < 0 || (*lens)[k] > p->of.T)
            return og__bad_length(call, error, k, (*lens)[k], p->of.T);
    return OG_OK;
}

/* ---- forward */

static bool supports(const og_call *call)
{
    bool wide = strncmp(call->node->op->name, "Wide", 4) == 0;
    return (wide || og__supports_float(call)) && call->x[OG__WALK_X].type.dims[2] > 0 &&
           (!og__has(call->nx, call->x, OG__WALK_LENS) ||
            call->x[OG__WALK_LENS].type.dtype == OG_INT32);
}

static og_status prepare(og_call *call, og_error *error)
{
    return plan_new(call, error, false);
}

/* By gate: the bias of x Wᵀ and that of h Rᵀ added, but for GRU's n, where the second follows. */
#define BIASES(T)                                                                                  \
    static void biases_##T(const plan *p, const T *b, T *to)                                       \
    {                                                                                              \
        int64_t GH = p->of.gates * p->of.H, apart = p->of.unit == OG__UNIT_GRU ? 2 * p->of.H : GH; \
        for (int64_t j = 0; j < GH; j++)                                                           \
            to[j] = j < apart ? b[j] + b[GH + j] : b[j];                                           \
        for (int64_t j = apart; j < GH; j++)                                                       \
            to[j + p->of.H] = b[GH + j];                                                           \
    }
BIASES(float)
BIASES(double)

static char *output_row(const plan *p, const og_call *call, int which, int64_t row, int64_t columns)
{
    return which < 0 ? NULL : row_of(p, call->ny, call->y, which, row, columns);
}

/* Step t of sequence b, which is row `i` of its task. */
static void step_row(const plan *p, const og_call *call, const og__unit_fns *fns, const scratch *s,
                     int64_t t, int64_t b, int64_t i, bool ended)
{
    int64_t H = p->of.H, GH = p->of.gates * H, at = t * p->of.B + b;
    size_t row = (size_t)H * p->size;
    char *y = output_row(p, call, 0, at, H);
    char *gates = output_row(p, call, p->of.gates_out, at, 4 * H);
    char *cells = output_row(p, call, p->of.cells_out, at, H), *c = s->c + (size_t)i * row;
    if (ended) {
        memset(y, 0, row);
        if (gates)
            memset(gates, 0, 4 * row);
    } else {
        og__unit_step step = {.H = H,
                              .xw = s->input + (size_t)(i * GH) * p->size,
                              .hr = s->product + (size_t)(i * GH) * p->size,
                              .bias = shared_part(p, call),
                              .gates = gates ? gates : s->gates,
                              .h = s->h + (size_t)i * row,
                              .c = c,
                              .y = y};
        fns->step(&step);
    }
    if (cells)
        memcpy(cells, c, row);
}

/* All steps of the sequences of task `task`. */
static void walk(const plan *p, const og_call *call, const int32_t *lens, int64_t task,
                 const scratch *s)
{
    const og__unit_fns *fns = OG__PICK(og__unit_find)(p->of.dtype, p->of.unit);
    int64_t first = task * p->rows, rows = og__min(p->rows, p->of.B - first), H = p->of.H;
    og__gemm product = p->product, input = p->input;
    product.m = input.m = rows;
    bool lstm = p->of.unit == OG__UNIT_LSTM, zero = !og__has(call->nx, call->x, OG__WALK_H0);
    copy_or_zero(p, s->h, row_of(p, call->nx, call->x, OG__WALK_H0, first, H), rows * H);
    copy_or_zero(p, s->c, lstm ? row_of(p, call->nx, call->x, OG__WALK_C0, first, H) : NULL,
                 rows * H);
    for (int64_t k = 0; k < p->of.T; k++) {
        int64_t t = og__recurrence_time(&p->of, k);
        const char *x = steps_of(p, &call->x[OG__WALK_X], t * p->of.B + first, p->of.I);
        if (p->of.half && !p->dots) {
            widen(p, s->operand, x, rows * p->of.I);
            x = s->operand;
        }
        multiply(p, &input, x, packed_input(p, call), product.add ? s->product : s->input, s);
        if (k == 0 && zero && !product.add)
            memset(s->product, 0, (size_t)(rows * product.n) * p->size);
        if (k > 0 || !zero) {
            if (p->dots)
                narrow(p, s->operand, s->h, rows * H);
            multiply(p, &product, p->dots ? s->operand : s->h, call->workspace, s->product, s);
        }
        for (int64_t i = 0; i < rows; i++)
            step_row(p, call, fns, s, t, first + i, i, lens && t >= lens[first + i]);
    }
    char *h = output_row(p, call, 1, first, H), *c = output_row(p, call, lstm ? 2 : -1, first, H);
    if (h)
        copy_or_zero(p, h, s->h, rows * H);
    if (c)
        copy_or_zero(p, c, s->c, rows * H);
}

/* x, w, r, b, lens, h0[, c0] → y, h[, c][, gates[, cells]] */
static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const int32_t *lens;
    OG_TRY(lens_of(p, call, OG__WALK_LENS, &lens, error));
    char *bias = shared_part(p, call);
    if (!og__has(call->nx, call->x, OG__WALK_B))
        memset(bias, 0, p->shared_bytes);
    else if (p->of.dtype == OG_DOUBLE)
        biases_double(p, call->x[OG__WALK_B].data, (double *)(void *)bias);
    else
        biases_float(p, call->x[OG__WALK_B].data, (float *)(void *)bias);
    pack(call, &p->product, call->x[OG__WALK_R].data, call->workspace);
    pack(call, &p->input, call->x[OG__WALK_W].data, packed_input(p, call));
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int t = 0; t < p->threads; t++) {
        scratch s = scratch_of(p, call, t);
        for (int64_t i = p->tasks * t / p->threads; i < p->tasks * (t + 1) / p->threads; i++)
            walk(p, call, lens, i, &s);
    }
    return OG_OK;
}

/* ---- back */

static bool supports_back(const og_call *call)
{
    og_dtype dtype = call->x[0].type.dtype;
    return strncmp(call->node->op->name, "Wide", 4) == 0 ||
           (og__supports_float(call) && (dtype == OG_FLOAT || dtype == OG_DOUBLE));
}

static og_status prepare_back(og_call *call, og_error *error)
{
    return plan_new(call, error, true);
}

static char *input_row(const plan *p, const og_call *call, int which, int64_t row, int64_t columns)
{
    return which < 0 ? NULL : row_of(p, call->nx, call->x, which, row, columns);
}

/* Step number k of the walk, for sequence b, which is row `i` of its task. */
static void back_row(const plan *p, const og_call *call, const og__unit_fns *fns, const scratch *s,
                     const int32_t *lens, int64_t k, int64_t b, int64_t i)
{
    og__back_places w = og__back_places_of(p->of.unit);
    int64_t H = p->of.H, GH = p->of.gates * H, t = og__recurrence_time(&p->of, k),
            at = t * p->of.B + b;
    size_t row = (size_t)H * p->size;
    char *dxw =
        p->of.half ? s->input + (size_t)(i * GH) * p->size : steps_of(p, &call->y[0], at, GH);
    char *dhr = w.dhr == 0   ? dxw
                : p->of.half ? s->product + (size_t)(i * GH) * p->size
                             : steps_of(p, &call->y[w.dhr], at, GH);
    const char *zeros = shared_part(p, call);
    if (lens && t >= lens[b]) {
        memset(dxw, 0, (size_t)GH * p->size);
        memset(dhr, 0, (size_t)GH * p->size);
        return;
    }
    /* a sequence's first step has none */
    int64_t before = k > 0 ? og__recurrence_time(&p->of, k - 1) : -1;
    if (lens && before >= lens[b])
        before = -1;
    const char *c_before = before >= 0 ? input_row(p, call, w.cells, before * p->of.B + b, H)
                                       : input_row(p, call, w.c0, b, H);
    const char *h_before = before >= 0 ? input_row(p, call, w.y, before * p->of.B + b, H)
                                       : input_row(p, call, w.h0, b, H);
    const char *dy = input_row(p, call, w.dy, at, H);
    og__unit_back back = {.H = H,
                          .gates = input_row(p, call, w.gates, at, 4 * H),
                          .c = input_row(p, call, w.cells, at, H),
                          .c_before = c_before ? c_before : zeros,
                          .y = input_row(p, call, w.y, at, H),
                          .h_before = h_before ? h_before : zeros,
                          .dy = dy ? dy : zeros,
                          .dh = s->h + (size_t)i * row,
                          .dc = s->c + (size_t)i * row,
                          .dxw = dxw,
                          .dhr = dhr};
    fns->back(&back);
}

static void walk_back(const plan *p, const og_call *call, const int32_t *lens, int64_t task,
                      const scratch *s)
{
    const og__unit_fns *fns = OG__PICK(og__unit_find)(p->of.dtype, p->of.unit);
    og__back_places w = og__back_places_of(p->of.unit);
    int64_t first = task * p->rows, rows = og__min(p->rows, p->of.B - first), H = p->of.H;
    int64_t GH = p->of.gates * H;
    og__gemm product = p->product;
    product.m = rows;
    char *dh0 = row_of(p, call->ny, call->y, w.dh0, first, H);
    char *dc0 = output_row(p, call, w.dc0, first, H);
    copy_or_zero(p, s->h, input_row(p, call, w.dh, first, H), rows * H);
    copy_or_zero(p, s->c, input_row(p, call, w.dc, first, H), rows * H);
    for (int64_t k = p->of.T - 1; k >= 0; k--) {
        for (int64_t i = 0; i < rows; i++)
            back_row(p, call, fns, s, lens, k, first + i, i);
        int64_t at = og__recurrence_time(&p->of, k) * p->of.B + first;
        const char *dhr = steps_of(p, &call->y[w.dhr], at, GH);
        if (p->of.half) {
            const char *sums = w.dhr ? s->product : s->input;
            narrow(p, steps_of(p, &call->y[0], at, GH), s->input, rows * GH);
            if (w.dhr)
                narrow(p, steps_of(p, &call->y[w.dhr], at, GH), sums, rows * GH);
            dhr = p->dots ? dhr : sums;
        }
        if (k > 0 || dh0)
            multiply(p, &product, dhr, call->workspace, s->h, s);
    }
    if (dh0)
        copy_or_zero(p, dh0, s->h, rows * H);
    if (dc0)
        copy_or_zero(p, dc0, s->c, rows * H);
}

/* r, what the walk kept, dy and the last states' gradients, lens, first states → dxw[, dhr][, the
 * first states' gradients] */
static og_status run_back(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const int32_t *lens;
    OG_TRY(lens_of(p, call, og__back_places_of(p->of.unit).lens, &lens, error));
    memset(shared_part(p, call), 0, p->shared_bytes);
    pack(call, &p->product, call->x[0].data, call->workspace);
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int t = 0; t < p->threads; t++) {
        scratch s = scratch_of(p, call, t);
        for (int64_t i = p->tasks * t / p->threads; i < p->tasks * (t + 1) / p->threads; i++)
            walk_back(p, call, lens, i, &s);
    }
    return OG_OK;
}

/* Outputs may take inputs' places: a row is read before the row of the same index is written, and
 * first states before last ones; weights and biases are read at the beginning. */
#define FLAGS (OG_KERNEL_REFERENCE | OG_KERNEL_INPLACE)
#define ROWS(name)                                                                         \
    {OG_DOMAIN "::" name, "plain", FLAGS, supports, prepare, run, og__free_state},         \
    {                                                                                      \
        OG_DOMAIN "::" name "Grad", "plain", FLAGS, supports_back, prepare_back, run_back, \
            og__free_state                                                                 \
    }

const og_kernel og_kernels_cpu_recurrent[] = {
    ROWS("LSTMDirection"),
    ROWS("WideLSTMDirection"),
    ROWS("GRUDirection"),
    ROWS("WideGRUDirection"),
    ROWS("RNNDirection"),
    ROWS("WideRNNDirection"),
    {0},
};
