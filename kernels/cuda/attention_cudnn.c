/* WideAttentionHeads and its gradient as cuDNN's fusions, which never hold all scores (the engines
 * that know attention are found by its operations, in the order and form in which they stand here):
 *
 *     s = scale q kᵀ (+ mask, or -∞ where the key is behind the query),
 *     statistics = max s + log Σ exp(s - max s),  y = exp(s - max s) / Σ exp(s - max s) v
 *
 *     delta = rowsum(dy y),  p = exp(s - statistics),  dv = pᵀ dy,
 *     ds = scale p (dy vᵀ - delta),  dk = dsᵀ q,  dq = ds k
 *
 * Dropout multiplies y's p, dv's p and dy vᵀ by keep and keep_scale c; as cuDNN wants it,
 * delta = rowsum(dy y) / c  and  ds = scale c p (keep dy vᵀ - delta).
 *
 * Heads stay behind positions: cuDNN reads [B, H, positions, …] under their strides. A constant
 * mask that only hides the keys behind a query is no operand then; another one is added in float32.
 *
 * dq is summed in a tensor of its own whose elements cuDNN orders and which has to be zero before,
 * by additions in any order; to be deterministic the library keeps ds in its workspace instead.
 *
 * The statistics are kept as `top`, and log_sum is 0. What cuDNN refuses (heads that are no
 * multiple of 8, or too wide for the card) has a definition. */
#include "kernels/cuda/attention.h"

#include <float.h>
#include <stdlib.h>

#include "kernels/cpu/attention.h"
#include "kernels/cuda/fusion.h"
#include "runtime/base/checked.h"

extern const og_cuda_image og_cuda_image_attention;

enum { VECTOR = 16, UNIT = 8 /* elements of 16 bytes */, THREADS = 256, RANK = 4 };

/* Inputs and outputs (ops/attention_heads.c). */
enum { Q, K, V, MASK, KEEP };
enum { DY, DQ_OF, DK_OF, DV_OF, Y, TOP, LOG_SUM, BACK_MASK, BACK_KEEP };

typedef enum mask_kind { NO_MASK, CAUSAL, ADDED } mask_kind;

/* Tensors of the fusion; 0: none. */
typedef struct tensors {
    int q, k, v, mask, keep, y, statistics;
    int dy, dq, dk, dv, sums;
    int one, scale, shut, keep_scale; /* constants; one: keep_scale's inverse */
} tensors;

typedef struct description {
    og__attention shape;
    mask_kind mask;
    og_dtype dtype;
    const og_tensor *keep; /* NULL: nothing is dropped */
    double keep_scale;
    og_cuda_fusion fusion;
    tensors t;
} description;

typedef struct plan {
    og__attention shape;
    const og__fusion *fusion;
    tensors t;
    og_cuda_function *rows;              /* what is done to single rows; NULL: nothing */
    og__place statistics, sums, scratch; /* bytes 0: not used */
} plan;

/* ---- what goes */

/* Does cuDNN read it: elements of a head side by side, and all else in steps of 16 bytes? */
static bool lies_well(const og_tensor *x)
{
    bool well = x->offset % VECTOR == 0 && x->type.dims[3] % UNIT == 0 && x->strides[3] == 1;
    for (int a = 0; a < 3; a++)
        well = well && (x->type.dims[a] == 1 || (x->strides[a] > 0 && x->strides[a] % UNIT == 0));
    return well;
}

static bool heads_go(const og_call *call, const int *inputs, int n)
{
    og_dtype dtype = call->x[inputs[0]].type.dtype;
    bool go = og_dtype_is_half(dtype);
    for (int i = 0; i < n; i++)
        go = go && call->x[inputs[i]].type.dtype == dtype && lies_well(&call->x[inputs[i]]) &&
             og__elements(&call->x[inputs[i]]) > 0;
    return go;
}

