/* The interpreter of elementwise programs: what Fused, Cast and the scalar ops run on (scalar.c,
 * cast.c).
 *
 * The iteration space is the shape of the first output, its axes in the order in which the outputs
 * lie, walked in tiles that stay in L1. Outputs have no gaps, so a tile is a contiguous piece of
 * each. An input is, for a tile,
 *
 * - uniform: one element for the whole space. It is read once, and instructions on uniform operands
 *   alone also run once;
 * - direct: of the domain's type and contiguous over this tile. It is read in place;
 * - gathered: anything else. It is loaded and converted into a register, a piece of L1 a tile long.
 *
 * A program that ends in a reduction has its tiles taken in as they are computed (fold.h); without
 * other outputs, its space is walked as its first input of that shape lies.
 *
 * Results go straight to the output where types agree and no input that is still to be read shares
 * its memory; else they are stored when all instructions of the tile have run. The last, partial
 * tile is computed in registers only and in whole vectors, so that no result depends on where in
 * the tensor it stands. */
#include <stdlib.h>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/fold.h"
#include "runtime/base/checked.h"

#define TILE_BYTES 4096
/* What the registers and the memory streams of a tile may take of L1 before tiles are halved. */
#define L1_SHARE (32 << 10)
/* Of results that wait in an output to be reduced together. */
#define TOGETHER_BYTES (16 << 10)
/* From this many steps on, memory idles while a tile is computed unless the next one is asked for.
 */
#define LONG_PROGRAM 6

typedef struct input {
    og_dtype dtype;
    int rank; /* of the iteration space as this input sees it, collapsed */
    int64_t dims[OG_MAX_RANK], strides[OG_MAX_RANK];
    int64_t low, high; /* the elements it spans, relative to its first */
    bool uniform;
    bool copied; /* also stored to an output: never read in place, for another output may overwrite
                    it */
    int first_use, last_use; /* steps */
    int slot;
} input;

typedef struct step {
    og__tile_fn *fn;
    int16_t a, b, c; /* values; 0 where there is none */
    int16_t value;
    int slot;
    int output; /* that may be written instead of the slot; -1 */
    double imm;
} step;

/* What prepare leaves. Values are numbered as the program's operands. One allocation. */
typedef struct plan {
    og__domain domain;
    size_t size; /* of an element of the domain */
    int n_in, n_values, n_out, n_uniform_steps, n_steps, n_slots, threads;
    int64_t total, tile;
    const og__tile_ops *ops;
    input *inputs;
    step *uniform_steps, *steps; /* run once; run for every tile */
    int *expanded; /* by value: the slot that holds a uniform value as a whole tile; -1 */
    bool *uniform; /* by value */
    int16_t *out;
    og_dtype *out_dtype;
    int folded;        /* the value that is reduced; -1 */
    int folded_output; /* the output of the domain's type that it is, too; -1 */
    og__fold fold;
    /* The workspace: */
    size_t uniform_bytes; /* first a vector for each value */
    size_t thread_bytes;  /* then for each thread: slots, and a pointer for each value */
    size_t fold_offset;   /* then accumulators */
} plan;

const og__tile_ops *og__tile_ops_best(void)
{
#if defined(__x86_64__)
    switch (og__simd_level()) {
    case 4:
        return &og__tile_ops_v4;
    case 3:
        return &og__tile_ops_v3;
    default:
        break;
    }
#endif
    return &og__tile_ops_v2;
}

bool og__elementwise_dtype(og_dtype dtype)
{
    return dtype > OG_UNDEFINED && dtype < OG_DTYPE_COUNT &&
           og__tile_ops_v2.load[OG__DOMAIN_FLOAT][dtype] != NULL;
}

/* ---- prepare */

static og__domain domain_of(og_dtype dtype)
{
    return dtype == OG_DOUBLE  ? OG__DOMAIN_DOUBLE
           : dtype == OG_FLOAT ? OG__DOMAIN_FLOAT
                               : OG__DOMAIN_INT;
}

static const og_dtype domain_dtype[OG__DOMAIN_COUNT] = {OG_FLOAT, OG_DOUBLE, OG_INT64};

