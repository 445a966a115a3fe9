/* LSTMDirection, GRUDirection and RNNDirection without saved outputs, LSTMWhole, GRUWhole and
 * RNNWhole with their gradients, and the Wide ones, by the library's recurrences: whole sequences
 * (no lens), in float32, or with x, weights and states in half. The walk from the last step to the
 * first is the library's on sequences that are turned round.
 *
 *     weights, and what lies or is held otherwise → where the library wants it, in one launch;
 *     the walk, or the walk back; results → where they belong
 *
 * The library's gates are others than ours, and its biases and states have x's type: so weights are
 * copied gate by gate. Of what the walk keeps for the way back it only says how many bytes it is:
 * the reserve, the walk's last output. The way back spends it, and so gives it back as an output
 * that nobody reads: in place, unless somebody else still reads the reserve.
 *
 * With --deterministic the kernels of recurrent.c serve: the library's products may be computed in
 * another way the next time. */
#include "kernels/cuda/recurrent_cudnn.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/recurrent.h"
#include "kernels/cuda/walk_plan.h"

extern const og_cuda_image og_cuda_image_recurrent_cudnn;

enum { THREADS = 128, MOST_BLOCKS = 64, VECTOR = 16 };

/* Beside those of the walk: inputs and outputs of the way back. */
enum { BACK_Y = OG__WALK_C0 + 1, BACK_DY, BACK_DH, BACK_DC, BACK_RESERVE };
enum { OUT_DX, OUT_DW, OUT_DR, OUT_DB, OUT_DH0, OUT_DC0, OUT_SPENT };

/* What the library reads and writes of the call. */
typedef enum slot { X, H0, C0, Y, H, C, DY, DH, DC, DX, DH0, DC0, SLOTS } slot;

typedef struct plan {
    og__recurrence of;
    bool back;
    int reserve; /* output of the walk; -1: none */
    const og__walk *walk;
    og_cuda_function *pieces;
    og__place staged[SLOTS]; /* bytes 0: the library takes it where it lies, or it is absent */
    og__place weights, dweights, scratch;
} plan;

static bool is_whole(const og_call *call)
{
    return strstr(call->node->op->name, "Whole") != NULL;
}

static bool is_back(const og_call *call)
{
    return strstr(call->node->op->name, "WholeGrad") != NULL;
}

/* ---- the description */

static og_dtype type_of(const og__recurrence *r)
{
    return r->half ? r->half : r->dtype;
}

static void describe(const og_call *call, const og__recurrence *r, og_cuda_recurrence *d)
{
    static const og_cuda_cell cells[] = {[OG__UNIT_LSTM] = OG_CUDA_LSTM,
                                         [OG__UNIT_GRU] = OG_CUDA_GRU,
                                         [OG__UNIT_TANH] = OG_CUDA_RNN_TANH,
                                         [OG__UNIT_RELU] = OG_CUDA_RNN_RELU};
    memset(d, 0, sizeof *d); /* with what lies between members */
    d->cell = cells[r->unit];
    d->dtype = type_of(r);
    d->arithmetic = r->half                            ? OG_CUDA_HALF
                    : call->device->options.allow_tf32 ? OG_CUDA_TF32
                                                       : OG_CUDA_FLOAT;
    d->bias = og__has(call->nx, call->x, OG__WALK_B);
    d->training = is_whole(call);
    d->T = r->T;
    d->B = r->B;
    d->I = r->I;
    d->H = r->H;
}

/* NULL: the library does not do it. */
static const og__walk *walk_of(const og_call *call)
{
    og__recurrence r = og__recurrence_of(call, false);
    bool wide = strncmp(call->node->op->name, "Wide", 4) == 0;
    og_dtype dtype = call->x[OG__WALK_R].type.dtype;
    og_cuda_recurrence d;
    if ((wide ? dtype != OG_FLOAT16 && dtype != OG_BFLOAT16 : dtype != OG_FLOAT) ||
        call->device->options.deterministic || og__has(call->nx, call->x, OG__WALK_LENS) ||
        r.T < 1 || r.B < 1 || r.I < 1 || r.H < 1 || r.T > INT_MAX || r.I > INT_MAX ||
        r.H > INT_MAX / 4 || r.B > INT_MAX / r.H)
        return NULL;
    describe(call, &r, &d);
    return og__walk_find(call->device, &d);
}