static bool mask_goes(const og__attention *a)
{
    const og_tensor *m = a->mask;
    bool goes = !m || (m->type.dtype == OG_FLOAT && m->offset % VECTOR == 0 &&
                       (a->T == 1 || a->mask_strides[3] == 1));
    for (int i = 0; m && i < RANK; i++)
        goes = goes && a->mask_strides[i] >= 0;
    return goes;
}

/* Is the mask of [S, T] 0 up to a query's own position and shut behind it? */
static bool is_causal(const og__attention *a)
{
    const float *m = a->mask->data;
    if (!m || a->mask_strides[0] || a->mask_strides[1])
        return false;
    for (int64_t s = 0; s < a->S; s++)
        for (int64_t t = 0; t < a->T; t++) {
            float v = m[s * a->mask_strides[2] + t * a->mask_strides[3]];
            if (t <= s ? v != 0 : !(v < -1e30F))
                return false;
        }
    return true;
}

static bool begin(const og_call *call, bool back, description *d)
{
    og__attention_shape(call, back ? DQ_OF : Q, back ? BACK_MASK : MASK, &d->shape);
    d->dtype = call->x[back ? DQ_OF : Q].type.dtype;
    d->mask = NO_MASK;
    int keep = back ? BACK_KEEP : KEEP;
    d->keep = og__has(call->nx, call->x, keep) ? &call->x[keep] : NULL;
    d->keep_scale = og_attr_float(call->node, "keep_scale", 1);
    if (!mask_goes(&d->shape) ||
        (d->keep && (d->keep->offset % VECTOR != 0 || d->keep->type.dtype != d->dtype ||
                     !og_tensor_is_dense(d->keep))))
        return false;
    if (d->shape.mask)
        d->mask = is_causal(&d->shape) ? CAUSAL : ADDED;
    return true;
}

/* ---- tensors */

/* [B, positions, H, n] seen as [B, H, positions, n], or [B, H, n, positions] */
static int add_heads(description *d, const og_tensor *x, bool transposed)
{
    static const int axes[2][RANK] = {{0, 2, 1, 3}, {0, 2, 3, 1}};
    int64_t dims[RANK], strides[RANK];
    for (int a = 0; a < RANK; a++) {
        int of = axes[transposed][a];
        dims[a] = x->type.dims[of];
        strides[a] = dims[a] == 1 && of != 3 ? og__elements(x) : x->strides[of];
    }
    return og__fusion_memory(&d->fusion, d->dtype, RANK, dims, strides);
}

/* [B, H, S, columns] that operations hand on, and one of float32 in memory */
static int add_virtual(description *d, og_dtype dtype, int64_t columns)
{
    const int64_t dims[RANK] = {d->shape.B, d->shape.H, d->shape.S, columns};
    return og__fusion_virtual(&d->fusion, dtype, RANK, dims, NULL);
}

static int add_memory(description *d, int64_t columns)
{
    const int64_t dims[RANK] = {d->shape.B, d->shape.H, d->shape.S, columns};
    return og__fusion_memory(&d->fusion, OG_FLOAT, RANK, dims, NULL);
}

static int add_mask(description *d)
{
    const og__attention *a = &d->shape;
    int64_t dims[RANK] = {a->B, a->H, a->S, a->T}, strides[RANK], step = a->T;
    for (int i = RANK - 1; i >= 0; i--) {
        bool spread = i < 3 && a->mask_strides[i] == 0;
        dims[i] = spread ? 1 : dims[i];
        strides[i] = i == 3 ? 1 : spread || dims[i] == 1 ? step : a->mask_strides[i];
        step = og__max(step, strides[i] * dims[i]);
    }
    return og__fusion_memory(&d->fusion, OG_FLOAT, RANK, dims, strides);
}

/* ---- operations; each returns its result */

static int multiply(description *d, int a, int b, int to)
{
    og_cuda_operation *o = og__fusion_add(&d->fusion, OG_CUDA_MATMUL);
    o->in[0] = a;
    o->in[1] = b;
    o->out[0] = to;
    return to;
}