/* Which loop runs an instruction whose operands are (not) uniform, and which uniform operands it
 * needs expanded. */
static og__variant choose(const plan *p, og_scalar op, const int16_t operand[3], bool expand[3])
{
    static const og__variant one[3] = {OG__UNIFORM_A, OG__UNIFORM_B, OG__UNIFORM_C};
    og__variant best = OG__VECTORS;
    for (int o = 0; o < 3; o++) {
        expand[o] = operand[o] >= 0 && p->uniform[operand[o]];
        if (expand[o] && best == OG__VECTORS && p->ops->op[p->domain][one[o]][op]) {
            best = one[o];
            expand[o] = false;
        }
    }
    return best;
}

/* By falling stride, after those of one element. */
void og__output_order(const og_tensor *y, int *order)
{
    int ones = 0, n = 0;
    for (int a = 0; a < y->type.rank; a++)
        if (y->type.dims[a] == 1)
            order[ones++] = a;
    n = ones;
    for (int a = 0; a < y->type.rank; a++) {
        if (y->type.dims[a] == 1)
            continue;
        int at = n++;
        for (; at > ones && y->strides[order[at - 1]] < y->strides[a]; at--)
            order[at] = order[at - 1];
        order[at] = a;
    }
}

static const og_type *space_of(const og_call *call, const og_program *program)
{
    return program->fold ? &program->space : &call->y[0].type;
}

/* The order in which the space is walked. */
static void walk_order(const og_call *call, const og_program *program, int *order)
{
    const og_type *space = space_of(call, program);
    og_tensor dense = og_tensor_dense(space, NULL);
    const og_tensor *like = program->n_out ? &call->y[0] : &dense;
    for (int i = 0; i < call->nx && like == &dense; i++)
        if (og_type_same_dims(&call->x[i].type, space) && og_tensor_is_channels_last(&call->x[i]))
            like = &call->x[i];
    og__output_order(like, order);
}

bool og__elementwise_folds(const og_call *call, const og_program *program)
{
    og__fold fold;
    int order[OG_MAX_RANK];
    walk_order(call, program, order);
    return og__fold_plan(&fold, program, &call->y[program->n_out], order);
}

static void plan_inputs(plan *p, const og_call *call, const og_type *space, const int *order)
{
    for (int i = 0; i < p->n_in; i++) {
        input *in = &p->inputs[i];
        const og_tensor *x = &call->x[i];
        int64_t strides[OG_MAX_RANK];
        og__broadcast_strides(x, space, strides);
        in->dtype = x->type.dtype;
        in->rank = space->rank;
        for (int a = 0; a < in->rank; a++) {
            in->dims[a] = space->dims[order[a]];
            in->strides[a] = strides[order[a]];
        }
        og__collapse(&in->rank, in->dims, 1, &in->strides);
        in->uniform = true;
        for (int a = 0; a < in->rank; a++) {
            int64_t span = (in->dims[a] - 1) * in->strides[a];
            in->uniform = in->uniform && (in->strides[a] == 0 || in->dims[a] == 1);
            *(span < 0 ? &in->low : &in->high) += span;
        }
        in->first_use = in->last_use = -1;
        in->slot = -1;
        p->uniform[i] = in->uniform;
    }
}

/* Split the instructions into those that run once and those that run for every tile. */
static void plan_steps(plan *p, const og_program *program)
{
    for (int k = 0; k < program->n_instr; k++) {
        const og_instr *instr = &program->instr[k];
        int value = p->n_in + k, arity = (int)og__min(og_scalar_arity(instr->op), 3);
        int16_t operand[3] = {arity > 0 ? instr->a : -1, arity > 1 ? instr->b : -1,
                              arity > 2 ? instr->c : -1};
        bool uniform = true, expand[3] = {false, false, false};
        for (int o = 0; o < arity; o++)
            uniform = uniform && p->uniform[operand[o]];
        p->uniform[value] = uniform;
        og__variant variant = uniform ? OG__VECTORS : choose(p, instr->op, operand, expand);
        step *s = uniform ? &p->uniform_steps[p->n_uniform_steps++] : &p->steps[p->n_steps++];
        *s = (step){.fn = p->ops->op[p->domain][variant][instr->op],
                    .a = (int16_t)og__max(operand[0], 0),
                    .b = (int16_t)og__max(operand[1], 0),
                    .c = (int16_t)og__max(operand[2], 0),
                    .value = (int16_t)value,
                    .slot = -1,
                    .output = -1,
                    .imm = instr->imm};
        for (int o = 0; o < arity; o++) {
            if (expand[o])
                p->expanded[operand[o]] = 0; /* numbered by plan_slots */
            if (!uniform && operand[o] < p->n_in) {
                input *in = &p->inputs[operand[o]];
                in->last_use = p->n_steps - 1;
                if (in->first_use < 0)
                    in->first_use = in->last_use;
            }
        }
    }
}