/* Does the node have output `which`? -1: its op has none. */
static bool has_output(const og_call *call, int which)
{
    return which >= 0 && og__has(call->ny, call->y, which);
}

static bool supports(const og_call *call)
{
    og__recurrence r = og__recurrence_of(call, false);
    bool saves =
        !is_whole(call) && (has_output(call, r.gates_out) || has_output(call, r.cells_out));
    return !saves && walk_of(call);
}

static size_t reserve_bytes(const og_call *call)
{
    const og__walk *walk = walk_of(call);
    return walk ? walk->sizes.reserve : 0;
}

/* ---- what the library reads and writes */

static bool is_output(bool back, slot s)
{
    return back ? s >= DX : s >= Y && s <= C;
}

/* NULL: absent. */
static const og_tensor *tensor_of(const og_call *call, const plan *p, slot s)
{
    static const int walk[SLOTS] = {OG__WALK_X, OG__WALK_H0, OG__WALK_C0, 0,  1,  2,
                                    -1,         -1,          -1,          -1, -1, -1},
                     back[SLOTS] = {OG__WALK_X, OG__WALK_H0, OG__WALK_C0, BACK_Y, -1,      -1,
                                    BACK_DY,    BACK_DH,     BACK_DC,     OUT_DX, OUT_DH0, OUT_DC0};
    bool cell = s == C0 || s == C || s == DC || s == DC0, output = is_output(p->back, s);
    int which = p->back ? back[s] : walk[s], n = output ? call->ny : call->nx;
    const og_tensor *all = output ? call->y : call->x;
    if ((cell && p->of.unit != OG__UNIT_LSTM) || which < 0 || !og__has(n, all, which))
        return NULL;
    return &all[which];
}

/* Elements of a step where the slot has steps, else 0. */
static int64_t row_of(const plan *p, slot s)
{
    return s == X || s == DX ? p->of.B * p->of.I : s == Y || s == DY ? p->of.B * p->of.H : 0;
}

static int64_t elements_of(const plan *p, slot s)
{
    int64_t row = row_of(p, s);
    return row ? p->of.T * row : p->of.B * p->of.H;
}

/* ---- prepare */

static void book(og_call *call, plan *p)
{
    const og_cuda_recurrence_sizes *sizes = &p->walk->sizes;
    og_dtype dtype = type_of(&p->of);
    for (slot s = X; s < SLOTS; s++) {
        const og_tensor *t = tensor_of(call, p, s);
        bool turned = p->of.reverse && row_of(p, s);
        bool zeros = p->back && s == DY && !t;
        if (zeros || (t && (turned || t->type.dtype != dtype || t->offset % VECTOR != 0)))
            p->staged[s] = og__cuda_book(call, (size_t)elements_of(p, s) * og__size(dtype));
    }
    p->weights = og__cuda_book(call, sizes->weights);
    if (p->back)
        p->dweights = og__cuda_book(call, sizes->weights);
    p->scratch = og__cuda_book(call, sizes->workspace);
}

static og_status prepare(og_call *call, og_error *error)
{
    og_status status = OG_OK;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a recurrence");
    call->state = p;
    call->workspace_bytes = 0;
    p->of = og__recurrence_of(call, false);
    p->back = is_back(call);
    p->reserve = p->back || !is_whole(call) ? -1 : p->of.unit == OG__UNIT_LSTM ? 3 : 2;
    p->walk = walk_of(call);
    if (!p->walk) {
        status = og_fail(error, OG_INTERNAL, "cuDNN has no plan for it any more");
        goto cleanup;
    }
    OG_TRY_CLEANUP(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_recurrent_cudnn,
                                     "og_pieces", 0, &p->pieces, error));
    book(call, p);
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

/* ---- pieces */

/* Those of one launch. */
typedef struct batch {
    og_pieces_arguments arguments;
    og_cuda_range ranges[2 * OG_PIECES];
    int n;
    int64_t most; /* elements of the largest */
} batch;

static og_operand operand_of(og_dtype dtype)
{
    return dtype == OG_FLOAT16    ? OG_OPERAND_HALF
           : dtype == OG_BFLOAT16 ? OG_OPERAND_BFLOAT
                                  : OG_OPERAND_FLOAT;
}