static int combine(description *d, og_cuda_mode mode, int x, int b, int to)
{
    og__fusion_pointwise(&d->fusion, mode, x, b, 0, to);
    return to;
}

static int over_keys(description *d, og_cuda_mode mode, int x)
{
    og_cuda_operation *o = og__fusion_add(&d->fusion, OG_CUDA_REDUCTION);
    o->mode = mode;
    o->in[0] = x;
    return o->out[0] = add_virtual(d, OG_FLOAT, 1);
}

static int position(description *d, int like, int axis)
{
    int to = add_virtual(d, OG_INT32, d->shape.T);
    combine(d, OG_CUDA_INDEX, like, 0, to);
    d->fusion.operations[d->fusion.n_operations - 1].axis = axis;
    return to;
}

/* [B, H, S, T] as [B, H, T, S], in half */
static int turn(description *d, int x)
{
    const og__attention *a = &d->shape;
    const int64_t dims[] = {a->B, a->H, a->T, a->S},
                  strides[] = {a->H * a->S * a->T, a->S * a->T, 1, a->T};
    og_cuda_operation *o = og__fusion_add(&d->fusion, OG_CUDA_RESHAPE);
    o->in[0] = x;
    return o->out[0] = og__fusion_virtual(&d->fusion, d->dtype, RANK, dims, strides);
}

/* Scores in float32, scaled, with an added mask. */
static int scores(description *d)
{
    int64_t T = d->shape.T;
    int s = multiply(d, d->t.q, d->t.k, add_virtual(d, OG_FLOAT, T));
    s = combine(d, OG_CUDA_MUL, s, d->t.scale, add_virtual(d, OG_FLOAT, T));
    if (d->mask == ADDED)
        s = combine(d, OG_CUDA_ADD, s, d->t.mask, add_virtual(d, OG_FLOAT, T));
    return s;
}

static int shut_behind(description *d, int s)
{
    int row = position(d, s, 2), column = position(d, s, 3);
    int sees = combine(d, OG_CUDA_GREATER_EQUAL, row, column, add_virtual(d, OG_BOOL, d->shape.T)),
        to = add_virtual(d, OG_FLOAT, d->shape.T);
    og__fusion_pointwise(&d->fusion, OG_CUDA_SELECT, s, d->t.shut, sees, to);
    return to;
}

/* Some of [B, H, S, T] dropped, in float32. */
static int drop(description *d, int x)
{
    return d->keep ? combine(d, OG_CUDA_MUL, x, d->t.keep, add_virtual(d, OG_FLOAT, d->shape.T))
                   : x;
}

static void add_constants(description *d)
{
    const og__attention *a = &d->shape;
    const int64_t scores[] = {a->B, a->H, a->S, a->T};
    if (d->keep) {
        d->t.keep = og__fusion_memory(&d->fusion, d->dtype, RANK, scores, NULL);
        d->t.keep_scale = og__fusion_constant(&d->fusion, RANK, (float)d->keep_scale);
    }
    d->t.scale = og__fusion_constant(&d->fusion, RANK, (float)d->shape.scale);
    if (d->mask == CAUSAL)
        d->t.shut = og__fusion_constant(&d->fusion, RANK, -FLT_MAX);
    if (d->mask == ADDED)
        d->t.mask = add_mask(d);
}