/* Which results are outputs, and may be written in place of a register. */
static void plan_outputs(plan *p, const og_program *program, const og_call *call)
{
    for (int o = 0; o < p->n_out + (p->folded >= 0); o++) {
        bool stored = o < p->n_out;
        int value = stored ? program->out[o] : p->folded;
        if (stored) {
            p->out[o] = (int16_t)value;
            p->out_dtype[o] = call->y[o].type.dtype;
            if (p->out_dtype[o] == OG_UNDEFINED)
                continue;
            if (value == p->folded && p->out_dtype[o] == domain_dtype[p->domain])
                p->folded_output = o;
        }
        if (p->uniform[value]) {
            p->expanded[value] = 0;
        } else if (value < p->n_in) {
            input *in = &p->inputs[value];
            in->copied = in->copied || (stored && p->n_out > 1);
            in->first_use = 0;
            in->last_use = p->n_steps;
        } else if (stored) {
            for (int k = 0; k < p->n_steps; k++)
                if (p->steps[k].value == value && p->steps[k].output < 0 &&
                    p->out_dtype[o] == domain_dtype[p->domain])
                    p->steps[k].output = o;
        }
    }
}

/* The last step that reads a value; n_steps if an output is stored from it at the end, or it is
 * reduced. */
static int last_use(const plan *p, int value)
{
    if (value == p->folded)
        return p->n_steps;
    for (int o = 0; o < p->n_out; o++)
        if (p->out[o] == value)
            return p->n_steps;
    for (int k = p->n_steps - 1; k >= 0; k--)
        if (p->steps[k].a == value || p->steps[k].b == value || p->steps[k].c == value)
            return k;
    return -1;
}

/* Registers: a value holds one from the step that makes it (or first reads it) to the last that
 * reads it. `busy`: by slot, the last step its present owner is read in. */
static int take_slot(plan *p, int *busy, int now, int until)
{
    int s = 0;
    while (s < p->n_slots && busy[s] >= now)
        s++;
    if (s == p->n_slots)
        p->n_slots++;
    busy[s] = until;
    return s;
}

static void plan_slots(plan *p, int *busy)
{
    for (int v = 0; v < p->n_values; v++)
        if (p->expanded[v] >= 0)
            p->expanded[v] = take_slot(p, busy, 0, p->n_steps + 1);
    /* With no steps at all, inputs stored as they are are loaded "before step 0". */
    for (int k = 0; k < p->n_steps || k == 0; k++) {
        for (int i = 0; i < p->n_in; i++) {
            input *in = &p->inputs[i];
            if (!in->uniform && in->first_use == k)
                in->slot = take_slot(p, busy, k, in->last_use);
        }
        /* The result may take the register of an operand read here for the last time. */
        if (k < p->n_steps)
            p->steps[k].slot =
                take_slot(p, busy, k + 1, (int)og__max(last_use(p, p->steps[k].value), k));
    }
}