static void add(batch *b, const void *from, og_dtype from_type, void *to, og_dtype to_type,
                int64_t n, int64_t row)
{
    b->arguments.pieces[b->n] =
        (og_piece){from, to, n, row, operand_of(from_type), operand_of(to_type)};
    b->ranges[2 * b->n] = (og_cuda_range){from, (size_t)n * og__size(from_type), false};
    b->ranges[2 * b->n + 1] = (og_cuda_range){to, (size_t)n * og__size(to_type), true};
    b->most = og__max(b->most, n);
    b->n++;
}

static og_status launch(const og_call *call, batch *b, og_error *error)
{
    const plan *p = call->state;
    if (b->n == 0)
        return OG_OK;
    b->arguments.blocks = (int)og__min((b->most + THREADS - 1) / THREADS, MOST_BLOCKS);
    return og__cuda_launch(call, p->pieces, (int64_t)b->n * b->arguments.blocks, THREADS, 0,
                           &b->arguments, sizeof b->arguments, b->ranges, 2 * b->n, error);
}

/* W, R and b between the call's order of gates and the library's place for each; or their
 * gradients, back. b NULL: there is none. */
static void add_weights(const plan *p, batch *to, char *packed, bool out, const og_tensor *w,
                        const og_tensor *r, const og_tensor *b)
{
    static const int lstm[] = {0, 2, 3, 1}, gru[] = {1, 0, 2}, one[] = {0};
    const int *order = p->of.unit == OG__UNIT_LSTM ? lstm : p->of.unit == OG__UNIT_GRU ? gru : one;
    const og_cuda_recurrence_sizes *sizes = &p->walk->sizes;
    og_dtype dtype = type_of(&p->of);
    int gates = (int)p->of.gates;
    for (int k = 0; k < sizes->matrices; k++) {
        int gate = order[k % gates];
        const og_tensor *matrix = k < gates ? w : r;
        int64_t n = p->of.H * (k < gates ? p->of.I : p->of.H);
        char *ours = (char *)matrix->data + (size_t)(gate * n) * og__size(matrix->type.dtype),
             *theirs = packed + sizes->matrix[k];
        if (out)
            add(to, theirs, dtype, ours, matrix->type.dtype, n, 0);
        else
            add(to, ours, matrix->type.dtype, theirs, dtype, n, 0);
        if (!b)
            continue;
        ours = (char *)b->data +
               (size_t)((gate + k / gates * gates) * p->of.H) * og__size(b->type.dtype);
        theirs = packed + sizes->bias[k];
        if (out)
            add(to, theirs, dtype, ours, b->type.dtype, p->of.H, 0);
        else
            add(to, ours, b->type.dtype, theirs, dtype, p->of.H, 0);
    }
}

/* Staged inputs, or outputs. */
static void add_staged(const og_call *call, batch *b, bool outputs)
{
    const plan *p = call->state;
    og_dtype dtype = type_of(&p->of);
    for (slot s = X; s < SLOTS; s++) {
        const og_tensor *t = tensor_of(call, p, s);
        if (!p->staged[s].bytes || !t || is_output(p->back, s) != outputs)
            continue;
        int64_t n = elements_of(p, s), row = p->of.reverse ? row_of(p, s) : 0;
        char *here = og__cuda_at(call, p->staged[s]);
        if (outputs)
            add(b, here, dtype, t->data, t->type.dtype, n, row);
        else
            add(b, t->data, t->type.dtype, here, dtype, n, row);
    }
}

/* ---- run */

static const og_tensor *input(const og_call *call, int which)
{
    return og__has(call->nx, call->x, which) ? &call->x[which] : NULL;
}

static og_status bring(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    batch b = {.n = 0};
    add_weights(p, &b, og__cuda_at(call, p->weights), false, &call->x[OG__WALK_W],
                &call->x[OG__WALK_R], input(call, OG__WALK_B));
    add_staged(call, &b, false);
    return launch(call, &b, error);
}