static void describe(const og_call *call, description *d)
{
    int64_t T = d->shape.T;
    tensors *t = &d->t;
    og__fusion_begin(&d->fusion, call, d->dtype);
    *t = (tensors){0};
    t->q = add_heads(d, &call->x[Q], false);
    t->k = add_heads(d, &call->x[K], true);
    t->v = add_heads(d, &call->x[V], false);
    t->y = add_heads(d, &call->y[0], false);
    t->statistics = add_memory(d, 1);
    add_constants(d);
    int s = scores(d);
    if (d->mask == CAUSAL)
        s = shut_behind(d, s);
    int top = over_keys(d, OG_CUDA_MAXIMUM, s);
    int below = combine(d, OG_CUDA_SUB, s, top, add_virtual(d, OG_FLOAT, T));
    int p = combine(d, OG_CUDA_EXP, below, 0, add_virtual(d, OG_FLOAT, T));
    int sum = over_keys(d, OG_CUDA_SUM, p);
    int log_sum = combine(d, OG_CUDA_LOG, sum, 0, add_virtual(d, OG_FLOAT, 1));
    combine(d, OG_CUDA_ADD, top, log_sum, t->statistics);
    p = drop(d, combine(d, OG_CUDA_DIV, p, sum, add_virtual(d, d->keep ? OG_FLOAT : d->dtype, T)));
    if (d->keep)
        p = combine(d, OG_CUDA_MUL, p, t->keep_scale, add_virtual(d, d->dtype, T));
    multiply(d, p, t->v, t->y);
}

/* rowsum(dy y) */
static int delta_of(description *d)
{
    int product = combine(d, OG_CUDA_MUL, d->t.dy, d->t.y, add_virtual(d, OG_FLOAT, d->shape.E));
    int sum = over_keys(d, OG_CUDA_SUM, product);
    return combine(d, OG_CUDA_MUL, sum, d->t.one, add_virtual(d, OG_FLOAT, 1));
}

/* dq = ds k, of kᵀ as it is there */
static void add_dq(description *d, int ds)
{
    int64_t dims[RANK], strides[RANK];
    const og_cuda_tensor *kt = &d->fusion.tensors[d->t.k];
    for (int a = 0; a < RANK; a++) {
        int of = a < 2 ? a : 5 - a;
        dims[a] = kt->dims[of];
        strides[a] = kt->strides[of];
    }
    og_cuda_operation *o = og__fusion_add(&d->fusion, OG_CUDA_RESHAPE);
    o->in[0] = d->t.k;
    int back = o->out[0] = og__fusion_virtual(&d->fusion, d->dtype, RANK, dims, strides);
    multiply(d, ds, back, d->t.sums ? d->t.sums : d->t.dq);
    if (d->t.sums)
        combine(d, OG_CUDA_IDENTITY, d->t.sums, 0, d->t.dq);
}

static void describe_back(const og_call *call, description *d)
{
    int64_t T = d->shape.T;
    tensors *t = &d->t;
    og__fusion_begin(&d->fusion, call, d->dtype);
    *t = (tensors){0};
    t->q = add_heads(d, &call->x[DQ_OF], false);
    t->k = add_heads(d, &call->x[DK_OF], true);
    t->v = add_heads(d, &call->x[DV_OF], true);
    t->y = add_heads(d, &call->x[Y], false);
    t->dy = add_heads(d, &call->x[DY], false);
    t->dq = add_heads(d, &call->y[0], false);
    t->dk = add_heads(d, &call->y[1], false);
    t->dv = add_heads(d, &call->y[2], false);
    t->statistics = add_memory(d, 1);
    if (!d->fusion.deterministic) {
        t->sums = add_memory(d, d->shape.D);
        d->fusion.tensors[t->sums].blocked = true;
    } else {
        d->fusion.workspace_limit += (size_t)(d->shape.B * d->shape.H) * 2 *
                                     og_align_up((size_t)d->shape.S, 64) *
                                     og_align_up((size_t)T, 64);
    }
    add_constants(d);
    t->one = og__fusion_constant(&d->fusion, RANK, (float)(1 / d->keep_scale));
    int delta = delta_of(d);
    int s = combine(d, OG_CUDA_SUB, scores(d), t->statistics, add_virtual(d, OG_FLOAT, T));
    int p = combine(d, OG_CUDA_EXP, d->mask == CAUSAL ? shut_behind(d, s) : s, 0,
                    add_virtual(d, OG_FLOAT, T));
    int left = drop(d, p);
    if (d->keep)
        left = combine(d, OG_CUDA_MUL, left, t->keep_scale, add_virtual(d, OG_FLOAT, T));
    multiply(d, turn(d, left), t->dy, t->dv);
    int dp = multiply(d, t->dy, t->v, add_virtual(d, OG_FLOAT, T));
    dp = d->keep ? drop(d, dp) : combine(d, OG_CUDA_MUL, dp, t->one, add_virtual(d, OG_FLOAT, T));
    dp = combine(d, OG_CUDA_SUB, dp, delta, add_virtual(d, OG_FLOAT, T));
    int ds = combine(d, OG_CUDA_MUL, dp, p, add_virtual(d, OG_FLOAT, T));
    if (d->keep)
        ds = combine(d, OG_CUDA_MUL, ds, t->keep_scale, add_virtual(d, OG_FLOAT, T));
    ds = combine(d, OG_CUDA_MUL, ds, t->scale, add_virtual(d, d->dtype, T));
    multiply(d, turn(d, ds), t->q, t->dk);
    add_dq(d, ds);
}