/* Room for the plan and its arrays; NULL when out of memory. */
static plan *plan_new(const og_program *program)
{
    size_t in = (size_t)program->n_in, instr = (size_t)program->n_instr,
           out = (size_t)program->n_out;
    size_t bytes = sizeof(plan) + in * sizeof(input) + 2 * instr * sizeof(step) +
                   (in + instr) * sizeof(int) + out * sizeof(og_dtype) + out * sizeof(int16_t) +
                   (in + instr) * sizeof(bool);
    plan *p = calloc(1, bytes);
    if (!p)
        return NULL;
    p->n_in = program->n_in;
    p->n_values = program->n_in + program->n_instr;
    p->n_out = program->n_out;
    p->inputs = (input *)(p + 1);
    p->uniform_steps = (step *)(p->inputs + in);
    p->steps = p->uniform_steps + instr;
    p->expanded = (int *)(p->steps + instr);
    p->out_dtype = (og_dtype *)(p->expanded + in + instr);
    p->out = (int16_t *)(p->out_dtype + out);
    p->uniform = (bool *)(p->out + out);
    for (int v = 0; v < p->n_values; v++)
        p->expanded[v] = -1;
    return p;
}

og_status og__elementwise_prepare(og_call *call, const og_program *program, og_error *error)
{
    plan *p = plan_new(program);
    int *busy = calloc(2 * (size_t)(program->n_in + program->n_instr) + 1, sizeof *busy);
    if (!p || !busy) {
        free(p);
        free(busy);
        return og_fail_memory(error, sizeof *p, "an elementwise program");
    }
    p->domain = domain_of(program->domain);
    p->size = og__size(program->domain);
    p->ops = og__tile_ops_best();
    const og_type *space = space_of(call, program);
    int order[OG_MAX_RANK];
    walk_order(call, program, order);
    p->total = og__product(space->dims, 0, space->rank);
    p->folded = program->fold ? program->folded : -1;
    p->folded_output = -1;
    plan_inputs(p, call, space, order);
    plan_steps(p, program);
    plan_outputs(p, program, call);
    plan_slots(p, busy);
    free(busy);

    int streams = p->n_slots + p->n_out;
    for (int i = 0; i < p->n_in; i++)
        streams += !p->inputs[i].uniform;
    p->tile = TILE_BYTES / (int64_t)p->size;
    while (streams * p->tile * (int64_t)p->size > L1_SHARE && p->tile > 256)
        p->tile /= 2;
    p->tile = og__min(p->tile, (int64_t)og_align_up((size_t)og__max(p->total, 1), OG__LANES));
    p->threads = og__threads(call, p->total * og__max(1, p->n_steps));
    if (p->folded >= 0) {
        og__fold_plan(&p->fold, program, &call->y[p->n_out], order);
        p->threads = (int)og__max(1, og__min(p->threads, p->fold.parts));
    }
    p->uniform_bytes =
        og_align_up((size_t)p->n_values * OG__LANES * p->size + (size_t)p->n_out, 256);
    p->thread_bytes = og_align_up((size_t)p->n_slots * (size_t)p->tile * p->size, 64) +
                      (size_t)p->n_values * sizeof(void *);
    p->thread_bytes = og_align_up(p->thread_bytes, 256);
    p->fold_offset = p->uniform_bytes + (size_t)p->threads * p->thread_bytes;
    call->workspace_bytes = p->fold_offset + (p->folded >= 0 ? og__fold_bytes(&p->fold) : 0);
    call->state = p;
    return OG_OK;
}

void og__elementwise_release(og_call *call)
{
    free(call->state);
    call->state = NULL;
}

/* ---- run */

/* Elements at … at + n - 1 of the iteration space into a register. */
static void gather(const plan *p, const input *in, const void *data, int64_t at, int64_t n,
                   char *to)
{
    og__load_fn *load = p->ops->load[p->domain][in->dtype];
    const char *from = data;
    int64_t size = (int64_t)og__size(in->dtype), index[OG_MAX_RANK] = {0}, offset = 0;
    for (int a = in->rank - 1; a >= 0; a--) {
        index[a] = at % in->dims[a];
        at /= in->dims[a];
        offset += index[a] * in->strides[a];
    }
    int last = in->rank - 1;
    for (;;) {
        int64_t run = og__min(n, in->dims[last] - index[last]);
        load(to, from + offset * size, in->strides[last], run);
        n -= run;
        if (n == 0)
            return;
        to += run * (int64_t)p->size;
        offset -= index[last] * in->strides[last];
        index[last] = 0;
        for (int a = last - 1; a >= 0; a--) {
            offset += in->strides[a];
            if (++index[a] < in->dims[a])
                break;
            offset -= in->strides[a] * in->dims[a];
            index[a] = 0;
        }
    }
}