static og_status operands_of(const og_call *call, og_cuda_recurrence_operands *o, og_error *error)
{
    const plan *p = call->state;
    void *at[SLOTS];
    for (slot s = X; s < SLOTS; s++) {
        const og_tensor *t = tensor_of(call, p, s);
        at[s] = p->staged[s].bytes ? og__cuda_at(call, p->staged[s]) : t ? t->data : NULL;
        if ((uintptr_t)at[s] % VECTOR != 0)
            return og_fail(error, OG_INTERNAL, "a tensor at %p, not aligned to %d bytes", at[s],
                           VECTOR);
    }
    *o = (og_cuda_recurrence_operands){.weights = og__cuda_at(call, p->weights),
                                       .x = at[X],
                                       .h0 = at[H0],
                                       .c0 = at[C0],
                                       .y = at[Y],
                                       .h = at[H],
                                       .c = at[C],
                                       .workspace = og__cuda_at(call, p->scratch),
                                       .workspace_bytes = p->scratch.bytes,
                                       .dy = at[DY],
                                       .dh = at[DH],
                                       .dc = at[DC],
                                       .dx = at[DX],
                                       .dh0 = at[DH0],
                                       .dc0 = at[DC0]};
    return OG_OK;
}

/* x, w, r, b, -, h0[, c0] → y, h[, c][, reserve] */
static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    og_cuda_recurrence_operands o;
    batch results = {.n = 0};
    OG_TRY(operands_of(call, &o, error));
    if (p->reserve >= 0) {
        o.reserve = call->y[p->reserve].data;
        o.reserve_bytes = (size_t)og__elements(&call->y[p->reserve]);
    }
    OG_TRY(bring(call, error));
    OG_TRY(cuda->driver->recurrence_run(cuda->card, p->walk->plan, &o, error));
    add_staged(call, &results, true);
    return launch(call, &results, error);
}

static og_status clear(const og_call *call, void *at, size_t bytes, og_error *error)
{
    const og__cuda *cuda = og__cuda_of(call->device);
    return cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, at, 0, bytes, error);
}

/* x, w, r, b, -, h0, c0, y, dy, dh, dc, reserve → dx, dw, dr, db, dh0, dc0, the spent reserve */
static og_status run_back(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *reserve = &call->x[BACK_RESERVE], *spent = &call->y[OUT_SPENT],
                    *db = &call->y[OUT_DB];
    bool bias = og__has(call->nx, call->x, OG__WALK_B);
    og_cuda_recurrence_operands o;
    batch results = {.n = 0};
    OG_TRY(operands_of(call, &o, error));
    o.reserve = spent->data;
    o.reserve_bytes = (size_t)og__elements(spent);
    o.dweights = og__cuda_at(call, p->dweights);
    if (spent->data != reserve->data)
        OG_TRY(cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, spent->data, reserve->data,
                                  o.reserve_bytes, error));
    if (p->staged[DY].bytes && !tensor_of(call, p, DY))
        OG_TRY(clear(call, og__cuda_at(call, p->staged[DY]), p->staged[DY].bytes, error));
    OG_TRY(clear(call, o.dweights, p->dweights.bytes, error));
    OG_TRY(bring(call, error));
    OG_TRY(cuda->driver->recurrence_back(cuda->card, p->walk->plan, &o, error));
    add_weights(p, &results, o.dweights, true, &call->y[OUT_DW], &call->y[OUT_DR],
                bias ? db : NULL);
    add_staged(call, &results, true);
    OG_TRY(launch(call, &results, error));
    return bias ? OG_OK : clear(call, db->data, (size_t)og__elements(db) * sizeof(float), error);
}

#define CELL(op)                                                                            \
    {OG_DOMAIN "::" op "Direction", "cuDNN", 0, supports, prepare, run, og__free_state},    \
        {OG_DOMAIN "::" op "Whole",     "cuDNN", 0, supports, prepare, run, og__free_state, \
         .reserve_bytes = reserve_bytes},                                                   \
    {                                                                                       \
        OG_DOMAIN "::" op "WholeGrad", "cuDNN", OG_KERNEL_INPLACE_LAST, supports, prepare,  \
            run_back, og__free_state                                                        \
    }

const og_kernel og_kernels_cuda_recurrent_cudnn[] = {
    CELL("LSTM"), CELL("WideLSTM"), CELL("GRU"), CELL("WideGRU"),
    CELL("RNN"),  CELL("WideRNN"),  {NULL},
};