/* ---- supports */

static const int heads[] = {Q, K, V}, back_heads[] = {DY, DQ_OF, DK_OF, DV_OF, Y};

static bool supports(const og_call *call)
{
    description d;
    if (!heads_go(call, heads, 3) || !begin(call, false, &d))
        return false;
    describe(call, &d);
    return og__fusion_find(call, &d.fusion) != NULL;
}

static bool supports_back(const og_call *call)
{
    description d;
    if (call->ny != 3 || !heads_go(call, back_heads, 5) || !begin(call, true, &d))
        return false;
    describe_back(call, &d);
    return og__fusion_find(call, &d.fusion) != NULL;
}

/* ---- prepare */

static int64_t rows_of(const og__attention *a)
{
    return a->B * a->H * a->S;
}

static og_status begin_plan(og_call *call, bool back, plan **made, og_error *error)
{
    description d;
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "attention");
    *made = call->state = p;
    call->workspace_bytes = 0;
    begin(call, back, &d);
    (back ? describe_back : describe)(call, &d);
    p->shape = d.shape;
    p->t = d.t;
    return og__fusion_prepare(call, &d.fusion, &p->fusion, &p->scratch, error);
}

static og_status prepare(og_call *call, og_error *error)
{
    plan *p = NULL;
    og_status status = OG_OK;
    OG_TRY_CLEANUP(begin_plan(call, false, &p, error));
    if (!og__has(call->ny, call->y, 1))
        p->statistics = og__cuda_book(call, (size_t)rows_of(&p->shape) * sizeof(float));
    if (p->shape.zero_nan)
        OG_TRY_CLEANUP(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_attention,
                                         "og_attention_clear", 0, &p->rows, error));
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

static og_status prepare_back(og_call *call, og_error *error)
{
    plan *p = NULL;
    og_status status = OG_OK;
    OG_TRY_CLEANUP(begin_plan(call, true, &p, error));
    p->statistics = og__cuda_book(call, (size_t)rows_of(&p->shape) * sizeof(float));
    if (p->t.sums)
        p->sums = og__cuda_book(call, (size_t)(rows_of(&p->shape) * p->shape.D) * sizeof(float));
    OG_TRY_CLEANUP(og__cuda_function(og__cuda_of(call->device), &og_cuda_image_attention,
                                     "og_attention_join", 0, &p->rows, error));
cleanup:
    if (status != OG_OK)
        og__free_state(call);
    return status;
}

/* ---- run */

static og_status launch_rows(const og_call *call, const void *arguments, size_t bytes,
                             const og_cuda_range *ranges, int n, og_error *error)
{
    const plan *p = call->state;
    int64_t blocks = (rows_of(&p->shape) + THREADS - 1) / THREADS;
    return og__cuda_launch(call, p->rows, blocks, THREADS, 0, arguments, bytes, ranges, n, error);
}