/* Where elements at … at + n - 1 lie one after the other in memory; NULL if they do not. */
static const void *in_place(const plan *p, const input *in, const void *data, int64_t at, int64_t n)
{
    int last = in->rank - 1;
    if (in->copied || in->dtype != domain_dtype[p->domain] ||
        (in->strides[last] != 1 && in->dims[last] != 1))
        return NULL;
    if (at % in->dims[last] + n > in->dims[last])
        return NULL;
    int64_t offset = 0;
    for (int a = last; a >= 0; a--) {
        offset += at % in->dims[a] * in->strides[a];
        at /= in->dims[a];
    }
    return (const char *)data + offset * (int64_t)p->size;
}

/* May output `o`, the result of step k, be written while the tile's later steps still run? */
static bool may_write(const plan *p, const og_call *call, int o, int k)
{
    const char *y = call->y[o].data, *end = y + (size_t)p->total * p->size;
    for (int i = 0; i < p->n_in; i++) {
        const input *in = &p->inputs[i];
        if (in->uniform || in->last_use <= k || in->copied)
            continue;
        int64_t size = (int64_t)og__size(in->dtype);
        const char *x = call->x[i].data;
        if (x + in->low * size < end && y < x + (in->high + 1) * size)
            return false;
    }
    return true;
}

/* One tile; n < whole in the last one only. values: by value, where its elements are. */
static void run_tile(const plan *p, const og_call *call, const bool *direct, char *slots,
                     const void **values, int64_t at, int64_t n)
{
    int64_t whole = (int64_t)og_align_up((size_t)n, OG__LANES),
            slot_bytes = p->tile * (int64_t)p->size;
    for (int k = 0; k < p->n_steps || k == 0; k++) {
        for (int i = 0; i < p->n_in; i++) {
            const input *in = &p->inputs[i];
            if (in->uniform || in->first_use != k)
                continue;
            const void *data = n == whole ? in_place(p, in, call->x[i].data, at, n) : NULL;
            if (!data) {
                char *slot = slots + in->slot * slot_bytes;
                gather(p, in, call->x[i].data, at, n, slot);
                memset(slot + n * (int64_t)p->size, 0, (size_t)(whole - n) * p->size);
                data = slot;
            } else if (p->n_steps >= LONG_PROGRAM) {
                for (int64_t b = 0; b < p->tile * (int64_t)p->size; b += 64)
                    __builtin_prefetch((const char *)data + p->tile * (int64_t)p->size + b);
            }
            values[i] = data;
        }
        if (k == p->n_steps)
            break;
        const step *s = &p->steps[k];
        void *y = slots + s->slot * slot_bytes;
        if (s->output >= 0 && direct[s->output] && n == whole)
            y = (char *)call->y[s->output].data + at * (int64_t)p->size;
        s->fn(y, values[s->a], values[s->b], values[s->c], s->imm, whole);
        values[s->value] = y;
    }
    for (int o = 0; o < p->n_out; o++) {
        if (p->out_dtype[o] == OG_UNDEFINED)
            continue;
        char *y = (char *)call->y[o].data + at * (int64_t)og__size(p->out_dtype[o]);
        if (values[p->out[o]] != y || p->out_dtype[o] != domain_dtype[p->domain])
            p->ops->store[p->domain][p->out_dtype[o]](y, values[p->out[o]], n);
    }
}

/* A vector for each uniform value. */
static void run_uniform(const plan *p, const og_call *call, char *uniform)
{
    int64_t bytes = OG__LANES * (int64_t)p->size;
    for (int i = 0; i < p->n_in; i++)
        if (p->inputs[i].uniform)
            p->ops->load[p->domain][p->inputs[i].dtype](uniform + i * bytes, call->x[i].data, 0,
                                                        OG__LANES);
    for (int k = 0; k < p->n_uniform_steps; k++) {
        const step *s = &p->uniform_steps[k];
        s->fn(uniform + s->value * bytes, uniform + s->a * bytes, uniform + s->b * bytes,
              uniform + s->c * bytes, s->imm, OG__LANES);
    }
}

/* The pointers of a thread: uniform values, whole tiles of them where a step wants that. */
static const void **thread_values(const plan *p, const char *uniform, char *slots)
{
    const void **values =
        (const void **)(slots + og_align_up((size_t)p->n_slots * (size_t)p->tile * p->size, 64));
    for (int v = 0; v < p->n_values; v++) {
        values[v] = uniform + v * OG__LANES * (int64_t)p->size;
        if (p->expanded[v] >= 0) {
            char *slot = slots + p->expanded[v] * p->tile * (int64_t)p->size;
            p->ops->load[p->domain][domain_dtype[p->domain]](slot, values[v], 0, p->tile);
            values[v] = slot;
        }
    }
    return values;
}

/* A run of one part of the reduction: its elements computed and taken in, tile by tile. Where they
 * are written to an output and lie in rows, several rows are taken in together, which is faster. */
static void run_folded(const plan *p, const og_call *call, const bool *direct, char *slots,
                       const void **values, int64_t part, int64_t run)
{
    void *accumulators = (char *)call->workspace + p->fold_offset;
    int64_t begin, end, size = (int64_t)p->size;
    int64_t together = og__fold_together(&p->fold, TOGETHER_BYTES / size);
    og__fold_range(&p->fold, part, run, &begin, &end);
    const char *waiting = NULL; /* the elements from … */
    int64_t from = begin;       /* … on, which are still to be taken in */
    for (int64_t at = begin; at < end; at += p->tile) {
        int64_t n = og__min(p->tile, end - at);
        run_tile(p, call, direct, slots, values, at, n);
        const char *data = values[p->folded];
        if (waiting && data != waiting + (at - from) * size) {
            og__fold_take(&p->fold, accumulators, part, from, at - from, waiting, p->size);
            waiting = NULL;
        }
        if (!waiting) {
            waiting = data;
            from = at;
        }
        bool stays =
            p->folded_output >= 0 && data == (char *)call->y[p->folded_output].data + at * size;
        if (!stays || at + n - from >= together || at + n == end) {
            og__fold_take(&p->fold, accumulators, part, from, at + n - from, waiting, p->size);
            waiting = NULL;
        }
    }
}

static void run_part(const plan *p, const og_call *call, const bool *direct, char *slots,
                     const void **values, int64_t part)
{
    og__fold_start(&p->fold, (char *)call->workspace + p->fold_offset, part);
    for (int64_t run = 0; run < og__fold_runs(&p->fold); run++)
        run_folded(p, call, direct, slots, values, part, run);
}

og_status og__elementwise_run(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    if (p->total == 0 && p->folded < 0)
        return OG_OK;
    char *uniform = call->workspace;
    if (p->total > 0)
        run_uniform(p, call, uniform);
    bool *direct = (bool *)(uniform + (size_t)p->n_values * OG__LANES * p->size);
    memset(direct, 0, (size_t)p->n_out);
    for (int k = 0; k < p->n_steps; k++)
        if (p->steps[k].output >= 0)
            direct[p->steps[k].output] = may_write(p, call, p->steps[k].output, k);

    int64_t tiles = (p->total + p->tile - 1) / p->tile,
            items = p->folded < 0 ? tiles : p->fold.parts;
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int t = 0; t < p->threads; t++) {
        char *slots = uniform + p->uniform_bytes + (size_t)t * p->thread_bytes;
        const void **values = thread_values(p, uniform, slots);
        int64_t first = items * t / p->threads, last = items * (t + 1) / p->threads;
        for (int64_t i = first; i < last; i++)
            if (p->folded >= 0)
                run_part(p, call, direct, slots, values, i);
            else
                run_tile(p, call, direct, slots, values, i * p->tile,
                         og__min(p->tile, p->total - i * p->tile));
    }
    if (p->folded >= 0)
        og__fold_finish(&p->fold, (char *)call->workspace + p->fold_offset, &call->y[p->n_out]);
    return OG_OK;
}