/* q, k, v, mask → y[, top, log_sum] */
static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    const og_tensor *y = &call->y[0];
    void *memory[OG_CUDA_TENSORS] = {NULL};
    size_t bytes = (size_t)rows_of(&p->shape) * sizeof(float);
    float *statistics =
        p->statistics.bytes ? (float *)og__cuda_at(call, p->statistics) : call->y[1].data;
    memory[p->t.q] = call->x[Q].data;
    memory[p->t.k] = call->x[K].data;
    memory[p->t.v] = call->x[V].data;
    if (p->t.mask)
        memory[p->t.mask] = call->x[MASK].data;
    if (p->t.keep)
        memory[p->t.keep] = call->x[KEEP].data;
    memory[p->t.y] = y->data;
    memory[p->t.statistics] = statistics;
    OG_TRY(og__fusion_run(call, p->fusion, memory, og__cuda_at(call, p->scratch), p->scratch.bytes,
                          error));
    if (og__has(call->ny, call->y, 2))
        OG_TRY(cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, call->y[2].data, 0, bytes, error));
    if (!p->rows)
        return OG_OK;
    const og_attention_clear_arguments a = {statistics,      y->data,         rows_of(&p->shape),
                                            (int)p->shape.H, (int)p->shape.S, (int)p->shape.E};
    const og_cuda_range ranges[] = {{statistics, bytes, false}, og__cuda_range(y, true)};
    return launch_rows(call, &a, sizeof a, ranges, 2, error);
}

/* dy, q, k, v, y, top, log_sum, mask → dq, dk, dv */
static og_status run_back(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    void *memory[OG_CUDA_TENSORS] = {NULL};
    float *statistics = (float *)og__cuda_at(call, p->statistics);
    const og_attention_join_arguments a = {call->x[TOP].data, call->x[LOG_SUM].data, statistics,
                                           rows_of(&p->shape), p->shape.zero_nan};
    const og_cuda_range ranges[] = {og__cuda_range(&call->x[TOP], false),
                                    og__cuda_range(&call->x[LOG_SUM], false),
                                    {statistics, p->statistics.bytes, true}};
    OG_TRY(launch_rows(call, &a, sizeof a, ranges, 3, error));
    if (p->sums.bytes)
        OG_TRY(cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, og__cuda_at(call, p->sums), 0,
                                 p->sums.bytes, error));
    memory[p->t.q] = call->x[DQ_OF].data;
    memory[p->t.k] = call->x[DK_OF].data;
    memory[p->t.v] = call->x[DV_OF].data;
    memory[p->t.y] = call->x[Y].data;
    memory[p->t.dy] = call->x[DY].data;
    if (p->t.mask)
        memory[p->t.mask] = call->x[BACK_MASK].data;
    if (p->t.keep)
        memory[p->t.keep] = call->x[BACK_KEEP].data;
    memory[p->t.statistics] = statistics;
    if (p->t.sums)
        memory[p->t.sums] = og__cuda_at(call, p->sums);
    memory[p->t.dq] = call->y[0].data;
    memory[p->t.dk] = call->y[1].data;
    memory[p->t.dv] = call->y[2].data;
    return og__fusion_run(call, p->fusion, memory, og__cuda_at(call, p->scratch), p->scratch.bytes,
                          error);
}

const og_kernel og_kernels_cuda_attention_cudnn[] = {
    {"ai.ongrad::WideAttentionHeads", "cuDNN", OG_KERNEL_STRIDED, supports, prepare, run,
     og__free_state},
    {"ai.ongrad::WideAttentionHeadsGrad", "cuDNN", OG_KERNEL_STRIDED, supports_back, prepare_back,
     run_back, og__free_state},
    {NULL},
};
